"""Ours, with tools that ask the client back."""

from kailash.mcp_server import Context, MCPServer

server = MCPServer("bench")
FORM = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


@server.tool
async def elicit(message: str, ctx: Context) -> str:
    found = await ctx.elicit(message, FORM)
    assert found.data is not None
    return str(found.data["answer"])


@server.tool
async def sample(message: str, ctx: Context) -> str:
    found = await ctx.sample(message)
    return str(found.content.text)


server.run()
