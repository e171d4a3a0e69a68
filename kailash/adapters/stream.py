"""The channel over anyio byte streams: trio, TLS, and descriptors no loop can watch."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import Unpack

import anyio
import anyio.abc
import anyio.lowlevel

from .channel import Channel, ChannelOptions, PipeLike
from .threads import WorkerPool

__all__ = ["StreamChannel", "ThreadByteStream", "end_socket"]

_READ_SIZE = 1 << 16
_WRITE_SIZE = 1 << 16  # one write; small enough that a slow peer's progress shows


class StreamChannel(Channel):
    """A channel over an anyio byte stream; lives while `run` does.

    Args:
        stream: What carries the bytes; owned and closed by the channel.
        options: Those of `Channel`.
    """

    def __init__(self, pipe: PipeLike, stream: anyio.abc.ByteStream, **options: Unpack[ChannelOptions]) -> None:
        super().__init__(pipe, **options)
        self._stream = stream
        self._scope = anyio.CancelScope()
        self._outbox: list[bytes] = []
        self._waiting = 0  # bytes in the outbox or being written
        self._wake: anyio.Event | None = None
        self._end_sent = False

    async def run(self) -> None:
        """Read and write until the connection ends; what ended it is in `error`."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._read)
                    await self._write()
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(self.limits.close_timeout):
                with contextlib.suppress(OSError, anyio.BrokenResourceError):
                    await self._stream.aclose()
            self._waiting = 0
            self._finish()

    async def _read(self) -> None:
        try:
            while not self._shutting:
                self.feed(await self._stream.receive(_READ_SIZE))
                if self._full and not self._keep_reading:
                    await self.drain()
        except anyio.EndOfStream:
            self.feed_eof()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            if not self._shutting:
                self.abort(error.__cause__ or error)

    async def _write(self) -> None:
        send = self._stream.send
        try:
            while True:
                while self._outbox:
                    batch = self._outbox
                    self._outbox = []
                    data = batch[0] if len(batch) == 1 else b"".join(batch)
                    if len(data) <= _WRITE_SIZE:
                        await send(data)
                        self._waiting -= len(data)
                        continue
                    for start in range(0, len(data), _WRITE_SIZE):
                        piece = data[start : start + _WRITE_SIZE]
                        await send(piece)
                        self._waiting -= len(piece)
                self._free()
                if self._shutting:
                    return
                if self._we_ended:
                    await self._end_stream()
                self._wake = anyio.Event()
                await self._wake.wait()
                self._wake = None
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            cause = error.__cause__
            broken = cause if isinstance(cause, OSError) else error
            self.abort(
                broken
                if isinstance(broken, ConnectionError)
                else BrokenPipeError(f"the peer no longer reads: {broken}")
            )

    async def _end_stream(self) -> None:
        if self._end_sent:
            return
        self._end_sent = True
        # TLS cannot end one side; there the end of both comes with the end of the connection.
        with contextlib.suppress(NotImplementedError):
            await self._stream.send_eof()

    def _notify(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _emit(self, data: bytes) -> None:
        self._waiting += len(data)
        self._outbox.append(data)
        self._stick()
        self._notify()

    def _emit_end(self) -> None:
        self._notify()

    def _backlog(self) -> int:
        return self._waiting

    def _pause(self) -> None:
        """The reader looks for itself after each read."""

    def _resume(self) -> None:
        """The reader waits in `drain`."""

    def _shut(self) -> None:
        self._notify()

    def _kill(self) -> None:
        self._scope.cancel()


def end_socket(fd: int) -> None:
    """Send the end of our side when the descriptor is a socket, which others may hold open too."""
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        with socket.socket(fileno=os.dup(fd)) as sock, contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)


class ThreadByteStream(anyio.abc.ByteStream):
    """Blocking file descriptors as one byte stream that owns them, for what no loop can watch.

    Regular files, terminals and the pipes of Windows. A read that is never answered keeps its
    daemon thread until the process ends.
    """

    def __init__(self, read_fd: int, write_fd: int | None) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._closed = False
        self._pool = WorkerPool(limit=2, queue=0)

    async def receive(self, max_bytes: int = _READ_SIZE) -> bytes:
        """Return the next bytes; raise `anyio.EndOfStream` at the end of input."""
        if self._closed:
            raise anyio.ClosedResourceError
        data = await self._pool.run(lambda: os.read(self._read_fd, max_bytes))
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Write all bytes."""
        if self._closed:
            raise anyio.ClosedResourceError
        await self._pool.run(lambda: self._write_all(item))

    async def send_eof(self) -> None:
        """Close the writing descriptor: the end of our side."""
        if self._write_fd is not None:
            end_socket(self._write_fd)
        self._close_writer()

    async def aclose(self) -> None:
        """Close the descriptors and let the threads end."""
        if not self._closed:
            self._closed = True
            self._pool.close()
            self._close_writer()
            os.close(self._read_fd)
        await anyio.lowlevel.checkpoint()

    def _close_writer(self) -> None:
        fd, self._write_fd = self._write_fd, None
        if fd is not None:
            os.close(fd)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            # Asked for anew each time: an abandoned write must not reach a reused descriptor.
            fd = self._write_fd
            if fd is None:
                return
            view = view[os.write(fd, view) :]
