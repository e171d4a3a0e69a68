"""Errors of servers and clients, and what makes a failed call again; a door to `kailash.errors` and its like."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import (
    AuthenticationError,
    AuthorizationError,
    CircuitOpenError,
    ConnectionError,
    MCPError,
    MCPErrorCode,
    RateLimitError,
    RequestError,
    RequestTimeoutError,
    ResourceError,
    ServiceDiscoveryError,
    ToolError,
    TransportError,
    URLElicitationRequiredError,
    ValidationError,
)

if TYPE_CHECKING:
    from ..mcp_client.retrying import RetryableOperation
    from ..resilience.retry import (
        CircuitBreakerRetry,
        ErrorAggregator,
        ExponentialBackoffRetry,
        RetryBudget,
        RetryStrategy,
        SimpleRetry,
    )

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "CircuitBreakerRetry",
    "CircuitOpenError",
    "ConnectionError",
    "ErrorAggregator",
    "ExponentialBackoffRetry",
    "MCPError",
    "MCPErrorCode",
    "RateLimitError",
    "RequestError",
    "RequestTimeoutError",
    "ResourceError",
    "RetryBudget",
    "RetryStrategy",
    "RetryableOperation",
    "ServiceDiscoveryError",
    "SimpleRetry",
    "ToolError",
    "TransportError",
    "URLElicitationRequiredError",
    "ValidationError",
]

_LATER = dict.fromkeys(
    (
        "CircuitBreakerRetry",
        "ErrorAggregator",
        "ExponentialBackoffRetry",
        "RetryBudget",
        "RetryStrategy",
        "SimpleRetry",
    ),
    "..resilience.retry",
) | {"RetryableOperation": "..mcp_client.retrying"}
"""What most who import errors never need, and where it is."""


def __getattr__(name: str) -> Any:
    home = _LATER.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(home, __package__), name)
