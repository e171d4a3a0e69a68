"""What was found at each endpoint before in this process, which saves the search for it."""

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .session import ClientSession

__all__ = ["Verdicts"]

Verdict = TypeVar("Verdict")

_TRUSTED_SECONDS = 3600.0
"""A server may be upgraded while its clients live: after this it is asked again."""
_MOST = 1024


class Verdicts(Generic[Verdict]):
    """Verdicts by endpoint and by what the client that came to it can speak; bounded, and trusted for an hour.

    A client that is told to speak old revisions finds nothing that binds one that is not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Any, tuple[float, Verdict]] = {}

    def recall(self, endpoint: Any, session: ClientSession) -> Verdict | None:
        """Return what a client with the same revisions found there lately."""
        found, verdict = self._known.get(_key(endpoint, session), (0.0, None))
        return verdict if self._clock() - found < _TRUSTED_SECONDS else None

    def remember(self, endpoint: Any, session: ClientSession, verdict: Verdict) -> None:
        """Take down what was found; many endpoints later, everything is forgotten."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[_key(endpoint, session)] = (self._clock(), verdict)

    def forget(self, endpoint: Any, session: ClientSession) -> None:
        """Drop what turned out to be no longer so."""
        self._known.pop(_key(endpoint, session), None)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


def _key(endpoint: Any, session: ClientSession) -> tuple[Any, ...]:
    return (endpoint, *(revision.name for revision in session.engine.profile.revisions))
