"""Latency at a fixed rate, with coordinated omission accounted for: measured from when a request was due.

A closed loop asks less of a server that is slow, and so never sees what its users wait. Here each request has its time,
and whoever keeps the connection busy until later adds to the latency of those that are due meanwhile. The generator
spins on its own core rather than sleep; how late it was itself, with a connection free, is told beside the latencies.
"""

import re
import select
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from .harness import LOAD_LATE, Sample, percentile
from .loads import call
from .processes import Lines
from .webload import Ask, Wire, is_complete, size_of

__all__ = ["Pace", "PacedLines", "paced"]

_SILENCE = 30
_PATIENCE = 3
"""Times the planned seconds after which a server that fell behind is not waited for any longer."""


class Pace(NamedTuple):
    """How many requests a second, for how long, and how many at once at most."""

    rate: int
    seconds: float
    connections: int = 64


def paced(port: int, asks: list[Ask], pace: Pace) -> Sample:
    """Return the median milliseconds from when a request was due to its answer; p99, p99.9 and the most beside it.

    The share that a server leaves unanswered, long after the last was due, counts with the time waited until then.
    """
    wires = [Wire(port) for _ in range(pace.connections)]
    poll = select.epoll()
    try:
        return _paced({wire.socket.fileno(): wire for wire in wires}, poll, asks, pace)
    finally:
        poll.close()
        for wire in wires:
            wire.close()


def _paced(wires: dict[int, Wire], poll: select.epoll, asks: list[Ask], pace: Pace) -> Sample:
    for number in wires:
        poll.register(number, select.EPOLLIN)
    free = deque((number, 0.0) for number in wires)
    """Connections, and since when they wait."""
    due_of: dict[int, float] = {}
    taken: list[float] = []
    late: list[float] = []
    now = time.perf_counter
    rate = pace.rate
    begun = now() + 0.01
    end = begun + pace.seconds * _PATIENCE
    sent = 0
    while len(taken) < len(asks):
        moment = now()
        if moment > end:
            break
        while sent < len(asks) and free and begun + sent / rate <= moment:
            due = begun + sent / rate
            number, since = free.popleft()
            wire = wires[number]
            request, wire.id = asks[sent]
            late.append(moment - max(due, since))
            due_of[number] = due
            wire.send(request)
            sent += 1
            moment = now()
        for number, _ in poll.poll(0):
            wire = wires[number]
            data = wire.receive(1 << 16)
            heard = now()
            if not data:
                raise RuntimeError("the server ended a connection")
            wire.part += data
            whole = bytes(wire.part)
            if not is_complete(whole, size_of(whole)):
                continue
            if wire.id not in whole or b'"hello"' not in whole:
                raise RuntimeError(f"asked with {wire.id!r} and answered with {whole[:1000]!r}")
            wire.part = bytearray()
            taken.append((heard - due_of.pop(number)) * 1e3)
            free.append((number, heard))
    missing = [*due_of.values(), *(begun + number / rate for number in range(sent, len(asks)))]
    return _sample(taken, missing, late)


_ID = re.compile(rb'"id": ?(\d+)')


class PacedLines:
    """The same over pipes: as many requests are in flight at most as there would be connections.

    Servers may refuse those beyond 64. It counts its requests, turn after turn.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._poll = select.poll()
        self._poll.register(lines.out, select.POLLIN)
        self._next = 1
        self._rest = b""

    def run(self, pace: Pace) -> Sample:
        """Return the median milliseconds from when a request was due to its answer, and what is beyond it."""
        total = max(1, int(pace.rate * pace.seconds))
        first, self._next = self._next, self._next + total
        due_of: dict[int, float] = {}
        taken: list[float] = []
        late: list[float] = []
        now = time.perf_counter
        begun = now() + 0.01
        end = begun + pace.seconds * _PATIENCE
        sent = 0
        since = 0.0
        while len(taken) < total:
            moment = now()
            if moment > end:
                break
            while sent < total and len(due_of) < pace.connections and begun + sent / pace.rate <= moment:
                due = begun + sent / pace.rate
                late.append(moment - max(due, since))
                due_of[first + sent] = due
                self._lines.write(call(first + sent))
                sent += 1
                moment = now()
            if self._poll.poll(0):
                was_full = len(due_of) == pace.connections
                answered = self._read()
                heard = now()
                since = heard if was_full else since
                taken += [(heard - due_of.pop(number)) * 1e3 for number in answered]
        unsent = [begun + number / pace.rate for number in range(sent, total)]
        found = _sample(taken, [*due_of.values(), *unsent], late)
        # What is owed still would be in the way of whoever has the next turn.
        while due_of:
            if not self._poll.poll(_SILENCE * 1000):
                raise RuntimeError(f"the server has said nothing for {_SILENCE} s; {len(due_of)} answers are missing")
            for number in self._read():
                del due_of[number]
        return found

    def _read(self) -> list[int]:
        """Return the ids of what is answered."""
        *answers, self._rest = (self._rest + self._lines.read()).split(b"\n")
        numbers = []
        for answer in answers:
            found = _ID.search(answer)
            if found is None or b'"hello"' not in answer:
                raise RuntimeError(f"answered with {answer[:1000]!r}")
            numbers.append(int(found[1]))
        return numbers


def _sample(taken: list[float], missing: Sequence[float], late: list[float]) -> Sample:
    """Return the figures; who is not answered yet has waited for so long already, and counts with that."""
    moment = time.perf_counter()
    taken = taken + [(moment - due) * 1e3 for due in missing]
    detail = {
        "p99": percentile(taken, 0.99),
        "p99.9": percentile(taken, 0.999),
        "most": max(taken),
        LOAD_LATE: percentile(late, 0.99) * 1e3,
        "unanswered": len(missing) / len(taken),
    }
    return Sample(percentile(taken, 0.5), detail)
