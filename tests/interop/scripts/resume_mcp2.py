"""Makes one call through the `mcp` 2.x client, whatever happens to its connection: `resume_mcp2.py URL`."""

import json
import sys
from typing import Any

import anyio
from mcp import Client


async def main() -> None:
    seen: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append([done, total, message])

    async with Client(sys.argv[1], mode="legacy") as client:
        with anyio.fail_after(20):
            result = await client.call_tool("interrupted", progress_callback=progress)
        json.dump({"progress": seen, "text": result.content[0].text}, sys.stdout)


anyio.run(main)
