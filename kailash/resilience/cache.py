"""A bounded cache: entries live for a time and the least recently used give way. It takes `now`, it reads no clock."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

__all__ = ["ResultCache"]


class ResultCache:
    """Keeps values for `ttl` seconds, at most `limit` of them.

    `None` is a value like any other: `get` says whether it found one.
    """

    def __init__(self, *, ttl: float, limit: int = 1024) -> None:
        self.ttl = ttl
        self.hits = 0
        self.misses = 0
        self._limit = limit
        self._entries: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def get(self, key: Hashable, now: float) -> tuple[bool, Any]:
        """Return whether the key holds a fresh value, and the value."""
        entry = self._entries.get(key)
        if entry is not None and now < entry[0]:
            self._entries.move_to_end(key)
            self.hits += 1
            return True, entry[1]
        if entry is not None:
            del self._entries[key]
        self.misses += 1
        return False, None

    def put(self, key: Hashable, value: Any, now: float) -> None:
        """Keep a value."""
        self._entries[key] = (now + self.ttl, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
