"""Waiters: one value that one task waits for, set from a callback of the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

import anyio

from .loops import AsyncioLoop, Loop

__all__ = ["TaskWaiter", "Waiter", "make_waiter"]


class Waiter:
    """Waits on any backend; on asyncio `make_waiter` gives a `TaskWaiter` instead, which is cheaper."""

    __slots__ = ("_error", "_event", "_value")

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Tell whether a value or an error was set."""
        return self._event.is_set()

    def set_result(self, value: Any) -> None:
        """Wake the waiting task with a value."""
        self._value = value
        self._event.set()

    def set_exception(self, error: BaseException) -> None:
        """Wake the waiting task with an error."""
        self._error = error
        self._event.set()

    def __await__(self) -> Any:
        yield from self._event.wait().__await__()
        if self._error is not None:
            raise self._error
        return self._value


class TaskWaiter(asyncio.Future[Any]):
    """A future that, set while something that was read is taken, wakes its task at the end of that.

    A plain future would cost another turn of the loop, and a look at every socket.
    """

    __slots__ = ("_home", "_wakeups")

    def __init__(self, loop: AsyncioLoop) -> None:
        super().__init__(loop=loop.loop)
        self._home = loop
        self._wakeups: list[tuple[Context, Callable[[Any], object]]] = []

    def set_result(self, value: Any) -> None:
        """Wake the waiting task with a value."""
        super().set_result(value)
        self._settle()

    def set_exception(self, error: BaseException | type[BaseException]) -> None:
        """Wake the waiting task with an error."""
        super().set_exception(error)
        self._settle()

    def _settle(self) -> None:
        if self._wakeups:
            if self._home.due is None:
                self._home.call_soon(self.wake)
            else:
                self._home.due.append(self)

    def wake(self) -> None:
        """Let whoever waits go on, now."""
        wakeups, self._wakeups = self._wakeups, []
        for context, wakeup in wakeups:
            context.run(wakeup, self)

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Have a task woken, in its context."""
        if self.done():
            super().add_done_callback(callback, context=context)
        else:
            self._wakeups.append((copy_context() if context is None else context, callback))

    def cancel(self, msg: Any = None) -> bool:
        """Wake the waiting task with its cancellation, unless there is something else to wake it with."""
        if not super().cancel(msg):
            return False
        self._home.call_soon(self.wake)
        return True


def make_waiter(loop: Loop) -> Waiter | TaskWaiter:
    """Return something to await that `set_result` or `set_exception` wakes."""
    return TaskWaiter(loop) if isinstance(loop, AsyncioLoop) else Waiter()
