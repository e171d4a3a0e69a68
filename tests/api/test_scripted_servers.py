"""What servers that are not ours said once, said again: transcripts of bugs."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kailash.adapters.memory import MemoryChannel, join
from kailash.mcp_server import MCPClient, MCPError

from .raw import RawPipe

pytestmark = pytest.mark.anyio

# `mcp` 1.30.0, FastMCP: the probe is refused, the handshake succeeds, logging is not declared.
WITHOUT_LOGGING = {
    "server/discover": b'"error":{"code":-32602,"message":"Invalid request parameters","data":""}}',
    "initialize": b'"result":{"protocolVersion":"2025-11-25","capabilities":{"experimental":{},"prompts":'
    b'{"listChanged":false},"resources":{"subscribe":false,"listChanged":false},"tools":{"listChanged":false}},'
    b'"serverInfo":{"name":"foreign","version":"1.30.0"},"instructions":"Written by somebody else."}}',
    "ping": b'"result":{}}',
}
# A server that declares logging and then refuses the level.
REFUSES_LEVELS = WITHOUT_LOGGING | {
    "initialize": b'"result":{"protocolVersion":"2025-11-25","capabilities":{"logging":{}},'
    b'"serverInfo":{"name":"foreign","version":"1"}}}',
    "logging/setLevel": b'"error":{"code":-32603,"message":"no levels today"}}',
}


class Scripted(RawPipe):
    """Answers each method with what is written down for it."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        super().__init__()
        self._answers = answers

    def receive_data(self, data: bytes) -> None:
        known = len(self.lines)
        super().receive_data(data)
        for message in map(json.loads, self.lines[known:]):
            if "id" in message:
                self.send(b'{"jsonrpc":"2.0","id":%d,%b\n' % (message["id"], self._answers[message["method"]]))


class ScriptedServer:
    """Stands where an `MCPServer` stands in a client's config."""

    name = "scripted"

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    def open_memory(self, client: MemoryChannel) -> MemoryChannel:
        self.pipe = Scripted(self._answers)
        channel = MemoryChannel(self.pipe, on_events=lambda events: None, keep_reading=True)
        join(channel, client)
        return channel

    def heard(self) -> list[Any]:
        return [json.loads(line)["method"] for line in self.pipe.lines]


async def test_a_level_is_no_demand_on_a_server_without_logging() -> None:
    server = ScriptedServer(WITHOUT_LOGGING)
    async with MCPClient(server, log_level="warning") as client:
        await client.ping()
        with pytest.raises(MCPError, match="did not declare logging"):
            await client.set_log_level("error")
    assert server.heard() == ["server/discover", "initialize", "notifications/initialized", "ping"]


async def test_a_refused_level_leaves_no_connection_behind() -> None:
    server = ScriptedServer(REFUSES_LEVELS)
    client = MCPClient(server, log_level="warning")
    with pytest.raises(MCPError, match="no levels today"):
        await client.open()
    assert not client.is_connected
    assert server.pipe.ended
