"""HTTP sessions that several processes serve, on one machine or many, behind a balancer that knows nothing of them.

Chosen: every process serves whatever arrives. It has an engine of its own for each session that it has seen, made from
the record in the store, and serves requests with no further word to anybody. What concerns another process is told on
one topic: a response to its question, the cancellation of its request, a change of log level or of what is watched, who
listens, the end. Event streams are logged in the store, so that any process can go on with any of them.

Refused: one owner for each session to whom all others forward. Every call would pay the round trips that here only
questions and cancellations pay (figures in docs/sharing.md), all answers would cross the store twice, and the death of
an owner would have to be noticed, agreed upon and repaired, where here it costs the calls that it ran and nothing else.
"""

import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from protocol.framing.httphead import RequestHead
from protocol.http.answer import ANYWHERE, RETRY_AFTER, Answer, Arrival, refuse
from protocol.http.endpoint import StreamableHTTPEndpoint
from protocol.http.eventlog import Budget, EventLogLimits, parse_event_id
from protocol.http.exchange import Exchange, SessionExchange, SingleExchange
from protocol.http.session import Session
from protocol.http.sse_endpoint import SSEEndpoint, SSEExchange
from protocol.jsonrpc import RequestId
from protocol.server import ServerEngine
from protocol.sharing import SPAN, HandshakeState

from ..adapters.carriers import Carriers, EndpointLike
from ..adapters.owner import Owner, spawn_owner
from ..stores import Store, StoreError
from ..stores.sessions import FINISHED, MESSAGE, Logged, SessionStore, read_event
from .shared_log import STANDALONE, SharedLog
from .shared_sse import Forward, SharedSSE

if TYPE_CHECKING:
    from .web import WebRuntime

__all__ = ["SharedSessions"]

FRESH: Final = 30.0
"""Seconds for which a session is served without a look at the store; its end is told sooner, if the word arrives."""
BEAT: Final = 2.0
"""Seconds between two signs of life, each of which holds for three of them."""
_OUTBOX_BYTES = 16 << 20
_BATCH = 256
_A_DAY = 86400.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, str, str, int, bytes]).decode
CHANGED, ENDED, LISTENING, FOLLOWING, STRAY = "changed", "ended", "listening", "following", "stray"


class _Follow:
    """A stream of another process that is heard here."""

    def __init__(self, stream: int, last: int) -> None:
        self.stream = stream
        self.last = last
        self.ids: list[RequestId] = []
        self.is_resumed = False
        self.is_orphan = False
        self.is_old = False
        self.leave: Callable[[], None] | None = None


class _Shared:
    """What is known of a session besides its engine."""

    def __init__(self, session: Session, name: str, log: SharedLog, state: HandshakeState, fresh_until: float) -> None:
        self.session = session
        self.name = name
        self.log = log
        self.state = state
        """As the store has it."""
        self.changes = session.engine.handshake_changes
        self.fresh_until = fresh_until
        self.is_ended = False
        self.follows: dict[int, _Follow] = {}


