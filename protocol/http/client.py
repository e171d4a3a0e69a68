"""Streamable HTTP without I/O, client side, for both eras: one HTTP request per message, and what its answers mean.

    after anything fed, and after anything sent on the engine:
    dropped ─► close them,   requests_to_send ─► start each,   events_received ─► the runtime,   until nothing comes
    of each request:  receive_head, receive_data …, receive_end | receive_failure

The engine never sees HTTP: sessions are renewed, streams taken up again and lost requests repeated underneath it.
Every call of the engine ends exactly once, with what the server answered or with an error that says what happened.
`client_errors` lists the data of such errors.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ..client import ClientEngine
from ..events import Event
from ..revisions import Era
from .client_calls import Calls
from .client_exchange import ClientExchange, ClientWire, StreamableHTTPClientOptions
from .client_session import HTTPSession
from .client_tools import ToolCatalogue

__all__ = ["ClientExchange", "StreamableHTTPClient", "StreamableHTTPClientOptions"]


class StreamableHTTPClient:
    """Carries one engine's messages over Streamable HTTP.

    Args:
        engine: a new one, used by nothing else.
        options: bounds and times.
    """

    def __init__(self, engine: ClientEngine, options: StreamableHTTPClientOptions | None = None) -> None:
        self.engine = engine
        # "HTTP timeouts are not era evidence" — spec.md 2.21
        engine.is_silence_evidence = False
        self._wire = ClientWire(engine, options or StreamableHTTPClientOptions())
        self._tools = ToolCatalogue(self._wire.options.known_tools)
        self._session = HTTPSession(self._wire)
        self._calls = Calls(self._wire, self._session, self._tools)
        self._is_closing = False
        self._is_at_rest = False

    @property
    def should_try_sse(self) -> bool:
        """Tell whether the server may speak HTTP+SSE: it refused `initialize` the way such a server does."""
        return self._calls.should_try_sse

    @property
    def rejected_tools(self) -> Mapping[str, str]:
        """The tools that are left out of lists because their annotations break the rules, and why."""
        return MappingProxyType(self._tools.rejected)

    @property
    def session_id(self) -> str | None:
        """The id of the session, if there is one."""
        return None if self._session.id is None else self._session.id.decode("ascii")

    def requests_to_send(self, now: float) -> list[ClientExchange]:
        """Return the requests to be started now, each exactly once."""
        self._carry()
        if not self.engine.closed:
            self._session.open_late(now)
        return self._wire.take_started()

    def dropped(self) -> list[ClientExchange]:
        """Return the requests whose connections are to be closed now: nothing they could bring is wanted any more."""
        self._carry()
        return self._wire.take_dropped()

    def events_received(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        return self._wire.take_events()

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, absolute on the caller's clock."""
        first, second = self.engine.next_deadline(), self._wire.deadlines.next()
        return first if second is None else second if first is None else min(first, second)

    def handle_deadline(self, now: float) -> None:
        """Expire what is due at the engine, and do what waited for its time."""
        self.engine.handle_deadline(now)
        for subject in self._wire.deadlines.expire(now):
            subject.handle_due(now)

    def close(self, now: float) -> None:
        """End the connection; a request that ends the session comes out of `requests_to_send` once more. Idempotent."""
        if self._is_closing:
            return
        self._is_closing = True
        self.engine.receive_eof()
        self._carry()
        ending = self._session.end()
        if ending is not None:
            self._wire.start(ending)

    def _carry(self) -> None:
        """Carry what the engine has to say."""
        engine = self.engine
        for outgoing in engine.messages_to_send():
            if engine.closed:
                continue
            if outgoing.cancels is not None:
                must_tell = self._calls.withdraw(outgoing.cancels)
                # "closing the SSE response stream is itself the cancellation signal and no notifications/cancelled
                # message is expected" — 2026-07-28 basic/transports/streamable-http
                if must_tell and engine.speaking.era is Era.HANDSHAKE:
                    self._session.notify(outgoing.data, is_related=True)
            elif outgoing.call is not None:
                self._calls.send(outgoing.call, outgoing.data)
            else:
                self._session.notify(outgoing.data, is_related=outgoing.related_to is not None)
        if engine.closed and not self._is_at_rest:
            self._is_at_rest = True
            self._wire.drop_all()
            self._calls.clear()
