"""Credentials of a client: the headers that carry them, and the `auth` of a client's configuration."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from .entries import check_options

__all__ = ["HeaderAuth", "environment_of", "read_auth"]

_PARTS: Mapping[str, tuple[str, ...]] = {
    "api_key": ("api_key", "header"),
    "bearer": ("token",),
    "jwt": ("token",),
    "basic": ("username", "password"),
}
_ALIASES = {"key": "api_key"}


class HeaderAuth:
    """Credentials that are sent with every request, whatever comes; shown by their kind alone.

    Args:
        auth_type: what they are: `api_key`, `bearer`, `jwt` or `basic`.
        headers: what carries them.
    """

    __slots__ = ("_headers", "auth_type")

    def __init__(self, auth_type: str, headers: Mapping[str, str]) -> None:
        self.auth_type = auth_type
        self._headers = dict(headers)
        for name, value in self._headers.items():
            if any(ord(letter) < 32 or not 0 < ord(letter) < 256 or ord(letter) == 127 for letter in value):
                raise ValueError(f"{auth_type}: it has a character that the header {name} cannot carry")

    def __repr__(self) -> str:
        return f"HeaderAuth({self.auth_type!r}, {', '.join(self._headers)})"

    def get_headers(self) -> dict[str, str]:
        """Return the headers."""
        return dict(self._headers)

    @classmethod
    def api_key(cls, key: str, *, header: str = "X-API-Key") -> "HeaderAuth":
        """Return what sends an API key."""
        return cls("api_key", {header: _text("api_key", key)})

    @classmethod
    def bearer(cls, token: str) -> "HeaderAuth":
        """Return what sends a token."""
        return cls("bearer", {"Authorization": f"Bearer {_text('token', token)}"})

    @classmethod
    def jwt(cls, token: str) -> "HeaderAuth":
        """Return what sends a token that was signed elsewhere."""
        return cls("jwt", {"Authorization": f"Bearer {_text('token', token)}"})

    @classmethod
    def basic(cls, username: str, password: str) -> "HeaderAuth":
        """Return what sends a user's name and password."""
        if ":" in _text("username", username):
            raise ValueError("username: HTTP's Basic scheme allows no colon in it")
        pair = f"{username}:{_text('password', password)}".encode()
        return cls("basic", {"Authorization": f"Basic {b64encode(pair).decode()}"})


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is a string that is not empty")
    return value


def read_auth(source: Any) -> Any:
    """Return what gives a client its headers.

    Args:
        source: a provider with `get_headers`, or a mapping with a `type` of `api_key` (with `api_key`, also spelled
            `key`, and perhaps `header`), `bearer` or `jwt` (with `token`) or `basic` (with `username` and `password`).

    Raises:
        TypeError: something unknown, wrong or missing; the message lists what is known and shows no value.
        ValueError: a value that no header can carry.
    """
    if callable(getattr(source, "get_headers", None)):
        return source
    if not isinstance(source, Mapping):
        raise TypeError(f"auth is a mapping with a type, or a provider with get_headers(), not {type(source).__name__}")
    given: dict[Any, Any] = {_ALIASES.get(key, key): value for key, value in source.items()}
    kind = given.pop("type", None)
    if not isinstance(kind, str) or kind not in _PARTS:
        raise TypeError(f"auth: type must be one of {', '.join(_PARTS)}")
    check_options(given, _PARTS[kind], f"auth of type {kind}")
    missing = [name for name in _PARTS[kind] if name not in given and name != "header"]
    if missing:
        raise TypeError(f"auth of type {kind} needs {' and '.join(missing)}")
    make: Any = getattr(HeaderAuth, kind)
    return make(*[given[name] for name in _PARTS[kind] if name != "header"], **_header_of(given))


def _header_of(given: Mapping[str, Any]) -> dict[str, str]:
    return {"header": _text("header", given["header"])} if "header" in given else {}


def environment_of(provider: Any) -> dict[str, str]:
    """Return the environment variables that carry a client's credentials to a server on its own stdio.

    Raises:
        ValueError: no variable stands for them, as for a user and a password; or the provider has none to send.
    """
    headers: Mapping[str, str] = provider.get_headers()
    found: dict[str, str] = {}
    for name, value in headers.items():
        scheme, _, rest = value.partition(" ")
        if name.lower() == "authorization" and scheme.lower() == "bearer" and rest.strip():
            found["MCP_TOKEN"] = rest.strip()
        elif name.lower() == "x-api-key" or getattr(provider, "auth_type", None) == "api_key":
            found["MCP_API_KEY"] = value
    if headers and not found:
        raise ValueError("auth: over stdio go API keys (MCP_API_KEY) and tokens (MCP_TOKEN) only")
    return found
