"""A server of ours whose calls can be held and let go, for what stands or breaks between it and its clients."""

import json
import os
from typing import Any

import anyio

from kailash.mcp_server import Context, MCPServer

options: dict[str, Any] = json.loads(os.environ.get("HTTP_OPTIONS", "{}"))
server = MCPServer("web", version="1.0", http_options=options)
released = anyio.Event()


@server.tool
async def interrupted(ctx: Context) -> str:
    """Go on once somebody says so."""
    await ctx.progress(1, 2, "before")
    await released.wait()
    await ctx.progress(2, 2, "after")
    return "went on"


@server.tool
async def release() -> str:
    """Let every call that waits go on."""
    global released
    released.set()
    released = anyio.Event()
    return "released"


@server.tool
async def stages(count: int, ctx: Context) -> str:
    """Tell each stage, and wait before the next one until somebody says so."""
    for number in range(1, count + 1):
        gate = released
        await ctx.progress(number, count)
        await gate.wait()
    return "through"


@server.tool
def size(text: str) -> int:
    """Tell how long a text is."""
    return len(text)


@server.tool
def text_of(size: int) -> str:
    """Return a long text."""
    return "x" * size


@server.tool
async def work(number: int) -> int:
    """Take a little while, and tell which process did it."""
    print(f"work {number}", flush=True)
    await anyio.sleep(0.02)
    return os.getpid()


@server.tool
def touch() -> str:
    """Change the watched resource."""
    server.notify_resource_updated("test://watched")
    return "touched"


@server.resource("test://watched")
def watched() -> str:
    """A resource that changes."""
    return "content"


if __name__ == "__main__":
    server.run()
