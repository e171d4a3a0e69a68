"""A server behind WebSockets: each connection is an engine and a session, as one over stdio is, for its whole life."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from protocol.events import Event, Request
from protocol.framing.headers import Headers
from protocol.framing.websocket import WebSocket, WebSocketLimits
from protocol.http.seats import Seats
from protocol.http.upgrade import Upgrade, WebSocketEndpoint, token_of
from protocol.pipe import Pipe
from protocol.server import ServerEngine, ServerProfile
from protocol.websocket import WebSocketPipe

from ..adapters.asgi_websocket import ASGIChannel, ASGISocketStream
from ..adapters.carriers import EndpointLike
from ..adapters.channel import ChannelLimits, ChannelOptions
from ..adapters.loops import current_loop
from ..adapters.websocket import WebSocketChannel
from ..errors import MCPErrorCode, RequestError
from .callers import ANYONE, Identity
from .identity import credentials_of
from .session import Home, ServerSession
from .web_options import HTTPOptions

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["SocketEndpoint", "Sockets"]


class SocketEndpoint(WebSocketEndpoint):
    """Answers handshakes, and knows where their credentials are."""

    @staticmethod
    def read_credentials(headers: Headers) -> dict[str, str]:
        """Return the credentials of a handshake: those of its headers, else the token that a page offers."""
        found = credentials_of(headers)
        token = None if found else token_of(headers)
        return found if token is None else {"token": token, "api_key": token}


class Sockets:
    """The WebSockets of one server. Made in a task of the loop that serves.

    Args:
        server: whose tools are served.
        options: how.
        profile: returns what an engine shows of the server.
        paths: where; `"*"`: at every path.
    """

    def __init__(
        self, server: "MCPServer", options: HTTPOptions, profile: Callable[[], ServerProfile], paths: Iterable[str]
    ) -> None:
        self._server = server
        self._profile = profile
        self._home = Home(server)
        self._now = current_loop().now
        size = server.limits.message_bytes
        self._socket_limits = WebSocketLimits(
            message_bytes=options.max_message_size or size,
            message_timeout=options.message_timeout,
            ping_interval=options.ping_interval,
            ping_timeout=options.ping_timeout,
        )
        self._channel_limits = ChannelLimits(
            high_bytes=options.write_buffer, cap_bytes=options.write_cap, write_timeout=options.write_timeout
        )
        self._endpoint = SocketEndpoint(
            options.guard_options(size),
            seats=Seats(options.max_sessions, options.max_sessions_per_principal),
            is_deflate_agreed=options.compression,
        )
        self.routes: dict[str, EndpointLike] = dict.fromkeys(paths, self._endpoint)  # type: ignore[arg-type]  # a third answer
        self._sessions: set[ServerSession] = set()

    @property
    def endpoint(self) -> SocketEndpoint:
        """What answers handshakes."""
        return self._endpoint

    def _make(self, upgrade: Upgrade, caller: Identity | None) -> tuple[ServerSession, ChannelOptions]:
        """Return a session, and what a channel tells it."""
        identity = caller or ANYONE
        engine = ServerEngine(self._profile())
        engine.principal = identity.principal
        session = ServerSession(self._server, engine, identity, transport="websocket", home=self._home)
        endpoint = self._endpoint

        def on_events(events: list[Event]) -> None:
            if endpoint.is_draining:
                events = [event for event in events if not _is_late(session, event)]
            session.on_events(events)

        def on_closed(error: BaseException | None) -> None:
            upgrade.seat.leave()
            self._sessions.discard(session)
            session.on_closed(error)

        self._sessions.add(session)
        return session, ChannelOptions(on_events=on_events, on_closed=on_closed, limits=self._channel_limits)

    def open(self, upgrade: Upgrade, caller: Identity | None) -> WebSocketChannel:
        """Return what speaks on a connection whose handshake was agreed to."""
        session, options = self._make(upgrade, caller)
        socket = WebSocket(is_client=False, limits=self._socket_limits, is_deflated=upgrade.is_deflated)
        pipe = WebSocketPipe(session.engine, socket, is_paced=True)
        channel = WebSocketChannel(pipe, is_busy=lambda: session.is_busy, **options)
        pipe.expires_at = self._expiry(session)
        session.attach(channel)
        return channel

    def open_asgi(self, upgrade: Upgrade, caller: Identity | None, receive: Any, send: Any) -> ASGIChannel:
        """Return what speaks on a connection that an ASGI server frames; to be run."""
        session, options = self._make(upgrade, caller)
        stream = ASGISocketStream(receive, send, self._socket_limits.message_bytes)
        channel = ASGIChannel(Pipe(session.engine, is_paced=True), stream, expires_at=self._expiry(session), **options)
        session.attach(channel)
        return channel

    def _expiry(self, session: ServerSession) -> float | None:
        expires = session.identity.expires
        return None if expires is None else self._now() + expires - time.time()

    # The end

    def drain(self) -> None:
        """Agree to no further handshake, and answer every live subscription with its final result."""
        self._endpoint.is_draining = True
        for session in list(self._sessions):
            session.engine.end_subscriptions()
            session.channel.flush()

    @property
    def is_busy(self) -> bool:
        """Tell whether a request is being handled."""
        return any(session.is_busy for session in self._sessions)

    def cancel_all(self, why: str) -> None:
        """Answer every request that is still being handled with an error, and cancel its handler."""
        for session in list(self._sessions):
            session.cancel_all(why)
            session.channel.flush()

    async def aclose(self) -> None:
        """Close what is open, and wait for cancelled handlers to end."""
        for session in list(self._sessions):
            session.channel.shut()
        await self._home.dispatcher.aclose()


def _is_late(session: ServerSession, event: Any) -> bool:
    """Refuse a request that came after the server was told to stop; returns whether it is one."""
    if type(event) is not Request:
        return False
    why = "the server is shutting down"
    session.refuse(event, RequestError(why, error_code=MCPErrorCode.OVERLOADED, retryable=True))
    return True
