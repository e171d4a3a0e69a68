"""The standard error of a child process: always drained, only its end kept."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

import anyio

from .loops import AsyncioLoop, current_loop
from .owner import Owner, spawn_owner
from .wires import is_watchable, read_stream

__all__ = ["ErrorTail"]

logger = logging.getLogger("kailash.adapters.spawn")

_READ_SIZE = 1 << 14


class ErrorTail:
    """Drains a descriptor and keeps the last bytes, so that a talkative child never blocks.

    Args:
        limit: Bytes kept.
        on_data: Called with each piece as it comes.
    """

    def __init__(self, limit: int, on_data: Callable[[bytes], object] | None) -> None:
        self._limit = limit
        self._on_data = on_data
        self._kept = bytearray()
        self._transport: asyncio.BaseTransport | None = None
        self._owner: Owner | None = None
        self._ended = anyio.Event()

    async def open(self, fd: int) -> None:
        """Begin to drain the descriptor, which from now on belongs to the tail."""
        loop = current_loop()
        if isinstance(loop, AsyncioLoop) and is_watchable(fd):
            file = os.fdopen(fd, "rb", buffering=0)
            self._transport, _ = await loop.loop.connect_read_pipe(lambda: _TailSide(self), file)
        else:
            self._owner = spawn_owner(self._drain, fd, name="kailash stderr")

    def feed(self, data: bytes) -> None:
        """Take a piece of standard error."""
        kept = self._kept
        kept += data
        # Trimmed at twice the limit: each byte is moved once, whatever the size of the pieces.
        if len(kept) > 2 * self._limit:
            del kept[: len(kept) - self._limit]
        if self._on_data is not None:
            try:
                self._on_data(data)
            except Exception:
                logger.exception("! the callback for standard error failed")
                self._on_data = None

    def ended(self) -> None:
        """Note that nothing more will come."""
        self._ended.set()

    def text(self, lines: int) -> str:
        """Return the last lines kept."""
        kept = bytes(self._kept[-self._limit :]) if self._limit else b""
        text = kept.decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""

    def close(self) -> None:
        """Stop draining; what is kept stays."""
        if self._transport is not None:
            self._transport.close()
        elif self._owner is not None:
            self._owner.cancel()
        else:
            self._ended.set()

    async def wait_closed(self) -> None:
        """Wait until the descriptor is closed."""
        if self._owner is not None:
            await self._owner.wait()
        else:
            await self._ended.wait()

    async def _drain(self, fd: int) -> None:
        stream = read_stream(fd)
        try:
            while True:
                self.feed(await stream.receive(_READ_SIZE))
        except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
            return
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()


class _TailSide(asyncio.Protocol):
    def __init__(self, tail: ErrorTail) -> None:
        self._tail = tail

    def data_received(self, data: bytes) -> None:
        self._tail.feed(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._tail.ended()
