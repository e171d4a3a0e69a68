"""HTTP sessions in Redis: what any process needs to go on with one that another began, and the events it sent.

| key            | holds                                                                                      |
|----------------|--------------------------------------------------------------------------------------------|
| `s:id`         | a session: its record, its state, the number last given out, who has which number (`r:n`)  |
| `e:id:stream`  | the events of one of its streams, as a Redis stream whose ids are the events' numbers      |
| `w:worker`     | nothing: it is there as long as that process says so                                       |

No key outlives its use by much: sessions expire when nobody touches them, events after a few minutes.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from protocol.jsonrpc import RequestId
from protocol.sharing import SPAN, HandshakeRecord, HandshakeState, decode_record, encode_record

from .base import StoreError
from .scripts import Script

if TYPE_CHECKING:
    from .redis import RedisStore

__all__ = ["BEGUN", "FINISHED", "MESSAGE", "TRIM", "Kept", "Logged", "SessionStore", "StreamRead", "read_event"]

BEGUN, MESSAGE, FINISHED = b"b", b"m", b"f"
"""What an entry of a log says: which requests the stream answers, a message, that nothing more will come."""
TRIM = b"t"
"""What is no entry: those before its number are forgotten."""

_CREATE = Script("""
-- KEYS: session. ARGV: milliseconds, then fields and values.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")
_TOUCH = Script("""
-- KEYS: session. ARGV: milliseconds, worker that wants a number or ''.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local number = 0
if ARGV[2] ~= '' then
  number = redis.call('HINCRBY', KEYS[1], 'n', 1)
  redis.call('HSET', KEYS[1], 'r:' .. number, ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {number, redis.call('HGETALL', KEYS[1])}
""")
_CHANGE = Script("""
-- KEYS: session. ARGV: channel, news, how many arguments set fields, those, fields that go.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local last = 3 + ARGV[3]
if last > 3 then redis.call('HSET', KEYS[1], unpack(ARGV, 4, last)) end
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
""")
_END = Script("""
-- KEYS: session. ARGV: channel, news.
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
""")
_APPEND = Script("""
-- KEYS: a log each. ARGV: milliseconds, then channel, number, kind and data of each.
for i, key in ipairs(KEYS) do
  local channel, number, kind, data = unpack(ARGV, 4 * i - 2, 4 * i + 1)
  if kind == 't' then
    redis.call('XTRIM', key, 'MINID', '~', number .. '-0')
  else
    -- Who writes on after somebody else has taken over has a number that is too small, and is refused.
    local added = redis.pcall('XADD', key, number .. '-0', 'k', kind, 'd', data)
    if type(added) == 'string' then
      redis.call('PEXPIRE', key, ARGV[1])
      redis.call('PUBLISH', channel, kind .. number .. ':' .. data)
    end
  end
end
return #KEYS
""")
_READ = Script("""
-- KEYS: session, log. ARGV: the last number that is known, field of the writer, what its sign of life begins with.
local worker = redis.call('HGET', KEYS[1], ARGV[2])
local alive = worker and redis.call('EXISTS', ARGV[3] .. worker) or 0
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
local entries = redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+')
return {alive, first, last, entries}
""")


class Kept(NamedTuple):
    """A session as it is kept."""

    record: HandshakeRecord
    state: HandshakeState
    number: int
    """What was given out to whoever asked for one, else 0."""


class Logged(NamedTuple):
    """An entry of a log, to be written or read."""

    session: str
    stream: int
    number: int
    kind: bytes
    data: bytes


class StreamRead(NamedTuple):
    """What is kept of a stream."""

    is_known: bool
    is_alive: bool
    """Who writes it has given a sign of life lately."""
    is_done: bool
    ids: list[RequestId]
    """The requests that it answers, as far as that is still known."""
    messages: list[tuple[int, bytes]]
    """Numbers and messages after the one that was asked for."""


