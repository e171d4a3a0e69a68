"""How an HTTP request proves who sends it."""

import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any

from protocol.errors import ErrorCode, ErrorObject
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http.answer import ANYWHERE, RETRY_AFTER, Answer, Arrival, refuse

from ..errors import AuthenticationError, MCPErrorCode
from ..resilience import Rate, RateLimiter, Verdict
from ..telemetry import Refusal
from .callers import Identity, read_identity
from .pipeline import reason_of
from .providers import ask_provider

if TYPE_CHECKING:
    from .policies import Policies

__all__ = ["Admission", "credentials_of"]

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


def _place_of(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


class Admission:
    """Lets in the callers of HTTP requests: called, it gives an `Identity`, a 401 or 429, or an awaitable of one.

    A provider that fails, be it by an error of its own, is answered 503. An address from which too many wrong
    credentials came waits before more of them are looked at, so that guessing costs neither passwords nor processors.

    Args:
        provider: knows the callers; `None`: nobody need say who he is.
        now: the clock of rate limits.
        policies: are told of whom is not let in.
        trusted_proxies: addresses and networks whose `X-Forwarded-For` is believed.
        failures: wrong credentials that one address may send; `None` for any number.

    Raises:
        ValueError: one of the proxies is neither an address nor a network.
    """

    def __init__(
        self,
        provider: Any,
        now: Callable[[], float],
        policies: "Policies",
        *,
        trusted_proxies: Iterable[str] = (),
        failures: Rate | None = None,
    ) -> None:
        self._provider = provider
        self._now = now
        self._policies = policies
        self._proxies = [ip_network(each, strict=False) for each in trusted_proxies]
        self._failures = failures
        self._guesses = RateLimiter()
        self._challenge = str(getattr(provider, "challenge", _CHALLENGE)).encode("latin-1")

    def __call__(self, endpoint: Any, head: RequestHead, arrival: Arrival = ANYWHERE) -> Any:
        """Find out who sends a request, from its head alone."""
        if getattr(endpoint, "is_open", False):
            return None
        peer = self._peer_of(head, arrival)
        if self._provider is None:
            return Identity(peer=peer)
        if self._failures is not None and peer is not None:
            wait = self._guesses.wait(peer, self._failures, self._now())
            if wait > 0:
                return self._slow_down(endpoint, head, None, wait, "this address, for wrong credentials,")
        try:
            read = getattr(endpoint, "read_credentials", credentials_of)
            found = ask_provider(self._provider, read(head.headers))
            if hasattr(found, "__await__"):
                return self._finish(endpoint, head, peer, found)
            return self._let_in(endpoint, head, peer, found)
        except Exception as error:
            return self._refuse(endpoint, head, peer, error)

    async def _finish(
        self, endpoint: Any, head: RequestHead, peer: str | None, found: Awaitable[Mapping[str, Any]]
    ) -> Identity | Answer:
        try:
            let_in = self._let_in(endpoint, head, peer, await found)
            return await let_in if isinstance(let_in, Awaitable) else let_in
        except Exception as error:
            return self._refuse(endpoint, head, peer, error)

    def _let_in(
        self, endpoint: Any, head: RequestHead, peer: str | None, found: Mapping[str, Any]
    ) -> Identity | Answer | Awaitable[Identity | Answer]:
        identity = read_identity(found, peer)
        if identity.rate is None:
            return identity
        verdict = self._policies.take_caller(identity)
        if isinstance(verdict, Verdict):
            return self._judge(endpoint, head, identity, verdict)
        return self._wait_for(endpoint, head, identity, verdict)

    async def _wait_for(
        self, endpoint: Any, head: RequestHead, identity: Identity, verdict: Awaitable[Verdict]
    ) -> Identity | Answer:
        return self._judge(endpoint, head, identity, await verdict)

    def _judge(self, endpoint: Any, head: RequestHead, identity: Identity, verdict: Verdict) -> Identity | Answer:
        if verdict.is_allowed:
            return identity
        return self._slow_down(endpoint, head, identity.principal, verdict.retry_after, "this caller")

    def _refuse(self, endpoint: Any, head: RequestHead, peer: str | None, error: Exception) -> Answer:
        self._policies.turned_away(None, head.method, reason_of(error), Refusal.AUTHENTICATION)
        if isinstance(error, AuthenticationError) and self._failures is not None and peer is not None:
            self._guesses.take(peer, self._failures, self._now())
        return _refuse(endpoint, head, error, self._challenge)

    def _slow_down(self, endpoint: Any, head: RequestHead, principal: str | None, seconds: float, who: str) -> Answer:
        self._policies.turned_away(principal, head.method, "rate_limited", Refusal.RATE_LIMIT)
        data = {"retryable": True, "retryAfter": round(seconds, 3)}
        text = f"Too many requests: the rate limit of {who} is exceeded"
        error = ErrorObject(MCPErrorCode.RATE_LIMITED, text, data)
        return refuse(429, error, (b"retry-after", b"%d" % ceil(seconds))).with_headers(endpoint.cors(head))

    def _peer_of(self, head: RequestHead, arrival: Arrival) -> str | None:
        """Return the last address that no trusted proxy vouches for itself."""
        peer = arrival.peer
        if not self._proxies or peer is None or not self._is_proxy(peer):
            return peer
        for hop in reversed(b",".join(head.headers.get_all(b"x-forwarded-for")).decode("latin-1").split(",")):
            try:
                hop = str(ip_address(hop.strip()))
            except ValueError:
                break  # whatever stands further left, nobody vouches for it
            peer = hop
            if not self._is_proxy(hop):
                break
        return peer

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies)
