"""What the judge asks a server for, written with `mcp` 2.x: a model for yours. It runs without the judge.

    python server.py                 # on the standard streams
    python server.py --port 3001     # Streamable HTTP at http://127.0.0.1:3001/mcp

What this package cannot be told to do (pages of lists, subscriptions in the older revisions, tasks) is left out; the
judge skips what it does not find.
"""

import argparse
import base64
import logging
from typing import Annotated, Any

import anyio
from mcp import MCPError, types
from mcp.server.mcpserver import (
    Audio,
    Context,
    Elicit,
    ElicitationResult,
    Image,
    MCPServer,
    Message,
    Resolve,
    Sample,
    UserMessage,
)
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from pydantic import BaseModel, Field

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
server = MCPServer("judged", version="1.0.0", instructions="Serves what the judge asks for.", tools=[contact])


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
    contents = types.TextResourceContents(uri=uri, text=text, mime_type=mime_type)
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


# What is asked of the client: a parameter that a resolver fills is asked for in the way of the revision that is spoken.


class Account(BaseModel):
    username: str
    email: str


class Name(BaseModel):
    name: str


class Color(BaseModel):
    color: str


class Consent(BaseModel):
    ok: bool


def account(message: str) -> Elicit[Account]:
    return Elicit(message, Account)


def question(prompt: str, max_tokens: int) -> Sample:
    return Sample([types.SamplingMessage(role="user", content=said(prompt))], max_tokens=max_tokens)


@server.tool()
async def test_elicitation(message: str, answer: Annotated[ElicitationResult[Account], Resolve(account)]) -> str:
    """Ask the user."""
    return f"User response: {answer.action}"


def hello(prompt: str) -> Sample:
    return question(prompt, 100)


@server.tool()
async def test_sampling(prompt: str, answer: Annotated[types.CreateMessageResult, Resolve(hello)]) -> str:
    """Ask the client's model."""
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


def greeting() -> Sample:
    return question("Say hello", 20)


@server.tool()
async def test_missing_capability(answer: Annotated[types.CreateMessageResult, Resolve(greeting)]) -> str:
    """Need a client with a model."""
    return str(answer.content.text)


def consent() -> Elicit[Consent]:
    return Elicit("Shall we go on?", Consent)


@server.tool()
async def test_streaming_elicitation(answer: Annotated[ElicitationResult[Consent], Resolve(consent)]) -> str:
    """Ask the user, in an answer that may be a stream."""
    return f"User response: {answer.action}"


# What only the newest revision has: questions written by hand, with names and state of our own.

Asked = types.CallToolResult | types.InputRequiredResult


def form(message: str, kind: type[BaseModel]) -> types.ElicitRequest:
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=kind.model_json_schema())
    )


def sample(prompt: str, max_tokens: int) -> types.CreateMessageRequest:
    messages = [types.SamplingMessage(role="user", content=said(prompt))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=max_tokens))


def demand(ctx: Context, request: Any) -> None:
    """Refuse a client that cannot answer a request: the package looks only at questions that it asks itself."""
    declared = ctx.client_capabilities or types.ClientCapabilities()
    name = request.method.partition("/")[0]
    has = getattr(declared, name)
    if has is not None and (name != "elicitation" or has.form is not None or has.url is None):
        return
    needed = {name: {"form": {}} if name == "elicitation" else {}}
    raise MCPError(
        types.MISSING_REQUIRED_CLIENT_CAPABILITY, f"this needs a client with {name}", {"requiredCapabilities": needed}
    )


def asked(ctx: Context, state: str | None = None, **requests: Any) -> dict[str, Any] | types.InputRequiredResult:
    """Return the answers to these requests, or what asks for them."""
    for request in requests.values():
        demand(ctx, request)
    given = ctx.input_responses or {}
    kinds = {"elicitation/create": types.ElicitResult, "sampling/createMessage": types.CreateMessageResult}
    wanted = {key: kinds.get(request.method, types.ListRootsResult) for key, request in requests.items()}
    if all(isinstance(given.get(key), kind) for key, kind in wanted.items()):
        return {key: given[key] for key in requests}
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def done(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[said(text)])


@server.tool()
async def test_input_required_result_elicitation(ctx: Context) -> Asked:
    """Ask for a name."""
    found = asked(ctx, user_name=form("What is your name?", Name))
    return done(f"Hello, {found['user_name'].content}!") if isinstance(found, dict) else found


