"""When a call that failed is made again: pure decisions, told the time and given their dice.

What may be repeated at all is one table. *Refused* means that the error proves the call was not run.

| the error                                                                     | a safe call | any other |
|-------------------------------------------------------------------------------|-------------|-----------|
| refused: rate limit, overload, open circuit, 429, 503 with a time, never sent | again       | again     |
| passing: a lost connection, a gateway, or it says that it is `retryable`      | again       | never     |
| everything else                                                               | never       | never     |

A call is safe if it only reads, or if running it twice does no more than once. Where an error says how long to wait,
nobody comes back earlier.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CircuitOpenError, MCPError, MCPErrorCode
from .breaker import BreakerRule, CircuitBreaker

__all__ = [
    "CircuitBreakerRetry",
    "ErrorAggregator",
    "ExponentialBackoffRetry",
    "RetryBudget",
    "RetryStrategy",
    "SimpleRetry",
    "asked_wait",
    "is_passing",
    "is_refusal",
    "make_strategy",
]

_REFUSALS = frozenset({MCPErrorCode.RATE_LIMITED, MCPErrorCode.OVERLOADED, MCPErrorCode.CIRCUIT_OPEN})
_LOST = frozenset({MCPErrorCode.CONNECTION_ERROR, MCPErrorCode.TRANSPORT_ERROR})


def _facts(error: MCPError) -> Mapping[str, Any]:
    return error.data if isinstance(error.data, Mapping) else {}


def asked_wait(error: MCPError) -> float | None:
    """Return how many seconds an error asks to wait, `None` if it asks for nothing."""
    facts = _facts(error)
    for given in (error.retry_after, facts.get("retryAfter"), facts.get("retry_after")):
        # NaN is neither below nor above anything, and no time.
        if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
            return float(given)
    return None


def is_refusal(error: MCPError) -> bool:
    """Tell whether an error proves that the call was not run."""
    if error.error_code in _REFUSALS:
        return True
    facts = _facts(error)
    status = facts.get("status")
    if status is not None:
        return status == 429 or (status == 503 and asked_wait(error) is not None)
    if error.error_code == MCPErrorCode.TRANSPORT_ERROR:
        return error.retryable  # no connection came about
    return error.error_code == MCPErrorCode.CONNECTION_ERROR and facts.get("retryable") is True


def is_passing(error: MCPError) -> bool:
    """Tell whether the same call may go well later."""
    # The connection of a retryless error is gone all the same; the next call opens another.
    return error.retryable or error.error_code == MCPErrorCode.CONNECTION_ERROR or is_refusal(error)


class RetryBudget:
    """Keeps retries a small part of all calls, so that they never make an overload worse.

    In any `window` the retries are at most `floor`, and above that `ratio` of the calls.

    Args:
        ratio: retries a call.
        floor: retries a window that are free, for clients that call rarely.
        window: seconds.
    """

    __slots__ = ("_calls", "_floor", "_pending", "_ratio", "_retries", "_window")

    def __init__(self, *, ratio: float = 0.2, floor: int = 10, window: float = 60.0) -> None:
        if not 0 <= ratio <= 1 or floor < 0 or not window > 0:
            raise ValueError("a budget has a ratio of 0 to 1, a floor of zero or more and a window above zero")
        self._ratio, self._floor, self._window = ratio, floor, window
        self._calls: deque[list[float]] = deque()  # [until, how many], in tenths of the window
        self._retries: deque[float] = deque()

    def call(self, now: float) -> None:
        """Count a call."""
        self._forget(now)
        slice_ = self._window / 10
        if self._calls and now < self._calls[-1][0]:
            self._calls[-1][1] += 1
        else:
            self._calls.append([now + slice_, 1])

    def take(self, now: float) -> bool:
        """Take a retry from what is left, if anything is."""
        self._forget(now)
        calls = sum(count for _, count in self._calls)
        if len(self._retries) >= max(self._floor, int(self._ratio * calls)):
            return False
        self._retries.append(now)
        return True

    def _forget(self, now: float) -> None:
        while self._calls and self._calls[0][0] <= now - self._window + self._window / 10:
            self._calls.popleft()
        while self._retries and self._retries[0] <= now - self._window:
            self._retries.popleft()


class RetryStrategy:
    """Decides whether and when a call that failed is made again; shared by all calls of a client.

    Args:
        max_retries: attempts after the first.
        budget: what keeps retries few; `None`: nothing does.
    """

    def __init__(self, *, max_retries: int = 3, budget: RetryBudget | None = None) -> None:
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
            raise ValueError(f"max_retries is a number of zero or more, not {max_retries!r}")
        self.max_retries = max_retries
        self._budget = budget

    def pause(self, attempt: int, chance: float) -> float:
        """Return the seconds before retry number `attempt` (from 1), by a `chance` of 0 to 1."""
        raise NotImplementedError

    def begin(self, now: float, *, is_retry: bool = False) -> int:
        """Take that an attempt begins; returns its turn, for `end`.

        Raises:
            CircuitOpenError: it had better not.
        """
        if self._budget is not None and not is_retry:
            self._budget.call(now)
        return 0

    def end(self, turn: int, error: MCPError | None, now: float) -> None:
        """Take how an attempt ended: `None` for well."""

    def abandon(self, turn: int) -> None:
        """Take that an attempt was cancelled."""

    def next_delay(self, error: MCPError, attempt: int, now: float, chance: float, *, is_safe: bool) -> float | None:
        """Return the seconds after which to try again, `None` to give up.

        Args:
            error: of the attempt before.
            attempt: which retry this would be, from 1.
            now: the time.
            chance: a random number of 0 to 1.
            is_safe: the call only reads, or running it twice does no more than once.
        """
        if attempt > self.max_retries or not (is_refusal(error) or (is_safe and is_passing(error))):
            return None
        if self._budget is not None and not self._budget.take(now):
            return None
        asked = asked_wait(error)
        pause = self.pause(attempt, chance)
        # All who were told the same time would come back at once: each adds its own share of a pause.
        return pause if asked is None else asked + min(pause, asked)


class SimpleRetry(RetryStrategy):
    """Tries again after the same pause each time.

    Args:
        delay: seconds.
        max_retries: attempts after the first.
    """

    def __init__(self, *, delay: float = 0.5, max_retries: int = 3) -> None:
        super().__init__(max_retries=max_retries)
        if not delay >= 0:
            raise ValueError("delay is zero or more seconds")
        self._delay = delay

    def pause(self, attempt: int, chance: float) -> float:
        """Return the delay."""
        return self._delay


class ExponentialBackoffRetry(RetryStrategy):
    """Tries again after pauses drawn at random from a range that doubles (full jitter), within a budget.

    Args:
        base_delay: seconds of the first range.
        max_delay: seconds of the longest.
        multiplier: how much longer each is than the one before.
        max_retries: attempts after the first.
        budget: what keeps retries few: default a fifth of the calls of a minute, or ten; `None`: nothing does.
    """

    def __init__(
        self,
        *,
        base_delay: float = 0.5,
        max_delay: float = 30.0,
        multiplier: float = 2.0,
        max_retries: int = 3,
        budget: RetryBudget | str | None = "default",
    ) -> None:
        super().__init__(max_retries=max_retries, budget=RetryBudget() if isinstance(budget, str) else budget)
        if not base_delay > 0 or not max_delay >= base_delay or not multiplier >= 1:
            raise ValueError("delays are above zero, max_delay is no shorter than base_delay, multiplier is 1 or more")
        self._base, self._longest, self._multiplier = base_delay, max_delay, multiplier

    def pause(self, attempt: int, chance: float) -> float:
        """Return a random part of the range."""
        # A power of a float overflows at an attempt nobody reaches; the range has ended long before.
        return chance * min(self._longest, self._base * self._multiplier ** min(attempt - 1, 64))


class CircuitBreakerRetry(ExponentialBackoffRetry):
    """Backs off like `ExponentialBackoffRetry`, and stops calling for a while when too much has failed.

    Only what says something of the server counts: refusals and lost connections, and no error of a tool.

    Args:
        failure_threshold: failures in a row that open the circuit.
        timeout: seconds it stays open.
        success_threshold: trials in a row that close it.
        backoff: what `ExponentialBackoffRetry` takes.
    """

    def __init__(
        self, *, failure_threshold: int = 5, timeout: float = 60.0, success_threshold: int = 3, **backoff: Any
    ) -> None:
        super().__init__(**backoff)
        rule = BreakerRule(failure_threshold=failure_threshold, timeout=timeout, success_threshold=success_threshold)
        self.breaker = CircuitBreaker(rule)

    def begin(self, now: float, *, is_retry: bool = False) -> int:
        """Take that an attempt begins.

        Raises:
            CircuitOpenError: the circuit is open.
        """
        turn = self.breaker.admit(now)
        if turn is None:
            wait = self.breaker.wait(now)
            raise CircuitOpenError(
                f"not called: too many calls have failed; the circuit is tried again in {wait:.1f} s",
                retryable=True,
                retry_after=wait,
            )
        super().begin(now, is_retry=is_retry)
        return turn

    def end(self, turn: int, error: MCPError | None, now: float) -> None:
        """Take how an attempt ended."""
        if error is None:
            self.breaker.succeed(turn, now)
        elif error.error_code in _LOST or error.error_code == MCPErrorCode.TIMEOUT or is_refusal(error):
            self.breaker.fail(turn, now)
        else:
            self.breaker.succeed(turn, now)  # an error is an answer too

    def abandon(self, turn: int) -> None:
        """Give the turn of an attempt that was cancelled to the next."""
        self.breaker.forget(turn)


STRATEGIES: Mapping[str, Callable[..., RetryStrategy]] = {
    "simple": SimpleRetry,
    "exponential": ExponentialBackoffRetry,
    "circuit_breaker": CircuitBreakerRetry,
}


def make_strategy(given: str | RetryStrategy | None, max_retries: int | None = None) -> RetryStrategy | None:
    """Return what a client was given as `retry_strategy`: an object, or what its name stands for.

    Raises:
        TypeError: it is neither, or a number of retries without a strategy that has none of its own.
        ValueError: an unknown name; the message lists those there are.
    """
    if given is None:
        if max_retries:
            raise TypeError(f"max_retries needs a retry_strategy: {', '.join(STRATEGIES)}")
        return None
    if isinstance(given, str):
        make = STRATEGIES.get(given)
        if make is None:
            raise ValueError(f"unknown retry_strategy {given!r}; known: {', '.join(STRATEGIES)}")
        return make() if max_retries is None else make(max_retries=max_retries)
    if max_retries is not None:
        raise TypeError("a retry_strategy object has max_retries of its own")
    if not isinstance(given, RetryStrategy):
        raise TypeError(f"retry_strategy is {', '.join(STRATEGIES)} or a RetryStrategy, not {type(given).__name__}")
    return given


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    code: int
    retryable: bool
    message: str


class ErrorAggregator:
    """Counts errors by their codes, over all time and over the last while.

    Args:
        window: seconds that count as the last while.
        limit: errors of it that are kept.
    """

    def __init__(self, *, window: float = 300.0, limit: int = 1000) -> None:
        if not window > 0 or limit < 1:
            raise ValueError("window and limit are above zero")
        self._window = window
        self._recent: deque[_Seen] = deque(maxlen=limit)
        self._totals: Counter[int] = Counter()

    def record(self, error: Exception, now: float) -> None:
        """Count an error; one that is no `MCPError` counts as internal."""
        code = error.error_code if isinstance(error, MCPError) else MCPErrorCode.INTERNAL_ERROR
        retryable = isinstance(error, MCPError) and error.retryable
        self._totals[_kept(code)] += 1
        self._recent.append(_Seen(now, code, retryable, str(error)[:200]))

    def count(self, code: int | None = None) -> int:
        """Return how many errors there were, of one code or of all."""
        return self._totals.total() if code is None else self._totals[code]

    def summary(self, now: float) -> dict[str, Any]:
        """Return totals and what happened lately.

        Keys: `total`, `by_code` (by the code's name), and of the last while `recent`, `recent_by_code`,
        `recent_rate` (errors a second), `retryable` and `last`.
        """
        recent = [seen for seen in self._recent if seen.at > now - self._window]
        return {
            "total": self._totals.total(),
            "by_code": {_name(code): count for code, count in self._totals.items()},
            "recent": len(recent),
            "recent_by_code": dict(Counter(_name(seen.code) for seen in recent)),
            "recent_rate": len(recent) / self._window,
            "retryable": sum(seen.retryable for seen in recent),
            "last": recent[-1].message if recent else None,
        }

    def clear(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self._totals.clear()


_OWN_CODES = frozenset(map(int, MCPErrorCode))


def _kept(code: int) -> int:
    # Codes come from peers; totals by each of them would grow without end.
    return code if code in _OWN_CODES else 0


def _name(code: int) -> str:
    return MCPErrorCode(code).name if code in _OWN_CODES else "OTHER"
