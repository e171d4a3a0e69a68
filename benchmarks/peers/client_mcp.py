"""The official Python SDK's client: one call at a time. Arguments as of `client_kailash.py`."""

import asyncio
import sys

from client_rounds import report
from mcp import Client, StdioServerParameters


async def main() -> None:
    calls, target, *arguments = sys.argv[1:]
    is_url = target.startswith("http")
    async with Client(target if is_url else StdioServerParameters(command=target, args=arguments)) as client:

        async def one(message: str) -> str:
            result = await client.call_tool("echo", {"message": message})
            return result.content[0].text

        await report(one, int(calls))


asyncio.run(main())
