"""Results a server lets the client keep (`ttlMs`), until they are stale or told to have changed."""

from collections.abc import Hashable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from protocol.events import Change, ChangeKind
from protocol.jsonrpc import DECODE_ERRORS

__all__ = ["ResponseCache"]

_LONGEST = 3600.0


class _Hint(Struct):
    ttl_ms: int | float | UnsetType = msgspec.field(name="ttlMs", default=UNSET)


_decode_hint = msgspec.json.Decoder(_Hint).decode

_STALE = {
    ChangeKind.TOOLS: ("tools/list",),
    ChangeKind.PROMPTS: ("prompts/list",),
    ChangeKind.RESOURCES: ("resources/list", "resources/templates/list", "resources/read"),
    ChangeKind.RESOURCE: ("resources/read",),
    ChangeKind.TASK: (),
}
"""The methods whose results a change makes stale."""


class ResponseCache:
    """Fresh results by method and params; one client is one authorization context, so `private` needs no more."""

    def __init__(self, limit: int = 1024) -> None:
        self._entries: dict[tuple[str, Hashable], tuple[float, Any]] = {}
        self._limit = limit

    def get(self, method: str, params: Hashable, now: float) -> Any:
        """Return a fresh result, or `None`."""
        entry = self._entries.get((method, params))
        if entry is None or now >= entry[0]:
            return None
        return entry[1]

    def put(self, method: str, params: Hashable, raw: Raw, value: Any, now: float) -> None:
        """Keep a result for as long as it says, an hour at most; absent, zero or negative: not at all."""
        try:
            ttl_ms = _decode_hint(raw).ttl_ms
        except DECODE_ERRORS:
            return
        if ttl_ms is UNSET or ttl_ms <= 0:
            return
        if len(self._entries) >= self._limit:
            self._entries.clear()
        self._entries[method, params] = (now + min(ttl_ms / 1000, _LONGEST), value)

    def change(self, change: Change) -> None:
        """Forget what a change makes stale."""
        stale = _STALE[change.kind]
        for key in [key for key in self._entries if key[0] in stale]:
            if change.kind is not ChangeKind.RESOURCE or key[1] == change.uri:
                del self._entries[key]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