class SharedSessions:
    """Lets an endpoint serve sessions together with those of other processes.

    Args:
        store: what they share.
        realm: the name of the server: sessions of one are none of another that has the same store.
        runtime: runs the requests.
        carriers: what writes the answers.
        admit: finds out who sends a request.
        idle: seconds without use after which a session ends; `None`: never.
        life: seconds after which it ends in any case.
        hear: takes what other processes tell of changes.
        limits: how much of the events of one session is kept.
        all_logs_size: bytes that the logs of all sessions keep here.
    """

    def __init__(
        self,
        store: Store,
        realm: str,
        runtime: "WebRuntime",
        carriers: Carriers,
        *,
        admit: Callable[[EndpointLike, RequestHead, Arrival], Any] | None,
        idle: float | None,
        life: float | None,
        hear: Callable[[bytes], None],
        limits: EventLogLimits,
        all_logs_size: int | None,
    ) -> None:
        assert store.sessions is not None
        self._realm = realm.encode()
        self._topic, self._changes = f"sessions:{realm}", f"changes:{realm}"
        self.worker = secrets.token_hex(8)
        self.endpoint: StreamableHTTPEndpoint | None = None
        """Whose sessions are shared, if any are; set before anything is served."""
        self.sse: SharedSSE | None = None
        """What shares the streams of HTTP+SSE, if they are served; set by `share_sse`."""
        self._store = store
        self._sessions: SessionStore = store.sessions
        self._runtime = runtime
        self._carriers = carriers
        self._now = carriers.loop.now
        self._admit = admit
        self._idle, self._life = idle, life
        self._limits = limits
        self._budget = Budget(all_logs_size)
        self._shared: dict[ServerEngine, _Shared] = {}
        self._names: dict[str, _Shared] = {}
        self._logs: dict[str, SharedLog] = {}
        self._outbox: list[Logged] = []
        self._outbox_size = 0
        self._is_writing = False
        self._is_closed = False
        self._hear_change = hear
        self._leave: list[Callable[[], None]] = []
        self._owner: Owner | None = None

    async def start(self) -> None:
        """Hear the others, and let them know that we live."""
        self._leave = [
            await self._store.subscribe(self._topic, self._hear, missed=self._doubt_all),
            await self._store.subscribe(self._changes, self._take_change),
        ]
        if self.sse is not None:
            self._leave.append(await self.sse.start())
        self._owner = spawn_owner(self._beat, name="kailash shared sessions")

    async def aclose(self) -> None:
        """Write what waits, and hear nobody any more; the sessions go on elsewhere."""
        self._is_closed = True
        if self._owner is not None:
            self._owner.cancel()
            await self._owner.wait()
        for leave in self._leave:
            leave()
        for shared in list(self._names.values()):
            self._forget(shared)
        with anyio.move_on_after(2.0):
            try:
                await self._write_out()
                await self._sessions.live(self.worker, 0)
            except StoreError:
                pass

    @property
    def http(self) -> StreamableHTTPEndpoint:
        """The endpoint whose sessions are shared."""
        assert self.endpoint is not None
        return self.endpoint

    def share_sse(self, endpoint: SSEEndpoint) -> SharedSSE:
        """Return what serves HTTP+SSE in an endpoint's place; before anything is served."""
        self.sse = SharedSSE(
            endpoint, self._store, self._realm.decode(), self.worker, self._carriers, self._runtime.take
        )
        return self.sse

    def _name(self, session_id: str) -> str:
        """Return what a session is called in the store: who reads that learns no id with which to use it."""
        return sha256(self._realm + b"\0" + session_id.encode("latin-1")).hexdigest()[:40]

    def log_of(self, session_id: str, number: int) -> SharedLog:
        """Return the log of a new engine's session."""
        log = SharedLog(self._name(session_id), number, self._write, self._limits, self._budget)
        self._logs[log.name] = log
        return log

    # Before a request is served

    def admit(self, endpoint: EndpointLike, head: RequestHead, arrival: Arrival = ANYWHERE) -> Any:
        """Find out who sends a request, and have the session at hand that it names."""
        found = None if self._admit is None else self._admit(endpoint, head, arrival)
        name = head.headers.get(b"mcp-session-id")
        if endpoint is not self.endpoint or name is None or b"mcp-method" in head.headers:
            return found
        session_id = name.decode("latin-1")
        if head.method != "GET":
            session = self.http.sessions.get(session_id)
            if session is not None:
                shared = self._shared.get(session.engine)
                if shared is not None and self._now() < shared.fresh_until:
                    return found
        return self._prepare(head, session_id, found)

    async def _prepare(self, head: RequestHead, session_id: str, found: Any) -> Any:
        if hasattr(found, "__await__"):
            found = await found
        if isinstance(found, Answer):
            return found
        principal = None if found is None else found.principal
        try:
            is_full = await self._fetch(session_id, principal)
            if is_full:
                return self._refusal(head, "Too many sessions")
            session = self.http.sessions.get(session_id)
            if head.method == "GET" and session is not None and session.principal == principal:
                await self._prepare_stream(self._shared[session.engine], head.headers.get(b"last-event-id"))
        except StoreError:
            # What is here is served; nobody here knows of anything else.
            if session_id not in self.http.sessions:
                return self._refusal(head, "The store of the sessions cannot be reached")
        return found

    def _refusal(self, head: RequestHead, why: str) -> Answer:
        return refuse(503, why, RETRY_AFTER).with_headers(self.http.cors(head))

    async def _fetch(self, session_id: str, principal: str | None) -> bool:
        """Have a session at hand as the store has it; returns whether there is no room for it."""
        name = self._name(session_id)
        if session_id in self.http.sessions:
            await self._refresh(self.http.sessions[session_id])
            return False
        kept = await self._sessions.touch(name, self._lifetime)
        # That of another principal is as good as none, and not worth an engine.
        if kept is None or kept.record.principal != principal:
            return False
        kept = await self._sessions.adopt(name, self.worker, self._lifetime)
        if kept is None or session_id in self.http.sessions:
            return False
        age = max(0.0, time.time() - kept.record.born)
        now = self._now()
        if self._life is not None and age >= self._life:
            return False
        session = self.http.adopt(session_id, kept.record, kept.state, now=now, age=age, number=kept.number)
        if session is None:
            return True
        self._add(session, kept.state)
        return False

    async def _refresh(self, session: Session) -> None:
        shared = self._shared.get(session.engine)
        if shared is None:
            return  # it is not in the store yet
        kept = await self._sessions.touch(shared.name, self._lifetime)
        if self._names.get(shared.name) is not shared:
            return
        if kept is None:
            self._end_here(shared)
            return
        shared.fresh_until = self._now() + FRESH
        if shared.changes == session.engine.handshake_changes:  # else ours is newer
            shared.state = kept.state
            session.engine.restore_state(kept.state)
            self._runtime.stir(session)

    @property
    def _lifetime(self) -> float:
        return (self._idle or self._life or _A_DAY) + FRESH

    def _add(self, session: Session, state: HandshakeState) -> _Shared:
        name = self._name(session.id)
        shared = _Shared(session, name, self._logs[name], state, self._now() + FRESH)
        self._shared[session.engine] = self._names[name] = shared
        return shared

    # After it was

    def take(self, exchange: Exchange, caller: Any = None) -> None:
        """Take what happened at an exchange's engine; what others must know is told before it is answered."""
        if type(exchange) is Forward:
            return
        self._runtime.take(exchange, caller)
        if type(exchange) is SingleExchange or self._is_closed:
            return
        if isinstance(exchange, SSEExchange):
            if self.sse is not None:
                self.sse.watch(exchange)
            return
        session = getattr(exchange, "session", None)
        if not isinstance(session, Session):
            return
        engine = session.engine
        shared = self._shared.get(engine)
        if shared is None:
            if not session.is_over:
                state = engine.handshake_state()
                shared = self._add(session, state)
                self._settle(exchange, partial(self._create, shared, state))
            return
        if shared.follows and isinstance(exchange, SessionExchange):
            self._resumed(shared, exchange)
        acts: list[Callable[[], Any]] = []
        if session.strays:
            strays = list(session.strays)
            session.strays.clear()
            acts.append(partial(self._tell_strays, shared, strays))
        if shared.changes != engine.handshake_changes:
            shared.changes = engine.handshake_changes
            before, shared.state = shared.state, engine.handshake_state()
            acts.append(partial(self._change, shared, before, shared.state))
        if session.is_over and not shared.is_ended:
            shared.is_ended = True
            acts.append(partial(self._end, shared))
        if acts:
            self._settle(exchange, *acts)

    def leave(self, session: Session) -> None:
        """Take the end of a session in this process alone, where it was not used for long."""
        shared = self._shared.get(session.engine)
        if shared is not None:
            self._forget(shared)

    def _settle(self, exchange: Exchange, *acts: Callable[[], Any]) -> None:
        """Hold an answer until something is done."""
        exchange.hold()
        spawn_owner(self._do, exchange, acts, name="kailash shared session")

    async def _do(self, exchange: Exchange, acts: Iterable[Callable[[], Any]]) -> None:
        try:
            for act in acts:
                await act()
        except StoreError:
            exchange.release(refuse(503, "The store of the sessions cannot be reached", RETRY_AFTER))
        else:
            exchange.release()
        self._carriers.carry([exchange])

    async def _create(self, shared: _Shared, state: HandshakeState) -> None:
        session = shared.session
        try:
            record = session.engine.handshake_record(time.time())
            await self._sessions.create(shared.name, record, state, self.worker, self._lifetime)
        except StoreError:
            self._end_here(shared)
            raise

    async def _change(self, shared: _Shared, before: HandshakeState, after: HandshakeState) -> None:
        await self._sessions.change(shared.name, before, after, self._topic, self._news(CHANGED, shared))

    async def _tell_strays(self, shared: _Shared, bodies: list[bytes]) -> None:
        for body in bodies:
            await self._store.publish(self._topic, self._news(STRAY, shared, body=body))

    async def _end(self, shared: _Shared) -> None:
        self._forget(shared)
        await self._sessions.end(shared.name, self._topic, self._news(ENDED, shared))

    def _news(self, kind: str, shared: _Shared, number: int = 0, body: bytes = b"") -> bytes:
        return _encode((kind, shared.name, self.worker, number, body))

    # What others tell

    def tell(self, news: bytes, otherwise: Callable[[bytes], None]) -> None:
        """Tell other processes of a change; safe from any thread.

        Args:
            news: what is told.
            otherwise: gets it while the store is away.
        """

        def publish() -> None:
            spawn_owner(self._publish, news, otherwise, name="kailash change")

        self._carriers.loop.call_threadsafe(publish)

    async def _publish(self, news: bytes, otherwise: Callable[[bytes], None]) -> None:
        try:
            await self._store.publish(self._changes, b"%b %b" % (self.worker.encode(), news))
        except StoreError:
            otherwise(news)

    def _take_change(self, payload: bytes) -> None:
        origin, _, news = payload.partition(b" ")
        if origin != self.worker.encode():
            self._hear_change(news)

    def _hear(self, payload: bytes) -> None:
        kind, name, origin, number, body = _decode(payload)
        shared = self._names.get(name)
        if shared is None:
            return
        session = shared.session
        if kind == CHANGED:
            # Ours as well: what was read while it was written may be older.
            shared.fresh_until = 0.0
            spawn_owner(self._refresh_quietly, session, name="kailash shared session")
        elif origin == self.worker:
            return
        elif kind == ENDED:
            self._end_here(shared)
        elif kind == LISTENING and number > shared.log.listening:
            session.lose_listener()
            self._runtime.stir(session)
        elif kind == FOLLOWING:
            session.let_go(number)
            self._runtime.stir(session)
        elif kind == STRAY:
            session.receive_stray(body)
            self._runtime.stir(session)

    async def _refresh_quietly(self, session: Session) -> None:
        try:
            await self._refresh(session)
        except StoreError:
            pass  # the next request that finds it stale tries again

    def _doubt_all(self) -> None:
        """Look at the store before each session is served again: something may have been missed."""
        for shared in self._names.values():
            shared.fresh_until = 0.0

    def _end_here(self, shared: _Shared) -> None:
        shared.is_ended = True
        self._forget(shared)
        self.http.end(shared.session)
        self._runtime.end(shared.session)

    def _forget(self, shared: _Shared) -> None:
        self._leave_follows(shared)
        self._shared.pop(shared.session.engine, None)
        if self._names.get(shared.name) is shared:
            del self._names[shared.name]
            self._logs.pop(shared.name, None)

    # Streams that others began

    async def _prepare_stream(self, shared: _Shared, last_event_id: bytes | None) -> None:
        place = None if last_event_id is None else parse_event_id(last_event_id)
        if last_event_id is not None and (place is None or not shared.session.revision.resumable):
            return
        if place is None or place[0] == STANDALONE:
            await self._listen(shared, place)
        elif place[0] // SPAN != shared.session.number:
            await self._follow(shared, *place)
        else:
            await self._store.publish(self._topic, self._news(FOLLOWING, shared, place[0]))

    async def _listen(self, shared: _Shared, place: tuple[int, int] | None) -> None:
        kept = await self._sessions.adopt(shared.name, self.worker, self._lifetime)
        if kept is None:
            self._end_here(shared)
            return
        await self._store.publish(self._topic, self._news(LISTENING, shared, kept.number))
        if place is not None:
            await self._write_out()
            read = await self._sessions.read(shared.name, STANDALONE, place[1])
            shared.log.fetch(STANDALONE, read.messages)
            shared.session.graft(STANDALONE, is_done=False)
        shared.log.listening = max(kept.number, shared.log.listening)

    async def _follow(self, shared: _Shared, stream: int, number: int) -> None:
        self._unfollow(shared, stream)
        follow = _Follow(stream, number)
        topic = self._sessions.stream_topic(shared.name, stream)
        follow.leave = await self._store.subscribe(topic, partial(self._carry, shared, follow))
        shared.follows[stream] = follow
        await self._store.publish(self._topic, self._news(FOLLOWING, shared, stream))
        read = await self._sessions.read(shared.name, stream, number)
        if not read.is_known:
            self._unfollow(shared, stream)
            return
        shared.log.fetch(stream, read.messages)
        follow.last = max([number, *(each for each, _ in read.messages)])
        follow.ids = read.ids
        follow.is_orphan = not (read.is_done or read.is_alive)
        shared.session.graft(stream, is_done=read.is_done)

    def _carry(self, shared: _Shared, follow: _Follow, payload: bytes) -> None:
        kind, number, data = read_event(payload)
        session = shared.session
        if kind == MESSAGE and number > follow.last:
            if not follow.is_resumed:
                shared.log.add(follow.stream, number, data)
            elif not session.relay(follow.stream, f"{follow.stream}-{number}", data):
                self._unfollow(shared, follow.stream)
            follow.last = max(follow.last, number)
        elif kind == FINISHED:
            if follow.is_resumed:
                session.end_relay(follow.stream)
                self._unfollow(shared, follow.stream)
            else:
                session.graft(follow.stream, is_done=True)
        self._runtime.stir(session)

    def _resumed(self, shared: _Shared, exchange: SessionExchange) -> None:
        follow = shared.follows.get(exchange.stream)
        if follow is None or follow.is_resumed:
            return
        follow.is_resumed = True
        if follow.is_orphan:
            shared.session.abandon(follow.stream, follow.ids, self._now())
        if follow.is_orphan or not exchange.is_live:
            self._unfollow(shared, follow.stream)

    def _unfollow(self, shared: _Shared, stream: int) -> None:
        follow = shared.follows.pop(stream, None)
        if follow is not None:
            shared.log.fetch(stream, ())
            if follow.leave is not None:
                follow.leave()

    def _leave_follows(self, shared: _Shared) -> None:
        for stream in list(shared.follows):
            self._unfollow(shared, stream)

    # Events for the store

    def _write(self, entry: Logged) -> None:
        self._outbox.append(entry)
        self._outbox_size += len(entry.data)
        while self._outbox_size > _OUTBOX_BYTES:
            # The store takes less than is said. Only clients whose connection breaks will miss what is dropped.
            self._outbox_size -= len(self._outbox.pop(0).data)
        if not self._is_writing:
            self._is_writing = True
            spawn_owner(self._write_out, name="kailash shared events")

    async def _write_out(self) -> None:
        self._is_writing = True
        try:
            while self._outbox:
                entries, self._outbox = self._outbox[:_BATCH], self._outbox[_BATCH:]
                self._outbox_size -= sum(len(entry.data) for entry in entries)
                await self._sessions.append(entries, self._limits.age)
        except StoreError:
            self._outbox.clear()
            self._outbox_size = 0
        finally:
            self._is_writing = False

    # Time

    async def _beat(self) -> None:
        while True:
            try:
                await self._sessions.live(self.worker, 3 * BEAT)
                for shared in list(self._names.values()):
                    await self._look_after(shared)
            except StoreError:
                pass  # said by the store already
            await anyio.sleep(BEAT)

    async def _look_after(self, shared: _Shared) -> None:
        session = shared.session
        if session.is_busy and self._now() >= shared.fresh_until:
            await self._refresh(session)
        for follow in list(shared.follows.values()):
            if not follow.is_resumed:
                if follow.is_old:
                    self._unfollow(shared, follow.stream)  # who asked for it was refused, or went
                follow.is_old = True
                continue
            read = await self._sessions.read(shared.name, follow.stream, follow.last)
            if not (read.is_alive or read.is_done):
                session.abandon(follow.stream, follow.ids or read.ids, self._now())
                self._unfollow(shared, follow.stream)
                self._runtime.stir(session)
