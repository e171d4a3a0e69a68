"""What a request's head alone decides: foreign hosts and origins, methods, media types, declared sizes, CORS.

| check                                             | status |
|---------------------------------------------------|--------|
| `Host` is no name of ours, malformed, or twice    | 421    |
| `Origin` is there and not ours, malformed, twice  | 403    |
| method                                            | 405    |
| `Accept` lacks what may be answered               | 406    |
| `Content-Type` is not JSON, or the body is packed | 415    |
| `Content-Length` beyond the limit                 | 413    |

A web page that a browser shows may send requests to any address, and with DNS rebinding even to one that the browser
believes to be the page's own. The `Host` it then sends is still the page's, and so is its `Origin`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from msgspec import Struct

from ..framing.headers import Headers
from ..framing.httphead import RequestHead
from .answer import Answer, Arrival, Header, refuse

__all__ = ["Guard", "GuardOptions", "Origin", "is_loopback", "parse_host", "parse_origin"]

_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
_HOST_RULE = re.compile(_HOST)
_ORIGIN_RULE = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*)://{_HOST}")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SHOWN = 200

_ALLOWED_HEADERS: Final = (
    "accept, authorization, content-type, last-event-id, mcp-method, mcp-name, mcp-protocol-version, mcp-session-id"
)
_EXPOSED_HEADERS: Final = b"mcp-session-id, mcp-protocol-version, retry-after, www-authenticate"
_MIRRORED = re.compile(r"mcp-param-[!#$%&'*+.^_`|~0-9a-z-]+")
_MOST_MIRRORED = 64


class GuardOptions(Struct, frozen=True, kw_only=True):
    """Whom an HTTP endpoint answers."""

    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may send requests (`https://app.example`, `http://localhost:*`), or `*` for any. Those
    named here are given CORS headers. Without any, only pages served from this machine to a loopback address may."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that requests may be for (`mcp.example`, `mcp.example:8443`), or `*` for any. Without any, a request
    that arrives on a loopback address must name one, and others may name anything."""
    max_body: int | None = 4 * 1024 * 1024
    """Most bytes of a request's body."""
    cors_max_age: int = 600
    """Seconds for which a browser may remember the answer to a preflight."""


class Origin(Struct, frozen=True):
    """A parsed origin; two are the same if all three are."""

    scheme: str
    host: str
    port: int | None


def parse_host(text: str) -> tuple[str, int | None] | None:
    """Split `host[:port]`; `None` for anything else, such as one with a user, a path or a list."""
    match = _HOST_RULE.fullmatch(text)
    if match is None:
        return None
    host, port = match.groups()
    if port is not None and int(port) > 65535:
        return None
    return host.lower(), None if port is None else int(port)


def parse_origin(text: str) -> Origin | None:
    """Split `scheme://host[:port]`, with the scheme's own port where none is named; `None` for anything else."""
    match = _ORIGIN_RULE.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    host = parse_host(text[len(scheme) + 3 :])
    if host is None:
        return None
    return Origin(scheme, host[0], _DEFAULT_PORTS.get(scheme) if host[1] is None else host[1])


def is_loopback(host: str) -> bool:
    """Tell whether a host name or an address without brackets means this very machine."""
    host = host.strip("[]").removeprefix("::ffff:")
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())


