"""Ours over HTTP. `--codec=httptools` or `h11`, `--tools=N`."""

from command_line import options

from kailash.mcp_server import Context, MCPServer

given = options()
server = MCPServer("bench", http_options={"http_codec": given.get("codec", "auto")})


@server.tool(blocking=False)
def echo(message: str) -> str:
    return message


@server.tool
async def count(to: int, ctx: Context) -> str:
    for number in range(to):
        await ctx.progress(number, to)
    return "done"


for number in range(int(given.get("tools", 0))):
    server.tool(name=f"tool_{number}", blocking=False)(echo)

server.run(host="127.0.0.1", port=0)
