"""The stream on which a server of the handshake era says what belongs to no request, over all its connections."""

from typing import TYPE_CHECKING

from ..errors import ErrorCode, ErrorObject
from .answer import Header
from .client_errors import TRANSIENT
from .client_exchange import ACCEPT_STREAM, ClientExchange, ClientWire, back_off

if TYPE_CHECKING:
    from .client_session import HTTPSession

__all__ = ["ListeningStream"]

_NEVER = frozenset({400, 404, 405})
"""Statuses with which a server says that it has no such stream."""


class ListeningStream:
    """The stream on which the server says what belongs to no request, over all its connections."""

    def __init__(self, session: "HTTPSession") -> None:
        self.is_late = False
        """It is to be opened as soon as no call waits to take up its stream."""
        self._session = session
        self._exchange: _Connection | None = None
        self._is_refused = False
        self._was_open = False
        self._last_event_id = ""
        self._retry: float | None = None
        self._failures = 0

    def open(self, now: float) -> None:
        session = self._session
        revision = session.wire.engine.revision
        assert revision is not None
        if not (session.wire.options.is_listening and revision.session_ids) or self._is_refused:
            return
        # A server that waits for a client to take up a call's stream must not see another GET first.
        self.is_late = session.is_waiting()
        if self.is_late:
            return
        headers = [ACCEPT_STREAM, *session.headers()]
        if self._last_event_id:
            headers.append((b"last-event-id", self._last_event_id.encode()))
        self._exchange = _Connection(self, session.wire, headers)
        session.wire.start(self._exchange)

    def close(self) -> None:
        """Let go of the stream of a session that is lost."""
        if self._exchange is not None:
            self._session.wire.drop(self._exchange)
            self._exchange = None
        self._session.wire.deadlines.disarm(self)
        self.is_late = False
        self._last_event_id = ""
        self._failures = 0

    def handle_due(self, now: float) -> None:
        """Come back to the stream."""
        self.open(now)

    def take_opening(self) -> None:
        self._was_open = True

    def take_refusal(self, exchange: "_Connection", error: ErrorObject, now: float) -> None:
        """Take that the server does not open the stream, and perhaps never will."""
        status = exchange.status
        session = self._session
        if self._was_open and session.check_loss(exchange, session.number, now):
            return
        if status in TRANSIENT or self._last_event_id:
            # What the server has forgotten it cannot tell; the stream as such it may open again.
            self._last_event_id = ""
            self.come_back(now, 1)
            return
        self._is_refused = True
        self._exchange = None
        if status not in _NEVER:
            session.wire.report(error)

    def take_cut(self, exchange: "_Connection", now: float) -> None:
        """Take the end of the stream's connection."""
        if exchange.last_event_id:
            self._last_event_id = exchange.last_event_id
        self._retry = exchange.retry if exchange.retry is not None else self._retry
        if exchange.has_heard:
            self._failures = 0
        is_fine = exchange.has_heard or exchange.retry is not None
        self.come_back(now, 0 if is_fine else 1)

    def come_back(self, now: float, failures: int) -> None:
        self._exchange = None
        self._failures += failures
        session = self._session
        session.wire.deadlines.arm(self, now + back_off(session.wire, self._retry, self._failures))


class _Connection(ClientExchange):
    """The GET that carries what belongs to no request."""

    def __init__(self, stream: ListeningStream, wire: ClientWire, headers: list[Header]) -> None:
        super().__init__(wire, "GET", headers)
        self._stream = stream

    def _receive_opening(self, now: float) -> None:
        self._stream.take_opening()

    def _receive_body(self, body: bytes, now: float) -> None:
        self._stream.take_refusal(self, self.refusal(body), now)

    def _receive_refusal(self, body: bytes, now: float) -> None:
        self._stream.take_refusal(self, self.refusal(body), now)

    def _receive_cut(self, why: str, now: float, *, was_sent: bool) -> None:
        if self.is_refused:
            self.wire.report(ErrorObject(ErrorCode.INVALID_REQUEST, why))
        self._stream.take_cut(self, now)
