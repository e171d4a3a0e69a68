"""One exchange of a client on its way: over which connection, until when, and what of its answer has come."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from protocol.framing.headers import Headers
from protocol.framing.httpconnection import Data, EndOfResponse, ProtocolFault
from protocol.framing.httphead import ResponseHead

from .http_pool import HTTPConnection
from .http_url import HTTPURL

if TYPE_CHECKING:
    from .http_client import HTTPClientChannel

__all__ = ["ClientTimeouts", "ExchangeLike", "Transfer"]

_MOST_REDIRECTS = 3
_ERROR_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTimeouts:
    """How long a server may take; `None`: for ever. Connecting is the pool's."""

    head: float | None = 60.0
    """Seconds until an answer begins, of requests that carry no call."""
    call_head: float | None = None
    """The same of requests that carry a call, which has a deadline of its own."""
    idle: float | None = 300.0
    """Seconds without a byte in the middle of an answer; event streams among them."""
    total: float | None = None
    """Seconds for a whole answer, however long its stream."""
    close: float = 5.0
    """Seconds the farewell may take."""


class ExchangeLike(Protocol):
    """One request of the client and what comes back on it; `protocol.http.client.ClientExchange` is one."""

    method: str
    target: str | None
    headers: list[tuple[bytes, bytes]]
    body: bytes | None
    call: Any
    is_repeatable: bool

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more is wanted."""

    def receive_head(self, status: int, headers: Headers, now: float) -> None:
        """Take status and headers."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Take a piece of the body."""

    def receive_end(self, now: float) -> None:
        """Learn that the body is complete."""

    def receive_failure(self, why: str, now: float, *, was_sent: bool) -> None:
        """Learn that there is no answer, or no whole one."""


