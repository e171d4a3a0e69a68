"""What a provider says of a caller: who it is, or that nobody knows, with the reason kept from the wire."""

from collections.abc import Mapping
from typing import Any

from ..errors import AuthenticationError

__all__ = ["Credentials", "Found", "reason_of", "refuse"]

Credentials = Mapping[str, Any]
"""What a transport brought: `api_key`, `token`, or `username` and `password`."""

Found = dict[str, Any]
"""An identity: `user_id`, `auth_type`, `permissions`, `metadata`; and `rate_limit`, `expires` where they are known."""


def refuse(text: str, reason: str) -> AuthenticationError:
    """Return the error for credentials that are no good.

    Args:
        text: what everybody may read: the same for unknown, expired and revoked.
        reason: for whoever debugs or audits, as a note on the error; notes are in tracebacks and never on the wire.
            Our own words, nothing of the credentials.
    """
    error = AuthenticationError(text)
    error.add_note(reason)
    return error


def reason_of(error: BaseException) -> str:
    """Return why credentials were refused, for a log or an audit; an empty string if nobody said."""
    return "; ".join(getattr(error, "__notes__", ()))
