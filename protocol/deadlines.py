"""Deadlines as data: a heap with lazy deletion, so that arming and disarming cost next to nothing."""

from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

__all__ = ["NO_DEADLINES", "DeadlineQueue"]

T = TypeVar("T")


class DeadlineQueue(Generic[T]):
    """Keeps at most one absolute deadline per subject, on the caller's clock, in seconds."""

    __slots__ = ("_armed", "_heap", "_serial", "_sole", "_sole_at")

    def __init__(self) -> None:
        self._sole: T | None = None
        """The only subject, as of a client that makes one call at a time; then there is nothing in the heap."""
        self._sole_at = 0.0
        self._heap: list[tuple[float, int, T]] = []
        self._armed: dict[int, int] = {}
        """The number of the entry that counts, by the identity of its subject."""
        self._serial = 0

    def arm(self, subject: T, deadline: float) -> None:
        """Set or move the deadline of `subject`, told apart by identity."""
        sole = self._sole
        if not self._armed and (sole is None or sole is subject):
            self._sole, self._sole_at = subject, deadline
            return
        if sole is not None:
            self._sole = None
            self._push(sole, self._sole_at)
        self._push(subject, deadline)

    def _push(self, subject: T, deadline: float) -> None:
        self._serial = serial = self._serial + 1
        self._armed[id(subject)] = serial
        heap = self._heap
        heappush(heap, (deadline, serial, subject))
        if len(heap) > 64 and len(heap) > 4 * len(self._armed):
            # Finished subjects stay in the heap until they surface; do not let them outnumber the live ones.
            self._heap = sorted(entry for entry in heap if self._armed.get(id(entry[2])) == entry[1])

    def disarm(self, subject: T) -> None:
        """Forget the deadline of `subject`, if it has one."""
        if subject is self._sole:
            self._sole = None
        elif self._armed and self._armed.pop(id(subject), None) is not None and not self._armed:
            self._heap.clear()

    def next(self) -> float | None:
        """Return the earliest deadline."""
        if self._sole is not None:
            return self._sole_at
        heap, armed = self._heap, self._armed
        while heap:
            deadline, serial, subject = heap[0]
            if armed.get(id(subject)) == serial:
                return deadline
            heappop(heap)
        return None

    def expire(self, now: float) -> list[T]:
        """Remove and return the subjects whose deadline is `now` or earlier, earliest first."""
        sole = self._sole
        if sole is not None:
            if self._sole_at > now:
                return []
            self._sole = None
            return [sole]
        due: list[T] = []
        while (earliest := self.next()) is not None and earliest <= now:
            subject = heappop(self._heap)[2]
            del self._armed[id(subject)]
            due.append(subject)
        return due

    def clear(self) -> None:
        """Forget every deadline."""
        self._sole = None
        self._heap.clear()
        self._armed.clear()


class _NoDeadlines(DeadlineQueue[Any]):
    __slots__ = ()

    def arm(self, subject: Any, deadline: float) -> None:
        raise TypeError("this queue is everybody's; make one")


NO_DEADLINES: Final = _NoDeadlines()
"""The queue of whoever never armed a deadline."""
