"""Starts `demo_server.py` over stdio and uses all of it, in the newest revision of each era."""

import sys
import time
from pathlib import Path

import anyio

from kailash.mcp_server import MCPClient, MCPError

CONFIG = {"command": sys.executable, "args": [str(Path(__file__).with_name("demo_server.py"))]}


async def show(revision: str) -> None:
    started = time.perf_counter()
    async with MCPClient(
        CONFIG, revisions=[revision], elicitation_handler=lambda asked: {"kind": "oolong", "sugar": 1}
    ) as client:
        print(f"== revision {client.protocol_version}, ready after {time.perf_counter() - started:.2f} s")
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
    for revision in ("2026-07-28", "2025-11-25"):
        await show(revision)
    print("demo: all good")


if __name__ == "__main__":
    anyio.run(main)
