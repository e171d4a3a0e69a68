"""Servers on one Redis, behind a proxy that gives each request to the next of them; and a raw client."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from protocol.framing.sse import ServerSentEvent, SSEDecoder

__all__ = ["Answer", "Client", "Proxy", "Worker", "open_cluster"]


class Worker:
    """A server process.

    Args:
        options: of the server.
        environment: more of it.
    """

    def __init__(self, options: dict[str, Any], **environment: str) -> None:
        home = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.transports.shared_program"],
            cwd=home,
            env={**os.environ, "SERVER_OPTIONS": json.dumps(options), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        said = self.process.stderr.readline().decode()
        found = re.search(r"http://[^ ]+:(\d+)/", said)
        assert found is not None, said + self.process.stderr.read().decode()
        self.port = int(found[1])
        self.pid = self.process.pid

    async def stop(self) -> int:
        """Tell it to end, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await anyio.to_thread.run_sync(self.process.wait)

    def kill(self) -> None:
        """End it without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> str:
        """End it, and return what it said on standard error."""
        self.process.kill()
        return self.process.communicate()[1].decode()


_addresses = cycle(f"127.0.0.{last}" for last in range(2, 200))


async def connect(port: int) -> anyio.abc.SocketStream:
    """Connect from one of many addresses: of one, ten thousand connections would use up the ports."""
    return await anyio.connect_tcp("127.0.0.1", port, local_host=next(_addresses))


class Proxy:
    """Gives each connection to the next server; with one request a connection, that is round-robin by request.

    Args:
        ports: of the servers; a list that may change.
    """

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.port = 0
        self._turn = 0

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024)
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        task_status.started()
        async with listener:
            await listener.serve(self._relay)

    async def _relay(self, near: anyio.abc.SocketStream) -> None:
        async with near:
            far = await self._connect()
            async with far, anyio.create_task_group() as tasks:
                tasks.start_soon(self._pump, near, far, tasks.cancel_scope)
                tasks.start_soon(self._pump, far, near, tasks.cancel_scope)

    async def _connect(self) -> anyio.abc.SocketStream:
        self._turn += 1
        first = self._turn % len(self.ports)
        for port in (*self.ports[first:], *self.ports[:first]):
            with suppress(OSError):
                return await connect(port)
        raise AssertionError("no server is left")

    async def _pump(self, source: Any, sink: Any, scope: anyio.CancelScope) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                await sink.send(await source.receive())
        scope.cancel()


class Lost(Exception):
    """The connection ended before the answer did."""


class Answer:
    """An answer while it is read: its head, and its messages one by one."""

    def __init__(self, status: int, headers: dict[str, str], reader: BufferedByteReceiveStream) -> None:
        self.status, self.headers = status, headers
        self.last_event_id = ""
        """Of the last message that was read."""
        self._reader = reader
        self._decoder = SSEDecoder(1 << 20)

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Yield each event of a stream."""
        while True:
            size = int(await self._line(), 16)
            chunk = await self._exactly(size)
            await self._exactly(2)
            if not size:
                return
            for event in self._decoder.receive_data(chunk):
                self.last_event_id = event.id
                yield event

    async def messages(self) -> AsyncIterator[Any]:
        """Yield each message of the body."""
        if "content-length" in self.headers:
            length = int(self.headers["content-length"])
            body = await self._exactly(length) if length else b""
            if body:
                yield json.loads(body)
            return
        if self.headers.get("transfer-encoding") == "chunked":
            async for event in self.events():
                yield json.loads(event.data)

    async def _line(self) -> bytes:
        try:
            return await self._reader.receive_until(b"\r\n", 1 << 16)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            raise Lost from None

    async def _exactly(self, count: int) -> bytes:
        try:
            return await self._reader.receive_exactly(count) if count else b""
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            raise Lost from None


