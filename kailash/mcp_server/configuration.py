"""What a server is made of when that is written down: a TOML or JSON file, and `MCP_*` variables of the environment.

Arguments rank above the environment, that above the file. `MCP_PAGE_SIZE` is the option `page_size`; variables that
name no option are somebody else's. What a server is run with stands in the table `run` of the file, and in
`MCP_TRANSPORT`, `MCP_HOST`, `MCP_PORT`, `MCP_LOG_LEVEL` and `MCP_WORKERS`.
"""

import inspect
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from .running import RunOptions

__all__ = ["Settings", "read_settings"]

Source = str | os.PathLike[str] | Mapping[str, Any] | None

_READERS: Mapping[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": json.loads}
_CODE_ONLY = frozenset({"icons", "lifespan", "limits"})
"""Options that only code can say."""
_PREFIX = "MCP_"
_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Settings(Struct, frozen=True, kw_only=True):
    """How a server is made and run."""

    options: dict[str, Any]
    """Arguments of its class, the name among them."""
    run: RunOptions
    """What `run()` falls back on."""


def read_settings(
    server: type,
    source: Source,
    arguments: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return what a server is made of.

    Args:
        server: its class, whose options are the known ones.
        source: a path that ends in `.toml` or `.json`, what such a file holds, or nothing.
        arguments: of the class; they rank above all else.
        environment: default that of the process.

    Raises:
        TypeError: an unknown option, or one of the wrong type; the message names it and lists the known ones.
        ValueError: a file of another kind, a malformed one, one without the name of the server, or a variable that is
            malformed or that a value needs and that is not set.
        OSError: the file cannot be read.
    """
    variables = os.environ if environment is None else environment
    known = _options_of(server)
    content, where = _read(source)
    expanded = _expand(content, variables, where)
    run = _read_run(expanded.pop("run", {}), where)
    unknown = expanded.keys() - known
    if unknown:
        raise TypeError(f"{where}: unknown option {_listed(unknown)}; known: {_listed(known)}, run")
    options = {name: _converted(name, value, where) for name, value in expanded.items()}
    options |= _read_environment(known, variables)
    if "state_keys" in options:
        options["state_keys"] = [key.encode() for key in options["state_keys"]]
    options |= {name: value for name, value in arguments.items() if value is not None}
    if options.get("auth_provider") is not None:
        options["auth_provider"] = _provider_of(options["auth_provider"], where)
    if not options.get("name"):
        raise ValueError(f'{where}: a server needs a name: give "name", or MCP_NAME in the environment')
    return Settings(options=options, run=run)


def _options_of(server: type) -> dict[str, Any]:
    from .server import MCPServer  # it imports this module when it is asked for a configuration

    found: dict[str, Any] = {}
    for cls in (server, MCPServer):
        for name, parameter in inspect.signature(cls).parameters.items():
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and name not in _CODE_ONLY:
                found.setdefault(name, parameter)
    return found


def _read(source: Source) -> tuple[dict[str, Any], str]:
    if source is None:
        return {}, "configuration"
    if isinstance(source, Mapping):
        return dict(source), "configuration"
    path = Path(source)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ValueError(
            f"{path}: a configuration is a file of {' or '.join(_READERS)}, not {path.suffix or 'neither'}"
        )
    try:
        content = read(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of either reader, and of the decoding
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a configuration is an object, not {type(content).__name__}")
    return content, str(path)


def _expand(value: Any, variables: Mapping[str, str], where: str) -> Any:
    """Replace `${NAME}` and `${NAME:-default}` in all texts, in keys too: a key may be a secret."""
    if isinstance(value, str) and "${" in value:
        from ..mcp_client.config import expand_variables  # the same spelling as in files of clients

        try:
            return expand_variables(value, variables)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if isinstance(value, Mapping):
        inner = partial(_expand, variables=variables, where=where)
        return {inner(key): inner(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_expand(item, variables, where) for item in value]
    return value


def _read_run(given: Any, where: str) -> RunOptions:
    known = RunOptions.__struct_fields__
    if not isinstance(given, Mapping):
        raise TypeError(f"{where}: run is a table of {_listed(known)}, not {type(given).__name__}")
    unknown = given.keys() - set(known)
    if unknown:
        raise TypeError(f"{where}: unknown option {_listed(unknown)} in run; known: {_listed(known)}")
    try:
        return msgspec.convert(given, RunOptions)
    except msgspec.ValidationError as error:
        raise TypeError(f"{where}: run: {error}") from None


def _converted(name: str, value: Any, where: str) -> Any:
    """Check what the class itself would take too late, or not at all."""
    wanted = _TYPES.get(name)
    if wanted is None:
        return value
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise TypeError(f"{where}: {name}: {error}") from None


_TYPES: Mapping[str, Any] = {
    "name": str,
    "version": str,
    "title": str,
    "description": str,
    "website_url": str,
    "instructions": str,
    "stdio_permissions": list[str],
    "enable_http_transport": bool,
    "enable_sse_transport": bool,
    "enable_metrics": bool,
    "page_size": int | None,
    "request_timeout": float | None,
    "max_threads": int,
    "max_queued": int,
    "max_concurrent_requests": int | None,
    "list_ttl": float,
    "revisions": list[str],
    "state_keys": list[str],
    "tracing": bool,
    "store": str,
    "debug": bool,
}
"""The types of plain options, in files and in the environment; the others check themselves."""


def _read_environment(known: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in known:
        text = variables.get(_PREFIX + name.upper())
        if not text:
            continue
        try:
            found[name] = _from_text(text, _TYPES.get(name))
        except (ValueError, msgspec.ValidationError) as error:
            raise ValueError(f"{_PREFIX}{name.upper()}: {error}") from None
    return found


def _from_text(text: str, wanted: Any) -> Any:
    if wanted is str:
        return text
    if wanted is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(f"{text!r} is neither of {', '.join(_TRUTH)}")
        return _TRUTH[text.lower()]
    if wanted == list[str]:
        return [part.strip() for part in text.split(",") if part.strip()]
    if wanted is not None:
        return msgspec.convert(None if text.lower() == "none" else text, wanted, strict=False)
    if text[:1] in "{[":
        return msgspec.json.decode(text)  # a table, such as rate_limit_config
    return _TRUTH.get(text.lower(), text)


def _provider_of(given: Any, where: str) -> Any:
    """Return a provider, of a table of a `type` and the arguments of its class, or of a list of such."""
    if isinstance(given, list):
        return [_provider_of(each, where) for each in given]
    if not isinstance(given, Mapping):
        return given
    from . import auth  # what servers without a provider never need

    classes: Mapping[str, type] = {
        "api_key": auth.APIKeyAuth,
        "bearer": auth.BearerTokenAuth,
        "basic": auth.BasicAuth,
        "jwt": auth.JWTAuth,
    }
    options = dict(given)
    kind = options.pop("type", None)
    if kind not in classes:
        raise TypeError(f"{where}: auth_provider: type must be one of {', '.join(classes)}")
    known = inspect.signature(classes[kind]).parameters
    unknown = options.keys() - known.keys()
    if unknown:
        # Its names alone: a key written in the wrong place is a secret.
        count = "an option" if len(unknown) == 1 else f"{len(unknown)} options"
        raise TypeError(
            f"{where}: auth_provider of type {kind}: {count} that it does not have; known: {_listed(known)}"
        )
    return classes[kind](**options)


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
