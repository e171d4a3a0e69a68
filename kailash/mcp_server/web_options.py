"""How a server is served over HTTP: one struct of options, checked when the server is made."""

from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from protocol.framing.http11 import HTTPCodec
from protocol.framing.httphead import HTTPLimits
from protocol.http.endpoint import StreamableHTTPOptions
from protocol.http.eventlog import EventLogLimits
from protocol.http.exchange import StreamOptions
from protocol.http.guard import GuardOptions
from protocol.http.sse_endpoint import SSEOptions

from ..adapters.http_server import HTTPServerOptions, HTTPTimeouts
from ..errors import MCPErrorCode
from ..resilience import Rate
from .identity import Admission

if TYPE_CHECKING:
    from .policies import Policies

__all__ = ["HTTPOptions"]


_STATUSES: Mapping[int, int] = {
    MCPErrorCode.AUTHORIZATION_FAILED: 403,
    MCPErrorCode.RATE_LIMITED: 429,
    MCPErrorCode.CIRCUIT_OPEN: 503,
}
"""Refusals that HTTP has a status for, and a `Retry-After`."""


class HTTPOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is served over HTTP. Times are in seconds, sizes in bytes; `None`: no limit."""

    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may use the server (`https://app.example`, `http://localhost:*`), or `*`; they are
    given CORS headers. Without any, only pages of this machine may, and only at a loopback address."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the server is reached (`mcp.example`), or `*`. Without any, a loopback address answers to
    loopback names only, other addresses to every name."""
    http_codec: HTTPCodec = "auto"
    """`"h11"`, `"httptools"`, or the faster one that is installed."""
    max_connections: int = 1000
    """Further ones are answered 503."""
    head_timeout: float = 10.0
    """For the head of a request, from its first byte."""
    body_timeout: float = 30.0
    """For its body."""
    idle_timeout: float = 60.0
    """Between two requests of a connection."""
    write_timeout: float = 20.0
    """In which the peer must take something of what waits for it."""
    write_buffer: int = 1 << 20
    """Unsent bytes of a connection from which handlers wait for the peer, and nothing more is read from it."""
    write_cap: int | None = 16 << 20
    """Unsent bytes with which a connection is dropped."""
    commit_after: float | None = 15.0
    """Silence after which an answer becomes an event stream, so that no proxy gives up on it; `None`: never."""
    keep_alive: float | None = 15.0
    """Silence after which a comment is written to an event stream; `None`: never."""
    retry: float = 1.0
    """How long clients wait before they take up a broken stream."""
    statuses: Mapping[int, int] = {}
    """HTTP statuses by a handler's error code, where they shall not be 200; refusals for want of a permission have 403,
    those of a rate limit 429, and those of an open circuit breaker 503."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` tells where a caller is."""
    max_auth_failures: int | None = 60
    """Wrong credentials a minute from one address; then it is answered 429 before they are looked at."""
    max_sessions: int | None = 1000
    """Sessions at once."""
    max_sessions_per_principal: int | None = 100
    """Sessions of one caller."""
    session_idle: float | None = 1800.0
    """Without a request or a listening client, after which a session ends."""
    session_life: float | None = 86400.0
    """After which a session ends in any case."""
    max_requests: int | None = 1024
    """Requests in flight."""
    max_requests_per_principal: int | None = 256
    """Requests in flight of one caller."""
    max_subscriptions: int | None = 1000
    """Live subscriptions of the 2026-07-28 revision."""
    max_subscriptions_per_principal: int | None = 64
    """Those of one caller."""
    replay_events: int = 1000
    """Events that a session remembers, for clients that come back."""
    replay_bytes: int = 1024 * 1024
    """Their size."""
    replay_age: float = 300.0
    """How long they are remembered."""
    event_store: Any = None
    """Called for each new session: returns the `EventStore` that remembers its events; default memory, as above."""
    ping_interval: float | None = 20.0
    """Between two pings of a WebSocket; `None`: none are sent."""
    ping_timeout: float | None = 20.0
    """After a ping, in which the client must say something; else its WebSocket is closed with 1011."""
    message_timeout: float | None = 30.0
    """For one message of a WebSocket, from its first byte; then 1008."""
    max_message_size: int | None = None
    """Longest message of a WebSocket, else 1009; default `message_bytes` of the server's limits."""
    compression: bool = False
    """Compress the messages of WebSockets whose client offers it, without context; costs more time than it saves."""
    drain_timeout: float = 30.0
    """For requests in flight when the server is told to stop; then they are cancelled."""
    open_metrics: bool = False
    """Tell `/metrics` to whoever asks, with `enable_metrics` on; else to those whom the server knows, as all of it."""
    ssl_certfile: str | None = None
    """Certificate chain (PEM): serve TLS."""
    ssl_keyfile: str | None = None
    """Its key, when it is not in the same file."""

    def check(self) -> "HTTPOptions":
        """Return the same options.

        Raises:
            ValueError: one of them is out of range, or fits no other.
        """
        for field in msgspec.structs.fields(type(self)):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
                raise ValueError(f"{field.name} must be above zero, not {value!r}")
        for each in self.trusted_proxies:
            ip_network(each, strict=False)  # what is wrong with it is said in its words
        if self.event_store is not None and not callable(self.event_store):
            raise ValueError("event_store is called for each session: give a class or a function")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile is the key of a certificate: give ssl_certfile as well")
        return self

    @classmethod
    def of(cls, source: "HTTPOptions | Mapping[str, Any] | None", **more: Any) -> "HTTPOptions":
        """Read options from a mapping.

        Raises:
            TypeError: an unknown key, or a value of the wrong type.
            ValueError: a value out of range.
        """
        given = {name: value for name, value in more.items() if value is not None}
        if isinstance(source, HTTPOptions):
            return (msgspec.structs.replace(source, **given) if given else source).check()
        values = {**(source or {}), **given}
        unknown = values.keys() - set(cls.__struct_fields__)
        if unknown:
            known = ", ".join(cls.__struct_fields__)
            raise TypeError(f"unknown HTTP option {', '.join(sorted(unknown))}; known: {known}")
        try:
            options = msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise TypeError(f"HTTP options: {error}") from None
        return options.check()

    def with_times(self, *, ping_interval: float | None, ping_timeout: float | None) -> "HTTPOptions":
        """Return the same options with other times of a WebSocket's pings, `None` for none."""
        return msgspec.structs.replace(self, ping_interval=ping_interval, ping_timeout=ping_timeout).check()

    def server_options(self, message_bytes: int) -> HTTPServerOptions:
        """Return what concerns connections."""
        return HTTPServerOptions(
            codec=self.http_codec,
            limits=HTTPLimits(body_bytes=message_bytes),
            timeouts=HTTPTimeouts(
                head=self.head_timeout, body=self.body_timeout, idle=self.idle_timeout, write=self.write_timeout
            ),
            most_connections=self.max_connections,
            high_bytes=self.write_buffer,
            cap_bytes=self.write_cap,
        )

    def guard_options(self, message_bytes: int) -> GuardOptions:
        """Return whom every endpoint answers."""
        return GuardOptions(
            allowed_origins=self.allowed_origins, allowed_hosts=self.allowed_hosts, max_body=message_bytes
        )

    def _stream(self) -> StreamOptions:
        return StreamOptions(
            commit_after=self.commit_after,
            keep_alive=self.keep_alive,
            retry=round(self.retry * 1000),
            statuses={**_STATUSES, **self.statuses},
        )

    def admission(self, provider: Any, now: Callable[[], float], policies: "Policies") -> Admission:
        """Return what lets callers in."""
        failures = None if self.max_auth_failures is None else Rate(requests=self.max_auth_failures)
        return Admission(provider, now, policies, trusted_proxies=self.trusted_proxies, failures=failures)

    def endpoint_options(self, message_bytes: int) -> StreamableHTTPOptions:
        """Return what concerns Streamable HTTP."""
        return StreamableHTTPOptions(
            guard=self.guard_options(message_bytes),
            stream=self._stream(),
            log=EventLogLimits(events=self.replay_events, size=self.replay_bytes, age=self.replay_age),
            sessions=self.max_sessions,
            sessions_each=self.max_sessions_per_principal,
            session_idle=self.session_idle,
            session_life=self.session_life,
            requests=self.max_requests,
            requests_each=self.max_requests_per_principal,
            listens=self.max_subscriptions,
            listens_each=self.max_subscriptions_per_principal,
        )

    def sse_options(self, message_bytes: int) -> SSEOptions:
        """Return what concerns HTTP+SSE."""
        return SSEOptions(
            guard=self.guard_options(message_bytes),
            stream=self._stream(),
            sessions=self.max_sessions,
            sessions_each=self.max_sessions_per_principal,
            requests=self.max_requests,
            requests_each=self.max_requests_per_principal,
        )
