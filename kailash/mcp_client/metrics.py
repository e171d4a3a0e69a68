"""What a client counts: calls, errors, how long they took, and connections that were used again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from ..adapters.http_pool import PoolCounts
from ..errors import MCPError, MCPErrorCode, RequestTimeoutError
from ..resilience.retry import ErrorAggregator
from ..telemetry.histogram import SECONDS, percentile
from ..telemetry.metrics import BUCKETS, SLOT_CELLS, SUM, Outcome, Slot

__all__ = ["ClientMetrics"]

_MOST_TOOLS = 1000
_OTHER = "other"
_REFUSALS = frozenset(
    {
        MCPErrorCode.AUTHENTICATION_FAILED, MCPErrorCode.AUTHORIZATION_FAILED, MCPErrorCode.CIRCUIT_OPEN,
        MCPErrorCode.OVERLOADED, MCPErrorCode.RATE_LIMITED,
    }
)  # fmt: skip


class Ending:
    """How a call ended that raised nothing."""

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: MCPError | None = None
        """What its result says, if that is an error."""


class ClientMetrics:
    """Counts the calls of a client, also of the servers that it is told per call.

    Args:
        now: a clock of seconds.
    """

    def __init__(self, *, now: Callable[[], float] = time.perf_counter) -> None:
        self.errors = ErrorAggregator()
        self.http = PoolCounts()
        self.retries = 0
        """How often a call was made again."""
        self._now = now
        self._all = _slot("all")
        self._methods: dict[str, Slot] = {}
        self._tools: dict[str, Slot] = {}

    @contextmanager
    def watch(self, method: str, name: str | None = None) -> Iterator[Ending]:
        """Count the call that is made inside."""
        began = self._now()
        ending = Ending()
        try:
            yield ending
        except MCPError as error:
            self.errors.record(error, self._now())
            self._ended(method, name, _outcome_of(error), began)
            raise
        except anyio.get_cancelled_exc_class():
            self._ended(method, name, Outcome.CANCELLED, began)
            raise
        if ending.error is not None:
            self.errors.record(ending.error, self._now())
        self._ended(method, name, Outcome.OK if ending.error is None else _outcome_of(ending.error), began)

    def _ended(self, method: str, name: str | None, outcome: Outcome, began: float) -> None:
        seconds = self._now() - began
        self._all.ended(outcome, seconds)
        _of(self._methods, method).ended(outcome, seconds)
        if method == "tools/call" and name is not None:
            _of(self._tools, name).ended(outcome, seconds)

    def retried(self) -> None:
        """Count a call that is made again."""
        self.retries += 1

    def snapshot(self) -> dict[str, Any]:
        """Return everything, as one dict."""
        return {
            **_stats(self._all),
            "retries": self.retries,
            "http_pool_hits": self.http.hits,
            "http_pool_misses": self.http.misses,
            "methods": {method: _stats(slot) for method, slot in sorted(self._methods.items())},
            "tools": {name: _stats(slot) for name, slot in sorted(self._tools.items())},
            "errors_by_code": self.errors.summary(self._now())["by_code"],
        }


def _slot(name: str) -> Slot:
    return Slot("client", name, [0.0] * SLOT_CELLS)


def _of(slots: dict[str, Slot], name: str) -> Slot:
    slot = slots.get(name)
    if slot is None:
        name = name if len(slots) < _MOST_TOOLS else _OTHER
        slot = slots.setdefault(name, _slot(name))
    return slot


def _outcome_of(error: MCPError) -> Outcome:
    if isinstance(error, RequestTimeoutError):
        return Outcome.TIMEOUT
    return Outcome.REFUSED if error.error_code in _REFUSALS else Outcome.ERROR


def _stats(slot: Slot) -> dict[str, Any]:
    cells = slot.cells
    counts = {outcome: int(cells[outcome.index]) for outcome in Outcome}
    calls = sum(counts.values())
    errors = counts[Outcome.ERROR] + counts[Outcome.TIMEOUT] + counts[Outcome.REFUSED]
    answered = calls - counts[Outcome.REFUSED]
    stats: dict[str, Any] = {
        "calls": calls,
        "errors": errors,
        "refused": counts[Outcome.REFUSED],
        "timeouts": counts[Outcome.TIMEOUT],
        "cancelled": counts[Outcome.CANCELLED],
        "error_rate": errors / calls if calls else 0.0,
        "avg_ms": round(cells[SUM] / answered * 1000, 4) if answered else 0.0,
    }
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        stats[f"{name}_ms"] = round(percentile(cells[BUCKETS:], SECONDS, share) * 1000, 4)
    return stats
