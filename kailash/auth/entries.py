"""What is known of a key, a token or a user; and tables of secrets that hold digests only."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from msgspec import Struct

from .refusal import Found, refuse

__all__ = ["ENTRY_KEYS", "Entry", "SecretTable", "check_options", "read_entry", "read_expiry", "read_permissions"]

ENTRY_KEYS = ("permissions", "rate_limit", "metadata", "user_id", "expires")
_RATE_KEYS = ("requests", "window", "burst_size")
_EVERYDAY = ("tools", "resources", "prompts")
"""What may be done by callers of whom nothing else is said."""


class Entry(Struct, frozen=True, kw_only=True):
    """What is known of one key, token or user."""

    user_id: str
    permissions: tuple[str, ...]
    metadata: Mapping[str, Any]
    rate_limit: Mapping[str, float] | None
    """`requests` in `window` seconds, and perhaps `burst_size`."""
    expires: float | None
    """In seconds since the epoch."""

    def is_expired(self, now: float) -> bool:
        """Tell whether it is past its time."""
        return self.expires is not None and now >= self.expires

    def found(self, auth_type: str) -> Found:
        """Return the identity, which is the caller's to change."""
        identity: Found = {
            "user_id": self.user_id,
            "auth_type": auth_type,
            "permissions": list(self.permissions),
            "metadata": dict(self.metadata),
        }
        if self.rate_limit is not None:
            identity["rate_limit"] = dict(self.rate_limit)
        if self.expires is not None:
            identity["expires"] = self.expires
        return identity


def read_entry(options: Any, *, user_id: str, what: str) -> Entry:
    """Check what a configuration says of one key, token or user.

    Args:
        options: a mapping of `ENTRY_KEYS`, or nothing.
        user_id: the name, unless the options have one.
        what: for messages, such as `API key 2`; never a secret.

    Raises:
        TypeError: an unknown option, or a value of the wrong type.
        ValueError: a value that means nothing.
    """
    given = {} if options is None else options
    if not isinstance(given, Mapping):
        raise TypeError(f"{what}: its options are a mapping of {', '.join(ENTRY_KEYS)}, not {type(given).__name__}")
    check_options(given, ENTRY_KEYS, what)
    name = given.get("user_id")
    if name is not None and (not isinstance(name, str) or not name):
        raise TypeError(f"{what}: user_id is a string that is not empty")
    metadata = given.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"{what}: metadata is a mapping, not {type(metadata).__name__}")
    return Entry(
        user_id=name or user_id,
        permissions=read_permissions(given.get("permissions", _EVERYDAY), what),
        metadata=dict(metadata or {}),
        rate_limit=_read_rate(given.get("rate_limit"), what),
        expires=read_expiry(given.get("expires"), what),
    )


def check_options(given: Mapping[Any, Any], known: Iterable[str], what: str) -> None:
    """Raise a TypeError that lists the known options, if there are others."""
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise TypeError(f"{what}: unknown option {', '.join(sorted(unknown))}; known: {', '.join(known)}")


