"""What guards a server's entries and watches their calls: made from the server's options, composed into pipelines."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from protocol.events import Request
from protocol.results import CallToolResult, GetPromptResult, ReadResourceResult

from ..resilience import CircuitBreaker, RateLimiter, ResultCache, Verdict
from ..stores import Store, StoreError, Want, open_store
from ..telemetry import AuditLog, MetricsCollector, Outcome, Refusal, open_tracing
from .caching import EntryCache
from .callers import Identity
from .entries import Entry, Mode
from .options import (
    BreakerConfig,
    CacheConfig,
    read_breaker_config,
    read_cache_config,
    read_rate_limit,
)
from .pipeline import Pipeline
from .stages import BreakerStage, CacheStage, Gate, GateStage, LimitStage, Stage

if TYPE_CHECKING:
    from ..telemetry.tracing import Tracing
    from .session import ServerSession

__all__ = ["Policies"]

_RESULTS: Mapping[str, Callable[[bytes], Any]] = {
    "tool": msgspec.json.Decoder(CallToolResult).decode,
    "resource": msgspec.json.Decoder(ReadResourceResult).decode,
    "prompt": msgspec.json.Decoder(GetPromptResult).decode,
}
"""What a store's bytes become; the kinds that are here can be kept."""


class Policies:
    """The limits, breakers, gates, caches and observers of one server.

    Args:
        name: the server's; servers of the same name share what is in the store.
        rate_limit: for all calls together, or for each caller's: see `read_rate_limit`.
        breaker: for every entry that does not say otherwise: see `read_breaker_config`.
        cache: how much is kept: see `read_cache_config`.
        store: where buckets and results live: a URL or a `Store`; default this process.
        on_store_error: whether calls pass (`open`) or are refused while the store of the limits is away.
        most_at_once: calls that run at the same time.
        most_waiting: calls that wait for one of those to end, or for their entry's.
        metrics: count calls.
        audit: write calls down: `True` for the logger, a path, or a function.
        tracing: make spans.

    Raises:
        TypeError, ValueError: what was given makes no sense.
    """

    def __init__(
        self,
        name: str,
        *,
        rate_limit: Any = None,
        breaker: Any = None,
        cache: Any = None,
        store: "str | Store | None" = None,
        on_store_error: Literal["open", "closed"] = "closed",
        most_at_once: int | None = None,
        most_waiting: int = 64,
        metrics: bool = False,
        audit: Any = None,
        tracing: "bool | Tracing" = False,
    ) -> None:
        if on_store_error not in ("open", "closed"):
            raise ValueError(f"on_store_error is open or closed, not {on_store_error!r}")
        if most_at_once is not None and most_at_once < 1:
            raise ValueError(f"max_concurrent_requests must be 1 or more, not {most_at_once}")
        # Servers of one name are one server in several processes; what another calls the same is something else.
        self.store = open_store(store, prefix=f"kailash:{name}:")
        self.metrics = MetricsCollector()
        """Takes what user code records, whether calls are counted or not."""
        self.is_counting = metrics
        self.audit = (
            None if audit is None or audit is False else audit if isinstance(audit, AuditLog) else AuditLog(audit)
        )
        self.tracing = open_tracing(tracing)
        self._rate_limit = read_rate_limit("rate_limit_config", rate_limit)
        self._breaker = read_breaker_config(breaker)
        self._cache: CacheConfig = read_cache_config(cache)
        self._on_store_error: Literal["open", "closed"] = on_store_error
        self._most_waiting = most_waiting
        self._kept = ResultCache(limit=self._cache.max_entries, limit_bytes=self._cache.max_bytes)
        self.tells_callers_apart = self._rate_limit is not None and self._rate_limit.is_each
        """Some bucket is for one caller each, so that somebody who need not say who he is counts by his address."""
        self._callers = RateLimiter()
        self._caches: dict[Entry, EntryCache] = {}
        self._breakers: dict[Entry, CircuitBreaker] = {}
        self._gate = None if most_at_once is None else Gate(most_at_once, most_waiting, "this server")
        if metrics:
            self.metrics.gauge("circuit_breaker_state", self._breaker_states, merge="max")

    def compose(self, entry: Entry) -> None:
        """Give an entry its pipeline, if anything guards it or watches it."""
        limit = entry.policy.rate_limit
        self.tells_callers_apart |= limit is not None and limit.is_each
        stages = tuple(self._stages(entry))
        slot = self.metrics.slot(entry.kind, entry.name) if self.is_counting else None
        if stages or slot is not None or self.audit is not None or self.tracing is not None:
            entry.pipeline = Pipeline(stages, slot, self.metrics, self.audit, self.tracing)
            entry.is_direct = False

    def forget(self, entry: Entry) -> None:
        """Let go of an entry that was removed."""
        cache = self._caches.pop(entry, None)
        if cache is not None:
            cache.clear()
        self._breakers.pop(entry, None)

    def _stages(self, entry: Entry) -> Iterable[Stage]:
        policy = entry.policy
        what = f"{entry.kind} {entry.name!r}"
        limits = []
        if self._rate_limit is not None:
            limits.append(("server", "this server", self._rate_limit))
        if policy.rate_limit is not None:
            limits.append((f"{entry.kind}:{entry.name}", what, policy.rate_limit))
        if limits:
            yield LimitStage(self.store, limits, self._on_store_error)
        breaker = self._breaker_of(entry)
        if breaker is not None:
            made = self._breakers[entry] = CircuitBreaker(breaker.rule)
            yield BreakerStage(made, breaker, what)
        if policy.cache_ttl is not None:
            yield self._cache_stage(entry, policy.cache_ttl)
        if policy.max_concurrency is not None:
            yield GateStage(Gate(policy.max_concurrency, self._most_waiting, what))
        if self._gate is not None:
            yield GateStage(self._gate)

    def _breaker_of(self, entry: Entry) -> BreakerConfig | None:
        wanted = entry.policy.breaker
        if isinstance(wanted, BreakerConfig):
            return wanted
        if wanted is None:
            return self._breaker
        return (self._breaker or BreakerConfig()) if wanted else None

    def _cache_stage(self, entry: Entry, ttl: float) -> CacheStage:
        ttl = min(ttl, self._cache.max_ttl)
        cache = self._caches[entry] = EntryCache(self._kept, entry, ttl, time.monotonic)
        if self.store.is_local:
            return CacheStage(cache, is_inline=entry.mode is Mode.INLINE)
        return CacheStage(cache, self.store, _RESULTS[entry.kind], ttl, self._cache.on_store_error)

    def cache_of(self, entry: Entry) -> EntryCache | None:
        """Return where an entry's results are kept, if they are."""
        return self._caches.get(entry)

    def clear_cache(self, name: str | None = None) -> list[str]:
        """Forget kept results of this process; returns the tags that a shared store has to forget besides."""
        known = [cache for cache in self._caches.values() if name is None or cache.knows(name)]
        for cache in known:
            cache.clear(name)
        return [] if self.store.is_local else [cache.tag for cache in known]

    def reset_breaker(self, name: str | None = None) -> None:
        """Close the breaker of a tool, resource or prompt, or all of them."""
        for entry, breaker in self._breakers.items():
            if name is None or name == entry.name:
                breaker.reset()

    def breakers(self) -> dict[str, str]:
        """Return the state of each breaker."""
        return {entry.name: breaker.state.value for entry, breaker in self._breakers.items()}

    def _breaker_states(self) -> dict[str, float]:
        return {name: float(("closed", "half_open", "open").index(state)) for name, state in self.breakers().items()}

    # Each caller's own rate, whatever it calls

    def take_caller(self, identity: Identity) -> Verdict | Awaitable[Verdict]:
        """Take a request from the bucket of a caller who has a rate of his own.

        Of a shared store it is an awaitable, which passes or refuses as `on_store_error` says while the store is away.
        """
        assert identity.rate is not None
        if self.store.is_local:
            return self.take_caller_here(identity)
        return self._ask_for(Want(f"caller:{identity.principal}", identity.rate))

    def take_caller_here(self, identity: Identity) -> Verdict:
        """Take it from the bucket of this process: on connections that carry many requests of one caller."""
        assert identity.rate is not None
        return self._callers.take(identity.principal, identity.rate, time.monotonic())

    async def _ask_for(self, want: Want) -> Verdict:
        answer: Any = self.store.take([want], time.time())
        try:
            verdict: Verdict = await answer
        except StoreError:
            return Verdict(self._on_store_error == "open", 1.0)
        return verdict

    # What is refused before it passes anything

    def forbidden(self, session: "ServerSession", request: Request, kind: str, name: str) -> None:
        """Take down that a caller may not use an entry."""
        if self.is_counting:
            self.metrics.refused(Refusal.PERMISSION)
        if self.audit is not None:
            self.audit.write(
                principal=request.principal,
                method=request.method,
                name=name,
                outcome=Outcome.REFUSED,
                reason="authorization_failed",
                seconds=0.0,
                request_id=request.id,
                transport=session.transport,
            )

    def turned_away(
        self, principal: str | None, method: str, reason: str | None, refusal: Refusal, *, transport: str = "http"
    ) -> None:
        """Take down that somebody was not let in: nobody knows who it is, or he asks too often."""
        if self.is_counting:
            self.metrics.refused(refusal)
        if self.audit is not None:
            self.audit.write(
                principal=principal,
                method=f"HTTP {method}" if transport == "http" else method,
                name=None,
                outcome=Outcome.REFUSED,
                reason=reason,
                seconds=0.0,
                request_id=None,
                transport=transport,
            )

    async def clear_store(self, tag: str) -> None:
        """Let the shared store forget the results of an entry; while it is away it says so in its log."""
        answer: Any = self.store.clear(tag)
        with suppress(StoreError):
            await answer

    async def check_store(self) -> list[str]:
        """Return what is wrong with the store."""
        if self.store.is_local:
            return []
        answer: Any = self.store.get(b"health")
        try:
            await answer
        except StoreError as error:
            return [error.message]
        return []

    async def aclose(self) -> None:
        """Let go of the store and of the log."""
        await self.store.aclose()
        if self.audit is not None:
            self.audit.close()
