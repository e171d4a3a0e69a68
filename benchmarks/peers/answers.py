"""What the floors answer: the body is decoded, the answer encoded, and no rule of MCP is looked at."""

from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["REVISIONS", "Answers"]

SERVER_INFO = {"name": "bench", "version": "1.0.0"}
REVISIONS = ["2026-07-28", "2025-11-25"]

_CAPABILITIES = {"logging": {}, "tools": {"listChanged": True}}
_STAMP = {"_meta": {"io.modelcontextprotocol/serverInfo": SERVER_INFO}}
_CACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **_STAMP}


class Meta(msgspec.Struct, frozen=True):
    version: str | None = msgspec.field(default=None, name="io.modelcontextprotocol/protocolVersion")
    token: str | int | None = msgspec.field(default=None, name="progressToken")


class Arguments(msgspec.Struct, frozen=True):
    message: str = ""
    to: int = 0


class Params(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: Arguments = Arguments()
    meta: Meta = msgspec.field(default=Meta(), name="_meta")


class Message(msgspec.Struct, frozen=True):
    method: str
    id: int | str | None = None
    params: Params = Params()


def tool(name: str, argument: str = "message") -> dict[str, Any]:
    """Return how a tool is listed."""
    properties = {argument: {"type": "integer" if argument == "to" else "string"}}
    schema = {"type": "object", "properties": properties, "required": [argument], "additionalProperties": False}
    return {"name": name, "inputSchema": schema}


class Answers:
    """Answers messages.

    Args:
        tools: how many tools are listed, beside `echo`.
    """

    def __init__(self, tools: int = 0) -> None:
        self._tools = [tool("echo"), *(tool(f"tool_{number}") for number in range(tools))]
        self._decode = msgspec.json.Decoder(Message).decode
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes) -> Message:
        """Read a message."""
        return self._decode(body)

    def of(self, message: Message) -> bytes | None:
        """Return what a message is answered with; `None` for a notification."""
        if message.id is None:
            return None
        return self._answer(message, message.params.arguments.message)

    def _answer(self, message: Message, text: str) -> bytes:
        is_enveloped = message.params.meta.version is not None
        result: dict[str, Any]
        if message.method == "tools/call":
            result = {"content": [{"type": "text", "text": text}]}
            if is_enveloped:
                result = {**result, "resultType": "complete", **_STAMP}
        elif message.method == "initialize":
            result = {"protocolVersion": REVISIONS[1], "capabilities": _CAPABILITIES, "serverInfo": SERVER_INFO}
        elif message.method == "server/discover":
            result = {"supportedVersions": REVISIONS, "capabilities": _CAPABILITIES, **_CACHED}
        elif message.method == "tools/list":
            result = {"tools": self._tools, **(_CACHED if is_enveloped else {})}
        else:
            result = {}
        return self._encode({"jsonrpc": "2.0", "id": message.id, "result": result})

    def progress(self, message: Message) -> Iterator[bytes]:
        """Return the notifications of a call of the tool `count`, and then its result."""
        total, token = message.params.arguments.to, message.params.meta.token
        for number in range(total):
            params = {"progressToken": token, "progress": number, "total": total}
            yield self._encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        yield self._answer(message, "done")
