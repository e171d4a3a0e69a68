"""A client's subscriptions, and the resources it watches for them where each needs a request of its own.

In the handshake era one subscription may stand for many `resources/subscribe` requests, and several for the same
resource. Here is which requests are due, and when a subscription has all its answers; sending is the engine's.
"""

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from . import meta
from .events import Call, Subscription
from .jsonrpc import DECODE_ERRORS, RequestId
from .params import SubscribeParams
from .subscriptions import ChangeNotice, matches

__all__ = ["Watches", "tag_of"]

_uri_of = msgspec.json.Decoder(SubscribeParams).decode


class _SubscriptionTag(Struct):
    """The member of a notification's `_meta` that says whose it is."""

    id: int | str | UnsetType = msgspec.field(name=meta.SUBSCRIPTION_ID, default=UNSET)


_decode_tag = msgspec.json.Decoder(_SubscriptionTag).decode


def tag_of(raw: Raw | UnsetType) -> RequestId | None:
    """Return the id of the subscription that a notification's `_meta` names, if it does."""
    try:
        tag = UNSET if raw is UNSET else _decode_tag(raw).id
    except DECODE_ERRORS:
        return None
    return None if tag is UNSET else tag


class Watches:
    """The live subscriptions of one client."""

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self.waiting: dict[RequestId, Subscription | None] = {}
        """Calls of our own about watched resources, and the subscription that waits for each."""

    def hearers(self, notice: ChangeNotice) -> list[Subscription]:
        """Return the subscriptions that a change is for."""
        return [subscription for subscription in self.subscriptions if matches(subscription.filter, notice)]

    def unwatched(self, uris: list[str], *, except_for: Subscription | None = None) -> list[str]:
        """Return those URIs that no other subscription watches."""
        watched = {
            uri
            for other in self.subscriptions
            if other is not except_for and other.filter.resource_subscriptions is not UNSET
            for uri in other.filter.resource_subscriptions
        }
        return [uri for uri in uris if uri not in watched]

    def remove(self, subscription: Subscription) -> bool:
        """Forget a subscription; returns whether it was there."""
        if subscription not in self.subscriptions:
            return False
        self.subscriptions.remove(subscription)
        return True

    def release(self, subscription: Subscription) -> list[str]:
        """Let nobody wait for a subscription's calls any more, and return the URIs to watch no longer."""
        for call_id in [key for key, value in self.waiting.items() if value is subscription]:
            self.waiting[call_id] = None
        uris = subscription.filter.resource_subscriptions
        return [] if uris is UNSET else self.unwatched(uris, except_for=subscription)

    def is_own(self, call: Call) -> bool:
        """Tell whether a call is one of ours, which nobody outside waits for."""
        return call.id in self.waiting

    def renew(self, old: RequestId, new: RequestId) -> None:
        """Know one of our calls by its new id."""
        if old in self.waiting:
            self.waiting[new] = self.waiting.pop(old)

    def settle(self, call: Call, *, is_watched: bool) -> Subscription | None:
        """Take the end of one of our calls, and return the subscription that this was the last answer for."""
        subscription = self.waiting.pop(call.id)
        if subscription is None:
            return None
        if not is_watched:
            honoured = subscription.filter
            uri = _uri_of(call.body).uri
            honoured.resource_subscriptions = [other for other in honoured.resource_subscriptions if other != uri]
        return subscription if self.acknowledge(subscription) else None

    def acknowledge(self, subscription: Subscription) -> bool:
        """Mark a subscription acknowledged once nothing it asked for is open; returns whether that is just now."""
        if subscription.is_acknowledged or subscription in self.waiting.values():
            return False
        subscription.is_acknowledged = True
        return True
