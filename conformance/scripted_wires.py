"""What a scripted server writes to, where one wire carries everything that it says."""

import asyncio

from protocol.framing.handshake import Offer, accept_headers
from protocol.framing.sse import encode_event

from .wire_ws import TEXT, frame

__all__ = ["Line", "SocketLine", "StreamLine", "agree"]


class Line:
    """Lines to the standard input of a client's relay."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, message: bytes) -> None:
        """Write one message."""
        self.write_raw(message + b"\n")

    def write_raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def abort(self) -> None:
        """Hang up at once, after what was written."""
        self._writer.close()


class StreamLine(Line):
    """The events of HTTP+SSE."""

    def write(self, message: bytes) -> None:
        """Write one message as an event."""
        self.write_raw(encode_event(message))


class SocketLine(Line):
    """The frames of a WebSocket."""

    def write(self, message: bytes) -> None:
        """Write one message as a text."""
        self.write_raw(frame(TEXT, message, is_masked=False))


def agree(key: str, offered: str) -> bytes:
    """Return the answer that opens a WebSocket.

    Args:
        key: what the client sent.
        offered: the subprotocols it offers, of which "mcp" is taken.
    """
    names = tuple(name.strip() for name in offered.split(","))
    fields = accept_headers(Offer(key.encode(), names, False), "mcp" if "mcp" in names else None)
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"HTTP/1.1 101 Judged\r\nConnection: Upgrade\r\n" + lines + b"\r\n"
