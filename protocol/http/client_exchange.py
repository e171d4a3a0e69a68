"""One HTTP request of the client and what comes back on it; and what the parts of the client bindings share.

An exchange reads heads, bodies and event streams. What a message, a refusal or a cut means is for its subclasses.
"""

import re
from typing import Final, Protocol

from msgspec import UNSET, Struct

from ..client import ClientEngine
from ..deadlines import DeadlineQueue
from ..errors import ErrorObject
from ..events import Call, Event, Violation
from ..framing.headers import NO_HEADERS, Headers
from ..framing.sse import ServerSentEvent, SSEDecoder
from ..jsonrpc import Envelope, Malformed, RequestId, decode
from .answer import JSON_TYPE, Header
from .client_errors import read_error, refusal_of

__all__ = [
    "ACCEPT_BOTH",
    "ACCEPT_STREAM",
    "POST_HEADERS",
    "Awaiting",
    "ClientExchange",
    "ClientWire",
    "StreamableHTTPClientOptions",
    "back_off",
]

# "The client MUST include an Accept header, listing both application/json and text/event-stream"
# — basic/transports/streamable-http#sending-messages
ACCEPT_BOTH: Final = (b"accept", b"application/json, text/event-stream")
ACCEPT_STREAM: Final = (b"accept", b"text/event-stream")
POST_HEADERS: Final = (JSON_TYPE, ACCEPT_BOTH)

_STREAM: Final = b"text/event-stream"
_JSON: Final = b"application/json"
_EVENT_ID = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class StreamableHTTPClientOptions(Struct, frozen=True, kw_only=True):
    """How a client speaks HTTP; times are seconds."""

    event_bytes: int = 4 * 1024 * 1024
    """Largest event of a stream. Excess: the call fails; whole bodies are bounded by the engine's limits."""
    retry: float = 1.0
    """Wait before coming back to a stream, where the server does not say how long."""
    least_retry: float = 0.1
    """Least wait, whatever the server says."""
    longest_wait: float = 30.0
    """Longest wait between attempts that fail, unless the server asks for more."""
    attempts: int = 5
    """Most failures in a row to come back to a stream or to send a call again. Excess: the call fails."""
    rounds: int = 1000
    """Most times in a row that a stream is taken up again and brings nothing. Excess: the call fails."""
    losses: int = 2
    """Most sessions lost in a row before one answered a call. Excess: the connection ends."""
    errand_timeout: float = 30.0
    """Longest wait for the answer to a request of the binding's own."""
    linger: float = 1.0
    """How long an event stream is left to end by itself after the response, so that its connection can be reused."""
    is_listening: bool = True
    """Open the stream on which a handshake server says what belongs to no request."""
    known_tools: int = 10_000
    """Most tools whose mirrored arguments and hints are remembered."""
    refresh_pages: int = 100
    """Most pages of `tools/list` that are read again after a header mismatch."""


class Due(Protocol):
    """What a deadline can be armed for."""

    def handle_due(self, now: float) -> None:
        """Do what was to be done at that time."""


class Awaiting(Protocol):
    """What waits for the response to an id."""

    def receive_response(self, envelope: Envelope, data: bytes, now: float) -> None:
        """Take the response, on whatever stream it came."""


