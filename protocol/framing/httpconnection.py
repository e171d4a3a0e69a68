"""What both sides of HTTP/1.1 share: the events, the fields written, and reading one message after the other.

The gate (`httphead`, `httpbody`) reads heads and measures bodies, strictly and only once; a parser gets nothing but
what passed, has its own veto, and finds the data. What connects messages is decided above it: it lives for one.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Protocol

from msgspec import Struct

from ..errors import LocalProtocolError
from .headers import NO_HEADERS, Headers, is_token
from .httpbody import Body, ChunkedBody, CountedBody, EndlessBody
from .httphead import CHUNKED, HeadReader, HTTPLimits, KnownHead, Refused, RequestHead, ResponseHead

__all__ = [
    "DISAGREEMENT",
    "UPGRADE_LINE",
    "Connection",
    "Data",
    "EndOfRequest",
    "EndOfResponse",
    "Fields",
    "MessageParser",
    "Phase",
    "ProtocolFault",
    "Upgraded",
    "encode_fields",
    "has_no_body",
]

Fields = Sequence[tuple[bytes, bytes]]


class Data(Struct, frozen=True, gc=False):
    """A piece of a body, never empty; where it was cut means nothing."""

    data: bytes


class EndOfRequest(Struct, frozen=True, gc=False):
    """The request is complete; now it may be answered in peace."""

    trailers: Headers = NO_HEADERS


class EndOfResponse(Struct, frozen=True, gc=False):
    """The response is complete."""

    trailers: Headers = NO_HEADERS


class Upgraded(Struct, frozen=True, gc=False):
    """The connection speaks another protocol from here on."""

    trailing: bytes
    """What came behind the request; it is the other protocol's."""


class ProtocolFault(Struct, frozen=True, gc=False):
    """The peer broke a rule or a limit; the connection ends."""

    status: int
    """What a server answers with, where it still can. For a client it only names the kind of fault."""
    reason: str
    """Our own words; nothing of the peer's."""


class Phase(Enum):
    """What a connection is doing, for whoever sets its deadlines."""

    IDLE = auto()
    """Client: no request is under way."""
    HEAD = auto()
    """Waiting for a head, or in the middle of one."""
    BODY = auto()
    """In the middle of a body."""
    ANSWERING = auto()
    """Server: the request is complete, its response is not."""
    UPGRADED = auto()
    """Handed over."""
    CLOSED = auto()
    """Nothing more is read; close when everything is written."""


class MessageParser(Protocol):
    """Parses one message that the gate let pass."""

    is_complete: bool
    """The message has ended."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the message, its head whole and first; return the body data found.

        Raises:
            Refused: this is no message.
        """


DISAGREEMENT = "malformed message"
"""Gate and parser are not of one mind; tests look for bytes that bring this about."""


def has_no_body(status: int) -> bool:
    """Tell of a status whose response never has a body."""
    return status < 200 or status in (204, 304)


_NOT_TEXT = bytes(byte for byte in range(256) if byte == 9 or 32 <= byte != 127)
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})


def encode_fields(fields: Fields) -> bytes:
    """Return header fields as they are written.

    Raises:
        LocalProtocolError: a field that would break the framing, or is the codec's own.
    """
    block = b"".join([b"%b: %b\r\n" % field for field in fields])
    # One look at all of them: but for text there is one line end for each field, or somebody smuggled one in.
    if block.translate(None, _NOT_TEXT) != b"\r\n" * len(fields):
        raise LocalProtocolError("a header with a line end or a control character in it")
    for name, _ in fields:
        if name.lower() in _FRAMING:
            raise LocalProtocolError(f"the codec itself sends {name.decode('latin-1')}")
        if not is_token(name):
            raise LocalProtocolError("a header name that is no token")
    return block


UPGRADE_LINE = re.compile(rb"(?im)^upgrade:[^\r]*\r\n")
"""What parsers are not shown."""

# A member of an enum is 70 ns away in CPython 3.11.
_HEAD, _BODY, _CLOSED = Phase.HEAD, Phase.BODY, Phase.CLOSED


