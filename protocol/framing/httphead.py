"""The gate before the HTTP/1.1 parsers: one strict reading of message heads, shared by all of them.

Whatever two parsers might take for different things is refused here, before it reaches either: RFC 9112 with every
leniency removed. What a head means (framing, keep-alive, expectations) is decided here and nowhere else.

Each check gives the same verdict however the bytes are cut: a fault belongs to the shortest prefix that shows it.
"""

import re
from typing import Any

from msgspec import Struct, structs

from .headers import Headers, trim

__all__ = [
    "CHUNKED",
    "UNTIL_EOF",
    "HTTPLimits",
    "HeadReader",
    "KnownHead",
    "Refused",
    "RequestHead",
    "ResponseHead",
    "read_trailers",
]


class HTTPLimits(Struct, frozen=True, kw_only=True):
    """Limits of one HTTP/1.1 connection."""

    target_bytes: int = 8 * 1024
    """Longest request target; the request line may be 17 bytes longer. Excess: 414."""
    head_bytes: int = 16 * 1024
    """Longest head, with its first line and the blank one. Excess: 431."""
    header_count: int = 100
    """Most header fields of a head, and of trailers. Excess: 431."""
    body_bytes: int | None = 4 * 1024 * 1024
    """Largest body, refused as soon as it is declared; `None`: no limit. Excess: 413."""
    extension_bytes: int = 1024
    """Most bytes of chunk extensions in one body. Excess: 400."""
    small_chunks: int | None = 1024
    """Most chunks below 64 bytes in one body, which cost more time than their bytes; `None`: no limit. Excess: 400."""
    trailer_bytes: int = 4 * 1024
    """Longest trailer section, with its blank line. Excess: 431."""
    pipelined_bytes: int = 64 * 1024
    """Bytes held of requests that came before the current one was answered; from there on the caller stops reading."""


