"""Our client: one call at a time. `client_kailash.py CALLS URL` or `… CALLS COMMAND ARGUMENT…`."""

import asyncio
import sys

from client_rounds import report

from kailash.mcp_client import MCPClient


async def main() -> None:
    calls, target, *arguments = sys.argv[1:]
    config = {"url": target} if target.startswith("http") else {"command": target, "args": arguments}
    async with MCPClient(config) as client:

        async def one(message: str) -> str:
            result = await client.call_tool("echo", {"message": message})
            return result.content[0].text

        await report(one, int(calls))


asyncio.run(main())
