"""Waiters: one value that one task waits for, set from a callback of the same loop."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio

from .loops import AsyncioLoop, Loop

__all__ = ["Waiter", "make_waiter"]


class Waiter:
    """Waits on any backend; on asyncio `make_waiter` gives a future instead, which is cheaper."""

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


def make_waiter(loop: Loop) -> Waiter | asyncio.Future[Any]:
    """Return something to await that `set_result` or `set_exception` wakes."""
    return loop.loop.create_future() if isinstance(loop, AsyncioLoop) else Waiter()
