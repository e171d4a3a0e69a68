"""The stages of the pipeline, one class each: what a call passes on its way to its handler, and what it leaves behind.

| stage            | lets pass                                  | else                                   |
|------------------|--------------------------------------------|----------------------------------------|
| `LimitStage`     | what the rates allow                       | 1011, with the time to wait            |
| `BreakerStage`   | while too few calls have failed            | 1012, with the time to wait            |
| `CacheStage`     | the first of those that ask the same       | the kept result, or the first's        |
| `GateStage`      | as many at once as may run                 | waits in line; 1503 where that is full |

`enter` returns whether the passage goes on; if not, the stage has it and lets it `resume`, or has answered it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from protocol.eras import Prepared

from ..errors import MCPError, MCPErrorCode, RequestError, wait_error
from ..resilience import CircuitBreaker, Verdict
from ..schema import ArgumentError
from ..stores import Store, StoreError, Want
from ..telemetry import Outcome
from .caching import EntryCache
from .options import BreakerConfig, RateLimit

if TYPE_CHECKING:
    from .pipeline import Passage

__all__ = ["BreakerStage", "CacheStage", "Gate", "GateStage", "LimitStage", "Stage", "is_callers_fault"]


class Stage(Protocol):
    """One step of the pipeline of an entry."""

    wants_end: bool
    """It is told of the end of every passage, of those too that never came as far."""

    def enter(self, passage: "Passage") -> bool:
        """Let a passage go on, or keep it.

        Raises:
            RequestError: it ends here.
        """

    def leave(self, passage: "Passage", outcome: Outcome, error: BaseException | None) -> None:
        """Take the end of a passage."""


class LimitStage:
    """Rate limits.

    Args:
        store: holds the buckets.
        limits: each with what its buckets are called and what people read.
        on_store_error: whether calls pass while the store is away.
    """

    wants_end = False

    def __init__(
        self, store: Store, limits: Sequence[tuple[str, str, RateLimit]], on_store_error: Literal["open", "closed"]
    ) -> None:
        self._store = store
        self._limits = [(bucket, limit.rate, limit.is_each) for bucket, _, limit in limits]
        self._what = [what for _, what, _ in limits]
        self._is_open = on_store_error == "open"

    def enter(self, passage: "Passage") -> bool:
        """Take from the buckets."""
        caller = passage.caller
        wants = [Want(f"{bucket}:{caller}" if is_each else bucket, rate) for bucket, rate, is_each in self._limits]
        if self._store.is_local:
            self._judge(self._store.take(wants, time.monotonic()))
            return True
        passage.spawn(self._ask, passage, wants)
        return False

    async def _ask(self, passage: "Passage", wants: list[Want]) -> None:
        answer: Any = self._store.take(wants, time.time())
        try:
            self._judge(await answer)
        except StoreError:
            if not self._is_open:
                passage.refuse(_away("rate limits"))
                return
        except RequestError as refused:
            passage.refuse(refused)
            return
        passage.resume()

    def _judge(self, verdict: Verdict) -> None:
        if not verdict.is_allowed:
            text = f"Too many requests: the rate limit of {' or '.join(self._what)} is exceeded"
            raise wait_error(text, MCPErrorCode.RATE_LIMITED, verdict.retry_after)

    def leave(self, passage: "Passage", outcome: Outcome, error: BaseException | None) -> None:
        """Nothing is given back: the call was made."""


def _away(what: str) -> RequestError:
    return wait_error(f"server is overloaded: its store of {what} cannot be reached", MCPErrorCode.OVERLOADED, 1.0)


_CALLERS_FAULT = frozenset(
    {
        MCPErrorCode.PARSE_ERROR,
        MCPErrorCode.INVALID_REQUEST,
        MCPErrorCode.METHOD_NOT_FOUND,
        MCPErrorCode.INVALID_PARAMS,
        MCPErrorCode.RESOURCE_NOT_FOUND,
        MCPErrorCode.HEADER_MISMATCH,
        MCPErrorCode.MISSING_CLIENT_CAPABILITY,
        MCPErrorCode.UNSUPPORTED_VERSION,
        MCPErrorCode.URL_ELICITATION_REQUIRED,
        MCPErrorCode.USER_REJECTED,
        MCPErrorCode.VALIDATION_ERROR,
        MCPErrorCode.CANCELLED,
        MCPErrorCode.AUTHENTICATION_FAILED,
        MCPErrorCode.AUTHORIZATION_FAILED,
        MCPErrorCode.RATE_LIMITED,
    }
)


def is_callers_fault(error: BaseException | None) -> bool:
    """Tell whether an error says something of the caller rather than of what was called."""
    return isinstance(error, ArgumentError) or (isinstance(error, MCPError) and error.error_code in _CALLERS_FAULT)


class BreakerStage:
    """A circuit breaker.

    Args:
        breaker: the entry's.
        config: what it counts.
        what: what people read.
    """

    wants_end = True

    def __init__(self, breaker: CircuitBreaker, config: BreakerConfig, what: str) -> None:
        self.breaker = breaker
        self._is_failure = config.is_failure
        self._what = what

    def enter(self, passage: "Passage") -> bool:
        """Take a turn."""
        now = time.monotonic()
        turn = self.breaker.admit(now)
        if turn is None:
            text = f"{self._what} failed too often and is not tried for now: its circuit breaker is open"
            raise wait_error(text, MCPErrorCode.CIRCUIT_OPEN, self.breaker.wait(now))
        passage.turn = turn
        return True

    def leave(self, passage: "Passage", outcome: Outcome, error: BaseException | None) -> None:
        """Give the turn back."""
        turn = passage.turn
        if turn is None:
            return
        if outcome is Outcome.OK and error is None and not passage.is_cached:
            self.breaker.succeed(turn, time.monotonic())
        elif outcome is Outcome.TIMEOUT or (outcome is Outcome.ERROR and self._counts(error)):
            self.breaker.fail(turn, time.monotonic())
        else:
            self.breaker.forget(turn)

    def _counts(self, error: BaseException | None) -> bool:
        if is_callers_fault(error):
            return False
        return self._is_failure is None or error is None or self._is_failure(error)


class CacheStage:
    """Kept results.

    Args:
        cache: the entry's.
        store: of results that several processes share, if they do.
        read: makes a result of the bytes a store kept.
        ttl: seconds a store keeps them.
        on_store_error: whether calls pass while the store is away.
        is_inline: the entry runs in the read loop.
    """

    wants_end = True

    def __init__(
        self,
        cache: EntryCache,
        store: Store | None = None,
        read: Callable[[bytes], Any] | None = None,
        ttl: float = 0.0,
        on_store_error: Literal["open", "closed"] = "open",
        *,
        is_inline: bool = False,
    ) -> None:
        self._cache = cache
        # What runs in the read loop and asks no store is over before anybody else can ask.
        self._is_shared = store is not None or not is_inline
        self._store = store
        self._read = read
        self._ttl = ttl
        self._is_open = on_store_error == "open"

    def enter(self, passage: "Passage") -> bool:
        """Answer with what is kept, wait for the same call on its way, or run."""
        if passage.launch is not None or passage.is_retry:
            return True  # a task asks the cache when it runs; answers to questions are nobody else's
        key, kept = self._cache.look(passage.request, passage.session.identity.permissions)
        if kept is not None:
            passage.answer_kept(kept)
            return False
        if self._is_shared and self._cache.join(key, passage.landed):
            return False
        passage.cache, passage.key = self._cache, key
        if self._store is None:
            return True
        passage.spawn(self._look, passage)
        return False

    async def _look(self, passage: "Passage") -> None:
        assert self._store is not None and self._read is not None
        answer: Any = self._store.get(self._cache.wire_key(passage.key))
        try:
            found = await answer
        except StoreError:
            if not self._is_open:
                passage.refuse(_away("results"))
                return
            found = None
        if found is None:
            passage.resume()
        else:
            prepared = Prepared(self._read(found))
            self._cache.put(passage.key, prepared)
            passage.post(lambda: passage.answer_kept(prepared))

    def leave(self, passage: "Passage", outcome: Outcome, error: BaseException | None) -> None:
        """Keep the result, and hand it to those who wait."""
        key = passage.key
        if key is None:
            return
        passage.key = None
        prepared = passage.prepared if outcome is Outcome.OK and error is None else None
        if prepared is not None and not passage.is_cached:
            is_fresh = self._cache.put(key, prepared)
            if is_fresh and self._store is not None:
                passage.spawn(self._keep, key, prepared)
        if self._is_shared:
            self._cache.land(key, prepared)

    async def _keep(self, key: Any, prepared: Prepared) -> None:
        assert self._store is not None
        answer: Any = self._store.put(
            self._cache.wire_key(key), self._cache.wire_value(prepared), self._ttl, self._cache.tag
        )
        try:
            await answer
        except StoreError:
            pass  # the store logs it; the result was sent


class Gate:
    """Lets so many through at once; others wait in line, as many as there is room for.

    Args:
        limit: how many at once.
        room: how many may wait.
        what: what people read.
    """

    def __init__(self, limit: int, room: int, what: str) -> None:
        self.limit = limit
        self.running = 0
        self._room = room
        self._what = what
        self._line: deque[Passage] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def enter(self, passage: "Passage") -> bool:
        """Take a place, or wait for one."""
        with self._lock:
            if self.running < self.limit:
                self.running += 1
                passage.gates += (self,)
                return True
            if len(self._line) >= self._room:
                text = f"server is overloaded: {self.limit} calls of {self._what} run and {self._room} wait"
                raise wait_error(text, MCPErrorCode.OVERLOADED, 1.0)
            self._line.append(passage)
            return False

    def leave(self, passage: "Passage") -> None:
        """Give the place to the next in line, or leave the line."""
        with self._lock:
            if self not in passage.gates:
                if passage in self._line:
                    self._line.remove(passage)
                return
            passage.gates = tuple(gate for gate in passage.gates if gate is not self)
            following = self._line.popleft() if self._line else None
            if following is None:
                self.running -= 1
                return
            following.gates += (self,)
        following.resume()


class GateStage:
    """Admission to one gate: an entry's own, or the server's."""

    wants_end = True

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def enter(self, passage: "Passage") -> bool:
        """Take a place, or wait for one."""
        return self.gate.enter(passage)

    def leave(self, passage: "Passage", outcome: Outcome, error: BaseException | None) -> None:
        """Give the place to the next in line."""
        self.gate.leave(passage)
