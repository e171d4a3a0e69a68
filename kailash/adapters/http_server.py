"""An HTTP/1.1 server: listens, routes, lets in and drains. On asyncio by its own transports, elsewhere over streams."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl as tls
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.abc
import anyio.lowlevel
from anyio.streams.tls import TLSListener

from protocol.framing.handshake import is_upgrade
from protocol.framing.http11 import HTTPCodec
from protocol.framing.httphead import HTTPLimits, RequestHead
from protocol.framing.httpserver import HTTP_SERVER_LIMITS
from protocol.http.answer import Arrival
from protocol.http.exchange import Exchange
from protocol.http.upgrade import Upgrade

from .carriers import Carriers, EndpointLike
from .http_connection import HTTPConnection
from .httptransport import StreamTransport
from .loops import AsyncioLoop
from .owner import Owner, spawn_owner
from .switchboard import Switchboard
from .waiter import make_waiter

if TYPE_CHECKING:
    from .websocket import WebSocketChannel

__all__ = ["Admit", "Caller", "HTTPServer", "HTTPServerOptions", "HTTPTimeouts", "bind", "make_ssl_context"]

logger = logging.getLogger("kailash.adapters.http_server")


class Caller(Protocol):
    """Who sends a request, as it was verified."""

    @property
    def principal(self) -> str | None:
        """The name that sessions and limits are bound to; `None`: nobody in particular."""


Admit = Callable[[EndpointLike, RequestHead, Arrival], Any]
"""Returns the `Caller` of a request, or the `Answer` that refuses it, or an awaitable of either."""


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
    """Seconds in which the peer must take something of what waits."""
    handshake: float = 10.0
    """Seconds for the TLS handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPServerOptions:
    """How connections are served."""

    codec: HTTPCodec = "auto"
    """`"h11"`, `"httptools"`, or the faster one that is there."""
    limits: HTTPLimits = HTTP_SERVER_LIMITS
    """Sizes of what is read."""
    timeouts: HTTPTimeouts = field(default_factory=HTTPTimeouts)
    """How long a connection may take."""
    most_connections: int = 1000
    """Further ones are answered 503 and closed."""
    high_bytes: int = 1 << 20
    """Unsent bytes from which handlers that wait for their peer wait, and nothing more is read from it."""
    cap_bytes: int | None = 16 << 20
    """Unsent bytes from which a further write drops the connection."""


