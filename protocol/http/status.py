"""Which HTTP status a JSON-RPC error travels with, by era and by who found the error; and what proves a modern server.

The engine's own refusals are about the message as such, which HTTP has statuses for. What a handler answers is an
answer: 200, but for the codes to which the specification itself gives a status.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from msgspec import Struct

from ..errors import ErrorCode
from ..revisions import Era

__all__ = ["STATUSES", "Source", "StatusRow", "proves_modern", "status_of"]


class Source(Enum):
    """Who found an error."""

    ENGINE = "engine"
    HANDLER = "handler"


class StatusRow(Struct, frozen=True):
    """The statuses of one era and source."""

    usual: int
    """For every code that is not listed."""
    codes: Mapping[int, int]


_MODERN: dict[int, int] = {
    # "it MUST respond with 404 Not Found and a JSON-RPC error with code -32601" — basic/transports/streamable-http
    ErrorCode.METHOD_NOT_FOUND: 404,
    ErrorCode.HEADER_MISMATCH: 400,
    ErrorCode.MISSING_CLIENT_CAPABILITY: 400,
    ErrorCode.UNSUPPORTED_VERSION: 400,
    ErrorCode.OVERLOADED: 503,
}
_BUSY: dict[int, int] = {ErrorCode.OVERLOADED: 503}
_UNREADABLE: dict[int, int] = {
    ErrorCode.PARSE_ERROR: 400,
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.UNSUPPORTED_VERSION: 400,
}

STATUSES: Mapping[tuple[Era, Source], StatusRow] = MappingProxyType(
    {
        (Era.ENVELOPE, Source.ENGINE): StatusRow(400, MappingProxyType(_MODERN)),
        (Era.ENVELOPE, Source.HANDLER): StatusRow(200, MappingProxyType(_MODERN)),
        (Era.HANDSHAKE, Source.ENGINE): StatusRow(200, MappingProxyType(_UNREADABLE | _BUSY)),
        (Era.HANDSHAKE, Source.HANDLER): StatusRow(200, MappingProxyType(_BUSY)),
    }
)
"""What an error is answered with."""

_MODERN_PROOF = frozenset(
    {ErrorCode.HEADER_MISMATCH, ErrorCode.MISSING_CLIENT_CAPABILITY, ErrorCode.UNSUPPORTED_VERSION}
)


def status_of(code: int | None, era: Era, source: Source, changes: Mapping[int, int] = MappingProxyType({})) -> int:
    """Return the status of a response.

    Args:
        code: the error's; `None` for a result.
        era: the request's.
        source: who found the error.
        changes: statuses for the codes of handlers that a server wants otherwise.
    """
    if code is None:
        return 200
    if source is Source.HANDLER and code in changes:
        return changes[code]
    row = STATUSES[era, source]
    return row.codes.get(code, row.usual)


def proves_modern(code: int) -> bool:
    """Tell whether only a server of the envelope era answers with this error."""
    return code in _MODERN_PROOF
