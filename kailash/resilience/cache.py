"""A bounded cache: entries live for a time and the least recently used give way. It takes `now`, it reads no clock."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["LONGEST_LIFE", "MOST_BYTES", "MOST_ENTRIES", "ResultCache"]

MOST_ENTRIES = 1024
MOST_BYTES = 64 * 1024 * 1024
LONGEST_LIFE = 3600.0
"""Seconds: what is kept longer than this is rather stored than cached."""


_Entry = tuple[float, Any, int, str | None]
"""When it expires, what it is, its bytes, its tag; a named tuple would cost more than all the rest of `put`."""


class ResultCache:
    """Keeps values for a time, a bounded number and a bounded size of them.

    `None` is a value like any other: `get` says whether it found one.

    Args:
        ttl: seconds a value is kept, unless `put` says otherwise.
        limit: most values.
        limit_bytes: most bytes of those whose size `put` is told; `None` for no limit.
        longest: no value is kept for more seconds than this, whatever was asked; `None` for no limit.
    """

    def __init__(
        self,
        *,
        ttl: float = LONGEST_LIFE,
        limit: int = MOST_ENTRIES,
        limit_bytes: int | None = MOST_BYTES,
        longest: float | None = LONGEST_LIFE,
    ) -> None:
        if limit < 1 or (limit_bytes is not None and limit_bytes < 1):
            raise ValueError("limit and limit_bytes of a cache must be 1 or more")
        self.ttl = ttl
        self.hits = 0
        self.misses = 0
        self.size = 0
        """Bytes of what is kept, as told."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._longest = longest
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._tagged: dict[str, set[Hashable]] = {}

    def get(self, key: Hashable, now: float) -> tuple[bool, Any]:
        """Return whether the key holds a fresh value, and the value."""
        entry = self._entries.get(key)
        if entry is not None and now < entry[0]:
            self._entries.move_to_end(key)
            self.hits += 1
            return True, entry[1]
        if entry is not None:
            self._drop(key)
        self.misses += 1
        return False, None

    def put(
        self, key: Hashable, value: Any, now: float, *, ttl: float | None = None, size: int = 0, tag: str | None = None
    ) -> None:
        """Keep a value; one that is larger than the whole cache may be is not kept.

        Args:
            key: where; what was there is forgotten.
            value: what.
            now: the time.
            ttl: seconds, otherwise the cache's own.
            size: its bytes.
            tag: what `clear` may forget it by.
        """
        if key in self._entries:
            self._drop(key)
        if self._limit_bytes is not None and size > self._limit_bytes:
            return
        life = self.ttl if ttl is None else ttl
        if self._longest is not None:
            life = min(life, self._longest)
        self._entries[key] = (now + life, value, size, tag)
        self.size += size
        if tag is not None:
            self._tagged.setdefault(tag, set()).add(key)
        while len(self._entries) > self._limit or (self._limit_bytes is not None and self.size > self._limit_bytes):
            oldest, entry = self._entries.popitem(last=False)
            self._forget(oldest, entry)

    def clear(self, tag: str | None = None) -> None:
        """Forget what was put under a tag, or everything."""
        if tag is None:
            self._entries.clear()
            self._tagged.clear()
            self.size = 0
            return
        for key in list(self._tagged.get(tag, ())):
            self._drop(key)

    def discard(self, is_stale: Callable[[Any], bool]) -> None:
        """Forget the values whose keys a function finds stale."""
        for key in [key for key in self._entries if is_stale(key)]:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        self._forget(key, self._entries.pop(key))

    def _forget(self, key: Hashable, entry: _Entry) -> None:
        self.size -= entry[2]
        tag = entry[3]
        if tag is not None:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]

    def __len__(self) -> int:
        return len(self._entries)
