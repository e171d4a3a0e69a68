"""Who is calling: authentication providers. Credentials come from the transport, never from tool arguments."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ..errors import AuthenticationError

__all__ = ["APIKeyAuth", "AuthProvider"]


class AuthProvider(Protocol):
    """Turns credentials into an identity."""

    def authenticate(self, credentials: Mapping[str, Any]) -> Any:
        """Return a mapping with `user_id`, `auth_type`, `permissions`, `metadata`, or an awaitable of one.

        Raises:
            AuthenticationError: the credentials are not known.
        """


_ENTRY_KEYS = frozenset({"permissions", "metadata", "user_id"})


class APIKeyAuth:
    """API keys: a list of keys, or a mapping of each key to its `permissions`, `metadata` and `user_id`.

    Only digests are kept. Keys of a plain list may do everything the tools group of permissions allows: `("tools",
    "resources", "prompts")`.
    """

    def __init__(self, keys: Iterable[str] | Mapping[str, Mapping[str, Any]]) -> None:
        given = keys if isinstance(keys, Mapping) else {key: {} for key in keys}
        self._entries: dict[bytes, dict[str, Any]] = {}
        for key, entry in given.items():
            unknown = entry.keys() - _ENTRY_KEYS
            if unknown:
                raise TypeError(f"unknown API key option {sorted(unknown)}; known: {sorted(_ENTRY_KEYS)}")
            digest = _digest(key)
            self._entries[digest] = {
                "user_id": entry.get("user_id") or f"key-{digest.hex()[:12]}",
                "auth_type": "api_key",
                "permissions": list(entry.get("permissions", ("tools", "resources", "prompts"))),
                "metadata": dict(entry.get("metadata", {})),
            }

    def authenticate(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """Return the identity of `{"api_key": ...}`.

        Raises:
            AuthenticationError: no key was given, or it is not known.
        """
        key = credentials.get("api_key")
        if not isinstance(key, str) or not key:
            raise AuthenticationError("no API key: give api_key")
        digest = _digest(key)
        found: dict[str, Any] | None = None
        # Every entry is compared, so that the time tells nothing about where a key stands or how much of it is right.
        for known, entry in self._entries.items():
            if hmac.compare_digest(known, digest):
                found = entry
        if found is None:
            raise AuthenticationError("unknown API key")
        return {**found, "permissions": list(found["permissions"]), "metadata": dict(found["metadata"])}


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
