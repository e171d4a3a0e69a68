"""Public use, as a reader's type checker sees it; checked, never run."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from kailash.mcp_client import ResourceResult, ToolResult, load_servers
from kailash.mcp_server import (
    Context,
    HTTPOptions,
    Image,
    MCPClient,
    MCPError,
    MCPErrorCode,
    MCPServer,
    SyncMCPClient,
)
from kailash.mcp_server.advanced_features import structured_tool
from kailash.mcp_server.errors import ExponentialBackoffRetry, RetryableOperation
from protocol import CallToolResult, Implementation, Pipe, Request, ServerCapabilities, ServerEngine, ServerProfile

server = MCPServer("typed", instructions="none", page_size=10)


@dataclass
class Order:
    kind: str
    sugar: int = 0


@server.tool
def bare(a: int) -> int:
    return a


@server.tool(title="Called", timeout=3.0)
async def called(a: int, ctx: Context) -> Image:
    answer = await ctx.elicit("which?", Order)
    if answer.data is not None:
        kind: str = answer.data.kind
        await ctx.info(kind)
    once: int = await ctx.once("once", lambda: 3)
    sent: bool = await ctx.progress(once, 10)
    return Image(b"", "image/png") if sent else Image(path="x.png")


@structured_tool(output_schema={"type": "object"})
@server.tool(format_response="table")
def shaped(a: int) -> dict[str, int]:
    return {"a": a}


@server.tool
async def parts(n: int) -> AsyncIterator[str]:
    for _ in range(n):
        yield "part"


@server.tool("renamed")
def named(a: str) -> str:
    return a


@server.resource("users://{user_id}")
def user(user_id: int) -> str:
    return str(user_id)


@server.prompt
def greet(name: str) -> str:
    return name


@server.prompt(title="x")
def greet_again(name: str) -> str:
    return name


@server.completion(prompt="greet", argument="name")
def names(value: str) -> list[str]:
    return [value]


# The functions keep their types.
one: int = bare(1)
two: str = named("a") + user(1) + greet("b") + greet_again("c")
three: list[str] = names("d")
four: dict[str, int] = shaped(4)
written: MCPServer = MCPServer.from_config({"name": "written"}, debug=True)


async def use() -> None:
    async with MCPClient(server, elicitation_handler=lambda asked: True) as client:
        result: ToolResult = await client.call_tool("bare", {"a": 1})
        text: str = result.text
        resource: ResourceResult = await client.read_resource(text)
        several: list[ToolResult] = await client.call_tools([("bare", {"a": 1})], max_concurrency=2)
        again: int = await RetryableOperation(ExponentialBackoffRetry(max_retries=2)).execute(bare, len(several))
        print(again, client.get_metrics(), await client.health_check())
        schemas = [tool.input_schema for tool in await client.list_tools()]
        print(result["x"], resource.blob, schemas)
        async with client.listen(tools=True) as changes:
            async for change in changes:
                print(change.kind)
        try:
            await client.ping(timeout=1)
        except MCPError as error:
            known: bool = error.error_code == MCPErrorCode.TIMEOUT
            print(known, error.retry_after)


def use_synchronously() -> None:
    for config in load_servers("mcp.json").values():
        with SyncMCPClient(config) as client:
            print(client.call_tool("x").data)


def embed() -> bytes:
    pipe = Pipe(ServerEngine(ServerProfile(Implementation(name="x", version="1"), ServerCapabilities())))
    pipe.receive_data(b"")
    for event in pipe.events_received():
        if isinstance(event, Request) and isinstance(pipe.engine, ServerEngine):
            pipe.engine.send_result(event, CallToolResult(content=[]))
    return b"".join(pipe.data_to_send())


async def serve() -> None:
    served = MCPServer("web", enable_http_transport=True, http_options=HTTPOptions(allowed_hosts=("mcp.example",)))
    application = served.asgi_app(allowed_origins=["https://app.example"])
    print(application)
    await served.serve_http("127.0.0.1", 0, started=print, idle_timeout=5.0)
    served.run("http", host="::1", port=0, workers=2, ssl_certfile="cert.pem", drain_timeout=3.0)
    async with MCPClient("http://localhost:8080") as client:
        print(client.protocol_version)
    async with MCPClient({"url": "https://mcp.example", "headers": {"Authorization": "Bearer x"}}) as client:
        print(client.is_connected)
