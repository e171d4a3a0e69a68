"""Credentials of a client: one config key, whatever the transport; and never where others could read them."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError
from kailash.mcp_server.auth import APIKeyAuth, BasicAuth, BearerTokenAuth, JWTAuth
from kailash.mcp_server.errors import AuthenticationError
from tests.unit.mcp_server.test_client import KEY, PASSWORD, SECRET, TOKEN, given

from .webserver import serving, speaking

pytestmark = pytest.mark.anyio


def providers() -> list[Any]:
    jwt = JWTAuth(secret=SECRET, algorithm="HS256")
    users = {"alice": BasicAuth.hash(PASSWORD)}
    return [
        APIKeyAuth({KEY: {"user_id": "key"}}),
        BearerTokenAuth({TOKEN: {"user_id": "token"}}),
        BasicAuth(users),
        jwt,
    ]


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_each_kind_of_credentials_opens_a_server_behind_a_url(transport: str, revision: str) -> None:
    if transport == "sse" and revision == "2026-07-28":
        return  # no server of that transport speaks it
    async with serving(auth_provider=providers()) as web:
        url = f"{web.url}/sse" if transport == "sse" else web.url
        for auth in given().values():
            config = {"transport": transport, "url": url, "auth": auth}
            async with MCPClient(config, **speaking(revision)) as client:
                assert (await client.call_tool("echo", {"message": "in"})).data == "in"
        wrong = {"transport": transport, "url": url, "auth": {"type": "api_key", "key": "wrong"}}
        with pytest.raises(AuthenticationError) as refused:
            async with MCPClient(wrong, **speaking(revision)):
                pass
        assert "wrong" not in str(refused.value)


async def test_a_token_that_changes_is_sent_as_it_is_now(revision: str) -> None:
    class Rotating:
        def __init__(self) -> None:
            self.tokens = ["first", "second"]

        def get_headers(self) -> dict[str, str]:
            return {"Authorization": f"Bearer {self.tokens[0]}"}

    auth = Rotating()
    table = BearerTokenAuth({"first": {"user_id": "u"}, "second": {"user_id": "u"}})

    async def more() -> dict[str, str]:
        return {"X-More": "1"}

    sources: list[Mapping[str, str] | Callable[[], Awaitable[Mapping[str, str]]] | None] = [None, {"X-More": "1"}, more]
    for own in sources:
        auth.tokens[:] = ["first", "second"]
        async with serving(auth_provider=table) as web:
            async with MCPClient({"url": web.url, "auth": auth, "headers": own}, **speaking(revision)) as client:
                await client.call_tool("echo", {"message": "a"})
                assert table.revoke("first")
                auth.tokens.pop(0)
                assert (await client.call_tool("echo", {"message": "b"})).data == "b"
        table.add("first", user_id="u")


SERVER = """
import os
from kailash.mcp_server import MCPServer
from kailash.mcp_server.auth import APIKeyAuth, BearerTokenAuth
server = MCPServer("guarded", auth_provider=[APIKeyAuth({"%s": {}}), BearerTokenAuth({"%s": {}})])

@server.tool(required_permission="tools")
def variables() -> list[str]:
    return sorted(name for name in os.environ if name.startswith("MCP_"))

server.run()
"""


@pytest.mark.integration
async def test_over_stdio_they_are_variables_of_the_child(tmp_path: Path, revision: str) -> None:
    (tmp_path / "guarded.py").write_text(SERVER % (KEY, TOKEN))
    config = {"command": sys.executable, "args": ["guarded.py"], "cwd": str(tmp_path)}
    for auth, name in (
        ({"type": "api_key", "key": KEY}, "MCP_API_KEY"),
        ({"type": "api_key", "key": KEY, "header": "X-Other"}, "MCP_API_KEY"),
        (BearerTokenAuth(TOKEN), "MCP_TOKEN"),
    ):
        async with MCPClient({**config, "auth": auth}, **speaking(revision)) as client:
            assert (await client.call_tool("variables")).data == [name]
    async with MCPClient(config, **speaking(revision)) as client:
        assert await client.list_tools() == []
        with pytest.raises(MCPError):
            await client.call_tool("variables")
    with anyio.fail_after(10), pytest.raises(MCPError) as refused:
        async with MCPClient({**config, "auth": {"type": "api_key", "key": "wrong-key"}}, **speaking(revision)):
            pass
    assert "wrong-key" not in str(refused.value)
