"""fastmcp, as its documentation shows it: over stdio, or with `--port=N` over HTTP. `--tools=N`, `--answers=json`.

It is spared its banner and its log of each request, and the second copy of the text as structured content.
"""

from command_line import options
from fastmcp import Context, FastMCP

given = options()
server = FastMCP("bench")


async def echo(message: str) -> str:
    return message


server.tool(echo, output_schema=None)


@server.tool(output_schema=None)
async def count(to: int, ctx: Context) -> str:
    for number in range(to):
        await ctx.report_progress(number, to)
    return "done"


for number in range(int(given.get("tools", 0))):
    server.tool(echo, name=f"tool_{number}", output_schema=None)

if "port" in given:
    server.run(
        "http",
        host="127.0.0.1",
        port=int(given["port"]),
        path="/mcp",
        json_response=given.get("answers") == "json",
        log_level="WARNING",
        show_banner=False,
    )
else:
    server.run("stdio", show_banner=False, log_level="WARNING")