class ClientExchange:
    """One HTTP request, and what comes back on it.

    Feed `receive_head`, then `receive_data`, then `receive_end`; `receive_failure` instead of whatever is missing.
    Once `is_over`, nothing that is fed has an effect.

    Args:
        wire: where the exchange belongs.
        method: `POST`, `GET` or `DELETE`.
        headers: MCP's and those of the content; Host, authorization, framing and the user's are the adapter's.
        body: the message, if there is one.
        call: whose request it carries.
        request_id: that of the request, if it carries one.
        is_repeatable: it may be sent again on a fresh connection if nothing of a response came.
        target: path and query, where that is not the endpoint's own.
    """

    is_over = False
    """Wants nothing more: a response that is not complete by now is not worth its connection."""
    is_refused = False
    """A response that was too large, or came when nothing was to come any more, was cut off."""
    has_heard = False
    """Messages came on the stream."""
    status: int | None = None
    is_success = False
    """The status is one of success."""
    response_headers = NO_HEADERS
    media_type = b""
    """The type of the response's body, without parameters."""
    _decoder: SSEDecoder | None = None

    def __init__(
        self,
        wire: "ClientWire",
        method: str,
        headers: list[Header],
        body: bytes | None = None,
        *,
        call: Call | None = None,
        request_id: RequestId | None = None,
        is_repeatable: bool = True,
        target: str | None = None,
    ) -> None:
        self.wire = wire
        self.method = method
        self.headers = headers
        self.body = body
        self.call = call
        self.request_id = request_id
        self.is_repeatable = is_repeatable
        self.target = target
        self._body = bytearray()

    def receive_head(self, status: int, headers: Headers, now: float) -> None:
        """Take the head of the response; interim ones are skipped."""
        if self.is_over or status < 200:
            return
        self.status = status
        self.response_headers = headers
        self.is_success = status < 300
        if headers.memo is None:
            headers.memo = (headers.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        self.media_type = headers.memo
        if self.is_success and self.media_type == _STREAM:
            self._decoder = SSEDecoder(self.wire.options.event_bytes)
            self._receive_opening(now)

    def receive_data(self, data: bytes, now: float) -> None:
        """Take a piece of the body, cut anywhere."""
        if self.is_over:
            return
        decoder = self._decoder
        if decoder is None:
            if len(self._body) + len(data) > self.wire.engine.limits.message_bytes:
                self._exceed(f"a body larger than {self.wire.engine.limits.message_bytes} bytes", now)
            else:
                self._body += data
            return
        for event in decoder.receive_data(data):
            self.has_heard = True
            self._receive_event(event, now)
            if self.is_over:
                return
        if decoder.skipped:
            decoder.skipped = 0
            self._exceed(f"an event larger than {self.wire.options.event_bytes} bytes", now)

    def receive_end(self, now: float) -> None:
        """Take the end of a whole response."""
        if self.is_over:
            return
        if self.status is None:
            self.receive_failure("the response ended before it began", now, was_sent=True)
            return
        self.wire.finish(self)
        if self._decoder is not None:
            self._receive_cut("the event stream ended", now, was_sent=True)
        elif self.is_success:
            self._receive_body(bytes(self._body), now)
        else:
            self._receive_refusal(bytes(self._body), now)

    def receive_failure(self, why: str, now: float, *, was_sent: bool) -> None:
        """Take that there is no response, or no whole one.

        Args:
            why: one sentence for people.
            now: the time.
            was_sent: the server may have got the request.
        """
        if self.is_over:
            return
        self.wire.finish(self)
        if self.status is not None and not self.is_success:
            self._receive_refusal(bytes(self._body), now)
        else:
            self._receive_cut(why, now, was_sent=was_sent)

    def handle_due(self, now: float) -> None:
        """Wait no longer for a stream to end that has brought its response."""
        self.wire.drop(self)

    @property
    def is_json(self) -> bool:
        """Tell whether the body says that it is JSON, or nothing of its type."""
        return self.media_type in (_JSON, b"")

    @property
    def last_event_id(self) -> str:
        """The id of the stream's last event; empty if none had one that a header can carry."""
        last = "" if self._decoder is None else self._decoder.last_event_id
        return last if _EVENT_ID.fullmatch(last) else ""

    @property
    def retry(self) -> float | None:
        """Seconds to wait before coming back, as the stream said."""
        retry_ms = None if self._decoder is None else self._decoder.retry_ms
        return None if retry_ms is None else retry_ms / 1000

    @property
    def is_stream(self) -> bool:
        """Tell whether the response is an event stream."""
        return self._decoder is not None

    def refusal(self, body: bytes) -> ErrorObject:
        """Return the error that says what the server answered instead."""
        assert self.status is not None
        return refusal_of(self.status, self.response_headers, body)

    # What the subclasses make of it

    def _receive_opening(self, now: float) -> None:
        """Take the beginning of an event stream."""

    def _receive_event(self, event: ServerSentEvent, now: float) -> None:
        """Take an event; those of other types are none of MCP's."""
        if event.event == "message":
            self.wire.receive(self, event.data, now)

    def _receive_body(self, body: bytes, now: float) -> None:
        """Take the whole body of a success that is no event stream."""

    def _receive_refusal(self, body: bytes, now: float) -> None:
        """Take what came of the body of another status."""

    def _receive_cut(self, why: str, now: float, *, was_sent: bool) -> None:
        """Take the end of an event stream, or that there is no whole response."""

    def _exceed(self, what: str, now: float) -> None:
        """Let go of a response that is larger than it may be."""
        self.is_refused = True
        self.wire.drop(self)
        self._receive_cut(f"the server sent {what}", now, was_sent=True)


class ClientWire:
    """What the parts of a client binding share: exchanges on their way, answers awaited, deadlines, events.

    Args:
        engine: the connection's engine.
        options: bounds and times.
    """

    def __init__(self, engine: ClientEngine, options: StreamableHTTPClientOptions) -> None:
        self.engine = engine
        self.options = options
        self.deadlines: DeadlineQueue[Due] = DeadlineQueue()
        self.answers: dict[RequestId, Awaiting] = {}
        """Who takes the response to an id, instead of the engine."""
        self._events: list[Event] = []
        self._live: dict[ClientExchange, None] = {}
        self._started: list[ClientExchange] = []
        self._dropped: list[ClientExchange] = []

    def start(self, exchange: ClientExchange) -> None:
        """Have an exchange begun."""
        self._live[exchange] = None
        self._started.append(exchange)

    def finish(self, exchange: ClientExchange) -> None:
        """Take that an exchange has its whole response, or will have none."""
        exchange.is_over = True
        self._live.pop(exchange, None)
        self.deadlines.disarm(exchange)

    def drop(self, exchange: ClientExchange) -> bool:
        """Have an exchange closed; returns whether it was under way. One that is over is left alone."""
        if exchange.is_over:
            return False
        self.finish(exchange)
        if exchange in self._started:
            self._started.remove(exchange)
            return False
        self._dropped.append(exchange)
        return True

    def linger(self, exchange: ClientExchange, now: float) -> None:
        """Leave an event stream that brought its response a while to end by itself."""
        if not exchange.is_over:
            self.deadlines.arm(exchange, now + self.options.linger)

    def take_started(self) -> list[ClientExchange]:
        """Return what is to be begun since the last call."""
        started, self._started = self._started, []
        return started

    def take_dropped(self) -> list[ClientExchange]:
        """Return what is to be closed since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def take_events(self) -> list[Event]:
        """Return what the binding reports and then what the engine does, in this order since `Closed` comes last."""
        events, self._events = self._events, []
        return [*events, *self.engine.events_received()] if events else self.engine.events_received()

    def report(self, error: ErrorObject) -> None:
        """Report what went wrong with nobody's call."""
        self._events.append(Violation(error))

    def drop_all(self) -> None:
        """Let go of everything."""
        for exchange in list(self._live):
            self.drop(exchange)
        self.answers.clear()
        self.deadlines.clear()

    def receive(self, exchange: ClientExchange, data: bytes, now: float) -> None:
        """Take a message that came on an exchange."""
        message = decode(data, self.engine.limits)
        if isinstance(message, Malformed):
            if message.is_response and message.id is UNSET and exchange.request_id is not None:
                error = read_error(data)
                if error is not None and error.is_for(exchange.request_id):
                    message = Envelope("2.0", exchange.request_id, error=error.raw)
        elif message.method is UNSET and message.id is UNSET and exchange.request_id is not None:
            # The server could not read the id, but the stream says whose answer it is.
            message.id = exchange.request_id
        if type(message) is Envelope and message.method is UNSET and message.id is not UNSET:
            awaiting = self.answers.get(message.id)
            if awaiting is not None:
                awaiting.receive_response(message, data, now)
                return
        self.engine.receive_decoded(message, data)


def back_off(wire: ClientWire, retry: float | None, failures: int) -> float:
    """Return how long to wait before another attempt.

    Args:
        wire: whose options count.
        retry: what the server asked for, which is kept.
        failures: attempts in a row that failed.
    """
    options = wire.options
    wait = max(options.least_retry, options.retry if retry is None else retry)
    return max(wait, min(wait * 2.0 ** (min(failures, 32) - 1), options.longest_wait))
