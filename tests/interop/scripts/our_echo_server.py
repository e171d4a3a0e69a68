"""A server of ours with one tool, for WebSocket libraries; `HTTP_OPTIONS` and `API_KEY` of the environment count."""

import json
import os
from typing import Any

from kailash.mcp_server import MCPServer
from kailash.mcp_server.auth import APIKeyAuth

options: dict[str, Any] = json.loads(os.environ.get("HTTP_OPTIONS", "{}"))
key = os.environ.get("API_KEY")
server = MCPServer("echo", http_options=options, auth_provider=APIKeyAuth([key]) if key else None)


@server.tool(blocking=False)
def echo(message: str) -> str:
    """Return the message."""
    return message


if __name__ == "__main__":
    server.run()
