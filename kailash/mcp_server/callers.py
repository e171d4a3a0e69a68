"""Who calls, as verified from what the transport brought."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from ..resilience import Rate

__all__ = ["ANYONE", "Identity", "read_identity"]


class Identity(Struct, frozen=True, kw_only=True):
    """A verified caller."""

    principal: str | None = None
    """Whom sessions, limits and tasks are bound to."""
    permissions: frozenset[str] | None = None
    """What it may do; `None`: everything."""
    auth_type: str | None = None
    """How it proved who it is."""
    metadata: Mapping[str, Any] = {}
    """What the provider knows besides."""
    expires: float | None = None
    """When its credentials end, in seconds since the epoch: a connection that was opened with them ends then."""
    peer: str | None = None
    """The address it calls from, as far as trusted proxies tell."""
    rate: Rate | None = None
    """How many requests it may send over HTTP."""

    def lacks(self, required: Iterable[str]) -> list[str]:
        """Return the permissions that are missing, in order; `admin` implies them all."""
        permissions = self.permissions
        if permissions is None or "admin" in permissions:
            return []
        return sorted(permission for permission in required if permission not in permissions)


ANYONE = Identity()
"""Somebody who need not say who he is, and may do everything."""


def read_identity(found: Mapping[str, Any], peer: str | None = None) -> Identity:
    """Return what a provider's `authenticate` found out of somebody who calls from an address."""
    return Identity(
        principal=found["user_id"],
        permissions=frozenset(found["permissions"]),
        auth_type=found.get("auth_type"),
        metadata=found.get("metadata") or {},
        expires=_time_of(found.get("expires")),
        peer=peer,
        rate=_rate_of(found.get("rate_limit")),
    )


def _time_of(expires: Any) -> float | None:
    return float(expires) if isinstance(expires, int | float) else None


@lru_cache(maxsize=1024)
def _make_rate(requests: float, window: float, burst: int | None) -> Rate:
    return Rate(requests=requests, window=window, burst=burst)


def _rate_of(limit: Mapping[str, Any] | None) -> Rate | None:
    return None if not limit else _make_rate(limit["requests"], limit.get("window", 60.0), limit.get("burst_size"))
