"""Tools that run as tasks: slow ones, failing ones, and some that ask."""

import asyncio
from dataclasses import dataclass

import anyio

from kailash.mcp_server import Context, MCPErrorCode, MCPServer
from kailash.mcp_server.errors import RequestError, ToolError

from .inputs import Name

__all__ = ["add_tasks"]

_OFTEN = {"task_poll_interval": 0.1}


@dataclass
class Confirmation:
    """A form."""

    confirm: bool


def add_tasks(server: MCPServer) -> None:
    """Register the tools."""

    @server.tool
    async def greet(name: str) -> str:
        """Greets, at once."""
        return f"Hello, {name}!"

    @server.tool(task="optional", **_OFTEN)
    async def slow_compute(seconds: float = 1.0, label: str = "compute") -> str:
        """Takes its time.

        Args:
            seconds: how much of it
            label: what to call the work
        """
        await anyio.sleep(seconds)
        return f"{label} took {seconds:g} seconds"

    @server.tool(task="required", **_OFTEN)
    async def failing_job() -> str:
        """Fails after a second."""
        await anyio.sleep(1)
        raise ToolError("the job failed")

    @server.tool(task="optional", **_OFTEN)
    async def protocol_error_job() -> str:
        """Ends in an error of the protocol."""
        raise RequestError("the job could not be run", error_code=MCPErrorCode.INTERNAL_ERROR)

    @server.tool(task="optional", **_OFTEN)
    async def confirm_delete(filename: str, ctx: Context) -> str:
        """Asks before it deletes.

        Args:
            filename: what to delete
        """
        answer = await ctx.elicit(f"Delete {filename}?", Confirmation, key="confirm")
        is_meant = answer.data is not None and answer.data.confirm
        return f"deleted {filename}" if is_meant else f"kept {filename}"

    @server.tool(task="optional", **_OFTEN)
    async def test_task_progress(ctx: Context) -> str:
        """Tells its progress three times."""
        for done in (1, 2, 3):
            await anyio.sleep(0.05)
            await ctx.progress(done, 3)
        return "done"

    @server.tool(task="optional", **_OFTEN)
    async def multi_input(ctx: Context) -> str:
        """Asks two questions at once."""
        first, second = await asyncio.gather(
            ctx.elicit("What is your first name?", Name, key="first"),
            ctx.elicit("What is your last name?", Name, key="last"),
        )
        return f"Hello, {first.data} {second.data}"

    @server.tool(task="optional", task_asks_first=True, **_OFTEN)
    async def test_tool_with_task(ctx: Context) -> str:
        """Asks for a name, then works as a task."""
        answer = await ctx.elicit("What is your name?", Name, key="user_name")
        await ctx.start_task()
        return f"Hello, {answer.data.name if answer.data else 'stranger'}!"
