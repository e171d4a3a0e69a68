"""One session of the handshake era over HTTP: an engine that many exchanges share, and the streams between them.

Each POST of a request has a stream of its own, and the session has one more, number 0, that a GET opens. A message goes
out on the stream of the request that it belongs to, on one stream only. Connections come and go: a stream whose
connection was lost goes on, its messages are remembered, and a GET with `Last-Event-ID` takes it up again.
"""

from collections.abc import Iterable

from msgspec import UNSET, UnsetType

from ..errors import ErrorCode, ErrorObject
from ..events import Cancelled, Event, Outgoing, Request
from ..framing.sse import encode_event
from ..jsonrpc import Envelope, Malformed, RequestId, decode, encode_error
from ..revisions import Era
from ..server import ServerEngine
from ..sharing import SPAN
from .answer import RETRY_AFTER, Answer, Header, refuse
from .eventlog import EventStore, SharedEventStore, parse_event_id
from .exchange import ACCEPTED, Exchange, Move, Receipt, SessionExchange, State, StreamOptions, receipt_of
from .seats import Seat, Seats
from .status import Source, status_of
from .strays import sort_out

__all__ = ["Session", "gone", "overloaded"]

_STANDALONE = 0
_FEW = 64


def overloaded(what: str) -> ErrorObject:
    """Return the error for what does not fit in any more."""
    return ErrorObject(ErrorCode.OVERLOADED, f"Too many {what}", {"retryable": True})


class _Stream:
    """What goes out in answer to one POST, or on the session's own account."""

    __slots__ = ("exchange", "ids", "is_begun", "is_done", "number", "seat")

    def __init__(self, number: int, seat: Seat | None = None) -> None:
        self.number = number
        self.exchange: SessionExchange | None = None
        """What carries it just now."""
        self.ids: set[RequestId] = set()
        """The requests that it answers: one, or those of a batch."""
        self.is_begun = False
        """It was an event stream already, so that the client may know an id of its events."""
        self.is_done = False
        self.seat = seat