class Connection(ABC):
    """What both sides share: reading one message after the other."""

    __slots__ = (
        "_body", "_buffer", "_events", "_heads", "_limits", "_make_parser", "_out", "_parser", "_passed", "_phase",
        "_reading",
    )  # fmt: skip

    def __init__(self, make_parser: Callable[[], MessageParser], limits: HTTPLimits, *, is_server: bool) -> None:
        self._make_parser = make_parser
        self._limits = limits
        self._heads = HeadReader(limits, is_server=is_server)
        self._phase = Phase.HEAD if is_server else Phase.IDLE
        self._buffer = bytearray()
        self._events: list[Any] = []
        self._out: list[bytes] = []
        self._body: Body = CountedBody(0)
        self._parser: MessageParser | None = None
        """Reads the current message, unless its head has passed already."""
        self._reading: KnownHead | None = None
        """That of the current message, if its body is counted."""
        self._passed: KnownHead | None = None
        """The last such head with which the parser took a whole message."""

    @property
    def phase(self) -> Phase:
        """What the connection is doing."""
        return self._phase

    @property
    def should_close(self) -> bool:
        """Tell whether the connection is to be closed once `data_to_send()` is written.

        After a refusal the peer may still be sending: stop writing first, and read on for a moment without looking,
        or the reset that unread bytes cause takes the answer away from the peer.
        """
        return self._phase is _CLOSED

    def data_to_send(self) -> list[bytes]:
        """Return what must be written, in order."""
        out, self._out = self._out, []
        return out

    def _read(self, source: bytes | bytearray) -> int:
        """Read as far as the current message goes; return how much of `source` was used."""
        try:
            if self._phase is _BODY:
                end = self._body.admit(source, 0)
                self._advance(bytes(source[:end]))
                return end
            return self._read_head(source)
        except Refused as refused:
            self._fail(refused)
            return 0

    def _recall(self, data: bytes) -> tuple[Any, bytes] | None:
        """Return head and body of a whole message whose head came before, as most are."""
        heads = self._heads
        known = heads.known
        if known is None or not known.is_usual or known is not self._passed or self._buffer:
            return None
        found = heads.recall(data)
        if found is None:
            return None
        head, length, end = found
        return (head, data[end:]) if len(data) == end + length else None

    def _take(self, data: bytes) -> None:
        """Read on with what came."""
        buffer = self._buffer
        if buffer:
            buffer += data
            del buffer[: self._read(buffer)]
        else:
            used = self._read(data)
            # Usually that was all.
            if used < len(data):
                buffer += data[used:]
        if self._phase is _CLOSED:
            buffer.clear()

    def _start_body(self, source: bytes | bytearray, start: int, head: RequestHead | ResponseHead, length: int) -> int:
        """Let the parser read a head up to `start`, and what is there of its body; return how far that goes."""
        known = self._heads.known
        if known is not None and known is self._passed:
            # The head is that of an earlier message, but perhaps for the length: the parser would say of it what it
            # said then, and of a counted body it has nothing to say.
            if start + length <= len(source):
                if length:
                    self._events.append(Data(bytes(source[start : start + length])))
                self._finish(NO_HEADERS)
                return start + length
            self._phase = _BODY
            self._body = CountedBody(length)
            end = self._body.admit(source, start)
            self._advance(bytes(source[start:end]))
            return end
        is_upgrade = head.headers.get(b"upgrade") is not None
        self._passed, self._reading = None, None if length < 0 or is_upgrade else known
        self._phase = _BODY
        self._parser = self._make_parser()
        if length >= 0:
            self._body = CountedBody(length)
        elif length == CHUNKED:
            self._body = ChunkedBody(self._limits)
        else:
            self._body = EndlessBody(self._limits.body_bytes)
        end = self._body.admit(source, start)
        if is_upgrade:
            # An offer that is not taken up is as if it had not been made; the parsers would stop here, each its way.
            self._advance(UPGRADE_LINE.sub(b"", bytes(source[:start])) + source[start:end])
        else:
            self._advance(bytes(source[:end]))
        return end

    def _advance(self, data: bytes) -> None:
        """Read bytes that the gate let pass."""
        parser, body = self._parser, self._body
        if parser is None:
            if data:
                self._events.append(Data(data))
        else:
            pieces = parser.feed(data) if data else None
            if pieces:
                self._events.append(Data(pieces[0] if len(pieces) == 1 else b"".join(pieces)))
            if body.fault is not None:
                raise body.fault
            if body.is_complete is not parser.is_complete:
                raise Refused(400, DISAGREEMENT)
        if body.is_complete:
            if parser is not None:
                self._parser = None
                self._passed = self._reading
            self._finish(body.trailers)

    @abstractmethod
    def _read_head(self, source: bytes | bytearray) -> int:
        """Read a head and what is there of its body; return how much of `source` was used."""

    @abstractmethod
    def _finish(self, trailers: Headers) -> None:
        """Report that a message is complete."""

    @abstractmethod
    def _fail(self, refused: Refused) -> None:
        """Report that the peer broke a rule, and close."""
