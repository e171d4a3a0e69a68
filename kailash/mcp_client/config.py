"""How to reach one server: a mapping, checked; and `mcpServers` files, in the spellings found in the wild."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

__all__ = ["ClientConfig", "expand_variables", "load_servers"]

TRANSPORTS = ("stdio", "memory")

_KNOWN = {
    "name": "name shown to the server",
    "transport": "stdio or memory (also spelled type)",
    "type": "the same as transport",
    "command": "executable of a stdio server",
    "args": "its arguments",
    "env": "variables beside the allow-list the child inherits",
    "cwd": "its working directory",
    "server": "the MCPServer of a memory transport",
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
    timeout: float | None = 60.0
    total_timeout: float | None = 300.0
    connect_timeout: float = 30.0
    probe_timeout: float = 5.0

    @classmethod
    def of(cls, source: Any) -> "ClientConfig":
        """Read a config from a mapping, or make one for an `MCPServer` in this process.

        Raises:
            TypeError: an unknown key, or a value of the wrong type.
        """
        if isinstance(source, ClientConfig):
            return source
        if hasattr(source, "open_memory"):
            return cls(transport="memory", server=source)
        if not isinstance(source, Mapping):
            raise TypeError(f"a config is a mapping or an MCPServer, not {type(source).__name__}")
        unknown = source.keys() - _KNOWN.keys()
        if unknown:
            raise TypeError(f"unknown config key {', '.join(sorted(unknown))}; known: {', '.join(_KNOWN)}")
        values = dict(source)
        spelled = values.pop("type", None)
        values.setdefault("transport", spelled)
        if values["transport"] is None:
            values["transport"] = "memory" if "server" in values else "stdio" if "command" in values else None
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise TypeError(f"config: {error}") from None

    def problems(self) -> list[str]:
        """Return what keeps this config from working, each with what to change."""
        found = []
        if self.transport is None:
            found.append('no transport: give "transport" or "command"')
        elif self.transport not in TRANSPORTS:
            found.append(f"transport {self.transport!r} is not available; available: {', '.join(TRANSPORTS)}")
        elif self.transport == "stdio" and not self.command:
            found.append('a stdio server needs a "command"')
        elif self.transport == "memory" and not hasattr(self.server, "open_memory"):
            found.append('a memory transport needs "server", an MCPServer of this process')
        if self.cwd is not None and not Path(self.cwd).is_dir():
            found.append(f"cwd {self.cwd!r} is not a directory")
        for name in ("timeout", "total_timeout", "connect_timeout", "probe_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                found.append(f"{name} must be above zero, not {value!r}")
        return found

    @property
    def endpoint(self) -> str:
        """What to call the server in messages: the command line, never the environment."""
        if self.transport == "stdio":
            return " ".join([self.command or "?", *self.args])
        return f"memory:{getattr(self.server, 'name', '?')}"

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells connections apart that may be shared."""
        env = None if self.env is None else tuple(sorted(self.env.items()))
        return (self.transport, self.command, self.args, env, self.cwd, id(self.server) if self.server else None)


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
        values["args"] = [expand_variables(arg) for arg in values.get("args", [])]
        for key in ("command", "cwd"):
            if isinstance(values.get(key), str):
                values[key] = expand_variables(values[key])
        if isinstance(values.get("env"), Mapping):
            values["env"] = {key: expand_variables(value) for key, value in values["env"].items()}
        try:
            configs[name] = ClientConfig.of(values)
        except TypeError as error:
            raise ValueError(f"server {name!r}: {error}") from None
    return configs
