"""Rate limits by GCRA: one number a bucket, exact at any speed, and the wait until the next request is known.

A bucket keeps its *theoretical arrival time*: when it would be empty again if nothing more came. A request is let in if
that lies no further ahead than the burst allows, and then moves it one emission interval on. This is the leaky bucket
of ITU-T I.371 without a timer; `requests` a `window` pass for ever, `burst` at once.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import islice

__all__ = ["Rate", "RateLimiter", "Verdict", "gcra"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many requests may pass."""

    requests: float
    """So many ..."""
    window: float = 60.0
    """... in so many seconds."""
    burst: int | None = None
    """At once, by a caller that was quiet; default `requests`."""

    interval: float = field(init=False, repr=False, compare=False)
    """Seconds between two requests at full rate."""
    tolerance: float = field(init=False, repr=False, compare=False)
    """How far ahead of the rate a caller may be, in seconds."""

    def __post_init__(self) -> None:
        if not self.requests > 0 or not self.window > 0:
            raise ValueError("a rate needs requests and a window above zero")
        if self.burst is not None and self.burst < 1:
            raise ValueError("a burst of less than one request lets nothing pass")
        interval = self.window / self.requests
        object.__setattr__(self, "interval", interval)
        at_once = max(1, int(self.requests)) if self.burst is None else self.burst
        object.__setattr__(self, "tolerance", interval * at_once)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limiter says of one request."""

    is_allowed: bool
    retry_after: float = 0.0
    """Seconds until it would be allowed."""


_ALLOWED = Verdict(True)


def gcra(arrival: float | None, rate: Rate, now: float, cost: float = 1.0) -> tuple[Verdict, float | None]:
    """Decide about one request.

    Args:
        arrival: the bucket's theoretical arrival time; `None` for one that nothing was taken from.
        rate: what it lets pass.
        now: the time.
        cost: how many requests this one counts for.

    Returns:
        The verdict, and the bucket's next arrival time; refused requests leave it as it is.
    """
    ahead = max(arrival, now) if arrival is not None else now
    after = ahead + cost * rate.interval
    # Sums of floats: a burst of n fits exactly n, whatever 1/n is in binary.
    wait = after - rate.tolerance - now
    if wait > 1e-9 * rate.tolerance:
        return Verdict(False, wait), arrival
    return _ALLOWED, after


class RateLimiter:
    """Buckets in this process, one for each key; at most `limit` of them are kept.

    A bucket that is forgotten is a full one. Those that are full anyway go first; only where more callers than `limit`
    are active at once does the least recently seen gain anything.
    """

    def __init__(self, *, limit: int = 10_000) -> None:
        if limit < 1:
            raise ValueError("limit is the number of buckets, at least one")
        self._limit = limit
        self._arrivals: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are kept."""
        return len(self._arrivals)

    def take(self, key: Hashable, rate: Rate, now: float, cost: float = 1.0) -> Verdict:
        """Take a request from a bucket, if it may pass.

        Args:
            key: whose bucket.
            rate: what it lets pass.
            now: the time.
            cost: how many requests this one counts for.
        """
        arrivals = self._arrivals
        before = arrivals.get(key)
        verdict, after = gcra(before, rate, now, cost)
        if after is not None and after is not before:
            arrivals[key] = after
            arrivals.move_to_end(key)
            if len(arrivals) > self._limit:
                self._forget(now)
        return verdict

    def wait(self, key: Hashable, rate: Rate, now: float) -> float:
        """Return how many seconds a request would have to wait, without taking it."""
        return gcra(self._arrivals.get(key), rate, now)[0].retry_after

    def take_all(self, wants: Iterable[tuple[Hashable, Rate, float]], now: float) -> Verdict:
        """Take a request from every bucket, or from none if it may not pass one of them.

        Args:
            wants: key, rate and cost of each.
            now: the time.

        Returns:
            The verdict, with the longest wait of those that refuse.
        """
        arrivals = self._arrivals
        taken: dict[Hashable, float] = {}
        refusal: Verdict | None = None
        for key, rate, cost in wants:
            before = taken.get(key, arrivals.get(key))
            verdict, after = gcra(before, rate, now, cost)
            if verdict.is_allowed:
                assert after is not None
                taken[key] = after
            elif refusal is None or verdict.retry_after > refusal.retry_after:
                refusal = verdict
        if refusal is not None:
            return refusal
        for key, after in taken.items():
            arrivals[key] = after
            arrivals.move_to_end(key)
        if len(arrivals) > self._limit:
            self._forget(now)
        return _ALLOWED

    def _forget(self, now: float) -> None:
        # A look at the oldest few each time is enough: they are in order of their last request.
        for key in list(islice(self._arrivals, 2)):
            if self._arrivals[key] <= now:
                del self._arrivals[key]
        while len(self._arrivals) > self._limit:
            self._arrivals.popitem(last=False)

    def clear(self) -> None:
        """Let everybody start anew."""
        self._arrivals.clear()
