"""HTTP/1.1 connections on asyncio: bytes to exchanges and back. An idle connection owns no task, a busy one neither.

data ─► codec ─head─► endpoint.refuse ─body─► endpoint.receive_request ─► exchange ─► on_exchange (the runtime)
runtime ─► channel.flush ─► owner.flush ─► exchanges with something to write ─► codec ─► one write each
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl as tls
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from protocol.framing.http11 import HTTPCodec, make_http_server
from protocol.framing.httpconnection import Data, EndOfRequest, Phase, ProtocolFault
from protocol.framing.httphead import HTTPLimits, RequestHead
from protocol.framing.httpserver import HTTP_SERVER_LIMITS
from protocol.http.answer import END, Answer, Arrival, Part, ResponseHead
from protocol.http.exchange import Exchange

from .loops import AsyncioLoop

__all__ = ["EngineChannel", "HTTPServer", "HTTPTimeouts"]

logger = logging.getLogger("kailash.adapters.http_server")


class EndpointLike(Protocol):
    """What answers the requests to one path; `StreamableHTTPEndpoint` is one."""

    def refuse(self, head: RequestHead, arrival: Arrival = ...) -> Answer | None:
        """Return the answer to a request whose body must not even be read."""

    def too_large(self) -> Answer:
        """Return the answer to a body that is too long."""

    def receive_request(
        self,
        head: RequestHead,
        body: bytes,
        *,
        now: float,
        arrival: Arrival = ...,
        principal: str | None = ...,
        is_checked: bool = ...,
    ) -> Exchange | Answer:
        """Take a whole request and return what answers it."""


class Owner(Protocol):
    """What an engine's messages are carried by: an exchange, or the session of several."""

    def flush(self, now: float) -> list[Exchange]:
        """Carry what the engine has to say; returns the exchanges that have something to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPTimeouts:
    """How long a connection may take; absolute from the first byte, so that a byte a second gains nothing."""

    head: float = 10.0
    """Seconds for the head of a request."""
    body: float = 30.0
    """Seconds for its body."""
    idle: float = 60.0
    """Seconds between two requests."""
    write: float = 20.0
    """Seconds in which the peer must take what waits."""


NOT_FOUND = Answer(404, [(b"content-type", b"text/plain")], b"not found: this path serves nothing\n")


class HTTPServer:
    """Listens, and answers requests at the paths it is given.

    Args:
        routes: endpoints by path; `"/"` is a path like any other.
        on_exchange: called with each new exchange; takes its events and flushes.
        codec: `"h11"`, `"httptools"`, or the faster one that is there.
        limits: sizes of what is read.
        timeouts: how long a connection may take.
        most_connections: further ones are answered 503 and closed.
    """

    def __init__(
        self,
        routes: Mapping[str, EndpointLike],
        *,
        on_exchange: Callable[[Exchange], None],
        codec: HTTPCodec = "auto",
        limits: HTTPLimits = HTTP_SERVER_LIMITS,
        timeouts: HTTPTimeouts | None = None,
        most_connections: int = 1000,
    ) -> None:
        self.loop = AsyncioLoop(asyncio.get_running_loop())
        self.routes = routes
        self.on_exchange = on_exchange
        self.codec: HTTPCodec = codec
        self.limits = limits
        self.timeouts = timeouts or HTTPTimeouts()
        self.most_connections = most_connections
        self.connections: set[HTTPConnection] = set()
        self._carriers: dict[Exchange, HTTPConnection] = {}
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, ssl: tls.SSLContext | None = None) -> int:
        """Listen; returns the port."""
        self._server = await self.loop.loop.create_server(lambda: HTTPConnection(self), host, port, ssl=ssl)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def aclose(self) -> None:
        """Listen no longer, and close every connection once its answer is written."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drain()
        while self.connections:
            await next(iter(self.connections)).closed.wait()
        if self._server is not None:
            await self._server.wait_closed()

    def carry(self, exchanges: list[Exchange]) -> None:
        """Write what exchanges have to say on the connections that carry them."""
        for exchange in exchanges:
            connection = self._carriers.get(exchange)
            if connection is not None:
                connection.write(exchange.data_to_send())

    def attach(self, exchange: Exchange, connection: HTTPConnection) -> None:
        """Let a connection carry an exchange."""
        self._carriers[exchange] = connection

    def detach(self, exchange: Exchange) -> None:
        """Let nothing carry an exchange any more."""
        self._carriers.pop(exchange, None)

    def carrier(self, owner: Any) -> HTTPConnection | None:
        """Return the connection that carries an exchange, if one does."""
        return self._carriers.get(owner)


