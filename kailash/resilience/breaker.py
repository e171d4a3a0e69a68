"""A circuit breaker: what failed too often is not tried for a while, and then carefully.

| state     | SUCCESS | FAILURE | TIME      |
|-----------|---------|---------|-----------|
| CLOSED    |         | OPEN    |           |
| OPEN      |         |         | HALF_OPEN |
| HALF_OPEN | CLOSED  | OPEN    |           |

CLOSED opens at `failure_threshold` failures in a row; after `timeout` seconds calls pass one at a time, on trial, until
`success_threshold` of them in a row went well. What counts as a failure is the caller's to say: a bad argument is none.
A call that was let in and ends without a word (`forget`) gives its turn to the next; one that was let in before the
state changed has no say any more.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["BREAKER", "BreakerRule", "BreakerState", "CircuitBreaker", "Outcome", "diagram"]


class BreakerState(Enum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    """They pass."""
    OPEN = "open"
    """They are refused."""
    HALF_OPEN = "half_open"
    """They pass one at a time, on trial."""


class Outcome(Enum):
    """What moves a breaker."""

    SUCCESS = "enough calls went well"
    FAILURE = "too many failed"
    TIME = "it was open long enough"


BREAKER: Final = {
    (BreakerState.CLOSED, Outcome.FAILURE): BreakerState.OPEN,
    (BreakerState.OPEN, Outcome.TIME): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, Outcome.FAILURE): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, Outcome.SUCCESS): BreakerState.CLOSED,
}
"""What each move leads to; a pair that is not here cannot happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """When a breaker opens and closes."""

    failure_threshold: int = 5
    """Failures in a row that open it."""
    timeout: float = 60.0
    """Seconds it stays open."""
    success_threshold: int = 3
    """Trials in a row that close it."""

    def __post_init__(self) -> None:
        if self.failure_threshold < 1 or self.success_threshold < 1 or not self.timeout > 0:
            raise ValueError("a breaker needs thresholds of one or more and a timeout above zero")


class CircuitBreaker:
    """Guards one thing that may fail.

    Args:
        rule: when to open and close.
    """

    __slots__ = ("_failures", "_is_on_trial", "_opened_at", "_rule", "_successes", "_turn", "state")

    def __init__(self, rule: BreakerRule) -> None:
        self.state = BreakerState.CLOSED
        self._rule = rule
        self._failures = 0
        self._successes = 0
        self._opened_at = 0.0
        self._is_on_trial = False
        self._turn = 0

    def admit(self, now: float) -> int | None:
        """Return the turn of a call that is let in, to be given back when it ends; `None` if it is refused."""
        if self.state is BreakerState.OPEN and now >= self._opened_at + self._rule.timeout:
            self._move(Outcome.TIME, now)
        if self.state is BreakerState.CLOSED:
            return self._turn
        if self.state is BreakerState.OPEN or self._is_on_trial:
            return None
        self._is_on_trial = True
        return self._turn

    def wait(self, now: float) -> float:
        """Return how many seconds a refused call had better wait."""
        if self.state is BreakerState.OPEN:
            return max(0.0, self._opened_at + self._rule.timeout - now)
        # Nobody knows how long the trial takes; who asks again soon costs little.
        return min(1.0, self._rule.timeout)

    def succeed(self, turn: int, now: float) -> None:
        """Take that a call that was let in went well."""
        if turn != self._turn:
            return
        self._is_on_trial = False
        self._failures = 0
        if self.state is BreakerState.HALF_OPEN:
            self._successes += 1
            if self._successes >= self._rule.success_threshold:
                self._move(Outcome.SUCCESS, now)

    def fail(self, turn: int, now: float) -> None:
        """Take that a call that was let in failed."""
        if turn != self._turn:
            return
        self._is_on_trial = False
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._rule.failure_threshold:
            self._move(Outcome.FAILURE, now)

    def forget(self, turn: int) -> None:
        """Take that a call that was let in ended in a way that says nothing, such as cancelled."""
        if turn == self._turn:
            self._is_on_trial = False

    def reset(self) -> None:
        """Close it, whatever happened."""
        self._become(BreakerState.CLOSED)

    def _move(self, outcome: Outcome, now: float) -> None:
        self._become(BREAKER[self.state, outcome])
        self._opened_at = now

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self._turn += 1
        self._failures = self._successes = 0
        self._is_on_trial = False


def diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {BreakerState.CLOSED.value}"]
    lines += [f"    {start.value} --> {end.value}: {outcome.value}" for (start, outcome), end in BREAKER.items()]
    return "\n".join(lines)
