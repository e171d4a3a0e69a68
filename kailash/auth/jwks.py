"""Key sets that an issuer publishes: which are held, when they are wanted anew, and what is kept of what came.

No I/O here and no clock: `wants` says that `url` is to be fetched, `begin` that it is being fetched, and `receive` or
`receive_failure` what came of it.
"""

from typing import Any

import msgspec
from msgspec import Struct

from .jwt import Key, ParsedToken, import_jwk

__all__ = ["MAX_KEYS", "MAX_KEY_SET", "KeyCache", "KeyCacheRule", "read_key_set"]

MAX_KEY_SET = 64 * 1024
"""Bytes of a published key set."""
MAX_KEYS = 32
"""Keys in it."""
_MOST_MISSING = 256


def read_key_set(data: bytes) -> tuple[Key, ...]:
    """Return the keys of a published set that can verify signatures.

    Raises:
        ValueError: it is too large, no key set, or has no key of use.
    """
    if len(data) > MAX_KEY_SET:
        raise ValueError(f"a key set of more than {MAX_KEY_SET} bytes")
    try:
        given: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is no JSON") from None
    listed = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no key set")
    if len(listed) > MAX_KEYS:
        raise ValueError(f"a key set of more than {MAX_KEYS} keys")
    # A private key that was published is anybody's.
    keys = tuple(key for key in map(import_jwk, listed) if key is not None and not key.is_private)
    if not keys:
        raise ValueError("no key in it can verify signatures")
    return keys


class KeyCacheRule(Struct, frozen=True, kw_only=True):
    """How old keys may get; in seconds."""

    refresh: float = 600.0
    """After this they are fetched again when next one is needed; until then they are used as they are."""
    stale: float = 3600.0
    """So much longer they are used if fetching fails."""
    cooldown: float = 30.0
    """At least this lies between two fetches, whatever is asked for."""
    missing: float = 300.0
    """So long nothing is fetched for a name that was not in the set."""


class KeyCache:
    """The keys that an issuer publishes at a URL.

    Args:
        url: where; from a configuration, never from a token.
        rule: how old they may get.
    """

    def __init__(self, url: str, rule: KeyCacheRule | None = None) -> None:
        self.url = url
        self._rule = rule or KeyCacheRule()
        self._keys: tuple[Key, ...] = ()
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._asked_for: str | None = None
        self._missing: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"KeyCache({len(self._keys)} keys)"

    def has_keys(self, now: float) -> bool:
        """Tell whether there are keys that may still be used."""
        return self._fetched_at is not None and now < self._fetched_at + self._rule.refresh + self._rule.stale

    def find(self, token: ParsedToken, now: float) -> list[Key]:
        """Return the keys that may have signed a token: those it names, or all that fit if it names none."""
        if not self.has_keys(now):
            return []
        return [
            key
            for key in self._keys
            if token.algorithm in key.algorithms and (token.kid is None or token.kid == key.kid)
        ]

    def is_due(self, now: float) -> bool:
        """Tell whether the keys are old enough to be fetched again."""
        return self._fetched_at is None or now >= self._fetched_at + self._rule.refresh

    def wants(self, token: ParsedToken, now: float) -> bool:
        """Tell whether to fetch now, for the sake of a token."""
        if self._asked_at is not None and now < self._asked_at + self._rule.cooldown:
            return False
        if self.is_due(now):
            return True
        return token.kid is not None and not self.find(token, now) and now >= self._missing.get(token.kid, 0.0)

    def begin(self, token: ParsedToken, now: float) -> None:
        """Take that a fetch has begun for the sake of a token."""
        self._asked_at = now
        self._asked_for = token.kid

    def receive(self, data: bytes, now: float) -> None:
        """Take a published set; one that is no good changes nothing.

        Raises:
            ValueError: it is no good, and why.
        """
        self._keys = read_key_set(data)
        self._fetched_at = now
        known = {key.kid for key in self._keys}
        self._missing = {kid: until for kid, until in self._missing.items() if until > now and kid not in known}
        kid, self._asked_for = self._asked_for, None
        if kid is not None and kid not in known:
            while len(self._missing) >= _MOST_MISSING:
                del self._missing[next(iter(self._missing))]
            self._missing[kid] = now + self._rule.missing

    def abandon(self) -> None:
        """Take that nothing came because nobody wanted it any more: the next may ask at once."""
        self._asked_at = None
