"""How to reach one server: a mapping, checked; and `mcpServers` files, in the spellings found in the wild."""

import hashlib
import inspect
import os
import re
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..adapters.http_headers import encode_headers
from ..adapters.http_url import HTTPURL, parse_url
from ..auth.headers import HeaderAuth, environment_of, read_auth

__all__ = ["ClientConfig", "expand_variables", "load_servers"]

TRANSPORTS = ("stdio", "http", "sse", "websocket", "tcp", "unix", "memory")

_SPELLINGS = {"streamablehttp": "http", "httpstream": "http", "httpsse": "sse", "ws": "websocket", "wss": "websocket"}
"""What others call the transports, without case and punctuation."""

_KNOWN = {
    "name": "name shown to the server",
    "transport": "stdio, http, sse, websocket, tcp, unix or memory (also spelled type)",
    "type": "the same as transport",
    "command": "executable of a stdio server",
    "args": "its arguments",
    "env": "variables beside the allow-list the child inherits",
    "cwd": "its working directory",
    "server": "the MCPServer of a memory transport",
    "host": "where a tcp server is",
    "port": "its port",
    "path": "of a server's Unix socket",
    "url": "where an http, sse or websocket server is; of http and sse a base URL will do",
    "headers": "headers of every request to it, or a callable that returns them",
    "auth": "credentials: {type: api_key | bearer | jwt | basic, ...}, or a provider with get_headers()",
    "ca_file": "certificates to trust instead of the system's",
    "client_cert": "certificate to show to the server",
    "client_key": "its key, unless that stands in the same file",
    "proxy": "URL of an HTTP proxy instead of the environment's; an empty one: none",
    "http_codec": "h11, httptools or auto",
    "http_connect_timeout": "seconds one network connection may take to open",
    "first_byte_timeout": "seconds until the answer to a request must begin",
    "idle_timeout": "seconds an answer may be silent once it has begun",
    "response_timeout": "seconds a whole answer may take",
    "subprotocols": "what a WebSocket offers to speak, in the order of liking",
    "ping_interval": "seconds between two pings of a WebSocket; None: none are sent",
    "ping_timeout": "seconds after a ping in which the server must say something",
    "compression": "offer to compress the messages of a WebSocket",
    "allow_localhost": "whether a WebSocket may lead to this machine and to private networks",
    "skip_security_validation": "whether the addresses behind a WebSocket's URL are not looked at: for tests alone",
    "connection_pool_config": "how many connections are held, and for how long",
    "timeout": "seconds a call may take without progress",
    "total_timeout": "seconds a call may take at all",
    "connect_timeout": "seconds until the server must be ready",
    "probe_timeout": "seconds of silence until an old server is assumed",
}


