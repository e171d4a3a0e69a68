"""A server of which several processes serve the same sessions: `python -m tests.transports.shared_program`.

The environment variable `SERVER_OPTIONS` (JSON) gives the options of the server, among them `store`; `TOKENS` (JSON)
names principals by their bearer tokens; `WORKERS` is how many processes share the port.
"""

import json
import os
from typing import Any

import anyio

from kailash.mcp_server import Context, MCPServer

TOKENS = json.loads(os.environ.get("TOKENS", "{}"))


class Tokens:
    """Knows callers by their tokens."""

    def authenticate(self, credentials: dict[str, Any]) -> dict[str, Any]:
        return {"user_id": TOKENS[credentials["token"]], "permissions": []}


server = MCPServer(
    "shared",
    auth_provider=Tokens() if TOKENS else None,
    **json.loads(os.environ.get("SERVER_OPTIONS", "{}")),
)


@server.tool
async def count(ctx: Context, to: int) -> int:
    """Tell each number on the way."""
    for number in range(1, to + 1):
        await ctx.progress(number, to)
        await ctx.log("info", f"{number}")
    return to


@server.tool
async def whoami() -> int:
    return os.getpid()


@server.tool
async def hang(ctx: Context) -> int:
    """Tell who hangs, for ever."""
    await ctx.log("error", os.getpid())
    await anyio.sleep_forever()
    return 0


@server.tool
async def steps(ctx: Context, to: int, pause: float) -> int:
    """Tell each number, with a pause before it."""
    for number in range(1, to + 1):
        await anyio.sleep(pause)
        await ctx.log("error", number)
    return to


@server.tool
async def greet(ctx: Context) -> str:
    """Ask for a name."""
    answer = await ctx.elicit("Your name?", schema={"type": "object", "properties": {"name": {"type": "string"}}})
    return f"hello {answer.data['name']}" if answer.action == "accept" else answer.action


@server.tool
async def change(uri: str) -> int:
    server.notify_resource_updated(uri)
    return os.getpid()


@server.resource("test://watched")
def watched() -> str:
    return "content"


if __name__ == "__main__":
    server.run(transport="http", port=0, workers=int(os.environ.get("WORKERS", "1")))
