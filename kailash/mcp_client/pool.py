"""The connections of a client that is told the server in each call: held, shared, counted, swept.

| held for this server            | room                       | then                                        |
|---------------------------------|----------------------------|---------------------------------------------|
| one that may be used            |                            | `USE` it                                    |
| none                            | less than `max_connections`| `OPEN` another                              |
| none                            | none, but an idle one      | `EVICT` what was idle longest, and look again |
| none                            | none, all in use           | `WAIT` until one is free                    |
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct, structs

from ..adapters.loops import current_loop
from ..adapters.owner import spawn_owner
from ..adapters.waiter import make_waiter
from ..errors import TransportError
from .config import ClientConfig

if TYPE_CHECKING:
    from .client import MCPClient

__all__ = ["Action", "Held", "PoolRules", "ServerPool", "decide", "expired"]


class PoolRules(Struct, frozen=True, kw_only=True):
    """How many connections are held, and for how long."""

    max_connections: int = 20
    connection_timeout: float = 30.0
    """Seconds for a connection to be ready, waiting for room included."""
    pool_cleanup_interval: float = 300.0
    """Seconds without use after which one is closed."""
    keep_alive: bool = True
    """Hold connections between calls."""
    exclusive: bool = False
    """One call at a time on each connection, instead of all of a server's on one."""
    ping_interval: float | None = None
    ping_timeout: float | None = None

    @classmethod
    def of(cls, given: "Mapping[str, Any] | PoolRules | None") -> "PoolRules":
        """Read a `connection_pool_config`.

        Raises:
            TypeError: an unknown key; the message lists the known ones.
            ValueError: a value out of range.
        """
        if isinstance(given, PoolRules):
            return given
        unknown = (given or {}).keys() - set(cls.__struct_fields__)
        if unknown:
            known = ", ".join(cls.__struct_fields__)
            raise TypeError(f"unknown key {', '.join(sorted(unknown))} in connection_pool_config; known: {known}")
        rules = cls(**(given or {}))
        if type(rules.max_connections) is not int or rules.max_connections < 1:
            raise ValueError(
                f"connection_pool_config: max_connections must be 1 or more, not {rules.max_connections!r}"
            )
        for name in ("connection_timeout", "pool_cleanup_interval", "ping_interval", "ping_timeout"):
            value = getattr(rules, name)
            if value is not None and not value > 0:
                raise ValueError(f"connection_pool_config: {name} must be above zero, not {value!r}")
        return rules

    def applied(self, config: ClientConfig) -> ClientConfig:
        """Return a config with the rules' times, where it does not say its own."""
        usual = ClientConfig()
        found = {"connect_timeout": self.connection_timeout}
        if config.transport == "websocket":
            found |= {
                name: value for name in ("ping_interval", "ping_timeout") if (value := getattr(self, name)) is not None
            }
        return structs.replace(
            config, **{name: value for name, value in found.items() if getattr(config, name) == getattr(usual, name)}
        )


class Held(Struct, eq=False):
    """A connection in the pool."""

    key: Hashable
    """Its endpoint and the credentials it was made with."""
    client: Any = None
    users: int = 0
    idle_since: float = 0.0
    is_websocket: bool = False
    is_spoiled: bool = False
    """A call on it was given up, and its answer may still come."""


class Action(Enum):
    """What is to be done for a call."""

    USE = "use"
    OPEN = "open"
    EVICT = "evict"
    WAIT = "wait"


def decide(held: Iterable[Held], key: Hashable, rules: PoolRules) -> tuple[Action, Held | None]:
    """Return what is to be done for a call to a server, and with which connection."""
    count, oldest = 0, None
    for each in held:
        count += 1
        if each.key == key and (not each.users or not rules.exclusive):
            return Action.USE, each
        if not each.users and (oldest is None or each.idle_since < oldest.idle_since):
            oldest = each
    if count < rules.max_connections:
        return Action.OPEN, None
    return (Action.WAIT, None) if oldest is None else (Action.EVICT, oldest)


def expired(held: Iterable[Held], now: float, rules: PoolRules) -> list[Held]:
    """Return the connections that were idle for too long."""
    return [each for each in held if not each.users and now - each.idle_since >= rules.pool_cleanup_interval]


