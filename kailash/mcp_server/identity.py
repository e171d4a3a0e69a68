"""How an HTTP request proves who sends it."""

import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from protocol.errors import ErrorCode, ErrorObject
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http.answer import RETRY_AFTER, Answer, refuse

from ..errors import AuthenticationError, MCPErrorCode
from ..resilience import RateLimiter
from ..telemetry import Refusal
from .callers import Identity, read_identity
from .pipeline import reason_of
from .providers import ask_provider

if TYPE_CHECKING:
    from .policies import Policies

__all__ = ["credentials_of", "make_admit"]

logger = logging.getLogger("kailash.mcp_server.identity")


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


_CHALLENGE = 'Bearer realm="mcp"'
"""What a 401 asks for, unless the provider has a `challenge` of its own."""


def _refuse(endpoint: Any, head: RequestHead, error: Exception, challenge: bytes) -> Answer:
    if isinstance(error, AuthenticationError):
        # One text for unknown, expired and absent credentials: which of them it was is nobody else's business.
        unknown = ErrorObject(ErrorCode.INVALID_REQUEST, "Authentication required")
        answer = refuse(401, unknown, (b"www-authenticate", challenge))
    else:
        # A provider that fails lets nobody in. What its error says may hold the credentials.
        logger.error("! the auth provider failed: %s%s", type(error).__name__, _place_of(error))
        unavailable = ErrorObject(ErrorCode.OVERLOADED, "Authentication is not available", {"retryable": True})
        answer = refuse(503, unavailable, RETRY_AFTER)
    # The page that is to sign in must be able to read that.
    return answer.with_headers(endpoint.cors(head))


def _slow_down(seconds: float) -> Answer:
    data = {"retryable": True, "retryAfter": round(seconds, 3)}
    error = ErrorObject(MCPErrorCode.RATE_LIMITED, "Too many requests: the rate limit of this caller is exceeded", data)
    return refuse(429, error, (b"retry-after", b"%d" % ceil(seconds)))


def _place_of(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def make_admit(provider: Any, now: Callable[[], float], policies: "Policies") -> Callable[[Any, RequestHead], Any]:
    """Return what lets in the callers of HTTP requests: it gives an `Identity`, a 401 or 429, or an awaitable of one.

    A provider that fails, be it by an error of its own, is answered 503.

    Args:
        provider: knows the callers.
        now: the clock of rate limits.
        policies: are told of whom is not let in.
    """
    limiter = RateLimiter()
    challenge = str(getattr(provider, "challenge", _CHALLENGE)).encode("latin-1")

    def refuse_(endpoint: Any, head: RequestHead, error: Exception) -> Answer:
        policies.turned_away(None, head.method, reason_of(error), Refusal.AUTHENTICATION)
        return _refuse(endpoint, head, error, challenge)

    def let_in(endpoint: Any, head: RequestHead, found: Mapping[str, Any]) -> Identity | Answer:
        identity = read_identity(found)
        if identity.rate is not None:
            verdict = limiter.take(identity.principal, identity.rate, now())
            if not verdict.is_allowed:
                policies.turned_away(identity.principal, head.method, "rate_limited", Refusal.RATE_LIMIT)
                return _slow_down(verdict.retry_after).with_headers(endpoint.cors(head))
        return identity

    def admit(endpoint: Any, head: RequestHead) -> Any:
        if getattr(endpoint, "is_open", False):
            return None
        try:
            found = ask_provider(provider, credentials_of(head.headers))
            return _finish(endpoint, head, found) if hasattr(found, "__await__") else let_in(endpoint, head, found)
        except Exception as error:
            return refuse_(endpoint, head, error)

    async def _finish(endpoint: Any, head: RequestHead, found: Awaitable[Mapping[str, Any]]) -> Identity | Answer:
        try:
            return let_in(endpoint, head, await found)
        except Exception as error:
            return refuse_(endpoint, head, error)

    return admit
