"""The official Python SDK over HTTP, as its documentation shows it: `--port=N`, `--tools=N`.

`--answers=json` has it answer without event streams, which is faster, and loses what a call tells meanwhile.
It is spared its log of each request, and the second copy of the text that it returns as structured content by default.
"""

from typing import Any

from command_line import options

given = options()
port, is_json = int(given["port"]), given.get("answers") == "json"
served: dict[str, Any]
try:
    from mcp.server import MCPServer as Server
    from mcp.server.mcpserver import Context

    made, served = {}, {"host": "127.0.0.1", "port": port, "json_response": is_json}
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as Server

    made, served = {"host": "127.0.0.1", "port": port, "json_response": is_json}, {}

server = Server("bench", log_level="WARNING", **made)


@server.tool(structured_output=False)
async def echo(message: str) -> str:
    return message


@server.tool(structured_output=False)
async def count(to: int, ctx: Context) -> str:
    for number in range(to):
        await ctx.report_progress(number, to)
    return "done"


if hasattr(Context, "notify_resource_updated"):

    @server.resource("bench://watched")
    def watched() -> str:
        return "watched"

    @server.tool(structured_output=False)
    async def touch(message: str, ctx: Context) -> str:
        await ctx.notify_resource_updated("bench://watched")
        return message


for number in range(int(given.get("tools", 0))):
    server.tool(name=f"tool_{number}", structured_output=False)(echo)

server.run("streamable-http", **served)
