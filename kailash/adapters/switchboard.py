"""What the workers of one port pass to each other: connections whose session lives elsewhere, and news for all.

A connection travels as its file descriptor, with what was read of it in a file beside it. One that cannot travel (TLS
lives in our memory; or something is still unsent) stays, and its bytes are relayed over a socket pair that does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from typing import Any, cast

from protocol.framing.httphead import RequestHead

from .loops import AsyncioLoop, Loop

__all__ = ["Relay", "Switchboard", "encode_request", "make_lines"]

logger = logging.getLogger("kailash.adapters.switchboard")

Line = tuple[socket.socket, socket.socket]
_CONNECTION, _NEWS = b"c", b"n"
_LONGEST = 1 << 16


def make_lines(count: int) -> list[Line]:
    """Return, for each worker, the end it hears and the end that the others speak into; made before the fork."""
    lines = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    for line in lines:
        for end in line:
            end.setblocking(False)
    return lines


class Switchboard:
    """One worker's end of the lines to all the others.

    Args:
        number: which worker this is.
        lines: of all workers.
        lifeline: a pipe that ends with the process that watches over us.
    """

    def __init__(self, number: int, lines: list[Line], lifeline: int) -> None:
        self.number = number
        self._lines = lines
        self._lifeline = lifeline
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_connection: Callable[[socket.socket, bytes], None] | None = None
        self._on_news: Callable[[bytes], None] | None = None

    def __len__(self) -> int:
        """Return how many workers there are."""
        return len(self._lines)

    def start(
        self, loop: Loop, on_connection: Callable[[socket.socket, bytes], None], on_news: Callable[[bytes], None]
    ) -> None:
        """Hear the others.

        Args:
            on_connection: gets each connection handed over to us, with what was read of it.
            on_news: gets what another worker tells everybody.
        """
        assert isinstance(loop, AsyncioLoop)
        self._loop, self._on_connection, self._on_news = loop.loop, on_connection, on_news
        loop.loop.add_reader(self._lines[self.number][0].fileno(), self._hear)
        loop.loop.add_reader(self._lifeline, self._be_orphaned)

    def stop(self) -> None:
        """Hear nobody any more."""
        if self._loop is not None:
            self._loop.remove_reader(self._lines[self.number][0].fileno())
            self._loop.remove_reader(self._lifeline)
            self._loop = None

    def _be_orphaned(self) -> None:
        # Nobody is left to pass a signal on, or to replace us: we end as we would have been told to.
        assert self._loop is not None
        self._loop.remove_reader(self._lifeline)
        os.kill(os.getpid(), signal.SIGTERM)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                message, fds, _, _ = socket.recv_fds(self._lines[self.number][0], _LONGEST, 2)
                self._take(message, fds)

    def _take(self, message: bytes, fds: list[int]) -> None:
        assert self._on_connection is not None and self._on_news is not None
        if message[:1] == _NEWS:
            self._on_news(message[1:])
        elif len(fds) == 2:
            with open(fds[1], "rb", buffering=0) as file:
                file.seek(0)
                read = file.readall()
            connection = socket.socket(fileno=fds[0])
            connection.setblocking(False)
            self._on_connection(connection, read)

    def tell_all(self, news: bytes) -> None:
        """Tell every other worker; one that does not listen any more hears nothing."""
        for number, line in enumerate(self._lines):
            if number != self.number:
                with contextlib.suppress(OSError):
                    line[1].send(_NEWS + news)

    def hand_over(self, to: int, fd: int, read: bytes) -> bool:
        """Hand a connection over to another worker, with what was read of it; returns whether that worked."""
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(read)
            try:
                socket.send_fds(self._lines[to][1], [_CONNECTION], [fd, file.fileno()])
            except OSError as error:
                logger.warning("! worker %d takes no connection: %s", to, os.strerror(error.errno or 0))
                return False
        return True

    def relay(self, to: int, transport: asyncio.Transport, read: bytes, on_done: Callable[[Any], None]) -> Relay | None:
        """Let another worker serve a connection that stays here; `None`: it takes none."""
        assert self._loop is not None
        loop = self._loop
        near, far = socket.socketpair()
        near.setblocking(False)
        with far:
            if not self.hand_over(to, far.fileno(), read):
                near.close()
                return None
        relay = Relay(transport)

        async def connect() -> None:
            # What is said of connections that were accepted holds for this one; uvloop knows no other way to take it.
            await loop.connect_accepted_socket(lambda: relay, near)

        AsyncioLoop(loop).spawn(connect, (), None, on_done)
        return relay


def encode_request(head: RequestHead, body: bytes) -> bytes:
    """Return a request as it may be read again, by a worker that has the same codec."""
    fields = b"".join(b"%b: %b\r\n" % field for field in head.headers if field[0] not in _FRAMING)
    line = b"%b %b HTTP/1.1\r\n" % (head.method.encode(), head.target.encode())
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (line, fields, len(body), body)


_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"expect", b"trailer", b"upgrade"})


class Relay(asyncio.Protocol):
    """The near end of a socket pair whose far end was handed over: passes bytes on both ways.

    Args:
        near: the connection that stays, which gets what the far end says.
    """

    def __init__(self, near: asyncio.Transport) -> None:
        self._near = near
        self._far: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass on what came meanwhile."""
        self._far = far = cast(asyncio.Transport, transport)
        for data in self._waiting:
            far.write(data)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Pass an answer on."""
        self._near.write(data)

    def pause_writing(self) -> None:
        """Read no more than the far end takes."""
        self._near.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if not self._near.is_closing():
            self._near.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection that stayed, too."""
        self._near.close()

    # What the connection that stays calls

    def send(self, data: bytes) -> None:
        """Pass a request on."""
        if self._far is None:
            self._waiting.append(data)
        else:
            self._far.write(data)

    def set_reading(self, is_reading: bool) -> None:
        """Read answers as long as the peer takes them."""
        far: Any = self._far
        if far is not None and not far.is_closing():
            if is_reading:
                far.resume_reading()
            else:
                far.pause_reading()

    def close(self) -> None:
        """The connection that stayed is gone."""
        if self._far is not None:
            self._far.close()
