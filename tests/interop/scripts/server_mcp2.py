"""A server written with `mcp` 2.x's `MCPServer`, for our client to use."""

import base64
import logging
import sys
from typing import Annotated, Literal

import anyio
from mcp import types
from mcp.server.mcpserver import (
    AcceptedElicitation,
    AssistantMessage,
    Audio,
    Context,
    Elicit,
    ElicitationResult,
    Image,
    ListRoots,
    MCPServer,
    Message,
    Resolve,
    Sample,
    UserMessage,
)
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

logging.disable(logging.ERROR)
PIXEL = b"\x89PNG\r\n\x1a\n-not-really"
SOUND = b"RIFF-not-really"

server = MCPServer("foreign", version="9.8.7", instructions="Written by somebody else.")
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


@server.tool(title="Adder", annotations=types.ToolAnnotations(read_only_hint=True))
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
    inside = types.TextResourceContents(uri="text://inside", text="inside", mime_type="text/plain")
    return types.CallToolResult(
        content=[
            types.TextContent(
                type="text", text="a text", annotations=types.Annotations(audience=["user"], priority=0.5)
            ),
            Image(data=PIXEL, format="png").to_image_content(),
            Audio(data=SOUND, format="wav").to_audio_content(),
            types.EmbeddedResource(type="resource", resource=inside),
            types.ResourceLink(type="resource_link", uri="text://hello", name="hello"),
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


def who() -> Elicit[Person]:
    return Elicit("Who are you?", Person)


def model() -> Sample:
    question = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="What is the answer?"))
    return Sample([question], max_tokens=17, system_prompt="Be brief.")


def roots() -> ListRoots:
    return ListRoots()


@server.tool()
async def ask_user(person: Annotated[ElicitationResult[Person], Resolve(who)]) -> str:
    """Ask the user for a form."""
    if isinstance(person, AcceptedElicitation):
        return f"{person.data.name} {person.data.age}"
    return person.action


@server.tool()
async def ask_model(answer: Annotated[types.CreateMessageResult, Resolve(model)]) -> str:
    """Ask the client's model."""
    return f"{answer.model} says {answer.content.text}"


@server.tool()
async def ask_roots(answer: Annotated[types.ListRootsResult, Resolve(roots)]) -> str:
    """Ask for the client's roots."""
    return " ".join(str(root.uri) for root in answer.roots)


@server.tool()
async def ask_all(
    person: Annotated[ElicitationResult[Person], Resolve(who)],
    answer: Annotated[types.CreateMessageResult, Resolve(model)],
    found: Annotated[types.ListRootsResult, Resolve(roots)],
) -> str:
    """Ask everything at once."""
    return f"{person.action} {answer.model} {len(found.roots)}"


@server.tool()
async def ask_by_hand(ctx: Context) -> types.CallToolResult | types.InputRequiredResult:
    """Ask twice, carrying state, as only 2026-07-28 can."""
    round_ = 0 if ctx.request_state is None else int(ctx.request_state)
    if round_ == 2:
        given = ctx.input_responses or {}
        text = f"after two rounds: {sorted(given)}"
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])
    params = types.ElicitRequestFormParams(
        message=f"Round {round_ + 1}", requested_schema={"type": "object", "properties": {"name": {"type": "string"}}}
    )
    return types.InputRequiredResult(
        input_requests={f"round-{round_ + 1}": types.ElicitRequest(params=params)}, request_state=str(round_ + 1)
    )


@server.tool()
async def speak(ctx: Context) -> str:
    """Log at four levels."""
    await ctx.debug("a detail")
    await ctx.info({"what": "news"})
    await ctx.warning("careful", logger_name="foreign.speak")
    await ctx.error("trouble")
    return "spoken"


@server.tool()
async def touch(ctx: Context) -> str:
    """Change the watched resource."""
    global counter
    counter += 1
    await ctx.notify_resource_updated("watched://counter")
    return str(counter)


@server.tool()
async def grow(ctx: Context) -> str:
    """Add a tool."""

    def extra() -> str:
        """Was not there before."""
        return "extra"

    server.add_tool(extra)
    await ctx.notify_tools_changed()
    await ctx.notify_prompts_changed()
    await ctx.notify_resources_changed()
    # Clients of the older revisions hear of it this way.
    if ctx.protocol_version != "2026-07-28":
        await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
async def check_client(ctx: Context) -> str:
    """Ping the client, where there is a way to."""
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
def review(code: str, language: str = "python") -> list[Message]:
    """Ask for a review, with a picture."""
    picture = types.ImageContent(type="image", data=base64.b64encode(PIXEL).decode(), mime_type="image/png")
    return [UserMessage(f"Review this {language}: {code}"), UserMessage(picture), AssistantMessage("Gladly.")]


@server.completion()
async def complete(ref: object, argument: types.CompletionArgument, context: object) -> types.Completion | None:
    """Suggest values."""
    if isinstance(ref, types.PromptReference) and argument.name == "language":
        arguments = getattr(context, "arguments", None) or {}
        known = ["python-of-the-code"] if "code" in arguments else ["perl", "python", "ruby"]
        values = [name for name in known if name.startswith(argument.value)]
        return types.Completion(values=values, total=len(values), has_more=False)
    if isinstance(ref, types.ResourceTemplateReference):
        return types.Completion(values=[f"{argument.value}{number}" for number in range(3)])
    return None


if sys.argv[1:] == ["web"]:
    from web_serving import MemoryEventStore, serve  # over a pipe neither is needed, and both take their time

    serve(server.streamable_http_app(event_store=MemoryEventStore(), retry_interval=10), server.sse_app())
else:
    server.run()
