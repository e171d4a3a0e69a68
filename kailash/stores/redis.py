"""The store that processes and machines share: Redis, by coredis, on asyncio and on trio.

Each method is one round trip. All of a loop's callers share one connection, so that what they ask at once travels
together. Keys begin with the prefix: `b` buckets, `v` values, `g` generations, `s` sessions, `e` their events; topics
with `t`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import current_token

from ..resilience import Verdict
from .base import Receive, Want
from .redis_url import RedisAddress
from .scripts import CLEAR, GET, PUT, TAKE

if TYPE_CHECKING:
    from .link import Link
    from .sessions import SessionStore

__all__ = ["RedisStore"]

logger = logging.getLogger("kailash.stores")

_ALLOWED = Verdict(True)
_LONGEST_LIFE = 3600.0
_LOG_EVERY = 60.0


class RedisStore:
    """Keeps buckets, values and sessions in Redis, and carries news between all who use it.

    Nothing is connected before it is used, and what was lost is connected again by itself. While the server is gone,
    calls fail at once.

    Args:
        url: `redis://…`, `rediss://…` for TLS, or `unix://…`.
        prefix: what every key and topic begins with.

    Raises:
        ValueError: the URL makes no sense.
        ImportError: the extra is missing.
    """

    is_local = False

    def __init__(self, url: str, *, prefix: str = "kailash:") -> None:
        try:
            from .link import Link  # needs coredis, of the extra `redis`
        except ImportError as error:
            raise ImportError(
                'a store in Redis needs coredis: pip install "kailash-mcp-engine[redis]"', name=error.name
            ) from error
        self._make_link = Link
        self._address = RedisAddress.parse(url)
        self._links: dict[Any, Link] = {}
        """By the event loop that uses it: a connection belongs to one."""
        self._sessions: SessionStore | None = None
        self._logged_at = -_LOG_EVERY
        self.prefix = prefix.encode()

    def __repr__(self) -> str:
        return f"RedisStore({self._address.shown!r})"

    @property
    def sessions(self) -> "SessionStore":
        """What lets several processes serve one HTTP session."""
        if self._sessions is None:
            from .sessions import SessionStore

            self._sessions = SessionStore(self)
        return self._sessions

    async def take(self, wants: Sequence[Want], now: float) -> Verdict:
        """Take a request from every bucket, or from none if one of them refuses."""
        keys = [b"%bb:%b" % (self.prefix, want.key.encode()) for want in wants]
        numbers = [repr(now)]
        for want in wants:
            numbers += (repr(want.rate.interval), repr(want.rate.tolerance), repr(float(want.cost)))
        wait = await self.link.run(TAKE, keys, *numbers)
        return _ALLOWED if wait is None else Verdict(False, float(wait))

    async def get(self, key: bytes) -> bytes | None:
        """Return a kept value, or `None`."""
        prefix = self.prefix
        value: bytes | None = await self.link.run(GET, [b"%bv:%b" % (prefix, key), prefix + b"g"], prefix + b"g:")
        return value

    async def put(self, key: bytes, value: bytes, ttl: float, tag: str) -> None:
        """Keep a value for `ttl` seconds, an hour at most."""
        prefix, name = self.prefix, tag.encode()
        keys = [b"%bv:%b" % (prefix, key), prefix + b"g", b"%bg:%b" % (prefix, name)]
        milliseconds = max(1, int(min(ttl, _LONGEST_LIFE) * 1000))
        await self.link.run(PUT, keys, value, milliseconds, name)

    async def clear(self, tag: str | None) -> None:
        """Forget the values that were put under a tag, or all of them: their generation is over."""
        generation = self.prefix + b"g" if tag is None else b"%bg:%b" % (self.prefix, tag.encode())
        await self.link.run(CLEAR, [generation])

    async def publish(self, topic: str, payload: bytes) -> int:
        """Tell every subscriber of a topic, those of this process too; returns how many processes hear it."""
        receivers: int = await self.link.execute(b"PUBLISH", self.topic(topic), payload)
        return receivers

    async def subscribe(
        self, topic: str, receive: Receive, *, missed: Callable[[], object] | None = None
    ) -> Callable[[], None]:
        """Hear what is published from now on; never fails, but begins when the server is there."""
        return await self.link.subscribe(self.topic(topic), receive, missed)

    async def aclose(self) -> None:
        """Disconnect in this loop; the store may be used again."""
        link = self._links.pop(current_token(), None)
        if link is not None:
            await link.aclose()

    def topic(self, name: str) -> bytes:
        """Return the channel of a topic."""
        return b"%bt:%b" % (self.prefix, name.encode())

    @property
    def link(self) -> "Link":
        """The connection of the running loop."""
        token = current_token()
        link = self._links.get(token)
        if link is None or link.is_over:
            # Loops that have ended took their connections with them.
            self._links = {key: each for key, each in self._links.items() if not each.is_over}
            link = self._links[token] = self._make_link(self._address, self._is_quiet)
        return link

    def _is_quiet(self) -> bool:
        """Tell whether a failure was logged less than a minute ago, and take note of this one."""
        now = time.monotonic()
        if now - self._logged_at < _LOG_EVERY:
            return True
        self._logged_at = now
        return False
