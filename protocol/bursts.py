"""Bursts: of many messages that were read at once, no more requests are taken than may be in flight.

What is answered at once, or in the loop's next turn, makes room for the rest; without this a client that writes a
thousand little calls in one go would have most of them refused, though hardly any is ever in flight.
"""

from typing import Generic, TypeVar

from .engine import Engine

__all__ = ["Burst"]

T = TypeVar("T")

_MOST_HELD = 1 << 20
"""Bytes of a burst from which it is taken as it is, and refused where there are too many requests in it."""


class Burst(Generic[T]):
    """The messages that wait for room.

    Args:
        engine: whose requests count.
    """

    __slots__ = ("_engine", "_held", "_size")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: list[T] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    def admit(self, messages: list[T], size: int) -> list[T]:
        """Return what is to be taken now of the messages that were read, in so many bytes, and of those before them."""
        if not self._held and len(messages) <= self._engine.limits.requests:
            return messages
        self._held += messages
        self._size += size
        return self.take(is_last=self._size > _MOST_HELD)

    def take(self, *, is_last: bool = False) -> list[T]:
        """Return as many of the messages that wait as there is room for requests; all of them if `is_last`."""
        count = len(self._held) if is_last else max(0, self._engine.limits.requests - self._engine.in_flight)
        taken, self._held = self._held[:count], self._held[count:]
        if not self._held:
            self._size = 0
        return taken
