"""Limits where one connection carries everything of a caller: a child on its own stdio."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from kailash.errors import RateLimitError
from kailash.mcp_client import MCPClient

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVER = """
from kailash.mcp_server import MCPServer
from kailash.mcp_server.auth import APIKeyAuth

limit = {"requests": 2, "window": 60}
entry = {"user_id": "ada", "permissions": ["tools"], "rate_limit": limit}
server = MCPServer("limited", auth_provider=APIKeyAuth({"limited-key": entry}))


@server.tool(required_permission="tools")
def act() -> str:
    return "done"


server.run()
"""


async def test_a_keys_own_rate_holds_over_stdio(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    config = {"command": sys.executable, "args": [str(script)], "auth": {"type": "api_key", "key": "limited-key"}}
    with anyio.fail_after(30):
        async with MCPClient(config) as client:
            assert [tool.name for tool in await client.list_tools()] == ["act"]
            for _ in range(2):
                assert (await client.call_tool("act")).text == "done"
            with pytest.raises(RateLimitError, match="this caller") as raised:
                await client.call_tool("act")
            assert raised.value.retry_after == pytest.approx(30, abs=2)
            await client.ping()
