"""The server side of opening a WebSocket: who may, as which subprotocol, and how a page of a browser says who it is.

A page cannot set headers, and what it opens carries the cookies and the address of whoever looks at it: `Origin` is
judged before anything else, as for every other request. Its token travels as one more subprotocol,
`mcp-bearer.<token in Base64url without padding>`, beside `mcp`, and is neither chosen nor repeated in the answer.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ..errors import ErrorCode, ErrorObject
from ..framing.handshake import VERSION, BadOffer, Offer, accept_headers, read_offer
from ..framing.headers import Headers
from ..framing.httphead import RequestHead
from .answer import ANYWHERE, RETRY_AFTER, Answer, Arrival, Header, refuse
from .guard import Guard, GuardOptions
from .seats import Seat, Seats

__all__ = ["SUBPROTOCOLS", "TOKEN_PREFIX", "Upgrade", "WebSocketEndpoint", "token_of"]

SUBPROTOCOLS: Final = ("mcp", "mcp-v1")
"""What MCP over WebSocket is called; all of them mean the same."""
TOKEN_PREFIX: Final = "mcp-bearer."
"""What the subprotocol begins with that carries a token."""
_LONGEST_TOKEN = 8 * 1024


class Upgrade(Struct, frozen=True):
    """A handshake that is agreed to: answer 101 with these headers, then speak WebSocket."""

    headers: list[Header]
    subprotocol: str | None
    is_deflated: bool
    seat: Seat
    """Left when the connection ends."""


class WebSocketEndpoint:
    """Answers handshakes.

    Args:
        guard: whom to answer.
        seats: how many connections there may be; shared by the paths of one server.
        subprotocols: those that may be chosen.
        is_deflate_agreed: compress where the client offers it.
    """

    def __init__(
        self,
        guard: GuardOptions,
        *,
        seats: Seats,
        subprotocols: Sequence[str] = SUBPROTOCOLS,
        is_deflate_agreed: bool = False,
    ) -> None:
        self._guard = Guard(guard, {"GET": ()})
        self._seats = seats
        self._subprotocols = frozenset(subprotocols)
        self._is_deflate_agreed = is_deflate_agreed
        self.is_draining = False

    def refuse(self, head: RequestHead, arrival: Arrival = ANYWHERE) -> Answer | None:
        """Return the answer to a handshake that must not succeed, whoever asks."""
        answer = self._guard.refuse(head, arrival)
        if answer is not None:
            return answer
        offer = read_offer(head)
        if isinstance(offer, BadOffer):
            more = [(b"upgrade", b"websocket"), (b"sec-websocket-version", VERSION)] if offer.status == 426 else []
            return refuse(offer.status, offer.reason, *more)
        return None

    def cors(self, head: RequestHead) -> list[Header]:
        """Return no header: a page cannot read the answer to a handshake."""
        return []

    def too_large(self) -> Answer:
        """Return the answer to a body."""
        return refuse(413, "the request that opens a WebSocket has no body")

    def receive_request(
        self,
        head: RequestHead,
        body: bytes,
        *,
        now: float,
        arrival: Arrival = ANYWHERE,
        principal: str | None = None,
        is_checked: bool = False,
    ) -> Upgrade | Answer:
        """Agree to a handshake, or refuse it."""
        answer = None if is_checked else self.refuse(head, arrival)
        if answer is not None:
            return answer
        offer = read_offer(head)
        assert isinstance(offer, Offer)
        agreed = self.agree(offer.subprotocols, principal)
        if isinstance(agreed, Answer):
            return agreed
        is_deflated = self._is_deflate_agreed and offer.takes_deflate
        headers = accept_headers(offer, agreed.subprotocol, is_deflated=is_deflated)
        return Upgrade(headers, agreed.subprotocol, is_deflated, agreed.seat)

    # Where somebody else reads the handshake, and answers it

    def refuse_sender(self, head: RequestHead, arrival: Arrival = ANYWHERE) -> Answer | None:
        """Return the answer to whoever may not ask, `None` for one who may."""
        return self._guard.refuse(head, arrival)

    def agree(self, offered: Sequence[str], principal: str | None) -> Upgrade | Answer:
        """Agree to a handshake without a look at it.

        Args:
            offered: the subprotocols.
            principal: who asks.
        """
        if self.is_draining:
            return _busy("the server is shutting down")
        seat = self._seats.take(principal)
        if seat is None:
            return _busy("too many connections" if principal is None else "too many connections of this caller")
        # It must have been offered to be chosen; the client's first choice, for all of ours are one.
        chosen = next((name for name in offered if name in self._subprotocols), None)
        return Upgrade([], chosen, False, seat)


def _busy(why: str) -> Answer:
    return refuse(503, ErrorObject(ErrorCode.OVERLOADED, why, {"retryable": True}), RETRY_AFTER)


def token_of(headers: Headers) -> str | None:
    """Return the token that a page offers as a subprotocol, `None` where there is none, or more than one."""
    offered = b",".join(headers.get_all(b"sec-websocket-protocol")).decode("latin-1").split(",")
    found = [name for name in map(str.strip, offered) if name.startswith(TOKEN_PREFIX)]
    if len(found) != 1 or len(found[0]) > _LONGEST_TOKEN:
        return None
    text = found[0].removeprefix(TOKEN_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode() or None
    except (binascii.Error, UnicodeDecodeError):
        return None