class Transfer:
    """One exchange on its way: over which connection, until when, and what of its answer has come.

    Args:
        channel: whose it is.
        exchange: what is carried.
        url: where it goes; a redirect changes that.
    """

    __slots__ = (
        "_channel",
        "_connection",
        "_ends_at",
        "_error_bytes",
        "_fields",
        "_has_begun",
        "_redirects",
        "_was_repeated",
        "_was_sent",
        "due",
        "exchange",
        "is_over",
        "url",
    )

    def __init__(self, channel: HTTPClientChannel, exchange: ExchangeLike, url: HTTPURL) -> None:
        self.exchange = exchange
        self.url = url
        self.due = inf
        """When it has taken too long."""
        self.is_over = False
        self._channel = channel
        self._connection: HTTPConnection | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._ends_at = inf
        self._has_begun = False
        self._error_bytes = -1  # of the answer's body so far; -1: it is no error
        self._redirects = 0
        self._was_repeated = False
        self._was_sent = False

    # Sending

    def start(self, fields: list[tuple[bytes, bytes]], now: float) -> None:
        """Wait for a connection and be sent, with these headers of the user's."""
        self._fields = fields
        timeouts = self._channel.timeouts
        if timeouts.total is not None:
            self._ends_at = now + timeouts.total
        self._wait(timeouts.head if self.exchange.call is None else timeouts.call_head, now)
        self._channel.pool.submit(self, self.url)

    def send(self, connection: HTTPConnection) -> None:
        """Write the request."""
        self._connection = connection
        exchange = self.exchange
        target, headers = self._channel.head_of(self.url)
        connection.send(exchange.method, target, headers + exchange.headers + self._fields, exchange.body)
        self._was_sent = True

    def _wait(self, seconds: float | None, now: float) -> None:
        self.due = self._ends_at if seconds is None else min(now + seconds, self._ends_at)
        self._channel.arm(self.due)

    # What comes back

    def receive(self, events: list[Any]) -> None:
        """Take what a read brought."""
        self._channel.act(self._take, events)

    def lose(self, why: str, *, is_stale: bool) -> None:
        """Learn that the connection is gone; one that died of age is no reason to fail."""
        self._connection = None
        if is_stale and self.exchange.is_repeatable and not self._was_repeated:
            self._was_repeated = True
            self._channel.pool.submit(self, self.url, is_first=True)
        else:
            self._channel.act(self.fail, why)

    def refuse(self, why: str) -> None:
        """Learn that there is no connection."""
        self._connection = None
        self._channel.act(self.fail, why)

    def _take(self, events: list[Any]) -> None:
        now = self._channel.now()
        exchange = self.exchange
        for event in events:
            kind = type(event)
            if kind is Data:
                if self._error_bytes < 0 or self._is_readable(event.data):
                    exchange.receive_data(event.data, now)
            elif kind is ResponseHead:
                if event.status >= 300 and self._is_redirect(event):
                    return
                self._begin(event, now)
            elif kind is EndOfResponse:
                self._end()
                exchange.receive_end(now)
            elif kind is ProtocolFault:
                self.fail(f"{self.url.origin} broke off: {event.reason}")
            if self.is_over:
                return
        self._wait(self._channel.timeouts.idle, now)
        if exchange.is_over:
            self._let_go()

    def _begin(self, head: ResponseHead, now: float) -> None:
        self._has_begun = True
        coding = head.headers.get(b"content-encoding")
        if coding is not None and coding.lower() != b"identity":
            self.fail(f"{self.url.origin} compressed its answer, which nobody asked for")
            return
        if head.status >= 400:
            self._error_bytes = 0
        self.exchange.receive_head(head.status, head.headers, now)

    def _is_readable(self, data: bytes) -> bool:
        """Bound the bodies of errors; others are bounded by whoever reads them."""
        self._error_bytes += len(data)
        return self._error_bytes <= _ERROR_BYTES

    def _is_redirect(self, head: ResponseHead) -> bool:
        """Follow a redirect, or fail with it; tell whether the answer is one."""
        location = head.headers.get(b"location")
        if head.status not in (301, 302, 303, 307, 308) or location is None:
            return False
        method = self.exchange.method
        try:
            url = self.url.join(location.decode("latin-1"))
        except ValueError as error:
            self.fail(f"{self.url.origin} answered {head.status} with a Location that cannot be used: {error}")
            return True
        if url.origin != self.url.origin:
            self.fail(
                f"{self.url.origin} redirects to {url.origin}, and a redirect to another origin is not followed;"
                " give that URL if it is the right one"
            )
        elif head.status in (301, 302, 303) and method != "GET":
            self.fail(f"{self.url} answered {method} with {head.status}, which would lose its body; use {url}")
        elif self._redirects >= _MOST_REDIRECTS:
            self.fail(f"{self.url.origin} redirects more than {_MOST_REDIRECTS} times, last to {url}")
        else:
            self._redirects += 1
            self._leave()
            if head.status == 308:
                self._channel.moved(self.url, url)
            self.url = url
            self._channel.pool.submit(self, url, is_first=True)
        return True

    # The end

    def _end(self) -> None:
        self.is_over = True
        self._connection = None
        self._channel.forget(self)

    def _leave(self) -> None:
        """Let the connection read the rest by itself, if there is any."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_carrying(self):
            connection.let_go()

    def _let_go(self) -> None:
        self._leave()
        self._end()

    def fail(self, why: str) -> None:
        """End without an answer, or without a whole one."""
        if not self.is_over:
            self.close()
            self.exchange.receive_failure(why, self._channel.now(), was_sent=self._was_sent)

    def close(self) -> None:
        """End at once; the server sees the connection close."""
        connection, self._connection = self._connection, None
        if connection is None:
            self._channel.pool.withdraw(self)
        elif connection.is_carrying(self):
            connection.close()
        self._end()

    def expire(self, now: float) -> None:
        """End because it took too long."""
        timeouts = self._channel.timeouts
        if now >= self._ends_at:
            why = f"{self.url.origin} did not complete its answer within {timeouts.total:g} s (response_timeout=)"
        elif self._has_begun:
            why = f"{self.url.origin} sent not a byte of its answer for {timeouts.idle:g} s (idle_timeout=)"
        else:
            head = timeouts.head if self.exchange.call is None else timeouts.call_head
            why = f"{self.url.origin} did not begin to answer within {head:g} s (first_byte_timeout=)"
        self.fail(why)