class ClientConfig(Struct, frozen=True, kw_only=True):
    """One server, as the client needs to know it."""

    transport: str | None = None
    name: str = "kailash-mcp-client"
    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] | None = None
    cwd: str | None = None
    server: Any = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    url: str | None = None
    headers: Any = None
    auth: Any = None
    """What `read_auth` made of it."""
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None
    http_codec: Literal["auto", "h11", "httptools"] = "auto"
    http_connect_timeout: float | None = 10.0
    first_byte_timeout: float | UnsetType | None = UNSET
    """Default: 60 s, and for calls what their own time-outs say."""
    idle_timeout: float | UnsetType | None = UNSET
    """Default: 300 s; HTTP+SSE, whose only stream may be silent for long, has none."""
    response_timeout: float | None = None
    subprotocols: tuple[str, ...] = ("mcp",)
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    compression: bool = False
    allow_localhost: bool = True
    skip_security_validation: bool = False
    connection_pool_config: dict[str, Any] | None = None
    timeout: float | None = 60.0
    total_timeout: float | None = 300.0
    connect_timeout: float = 30.0
    probe_timeout: float = 5.0

    @classmethod
    def of(cls, source: Any) -> "ClientConfig":
        """Read a config from a mapping, or make one for a URL or an `MCPServer` in this process.

        Raises:
            TypeError: an unknown key, or a value of the wrong type.
            ValueError: credentials that no header can carry.
        """
        if isinstance(source, ClientConfig):
            return source
        if hasattr(source, "open_memory"):
            return cls(transport="memory", server=source)
        if hasattr(source, "client_config"):
            config: ClientConfig = source.client_config()
            return config
        if isinstance(source, str):
            return cls(**_of_url(source))
        if not isinstance(source, Mapping):
            raise TypeError(f"a config is a mapping, a URL or an MCPServer, not {type(source).__name__}")
        unknown = source.keys() - _KNOWN.keys()
        if unknown:
            raise TypeError(f"unknown config key {', '.join(sorted(unknown))}; known: {', '.join(_KNOWN)}")
        values = dict(source)
        spelled = values.pop("type", None)
        values.setdefault("transport", spelled)
        kind = spelled_kind = values["transport"]
        if kind is None:
            kind = next((kind for key, kind in _IMPLIED.items() if key in values), None)
        elif isinstance(kind, str):
            kind = _SPELLINGS.get(_PUNCTUATION.sub("", kind).lower(), kind)
        values["transport"] = kind
        url = values.get("url")
        if isinstance(url, str) and (spelled_kind is None or kind in _LINE_TRANSPORTS):
            values |= _of_url(url)
        if values.get("auth") is not None:
            values["auth"] = read_auth(values["auth"])
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise TypeError(f"config: {error}") from None

    def __repr__(self) -> str:
        # Environment, headers and auth hold secrets.
        return f"ClientConfig(transport={self.transport!r}, endpoint={self.endpoint!r})"

    def problems(self) -> list[str]:
        """Return what keeps this config from working, each with what to change."""
        found = []
        if self.transport is None:
            found.append('no transport: give "url", "command" or "transport"')
        elif self.transport not in TRANSPORTS:
            found.append(f"transport {self.transport!r} is not available; available: {', '.join(TRANSPORTS)}")
        elif self.transport == "stdio" and not self.command:
            found.append('a stdio server needs a "command"')
        elif self.transport == "memory" and not hasattr(self.server, "open_memory"):
            found.append('a memory transport needs "server", an MCPServer of this process')
        elif self.is_networked:
            found += self._network_problems()
        elif self.transport in _LINE_TRANSPORTS:
            found += self._socket_problems()
        if self.auth is not None:
            found += self._auth_problems()
        if self.cwd is not None and not Path(self.cwd).is_dir():
            found.append(f"cwd {self.cwd!r} is not a directory")
        for name in _TIMEOUTS:
            value = getattr(self, name)
            if value is not None and value is not UNSET and not value > 0:
                found.append(f"{name} must be above zero, not {value!r}")
        return found

    def _auth_problems(self) -> list[str]:
        if self.transport in _LINE_TRANSPORTS:
            return [f"auth: {self.transport} carries no credentials; use http, or a Unix socket without auth"]
        if self.transport == "memory":
            return ["auth: a server of this process trusts its callers; a memory transport takes no credentials"]
        try:
            if self.transport == "stdio":
                environment_of(self.auth)
            sent = {name.lower() for name in self.auth.get_headers()}
        except ValueError as error:
            return [str(error)]
        twice = (
            sorted(name for name in self.headers if name.lower() in sent) if isinstance(self.headers, Mapping) else []
        )
        return [f"headers and auth both set {', '.join(twice)}; give it once"] if twice else []

    def _socket_problems(self) -> list[str]:
        if self.transport == "unix":
            return [] if self.path else ['a unix server needs a "path"']
        found = []
        if not self.host:
            found.append('a tcp server needs a "host"')
        if self.port is None or not 0 < self.port < 65536:
            found.append(f'a tcp server needs a "port" of 1 to 65535, not {self.port!r}')
        if self.headers is not None:
            found.append("headers: tcp carries none")
        return found

    def _network_problems(self) -> list[str]:
        found = []
        if not self.url:
            found.append(f'a server behind {self.transport} needs a "url"')
        else:
            try:
                parse_url(self.url, self._schemes)
            except ValueError as error:
                found.append(f"url: {error}")
        if isinstance(self.headers, Mapping):
            try:
                encode_headers(self.headers)
            except ValueError as error:
                found.append(str(error))
        elif self.headers is not None and not callable(self.headers):
            found.append(f"headers must be a mapping or a callable, not {type(self.headers).__name__}")
        for name in ("ca_file", "client_cert", "client_key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                found.append(f"{name} {path!r} is not a file")
        if self.client_key is not None and self.client_cert is None:
            found.append('a "client_key" needs its "client_cert"')
        return found

    @property
    def is_networked(self) -> bool:
        """Tell whether the server is behind a URL."""
        return self.transport in ("http", "sse", "websocket")

    @property
    def _schemes(self) -> tuple[str, str]:
        return ("ws", "wss") if self.transport == "websocket" else ("http", "https")

    @property
    def location(self) -> HTTPURL:
        """Where the server is.

        Raises:
            ValueError: the URL cannot be used.
        """
        return parse_url(self.url or "", self._schemes)

    @property
    def endpoint(self) -> str:
        """What to call the server in messages: command line or URL; neither environment nor headers nor a query."""
        if self.transport == "stdio":
            return " ".join([self.command or "?", *self.args])
        if self.is_networked:
            try:
                return str(self.location)
            except ValueError:
                return "a URL that cannot be used"
        if self.transport == "tcp":
            return f"tcp://{f'[{self.host}]' if ':' in (self.host or '') else self.host}:{self.port}"
        if self.transport == "unix":
            return f"unix://{self.path}"
        return f"memory:{getattr(self.server, 'name', '?')}"

    @property
    def sent_headers(self) -> Any:
        """The headers of every request, or what makes them: the user's own and those of `auth`."""
        auth, own = self.auth, self.headers
        if auth is None:
            return own
        if isinstance(auth, HeaderAuth) and not callable(own):
            return {**auth.get_headers(), **(own or {})}
        return SentHeaders(auth, own)

    @property
    def child_environment(self) -> dict[str, str] | None:
        """What a stdio server gets in its environment: the user's variables, and those that carry `auth`."""
        return self.env if self.auth is None else {**environment_of(self.auth), **(self.env or {})}

    @property
    def _auth_key(self) -> Any:
        # A provider's credentials change, it does not; what is sent as it is stands for itself.
        auth = self.auth
        return _digest(repr(sorted(auth.get_headers().items()))) if isinstance(auth, HeaderAuth) else id(auth)

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells connections apart that may be shared; secrets are in it as digests only."""
        if not self.is_networked:
            env = None if self.env is None else _digest(repr(sorted(self.env.items())))
            server = id(self.server) if self.server else None
            where = (self.host, self.port, self.path)
            return (self.transport, self.command, self.args, env, self.cwd, server, *where, self._auth_key)
        sent = tuple(sorted(self.headers.items())) if isinstance(self.headers, Mapping) else ()
        made = self.headers if callable(self.headers) else None
        shown = (self.ca_file, self.client_cert, self.client_key, self.proxy, self.http_codec)
        if self.transport == "websocket":
            kept = (self.ping_interval, self.ping_timeout, self.compression)
            shown = (*shown, self.subprotocols, self.allow_localhost, self.skip_security_validation, *kept)  # type: ignore[assignment]
        return (*self.endpoint_key, made, self._auth_key, _digest(repr((sent, shown))))

    @property
    def endpoint_key(self) -> tuple[Any, ...]:
        """What tells servers apart, whoever asks them."""
        return (self.transport, self.endpoint, _digest(self.url or "")) if self.is_networked else self.key


class SentHeaders:
    """Makes the headers of each request: those of a provider, whose tokens may change, and the user's own."""

    __slots__ = ("_auth", "_own")

    def __init__(self, auth: Any, own: Any) -> None:
        self._auth = auth
        self._own = own

    def __call__(self) -> Any:
        """Return the headers, or what is to be awaited for them."""
        made = self._auth.get_headers()
        own = self._own() if callable(self._own) else self._own
        return self._merged(made, own) if inspect.isawaitable(own) else {**made, **(own or {})}

    async def _merged(self, made: Mapping[str, str], own: Awaitable[Any]) -> Mapping[str, str]:
        return {**made, **(await own or {})}


_IMPLIED = {"server": "memory", "command": "stdio", "url": "http", "port": "tcp", "path": "unix"}
"""The transport that a key implies."""
_BY_SCHEME = {"ws": "websocket", "wss": "websocket", "tcp": "tcp", "unix": "unix"}
_LINE_TRANSPORTS = ("tcp", "unix")
_PUNCTUATION = re.compile(r"[^A-Za-z]")


def _of_url(url: str) -> dict[str, Any]:
    """Return what a URL says of a server: the transport, and where it is."""
    scheme, colon, rest = url.strip().partition(":")
    kind = _BY_SCHEME.get(scheme.lower(), "http") if colon else "http"
    if kind == "unix":
        return {"transport": kind, "url": None, "path": rest.removeprefix("//")}
    if kind == "tcp":
        found = urlsplit(url.strip())
        try:
            host, port = found.hostname, found.port
        except ValueError as error:
            raise ValueError(f"url: not a URL: {error}") from None
        if found.username is not None or found.path.strip("/") or found.query:
            raise ValueError("url: of tcp there is a host and a port: tcp://127.0.0.1:8080")
        return {"transport": kind, "url": None, "host": host, "port": port}
    return {"transport": kind, "url": url}


_TIMES = ("timeout", "ping_interval")
_TIMEOUTS = [name for name in ClientConfig.__struct_fields__ if name in _TIMES or name.endswith("_timeout")]
_SALT = os.urandom(16)


def _digest(text: str) -> str:
    """Return what stands for secrets where they are only compared; it may be printed."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=_SALT, digest_size=16).hexdigest()


_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_IGNORED = {"disabled", "autoApprove", "alwaysAllow", "description", "gallery", "version", "tools", "timeout"}


def expand_variables(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace `${NAME}`, `${env:NAME}` and `${NAME:-default}` by environment variables.

    Raises:
        ValueError: a variable without default is not set; the message names it.
    """
    values = os.environ if environment is None else environment

    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = values.get(name, default)
        if value is None:
            raise ValueError(f"environment variable {name} is not set, and ${{{name}}} has no default")
        return value

    return _VARIABLE.sub(replace, text)


_URL_KEYS = {"serverUrl": None, "httpUrl": "http"}
"""What others call `url`, and what that says of the transport."""


def _expand(value: Any) -> Any:
    """Expand text; what is none is left to the check of types."""
    return expand_variables(value) if isinstance(value, str) else value


def load_servers(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, ClientConfig]:
    """Read an `mcpServers` file (or VS Code's `servers`) into configs by name; disabled servers are left out.

    Args:
        source: a path, or the file's content already parsed.

    Raises:
        ValueError: the file has neither member, a server is malformed, or a variable is not set.
    """
    if isinstance(source, Mapping):
        content: Any = source
    else:
        content = msgspec.json.decode(Path(source).read_bytes())
    servers = content.get("mcpServers", content.get("servers")) if isinstance(content, Mapping) else None
    if not isinstance(servers, Mapping):
        raise ValueError('neither "mcpServers" nor "servers" found')
    configs = {}
    for name, entry in servers.items():
        if not isinstance(entry, Mapping):
            raise ValueError(f"server {name!r} is not an object")
        if entry.get("disabled") is True:
            continue
        values = {key: value for key, value in entry.items() if key not in _IGNORED}
        if isinstance(entry.get("timeout"), int | float):
            values["timeout"] = entry["timeout"] / 1000  # these files count in milliseconds
        for other, kind in _URL_KEYS.items():
            if other in values and "url" not in values:
                values["url"] = values.pop(other)
                values.setdefault("type", kind)
        if isinstance(values.get("args"), list):
            values["args"] = [_expand(arg) for arg in values["args"]]
        for key in ("command", "cwd", "host", "path", "url", "ca_file", "client_cert", "client_key", "proxy"):
            if key in values:
                values[key] = _expand(values[key])
        for key in ("env", "headers", "auth"):
            if isinstance(values.get(key), Mapping):
                values[key] = {name: _expand(value) for name, value in values[key].items()}
        try:
            configs[name] = ClientConfig.of(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"server {name!r}: {error}") from None
    return configs
