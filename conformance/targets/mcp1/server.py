"""What the judge asks a server for, written with `mcp` 1.x; see `targets/mcp/server.py`, which says more.

python server.py                 # on the standard streams
python server.py --port 3001     # Streamable HTTP at http://127.0.0.1:3001/mcp
"""

import argparse
import base64
import logging
from typing import Annotated, Any

import anyio
from mcp import types
from mcp.server.fastmcp import Audio, Context, FastMCP, Image
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.fastmcp.prompts.base import Message, UserMessage
from mcp.server.fastmcp.tools import Tool
from pydantic import AnyUrl, BaseModel, Field

logging.disable(logging.ERROR)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
WAV = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==")
CONTACT: dict[str, Any] = {
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


def json_schema_2020_12_tool(
    name: str | None = None,
    address: dict[str, Any] | None = None,
    contactMethod: str | None = None,
    phone: str | None = None,
    email: str | None = None,
) -> str:
    """Take a contact whose schema uses what is new in JSON Schema 2020-12."""
    return f"a contact by {contactMethod}: {phone or email}"


contact = Tool.from_function(json_schema_2020_12_tool).model_copy(update={"parameters": CONTACT})
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int)
port = parser.parse_args().port
server = FastMCP("judged", instructions="Serves what the judge asks for.", tools=[contact], port=port or 8000)


@server.tool()
def test_simple_text() -> str:
    """Return text."""
    return "This is a simple text response for testing."


@server.tool()
def test_image_content() -> Image:
    """Return an image."""
    return Image(data=PNG, format="png")


@server.tool()
def test_audio_content() -> Audio:
    """Return a sound."""
    return Audio(data=WAV, format="wav")


def embedded(uri: str, text: str, mime_type: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=AnyUrl(uri), text=text, mimeType=mime_type)
    return types.EmbeddedResource(type="resource", resource=contents)


def said(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


@server.tool(structured_output=False)
def test_embedded_resource() -> types.CallToolResult:
    """Return a resource."""
    block = embedded("test://embedded-resource", "This is an embedded resource content.", "text/plain")
    return types.CallToolResult(content=[block])


@server.tool(structured_output=False)
def test_multiple_content_types() -> types.CallToolResult:
    """Return text, an image and a resource."""
    resource = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    image = Image(data=PNG, format="png").to_image_content()
    return types.CallToolResult(content=[said("Multiple content types test:"), image, resource])


@server.tool()
def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Log three messages on the way."""
    await ctx.info("Tool execution started")
    for message in ("Tool processing data", "Tool execution completed"):
        await anyio.sleep(0.05)
        await ctx.info(message)
    return "Tool with logging executed successfully"


@server.tool()
async def test_logging_tool(ctx: Context) -> str:
    """Log one message, to clients that want to hear it."""
    await ctx.info("test_logging_tool was called")
    return "logged"


@server.tool()
async def test_all_levels(ctx: Context) -> str:
    """Log once at each of four levels."""
    for level in ("debug", "info", "warning", "error"):
        await ctx.log(level, level)
    return "logged"


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed {done} of 100")
        await anyio.sleep(0.02)
    return "Tool with progress executed successfully"


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    """End the event stream of the call; the client fetches the rest of the answer on another."""
    await ctx.close_sse_stream()
    await anyio.sleep(0.1)
    return "Reconnection test completed successfully."


@server.tool()
def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "anywhere",
) -> str:
    """Take an argument that clients repeat in a header."""
    return f"looked in {region}"


@server.tool()
async def test_wait(seconds: float = 1.0) -> str:
    """Wait, then answer."""
    await anyio.sleep(seconds)
    return "waited"


@server.tool()
def test_validated(count: int) -> str:
    """Take a whole number."""
    return f"counted to {count}"


@server.tool()
def test_echo(text: str) -> str:
    """Return what is given."""
    return text


class Weather(BaseModel):
    temperature: float
    sky: str


@server.tool()
def test_structured() -> Weather:
    """Return an object that the output schema describes."""
    return Weather(temperature=21.5, sky="clear")


# What is asked of the client.


class Account(BaseModel):
    username: str
    email: str


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user."""
    return f"User response: {(await ctx.elicit(message, Account)).action}"


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Ask the client's model."""
    question = types.SamplingMessage(role="user", content=said(prompt))
    answer = await ctx.session.create_message([question], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content.text}"


async def shown(ctx: Context, message: str, properties: dict[str, Any]) -> str:
    """Show the user a form, in the older revisions."""
    form = {"type": "object", "properties": properties, "required": []}
    answer = await ctx.session.elicit_form(message, form, related_request_id=ctx.request_id)
    return f"Elicitation completed: {answer.action} {answer.content}"


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Show a form that is filled in already."""
    status = {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"}
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": status,
        "verified": {"type": "boolean", "default": True},
    }
    return await shown(ctx, "Please check what is filled in", properties)


def titled(prefix: str) -> list[dict[str, str]]:
    return [{"const": f"{prefix}{number}", "title": f"Title {number}"} for number in (1, 2, 3)]


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Show a form with every kind of choice."""
    options = ["option1", "option2", "option3"]
    legacy = {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option 1", "Option 2", "Option 3"]}
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled("value")},
        "legacyEnum": legacy,
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("value")}},
    }
    return await shown(ctx, "Please choose", properties)


# Resources and prompts.


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
def template_data(id: str) -> dict[str, Any]:
    """Data by its number."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@server.prompt()
def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
    """A prompt with a resource in it."""
    block = embedded(resourceUri, "Embedded resource content for testing.", "text/plain")
    return [UserMessage(block), UserMessage("Please process the embedded resource above.")]


@server.prompt()
def test_prompt_with_image() -> list[Message]:
    """A prompt with an image in it."""
    image = Image(data=PNG, format="png").to_image_content()
    return [UserMessage(image), UserMessage("Please analyze the image above.")]


@server.completion()
async def complete(ref: object, argument: types.CompletionArgument, context: object) -> types.Completion | None:
    """Suggest values."""
    if argument.name != "arg1":
        return None
    values = [word for word in ("testValue1", "testValue2", "other") if word.startswith(argument.value)]
    return types.Completion(values=values, total=len(values), hasMore=False)


if __name__ == "__main__":
    server.run("stdio" if port is None else "streamable-http")
