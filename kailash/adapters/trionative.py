"""The trio side of the adapters; imported only where trio is running.

Here belongs everything that names trio. Everything else goes through `loops` or anyio.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import trio

from .loops import AsyncFunction, Running, Timer
from .stream import end_socket

__all__ = ["FdByteStream", "TrioLoop", "TrioTask"]

logger = logging.getLogger("kailash.adapters.trionative")


def _guarded(callback: Callable[[], None]) -> None:
    # An exception in a system task or a run_sync_soon callback would end the whole trio run.
    try:
        callback()
    except Exception:
        logger.exception("! a callback failed")


class _TrioTimer:
    __slots__ = ("_callback", "_scope", "_when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self._callback = callback
        self._scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._sleep, name="kailash timer")

    async def _sleep(self) -> None:
        with self._scope:
            await trio.sleep_until(self._when)
            _guarded(self._callback)

    def cancel(self) -> None:
        self._scope.cancel()


class TrioTask:
    """A coroutine running as a trio system task, with the handle of an `asyncio.Task`."""

    __slots__ = ("_cancelled", "_done", "_error", "_scope")

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._done = False
        self._cancelled = False
        self._error: BaseException | None = None

    def cancel(self) -> None:
        """Ask the work to stop; harmless once it has ended."""
        self._scope.cancel()

    def done(self) -> bool:
        """Tell whether the work has ended, however it ended."""
        return self._done

    def cancelled(self) -> bool:
        """Tell whether the work ended because it was cancelled."""
        return self._cancelled

    def exception(self) -> BaseException | None:
        """Return what the work raised; asked only once it has ended uncancelled."""
        return self._error

    async def run(
        self,
        async_fn: AsyncFunction,
        args: tuple[Any, ...],
        on_done: Callable[[Any], None],
    ) -> None:
        """Await the function and report its end; only the end of the trio run leaves here."""
        try:
            with self._scope:
                await async_fn(*args)
            self._cancelled = self._scope.cancelled_caught
        except trio.Cancelled:
            # The run itself is ending; trio wants its exception back.
            self._cancelled = True
            raise
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            self._error = error
        finally:
            self._done = True
            _guarded(lambda: on_done(self))


class TrioLoop:
    """The running trio event loop."""

    __slots__ = ("_token", "now")

    backend = "trio"

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.now = trio.current_time

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run the callback in a later turn of the loop, in order of asking."""
        self._token.run_sync_soon(_guarded, callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run the callback once the clock reads `when`."""
        return _TrioTimer(when, callback)

    def begin(self) -> bool:
        """Return that tasks are woken as trio does it."""
        return False

    def end(self) -> None:
        """Never called, since nothing began."""

    def call_threadsafe(self, callback: Callable[[], None]) -> None:
        """Run the callback in the loop's thread; silently dropped once the loop has ended."""
        try:
            self._token.run_sync_soon(_guarded, callback)
        except trio.RunFinishedError:
            logger.debug("x a thread finished after its trio run")

    def spawn(
        self,
        async_fn: AsyncFunction,
        args: tuple[Any, ...],
        name: str | None,
        on_done: Callable[[Any], None],
    ) -> Running:
        """Start the coroutine in a task nobody else owns and report its end once."""
        task = TrioTask()
        # A system task starts with the context of the run; the caller's is what asyncio gives.
        trio.lowlevel.spawn_system_task(
            task.run, async_fn, args, on_done, name=name, context=contextvars.copy_context()
        )
        return task


class FdByteStream(anyio.abc.ByteStream):
    """File descriptors, one for each direction, as one byte stream that owns and closes them."""

    def __init__(self, read_fd: int, write_fd: int | None) -> None:
        self._reader = trio.lowlevel.FdStream(read_fd)
        self._writer = self._reader if write_fd is None else trio.lowlevel.FdStream(write_fd)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes; raise `anyio.EndOfStream` at the end of input."""
        try:
            data = bytes(await self._reader.receive_some(max_bytes))
        except trio.ClosedResourceError as error:
            raise anyio.ClosedResourceError from error
        except trio.BrokenResourceError as error:
            raise anyio.BrokenResourceError from error.__cause__
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Write all bytes; raise `anyio.BrokenResourceError` once nobody reads."""
        try:
            await self._writer.send_all(item)
        except trio.ClosedResourceError as error:
            raise anyio.ClosedResourceError from error
        except trio.BrokenResourceError as error:
            raise anyio.BrokenResourceError from error.__cause__

    async def send_eof(self) -> None:
        """Close the writing descriptor: the end of our side."""
        with contextlib.suppress(trio.ClosedResourceError):
            end_socket(self._writer.fileno())
        await self._writer.aclose()

    async def aclose(self) -> None:
        """Close the descriptors."""
        self._reader.close()
        self._writer.close()
        await trio.lowlevel.checkpoint()
