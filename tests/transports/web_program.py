"""A server that is run as a script: `python -m tests.transports.web_program`, with the flags of `run()`.

The environment variable `RUN_OPTIONS` (JSON) gives further arguments of `run()`, `SERVER_OPTIONS` those of the server.
"""

import gc
import json
import os
import threading

import anyio

from kailash.mcp_server import Context, MCPServer

server = MCPServer("web", **json.loads(os.environ.get("SERVER_OPTIONS", "{}")))


@server.tool(blocking=False)
def echo(message: str) -> str:
    return message


@server.tool
async def sleep(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "slept"


@server.tool
def block(seconds: float) -> str:
    threading.Event().wait(seconds)
    return "blocked"


@server.tool
async def whoami() -> int:
    return os.getpid()


@server.tool
async def frozen() -> int:
    return gc.get_freeze_count()


@server.tool
async def change(ctx: Context, uri: str) -> str:
    server.notify_resource_updated(uri)
    return "changed"


@server.resource("test://watched")
def watched() -> str:
    return "content"


if __name__ == "__main__":
    given = json.loads(os.environ.get("RUN_OPTIONS", "{}"))
    server.run(**given)
