"""Kept results, by entry, canonical arguments and principal; callers that ask at once share one run."""

import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from protocol.eras import Prepared
from protocol.events import Request
from protocol.model import encode

from ..adapters.loops import current_loop
from ..adapters.waiter import make_waiter
from ..resilience import ResultCache
from .entries import Entry
from .options import FIELD

__all__ = ["EntryCache", "Follower", "Key"]

_LONGEST_SPELLING = 1024
_MOST_SPELLINGS = 1024

_encode = msgspec.json.Encoder(order="sorted").encode

Key = tuple[str, str, bytes, str | None, frozenset[str] | None]
"""Kind, name, canonical arguments, principal, permissions."""

Follower = Callable[[Prepared | None], object]
"""Called, in whatever thread, with the result of somebody else's run; `None`: run yourself."""


class EntryCache:
    """The kept results of one entry, as `Prepared` results that are encoded once.

    Args:
        kept: where they are kept, together with those of other entries.
        entry: whose results.
        ttl: seconds a result is kept.
        now: the clock.

    Raises:
        TypeError: the template of its `cache_key` names an argument it does not have.
    """

    def __init__(self, kept: ResultCache, entry: Entry, ttl: float, now: Callable[[], float]) -> None:
        self._kept = kept
        self._entry = entry
        self._ttl = ttl
        self._now = now
        self._fields = entry.policy.cache_arguments
        self._is_shared = entry.policy.is_shared
        self.tag = f"{entry.kind}:{entry.name}"
        """What its results are forgotten by."""
        self._running: dict[Key, list[Follower]] = {}
        self._spellings: dict[bytes, bytes] = {}
        self._stale: set[Key] = set()
        """Runs that began before a `clear`: what they bring is not kept."""
        # One server may serve connections of several loops, each in a thread of its own.
        self._lock = threading.Lock()
        unknown = set(self._fields) - entry.arguments.names
        if unknown and entry.arguments.extra is None:
            known = ", ".join(sorted(entry.arguments.names)) or "none"
            raise TypeError(f"cache_key names {', '.join(sorted(unknown))}; arguments of {entry.name!r}: {known}")

    def look(self, request: Request, permissions: frozenset[str] | None) -> tuple[Key, Prepared | None]:
        """Return the key of a request and the kept result.

        Equal arguments in another order or spelling share a key; `1` and `1.0` do not.

        Args:
            request: the request.
            permissions: what its caller may do: with fewer of them the result may be another.

        Raises:
            ArgumentError: the arguments cannot be read.
        """
        entry = self._entry
        # The same caller mostly spells the same arguments the same way: those need no second reading.
        spelled = entry.spelled_arguments(request)
        known = None if spelled is None else self._spellings.get(spelled)
        canonical = self._canonical(request) if known is None else known
        if self._is_shared:
            key: Key = (entry.kind, entry.name, canonical, None, None)
        else:
            key = (entry.kind, entry.name, canonical, request.principal, permissions)
        kept: Prepared | None = self._kept.get(key, self._now())[1]
        if kept is not None and known is None and spelled is not None and len(spelled) <= _LONGEST_SPELLING:
            if len(self._spellings) >= _MOST_SPELLINGS:
                self._spellings.clear()
            self._spellings[spelled] = canonical
        return key, kept

    def _canonical(self, request: Request) -> bytes:
        given = self._entry.named_arguments(request)
        return _encode({name: given.get(name) for name in self._fields} if self._fields else given)

    def put(self, key: Key, prepared: Prepared) -> bool:
        """Keep a result, unless it is an error or was forgotten while it was made; returns whether it is kept."""
        if _is_error(prepared) or key in self._stale:
            return False
        size = sum(map(len, prepared.sealed.values())) or len(encode(prepared.result))
        self._kept.put(key, prepared, self._now(), ttl=self._ttl, size=size, tag=self.tag)
        return True

    # For a store that several processes share

    @staticmethod
    def wire_key(key: Key) -> bytes:
        """Return a key of fixed length, which tells nobody what was asked."""
        *others, permissions = key
        return sha256(_encode([*others, None if permissions is None else sorted(permissions)])).digest()

    @staticmethod
    def wire_value(prepared: Prepared) -> bytes:
        """Return a result as bytes, in its newest shape."""
        return encode(prepared.result)

    # One run at a time

    def join(self, key: Key, follower: Follower) -> bool:
        """Wait for the run that is on its way; `False`: there is none, and the caller's is it, until it `land`s."""
        with self._lock:
            followers = self._running.get(key)
            if followers is None:
                self._running[key] = []
                return False
            followers.append(follower)
            return True

    def land(self, key: Key, prepared: Prepared | None) -> None:
        """Hand the result of a run to all who wait; `None`: it failed, and the next in line runs itself."""
        with self._lock:
            followers = self._running.pop(key)
            self._stale.discard(key)
        for follower in followers:
            follower(prepared)

    async def once(
        self,
        request: Request,
        permissions: frozenset[str] | None,
        run: Callable[[], Awaitable[Any]],
        is_private: Callable[[], bool],
    ) -> Prepared:
        """Return the kept result, or run and keep; whoever asks meanwhile waits for the same run.

        When that run fails or is cancelled, the next in line runs itself: one caller's end is not another's. So it is
        when the result turns out to be one caller's own (`is_private`).
        """
        loop = current_loop()
        while True:
            key, kept = self.look(request, permissions)
            if kept is not None:
                return kept
            waiter = make_waiter(loop)

            def wake(prepared: Prepared | None, waiter: Any = waiter) -> None:
                loop.call_threadsafe(lambda: None if waiter.done() else waiter.set_result(prepared))

            if not self.join(key, wake):
                break
            landed: Prepared | None = await waiter
            if landed is not None:
                return landed
        prepared = None
        try:
            prepared = Prepared(await run())
            if not is_private():
                self.put(key, prepared)
            return prepared
        finally:
            is_shared = prepared is not None and not _is_error(prepared) and not is_private()
            self.land(key, prepared if is_shared else None)

    def knows(self, name: str) -> bool:
        """Tell whether some of its results may be known by a name."""
        template = self._entry.policy.cache_key
        if name in (self._entry.name, template):
            return True
        return template is not None and bool(self._fields) and name.startswith(template.partition("{")[0])

    def clear(self, name: str | None = None) -> None:
        """Forget what is known by a name: the entry's, its `cache_key`, or that with its arguments filled in."""
        if name is not None and not self.knows(name):
            return
        with self._lock:
            self._stale.update(self._running)
        template = self._entry.policy.cache_key
        if name is None or template is None or name in (self._entry.name, template):
            self._kept.clear(self.tag)
        else:
            own = (self._entry.kind, self._entry.name)
            self._kept.discard(lambda key: key[:2] == own and name == _filled(template, key[2]))


def _is_error(prepared: Prepared) -> bool:
    return getattr(prepared.result, "is_error", False) is True


def _filled(template: str, arguments: bytes) -> str:
    values: Mapping[str, Any] = msgspec.json.decode(arguments)

    def fill(match: re.Match[str]) -> str:
        value = values.get(match[1])
        return value if isinstance(value, str) else _encode(value).decode()

    return FIELD.sub(fill, template)
