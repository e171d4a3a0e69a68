"""Fetching small documents from URLs that others had a hand in, without being sent where they could not go themselves.

A name is resolved once, every address it has must be one that all the world can reach, and the connection goes to one
of these very addresses; a redirect is a new URL and is judged like the first. No proxy, no cookie, no connection is
shared.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import anyio

from protocol.errors import LocalProtocolError
from protocol.framing.headers import Headers
from protocol.framing.http11 import make_http_client
from protocol.framing.httpconnection import Data, EndOfResponse, ProtocolFault
from protocol.framing.httphead import ResponseHead

from .http_pool import make_tls
from .http_url import HTTPURL, parse_url
from .httptransport import connect

__all__ = ["FetchError", "FetchRules", "Fetched", "fetch", "is_public"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class FetchError(ConnectionError):
    """A document could not be fetched, or must not be; the text has nothing of what was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """Where a fetch may go, and what it may cost."""

    allow_loopback: bool = False
    """This machine too, and there by plain http: for development."""
    allow_private: bool = False
    """Addresses of private networks too: only for URLs that nobody else had a hand in."""
    body_bytes: int = 64 * 1024
    """Most bytes of a document."""
    timeout: float = 5.0
    """Seconds for everything, redirects among them."""
    redirects: int = 3
    """Most redirects, of a GET; others are not redirected."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was answered in the end."""

    status: int
    headers: Headers
    body: bytes
    url: str
    """Whose answer it is, after redirects."""


# Addresses within which there is an IPv4 address, and how far from the right; what leads there, leads there.
_WRAPPED = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::/96"), 0),  # IPv4-compatible, long out of use
    (IPv6Network("::ffff:0:0:0/96"), 0),  # SIIT
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)
# Teredo, NAT64 of one network, site-local: whatever is behind them, a published document is not.
_NOT_PUBLIC = (IPv6Network("2001::/32"), IPv6Network("64:ff9b:1::/48"), IPv6Network("fec0::/10"))


def _unwrap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        for network, shift in _WRAPPED:
            if address in network and int(address) > 1:
                return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return address


def read_address(text: str) -> IPv4Address | IPv6Address:
    return _unwrap(ip_address(text.partition("%")[0]))


def is_public(text: str) -> bool:
    """Tell whether an address is one that all the world can reach, whatever it is wrapped in.

    Raises:
        ValueError: it is no address.
    """
    address = read_address(text)
    if isinstance(address, IPv6Address) and any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _is_private(text: str) -> bool:
    """Tell of an address of a private network; link-local ones, where clouds keep their secrets, are none."""
    address = read_address(text)
    return address.is_private and not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, as the system knows them.

    Raises:
        OSError: it has none.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes | None = None,
    rules: FetchRules | None = None,
    ssl: tls.SSLContext | None = None,
    resolve: Resolve = resolve_host,
) -> Fetched:
    """Fetch a small document; every status but a redirect's is an answer.

    Args:
        url: https; http only where the rules allow this machine.
        method, headers, body: the request; headers are not sent on to another origin.
        rules: where it may go, and what it may cost.
        ssl: whom to trust; default: the system's roots.
        resolve: finds the addresses of a host; each is judged whoever found it.

    Raises:
        FetchError: it may not go there, nobody answers, or the answer is too large, too late or none.
    """
    rules = rules or FetchRules()
    try:
        with anyio.fail_after(rules.timeout):
            return await _follow(_parse(url), method, headers, body, rules, ssl, resolve)
    except TimeoutError:
        raise FetchError(f"{_origin(url)} did not answer in full within {rules.timeout:g} s") from None


def _parse(url: str) -> HTTPURL:
    try:
        return parse_url(url)
    except ValueError as error:
        raise FetchError(f"cannot fetch: {error}") from None


def _origin(url: str) -> str:
    return _parse(url).origin


async def _follow(
    url: HTTPURL,
    method: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes | None,
    rules: FetchRules,
    ssl: tls.SSLContext | None,
    resolve: Resolve,
) -> Fetched:
    may_be_here = rules.allow_loopback
    for count in range(rules.redirects + 1):
        address = await _choose(url, rules, resolve, may_be_here=may_be_here)
        # Only who was sent here may be sent on here: not a stranger's redirect.
        may_be_here = may_be_here and read_address(address).is_loopback
        fetched = await _ask(url, address, method, headers, body, rules, ssl)
        location = fetched.headers.get(b"location")
        if fetched.status not in _REDIRECTS or location is None:
            return fetched
        if method not in ("GET", "HEAD"):
            raise FetchError(f"{url.origin} redirects a {method}, which is not followed")
        if count == rules.redirects:
            break
        try:
            target = url.join(location.decode("latin-1"))
        except ValueError:
            raise FetchError(f"{url.origin} redirects to something that is no usable URL") from None
        if target.origin != url.origin:
            headers = ()
        url = target
    raise FetchError(f"{url.origin} redirects more than {rules.redirects} times")


