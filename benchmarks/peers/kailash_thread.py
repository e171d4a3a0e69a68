"""Ours, with a plain function as tool: a worker thread per call."""

from kailash.mcp_server import MCPServer

server = MCPServer("bench")


@server.tool
def echo(message: str) -> str:
    return message


server.run()
