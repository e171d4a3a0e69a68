"""TCP and Unix sockets that carry lines: listening, connecting, and who is at the other end.

A connection is one channel on one pipe, without a task of its own: on asyncio the transport calls it, elsewhere a
`StreamTransport` does. What the lines say belongs to the pipe.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple, Protocol, Unpack

import anyio
import anyio.abc
import anyio.lowlevel

from .asyncionative import AsyncioChannel, DuplexProtocol
from .channel import ChannelOptions, PipeLike
from .httptransport import StreamTransport, connect
from .loops import AsyncioLoop, Loop, current_loop
from .owner import Owner, spawn_owner
from .waiter import make_waiter

if sys.platform != "win32":
    import fcntl

__all__ = [
    "LineChannel",
    "LineTimeouts",
    "Peer",
    "SocketServer",
    "bind_unix",
    "connect_tcp",
    "connect_unix",
    "unlink_unix",
]

logger = logging.getLogger("kailash.adapters.sockets")

_BACKLOG = 2048
_ACCEPT_AGAIN = 0.25  # seconds
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer that is switched off says nothing, for ever: the kernel finds that out within two minutes."""


class LinePipe(PipeLike, Protocol):
    """What a server's connection drives; `protocol.socketpipe.SocketPipe` is one."""

    @property
    def finished(self) -> int:
        """How many lines have come to their end."""

    @property
    def is_partial(self) -> bool:
        """Tell whether a line has begun and not ended."""

    def refuse(self, why: str) -> None:
        """End the connection over a fault of the peer's, who is told which."""

    def end(self) -> None:
        """End the connection."""


