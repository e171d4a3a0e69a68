"""A server that says what its script says: for what a client does with servers unlike ours."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kailash.adapters.memory import MemoryChannel, join
from protocol.revisions import Era, find

from .raw import RawPipe

Message = dict[str, Any]
Script = Callable[[Message], "Message | Iterable[Message] | None"]


class _Pipe(RawPipe):
    """Reports the lines as events."""

    def events_received(self) -> list[Any]:
        lines, self.lines = self.lines, []
        return lines


class ScriptedServer:
    """Takes part in a memory transport like an `MCPServer`; `heard` is every message that the client sent.

    Args:
        revision: the revision it speaks.
        capabilities: what it declares.
        script: returns what to answer a request with: a result (`{"result": …}`), an error, whole messages, or nothing.
    """

    name = "scripted"

    def __init__(self, revision: str, capabilities: Message, script: Script) -> None:
        self.revision = revision
        self.capabilities = capabilities
        self.heard: list[Message] = []
        self._script = script
        self._channel: MemoryChannel
        self._pipe = _Pipe()
        self._arrived = anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    def open_memory(self, client: MemoryChannel) -> MemoryChannel:
        self._pipe = _Pipe()
        self._channel = MemoryChannel(self._pipe, on_events=self._hear)
        join(self._channel, client)
        return self._channel

    def methods(self) -> list[str]:
        """Return the methods heard since the connection stood."""
        opening = ("server/discover", "initialize", "notifications/initialized")
        return [message["method"] for message in self.heard if message.get("method") not in (*opening, None)]

    async def wait_for(self, method: str) -> Message:
        """Return the first message of a method, as soon as there is one."""
        with anyio.fail_after(5):
            while True:
                for message in self.heard:
                    if message.get("method") == method:
                        return message
                self._arrived = anyio.Event()
                await self._arrived.wait()

    def say(self, *messages: Message) -> None:
        """Send messages."""
        for message in messages:
            self._pipe.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._channel.flush()

    def _hear(self, lines: list[bytes]) -> None:
        for line in lines:
            message = json.loads(line)
            self.heard.append(message)
            if "id" not in message or "method" not in message:
                continue
            answer = self._opening(message) or self._script(message)
            if isinstance(answer, dict):
                self.say({"id": message["id"], **answer})
            elif answer is not None:
                self.say(*answer)
        self._arrived.set()

    def _opening(self, message: Message) -> Message | None:
        common = {"capabilities": self.capabilities, "serverInfo": {"name": "scripted", "version": "1"}}
        revision = find(self.revision)
        assert revision is not None
        if message.get("method") == "initialize":
            return {"result": {"protocolVersion": self.revision, **common}}
        if message.get("method") == "server/discover":
            if revision.era is Era.HANDSHAKE:
                return {"error": {"code": -32601, "message": "Method not found"}}
            return {"result": {"resultType": "complete", "supportedVersions": [self.revision], **common}}
        return None
