"""The client: connects to a URL, or a server that a command starts, and does what the scenario calls for.

`MCP_CONFORMANCE_SCENARIO` is the scenario, `MCP_CONFORMANCE_PROTOCOL_VERSION` the revision to speak, and
`MCP_CONFORMANCE_CONTEXT` JSON with what some scenarios hand over. Many clients start at once, so little is imported.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import anyio

from kailash.mcp_client import MCPClient

from .told import OPTIONS, TOLD

_LATER = {
    "auth/": "the client cannot authorize itself yet",
    "sep-2640-": "the client knows no skills yet",
}


async def use_everything(client: MCPClient) -> None:
    """Call every tool, read every resource and get every prompt that the server says it has."""
    offered = client.server_capabilities
    if offered.tools:
        for tool in await client.list_tools():
            await client.call_tool(tool.name, _filled(tool.input_schema), raise_on_error=False)
    if offered.resources:
        for resource in await client.list_resources():
            await client.read_resource(resource.uri)
    if offered.prompts:
        for prompt in await client.list_prompts():
            given = prompt.arguments or []
            await client.get_prompt(prompt.name, {argument.name: "text" for argument in given})


async def look_only(client: MCPClient) -> None:
    """List the tools."""
    await client.list_tools()


async def echo_schema(client: MCPClient) -> None:
    """Send a tool's schema back as it was received."""
    tools = {tool.name: tool for tool in await client.list_tools()}
    await client.call_tool("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})


async def call_as_told(client: MCPClient) -> None:
    """Make the calls that the suite lists."""
    await client.list_tools()
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        await client.call_tool(call["name"], call["arguments"], raise_on_error=False)


SCENARIOS = {
    "json-schema-ref-no-deref": look_only,
    "json-schema-2020-12-preservation": echo_schema,
    "http-custom-headers": call_as_told,
}
"""What to do where doing everything is not right."""


def _filled(schema: Any) -> dict[str, Any]:
    """Return an object that fits a simple schema, with every property that has no default."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    return {name: _value(property) for name, property in properties.items() if "default" not in property}


_VALUES = {"string": "text", "integer": 5, "number": 5.5, "boolean": True, "array": [], "object": {}}


def _value(schema: Mapping[str, Any]) -> Any:
    if "const" in schema:
        return schema["const"]
    choices = schema.get("enum") or [choice["const"] for choice in schema.get("oneOf", []) if "const" in choice]
    return choices[0] if choices else _VALUES.get(schema.get("type", ""))


def fill_in(form: Any) -> dict[str, Any]:
    """Answer an elicitation: accepted, with the form's own defaults, which the client adds, and values for the rest."""
    return _filled(form.requested_schema)


async def run(address: list[str]) -> None:
    """Connect, to a URL or to a server that a command starts, and do what the scenario calls for."""
    scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    for prefix, reason in _LATER.items():
        if scenario.startswith(prefix):
            sys.exit(f"{scenario}: {reason}")
    version = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION")
    server: dict[str, Any] = {"url": address[0]}
    if not address[0].startswith(("http://", "https://", "ws://", "wss://")):
        server = {"transport": "stdio", "command": address[0], "args": address[1:]}
    what = SCENARIOS.get(scenario) or TOLD.get(scenario, use_everything)
    client = MCPClient(
        server,
        revisions=None if version is None else [version],
        elicitation_handler=fill_in,
        sampling_handler=lambda question: "an answer",
        roots=["file:///home/user/project"],
        **OPTIONS.get(scenario, {}),
    )
    async with client:
        await what(client)


if __name__ == "__main__":
    anyio.run(run, sys.argv[1:])