class Peer(NamedTuple):
    """Who is at the other end."""

    address: str | None = None
    """Of a TCP connection."""
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    """Of the process that connected to a Unix socket, on the word of the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTimeouts:
    """How long a peer may take; each is absolute, so that a byte a second gains nothing. `None`: no limit."""

    first: float | None = 10.0
    """Seconds until his first line has come to its end."""
    message: float | None = 30.0
    """Seconds for one line, from its first byte."""
    idle: float | None = 1800.0
    """Seconds in which nothing comes, while no answer is owed to him."""


class LineChannel(AsyncioChannel):
    """A server's connection that carries lines.

    Args:
        pipe: the engine and the framing.
        timeouts: how long the peer may take.
        is_busy: tells whether an answer is still owed.
        options: those of `Channel`.
    """

    pipe: LinePipe

    def __init__(
        self, pipe: LinePipe, *, timeouts: LineTimeouts, is_busy: Callable[[], bool], **options: Unpack[ChannelOptions]
    ) -> None:
        super().__init__(pipe, **options)
        self.forget: Callable[[LineChannel], None] | None = None
        """Told of the end; of whoever counts connections."""
        self._timeouts = timeouts
        self._is_owed = is_busy
        self._heard = self.now()
        self._finished = 0
        self._line_by = inf
        self._begin_line(self._heard, timeouts.first)
        if timeouts.idle is not None:
            self._arm(self._heard + timeouts.idle)

    def feed(self, data: bytes) -> None:
        """Take what was read: pipe, events, one write."""
        now = self._heard = self.now()
        super().feed(data)
        finished = self.pipe.finished
        if finished != self._finished:
            self._finished = finished
            self._line_by = inf
        if self._line_by == inf and self.pipe.is_partial:
            self._begin_line(now, self._timeouts.message)

    def shut(self) -> None:
        """End the connection now, whatever is owed; what was said before still goes out."""
        self.pipe.end()
        self.flush()

    def _begin_line(self, now: float, timeout: float | None) -> None:
        if timeout is not None:
            self._line_by = now + timeout
            self._arm(self._line_by)

    def _on_time(self) -> None:
        super()._on_time()
        if self.closed or self._closing or self.pipe.close_expected():
            return
        now = self.now()
        if now >= self._line_by:
            self._refuse(now)
        idle = self._timeouts.idle
        if idle is not None:
            if self._is_owed():
                self._heard = now
            if now >= self._heard + idle:
                logger.info("x a connection was silent for %g s: closed", idle)
                self.shut()
                return
            self._arm(self._heard + idle)
        self._arm(self._line_by)

    def _refuse(self, now: float) -> None:
        self._line_by = inf
        if self.full:
            # It is we who do not read on, for the peer takes nothing: that has a time-out of its own.
            self._begin_line(now, self._timeouts.message)
            return
        timeouts = self._timeouts
        seconds, what = (timeouts.message, "line") if self._finished else (timeouts.first, "first line")
        logger.info("x a connection was dropped: its %s had no end within %g s", what, seconds)
        self._step(lambda: self.pipe.refuse(f"the {what} had no end within {seconds:g} s"))
        self._settle()

    def _finish(self) -> None:
        is_new = not self.closed
        super()._finish()
        if is_new and self.forget is not None:
            self.forget(self)


class SocketServer:
    """Listens, and makes a channel of each connection.

    Args:
        open_channel: called with who connected; returns the channel, or what is said to somebody who is not let in.
        refusal: what is said to a connection that is one too many.
        most_connections: `None` for any number.
    """

    def __init__(
        self, open_channel: Callable[[Peer], LineChannel | bytes], *, refusal: bytes, most_connections: int | None
    ) -> None:
        self.loop: Loop = current_loop()
        self.connections: set[LineChannel] = set()
        """Those that are open."""
        self._open = open_channel
        self._refusal = refusal
        self._most = most_connections
        self._servers: list[asyncio.AbstractServer] = []
        self._listening: list[Owner] = []
        self._empty: Any = None

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections of bound sockets, which from now on belong to the server."""
        for each in sockets:
            if isinstance(self.loop, AsyncioLoop):
                self._servers.append(await _start_server(self.loop.loop, self._accept, each))
                continue
            each.listen(_BACKLOG)
            listener: anyio.abc.Listener[Any] = await anyio.abc.SocketListener.from_socket(each)
            self._listening.append(spawn_owner(self._serve, listener, name="kailash socket listener"))

    async def _serve(self, listener: anyio.abc.Listener[Any]) -> None:
        async with listener, anyio.create_task_group() as handlers:
            while True:
                try:
                    await listener.serve(self._serve_stream, handlers)
                except anyio.BrokenResourceError as error:
                    # Too many open files, or a peer that was gone before it was accepted: that passes.
                    logger.warning("! no connection could be accepted: %s", error.__cause__)
                    await anyio.sleep(_ACCEPT_AGAIN)

    async def _serve_stream(self, stream: anyio.abc.ByteStream) -> None:
        # In an owner of its own: the end of the listener must not end what it accepted.
        transport = StreamTransport(stream, self._accept())
        spawn_owner(transport.run, name="kailash socket connection")

    def _accept(self) -> asyncio.Protocol:
        return _Accepted(self)

    def admit(self, transport: asyncio.Transport) -> None:
        """Take a connection, or tell it that it is one too many."""
        if self._most is not None and len(self.connections) >= self._most:
            logger.warning("x a connection was turned away: %d are open", self._most)
            _turn_away(transport, self._refusal)
            return
        sock: socket.socket = transport.get_extra_info("socket")
        if sock.family != _UNIX:
            _watch_life(sock)
        channel = self._open(read_peer(sock, transport.get_extra_info("peername")))
        if isinstance(channel, bytes):
            _turn_away(transport, channel)
            return
        channel.forget = self._forget
        self.connections.add(channel)
        protocol = DuplexProtocol(channel)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _forget(self, channel: LineChannel) -> None:
        self.connections.discard(channel)
        if not self.connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def stop_listening(self) -> None:
        """Accept no further connection; what the kernel has accepted for us already is taken still."""
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        for server in self._servers:
            server.close()
        for each in self._listening:
            each.cancel()

    async def wait_empty(self, timeout: float | None = None) -> bool:
        """Wait until every connection has ended; returns whether they did within `timeout` seconds."""
        with anyio.move_on_after(timeout):
            while self.connections:
                self._empty = make_waiter(self.loop)
                await self._empty
        return not self.connections

    async def aclose(self, timeout: float | None = 2.0) -> None:
        """Listen no longer, end every connection, and after `timeout` drop those whose peer does not."""
        await self.stop_listening()
        for channel in list(self.connections):
            channel.shut()
        if not await self.wait_empty(timeout):
            for channel in list(self.connections):
                channel.abort()
            await self.wait_empty()
        for server in self._servers:
            await server.wait_closed()
        for each in self._listening:
            await each.wait()
        self._servers.clear()
        self._listening.clear()


