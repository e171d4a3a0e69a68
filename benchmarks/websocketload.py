"""The load over WebSockets: a closed loop on raw sockets, every answer checked."""

import socket
import struct
import time
from types import TracebackType

from .harness import Sample
from .lineload import WINDOW, Measured, meter
from .loads import INITIALIZE, INITIALIZED, call

__all__ = ["WebSocketLine", "frame"]

_SILENCE = 30
_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-protocol: mcp\r\n\r\n"
)
_MASK = b"\x37\xfa\x21\x3d"


def frame(text: bytes) -> bytes:
    """Return a text as a client frames it."""
    size = len(text)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + struct.pack("!H", size)
    key = int.from_bytes((_MASK * (size // 4 + 1))[:size], "little")
    return head + _MASK + (int.from_bytes(text, "little") ^ key).to_bytes(size, "little")


class WebSocketLine:
    """One WebSocket, on a raw socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(_SILENCE)
        self.socket.sendall(_HANDSHAKE % port)
        self._part = b""
        while b"\r\n\r\n" not in self._part:
            self._part += self._read()
        head, _, self._part = self._part.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"the server refused: {head!r}")
        self.socket.sendall(frame(INITIALIZE.rstrip()))
        while not self.receive():
            pass
        self.socket.sendall(frame(INITIALIZED.rstrip()))

    def _read(self) -> bytes:
        data = self.socket.recv(1 << 16)
        if not data:
            raise RuntimeError("the server hung up")
        return data

    def receive(self) -> list[bytes]:
        """Return the messages of one read."""
        data = self._part + self._read()
        at, end, found = 0, len(data), []
        while at + 2 <= end:
            size, start = data[at + 1], at + 2
            if size == 126:
                if at + 4 > end:
                    break
                size, start = data[at + 2] << 8 | data[at + 3], at + 4
            if start + size > end:
                break
            if data[at] == 0x81:  # pings are left alone
                found.append(data[start : start + size])
            at = start + size
        self._part = data[at:]
        return found

    def run(self, count: int, server: Measured) -> Sample:
        """Return answers per second; each has to be a success, and the one that was asked for."""
        count = max(WINDOW, count)
        asks = [frame(call(number).rstrip()) for number in range(count)]
        left = {b'"id":%d,' % number for number in range(count)}
        sent = WINDOW
        computed, load, started = server.computed, time.process_time(), time.perf_counter()
        self.socket.sendall(b"".join(asks[:sent]))
        while left:
            texts = self.receive()
            more = asks[sent : sent + len(texts)]
            sent += len(more)
            if more:
                self.socket.sendall(b"".join(more))
            for text in texts:
                at = text.find(b'"id":')
                if b'"hello"' not in text or b'"error"' in text:
                    raise RuntimeError(f"answered with {text[:1000]!r}")
                left.remove(text[at : text.index(b",", at)] + b",")
        taken = time.perf_counter() - started
        return Sample(count / taken, meter(server, taken, computed, load))

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "WebSocketLine":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
