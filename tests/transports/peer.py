"""A raw HTTP client on any event loop: it writes what it is told, right or wrong, and reads what comes."""

from __future__ import annotations

import json
import ssl
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from protocol.revisions import REVISIONS

NEWEST, LAST_HANDSHAKE = REVISIONS[-1].name, REVISIONS[-2].name
META = {
    "io.modelcontextprotocol/protocolVersion": NEWEST,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Peer:
    """One connection to a server."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self._reader = BufferedByteReceiveStream(stream)

    @classmethod
    async def connect(cls, port: int, *, tls: ssl.SSLContext | None = None) -> Peer:
        if tls is None:
            return cls(await anyio.connect_tcp("127.0.0.1", port))
        return cls(
            await anyio.connect_tcp(
                "127.0.0.1", port, ssl_context=tls, tls_hostname="127.0.0.1", tls_standard_compatible=False
            )
        )

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def post(self, message: Any, *headers: str, path: str = "/mcp") -> None:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
        head += ["Accept: application/json, text/event-stream", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join([*head, "", ""]).encode() + body)

    async def get(self, path: str, *headers: str, method: str = "GET") -> None:
        await self.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode())

    async def head(self) -> tuple[int, dict[str, str]]:
        """Return status and headers of the next response."""
        with anyio.fail_after(20):
            text = (await self._reader.receive_until(b"\r\n\r\n", 65536)).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in text[1:])}
        return int(text[0].split()[1]), headers

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next response."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") != "chunked":
            length = int(headers.get("content-length", 0))
            return status, headers, await self._reader.receive_exactly(length) if length else b""
        body = b""
        while chunk := await self.chunk():
            body += chunk
        return status, headers, body

    async def chunk(self) -> bytes:
        """Return the next piece of a chunked body, `b""` at its end."""
        with anyio.fail_after(20):
            size = int((await self._reader.receive_until(b"\r\n", 100)).strip(), 16)
            data = await self._reader.receive_exactly(size) if size else b""
            await self._reader.receive_until(b"\r\n", 100)
            return data

    async def rest(self) -> bytes:
        """Return everything until the server ends the connection."""
        pieces = []
        with anyio.fail_after(20):
            try:
                while True:
                    pieces.append(await self._reader.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return b"".join(pieces)

    async def call(self, tool: str, arguments: Any = None, *, id: int = 1, path: str = "/mcp", **meta: Any) -> None:
        """Call a tool in the newest revision."""
        params = {"name": tool, "arguments": arguments or {}, "_meta": {**META, **meta}}
        await self.modern("tools/call", params, f"Mcp-Name: {tool}", id=id, path=path)

    async def modern(self, method: str, params: dict[str, Any], *headers: str, id: int = 1, path: str = "/mcp") -> None:
        """Send a request of the newest revision."""
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": {"_meta": META, **params}}
        own = (f"MCP-Protocol-Version: {NEWEST}", f"Mcp-Method: {method}")
        await self.post(message, *own, *headers, path=path)

    async def initialize(self, *headers: str) -> str:
        """Open a session of the handshake era and return its id."""
        info = {"name": "raw", "version": "1"}
        params = {"protocolVersion": LAST_HANDSHAKE, "capabilities": {"elicitation": {}}, "clientInfo": info}
        await self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, *headers)
        status, answered, _ = await self.response()
        assert status == 200
        session = answered["mcp-session-id"]
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await self.post(note, f"Mcp-Session-Id: {session}", *headers)
        assert (await self.response())[0] == 202
        return session

    async def close(self) -> None:
        await self.stream.aclose()
