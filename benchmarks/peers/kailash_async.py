"""Ours, with a coroutine function as tool: a task per call."""

from kailash.mcp_server import MCPServer

server = MCPServer("bench")


@server.tool
async def echo(message: str) -> str:
    return message


server.run()
