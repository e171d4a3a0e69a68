"""Serving one connection: a request from the engine finds its entry, is run where the entry says, and is answered.

engine ─Request─► handlers ─Entry─► its pipeline, if any ─► inline | task | thread ─value─► entry.finish
       ─► engine.send_result ─► flush
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
from msgspec import UNSET, Raw

from protocol.eras import Prepared
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.events import (
    Call,
    Cancelled,
    Event,
    Expired,
    Failure,
    Request,
    Result,
    TimedOut,
)
from protocol.server import ServerEngine
from protocol.tasks import Dialect

from ..adapters.channel import Channel
from ..adapters.dispatch import Dispatcher
from ..adapters.threads import WorkerPool, WorkersBusy
from ..adapters.waiter import make_waiter
from ..errors import ConnectionError as MCPConnectionError
from ..errors import MCPError, MCPErrorCode, RequestError, RequestTimeoutError, from_wire, wait_error
from ..telemetry import Outcome, Span
from .callers import ANYONE, Identity
from .context import Context, InputNeeded, TaskWanted
from .entries import Entry, Mode
from .handlers import HANDLERS
from .pipeline import Passage, outcome_of
from .tasks import LATER, Launch
from .tools import ToolEntry, failed_call, wire_error

if TYPE_CHECKING:
    from protocol.http.session import Session

    from .registry import Registry
    from .server import MCPServer

__all__ = ["Home", "ServerSession"]

_COUNTED = frozenset({"http", "sse"})
"""Transports whose requests each bring their caller, and are counted where he is let in."""

logger = logging.getLogger("kailash.mcp_server.session")

# A member of an enum is 70 ns away in CPython 3.11.
_INLINE, _TASK = Mode.INLINE, Mode.TASK


class Home:
    """What the sessions of one loop share: its thread, and what runs their handlers. Made in a task of the loop."""

    __slots__ = ("dispatcher", "pool", "thread", "token")

    def __init__(self, server: "MCPServer") -> None:
        self.thread = threading.get_ident()
        self.token = anyio.lowlevel.current_token()
        self.dispatcher = Dispatcher()
        self.pool: WorkerPool = server.worker_pool()


class ServerSession:
    """One connection's requests, running or waiting.

    Args:
        server: whose tools are served.
        engine: the connection's engine; its `principal` is set by whoever verified it.
        identity: who calls.
        transport: how it came, for logs.
        home: shared with other sessions; default one of its own.
    """

    # A request over HTTP may have one to itself; what it does not change it need not set.
    channel: Any = None
    """A `Channel`, or what stands for one behind HTTP; set before anything is read."""
    streams: "Session | None" = None
    """The HTTP session whose requests these are, if they are."""
    _began = 0.0

    def __init__(
        self,
        server: "MCPServer",
        engine: ServerEngine,
        identity: Identity = ANYONE,
        *,
        transport: str = "memory",
        home: Home | None = None,
    ) -> None:
        self.server = server
        self.engine = engine
        self.identity = identity
        self.transport = transport
        self._home = Home(server) if home is None else home
        self._running: dict[Request, tuple[Any, Context, Entry | None]] = {}
        self._passages: dict[Request, Passage] = {}
        self._waiting: dict[Call, Any] = {}

    @property
    def thread(self) -> int:
        """The thread of the loop that serves."""
        return self._home.thread

    @property
    def token(self) -> Any:
        """What other threads call into that loop with."""
        return self._home.token

    @property
    def registry(self) -> "Registry":
        """What is served."""
        return self.server.registry

    def attach(self, channel: Channel) -> None:
        """Take the connection's channel."""
        self.channel = channel
        self.begin()

    def begin(self) -> None:
        """Be one of the server's sessions from now on."""
        self._began = time.monotonic()
        self.server.sessions.add(self)

    def call_soon_threadsafe(self, act: Any) -> None:
        """Run something in the loop's thread."""
        self.channel.loop.call_threadsafe(act)

    def send(self, act: Callable[[], bool]) -> bool:
        """Do something that may have put a message before the engine, and write it."""
        sent = act()
        if sent:
            self.channel.flush_told()
        return sent

    def may_use(self, entry: Entry) -> bool:
        """Tell whether the caller has every permission an entry requires."""
        required = entry.policy.required_permissions
        return not required or not self.identity.lacks(required)

    def authorise(self, request: Request, entry: Entry) -> None:
        """Refuse a caller who may not.

        Raises:
            RequestError: 1010, with the permissions that are missing.
        """
        required = entry.policy.required_permissions
        missing = self.identity.lacks(required) if required else None
        if missing:
            self.server.policies.forbidden(self, request, entry.kind, entry.name)
            words = ", ".join(repr(permission) for permission in missing)
            raise RequestError(
                f"{entry.kind} {entry.name!r} requires the permission {words}",
                error_code=MCPErrorCode.AUTHORIZATION_FAILED,
                data={"missing": missing},
            )

    # Events

    def on_events(self, events: list[Event]) -> None:
        """Take what the engine reports."""
        for event in events:
            kind = type(event)
            if kind is Request:
                self._receive(event)  # type: ignore[arg-type]
            elif kind is Cancelled:
                self._stop(event.request, event.reason)  # type: ignore[attr-defined]
            elif kind is Result:
                self._wake(event.call, event.raw, None)  # type: ignore[attr-defined]
            elif kind is Failure:
                self._wake(event.call, None, _failure_of(event))  # type: ignore[attr-defined,arg-type]
            elif kind is TimedOut:
                error = RequestTimeoutError(f"the client did not answer {event.call.method} in time")  # type: ignore[attr-defined]
                self._wake(event.call, None, error)  # type: ignore[attr-defined]
            elif kind is Expired:
                self._expire(event.request)  # type: ignore[attr-defined]

    def on_closed(self, error: BaseException | None) -> None:
        """Take the end of the connection: whatever still runs is cancelled."""
        self.engine.receive_eof()
        self.on_events(self.engine.events_received())
        tracing = self.server.policies.tracing
        if tracing is not None and self.is_lasting and self in self.server.sessions:
            tracing.session_ended(time.monotonic() - self._began, transport=self.transport)
        self.server.sessions.discard(self)

    async def aclose(self) -> None:
        """Wait for cancelled handlers to end."""
        await self._home.dispatcher.aclose()

    @property
    def is_busy(self) -> bool:
        """Tell whether a request is being handled."""
        return bool(self._running or self._passages)

    @property
    def in_flight(self) -> int:
        """How many requests are being handled."""
        return max(len(self._running), len(self._passages))  # most are in both; asked from any thread

    @property
    def is_lasting(self) -> bool:
        """Tell whether this is a session that its client comes back to."""
        return self.streams is not None or self.transport != "http"

    def cancel_all(self, why: str) -> None:
        """Answer the requests that are being handled with an error, and cancel their handlers."""
        for request in [*self._running, *self._passages]:
            self.refuse(request, RequestError(why, error_code=MCPErrorCode.INTERNAL_ERROR, retryable=True))
            self._stop(request, why)

    def close_stream(self, request: Request, retry: float | None) -> bool:
        """End the connection that waits for a request's answer, where its client comes back for the rest."""
        if self.streams is None:
            return False
        is_closed = self.streams.close_stream(request, retry=None if retry is None else round(retry * 1000))
        self.channel.flush()
        return is_closed

    # Requests

    def _receive(self, request: Request) -> None:
        handler = HANDLERS.get(request.method)
        tracing = self.server.policies.tracing
        began = 0 if tracing is None else time.time_ns()
        try:
            if handler is None:
                raise RequestError("Method not found", error_code=MCPErrorCode.METHOD_NOT_FOUND)
            found = handler(self, request)
            if isinstance(found, Entry):
                self._start(request, found)
            elif isinstance(found, Launch):
                self._start(request, found.entry, found.dialect)
            elif found is not LATER:
                self.engine.send_result(request, found)
                if tracing is not None:
                    tracing.note(request, self.transport, began, Outcome.OK)
        except RequestError as error:
            if tracing is not None and request not in self._passages:
                tracing.note(request, self.transport, began, Outcome.ERROR, error)
            self.refuse(request, error)

    def _start(self, request: Request, entry: Entry, launch: Dialect | None = None) -> None:
        if self.identity.rate is not None and self.transport not in _COUNTED:
            verdict = self.server.policies.take_caller_here(self.identity)
            if not verdict.is_allowed:
                text = "Too many requests: the rate limit of this caller is exceeded"
                raise wait_error(text, MCPErrorCode.RATE_LIMITED, verdict.retry_after)
        if launch is None and entry.mode is not _INLINE:
            timeout = self.server.request_timeout if entry.timeout is None else entry.timeout
            if timeout is not None:
                self.engine.limit_request(request, self.channel.now() + timeout)
        if entry.is_direct and launch is None:
            self._run_inline(request, entry, None, None)
        elif entry.pipeline is None:
            self.proceed(request, entry, launch)
        else:
            passage = self._passages[request] = Passage.begin(self, request, entry, launch)
            passage.go()

    def proceed(self, request: Request, entry: Entry, launch: Dialect | None = None) -> None:
        """Run an entry whose request is let in.

        Args:
            request: the request.
            entry: what it is for.
            launch: the dialect of the task that it shall become, if it shall.
        """
        if launch is not None:
            self._become_task(request, entry, launch)
            return
        passage = self._passages.get(request) if self._passages else None
        span = None if passage is None else passage.span
        if entry.mode is _INLINE and not entry.wants_context:
            self._run_inline(request, entry, None, span)
            return
        context = Context(self, request)
        if span is not None:
            context.span = span
        params = request.params
        if (
            getattr(params, "request_state", UNSET) is not UNSET
            or getattr(params, "input_responses", UNSET) is not UNSET
        ):
            try:
                context.restore(self.engine.read_state(request, time.time()))
            except RemoteProtocolError as error:
                self.engine.send_error(request, error.error)
                return
        if entry.mode is _INLINE:
            self._run_inline(request, entry, context, span)
            return
        if entry.mode is _TASK:
            handle = self._home.dispatcher.spawn(self._run_task, request, entry, context)
            self._running[request] = (handle, context, entry)
        else:
            self._run_thread(request, entry, context)

    def _run_inline(self, request: Request, entry: Entry, context: Context | None, span: Span | None) -> None:
        try:
            if span is None:
                value = entry.call(entry.bind(request), context)
            else:
                with span.active():
                    value = entry.call(entry.bind(request), context)
        except (Exception, InputNeeded) as error:
            self.fail(request, entry, context, error)
        else:
            self.answer(request, entry, value)

    async def _run_task(self, request: Request, entry: Entry, context: Context) -> None:
        context.activate()
        try:
            value = await entry.call(entry.bind(request), context)
        except (Exception, InputNeeded) as error:
            self.fail(request, entry, context, error)
        except BaseExceptionGroup as group:
            if group.subgroup(InputNeeded) is None:
                raise
            # Asked inside a task group of the handler's own.
            self.fail(request, entry, context, InputNeeded() if group.subgroup(TaskWanted) is None else TaskWanted())
        else:
            self.answer(request, entry, value)
        finally:
            self._running.pop(request, None)
        self.flush()

    def _run_thread(self, request: Request, entry: Entry, context: Context) -> None:
        try:
            kwargs = entry.bind(request)
            self._home.pool.submit(
                lambda: _in_thread(entry, kwargs, context),
                lambda value, error: self._finish_thread(request, entry, context, value, error),
            )
            self._running[request] = (None, context, entry)
        except WorkersBusy as busy:
            self.refuse(request, _overloaded(str(busy)))
        except (Exception, InputNeeded) as error:
            self.fail(request, entry, context, error)

    def _finish_thread(
        self, request: Request, entry: Entry, context: Context, value: Any, error: BaseException | None
    ) -> None:
        self._running.pop(request, None)
        if error is not None:
            self.fail(request, entry, context, error)
        else:
            self.answer(request, entry, value)
        self.flush()

    # Answers

    def flush(self) -> None:
        """Write: at once when nothing else runs, else with what the loop's next turn brings, in one write."""
        if self._running:
            self.channel.flush_soon()
        else:
            self.channel.flush()

    def answer(self, request: Request, entry: Entry, value: Any) -> None:
        """Answer with a handler's value; the result may still turn out not to be sendable."""
        if not request.is_open:
            return
        try:
            result = value if type(value) is Prepared else entry.finish(value, request)
            passage = self._passages.get(request) if self._passages else None
            if passage is None:
                self.engine.send_result(request, result)
                return
            self.engine.send_result(request, passage.keep(result))
        except (TypeError, ValueError, MCPError) as error:
            self.fail(request, entry, None, error)
            return
        bare = result.result if type(result) is Prepared else result
        self._conclude(request, Outcome.ERROR if getattr(bare, "is_error", None) is True else Outcome.OK)

    def _conclude(self, request: Request, outcome: Outcome, error: BaseException | None = None) -> None:
        """End the passage of a request, if it has one."""
        passage = self._passages.pop(request, None)
        if passage is not None:
            passage.end(outcome, error)

    def fail(self, request: Request, entry: Entry, context: Context | None, error: BaseException) -> None:
        """Answer with what a handler raised, or with what it asks."""
        if not request.is_open:
            return
        if isinstance(error, InputNeeded):
            assert context is not None
            if isinstance(error, TaskWanted) and not context.needed()[0]:
                self._become_task(request, entry, Dialect.EXTENSION, context)
            else:
                self._ask(request, entry, context)
                self._conclude(request, Outcome.OK, error)
            return
        if self._passages:
            self._conclude(request, outcome_of(error), error)
        if isinstance(entry, ToolEntry):
            outcome = failed_call(error, request, entry.name, debug=self.server.debug)
            if not isinstance(outcome, MCPError):
                self.engine.send_result(request, outcome)
                return
            error = outcome
        if not isinstance(error, MCPError):
            logger.error("! %s %r failed, request %r", entry.kind, entry.name, request.id, exc_info=error)
            text = f"{entry.kind} {entry.name!r} failed"
            if self.server.debug:
                text += f": {type(error).__name__}: {error}"
            error = RequestError(text, error_code=MCPErrorCode.INTERNAL_ERROR)
        self.refuse(request, error)

    def _ask(self, request: Request, entry: Entry, context: Context) -> None:
        inputs, state = context.needed()
        try:
            self.engine.ask(request, inputs, state, now=time.time())
        except LocalProtocolError as error:
            self.refuse(request, RequestError(str(error), error_code=MCPErrorCode.INTERNAL_ERROR))

    def _become_task(self, request: Request, entry: Entry, dialect: Dialect, earlier: Context | None = None) -> None:
        assert isinstance(entry, ToolEntry)
        passage = self._passages.pop(request, None)
        try:
            result = self.server.tasks.launch(self, request, entry, dialect, earlier, passage)
        except RequestError as error:
            if passage is not None:
                passage.end(Outcome.REFUSED, error)
            self.refuse(request, error)
        else:
            self.engine.send_result(request, result)

    def refuse(self, request: Request, error: MCPError) -> None:
        """Answer with a JSON-RPC error; the application's code travels in its data."""
        if self._passages:
            self._conclude(request, Outcome.REFUSED, error)
        if request.is_open:
            self.engine.send_error(request, wire_error(error))

    def _expire(self, request: Request) -> None:
        running = self._running.pop(request, None)
        passage = self._passages.get(request)
        if running is None and passage is None:
            return
        handle, context, entry = (None, None, None) if running is None else running
        if entry is None and passage is not None:
            entry = passage.entry
        if context is not None:
            context.cancelled.set("timed out")
        if request.is_open and entry is not None:
            timeout = entry.timeout or self.server.request_timeout
            message = f"{entry.kind} {entry.name!r} timed out after {timeout:g} s (timeout=)"
            self.fail(request, entry, None, RequestTimeoutError(message, retryable=True))
        if handle is not None:
            handle.cancel()

    def _stop(self, request: Request, reason: str | None) -> None:
        if self._passages:
            self._conclude(request, Outcome.CANCELLED)
        running = self._running.pop(request, None)
        if running is None:
            return
        handle, context, _ = running
        context.cancelled.set(reason)
        if handle is not None:
            handle.cancel()

    # Questions to the client

    def keep_apart(self, request: Request) -> None:
        """Keep a request's result for nobody else: it will hold what this client answers."""
        passage = self._passages.get(request) if self._passages else None
        if passage is not None:
            passage.detach()

    async def wait_for(self, call: Call) -> Raw:
        """Send what the engine has and wait for the client's answer.

        Raises:
            MCPError: the client answered an error, not in time, or is gone.
        """
        waiter = make_waiter(self.channel.loop)
        self._waiting[call] = waiter
        self.channel.flush()
        try:
            raw: Raw = await waiter
            return raw
        finally:
            if self._waiting.pop(call, None) is not None and call.is_open:
                self.engine.cancel(call, "no longer needed")
                self.channel.flush()

    # For tasks, which outlive the request they came with, and for passages

    def spawn(self, async_fn: Callable[..., Any], *args: Any) -> None:
        """Run something that waits, in a task of its own."""
        self._home.dispatcher.spawn(async_fn, *args)

    def post(self, act: Callable[[], Any]) -> None:
        """Run something in the loop's thread: now, if this is it."""
        if threading.get_ident() == self.thread:
            act()
        else:
            self.call_soon_threadsafe(act)

    @property
    def can_ask(self) -> bool:
        """Tell whether the client may still answer."""
        return not self.engine.closed and not self.channel.peer_ended

    def hold(self, request: Request, handle: Any) -> None:
        """Keep a request that is answered later; `handle.cancel()` is called when the client withdraws it."""
        self._running[request] = (handle, Context(self, request), None)

    def release(self, request: Request) -> None:
        """Keep a request no longer: it is answered."""
        self._running.pop(request, None)

    def expect(self, call: Call, waiter: Any) -> None:
        """Let a call's end set the result or the exception of a waiter."""
        self._waiting[call] = waiter

    def forget(self, call: Call, reason: str | None = None) -> None:
        """Wait for a call no longer; if it is still open, it is withdrawn."""
        self._waiting.pop(call, None)
        if call.is_open:
            self.engine.cancel(call, reason)
            self.channel.flush()

    def _wake(self, call: Call, raw: Raw | None, error: MCPError | None) -> None:
        waiter = self._waiting.pop(call, None)
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(raw)
            else:
                waiter.set_exception(error)


def _in_thread(entry: Entry, kwargs: dict[str, Any], context: Context) -> Any:
    context.activate()
    context.cancelled.check()
    return entry.call(kwargs, context)


def _overloaded(why: str) -> RequestError:
    return RequestError(
        f"server is overloaded: {why}", error_code=MCPErrorCode.OVERLOADED, data={"retryable": True}, retryable=True
    )


def _failure_of(event: Failure) -> MCPError:
    error = event.error
    if event.is_local:
        return MCPConnectionError(error.message)
    data = error.data if isinstance(error.data, dict) else None
    return from_wire(error.message, error.code, data, error.data or None)
