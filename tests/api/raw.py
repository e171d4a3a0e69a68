"""A peer that speaks raw lines: what is sent is what is written here, what comes back is every line as it came."""

import json
from typing import Any

import anyio

from kailash.adapters.memory import MemoryChannel
from kailash.mcp_server import MCPServer
from protocol.revisions import REVISIONS

NEWEST = REVISIONS[-1].name


class RawPipe:
    """Lines in, lines out, no protocol."""

    engine = None
    is_holding = False

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.ended = False
        self._rest = b""
        self._queue: list[bytes] = []
        self.arrived = anyio.Event()

    def receive_data(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += lines
        self.arrived.set()

    def receive_eof(self) -> None:
        self.ended = True
        self.arrived.set()

    def events_received(self) -> list[Any]:
        return []

    def data_to_send(self) -> list[bytes]:
        queue, self._queue = self._queue, []
        return queue

    def send(self, data: bytes) -> None:
        self._queue.append(data)

    def close_expected(self) -> bool:
        return False

    def next_deadline(self) -> float | None:
        return None

    def handle_deadline(self, now: float) -> None:
        raise AssertionError("no deadline was set")


class RawPeer:
    """A raw client of a server in this process."""

    def __init__(self, server: MCPServer) -> None:
        self.pipe = RawPipe()
        self.channel = MemoryChannel(self.pipe, on_events=lambda events: None, keep_reading=True)
        self._server_channel = server.open_memory(self.channel)
        self._taken = 0

    async def __aenter__(self) -> "RawPeer":
        return self

    async def __aexit__(self, *error: object) -> None:
        self.channel.close()
        await self.channel.wait_closed()
        await self._server_channel.wait_closed()

    def write(self, *messages: bytes | dict[str, Any]) -> None:
        """Send messages, each on a line of its own."""
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.pipe.send(data + b"\n")
        self.channel.flush()

    async def read(self) -> dict[str, Any]:
        """Return the next message."""
        with anyio.fail_after(5):
            while len(self.pipe.lines) <= self._taken:
                self.pipe.arrived = anyio.Event()
                await self.pipe.arrived.wait()
        line = self.pipe.lines[self._taken]
        self._taken += 1
        message: dict[str, Any] = json.loads(line)
        return message

    async def ask(self, method: str, params: dict[str, Any] | None = None, *, id: int | str = 1) -> dict[str, Any]:
        """Make a request of the handshake era and return its response."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method}
        self.write(message if params is None else message | {"params": params})
        return await self.read()

    async def ask_modern(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        id: int | str = 1,
        capabilities: dict[str, Any] | None = None,
        **meta: Any,
    ) -> dict[str, Any]:
        """Make a request of the envelope era and return its response."""
        return await self.ask(method, modern(params, capabilities, **meta), id=id)

    async def initialize(self, revision: str, capabilities: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go through the handshake and return the result."""
        info = {"name": "raw", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": info}
        response = await self.ask("initialize", params, id="init")
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        result: dict[str, Any] = response["result"]
        return result


def modern(params: dict[str, Any] | None, capabilities: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """Return params with the `_meta` of the newest revision."""
    own = {
        "io.modelcontextprotocol/protocolVersion": NEWEST,
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }
    return {**(params or {}), "_meta": own | meta}
