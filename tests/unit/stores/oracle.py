"""What the limiter is held against: the moving window of the `limits` package, and what a token bucket promises.

`limits` has no GCRA. Its moving window of one request a window is the same thing, verdict by verdict; of more requests
it is an upper bound: what a bucket of n a window and a burst of n lets pass never exceeds a moving window of 2n.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import limits.storage.memory
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from kailash.resilience import Rate, Verdict

__all__ = ["History", "moving_window"]


@contextmanager
def moving_window(requests: int, window: int) -> Iterator[Callable[[float], bool]]:
    """Yield what tells whether `limits` lets a request pass at a time."""
    clock = [0.0]
    with patch.object(limits.storage.memory, "time", SimpleNamespace(time=lambda: clock[0])):
        storage = MemoryStorage()
        limiter = MovingWindowRateLimiter(storage)
        item = RateLimitItemPerSecond(requests, window)

        begun: list[float] = []

        def hit(now: float) -> bool:
            begun[:] = begun or [now]
            # A request of exactly one window ago still counts there and no more here: time runs a trace faster.
            clock[0] = 1000.0 + (now - begun[0]) * (1 + 1e-6)
            return limiter.hit(item, "key")

        yield hit
        storage.timer.cancel()


class History:
    """What passed, and whether each verdict was what a token bucket owes.

    A bucket of burst b and interval i refuses exactly where more than b + t/i requests would have passed in some
    stretch of t seconds that ends now.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._passed: list[float] = []

    def judge(self, now: float, verdict: Verdict) -> None:
        """Assert that a verdict is right."""
        burst = self._rate.tolerance / self._rate.interval
        asked = [*self._passed, now]
        excess = max(
            (len(asked) - first) - (burst + (now - begun) / self._rate.interval) for first, begun in enumerate(asked)
        )
        if verdict.is_allowed:
            assert excess <= 1e-5
            self._passed.append(now)
        else:
            assert excess > -1e-5
            assert abs(verdict.retry_after - excess * self._rate.interval) < 1e-4
