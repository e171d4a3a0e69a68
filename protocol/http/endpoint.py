"""The one path of Streamable HTTP, for both eras: what a request is, decided from its head and its body.

POST, a message of the envelope era → `SingleExchange`. That is one whose `_meta` names a protocol version, whose method
only that era has, or whose header names a version without a handshake; a session id on it is ignored.
POST, any other → the session that `Mcp-Session-Id` names, or for `initialize` a new one. GET and DELETE → that session.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..deadlines import DeadlineQueue
from ..errors import LocalProtocolError
from ..framing.headers import DuplicateHeader
from ..framing.httphead import RequestHead
from ..jsonrpc import DECODE_ERRORS, Envelope, Malformed, RequestId, decode
from ..meta import RequestMeta
from ..params import Params
from ..profiles import ServerProfile
from ..repeats import CallReader, Repeat
from ..revisions import HANDSHAKE_REVISIONS, Era
from ..server import ServerEngine
from ..sharing import HandshakeRecord, HandshakeState
from .answer import ANYWHERE, JSON_TYPE, RETRY_AFTER, Answer, Arrival, Header, refuse
from .eventlog import Budget, EventLog, EventLogLimits, EventStore, SharedEventStore
from .exchange import Exchange, Receipt, SingleExchange, StreamOptions
from .guard import Guard, GuardOptions
from .mirrors import HTTPServerEngine, Mirrors
from .seats import Seat, Seats
from .session import Session, gone, overloaded
from .status import Source, status_of

__all__ = ["StreamableHTTPEndpoint", "StreamableHTTPOptions"]

_VERSION: Final = b"mcp-protocol-version"
_SESSION: Final = b"mcp-session-id"
_LAST_EVENT: Final = b"last-event-id"
_CLAIM: Final = b"protocolVersion"
"""What stands in a body that claims to be of the envelope era, unless it is spelled with escapes."""
_HANDSHAKES = frozenset(revision.name.encode() for revision in HANDSHAKE_REVISIONS)
_MODERN_ALLOW: Final = (b"allow", b"POST")
BAD_MINT: Final = "mint must return fresh text of visible ASCII characters"
_SHUTTING_DOWN: Final = "requests: the server is shutting down"
_ENDED: Final = Answer(204, [])
_METHODS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "GET": (b"text/event-stream",),
    "POST": (b"application/json", b"text/event-stream"),
    "DELETE": (),
}

_decode_params = msgspec.json.Decoder(Params).decode
_decode_meta = msgspec.json.Decoder(RequestMeta).decode


class StreamableHTTPOptions(Struct, frozen=True, kw_only=True):
    """How one endpoint serves; `None`: no limit."""

    guard: GuardOptions = GuardOptions()
    """Whom it answers."""
    stream: StreamOptions = StreamOptions()
    """How answers are written."""
    log: EventLogLimits = EventLogLimits()
    """What each session remembers of its event streams."""
    all_logs_size: int | None = 64 * 1024 * 1024
    """Bytes that all sessions remember together."""
    sessions: int | None = 1000
    """Most sessions. Excess: 503."""
    sessions_each: int | None = 100
    """Most sessions of one principal. Excess: 503."""
    session_idle: float | None = 1800.0
    """Seconds without a request, an open answer or a listening client after which a session ends."""
    session_life: float | None = 86400.0
    """Seconds after which a session ends, whatever happens in it."""
    requests: int | None = 1024
    """Most requests in flight. Excess: 503."""
    requests_each: int | None = 256
    """Most requests in flight of one principal. Excess: 503."""
    listens: int | None = 1000
    """Most live `subscriptions/listen` requests, which do not count as requests in flight. Excess: 503."""
    listens_each: int | None = 64
    """Most of them of one principal. Excess: 503."""


class StreamableHTTPEndpoint:
    """Answers the HTTP requests to one path.

    For each request: `refuse` once the head is there, `receive_request` once the body is. Then, of an exchange,
    `events_received` for the runtime, and `flush`, as after everything sent on the exchange's engine.

    Args:
        profile: what the server is.
        options: how it serves.
        mint: returns a fresh, unguessable text of visible ASCII characters, for session ids.
        mirrors: the arguments that tools want mirrored in headers; may change while the endpoint is in use.
        logs: returns what a new session shall remember its event streams in, instead of memory.
        sharing: returns the log of a session, by its id and the number of its engine, where other endpoints serve the
            same sessions.

    Raises:
        ValueError: an allowed origin or host is none.
    """

    def __init__(
        self,
        profile: ServerProfile,
        options: StreamableHTTPOptions | None = None,
        *,
        mint: Callable[[], str],
        mirrors: Mirrors = MappingProxyType({}),
        logs: Callable[[], EventStore] | None = None,
        sharing: Callable[[str, int], SharedEventStore] | None = None,
    ) -> None:
        self.profile = profile
        self.options = options or StreamableHTTPOptions()
        self.is_draining = False
        """No request is taken any more; set by `drain`."""
        self._versions = frozenset(name.encode() for name in profile.handshakes)
        """Of sessions, as a header names them."""
        self._mint = mint
        self._mirrors = mirrors
        self._logs = logs
        self._sharing = sharing
        methods = _METHODS if profile.handshakes else {"POST": _METHODS["POST"]}
        self._guard = Guard(self.options.guard, methods)
        self._budget = Budget(self.options.all_logs_size)
        self._requests = Seats(self.options.requests, self.options.requests_each)
        self._listens = Seats(self.options.listens, self.options.listens_each)
        self._places = Seats(self.options.sessions, self.options.sessions_each)
        self._sessions: dict[str, Session] = {}
        # Of ids, because the queue lets go of what it was told to forget only in time.
        self._deadlines: DeadlineQueue[str] = DeadlineQueue()

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The live sessions by id."""
        return MappingProxyType(self._sessions)

    # What comes in

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
        """Take a whole request and return what answers it.

        Args:
            head: the head.
            body: the body; `b""` where there is none.
            now: the time.
            arrival: where it arrived.
            principal: who sends it, as verified by the adapter.
            is_checked: `refuse` let it pass already.
        """
        if not is_checked:
            answer = self.refuse(head, arrival)
            if answer is not None:
                return answer
        headers = self._guard.cors(head)
        if head.method == "POST":
            found = self._post(head, body, now, principal, headers, arrival.calls)
        else:
            found = self._use(head, now, principal, headers)
        return found.with_headers(headers) if isinstance(found, Answer) else found

    def _post(
        self,
        head: RequestHead,
        body: bytes,
        now: float,
        principal: str | None,
        headers: list[Header],
        calls: CallReader | None,
    ) -> Exchange | Answer:
        if self._guard.max_body is not None and len(body) > self._guard.max_body:
            return self.too_large()
        limits = self.profile.limits
        message = decode(body, limits) if calls is None else calls.read(body, limits)
        version = head.headers.get(_VERSION)
        if type(message) is Repeat and (version is None or version in _HANDSHAKES):
            # What it seems to be it is only if its arguments are some, which is still to be seen.
            if _may_claim(body) or _SESSION not in head.headers:
                message = decode(body, limits)
        if self._is_modern(version, message, body):
            return self._post_single(head, message, body, now, principal, headers)
        if version is not None:
            answer = self._refuse_version(head, version)
            if answer is not None:
                return answer
        return self._post_session(head, message, body, now, principal, headers)

    def _is_modern(self, version: bytes | None, message: Envelope | Malformed, body: bytes) -> bool:
        """Tell the eras apart, by the body's claim first."""
        if not self.profile.envelopes or not self.profile.handshakes:
            return not self.profile.handshakes
        if version is not None and version not in _HANDSHAKES:
            # "Header names a modern version but body lacks the claim": refused by that era's rules, as is what no
            # revision is called.
            return True
        if not isinstance(message, Envelope) or message.method is UNSET or type(message) is Repeat:
            return False  # a repeated call that comes as far as this names no version
        request_meta = RequestMeta()
        if message.params is not UNSET and _may_claim(body):
            try:
                raw_meta = _decode_params(message.params).meta
                if raw_meta is not UNSET:
                    request_meta = _decode_meta(raw_meta)
            except DECODE_ERRORS:
                pass  # it claims nothing that could be read; the engine says what is wrong
        return self.profile.envelope_era.claims(message.method, request_meta)

    def _busy(self, id: RequestId | UnsetType, what: str, *headers: Header) -> Answer:
        return refuse(503, overloaded(what), RETRY_AFTER, *headers, id=id)

    # The envelope era

    def _post_single(
        self,
        head: RequestHead,
        message: Envelope | Malformed,
        body: bytes,
        now: float,
        principal: str | None,
        headers: list[Header],
    ) -> Exchange | Answer:
        seat = None
        if isinstance(message, Envelope) and message.method is not UNSET:
            if message.id is UNSET:
                version = head.headers.get(_VERSION)
                if version is not None and version.decode("latin-1") not in self.profile.envelopes:
                    return refuse(400, self.profile.unsupported(version.decode("latin-1")))
            elif self.is_draining:
                return self._busy(message.id, _SHUTTING_DOWN)
            else:
                is_listen = message.method == "subscriptions/listen"
                seat = (self._listens if is_listen else self._requests).take(principal)
                if seat is None:
                    return self._busy(message.id, "subscriptions" if is_listen else "requests in flight")
        engine = HTTPServerEngine(self.profile)
        engine.headers, engine.mirrors, engine.principal = head.headers, self._mirrors, principal
        return SingleExchange(engine, message, body, now=now, options=self.options.stream, headers=headers, seat=seat)

    # The handshake era

    def _refuse_version(self, head: RequestHead, version: bytes) -> Answer | None:
        if version in self._versions and not head.headers.is_repeated(_VERSION):
            return None
        # "invalid or unsupported MCP-Protocol-Version, it MUST respond with 400 Bad Request"
        # — 2025-11-25 basic/transports#protocol-version-header
        served = ", ".join(self.profile.handshakes)
        return refuse(400, f"Unsupported MCP-Protocol-Version header; sessions are served in {served}")

    def _find(self, head: RequestHead, principal: str | None, id: RequestId | UnsetType = UNSET) -> Session | Answer:
        """Return the session that a request names; that of another principal is as good as none."""
        try:
            name = head.headers.single(_SESSION)
        except DuplicateHeader:
            return refuse(400, "More than one Mcp-Session-Id header", id=id)
        if name is None:
            return refuse(400, "Mcp-Session-Id header required: initialize first", id=id)
        session = self._sessions.get(name.decode("latin-1"))
        if session is None or session.principal != principal:
            return gone(id)
        if session.is_over:
            self.end(session)
            return gone(id)
        return session

    def _post_session(
        self,
        head: RequestHead,
        message: Envelope | Malformed,
        body: bytes,
        now: float,
        principal: str | None,
        headers: list[Header],
    ) -> Exchange | Answer:
        is_request = isinstance(message, Envelope) and message.method is not UNSET and message.id is not UNSET
        if is_request and self.is_draining:
            return self._busy(message.id, _SHUTTING_DOWN)
        if _SESSION not in head.headers:
            if is_request and isinstance(message, Envelope) and message.method == "initialize":
                return self._initialize(message, body, now, principal, headers)
            if isinstance(message, Malformed) and body.lstrip()[:1] != b"[":
                return refuse(400, message.error, id=message.id)
        session = self._find(head, principal, message.id if is_request else UNSET)
        if isinstance(session, Answer):
            return session
        exchange = session.receive(message, body, now=now, headers=headers)
        if session.is_over:
            self.end(session)
        return exchange

    def _initialize(
        self, message: Envelope, body: bytes, now: float, principal: str | None, headers: list[Header]
    ) -> Exchange | Answer:
        engine = ServerEngine(self.profile)
        engine.principal = principal
        engine.receive_decoded(message, body)
        if engine.revision is None:
            (refusal,) = engine.messages_to_send()
            status = status_of(refusal.code, Era.HANDSHAKE, Source.ENGINE)
            return Answer(status, [JSON_TYPE], refusal.data)
        place = self._places.take(principal)
        if place is None:
            return self._busy(message.id, "sessions")
        name = self._mint()
        if name in self._sessions or not is_session_id(name):
            place.leave()
            raise LocalProtocolError(BAD_MINT)
        session = self._keep(name, engine, place, now, 0)
        return session.greet(now=now, headers=[(_SESSION, name.encode()), *headers])

    def _keep(self, name: str, engine: ServerEngine, place: Seat, now: float, number: int) -> Session:
        log: EventStore | None = None
        sharing = None if self._sharing is None else self._sharing(name, number)
        if sharing is None:
            log = EventLog(self.options.log, self._budget) if self._logs is None else self._logs()
        session = self._sessions[name] = Session(
            name,
            engine,
            now=now,
            options=self.options.stream,
            log=log,
            seats=self._requests,
            place=place,
            sharing=sharing,
            number=number,
        )
        self._arm(session)
        return session

    def adopt(
        self, name: str, record: HandshakeRecord, state: HandshakeState, *, now: float, age: float, number: int
    ) -> Session | None:
        """Serve a session that was begun at another endpoint; `None` if there is no room, or its revision is not ours.

        Args:
            name: its id.
            record: what its handshake settled.
            state: what has changed since.
            now: the time.
            age: seconds since its handshake.
            number: tells the engines of the session apart; never given twice.
        """
        engine = ServerEngine(self.profile)
        if not engine.restore_handshake(record, state, number):
            return None
        place = self._places.take(record.principal)
        if place is None:
            return None
        session = self._keep(name, engine, place, now, number)
        session.born = now - age
        self._arm(session)
        return session

    def _use(self, head: RequestHead, now: float, principal: str | None, headers: list[Header]) -> Exchange | Answer:
        """Take a GET or a DELETE."""
        version = head.headers.get(_VERSION)
        if version is not None:
            if version.decode("latin-1") in self.profile.envelopes:
                # "HTTP GET or DELETE to the MCP endpoint: respond with 405"
                # — 2026-07-28 basic/transports/streamable-http#earlier-streamable-http-revisions
                return refuse(405, "Method not allowed in this revision", _MODERN_ALLOW)
            answer = self._refuse_version(head, version)
            if answer is not None:
                return answer
        session = self._find(head, principal)
        if isinstance(session, Answer):
            return session
        if head.method == "DELETE":
            self.end(session)
            return Receipt(session, _ENDED, headers)
        if self.is_draining:
            return self._busy(UNSET, _SHUTTING_DOWN)
        last_event_id = head.headers.get(_LAST_EVENT)
        if last_event_id is None:
            return session.listen(now=now, headers=headers)
        return session.resume(last_event_id, now=now, headers=headers) or refuse(
            400, "Last-Event-ID names no stream of this session, or one that is forgotten"
        )

    # The life of sessions

    def end(self, session: Session) -> None:
        """End a session; requests that name it are answered 404 from then on."""
        if self._sessions.pop(session.id, None) is not None:
            self._deadlines.disarm(session.id)
            session.end()

    def drain(self, now: float) -> list[Exchange]:
        """Take no more requests, and let nobody listen; returns the exchanges that have something to write.

        Answers to what was asked before are still written. Subscriptions are ended on their own engines.
        """
        self.is_draining = True
        ready: list[Exchange] = []
        for session in self._sessions.values():
            session.stop_listening()
            ready += session.flush(now)
        return ready

    def next_deadline(self) -> float | None:
        """Return when the next session may have to end, absolute on the caller's clock."""
        return self._deadlines.next()

    def handle_deadline(self, now: float) -> list[Session]:
        """End the sessions that were idle, or there, for too long; returns them, for their last events."""
        ended = []
        for name in self._deadlines.expire(now):
            session = self._sessions[name]
            if session.is_busy:
                session.last_used = now
            if not self._arm(session, now):
                self.end(session)
                ended.append(session)
        return ended

    def _arm(self, session: Session, now: float | None = None) -> bool:
        """Arm a session's deadline; returns whether it lies ahead."""
        idle, life = self.options.session_idle, self.options.session_life
        ends = [] if idle is None else [session.last_used + idle]
        if life is not None:
            ends.append(session.born + life)
        deadline = min(ends, default=None)
        if deadline is None or (now is not None and deadline <= now):
            return deadline is None
        self._deadlines.arm(session.id, deadline)
        return True


def _may_claim(body: bytes) -> bool:
    """Tell whether a message may name a protocol version."""
    return _CLAIM in body or b"\\u" in body


def is_session_id(name: str) -> bool:
    """Tell whether a text can be the id of a session."""
    # "The session ID MUST only contain visible ASCII characters (ranging from 0x21 to 0x7E)"
    # — basic/transports#session-management
    return bool(name) and all("!" <= character <= "~" for character in name)
