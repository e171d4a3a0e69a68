"""A server written with `mcp` 1.x's `FastMCP`, for our client to use."""

import base64
import logging
import sys
from typing import Literal

import anyio
from mcp import types
from mcp.server.fastmcp import Audio, Context, FastMCP, Image
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.fastmcp.prompts import base
from pydantic import AnyUrl, BaseModel, Field

logging.disable(logging.ERROR)
PIXEL = b"\x89PNG\r\n\x1a\n-not-really"
SOUND = b"RIFF-not-really"

IS_WEB = sys.argv[1:] == ["web"]
MORE = {}
if IS_WEB:
    from web_serving import MemoryEventStore  # over a pipe it would only take its time

    MORE = {"event_store": MemoryEventStore(), "retry_interval": 10}

server = FastMCP("foreign", instructions="Written by somebody else.", **MORE)
withdrawal = anyio.Event()
released = anyio.Event()
counter = 0


class Forecast(BaseModel):
    city: str
    degrees: float
    sunny: bool = True


class Person(BaseModel):
    name: str
    age: int = Field(default=30, ge=0)


@server.tool(title="Adder", annotations=types.ToolAnnotations(readOnlyHint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def forecast(city: str) -> Forecast:
    """Tell the weather, structured."""
    return Forecast(city=city, degrees=21.5)


@server.tool()
def media() -> types.CallToolResult:
    """Return one content block of each type."""
    inside = types.TextResourceContents(uri=AnyUrl("text://inside"), text="inside", mimeType="text/plain")
    return types.CallToolResult(
        content=[
            types.TextContent(
                type="text", text="a text", annotations=types.Annotations(audience=["user"], priority=0.5)
            ),
            Image(data=PIXEL, format="png").to_image_content(),
            Audio(data=SOUND, format="wav").to_audio_content(),
            types.EmbeddedResource(type="resource", resource=inside),
            types.ResourceLink(type="resource_link", uri=AnyUrl("text://hello"), name="hello"),
        ]
    )


@server.tool()
def fail(how: Literal["said", "crashed"]) -> str:
    """Fail."""
    if how == "said":
        raise ToolError("this tool always fails")
    raise RuntimeError("a crash")


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Count, with progress."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"counted {number}")
    return f"counted to {to}"


@server.tool()
async def hang(ctx: Context) -> str:
    """Never answer."""
    await ctx.report_progress(1)
    try:
        await anyio.sleep_forever()
    finally:
        withdrawal.set()
    return "unreachable"


@server.tool()
async def interrupted(ctx: Context) -> str:
    """Go on once somebody says so."""
    await ctx.report_progress(1, 2, "before")
    await released.wait()
    await ctx.report_progress(2, 2, "after")
    return "went on"


@server.tool()
async def release() -> str:
    """Let every call of the tool before go on."""
    global released
    released.set()
    released = anyio.Event()
    return "released"


@server.tool()
async def withdrawals() -> str:
    """Return once a call was withdrawn."""
    await withdrawal.wait()
    return "withdrawn"


@server.tool()
async def ask_user(ctx: Context) -> str:
    """Ask the user for a form."""
    answer = await ctx.elicit("Who are you?", Person)
    if answer.action == "accept":
        return f"{answer.data.name} {answer.data.age}"
    return answer.action


@server.tool()
async def ask_model(ctx: Context) -> str:
    """Ask the client's model."""
    question = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="What is the answer?"))
    answer = await ctx.session.create_message([question], max_tokens=17, system_prompt="Be brief.")
    return f"{answer.model} says {answer.content.text}"


@server.tool()
async def ask_roots(ctx: Context) -> str:
    """Ask for the client's roots."""
    return " ".join(str(root.uri) for root in (await ctx.session.list_roots()).roots)


@server.tool()
async def ask_all(ctx: Context) -> str:
    """Ask everything, one after the other."""
    person = await ctx.elicit("Who are you?", Person)
    question = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="What is the answer?"))
    answer = await ctx.session.create_message([question], max_tokens=17)
    return f"{person.action} {answer.model} {len((await ctx.session.list_roots()).roots)}"


@server.tool()
async def speak(ctx: Context) -> str:
    """Log at four levels."""
    await ctx.debug("a detail")
    await ctx.session.send_log_message("info", {"what": "news"})
    await ctx.warning("careful", logger_name="foreign.speak")
    await ctx.error("trouble")
    return "spoken"


@server.tool()
async def grow(ctx: Context) -> str:
    """Add a tool."""

    def extra() -> str:
        """Was not there before."""
        return "extra"

    server.add_tool(extra)
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
async def check_client(ctx: Context) -> str:
    """Ping the client."""
    await ctx.session.send_ping()
    return "alive"


@server.resource("text://hello", title="Hello", mime_type="text/plain")
def hello() -> str:
    """A text."""
    return "hello"


@server.resource("blob://pixel", mime_type="image/png")
def pixel() -> bytes:
    """A blob."""
    return PIXEL


@server.resource("watched://counter", mime_type="application/json")
def watched() -> dict[str, int]:
    """A resource that changes."""
    return {"counter": counter}


@server.resource("greet://{name}")
def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello {name}"


@server.prompt()
def summarize(text: str) -> str:
    """Ask for a summary."""
    return f"Summarize: {text}"


@server.prompt(title="Review")
def review(code: str, language: str = "python") -> list[base.Message]:
    """Ask for a review, with a picture."""
    picture = types.ImageContent(type="image", data=base64.b64encode(PIXEL).decode(), mimeType="image/png")
    return [
        base.UserMessage(f"Review this {language}: {code}"),
        base.UserMessage(picture),
        base.AssistantMessage("Gladly."),
    ]


@server.completion()
async def complete(ref: object, argument: types.CompletionArgument, context: object) -> types.Completion | None:
    """Suggest values."""
    if isinstance(ref, types.PromptReference) and argument.name == "language":
        arguments = getattr(context, "arguments", None) or {}
        known = ["python-of-the-code"] if "code" in arguments else ["perl", "python", "ruby"]
        values = [name for name in known if name.startswith(argument.value)]
        return types.Completion(values=values, total=len(values), hasMore=False)
    if isinstance(ref, types.ResourceTemplateReference):
        return types.Completion(values=[f"{argument.value}{number}" for number in range(3)])
    return None


if IS_WEB:
    from web_serving import serve

    serve(server.streamable_http_app(), server.sse_app())
elif sys.argv[1:] == ["ws"]:
    from web_serving import serve, serve_socket

    serve(serve_socket(server._mcp_server, server._mcp_server.create_initialization_options()))
else:
    server.run()
