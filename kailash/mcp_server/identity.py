"""Who calls, as verified from what the transport brought; and how an HTTP request proves it."""

import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from protocol.errors import ErrorCode, ErrorObject
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http.answer import RETRY_AFTER, Answer, refuse

from ..errors import AuthenticationError

__all__ = ["Identity", "credentials_of", "make_admit", "read_identity"]

logger = logging.getLogger("kailash.mcp_server.identity")


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


def _refuse(endpoint: Any, head: RequestHead, error: Exception) -> Answer:
    if isinstance(error, AuthenticationError):
        # One text for unknown, expired and absent credentials: which of them it was is nobody else's business.
        answer = refuse(401, ErrorObject(ErrorCode.INVALID_REQUEST, "Authentication required"), _CHALLENGE)
    else:
        # A provider that fails lets nobody in. What its error says may hold the credentials.
        logger.error("! the auth provider failed: %s%s", type(error).__name__, _place_of(error))
        unavailable = ErrorObject(ErrorCode.OVERLOADED, "Authentication is not available", {"retryable": True})
        answer = refuse(503, unavailable, RETRY_AFTER)
    # The page that is to sign in must be able to read that.
    return answer.with_headers(endpoint.cors(head))


def _place_of(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def make_admit(provider: Any) -> Callable[[Any, RequestHead], Any]:
    """Return what lets in the callers of HTTP requests: it gives an `Identity`, a 401, or an awaitable of either.

    A provider that fails, be it by an error of its own, is answered 503.
    """

    def admit(endpoint: Any, head: RequestHead) -> Any:
        if getattr(endpoint, "is_open", False):
            return None
        try:
            found = provider.authenticate(credentials_of(head.headers))
            return _finish(endpoint, head, found) if hasattr(found, "__await__") else read_identity(found)
        except Exception as error:
            return _refuse(endpoint, head, error)

    async def _finish(endpoint: Any, head: RequestHead, found: Awaitable[Mapping[str, Any]]) -> Identity | Answer:
        try:
            return read_identity(await found)
        except Exception as error:
            return _refuse(endpoint, head, error)

    return admit
