"""HTTP+SSE, the transport of the first revision, server side: one event stream for all answers, one path for POSTs.

GET opens the stream; its first event names the path that messages are posted to, which carries the session's id. The
session is the stream: it ends with the connection. Kept for clients that know nothing newer.
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs, quote

from msgspec import UNSET, Struct

from ..errors import LocalProtocolError
from ..events import Event
from ..framing.httphead import RequestHead
from ..framing.sse import encode_event
from ..jsonrpc import Envelope, decode
from ..profiles import ServerProfile
from ..server import ServerEngine
from .answer import ANYWHERE, RETRY_AFTER, Answer, Arrival, Header, refuse
from .endpoint import BAD_MINT, is_session_id
from .exchange import Exchange, Move, Receipt, StreamOptions, receipt_of
from .guard import Guard, GuardOptions
from .seats import Seat, Seats
from .session import overloaded

__all__ = ["SSEEndpoint", "SSEExchange", "SSEOptions"]

_ID: Final = "sessionId"
_METHODS: Final[Mapping[str, tuple[bytes, ...]]] = {"GET": (b"text/event-stream",), "POST": ()}


class SSEOptions(Struct, frozen=True, kw_only=True):
    """How HTTP+SSE is served; `None`: no limit."""

    guard: GuardOptions = GuardOptions()
    """Whom it answers."""
    stream: StreamOptions = StreamOptions()
    """How streams are written."""
    path: str = "/messages"
    """Where messages are posted to."""
    sessions: int | None = 1000
    """Most streams. Excess: 503."""
    sessions_each: int | None = 100
    """Most streams of one principal. Excess: 503."""
    requests: int | None = 1024
    """Most requests in flight. Excess: 503."""
    requests_each: int | None = 256
    """Most requests in flight of one principal. Excess: 503."""


class SSEExchange(Exchange):
    """The GET that carries all that a server says; with its end ends the session.

    Args:
        id: the session's.
        engine: the session's; its `principal` is set.
        path: where messages are posted to.
        now: the time.
        options: how to write.
        headers: to be sent with the head.
        table: where it is found by its id, until it ends.
        place: what it takes up until then.
    """

    def __init__(
        self,
        id: str,
        engine: ServerEngine,
        *,
        path: str,
        now: float,
        options: StreamOptions,
        headers: list[Header],
        table: "dict[str, SSEExchange]",
        place: Seat,
    ) -> None:
        super().__init__(now, options, headers)
        self.id = id
        self.engine = engine
        self._table = table
        self._place = place
        self.seats: list[Seat] = []
        """What its requests in flight take up, in no order."""
        table[id] = self
        self.open()
        # "When a client connects, the server MUST send an endpoint event containing a URI" — 2024-11-05
        # basic/transports#http-with-sse
        self.write(encode_event(path.encode(), event="endpoint"))

    def events_received(self) -> list[Event]:
        """Return what happened at the engine since the last call, in order."""
        return self.engine.events_received()

    def flush(self, now: float) -> list[Exchange]:
        """Carry what the engine has to say; returns this exchange if it has something to write."""
        for message in self.engine.messages_to_send():
            if self.is_live:
                self.write(encode_event(message.data))
        if self.engine.closed:
            self.finish()
        elif self.seats:
            for _ in range(len(self.seats) - len(self.engine.open_requests)):
                self.seats.pop().leave()
        return [self] if self.has_data else []

    def finish(self) -> None:
        """End the stream and the session."""
        self.end(Move.END)
        self._leave()

    def receive_disconnect(self) -> None:
        """Take the loss of the connection, which ends the session."""
        self._parts.clear()
        self.move(Move.CANCEL)
        self._leave()

    def _leave(self) -> None:
        self._table.pop(self.id, None)
        self._place.leave()
        while self.seats:
            self.seats.pop().leave()
        self.engine.receive_eof()

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of the silence or of the engine."""
        deadlines = [at for at in (super().next_deadline(), self.engine.next_deadline()) if at is not None]
        return min(deadlines, default=None)

    def handle_deadline(self, now: float) -> None:
        """Expire what is due at the engine, and break a silence that lasted too long."""
        self.engine.handle_deadline(now)
        super().handle_deadline(now)