class EngineChannel:
    """What the runtime sees of an engine behind HTTP: the clock, and where to write.

    Args:
        http: whose connections carry the exchanges.
        owner: the exchange, or the session, that the engine belongs to.
    """

    __slots__ = ("_http", "_is_scheduled", "_owner", "loop", "now", "peer_ended")

    def __init__(self, http: HTTPServer, owner: Owner) -> None:
        self._http = http
        self._owner = owner
        self._is_scheduled = False
        self.loop = http.loop
        self.now = http.loop.now
        self.peer_ended = False

    def flush(self) -> None:
        """Write what the engine has to say."""
        self._http.carry(self._owner.flush(self.now()))

    def flush_soon(self) -> None:
        """Write in the loop's next turn: one write for many messages."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._is_scheduled = False
        self.flush()

    async def drain(self) -> None:
        """Wait while the peer takes less than is sent."""
        connection = self._http.carrier(self._owner)
        if connection is not None:
            await connection.writable.wait()


class HTTPConnection(asyncio.Protocol):
    """One connection: requests one after the other, each answered by an exchange."""

    def __init__(self, http: HTTPServer) -> None:
        self._http = http
        self._codec = make_http_server(http.codec, http.limits)
        self._transport: asyncio.Transport
        self._arrival = Arrival()
        self._head: RequestHead | None = None
        self._endpoint: EndpointLike | None = None
        self._body: list[bytes] = []
        self._exchange: Exchange | None = None
        self._pending: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._is_busy = False
        self.writable = asyncio.Event()
        self.writable.set()
        self.closed = asyncio.Event()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        http = self._http
        if len(http.connections) >= http.most_connections:
            self._codec.refuse(503, "too many connections")
            self._send()
            self.closed.set()
            return
        http.connections.add(self)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._arrival = Arrival(local=transport.get_extra_info("sockname")[0])
        self._wait(http.timeouts.head)

    def data_received(self, data: bytes) -> None:
        """Feed the codec, and act on what it found."""
        was_idle = self._codec.is_idle
        self._codec.receive_data(data)
        if was_idle and self._codec.phase is Phase.HEAD:
            self._wait(self._http.timeouts.head)
        self._advance()

    def eof_received(self) -> bool:
        """Take the end of what the peer sends for the loss of the connection; what is written already still leaves.

        A client that merely ends its side cannot be told from one that is gone, and the latter must cancel its request.
        """
        self._codec.receive_eof()
        self._advance()
        return False

    def pause_writing(self) -> None:
        """Stop reading while the peer does not take what was sent, and drop it if that lasts."""
        self.writable.clear()
        self._transport.pause_reading()
        self._wait(self._http.timeouts.write)

    def resume_writing(self) -> None:
        """Go on."""
        self.writable.set()
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._wait_for_exchange()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the exchange, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._http.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._http.detach(exchange)
            exchange.receive_disconnect()
            self._http.on_exchange(exchange)
        self.writable.set()
        self.closed.set()

    # Requests

    def _advance(self) -> None:
        if self._is_busy:
            return  # answering within the loop below; it goes on by itself
        self._is_busy = True
        try:
            while events := self._codec.events_received():
                for event in events:
                    if isinstance(event, Data):
                        self._body.append(event.data)
                    elif isinstance(event, EndOfRequest):
                        self._receive()
                    elif isinstance(event, RequestHead):
                        self._begin(event)
                    elif isinstance(event, ProtocolFault):
                        logger.debug("! %d %s", event.status, event.reason)
        finally:
            self._is_busy = False
        self._send()

    def _begin(self, head: RequestHead) -> None:
        self._head = head
        self._body.clear()
        self._wait(self._http.timeouts.body)
        path = head.target.partition("?")[0]
        self._endpoint = self._http.routes.get(path)
        answer = NOT_FOUND if self._endpoint is None else self._endpoint.refuse(head, self._arrival)
        if answer is not None:
            self._head = None
            self._write(answer.data_to_send())
        else:
            self._codec.send_continue()

    def _receive(self) -> None:
        head, endpoint = self._head, self._endpoint
        if head is None or endpoint is None:
            return  # refused by its head
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        http = self._http
        found = endpoint.receive_request(head, body, now=http.loop.now(), arrival=self._arrival, is_checked=True)
        if isinstance(found, Answer):
            self._write(found.data_to_send())
            return
        self._exchange = found
        http.attach(found, self)
        http.on_exchange(found)
        self._wait_for_exchange()

    # Answers

    def write(self, parts: list[Part]) -> None:
        """Write parts of the answer; the last of them makes room for the next request."""
        self._write(parts)
        if not self._is_busy:
            self._send()
            self._advance()

    def _write(self, parts: list[Part]) -> None:
        codec = self._codec
        for part in parts:
            if part is END:
                self._end()
            elif isinstance(part, ResponseHead):
                if part.length is None:
                    codec.start_response(part.status, part.headers)
                else:
                    self._pending = part
            elif self._pending is not None:
                self._pieces.append(part)
            else:
                codec.send_body(part)

    def _end(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            self._codec.end_response()
        else:
            self._codec.send_response(pending.status, pending.headers, b"".join(self._pieces))
            self._pieces.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._http.detach(exchange)
        self._wait(self._http.timeouts.idle)

    def _send(self) -> None:
        data = self._codec.data_to_send()
        transport = self._transport
        if data and not transport.is_closing():
            transport.write(data[0] if len(data) == 1 else b"".join(data))
        if self._codec.should_close and self._exchange is None and not transport.is_closing():
            transport.close()

    def drain(self) -> None:
        """Close after the answer that is under way, or now when there is none."""
        self._codec.drain()
        self._send()

    # Time: one timer, which only ever moves earlier; a later deadline is found when it fires

    def _wait(self, seconds: float) -> None:
        self._due = self._http.loop.now() + seconds
        self._arm(self._due)

    def _wait_for_exchange(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        deadline = exchange.next_deadline()
        self._due = float("inf") if deadline is None else deadline
        if deadline is not None:
            self._arm(deadline)

    def _arm(self, when: float) -> None:
        if self._timer is None or when < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._http.loop.call_at(when, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self._http.loop.now()
        exchange = self._exchange
        if exchange is not None and self.writable.is_set():
            exchange.handle_deadline(now)
            self._http.on_exchange(exchange)
            if exchange.has_data:
                self.write(exchange.data_to_send())
            self._wait_for_exchange()
        elif now < self._due:
            if self._due != float("inf"):
                self._arm(self._due)
        elif not self.writable.is_set():
            self._transport.abort()
        elif self._codec.is_idle:
            self._transport.close()
        else:
            self._codec.refuse(408, "the request took too long")
            self._send()