def read_permissions(given: Any, what: str) -> tuple[str, ...]:
    """Check a list of permissions.

    Raises:
        TypeError: it is none; one string alone would be taken for its letters.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f'{what}: permissions is a list of strings, such as ["tools"], not {type(given).__name__}')
    permissions = tuple(given)
    if not all(isinstance(permission, str) and permission for permission in permissions):
        raise TypeError(f"{what}: each permission is a string that is not empty")
    return permissions


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _read_rate(given: Any, what: str) -> Mapping[str, float] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f'{what}: rate_limit is a mapping such as {{"requests": 100, "window": 60}}')
    check_options(given, _RATE_KEYS, f"{what}: rate_limit")
    if "requests" not in given:
        raise TypeError(f"{what}: rate_limit needs requests, how many may be made in a window")
    for key, value in given.items():
        if not _is_number(value):
            raise TypeError(f"{what}: rate_limit: {key} is a number, not {type(value).__name__}")
        if value <= 0 or (key == "burst_size" and value < 1):
            raise ValueError(f"{what}: rate_limit: {key} must be above zero, not {value!r}")
    return {"requests": given["requests"], "window": given.get("window", 60), **given}


def read_expiry(given: Any, what: str) -> float | None:
    """Return the time at which something expires, in seconds since the epoch.

    Args:
        given: seconds since the epoch, a datetime, or text in ISO 8601; without a time zone it is UTC.
        what: for messages.

    Raises:
        TypeError: it is nothing of the kind.
        ValueError: it is no time.
    """
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            raise ValueError(f"{what}: expires is no time: give it as 2030-01-31T12:00:00Z") from None
    if isinstance(given, datetime):
        return (given if given.tzinfo is not None else given.replace(tzinfo=UTC)).timestamp()
    if not _is_number(given):
        raise TypeError(f"{what}: expires is seconds since the epoch or a time in ISO 8601")
    return float(given)


_NOBODY = bytes(32)
_PREFIX = 8


class SecretTable:
    """Keys or tokens and what is known of their holders; of the secrets themselves only digests are kept.

    A secret is looked up by the first bytes of its digest and compared whole and in constant time: one that is not
    known costs the same as one that is, and how much of it is right shows nowhere.

    Args:
        what: what the secrets are, for messages.
        prefix: of the names of those who have none.
    """

    __slots__ = ("_entries", "_prefix", "_what")

    def __init__(self, what: str, *, prefix: str) -> None:
        self._what = what
        self._prefix = prefix
        self._entries: dict[bytes, tuple[bytes, Entry]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"{len(self)} {self._what}{'' if len(self) == 1 else 's'}"

    def fill(self, given: Any) -> list[str]:
        """Add one secret, a list of them, or a mapping of each to its options; returns the secrets.

        Raises:
            TypeError: it is none of these, or an option is unknown.
            ValueError: a secret is empty or there are two of one.
        """
        if isinstance(given, str):
            given = [given]
        if not isinstance(given, Iterable) or isinstance(given, bytes):
            raise TypeError(
                f"give the {self._what}s as a list, or as a mapping of each to its options, not {type(given).__name__}"
            )
        secrets = list(given)
        for number, secret in enumerate(secrets, 1):
            self.add(secret, given[secret] if isinstance(given, Mapping) else None, what=f"{self._what} {number}")
        return secrets

    def add(self, secret: Any, options: Any = None, *, what: str = "") -> None:
        """Add a secret; how it is read, and what is raised, is said at `fill`."""
        what = what or f"the {self._what}"
        if not isinstance(secret, str):
            raise TypeError(f"{what} is a string, not {type(secret).__name__}")
        if not secret:
            raise ValueError(f"{what} is empty")
        digest = _digest(secret)
        if digest[:_PREFIX] in self._entries:
            raise ValueError(f"{what} is there already")
        entry = read_entry(options, user_id=f"{self._prefix}-{digest.hex()[:12]}", what=what)
        self._entries[digest[:_PREFIX]] = digest, entry

    def remove(self, secret: str) -> bool:
        """Forget a secret; tells whether it was known."""
        return self._entries.pop(_digest(secret)[:_PREFIX], None) is not None

    def find(self, secret: Any, now: float) -> Entry:
        """Return what is known of the holder of a secret.

        Raises:
            AuthenticationError: nothing: it is unknown, expired or forgotten.
        """
        if not isinstance(secret, str) or not secret:
            raise refuse(f"no {self._what}", "none was given")
        digest = _digest(secret)
        known, entry = self._entries.get(digest[:_PREFIX], (_NOBODY, None))
        is_same = hmac.compare_digest(known, digest)
        if entry is None or not is_same:
            raise refuse(f"unknown {self._what}", "it is not in the table")
        if entry.is_expired(now):
            raise refuse(f"unknown {self._what}", "it has expired")
        return entry


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
