"""Starts `demo_server.py` over stdio and over HTTP and uses all of it, in the newest revision of each era."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from kailash.mcp_server import MCPClient, MCPError

SERVER = str(Path(__file__).with_name("demo_server.py"))


@contextmanager
def serving() -> Iterator[str]:
    """Run the server over HTTP on a free port; gives its URL."""
    command = [sys.executable, SERVER, "--transport", "http", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield re.search(r"http://\S+", process.stderr.readline())[0]
        finally:
            process.terminate()


async def show(where: str, config: Any, revision: str) -> None:
    started = time.perf_counter()
    async with MCPClient(
        config, revisions=[revision], elicitation_handler=lambda asked: {"kind": "oolong", "sugar": 1}
    ) as client:
        took = time.perf_counter() - started
        print(f"== {where}, revision {client.protocol_version}, ready after {took:.2f} s")
        print(f"   server    {client.server_info.name} {client.server_info.version}: {client.instructions}")
        print(f"   tools     {', '.join(tool.name for tool in await client.list_tools())}")
        print(f"   calculate {await client.call_tool('calculate', {'expression': '6 * 7'})}")

        def tell(done: float, total: float | None, message: str | None) -> None:
            print(f"   progress  {done:g}/{total:g} {message}")

        print(f"   count     {(await client.call_tool('count', {'to': 3}, on_progress=tell)).text}")
        print(f"   tea       {(await client.call_tool('order_tea')).text}  (asked the user on the way)")
        print(f"   resource  {(await client.read_resource('config://settings')).data}")
        print(f"   prompt    {(await client.get_prompt('summarize', {'text': '...'})).messages[0].content.text}")
        try:
            await client.call_tool("calculate", {"expression": 6})
        except MCPError as error:
            print(f"   bad call  {error}")


async def main() -> None:
    revisions = ("2026-07-28", "2025-11-25")
    for revision in revisions:
        await show("stdio", {"command": sys.executable, "args": [SERVER]}, revision)
    with serving() as url:
        for revision in revisions:
            await show(url, url, revision)
    print("demo: all good")


if __name__ == "__main__":
    anyio.run(main)
