"""Exchanges: each answers one HTTP request. The answer rule is here, and what a lost connection means in each era.

The head is not chosen until there is something to say. If that is the response, it is answered as `application/json`
in one piece, with the status that it maps to; if it is anything else, or if nothing comes for so long that proxies grow
impatient, the answer is an event stream.

| state     | MESSAGE   | FINAL    | PAUSE    | LOSS     | CANCEL | END    |
|-----------|-----------|----------|----------|----------|--------|--------|
| OPEN      | STREAMING | ANSWERED |          | DETACHED | CLOSED | CLOSED |
| STREAMING | STREAMING | ANSWERED | DETACHED | DETACHED | CLOSED | CLOSED |

In the other states nothing happens any more.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from ..events import Event, Outgoing, Violation
from ..framing.sse import encode_comment, encode_event
from ..jsonrpc import Envelope, Malformed
from ..revisions import Era
from ..server import ServerEngine
from .answer import END, JSON_TYPE, RETRY_AFTER, Answer, Header, Part, ResponseHead, refuse
from .seats import Seat
from .status import Source, status_of

if TYPE_CHECKING:
    from .session import Session

__all__ = [
    "EXCHANGE",
    "Exchange",
    "Move",
    "Owner",
    "Receipt",
    "SessionExchange",
    "SingleExchange",
    "State",
    "StreamOptions",
]


class State(Enum):
    """Where the answer to an HTTP request stands."""

    __hash__ = object.__hash__  # there is one of each; Enum's own is written in Python

    OPEN = "open"
    """Nothing was written yet."""
    STREAMING = "streaming"
    """An event stream was begun."""
    ANSWERED = "answered"
    """The whole answer was written."""
    DETACHED = "detached"
    """The connection is gone, the request lives on."""
    CLOSED = "closed"
    """It ended without its response."""


class Move(Enum):
    """What moves an exchange."""

    __hash__ = object.__hash__

    MESSAGE = "a message that is not the response, or the commit deadline"
    FINAL = "the response"
    PAUSE = "our side ends the connection and the client is to come back for the rest"
    LOSS = "the connection was lost, in a session"
    CANCEL = "the connection was lost, in the envelope era"
    END = "there will be no response"


EXCHANGE: Final[Mapping[tuple[State, Move], State]] = MappingProxyType(
    {
        (State.OPEN, Move.MESSAGE): State.STREAMING,
        (State.OPEN, Move.FINAL): State.ANSWERED,
        (State.OPEN, Move.LOSS): State.DETACHED,
        (State.OPEN, Move.CANCEL): State.CLOSED,
        (State.OPEN, Move.END): State.CLOSED,
        (State.STREAMING, Move.MESSAGE): State.STREAMING,
        (State.STREAMING, Move.FINAL): State.ANSWERED,
        (State.STREAMING, Move.PAUSE): State.DETACHED,
        (State.STREAMING, Move.LOSS): State.DETACHED,
        (State.STREAMING, Move.CANCEL): State.CLOSED,
        (State.STREAMING, Move.END): State.CLOSED,
    }
)
"""What each move leads to; a pair that is not here changes nothing."""

# A member of an enum is 70 ns away in CPython 3.11.
_OPEN, _STREAMING = State.OPEN, State.STREAMING
_FINAL, _ENGINE, _HANDLER = Move.FINAL, Source.ENGINE, Source.HANDLER

_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    # "servers SHOULD include the X-Accel-Buffering: no header" — basic/transports/streamable-http#receiving-messages
    (b"x-accel-buffering", b"no"),
)


class StreamOptions(Struct, frozen=True, kw_only=True):
    """How answers are written."""

    commit_after: float | None = 15.0
    """Seconds of silence after which an event stream is begun; `None`: never."""
    keep_alive: float | None = 15.0
    """Seconds of silence after which a comment is written to an event stream; `None`: never."""
    retry: int = 1000
    """Milliseconds that a client waits before it comes back, where the revision lets us say so."""
    statuses: Mapping[int, int] = MappingProxyType({})
    """HTTP statuses by the error code of a handler, where they shall not be 200."""


class Owner(Protocol):
    """What took a message that is not answered on its own connection."""

    engine: ServerEngine

    def events_received(self) -> list[Event]:
        """Return what happened since the last call, in order."""

    def flush(self, now: float) -> "list[Exchange]":
        """Carry what the engine has to say; returns the exchanges that have something to write."""


class Exchange(ABC):
    """One HTTP request being answered.

    Drive it like a pipe: `events_received` for the runtime, `flush` after anything was sent on the engine, then
    `data_to_send` of each exchange that `flush` returned.
    """

    engine: ServerEngine

    # Most exchanges are answered at once; what they do not change they need not set.
    state = _OPEN
    _is_quiet = True
    _is_held = False
    _looked: float | None = None
    """When a deadline passed last."""

    def __init__(self, now: float, options: StreamOptions, headers: list[Header]) -> None:
        self.headers = headers
        """Sent with the head, whatever it will be."""
        self._options = options
        self._born = now
        self._parts: list[Part] = []

    @abstractmethod
    def events_received(self) -> list[Event]:
        """Return what happened at the engine since the last call, in order."""

    @abstractmethod
    def flush(self, now: float) -> "list[Exchange]":
        """Carry what the engine has to say; returns the exchanges that have something to write."""

    @abstractmethod
    def receive_disconnect(self) -> None:
        """Take the loss of the connection; harmless once the answer is written."""

    def data_to_send(self) -> list[Part]:
        """Return what is to be written since the last call: an `Answer`, or a head first and `END` last."""
        if self._is_held:
            return []
        parts, self._parts = self._parts, []
        return parts

    @property
    def exchanges(self) -> "tuple[Exchange, ...]":
        """What carries the answers of the engine: this alone, where it has the engine to itself."""
        return (self,)

    @property
    def has_data(self) -> bool:
        """Tell whether there is something to write."""
        return bool(self._parts) and not self._is_held

    @property
    def is_live(self) -> bool:
        """Tell whether anything may still be written that `data_to_send` does not have yet."""
        return self.state is _OPEN or self.state is _STREAMING or self._is_held

    def hold(self) -> None:
        """Write nothing until `release`: what the answer says has to be kept somewhere before it is said."""
        self._is_held = True

    def release(self, instead: Answer | None = None) -> None:
        """Write what was held, or another answer in its place: it could not be kept."""
        self._is_held = False
        if instead is not None:
            self.state = State.CLOSED
            self._parts = [instead.with_headers(self.headers)]

    def next_deadline(self) -> float | None:
        """Return when silence becomes too long, absolute on the caller's clock."""
        if not self.is_live or self._is_held:
            return None
        # Also while there is no stream yet: it may begin before the next deadline.
        silence, commit = self._options.keep_alive, self._commit_at
        if silence is None:
            return commit
        at = silence + (self._born if self._looked is None else self._looked)
        return at if commit is None else min(at, commit)

    @property
    def _commit_at(self) -> float | None:
        after = self._options.commit_after
        return self._born + after if after is not None and self.state is _OPEN else None

    def handle_deadline(self, now: float) -> None:
        """Break a silence that lasted too long: with the head of an event stream, or with a comment in it."""
        deadline, commit = Exchange.next_deadline(self), self._commit_at
        if deadline is None or now < deadline:
            return
        if self.state is _STREAMING:
            if self._is_quiet:
                self._parts.append(encode_comment())
        elif commit is not None and now >= commit:
            self.open()
        self._is_quiet = True
        self._looked = now

    # For what decides what is written

    def move(self, move: Move) -> bool:
        """Follow the table; returns whether it has such a move."""
        state = EXCHANGE.get((self.state, move))
        if state is None:
            return False
        self.state = state
        return True

    def open(self) -> None:
        """Begin an event stream."""
        self._begin()

    def _begin(self) -> None:
        self.state = EXCHANGE[self.state, Move.MESSAGE]
        self._parts.append(ResponseHead(200, [*_STREAM_HEADERS, *self.headers]))

    def write(self, data: bytes) -> None:
        """Write to the event stream."""
        self._parts.append(data)
        self._is_quiet = False

    def answer(self, status: int, data: bytes, retry_after: float | None = None) -> None:
        """Answer with one JSON text, and with the seconds to wait before the next try."""
        self.state = EXCHANGE[self.state, _FINAL]
        headers = [JSON_TYPE, *self.headers]
        if retry_after is not None:
            headers.append((b"retry-after", b"%d" % -(-retry_after // 1)))
        elif status == 503:
            headers.append(RETRY_AFTER)
        self._parts.append(Answer(status, headers, data))

    def end(self, move: Move) -> None:
        """End the event stream, which is begun if there is none yet."""
        if self.state is _OPEN:
            self._begin()
        if self.move(move):
            self._parts.append(END)

    def reply(self, answer: Answer) -> None:
        """Answer with something that is not the response."""
        self.state = EXCHANGE[self.state, Move.END]
        self._parts.append(answer.with_headers(self.headers))


ACCEPTED: Final = Answer(202, [])


class SingleExchange(Exchange):
    """A POST of the envelope era: it has an engine to itself, and nothing survives it.

    Args:
        engine: a fresh one, whose `principal` is set.
        message: the body, decoded.
        body: the body.
        now: the time.
        options: how to write.
        headers: to be sent with the head.
        seat: what the request takes up until it has ended, if it is counted.
    """

    _events: list[Event] | None = None

    def __init__(
        self,
        engine: ServerEngine,
        message: Envelope | Malformed,
        body: bytes,
        *,
        now: float,
        options: StreamOptions,
        headers: list[Header],
        seat: Seat | None = None,
    ) -> None:
        super().__init__(now, options, headers)
        self.engine = engine
        self._seat = seat
        engine.receive_decoded(message, body)
        outgoing = engine.messages_to_send()
        if outgoing:
            self._carry(outgoing, _ENGINE)
        if self.state is _OPEN and not engine.is_owing:
            self._events = engine.events_received()
            self.reply(receipt_of(message, self._events))
            self._leave()

    def events_received(self) -> list[Event]:
        """Return what happened at the engine since the last call, in order."""
        if self._events is None:
            return self.engine.events_received()
        events, self._events = self._events, None
        return events + self.engine.events_received()

    def flush(self, now: float) -> list[Exchange]:
        """Carry what the engine has to say; returns this exchange if it has something to write."""
        outgoing = self.engine.messages_to_send()
        if outgoing:
            self._carry(outgoing, _HANDLER)
        else:
            self._leave()
        return [self] if self._parts else []

    def _carry(self, messages: list[Outgoing], source: Source) -> None:
        for message in messages:
            if self.state is _OPEN and message.final:
                code = message.code
                status = 200 if code is None else status_of(code, Era.ENVELOPE, source, self._options.statuses)
                self.answer(status, message.data, message.retry_after)
            elif self.is_live:
                if self.state is _OPEN:
                    self.open()
                self.write(encode_event(message.data))
                if message.final:
                    self.end(_FINAL)
        self._leave()

    def receive_disconnect(self) -> None:
        """Take the loss of the connection: it withdraws the request, and nothing more is written for it."""
        # "Closing the SSE response stream MUST be treated by the server as cancellation of that request"
        # — 2026-07-28 basic/transports/streamable-http#cancellation
        if self.move(Move.CANCEL):
            self._parts.clear()
            self.engine.receive_eof()
            self._leave()

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of the silence or of the engine."""
        own, other = super().next_deadline(), self.engine.next_deadline()
        return own if other is None else other if own is None else min(own, other)

    def handle_deadline(self, now: float) -> None:
        """Expire what is due at the engine, and break a silence that lasted too long."""
        self.engine.handle_deadline(now)
        super().handle_deadline(now)

    def _leave(self) -> None:
        seat = self._seat
        if seat is not None and not self.is_live:
            self._seat = None
            seat.leave()


class SessionExchange(Exchange):
    """A POST or GET of a session: the connection to one of its streams, which may outlive it.

    Args:
        session: whose engine is shared by all its exchanges.
        stream: the number of the stream.
        now: the time.
        options: how to write.
        headers: to be sent with the head.
    """

    def __init__(
        self, session: "Session", stream: int, *, now: float, options: StreamOptions, headers: list[Header]
    ) -> None:
        super().__init__(now, options, headers)
        self.session = session
        self.engine = session.engine
        self.stream = stream

    def open(self) -> None:
        """Begin an event stream the way the session's revision does."""
        self._begin()
        self.session.prime(self)

    def resume(self) -> None:
        """Begin an event stream that goes on where an earlier one was left."""
        self._begin()

    def events_received(self) -> list[Event]:
        """Return what happened in the session since the last call, in order."""
        return self.session.events_received()

    def flush(self, now: float) -> list[Exchange]:
        """Carry what the engine has to say; returns the exchanges of the session that have something to write."""
        return self.session.flush(now)

    def receive_disconnect(self) -> None:
        """Take the loss of the connection: the request lives on, and the client may come back for the rest."""
        # "Disconnection SHOULD NOT be interpreted as the client cancelling its request"
        # — 2025-11-25 basic/transports#sending-messages-to-the-server
        if self.move(Move.LOSS):
            self._parts.clear()
            self.session.detach(self)


class Receipt(Exchange):
    """The empty answer to what is not answered: a notification, a response, the end of a session.

    Args:
        owner: the session that took it.
        answer: what is written.
        headers: more of them.
        events: what it brought about, where the owner does not keep that.
    """

    def __init__(self, owner: Owner, answer: Answer, headers: list[Header], events: list[Event] | None = None) -> None:
        super().__init__(0.0, StreamOptions(), headers)
        self.engine = owner.engine
        self.session = owner
        """What took the message."""
        self._events = events or []
        self.reply(answer)

    def events_received(self) -> list[Event]:
        """Return what the message brought about."""
        events, self._events = self._events, []
        return events + self.session.events_received()

    def flush(self, now: float) -> list[Exchange]:
        """Carry what the engine has to say; returns the exchanges that have something to write."""
        others = self.session.flush(now)
        return [self, *others] if self._parts else others

    def receive_disconnect(self) -> None:
        """Take the loss of the connection, which changes nothing."""
        self._parts.clear()


def receipt_of(message: Envelope | Malformed, events: list[Event]) -> Answer:
    """Return the answer to a message that is not answered, by what the engine made of it."""
    if not (isinstance(message, Envelope) and message.method == "notifications/progress"):
        # Late progress is nobody's fault.
        for event in events:
            if isinstance(event, Violation):
                # "If the server cannot accept it, it MUST return an HTTP error status code"
                # — basic/transports/streamable-http#sending-messages
                return refuse(400, event.error)
    return ACCEPTED
