"""Whose a message is, where several engines serve one session: what concerns a call or a request of another, strays.

Requests are served where they arrive. A response names a call by its id, progress by its token, and both tell the
engine that chose them; what withdraws a request is everybody's who does not have it.
"""

from typing import TYPE_CHECKING

from msgspec import UNSET

from ..jsonrpc import DECODE_ERRORS, Envelope, Malformed, decode, split_batch
from ..methods import DECODERS
from ..params import CancelledParams, ProgressParams
from ..sharing import SPAN

if TYPE_CHECKING:
    from .session import Session

__all__ = ["sort_out"]


def sort_out(message: Envelope | Malformed, body: bytes, session: "Session") -> tuple[list[bytes], bytes | None]:
    """Return the messages of a body that are for other engines, and the rest of it; `None`: nothing is left.

    Args:
        message: the body, decoded.
        body: the body.
        session: which engine's session it came to.
    """
    if isinstance(message, Envelope):
        return ([body], None) if _is_stray(message, session) else ([], body)
    members = split_batch(body, session.engine.limits) if session.revision.batching else None
    if not isinstance(members, list):
        return [], body
    strays: list[bytes] = []
    own: list[bytes] = []
    for member in members:
        decoded = decode(member, session.engine.limits)
        (strays if isinstance(decoded, Envelope) and _is_stray(decoded, session) else own).append(member)
    if not strays:
        return [], body
    return strays, b"[" + b",".join(own) + b"]" if own else None


def _is_stray(message: Envelope, session: "Session") -> bool:
    if message.method is UNSET:
        return _is_foreign(message.id, session)
    if message.id is not UNSET or message.params is UNSET:
        return False
    if message.method not in ("notifications/cancelled", "notifications/progress"):
        return False
    try:
        params = DECODERS[message.method](message.params)
    except DECODE_ERRORS:
        return False  # the engine says what is wrong
    if isinstance(params, ProgressParams):
        return _is_foreign(params.progress_token, session)
    assert isinstance(params, CancelledParams)
    return all(request.id != params.request_id for request in session.engine.open_requests)


def _is_foreign(id: object, session: "Session") -> bool:
    """Tell whether another engine chose an id."""
    return type(id) is int and id > 0 and id // SPAN != session.number
