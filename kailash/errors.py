"""The one error hierarchy, for servers and clients alike; `kailash.mcp_server.errors` is its public door.

Codes below zero are JSON-RPC's and MCP's own; codes above zero are the application's and travel in `error.data` or in a
tool result's `_meta`, so that a client raises the same `MCPError` the tool raised.
"""

import builtins
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

__all__ = [
    "ERROR_META",
    "AuthenticationError",
    "AuthorizationError",
    "CircuitOpenError",
    "ConnectionError",
    "MCPError",
    "MCPErrorCode",
    "RateLimitError",
    "RequestError",
    "RequestTimeoutError",
    "ResourceError",
    "ServiceDiscoveryError",
    "ToolError",
    "TransportError",
    "URLElicitationRequiredError",
    "ValidationError",
    "from_wire",
    "to_wire",
    "wait_error",
]

ERROR_META = "kailash/error"
"""The `_meta` key, and the member of `error.data`, under which application code, data and retry advice travel."""


class MCPErrorCode(IntEnum):
    """Why something failed."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    RESOURCE_NOT_FOUND = -32002
    HEADER_MISMATCH = -32020
    MISSING_CLIENT_CAPABILITY = -32021
    UNSUPPORTED_VERSION = -32022
    URL_ELICITATION_REQUIRED = -32042
    USER_REJECTED = -1
    VALIDATION_ERROR = 1001
    TOOL_ERROR = 1002
    TOOL_EXECUTION_FAILED = 1002
    RESOURCE_ERROR = 1003
    PROMPT_ERROR = 1004
    TRANSPORT_ERROR = 1005
    CONNECTION_ERROR = 1006
    TIMEOUT = 1007
    CANCELLED = 1008
    AUTHENTICATION_FAILED = 1009
    AUTHORIZATION_FAILED = 1010
    RATE_LIMITED = 1011
    CIRCUIT_OPEN = 1012
    SERVICE_DISCOVERY_ERROR = 1013
    OVERLOADED = 1503


class MCPError(Exception):
    """Says what went wrong, with a code that survives the wire.

    Args:
        message: one sentence for people.
        error_code: a member of `MCPErrorCode`, or any integer a peer sent.
        data: JSON-able detail.
        retryable: the same request may succeed later.
        retry_after: seconds to wait before trying again.
    """

    default_code: int = MCPErrorCode.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        *,
        error_code: int | None = None,
        data: Any = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        code = self.default_code if error_code is None else error_code
        self.error_code: int = MCPErrorCode(code) if code in _KNOWN else code
        self.data = data
        self.retryable = retryable
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, error_code={self.error_code!r})"


_KNOWN = frozenset(member.value for member in MCPErrorCode)


class TransportError(MCPError):
    """A server could not be reached, or the way to it does not work."""

    default_code = MCPErrorCode.TRANSPORT_ERROR


class ConnectionError(MCPError, builtins.ConnectionError):
    """An established connection was lost."""

    default_code = MCPErrorCode.CONNECTION_ERROR


class RequestTimeoutError(MCPError, builtins.TimeoutError):
    """An answer did not come in time; the message names the time-out and the setting that changes it."""

    default_code = MCPErrorCode.TIMEOUT


class AuthenticationError(MCPError):
    """Nobody knows who is asking."""

    default_code = MCPErrorCode.AUTHENTICATION_FAILED


class AuthorizationError(MCPError):
    """Whoever is asking may not."""

    default_code = MCPErrorCode.AUTHORIZATION_FAILED


class RateLimitError(MCPError):
    """Too many requests; `retry_after` says when to come back."""

    default_code = MCPErrorCode.RATE_LIMITED


class ToolError(MCPError):
    """A tool failed; raise it in a tool for a message that the model shall read."""

    default_code = MCPErrorCode.TOOL_ERROR


class ResourceError(MCPError):
    """A resource is missing or cannot be read."""

    default_code = MCPErrorCode.RESOURCE_ERROR


class ServiceDiscoveryError(MCPError):
    """No server was found, or the registry does not work."""

    default_code = MCPErrorCode.SERVICE_DISCOVERY_ERROR


class ValidationError(MCPError):
    """Data does not have the promised shape."""

    default_code = MCPErrorCode.VALIDATION_ERROR


class CircuitOpenError(MCPError):
    """A circuit breaker is open; `retry_after` says when it will try again."""

    default_code = MCPErrorCode.CIRCUIT_OPEN


class RequestError(MCPError):
    """Ends a request in a JSON-RPC error, even where a tool's failure would be a tool result.

    Its code goes on the wire as it is.
    """


class URLElicitationRequiredError(RequestError):
    """The request can go on once the user has visited these URLs; only revision 2025-11-25 can say so.

    Elsewhere use `await ctx.elicit_url(...)`, which works in every revision that has it.

    Args:
        elicitations: `(message, url, elicitation_id)` of each.
    """

    default_code = MCPErrorCode.URL_ELICITATION_REQUIRED

    def __init__(self, message: str, elicitations: Iterable[tuple[str, str, str]]) -> None:
        entries = [
            {"mode": "url", "message": text, "url": url, "elicitationId": elicitation_id}
            for text, url, elicitation_id in elicitations
        ]
        if not entries:
            raise ValueError("name at least one URL")
        super().__init__(message, data={"elicitations": entries})


_CLASS_OF: dict[int, type[MCPError]] = {
    int(cls.default_code): cls
    for cls in (
        TransportError,
        ConnectionError,
        RequestTimeoutError,
        AuthenticationError,
        AuthorizationError,
        RateLimitError,
        ToolError,
        ResourceError,
        ServiceDiscoveryError,
        ValidationError,
        CircuitOpenError,
    )
}


def to_wire(error: MCPError) -> dict[str, Any]:
    """Return what of an error travels beside its message."""
    members: dict[str, Any] = {"code": int(error.error_code), "retryable": error.retryable}
    if error.data is not None:
        members["data"] = error.data
    if error.retry_after is not None:
        members["retryAfter"] = error.retry_after
    return members


def from_wire(message: str, code: int, members: Any, data: Any = None) -> MCPError:
    """Rebuild an error from what `to_wire` gave; anything else gives a plain error with the wire's code and data."""
    if isinstance(members, Mapping) and type(members.get("code")) is int:
        code = members["code"]
        data = members.get("data")
    elif not isinstance(members, Mapping):
        members = {}
    after = members.get("retryAfter")
    return _CLASS_OF.get(code, MCPError)(
        message,
        error_code=code,
        data=data,
        retryable=members.get("retryable") is True,
        retry_after=float(after) if isinstance(after, int | float) else None,
    )


def wait_error(message: str, code: MCPErrorCode, seconds: float) -> RequestError:
    """Return the refusal of what may come back after some time."""
    seconds = round(seconds, 3)
    data = {"retryable": True, "retryAfter": seconds}
    return RequestError(message, error_code=code, data=data, retryable=True, retry_after=seconds)
