"""What a server counts: calls and their outcomes per entry, durations in buckets, values of the user's own.

Nothing here locks where a call ends: each cell has one `+=`, and CPython hands the lock of its interpreter to another
thread only at a function call or a jump backwards, of which there is none between its reading and its writing.
What users' code counts, from any thread, is counted under a lock. (A build of Python without that interpreter's lock
may lose a count where two threads end calls of one entry at once.)
"""

import json
import logging
import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal

from ..errors import MCPErrorCode
from .histogram import SECONDS, VALUES, percentile
from .shared import Region, SharedMemory

__all__ = ["Gauges", "MetricsCollector", "Outcome", "Refusal", "Series", "Slot"]

logger = logging.getLogger("kailash.telemetry.metrics")


class Outcome(Enum):
    """How a request ended."""

    OK = "ok"
    ERROR = "error"
    """It failed, or its result says that it failed."""
    REFUSED = "refused"
    """It was not let in: permission, rate, breaker, overload."""
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    index: int
    """Its place among the outcomes."""

    def __init__(self, _: str) -> None:
        self.index = len(type(self).__members__)


class Refusal(Enum):
    """Why a request was not let in."""

    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    RATE_LIMIT = "rate_limit"
    BREAKER = "breaker"
    OVERLOAD = "overload"


_REASONS: Final[dict[int, Refusal]] = {
    MCPErrorCode.AUTHENTICATION_FAILED: Refusal.AUTHENTICATION,
    MCPErrorCode.AUTHORIZATION_FAILED: Refusal.PERMISSION,
    MCPErrorCode.RATE_LIMITED: Refusal.RATE_LIMIT,
    MCPErrorCode.CIRCUIT_OPEN: Refusal.BREAKER,
    MCPErrorCode.OVERLOADED: Refusal.OVERLOAD,
}

OUTCOMES: Final = tuple(Outcome)
CACHED: Final = len(OUTCOMES)
SUM: Final = CACHED + 1
BUCKETS: Final = SUM + 1
SLOT_CELLS: Final = BUCKETS + len(SECONDS) + 1
"""A slot's cells: one for each outcome, cache hits, seconds, and the buckets."""

_COUNT, _TOTAL, _LEAST, _MOST, _VALUE_BUCKETS = range(5)
_VALUE_CELLS = _VALUE_BUCKETS + len(VALUES) + 1
"""The cells of recorded values."""

KINDS: Final = {
    "tool": "tools_called",
    "resource": "resources_read",
    "prompt": "prompts_got",
    "completion": "completions",
}
"""What a slot may be of, and the total that counts them."""

COUNTER, VALUE, REFUSAL, GAUGE_SUM, GAUGE_MAX = "counter", "value", "refusal", "gauge.sum", "gauge.max"
"""The other kinds of series."""

MOST_NAMES: Final = 1000
"""Names that users' code may choose; whatever else it names is counted as `OTHER`."""
MOST_SLOTS: Final = 5000
"""Entries that are counted each for itself."""
OTHER: Final = "other"
_LONGEST_NAME = 200
_STALE = 5.0
"""Seconds after which a gauge that its worker no longer writes is that of a dead one."""
_SEPARATOR = "\x1f"

Cells = list[float] | memoryview
Gauge = Callable[[], float | Mapping[str, float]]
Series = dict[str, dict[str, Sequence[float]]]
"""Cells by kind and name."""
Gauges = dict[str, dict[str, float]]
"""Values by the gauge's name and its label's value, which is empty for a gauge without labels."""


class Slot:
    """Counts the requests for one entry."""

    __slots__ = ("cells", "kind", "name")

    def __init__(self, kind: str, name: str, cells: Any) -> None:
        self.kind = kind
        self.name = name
        self.cells = cells
        """Floats: a list, or shared memory."""

    def ended(self, outcome: Outcome, seconds: float, *, is_cached: bool = False) -> None:
        """Count a request that has ended.

        Args:
            outcome: how.
            seconds: how long it took; not counted for one that was refused.
            is_cached: answered from the cache.
        """
        cells = self.cells
        cells[outcome.index] += 1
        if outcome is not _REFUSED:
            index = BUCKETS + bisect_left(SECONDS, seconds)
            cells[index] += 1
            cells[SUM] += seconds
            if is_cached:
                cells[CACHED] += 1