class Guard:
    """Checks heads; knows nothing of bodies and sessions.

    Args:
        options: whom to answer.
        methods: the HTTP methods that the endpoint has, and the media types that each of them may answer with.

    Raises:
        ValueError: an allowed origin or host is none.
    """

    def __init__(self, options: GuardOptions, methods: Mapping[str, tuple[bytes, ...]]) -> None:
        self.max_body = options.max_body
        self._max_age = options.cors_max_age
        self._methods = methods
        self._allow: Header = (b"allow", ", ".join(methods).encode())
        self._any_origin = "*" in options.allowed_origins
        self._any_host = "*" in options.allowed_hosts
        self._has_cors = bool(options.allowed_origins)
        self._has_hosts = bool(options.allowed_hosts)
        self._origins: set[Origin] = set()
        """Those named; a port of −1 stands for every port."""
        self._hosts: set[tuple[str, int | None]] = set()
        for name in options.allowed_origins:
            self._allow_origin(name)
        for name in options.allowed_hosts:
            self._allow_host(name)
        self._passed: set[tuple[bytes | str | None, ...]] = set()
        """What was found good, by the values it depends on; a cache."""

    def _allow_origin(self, name: str) -> None:
        if name == "*":
            return
        base = name.removesuffix(":*")
        origin = parse_origin(base)
        if origin is None:
            raise ValueError(f"allowed_origins: {name!r} is no origin; write it as https://host or https://host:port")
        self._origins.add(origin if base == name else Origin(origin.scheme, origin.host, -1))

    def _allow_host(self, name: str) -> None:
        if name == "*":
            return
        host = parse_host(name)
        if host is None:
            raise ValueError(f"allowed_hosts: {name!r} is no host; write it as host or host:port")
        self._hosts.add(host)

    def refuse(self, head: RequestHead, arrival: Arrival) -> Answer | None:
        """Return the answer to a request that must not be heeded, `None` for one that may."""
        answer = self._refuse_sender(head.headers, arrival.local)
        if answer is not None:
            return answer
        if head.method == "OPTIONS" and self._has_cors:
            return self._preflight(head)
        if head.method not in self._methods:
            return refuse(405, f"Method not allowed: {head.method}", self._allow)
        answer = self._refuse_type(head)
        return None if answer is None else answer.with_headers(self.cors(head))

    # Who sends it

    def _refuse_sender(self, headers: Headers, local: str | None) -> Answer | None:
        hosts = headers.get_all(b"host")
        origins = headers.get_all(b"origin")
        key = (*hosts, b"", *origins, local)
        if key in self._passed:
            return None
        is_local = local is not None and is_loopback(local)
        host = self._find_host(hosts, is_local)
        if host is None:
            shown = _show(b", ".join(hosts))
            return refuse(421, f"Host {shown} is not served here; name it in allowed_hosts")
        if origins and not self._is_origin_allowed(origins, host, is_local):
            # "If the Origin header is present and invalid, servers MUST respond with HTTP 403 Forbidden"
            # — basic/transports/streamable-http#security-endpoint
            shown = _show(b", ".join(origins))
            return refuse(403, f"Origin {shown} is not allowed; name it in allowed_origins")
        if len(self._passed) >= 256:
            self._passed.clear()
        self._passed.add(key)
        return None

    def _find_host(self, values: list[bytes], is_local: bool) -> tuple[str, int | None] | None:
        """Return the host that is asked for, if it is served at the address that was asked."""
        host = parse_host(values[0].decode("latin-1")) if len(values) == 1 else None
        if host is None or self._any_host or self._is_host_named(host):
            return host
        if is_local:
            return host if is_loopback(host[0]) else None
        return None if self._has_hosts else host

    def _is_host_named(self, host: tuple[str, int | None]) -> bool:
        name, port = host
        if (name, None) in self._hosts or host in self._hosts:
            return True
        return port is None and ((name, 80) in self._hosts or (name, 443) in self._hosts)

    def _is_origin_allowed(self, values: list[bytes], host: tuple[str, int | None], is_local: bool) -> bool:
        origin = parse_origin(values[0].decode("latin-1")) if len(values) == 1 else None
        if origin is None:
            return False
        if self._is_origin_named(origin) or (is_local and is_loopback(origin.host)):
            return True
        # A page of the very host that it asks, where that host is known to be ours: with rebinding both are foreign.
        port = _DEFAULT_PORTS.get(origin.scheme) if host[1] is None else host[1]
        return self._is_host_named(host) and (origin.host, origin.port) == (host[0], port)

    def _is_origin_named(self, origin: Origin) -> bool:
        return self._any_origin or origin in self._origins or Origin(origin.scheme, origin.host, -1) in self._origins

    # What it sends, and what it takes

    def _refuse_type(self, head: RequestHead) -> Answer | None:
        headers = head.headers
        needed = self._methods[head.method]
        if not _accepts(headers.get_all(b"accept"), needed):
            listed = b" and ".join(needed).decode()
            return refuse(406, f"Not acceptable: Accept must list {listed}")
        if head.method != "POST":
            return None
        types = headers.get_all(b"content-type")
        if len(types) != 1 or not _is_json(types[0]):
            return refuse(415, "Unsupported media type: Content-Type must be application/json")
        for coding in headers.get_all(b"content-encoding"):
            if coding.strip().lower() != b"identity":
                return refuse(415, "Unsupported media type: the body must not be encoded", (b"accept-encoding", b""))
        length = headers.get(b"content-length")
        if length is not None and self.max_body is not None and length.isdigit() and int(length[:20]) > self.max_body:
            return self.too_large()
        return None

    def too_large(self) -> Answer:
        """Return the answer to a body that is longer than it may be."""
        return refuse(413, f"Body longer than {self.max_body} bytes (max_body)")

    # CORS: nothing at all unless origins are named, and then only those

    def cors(self, head: RequestHead) -> list[Header]:
        """Return the headers that let a page of an allowed origin read the answer."""
        if not self._has_cors:
            return []
        if self._any_origin:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED_HEADERS)]
        vary = (b"vary", b"origin")
        value = head.headers.get(b"origin")
        origin = None if value is None else parse_origin(value.decode("latin-1"))
        if value is None or origin is None or not self._is_origin_named(origin):
            return [vary]
        return [
            (b"access-control-allow-origin", value),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
            vary,
        ]

    def _preflight(self, head: RequestHead) -> Answer:
        if head.headers.get(b"origin") is None or head.headers.get(b"access-control-request-method") is None:
            return refuse(405, "Method not allowed: OPTIONS", self._allow)
        asked = (head.headers.get(b"access-control-request-headers") or b"").decode("latin-1").lower()
        # `*` would not cover Authorization, and mirrored arguments have names that nobody can list.
        mirrored = [name for name in map(str.strip, asked.split(",")) if _MIRRORED.fullmatch(name)]
        allowed = ", ".join([_ALLOWED_HEADERS, *mirrored[:_MOST_MIRRORED]])
        return Answer(
            204,
            [
                *self.cors(head),
                (b"access-control-allow-methods", self._allow[1]),
                (b"access-control-allow-headers", allowed.encode("latin-1")),
                (b"access-control-max-age", b"%d" % self._max_age),
            ],
        )


