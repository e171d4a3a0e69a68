"""One connection of a client: calls wait for what the engine reports, handlers answer what the server asks."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Raw, Struct

from protocol.client import ClientEngine
from protocol.errors import ErrorCode, ErrorObject, LocalProtocolError
from protocol.events import (
    Call,
    Cancelled,
    Change,
    Closed,
    Context,
    Event,
    Failure,
    InputRequest,
    InputRequired,
    Log,
    Notification,
    Progress,
    Ready,
    Request,
    Result,
    Subscribed,
    Subscription,
    TimedOut,
    Unsubscribed,
    Violation,
)
from protocol.params import LogParams, TaskIdParams
from protocol.tasks import created_task, related_meta, related_task
from protocol.types import LoggingLevel, SubscriptionFilter

from ..adapters.channel import Channel
from ..adapters.dispatch import Dispatcher
from ..adapters.http_client import HTTPClientChannel
from ..adapters.owner import spawn_owner
from ..adapters.waiter import make_waiter
from ..errors import ConnectionError as MCPConnectionError
from ..errors import MCPError, MCPErrorCode, RequestTimeoutError
from .failures import answered, connection_lost, ended, found_here
from .inputs import InputHandlers
from .tracing import CallTracer

__all__ = ["CallOptions", "ClientSession", "Outcome", "ProgressHandler"]

logger = logging.getLogger("kailash.mcp_client.session")

ProgressHandler = Callable[[float, float | None, str | None], Any]


class CallOptions(Struct, kw_only=True):
    """How one call is made."""

    timeout: float | None = None
    total_timeout: float | None = None
    on_progress: ProgressHandler | None = None
    meta: dict[str, Any] | None = None
    log_level: LoggingLevel | None = None


class _Pending(Struct, eq=False):
    """A call somebody waits for, through all its rounds of input."""

    call: Call
    """The round that is open."""
    waiter: Any
    options: CallOptions
    ends_at: float | None
    was_interrupted: bool = False


class Outcome(Struct):
    """How a call ended well."""

    raw: Raw
    result_type: str
    was_interrupted: bool
    """Input was asked for on the way: such results are never cached."""
    call: Call | None = None
    """The last round of the call."""


class ClientSession:
    """One engine, one channel, and everybody who waits for something of them.

    Args:
        engine: the connection's engine.
        handlers: answer what the server asks.
        on_log, on_change, on_notification: told what the server says on its own.
        endpoint: what to call the server in messages.
        describe_loss: says why the connection is gone, in one sentence (exit status, standard error).
    """

    def __init__(
        self,
        engine: ClientEngine,
        handlers: InputHandlers,
        *,
        on_log: Callable[[LogParams], Any] | None,
        on_change: Callable[[Change], Any],
        on_notification: Callable[[Notification], Any] | None,
        endpoint: str,
    ) -> None:
        self.engine = engine
        self.endpoint = endpoint
        self.channel: Channel | HTTPClientChannel = None  # type: ignore[assignment]  # set by `attach`, before anything is read
        self.describe_loss: Callable[[], Awaitable[str]] | None = None
        self.context: Context | None = None
        self.tracer: CallTracer | None = None
        """Makes spans of calls, if somebody wants them."""
        self._handlers = handlers
        self._on_log = on_log
        self._on_change = on_change
        self._on_notification = on_notification
        self._dispatcher = Dispatcher()
        self._pending: dict[Call, _Pending] = {}
        self._running: dict[Request, Any] = {}
        self._followed: dict[Call, ProgressHandler] = {}
        self._orphans: set[Call] = set()
        """Calls for a task that nobody waits for: the task is to be cancelled once its id is known."""
        self._acknowledged: dict[Subscription, Any] = {}
        self._hearers: dict[Subscription, Callable[[Change | None, MCPError | None], None]] = {}
        self._ready: Any = None
        self._loss: MCPError | None = None
        self._is_closing = False
        self._violations = 0

    def attach(self, channel: Channel | HTTPClientChannel) -> None:
        """Take the connection's channel."""
        self.channel = channel

    @property
    def is_closed(self) -> bool:
        """Tell whether the connection is over."""
        return self.engine.closed

    # Life

    async def start(self, connect_timeout: float, probe_timeout: float, era: Any) -> Context:
        """Find out the server's era and wait until it is ready.

        Raises:
            MCPError: the server is gone, too slow, or speaks no common revision.
        """
        now = self.channel.now()
        profile = self.engine.profile
        if era is not None and not any(revision.era is era for revision in profile.revisions):
            era = None  # found by a client that spoke more
        self._ready = make_waiter(self.channel.loop)
        self.engine.start(now + connect_timeout, era=era, probe_deadline=now + min(probe_timeout, connect_timeout))
        self.channel.flush()
        context: Context = await self._ready
        return context

    async def aclose(self) -> None:
        """End the connection's own work; the channel is closed by whoever opened it."""
        self._is_closing = True
        self._tell_tracer()
        self.engine.receive_eof()
        self.on_events(self.engine.events_received())
        await self._dispatcher.aclose()

    # Calls

    def call(self, method: str, params: Struct | None, options: CallOptions) -> Awaitable[Outcome]:
        """Make a call, once awaited, and wait for its result.

        Raises:
            MCPError: what the server answered, or why it did not.
        """
        if self.tracer is None:
            return self._make(method, params, options)
        return self.tracer.trace(self._make, method, params, options, self._revision)

    async def _make(self, method: str, params: Struct | None, options: CallOptions) -> Outcome:
        if self._loss is not None or self.engine.closed:
            raise self._loss or MCPConnectionError(f"the connection to {self.endpoint} is closed")
        now = self.channel.now()
        ends_at = None if options.total_timeout is None else now + options.total_timeout
        try:
            call = self.engine.send_request(
                method,
                params,
                deadline=_sooner(now, options.timeout, ends_at),
                progress=options.on_progress is not None,
                meta=options.meta,
                log_level=options.log_level,
            )
        except LocalProtocolError as error:
            raise MCPError(str(error), error_code=MCPErrorCode.INVALID_REQUEST) from None
        pending = _Pending(call, make_waiter(self.channel.loop), options, ends_at)
        self._pending[call] = pending
        self.channel.flush()
        try:
            outcome: Outcome = await pending.waiter
            return outcome
        finally:
            open_call = pending.call
            if self._pending.get(open_call) is pending:
                # Cancelled while waiting: withdraw whichever round is open.
                del self._pending[open_call]
                if open_call.as_task and open_call.is_open:
                    self._orphans.add(open_call)
                else:
                    self.engine.cancel(open_call, "cancelled by the caller")
                    self.channel.flush()

    async def subscribe(
        self, wanted: SubscriptionFilter, hear: Callable[[Change | None, MCPError | None], None], timeout: float | None
    ) -> Subscription:
        """Subscribe to changes; `hear` gets each of them, and `None` with the reason at the end."""
        deadline = None if timeout is None else self.channel.now() + timeout
        try:
            subscription = self.engine.listen(wanted, deadline=deadline)
        except LocalProtocolError as error:
            raise MCPError(str(error), error_code=MCPErrorCode.INVALID_REQUEST) from None
        waiter = make_waiter(self.channel.loop)
        self._hearers[subscription] = hear
        self._acknowledged[subscription] = waiter
        self._pump()
        try:
            await waiter
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._hearers.pop(subscription, None)
        self._acknowledged.pop(subscription, None)
        if not self.engine.closed:
            self.engine.unlisten(subscription)
            self.channel.flush()

    def _pump(self) -> None:
        """Send, and take events that arose without anything being read."""
        self.channel.flush()
        self.on_events(self.engine.events_received())

    # Events

    def on_events(self, events: list[Event]) -> None:
        """Take what the engine reports."""
        for event in events:
            match event:
                case Result():
                    self._settle(event)
                case Failure():
                    self._fail(event)
                case TimedOut():
                    self._time_out(event.call)
                case Progress():
                    self._progress(event)
                case InputRequired():
                    self._dispatcher.spawn(self._provide, event)
                case Request():
                    self._running[event] = self._dispatcher.spawn(self._answer, event)
                case Cancelled():
                    running = self._running.pop(event.request, None)
                    if running is not None:
                        running.cancel()
                case Log():
                    self._tell(self._on_log, event)
                case Change():
                    self._change(event)
                case Subscribed():
                    _wake(self._acknowledged.pop(event.subscription, None), None)
                case Unsubscribed():
                    self._unsubscribed(event)
                case Ready():
                    self.context = event.context
                    _wake(self._ready, event.context)
                case Notification():
                    self._tell(self._on_notification, event)
                case Violation():
                    self._report(event)
                case Closed():
                    self._lose(event)

    def _report(self, event: Violation) -> None:
        """Log what the server did wrong: the first time for people, afterwards for those who look closely."""
        self._violations += 1
        level = logging.WARNING if self._violations == 1 else logging.DEBUG
        logger.log(level, "! %s: %s", self.endpoint, event.error.message[:200])

    def on_closed(self, error: BaseException | None) -> None:
        """Take the end of the connection."""
        self._tell_tracer()
        self.engine.receive_eof()
        self.on_events(self.engine.events_received())

    def _tell_tracer(self) -> None:
        if self.tracer is not None:
            self.tracer.closed(self._revision)

    @property
    def _revision(self) -> str | None:
        return None if self.context is None else self.context.revision.name

    def _settle(self, event: Result) -> None:
        pending = self._pending.pop(event.call, None)
        if pending is not None:
            if event.call.as_task and pending.options.on_progress is not None:
                # Now, not when the caller wakes: progress of the task may be in the same read.
                self._followed[event.call] = pending.options.on_progress
            _wake(pending.waiter, Outcome(event.raw, event.result_type, pending.was_interrupted, event.call))
        elif event.call in self._orphans:
            self._orphans.discard(event.call)
            self.unfollow(event.call)
            task = created_task(event.raw)
            if task is not None:
                self.cancel_task(task.task_id)

    def unfollow(self, call: Call) -> None:
        """Hear no more progress of a call that was answered with a task."""
        self._followed.pop(call, None)
        self.engine.unfollow(call)

    def cancel_task(self, task_id: str) -> None:
        """Ask the server to end a task; whatever it answers, nobody waits for it."""
        if self.engine.closed:
            return
        try:
            self.engine.send_request("tasks/cancel", TaskIdParams(task_id=task_id))
        except LocalProtocolError:
            logger.debug("! task %s cannot be cancelled at this server", task_id)
            return
        self.channel.flush()

    async def answer_input(self, question: InputRequest) -> Any:
        """Return the handlers' answer to a question that a task asks.

        Raises:
            MCPError: they refused, or failed.
        """
        try:
            return await self._handlers.answer(question)
        except Exception as error:
            raise (error if isinstance(error, MCPError) else _handler_failed(error, question.method)) from None

    def _fail(self, event: Failure) -> None:
        if event.is_local and self.engine.closed:
            return  # `_lose` says why, once that is known
        self._orphans.discard(event.call)
        pending = self._pending.pop(event.call, None)
        if pending is None:
            return
        error = event.error
        _wake_with(pending.waiter, found_here(error) if event.is_local else answered(error))

    def _time_out(self, call: Call) -> None:
        self._orphans.discard(call)
        pending = self._pending.pop(call, None)
        if pending is None:
            return
        options = pending.options
        if pending.ends_at is not None and self.channel.now() >= pending.ends_at:
            which, seconds = "total_timeout", options.total_timeout
        else:
            which, seconds = "timeout", options.timeout
        what = f"{call.method} {call.name!r}" if call.name else call.method
        _wake_with(
            pending.waiter,
            RequestTimeoutError(f"{what} was not answered by {self.endpoint} within {seconds:g} s ({which}=)"),
        )

    def _progress(self, event: Progress) -> None:
        pending = self._pending.get(event.call)
        if pending is None:
            self._tell(self._followed.get(event.call), event.progress, event.total, event.message)
            return
        now = self.channel.now()
        # "MAY choose to reset the timeout clock … SHOULD always enforce a maximum" — basic/patterns/cancellation
        deadline = _sooner(now, pending.options.timeout, pending.ends_at)
        if deadline is not None:
            self.engine.extend(event.call, deadline)
        self._tell(pending.options.on_progress, event.progress, event.total, event.message)

    async def _provide(self, needed: InputRequired) -> None:
        """Answer what a call needs and send it again."""
        pending = self._pending.get(needed.call)
        if pending is None:
            return
        pending.was_interrupted = True
        responses: dict[str, Any] = {}
        try:
            for key, request in needed.requests.items():
                responses[key] = await self._handlers.answer(request)
        except Exception as error:
            # "No error channel": a refusal is not sent, the call just ends here — 2026-07-28 basic/patterns/mrtr
            self._pending.pop(needed.call, None)
            failure = error if isinstance(error, MCPError) else _handler_failed(error, "an input")
            _wake_with(pending.waiter, failure)
            return
        if self._pending.pop(needed.call, None) is None or self.engine.closed:
            return
        now = self.channel.now()
        call = self.engine.answer(needed, responses, deadline=_sooner(now, pending.options.timeout, pending.ends_at))
        pending.call = call
        self._pending[call] = pending
        self.channel.flush()

    async def _answer(self, request: Request) -> None:
        """Answer a request of a handshake server."""
        try:
            result = await self._handlers.answer(InputRequest(request.method, request.params))
        except Exception as error:
            failure = error if isinstance(error, MCPError) else _handler_failed(error, request.method)
            code = int(failure.error_code)
            wire = code if code < 0 else int(ErrorCode.INTERNAL_ERROR)
            if request.is_open:
                self.engine.send_error(request, ErrorObject(wire, failure.message))
        else:
            if request.is_open:
                task_id = related_task(request.params.meta)
                if task_id is not None:
                    # "responses related to a task MUST include" its tag — 2025-11-25 basic/utilities/tasks
                    result.meta = {**(result.meta or {}), **related_meta(task_id)}
                self.engine.send_result(request, result)
        finally:
            self._running.pop(request, None)
        self.channel.flush()

    def _change(self, event: Change) -> None:
        self._on_change(event)
        hear = None if event.subscription is None else self._hearers.get(event.subscription)
        if hear is not None:
            hear(event, None)

    def _unsubscribed(self, event: Unsubscribed) -> None:
        error = None if event.error is None else ended(event.error)
        waiter = self._acknowledged.pop(event.subscription, None)
        hear = self._hearers.pop(event.subscription, None)
        if waiter is not None:
            _wake_with(waiter, error or MCPError("the server ended the subscription"))
        elif hear is not None:
            hear(None, error)

    def _lose(self, event: Closed) -> None:
        """Fail everybody who waits, once it is known what happened."""
        pending, self._pending = self._pending, {}
        waiters = [entry.waiter for entry in pending.values()]
        if self._ready is not None and not self._ready.done():
            waiters.append(self._ready)
        reason = None if event.error is None else event.error.message
        if self._is_closing or self.describe_loss is None or not waiters:
            text = f"the connection to {self.endpoint} was closed"
            self._loss = connection_lost(event.error, text if reason is None else reason)
            for waiter in waiters:
                _wake_with(waiter, self._loss)
            return
        spawn_owner(self._report_loss, waiters, reason, event, name="mcp client: report of a lost connection")

    async def _report_loss(self, waiters: list[Any], reason: str | None, event: Closed) -> None:
        assert self.describe_loss is not None
        described = await self.describe_loss()
        self._loss = connection_lost(event.error, described if reason is None else f"{reason}; {described}")
        for waiter in waiters:
            _wake_with(waiter, self._loss)

    def _tell(self, handler: Callable[..., Any] | None, *args: Any) -> None:
        """Call a user's callback; what it raises is logged and ends nothing."""
        if handler is None:
            return
        try:
            outcome = handler(*args)
        except Exception:
            logger.exception("! a callback failed")
            return
        if inspect.isawaitable(outcome):
            self._dispatcher.spawn(_await, outcome)


async def _await(outcome: Awaitable[Any]) -> None:
    await outcome


def _handler_failed(error: Exception, what: str) -> MCPError:
    logger.error("! the handler of %s failed", what, exc_info=error)
    return MCPError(f"the client's handler of {what} failed", error_code=MCPErrorCode.INTERNAL_ERROR)


def _sooner(now: float, timeout: float | None, ends_at: float | None) -> float | None:
    if timeout is None:
        return ends_at
    return now + timeout if ends_at is None else min(now + timeout, ends_at)


def _wake(waiter: Any, value: Any) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(value)


def _wake_with(waiter: Any, error: MCPError) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_exception(error)
