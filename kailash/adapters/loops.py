"""What asyncio and trio do differently, behind one small interface.

Here belong clocks, timers, callbacks and detached tasks; bytes and connections do not.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

__all__ = ["AsyncFunction", "AsyncioLoop", "Loop", "Running", "Timer", "current_loop"]

logger = logging.getLogger("kailash.adapters.loops")

AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]


class Timer(Protocol):
    """A scheduled callback that can be taken back."""

    def cancel(self) -> object:
        """Forget the callback; harmless once it has run."""


class Running(Protocol):
    """A coroutine at work on its own; `asyncio.Task` is one."""

    def cancel(self) -> object:
        """Ask the work to stop; harmless once it has ended."""

    def done(self) -> bool:
        """Tell whether the work has ended, however it ended."""

    def cancelled(self) -> bool:
        """Tell whether the work ended because it was cancelled."""

    def exception(self) -> BaseException | None:
        """Return what the work raised; asked only once it has ended uncancelled."""


class Loop(Protocol):
    """The running event loop, as the adapters use it."""

    backend: str

    def now(self) -> float:
        """Return the clock every deadline of this loop is measured on."""

    def call_soon(self, callback: Callable[[], None]) -> object:
        """Run the callback in a later turn of the loop, in order of asking."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run the callback once the clock reads `when`."""

    def begin(self) -> bool:
        """Let waiters that are set until `end` go on right then; `False`: not here, and `end` is not to be called."""

    def end(self) -> None:
        """Let the tasks go on whose waiters were set."""

    def call_threadsafe(self, callback: Callable[[], None]) -> None:
        """Run the callback in the loop's thread; silently dropped once the loop has ended."""

    def spawn(
        self,
        async_fn: AsyncFunction,
        args: tuple[Any, ...],
        name: str | None,
        on_done: Callable[[Any], None],
    ) -> Running:
        """Start the coroutine in a task nobody else owns and report its end once."""


class AsyncioLoop:
    """The running asyncio (or uvloop) event loop."""

    __slots__ = ("call_at", "call_soon", "due", "loop", "now")

    backend = "asyncio"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.due: list[Any] | None = None
        """Waiters that go on once what was read is taken."""
        # Bound once: these are on the hot path and need no frame of ours.
        self.now = loop.time
        self.call_soon = loop.call_soon
        self.call_at = loop.call_at

    def begin(self) -> bool:
        """Let waiters that are set until `end` go on right then; `False`: not here, and `end` is not to be called."""
        # Within the step of a task no other task can be stepped.
        if self.due is not None or asyncio.current_task(self.loop) is not None:
            return False
        self.due = []
        return True

    def end(self) -> None:
        """Let the tasks go on whose waiters were set, and those whose waiters they set."""
        due = self.due
        assert due is not None
        woken = 0
        try:
            for waiter in due:
                woken += 1
                waiter.wake()
        finally:
            self.due = None
            for waiter in due[woken:]:  # a task ended the program
                self.call_soon(waiter.wake)

    def call_threadsafe(self, callback: Callable[[], None]) -> None:
        """Run the callback in the loop's thread; silently dropped once the loop has ended."""
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            logger.debug("x a thread finished after its event loop was closed")

    def spawn(
        self,
        async_fn: AsyncFunction,
        args: tuple[Any, ...],
        name: str | None,
        on_done: Callable[[Any], None],
    ) -> Running:
        """Start the coroutine in a task nobody else owns and report its end once."""
        task = self.loop.create_task(async_fn(*args), name=name)
        task.add_done_callback(on_done)
        return task


def current_loop() -> Loop:
    """Return the event loop this thread is running, from a task or from a callback.

    Raises:
        RuntimeError: No event loop runs in this thread.
    """
    trio = sys.modules.get("trio")
    # In trio's guest mode both loops run in one thread: the task that asks decides.
    if trio is not None and trio.lowlevel.in_trio_task():
        return _trio_loop()
    try:
        return AsyncioLoop(asyncio.get_running_loop())
    except RuntimeError:
        if trio is not None and trio.lowlevel.in_trio_run():
            return _trio_loop()
        raise


def _trio_loop() -> Loop:
    # Imported only where trio is already running, so that it stays an optional dependency.
    from .trionative import TrioLoop

    return TrioLoop()