_REFUSED = Outcome.REFUSED


class MetricsCollector:
    """Counts what a server does. Thread-safe; in workers that share a port it tells of them all.

    Args:
        now: the clock of its uptime, in seconds; one that all processes share.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, str], Slot] = {}
        self._cells: dict[tuple[str, str], Any] = {}
        """What is no slot."""
        self._names = 0
        self._has_warned = False
        self._gauges: dict[str, tuple[str, Gauge]] = {}
        self._shared: SharedMemory | None = None
        self._region: Region | None = None

    # Counting

    def slot(self, kind: str, name: str) -> Slot:
        """Return what counts the requests for an entry; the same one for the same entry.

        Args:
            kind: `tool`, `resource`, `prompt` or `completion`.
            name: of the entry: its registered one, never what a caller sent.
        """
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of entry; known: {', '.join(KINDS)}")
        name = name[:_LONGEST_NAME]
        with self._lock:
            if (kind, name) not in self._slots and len(self._slots) >= MOST_SLOTS:
                name = OTHER
            slot = self._slots.get((kind, name))
            if slot is None:
                slot = self._slots[kind, name] = Slot(kind, name, self._make(kind, name, SLOT_CELLS))
            return slot

    def record(self, name: str, value: float) -> None:
        """Note a value of your own, such as the time something took.

        Raises:
            ValueError: it is not finite.
        """
        value = float(value)
        if not math.isfinite(value):
            raise ValueError(f"a recorded value must be a finite number, not {value!r}")
        with self._lock:
            cells = self._named(VALUE, name, _VALUE_CELLS)
            if not cells[_COUNT] or value < cells[_LEAST]:
                cells[_LEAST] = value
            if not cells[_COUNT] or value > cells[_MOST]:
                cells[_MOST] = value
            cells[_COUNT] += 1
            cells[_TOTAL] += value
            cells[_VALUE_BUCKETS + bisect_left(VALUES, value)] += 1

    def increment(self, name: str, by: float = 1) -> None:
        """Count something of your own.

        Raises:
            ValueError: the count would go down.
        """
        if not 0 <= by < math.inf:
            raise ValueError(f"a counter goes up by a finite number, not by {by!r}")
        with self._lock:
            self._named(COUNTER, name, 1)[0] += by

    def refused(self, reason: Refusal | int) -> None:
        """Count why a request was not let in.

        Args:
            reason: or the `MCPErrorCode` it was refused with; one that refuses nothing counts as overload.
        """
        if not isinstance(reason, Refusal):
            reason = _REASONS.get(int(reason), Refusal.OVERLOAD)
        key = (REFUSAL, reason.value)
        cells = self._cells.get(key)
        if cells is None:
            with self._lock:
                cells = self._cells.get(key)
                if cells is None:
                    cells = self._cells[key] = self._make(*key, 1)
        cells[0] += 1

    def gauge(self, name: str, read: Gauge, *, merge: Literal["sum", "max"] = "sum") -> None:
        """Let something be read whenever metrics are; a gauge of the same name is replaced.

        Args:
            name: in lower case with underscores.
            read: returns its value, or its values by entry.
            merge: what the values of several workers become.
        """
        self._gauges[name] = (GAUGE_MAX if merge == "max" else GAUGE_SUM, read)

    def _named(self, kind: str, name: str, length: int) -> Any:
        key = (kind, name[:_LONGEST_NAME])
        cells = self._cells.get(key)
        if cells is not None:
            return cells
        if self._names >= MOST_NAMES:
            if not self._has_warned:
                self._has_warned = True
                logger.warning("! more than %d names of metrics; further ones are counted as %r", MOST_NAMES, OTHER)
            key = (kind, OTHER)
            if key in self._cells:
                return self._cells[key]
        self._names += 1
        cells = self._cells[key] = self._make(*key, length)
        return cells

    def _make(self, kind: str, name: str, length: int) -> Any:
        cells = None if self._region is None else self._region.cells(f"{kind}{_SEPARATOR}{name}", length)
        return [0.0] * length if cells is None else cells

    # Workers

    def share(self, memory: SharedMemory, number: int) -> None:
        """Count in memory that other workers read, from now on; goes on from what a predecessor counted there."""
        with self._lock:
            self._shared, self._region = memory, memory.region(number)
            # What the supervisor counted before it forked would else be counted by each of its workers.
            self._cells = {key: self._make(*key, len(cells)) for key, cells in self._cells.items()}
            for (kind, name), slot in self._slots.items():
                slot.cells = self._make(kind, name, SLOT_CELLS)

    @property
    def is_shared(self) -> bool:
        """Tell whether other workers count along."""
        return self._shared is not None

    def publish(self) -> None:
        """Read every gauge, for those who look at them from here or from another worker."""
        now = self._now()
        for name, (kind, read) in list(self._gauges.items()):
            try:
                found = read()
            except Exception:
                logger.exception("! the gauge %r failed", name)
                continue
            for label, value in found.items() if isinstance(found, Mapping) else (("", found),):
                key = (kind, f"{name}{_SEPARATOR}{label[:_LONGEST_NAME]}")
                with self._lock:
                    cells = self._cells.get(key)
                    if cells is None:
                        cells = self._cells[key] = self._make(*key, 2)
                cells[0], cells[1] = float(value), now

    # Telling

    def series(self) -> Series:
        """Return everything that is counted, over all workers, by kind and name; gauges are told by `gauges`."""
        merged: Series = {}
        for kind, name, cells in self._every():
            if kind in (GAUGE_SUM, GAUGE_MAX):
                continue
            names = merged.setdefault(kind, {})
            former = names.get(name)
            if former is None:
                names[name] = list(cells)
            elif kind == VALUE:
                names[name] = _merge_values(former, cells)
            else:
                names[name] = [one + other for one, other in zip(former, cells, strict=True)]
        return merged

    def gauges(self) -> Gauges:
        """Return the value of every gauge, over all workers that are alive."""
        self.publish()
        oldest = self._now() - _STALE
        merged: Gauges = {}
        for kind, key, cells in self._every():
            if kind not in (GAUGE_SUM, GAUGE_MAX) or cells[1] < oldest:
                continue
            name, _, label = key.partition(_SEPARATOR)
            labels = merged.setdefault(name, {})
            value = cells[0]
            if label in labels:
                value = max(labels[label], value) if kind == GAUGE_MAX else labels[label] + value
            labels[label] = value
        return merged

    def _every(self) -> list[tuple[str, str, Sequence[float]]]:
        with self._lock:
            own = [(kind, name, slot.cells) for (kind, name), slot in self._slots.items()]
            own += [(kind, name, cells) for (kind, name), cells in self._cells.items()]
        if self._shared is None:
            return own
        # What found no room in shared memory is told of this worker at least.
        every = [each for each in own if isinstance(each[2], list)]
        for region in self._shared.regions():
            for key, cells in region.blocks():
                kind, _, name = key.partition(_SEPARATOR)
                every.append((kind, name, cells))
        return every

    @property
    def uptime(self) -> float:
        """Seconds since this process began to count."""
        return self._now() - self._started

    def snapshot(self) -> dict[str, Any]:
        """Return all metrics in one flat dict.

        Totals stand by themselves (`tools_called`, `cache_hits`, `error_rate` from 0 to 1, `uptime_seconds`, …), those
        of an entry under its kind and name (`tool.search.calls`, `tool.search.p95_ms`), your own under `custom.`.
        """
        series = self.series()
        total = [0.0] * SLOT_CELLS
        flat: dict[str, Any] = {}
        details: dict[str, Any] = {}
        for kind, key in KINDS.items():
            called = 0
            for name, cells in sorted(series.get(kind, {}).items()):
                stats = _stats(cells)
                called += stats["calls"]
                details.update((f"{kind}.{name}.{member}", value) for member, value in stats.items())
                total = [one + other for one, other in zip(total, cells, strict=True)]
            flat[key] = called
        whole = _stats(total)
        flat["requests"] = whole.pop("calls")
        flat.update(whole)
        refusals = series.get(REFUSAL, {})
        for reason in Refusal:
            flat[f"refused_{reason.value}"] = int(refusals.get(reason.value, (0,))[0])
        flat["uptime_seconds"] = round(self.uptime, 3)
        for name, labels in self.gauges().items():
            for label, value in labels.items():
                flat[f"{name}.{label}" if label else name] = _plain(value)
        flat.update(details)
        for name, cells in sorted(series.get(COUNTER, {}).items()):
            flat[f"custom.{name}"] = _plain(cells[0])
        for name, cells in sorted(series.get(VALUE, {}).items()):
            flat.update((f"custom.{name}.{member}", value) for member, value in _value_stats(cells).items())
        return flat

    def stats(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the figures of every entry of a kind (`tool`, `resource`, …), by name."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of entry; known: {', '.join(KINDS)}")
        return {name: _stats(cells) for name, cells in sorted(self.series().get(kind, {}).items())}

    def export_metrics(self, format: str = "json") -> str:
        """Return all metrics as text.

        Args:
            format: `json` or `prometheus`.
        """
        if format == "json":
            return json.dumps(self.snapshot())
        if format == "prometheus":
            from .prometheus import exposition  # what speaks HTTP is loaded by who is asked over HTTP

            return exposition(self)
        raise ValueError(f"metrics cannot be exported as {format!r}; known: json, prometheus")


def _plain(value: float) -> float:
    return int(value) if value == int(value) else value


def _stats(cells: Sequence[float]) -> dict[str, Any]:
    ok, errors, refused, cancelled, timeouts = (int(cell) for cell in cells[:CACHED])
    calls = ok + errors + cancelled + timeouts
    buckets = cells[BUCKETS:]
    stats: dict[str, Any] = {
        "calls": calls,
        "errors": errors,
        "timeouts": timeouts,
        "cancelled": cancelled,
        "refused": refused,
        "cache_hits": int(cells[CACHED]),
        "error_rate": (errors + timeouts) / calls if calls else 0.0,
        "avg_ms": _milliseconds(cells[SUM] / calls) if calls else 0.0,
    }
    for name, share in _SHARES:
        stats[f"{name}_ms"] = _milliseconds(percentile(buckets, SECONDS, share))
    return stats


_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 4)


def _value_stats(cells: Sequence[float]) -> dict[str, float]:
    stats = {
        "count": int(cells[_COUNT]),
        "sum": cells[_TOTAL],
        "avg": cells[_TOTAL] / cells[_COUNT] if cells[_COUNT] else 0.0,
        "min": cells[_LEAST],
        "max": cells[_MOST],
    }
    for name, share in _SHARES:
        # Buckets know no less than nothing and no more than their last end; what was seen knows better.
        found = percentile(cells[_VALUE_BUCKETS:], VALUES, share)
        stats[name] = min(max(found, cells[_LEAST]), cells[_MOST])
    return stats


def _merge_values(one: Sequence[float], other: Sequence[float]) -> Sequence[float]:
    if not one[_COUNT] or not other[_COUNT]:
        return list(one if one[_COUNT] else other)
    merged = [a + b for a, b in zip(one, other, strict=True)]
    merged[_LEAST] = min(one[_LEAST], other[_LEAST])
    merged[_MOST] = max(one[_MOST], other[_MOST])
    return merged
