"""HTTP+SSE behind a balancer: the process that has the stream is asked, whoever gets the message.

Here all answers leave on one connection, so that there is an owner whether one likes it or not; a stream lives and dies
with it. A stream listens on a topic that its id and its principal name; a message that comes elsewhere is published
there, and what its receiver says of it comes back.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from urllib.parse import parse_qs, quote

import anyio
import msgspec

from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http.answer import ANYWHERE, JSON_TYPE, RETRY_AFTER, Answer, Arrival, Header, refuse
from protocol.http.exchange import ACCEPTED, Exchange, StreamOptions
from protocol.http.sse_endpoint import SSEEndpoint, SSEExchange

from ..adapters.carriers import Carriers
from ..adapters.owner import spawn_owner
from ..adapters.waiter import make_waiter
from ..stores import Store, StoreError

__all__ = ["Forward", "SharedSSE"]

PATIENCE = 5.0
"""Seconds in which whoever has the stream must have taken a message."""
_QUIET = StreamOptions(commit_after=None, keep_alive=None)
_NOT_HERE = "No such event stream: open one first"

_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(tuple[str, int, bytes]).decode
_decode_answer = msgspec.msgpack.Decoder(tuple[int, int, bytes]).decode

Waiter = Callable[[int, bytes], None]


class Forward(Exchange):
    """A message for a stream of another process: answered as that says."""

    def __init__(self, headers: list[Header]) -> None:
        super().__init__(0.0, _QUIET, headers)
        self.reply(ACCEPTED)
        self.hold()

    def events_received(self) -> list[object]:  # type: ignore[override]
        """Return nothing: what happens, happens elsewhere."""
        return []

    def flush(self, now: float) -> list[Exchange]:
        """Carry nothing."""
        return []

    def receive_disconnect(self) -> None:
        """Take the loss of the connection, which changes nothing."""


class SharedSSE:
    """An endpoint of HTTP+SSE whose streams are reached by way of others.

    Args:
        endpoint: has this process's streams.
        store: carries messages.
        realm: the name of the server.
        worker: the name of this process.
        carriers: what writes the answers.
        take: takes an exchange's events.
    """

    def __init__(
        self,
        endpoint: SSEEndpoint,
        store: Store,
        realm: str,
        worker: str,
        carriers: Carriers,
        take: Callable[[Exchange], None],
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._realm = realm
        self._worker = worker
        self._carriers = carriers
        self._take = take
        self._waiting: dict[int, Waiter] = {}
        self._last = 0
        self._streams: dict[str, Callable[[], None] | None] = {}
        """What ends the hearing of each, by its id; `None` before it is begun."""

    async def start(self) -> Callable[[], None]:
        """Hear what others say of our messages; returns what ends that."""
        leave: Callable[[], None] = await self._store.subscribe(self._answers(self._worker), self._hear_answer)
        return leave

    def _answers(self, worker: str) -> str:
        return f"sse-answers:{self._realm}:{worker}"

    def _topic(self, stream: str, principal: str | None) -> str:
        # That of another principal is as good as none: nobody listens there.
        key = _encode((self._realm, stream, principal))
        return f"sse:{sha256(key).hexdigest()[:40]}"

    # As an endpoint

    def refuse(self, head: RequestHead, arrival: Arrival = ANYWHERE) -> Answer | None:
        """Return the answer to a request whose body must not even be read."""
        return self._endpoint.refuse(head, arrival)

    def too_large(self) -> Answer:
        """Return the answer to a body that is too long."""
        return self._endpoint.too_large()

    def cors(self, head: RequestHead) -> list[Header]:
        """Return the headers that let the page that sent a request read an answer that is not ours."""
        return self._endpoint.cors(head)

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
        """Take a whole request and return what answers it."""
        names = parse_qs(head.target.partition("?")[2]).get("sessionId", [])
        if head.method != "POST" or len(names) != 1 or names[0] in self._streams:
            return self._endpoint.receive_request(
                head, body, now=now, arrival=arrival, principal=principal, is_checked=is_checked
            )
        forward = Forward(self.cors(head))
        spawn_owner(self._forward, forward, self._topic(names[0], principal), body, name="kailash forward")
        return forward

    async def _forward(self, forward: Forward, topic: str, body: bytes) -> None:
        self._last += 1
        number = self._last
        waiter = make_waiter(self._carriers.loop)
        self._waiting[number] = lambda status, content: None if waiter.done() else waiter.set_result((status, content))
        answer = refuse(503, "Whoever has this event stream does not answer", RETRY_AFTER)
        try:
            with anyio.move_on_after(PATIENCE):
                if await self._store.publish(topic, _encode((self._worker, number, body))):
                    status, content = await waiter
                    answer = Answer(status, [JSON_TYPE], content) if content else Answer(status, [])
                else:
                    answer = refuse(404, _NOT_HERE)
        except StoreError:
            answer = refuse(503, "The store of the event streams cannot be reached", RETRY_AFTER)
        finally:
            del self._waiting[number]
        forward.release(answer)
        self._carriers.carry([forward])

    def _hear_answer(self, payload: bytes) -> None:
        number, status, content = _decode_answer(payload)
        waiter = self._waiting.get(number)
        if waiter is not None:
            waiter(status, content)

    # The streams of this process

    def watch(self, exchange: SSEExchange) -> None:
        """Take what happened to a stream: its client is told where to post once that is heard."""
        if exchange.engine.closed:
            leave = self._streams.pop(exchange.id, None)
            if leave is not None:
                leave()
        elif exchange.id not in self._streams:
            self._streams[exchange.id] = None
            exchange.hold()
            spawn_owner(self._open, exchange, name="kailash shared stream")

    async def _open(self, exchange: SSEExchange) -> None:
        topic = self._topic(exchange.id, exchange.engine.principal)
        leave = await self._store.subscribe(topic, partial(self._hear_message, exchange))
        if exchange.id not in self._streams:
            leave()
            return
        self._streams[exchange.id] = leave
        exchange.release()
        self._carriers.carry([exchange])

    def _hear_message(self, exchange: SSEExchange, payload: bytes) -> None:
        origin, number, body = _decode_message(payload)
        head = RequestHead("POST", f"/messages?sessionId={quote(exchange.id, safe='')}", Headers([]), "1.1", True)
        found = self._endpoint.receive_request(
            head, body, now=self._carriers.loop.now(), principal=exchange.engine.principal, is_checked=True
        )
        if isinstance(found, Exchange):
            self._take(found)
        status, content = 202, b""
        for part in found.data_to_send():
            if isinstance(part, Answer):
                status, content = part.status, part.body
        spawn_owner(self._answer, origin, _encode((number, status, content)), name="kailash forward")

    async def _answer(self, origin: str, payload: bytes) -> None:
        try:
            await self._store.publish(self._answers(origin), payload)
        except StoreError:
            pass  # who asked gives up by itself
