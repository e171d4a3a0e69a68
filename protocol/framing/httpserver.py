"""The server side of HTTP/1.1: requests in, responses out, one at a time."""

from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache

from ..errors import LocalProtocolError
from .headers import Headers
from .httpconnection import (
    Connection,
    Data,
    EndOfRequest,
    Fields,
    MessageParser,
    Phase,
    ProtocolFault,
    Upgraded,
    encode_fields,
    has_no_body,
)
from .httphead import HTTPLimits, Refused, RequestHead

__all__ = ["HTTP_SERVER_LIMITS", "HTTP11Server"]

HTTP_SERVER_LIMITS = HTTPLimits()
"""Defaults of the server side."""

_REASONS = {
    101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently",
    302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required",
    413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type", 417: "Expectation Failed",
    421: "Misdirected Request", 422: "Unprocessable Content", 426: "Upgrade Required", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip
_STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, "").encode()) for status in range(100, 600)
}


def _status_line(status: int) -> bytes:
    if not 200 <= status < 600:
        raise LocalProtocolError(f"{status} is no status of a final response")
    return _STATUS_LINES[status]


_END_OF_REQUEST = EndOfRequest()
_LONG = 16 * 1024
_CR, _LF = b"\r\n"


class _Answer(Enum):
    """How far the response to the current request is."""

    NONE = auto()
    OWED = auto()
    STREAMING = auto()


# A member of an enum is 70 ns away in CPython 3.11, and a request looks at a dozen.
_HEAD, _BODY, _ANSWERING, _UPGRADED, _CLOSED = Phase.HEAD, Phase.BODY, Phase.ANSWERING, Phase.UPGRADED, Phase.CLOSED
_NONE, _OWED, _STREAMING = _Answer.NONE, _Answer.OWED, _Answer.STREAMING


@lru_cache(maxsize=64)
def _usual_start(status: int, field: tuple[bytes, bytes]) -> bytes:
    """Return how a response begins whose only header is the type of its body: nearly always so, and never a secret."""
    if has_no_body(status):
        raise LocalProtocolError(f"a {status} response has no body")
    return b"%b%bcontent-length: " % (_status_line(status), encode_fields((field,)))