class Session:
    """One client's session.

    Args:
        id: its `Mcp-Session-Id`.
        engine: through its handshake; its `principal` is the session's.
        now: the time.
        options: how to write.
        log: remembers what went out; unused where the revision cannot resume.
        seats: what requests in flight take up.
        place: what the session itself takes up.
        sharing: the log, where other engines serve the same session.
        number: tells those engines apart.
    """

    def __init__(
        self,
        id: str,
        engine: ServerEngine,
        *,
        now: float,
        options: StreamOptions,
        log: EventStore | None,
        seats: Seats,
        place: Seat,
        sharing: SharedEventStore | None = None,
        number: int = 0,
    ) -> None:
        assert engine.revision is not None
        self.id = id
        self.engine = engine
        self.revision = engine.revision
        self.born = now
        self.last_used = now
        self._options = options
        self.number = number
        self.strays: list[bytes] = []
        """Messages for other engines of the session; whoever passes them on clears the list."""
        self._sharing = sharing
        self._log = None if not self.revision.resumable else log if sharing is None else sharing
        self._seats = seats
        self._place = place
        self._events: list[Event] = []
        self._withdrawn: list[Request] = []
        self._ready: dict[Exchange, None] = {}
        """What has something to write, in order."""
        self._streams: dict[int, _Stream] = {}
        self._most_streams = _FEW
        self._last_stream = number * SPAN
        self._standalone = _Stream(_STANDALONE)
        self._routes: dict[RequestId, _Stream] = {}
        """By the id of an open request, the stream that answers it."""

    @property
    def principal(self) -> str | None:
        """Whose session it is."""
        return self.engine.principal

    @property
    def is_over(self) -> bool:
        """Tell whether the session has ended."""
        return self.engine.closed

    @property
    def is_busy(self) -> bool:
        """Tell whether a request is in flight or a client is listening."""
        return bool(self._routes or self.exchanges)

    @property
    def exchanges(self) -> "list[SessionExchange]":
        """What carries answers just now."""
        return [stream.exchange for stream in self._streams.values() if stream.exchange is not None]

    def events_received(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        self._note()
        events, self._events = self._events, []
        return events

    def flush(self, now: float) -> list[Exchange]:
        """Carry what the engine has to say; returns the exchanges that have something to write."""
        self._carry(now)
        ready, self._ready = self._ready, {}
        return [exchange for exchange in ready if exchange.has_data]

    def next_deadline(self) -> float | None:
        """Return the engine's earliest deadline, absolute on the caller's clock."""
        return self.engine.next_deadline()

    def handle_deadline(self, now: float) -> None:
        """Expire what is due at the engine."""
        self.engine.handle_deadline(now)

    # What comes in

    def receive(self, message: Envelope | Malformed, body: bytes, *, now: float, headers: list[Header]) -> Exchange:
        """Take the body of a POST and return the exchange that answers it.

        Args:
            message: the body, decoded.
            body: the body.
            now: the time.
            headers: to be sent with the head.
        """
        self.last_used = now
        older = self.engine.messages_to_send()
        if older:
            self._route(older, now)  # not this message's doing
        if self._sharing is not None:
            strays, left = sort_out(message, body, self)
            self.strays += strays
            if left is None:
                return Receipt(self, ACCEPTED, headers)
            body = left
        if isinstance(message, Envelope) and (message.method is UNSET or message.id is UNSET):
            self.engine.receive_decoded(message, body)
            return self._receipt(message, now, headers)
        seat = self._seats.take(self.principal)
        exchange = self._new_exchange(now, headers)
        if seat is None:
            exchange.reply(refuse(503, overloaded("requests in flight"), RETRY_AFTER, id=message.id))
            self._ready[exchange] = None
            return exchange
        self.engine.receive_decoded(message, body)
        stream = self._begin(exchange, seat, now)
        if stream.is_done or stream.ids:
            return exchange
        # A batch of notifications alone, or something that looked like a response.
        self._finish(stream)
        return self._receipt(message, now, headers)

    def greet(self, *, now: float, headers: list[Header]) -> Exchange:
        """Return the exchange that answers the `initialize` with which the session began."""
        exchange = self._new_exchange(now, headers)
        self._begin(exchange, None, now)
        return exchange

    def receive_stray(self, body: bytes) -> None:
        """Take a message that another engine of the session was sent."""
        message = decode(body, self.engine.limits)
        if isinstance(message, Envelope):
            self.engine.receive_decoded(message, body)

    def _new_exchange(self, now: float, headers: list[Header]) -> SessionExchange:
        self._last_stream += 1
        return SessionExchange(self, self._last_stream, now=now, options=self._options, headers=headers)

    def _begin(self, exchange: SessionExchange, seat: Seat | None, now: float) -> _Stream:
        """Make the stream that answers what the engine has just read."""
        stream = self._streams[exchange.stream] = _Stream(exchange.stream, seat)
        stream.exchange = exchange
        for request in self.engine.open_requests:
            if request.id not in self._routes:
                self._routes[request.id] = stream
                stream.ids.add(request.id)
        for message in self.engine.messages_to_send():
            if message.final:
                # A refusal, or a built-in answer: it belongs here, although its id may be that of an earlier request.
                self._deliver(stream, message, Source.ENGINE, now)
            else:
                self._route([message], now)
        return stream

    def _receipt(self, message: Envelope | Malformed, now: float, headers: list[Header]) -> Exchange:
        answer = receipt_of(message, self._carry(now))
        return Receipt(self, answer, headers)

    def _note(self) -> list[Event]:
        """Take the engine's events, for whoever asks, and remember whose requests were withdrawn."""
        events = self.engine.events_received()
        if events:
            self._events += events
            self._withdrawn += [event.request for event in events if isinstance(event, Cancelled)]
        return events

    def _carry(self, now: float) -> list[Event]:
        """Carry what the engine has to say, then end the streams that nothing more will be said on."""
        self._route(self.engine.messages_to_send(), now)
        events = self._note()
        if self._withdrawn:
            self._let_withdrawn_go()
        return events

    def _let_withdrawn_go(self) -> None:
        for request in self._withdrawn:
            stream = self._routes.get(request.id)
            # A batch goes on without the members that were withdrawn.
            if stream is not None and stream.ids.isdisjoint(each.id for each in self.engine.open_requests):
                self._end(stream)
                self._finish(stream)
        self._withdrawn.clear()

    # What goes out

    def _route(self, messages: Iterable[Outgoing], now: float) -> None:
        for message in messages:
            stream = None if message.related_to is None else self._routes.get(message.related_to)
            if stream is not None:
                self._deliver(stream, message, Source.HANDLER, now)
            elif not message.final:
                # "The server MUST NOT send a JSON-RPC response on the stream unless resuming"
                # — 2025-11-25 basic/transports#listening-for-messages-from-the-server
                self._deliver(self._standalone, message, Source.HANDLER, now)

    def _deliver(self, stream: _Stream, message: Outgoing, source: Source, now: float) -> None:
        exchange = stream.exchange
        if exchange is not None and exchange.state is State.OPEN and message.final:
            status = status_of(message.code, Era.HANDSHAKE, source, self._options.statuses)
            exchange.answer(status, message.data, message.retry_after)
            self._ready[exchange] = None
        else:
            if exchange is not None and exchange.state is State.OPEN:
                exchange.open()
            if stream.is_begun:
                event_id = None if self._log is None else self._log.append(stream.number, message.data, now)
                if exchange is not None:
                    exchange.write(encode_event(message.data, id=event_id))
                    self._ready[exchange] = None
                    if message.final:
                        exchange.end(Move.FINAL)
        if message.final:
            self._finish(stream)

    def _finish(self, stream: _Stream) -> None:
        """Let go of a stream that nothing more goes out on; what is remembered of it can still be asked for."""
        stream.is_done = True
        stream.exchange = None
        for request_id in stream.ids:
            del self._routes[request_id]
        if stream.seat is not None:
            stream.seat.leave()
        if stream.is_begun and self._sharing is not None and self._log is not None:
            self._sharing.finish(stream.number)
        if not stream.is_begun or self._log is None:
            del self._streams[stream.number]

    def _end(self, stream: _Stream) -> None:
        """End the connection of a stream without a response."""
        exchange = stream.exchange
        if exchange is not None:
            exchange.end(Move.END)
            self._ready[exchange] = None
            stream.exchange = None

    # Streams and their connections

    def listen(self, *, now: float, headers: list[Header]) -> SessionExchange:
        """Open the stream of what belongs to no request; whoever listened before is disconnected."""
        self.last_used = now
        stream = self._standalone
        self._end(stream)
        self._streams[_STANDALONE] = stream
        exchange = stream.exchange = SessionExchange(self, _STANDALONE, now=now, options=self._options, headers=headers)
        exchange.open()
        return exchange

    def resume(self, last_event_id: bytes, *, now: float, headers: list[Header]) -> SessionExchange | None:
        """Take up a stream after an event of it; `None` if there is no such stream of this session."""
        self.last_used = now
        place = parse_event_id(last_event_id)
        stream = None if place is None else self._streams.get(place[0])
        if place is None or stream is None or not stream.is_begun or self._log is None:
            return None
        self._end(stream)
        exchange = SessionExchange(self, stream.number, now=now, options=self._options, headers=headers)
        exchange.resume()
        for event_id, data in self._log.replay(*place, now):
            exchange.write(encode_event(data, id=event_id))
        if stream.is_done:
            exchange.end(Move.END)
        else:
            stream.exchange = exchange
        self._ready[exchange] = None
        return exchange

    def close_stream(self, request: Request, *, retry: int | None = None) -> bool:
        """End the connection that waits for a request's answer; the client comes back for the rest.

        Args:
            request: an open request.
            retry: milliseconds until it shall come back, otherwise as the options say.

        Returns:
            Whether the connection is ended: it has to be there, in a revision whose clients come back.
        """
        stream = self._routes.get(request.id)
        if stream is None or stream.exchange is None or self._log is None or not self.revision.primes_streams:
            return False
        exchange = stream.exchange
        if exchange.state is State.OPEN:
            exchange.open()
        if retry is not None:
            # "it SHOULD send an SSE event with a standard retry field before closing the connection"
            # — 2025-11-25 basic/transports#sending-messages-to-the-server
            exchange.write(encode_event(b"", event=None, id=self._log.mint(stream.number), retry=retry))
        exchange.end(Move.PAUSE)
        stream.exchange = None
        self._ready[exchange] = None
        return True

    def prime(self, exchange: SessionExchange) -> None:
        """Take the beginning of an event stream, and write what it begins with in this revision."""
        stream = self._streams[exchange.stream]
        stream.is_begun = True
        self._ready[exchange] = None
        if self._log is not None and self.revision.primes_streams:
            # "an SSE event consisting of an event ID and an empty data field in order to prime the client to
            # reconnect" — the same page
            event_id = self._log.mint(stream.number)
            exchange.write(encode_event(b"", event=None, id=event_id, retry=self._options.retry))
        if self._log is not None and self._sharing is not None and stream.ids:
            self._sharing.begin(stream.number, list(stream.ids))
        if self._log is not None and len(self._streams) > self._most_streams:
            self._forget(self._log)

    def _forget(self, log: EventStore) -> None:
        """Drop the streams that are over and of which nothing is remembered."""
        self._streams = {n: s for n, s in self._streams.items() if not s.is_done or log.holds(n)}
        self._most_streams = max(_FEW, 2 * len(self._streams))

    # Streams of other engines

    def graft(self, number: int, *, is_done: bool) -> None:
        """Know a stream that another engine began, so that it can be resumed here."""
        if number == _STANDALONE:
            stream = self._streams[number] = self._standalone
        else:
            stream = self._streams.setdefault(number, _Stream(number))
        stream.is_begun = True
        stream.is_done = stream.is_done or is_done

    def relay(self, number: int, event_id: str, data: bytes) -> bool:
        """Carry a message of a stream that another engine writes; returns whether anybody hears it."""
        stream = self._streams.get(number)
        if stream is None or stream.exchange is None:
            return False
        stream.exchange.write(encode_event(data, id=event_id))
        self._ready[stream.exchange] = None
        return True

    def end_relay(self, number: int) -> None:
        """Take the end of a stream that another engine wrote."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._end(stream)

    def abandon(self, number: int, ids: Iterable[RequestId], now: float) -> None:
        """Answer the requests of a stream whose engine is gone."""
        error = ErrorObject(ErrorCode.INTERNAL_ERROR, "the process that ran this request is gone", {"retryable": True})
        assert self._log is not None
        for request_id in ids:
            data = encode_error(request_id, error)
            self.relay(number, self._log.append(number, data, now), data)
        self.end_relay(number)

    def let_go(self, number: int) -> None:
        """End the connection of a stream that its client hears by way of another engine from now on."""
        stream = self._streams.get(number)
        if stream is not None:
            self._end(stream)

    def lose_listener(self) -> None:
        """Let another engine tell what belongs to no request: the client listens there now."""
        self._end(self._standalone)
        self._standalone.is_begun = False
        self._streams.pop(_STANDALONE, None)

    def detach(self, exchange: SessionExchange) -> None:
        """Take the loss of a connection."""
        self._ready.pop(exchange, None)
        self._streams[exchange.stream].exchange = None

    def stop_listening(self) -> None:
        """End the stream that belongs to no request, as on shutdown."""
        self._end(self._standalone)

    def end(self) -> None:
        """End the session: open requests are cancelled, connections end, nothing is remembered."""
        self.engine.receive_eof()
        for stream in self._streams.values():
            exchange = stream.exchange
            if exchange is not None and exchange.state is State.OPEN:
                exchange.reply(gone())
                self._ready[exchange] = None
                stream.exchange = None
            self._end(stream)
        for stream in set(self._routes.values()):
            self._finish(stream)
        self._streams.clear()
        self._place.leave()
        if self._log is not None:
            self._log.clear()


def gone(id: RequestId | UnsetType = UNSET) -> Answer:
    """Return the answer to a request of a session that is over, or never was."""
    # "The server MAY terminate the session at any time, after which it MUST respond to requests containing that session
    # ID with HTTP 404 Not Found" — basic/transports#session-management
    return refuse(404, "Session not found: it has ended; initialize again without Mcp-Session-Id", id=id)
