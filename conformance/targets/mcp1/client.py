"""What the judge asks of a client, written with `mcp` 1.x; see `targets/mcp/client.py`, which says more.

python client.py http://127.0.0.1:3001/mcp
python client.py COMMAND [ARGUMENT...]      # the command of a server on its standard streams
"""

import os
import sys
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import FileUrl

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
PLAIN: dict[str, Any] = {"string": "text", "integer": 5, "number": 5.5, "boolean": True, "array": [], "object": {}}


def value(schema: dict[str, Any]) -> Any:
    """Return a value that fits a simple schema."""
    if "const" in schema:
        return schema["const"]
    if "default" in schema:
        return schema["default"]
    choices = schema.get("enum") or [each["const"] for each in schema.get("oneOf", []) if "const" in each]
    return choices[0] if choices else PLAIN.get(str(schema.get("type")), "text")


def filled(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object that fits a simple schema."""
    return {name: value(row) for name, row in schema.get("properties", {}).items()}


async def sample(context: Any, params: Any) -> types.CreateMessageResult:
    """Answer in the place of a model."""
    text = types.TextContent(type="text", text="an answer")
    return types.CreateMessageResult(role="assistant", content=text, model="none", stopReason="endTurn")


async def fill_in(context: Any, params: Any) -> types.ElicitResult:
    """Fill in a form in the place of a user."""
    return types.ElicitResult(action="accept", content=filled(getattr(params, "requestedSchema", None) or {}))


async def roots(context: Any) -> types.ListRootsResult:
    """Say where the user works."""
    return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///home/user/project"), name="project")])


async def every(pages: Any, member: str) -> list[Any]:
    """Return the entries of all the pages of a list."""
    found: list[Any] = []
    params = None
    while True:
        page = await pages(params=params)
        found += getattr(page, member)
        if page.nextCursor is None:
            return found
        params = types.PaginatedRequestParams(cursor=page.nextCursor)


async def use_everything(session: ClientSession, offered: types.ServerCapabilities) -> None:
    """Call every tool, read every resource, get every prompt."""
    if offered.tools:
        tools = await every(session.list_tools, "tools")
        if SCENARIO == "json-schema-2020-12-preservation":
            [schema] = [tool.inputSchema for tool in tools if tool.name == "json_schema_2020_12_tool"]
            await session.call_tool("json_schema_echo", {"schema": schema})
            return
        for tool in tools:
            await session.call_tool(tool.name, filled(tool.inputSchema))
    if offered.resources:
        for resource in await every(session.list_resources, "resources"):
            await session.read_resource(resource.uri)
    if offered.prompts:
        for prompt in await every(session.list_prompts, "prompts"):
            await session.get_prompt(prompt.name, {each.name: "text" for each in prompt.arguments or []})


async def run(address: list[str]) -> None:
    """Connect and use everything."""
    if address[0].startswith("http"):
        streams: Any = streamable_http_client(address[0])
    else:
        streams = stdio_client(StdioServerParameters(command=address[0], args=address[1:]))
    async with (
        streams as (read, write, *_),
        ClientSession(
            read,
            write,
            sampling_callback=sample,
            elicitation_callback=fill_in,
            list_roots_callback=roots,
            client_info=types.Implementation(name="judged", version="1.0.0"),
        ) as session,
    ):
        welcome = await session.initialize()
        await use_everything(session, welcome.capabilities)


if __name__ == "__main__":
    anyio.run(run, sys.argv[1:])
