"""The keys of `_meta`, their grammar, and the part of a request's `_meta` that an engine reads."""

import re
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType, field

from .types import LoggingLevel, ProgressToken

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
RELATED_TASK: Final = "io.modelcontextprotocol/related-task"
MODEL_IMMEDIATE_RESPONSE: Final = "io.modelcontextprotocol/model-immediate-response"
PROGRESS_TOKEN: Final = "progressToken"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"

TRACE_CONTEXT: Final = (TRACEPARENT, TRACESTATE, BAGGAGE)
"""The keys of W3C trace context and baggage; the values are those of the HTTP headers so named."""

UNPREFIXED_RESERVED: Final = frozenset({PROGRESS_TOKEN, *TRACE_CONTEXT})
"""The names without a prefix that the protocol has taken."""


class RequestMeta(Struct, gc=False):
    """The members of a request's `_meta` that an engine reads; the rest stays raw."""

    protocol_version: str | UnsetType = field(name=PROTOCOL_VERSION, default=UNSET)
    client_capabilities: Raw | UnsetType = field(name=CLIENT_CAPABILITIES, default=UNSET)
    client_info: Raw | UnsetType = field(name=CLIENT_INFO, default=UNSET)
    log_level: LoggingLevel | UnsetType = field(name=LOG_LEVEL, default=UNSET)
    progress_token: ProgressToken | UnsetType = field(name=PROGRESS_TOKEN, default=UNSET)


_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PREFIX = rf"{_LABEL}(?:\.{_LABEL})*/"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:{_PREFIX})?(?:{_NAME})?")
_EXTENSION_ID = re.compile(rf"{_PREFIX}{_NAME}")
_OWN_LABELS = frozenset({"modelcontextprotocol", "mcp"})


def is_valid_key(name: str) -> bool:
    """Tell whether a `_meta` key fits the grammar: an optional dotted prefix, then a name."""
    return _KEY.fullmatch(name) is not None


def is_reserved_key(name: str, strict_any_label: bool = False) -> bool:
    """Tell whether a `_meta` key belongs to the protocol.

    Args:
        name: the key.
        strict_any_label: read prefixes as 2025-06-18 does, which reserves one that holds `mcp` or
            `modelcontextprotocol` before another label; later revisions reserve one whose second
            label is either.
    """
    prefix, slash, _ = name.partition("/")
    if not slash:
        return name in UNPREFIXED_RESERVED
    labels = prefix.split(".")
    return not _OWN_LABELS.isdisjoint(labels[:-1] if strict_any_label else labels[1:2])


def is_extension_id(name: str) -> bool:
    """Tell whether a name may identify an extension: the key grammar, with a prefix and a name."""
    return _EXTENSION_ID.fullmatch(name) is not None