class _Accepted(asyncio.Protocol):
    """The protocol of a connection until it has a channel, or is turned away."""

    def __init__(self, server: SocketServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.admit(transport)  # type: ignore[arg-type]  # uvloop's is one in all but its class


def _turn_away(transport: asyncio.Transport, why: bytes) -> None:
    transport.write(why)
    transport.close()


async def _start_server(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol], each: socket.socket
) -> asyncio.AbstractServer:
    if each.family == _UNIX:
        return await loop.create_unix_server(factory, sock=each, backlog=_BACKLOG)
    return await loop.create_server(factory, sock=each, backlog=_BACKLOG)


# Who is there

_UNIX = getattr(socket, "AF_UNIX", None)
_PEERCRED = getattr(socket, "SO_PEERCRED", None)  # Linux; elsewhere the mode of the file is all there is
_CREDENTIALS = struct.Struct("3i")


def read_peer(sock: socket.socket, name: Any) -> Peer:
    """Return who is at the other end of a connection."""
    if sock.family != _UNIX:
        return Peer(address=name[0] if isinstance(name, tuple) and name else None)
    if _PEERCRED is None:
        return Peer()
    pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, _PEERCRED, _CREDENTIALS.size))
    return Peer(pid=pid, uid=uid, gid=gid)


def _watch_life(sock: socket.socket) -> None:
    with suppress(OSError):  # the peer may be gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


# Unix sockets


def bind_unix(path: str) -> socket.socket:
    """Return a socket that listens at a path, which only this user can connect to; one that a dead server left goes.

    Raises:
        OSError: a live server listens there, or something that is no socket is there, or the path cannot be used.
    """
    if _UNIX is None:
        raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets")
    made = socket.socket(_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        with _alone_in(os.path.dirname(path) or "."):
            _remove_stale(path)
            made.bind(path)
            # Nobody can connect before it listens, so that there is no moment in which others could.
            os.chmod(path, 0o600)
            made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        number = error.errno or errno.EINVAL
        why = error.strerror if error.errno else str(error)  # of a path that is too long there is no number
        raise OSError(number, f"cannot listen on {path}: {why}") from None
    except BaseException:
        made.close()
        raise
    return made


def unlink_unix(path: str, inode: tuple[int, int]) -> None:
    """Remove the file of a socket, unless another server has put its own there."""
    with suppress(OSError):
        found = os.stat(path)
        if (found.st_dev, found.st_ino) == inode:
            os.unlink(path)


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "something that is no socket is there")
    with socket.socket(_UNIX or 0, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # a server that is behind with accepting
    raise OSError(errno.EADDRINUSE, "another server listens there")


@contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Keep other servers that start in the same folder waiting: two must not find the same file stale."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


# Clients


async def connect_tcp(make: Callable[[], AsyncioChannel], host: str, port: int) -> AsyncioChannel:
    """Connect to a server's port.

    Args:
        make: makes the channel once there is a connection, before anything is read.

    Raises:
        OSError: nobody there.
    """
    transport, protocol = await connect(lambda: _Connected(make), host, port)
    _watch_life(transport.get_extra_info("socket"))
    return protocol.channel


async def connect_unix(make: Callable[[], AsyncioChannel], path: str) -> AsyncioChannel:
    """Connect to a server's Unix socket.

    Args:
        make: makes the channel once there is a connection, before anything is read.

    Raises:
        OSError: nobody there, or it is another user's.
    """
    loop = current_loop()
    if isinstance(loop, AsyncioLoop):
        _, protocol = await loop.loop.create_unix_connection(lambda: _Connected(make), path)
        return protocol.channel
    stream = await anyio.connect_unix(path)
    protocol = _Connected(make)
    transport = StreamTransport(stream, protocol)
    transport.start()
    spawn_owner(transport.run, name="kailash socket connection")
    return protocol.channel


class _Connected(DuplexProtocol):
    """The protocol of a connection of ours."""

    def __init__(self, make: Callable[[], AsyncioChannel]) -> None:
        self.channel = make()
        super().__init__(self.channel)
