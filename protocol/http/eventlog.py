"""The bounded memory of what went out on the SSE streams of one session, for `Last-Event-ID`.

An event id is `stream-number`, both decimal: it tells its stream, and it is unique in the session because numbers only
grow, whatever the stream. Nothing here knows of other sessions; whoever holds a log holds the one of its own session.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from ..jsonrpc import RequestId

__all__ = ["Budget", "EventLog", "EventLogLimits", "EventStore", "SharedEventStore", "parse_event_id"]

_MOST_DIGITS = 15


def parse_event_id(text: bytes) -> tuple[int, int] | None:
    """Return the stream and the number that an event id names, `None` for what is none of ours."""
    stream, dash, number = text.partition(b"-")
    if not dash or not all(part.isdigit() and len(part) <= _MOST_DIGITS for part in (stream, number)):
        return None
    return int(stream), int(number)


class EventStore(Protocol):
    """What a session needs of a log; `EventLog` keeps it in memory."""

    def mint(self, stream: int) -> str:
        """Return an id for an event that says nothing and is not kept."""

    def append(self, stream: int, data: bytes, now: float) -> str:
        """Keep a message of a stream and return its event id."""

    def replay(self, stream: int, number: int, now: float) -> list[tuple[str, bytes]]:
        """Return what is kept of a stream after an event, oldest first, with its ids."""

    def holds(self, stream: int) -> bool:
        """Tell whether anything of a stream is kept."""

    def clear(self) -> None:
        """Forget everything: the session is over."""


class SharedEventStore(EventStore, Protocol):
    """What a session needs of a log that other engines of the same session read; `clear` forgets only what is here."""

    def begin(self, stream: int, ids: Sequence[RequestId]) -> None:
        """Note that a stream is begun, and which requests it answers."""

    def finish(self, stream: int) -> None:
        """Note that nothing more goes out on a stream."""


class EventLogLimits(Struct, frozen=True, kw_only=True):
    """How much one session's log keeps; the oldest goes first."""

    events: int = 1000
    size: int = 1024 * 1024
    """Bytes of messages."""
    age: float = 300.0
    """Seconds."""


class Budget:
    """Bytes that all logs of a server may hold together; who would exceed it, forgets of its own.

    Args:
        limit: that many bytes, `None` for no limit.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.used = 0

    @property
    def is_exceeded(self) -> bool:
        """Tell whether somebody has to forget something."""
        return self.limit is not None and self.used > self.limit


class _Entry(Struct, gc=False):
    stream: int
    number: int
    data: bytes
    at: float


class EventLog:
    """Keeps the last messages of one session in memory.

    Args:
        limits: how much of it.
        budget: shared with the logs of other sessions.
    """

    __slots__ = ("_budget", "_entries", "_kept", "_last", "_limits", "_size")

    def __init__(self, limits: EventLogLimits | None = None, budget: Budget | None = None) -> None:
        self._limits = limits or EventLogLimits()
        self._budget = budget or Budget()
        self._entries: deque[_Entry] = deque()
        self._kept: dict[int, int] = {}
        """How many entries each stream has."""
        self._size = 0
        self._last = 0

    def __len__(self) -> int:
        """Return how many messages are kept."""
        return len(self._entries)

    def mint(self, stream: int) -> str:
        """Return an id for an event that says nothing and is not kept."""
        self._last += 1
        return f"{stream}-{self._last}"

    def append(self, stream: int, data: bytes, now: float) -> str:
        """Keep a message of a stream and return its event id."""
        event_id = self.mint(stream)
        self.keep(stream, self._last, data, now)
        return event_id

    def keep(self, stream: int, number: int, data: bytes, now: float) -> None:
        """Keep a message of a stream under a number of the caller's."""
        self._entries.append(_Entry(stream, number, data, now))
        self._kept[stream] = self._kept.get(stream, 0) + 1
        self._size += len(data)
        self._budget.used += len(data)
        self._trim(now)

    def replay(self, stream: int, number: int, now: float) -> list[tuple[str, bytes]]:
        """Return what is kept of a stream after an event, oldest first, with its ids."""
        self._trim(now)
        # "MUST NOT replay messages that would have been delivered on a different stream"
        # — 2025-11-25 basic/transports#resumability-and-redelivery
        return [
            (f"{stream}-{entry.number}", entry.data)
            for entry in self._entries
            if entry.stream == stream and entry.number > number
        ]

    def holds(self, stream: int) -> bool:
        """Tell whether anything of a stream is kept."""
        return stream in self._kept

    def clear(self) -> None:
        """Forget everything: the session is over."""
        self._budget.used -= self._size
        self._size = 0
        self._entries.clear()
        self._kept.clear()

    def _trim(self, now: float) -> None:
        limits = self._limits
        entries = self._entries
        while entries and (
            len(entries) > limits.events
            or self._size > limits.size
            or entries[0].at + limits.age <= now
            or self._budget.is_exceeded
        ):
            forgotten = entries.popleft()
            self._kept[forgotten.stream] -= 1
            if not self._kept[forgotten.stream]:
                del self._kept[forgotten.stream]
            self._size -= len(forgotten.data)
            self._budget.used -= len(forgotten.data)
