"""What a store is: rate limits, kept values and news, in this process or shared by many. No I/O here."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from ..errors import MCPError, MCPErrorCode
from ..resilience import Rate

if TYPE_CHECKING:
    from .sessions import SessionStore

__all__ = ["Receive", "Store", "StoreError", "Want"]

Receive = Callable[[bytes], object]
"""Takes one payload of a topic."""


class Want(NamedTuple):
    """What a request wants of one bucket."""

    key: str
    rate: Rate
    cost: float = 1.0


class StoreError(MCPError):
    """The store cannot be reached, or refuses; the message never holds the password of its URL."""

    default_code = MCPErrorCode.CONNECTION_ERROR

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


@runtime_checkable
class Store(Protocol):
    """Where rate limits and kept values live, and how processes that share them tell each other of changes.

    Of a store that `is_local` every method answers at once; of any other, each returns an awaitable of the same, which
    may raise `StoreError`.
    """

    is_local: bool
    """Its methods answer at once, and nobody but this process sees what is kept."""

    @property
    def sessions(self) -> "SessionStore | None":
        """What lets several processes serve one HTTP session; `None` where no other process could see it."""

    def take(self, wants: Sequence[Want], now: float) -> Any:
        """Return the `Verdict`: a request is taken from every bucket, or from none if one of them refuses.

        Args:
            wants: the buckets; a key that comes twice is taken from twice.
            now: wall-clock seconds, since several machines may share the buckets.
        """

    def get(self, key: bytes) -> Any:
        """Return a kept value, or `None`."""

    def put(self, key: bytes, value: bytes, ttl: float, tag: str) -> Any:
        """Keep a value for `ttl` seconds, an hour at most."""

    def clear(self, tag: str | None) -> Any:
        """Forget the values that were put under a tag, or all of them; buckets stay as they are."""

    def publish(self, topic: str, payload: bytes) -> Any:
        """Tell every subscriber of a topic, those of this process too; returns how many processes hear it."""

    def subscribe(self, topic: str, receive: Receive, *, missed: Callable[[], object] | None = None) -> Any:
        """Hear what is published from now on; call what comes back to hear no more.

        Args:
            topic: what to hear.
            receive: called with each payload, in the loop that subscribed.
            missed: called when the connection was lost and is there again, because something may have been missed.
        """

    async def aclose(self) -> None:
        """Let go of connections; the store may be used again."""
