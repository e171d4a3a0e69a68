"""URLs of HTTP endpoints: read once, strictly, and shown without what may be secret in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

__all__ = ["HTTPURL", "parse_url"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[0-9A-Za-z._-]+")
_BRACKETED = re.compile(r"\[[^\[\]]*\](?::[0-9]*)?")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._-]+)?")
# What a target may hold besides letters and digits; whatever is percent-encoded stays as it is.
_SAFE = "/%:@!$&'()*+,;=~-._?[]"


@dataclass(frozen=True, slots=True)
class HTTPURL:
    """Where an endpoint is."""

    scheme: str
    """`http` or `https`; of a WebSocket `ws` or `wss`."""
    host: str
    """A name or an address, without brackets."""
    port: int
    target: str
    """Path and query, percent-encoded."""

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them: no default port, no zone of an address."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        """The URL for people: what stands in a query may be a key, so it is not shown."""
        path, mark, _ = self.target.partition("?")
        return f"{self.origin}{path}{mark and '?…'}"

    __repr__ = __str__

    @property
    def text(self) -> str:
        """The whole URL, for use and not for showing."""
        return f"{self.origin}{self.target}"

    def join(self, reference: str) -> HTTPURL:
        """Return the URL that a reference found at this one means.

        Raises:
            ValueError: it is no usable URL.
        """
        return parse_url(urljoin(self.text, reference))

    def below(self, name: str) -> HTTPURL:
        """Return the URL one step below the path of this one."""
        path, mark, query = self.target.partition("?")
        return HTTPURL(self.scheme, self.host, self.port, f"{path.rstrip('/')}/{name}{mark}{query}")


def parse_url(text: str, schemes: tuple[str, str] = ("http", "https")) -> HTTPURL:
    """Read the URL of an endpoint; its fragment is dropped.

    Args:
        text: the URL.
        schemes: what it may begin with; the second is the one over TLS.

    Raises:
        ValueError: it is none; the message says why and shows no user or password.
    """
    if _CONTROL.search(text):
        raise ValueError("a URL with a control character or a line end in it")
    try:
        parts = urlsplit(text.strip())
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in schemes:
        found = scheme + ":" if scheme else "without a scheme"
        raise ValueError(f"a URL starts with {schemes[0]}:// or {schemes[1]}://, not {found}")
    if parts.username is not None or parts.password is not None:
        raise ValueError('a URL with user or password in it: send them as a header instead, with "headers"')
    if not host:
        raise ValueError("a URL without a host")
    if ":" in host or "[" in parts.netloc:
        # What stands between the bracket and the port is overlooked by `urlsplit`, and may be read by others.
        if not _BRACKETED.fullmatch(parts.netloc) or not _ADDRESS.fullmatch(host):
            raise ValueError("a URL with a bad IPv6 address")
    elif not _HOST.fullmatch(host):
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            host = ""
        if not _HOST.fullmatch(host):
            raise ValueError("a URL with a bad host name")
    if port == 0:
        raise ValueError("a URL with port 0")
    path = quote(parts.path or "/", safe=_SAFE)
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return HTTPURL(scheme, host, port or _PORTS[scheme], path + query)
