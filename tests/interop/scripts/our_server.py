"""A server of ours with one of everything, for foreign clients to try."""

import asyncio
from dataclasses import dataclass
from typing import Literal

import anyio

from kailash.mcp_server import Audio, Context, Image, MCPServer
from kailash.mcp_server.errors import ToolError
from protocol.types import Annotations, EmbeddedResource, ResourceLink, TextContent, TextResourceContents

PIXEL = b"\x89PNG\r\n\x1a\n-not-really"
SOUND = b"RIFF-not-really"

server = MCPServer(
    "interop",
    version="1.2.3",
    title="Interop server",
    instructions="One of everything.",
    page_size=5,
)
counter = 0
withdrawn: list[str] = []
withdrawal = anyio.Event()


@dataclass
class Forecast:
    city: str
    degrees: float
    sunny: bool = True


@dataclass
class Person:
    name: str
    age: int = 30
    plan: Literal["free", "paid"] = "free"


@server.tool(title="Adder", annotations={"readOnlyHint": True, "idempotentHint": True})
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first
        b: the second
    """
    print("a stray print, which must not reach the pipe")
    return a + b


@server.tool
def forecast(city: str) -> Forecast:
    """Tell the weather, structured."""
    return Forecast(city, 21.5)


@server.tool
def numbers(upto: int) -> list[int]:
    """Count, structured as a list."""
    return list(range(upto))


@server.tool
def media() -> list[object]:
    """Return one content block of each type."""
    return [
        TextContent(text="a text", annotations=Annotations(audience=["user"], priority=0.5)),
        Image(PIXEL, "image/png"),
        Audio(SOUND, "audio/wav"),
        EmbeddedResource(resource=TextResourceContents(uri="text://inside", text="inside", mime_type="text/plain")),
        ResourceLink(uri="text://hello", name="hello", mime_type="text/plain"),
    ]


@server.tool
def fail(how: Literal["said", "crashed"]) -> str:
    """Fail."""
    if how == "said":
        raise ToolError("this tool always fails")
    raise RuntimeError("secret of the house")


@server.tool
async def count(to: int, ctx: Context) -> str:
    """Count, with progress."""
    for number in range(1, to + 1):
        await ctx.progress(number, to, f"counted {number}")
    return f"counted to {to}"


@server.tool
async def hang(ctx: Context) -> str:
    """Never answer; tell the request's id as progress."""
    await ctx.progress(int(ctx.request.id))
    try:
        await anyio.sleep_forever()
    finally:
        withdrawn.append(ctx.cancelled.reason or "")
        withdrawal.set()
    return "unreachable"


@server.tool
async def withdrawals() -> list[str]:
    """Return why calls were withdrawn, once one was."""
    await withdrawal.wait()
    return withdrawn


@server.tool
async def ask_user(ctx: Context) -> str:
    """Ask the user for a form."""
    answer = await ctx.elicit("Who are you?", Person)
    if answer.data is None:
        return answer.action
    return f"{answer.data.name} {answer.data.age} {answer.data.plan}"


@server.tool
async def ask_model(ctx: Context) -> str:
    """Ask the client's model."""
    answer = await ctx.sample("What is the answer?", max_tokens=17, system_prompt="Be brief.", temperature=0.5)
    return f"{answer.model} says {answer.content.text}"


@server.tool
async def ask_roots(ctx: Context) -> list[str]:
    """Ask for the client's roots."""
    return [root.uri for root in await ctx.list_roots()]


@server.tool
async def ask_all(ctx: Context) -> str:
    """Ask the user and the model at once, then the user again."""
    user, model = await asyncio.gather(ctx.elicit("Who are you?", Person), ctx.sample("What is the answer?"))
    again = await ctx.elicit(f"Really, {user.data.name if user.data else 'nobody'}?")
    return f"{user.action} {model.model} {again.action}"


@server.tool
async def speak(ctx: Context) -> str:
    """Log at four levels."""
    await ctx.debug("a detail")
    await ctx.info({"what": "news"})
    await ctx.log("warning", "careful", logger="interop.speak")
    await ctx.error("trouble")
    return "spoken"


@server.tool
async def whoami(ctx: Context) -> dict[str, str]:
    """Tell who asks, and in which revision."""
    return {"name": ctx.client_info.name, "revision": ctx.protocol_version}


@server.tool
def touch() -> int:
    """Change the watched resource."""
    global counter
    counter += 1
    server.notify_resource_updated("watched://counter")
    return counter


@server.tool
def grow() -> str:
    """Add a tool, a resource and a prompt."""

    def extra() -> str:
        """Was not there before."""
        return "extra"

    server.add_tool(extra)
    server.resource("text://extra")(extra)
    server.prompt(extra)
    return "grown"


@server.resource("text://hello", title="Hello", mime_type="text/plain", size=5)
def hello() -> str:
    """A text."""
    return "hello"


@server.resource("blob://pixel", mime_type="image/png")
def pixel() -> bytes:
    """A blob."""
    return PIXEL


@server.resource("watched://counter")
def watched() -> dict[str, int]:
    """A resource that changes."""
    return {"counter": counter}


@server.resource("greet://{name}")
def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello {name}"


@server.resource("sum://{a}/{b}", mime_type="application/json")
def sum_of(a: int, b: int) -> dict[str, int]:
    """Add two numbers from a URI."""
    return {"sum": a + b}


@server.prompt
def summarize(text: str) -> str:
    """Ask for a summary."""
    return f"Summarize: {text}"


@server.prompt(title="Review")
def review(code: str, language: str = "python") -> list[object]:
    """Ask for a review, with a picture."""
    return [
        {"role": "user", "content": f"Review this {language}: {code}"},
        Image(PIXEL, "image/png"),
        {"role": "assistant", "content": "Gladly."},
    ]


@server.completion(prompt="review", argument="language")
def languages(text: str, arguments: dict[str, str]) -> list[str]:
    """Suggest languages; those of the code when that is known."""
    known = ["perl", "python", "ruby"] if "code" not in arguments else ["python-of-the-code"]
    return [name for name in known if name.startswith(text)]


@server.completion(template="greet://{name}", argument="name")
def names(text: str) -> list[str]:
    """Suggest names."""
    return [f"{text}{number}" for number in range(150)]


if __name__ == "__main__":
    server.run()
