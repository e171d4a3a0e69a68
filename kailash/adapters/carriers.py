"""Carriers: which connection carries which exchange, and what the runtime sees of an engine behind HTTP.

A carrier is a connection of ours or one request of an ASGI server; the exchanges themselves know of neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import anyio.lowlevel

from protocol.framing.httphead import RequestHead
from protocol.http.answer import Answer, Arrival, Part
from protocol.http.exchange import Exchange

from .loops import Loop

__all__ = ["Carrier", "Carriers", "EndpointLike", "EngineChannel", "Owner"]


class EndpointLike(Protocol):
    """What answers the requests to one path; `StreamableHTTPEndpoint` is one."""

    def refuse(self, head: RequestHead, arrival: Arrival = ...) -> Answer | None:
        """Return the answer to a request whose body must not even be read."""

    def too_large(self) -> Answer:
        """Return the answer to a body that is too long."""

    def receive_request(
        self,
        head: RequestHead,
        body: bytes,
        *,
        now: float,
        arrival: Arrival = ...,
        principal: str | None = ...,
        is_checked: bool = ...,
    ) -> Exchange | Answer:
        """Take a whole request and return what answers it."""


class Carrier(Protocol):
    """What writes the answer of one exchange."""

    def write(self, parts: list[Part]) -> None:
        """Write parts of the answer; the last of them ends it."""

    async def drain(self) -> None:
        """Wait while the peer takes less than is sent."""


class Owner(Protocol):
    """What an engine's messages are carried by: an exchange, or the session of several."""

    @property
    def exchanges(self) -> Iterable[Exchange]:
        """What carries its answers just now."""

    def flush(self, now: float) -> list[Exchange]:
        """Carry what the engine has to say; returns the exchanges that have something to write."""


class Carriers:
    """The carriers of all live exchanges.

    Args:
        loop: the loop that serves.
    """

    __slots__ = ("_carriers", "loop")

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._carriers: dict[Exchange, Carrier] = {}

    def attach(self, exchange: Exchange, carrier: Carrier) -> None:
        """Let a carrier write for an exchange."""
        self._carriers[exchange] = carrier

    def detach(self, exchange: Exchange) -> None:
        """Let nothing write for an exchange any more."""
        self._carriers.pop(exchange, None)

    def carry(self, exchanges: Iterable[Exchange]) -> None:
        """Write what exchanges have to say; what is not attached yet is written when it is."""
        for exchange in exchanges:
            carrier = self._carriers.get(exchange)
            if carrier is not None:
                carrier.write(exchange.data_to_send())

    async def drain(self, exchanges: Iterable[Exchange]) -> None:
        """Wait until none of these exchanges waits for its peer to read."""
        for exchange in list(exchanges):
            carrier = self._carriers.get(exchange)
            if carrier is not None:
                await carrier.drain()


class EngineChannel:
    """What the runtime sees of an engine behind HTTP: the clock, and where to write.

    Args:
        carriers: what writes.
        owner: the exchange, or the session, that the engine belongs to.

    `after_flush`, where it is set, is called when everything was written that there was to write.
    """

    # A request over HTTP may have one to itself; what it does not change it need not set.
    after_flush: Callable[[], None] | None = None
    peer_ended = False
    _is_scheduled = False
    _told = 0

    def __init__(self, carriers: Carriers, owner: Owner) -> None:
        self._carriers = carriers
        self.owner: Any = owner

    @property
    def loop(self) -> Loop:
        """The loop that serves."""
        return self._carriers.loop

    def now(self) -> float:
        """Return the loop's time."""
        return self._carriers.loop.now()

    def flush(self) -> None:
        """Write what the engine has to say."""
        self._carriers.carry(self.owner.flush(self.now()))
        if self.after_flush is not None:
            self.after_flush()

    def flush_soon(self) -> None:
        """Write in the loop's next turn: one write for many messages."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._is_scheduled = False
        self._told = 0
        self.flush()

    def flush_told(self) -> None:
        """Write what a handler tells on its way: with what else it tells in this turn of the loop, up to a bound."""
        self._told += 1
        if self.owner.engine.last_size > LARGE_TOLD:
            self._told = MOST_TOLD
        if self._told < MOST_TOLD:
            self.flush_soon()
        else:
            self.flush()

    @property
    def is_full(self) -> bool:
        """Tell whether to `drain` before more is told."""
        return self._told >= MOST_TOLD

    async def drain(self) -> None:
        """Let the loop have its turn, then wait while the peer takes less than is sent."""
        self._told = 0
        await anyio.lowlevel.checkpoint()
        await self._carriers.drain(self.owner.exchanges)


MOST_TOLD = 16
"""Messages that a handler tells in one turn of the loop before it waits for the next, if it waits for anything."""
LARGE_TOLD = 16 * 1024
"""Bytes of a message that is worth a turn of its own."""