def _show(value: bytes) -> str:
    """Return a peer's bytes as text that is safe to log and to read."""
    return repr(value[:_SHOWN].decode("latin-1"))


def _accepts(values: list[bytes], types: tuple[bytes, ...]) -> bool:
    # Absent means anything — RFC 9110 section 12.5.1
    return not values or _accepts_all(b",".join(values), types)


@lru_cache(maxsize=256)
def _accepts_all(value: bytes, types: tuple[bytes, ...]) -> bool:
    """Tell whether an `Accept` header takes every one of these media types."""
    taken: set[bytes] = set()
    for part in value.lower().split(b","):
        media, *params = (piece.strip() for piece in part.split(b";"))
        if not any(param.startswith(b"q=") and not param[2:].strip(b"0.") for param in params):
            taken.add(media)
    return all(not taken.isdisjoint({each, each.split(b"/")[0] + b"/*", b"*/*"}) for each in types)


@lru_cache(maxsize=256)
def _is_json(value: bytes) -> bool:
    """Tell whether a `Content-Type` means JSON in UTF-8."""
    media, *params = (piece.strip() for piece in value.lower().split(b";"))
    charsets = [param[8:].strip(b'"') for param in params if param.startswith(b"charset=")]
    return media == b"application/json" and all(charset in (b"utf-8", b"utf8") for charset in charsets)
