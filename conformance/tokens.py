"""Tokens for a server under test that demands them: given by hand, read from the environment or a file, never shown."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Tokens", "parse_challenges", "read_token", "read_tokens"]

_KINDS = ("good", "narrow", "broad", "expired", "foreign")
_KEYS = (*_KINDS, "tool", "arguments")
_PLAIN = frozenset("!#$%&'*+-.^_`|~/=")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Access tokens of one kind each; those that are not there are `None`."""

    good: str | None = None
    """Accepted for everything."""
    narrow: str | None = None
    """Accepted, but without the scope that `tool` needs."""
    broad: str | None = None
    """Without that scope either, but with one that implies it."""
    expired: str | None = None
    foreign: str | None = None
    """Good, but issued for another server."""
    tool: str | None = None
    """A tool that needs a scope."""
    arguments: dict[str, Any] | None = None
    """Of a call of it."""

    @property
    def secrets(self) -> dict[str, str]:
        """Every token, and the name by which it is shown."""
        found = {getattr(self, kind): f"{kind} token" for kind in _KINDS}
        return {token: name for token, name in found.items() if token}


def read_token(given: str) -> str:
    """Return a token: `env:NAME` from the environment, `file:PATH` from a file, anything else as it is.

    Raises:
        ValueError: there is none.
    """
    kind, colon, name = given.partition(":")
    token = given
    if colon and kind == "env":
        token = os.environ.get(name, "")
    elif colon and kind == "file":
        try:
            token = Path(name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"the token cannot be read: {error}") from error
    if not token:
        raise ValueError(f"there is no token in {given!r}")
    if any(not (" " < each <= "~") for each in token):
        raise ValueError("a token is visible ASCII without spaces")
    return token


def read_tokens(given: str | None, path: Path | None) -> Tokens:
    """Return the tokens of the command line: one, and a TOML file with the others.

    Raises:
        ValueError: an unknown key, or a token that cannot be read.
    """
    rows: dict[str, Any] = {}
    if path is not None:
        try:
            rows = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path} holds no tokens: {error}") from error
    unknown = [name for name in rows if name not in _KEYS]
    if unknown:
        raise ValueError(f"{path}: no token is named {', '.join(unknown)}; known: {', '.join(_KEYS)}")
    for name in _KINDS:
        if name in rows:
            rows[name] = read_token(str(rows[name]))
    if given is not None:
        rows["good"] = read_token(given)
    return Tokens(**rows)


def parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the challenges of a `WWW-Authenticate`: each scheme in lower case, and its parameters.

    Raises:
        ValueError: it is none.
    """
    found: list[tuple[str, dict[str, str]]] = []
    at, end = 0, len(header)
    while at < end:
        if header[at] in " \t,":
            at += 1
            continue
        start = at
        while at < end and (header[at].isalnum() or header[at] in _PLAIN - {"="}):
            at += 1
        name = header[start:at]
        if not name:
            raise ValueError(f"nothing can stand at character {at}: {header[at:][:20]!r}")
        after = at + len(header[at:]) - len(header[at:].lstrip(" \t"))
        if after < end and header[after] == "=" and found and not header[after + 1 :].startswith("="):
            value, at = _value(header, after + 1)
            found[-1][1][name.lower()] = value
        elif header[at : at + 1] == "=":
            at += len(header[at:]) - len(header[at:].lstrip("="))  # the end of a token68
        else:
            found.append((name.lower(), {}))
    return found


def _value(header: str, at: int) -> tuple[str, int]:
    while header[at : at + 1] in (" ", "\t"):
        at += 1
    if header[at : at + 1] != '"':
        start = at
        while at < len(header) and header[at] not in ", \t":
            at += 1
        return header[start:at], at
    said: list[str] = []
    at += 1
    while at < len(header) and header[at] != '"':
        at += header[at] == "\\"
        said.append(header[at : at + 1])
        at += 1
    if at >= len(header):
        raise ValueError("a quoted string does not end")
    return "".join(said), at + 1
