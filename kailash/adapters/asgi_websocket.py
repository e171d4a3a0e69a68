"""WebSockets of an ASGI server, which frames them: to a channel they are a stream of lines, each of them one message.

A text may stand on several lines, for JSON allows line ends between its tokens; there a space means the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Unpack

import anyio
import anyio.abc

from protocol.http.answer import Answer

from .channel import ChannelOptions, PipeLike
from .stream import StreamChannel

__all__ = ["ASGIChannel", "ASGISocketStream", "deny"]

_NORMAL, _GOING_AWAY, _UNSUPPORTED, _POLICY, _TOO_BIG, _TRY_AGAIN_LATER = 1000, 1001, 1003, 1008, 1009, 1013
_SPACES = bytes.maketrans(b"\r\n", b"  ")
_EXTENSION = "websocket.http.response"

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ASGISocketStream(anyio.abc.ByteStream):
    """The texts of a WebSocket as lines.

    Args:
        receive, send: those of the scope, whose connection is accepted.
        limit: bytes of a message; a longer one ends the connection with 1009.
    """

    def __init__(self, receive: Receive, send: Send, limit: int | None) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._is_over = False
        self._rest = b""
        self.code = _NORMAL
        """What our side closes with."""
        self.reason = ""

    def end_with(self, code: int, reason: str) -> None:
        """Choose what our side closes with."""
        self.code, self.reason = code, reason

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next message as a line; raise `anyio.EndOfStream` once the connection is closed."""
        if self._is_over:
            raise anyio.EndOfStream
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._is_over = True
            raise anyio.EndOfStream
        text = message.get("text")
        if text is None:
            self.end_with(_UNSUPPORTED, "messages are text here")
            raise anyio.EndOfStream
        line: bytes = text.encode(errors="replace")
        if self._limit is not None and len(line) > self._limit:
            self.end_with(_TOO_BIG, f"message longer than {self._limit} bytes")
            raise anyio.EndOfStream
        return line.translate(_SPACES) + b"\n"

    async def send(self, item: bytes) -> None:
        """Send lines, each as a message; part of a line waits for its rest."""
        *lines, self._rest = (self._rest + item if self._rest else item).split(b"\n")
        for line in lines:
            if self._is_over:
                raise anyio.BrokenResourceError
            try:
                await self._send({"type": "websocket.send", "text": line.decode()})
            except OSError as error:  # what the ASGI specification has servers raise
                self._is_over = True
                raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """Do nothing: both sides end at once."""

    async def aclose(self) -> None:
        """Close."""
        if not self._is_over:
            self._is_over = True
            try:
                await self._send({"type": "websocket.close", "code": self.code, "reason": self.reason})
            except (OSError, RuntimeError):  # it is closed already, which servers report in either way
                return


class ASGIChannel(StreamChannel):
    """A channel over a WebSocket of an ASGI server; lives while `run` does.

    Args:
        pipe: the engine and the lines.
        stream: the WebSocket.
        expires_at: when the credentials end that it was opened with, on the loop's clock.
        options: those of `Channel`.
    """

    def __init__(
        self,
        pipe: PipeLike,
        stream: ASGISocketStream,
        *,
        expires_at: float | None = None,
        **options: Unpack[ChannelOptions],
    ) -> None:
        super().__init__(pipe, stream, **options)
        self._socket = stream
        self._expiry = None if expires_at is None else self.loop.call_at(expires_at, self._expire)

    def _expire(self) -> None:
        self._socket.end_with(_POLICY, "the credentials have expired")
        self.close()

    def shut(self) -> None:
        """Close, because the server ends."""
        self._socket.end_with(_GOING_AWAY, "the server is shutting down")
        self.close()

    def _give_up(self, error: Exception) -> None:
        self._socket.end_with(_TRY_AGAIN_LATER, "too much waits to be read")
        super()._give_up(error)

    def _finish(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        super()._finish()


async def deny(scope: MutableMapping[str, Any], receive: Receive, send: Send, answer: Answer) -> None:
    """Refuse a handshake; without the extension for it, whoever asks sees 403 whatever the reason is."""
    await receive()  # websocket.connect
    if _EXTENSION in (scope.get("extensions") or {}):
        await send({"type": f"{_EXTENSION}.start", "status": answer.status, "headers": answer.headers})
        await send({"type": f"{_EXTENSION}.body", "body": answer.body})
    else:
        await send({"type": "websocket.close", "code": _POLICY, "reason": ""})
