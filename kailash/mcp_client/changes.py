"""The changes a subscription brings, as an async iterator that outlives a lost connection."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
from msgspec import UNSET

from protocol.events import Change, Subscription
from protocol.types import SubscriptionFilter

from ..errors import MCPError
from .session import ClientSession

__all__ = ["Changes", "filter_of"]


def filter_of(
    *, tools: bool, prompts: bool, resources: bool, uris: Iterable[str], tasks: Iterable[str]
) -> SubscriptionFilter:
    """Return what to subscribe to; what is not wanted is absent."""
    return SubscriptionFilter(
        tools_list_changed=tools or UNSET,
        prompts_list_changed=prompts or UNSET,
        resources_list_changed=resources or UNSET,
        resource_subscriptions=list(uris) or UNSET,
        task_ids=list(tasks) or UNSET,
    )


class Changes:
    """The changes a subscription brings; ends when the server ends the subscription, or the client is closed.

    When the connection is lost, waiting for the next change connects again and subscribes again; what changed meanwhile
    is not told.

    Args:
        wanted: what to hear of.
        reconnect: connects again, if that has not happened yet, and starts every subscription of the client.
        timeout: seconds the server may take to acknowledge.
    """

    def __init__(
        self, wanted: SubscriptionFilter, reconnect: Callable[[], Awaitable[object]], timeout: float | None
    ) -> None:
        self._wanted = wanted
        self._reconnect = reconnect
        self._timeout = timeout
        # A change nobody has taken yet is not queued twice, which bounds the queue by what is subscribed to.
        self._queue: dict[Any, Change | MCPError | None] = {}
        self._arrived = anyio.Event()
        self._session: ClientSession | None = None
        self._subscription: Subscription | None = None
        self._is_lost = False

    async def start(self, session: ClientSession) -> None:
        """Subscribe over a connection.

        "Clients MUST re-send subscriptions/listen after a reconnect" — 2026-07-28 basic/transports/stdio
        """
        self._session = session
        self._is_lost = False
        self._subscription = await session.subscribe(self._wanted, self._hear, self._timeout)

    def stop(self) -> None:
        """Unsubscribe, and end the iteration."""
        if self._session is not None and self._subscription is not None:
            self._session.unsubscribe(self._subscription)
        self._end(None)

    def _hear(self, change: Change | None, error: MCPError | None) -> None:
        """Take a change, or the end of the subscription and its reason."""
        if change is not None:
            self._queue[change.kind, change.uri] = change
            self._arrived.set()
        elif self._session is not None and self._session.is_closed:
            self._is_lost = True
            self._arrived.set()
        else:
            self._end(error)

    def _end(self, error: MCPError | None) -> None:
        self._queue.setdefault("end", error)
        self._arrived.set()

    def __aiter__(self) -> "Changes":
        return self

    async def __anext__(self) -> Change:
        while not self._queue:
            if self._is_lost:
                await self._reconnect()
                continue
            self._arrived = anyio.Event()
            await self._arrived.wait()
        item = self._queue.pop(next(iter(self._queue)))
        if isinstance(item, Change):
            return item
        self._queue["end"] = None  # whoever asks again learns the same
        if item is None:
            raise StopAsyncIteration
        raise item