class HTTPServer:
    """Listens, and answers requests at the paths it is given.

    Args:
        routes: endpoints by path, without a slash at the end; `"/"` is a path like any other.
        take: called with each exchange that something happened to, and its caller; takes its events and flushes.
        carriers: of the exchanges.
        admit: finds out who sends a request; without it nobody in particular does.
        options: how connections are served.
        switchboard: of the workers that share the port.
        place: tells which other worker a request is for; `None`: it may be answered here.
        sockets: endpoints of WebSockets by path; that at `"*"` is for every other path.
        open_socket: called with each handshake that was agreed to, and its caller; returns what speaks from then on.
    """

    def __init__(
        self,
        routes: Mapping[str, EndpointLike],
        *,
        take: Callable[[Exchange, Any], None],
        carriers: Carriers,
        admit: Admit | None = None,
        options: HTTPServerOptions | None = None,
        switchboard: Switchboard | None = None,
        place: Callable[[RequestHead], int | None] = lambda head: None,
        sockets: Mapping[str, EndpointLike] | None = None,
        open_socket: Callable[[Upgrade, Any], WebSocketChannel] | None = None,
    ) -> None:
        self.loop = carriers.loop
        self.carriers = carriers
        self.routes = routes
        self.take = take
        self.admit = admit
        self.switchboard = switchboard
        self.place = place
        self.sockets = sockets
        self.open_socket = open_socket
        self.options = options or HTTPServerOptions()
        self.timeouts = timeouts = self.options.timeouts
        self.tick = min(timeouts.head, timeouts.body, timeouts.idle, timeouts.write)
        """Most seconds until a connection looks at its deadline."""
        self.connections: set[HTTPConnection | WebSocketChannel] = set()
        self.turned_away = 0
        """How many of them are there only to hear that they were too many."""
        self.is_draining = False
        self._server: Any = None
        self._listening: list[Owner] = []
        self._empty: Any = None
        self._unwritten: list[HTTPConnection] = []

    def route(self, head: RequestHead) -> EndpointLike | None:
        """Return what answers a request; a slash at the end of its path changes nothing."""
        path = head.target.partition("?")[0]
        if self.sockets is not None and is_upgrade(head.headers):
            found = self.sockets.get(path) or self.sockets.get(path.rstrip("/")) or self.sockets.get("*")
            if found is not None:
                return found
        found = self.routes.get(path)
        if found is None:
            found = self.routes.get(path.rstrip("/") or "/")
        if found is None and self.sockets is not None:
            return self.sockets.get(path)  # which says what it is that is there
        return found

    # Writing

    def write_soon(self, connection: HTTPConnection) -> None:
        """Have a connection write at the end of the loop's turn.

        What one turn answers leaves together: peers that wait on another core are woken once and not each time, which
        would cost as much as the answers do.
        """
        self._unwritten.append(connection)
        if len(self._unwritten) == 1:
            self.loop.call_soon(self._write)

    def _write(self) -> None:
        connections, self._unwritten = self._unwritten, []
        for connection in connections:
            connection.write_out()

    # Listening

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, ssl: tls.SSLContext | None = None) -> int:
        """Listen on an address; returns the port.

        Raises:
            OSError: the address is taken, or is none of this machine's.
        """
        sockets = bind(host, port)
        await self.listen(sockets, ssl=ssl)
        bound: int = sockets[0].getsockname()[1]
        return bound

    async def listen(self, sockets: list[socket.socket], *, ssl: tls.SSLContext | None = None) -> None:
        """Listen on bound sockets, which from now on belong to the server."""
        if isinstance(self.loop, AsyncioLoop):
            self._server = _Servers()
            for each in sockets:
                self._server.add(
                    await self.loop.loop.create_server(
                        lambda: HTTPConnection(self),
                        sock=each,
                        ssl=ssl,
                        ssl_handshake_timeout=None if ssl is None else self.timeouts.handshake,
                        backlog=_BACKLOG,
                    )
                )
            return
        for each in sockets:
            each.listen(_BACKLOG)
            listener: anyio.abc.Listener[Any] = await anyio.abc.SocketListener.from_socket(each)
            if ssl is not None:
                listener = TLSListener(
                    listener, ssl, standard_compatible=False, handshake_timeout=self.timeouts.handshake
                )
            self._listening.append(spawn_owner(self._serve, listener, name="kailash http listener"))

    def adopt(self, connection: socket.socket, read: bytes) -> None:
        """Take over another worker's connection, of which it has read something."""

        async def connect() -> None:
            assert isinstance(self.loop, AsyncioLoop)
            await self.loop.loop.connect_accepted_socket(lambda: HTTPConnection(self, read), connection)

        spawn_owner(connect, name="kailash http connection of another worker")

    async def _serve(self, listener: anyio.abc.Listener[Any]) -> None:
        async with listener, anyio.create_task_group() as handshakes:
            while True:
                try:
                    await listener.serve(self._serve_stream, handshakes)
                except anyio.BrokenResourceError as error:
                    # Too many open files, or a peer that was gone before it was accepted: that passes.
                    logger.warning("! no connection could be accepted: %s", error.__cause__)
                    await anyio.sleep(_ACCEPT_AGAIN)

    async def _serve_stream(self, stream: anyio.abc.ByteStream) -> None:
        # In an owner of its own: the end of the listener must not end what it accepted.
        transport = StreamTransport(stream, HTTPConnection(self))
        spawn_owner(transport.run, name="kailash http connection")

    def forget(self, connection: HTTPConnection | WebSocketChannel) -> None:
        """Take the end of a connection."""
        self.connections.discard(connection)
        if not self.connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    # The end

    async def drain(self) -> None:
        """Accept no further connection; those that are there end with their next answer."""
        self.is_draining = True
        for _ in range(3):
            await anyio.lowlevel.checkpoint()  # what the kernel has accepted for us already is taken still
        self.stop_listening()
        for connection in list(self.connections):
            connection.drain_answer()

    def stop_listening(self) -> None:
        """Accept no further connection."""
        if self._server is not None:
            self._server.close()
        for each in self._listening:
            each.cancel()

    def shut_connections(self) -> None:
        """Let each connection end with the answer that is under way; those without one end now."""
        for connection in list(self.connections):
            connection.shut()

    async def wait_empty(self, timeout: float | None = None) -> bool:
        """Wait until every connection has ended; returns whether they did within `timeout` seconds."""
        with anyio.move_on_after(timeout):
            while self.connections:
                self._empty = make_waiter(self.loop)
                await self._empty
        return not self.connections

    async def aclose(self, timeout: float | None = 5.0) -> None:
        """Listen no longer, close every connection once its answer is written, and after `timeout` the others too."""
        self.stop_listening()
        self.shut_connections()
        if not await self.wait_empty(timeout):
            for connection in list(self.connections):
                connection.abort()
            await self.wait_empty()
        if self._server is not None:
            await self._server.wait_closed()
        for each in self._listening:
            await each.wait()
        self._listening.clear()


