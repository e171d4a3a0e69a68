"""A server with one task tool of each kind, and raw clients that speak of tasks in both dialects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kailash.mcp_server import Context, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.errors import ToolError
from protocol.methods import TASKS_EXTENSION

from .conftest import LAST_HANDSHAKE as CORE
from .raw import RawPeer

DECLARED = {"extensions": {TASKS_EXTENSION: {}}}
ABLE = {**DECLARED, "elicitation": {}, "sampling": {}}
RELATED = "io.modelcontextprotocol/related-task"
TEXT = {"content": [{"type": "text", "text": "done"}]}


class Bench:
    """A server with one tool of each kind, and gates that hold the work."""

    def __init__(self, **options: Any) -> None:
        self.gate = anyio.Event()
        self.started = anyio.Event()
        self.ended = anyio.Event()
        self.was_cancelled = False
        self.server = server = MCPServer("tasks", **options)
        quick: dict[str, Any] = {"task_poll_interval": 0.001}

        @server.tool(task="optional", **quick)
        async def work(n: int = 1) -> int:
            self.started.set()
            try:
                await self.gate.wait()
            except anyio.get_cancelled_exc_class():
                self.was_cancelled = True
                raise
            finally:
                self.ended.set()
            return n

        @server.tool(task="required", **quick)
        async def always(ctx: Context) -> str:
            return "task" if ctx.task_id else "call"

        @server.tool(task="forbidden")
        async def never(ctx: Context) -> str:
            return "task" if ctx.task_id else "call"

        @server.tool
        async def plain(ctx: Context) -> str:
            return "task" if ctx.task_id else "call"

        @server.tool(task="optional", **quick)
        async def fails() -> str:
            raise ToolError("no luck")

        @server.tool(task="optional", **quick)
        async def breaks() -> str:
            raise MCPError("out of order", error_code=MCPErrorCode.INTERNAL_ERROR)

        @server.tool(task="optional", **quick)
        async def tells(ctx: Context) -> str:
            await ctx.progress(1, 2, "half")
            await ctx.progress(1, 2, "not further")
            await ctx.info("at work")
            self.started.set()
            await self.gate.wait()
            await ctx.progress(2)
            return "told"

        @server.tool(task="optional", **quick)
        async def asks(ctx: Context) -> str:
            first = await ctx.elicit("first?", {"type": "object", "properties": {"n": {"type": "string"}}}, key="k")
            second = await ctx.sample("second?", key="k")
            return f"{first.data['n']} {second.content.text}"

        @server.tool(task="optional", task_asks_first=True, **quick)
        async def prepares(ctx: Context) -> str:
            name = await ctx.elicit("name?", {"type": "object", "properties": {"n": {"type": "string"}}}, key="k")
            number = await ctx.once("number", lambda: 7)
            is_task = await ctx.start_task()
            more = await ctx.elicit("more?", key="more")
            return f"{name.data['n']} {number} {is_task} {ctx.task_id is not None} {more.action}"


@asynccontextmanager
async def raw(server: MCPServer, principal: str | None = None) -> AsyncIterator[RawPeer]:
    async with RawPeer(server) as peer:
        peer._server_channel.engine.principal = principal
        yield peer


@asynccontextmanager
async def core_peer(bench: Bench, principal: str | None = None, **capabilities: Any) -> AsyncIterator[RawPeer]:
    async with raw(bench.server, principal) as peer:
        await peer.initialize(CORE, capabilities)
        yield peer


async def start(peer: RawPeer, tool: str, *, id: int = 1, **task: Any) -> str:
    """Start a task of the core dialect and return its id."""
    response = await peer.ask("tools/call", {"name": tool, "task": task}, id=id)
    task_id: str = response["result"]["task"]["taskId"]
    return task_id


async def start_modern(peer: RawPeer, tool: str) -> str:
    """Start a task of the extension and return its id."""
    response = await peer.ask_modern("tools/call", {"name": tool}, capabilities=ABLE)
    task_id: str = response["result"]["taskId"]
    return task_id


async def read_until(peer: RawPeer, key: str, value: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the first message with a member of this value, and those before it."""
    before = []
    while (message := await peer.read()).get(key) != value:
        before.append(message)
    return message, before


async def poll(peer: RawPeer, task_id: str, status: str) -> dict[str, Any]:
    """Ask for a task of the extension until it has a status."""
    with anyio.fail_after(5):
        while True:
            response = await peer.ask_modern("tasks/get", {"taskId": task_id}, capabilities=ABLE)
            task: dict[str, Any] = response["result"]
            if task["status"] == status:
                return task
            await anyio.lowlevel.checkpoint()


async def ask_past(peer: RawPeer, method: str, task_id: str, id: int = 77, **members: Any) -> dict[str, Any]:
    """Make a request and return its response, past the notifications before it."""
    peer.write({"jsonrpc": "2.0", "id": id, "method": method, "params": {"taskId": task_id, **members}})
    return (await read_until(peer, "id", id))[0]
