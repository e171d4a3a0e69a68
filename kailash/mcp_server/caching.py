"""Tool results that are kept, by tool, canonical arguments and principal; callers that ask at once share one run."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import UNSET

from protocol.eras import Prepared
from protocol.events import Request
from protocol.results import CallToolResult

from ..adapters.loops import current_loop
from ..adapters.waiter import make_waiter
from ..resilience import ResultCache

__all__ = ["ToolCache"]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode

Key = tuple[str, bytes, str | None]


class ToolCache:
    """The kept results of one tool, as `Prepared` results that are encoded once.

    Args:
        name: the logical name under which it is cleared.
        ttl: seconds a result is kept.
    """

    def __init__(self, name: str, ttl: float, *, limit: int = 1024) -> None:
        self.name = name
        self._cache = ResultCache(ttl=ttl, limit=limit)
        self._running: dict[Key, list[Any]] = {}

    @property
    def hits(self) -> int:
        """How many calls were answered from here."""
        return self._cache.hits

    def key(self, request: Request) -> Key:
        """Return the key of a call; equal arguments in another order or spelling share it, `1` and `1.0` do not."""
        raw = request.params.arguments
        arguments = b"{}" if raw is UNSET else _encode(_decode(raw))
        return (request.params.name, arguments, request.principal)

    def get(self, key: Key) -> tuple[bool, Prepared | None]:
        """Return whether there is a result, and the result."""
        return self._cache.get(key, time.monotonic())

    def put(self, key: Key, result: CallToolResult) -> Prepared:
        """Keep a result, unless it is an error, and return it in the shape it is kept in."""
        prepared = Prepared(result)
        if result.is_error is not True:
            self._cache.put(key, prepared, time.monotonic())
        return prepared

    async def once(self, key: Key, run: Callable[[], Awaitable[CallToolResult]]) -> Prepared:
        """Return the kept result, or run and keep; whoever asks meanwhile waits for the same run.

        When that run fails or is cancelled, the next in line runs itself: one caller's end is not another's.
        """
        while True:
            found, kept = self.get(key)
            if found:
                assert kept is not None
                return kept
            followers = self._running.get(key)
            if followers is None:
                break
            waiter = make_waiter(current_loop())
            followers.append(waiter)
            await waiter
        self._running[key] = []
        try:
            return self.put(key, await run())
        finally:
            for waiter in self._running.pop(key):
                if not waiter.done():
                    waiter.set_result(None)

    def clear(self) -> None:
        """Forget every result."""
        self._cache.clear()
