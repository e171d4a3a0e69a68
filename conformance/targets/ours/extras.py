"""What the judge's own scenarios use beyond the official suite's fixtures; see `fixtures/judge.toml`."""

from typing import Any

import anyio

from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.errors import URLElicitationRequiredError
from protocol import SamplingMessage, TextContent, Tool, ToolResultContent, ToolUseContent

__all__ = ["add_extras"]

_WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"temperature": {"type": "number"}, "sky": {"type": "string"}},
    "required": ["temperature", "sky"],
}


def add_extras(server: MCPServer) -> None:
    """Register the tools."""
    _add_outputs(server)
    _add_questions(server)

    @server.tool
    async def test_wait(seconds: float = 1.0) -> str:
        """Waits, then answers.

        Args:
            seconds: how long
        """
        await anyio.sleep(seconds)
        return "waited"

    @server.tool
    async def test_validated(count: int) -> str:
        """Takes a whole number.

        Args:
            count: the number
        """
        return f"counted to {count}"

    @server.tool
    async def test_echo(text: str) -> str:
        """Returns what it is given.

        Args:
            text: what comes back
        """
        return text

    @server.tool
    async def test_trigger_resource_update(ctx: Context) -> str:
        """Says that the watched resource changed, and that one changed which few watch."""
        ctx.server.notify_resource_updated("test://watched-resource")
        ctx.server.notify_resource_updated("test://static-text")
        return "both changed"

    @server.tool
    async def test_all_levels(ctx: Context) -> str:
        """Logs once at each of four levels."""
        await ctx.debug("debug")
        await ctx.info("info")
        await ctx.warning("warning")
        await ctx.error("error")
        return "logged"


def _add_questions(server: MCPServer) -> None:
    @server.tool
    async def test_url_required(ctx: Context) -> str:
        """Needs a visit to a URL first, in the one revision that can say so."""
        if ctx.protocol_version == "2025-11-25":
            raise URLElicitationRequiredError("Please sign in", [("Sign in", "https://example.com/in", "sign-in-1")])
        answer = await ctx.elicit_url("Sign in", "https://example.com/in", key="sign-in")
        return f"visited: {answer.action}"

    @server.tool
    async def test_url_complete(ctx: Context) -> str:
        """Asks for a visit to a URL, and tells that it is over."""
        visit = f"visit-{ctx.request.id}"
        answer = await ctx.elicit_url("Sign in", "https://example.com/in", elicitation_id=visit, key="visit")
        await ctx.end_visit(visit)
        return f"visited: {answer.action}"

    @server.tool
    async def test_sampling_loop(ctx: Context) -> str:
        """Asks the client's model, lets it use a tool, and asks again."""
        city = {"type": "object", "properties": {"city": {"type": "string"}}}
        weather = Tool(name="weather", input_schema=city)
        talk = [SamplingMessage(role="user", content=TextContent(text="How is the weather in a, and in b?"))]
        first = await ctx.sample(talk, tools=[weather], key="first")
        blocks = first.content if isinstance(first.content, list) else [first.content]
        results = [
            ToolResultContent(tool_use_id=each.id, content=[TextContent(text="sunny")])
            for each in blocks
            if isinstance(each, ToolUseContent)
        ]
        if not results:
            return "no use of tools"
        talk += [
            SamplingMessage(role="assistant", content=blocks),
            SamplingMessage(role="user", content=[*results]),
        ]
        second = await ctx.sample(talk, tools=[weather], key="second")
        return str(second.content)


def _add_outputs(server: MCPServer) -> None:
    @server.tool(output_schema=_WEATHER)
    async def test_structured() -> dict[str, Any]:
        """Returns an object that its output schema describes."""
        return {"temperature": 21.5, "sky": "clear"}

    @server.tool(output_schema={"type": "array", "items": {"type": "integer"}})
    async def test_structured_array() -> list[int]:
        """Returns an array."""
        return [1, 2, 3]

    @server.tool(output_schema={"type": ["string", "null"]})
    async def test_structured_null() -> str | None:
        """Returns nothing, in so many words."""
        return None