@server.tool()
async def test_input_required_result_sampling(ctx: Context) -> Asked:
    """Ask the client's model."""
    found = asked(ctx, capital_question=sample("What is the capital of France?", 100))
    return done(str(found["capital_question"].content)) if isinstance(found, dict) else found


@server.tool()
async def test_input_required_result_list_roots(ctx: Context) -> Asked:
    """Ask which folders the client shows."""
    found = asked(ctx, client_roots=types.ListRootsRequest())
    return done(f"{len(found['client_roots'].roots)} roots") if isinstance(found, dict) else found


@server.tool()
async def test_input_required_result_request_state(ctx: Context) -> Asked:
    """Ask for consent, and rely on the state that comes back with it."""
    found = asked(ctx, "waiting for consent", confirm=form("Please confirm", Consent))
    return done("state-ok") if isinstance(found, dict) and ctx.request_state else found  # type: ignore[return-value]


@server.tool()
async def test_input_required_result_tampered_state(ctx: Context) -> Asked:
    """Ask for consent; the package refuses state that was meddled with."""
    found = asked(ctx, "waiting for consent", confirm=form("Please confirm", Consent))
    return done("integrity-ok") if isinstance(found, dict) else found


@server.tool()
async def test_input_required_result_capabilities(ctx: Context) -> Asked:
    """Ask only what the client says it can answer."""
    declared = ctx.client_capabilities
    has_model = declared is not None and declared.sampling is not None
    request = sample("Say hello", 50) if has_model else form("What is your name?", Name)
    found = asked(ctx, greeting=request)
    return done("answered") if isinstance(found, dict) else found


@server.tool()
async def test_input_required_result_multiple_inputs(ctx: Context) -> Asked:
    """Ask the user, the model and the client, all at once."""
    found = asked(
        ctx,
        "three questions",
        user_name=form("What is your name?", Name),
        greeting=sample("Write a greeting", 50),
        client_roots=types.ListRootsRequest(),
    )
    return done("three answers") if isinstance(found, dict) else found


@server.tool()
async def test_input_required_result_multi_round(ctx: Context) -> Asked:
    """Ask one question after the other."""
    if ctx.request_state is None:
        return asked(ctx, "one", step1=form("Step 1: What is your name?", Name))  # type: ignore[return-value]
    found = asked(ctx, "two", step2=form("Step 2: What is your favorite color?", Color))
    return done("two answers") if isinstance(found, dict) else found


# Changes.


@server.tool()
async def test_trigger_resource_update(ctx: Context) -> str:
    """Say that the watched resource changed, and that one changed which few watch."""
    for uri in ("test://watched-resource", "test://static-text"):
        await ctx.notify_resource_updated(uri)
    return "both changed"


def test_changing_tool() -> str:
    """Go away and come back when `test_trigger_tool_change` is called."""
    return "still here"


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Change the list of tools, and change it back."""
    server.remove_tool("test_changing_tool")
    server.add_tool(test_changing_tool)
    await ctx.notify_tools_changed()  # to those who listen; in the older revisions the package declares no such news
    return "the list of tools changed"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Change the list of prompts, and change it back."""
    server.remove_prompt("test_changing_prompt")
    server.prompt()(test_changing_prompt)
    await ctx.notify_prompts_changed()
    return "the list of prompts changed"


def test_changing_prompt() -> str:
    """Go away and come back when `test_trigger_prompt_change` is called."""
    return "Say that you are still here."


server.add_tool(test_changing_tool)
server.prompt()(test_changing_prompt)


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


class Background(BaseModel):
    context: str


@server.prompt()
async def test_input_required_result_prompt(ctx: Context) -> Any:
    """A prompt that needs to know more first."""
    found = asked(ctx, user_context=form("What is it about?", Background))
    return f"This is about {found['user_context'].content}." if isinstance(found, dict) else found


@server.completion()
async def complete(ref: object, argument: types.CompletionArgument, context: object) -> types.Completion | None:
    """Suggest values."""
    if argument.name != "arg1":
        return None
    values = [word for word in ("testValue1", "testValue2", "other") if word.startswith(argument.value)]
    return types.Completion(values=values, total=len(values), has_more=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    if port is None:
        server.run()
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)
