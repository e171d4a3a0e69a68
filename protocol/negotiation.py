"""How a client finds out which era its server speaks: the table, and what each answer to the probe proves.

The probe is `server/discover` in the newest envelope revision the client speaks. Only what proves a modern server is
taken as modern; every other error, and silence, means the handshake — 2026-07-28 basic/versioning and spec.md 2.21.
"""

from collections.abc import Mapping
from enum import Enum

import msgspec
from msgspec import Raw, Struct

from . import meta, model
from .errors import ErrorCode, ErrorObject
from .events import Context
from .jsonrpc import DECODE_ERRORS
from .results import DiscoverResult, InitializeResult
from .revisions import ENVELOPE_REVISIONS, HANDSHAKE_REVISIONS, Era, Revision
from .types import Implementation

__all__ = [
    "NEGOTIATION",
    "Evidence",
    "Negotiation",
    "Offer",
    "Verdict",
    "choose",
    "read_discover",
    "read_initialize",
    "read_offer",
    "weigh",
]


class Negotiation(Enum):
    """Where a client stands."""

    IDLE = "idle"
    PROBING = "probing"
    HANDSHAKING = "handshaking"
    READY = "ready"
    FAILED = "failed"


class Evidence(Enum):
    """What an answer says about the server."""

    DISCOVERED = "a DiscoverResult with a common envelope revision"
    NAMED = "an error that names a common envelope revision, for the first time"
    LEGACY = "anything that does not prove a modern server, silence included"
    DISJOINT = "a modern server without a common revision"
    INITIALIZED = "an InitializeResult with a revision we speak"
    REFUSED = "an answer that leaves nothing to try"


NEGOTIATION = {
    (Negotiation.PROBING, Evidence.DISCOVERED): Negotiation.READY,
    (Negotiation.PROBING, Evidence.NAMED): Negotiation.PROBING,
    (Negotiation.PROBING, Evidence.LEGACY): Negotiation.HANDSHAKING,
    (Negotiation.PROBING, Evidence.DISJOINT): Negotiation.FAILED,
    (Negotiation.PROBING, Evidence.REFUSED): Negotiation.FAILED,
    (Negotiation.HANDSHAKING, Evidence.INITIALIZED): Negotiation.READY,
    # Late proof of a modern server: it answered `initialize` with the versions it speaks, or the probe after all.
    (Negotiation.HANDSHAKING, Evidence.NAMED): Negotiation.PROBING,
    (Negotiation.HANDSHAKING, Evidence.DISCOVERED): Negotiation.READY,
    (Negotiation.HANDSHAKING, Evidence.DISJOINT): Negotiation.FAILED,
    (Negotiation.HANDSHAKING, Evidence.REFUSED): Negotiation.FAILED,
}
"""What each piece of evidence leads to; a pair that is not here cannot happen."""


class Offer(Struct):
    """The `data` of an unsupported-version error."""

    supported: list[str]
    requested: str = ""


_decode_offer = msgspec.json.Decoder(Offer).decode


def read_offer(error: ErrorObject) -> list[str] | None:
    """Return the revisions that an error names, if it is a well-formed unsupported-version error."""
    if error.code != ErrorCode.UNSUPPORTED_VERSION:
        return None
    try:
        return _decode_offer(msgspec.json.encode(error.data)).supported
    except (*DECODE_ERRORS, TypeError):
        return None


def choose(offered: list[str], spoken: tuple[Revision, ...], era: Era) -> Revision | None:
    """Return the newest revision of an era that both sides speak."""
    known = ENVELOPE_REVISIONS if era is Era.ENVELOPE else HANDSHAKE_REVISIONS
    for revision in reversed(known):
        if revision in spoken and revision.name in offered:
            return revision
    return None


def weigh(
    offered: list[str], spoken: tuple[Revision, ...], tried: Mapping[str, int]
) -> tuple[Evidence, Revision | None]:
    """Tell what the revisions named by a server's error prove, and which to use next.

    A handshake revision among them means "use `initialize`", never "put it in `_meta`".
    """
    revision = choose(offered, spoken, Era.ENVELOPE)
    if revision is not None:
        # A server that refuses the very revision it names is asked once more: it may be one of several that are just
        # being replaced. After that it would loop.
        return (Evidence.REFUSED, None) if tried.get(revision.name, 0) > 1 else (Evidence.NAMED, revision)
    revision = choose(offered, spoken, Era.HANDSHAKE)
    return (Evidence.DISJOINT, None) if revision is None else (Evidence.LEGACY, revision)


class Verdict(Struct, frozen=True):
    """What an answer to the probe or to `initialize` proves."""

    evidence: Evidence
    context: Context | None = None
    """What is known of the server, once that settles the matter."""
    revision: Revision | None = None
    """What to speak next."""
    why: str = ""


def read_discover(raw: Raw, spoken: tuple[Revision, ...]) -> Verdict:
    """Read the answer to `server/discover`; anything but a DiscoverResult is an old server's."""
    try:
        result = model.decode(raw, DiscoverResult)
    except DECODE_ERRORS:
        return Verdict(Evidence.LEGACY)
    revision = choose(result.supported_versions, spoken, Era.ENVELOPE)
    if revision is None:
        handshake = choose(result.supported_versions, spoken, Era.HANDSHAKE)
        return Verdict(Evidence.DISJOINT if handshake is None else Evidence.LEGACY, revision=handshake)
    tags = result.meta if isinstance(result.meta, dict) else {}
    try:
        peer = msgspec.convert(tags.get(meta.SERVER_INFO), Implementation)
    except msgspec.ValidationError:
        peer = None  # self-reported and optional: not worth a connection
    context = Context(
        revision=revision,
        peer=peer,
        capabilities=result.capabilities,
        instructions=result.instructions or None,
        versions=tuple(result.supported_versions),
    )
    return Verdict(Evidence.DISCOVERED, context, revision)


def read_initialize(raw: Raw, spoken: tuple[Revision, ...]) -> Verdict:
    """Read the answer to `initialize`."""
    try:
        result = model.decode(raw, InitializeResult)
    except DECODE_ERRORS as error:
        return Verdict(Evidence.REFUSED, why=f"invalid InitializeResult: {error}")
    revision = choose([result.protocol_version], spoken, Era.HANDSHAKE)
    if revision is None:
        # "If the client does not support the version in the server's response, it SHOULD disconnect" — basic/lifecycle
        return Verdict(Evidence.REFUSED, why=f"server chose revision {result.protocol_version!r}, not spoken here")
    context = Context(
        revision=revision,
        peer=result.server_info,
        capabilities=result.capabilities,
        can_call_peer=True,
        instructions=result.instructions or None,
        versions=(revision.name,),
    )
    return Verdict(Evidence.INITIALIZED, context, revision)
