"""The calls of a client over HTTP on their way: each is posted, and answered, resumed, repeated or failed, once.

| Way       | What it waits for                                               | Then                    |
|-----------|-----------------------------------------------------------------|-------------------------|
| HELD      | the session's beginning or renewal                              | it is posted            |
| OPEN      | the response, on the stream of its POST or of a later GET       | it ends                 |
| RESUMING  | the time that the server asked for, after its stream was cut    | GET with Last-Event-ID  |
| REPEATING | a while, after its answer was lost; it is safe to run twice     | posted under a new id   |
| REFRESHING| the list of tools, after a header mismatch                      | posted under a new id   |

A call that is none of the engine's open ones any more is let go of wherever it is.
"""

from enum import Enum
from typing import Final

from msgspec import UNSET, Raw

from .. import model
from ..engine import splice_meta
from ..errors import ErrorCode, ErrorObject
from ..events import Call, Subscription
from ..jsonrpc import Envelope, encode_request
from ..methods import METHODS
from ..negotiation import Negotiation
from ..revisions import Era
from .client_errands import Errand
from .client_errors import AUTH, TRANSIENT, ErrorBody, code_of, lost, read_error, with_hints
from .client_exchange import ACCEPT_STREAM, ClientExchange, ClientWire, back_off
from .client_session import HTTPSession
from .client_tools import ToolCatalogue, next_cursor
from .status import proves_modern

__all__ = ["Calls"]

ONCE: Final = frozenset({"tools/call", "tasks/cancel"})
"""Requests that may do more when they are run twice; all others of the specification are repeated at will."""


class Way(Enum):
    """Where a call is."""

    HELD = "held"
    OPEN = "open"
    RESUMING = "resuming"
    REPEATING = "repeating"
    REFRESHING = "refreshing"


class Flight:
    """One call on its way; also what waits for its response."""

    # Most are answered at once; what they do not change they need not set.
    way = Way.HELD
    exchange: "CallExchange | None" = None
    """The last one that carried it in its session."""
    session = 0
    """The number of the session that the request was sent in."""
    last_event_id = ""
    retry: float | None = None
    failures = 0
    """Attempts in a row that failed."""
    rounds = 0
    """Times in a row that its stream was taken up and brought nothing."""
    repeats = 0
    losses = 0
    """Sessions that were lost when it was sent in them."""
    was_refreshed = False
    refusal: tuple[Envelope, bytes] | None = None
    """The answer that it ends with if the list of tools brings nothing new."""

    def __init__(self, calls: "Calls", call: Call, data: bytes) -> None:
        self.calls = calls
        self.call = call
        self.data = data
        """The request, under its present id."""

    @property
    def what(self) -> str:
        """The call, for people."""
        call = self.call
        return call.method if call.name is None else f"{call.method} {call.name!r}"

    def receive_response(self, envelope: Envelope, data: bytes, now: float) -> None:
        """Take the response."""
        self.calls.receive_response(self, envelope, data, now)

    def handle_due(self, now: float) -> None:
        """Come back for the answer, or ask again."""
        self.calls.come_back(self, now)


class CallExchange(ClientExchange):
    """A POST that carries a call, or a GET for the rest of its stream."""

    def __init__(self, flight: Flight, method: str, headers: list[tuple[bytes, bytes]], body: bytes | None) -> None:
        calls = flight.calls
        super().__init__(
            calls.wire,
            method,
            headers,
            body,
            call=flight.call,
            request_id=flight.call.id,
            is_repeatable=body is None or calls.is_safe(flight.call),
        )
        self.flight = flight

    def _receive_opening(self, now: float) -> None:
        if self.method == "GET":
            self.flight.failures = 0

    def _receive_body(self, body: bytes, now: float) -> None:
        if self.method == "POST" and self.is_json and body:
            self.wire.receive(self, body, now)
        self.flight.calls.receive_nothing(self.flight, self, body, now)

    def _receive_refusal(self, body: bytes, now: float) -> None:
        self.flight.calls.receive_refusal(self.flight, self, body, now)

    def _receive_cut(self, why: str, now: float, *, was_sent: bool) -> None:
        self.flight.calls.receive_cut(self.flight, self, why, now, was_sent=was_sent)


