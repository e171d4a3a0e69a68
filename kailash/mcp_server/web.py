"""A server behind HTTP: each engine of an endpoint gets a session, for as long as it lives.

exchange ─events─► ServerSession ─► handlers ─► engine ─flush─► exchanges ─► whatever carries them
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from protocol.http.exchange import Exchange, SingleExchange
from protocol.http.session import Session
from protocol.http.sse_endpoint import SSEExchange
from protocol.server import ServerEngine

from ..adapters.carriers import Carriers, EngineChannel
from ..adapters.loops import Timer
from .callers import ANYONE, Identity
from .session import Home, ServerSession

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["WebRuntime"]


class WebRuntime:
    """Runs the requests of exchanges.

    Args:
        server: whose tools are served.
        carriers: what writes the answers.

    Made in a task of the loop that serves.
    """

    def __init__(self, server: "MCPServer", carriers: Carriers) -> None:
        self._server = server
        self._carriers = carriers
        self._now = carriers.loop.now
        self._home = Home(server)
        self._sessions: dict[ServerEngine, ServerSession] = {}
        """Those of engines that live on: of sessions, and of requests that are not answered at once."""
        self._timers: dict[ServerEngine, tuple[float, Timer]] = {}

    def take(self, exchange: Exchange, caller: Identity | None = None) -> None:
        """Take what happened at an exchange's engine, and carry what it has to say.

        What the exchange itself has to write is left to whoever carries it.
        """
        engine = exchange.engine
        session = self._sessions.get(engine)
        if session is None and type(exchange) is SingleExchange:
            self._take_single(exchange, caller)
            return
        is_new = session is None
        if session is None:
            session = self._make(exchange, caller)
        elif caller is not None:
            session.identity = caller  # the same caller, who may be allowed something else by now
        events = exchange.events_received()
        if events:
            session.on_events(events)
        ready = exchange.flush(self._now())
        if ready and (len(ready) > 1 or ready[0] is not exchange):
            self._carriers.carry(each for each in ready if each is not exchange)
        is_single = type(exchange) is SingleExchange
        if engine.closed or (is_single and not exchange.is_live):
            if not is_new:
                self._end(engine, session)
        elif is_new:
            self._keep(engine, session)
        if session.is_busy and not is_single:
            self._arm(session.channel.owner)

    def _take_single(self, exchange: SingleExchange, caller: Identity | None) -> None:
        """Take a request that comes with an engine of its own; most are answered before this returns."""
        engine = exchange.engine
        session = ServerSession(self._server, engine, caller or ANYONE, transport="http", home=self._home)
        session.channel = channel = EngineChannel(self._carriers, exchange)
        events = exchange.events_received()
        if events:
            session.on_events(events)
        exchange.flush(self._now())
        if exchange.is_live and not engine.closed:
            self._keep(engine, session)
            # Its answer is carried without a word to us.
            channel.after_flush = partial(self._settle, exchange)

    def _keep(self, engine: ServerEngine, session: ServerSession) -> None:
        self._sessions[engine] = session
        session.begin()

    def _make(self, exchange: Exchange, caller: Identity | None) -> ServerSession:
        is_sse = isinstance(exchange, SSEExchange)
        transport = "sse" if is_sse else "http"
        session = ServerSession(self._server, exchange.engine, caller or ANYONE, transport=transport, home=self._home)
        owner: Any = exchange if is_sse else getattr(exchange, "session", exchange)
        # Several exchanges feed this engine, so that none of them can wait for its deadlines.
        session.channel = channel = EngineChannel(self._carriers, owner)
        channel.after_flush = partial(self._arm, owner)
        if isinstance(owner, Session):
            session.streams = owner
        return session

    def _end(self, engine: ServerEngine, session: ServerSession) -> None:
        del self._sessions[engine]
        timer = self._timers.pop(engine, None)
        if timer is not None:
            timer[1].cancel()
        session.on_closed(None)

    def _settle(self, exchange: SingleExchange) -> None:
        """Let go of a request that is answered: there is nothing left to be told of it."""
        if not exchange.is_live:
            exchange.engine.closed = True
            session = self._sessions.pop(exchange.engine, None)
            if session is not None:
                self._server.sessions.discard(session)

    def end(self, owner: Session) -> None:
        """Take the end of a session that nobody asked for."""
        session = self._sessions.get(owner.engine)
        if session is not None:
            session.on_events(owner.events_received())
            self._carriers.carry(owner.flush(self._now()))
            self._end(owner.engine, session)

    def stir(self, owner: Session) -> None:
        """Take what happened in a session by no exchange of its own, and carry what it has to say."""
        session = self._sessions.get(owner.engine)
        if session is not None:
            session.on_events(owner.events_received())
            self._arm(owner)
        self._carriers.carry(owner.flush(self._now()))

    # Deadlines of engines that several exchanges share

    def _arm(self, owner: Any) -> None:
        deadline = owner.next_deadline()
        if deadline is None:
            return
        engine = owner.engine
        armed = self._timers.get(engine)
        if armed is not None:
            if armed[0] <= deadline:
                return
            armed[1].cancel()
        self._timers[engine] = (deadline, self._carriers.loop.call_at(deadline, partial(self._on_time, owner)))

    def _on_time(self, owner: Any) -> None:
        self._timers.pop(owner.engine, None)
        session = self._sessions.get(owner.engine)
        if session is None:
            return
        owner.handle_deadline(self._now())
        session.on_events(owner.events_received())
        session.channel.flush()

    # The end

    def end_subscriptions(self) -> None:
        """Answer every live subscription with its final result."""
        for session in list(self._sessions.values()):
            session.engine.end_subscriptions()
            session.channel.flush()

    @property
    def is_busy(self) -> bool:
        """Tell whether a request is being handled."""
        return any(session.is_busy for session in self._sessions.values())

    def cancel_all(self, why: str) -> None:
        """Answer every request that is still being handled with an error, and cancel its handler."""
        for session in list(self._sessions.values()):
            session.cancel_all(why)
            session.channel.flush()

    async def aclose(self) -> None:
        """End every session, and wait for cancelled handlers to end."""
        for engine, session in list(self._sessions.items()):
            self._end(engine, session)
        await self._home.dispatcher.aclose()
