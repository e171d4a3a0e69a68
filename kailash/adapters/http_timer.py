"""The one timer of an HTTP/1.1 connection, which no request moves.

It is armed at most `tick` ahead. When it fires it looks at the one deadline that counts just now, so that setting a
deadline costs an assignment and not a timer.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from math import inf
from typing import TYPE_CHECKING

from .loops import Timer

if TYPE_CHECKING:
    from .http_server import HTTPServer

__all__ = ["TimedConnection"]


class TimedConnection(asyncio.Protocol):
    """A connection with a deadline."""

    __slots__ = ("_due", "_http", "_is_lost", "_is_paused", "_now", "_timer", "_timer_at")

    def __init__(self, http: HTTPServer) -> None:
        self._http = http
        self._now = http.loop.now
        self._timer: Timer | None = None
        self._timer_at = inf
        self._due = inf
        self._is_paused = False
        """The peer does not take what is sent, which has a deadline of its own."""
        self._is_lost = False

    def _wait(self, seconds: float) -> None:
        """Set the deadline, unless the peer's not reading sets one."""
        if not self._is_paused:
            self._set_due(seconds)

    def _set_due(self, seconds: float) -> None:
        now = self._now()
        self._due = now + seconds
        if self._timer is None and not self._is_lost:
            self._arm(min(self._due, now + self._http.tick))

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._http.loop.call_at(when, self._fire)
        self._timer_at = when

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        now = self._now()
        if now < self._due:
            self._arm(min(self._due, now + self._http.tick))
        else:
            self._on_time(now)

    @abstractmethod
    def _on_time(self, now: float) -> None:
        """Do what the deadline is for."""
