"""A server over stdio for the tests that need a real process."""

import os
import sys
import threading

from kailash.mcp_server import Context, MCPServer

server = MCPServer("program")


@server.tool(blocking=False)
def echo(message: str) -> str:
    return message


@server.tool
def chatter(message: str) -> str:
    """Print where it must not matter."""
    print("a stray print")
    os.write(1, b"a stray write\n")
    os.system("echo a stray child")
    return message


@server.tool
async def wait(ctx: Context) -> str:
    import anyio

    await ctx.info("waiting")
    await anyio.sleep_forever()
    return "never"


@server.tool
def slow_thread(seconds: float) -> str:
    threading.Event().wait(seconds)
    return "done"


@server.tool
def die(status: int) -> None:
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os._exit(status)


@server.tool
def environment() -> list[str]:
    return sorted(os.environ)


if __name__ == "__main__":
    server.run()
