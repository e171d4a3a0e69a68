"""A small scripted HTTP server over raw sockets, and a binding that only notes what comes: neither knows MCP."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from kailash.adapters.http_client import HTTPClientChannel
from kailash.adapters.http_pool import HTTPPool


class Asked:
    """A request as it came."""

    def __init__(self, method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> None:
        self.method, self.target, self.body = method, target, body
        self.fields = fields
        self.headers = {name.lower(): value for name, value in fields}


class Visitor:
    """One connection at the server, and what it asked so far."""

    def __init__(self, server: RawServer, stream: anyio.abc.ByteStream, number: int) -> None:
        self.server, self.stream, self.number = server, stream, number
        self.asked = 0
        self._reader = BufferedByteReceiveStream(stream)

    async def request(self) -> Asked:
        head = (await self._reader.receive_until(b"\r\n\r\n", 65536)).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        pairs = [line.partition(":") for line in head[1:]]
        fields = [(name, value.strip()) for name, _, value in pairs]
        length = int({name.lower(): value for name, value in fields}.get("content-length", 0))
        self.asked += 1
        return Asked(method, target, fields, await self._reader.receive_exactly(length) if length else b"")

    async def answer(self, body: bytes = b"ok", status: str = "200 OK", *headers: str) -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.stream.send("\r\n".join([*head, "", ""]).encode() + body)

    async def begin(self, *headers: str) -> None:
        """Begin an event stream."""
        head = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", *headers]
        await self.stream.send("\r\n".join([*head, "", ""]).encode())

    async def chunk(self, data: bytes) -> None:
        """Send a chunk; an empty one ends the body."""
        await self.stream.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def until_closed(self) -> None:
        """Return once the client has closed the connection."""
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await self.stream.receive()

    async def reset(self) -> None:
        raw = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER of zero: closing resets
        await self.stream.aclose()


Script = Callable[[Visitor, Asked], Awaitable[None]]


class RawServer:
    """What a scripted server has seen."""

    def __init__(self, port: int, *, is_secure: bool = False) -> None:
        self.port = port
        self.url = f"{'https' if is_secure else 'http'}://127.0.0.1:{port}"
        self.asked: list[Asked] = []
        self.connections = 0
        self.ended = 0
        self._changed = anyio.Event()

    def tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, is_so: Callable[[], object]) -> None:
        with anyio.fail_after(5):
            while not is_so():
                await self._changed.wait()


@asynccontextmanager
async def raw_server(script: Script, *, tls: Any = None) -> AsyncIterator[RawServer]:
    """Serve on 127.0.0.1, each request with a call of the script."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = RawServer(listener.extra(anyio.abc.SocketAttribute.local_port), is_secure=tls is not None)

    async def serve(stream: anyio.abc.ByteStream) -> None:
        server.connections += 1
        number = server.connections
        server.tell()
        try:
            with suppress(
                anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError
            ):
                if tls is not None:
                    stream = await TLSStream.wrap(stream, server_side=True, ssl_context=tls, standard_compatible=False)
                visitor = Visitor(server, stream, number)
                while True:
                    asked = await visitor.request()
                    server.asked.append(asked)
                    server.tell()
                    await script(visitor, asked)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            server.ended += 1
            server.tell()

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield server
        group.cancel_scope.cancel()


class NotedExchange:
    """An exchange that notes what comes back."""

    def __init__(
        self, binding: NotingBinding, method: str = "POST", body: bytes | None = b"{}", **options: Any
    ) -> None:
        self.binding = binding
        self.method = method
        self.body = body if method == "POST" else None
        self.target: str | None = options.pop("target", None)
        self.headers: list[tuple[bytes, bytes]] = options.pop("headers", [])
        self.call: Any = options.pop("call", None)
        self.is_repeatable: bool = options.pop("is_repeatable", False)
        self.enough: int | None = options.pop("enough", None)
        assert not options
        self.status: int | None = None
        self.data = b""
        self.is_complete = False
        self.failure: str | None = None
        self.was_sent: bool | None = None
        self.is_over = False

    def _tell(self) -> None:
        self.binding.events.append(self)

    def receive_head(self, status: int, headers: Any, now: float) -> None:
        self.status = status
        self._tell()

    def receive_data(self, data: bytes, now: float) -> None:
        self.data += data
        if self.enough is not None and len(self.data) >= self.enough:
            self.is_over = True
        self._tell()

    def receive_end(self, now: float) -> None:
        self.is_complete = self.is_over = True
        self._tell()

    def receive_failure(self, why: str, now: float, *, was_sent: bool) -> None:
        self.failure, self.was_sent, self.is_over = why, was_sent, True
        self._tell()


class NotingBinding:
    """A binding whose exchanges are those a test gives it."""

    engine = "engine"

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.to_send: list[NotedExchange] = []
        self.to_drop: list[NotedExchange] = []
        self.farewell: list[NotedExchange] = []
        self.deadline: float | None = None
        self.is_closed = False

    def requests_to_send(self, now: float) -> list[NotedExchange]:
        taken, self.to_send = self.to_send, []
        return taken

    def dropped(self) -> list[NotedExchange]:
        taken, self.to_drop = self.to_drop, []
        return taken

    def events_received(self) -> list[Any]:
        taken, self.events = self.events, []
        return taken

    def next_deadline(self) -> float | None:
        return self.deadline

    def handle_deadline(self, now: float) -> None:
        self.deadline = None
        self.events.append("deadline")

    def close(self, now: float) -> None:
        self.is_closed = True
        self.to_send += self.farewell


class Noting:
    """A channel over a noting binding, and a way to wait for what it brings."""

    def __init__(self, pool: HTTPPool, url: str, **options: Any) -> None:
        self.pool = pool
        self.binding = NotingBinding()
        self.events: list[Any] = []
        self.ended: list[BaseException | None] = []
        self._changed = anyio.Event()
        self.channel = HTTPClientChannel(
            self.binding, pool, url, on_events=self._take, on_closed=self.ended.append, **options
        )

    def _take(self, events: list[Any]) -> None:
        assert events
        self.events += events
        self._changed.set()
        self._changed = anyio.Event()

    def send(self, method: str = "POST", body: bytes | None = b"{}", **options: Any) -> NotedExchange:
        exchange = NotedExchange(self.binding, method, body, **options)
        self.binding.to_send.append(exchange)
        self.channel.flush()
        return exchange

    async def until(self, is_so: Callable[[], object]) -> None:
        with anyio.fail_after(5):
            while not is_so():
                await self._changed.wait()

    async def ask(self, *args: Any, **options: Any) -> NotedExchange:
        """Send an exchange and return it once it is over."""
        exchange = self.send(*args, **options)
        await self.until(lambda: exchange.is_over)
        return exchange


@asynccontextmanager
async def noting(url: str, *, pool: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Noting]:
    """Open a channel; nothing of it is left when the context ends."""
    connections = HTTPPool(**(pool or {}))
    try:
        client = Noting(connections, url, **options)
        yield client
        client.channel.close()
        with anyio.fail_after(6):
            await client.channel.wait_closed()
    finally:
        with anyio.CancelScope(shield=True), anyio.fail_after(5):
            await connections.aclose()
    assert connections.connection_count == 0
