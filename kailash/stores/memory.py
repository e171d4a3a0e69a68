"""The store of one process: nothing to connect to, nothing to wait for."""

import time
from collections.abc import Callable, Sequence

from ..resilience import RateLimiter, ResultCache, Verdict
from .base import Receive, Want

__all__ = ["MemoryStore"]

_ENTRY_COST = 200
"""Bytes that an entry takes besides its key and its value, about."""


class MemoryStore:
    """Keeps buckets and values in this process, both bounded.

    Args:
        max_buckets: callers whose rate is remembered; the least recently seen give way.
        max_entries: most values.
        max_bytes: most bytes of keys and values together; `None` for no limit.
        clock: tells the time for kept values; for tests.
    """

    is_local = True
    sessions = None

    def __init__(
        self,
        *,
        max_buckets: int = 10_000,
        max_entries: int = 1024,
        max_bytes: int | None = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = RateLimiter(limit=max_buckets)
        self._cache = ResultCache(ttl=3600.0, limit=max_entries, limit_bytes=max_bytes)
        self._clock = clock
        self._epoch: float | None = None
        self._topics: dict[str, list[Receive]] = {}

    def __repr__(self) -> str:
        return "MemoryStore()"

    def take(self, wants: Sequence[Want], now: float) -> Verdict:
        """Take a request from every bucket, or from none if one of them refuses."""
        if self._epoch is None:
            # Of the seconds since 1970 a float tells microseconds no better than to a quarter; sums of intervals would
            # drift. Of those since the first request it tells them to a ten-thousandth.
            self._epoch = now
        if len(wants) == 1:
            key, rate, cost = wants[0]
            return self._limiter.take(key, rate, now - self._epoch, cost)
        return self._limiter.take_all(wants, now - self._epoch)

    def get(self, key: bytes) -> bytes | None:
        """Return a kept value, or `None`."""
        value: bytes | None = self._cache.get(key, self._clock())[1]
        return value

    def put(self, key: bytes, value: bytes, ttl: float, tag: str) -> None:
        """Keep a value."""
        size = len(key) + len(value) + _ENTRY_COST
        self._cache.put(key, value, self._clock(), ttl=ttl, size=size, tag=tag)

    def clear(self, tag: str | None) -> None:
        """Forget the values that were put under a tag, or all of them."""
        self._cache.clear(tag)

    def publish(self, topic: str, payload: bytes) -> int:
        """Tell every subscriber of a topic; returns whether there are any, as 1 or 0."""
        receivers = list(self._topics.get(topic, ()))
        for receive in receivers:
            receive(payload)
        return int(bool(receivers))

    def subscribe(
        self, topic: str, receive: Receive, *, missed: Callable[[], object] | None = None
    ) -> Callable[[], None]:
        """Hear what is published; nothing is ever missed here."""
        self._topics.setdefault(topic, []).append(receive)

        def leave() -> None:
            receivers = self._topics.get(topic, [])
            if receive in receivers:
                receivers.remove(receive)
                if not receivers:
                    del self._topics[topic]

        return leave

    async def aclose(self) -> None:
        """Do nothing: there is nothing to let go of."""
