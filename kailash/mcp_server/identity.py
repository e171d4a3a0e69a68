"""Who calls, as verified from what the transport brought; and how an HTTP request proves it."""

from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from protocol.errors import ErrorCode, ErrorObject
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http.answer import Answer, refuse

from ..errors import AuthenticationError, MCPError

__all__ = ["Identity", "credentials_of", "make_admit", "read_identity"]


class Identity(Struct, frozen=True, kw_only=True):
    """A verified caller."""

    principal: str | None = None
    """Whom sessions, limits and tasks are bound to."""
    permissions: frozenset[str] | None = None
    """What it may do; `None`: everything."""
    metadata: Mapping[str, Any] = {}
    """What the provider knows besides."""


def read_identity(found: Mapping[str, Any]) -> Identity:
    """Return what a provider's `authenticate` found."""
    return Identity(
        principal=found["user_id"],
        permissions=frozenset(found["permissions"]),
        metadata=found.get("metadata") or {},
    )


def credentials_of(headers: Headers) -> dict[str, str]:
    """Return the credentials that a request's headers carry, by the names that providers know.

    `X-API-Key` gives `api_key`; `Authorization: Bearer` gives `token`, and `api_key` where there is no other;
    `Authorization: Basic` gives `username` and `password`. A query string is never looked at.
    """
    found: dict[str, str] = {}
    if headers.is_repeated(b"authorization") or headers.is_repeated(b"x-api-key"):
        return found
    key = headers.get(b"x-api-key")
    if key is not None:
        found["api_key"] = key.decode("latin-1")
    scheme, _, value = (headers.get(b"authorization") or b"").decode("latin-1").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        found["token"] = value
        found.setdefault("api_key", value)
    elif scheme.lower() == "basic" and value:
        try:
            name, colon, password = b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            return found
        if colon:
            found["username"], found["password"] = name, password
    return found


_CHALLENGE = (b"www-authenticate", b'Bearer realm="mcp"')


def _unauthenticated(message: str) -> Answer:
    # One text for unknown, expired and absent credentials: which of them it was is nobody else's business.
    error = ErrorObject(ErrorCode.INVALID_REQUEST, message)
    return refuse(401, error, _CHALLENGE)


def make_admit(provider: Any) -> Callable[[Any, RequestHead], Any]:
    """Return what lets in the callers of HTTP requests: it gives an `Identity`, a 401, or an awaitable of either."""

    def admit(endpoint: Any, head: RequestHead) -> Any:
        if getattr(endpoint, "is_open", False):
            return None
        try:
            found = provider.authenticate(credentials_of(head.headers))
        except AuthenticationError:
            return _unauthenticated("Authentication required")
        return _finish(found) if hasattr(found, "__await__") else read_identity(found)

    async def _finish(found: Awaitable[Mapping[str, Any]]) -> Identity | Answer:
        try:
            return read_identity(await found)
        except AuthenticationError:
            return _unauthenticated("Authentication required")
        except MCPError:
            return refuse(503, ErrorObject(ErrorCode.OVERLOADED, "Authentication is not available"))

    return admit
