"""Servers to attack: every front there is, with what must be left of them afterwards."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import uvicorn
from anyio import get_cancelled_exc_class
from sniffio import current_async_library

from kailash.adapters.http_server import HTTPServer
from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.web_app import WebApplication
from tests.transports.peer import LAST_HANDSHAKE, META, NEWEST, Peer

__all__ = ["FOREIGN", "FRONTS", "LAST_HANDSHAKE", "META", "NEWEST", "OWN", "Reply", "Site", "Tools", "open_site", "rpc"]

OWN = ("h11", "httptools")
"""The fronts that are our own server, by its codec."""
FOREIGN = ("uvicorn",)
"""ASGI servers of others before our application."""
FRONTS = (*OWN, *FOREIGN)

Reply = tuple[int, dict[str, str], bytes]


def rpc(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    """Return a request without anything that an era asks for."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


class Tools:
    """A server with one tool for each way to keep it busy, and what they have seen."""

    def __init__(self, **options: Any) -> None:
        self.server = server = MCPServer("site", **options)
        self.started, self.cancelled, self.release = anyio.Event(), anyio.Event(), anyio.Event()
        self.running = 0
        self.calls: list[Any] = []

        @server.tool(blocking=False)
        def echo(message: str) -> str:
            self.calls.append(message)
            return message

        @server.tool(blocking=False)
        def take(value: Any = None) -> str:
            self.calls.append(value)
            return "taken"

        @server.tool
        async def wait(ctx: Context) -> str:
            self.running += 1
            self.started.set()
            try:
                await self.release.wait()
            except get_cancelled_exc_class():
                self.cancelled.set()
                raise
            finally:
                self.running -= 1
            return "released"

        @server.tool
        async def pour(ctx: Context, size: int = 65536, count: int = 400) -> str:
            """Write as much as the peer takes."""
            self.running += 1
            self.started.set()
            try:
                for number in range(count):
                    self.calls.append(number)
                    await ctx.progress(number, message="x" * size)
            except get_cancelled_exc_class():
                self.cancelled.set()
                raise
            finally:
                self.running -= 1
            return "poured"

        @server.tool
        async def spill(ctx: Context, size: int = 65536, count: int = 400) -> str:
            """Write without ever waiting for the peer."""
            self.started.set()
            for number in range(count):
                _ = ctx.progress(number, message="x" * size)
                await anyio.lowlevel.checkpoint()
                if ctx.cancelled:
                    break
                self.calls.append(number)
            return "spilt"

        @server.tool
        async def ask(ctx: Context) -> str:
            return (await ctx.elicit("?")).action