class Client:
    """Sends each request on a connection of its own, to one port or the other.

    Args:
        port: of the proxy.
        revision: what it speaks.
        token: what it is known by.
    """

    def __init__(self, port: int, revision: str, token: str | None = None) -> None:
        self.port, self.revision, self.token = port, revision, token
        self.session: str | None = None
        self._last_id = 0

    @asynccontextmanager
    async def request(
        self, method: str, body: Any = None, *, port: int | None = None, path: str = "/mcp", **headers: str
    ) -> AsyncIterator[Answer]:
        """Send a request; its answer can be read as long as the context lasts."""
        data = b"" if body is None else json.dumps(body).encode()
        fields = {"Host": "127.0.0.1", "Accept": "application/json, text/event-stream", "Connection": "close"}
        if method == "POST":
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        if self.session is not None:
            fields["Mcp-Session-Id"] = self.session
        if self.token is not None:
            fields["Authorization"] = f"Bearer {self.token}"
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        async with await connect(port or self.port) as stream:
            await stream.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
            reader = BufferedByteReceiveStream(stream)
            try:
                lines = (await reader.receive_until(b"\r\n\r\n", 1 << 16)).decode("latin-1").split("\r\n")
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                raise Lost from None
            pairs = (line.partition(":") for line in lines[1:])
            found = {name.lower(): value.strip() for name, _, value in pairs}
            yield Answer(int(lines[0].split(" ")[1]), found, reader)

    def next_id(self) -> int:
        """Return a fresh id."""
        self._last_id += 1
        return self._last_id

    async def post(self, body: Any, **options: Any) -> tuple[int, list[Any]]:
        """Send a message; return the status and the messages of the answer."""
        async with self.request("POST", body, **options) as answer:
            return answer.status, [message async for message in answer.messages()]

    async def ask(self, method: str, params: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Send a request; return the messages of its answer, the response last."""
        body = {"jsonrpc": "2.0", "id": self.next_id(), "method": method, "params": params or {}}
        status, messages = await self.post(body, **options)
        assert status == 200, (status, messages)
        assert messages[-1]["id"] == body["id"]
        return messages

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Call a tool; return the messages of the answer."""
        token = {"_meta": {"progressToken": self._last_id + 1}}
        return await self.ask("tools/call", {"name": tool, "arguments": arguments or {}, **token}, **options)

    async def notify(self, method: str, params: dict[str, Any] | None = None, **options: Any) -> None:
        """Send a notification."""
        status, _ = await self.post({"jsonrpc": "2.0", "method": method, "params": params or {}}, **options)
        assert status == 202

    async def start(self, *, port: int | None = None, **capabilities: Any) -> None:
        """Begin a session."""
        params = {
            "protocolVersion": self.revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "raw", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": self.next_id(), "method": "initialize", "params": params}
        async with self.request("POST", body, port=port) as answer:
            assert answer.status == 200
            (message,) = [message async for message in answer.messages()]
            assert message["result"]["protocolVersion"] == self.revision
            session = answer.headers["mcp-session-id"]
        self.session = session
        await self.notify("notifications/initialized", port=port)


def text_of(message: Any) -> str:
    """Return the text of a tool's result."""
    return str(message["result"]["content"][0]["text"])


class Cluster:
    """Servers and the proxy before them."""

    def __init__(self, workers: list[Worker], proxy: Proxy) -> None:
        self.workers, self.proxy = workers, proxy

    def worker(self, pid: int) -> Worker:
        """Return the server with a process id."""
        return next(each for each in self.workers if each.pid == pid)

    @property
    def ports(self) -> list[int]:
        return [worker.port for worker in self.workers]


@asynccontextmanager
async def open_cluster(
    url: str, count: int = 3, *, tokens: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Cluster]:
    """Run servers that share a store, and the proxy."""
    workers: list[Worker] = []
    try:
        start = partial(Worker, {"store": url, **options}, TOKENS=json.dumps(tokens or {}))
        while len(workers) < count:
            workers.append(await anyio.to_thread.run_sync(start))
        proxy = Proxy([worker.port for worker in workers])
        async with anyio.create_task_group() as tasks:
            await tasks.start(proxy.serve)
            yield Cluster(workers, proxy)
            tasks.cancel_scope.cancel()
    finally:
        for worker in workers:
            sys.stderr.write(worker.close())
