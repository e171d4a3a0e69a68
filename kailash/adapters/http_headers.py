"""The headers that users add to requests: where they come from, and what they may be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from protocol.framing.headers import is_token

__all__ = ["HeaderSource", "encode_headers"]

HeaderSource = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Headers of every request, or what returns those of the next one, awaited when it must be."""

_OWN = frozenset(
    b"accept accept-encoding connection content-encoding content-length content-type expect host keep-alive"
    b" last-event-id mcp-method mcp-name mcp-protocol-version mcp-session-id proxy-authorization te trailer"
    b" transfer-encoding upgrade".split()
)


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return a user's headers as they are written.

    Raises:
        ValueError: one that is no header, or not the user's to set; the message names it and never shows its value.
    """
    fields = []
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(f"headers: {name!r} and its value must be strings")
        try:
            field = (name.encode("ascii"), value.strip(" \t").encode("latin-1"))
        except UnicodeEncodeError:
            raise ValueError(f"headers: {name!r} has a character that no header can carry") from None
        if not is_token(field[0]):
            raise ValueError(f"headers: {name!r} is no name of a header")
        if any((byte < 32 and byte != 9) or byte == 127 for byte in field[1]):
            raise ValueError(f"headers: the value of {name!r} has a line end or a control character in it")
        if field[0].lower() in _OWN or field[0].lower().startswith(b"mcp-param-"):
            raise ValueError(f"headers: {name!r} is set by the client itself")
        fields.append(field)
    return fields
