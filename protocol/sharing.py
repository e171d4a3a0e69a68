"""What is to be known of a handshake so that another engine can go on with it: pure data, made and taken by engines.

Two parts: the record, which the handshake settles for good, and the state, which messages change later. Neither holds
a secret.
"""

from typing import Final

from msgspec import DecodeError, Struct, ValidationError

from . import model
from .capabilities import ClientCapabilities
from .model import Model
from .types import Implementation

__all__ = ["SPAN", "HandshakeRecord", "HandshakeState", "decode_record", "encode_record"]

SPAN: Final = 10**9
"""How many numbers one engine may give out of those that all the engines of a session share: ids of calls, of streams
and of events. The engine numbered n begins at n times this."""


class HandshakeRecord(Model, kw_only=True):
    """What a handshake settled."""

    revision: str
    peer: Implementation
    capabilities: ClientCapabilities
    principal: str | None = None
    born: float = 0.0
    """Wall-clock seconds."""


class HandshakeState(Struct, frozen=True, kw_only=True):
    """What changes in an open handshake."""

    is_operating: bool = False
    """The client has said that it is ready."""
    log_level: str | None = None
    watched: frozenset[str] = frozenset()
    """URIs named by `resources/subscribe`."""


def encode_record(record: HandshakeRecord) -> bytes:
    """Return a record as it is kept."""
    return model.encode(record)


def decode_record(data: bytes) -> HandshakeRecord | None:
    """Return a record that was kept, `None` for bytes that are none."""
    try:
        return model.decode(data, HandshakeRecord)
    except (DecodeError, ValidationError, UnicodeDecodeError, RecursionError):
        return None
