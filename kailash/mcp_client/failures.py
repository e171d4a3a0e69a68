"""From what the engine and its bindings report to the errors that callers see."""

from typing import Any

from protocol.errors import ErrorCode, ErrorObject

from ..errors import (
    AuthenticationError,
    AuthorizationError,
    MCPError,
    MCPErrorCode,
    RateLimitError,
    TransportError,
    from_wire,
)
from ..errors import ConnectionError as MCPConnectionError

__all__ = ["answered", "connection_lost", "ended", "found_here"]

_BY_STATUS: dict[Any, type[MCPError]] = {401: AuthenticationError, 403: AuthorizationError, 429: RateLimitError}


def _facts(error: ErrorObject) -> dict[str, Any]:
    return error.data if isinstance(error.data, dict) else {}


def answered(error: ErrorObject) -> MCPError:
    """Return what an error that the server sent is raised as."""
    facts = _facts(error)
    failure = from_wire(error.message, error.code, facts or None, error.data or None)
    kind = _BY_STATUS.get(facts.get("status"))
    return failure if kind is None or type(failure) is not MCPError else _of_status(error, kind)


def found_here(error: ErrorObject) -> MCPError:
    """Return what an error is raised as that the server did not send: it was found on the way there or back."""
    facts = _facts(error)
    status = facts.get("status")
    if status is not None:
        return _of_status(error, _BY_STATUS.get(status, TransportError))
    if "was_sent" in facts or "retryable" in facts:
        return MCPConnectionError(error.message, data=facts, retryable=facts.get("retryable") is True)
    return MCPError(error.message, error_code=MCPErrorCode.INTERNAL_ERROR)


def ended(error: ErrorObject) -> MCPError:
    """Return what the end of a subscription is raised as, whoever brought it about."""
    facts = _facts(error)
    is_ours = "was_sent" in facts or "status" in facts
    return found_here(error) if is_ours else from_wire(error.message, error.code, None)


def connection_lost(error: ErrorObject | None, text: str) -> MCPError:
    """Return what everybody who waits gets when a connection is over."""
    if error is not None:
        if error.code == ErrorCode.UNSUPPORTED_VERSION:
            return MCPError(text, error_code=MCPErrorCode.UNSUPPORTED_VERSION, data=error.data or None)
        kind = _BY_STATUS.get(_facts(error).get("status"))
        if kind is not None:
            return _of_status(error, kind)
    return MCPConnectionError(text, retryable=True, data=None if error is None else error.data or None)


def _of_status(error: ErrorObject, kind: type[MCPError]) -> MCPError:
    facts = _facts(error)
    after = facts.get("retry_after")
    return kind(
        error.message,
        data=facts,
        retryable=facts.get("retryable") is True,
        retry_after=after if isinstance(after, float) else None,
    )
