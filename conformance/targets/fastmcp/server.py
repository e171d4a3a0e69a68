"""What the judge asks a server for, written with `fastmcp`; see `targets/mcp/server.py`, which says more.

python server.py                 # on the standard streams
python server.py --port 3001     # Streamable HTTP at http://127.0.0.1:3001/mcp
"""

import argparse
import base64
import logging
from typing import Annotated, Any

import anyio
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.tools import ToolResult
from fastmcp.utilities.types import Audio, Image
from mcp import types
from pydantic import BaseModel, Field

logging.disable(logging.ERROR)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
WAV = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==")

server = FastMCP("judged", version="1.0.0", instructions="Serves what the judge asks for.", list_page_size=10)


@server.tool
def test_simple_text() -> str:
    """Return text."""
    return "This is a simple text response for testing."


@server.tool
def test_image_content() -> Image:
    """Return an image."""
    return Image(data=PNG, format="png")


@server.tool
def test_audio_content() -> Audio:
    """Return a sound."""
    return Audio(data=WAV, format="wav")


def embedded(uri: str, text: str, mime_type: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, text=text, mime_type=mime_type)
    return types.EmbeddedResource(type="resource", resource=contents)


@server.tool
def test_embedded_resource() -> ToolResult:
    """Return a resource."""
    block = embedded("test://embedded-resource", "This is an embedded resource content.", "text/plain")
    return ToolResult(content=[block])


@server.tool
def test_multiple_content_types() -> ToolResult:
    """Return text, an image and a resource."""
    text = types.TextContent(type="text", text="Multiple content types test:")
    resource = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    return ToolResult(content=[text, Image(data=PNG, format="png").to_image_content(), resource])


@server.tool
def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool
async def test_tool_with_logging(ctx: Context) -> str:
    """Log three messages on the way."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(message)
        await anyio.sleep(0.05)
    return "Tool with logging executed successfully"


@server.tool
async def test_all_levels(ctx: Context) -> str:
    """Log once at each of four levels."""
    for log in (ctx.debug, ctx.info, ctx.warning, ctx.error):
        await log("logged")
    return "logged"


@server.tool
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed {done} of 100")
        await anyio.sleep(0.02)
    return "Tool with progress executed successfully"


@server.tool
def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "anywhere",
) -> str:
    """Take an argument that clients repeat in a header."""
    return f"looked in {region}"


@server.tool
async def test_wait(seconds: float = 1.0) -> str:
    """Wait, then answer."""
    await anyio.sleep(seconds)
    return "waited"


@server.tool
def test_validated(count: int) -> str:
    """Take a whole number."""
    return f"counted to {count}"


@server.tool
def test_echo(text: str) -> str:
    """Return what is given."""
    return text


class Weather(BaseModel):
    temperature: float
    sky: str


@server.tool
def test_structured() -> Weather:
    """Return an object that the output schema describes."""
    return Weather(temperature=21.5, sky="clear")


class Account(BaseModel):
    username: str
    email: str


@server.tool
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user."""
    return f"User response: {(await ctx.elicit(message, Account)).action}"


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """An image."""
    return PNG


@server.resource("test://watched-resource", mime_type="text/plain")
def watched_resource() -> str:
    """A resource that changes."""
    return "Watched."


@server.resource("test://template/{id}/data", mime_type="application/json")
def template_data(id: str) -> str:
    """Data by its number."""
    return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


@server.prompt
def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@server.prompt
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
    """A prompt with a resource in it."""
    block = embedded(resourceUri, "Embedded resource content for testing.", "text/plain")
    return [Message(block), Message("Please process the embedded resource above.")]


@server.prompt
def test_prompt_with_image() -> list[Message]:
    """A prompt with an image in it."""
    image: Any = Image(data=PNG, format="png").to_image_content()
    return [Message(image), Message("Please analyze the image above.")]


@server.completion
async def complete(ref: Any, argument: types.CompletionArgument, context: Any) -> list[str] | None:
    """Suggest values."""
    if argument.name != "arg1":
        return None
    return [word for word in ("testValue1", "testValue2", "other") if word.startswith(argument.value)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    if port is None:
        server.run("stdio", show_banner=False)
    else:
        server.run("http", show_banner=False, host="127.0.0.1", port=port, path="/mcp", log_level="critical")
