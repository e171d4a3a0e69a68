"""A WebSocket client for tests: it may say anything, at any pace, and tells what it hears."""

from __future__ import annotations

import base64
import json
import ssl
import struct
from typing import Any, Self

import anyio
import anyio.abc
from anyio.streams.tls import TLSStream

from protocol.framing.websocket import Ending, WebSocket, WebSocketLimits

__all__ = ["KEY", "META", "WSPeer", "call", "frame", "handshake", "start"]

KEY = base64.b64encode(b"sixteen bytes ok").decode()
META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "peer", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call(name: str, id: Any = 1, *, token: Any = None, **arguments: Any) -> dict[str, Any]:
    """Return a call of a tool, of the newest revision."""
    meta = META if token is None else {**META, "progressToken": token}
    params = {"name": name, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def start(revision: str = "2025-06-18", id: Any = 0) -> dict[str, Any]:
    """Return the first request of a handshake."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "peer", "version": "1"}}
    return {"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params}


def handshake(path: str = "/ws", *, host: str = "localhost", version: str = "1.1", **headers: str | None) -> bytes:
    """Return the request that opens a WebSocket; headers are set, or with `None` left out."""
    fields: dict[str, str | None] = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """Return any frame."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    bit = 0x80 if mask else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    # A mask of zeros is one.
    return head + (b"\0\0\0\0" if mask else b"") + payload


class WSPeer:
    """One connection."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self.socket = WebSocket(is_client=True, limits=WebSocketLimits(message_bytes=None), mint_mask=lambda: b"mask")
        self.heard: list[Any] = []
        self.head = b""
        self.status = 0

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> WSPeer:
        """Connect, and say nothing yet."""
        stream: anyio.abc.ByteStream = await anyio.connect_tcp("127.0.0.1", port)
        if tls is not None:
            stream = await TLSStream.wrap(stream, hostname="localhost", ssl_context=tls, standard_compatible=False)
        return cls(stream)

    @classmethod
    async def open(cls, port: int, path: str = "/ws", *, tls: ssl.SSLContext | None = None, **headers: Any) -> WSPeer:
        """Open a WebSocket."""
        peer = await cls.connect(port, tls)
        await peer.ask(handshake(path, **headers))
        return peer

    async def ask(self, request: bytes) -> int:
        """Send a handshake, and return the status that is answered."""
        await self.stream.send(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self.stream.receive()
        self.head, _, rest = data.partition(b"\r\n\r\n")
        self.status = int(self.head[9:12])
        if self.status == 101:
            self._take(rest)
        return self.status

    def _take(self, data: bytes) -> None:
        self.heard += map(json.loads, self.socket.receive_data(data))

    async def say(self, *messages: Any) -> None:
        """Send messages in one write."""
        await self.stream.send(self.socket.frame([json.dumps(message).encode() for message in messages]))

    async def hear(self) -> Any:
        """Return the next message; `None` once the connection is closed, as `ending` says."""
        with anyio.fail_after(10):
            while not self.heard:
                if self.socket.is_over:
                    return None
                try:
                    self._take(await self.stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    self.socket.receive_eof()
                for part in self.socket.data_to_send():
                    try:
                        await self.stream.send(part)
                    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                        pass
        return self.heard.pop(0)

    async def ended(self) -> Ending:
        """Wait for the end, and return it; whatever else is said is dropped."""
        while await self.hear() is not None:
            pass
        assert self.socket.ending is not None
        return self.socket.ending

    async def answer(self, id: Any) -> Any:
        """Return the answer to a request; whatever else is said is dropped."""
        while True:
            message = await self.hear()
            assert message is not None, self.socket.ending
            if message.get("id") == id and ("result" in message or "error" in message):
                return message

    async def echo(self, text: str = "hello") -> None:
        """Make sure that the connection works."""
        await self.say(call("echo", "echo", message=text))
        found = await self.answer("echo")
        assert found["result"]["content"][0]["text"] == text, found

    async def close(self) -> None:
        """Hang up without a word."""
        await self.stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            await self.close()
