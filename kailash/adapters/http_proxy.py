"""HTTP proxies: which one a URL goes through, and the tunnel through it.

The environment is read as curl does: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, in either case, lower first.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import anyio.abc

from .http_url import HTTPURL
from .httptransport import Tunnel

__all__ = ["Proxy", "ProxyError", "find_proxy", "is_loopback", "parse_proxy", "tunnel_through"]

_LONGEST_HEAD = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([\t -~]*))?\r?\n")


class ProxyError(ConnectionError):
    """A proxy is named that cannot be used, or it does not let us through."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)
    """The value of `Proxy-Authorization`."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"proxy http://{host}:{self.port}"


def parse_proxy(text: str, *, named_by: str) -> Proxy:
    """Read the URL of a proxy.

    Args:
        named_by: the option or variable it stands in, for the message.

    Raises:
        ProxyError: it is none, or not one that speaks plain HTTP.
    """
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ProxyError(f"{named_by} names no proxy: it wants http://host:port")
    if parts.scheme.lower() != "http":
        raise ProxyError(f"{named_by} names a proxy of kind {parts.scheme}; only http:// proxies can be used")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(pair.encode())
    return Proxy(host, port or 80, authorization)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or address."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_proxy(url: HTTPURL, environment: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy that the environment names for a URL; never one for this machine itself.

    Raises:
        ProxyError: it names one that cannot be used.
    """
    values = os.environ if environment is None else environment

    def value(name: str) -> str:
        # In a CGI program HTTP_PROXY is the client's `Proxy` header.
        upper = "" if name == "http_proxy" and "REQUEST_METHOD" in values else values.get(name.upper(), "")
        return values.get(name) or upper

    if is_loopback(url.host):
        return None
    for name in (f"{url.scheme}_proxy", "all_proxy"):
        found = value(name)
        if found:
            return None if _is_exempt(url, value("no_proxy")) else parse_proxy(found, named_by=name.upper())
    return None


def _is_exempt(url: HTTPURL, exempt: str) -> bool:
    host = url.host.lower().rstrip(".")
    for entry in exempt.lower().split(","):
        name = entry.strip()
        if name == "*":
            return True
        network = _network(name)
        if network is not None:
            if _is_within(host, network):
                return True
            continue
        if not name.startswith("[") and ":" in name:
            name, _, port = name.partition(":")
            if port != str(url.port):
                continue
        name = name.strip("[]").removeprefix("*").strip(".")
        if name and (host == name or host.endswith(f".{name}")):
            return True
    return False


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _is_within(host: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def tunnel_through(proxy: Proxy, url: HTTPURL) -> Tunnel:
    """Return what asks a proxy for a tunnel to the host of a URL."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    where = f"{host}:{url.port}".encode()

    async def tunnel(stream: anyio.abc.ByteStream) -> None:
        own = b"" if proxy.authorization is None else b"proxy-authorization: %b\r\n" % proxy.authorization
        await stream.send(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (where, where, own))
        head = b""
        while b"\r\n\r\n" not in head:
            if len(head) > _LONGEST_HEAD:
                raise ProxyError(f"{proxy} answers with more than a head")
            # One byte at a time, once per connection: what follows the head belongs to the tunnel.
            head += await stream.receive(1)
        status = _STATUS.match(head)
        if status is None:
            raise ProxyError(f"{proxy} does not speak HTTP")
        if status[1][:1] != b"2":
            reason = (status[2] or b"").decode("latin-1")[:100]
            raise ProxyError(f"{proxy} refuses the tunnel: {status[1].decode()} {reason}".rstrip())

    return tunnel
