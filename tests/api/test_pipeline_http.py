"""What the pipeline refuses, over HTTP: status, `Retry-After`, and the same error at our client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kailash.adapters.http_url import parse_url
from kailash.errors import AuthenticationError, AuthorizationError, CircuitOpenError, RateLimitError, ToolError
from kailash.mcp_client import MCPClient
from kailash.mcp_server import MCPServer
from kailash.mcp_server.auth import APIKeyAuth

from ..transports.peer import Peer
from .conftest import NEWEST
from .webserver import serving

pytestmark = pytest.mark.anyio

KEYS = {"root-key": {"permissions": ["admin"]}, "user-key": {"permissions": ["tools"], "metadata": {"user": "ada"}}}


@asynccontextmanager
async def guarded(**options: Any) -> AsyncIterator[tuple[Any, str]]:
    async with serving(**options) as web:

        @web.server.tool(required_permission="operate", blocking=False)
        def operate() -> str:
            return "operated"

        @web.server.tool(blocking=False, enable_circuit_breaker={"failure_threshold": 1, "timeout": 30})
        def broken() -> str:
            raise RuntimeError("down")

        with anyio.fail_after(10):
            yield web, web.url + "/mcp"


async def ask(url: str, revision: str, tool: str, arguments: dict[str, Any], *headers: str) -> Any:
    """Return status, headers and body of the answer to a raw call."""
    peer = await Peer.connect(parse_url(url).port)
    try:
        if revision == NEWEST:
            await peer.modern("tools/call", {"name": tool, "arguments": arguments}, f"Mcp-Name: {tool}", *headers)
        else:
            session = await peer.initialize(*headers)
            call = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
            await peer.post(call, f"Mcp-Session-Id: {session}", *headers)
        status, head, body = await peer.response()
        return status, head, json.loads(body)
    finally:
        await peer.close()


def key(name: str) -> dict[str, str]:
    return {"X-API-Key": name}


async def test_a_rate_limit_answers_429_with_the_time_to_wait(revision: str) -> None:
    async with guarded(rate_limit_config={"requests": 1, "window": 90}) as (_, url):
        async with MCPClient(url, revisions=[revision]) as client:
            assert (await client.call_tool("echo", {"message": "x"})).text == "x"
            with pytest.raises(RateLimitError) as raised:
                await client.call_tool("echo", {"message": "x"})
            assert raised.value.retry_after == pytest.approx(90, abs=2)
        status, head, body = await ask(url, revision, "echo", {"message": "x"})
        assert status == 429
        assert 85 <= int(head["retry-after"]) <= 90
        assert body["error"]["code"] == 1011
        assert body["error"]["data"]["retryAfter"] == pytest.approx(90, abs=2)


async def test_each_caller_has_a_bucket_of_his_own(revision: str) -> None:
    limit = {"requests": 1, "window": 60, "per_user": True}
    async with guarded(auth_provider=APIKeyAuth(KEYS), rate_limit_config=limit) as (_, url):
        for name in KEYS:
            async with MCPClient({"url": url, "headers": key(name)}, revisions=[revision]) as client:
                await client.call_tool("echo", {"message": "x"})
                with pytest.raises(RateLimitError):
                    await client.call_tool("echo", {"message": "x"})


async def test_a_missing_permission_answers_403_and_hides_the_tool(revision: str) -> None:
    async with guarded(auth_provider=APIKeyAuth(KEYS)) as (_, url):
        async with MCPClient({"url": url, "headers": key("root-key")}, revisions=[revision]) as client:
            assert "operate" in [tool.name for tool in await client.list_tools()]
            assert (await client.call_tool("operate")).text == "operated"
        async with MCPClient({"url": url, "headers": key("user-key")}, revisions=[revision]) as client:
            assert "operate" not in [tool.name for tool in await client.list_tools()]
            with pytest.raises(AuthorizationError, match="permission 'operate'") as raised:
                await client.call_tool("operate")
            assert raised.value.data["missing"] == ["operate"]
        status, _, body = await ask(url, revision, "operate", {}, "X-API-Key: user-key")
        assert (status, body["error"]["code"]) == (403, 1010)


async def test_an_open_breaker_answers_503_with_the_time_to_wait(revision: str) -> None:
    async with guarded() as (_, url):
        async with MCPClient(url, revisions=[revision]) as client:
            with pytest.raises(ToolError):
                await client.call_tool("broken")
            with pytest.raises(CircuitOpenError) as raised:
                await client.call_tool("broken")
            assert raised.value.retry_after == pytest.approx(30, abs=1)
        status, head, body = await ask(url, revision, "broken", {})
        assert (status, body["error"]["code"]) == (503, 1012)
        assert 28 <= int(head["retry-after"]) <= 30


async def test_who_is_not_let_in_is_written_down_without_his_credentials() -> None:
    lines: list[dict[str, Any]] = []
    async with guarded(auth_provider=APIKeyAuth(KEYS), audit=lines.append) as (_, url):
        peer = await Peer.connect(parse_url(url).port)
        await peer.modern("tools/list", {}, "X-API-Key: guessed-key")
        assert (await peer.response())[0] == 401
        await peer.close()
    assert [(line["outcome"], line["reason"], line["transport"]) for line in lines] == [
        ("refused", "authentication_failed", "http")
    ]
    assert "guessed" not in repr(lines)


# Who calls from where


async def test_guessing_costs_time_and_is_refused_before_it_is_looked_at() -> None:
    asked: list[str] = []

    class Slow:
        def authenticate(self, credentials: dict[str, str]) -> dict[str, Any]:
            asked.append(credentials.get("api_key", ""))
            if credentials.get("api_key") != "right":
                raise AuthenticationError("unknown")
            return {"user_id": "ada", "permissions": [], "auth_type": "test", "metadata": {}}

    async with guarded(auth_provider=Slow(), http_options={"max_auth_failures": 3}) as (_, url):
        peer = await Peer.connect(parse_url(url).port)
        statuses = []
        for _ in range(6):
            await peer.modern("tools/list", {}, "X-API-Key: wrong")
            status, head, _ = await peer.response()
            statuses.append(status)
        assert statuses == [401, 401, 401, 429, 429, 429]
        assert 1 <= int(head["retry-after"]) <= 20
        assert asked == ["wrong"] * 3
        await peer.close()


async def test_anonymous_callers_are_told_apart_by_their_address_and_no_header_changes_that(revision: str) -> None:
    limit = {"requests": 2, "window": 60, "per_user": True}
    async with guarded(rate_limit_config=limit) as (_, url):
        statuses = []
        for number in range(4):
            status, _, _ = await ask(url, revision, "echo", {"message": "x"}, f"X-Forwarded-For: 203.0.113.{number}")
            statuses.append(status)
        assert statuses == [200, 200, 429, 429]


async def test_a_trusted_proxy_tells_the_address(revision: str) -> None:
    limit = {"requests": 1, "window": 60, "per_user": True}
    options = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}
    async with guarded(rate_limit_config=limit, http_options=options) as (_, url):

        async def status(*hops: str) -> int:
            headers = [f"X-Forwarded-For: {hop}" for hop in hops]
            return int((await ask(url, revision, "echo", {"message": "x"}, *headers))[0])

        assert await status("203.0.113.1") == 200
        assert await status("203.0.113.1") == 429
        assert await status("203.0.113.2") == 200
        # The last hop that no trusted proxy vouches for counts; what stands before it, anybody may have written.
        assert await status("198.51.100.7, 203.0.113.2") == 429
        assert await status("203.0.113.3, 10.1.2.3") == 200
        assert await status("203.0.113.3, 10.9.9.9") == 429
        assert await status("no address") == 200  # the proxy's own
        assert await status() == 429


def test_a_trusted_proxy_is_an_address_or_a_network() -> None:
    with pytest.raises(ValueError, match="proxy"):
        MCPServer("x", http_options={"trusted_proxies": ["proxy.example"]})