class ServerPool:
    """Holds a client for each server that calls name.

    Args:
        make: returns a client for a config.
        rules: how many, and for how long.
    """

    def __init__(self, make: Callable[[ClientConfig], "MCPClient"], rules: PoolRules) -> None:
        self.rules = rules
        self.websocket_hits = self.websocket_misses = 0
        self._make = make
        self._held: dict[Held, None] = {}
        self._known: dict[str, tuple[ClientConfig, Hashable]] = {}
        self._waiting: deque[Any] = deque()
        self._timer: Any = None

    def counts(self) -> dict[str, int]:
        """Return how often a call found a live WebSocket, and how often not."""
        return {"websocket_pool_hits": self.websocket_hits, "websocket_pool_misses": self.websocket_misses}

    @property
    def clients(self) -> "list[MCPClient]":
        """The clients that are held."""
        return [held.client for held in self._held]

    @property
    def websockets(self) -> "dict[Hashable, MCPClient]":
        """Those with a live WebSocket, by endpoint and number."""
        live = (held.client for held in self._held if held.is_websocket and held.client.is_connected)
        return {(client.config.endpoint, number): client for number, client in enumerate(live)}

    def _read(self, server: Any) -> tuple[ClientConfig, Hashable]:
        """Return the config that names a server in a call, and its key."""
        if not isinstance(server, str):
            config = ClientConfig.of(server)
            return config, config.key
        known = self._known.get(server)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            config = ClientConfig.of(server)
            known = self._known[server] = (config, config.key)
        return known

    def take(self, server: Any) -> Held | None:
        """Return a connection to a server for a call, to be given back with `give_back`; `None`: `wait` for it.

        Raises:
            TypeError, ValueError: it names no server.
        """
        config, key = self._read(server)
        action, held = decide(self._held, key, self.rules)
        if action is Action.OPEN:
            held = Held(key, self._make(config), is_websocket=config.transport == "websocket")
            self._held[held] = None
        elif action is not Action.USE:
            return None
        assert held is not None
        held.users += 1
        if held.is_websocket:
            if held.client.is_connected:
                self.websocket_hits += 1
            else:
                self.websocket_misses += 1
        return held

    async def wait(self, server: Any) -> Held:
        """Return a connection to a server once there is room for it.

        Raises:
            TransportError: all are in use, and none became free in time.
        """
        config, key = self._read(server)
        while True:
            action, held = decide(self._held, key, self.rules)
            if action is Action.EVICT:
                assert held is not None
                del self._held[held]
                await held.client.aclose()
            elif action is Action.WAIT:
                await self._wait(config)
            taken = self.take(server)
            if taken is not None:
                return taken

    async def _wait(self, config: ClientConfig) -> None:
        waiter = make_waiter(current_loop())
        self._waiting.append(waiter)
        is_served = False
        try:
            with anyio.fail_after(self.rules.connection_timeout):
                await waiter
            is_served = True
        except TimeoutError:
            raise TransportError(
                f"no connection to {config.endpoint}: all {self.rules.max_connections} were in use for "
                f"{self.rules.connection_timeout:g} s (connection_pool_config: max_connections, connection_timeout)",
                retryable=True,
            ) from None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not is_served:
                self._wake()  # what was meant for this one is for the next

    def give_back(self, held: Held) -> None:
        """Let others use a connection."""
        held.users -= 1
        if held.users:
            return
        held.idle_since = time.monotonic()
        # What is one caller's at a time goes to the next as clean as a new one.
        is_unclean = held.is_spoiled and self.rules.exclusive
        if (is_unclean or not self.rules.keep_alive) and held in self._held:
            del self._held[held]
            spawn_owner(held.client.aclose, name="mcp pool: close")
        elif self._timer is None:
            self._arm(self.rules.pool_cleanup_interval)
        if self._waiting:
            self._wake()

    def _arm(self, seconds: float) -> None:
        loop = current_loop()
        self._timer = loop.call_at(loop.now() + seconds, self._sweep)

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _sweep(self) -> None:
        self._timer = None
        now = time.monotonic()
        for held in expired(self._held, now, self.rules):
            del self._held[held]
            spawn_owner(held.client.aclose, name="mcp pool: sweep")
        if self._held:
            since = min((held.idle_since for held in self._held if not held.users), default=now)
            self._arm(since + self.rules.pool_cleanup_interval - now)

    async def clear(self) -> None:
        """Close every connection; calls under way fail."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held:
            held, _ = self._held.popitem()
            await held.client.aclose()
        self._wake()


_MOST_KNOWN = 1024
