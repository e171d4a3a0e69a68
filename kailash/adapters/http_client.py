"""A client behind HTTP: what the runtime sees of a server that is reached by requests (`HTTPClientChannel`).

flush ─► binding.requests_to_send ─► transfer ─► pool ─► connection.  On the way back
a read ─► codec ─► transfer ─► exchange ─► binding.events_received ─► on_events ─► what that brought to send

No task, timer or scope belongs to a request: one timer of the channel serves all of them.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf
from typing import Any, Protocol

import anyio

from .http_headers import HeaderSource, encode_headers
from .http_pool import HTTPPool
from .http_transfer import ClientTimeouts, ExchangeLike, Transfer
from .http_url import HTTPURL, parse_url
from .loops import Timer
from .owner import spawn_owner

__all__ = ["ClientBinding", "HTTPClientChannel"]

logger = logging.getLogger("kailash.adapters.http_client")

_MOST_HEADS = 16


class ClientBinding(Protocol):
    """The rules of MCP over HTTP; `protocol.http.client.StreamableHTTPClient` is one."""

    engine: Any

    def requests_to_send(self, now: float) -> Iterable[Any]:
        """Return exchanges to start, each once."""

    def dropped(self) -> Iterable[Any]:
        """Return exchanges whose connection is to be closed."""

    def events_received(self) -> list[Any]:
        """Return what the engine reports."""

    def next_deadline(self) -> float | None:
        """Return when `handle_deadline` wants to be called."""

    def handle_deadline(self, now: float) -> None:
        """Take the time."""

    def close(self, now: float) -> None:
        """End; a last request may come of it."""


class HTTPClientChannel:
    """What the runtime sees of a server behind HTTP: the clock, and where to write.

    Args:
        binding: which requests carry the engine's messages; the channel is its only user.
        pool: the connections, which may be shared.
        url: the endpoint's.
        headers: the user's own, or what returns them before each request.
        user_agent: sent unless the user has one.
        on_events: called with the events of each read or deadline, never with an empty list.
        on_closed: called once, last, with the error that ended the channel or None.
        timeouts: what a slow server may cost.

    Raises:
        ValueError: the URL or a header cannot be used.
    """

    def __init__(
        self,
        binding: ClientBinding,
        pool: HTTPPool,
        url: str | HTTPURL,
        *,
        on_events: Callable[[list[Any]], None],
        on_closed: Callable[[BaseException | None], None] | None = None,
        headers: HeaderSource | None = None,
        user_agent: str | None = None,
        timeouts: ClientTimeouts | None = None,
    ) -> None:
        self.binding = binding
        self.engine: Any = binding.engine
        self.pool = pool
        self.url = parse_url(url) if isinstance(url, str) else url
        self.timeouts = timeouts or ClientTimeouts()
        self.loop = pool.loop
        self.now: Callable[[], float] = pool.loop.now
        self.error: BaseException | None = None
        """What ended the channel; None for an orderly end."""
        self.closed = False
        """True once everything is over and `on_closed` is being or has been called."""
        self.peer_ended = False
        """Never true: a server behind HTTP ends answers, not the connection to it as such."""
        self._on_events = on_events
        self._on_closed = on_closed
        self._make_headers = headers if callable(headers) else None
        self._agent = [] if user_agent is None else encode_headers({"user-agent": user_agent})
        self._fields = [] if headers is None or callable(headers) else self._with_agent(headers)
        if headers is None:
            self._fields = self._agent
        self._transfers: dict[Any, Transfer] = {}
        self._heads: dict[HTTPURL, tuple[str, list[tuple[bytes, bytes]]]] = {}
        self._is_busy = False
        self._has_acted = False  # within the loop that settles
        self._is_closing = False
        self._is_aborted = False
        self._flush_asked = False
        self._timer: Timer | None = None
        self._armed = inf
        self._close_at = inf
        self._ended = anyio.Event()

    def __repr__(self) -> str:
        return f"HTTPClientChannel({self.url})"

    # What the runtime calls

    def flush(self) -> None:
        """Send what the engine has to say, now or at the end of the callback we are in."""
        self._settle()

    def flush_soon(self) -> None:
        """Send it in the loop's next turn."""
        if not self._flush_asked:
            self._flush_asked = True
            self.loop.call_soon(self._flush_now)

    async def drain(self) -> None:
        """Return at once: a request is written whole, and each has a connection of its own."""

    def close(self) -> None:
        """End the channel after saying farewell; idempotent."""
        if self._is_closing:
            return
        self._is_closing = True
        for transfer in list(self._transfers.values()):
            # Answers and notifications of ours still arrive; nobody waits for anything else.
            if transfer.exchange.call is not None or transfer.exchange.method == "GET":
                transfer.close()
        self.binding.close(self.now())
        self._close_at = self.now() + self.timeouts.close
        self.arm(self._close_at)
        self._settle()

    def abort(self, error: BaseException | None = None) -> None:
        """End the channel at once; what is under way is lost."""
        if self.closed:
            return
        if self.error is None:
            self.error = error
        self._is_closing = self._is_aborted = True
        for transfer in list(self._transfers.values()):
            transfer.close()
        self.loop.call_soon(self._finish)

    async def wait_closed(self) -> None:
        """Wait until `on_closed` has been called."""
        await self._ended.wait()

    # What transfers call

    def act(self, action: Callable[[Any], None], argument: Any) -> None:
        """Let something happen to an exchange, then do what came of it."""
        if self._is_busy:
            self._has_acted = True
            action(argument)
            return
        self._is_busy = True
        is_waking = self.loop.begin()
        try:
            try:
                action(argument)
                events = self.binding.events_received()
                if events:
                    self._on_events(events)
            except Exception as error:
                self._fail(error)
            finally:
                # Whoever waits goes on first; what is sent because of it goes out with what the exchange brought.
                if is_waking:
                    self.loop.end()
        finally:
            self._is_busy = False
        self._settle()

    def forget(self, transfer: Transfer) -> None:
        """Count a transfer no longer."""
        self._transfers.pop(transfer.exchange, None)

    def moved(self, old: HTTPURL, new: HTTPURL) -> None:
        """Remember where the endpoint has moved to for good."""
        if old == self.url:
            self.url = new

    def head_of(self, url: HTTPURL) -> tuple[str, list[tuple[bytes, bytes]]]:
        """Return the target and the headers with which a URL is asked for."""
        head = self._heads.get(url)
        if head is None:
            target, headers = url.target, [(b"host", url.authority.encode())]
            proxy = self.pool.proxy_for(url) if url.scheme == "http" else None
            if proxy is not None:
                target = url.text  # a proxy wants the absolute form — RFC 9112 section 3.2.2
                if proxy.authorization is not None:
                    headers.append((b"proxy-authorization", proxy.authorization))
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            head = self._heads[url] = (target, headers)
        return head

    # Sending

    def _flush_now(self) -> None:
        self._flush_asked = False
        self.flush()

    def _settle(self) -> None:
        """Start, end and report until there is nothing more to do."""
        if self._is_busy or self._is_aborted or self.closed:
            return
        self._is_busy = True
        binding = self.binding
        try:
            while True:
                for exchange in binding.dropped():
                    transfer = self._transfers.get(exchange)
                    if transfer is not None:
                        transfer.close()
                self._has_acted = False
                for exchange in binding.requests_to_send(self.now()):
                    self._start(exchange)
                events = binding.events_received()
                if events:
                    self._on_events(events)
                elif not self._has_acted:
                    break
        except Exception as error:
            self._fail(error)
        finally:
            self._is_busy = False
        deadline = binding.next_deadline()
        if deadline is not None and deadline < self._armed:
            self.arm(deadline)
        if self._is_closing and not self._transfers:
            self.loop.call_soon(self._finish)

    def _fail(self, error: Exception) -> None:
        logger.exception("! the connection is dropped: its callback failed")
        self.abort(error)

    def _start(self, exchange: ExchangeLike) -> None:
        url = self.url
        if exchange.target is not None:
            url = HTTPURL(url.scheme, url.host, url.port, exchange.target)
        transfer = self._transfers[exchange] = Transfer(self, exchange, url)
        if self._make_headers is None:
            self._launch(transfer, self._fields)
            return
        try:
            made = self._make_headers()
            if inspect.isawaitable(made):
                spawn_owner(self._launch_later, transfer, made, name="kailash headers of a request")
                return
            fields = self._with_agent(made)
        except Exception as error:
            self._blame_headers(transfer, error)
            return
        self._launch(transfer, fields)

    async def _launch_later(self, transfer: Transfer, made: Awaitable[Mapping[str, str]]) -> None:
        try:
            fields = self._with_agent(await made)
        except Exception as error:
            self.act(lambda cause: self._blame_headers(transfer, cause), error)
            return
        if not transfer.is_over:
            self._launch(transfer, fields)

    def _blame_headers(self, transfer: Transfer, error: Exception) -> None:
        # Of a foreign error only its kind: its text may hold what the headers were made of.
        why = str(error) if isinstance(error, ValueError) and str(error).startswith("headers: ") else ""
        logger.error("! the headers of a request could not be made: %s", why or type(error).__name__)
        self._has_acted = True
        transfer.fail(f"the headers could not be made: {why or f'the callable raised {type(error).__name__}'}")

    def _launch(self, transfer: Transfer, fields: list[tuple[bytes, bytes]]) -> None:
        transfer.start(fields, self.now())

    def _with_agent(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        fields = encode_headers(headers)
        has_agent = any(name.lower() == b"user-agent" for name, _ in fields)
        return fields if has_agent else self._agent + fields

    # Time: one timer, which only ever moves earlier; a later deadline is found when it fires

    def arm(self, when: float) -> None:
        """Look at the time no later than that."""
        if when < self._armed and not self.closed:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = when
            self._timer = self.loop.call_at(when, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._armed = inf
        now = self.now()
        self.act(self._expire, now)
        if now >= self._close_at:
            self.abort(TimeoutError(f"{self.url.origin} did not take its leave in {self.timeouts.close:g} s"))
            return
        self.arm(min([transfer.due for transfer in self._transfers.values()], default=inf))
        self.arm(self._close_at)

    def _expire(self, now: float) -> None:
        for transfer in list(self._transfers.values()):
            if transfer.due <= now:
                transfer.expire(now)
        deadline = self.binding.next_deadline()
        if deadline is not None and deadline <= now:
            self.binding.handle_deadline(now)

    # The end

    def _finish(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_closed is not None:
            try:
                self._on_closed(self.error)
            except Exception:
                logger.exception("! the callback for the end of a connection failed")
        self._ended.set()
