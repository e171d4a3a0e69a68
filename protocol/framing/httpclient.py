"""The client side of HTTP/1.1: one request, its response, then the next."""

import re
from collections.abc import Callable

from ..errors import LocalProtocolError
from .headers import NO_HEADERS, Headers
from .httpbody import EndlessBody
from .httpconnection import (
    UPGRADE_LINE,
    Connection,
    Data,
    EndOfResponse,
    Fields,
    MessageParser,
    Phase,
    ProtocolFault,
    encode_fields,
    has_no_body,
)
from .httphead import HTTPLimits, Refused, ResponseHead

__all__ = ["HTTP_CLIENT_LIMITS", "HTTP11Client"]

HTTP_CLIENT_LIMITS = HTTPLimits(body_bytes=None, small_chunks=None)
"""Defaults of the client side: an event stream has no end, so whoever collects a body bounds it."""

_END_OF_RESPONSE = EndOfResponse()

_METHOD = re.compile(r"[A-Z]+")
# The absolute form is for proxies — RFC 9112 section 3.2.2
_TARGET = re.compile(r"(?:http://[0-9A-Za-z._:\[\]-]+)?/[!-~]*|\*")
_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
_MOST_INTERIM = 16

# A member of an enum is 70 ns away in CPython 3.11.
_IDLE, _HEAD, _BODY, _CLOSED = Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.CLOSED


class HTTP11Client(Connection):
    """The client side of one connection: one request, its response, then the next.

    Args:
        make_parser: returns a new parser for a response.
        limits: sizes and counts.
    """

    __slots__ = ("_interim", "_is_head", "_is_keeping", "_known", "has_response_begun")

    def __init__(self, make_parser: Callable[[], MessageParser], limits: HTTPLimits) -> None:
        super().__init__(make_parser, limits, is_server=False)
        self._is_head = False
        self._is_keeping = False
        self._interim = 0
        self._known: tuple[str, str, Fields, bytes] | None = None
        self.has_response_begun = False
        """Whether anything came since the last request; if not, a connection that was idle before had died of age."""

    @property
    def is_idle(self) -> bool:
        """Tell whether the next request may be sent."""
        return self._phase is _IDLE

    def events_received(self) -> list[ResponseHead | Data | EndOfResponse | ProtocolFault]:
        """Return what happened since the last time, in order."""
        events, self._events = self._events, []
        return events

    def send_request(self, method: str, target: str, *, headers: Fields, body: bytes | None = None) -> None:
        """Send a request, in one buffer.

        Args:
            method: in capitals.
            target: path and query, percent-encoded; for a proxy the whole `http` URL.
            headers: `Host` among them; those about framing and connections are the codec's.
            body: `None` for none.
        """
        if self._phase is not _IDLE:
            raise LocalProtocolError("the connection is not idle")
        # A client repeats itself: more often than not the head is that of the request before, but for the length.
        known = self._known
        if known is None or known[0] != method or known[1] != target or known[2] != headers:
            known = self._known = (method, target, list(headers), self._encode(method, target, headers))
        if body is None and method in _WITH_BODY:
            body = b""
        length = b"" if body is None else b"content-length: %d\r\n" % len(body)
        self._out.append(b"%b%b\r\n%b" % (known[3], length, body or b""))
        self._is_head = method == "HEAD"
        self._phase = _HEAD
        self._interim = 0
        self.has_response_begun = False

    @staticmethod
    def _encode(method: str, target: str, headers: Fields) -> bytes:
        if not _METHOD.fullmatch(method) or method == "CONNECT":
            raise LocalProtocolError("no method to send")
        if not _TARGET.fullmatch(target):
            raise LocalProtocolError("a target is a path and a query, percent-encoded")
        if sum(name.lower() == b"host" for name, _ in headers) != 1:
            raise LocalProtocolError("a request needs one Host header")
        return b"%b %b HTTP/1.1\r\n%b" % (method.encode(), target.encode(), encode_fields(headers))

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they come; never `b""`. What comes unasked for ends the connection."""
        if self._phase is _IDLE:
            self._phase = _CLOSED
        elif self._phase is not _CLOSED:
            self.has_response_begun = True
            found = self._recall(data) if self._phase is _HEAD and not self._is_head else None
            if found is not None:
                self._phase = _IDLE
                self._events += (found[0], Data(found[1]), _END_OF_RESPONSE)
                return
            self._take(data)
            if self.is_idle and self._buffer:
                self._phase = _CLOSED
                self._buffer.clear()

    def receive_eof(self) -> None:
        """Take the end of what the peer sends."""
        if self._phase is _BODY and isinstance(self._body, EndlessBody):
            self._parser = None
            self._events.append(_END_OF_RESPONSE)
        elif self._phase in (_HEAD, _BODY):
            self._fail(Refused(400, "the connection ended before the response did"))
        self._phase = _CLOSED

    def _fail(self, refused: Refused) -> None:
        self._phase = _CLOSED
        self._parser = None
        self._events.append(ProtocolFault(refused.status, refused.reason))

    def _read_head(self, source: bytes | bytearray) -> int:
        found = self._heads.read_response(source, is_bodiless=self._is_head)
        if found is None:
            return 0
        response, length, end = found
        if response.status < 200:
            return self._skip_interim(source, end, response)
        self._is_keeping = response.keep_alive
        self._events.append(response)
        if self._is_head or has_no_body(response.status):
            # No parser can know what the request was. It may refuse the head all the same.
            self._make_parser().feed(UPGRADE_LINE.sub(b"", bytes(source[:end])))
            self._finish(NO_HEADERS)
            return end
        return self._start_body(source, end, response, length)

    def _skip_interim(self, source: bytes | bytearray, end: int, response: ResponseHead) -> int:
        self._interim += 1
        if response.status == 101 or self._interim > _MOST_INTERIM:
            raise Refused(400, "interim responses nobody asked for")
        return end + self._read(source[end:]) if end < len(source) else end

    def _finish(self, trailers: Headers) -> None:
        self._phase = _IDLE if self._is_keeping else _CLOSED
        self._events.append(EndOfResponse(trailers) if trailers else _END_OF_RESPONSE)
