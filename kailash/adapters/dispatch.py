"""Dispatch: handler coroutines started from a read callback, each cancellable on its own."""

from __future__ import annotations

import logging
from typing import Any

import anyio

from .loops import AsyncFunction, Running, current_loop

__all__ = ["Dispatcher"]

logger = logging.getLogger("kailash.adapters.dispatch")


class Dispatcher:
    """Starts the handlers of one connection and ends them with it.

    How many may run at once is the caller's rule: it refuses, the dispatcher never does.

    Args:
        cleanup: Seconds cancelled handlers have to end before they are left behind.
    """

    __slots__ = ("_cleanup", "_idle", "_loop", "_running")

    def __init__(self, *, cleanup: float = 5.0) -> None:
        self._cleanup = cleanup
        self._loop = current_loop()
        # The loop keeps only weak references to its tasks; these are the strong ones.
        self._running: set[Running] = set()
        self._idle: anyio.Event | None = None

    def __len__(self) -> int:
        """Return how many handlers run."""
        return len(self._running)

    def spawn(self, async_fn: AsyncFunction, *args: Any) -> Running:
        """Start a handler and return the handle that cancels it; never runs it synchronously.

        On asyncio cancelling is `Task.cancel`: once, and through anyio's shields, because a scope
        per handler would cost more than most handlers do. On trio it is a scope.
        What it raises is logged: a handler answers its own failures.
        """
        # Without a name asyncio would make one up, and write a number into it, for each.
        running = self._loop.spawn(async_fn, args, "kailash handler", self._ended)
        self._running.add(running)
        return running

    async def aclose(self, drain: float = 0.0) -> bool:
        """Give running handlers `drain` seconds, then cancel them; return whether all finished.

        Not to be awaited by a handler: it would wait for itself.
        """
        if await self._wait_idle(drain):
            return True
        for running in list(self._running):
            running.cancel()
        if not await self._wait_idle(self._cleanup):
            logger.error("! %d handlers ignore their cancellation", len(self._running))
        return False

    async def _wait_idle(self, patience: float) -> bool:
        if self._running and patience > 0:
            with anyio.move_on_after(patience):
                while self._running:
                    self._idle = self._idle or anyio.Event()
                    await self._idle.wait()
        return not self._running

    def _ended(self, running: Running) -> None:
        self._running.discard(running)
        if not running.cancelled():
            error = running.exception()
            if error is not None:
                logger.error("! a handler failed", exc_info=error)
        if not self._running and self._idle is not None:
            self._idle.set()
            self._idle = None
