"""How a connection leaves HTTP: to the worker that has its session, or to the protocol that its peer asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocol.http.upgrade import Upgrade

from .loops import Running
from .switchboard import Relay, Switchboard

if TYPE_CHECKING:
    from .http_connection import HTTPConnection
    from .http_server import HTTPServer

__all__ = ["Departure", "Move", "Succession", "report"]

logger = logging.getLogger("kailash.adapters.http_server")

Departure = Callable[[asyncio.Transport, bytes], Relay | None]
"""Takes a connection, and what was read of it besides; returns what must be asked to pass on the rest."""


class Move:
    """Hands a connection over to another worker, or relays it where it cannot travel.

    Args:
        switchboard: of the workers.
        goal: which one.
        request: what was read, and is not answered.
    """

    __slots__ = ("_goal", "_request", "_switchboard")

    def __init__(self, switchboard: Switchboard, goal: int, request: bytes) -> None:
        self._switchboard = switchboard
        self._goal = goal
        self._request = request

    def __call__(self, transport: asyncio.Transport, trailing: bytes) -> Relay | None:
        """Let the connection go."""
        read, switchboard = self._request + trailing, self._switchboard
        if transport.get_extra_info("ssl_object") is not None or transport.get_write_buffer_size():
            relay = switchboard.relay(self._goal, transport, read, report)
            if relay is None:
                transport.close()
            return relay
        if switchboard.hand_over(self._goal, transport.get_extra_info("socket").fileno(), read):
            transport.abort()  # which closes our descriptor, not the connection
        else:
            transport.close()
        return None


class Succession:
    """Hands a connection over to a WebSocket in this process.

    Args:
        http: the server.
        connection: what spoke HTTP.
        upgrade: what was agreed on.
        caller: who asked.
    """

    __slots__ = ("_caller", "_connection", "_http", "_upgrade")

    def __init__(self, http: HTTPServer, connection: HTTPConnection, upgrade: Upgrade, caller: Any) -> None:
        self._http = http
        self._connection = connection
        self._upgrade = upgrade
        self._caller = caller

    def __call__(self, transport: asyncio.Transport, trailing: bytes) -> None:
        """Let the connection go."""
        from .websocket import adopt  # wsproto's ten milliseconds, which other servers start faster

        http = self._http
        assert http.open_socket is not None
        channel = http.open_socket(self._upgrade, self._caller)
        channel.forget = http.forget
        # It counts without a gap, for those who wait until there is none.
        http.connections.add(channel)
        self._connection.retire()
        adopt(channel, transport, trailing)


def report(running: Running) -> None:
    """Log what nobody waits for."""
    if not running.cancelled() and running.exception() is not None:
        logger.error("! a connection failed", exc_info=running.exception())
