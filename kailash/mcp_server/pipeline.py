"""The pipeline of an entry, composed once when it is registered, and the passage of one call through it.

authenticate → authorise → rate limit → breaker → cache → admission → validate → call → validate → record

Who calls is settled by the transport (`identity`), what he may by the handlers' table; from the rate limit on it is
here. An entry that nothing guards and nobody measures has no pipeline at all.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct

from protocol.eras import Prepared
from protocol.events import Request

from ..errors import MCPError, RequestError, RequestTimeoutError
from ..schema import ArgumentError
from ..telemetry.metrics import Outcome
from .entries import Entry

if TYPE_CHECKING:
    from ..telemetry import AuditLog, MetricsCollector, Slot, Tracing
    from .caching import EntryCache
    from .session import ServerSession
    from .stages import Gate, Stage

__all__ = ["Passage", "Pipeline", "outcome_of"]


class Pipeline:
    """What the calls of one entry pass.

    Args:
        stages: in order.
        slot: counts them.
        metrics: counts why some are refused.
        audit: writes them down.
        tracing: makes a span of each.
    """

    __slots__ = ("audit", "leavers", "metrics", "slot", "stages", "tracing")

    def __init__(
        self,
        stages: "tuple[Stage, ...]",
        slot: "Slot | None" = None,
        metrics: "MetricsCollector | None" = None,
        audit: "AuditLog | None" = None,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.stages = stages
        self.leavers = tuple(stage for stage in stages if stage.wants_end)
        self.slot = slot
        self.metrics = metrics
        self.audit = audit
        self.tracing = tracing


class Passage(Struct, eq=False):
    """One call on its way through the pipeline of its entry, from its arrival to its end."""

    pipeline: Pipeline
    session: "ServerSession"
    request: Request
    entry: Entry
    launch: Any
    """The dialect of the task it shall become, if it shall."""
    started: float
    span: Any = None
    position: int = 0
    """The next stage."""
    is_over: bool = False
    is_cached: bool = False
    turn: int | None = None
    """At the breaker."""
    gates: "tuple[Gate, ...]" = ()
    """Where it has a place."""
    cache: "EntryCache | None" = None
    key: Any = None
    """Where its result is kept, if it is."""
    prepared: Prepared | None = None
    """The result to keep."""

    @property
    def caller(self) -> str:
        """Whose buckets it takes from."""
        return self.request.principal or self.session.identity.peer or ""

    @property
    def is_retry(self) -> bool:
        """Tell whether it brings answers to questions of an earlier round."""
        params = self.request.params
        return (
            getattr(params, "request_state", UNSET) is not UNSET
            or getattr(params, "input_responses", UNSET) is not UNSET
        )

    # The way in

    def go(self) -> None:
        """Pass the stages that are left; in the loop's thread."""
        stages = self.pipeline.stages
        try:
            while self.position < len(stages):
                stage = stages[self.position]
                self.position += 1
                if not stage.enter(self):
                    return
        except RequestError as refused:
            self.session.refuse(self.request, refused)
            return
        except ArgumentError as wrong:
            self.session.fail(self.request, self.entry, None, wrong)
            return
        self.session.proceed(self.request, self.entry, self.launch)

    @classmethod
    def begin(cls, session: "ServerSession", request: Request, entry: Entry, launch: Any) -> "Passage":
        """Return the passage of a call that has just come."""
        pipeline = entry.pipeline
        assert pipeline is not None
        passage = cls(pipeline, session, request, entry, launch, time.monotonic())
        if pipeline.tracing is not None:
            passage.span = pipeline.tracing.begin_request(request, entry.kind, entry.name, session.transport)
        return passage

    def post(self, act: Callable[[], object]) -> None:
        """Do something for this passage later, from any thread, unless it is over; then write what there is."""
        session = self.session

        def later() -> None:
            if not self.is_over:
                act()
                session.flush()

        session.post(later)

    def resume(self) -> None:
        """Go on; from any thread."""
        self.post(self.go)

    def refuse(self, error: RequestError) -> None:
        """End with an error; from any thread."""
        self.post(lambda: self.session.refuse(self.request, error))

    def spawn(self, async_fn: Callable[..., Any], *args: Any) -> None:
        """Run something that waits."""
        self.session.spawn(async_fn, *args)

    def answer_kept(self, prepared: Prepared) -> None:
        """Answer with the result of an earlier run."""
        self.is_cached = True
        self.prepared = prepared
        self.session.answer(self.request, self.entry, prepared)

    def landed(self, prepared: Prepared | None) -> None:
        """Take the end of the run this waited for; from any thread."""
        if prepared is not None:
            self.post(lambda: self.answer_kept(prepared))
            return
        self.position -= 1  # to ask the cache again
        self.resume()

    # The way out

    def detach(self) -> None:
        """Become a task, which asks the cache itself: whoever waits for this run need not."""
        if self.key is not None and self.cache is not None:
            key, self.key = self.key, None
            self.cache.land(key, None)  # a task is never inline

    def keep(self, result: Any) -> Any:
        """Return a result in the shape in which it can be kept, if it shall be."""
        if self.key is None or type(result) is Prepared:
            return result
        self.prepared = Prepared(result)
        return self.prepared

    def end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Leave every stage and record what came of it; once."""
        if self.is_over:
            return
        self.is_over = True
        pipeline = self.pipeline
        for stage in pipeline.leavers:
            stage.leave(self, outcome, error)
        seconds = time.monotonic() - self.started
        if pipeline.slot is not None:
            pipeline.slot.ended(outcome, seconds, is_cached=self.is_cached)
            if outcome is Outcome.REFUSED and isinstance(error, MCPError):
                pipeline.metrics.refused(error.error_code)  # type: ignore[union-attr]
        if self.span is not None:
            self.span.end(outcome, error)
        if pipeline.audit is not None:
            pipeline.audit.write(
                principal=self.request.principal,
                method=self.request.method,
                name=self.entry.name,
                outcome=outcome,
                reason=reason_of(error),
                seconds=seconds,
                request_id=self.request.id,
                transport=self.session.transport,
            )


def outcome_of(error: BaseException) -> Outcome:
    """Return what an error of a handler makes of its call."""
    return Outcome.TIMEOUT if isinstance(error, RequestTimeoutError) else Outcome.ERROR


def reason_of(error: BaseException | None) -> str | None:
    """Return why something ended as it did, in one word: a code's name or an exception's, never its text."""
    if error is None:
        return None
    if isinstance(error, MCPError):
        return getattr(error.error_code, "name", str(error.error_code)).lower()
    return type(error).__name__