class HTTP11Server(Connection):
    """The server side of one connection: requests in, responses out, one at a time.

    Args:
        make_parser: returns a new parser for a request.
        limits: sizes and counts.
    """

    __slots__ = (
        "_answer",
        "_at_eof",
        "_is_draining",
        "_is_keeping",
        "_is_usual",
        "_may_skip_line",
        "_request",
        "_waits_for_continue",
    )

    def __init__(self, make_parser: Callable[[], MessageParser], limits: HTTPLimits) -> None:
        super().__init__(make_parser, limits, is_server=True)
        self._answer = _NONE
        self._request: RequestHead
        """The last one; the current one while an answer is owed."""
        self._at_eof = False
        self._is_draining = False
        self._is_keeping = False
        self._is_usual = False
        """The head of the request at hand says nothing out of the way, so that the answer may be framed as most are."""
        self._may_skip_line = True
        self._waits_for_continue = False

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing of a request has come yet and no response is owed."""
        return self._phase is _HEAD and not self._buffer

    @property
    def wants_data(self) -> bool:
        """Tell whether the caller should go on reading; what it reads regardless may end the connection."""
        if self._phase is _ANSWERING:
            return len(self._buffer) < self._limits.pipelined_bytes
        return self._phase in (_HEAD, _BODY)

    def events_received(self) -> list[RequestHead | Data | EndOfRequest | Upgraded | ProtocolFault]:
        """Return what happened since the last time, in order."""
        events, self._events = self._events, []
        return events

    def recall(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Take a whole request whose head came before and return it; what is anything else is left to `receive_data`.

        No event tells of it.
        """
        if self._phase is not _HEAD:
            return None
        found = self._recall(data)
        if found is not None:
            self._request = found[0]
            self._answer = _OWED
            self._phase = _ANSWERING
            self._is_usual = True
        return found

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they come; never `b""`."""
        if self._phase is _ANSWERING:
            if self.wants_data:
                self._buffer += data
            else:
                # More requests than may wait; the one at hand is answered still.
                self._is_draining = True
        elif self._phase is _UPGRADED:
            raise LocalProtocolError("the connection was handed over")
        elif self._phase is not _CLOSED:
            self._take(data)

    def receive_eof(self) -> None:
        """Take the end of what the peer sends; requests that came whole are answered still."""
        self._at_eof = True
        self._settle()

    def send_continue(self) -> None:
        """Ask for the body, of a peer that waits to be asked."""
        if self._waits_for_continue:
            self._waits_for_continue = False
            self._out.append(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_response(self, status: int, headers: Fields = (), body: bytes | None = None) -> None:
        """Answer the current request completely.

        Before the request has been read to its end this closes the connection. Once the connection is closed, by a
        fault or by the peer, this does nothing.

        Args:
            status: 200 to 599.
            headers: without those about framing and connections, which are the codec's.
            body: for HEAD it is only measured.
        """
        if self._is_over():
            return
        is_whole = self._phase is _ANSWERING and self._answer is _OWED
        if is_whole and self._is_usual and body and len(headers) == 1 and not self._is_draining:
            self._is_keeping = True
            head = b"%b%d\r\n\r\n" % (_usual_start(status, headers[0]), len(body))
            if len(body) < _LONG:
                self._out.append(head + body)
            else:
                self._out += (head, body)  # whoever writes them can do so without a copy
            self._complete()
            return
        request = self._owed()
        has_body = not has_no_body(status)
        if body and not has_body:
            raise LocalProtocolError(f"a {status} response has no body")
        self._is_keeping = self._may_keep(request)
        fields = encode_fields(headers)
        length = b"content-length: %d\r\n" % len(body or b"") if has_body else b""
        content = body if body and request.method != "HEAD" else b""
        self._out.append(b"%b%b%b%b\r\n%b" % (_status_line(status), fields, length, self._options(request), content))
        self._complete()

    def start_response(self, status: int, headers: Fields = ()) -> None:
        """Begin a response whose length is not known yet: chunked, or for HTTP/1.0 up to the end of the connection."""
        if self._is_over():
            return
        request = self._owed()
        if has_no_body(status):
            raise LocalProtocolError(f"a {status} response has no body")
        fields = encode_fields(headers)
        is_current = request.version == "1.1"
        self._is_keeping = is_current and self._may_keep(request)
        coding = b"transfer-encoding: chunked\r\n" if is_current else b""
        self._out.append(b"%b%b%b%b\r\n" % (_status_line(status), fields, coding, self._options(request)))
        self._answer = _STREAMING

    def send_body(self, data: bytes) -> None:
        """Send a piece of the body begun."""
        if self._is_over():
            return
        request = self._streaming()
        if data and request.method != "HEAD":
            self._out.append(b"%x\r\n%b\r\n" % (len(data), data) if request.version == "1.1" else data)

    def end_response(self) -> None:
        """End the body begun."""
        if self._is_over():
            return
        request = self._streaming()
        if request.version == "1.1" and request.method != "HEAD":
            self._out.append(b"0\r\n\r\n")
        self._complete()

    def upgrade(self, headers: Fields | None = None) -> None:
        """Hand the connection over to another protocol; `Upgraded` reports what came for it already.

        Args:
            headers: those of a `101` answer, `Upgrade` among them; `None` when the other protocol writes its own.
        """
        if self._is_over():
            return
        if self._owed().version != "1.1" or self._phase is not _ANSWERING:
            raise LocalProtocolError("only a complete HTTP/1.1 request can be upgraded")
        if headers is not None:
            self._out.append(b"%bconnection: Upgrade\r\n%b\r\n" % (_STATUS_LINES[101], encode_fields(headers)))
        self._phase = _UPGRADED
        self._answer = _NONE
        self._events.append(Upgraded(bytes(self._buffer)))
        self._buffer.clear()

    def drain(self) -> None:
        """Close after the current request, or now when there is none; its response says so if it has not begun."""
        self._is_draining = True
        self._settle()

    def refuse(self, status: int, reason: str) -> None:
        """Answer with an error, unless a response has begun, and close: for deadlines and the like.

        Args:
            status: 400 to 599.
            reason: text for people, which the body carries.
        """
        if self._phase in (_UPGRADED, _CLOSED):
            return
        if self._answer is not _STREAMING:
            is_head = self._answer is _OWED and self._request.method == "HEAD"
            text = reason.encode()
            self._out.append(
                b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (_status_line(status), len(text), b"" if is_head else text)
            )
        self._close()

    def _fail(self, refused: Refused) -> None:
        self.refuse(refused.status, refused.reason)
        self._events.append(ProtocolFault(refused.status, refused.reason))

    def _read_head(self, source: bytes | bytearray) -> int:
        # "a server … SHOULD ignore at least one empty line (CRLF) received prior to the request-line" — RFC 9112 2.2
        skipped = 0
        if self._may_skip_line and source[0] == _CR:
            if len(source) == 1:
                return 0
            if source[1] == _LF:
                self._may_skip_line = False
                skipped = 2
                source = source[2:]
        found = self._heads.read_request(source) if source else None
        if found is None:
            return skipped
        request, length, end = found
        self._request = request
        self._answer = _OWED
        known = self._heads.known
        self._is_usual = known is not None and known.is_usual
        self._waits_for_continue = request.expects_continue and end == len(source)
        self._events.append(request)
        return skipped + self._start_body(source, end, request, length)

    def _finish(self, trailers: Headers) -> None:
        self._phase = _ANSWERING
        self._waits_for_continue = False
        self._events.append(EndOfRequest(trailers) if trailers else _END_OF_REQUEST)

    def _owed(self) -> RequestHead:
        if self._answer is not _OWED:
            raise LocalProtocolError("no request waits for a response")
        return self._request

    def _streaming(self) -> RequestHead:
        if self._answer is not _STREAMING:
            raise LocalProtocolError("no response has begun")
        return self._request

    def _is_over(self) -> bool:
        return self._phase is _CLOSED

    def _may_keep(self, request: RequestHead) -> bool:
        return request.keep_alive and not self._is_draining and self._phase is _ANSWERING

    def _options(self, request: RequestHead) -> bytes:
        if not self._is_keeping:
            return b"connection: close\r\n"
        return b"" if request.version == "1.1" else b"connection: keep-alive\r\n"

    def _complete(self) -> None:
        """Turn to the next request, if there is to be one."""
        self._answer = _NONE
        self._waits_for_continue = False
        if not self._is_keeping or self._is_draining:
            self._close()
            return
        self._phase = _HEAD
        self._may_skip_line = True
        if self._buffer:
            del self._buffer[: self._read(self._buffer)]
        if self._at_eof:
            self._settle()

    def _settle(self) -> None:
        """Close where the end of the stream, or draining, leaves nothing to do."""
        if self._phase is _HEAD and (self._is_draining or self._at_eof) and not self._buffer:
            self._close()
        elif self._at_eof and self._phase in (_HEAD, _BODY):
            self._fail(Refused(400, "the connection ended within a request"))

    def _close(self) -> None:
        self._phase = _CLOSED
        self._answer = _NONE
        self._waits_for_continue = False
        self._parser = None
        self._buffer.clear()
