"""What a client is told when HTTP itself fails: errors made here, with their facts as data beside the sentence.

`ErrorObject.data` of them is a dictionary of whichever of these apply:

| Member             | What it is                                                               |
|--------------------|--------------------------------------------------------------------------|
| `status`           | the HTTP status                                                          |
| `www_authenticate` | the values of `WWW-Authenticate`, in order                               |
| `retryable`        | the same request may succeed later, and was not run                      |
| `retry_after`      | seconds that the server asks to wait                                     |
| `was_sent`         | the server may have run the request although its answer did not come     |
"""

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ..errors import ErrorCode, ErrorObject
from ..framing.headers import Headers, trim
from ..jsonrpc import DECODE_ERRORS, RequestId

__all__ = ["AUTH", "TRANSIENT", "ErrorBody", "code_of", "lost", "read_error", "refusal_of", "with_hints"]

AUTH: Final = frozenset({401, 403})
"""Statuses that are about who asks, whatever the body says."""

TRANSIENT: Final = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that say nothing of the request or the server but that it did not work this time."""

_REASONS: Final = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 408: "Request Timeout", 413: "Content Too Large", 415: "Unsupported Media Type",
    421: "Misdirected Request", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout",
}  # fmt: skip
_SHOWN: Final = 200
_SECONDS = re.compile(rb"[0-9]{1,9}")


class ErrorBody(Struct):
    """An error response, also one whose id is null."""

    raw: Raw = msgspec.field(name="error")
    id: int | str | UnsetType | None = UNSET

    @property
    def error(self) -> ErrorObject:
        """The error."""
        return _decode_error(self.raw)

    def is_for(self, request_id: RequestId) -> bool:
        """Tell whether this answers a request, if it came in answer to it: the server may not have read the id."""
        return self.id is None or self.id is UNSET or self.id == request_id


_decode_body = msgspec.json.Decoder(ErrorBody).decode
_decode_error = msgspec.json.Decoder(ErrorObject).decode


def read_error(body: bytes) -> ErrorBody | None:
    """Return the error response that a body is, `None` if it is none."""
    try:
        found = _decode_body(body)
        _decode_error(found.raw)
    except DECODE_ERRORS:
        return None
    return found


def code_of(raw: Raw) -> int | None:
    """Return the code of an error, `None` if it is none."""
    try:
        return _decode_error(raw).code
    except DECODE_ERRORS:
        return None


def hints_of(status: int, headers: Headers) -> dict[str, Any]:
    """Return what the head of a response says for machines."""
    hints: dict[str, Any] = {"status": status}
    if status in TRANSIENT:
        hints["retryable"] = True
    challenges = headers.get_all(b"www-authenticate")
    if challenges:
        hints["www_authenticate"] = [each.decode("latin-1") for each in challenges]
    after = trim(headers.get(b"retry-after") or b"")
    if _SECONDS.fullmatch(after):
        hints["retry_after"] = float(after)
    return hints


def refusal_of(status: int, headers: Headers, body: bytes) -> ErrorObject:
    """Return the error for a response that is not the answer."""
    text = f"HTTP {status} {_REASONS.get(status, '')}".rstrip()
    found = read_error(body)
    shown = found.error.message if found is not None else body.decode("utf-8", "replace").strip()
    if shown:
        more = "…" if len(shown) > _SHOWN else ""
        text += f": {shown[:_SHOWN]!r}{more}"
    if 200 <= status < 300:
        text = f"no response in the answer: {text}"
    return ErrorObject(ErrorCode.INTERNAL_ERROR, text, hints_of(status, headers))


def with_hints(error: ErrorObject, status: int, headers: Headers) -> ErrorObject:
    """Return a server's error with what the head adds to it, where its data leaves room for that."""
    if status not in TRANSIENT | AUTH or not (error.data is UNSET or isinstance(error.data, dict)):
        return error
    data = hints_of(status, headers)
    return ErrorObject(error.code, error.message, data if error.data is UNSET else {**data, **error.data})


def lost(what: str, why: str, *, was_sent: bool) -> ErrorObject:
    """Return the error for a request whose answer never came.

    Args:
        what: the request.
        why: what happened.
        was_sent: the server may have got it.
    """
    if was_sent:
        text = f"{what}: the connection was lost before the answer came: {why}"
        return ErrorObject(ErrorCode.INTERNAL_ERROR, text, {"was_sent": True})
    return ErrorObject(ErrorCode.INTERNAL_ERROR, f"{what} could not be sent: {why}", {"retryable": True})