class Refused(Exception):
    """A message that is not accepted; never leaves `protocol.framing`."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class RequestHead(Struct, frozen=True, gc=False):
    """A request has begun."""

    method: str
    target: str
    """Path and query as they came, or `*`; of an absolute target, whose authority is that of `Host`, the same part."""
    headers: Headers
    """Without `content-length` where the head came before, with a body of another length: it stands for all of them."""
    version: str
    """`1.1` or `1.0`."""
    keep_alive: bool
    """The peer keeps the connection open after this."""
    expects_continue: bool = False
    """The peer waits for `100 Continue` before it sends the body."""


class ResponseHead(Struct, frozen=True, gc=False):
    """A response has begun; interim ones are not reported."""

    status: int
    reason: str
    headers: Headers
    version: str
    """`1.1` or `1.0`."""
    keep_alive: bool
    """The peer keeps the connection open after this."""


CHUNKED = -1
"""In place of a length: the body comes in chunks."""
UNTIL_EOF = -2
"""In place of a length: the body ends with the connection."""

_FIELDS = rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
# Beyond the path characters of RFC 3986 browsers and old clients send `"<>\^`{|}` bare; both parsers pass them. A
# fragment is never sent.
_PATH = rb'/[!-"$-~]*+'
_HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{0,5})?"
# The methods of RFC 9110 and 5789 but CONNECT, which starts a tunnel: a server of ours answers 501 for it too.
_METHODS = rb"GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE"
_REQUEST = re.compile(
    rb"("
    + _METHODS
    + rb") (?:https?://("
    + _HOST
    + rb"))?("
    + _PATH
    + rb"|(?<=OPTIONS )\*) HTTP/1\.([01])\r\n"
    + _FIELDS
)
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
_KNOWN_METHOD = re.compile(_METHODS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*+))?\r\n" + _FIELDS)
_RESPONSE_LINE = re.compile(rb"HTTP/([0-9]\.[0-9]) ")
_BLOCK = re.compile(_FIELDS)
_CODING_AND_TAB = re.compile(rb"(?im)^transfer-encoding:[^\r]*\t *\r")
_VALID_HOST = re.compile(_HOST)
_LENGTH = re.compile(rb"[0-9]{1,19}")
_LENGTH_LINE = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([1-9][0-9]*)[ \t]*\r\n")
_MOST_DIGITS = 15
_ZERO = ord("0")

_END = b"\r\n\r\n"
# What ends a head, rightly or not: no byte behind the first of these can make it a better one.
_STOP = re.compile(rb"\r\n\r\n|(?<!\r)\n|\r[^\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_WORTH_KNOWING = 2048
_MOST_KNOWN = 32
_LINE_EXTRA = len("OPTIONS ") + len(" HTTP/1.1")


class KnownHead:
    """A head that came, and what it said: as likely as not the next one is the same, but for the length of its body.

    Args:
        text: the head.
        found: what it said, the length of its body, and its own end.
        is_usual: nothing of it is out of the way; a counted body follows, and the connection goes on as most do.
    """

    __slots__ = ("_end", "_shared", "_start", "found", "is_usual", "text")

    def __init__(self, text: bytes, found: tuple[Any, int, int], *, is_usual: bool) -> None:
        self.text = text
        self.found = found
        self.is_usual = is_usual
        self._start: bytes | None = None
        """What stands before the length; empty where there is none."""
        self._end = b""
        self._shared: Any = None

    def recall(self, source: bytes | bytearray, limits: HTTPLimits) -> tuple[Any, int, int] | None:
        """Return what the head at the start of `source` says if it is this one, but for the length of its body.

        One that stands for several lengths has no `content-length` among its headers.
        """
        if source.startswith(self.text):
            return self.found
        start = self._split() if self._start is None else self._start
        if not start or not source.startswith(start):
            return None
        at = len(start)
        stop = source.find(b"\r", at, at + _MOST_DIGITS + 1)
        digits = source[at:stop]
        if not digits.isdigit() or digits[0] == _ZERO or not source.startswith(self._end, stop):
            return None
        length, end = int(digits), stop + len(self._end)
        if end > limits.head_bytes or (limits.body_bytes is not None and length > limits.body_bytes):
            return None
        # The next one may have a body as long as this.
        self.text, self.found = bytes(source[:end]), (self._shared, length, end)
        return self.found

    def _split(self) -> bytes:
        # A line end stands nowhere but at the end of a line, and the gate let only one length pass.
        line = _LENGTH_LINE.search(self.text)
        if line is None:
            self._start = b""
        else:
            self._start, self._end = self.text[: line.start(1)], self.text[line.end(1) :]
            head = self.found[0]
            fields = [field for field in head.headers if field[0] != b"content-length"]
            self._shared = structs.replace(head, headers=Headers(fields, is_lower=True))
        return self._start


class HeadReader:
    """Reads heads from the start of a buffer, scanning each byte a bounded number of times.

    Args:
        limits: sizes and counts.
        is_server: the heads are those of requests.
    """

    __slots__ = (
        "_is_server",
        "_known_fields",
        "_limits",
        "_longest_line",
        "_pattern",
        "_scanned",
        "known",
    )

    def __init__(self, limits: HTTPLimits, *, is_server: bool) -> None:
        self._limits = limits
        self._is_server = is_server
        self._pattern = _REQUEST if is_server else _RESPONSE
        longest = limits.target_bytes + _LINE_EXTRA if is_server else limits.head_bytes
        self._longest_line = min(longest, limits.head_bytes)
        self._scanned = 0
        self.known: KnownHead | None = None
        """The last head that was read, unless it is too long to be remembered."""
        self._known_fields: dict[bytes, tuple[bytes, bytes]] = {}

    def recall(self, source: bytes | bytearray) -> tuple[Any, int, int] | None:
        """Return what the head at the start of `source` says, if it is the last one again."""
        known = self.known
        return None if known is None or self._scanned else known.recall(source, self._limits)

    def _find(self, source: bytes | bytearray) -> re.Match[bytes] | None:
        # The pattern is tried on what comes at once; byte by byte that would take quadratic time.
        if not self._scanned or source.find(_END, max(0, self._scanned - 3)) >= 0:
            head = self._pattern.match(source)
            if head is not None and self._is_within_limits(head):
                self._scanned = 0
                return head
        self._explain(source)
        self._scanned = len(source)
        return None

    def _is_within_limits(self, head: re.Match[bytes]) -> bool:
        if head.end() > self._limits.head_bytes:
            return False
        return not self._is_server or head.end(3) - head.end(1) - 1 <= self._limits.target_bytes

    def _explain(self, source: bytes | bytearray) -> None:
        """Raise what is wrong with `source` as the start of a head, or return when nothing is, yet."""
        limits = self._limits
        if source.startswith(b"\r\n"):
            raise Refused(400, "no first line")
        stop = _STOP.search(source, max(0, self._scanned - 3))
        size = stop.end() if stop is not None else len(source)
        line_and_end = self._longest_line + 2
        if size >= line_and_end and source.find(b"\r\n", 0, line_and_end) < 0:
            raise Refused(414, "request target too long") if self._is_server else Refused(431, "status line too long")
        if size > limits.head_bytes:
            raise Refused(431, "head too large")
        if stop is None:
            return
        if stop.group() != _END:
            raise Refused(400, "line ends are CR LF, and control characters have no place in a head")
        if self._is_server:
            raise self._explain_request(source)
        line = _RESPONSE_LINE.match(source)
        if line is not None and line.group(1) not in (b"1.0", b"1.1"):
            raise Refused(505, "HTTP version not supported")
        raise Refused(400, "malformed head")

    def _explain_request(self, source: bytes | bytearray) -> Refused:
        line = _REQUEST_LINE.match(source)
        if line is None:
            return Refused(400, "malformed request line")
        method, target, version = line.groups()
        if version not in (b"1.0", b"1.1"):
            return Refused(505, "HTTP version not supported")
        if len(target) > self._limits.target_bytes:
            return Refused(414, "request target too long")
        if not _KNOWN_METHOD.fullmatch(method):
            return Refused(501, "method not implemented")
        return Refused(400, "malformed request target or header")

    def read_request(self, source: bytes | bytearray) -> tuple[RequestHead, int, int] | None:
        """Return what the head at the start of `source` says, the length of its body or `CHUNKED`, and its own end.

        Returns:
            `None` when more of it must come.

        Raises:
            Refused: no head can come of this any more, it contradicts itself, or asks for what is not served.
        """
        # Clients repeat themselves: more often than not the head is that of the request before.
        again = self.recall(source)
        if again is not None:
            return again
        head = self._find(source)
        if head is None:
            return None
        request, length = self._understand_request(head)
        found = (request, length, head.end())
        self.known = None
        if head.end() <= _WORTH_KNOWING:
            is_plain = request.version == "1.1" and request.keep_alive and not request.expects_continue
            is_usual = is_plain and request.method == "POST" and length > 0
            self.known = KnownHead(head.group(), found, is_usual=is_usual)
        return found

    def _understand_request(self, head: re.Match[bytes]) -> tuple[RequestHead, int]:
        method, authority, target, minor, block = head.groups()
        headers = self._read_fields(block)
        is_current = minor == b"1"
        host = headers.get(b"host")
        if host is None:
            if is_current:
                raise Refused(400, "no Host header")
        elif headers.is_repeated(b"host"):
            raise Refused(400, "more than one Host header")
        elif not _VALID_HOST.fullmatch(host):
            raise Refused(400, "bad Host header")
        if authority is not None and (host is None or authority.lower() != host.lower()):
            # Whoever routes by one of them and checks the other would be fooled.
            raise Refused(400, "target and Host disagree")
        length = self._read_framing(headers, block, is_current=is_current)
        if length is None:
            length = 0
        expects_continue = False
        if is_current and headers.get(b"expect") is not None:
            if [value.lower() for value in headers.get_all(b"expect")] != [b"100-continue"]:
                raise Refused(417, "unknown expectation")
            expects_continue = length != 0
        return (
            RequestHead(
                method.decode(),
                target.decode(),
                headers,
                "1.1" if is_current else "1.0",
                _keeps_alive(headers, is_current=is_current),
                expects_continue,
            ),
            length,
        )

    def read_response(self, source: bytes | bytearray, *, is_bodiless: bool) -> tuple[ResponseHead, int, int] | None:
        """Return what the head at the start of `source` says, the length of its body, and its own end.

        Args:
            source: what has come.
            is_bodiless: the request was one whose response has no body, whatever its head says.

        Returns:
            The length may be `CHUNKED` or `UNTIL_EOF`. `None` when more of the head must come.

        Raises:
            Refused: no head can come of this any more, or it contradicts itself.
        """
        again = None if is_bodiless else self.recall(source)
        if again is not None:
            return again
        head = self._find(source)
        if head is None:
            return None
        self.known = None
        minor, code, reason, block = head.groups()
        headers = self._read_fields(block)
        is_current = minor == b"1"
        status = int(code)
        is_bodiless = is_bodiless or status < 200 or status in (204, 304)
        length = self._read_framing(headers, block, is_current=is_current, is_counted=not is_bodiless)
        if is_bodiless:
            length = 0
        elif length is None:
            length = UNTIL_EOF
        keep_alive = length != UNTIL_EOF and _keeps_alive(headers, is_current=is_current)
        text = (reason or b"").decode("latin-1")
        response = ResponseHead(status, text, headers, "1.1" if is_current else "1.0", keep_alive)
        found = (response, length, head.end())
        if not is_bodiless and head.end() <= _WORTH_KNOWING:
            self.known = KnownHead(head.group(), found, is_usual=keep_alive and length > 0)
        return found

    def _read_fields(self, block: bytes) -> Headers:
        # Heads that differ do so in a line or two.
        known = self._known_fields
        return Headers([known.get(line) or self._learn(line) for line in _split(block, self._limits)], is_lower=True)

    def _learn(self, line: bytes) -> tuple[bytes, bytes]:
        field = _read_field(line)
        if len(line) <= _WORTH_KNOWING // 8:
            if len(self._known_fields) >= _MOST_KNOWN:
                self._known_fields.clear()
            self._known_fields[line] = field
        return field

    def _read_framing(self, headers: Headers, block: bytes, *, is_current: bool, is_counted: bool = True) -> int | None:
        """Return the declared length, `CHUNKED`, or `None` — RFC 9112 section 6.3, strictly."""
        coding = headers.get(b"transfer-encoding")
        length = headers.get(b"content-length")
        if coding is not None:
            if length is not None:
                raise Refused(400, "both Content-Length and Transfer-Encoding")
            if not is_current:
                raise Refused(400, "Transfer-Encoding in HTTP/1.0")
            # Servers spell the coding in any case, and to a client that is harmless: no proxy of ours reads it.
            spelled = coding if self._is_server else coding.lower()
            # llhttp takes a tab behind the coding for a part of it.
            is_plain = spelled == b"chunked" and not _CODING_AND_TAB.search(block)
            if not is_plain or headers.is_repeated(b"transfer-encoding"):
                raise Refused(501, "transfer coding not implemented")
            return CHUNKED
        if length is None:
            return None
        if headers.is_repeated(b"content-length") or not _LENGTH.fullmatch(length):
            raise Refused(400, "bad Content-Length")
        declared = int(length)
        if is_counted and self._limits.body_bytes is not None and declared > self._limits.body_bytes:
            raise Refused(413, "body too large")
        return declared


def _split(block: bytes, limits: HTTPLimits) -> list[bytes]:
    lines = block.split(b"\r\n")
    lines.pop()
    if len(lines) > limits.header_count:
        raise Refused(431, "too many header fields")
    return lines


def _read_field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _keeps_alive(headers: Headers, *, is_current: bool) -> bool:
    value = headers.get(b"connection")
    if value is None:
        return is_current
    if value == b"keep-alive" and not headers.is_repeated(b"connection"):
        return True
    options = {trim(option) for option in b",".join(headers.get_all(b"connection")).lower().split(b",")}
    return b"close" not in options and (is_current or b"keep-alive" in options)


# What must be known before the body, and what a proxy would act on: none of it may come after the body. RFC 9110
# section 6.5.1 leaves the choice to the recipient.
_NO_TRAILERS = frozenset(
    b"authorization connection content-encoding content-length content-range content-type cookie expect host"
    b" keep-alive origin proxy-authorization te trailer transfer-encoding upgrade".split()
)


def read_trailers(section: bytes, limits: HTTPLimits) -> Headers:
    """Return the fields of a trailer section, which includes its blank line.

    Raises:
        Refused: malformed or too many fields, or such as belong in a head.
    """
    block = _BLOCK.fullmatch(section)
    if block is None:
        raise Refused(400, "malformed trailers")
    trailers = Headers([_read_field(line) for line in _split(block.group(1), limits)], is_lower=True)
    if any(name in _NO_TRAILERS for name, _ in trailers):
        raise Refused(400, "a trailer that belongs in the head")
    return trailers
