"""Connections of an HTTP client, kept and shared: which request goes over which of them, and which are still good.

What is decided is decided in one synchronous function, `HTTPPool.decide`; opening and writing come afterwards. Nothing
here knows what requests and answers mean: a `Carried` does.
"""

from __future__ import annotations

import asyncio
import logging
import re
import select
import socket
import ssl as tls
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import anyio

from protocol.errors import LocalProtocolError
from protocol.framing.http11 import HTTPCodec, make_http_client
from protocol.framing.httpconnection import ProtocolFault
from protocol.framing.httphead import ResponseHead

from .http_proxy import Proxy, find_proxy, parse_proxy, tunnel_through
from .http_url import HTTPURL
from .httptransport import connect
from .loops import Timer, current_loop
from .owner import Owner, spawn_owner

__all__ = ["Carried", "HTTPConnection", "HTTPPool", "PoolCounts", "PoolLimits", "describe_error", "make_tls"]

logger = logging.getLogger("kailash.adapters.http_pool")

_KEEP_ALIVE = re.compile(rb"timeout\s*=\s*([0-9]{1,6})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many connections are held, and for how long."""

    connections: int = 100
    """Most connections to one origin; further requests wait, first come, first served."""
    idle: float = 30.0
    """Seconds a connection without a request is kept; less where the server says so."""
    connect: float | None = 10.0
    """Seconds a connection may take to open: name, TCP, proxy and TLS."""
    drain_bytes: int = 64 * 1024
    """Bytes of an answer nobody wants that are read to keep its connection; beyond them it is closed."""
    drain_time: float = 1.0
    """Seconds the rest of such an answer may take."""


class Carried(Protocol):
    """One request that wants a connection."""

    def send(self, connection: HTTPConnection) -> None:
        """Write the request on a connection that is free."""

    def receive(self, events: list[Any]) -> None:
        """Take what came: a head, data, the end, or a fault."""

    def lose(self, why: str, *, is_stale: bool) -> None:
        """Learn that the connection is gone; `is_stale`: it had been idle, and nothing of an answer came."""

    def refuse(self, why: str) -> None:
        """Learn that there is no connection."""


def make_tls(
    *, ca_file: str | None = None, client_cert: str | None = None, client_key: str | None = None
) -> tls.SSLContext:
    """Return what https connections trust and show.

    Args:
        ca_file: certificates to trust instead of the system's, which SSL_CERT_FILE and SSL_CERT_DIR may name.
        client_cert, client_key: shown to servers that ask; the key may stand in the certificate's file.

    Raises:
        OSError: a file cannot be read, or holds nothing of the kind.
    """
    try:
        context = tls.create_default_context(cafile=ca_file)
    except OSError as error:
        raise OSError(f"ca_file {ca_file!r} cannot be used: {describe_error(error)}") from None
    if client_cert is not None:
        try:
            context.load_cert_chain(client_cert, client_key)
        except OSError as error:
            raise OSError(f"client_cert {client_cert!r} cannot be used: {describe_error(error)}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Place:
    """What there is for one origin."""

    __slots__ = ("connections", "idle", "opening", "url", "waiting")

    def __init__(self, url: HTTPURL) -> None:
        self.url = url
        self.connections: set[HTTPConnection] = set()
        self.idle: list[HTTPConnection] = []
        self.opening = 0
        self.waiting: deque[Carried] = deque()


class PoolCounts:
    """How often a request found a connection that was open already."""

    __slots__ = ("carried", "opened")

    def __init__(self) -> None:
        self.carried = 0
        """Requests that were given a connection."""
        self.opened = 0
        """Connections."""

    @property
    def hits(self) -> int:
        """Requests for which none had to be opened."""
        return max(0, self.carried - self.opened)

    @property
    def misses(self) -> int:
        """Requests for which one had to be opened."""
        return self.opened


class HTTPPool:
    """Connections to any number of origins, for one event loop.

    Args:
        limits: how many, and for how long.
        ssl: for https; default: the system's roots.
        proxy: URL of a proxy for everything; default: those of the environment; `""`: none at all.
        codec: `"h11"`, `"httptools"`, or the faster one that is there.
        counts: where requests and connections are counted.

    Raises:
        ProxyError: `proxy` names none that can be used.
        ImportError: the codec is not installed.
    """

    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        ssl: tls.SSLContext | None = None,
        proxy: str | None = None,
        codec: HTTPCodec = "auto",
        counts: PoolCounts | None = None,
    ) -> None:
        self.loop = current_loop()
        self.counts = PoolCounts() if counts is None else counts
        self.limits = limits or PoolLimits()
        make_http_client(codec)  # to fail here, and not when the first connection is opened
        self.codec: HTTPCodec = codec
        self._ssl = ssl
        self._searches_proxies = proxy is None
        self._proxy = parse_proxy(proxy, named_by="proxy") if proxy else None
        self._places: dict[tuple[str, str, int], _Place] = {}
        self._owners: set[Owner] = set()
        self._sweeper: Timer | None = None
        self._is_closed = False

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return sum(len(place.connections) for place in self._places.values())

    def proxy_for(self, url: HTTPURL) -> Proxy | None:
        """Return the proxy a URL goes through.

        Raises:
            ProxyError: the environment names one that cannot be used.
        """
        return find_proxy(url) if self._searches_proxies else self._proxy

    # Requests

    def submit(self, carried: Carried, url: HTTPURL, *, is_first: bool = False) -> None:
        """Have a request sent as soon as there is a connection for it: now, if one is free.

        Args:
            is_first: it has waited already, and goes before all others.
        """
        key = (url.scheme, url.host, url.port)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(url)
        if not place.waiting:
            connection = self._find(place)
            if connection is not None:
                self.counts.carried += 1
                connection.carry(carried)
                return
        if is_first:
            place.waiting.appendleft(carried)
        else:
            place.waiting.append(carried)
        self._serve(place)

    def withdraw(self, carried: Carried) -> None:
        """Forget a request that waits for its connection."""
        for place in self._places.values():
            if carried in place.waiting:
                place.waiting.remove(carried)

    def _find(self, place: _Place) -> HTTPConnection | None:
        """Return a free connection, closing those that have died."""
        while place.idle:
            connection = place.idle.pop()  # the last one used is the least likely to have died of age
            if connection.is_usable:
                return connection
            connection.close()
        return None

    def decide(self, place: _Place) -> tuple[list[tuple[Carried, HTTPConnection]], int]:
        """Return which waiting request goes over which free connection, and how many to open for the others."""
        pairs = []
        while place.waiting and (connection := self._find(place)) is not None:
            pairs.append((place.waiting.popleft(), connection))
        room = self.limits.connections - len(place.connections) - place.opening
        return pairs, max(min(len(place.waiting) - place.opening, room), 0)

    def _serve(self, place: _Place) -> None:
        pairs, wanted = self.decide(place)
        self.counts.carried += len(pairs)
        for carried, connection in pairs:
            connection.carry(carried)
        for _ in range(wanted):
            place.opening += 1
            owner = spawn_owner(self._open, place, name=f"kailash connection to {place.url.origin}")
            self._owners.add(owner)

    # Connections

    async def _open(self, place: _Place) -> None:
        connection: HTTPConnection | None = None
        why = ""
        try:
            with anyio.fail_after(self.limits.connect):
                connection = await self._connect(place)
        except OSError as error:
            why = self._describe(place.url, error)
        except UnicodeError:
            why = f"no connection to {place.url.origin}: the host name cannot be one"
        finally:
            place.opening -= 1
            self._owners = {owner for owner in self._owners if not owner.done}
        if connection is None:
            logger.debug("! %s", why)
            if place.waiting:
                place.waiting.popleft().refuse(why)
            self._serve(place)
        elif self._is_closed:
            connection.transport.abort()
        else:
            self.counts.opened += 1
            self.release(connection)

    async def _connect(self, place: _Place) -> HTTPConnection:
        url = place.url
        proxy = self.proxy_for(url)
        ssl = None
        if url.scheme == "https":
            if self._ssl is None:
                self._ssl = make_tls()
            ssl = self._ssl
        host, port = (url.host, url.port) if proxy is None else (proxy.host, proxy.port)
        tunnel = None if proxy is None or ssl is None else tunnel_through(proxy, url)
        _, connection = await connect(
            lambda: HTTPConnection(self, place), host, port, ssl=ssl, server_hostname=url.host, tunnel=tunnel
        )
        return connection

    def _describe(self, url: HTTPURL, error: OSError) -> str:
        if isinstance(error, TimeoutError) and error.errno is None and self.limits.connect is not None:
            return f"no connection to {url.origin} within {self.limits.connect:g} s (http_connect_timeout=)"
        return f"no connection to {url.origin}: {describe_error(error)}"

    def release(self, connection: HTTPConnection) -> None:
        """Take a connection that is free: for whoever waits, or to be kept."""
        place = connection.place
        connection.idle_since = self.loop.now()
        place.idle.append(connection)
        if place.waiting:
            self._serve(place)
        elif self._sweeper is None:
            self._sweeper = self.loop.call_at(connection.expires, self._sweep)

    def forget(self, connection: HTTPConnection) -> None:
        """Count a connection no longer that is closing."""
        place = connection.place
        place.connections.discard(connection)
        if connection in place.idle:
            place.idle.remove(connection)
        if place.waiting and not self._is_closed:
            self._serve(place)

    def distrust(self, place: _Place) -> None:
        """Close what is idle: one of them was dead, and they are of one age."""
        for connection in place.idle[:]:
            connection.close()

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.loop.now()
        for place in self._places.values():
            for connection in [idle for idle in place.idle if idle.expires <= now]:
                connection.close()
        rest = [connection.expires for place in self._places.values() for connection in place.idle]
        if rest:
            self._sweeper = self.loop.call_at(min(rest), self._sweep)

    async def aclose(self) -> None:
        """Close everything; what is under way is lost."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for owner in list(self._owners):
            owner.cancel()
        lost = []
        for place in self._places.values():
            place.waiting.clear()
            for connection in list(place.connections):
                connection.close()
                lost.append(connection.lost)
        for owner in list(self._owners):
            await owner.wait()
        for event in lost:
            await event.wait()


class HTTPConnection(asyncio.Protocol):
    """One connection: a request, its answer, then the next; on asyncio no task belongs to it.

    Args:
        pool: whose it is.
        place: the origin's.
    """

    def __init__(self, pool: HTTPPool, place: _Place) -> None:
        self.place = place
        self.idle_since = 0.0
        self.transport: asyncio.Transport
        self.lost = anyio.Event()
        """Set once the connection has ended."""
        self._pool = pool
        self._codec = make_http_client(pool.codec)
        self._carried: Carried | None = None
        self._requests = 0
        self._keep = pool.limits.idle
        self._unwanted = -1  # bytes read of an answer nobody wants; -1: it is wanted
        self._drainer: Timer | None = None
        self._is_readable: Callable[[], object] | None = None

    @property
    def is_usable(self) -> bool:
        """Tell whether a request may be sent now."""
        if not self._codec.is_idle or self.transport.is_closing():
            return False
        # Its end may lie right behind the answer before, as from a server that shuts down, or the loop may have been
        # too busy to tell us of it. A look costs a microsecond, a call that may not be repeated costs its caller more.
        if self._is_readable is None:
            self._is_readable = _watcher(self.transport)
        return not self._is_readable()

    @property
    def expires(self) -> float:
        """When an idle connection is to be closed."""
        return self.idle_since + self._keep

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's is one in all but its class
        self.place.connections.add(self)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # An event stream may be silent for minutes; this finds out that its peer is gone.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Feed the codec; what has ended is free before anyone is told, so that the next request may use it."""
        codec = self._codec
        codec.receive_data(data)
        if self._unwanted >= 0:
            self._drain(len(data))
            return
        self._deliver(codec.events_received())

    def eof_received(self) -> bool:
        """Take the end of what the server sends: of an answer without a length, or of the connection."""
        self._codec.receive_eof()
        if self._unwanted < 0:
            self._deliver(self._codec.events_received())
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whose answer is missing."""
        self.lost.set()
        if self._drainer is not None:
            self._drainer.cancel()
        carried, self._carried = self._carried, None
        self._pool.forget(self)
        if carried is not None:
            why = describe_error(exc) if isinstance(exc, OSError) else "the server closed it"
            self._lose(carried, why, self._is_stale)

    @property
    def _is_stale(self) -> bool:
        return self._requests > 1 and not self._codec.has_response_begun

    def _deliver(self, events: list[Any]) -> None:
        carried = self._carried
        if carried is None:
            if self._codec.should_close:
                self.close()  # bytes nobody asked for, or the server's end
            return
        if events and isinstance(events[0], ResponseHead):
            self._heed(events[0])
        if self._codec.is_idle:
            self._carried = None
            self._pool.release(self)
        elif self._codec.should_close:
            self._carried = None
            is_stale = self._is_stale
            self.close()
            if is_stale and isinstance(events[0], ProtocolFault):
                self._lose(carried, "the server closed it", is_stale)
                return
        if events:
            carried.receive(events)

    def _lose(self, carried: Carried, reason: str, is_stale: bool) -> None:
        if is_stale:
            self._pool.distrust(self.place)
        carried.lose(f"the connection to {self.place.url.origin} was lost: {reason}", is_stale=is_stale)

    def _heed(self, head: ResponseHead) -> None:
        """Keep the connection no longer than the server does, so as not to send into its farewell."""
        advice = head.headers.get(b"keep-alive")
        if advice is not None:
            found = _KEEP_ALIVE.search(advice)
            if found is not None:
                self._keep = min(self._pool.limits.idle, max(int(found[1]) - 1, 0))

    # What the pool and the requests call

    def carry(self, carried: Carried) -> None:
        """Send a request and give it what is answered."""
        self._carried = carried
        self._requests += 1
        try:
            carried.send(self)
        except LocalProtocolError as error:
            self._carried = None
            self._pool.release(self)
            carried.refuse(f"the request cannot be sent: {error}")

    def send(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes | None) -> None:
        """Write a request.

        Raises:
            LocalProtocolError: it cannot be written as HTTP.
        """
        codec = self._codec
        codec.send_request(method, target, headers=headers, body=body)
        self.transport.write(codec.data_to_send()[0])

    def is_carrying(self, carried: Carried) -> bool:
        """Tell whether an answer to this request is still to come."""
        return self._carried is carried

    def let_go(self) -> None:
        """Read the rest of an answer that nobody wants, if that is little; then the connection is free again."""
        self._carried = None
        self._unwanted = 0
        self._drainer = self._pool.loop.call_at(self._pool.loop.now() + self._pool.limits.drain_time, self.close)

    def _drain(self, size: int) -> None:
        self._codec.events_received()
        self._unwanted += size
        if self._codec.is_idle:
            self._unwanted = -1
            assert self._drainer is not None
            self._drainer.cancel()
            self._drainer = None
            self._pool.release(self)
        elif self._codec.should_close or self._unwanted > self._pool.limits.drain_bytes:
            self.close()

    def close(self) -> None:
        """Close now; whoever is carried is not told."""
        self._carried = None
        if not self.transport.is_closing():
            self.transport.abort()
        self._pool.forget(self)


def _watcher(transport: asyncio.Transport) -> Callable[[], object]:
    """Return what tells whether there is something to read: on an idle connection its end, or nothing to be trusted."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.fileno() < 0 or transport.get_extra_info("ssl_object") is not None:
        return bool  # TLS has things to say of its own
    number = raw.fileno()
    if not hasattr(select, "poll"):
        return lambda: select.select([number], [], [], 0)[0]
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return partial(poll.poll, 0)


def describe_error(error: OSError) -> str:
    """Say in few words why something failed."""
    if isinstance(error, tls.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message} (ca_file= names others to trust)"
    if isinstance(error, tls.SSLError):
        return f"TLS failed: {error.reason or error.strerror or error}"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return error.strerror or str(error) or type(error).__name__