class Calls:
    """The calls of one client that are on their way.

    Args:
        wire: where exchanges are begun.
        session: the session they are made in.
        tools: what is known of the server's tools.
    """

    def __init__(self, wire: ClientWire, session: HTTPSession, tools: ToolCatalogue) -> None:
        self.wire = wire
        self.should_try_sse = False
        """What the server answered to `initialize` is what a server of HTTP+SSE answers."""
        self._engine = wire.engine
        self._session = session
        self._tools = tools
        self._flights: dict[Call, Flight] = {}
        self._refreshing: list[Flight] = []
        session.on_loss = self._lose_session
        session.on_ready = self._release
        session.is_waiting = self._is_resuming

    # What goes out

    def send(self, call: Call, data: bytes) -> None:
        """Send a call.

        Args:
            call: the call.
            data: its request.
        """
        flight = self._flights[call] = Flight(self, call, data)
        self._post(flight)

    def withdraw(self, call: Call) -> bool:
        """Let go of a call; returns whether a server with sessions has to be told."""
        flight = self._flights.get(call)
        if flight is None:
            return True
        exchange = flight.exchange
        self._forget(flight)
        if exchange is None or flight.session != self._session.number:
            return False
        return exchange.is_over or self.wire.drop(exchange)

    def clear(self) -> None:
        """Forget every call."""
        self._flights.clear()
        self._refreshing.clear()

    def _post(self, flight: Flight) -> None:
        session, call = self._session, flight.call
        self.wire.answers[call.id] = flight
        if session.is_held:
            flight.way = Way.HELD
            flight.exchange = None
            return
        try:
            headers = session.post_headers(call.method, call.name)
            if call.method == "tools/call" and self._engine.speaking.era is Era.ENVELOPE:
                if call.name in self._tools.rejected:
                    raise ValueError(f"tool {call.name!r} cannot be used over HTTP: {self._tools.rejected[call.name]}")
                headers += self._tools.headers(call.name, call.body)
        except ValueError as fault:
            self._fail(flight, ErrorObject(ErrorCode.INVALID_PARAMS, str(fault)))
            return
        flight.way = Way.OPEN
        flight.session = session.number
        flight.exchange = CallExchange(flight, "POST", headers, flight.data)
        self.wire.start(flight.exchange)

    def _release(self, now: float) -> None:
        """Send what waited for the session."""
        for flight in [each for each in self._flights.values() if each.way is Way.HELD]:
            self._post(flight)

    def is_safe(self, call: Call) -> bool:
        """Tell whether a call may be run twice."""
        if call.method == "tools/call":
            return self._tools.is_repeatable(call.name)
        return call.method in METHODS and call.method not in ONCE

    # What comes back

    def receive_response(self, flight: Flight, envelope: Envelope, data: bytes, now: float) -> None:
        """Take the response to a call, on whatever stream it came."""
        if flight.exchange is not None:
            self.wire.linger(flight.exchange, now)
        if self._is_mismatch(flight, envelope):
            self._refresh(flight, envelope, data, now)
        else:
            self._settle(flight, envelope, data)

    def _settle(self, flight: Flight, envelope: Envelope, data: bytes) -> None:
        """End a call with its response."""
        call, session, exchange = flight.call, self._session, flight.exchange
        self._forget(flight)
        if envelope.result is not UNSET:
            if call.method == "tools/list":
                envelope.result = self._learn(envelope.result)
            session.learn(call, flight.data)
        self._engine.receive_decoded(envelope, data)
        if call.method == "initialize" and self._engine.revision is not None and exchange is not None:
            session.begin(flight.data, exchange)

    def _learn(self, result: Raw) -> Raw:
        is_modern = self._engine.speaking.era is Era.ENVELOPE
        result, rejected = self._tools.learn(result, has_mirrors=is_modern)
        for name, why in rejected.items():
            # "Clients SHOULD log a warning … including the tool name and reason" — 2026-07-28 server/tools
            text = f"tool {name!r} is left out, since it cannot be used over HTTP: {why}"
            self.wire.report(ErrorObject(ErrorCode.INVALID_PARAMS, text))
        return result

    def receive_nothing(self, flight: Flight, exchange: CallExchange, body: bytes, now: float) -> None:
        """Take the end of a success that may have been the answer."""
        if self._is_done(flight, exchange):
            return
        if exchange.method == "GET":
            self._lose(flight, "the stream could not be taken up again", now, was_sent=True)
        else:
            self._fail(flight, exchange.refusal(body))

    def receive_refusal(self, flight: Flight, exchange: CallExchange, body: bytes, now: float) -> None:
        """Take a status that is none of success."""
        if self._is_done(flight, exchange):
            return
        call, status = flight.call, exchange.status
        assert status is not None
        if self._session.check_loss(exchange, flight.session, now):
            self._receive_loss(flight, exchange, now)
            return
        if exchange.method == "GET":
            if status in TRANSIENT:
                self._wait(flight, Way.RESUMING, f"HTTP {status}", now, failures=1)
            else:
                self._lose(flight, f"the stream could not be taken up again: HTTP {status}", now, was_sent=True)
            return
        failure, found = exchange.refusal(body), read_error(body)
        if found is not None and not found.is_for(call.id):
            found = None
        if self._is_starting(call):
            self._refuse_start(flight, status, failure, found, body, now)
        elif flight.repeats and status in TRANSIENT:
            self._wait(flight, Way.REPEATING, failure.message, now, failures=1)
        elif found is not None:
            error = with_hints(found.error, status, exchange.response_headers)
            raw = found.raw if error is found.error else Raw(model.encode(error))
            self.receive_response(flight, Envelope("2.0", call.id, error=raw), body, now)
        else:
            self._fail(flight, failure)

    def _receive_loss(self, flight: Flight, exchange: CallExchange, now: float) -> None:
        """Take that a call was refused because its session is lost."""
        flight.losses += 1
        if self._engine.closed:
            return
        if exchange.method == "GET":
            self._lose(flight, "the server lost the session", now, was_sent=True)
        elif flight.losses > self.wire.options.losses:
            self._fail(flight, lost(flight.what, "the server knows no session it is sent in", was_sent=False))
        else:
            # A 404 proves that the call was not run: it goes into the next session as it is, whatever it does.
            self._post(flight)

    def receive_cut(self, flight: Flight, exchange: CallExchange, why: str, now: float, *, was_sent: bool) -> None:
        """Take that a stream ended, or that there is no whole response."""
        if self._is_done(flight, exchange):
            return
        flight.last_event_id = exchange.last_event_id or flight.last_event_id
        if self._engine.revision is not None and exchange.retry is not None:
            flight.retry = exchange.retry
        if exchange.has_heard:
            flight.rounds = 0
        if self._is_starting(flight.call):
            # "network error … no era verdict" — spec.md 2.21
            self._engine.receive_eof(lost(flight.what, why, was_sent=was_sent))
        elif exchange.is_refused:
            self._fail(flight, lost(flight.what, why, was_sent=True))
        elif self._can_resume(flight):
            has_failed = exchange.method == "GET" and not exchange.is_stream
            self._wait(flight, Way.RESUMING, why, now, failures=int(has_failed))
        else:
            self._lose(flight, why, now, was_sent=was_sent)

    # The beginning

    def _is_starting(self, call: Call) -> bool:
        return self._engine.state in (Negotiation.PROBING, Negotiation.HANDSHAKING)

    def _refuse_start(
        self, flight: Flight, status: int, failure: ErrorObject, found: ErrorBody | None, body: bytes, now: float
    ) -> None:
        """Take a refusal of the probe or of `initialize`: what it proves depends on status and body."""
        is_modern = found is not None and proves_modern(found.error.code)
        is_initialize = flight.call.method == "initialize"
        if status in AUTH or status in TRANSIENT or (status >= 500 and found is None):
            # "401/403, 5xx, network errors and HTTP timeouts are not era evidence" — spec.md 2.21
            self._engine.receive_eof(failure)
            return
        if found is None:
            self.should_try_sse = is_initialize
            self._fail(flight, failure)
        elif is_modern and not is_initialize and found.error.code != ErrorCode.UNSUPPORTED_VERSION:
            # A modern server, whose refusal no handshake would cure.
            self._engine.receive_eof(found.error)
        else:
            self.should_try_sse = is_initialize and not is_modern
            self.receive_response(flight, Envelope("2.0", flight.call.id, error=found.raw), body, now)

    # Resuming and repeating

    def _can_resume(self, flight: Flight) -> bool:
        revision = self._engine.revision
        is_resumable = revision is not None and revision.resumable
        return is_resumable and flight.last_event_id != "" and flight.session == self._session.number

    def _is_resuming(self) -> bool:
        return any(flight.way is Way.RESUMING for flight in self._flights.values())

    def _lose(self, flight: Flight, why: str, now: float, *, was_sent: bool) -> None:
        """Take that the answer of a call will not come: run it once more if that is safe."""
        call = flight.call
        if isinstance(call, Subscription) and call.is_acknowledged:
            flight.failures = 0
        # "A broken response stream loses the in-flight request; clients MUST re-issue it … with a new request ID"
        # — 2026-07-28 changelog. What must not run twice is for the caller to decide.
        is_first = flight.repeats == 0
        if self.is_safe(call) and (was_sent or not is_first) and (is_first or not was_sent or _is_listen(call)):
            self._wait(flight, Way.REPEATING, why, now, failures=1)
        else:
            self._fail(flight, lost(flight.what, why, was_sent=was_sent))

    def _wait(self, flight: Flight, way: Way, why: str, now: float, *, failures: int) -> None:
        flight.failures += failures
        flight.rounds += 1
        options = self.wire.options
        if flight.failures > options.attempts or flight.rounds > options.rounds:
            self._fail(flight, lost(flight.what, why, was_sent=True))
            return
        flight.way = way
        self.wire.deadlines.arm(flight, now + back_off(self.wire, flight.retry, flight.failures))

    def come_back(self, flight: Flight, now: float) -> None:
        """Do what a call waited for."""
        if not flight.call.is_open:
            self._forget(flight)
        elif flight.way is Way.REPEATING:
            flight.repeats += 1
            self._renew(flight)
        else:
            # "the client SHOULD issue an HTTP GET … include the Last-Event-ID header" — 2025-11-25 basic/transports
            last = (b"last-event-id", flight.last_event_id.encode())
            flight.way = Way.OPEN
            flight.exchange = CallExchange(flight, "GET", [ACCEPT_STREAM, *self._session.headers(), last], None)
            self.wire.start(flight.exchange)

    def _renew(self, flight: Flight) -> None:
        """Send a call again under another id."""
        del self.wire.answers[flight.call.id]
        flight.data = self._engine.renew(flight.call, flight.data)
        flight.last_event_id = ""
        self._post(flight)

    def _lose_session(self, now: float) -> None:
        """Take that no stream of the session can be taken up any more."""
        for flight in [each for each in self._flights.values() if each.way is Way.RESUMING]:
            self._lose(flight, "the server lost the session", now, was_sent=True)

    # Headers that do not match

    def _is_mismatch(self, flight: Flight, envelope: Envelope) -> bool:
        """Tell whether a tool call was refused because its mirrored arguments may be out of date."""
        if flight.call.method != "tools/call" or flight.was_refreshed or envelope.error is UNSET:
            return False
        return self._engine.speaking.era is Era.ENVELOPE and code_of(envelope.error) == ErrorCode.HEADER_MISMATCH

    def _refresh(self, flight: Flight, envelope: Envelope, data: bytes, now: float) -> None:
        # "the client SHOULD call tools/list … then retry the original request with the appropriate headers"
        # — 2026-07-28 basic/transports/streamable-http
        flight.was_refreshed = True
        flight.refusal = (envelope, data)
        flight.way = Way.REFRESHING
        self._refreshing.append(flight)
        if len(self._refreshing) == 1:
            self._read_tools(None, 1, now)

    def _read_tools(self, cursor: str | None, page: int, now: float) -> None:
        def then(errand: Errand, result: Raw | None, error: ErrorObject | None, now: float) -> None:
            further = None
            if result is not None:
                self._learn(result)
                further = next_cursor(result)
            if further is not None and page < self.wire.options.refresh_pages:
                self._read_tools(further, page + 1, now)
                return
            waiting, self._refreshing = self._refreshing, []
            for flight in waiting:
                self._send_refreshed(flight)

        engine = self._engine
        params = b"{}" if cursor is None else model.encode({"cursor": cursor})
        request_id = engine.mint_id()
        params = splice_meta(params, engine.profile.stamp(engine.speaking))
        data = encode_request(request_id, "tools/list", params)
        Errand(self.wire, self._session.post_headers("tools/list"), data, request_id, then, now)

    def _send_refreshed(self, flight: Flight) -> None:
        """Send a refused call again, unless its headers would be the same."""
        if not flight.call.is_open:
            self._forget(flight)
            return
        assert flight.exchange is not None and flight.refusal is not None
        call = flight.call
        sent = [header for header in flight.exchange.headers if header[0].startswith(b"mcp-param-")]
        try:
            is_same = call.name not in self._tools.rejected and self._tools.headers(call.name, call.body) == sent
        except ValueError:
            is_same = False
        if is_same:
            self._settle(flight, *flight.refusal)
        else:
            self._renew(flight)

    # Ends

    def _is_done(self, flight: Flight, exchange: CallExchange) -> bool:
        """Tell whether what an exchange brings has no bearing on its call any more."""
        if not flight.call.is_open:
            self._forget(flight)
        return flight.call not in self._flights or flight.exchange is not exchange or flight.way is not Way.OPEN

    def _fail(self, flight: Flight, error: ErrorObject) -> None:
        self._forget(flight)
        self._engine.fail_call(flight.call, error)

    def _forget(self, flight: Flight) -> None:
        self._flights.pop(flight.call, None)
        self.wire.answers.pop(flight.call.id, None)
        self.wire.deadlines.disarm(flight)


def _is_listen(call: Call) -> bool:
    return isinstance(call, Subscription)
