"""A client of TCP and Unix sockets for tests: it may say anything, at any pace; and servers for it on real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.abc

from kailash.mcp_client import MCPClient
from kailash.mcp_server import MCPServer
from protocol.revisions import REVISIONS
from tests.security.site import count_tasks, until

from .peer import META

__all__ = ["HANDSHAKES", "KINDS", "META", "REVISION_NAMES", "LinePeer", "Place", "call", "serving"]

KINDS = ("tcp", "unix")
REVISION_NAMES = [revision.name for revision in REVISIONS]
HANDSHAKES = REVISION_NAMES[:-1]


def call(name: str, id: Any = 1, *, token: Any = None, modern: bool = True, **arguments: Any) -> dict[str, Any]:
    """Return a call of a tool: of the newest revision, or of one that has shaken hands."""
    params: dict[str, Any] = {"name": name, "arguments": arguments}
    if modern:
        params["_meta"] = META
    if token is not None:
        params["_meta"] = {**params.get("_meta", {}), "progressToken": token}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


class LinePeer:
    """One connection."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._rest = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def say(self, *messages: Any) -> None:
        await self.send(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    async def hear(self, seconds: float = 10) -> Any:
        """Return the next message, `None` at the end."""
        with anyio.fail_after(seconds):
            while b"\n" not in self._rest:
                try:
                    self._rest += await self.stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return None
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    async def answer(self, id: Any, seconds: float = 10) -> Any:
        """Return the answer to a request, past all else."""
        while (message := await self.hear(seconds)) is not None:
            if message.get("id") == id and "method" not in message:
                return message
        raise AssertionError(f"the connection ended before the answer to {id!r}")

    async def is_ended(self, seconds: float = 10) -> bool:
        """Wait for the end; false when anything comes before it."""
        return await self.hear(seconds) is None

    async def begin(self, revision: str, **capabilities: Any) -> None:
        """Shake hands, where the revision wants that."""
        if revision not in HANDSHAKES:
            return
        info = {"name": "peer", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": info}
        await self.say({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params})
        assert (await self.answer("hello"))["result"]["protocolVersion"] == revision
        await self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def echo(self, revision: str = REVISION_NAMES[-1], id: Any = "echo") -> None:
        """See a call answered."""
        await self.say(call("echo", id, modern=revision not in HANDSHAKES, message="well"))
        assert (await self.answer(id))["result"]["content"][0]["text"] == "well"

    async def vanish(self) -> None:
        """Be gone without a farewell."""
        raw = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        if raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await anyio.aclose_forcefully(self.stream)


@dataclass
class Place:
    """Where a server listens."""

    server: MCPServer
    kind: str
    port: int = 0
    path: str = ""

    async def peer(self) -> LinePeer:
        if self.kind == "tcp":
            return LinePeer(await anyio.connect_tcp("127.0.0.1", self.port))
        return LinePeer(await anyio.connect_unix(self.path))

    def client(self, **options: Any) -> MCPClient:
        where = {"host": "127.0.0.1", "port": self.port} if self.kind == "tcp" else {"path": self.path}
        return MCPClient({"transport": self.kind, **where, **options})

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}" if self.kind == "tcp" else f"unix://{self.path}"

    async def is_well(self) -> None:
        """See fresh clients of both eras served, and nothing left of them or anybody else."""
        for revision in REVISION_NAMES[-2:]:
            async with await self.peer() as peer:
                await peer.begin(revision)
                await peer.echo(revision)
        await until(lambda: not self.server.sessions, "sessions")


@asynccontextmanager
async def serving(kind: str, server: MCPServer, folder: Path, **options: Any) -> AsyncIterator[Place]:
    """Serve, and see that no task outlives the server."""
    place = Place(server, kind, path=str(folder / "server.sock"))
    ready = anyio.Event()

    def started(port: int = 0) -> None:
        place.port = port
        ready.set()

    async def serve() -> None:
        if kind == "tcp":
            await server.serve_tcp(port=0, started=started, **options)
        else:
            await server.serve_unix(place.path, started=started, **options)

    before = count_tasks()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        with anyio.fail_after(10):
            await ready.wait()
        try:
            yield place
        finally:
            tasks.cancel_scope.cancel()
    await until(lambda: count_tasks() <= before, "tasks")
    assert not server.sessions