async def _choose(url: HTTPURL, rules: FetchRules, resolve: Resolve, *, may_be_here: bool) -> str:
    """Return the address to connect to, if all that the host has are allowed."""
    if url.scheme != "https" and not may_be_here:
        raise FetchError(f"{url.origin} is not https")
    try:
        addresses = await resolve(url.host, url.port)
    except (OSError, UnicodeError):
        raise FetchError(f"{url.origin} cannot be found") from None
    if not addresses:
        raise FetchError(f"{url.origin} has no address")
    try:
        if may_be_here and all(read_address(address).is_loopback for address in addresses):
            return addresses[0]
        are_allowed = all(is_public(address) or (rules.allow_private and _is_private(address)) for address in addresses)
    except ValueError:
        raise FetchError(f"{url.origin} has an address that is none") from None
    if not are_allowed:
        # Which address it is would tell a stranger about our network.
        raise FetchError(f"{url.origin} is not on the public network")
    if url.scheme != "https":
        raise FetchError(f"{url.origin} is not https")
    return addresses[0]


async def _ask(
    url: HTTPURL,
    address: str,
    method: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes | None,
    rules: FetchRules,
    ssl: tls.SSLContext | None,
) -> Fetched:
    fields = [(b"host", url.authority.encode()), (b"accept-encoding", b"identity"), *headers]
    secured = (ssl or make_tls()) if url.scheme == "https" else None
    try:
        _, asking = await connect(
            lambda: _Asking(url, rules.body_bytes), address, url.port, ssl=secured, server_hostname=url.host
        )
    except tls.SSLError as error:
        raise FetchError(
            f"no connection to {url.origin}: TLS failed ({error.reason or type(error).__name__})"
        ) from None
    except OSError as error:
        raise FetchError(f"no connection to {url.origin}: {error.strerror or type(error).__name__}") from None
    try:
        asking.send(method, url.target, fields, body)
        await asking.ended.wait()
    except LocalProtocolError as error:
        raise FetchError(f"the request cannot be sent: {error}") from None
    finally:
        asking.transport.abort()
        with anyio.CancelScope(shield=True):
            await asking.lost.wait()
    if asking.failure is not None or asking.head is None:
        raise FetchError(f"{url.origin} {asking.failure or 'did not answer'}")
    return Fetched(asking.head.status, asking.head.headers, b"".join(asking.body), url.text)


class _Asking(asyncio.Protocol):
    """One request over a connection of its own, and its answer."""

    def __init__(self, url: HTTPURL, limit: int) -> None:
        self.transport: asyncio.Transport
        self.ended = anyio.Event()
        self.lost = anyio.Event()
        self.head: ResponseHead | None = None
        self.body: list[bytes] = []
        self.failure: str | None = None
        self._url = url
        self._room = limit
        self._limit = limit
        self._codec = make_http_client("auto")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's is one in all but its class

    def send(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes | None) -> None:
        """Write the request."""
        self._codec.send_request(method, target, headers=headers, body=body)
        self.transport.write(self._codec.data_to_send()[0])

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._codec.receive_data(data)
        self._take(self._codec.events_received())

    def eof_received(self) -> bool:
        """Take the end, which may be that of an answer without a length."""
        self._codec.receive_eof()
        self._take(self._codec.events_received())
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Learn that nothing more comes."""
        self.lost.set()
        self._end("closed the connection without an answer")

    def _take(self, events: list[Any]) -> None:
        for event in events:
            if self.ended.is_set():
                return
            kind = type(event)
            if kind is ResponseHead:
                coding = event.headers.get(b"content-encoding")
                if coding is not None and coding.lower() != b"identity":
                    self._end("compressed its answer, which nobody asked for")
                self.head = event
            elif kind is Data:
                self._room -= len(event.data)
                if self._room < 0:
                    self._end(f"answered with more than {self._limit} bytes")
                else:
                    self.body.append(event.data)
            elif kind is EndOfResponse:
                self._end(None)
            elif kind is ProtocolFault:
                self._end(f"broke off: {event.reason}")

    def _end(self, failure: str | None) -> None:
        if not self.ended.is_set():
            self.failure = failure
            self.ended.set()
            self.transport.abort()
