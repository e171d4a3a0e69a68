"""This process's own standard input and output as a connection.

    async def main() -> None:
        error = await serve_stdio(pipe, on_open=..., on_events=...)

While it runs, descriptors 0 and 1 are `/dev/null` and standard error, so that no `print`, C library
or child process of a handler can reach the wire.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio

from .channel import Channel, ChannelLimits, PipeLike
from .wires import open_wire

__all__ = ["STDIO_LIMITS", "private_stdio", "serve_stdio"]

STDIO_LIMITS = ChannelLimits(linger=5.0)
"""The limits of a server on its own stdio: 5 s to answer what was read before the end of input."""


async def serve_stdio(
    pipe: PipeLike,
    *,
    on_events: Callable[[list[Any]], None],
    on_open: Callable[[Channel], None] | None = None,
    on_closed: Callable[[BaseException | None], None] | None = None,
    on_eof: Callable[[], None] | None = None,
    limits: ChannelLimits = STDIO_LIMITS,
) -> BaseException | None:
    """Drive the pipe over standard input and output until the connection ends.

    The end of input leaves `limits.linger` seconds to answer what was read; `channel.close()`, or
    a pipe whose `close_expected()` turns true, says earlier that nothing is left to answer.

    Args:
        on_open: Called with the channel before anything is read.

    Returns:
        What ended the connection: None for an orderly end, `BrokenPipeError` when nobody reads our
        output any more. A program turns an error into exit status 1.
    """
    with private_stdio() as (read_fd, write_fd):
        channel: Channel | None = None
        try:
            channel = await open_wire(
                pipe,
                read_fd,
                write_fd,
                on_open=on_open,
                on_events=on_events,
                on_closed=on_closed,
                on_eof=on_eof,
                limits=limits,
            )
            await channel.wait_closed()
        finally:
            if channel is not None and not channel.closed:
                channel.abort()
                with anyio.CancelScope(shield=True):
                    await channel.wait_closed()
        return channel.error


@contextmanager
def private_stdio() -> Iterator[tuple[int, int]]:
    """Take descriptors 0 and 1 out of everyone else's reach and put them back at the end.

    Yields:
        Private, non-inheritable duplicates of both, which the caller closes.

    Raises:
        OSError: Descriptor 0 or 1 is closed.
    """
    # Closed standard descriptors must be noticed first: a duplicate could land on their number.
    os.fstat(0)
    os.fstat(1)
    output = sys.stdout
    saved = (os.dup(0), os.dup(1))
    blocking = [os.get_blocking(fd) for fd in saved] if hasattr(os, "get_blocking") else []
    wire = (os.dup(saved[0]), os.dup(saved[1]))
    try:
        _point_away()
        # After the swap: what was printed and not yet written goes to standard error.
        _flush(output)
        sys.stdout = sys.stderr
        yield wire
    finally:
        # Text kept in a buffer must not reach the wire when 1 is the wire again.
        _flush(output)
        _flush(sys.stdout)
        _flush_c_library()
        sys.stdout = output
        os.dup2(saved[0], 0)
        os.dup2(saved[1], 1)
        # The flag belongs to the open file, which the parent or the shell may share.
        for fd, flag in zip(saved, blocking, strict=False):
            os.set_blocking(fd, flag)
        for fd in saved:
            os.close(fd)


def _point_away() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # no standard error
        os.dup2(null, 1)
    os.close(null)


def _flush_c_library() -> None:
    if sys.platform == "win32":
        return
    # Here because it costs milliseconds, which a server has when it ends and not when it starts.
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def _flush(stream: Any) -> None:
    # Anything may sit in sys.stdout: None, a closed file, a test's buffer.
    if isinstance(stream, io.IOBase) and not stream.closed:
        with suppress(OSError):
            stream.flush()
