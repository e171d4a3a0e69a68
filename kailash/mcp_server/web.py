"""A server behind HTTP: each engine of an endpoint gets a session, for as long as it lives."""

from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from protocol.http.exchange import Exchange, SingleExchange
from protocol.server import ServerEngine

from ..adapters.http_server import EngineChannel, HTTPServer
from .session import ServerSession

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["WebRuntime"]


class WebRuntime:
    """Runs the requests of exchanges.

    Args:
        server: whose tools are served.

    Made in a task of the loop that serves.
    """

    def __init__(self, server: "MCPServer") -> None:
        self._server = server
        self._token = anyio.lowlevel.current_token()
        self._sessions: dict[ServerEngine, ServerSession] = {}
        self.http: HTTPServer = None  # type: ignore[assignment]  # set by whoever makes both

    def take(self, exchange: Exchange) -> None:
        """Take what happened at an exchange's engine, and carry what it has to say."""
        engine = exchange.engine
        session = self._sessions.get(engine)
        if session is None:
            session = ServerSession(self._server, engine, None, token=self._token)
            owner: Any = exchange if isinstance(exchange, SingleExchange) else getattr(exchange, "session", exchange)
            session.attach(EngineChannel(self.http, owner))  # type: ignore[arg-type]
            self._sessions[engine] = session
        events = exchange.events_received()
        if events:
            session.on_events(events)
        self.http.carry(exchange.flush(self.http.loop.now()))
        if engine.closed or (isinstance(exchange, SingleExchange) and not exchange.is_live):
            del self._sessions[engine]
            session.on_closed(None)
