"""Tools: each kind of content, what is told on the way, what is asked of the client, and schemas written by hand."""

from typing import Annotated, Any

import anyio
from msgspec import Meta

from kailash.mcp_server import Audio, Context, Image, MCPServer
from kailash.mcp_server.advanced_features import MultiModalContent
from kailash.mcp_server.errors import ToolError

from .media import PNG, WAV

__all__ = ["add_tools"]

_CONTACT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def add_tools(server: MCPServer) -> None:
    """Register the tools. The suite calls the first one that is listed without arguments."""
    _add_content(server)
    _add_reports(server)
    _add_schemas(server)
    _add_changes(server)


def _add_content(server: MCPServer) -> None:
    @server.tool
    async def test_simple_text() -> str:
        """Returns text."""
        return "This is a simple text response for testing."

    @server.tool
    async def test_image_content() -> Image:
        """Returns an image."""
        return Image(PNG, "image/png")

    @server.tool
    async def test_audio_content() -> Audio:
        """Returns a sound."""
        return Audio(WAV, "audio/wav")

    @server.tool
    async def test_embedded_resource() -> list[Any]:
        """Returns a resource as part of the result."""
        content = MultiModalContent()
        content.add_resource("test://embedded-resource", "This is an embedded resource content.", "text/plain")
        return content.blocks

    @server.tool
    async def test_multiple_content_types() -> list[Any]:
        """Returns text, an image and a resource."""
        content = MultiModalContent().add_text("Multiple content types test:").add_image(PNG, "image/png")
        content.add_resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
        return content.blocks

    @server.tool
    async def test_error_handling() -> str:
        """Fails."""
        raise ToolError("This tool intentionally returns an error for testing")


def _add_reports(server: MCPServer) -> None:
    @server.tool
    async def test_tool_with_logging(ctx: Context) -> str:
        """Logs three messages on the way."""
        await ctx.info("Tool execution started")
        for message in ("Tool processing data", "Tool execution completed"):
            await anyio.sleep(0.05)
            await ctx.info(message)
        return "Tool with logging executed successfully"

    @server.tool
    async def test_logging_tool(ctx: Context) -> str:
        """Logs one message, to clients that want to hear it."""
        await ctx.info("test_logging_tool was called")
        return "logged"

    @server.tool
    async def test_tool_with_progress(ctx: Context) -> str:
        """Reports progress at the start, half way and at the end."""
        for done in (0, 50, 100):
            await ctx.progress(done, 100, f"Completed {done} of 100")
            await anyio.sleep(0.02)
        return "Tool with progress executed successfully"

    @server.tool
    async def test_reconnection(ctx: Context) -> str:
        """Ends its event stream; the client fetches the rest of the answer on another."""
        await ctx.close_stream(retry=0.5)
        await anyio.sleep(0.1)
        return "Reconnection test completed successfully. The answer came on a later stream."


def _add_schemas(server: MCPServer) -> None:
    @server.tool(input_schema=_CONTACT)
    async def json_schema_2020_12_tool(**contact: Any) -> str:
        """Takes a contact whose schema uses what is new in JSON Schema 2020-12."""
        return f"contact with {', '.join(sorted(contact))}"

    @server.tool
    async def test_x_mcp_header(
        region: Annotated[str, Meta(extra_json_schema={"x-mcp-header": "Region"})] = "anywhere",
    ) -> str:
        """Takes an argument that clients repeat in a header.

        Args:
            region: where to look
        """
        return f"looked in {region}"


def _add_changes(server: MCPServer) -> None:
    @server.tool
    async def test_changing_tool() -> str:
        """Goes away and comes back when `test_trigger_tool_change` is called."""
        return "still here"

    @server.tool
    async def test_trigger_tool_change(ctx: Context) -> str:
        """Changes the list of tools, and changes it back."""
        ctx.server.disable_tool("test_changing_tool")
        ctx.server.enable_tool("test_changing_tool")
        return "the list of tools changed"