_BACKLOG = 2048
_ACCEPT_AGAIN = 0.25  # seconds


class _Servers:
    """Several of asyncio's servers as one."""

    def __init__(self) -> None:
        self._servers: list[Any] = []

    def add(self, server: Any) -> None:
        self._servers.append(server)

    def close(self) -> None:
        for server in self._servers:
            server.close()

    async def wait_closed(self) -> None:
        for server in self._servers:
            await server.wait_closed()


def bind(host: str, port: int, *, is_shared: bool = False) -> list[socket.socket]:
    """Return sockets bound to every address of a host, all on one port.

    Args:
        host: a name or an address; `""` for every address of this machine.
        port: 0 for a free one.
        is_shared: other processes may bind the same port (`SO_REUSEPORT`).

    Raises:
        OSError: an address is taken, or is none of this machine's.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, number, _, address in dict.fromkeys(found):
        chosen = sockets[0].getsockname()[1] if sockets and port == 0 else address[1]
        try:
            each = socket.socket(family, kind, number)
        except OSError as error:  # a kernel without IPv6
            failure = error
            continue
        try:
            _prepare(each, is_shared)
            each.bind((address[0], chosen, *address[2:]))
        except OSError as error:
            each.close()
            failure = error
            if error.errno != errno.EADDRNOTAVAIL:  # `localhost` may name an address that this machine does not have
                break
        else:
            sockets.append(each)
            failure = None if failure is None or failure.errno == errno.EADDRNOTAVAIL else failure
    if not sockets or (failure is not None and failure.errno == errno.EADDRINUSE):
        for each in sockets:
            each.close()
        assert failure is not None
        raise OSError(failure.errno, f"cannot listen on {host or '*'}:{port}: {os.strerror(failure.errno or 0)}")
    return sockets


def _prepare(each: socket.socket, is_shared: bool) -> None:
    if os.name == "posix":
        # A port whose last connections still linger is free.
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if each.family == socket.AF_INET6:
        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    each.setblocking(False)


def make_ssl_context(certfile: str, keyfile: str | None = None, password: str | None = None) -> tls.SSLContext:
    """Return what a TLS server needs: its certificate chain and key, TLS 1.2 or newer."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    context.minimum_version = tls.TLSVersion.TLSv1_2
    context.load_cert_chain(certfile, keyfile, password)
    context.set_alpn_protocols(["http/1.1"])
    return context
