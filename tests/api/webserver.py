"""A server of ours behind a free port, for clients to come to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kailash.errors import ToolError
from kailash.mcp_server import Context, MCPServer


class Web:
    """A server of ours, and what its tools have seen."""

    def __init__(self, **options: Any) -> None:
        self.server = MCPServer("web", enable_http_transport=True, enable_sse_transport=True, **options)
        self.url = ""
        self.started = anyio.Event()
        self.cancelled = anyio.Event()
        self.release = anyio.Event()

        @self.server.tool(blocking=False)
        def echo(message: str) -> str:
            return message

        @self.server.tool
        async def count(ctx: Context) -> str:
            for number in (1, 2, 3):
                await ctx.progress(number, 3)
            return "counted"

        @self.server.tool
        async def ask(ctx: Context) -> str:
            return (await ctx.elicit("?")).action

        @self.server.tool
        async def fail() -> str:
            raise ToolError("no luck")

        @self.server.tool
        async def wait() -> str:
            self.started.set()
            try:
                await self.release.wait()
            except BaseException:
                self.cancelled.set()
                raise
            return "released"

        @self.server.resource("memo://{name}")
        def memo(name: str) -> str:
            return f"about {name}"


@asynccontextmanager
async def served(server: MCPServer) -> AsyncIterator[str]:
    """Serve on a free port until the context ends; gives the base URL."""
    ports: list[int] = []
    listening = anyio.Event()

    def started(port: int) -> None:
        ports.append(port)
        listening.set()

    async def serve() -> None:
        await server.serve_http("127.0.0.1", 0, started=started)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        with anyio.fail_after(5):
            await listening.wait()
        try:
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            group.cancel_scope.cancel()


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Web]:
    """Serve what clients are tried on."""
    web = Web(**options)
    async with served(web.server) as web.url:
        try:
            yield web
        finally:
            web.release.set()


def speaking(revision: str) -> dict[str, Any]:
    return {"revisions": [revision]}
