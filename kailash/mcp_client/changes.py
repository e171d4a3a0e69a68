"""The changes a subscription brings, as an async iterator."""

from typing import Any

import anyio

from protocol.events import Change

from ..errors import MCPError

__all__ = ["Changes"]


class Changes:
    """The changes a subscription brings, as an async iterator; ends when the server ends the subscription."""

    def __init__(self) -> None:
        # A change nobody has taken yet is not queued twice, which bounds the queue by what is subscribed to.
        self._queue: dict[Any, Change | MCPError | None] = {}
        self._arrived = anyio.Event()

    def hear(self, change: Change | None, error: MCPError | None) -> None:
        """Take a change, or the end and its reason."""
        self._queue["end" if change is None else (change.kind, change.uri)] = error if change is None else change
        self._arrived.set()

    def __aiter__(self) -> "Changes":
        return self

    async def __anext__(self) -> Change:
        while not self._queue:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        item = self._queue.pop(next(iter(self._queue)))
        if isinstance(item, Change):
            return item
        self._queue["end"] = None  # whoever asks again learns the same
        if item is None:
            raise StopAsyncIteration
        raise item
