"""Servers that share a Redis: one rate, one set of kept results; and what they do while it is away."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import anyio
import pytest

from kailash.adapters.http_url import parse_url
from kailash.errors import MCPError, MCPErrorCode, RateLimitError
from kailash.mcp_client import MCPClient
from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.auth import APIKeyAuth
from tests.api.webserver import served
from tests.redis import RedisServer, redis_server, redis_url
from tests.transports.peer import Peer

__all__ = ["redis_server", "redis_url"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def make(url: str, runs: list[str], name: str = "one", **options: Any) -> MCPServer:
    server = MCPServer("shared", store=url, **options)

    @server.tool(cache_key="weather:{city}", cache_ttl=60)
    def weather(city: str) -> dict[str, str]:
        runs.append(f"{name}:{city}")
        return {"city": city, "from": name}

    @server.tool(rate_limit={"requests": 3, "window": 600})
    async def rare() -> str:
        return "done"

    @server.tool(cache_ttl=60)
    async def fails(ctx: Context) -> str:
        runs.append(name)
        raise MCPError("no luck")

    return server


async def test_a_rate_is_shared(redis_url: str) -> None:
    async with MCPClient(make(redis_url, [])) as one, MCPClient(make(redis_url, [], "two")) as two:
        for client in (one, two, one):
            assert (await client.call_tool("rare")).text == "done"
        for client in (one, two):
            with pytest.raises(RateLimitError) as raised:
                await client.call_tool("rare")
            assert raised.value.retry_after == pytest.approx(200, abs=5)


async def test_results_are_shared_and_forgotten_together(redis_url: str) -> None:
    runs: list[str] = []
    first, second = make(redis_url, runs), make(redis_url, runs, "two")
    async with MCPClient(first) as one, MCPClient(second) as two:
        answer = await one.call_tool("weather", {"city": "Paris"})
        assert await two.call_tool("weather", {"city": "Paris"}) == answer == {"city": "Paris", "from": "one"}
        assert runs == ["one:Paris"]
        for _ in range(2):
            with pytest.raises(MCPError, match="no luck"):
                await two.call_tool("fails")
        assert runs == ["one:Paris", "two", "two"]
        first.clear_cache()
        second.policies.clear_cache()
        with anyio.fail_after(5):
            while runs.count("two:Paris") == 0:
                second.policies.clear_cache()
                await two.call_tool("weather", {"city": "Paris"})


async def test_those_that_ask_at_once_share_one_run_here(redis_url: str) -> None:
    runs: list[str] = []
    async with MCPClient(make(redis_url, runs)) as client:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(client.call_tool, "weather", {"city": "Rome"})
    assert runs == ["one:Rome"]


async def test_without_redis_limits_close_and_caches_open_and_all_recovers(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[str] = []
    async with MCPClient(make(redis_server.url, runs)) as client:
        await client.call_tool("rare")
        redis_server.stop()
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                with pytest.raises(MCPError, match="its store of rate limits cannot be reached") as raised:
                    await client.call_tool("rare")
                assert raised.value.error_code == MCPErrorCode.OVERLOADED
                assert raised.value.retryable
            assert (await client.call_tool("weather", {"city": "Oslo"}))["from"] == "one"
            await client.call_tool("weather", {"city": "Bergen"})
        told = [record for record in caplog.records if "store" in record.name]
        assert len(told) == 1
        redis_server.start()
        with anyio.fail_after(10):
            while True:
                try:
                    assert (await client.call_tool("rare")).text == "done"
                    break
                except MCPError:
                    await anyio.wait_all_tasks_blocked()


@pytest.mark.parametrize("decision", ["open", "closed"])
async def test_what_happens_without_redis_can_be_said(redis_server: RedisServer, decision: Any) -> None:
    runs: list[str] = []
    server = make(redis_server.url, runs, on_store_error=decision, cache_config={"on_store_error": decision})
    async with MCPClient(server) as client:
        redis_server.stop()
        for tool, arguments in (("rare", {}), ("weather", {"city": "Oslo"})):
            if decision == "open":
                await client.call_tool(tool, arguments)
            else:
                with pytest.raises(MCPError, match="cannot be reached"):
                    await client.call_tool(tool, arguments)
        assert (await server.health_check())["status"] == "degraded"


async def test_a_call_that_is_withdrawn_while_it_asks_redis_harms_nobody(redis_server: RedisServer) -> None:
    runs: list[str] = []
    async with MCPClient(make(redis_server.url, runs)) as client:
        await client.call_tool("weather", {"city": "Rome"})
        redis_server.freeze()
        with anyio.move_on_after(0.05):
            await client.call_tool("weather", {"city": "Kyiv"})
        redis_server.thaw()
        assert (await client.call_tool("weather", {"city": "Kyiv"}))["city"] == "Kyiv"


LIMITED = {"limited-key": {"user_id": "ada", "permissions": [], "rate_limit": {"requests": 4, "window": 600}}}


async def test_a_keys_own_rate_is_shared(redis_server: RedisServer) -> None:
    statuses: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for name in ("one", "two"):
            server = make(redis_server.url, [], name, auth_provider=APIKeyAuth(LIMITED))
            ports.append(parse_url(await stack.enter_async_context(served(server))).port)
        for number in range(6):
            peer = await Peer.connect(ports[number % 2])
            await peer.modern("tools/list", {}, "X-API-Key: limited-key")
            status, head, _ = await peer.response()
            statuses.append(status)
            await peer.close()
        assert statuses == [200] * 4 + [429] * 2
        assert int(head["retry-after"]) > 100
        redis_server.stop()
        peer = await Peer.connect(ports[0])
        await peer.modern("tools/list", {}, "X-API-Key: limited-key")
        assert (await peer.response())[0] == 429
        await peer.close()
