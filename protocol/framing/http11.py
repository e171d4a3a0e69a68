"""HTTP/1.1: one codec for each side, over either of two parsers that accept the same messages.

Feed with `receive_data`, write `data_to_send()`, then look at `events_received()`. Sending may bring events as well,
because a request that waited is read when the one before it is answered. What the peer does wrong is answered, reported
as `ProtocolFault`, and ends the connection; nothing raises but the caller's own mistakes (`LocalProtocolError`).

This file holds the two parsers and the choice between them; nothing else knows of h11 or httptools.
"""

from collections.abc import Callable
from typing import Any, Literal

import h11

from .httpclient import HTTP_CLIENT_LIMITS, HTTP11Client
from .httpconnection import (
    DISAGREEMENT,
    Data,
    EndOfRequest,
    EndOfResponse,
    Fields,
    MessageParser,
    Phase,
    ProtocolFault,
    Upgraded,
)
from .httphead import HTTPLimits, Refused, RequestHead, ResponseHead
from .httpserver import HTTP_SERVER_LIMITS, HTTP11Server

try:
    import httptools
except ImportError:
    httptools = None  # type: ignore[assignment]

__all__ = [
    "HTTP_CLIENT_LIMITS",
    "HTTP_SERVER_LIMITS",
    "Data",
    "EndOfRequest",
    "EndOfResponse",
    "Fields",
    "HTTP11Client",
    "HTTP11Server",
    "HTTPCodec",
    "HTTPLimits",
    "MessageParser",
    "Phase",
    "ProtocolFault",
    "RequestHead",
    "ResponseHead",
    "Upgraded",
    "make_http_client",
    "make_http_server",
]


class _H11Parser:
    """Parses with h11. What h11 knows of connections is not used: each message has a new one."""

    __slots__ = ("_connection", "is_complete")

    def __init__(self, peer: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        # The gate bounds what comes in; h11's own bound would only disagree.
        self._connection = h11.Connection(peer, max_incomplete_event_size=2**62)
        self.is_complete = False

    def feed(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        connection = self._connection
        try:
            connection.receive_data(data)
            while True:
                event = connection.next_event()
                kind = type(event)
                if kind is h11.Data:
                    # `bytes`, not h11's buffer: raw members keep what they were found in.
                    pieces.append(bytes(event.data))  # type: ignore[union-attr]
                elif kind is h11.EndOfMessage:
                    self.is_complete = True
                    return pieces
                elif event is h11.NEED_DATA:
                    return pieces
        except h11.RemoteProtocolError:
            raise Refused(400, DISAGREEMENT) from None


class _Sink:
    """Takes what llhttp finds; knows nothing of its parser, so that no cycle keeps either alive."""

    __slots__ = ("is_complete", "on_body", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.is_complete = False

    def on_message_complete(self) -> None:
        self.is_complete = True


class _HttptoolsParser:
    """Parses with llhttp, through httptools."""

    __slots__ = ("_feed", "_sink", "is_complete")

    def __init__(self, parser: Callable[[Any], Any]) -> None:
        self._sink = _Sink()
        self._feed: Callable[[bytes], None] = parser(self._sink).feed_data
        self.is_complete = False

    def feed(self, data: bytes) -> list[bytes]:
        sink = self._sink
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise Refused(400, DISAGREEMENT) from None
        self.is_complete = sink.is_complete
        pieces = sink.pieces[:]
        sink.pieces.clear()
        return pieces


HTTPCodec = Literal["auto", "h11", "httptools"]
"""Which parser: `auto` is httptools where it is installed (extra `fast`), else h11."""


def _parser_factory(codec: HTTPCodec, *, is_server: bool) -> Callable[[], MessageParser]:
    if codec == "h11" or (codec == "auto" and httptools is None):
        role = h11.SERVER if is_server else h11.CLIENT
        return lambda: _H11Parser(role)
    if httptools is None:
        raise ImportError("the HTTP codec httptools needs the extra `fast`: pip install 'kailash-mcp-engine[fast]'")
    parser = httptools.HttpRequestParser if is_server else httptools.HttpResponseParser
    return lambda: _HttptoolsParser(parser)


def make_http_server(codec: HTTPCodec = "auto", limits: HTTPLimits = HTTP_SERVER_LIMITS) -> HTTP11Server:
    """Return the server side of a new connection.

    Raises:
        ImportError: httptools is asked for and not installed.
    """
    return HTTP11Server(_parser_factory(codec, is_server=True), limits)


def make_http_client(codec: HTTPCodec = "auto", limits: HTTPLimits = HTTP_CLIENT_LIMITS) -> HTTP11Client:
    """Return the client side of a new connection.

    Raises:
        ImportError: httptools is asked for and not installed.
    """
    return HTTP11Client(_parser_factory(codec, is_server=False), limits)
