"""The official Python SDK over WebSockets, by the server transport of its 1.x line, under uvicorn: `--port=N`.

As its documentation shows it, so it logs each request and repeats each text as structured content; `--quiet=yes` spares
it both.
"""

import uvicorn
from command_line import options
from mcp.server.fastmcp import FastMCP
from mcp.server.websocket import websocket_server
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

given = options()
is_quiet = "quiet" in given
server = FastMCP("bench", **({"log_level": "WARNING"} if is_quiet else {}))


@server.tool(structured_output=False if is_quiet else None)
async def echo(message: str) -> str:
    return message


async def serve(socket: WebSocket) -> None:
    inner = server._mcp_server
    async with websocket_server(socket.scope, socket.receive, socket.send) as (read, write):
        await inner.run(read, write, inner.create_initialization_options())


app = Starlette(routes=[WebSocketRoute("/ws", serve)])
uvicorn.run(app, host="127.0.0.1", port=int(given["port"]), log_level="warning")
