"""The seed document's blocks about WebSocket and pools, as written but for the addresses of those that must answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kailash.adapters.http_url import parse_url
from kailash.mcp_server import MCPClient, MCPServer

from .test_seed import block, run_block
from .webserver import served

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the document's blocks use asyncio


@contextlib.asynccontextmanager
async def sockets() -> AsyncIterator[tuple[MCPServer, int]]:
    """Serve the tools that the blocks call, on a WebSocket of this machine."""
    server = MCPServer("sockets", enable_http_transport=True, enable_websocket_transport=True)

    @server.tool
    def search(query: str) -> dict[str, Any]:
        return {"found": query}

    @server.tool
    def analyze(data: dict[str, Any]) -> dict[str, Any]:
        return {"analyzed": data}

    @server.tool
    def test() -> str:
        return "tested"

    @server.tool
    def process(data: str) -> str:
        return data

    async with served(server) as url:
        port = parse_url(url).port
        assert port is not None
        with anyio.fail_after(20):
            yield server, port


def at(number: str, port: int, *addresses: str) -> str:
    """Return a block whose servers are on this machine."""
    text = block(number)
    for address in addresses:
        assert address in text
        text = text.replace(address, f"ws://127.0.0.1:{port}")
    return text


async def test_b12_transports_and_configs(capsys: pytest.CaptureFixture[str]) -> None:
    names = await run_block(block("B12"), {})
    assert MCPClient(names["client_config"]).validate()["valid"]
    assert MCPClient(names["client_config"]).connection_pool_config["max_connections"] == 10
    assert MCPClient(names["ws_transport"]).validate()["valid"]
    server, listener = MCPServer("alone"), names["ws_server"]
    server.tool(name="echo")(lambda message: message)
    assert (listener.host, listener.port) == ("0.0.0.0", 3001)
    ports: list[int] = []
    listening = anyio.Event()

    def started(port: int) -> None:
        ports.append(port)
        listening.set()

    listener.host, listener.port = "127.0.0.1", 0
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: listener.serve(server, started=started))
        with anyio.fail_after(10):
            await listening.wait()
            config = {**names["client_config"], "url": f"ws://127.0.0.1:{ports[0]}/any/path"}
            async with MCPClient(config) as client:
                assert (await client.call_tool("echo", {"message": "hi"})).text == "hi"
        group.cancel_scope.cancel()


async def test_b13_connections_are_pooled() -> None:
    async with sockets() as (_, port):
        names = await run_block(at("B13", port, "ws://api.example.com"), {})
        assert names["result1"] == {"found": "AI"}
        assert names["result2"] == {"analyzed": {"found": "AI"}}
        shown = names["client"].connection_pool_config
        assert (shown["max_connections"], shown["ping_interval"], shown["keep_alive"]) == (20, 20.0, True)


async def test_b14_errors_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    async with sockets() as (_, port):
        pass  # nobody listens there by now
    await run_block(at("B14", port, "wss://unreliable.example.com"), {"client": MCPClient()})
    assert "Connection failed: " in capsys.readouterr().out
    # A connection that is dropped in the middle of a call reaches the second clause.
    async with sockets() as (server, port):

        @server.tool
        async def drop() -> None:
            for session in list(server.sessions):
                session.channel.abort()

        text = at("B14", port, "wss://unreliable.example.com").replace('"process", {"data": "test"}', '"drop", {}')
        await run_block(text, {"client": MCPClient()})
    assert "WebSocket connection error: " in capsys.readouterr().out


async def test_b15_pool_hits_and_misses_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    async with sockets() as (_, port):
        text = at("B15", port, "ws://api.example.com")
        await run_block(text, {"MCPClient": MCPClient})
        assert capsys.readouterr().out.splitlines() == ["Pool hits: 0", "Pool misses: 1", "Active connections: 1"]
        call = re.search(r"^ *await client\.call_tool.*\n", text, re.MULTILINE)
        assert call is not None
        await run_block(text.replace(call[0], call[0] * 3), {"MCPClient": MCPClient})
        assert capsys.readouterr().out.splitlines() == ["Pool hits: 2", "Pool misses: 1", "Active connections: 1"]


async def test_b16_what_is_for_production_and_what_for_development() -> None:
    async with sockets() as (_, port):
        text = at("B16", port, "ws://localhost:3001")
        names = await run_block(text, {})
        async with MCPClient(names["dev_config"]) as client:
            assert await client.call_tool("search", {"query": "x"}) == {"found": "x"}
        inside = {**names["client_config"], "url": names["dev_config"]["url"]}
        with pytest.raises(Exception, match="allow_localhost"):
            await MCPClient(inside).open()


async def test_b32_a_bare_ping_gets_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    async with sockets() as (_, port):
        names = await run_block(at("B32", port, "ws://localhost:3001").rpartition("asyncio.run")[0], {})
        await names["test_websocket"]()
    shown = capsys.readouterr().out
    assert shown.startswith("WebSocket working: ")
    assert '"code":-32600' in shown


async def test_b33_the_pools_can_be_looked_at_and_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    names = await run_block(block("B33"), {"MCPClient": MCPClient})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "Active pools: 0"
    assert second.startswith("Pool config: {'max_connections': 20")
    async with sockets() as (server, port):
        client = names["client"]
        await client.call_tool(f"ws://127.0.0.1:{port}/ws", "test", {})
        assert len(client._websocket_pools) == 1
        await client._clear_connection_pools()
        assert len(client._websocket_pools) == 0
        with anyio.fail_after(5):
            while server.sessions:
                await anyio.lowlevel.checkpoint()