class SessionStore:
    """Keeps the sessions of the servers that share a store.

    Args:
        store: where.
    """

    def __init__(self, store: "RedisStore") -> None:
        self._store = store

    def _key(self, session: str) -> bytes:
        return b"%bs:%b" % (self._store.prefix, session.encode())

    def _log(self, session: str, stream: int) -> bytes:
        return b"%be:%b:%d" % (self._store.prefix, session.encode(), stream)

    @staticmethod
    def stream_topic(session: str, stream: int) -> str:
        """Return the topic on which a stream's events are published."""
        return f"e:{session}:{stream}"

    # Sessions

    async def create(
        self, session: str, record: HandshakeRecord, state: HandshakeState, worker: str, life: float
    ) -> bool:
        """Keep a new session; returns whether its id was free.

        Args:
            session: its id.
            record: what its handshake settled.
            state: what may change.
            worker: whose number 0 is.
            life: seconds until it is forgotten, unless it is touched.
        """
        fields = {b"base": encode_record(record), b"n": b"0", b"r:0": worker.encode(), **_fields(state)}
        flat = [each for pair in fields.items() for each in pair]
        return bool(await self._store.link.run(_CREATE, [self._key(session)], _milliseconds(life), *flat))

    async def adopt(self, session: str, worker: str, life: float) -> Kept | None:
        """Return a session with a number for this worker's engine, `None` if there is none."""
        return await self._touch(session, worker, life)

    async def touch(self, session: str, life: float) -> Kept | None:
        """Return a session and keep it for another while, `None` if it is over."""
        return await self._touch(session, "", life)

    async def _touch(self, session: str, worker: str, life: float) -> Kept | None:
        found = await self._store.link.run(_TOUCH, [self._key(session)], _milliseconds(life), worker)
        if found is None:
            return None
        number, flat = found
        fields: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))
        record = decode_record(fields.get(b"base", b""))
        if record is None:
            raise StoreError("the store holds a session that is none")
        return Kept(record, _state(fields), number)

    async def change(
        self, session: str, before: HandshakeState, after: HandshakeState, topic: str, news: bytes
    ) -> bool:
        """Keep what has changed, and tell of it; returns whether there still is such a session.

        Only what differs is written, so that what others change at the same time stays.
        """
        old, new = _fields(before), _fields(after)
        changed = [each for key, value in new.items() if old.get(key) != value for each in (key, value)]
        gone = [key for key in old if key not in new]
        arguments: list[Any] = [self._store.topic(topic), news, len(changed), *changed, *gone]
        return bool(await self._store.link.run(_CHANGE, [self._key(session)], *arguments))

    async def end(self, session: str, topic: str, news: bytes) -> None:
        """Forget a session, and tell of it."""
        await self._store.link.run(_END, [self._key(session)], self._store.topic(topic), news)

    # Their events

    async def append(self, entries: Sequence[Logged], age: float) -> None:
        """Keep events, and tell those who follow their streams.

        Args:
            entries: in order.
            age: seconds after which a stream in which nothing happens is forgotten.
        """
        arguments: list[Any] = []
        for session, stream, number, kind, data in entries:
            arguments += (self._store.topic(self.stream_topic(session, stream)), number, kind, data)
        keys = [self._log(entry.session, entry.stream) for entry in entries]
        await self._store.link.run(_APPEND, keys, _milliseconds(age), *arguments)

    async def read(self, session: str, stream: int, after: int) -> StreamRead:
        """Return what is kept of a stream after an event."""
        prefix = self._store.prefix
        writer = b"r:%d" % (stream // SPAN)
        alive, first, last, found = await self._store.link.run(
            _READ, [self._key(session), self._log(session, stream)], after, writer, prefix + b"w:"
        )
        entries = list(_entries(found))
        ids = [_decode_ids(data) for _, kind, data in _entries(first) if kind == BEGUN]
        return StreamRead(
            is_known=bool(first),
            is_alive=alive == 1,
            is_done=any(kind == FINISHED for _, kind, _ in _entries(last)),
            ids=ids[0] if ids else [],
            messages=[(number, data) for number, kind, data in entries if kind == MESSAGE],
        )

    # Who serves them

    async def live(self, worker: str, seconds: float) -> None:
        """Give a sign of life that holds for some seconds; none takes it back."""
        key = b"%bw:%b" % (self._store.prefix, worker.encode())
        if seconds > 0:
            await self._store.link.execute(b"SET", key, b"", b"PX", _milliseconds(seconds))
        else:
            await self._store.link.execute(b"DEL", key)


def read_event(payload: bytes) -> tuple[bytes, int, bytes]:
    """Return kind, number and data of what is published of a stream."""
    number, _, data = payload[1:].partition(b":")
    return payload[:1], int(number), data


_decode_ids = msgspec.json.Decoder(list[RequestId]).decode


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _entries(found: Sequence[Any]) -> Iterable[tuple[int, bytes, bytes]]:
    for event_id, flat in found:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        yield int(event_id.partition(b"-")[0]), fields[b"k"], fields[b"d"]


def _fields(state: HandshakeState) -> dict[bytes, bytes]:
    fields = {b"w:%b" % uri.encode(errors="surrogatepass"): b"" for uri in state.watched}
    if state.is_operating:
        fields[b"on"] = b""
    if state.log_level is not None:
        fields[b"level"] = state.log_level.encode()
    return fields


def _state(fields: dict[bytes, bytes]) -> HandshakeState:
    level = fields.get(b"level")
    watched = (key[2:].decode(errors="surrogatepass") for key in fields if key.startswith(b"w:"))
    return HandshakeState(
        is_operating=b"on" in fields, log_level=None if level is None else level.decode(), watched=frozenset(watched)
    )
