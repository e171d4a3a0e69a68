"""What the client does where a scenario asks for something else than using everything; see `scenarios.client`."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from kailash.errors import MCPError
from kailash.mcp_client import MCPClient

__all__ = ["OPTIONS", "TOLD"]

WATCHED = "test://watched"


async def listen(client: MCPClient) -> None:
    """Listen twice, and look at what changed."""
    await client.list_tools()

    async def first(changes: Any, look: Callable[[], Awaitable[Any]]) -> None:
        async for _ in changes:
            await look()
            return

    async with client.listen(tools=True) as tools, client.listen(uris=[WATCHED]) as updates:
        async with anyio.create_task_group() as group:
            group.start_soon(first, tools, client.list_tools)
            group.start_soon(first, updates, lambda: client.read_resource(WATCHED))


async def listen_on(client: MCPClient) -> None:
    """Listen until a change comes, over as many connections as that takes."""
    async with client.listen(tools=True) as changes:
        async for _ in changes:
            await client.list_tools()
            return


async def read_again(client: MCPClient) -> None:
    """Read one resource twice, and another between."""
    for uri in ("test://one", "test://two", "test://one"):
        read = await client.read_resource(uri)
        await client.call_tool("report", {"text": read.text})


async def answer_again(client: MCPClient) -> None:
    """Read a resource twice that asks."""
    for _ in range(2):
        read = await client.read_resource("test://asks")
        await client.call_tool("report", {"text": read.text})


async def give_up(client: MCPClient) -> None:
    """Call a tool that takes too long, and another."""
    try:
        await client.call_tool("slow", timeout=0.5)
    except MCPError:
        await client.call_tool("quick")


async def follow(client: MCPClient) -> None:
    """Wait for a task, and for a call that is none."""
    for name in ("slow", "quick"):
        result = await client.call_tool(name)
        await client.call_tool("report", {"text": result.text})


async def cancel(client: MCPClient) -> None:
    """Cancel a task."""
    task = await client.start_task("slow")
    await task.cancel()


TOLD = {
    "client-listens": listen,
    "client-listens-again": listen_on,
    "client-caches": read_again,
    "client-caches-no-answers-to-inputs": answer_again,
    "client-gives-up": give_up,
    "client-follows-a-task": follow,
    "client-cancels-a-task": cancel,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "client-follows-a-task": {"tasks": True},
    "client-cancels-a-task": {"tasks": True},
}
"""How the client is made for them."""
