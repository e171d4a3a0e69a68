"""Ours."""

from kailash.mcp_server import MCPServer

server = MCPServer("bench")


@server.tool(blocking=False)
def echo(message: str) -> str:
    return message


server.run()