class SSEEndpoint:
    """Answers the HTTP requests to the two paths of HTTP+SSE.

    Args:
        profile: what the server is.
        options: how it serves.
        mint: returns a fresh, unguessable text of visible ASCII characters, for session ids.

    Raises:
        ValueError: an allowed origin or host is none.
    """

    def __init__(self, profile: ServerProfile, options: SSEOptions | None = None, *, mint: Callable[[], str]) -> None:
        self.profile = profile
        self.options = options or SSEOptions()
        self.is_draining = False
        """No stream and no request is taken any more; set by `drain`."""
        self._mint = mint
        self._guard = Guard(self.options.guard, _METHODS)
        self._places = Seats(self.options.sessions, self.options.sessions_each)
        self._requests = Seats(self.options.requests, self.options.requests_each)
        self._streams: dict[str, SSEExchange] = {}

    def refuse(self, head: RequestHead, arrival: Arrival = ANYWHERE) -> Answer | None:
        """Return the answer to a request whose body must not even be read, `None` for one that may go on."""
        return self._guard.refuse(head, arrival)

    def too_large(self) -> Answer:
        """Return the answer to a body that turns out to be longer than it may be."""
        return self._guard.too_large()

    def cors(self, head: RequestHead) -> list[Header]:
        """Return the headers that let the page that sent a request read an answer that is not ours."""
        return self._guard.cors(head)

    def receive_request(
        self,
        head: RequestHead,
        body: bytes,
        *,
        now: float,
        arrival: Arrival = ANYWHERE,
        principal: str | None = None,
        is_checked: bool = False,
    ) -> Exchange | Answer:
        """Take a whole request and return what answers it; the arguments are those of `StreamableHTTPEndpoint`."""
        if not is_checked:
            answer = self.refuse(head, arrival)
            if answer is not None:
                return answer
        headers = self._guard.cors(head)
        if head.method == "GET":
            found = self._open(now, arrival, principal, headers)
        else:
            found = self._post(head, body, principal, headers)
        return found.with_headers(headers) if isinstance(found, Answer) else found

    def _open(self, now: float, arrival: Arrival, principal: str | None, headers: list[Header]) -> Exchange | Answer:
        place = None if self.is_draining else self._places.take(principal)
        if place is None:
            return refuse(503, overloaded("event streams"), RETRY_AFTER)
        name = self._mint()
        if name in self._streams or not is_session_id(name):
            place.leave()
            raise LocalProtocolError(BAD_MINT)
        engine = ServerEngine(self.profile)
        engine.principal = principal
        return SSEExchange(
            name,
            engine,
            path=f"{quote(arrival.prefix + self.options.path)}?{_ID}={quote(name, safe='')}",
            now=now,
            options=self.options.stream,
            headers=headers,
            table=self._streams,
            place=place,
        )

    def _post(self, head: RequestHead, body: bytes, principal: str | None, headers: list[Header]) -> Exchange | Answer:
        if self._guard.max_body is not None and len(body) > self._guard.max_body:
            return self.too_large()
        names = parse_qs(head.target.partition("?")[2]).get(_ID, [])
        stream = self._streams.get(names[0]) if len(names) == 1 else None
        if stream is None or stream.engine.principal != principal:
            return refuse(404, "No such event stream: open one first")
        message = decode(body, self.profile.limits)
        if not isinstance(message, Envelope) and body.lstrip()[:1] != b"[":
            return refuse(400, message.error, id=message.id)
        is_request = isinstance(message, Envelope) and message.method is not UNSET and message.id is not UNSET
        if self.is_draining and is_request:
            return refuse(503, overloaded("requests: the server is shutting down"), RETRY_AFTER, id=message.id)
        if is_request:
            seat = self._requests.take(principal)
            if seat is None:
                return refuse(503, overloaded("requests in flight"), RETRY_AFTER, id=message.id)
            stream.seats.append(seat)
        stream.engine.receive_decoded(message, body)
        events = stream.engine.events_received()
        return Receipt(stream, receipt_of(message, events), headers, events)

    def drain(self) -> None:
        """Take no more streams and no more requests; what was asked before is still answered."""
        self.is_draining = True
