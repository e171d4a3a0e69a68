"""The official Python SDK, with tools that ask the client back, as its documentation shows it."""

from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

try:
    from mcp.server import MCPServer as Server
    from mcp.server.mcpserver import Context
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as Server

server = Server("bench", log_level="WARNING")


class Form(BaseModel):
    answer: str


@server.tool(structured_output=False)
async def elicit(message: str, ctx: Context) -> str:
    found = await ctx.elicit(message, schema=Form)
    return found.data.answer


@server.tool(structured_output=False)
async def sample(message: str, ctx: Context) -> str:
    said = [SamplingMessage(role="user", content=TextContent(type="text", text=message))]
    found = await ctx.session.create_message(said, max_tokens=1024)
    return found.content.text


server.run("stdio")
