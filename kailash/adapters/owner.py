"""Owners: long-lived coroutines that belong to no user's task.

A connection outlives the call that opened it, and may be closed from another task than the one that
opened it; anyio's scopes forbid both. An owner is a task of its own that anyone may end and await.
"""

from __future__ import annotations

import logging
from typing import Any

import anyio

from .loops import AsyncFunction, Running, current_loop

__all__ = ["Owner", "spawn_owner"]

logger = logging.getLogger("kailash.adapters.owner")


class Owner:
    """A long-lived coroutine that any task may cancel and await, in any order."""

    __slots__ = ("_done", "_running", "error", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: BaseException | None = None
        """What the coroutine raised; None while it runs, after a normal end and a cancellation."""
        self._done = anyio.Event()
        self._running: Running | None = None

    def start(self, async_fn: AsyncFunction, *args: Any) -> None:
        """Start the coroutine; called once, by `spawn_owner`."""
        self._running = current_loop().spawn(async_fn, args, self.name, self._ended)

    @property
    def done(self) -> bool:
        """True once the coroutine has ended."""
        return self._done.is_set()

    def cancel(self) -> None:
        """Ask the coroutine to stop; harmless once it has ended."""
        if self._running is not None:
            self._running.cancel()

    async def wait(self) -> None:
        """Wait for the end, and raise what the coroutine raised; a cancellation is a normal end."""
        await self._done.wait()
        if self.error is not None:
            raise self.error

    def _ended(self, running: Running) -> None:
        if not running.cancelled():
            self.error = running.exception()
            if self.error is not None:
                # Nobody may ever wait for it: said here, or never.
                logger.error("! %s failed", self.name, exc_info=self.error)
        self._done.set()


def spawn_owner(async_fn: AsyncFunction, *args: Any, name: str) -> Owner:
    """Run a long-lived coroutine outside any user's task, on asyncio or trio.

    The coroutine sees a copy of the caller's context variables and none of its cancel scopes.
    """
    owner = Owner(name)
    owner.start(async_fn, *args)
    return owner
