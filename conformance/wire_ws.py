"""The WebSocket wire: frames to and from a target, also such as break RFC 6455.

What the target sends is read by `protocol.framing`, strictly; what is sent here may be as broken as a scenario likes.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from protocol.framing.handshake import ClientHandshake, Opened, Refusal
from protocol.framing.httphead import HTTPLimits
from protocol.framing.websocket import SocketState, WebSocket, WebSocketLimits

from .wire import LARGEST, Broken, Tap, Transcript

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "LIMITS", "PING", "TEXT", "WebSocketWire", "frame"]

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0x0, 0x1, 0x2, 0x8, 0x9
LIMITS = WebSocketLimits(message_bytes=LARGEST, message_timeout=None, ping_interval=None)


def frame(
    opcode: int, payload: bytes, *, is_last: bool = True, is_masked: bool = True, size: int | None = None
) -> bytes:
    """Return one frame, right or wrong.

    Args:
        opcode: what it is.
        payload: what it holds.
        is_last: no frame of the same message follows.
        is_masked: as those of clients have to be.
        size: what its head says is its size, if that is not true.
    """
    length = len(payload) if size is None else size
    mask = 0x80 if is_masked else 0
    first = bytes(((0x80 if is_last else 0) | opcode,))
    if length < 126:
        head = first + bytes((mask | length,))
    elif length < 65536:
        head = first + bytes((mask | 126,)) + length.to_bytes(2, "big")
    else:
        head = first + bytes((mask | 127,)) + length.to_bytes(8, "big")
    if not is_masked:
        return head + payload
    key = os.urandom(4)
    stretched = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return head + key + mixed.to_bytes(len(payload), "big")


class WebSocketWire:
    """One connection to a target."""

    def __init__(self, url: str, transcript: Transcript, tap: Tap) -> None:
        parts = urlsplit(url)
        self.url = url
        self.transcript = transcript
        self.tap = tap
        self.host = parts.hostname or "127.0.0.1"
        self.is_tls = parts.scheme == "wss"
        self.port = parts.port or (443 if self.is_tls else 80)
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.fault: str | None = None
        """What the target did that RFC 6455 does not allow."""
        self.is_at_end = False
        self._texts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._codec = WebSocket(is_client=True, limits=LIMITS, mint_mask=lambda: os.urandom(4))
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def authority(self) -> str:
        """Host and port as a `Host` header says them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def close_code(self) -> int | None:
        """The code that the connection ended with; `None` while it has not."""
        return self._codec.ending.code if self._codec.ending else None

    async def open(self, *, headers: Sequence[tuple[str, str]] = ()) -> int:
        """Connect, and return the status: 101 where the target agreed.

        Args:
            headers: more headers of the request; `Host` replaces the true one.

        Raises:
            Broken: no connection, or what answers is no WebSocket.
        """
        tls = ssl.create_default_context() if self.is_tls else None
        try:
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port, ssl=tls, limit=1 << 16)
        except OSError as error:
            raise Broken(f"no connection to {self.url}: {error}") from error
        given = dict(headers)
        authority = given.pop("Host", self.authority)
        more = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
        # "mcp" is what implementations that ask for a subprotocol agree on; one that names none is as good.
        opening = ClientHandshake(
            self.target, authority, nonce=os.urandom(16), headers=more, subprotocols=("mcp",), limits=HTTPLimits()
        )
        self.transcript.add(">", "socket", f"GET {self.target} (upgrade) {', '.join(name for name in given)}")
        self._writer.write(opening.request)
        found: Opened | Refusal | None = None
        while found is None:
            try:
                data = await self._reader.read(65536)
            except ConnectionError:
                data = b""
            found = opening.receive_data(data) if data else opening.receive_eof()
        if isinstance(found, Refusal):
            self.transcript.add("<", "socket", f"refused: {found.reason}")
            self._writer.close()
            self.is_at_end = True
            if found.status is None:
                raise Broken(f"{self.url}: {found.reason}")
            return found.status
        self.transcript.add("<", "socket", "101")
        self._take(found.trailing)
        self._reading = asyncio.create_task(self._read())
        return 101

    async def _read(self) -> None:
        assert self._reader is not None and self._writer is not None
        with contextlib.suppress(ConnectionError):
            while not self._codec.is_over and (data := await self._reader.read(65536)):
                self._take(self.tap.incoming_bytes(data))
                if self._codec.state is SocketState.FAILED:
                    break
        ending = self._codec.ending
        if self._codec.state is SocketState.FAILED and ending is not None:
            self.fault = ending.reason
            self.transcript.add("-", "socket", f"the target broke RFC 6455: {ending.reason}")
        elif self._codec.state is SocketState.CLOSED and ending is not None and not ending.is_ours:
            self.transcript.add("<", "socket", f"close {ending.code} {ending.reason}")
        else:
            self._codec.receive_eof()
            self.transcript.add("<", "socket", "(the connection ended)")
        self.is_at_end = True
        self._texts.put_nowait(None)

    def _take(self, data: bytes) -> None:
        for text in self._codec.receive_data(data):
            for passed in self.tap.incoming_line(text):
                self.transcript.add("<", "socket", passed)
                self._texts.put_nowait(passed)
        assert self._writer is not None
        for control in self._codec.data_to_send():
            self._write(control)

    def _write(self, data: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    async def receive(self) -> bytes | None:
        """Return the next text; `None` at the end."""
        return await self._texts.get()

    def send(self, message: bytes) -> None:
        """Send one message as a text."""
        for passed in self.tap.outgoing_line(message):
            self.put(passed)

    def put(self, message: bytes) -> None:
        """Send bytes as one text, also if they are none."""
        self.transcript.add(">", "socket", message)
        self._write(frame(TEXT, message))

    def write(self, data: bytes, remark: str) -> None:
        """Write bytes as they are; the remark stands for them in the transcript."""
        self.transcript.add(">", "socket", f"({remark})")
        self._write(data)

    async def drain(self) -> None:
        """Wait until what was written has left."""
        assert self._writer is not None
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def wait_closed(self, timeout: float) -> bool:
        """Tell whether the connection has ended within that time."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=timeout)
        return self.is_at_end

    async def close(self, patience: float = 0.5) -> None:
        """Close, and hang up."""
        if self._writer is None:
            return
        if not self.is_at_end:
            self._codec.close()
            for control in self._codec.data_to_send():
                self._write(control)
            await self.wait_closed(patience)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), 1)

    def deafen(self) -> None:
        """Read nothing from now on."""
        self.transcript.add("-", "judge", "reads nothing")
        assert self._writer is not None
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Hang up at once, without a word."""
        self.transcript.add("-", "socket", "the judge hangs up")
        if self._writer is not None:
            self._writer.transport.abort()
