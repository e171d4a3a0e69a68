"""Makes one call through the `mcp` 1.x client, whatever happens to its connection: `resume_mcp1.py URL`."""

import json
import sys
from typing import Any

import anyio
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main() -> None:
    seen: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append([done, total, message])

    async with streamable_http_client(sys.argv[1]) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        with anyio.fail_after(20):
            result = await session.call_tool("interrupted", progress_callback=progress)
        json.dump({"progress": seen, "text": result.content[0].text}, sys.stdout)


anyio.run(main)
