"""Error codes, the JSON-RPC error object, and the exceptions of the engine.

What a *peer* did wrong never raises out of `receive_*`: it is answered on the wire and reported as a `Violation` event.
What the *caller* did wrong raises `LocalProtocolError` and changes nothing.
"""

from enum import Enum, IntEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType

__all__ = [
    "ErrorCode",
    "ErrorObject",
    "Fault",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
]


class ErrorCode(IntEnum):
    """The error codes the engine itself puts on the wire."""

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
    # Application codes live outside the reserved range: "MUST NOT" reuse −32768…−32000 — JSON-RPC 2.0 section 5.1.
    OVERLOADED = 1503


class Fault(Enum):
    """A logical fault whose wire code depends on the revision (`Revision.fault_codes`)."""

    RESOURCE_NOT_FOUND = "resource not found"


class ErrorObject(Struct, frozen=True, omit_defaults=True):
    """The `error` member of a JSON-RPC response."""

    code: int
    message: str
    data: Any | UnsetType = UNSET


class ProtocolError(Exception):
    """Base of everything the engine raises."""


class LocalProtocolError(ProtocolError):
    """Says that the calling code broke the protocol; the engine's state did not change."""


class RemoteProtocolError(ProtocolError):
    """Says that the peer broke the protocol.

    Attributes:
        error: what a request that caused it is answered with.
    """

    def __init__(self, error: ErrorObject) -> None:
        super().__init__(error.message)
        self.error = error
