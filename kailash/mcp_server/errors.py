"""Errors of servers and clients; a door to `kailash.errors`."""

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

__all__ = [
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
]
