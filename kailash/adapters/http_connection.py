"""One HTTP/1.1 connection of a server: bytes to exchanges and back. Neither an idle nor a busy one owns a task.

data ─► codec ─head─► endpoint.refuse ─► admit ─body─► endpoint.receive_request ─► exchange ─► take (the runtime)
runtime ─► channel.flush ─► owner.flush ─► exchanges with something to write ─► codec ─► one write each

A request that comes whole behind a head that came before is answered without an event of the codec's: `_take_whole`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from math import inf
from typing import TYPE_CHECKING, Any

from protocol.framing.http11 import make_http_server
from protocol.framing.httpconnection import Data, EndOfRequest, Phase, ProtocolFault, Upgraded
from protocol.framing.httphead import RequestHead
from protocol.http.answer import Answer, Arrival, Part, ResponseHead
from protocol.http.exchange import Exchange
from protocol.http.upgrade import Upgrade
from protocol.repeats import CallReader

from .carriers import EndpointLike
from .departure import Departure, Move, Succession, report
from .http_timer import TimedConnection
from .loops import Running
from .switchboard import Relay, encode_request
from .waiter import make_waiter

if TYPE_CHECKING:
    from .http_server import HTTPServer

__all__ = ["HTTPConnection"]

logger = logging.getLogger("kailash.adapters.http_server")

NOT_FOUND = Answer(404, [(b"content-type", b"text/plain")], b"not found: this path serves nothing\n")

# A member of an enum is 70 ns away in CPython 3.11.
_HEAD, _BODY = Phase.HEAD, Phase.BODY
_LONG = 16 * 1024  # bytes that are not copied only to make one buffer of two
_LINGER_BYTES = 256 * 1024
_LINGER_SECONDS = 2.0


class HTTPConnection(TimedConnection):
    """One connection: requests one after the other, each answered by an exchange."""

    __slots__ = (
        "_admission", "_arrival", "_body", "_caller", "_codec", "_departure", "_endpoint", "_exchange", "_head",
        "_held", "_is_busy", "_is_complete", "_is_cut", "_is_turned_away", "_is_unread", "_lingered", "_out",
        "_passed", "_queued", "_read", "_relay", "_timed", "_transport", "_unsent", "_waiters",
    )  # fmt: skip

    def __init__(self, http: HTTPServer, read: bytes = b"") -> None:
        super().__init__(http)
        self._read = read
        self._relay: Relay | None = None
        """Passes everything on to another worker."""
        self._departure: Departure | None = None
        """Where the connection goes that speaks HTTP no longer, or not with us."""
        self._codec = make_http_server(http.options.codec, http.options.limits)
        self._transport: asyncio.Transport
        self._arrival = Arrival(calls=CallReader())
        self._head: RequestHead | None = None
        """The request at hand, once it is let in."""
        self._endpoint: EndpointLike | None = None
        self._caller: Any = None
        self._admission: Running | None = None
        """Who asks is being found out."""
        self._is_complete = False
        """The request was read to its end while that lasted."""
        self._body: list[bytes] = []
        self._timed: Phase | None = None
        """The part of a request whose deadline is set; what comes of it moves nothing."""
        self._passed: RequestHead | None = None
        """The last head that was let pass."""
        self._exchange: Exchange | None = None
        self._out: list[bytes] = []
        """What is written at the end of the loop's turn."""
        self._queued = 0
        """Bytes of it that must not become too many: of event streams, and of answers to pipelined requests."""
        self._held: list[Any] = []
        """Of pipelined requests, what is taken up once the peer has read more."""
        self._is_busy = False
        self._is_unread = False
        """We do not take what the peer sends."""
        self._is_turned_away = False
        self._is_cut = False
        """The request at hand, or what was taken for one, was not read to its end."""
        self._lingered = -1
        """Bytes thrown away since our last word; −1: it was not said."""
        self._unsent = 0
        self._waiters: list[Any] = []

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away."""
        self._open(transport)
        if self._read:
            # Another worker's, which has read this of it.
            read, self._read = self._read, b""
            self.data_received(read)

    def _open(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # one of anyio's streams has the same methods
        http = self._http
        most = http.options.most_connections
        if len(http.connections) - http.turned_away >= most:
            self._is_turned_away = True
            http.turned_away += 1
            self._codec.refuse(503, "too many connections")
            # Only so many may stay to hear that, or they would be as much of a burden as those that were let in.
            self._is_cut = http.turned_away <= most
            http.connections.add(self)
            self._send()
            return
        http.connections.add(self)
        self._transport.set_write_buffer_limits(high=http.options.high_bytes)
        raw = transport.get_extra_info("socket")
        name = transport.get_extra_info("sockname")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(name, tuple):
            peer = transport.get_extra_info("peername")
            away = peer[0] if isinstance(peer, tuple) else None
            self._arrival = Arrival(local=name[0], peer=away, calls=CallReader())
        self._wait(http.timeouts.head)

    def data_received(self, data: bytes) -> None:
        """Feed the codec, and act on what it found."""
        if self._relay is not None:
            self._relay.send(data)
            return
        if self._lingered >= 0:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self._transport.abort()
            return
        codec = self._codec
        if not self._is_busy:
            found = codec.recall(data)
            if found is not None:
                self._take_whole(*found)
                return
        codec.receive_data(data)
        if codec.phase is _HEAD and self._timed is None:
            self._timed = _HEAD
            self._wait(self._http.timeouts.head)
        self._advance()

    def eof_received(self) -> bool:
        """Take the end of what the peer sends for the loss of the connection; what is written already still leaves.

        A client that merely ends its side cannot be told from one that is gone, and the latter must cancel its request.
        """
        if self._relay is None:
            self._codec.receive_eof()
            self._advance()
        return False

    def pause_writing(self) -> None:
        """Stop reading while the peer does not take what was sent, and drop it if that lasts."""
        if self._relay is not None:
            self._relay.set_reading(False)
            return
        self._is_paused = True
        self._unsent = self._transport.get_write_buffer_size()
        self._set_reading()
        self._set_due(self._http.timeouts.write)

    def resume_writing(self) -> None:
        """Go on."""
        if self._relay is not None:
            self._relay.set_reading(True)
            return
        self._is_paused = False
        self._wake()
        self._set_reading()
        timeouts = self._http.timeouts
        if self._exchange is not None:
            self._wait_for_exchange()
        elif not self._transport.is_closing():
            self._wait(timeouts.idle if self._codec.is_idle else timeouts.body)
        if self._held:
            self._advance()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the exchange, if there is one."""
        self._is_lost = True
        self._stop_timer()
        if self._relay is not None:
            self._relay.close()
        if self._admission is not None:
            self._admission.cancel()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._http.carriers.detach(exchange)
            exchange.receive_disconnect()
            self._http.take(exchange, self._caller)
        self._is_paused = False
        self._held = []
        self._wake()
        self._http.turned_away -= self._is_turned_away
        self._http.forget(self)

    # Requests

    def _advance(self) -> None:
        if self._is_busy:
            return  # answering within the loop below; it goes on by itself
        codec = self._codec
        if self._held:
            if self._is_ahead():
                return
            events, self._held = self._held, []
        else:
            events = codec.events_received()
        self._is_busy = True
        try:
            while events:
                if self._take(events):
                    return
                events = codec.events_received()
                if events:
                    # Pipelined. What is answered already is counted before more is.
                    self._queue(codec.data_to_send())
                    if self._is_ahead():
                        self._held = events
                        break
        finally:
            self._is_busy = False
        if self._is_cut and codec.phase is _BODY and self._timed is None:
            self._timed = _BODY
            self._wait(self._http.timeouts.body)
        self._send()

    def _take_whole(self, head: RequestHead, body: bytes) -> None:
        """Take a request that came whole, as nearly every one does."""
        http = self._http
        self._is_busy = True
        try:
            self._timed = None
            if head is self._passed and http.admit is None and not http.is_draining:
                self._answer(head, body)
            else:
                self._begin(head)
                if self._head is not None:
                    self._body.append(body)
                self._receive()
        finally:
            self._is_busy = False
        if self._departure is None:
            self._send()
        else:
            self._advance()

    def _take(self, events: list[Any]) -> bool:
        """Take what the codec found; tell whether the connection has left."""
        for event in events:
            kind = type(event)
            if kind is RequestHead:
                self._is_cut, self._timed = True, None
                self._begin(event)
            elif kind is Data:
                if self._head is not None:
                    self._body.append(event.data)
            elif kind is EndOfRequest:
                self._is_cut, self._timed = False, None
                self._receive()
            elif kind is Upgraded:
                self._depart(event.trailing)
                return True
            elif kind is ProtocolFault:
                self._is_cut = True
                logger.debug("! %d %s", event.status, event.reason)
        return False

    def _is_ahead(self) -> bool:
        """Tell whether the peer must read more before more is said."""
        return self._is_paused or self._queued > self._http.options.high_bytes

    def _begin(self, head: RequestHead) -> None:
        if self._http.is_draining:
            self._codec.drain()
        self._is_complete = False
        # The codec gives the very same head again for the same bytes, and the same is thought of it.
        if head is not self._passed:
            self._endpoint = endpoint = self._http.route(head)
            answer = NOT_FOUND if endpoint is None else endpoint.refuse(head, self._arrival)
            if answer is not None:
                self._passed = None
                self._write(answer.data_to_send())
                return
            self._passed = head
        endpoint = self._endpoint
        assert endpoint is not None
        admit = self._http.admit
        if admit is None:
            self._let_in(head)
            return
        found = admit(endpoint, head, self._arrival)
        if hasattr(found, "__await__"):
            self._head = head  # its body may be on the way already
            self._admission = self._http.loop.spawn(self._find_caller, (head, found), None, report)
        else:
            self._admit(head, found)

    async def _find_caller(self, head: RequestHead, found: Any) -> None:
        caller = await found
        self._admission = None
        if self._is_lost or self._head is not head:
            return
        self._admit(head, caller)
        if self._is_complete and self._head is head:
            self._receive()
        self._send()
        self._advance()

    def _admit(self, head: RequestHead, found: Any) -> None:
        if isinstance(found, Answer):
            self._head = None
            self._body.clear()
            self._write(found.data_to_send())
        else:
            self._caller = found
            self._let_in(head)

    def _let_in(self, head: RequestHead) -> None:
        self._head = head
        if head.expects_continue:
            self._codec.send_continue()

    def _receive(self) -> None:
        head = self._head
        if head is None:
            return  # refused by its head
        if self._admission is not None:
            self._is_complete = True
            return
        pieces = self._body
        self._head, self._body = None, []
        self._answer(head, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _answer(self, head: RequestHead, body: bytes) -> None:
        http, caller, endpoint = self._http, self._caller, self._endpoint
        assert endpoint is not None
        if http.switchboard is not None:
            place = http.place(head)
            if place is not None and head.version == "1.1":
                self._departure = Move(http.switchboard, place, encode_request(head, body))
                self._codec.upgrade()
                return
        principal = None if caller is None else caller.principal
        found: Any = endpoint.receive_request(
            head, body, now=self._now(), arrival=self._arrival, principal=principal, is_checked=True
        )
        if type(found) is Answer:
            self._write(found.data_to_send())
            return
        if type(found) is Upgrade:
            self._departure = Succession(http, self, found, caller)
            self._codec.upgrade(found.headers)
            return
        http.take(found, caller)
        # What was answered at once is never attached to anything.
        parts = found.data_to_send()
        if len(parts) == 1 and type(parts[0]) is Answer:
            answer = parts[0]
            self._codec.send_response(answer.status, answer.headers, answer.body)
            if not self._is_paused:
                self._set_due(http.timeouts.idle)
            return
        if found.is_live:
            self._exchange = found
            http.carriers.attach(found, self)
            self._wait_for_exchange()
        if parts:
            self._write(parts)

    # Other protocols, and other workers' requests

    def _depart(self, trailing: bytes) -> None:
        """Let the connection go, with what came for whoever has it next."""
        departure, self._departure = self._departure, None
        assert departure is not None
        self._out += self._codec.data_to_send()
        self.write_out()
        self._due = inf
        self._transport.resume_reading()  # the codec has no room for what is not its own
        self._relay = departure(self._transport, trailing)

    def retire(self) -> None:
        """Hear of the connection no more: it is another's."""
        self._stop_timer()
        self._is_lost = True
        self._http.forget(self)

    # Answers

    def write(self, parts: list[Part]) -> None:
        """Write parts of the answer; the last of them makes room for the next request."""
        self._write(parts)
        if not self._is_busy:
            self._send()
            if self._held or self._codec.phase is not _HEAD:
                self._advance()  # the next request has come already, or nothing more is to come
            cap = self._http.options.cap_bytes
            if cap is not None and self._queued > cap:
                self.write_out()  # by somebody who never lets us: it is too much, or leaves now

    async def drain(self) -> None:
        """Wait while the peer takes less than is sent."""
        while self._is_ahead() and not self._is_lost:
            waiter = make_waiter(self._http.loop)
            self._waiters.append(waiter)
            await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _write(self, parts: list[Part]) -> None:
        codec = self._codec
        for part in parts:
            if type(part) is Answer:
                codec.send_response(part.status, part.headers, part.body)
                self._let_go()
            elif type(part) is bytes:
                self._queued += len(part)
                codec.send_body(part)
            elif type(part) is ResponseHead:
                codec.start_response(part.status, part.headers)
            else:
                codec.end_response()
                self._let_go()

    def _let_go(self) -> None:
        """Be done with a request."""
        if self._exchange is not None:
            self._http.carriers.detach(self._exchange)
            self._exchange = None
        if not self._is_paused:
            self._set_due(self._http.timeouts.idle)

    def _send(self) -> None:
        """Have written what there is to write, and see what comes next."""
        codec = self._codec
        data = codec.data_to_send()
        if data and self._lingered < 0:
            if not self._out:
                self._http.write_soon(self)
            self._out += data
        if codec.phase is _HEAD and not self._is_paused and not self._is_unread:
            return  # as after nearly every answer
        if codec.should_close and not self._held:
            if self._exchange is None:
                self._close()
        else:
            self._set_reading()

    def _queue(self, data: list[bytes]) -> None:
        """Have something written at the end of the loop's turn, and count it."""
        if data:
            if not self._out:
                self._http.write_soon(self)
            self._out += data
            self._queued += sum(map(len, data))

    def write_out(self) -> None:
        """Write what waits."""
        out = self._out
        if not out:
            return
        self._out = []
        self._queued = 0
        transport = self._transport
        if transport.is_closing():
            return
        if len(out) == 1:
            transport.write(out[0])
        elif len(out[-1]) < _LONG:
            transport.write(b"".join(out))
        else:
            transport.writelines(out)
        if not self._is_paused:
            if self._waiters:
                self._wake()
            if self._held:
                self._advance()
        else:
            cap, size = self._http.options.cap_bytes, transport.get_write_buffer_size()
            if cap is not None and size > cap:
                logger.debug("x %d bytes wait for a peer that takes none", size)
                transport.abort()

    def _set_reading(self) -> None:
        """Read as long as the peer reads, and as long as the codec has room."""
        is_unread = self._is_paused or not self._codec.wants_data
        if is_unread is not self._is_unread and self._lingered < 0 and not self._transport.is_closing():
            self._is_unread = is_unread
            if is_unread:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # The end

    def drain_answer(self) -> None:
        """Close after the answer that is under way, if one is."""
        if not self._codec.is_idle:
            self._codec.drain()

    def shut(self) -> None:
        """Close after the answer that is under way, or now when there is none."""
        self._codec.drain()
        self._send()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _close(self) -> None:
        """Say our last word, and give the peer a moment to hear it.

        What it still sends would, unread, make the kernel reset the connection and throw our answer away.
        """
        transport = self._transport
        self.write_out()
        if self._lingered >= 0 or transport.is_closing():
            return
        if self._is_cut:
            self._lingered = 0
            if transport.can_write_eof():  # TLS cannot; its peers go by the length of what we said
                transport.write_eof()
            if self._is_unread:
                self._is_unread = False
                transport.resume_reading()
            self._wait(_LINGER_SECONDS)
            if not self._is_paused:
                self._arm(self._due)  # sooner than it would be looked at otherwise
        else:
            transport.close()
            self._wait(self._http.timeouts.write)

    # Time

    def _wait_for_exchange(self) -> None:
        exchange = self._exchange
        if exchange is None or self._is_paused:
            return
        deadline = exchange.next_deadline()
        self._due = inf if deadline is None else deadline
        if deadline is not None and (self._timer is None or deadline < self._timer_at):
            self._arm(deadline)

    def _on_time(self, now: float) -> None:
        transport = self._transport
        if self._is_paused:
            size = transport.get_write_buffer_size()
            if size < self._unsent:  # slow, but it takes something
                self._unsent = size
                self._set_due(self._http.timeouts.write)
                return
            logger.debug("x a peer takes nothing of what is sent")
            transport.abort()
        elif self._lingered >= 0 or transport.is_closing():
            transport.abort()
        elif self._exchange is not None:
            self._tick_exchange(self._exchange, now)
        elif self._codec.is_idle:
            self.write_out()
            transport.close()
            self._wait(self._http.timeouts.write)
        else:
            if self._admission is not None:
                self._admission.cancel()
            self._head = None
            self._codec.refuse(408, "the request took too long")
            self._is_cut = True
            self._send()

    def _tick_exchange(self, exchange: Exchange, now: float) -> None:
        exchange.handle_deadline(now)
        self._http.take(exchange, self._caller)
        if exchange.has_data:
            self.write(exchange.data_to_send())
        self._wait_for_exchange()
        if self._timer is None and not self._is_lost:
            self._arm(min(self._due, now + self._http.tick))