class Site:
    """A running server."""

    def __init__(self, tools: Tools, app: WebApplication, port: int, http: HTTPServer | None, connections: Any) -> None:
        self.tools = tools
        self.app = app
        self.port = port
        self.http: Any = http
        """Our own server, if the front is that."""
        self.connections = connections
        """Those that are open."""
        self._peers: list[Peer] = []

    async def peer(self) -> Peer:
        """Connect; the connection is closed with the site."""
        peer = await Peer.connect(self.port)
        self._peers.append(peer)
        return peer

    async def ask(self, data: bytes) -> Reply:
        """Send bytes on a fresh connection and return the one response there is, with what came behind it."""
        peer = await self.peer()
        await peer.send(data)
        reply = await peer.response()
        await peer.close()
        return reply

    async def post(self, message: Any, *headers: str, path: str = "/mcp", without: str = "") -> Reply:
        """Post a message on a fresh connection."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        lines = ["Host: 127.0.0.1", "Content-Type: application/json"]
        lines += ["Accept: application/json, text/event-stream", f"Content-Length: {len(body)}"]
        own = {line.partition(":")[0].lower() for line in headers} | {without.lower()}
        kept = [line for line in lines if line.partition(":")[0].lower() not in own]
        head = "\r\n".join([f"POST {path} HTTP/1.1", *kept, *(line for line in headers if line), "", ""])
        return await self.ask(head.encode("latin-1") + body)

    async def modern(self, message: Any, *headers: str, path: str = "/mcp") -> Reply:
        """Post what claims to be of the newest revision."""
        return await self.post(message, f"MCP-Protocol-Version: {NEWEST}", *headers, path=path)

    async def call(self, tool: str, *headers: str, id: Any = 1, path: str = "/mcp", **arguments: Any) -> Reply:
        """Call a tool in the newest revision."""
        message = rpc("tools/call", id, name=tool, arguments=arguments, _meta=META)
        return await self.modern(message, "Mcp-Method: tools/call", f"Mcp-Name: {tool}", *headers, path=path)

    async def session(self, *headers: str) -> str:
        """Begin a session and return its id."""
        peer = await self.peer()
        found = await peer.initialize(*headers)
        await peer.close()
        return found

    async def is_well(self, *headers: str) -> None:
        """See a fresh client served in both eras, and nothing left of it or anybody else."""
        peer = await self.peer()
        await peer.call("echo", {"message": "well"}) if not headers else await self._call_with(peer, *headers)
        status, _, body = await peer.response()
        assert status == 200 and json.loads(body)["result"]["content"][0]["text"] == "well"
        if self.app.http is not None and len(self.app.http.sessions) < (self.app.options.max_sessions or 10):
            name = await peer.initialize(*headers)
            message = rpc("tools/call", 9, name="echo", arguments={"message": "well"})
            await peer.post(message, f"Mcp-Session-Id: {name}", *headers)
            status, _, body = await peer.response()
            assert status == 200 and json.loads(body)["result"]["content"][0]["text"] == "well"
            await peer.get("/mcp", f"Mcp-Session-Id: {name}", *headers, method="DELETE")
            assert (await peer.response())[0] == 204
        await peer.close()
        await self.is_at_rest()

    async def _call_with(self, peer: Peer, *headers: str) -> None:
        params = {"name": "echo", "arguments": {"message": "well"}}
        await peer.modern("tools/call", params, "Mcp-Name: echo", *headers)

    async def is_at_rest(self, *, connections: int = 0) -> None:
        """Wait until nothing but live sessions is left: no connection, no exchange, no seat, no handler."""
        await until(lambda: len(self.connections) <= connections, "connections")
        await until(lambda: not self.app.carriers._carriers, "exchanges")
        app = self.app
        http = app.http
        kept = 0 if http is None else len(http.sessions)
        await until(lambda: len(app.runtime._sessions) <= kept, "server sessions")
        if http is not None:
            await until(lambda: not http._requests.taken and not http._listens.taken, "seats")
            assert http._places.taken == len(http.sessions)
        if app.sse is not None:
            await until(lambda: not app.sse._streams and not app.sse._places.taken, "event streams")  # type: ignore[union-attr]
        await until(lambda: not self.tools.running, "handlers")

    async def _close(self) -> None:
        for peer in self._peers:
            await peer.close()


async def until(is_so: Callable[[], object], what: str) -> None:
    """Let the loop turn until something is so."""
    try:
        with anyio.fail_after(5):
            while not is_so():
                await anyio.lowlevel.checkpoint()
    except TimeoutError:
        raise AssertionError(f"not as it should be in five seconds: {what}") from None


@asynccontextmanager
async def open_site(
    front: str, *, tools: Tools | None = None, sse: bool = False, server: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Site]:
    """Serve, and see that no task outlives the server.

    Args:
        front: our own server with one of its codecs, or an ASGI server before our application.
        tools: what is served.
        sse: serve HTTP+SSE as well.
        server: options of the `MCPServer`.
        options: those of `HTTPOptions`.
    """
    tools = tools or Tools(**(server or {}))
    tools.server.enable_http_transport, tools.server.enable_sse_transport = True, sse
    before = count_tasks()
    opened = _open_own if front in OWN else _open_uvicorn
    async with opened(front, tools, options) as site:
        try:
            yield site
        finally:
            tools.release.set()
            await site._close()
    await until(lambda: count_tasks() <= before, "tasks")


@asynccontextmanager
async def _open_own(front: str, tools: Tools, options: dict[str, Any]) -> AsyncIterator[Site]:
    found = tools.server.http_options(http_codec=front, **options)
    async with tools.server.running():
        app = WebApplication(tools.server, found, http=True, sse=tools.server.enable_sse_transport)
        http = HTTPServer(
            app.routes,
            take=app.runtime.take,
            carriers=app.carriers,
            admit=app.admit,
            options=found.server_options(tools.server.limits.message_bytes),
        )
        port = await http.start()
        try:
            yield Site(tools, app, port, http, http.connections)
        finally:
            await app.aclose()
            await http.aclose()
        assert not http.connections


@asynccontextmanager
async def _open_uvicorn(front: str, tools: Tools, options: dict[str, Any]) -> AsyncIterator[Site]:
    application = tools.server.asgi_app(**options)
    config = uvicorn.Config(application, lifespan="on", log_config=None, http="h11", ws="none")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    async with AsyncExitStack() as stack:
        listening = socket.create_server(("127.0.0.1", 0))
        stack.callback(listening.close)
        await server.startup(sockets=[listening])
        try:
            home = application._home
            yield Site(tools, home._app, listening.getsockname()[1], None, server.server_state.connections)
        finally:
            tools.release.set()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await until(lambda: not server.server_state.connections, "connections of uvicorn")
            # As it would itself, but for the tenth of a second that it waits in between.
            for each in server.servers:
                each.close()
            await server.lifespan.shutdown()


def count_tasks() -> int:
    """Return how many tasks there are in this loop."""
    if current_async_library() == "trio":
        import trio

        root = trio.lowlevel.current_root_task()
        assert root is not None
        waiting, count = [root], 0
        while waiting:
            task = waiting.pop()
            count += 1
            for nursery in task.child_nurseries:
                waiting += nursery.child_tasks
        return count
    return len(asyncio.all_tasks())
