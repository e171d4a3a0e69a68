"""Ours over WebSockets: `--port=N`."""

from command_line import options

from kailash.mcp_server import MCPServer

server = MCPServer("bench", http_options={"max_connections": 10_000, "max_sessions": 10_000})


@server.tool(blocking=False)
def echo(message: str) -> str:
    return message


server.run("websocket", host="127.0.0.1", port=int(options()["port"]))
