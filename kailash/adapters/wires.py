"""Wires: a pair of file descriptors turned into the fastest channel the platform has for it."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable
from typing import Unpack

import anyio.abc

from .asyncionative import AsyncioChannel, DuplexProtocol, ReadSide, WriteSide
from .channel import Channel, ChannelOptions, PipeLike
from .loops import AsyncioLoop, current_loop
from .owner import spawn_owner
from .stream import StreamChannel, ThreadByteStream

__all__ = ["is_watchable", "open_wire", "read_stream"]


async def open_wire(
    pipe: PipeLike,
    read_fd: int,
    write_fd: int,
    *,
    on_open: Callable[[Channel], None] | None = None,
    **options: Unpack[ChannelOptions],
) -> Channel:
    """Return a running channel over two descriptors, which from now on belong to it.

    Args:
        on_open: Called with the channel before anything is read.
        options: Those of `Channel`.
    """
    loop = current_loop()
    watchable = is_watchable(read_fd) and is_watchable(write_fd)
    if not (watchable and isinstance(loop, AsyncioLoop)):
        stream = _stream(read_fd, write_fd, watchable)
        streamed = StreamChannel(pipe, stream, **options)
        if on_open is not None:
            on_open(streamed)
        spawn_owner(streamed.run, name="kailash channel")
        return streamed
    channel = AsyncioChannel(pipe, **options)
    if on_open is not None:
        on_open(channel)
    connect = _connect_socket if _same_socket(read_fd, write_fd) else _connect_pipes
    # In a task of its own that is not cancelled with us: a transport cancelled while it connects
    # leaves the file half handed over, and uvloop then closes the descriptor behind its back.
    task = loop.loop.create_task(connect(loop.loop, channel, read_fd, write_fd))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        channel.abort()
        raise
    return channel


def is_watchable(fd: int) -> bool:
    """Tell whether an event loop can wait for this descriptor.

    Terminals could be watched, but only by making them non-blocking for every process that shares
    them, the user's shell included.
    """
    if sys.platform == "win32":
        return False
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def _connect_socket(
    loop: asyncio.AbstractEventLoop, channel: AsyncioChannel, read_fd: int, write_fd: int
) -> None:
    os.close(write_fd)
    await loop.create_connection(lambda: DuplexProtocol(channel), sock=socket.socket(fileno=read_fd))


async def _connect_pipes(loop: asyncio.AbstractEventLoop, channel: AsyncioChannel, read_fd: int, write_fd: int) -> None:
    # The writing side first: the first bytes read may be answered at once.
    writer = os.fdopen(write_fd, "wb", buffering=0)
    await loop.connect_write_pipe(lambda: WriteSide(channel), writer)
    reader = os.fdopen(read_fd, "rb", buffering=0)
    await loop.connect_read_pipe(lambda: ReadSide(channel), reader)


def _same_socket(read_fd: int, write_fd: int) -> bool:
    # As two transports, the writing one would take each arriving byte for the peer's hang-up.
    one = os.fstat(read_fd)
    return stat.S_ISSOCK(one.st_mode) and os.path.samestat(one, os.fstat(write_fd))


def read_stream(fd: int) -> anyio.abc.ByteReceiveStream:
    """Return a descriptor as a stream that is only read, outside asyncio's own transports."""
    return _stream(fd, None, is_watchable(fd) and not isinstance(current_loop(), AsyncioLoop))


def _stream(read_fd: int, write_fd: int | None, watchable: bool) -> anyio.abc.ByteStream:
    if not watchable:
        return ThreadByteStream(read_fd, write_fd)
    from .trionative import FdByteStream  # only where trio runs: an optional dependency

    return FdByteStream(read_fd, write_fd)
