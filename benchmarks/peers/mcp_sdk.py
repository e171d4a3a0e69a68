"""The official Python SDK, as its documentation shows it."""

try:
    from mcp.server import MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import FastMCP as Server

server = Server("bench")


@server.tool()
async def echo(message: str) -> str:
    return message


server.run("stdio")
