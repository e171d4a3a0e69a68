"""Ours over HTTP, or over the sockets of `--transport=websocket`, `tcp` or `unix` (`--path=`).

`--codec=httptools` or `h11`, `--tools=N`, `--loop=asyncio`, `uvloop` or `trio` (default: as `run()` decides),
`--workers=N`, `--port=N`, `--largest=BYTES` of a message, `--echo=inline`, `async` or `thread` (how its tool runs); its
limits are those of a server that expects a crowd.
"""

import sys

import anyio
from command_line import options

from kailash.mcp_server import Context, MCPServer
from protocol import Limits

given = options()
CROWD = 30_000
LIMITS = {
    "max_connections": CROWD,
    "max_sessions": CROWD,
    "max_sessions_per_principal": CROWD,
    "max_subscriptions": CROWD,
    "max_subscriptions_per_principal": CROWD,
    "idle_timeout": 600.0,
}
server = MCPServer(
    "bench",
    http_options={"http_codec": given.get("codec", "auto"), **LIMITS},
    limits=Limits(message_bytes=int(given.get("largest", 4 << 20))),
)


def echo(message: str) -> str:
    return message


async def echo_async(message: str) -> str:
    return message


how = given.get("echo", "inline")
if how == "async":
    server.tool(name="echo")(echo_async)
else:
    server.tool(name="echo", blocking=how == "thread")(echo)


@server.tool
async def count(to: int, ctx: Context) -> str:
    for number in range(to):
        await ctx.progress(number, to)
    return "done"


@server.resource("bench://watched", blocking=False)
def watched() -> str:
    return "watched"


@server.tool(blocking=False)
def touch(message: str) -> str:
    server.notify_resource_updated("bench://watched")
    return message


for number in range(int(given.get("tools", 0))):
    server.tool(name=f"tool_{number}", blocking=False)(echo)


def say(port: int) -> None:
    print(f"bench serves http://127.0.0.1:{port}/", file=sys.stderr, flush=True)


async def serve() -> None:
    await server.serve_http(port=0, started=say)


loop, transport = given.get("loop"), given.get("transport", "http")
if loop is not None:
    is_trio = loop == "trio"
    extra = {} if is_trio else {"use_uvloop": loop == "uvloop"}
    anyio.run(serve, backend="trio" if is_trio else "asyncio", backend_options=extra)
elif transport == "unix":
    server.run("unix", path=given["path"])
else:
    workers = int(given["workers"]) if "workers" in given else None
    server.run(transport, host="127.0.0.1", port=int(given.get("port", 0)), workers=workers)
