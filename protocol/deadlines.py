"""Deadlines as data: a heap with lazy deletion, so that arming and disarming cost next to nothing."""

from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

__all__ = ["NO_DEADLINES", "DeadlineQueue"]

T = TypeVar("T")


class DeadlineQueue(Generic[T]):
    """Keeps at most one absolute deadline per subject, on the caller's clock, in seconds."""

    __slots__ = ("_armed", "_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._armed: dict[int, tuple[int, float]] = {}
        self._serial = 0

    def arm(self, subject: T, deadline: float) -> None:
        """Set or move the deadline of `subject`, told apart by identity."""
        self._serial += 1
        self._armed[id(subject)] = (self._serial, deadline)
        heappush(self._heap, (deadline, self._serial, subject))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._armed):
            # Finished subjects stay in the heap until they surface; do not let them outnumber the live ones.
            self._heap = sorted(entry for entry in self._heap if self._is_armed(entry))

    def disarm(self, subject: T) -> None:
        """Forget the deadline of `subject`, if it has one."""
        self._armed.pop(id(subject), None)

    def __bool__(self) -> bool:
        return bool(self._armed)

    def next(self) -> float | None:
        """Return the earliest deadline."""
        while self._heap and not self._is_armed(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def expire(self, now: float) -> list[T]:
        """Remove and return the subjects whose deadline is `now` or earlier, earliest first."""
        due: list[T] = []
        while (earliest := self.next()) is not None and earliest <= now:
            subject = heappop(self._heap)[2]
            del self._armed[id(subject)]
            due.append(subject)
        return due

    def clear(self) -> None:
        """Forget every deadline."""
        self._heap.clear()
        self._armed.clear()

    def _is_armed(self, entry: tuple[float, int, T]) -> bool:
        armed = self._armed.get(id(entry[2]))
        return armed is not None and armed[0] == entry[1]


class _NoDeadlines(DeadlineQueue[Any]):
    __slots__ = ()

    def arm(self, subject: Any, deadline: float) -> None:
        raise TypeError("this queue is everybody's; make one")


NO_DEADLINES: Final = _NoDeadlines()
"""The queue of whoever never armed a deadline."""
