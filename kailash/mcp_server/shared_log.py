"""The event log of a session that several processes serve: here for this process's streams, in the store for all."""

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from protocol.http.eventlog import Budget, EventLog, EventLogLimits
from protocol.jsonrpc import RequestId
from protocol.sharing import SPAN

from ..stores.sessions import BEGUN, FINISHED, MESSAGE, TRIM, Logged

__all__ = ["SharedLog"]

_encode = msgspec.json.Encoder().encode
STANDALONE = 0


class SharedLog:
    """What one engine of a session sent, and what it fetched of what others did.

    Args:
        name: of the session in the store.
        number: of the engine.
        write: takes an entry for the store.
        limits: how much is kept here.
        budget: shared with the logs of other sessions.
    """

    def __init__(
        self, name: str, number: int, write: Callable[[Logged], None], limits: EventLogLimits, budget: Budget
    ) -> None:
        self.name = name
        self.listening = number
        """The number under which the stream that belongs to no request is written: the largest one writes."""
        self._number = number
        self._write = write
        self._local = EventLog(limits, budget)
        self._last = 0
        self._limits = limits
        self._stored: deque[tuple[int, int, int]] = deque()
        """Stream, number and size of the messages that the store has from us, oldest first."""
        self._stored_size = 0
        self._fetched: dict[int, list[tuple[int, bytes]]] = {}

    def fetch(self, stream: int, messages: Sequence[tuple[int, bytes]]) -> None:
        """Take what the store has of a stream, for the next `replay`."""
        self._fetched[stream] = list(messages)

    def add(self, stream: int, number: int, data: bytes) -> None:
        """Take a message that came after what was fetched."""
        self._fetched.setdefault(stream, []).append((number, data))

    def mint(self, stream: int) -> str:
        """Return an id for an event that says nothing and is not kept."""
        return f"{stream}-{self._next(stream)}"

    def append(self, stream: int, data: bytes, now: float) -> str:
        """Keep a message of a stream and return its event id."""
        number = self._next(stream)
        self._local.keep(stream, number, data, now)
        self._write(Logged(self.name, stream, number, MESSAGE, data))
        self._stored.append((stream, number, len(data)))
        self._stored_size += len(data)
        if self._stored_size > self._limits.size or len(self._stored) > self._limits.events:
            self._trim()
        return f"{stream}-{number}"

    def _trim(self) -> None:
        """Have the store forget the oldest quarter: one word for many messages."""
        last: dict[int, int] = {}
        while self._stored and (
            self._stored_size > self._limits.size * 3 // 4 or len(self._stored) > self._limits.events * 3 // 4
        ):
            stream, number, size = self._stored.popleft()
            self._stored_size -= size
            last[stream] = number
        for stream, number in last.items():
            self._write(Logged(self.name, stream, number + 1, TRIM, b""))

    def begin(self, stream: int, ids: Sequence[RequestId]) -> None:
        """Note that a stream is begun, and which requests it answers."""
        self._write(Logged(self.name, stream, self._next(stream), BEGUN, _encode(ids)))

    def finish(self, stream: int) -> None:
        """Note that nothing more goes out on a stream."""
        self._write(Logged(self.name, stream, self._next(stream), FINISHED, b""))

    def replay(self, stream: int, number: int, now: float) -> list[tuple[str, bytes]]:
        """Return what was fetched of a stream and what is kept here, after an event, oldest first, with its ids."""
        found = {f"{stream}-{each}": data for each, data in self._fetched.pop(stream, ()) if each > number}
        found.update(self._local.replay(stream, number, now))
        return sorted(found.items(), key=lambda entry: int(entry[0].partition("-")[2]))

    def holds(self, stream: int) -> bool:
        """Tell whether anything of a stream is at hand."""
        return self._local.holds(stream) or stream in self._fetched

    def clear(self) -> None:
        """Forget what is here."""
        self._local.clear()
        self._fetched.clear()

    def _next(self, stream: int) -> int:
        self._last += 1
        return (self.listening if stream == STANDALONE else self._number) * SPAN + self._last
