"""Servers named in calls: their connections are held, shared, bounded and swept."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kailash.errors import MCPError, TransportError
from kailash.mcp_client import MCPClient
from kailash.mcp_server import MCPServer

from .webserver import served, serving

pytestmark = pytest.mark.anyio


async def test_calls_to_one_server_share_a_connection_and_another_key_has_its_own() -> None:
    async with serving() as web, MCPClient() as client:
        first = {"url": web.url, "headers": {"X-Tenant": "one"}}
        second = {"url": web.url, "headers": {"X-Tenant": "two"}}
        for server in (first, second, first, second):
            assert (await client.call_tool(server, "echo", {"message": "x"})).text == "x"
        assert len(client._pool.clients) == 2
        await client._clear_connection_pools()
        assert client._pool.clients == []
        assert (await client.call_tool(first, "echo", {"message": "y"})).text == "y"


@pytest.mark.parametrize("exclusive", [False, True])
async def test_calls_at_once_share_a_connection_unless_it_is_for_one_each(exclusive: bool) -> None:
    async with serving() as web:
        async with MCPClient(connection_pool_config={"exclusive": exclusive, "max_connections": 3}) as client:
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    for _ in range(6):
                        group.start_soon(client.call_tool, web.url, "echo", {"message": "x"})
            assert len(client._pool.clients) == (3 if exclusive else 1)


async def test_the_longest_idle_gives_way_and_who_waits_too_long_is_told() -> None:
    release = anyio.Event()
    started = anyio.Event()
    slow = MCPServer("slow")

    @slow.tool
    async def hold() -> str:
        started.set()
        await release.wait()
        return "held"

    others = [MCPServer(name) for name in ("one", "two")]
    for server in others:
        server.tool(name="name")(lambda server=server: server.name)
    rules = {"max_connections": 1, "connection_timeout": 0.2}
    async with served(slow) as busy, served(others[0]) as one, served(others[1]) as two:
        async with MCPClient(connection_pool_config=rules) as client:
            assert (await client.call_tool(one, "name")).text == "one"
            held = client._pool.clients
            assert (await client.call_tool(two, "name")).text == "two"
            assert client._pool.clients != held and len(client._pool.clients) == 1
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    group.start_soon(client.call_tool, busy, "hold")
                    await started.wait()
                    with pytest.raises(TransportError, match=r"all 1 were in use for 0\.2 s") as raised:
                        await client.call_tool(one, "name")
                    assert raised.value.retryable
                    group.start_soon(_release_soon, client, release)
                    assert (await client.call_tool(two, "name")).text == "two"


async def _release_soon(client: MCPClient, release: anyio.Event) -> None:
    while not client._pool._waiting:
        await anyio.lowlevel.checkpoint()
    release.set()


async def test_what_is_idle_is_swept_and_what_is_not_kept_alive_is_closed_at_once() -> None:
    async with serving() as web:
        async with MCPClient(connection_pool_config={"pool_cleanup_interval": 0.05}) as client:
            await client.call_tool(web.url, "echo", {"message": "x"})
            assert len(client._pool.clients) == 1
            with anyio.fail_after(5):
                while client._pool.clients:
                    await anyio.lowlevel.checkpoint()
            assert (await client.call_tool(web.url, "echo", {"message": "x"})).text == "x"
        async with MCPClient(connection_pool_config={"keep_alive": False}) as client:
            await client.call_tool(web.url, "echo", {"message": "x"})
            assert client._pool.clients == []


async def test_a_call_that_was_given_up_spoils_a_connection_that_is_one_callers_at_a_time() -> None:
    for exclusive in (True, False):
        async with serving() as web, MCPClient(connection_pool_config={"exclusive": exclusive}) as client:
            assert (await client.call_tool(web.url, "echo", {"message": "x"})).text == "x"
            [first] = client._pool.clients
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    group.start_soon(client.call_tool, web.url, "wait")
                    await web.started.wait()
                    group.cancel_scope.cancel()
            web.release.set()
            assert (await client.call_tool(web.url, "echo", {"message": "y"})).text == "y"
            [second] = client._pool.clients
            assert (second is first) is not exclusive


async def test_a_dead_connection_is_replaced() -> None:
    async with MCPClient() as client:
        async with serving() as web:
            url = web.url
            assert (await client.call_tool(url, "echo", {"message": "x"})).text == "x"
        with pytest.raises(MCPError, match="connection"):
            await client.call_tool(url, "echo", {"message": "x"})
        assert len(client._pool.clients) <= 1


def test_the_rules_in_effect_can_be_read() -> None:
    client = MCPClient(connection_pool_config={"max_connections": 7, "ping_interval": 5.0})
    shown: dict[str, Any] = client.connection_pool_config
    assert shown["max_connections"] == 7 and shown["pool_cleanup_interval"] == 300.0
    assert len(client._websocket_pools) == 0
    with pytest.raises(TypeError, match="unknown key size in connection_pool_config; known: max_connections"):
        MCPClient(connection_pool_config={"size": 7})
