"""Tools run as tasks: detached from the request that called them, found again by id.

    tools/call ─decide─► Entry (an ordinary call) | task ─work─► settle ─► tasks/get, tasks/result, notifications

When a tool becomes a task:

| `task=`     | core, `params.task` | core, without | extension declared | extension not declared | older revisions |
|-------------|---------------------|---------------|--------------------|------------------------|-----------------|
| `required`  | task                | −32601        | task               | −32021                 | call            |
| `optional`  | task                | call          | task               | call                   | call            |
| `forbidden` | −32601              | call          | call               | call                   | call            |

A task belongs to the principal that made it, and to callers without one if it was made by such a caller: its id cannot
be guessed. It does not need its connection, and lives no longer than the server object; running ones end when the
server's last connection does. A tool's own `timeout` holds for tasks too; `task_ttl` replaces the `request_timeout`.
"""

import secrets
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from msgspec import UNSET, Raw, structs

from protocol import model
from protocol.capabilities import ServerCapabilities, ServerTaskRequests, ServerTasksCapability, ToolTasks
from protocol.eras import Prepared, embedded
from protocol.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from protocol.events import ChangeKind, InputRequest, Request
from protocol.limits import Limits
from protocol.methods import TASKS_EXTENSION
from protocol.params import ProgressParams
from protocol.results import CallToolResult, CreateTaskResult, EmptyResult, ListTasksResult
from protocol.subscriptions import ChangeNotice
from protocol.tasks import (
    Dialect,
    Holder,
    TaskRecord,
    TaskTable,
    core_view,
    dialect_of,
    extension_view,
    related_meta,
    with_related,
)

from ..adapters.dispatch import Dispatcher
from ..adapters.threads import WorkersBusy
from ..errors import MCPError, MCPErrorCode, RequestError, RequestTimeoutError
from ..telemetry import Outcome
from .context import Context
from .detached import Question, Run, TaskContext, Waiting, related_tag
from .entries import Mode
from .pipeline import Passage, outcome_of
from .tools import ToolEntry, failed_call, wire_error

if TYPE_CHECKING:
    from .server import MCPServer
    from .session import ServerSession

__all__ = ["LATER", "Launch", "TaskRunner"]

LATER = object()
"""What a row of the handlers returns when it sees to the answer itself."""


class Launch(NamedTuple):
    """A call that becomes a task."""

    entry: ToolEntry
    dialect: Dialect


_SHORTEST = 1.0
"""Seconds a task is kept at least, whatever the client asks for: it must be able to come for the result."""

_CANCELLED = MCPError("the task was cancelled", error_code=MCPErrorCode.CANCELLED)
_EXPIRED = RequestError("Invalid params: the task has expired", error_code=MCPErrorCode.INVALID_PARAMS)
_ENDED = RequestError("the server ended the task", error_code=MCPErrorCode.INTERNAL_ERROR)


class TaskRunner:
    """The tasks of one server.

    Args:
        server: whose tools they run.
        limits: how many are kept.
    """

    def __init__(self, server: "MCPServer", limits: Limits) -> None:
        self.server = server
        self.table = TaskTable(
            lambda: server.place + secrets.token_urlsafe(24),
            limit=limits.all_tasks,
            holder_limit=limits.tasks,
            page_size=server.page_size or 100,
        )
        self._tools: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._dispatchers: dict[int, Dispatcher] = {}
        # One server may serve connections of several loops; the table is all they share.
        self._lock = threading.RLock()

    # What is offered

    def offer(self, entry: ToolEntry) -> bool:
        """Take note of a registered tool; returns whether it is the first that runs as a task."""
        if entry.task not in ("optional", "required"):
            return False
        self._tools.add(entry.name)
        return len(self._tools) == 1

    @property
    def is_offered(self) -> bool:
        """Tell whether any tool runs as a task."""
        return bool(self._tools)

    def withdraw(self, name: str) -> None:
        """Take note of a removed tool; its tasks run on."""
        self._tools.discard(name)

    def declare(self, capabilities: ServerCapabilities, *, lists: bool) -> None:
        """Add the capabilities of both dialects, if any tool runs as a task; each revision sheds what it lacks."""
        if not self._tools:
            return
        capabilities.tasks = ServerTasksCapability(
            list={} if lists else UNSET, cancel={}, requests=ServerTaskRequests(tools=ToolTasks(call={}))
        )
        others = {} if capabilities.extensions is UNSET else capabilities.extensions
        capabilities.extensions = {**others, TASKS_EXTENSION: {}}

    # What clients ask for: rows of the handlers

    def decide(self, session: "ServerSession", request: Request, entry: ToolEntry) -> Any:
        """Return the entry for an ordinary call, or a `Launch` for one that becomes a task.

        Raises:
            RequestError: the tool is not called this way.
        """
        context = request.context
        offered = session.engine.profile.capabilities
        dialect = dialect_of(context, offered)
        if dialect is Dialect.CORE:
            is_asked = request.params.task is not UNSET
            if is_asked and entry.task not in ("optional", "required"):
                raise _unsupported(f"tool {entry.name!r} does not run as a task")
            if not is_asked and entry.task == "required":
                raise _unsupported(f"tool {entry.name!r} only runs as a task: send params.task")
            return Launch(entry, dialect) if is_asked else entry
        if dialect is Dialect.EXTENSION and entry.task in ("optional", "required"):
            return entry if entry.task_asks_first else Launch(entry, dialect)
        if dialect is None and entry.task == "required" and "tasks/update" in context.revision.methods:
            raise RequestError(
                "Missing required client capability",
                error_code=MCPErrorCode.MISSING_CLIENT_CAPABILITY,
                data={"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}},
            )
        return entry

    def may_start(self, session: "ServerSession", request: Request) -> bool:
        """Tell whether the call being handled may still be answered with a task."""
        entry = session.registry.tools.get(getattr(request.params, "name", ""))
        if request.method != "tools/call" or entry is None or entry.task not in ("optional", "required"):
            return False
        return dialect_of(request.context, session.engine.profile.capabilities) is Dialect.EXTENSION

    def get(self, session: "ServerSession", request: Request) -> Any:
        """Return a task as it stands."""
        return _view(self._find(request))

    def result(self, session: "ServerSession", request: Request) -> Any:
        """Answer with the result of a task, once it has one."""
        record = self._find(request)
        with self._lock:
            run = self._runs.get(record.task_id)
            if run is not None and not record.is_terminal:
                run.waiters[request] = session
                session.hold(request, Waiting(self, run, request))
                self.deliver(run)
                return LATER
        self._reply(session, request, record)
        return LATER

    def list(self, session: "ServerSession", request: Request) -> ListTasksResult:
        """Return a page of the caller's tasks."""
        cursor = request.params.cursor
        with self._lock:
            now = self._expire()
            try:
                records, following = self.table.page(_holder(request), now, None if cursor is UNSET else cursor)
            except RemoteProtocolError as refused:
                raise _refusal(refused) from None
            tasks = [core_view(record) for record in records]
        return ListTasksResult(tasks=[*tasks], next_cursor=UNSET if following is None else following)

    def cancel(self, session: "ServerSession", request: Request) -> Any:
        """Cancel a task; the core says so of none that has ended, the extension acknowledges in any case."""
        record = self._find(request)
        is_cancelled = self._cancel(record, "cancelled by request")
        if record.holder.dialect is Dialect.EXTENSION:
            return EmptyResult()
        if not is_cancelled:
            # "MUST reject cancellation requests for tasks already in a terminal status" — 2025-11-25 utilities/tasks
            text = f"Invalid params: the task has ended: {core_view(record).status}"
            raise RequestError(text, error_code=MCPErrorCode.INVALID_PARAMS)
        return core_view(record)

    def update(self, session: "ServerSession", request: Request) -> EmptyResult:
        """Take answers to what a task asks."""
        record = self._find(request)
        run = self._runs.get(record.task_id)
        if run is not None:
            self.answer(run, request.params.input_responses)
        return EmptyResult()

    # Life

    def launch(
        self,
        session: "ServerSession",
        request: Request,
        entry: ToolEntry,
        dialect: Dialect,
        earlier: Context | None = None,
        passage: Passage | None = None,
    ) -> Any:
        """Start a task and return the answer that says so.

        Args:
            earlier: the context in which the handler ran until it wanted to be a task.
            passage: ends when the task does.

        Raises:
            RequestError: too many tasks are kept.
        """
        ttl = entry.task_ttl
        wanted = request.params.task.ttl if dialect is Dialect.CORE else UNSET
        if wanted is not UNSET:
            # "Receivers MAY override the requested ttl duration" — 2025-11-25 basic/utilities/tasks
            ttl = max(_SHORTEST, wanted / 1000 if ttl is None else min(ttl, wanted / 1000))
        with self._lock:
            now = self._expire()
            try:
                record = self.table.create(
                    Holder(request.principal, dialect), now, ttl=ttl, poll_interval=entry.task_poll_interval
                )
            except RemoteProtocolError as refused:
                raise _refusal(refused) from None
            run = Run(record, session, request, entry)
            if passage is not None:
                passage.detach()
                run.passage = passage
            run.context = TaskContext(self, run)
            run.context.span = None if passage is None else passage.span
            if earlier is not None:
                run.context.inherit(earlier)
                run.is_private = earlier.has_asked
            self._runs[record.task_id] = run
            if ttl is not None:
                ends_at = record.created + ttl
                run.timer = run.loop.call_at(run.loop.now() + ttl, lambda: self._end_of_time(ends_at))
            run.handle = self._dispatcher().spawn(self._work, run)
        if dialect is Dialect.CORE:
            return CreateTaskResult(task=core_view(record), meta=related_meta(record.task_id))
        view = extension_view(record)
        view.result_type = "task"
        return view

    def _dispatcher(self) -> Dispatcher:
        key = threading.get_ident()
        dispatcher = self._dispatchers.get(key)
        if dispatcher is None:
            dispatcher = self._dispatchers[key] = Dispatcher()
        return dispatcher

    async def _work(self, run: Run) -> None:
        entry, request = run.entry, run.request
        engine = run.session.engine
        run.context.activate()
        try:
            with anyio.move_on_after(entry.timeout) as scope:
                outcome = await self._call(run)
                result = engine.seal(request, outcome)
            if scope.cancelled_caught:
                text = f"{entry.kind} {entry.name!r} timed out after {entry.timeout:g} s (timeout=)"
                raise RequestTimeoutError(text, retryable=True)
        except WorkersBusy as busy:
            text = f"server is overloaded: {busy}"
            overloaded = ErrorObject(ErrorCode.OVERLOADED, text, {"retryable": True})
            self._settle(run, error=overloaded, message=text)
        except Exception as error:
            run.context.cancelled.set(str(error))  # a thread that still runs need not
            failed = failed_call(error, request, entry.name, debug=self.server.debug)
            if isinstance(failed, MCPError):
                self._settle(run, error, error=wire_error(failed), message=failed.message)
            else:
                self._settle(run, error, result=engine.seal(request, failed), is_error=True, message=_text_of(failed))
        else:
            bare = outcome.result if isinstance(outcome, Prepared) else outcome
            if isinstance(bare, CallToolResult) and bare.is_error is True:
                self._settle(run, result=result, is_error=True, message=_text_of(bare))
            else:
                self._settle(run, result=result)
        finally:
            # Cancelled from outside, or ended by something no handler should raise.
            self._settle(run, error=wire_error(_ENDED), message=_ENDED.message)

    async def _call(self, run: Run) -> Any:
        entry, request, context = run.entry, run.request, run.context
        kwargs = entry.bind(request)

        def in_thread() -> Any:
            context.activate()
            context.cancelled.check()
            return entry.call(kwargs, context)

        async def call() -> CallToolResult:
            if entry.mode is Mode.TASK:
                value = await entry.call(kwargs, context)
            elif entry.mode is Mode.THREAD:
                value = await self.server.worker_pool().run(in_thread)
            else:
                value = entry.call(kwargs, context)
            return entry.finish(value, request)

        cache = self.server.policies.cache_of(entry)
        if cache is None or run.is_private:
            return await call()
        return await cache.once(request, run.session.identity.permissions, call, lambda: run.is_private)

    def _settle(self, run: Run, cause: BaseException | None = None, **outcome: Any) -> None:
        with self._lock:
            if run.record.task_id in self._runs and self.table.settle(run.record, time.time(), **outcome):
                failed = "error" in outcome or "is_error" in outcome
                self._finish(run, outcome_of(cause) if cause is not None else Outcome(("ok", "error")[failed]), cause)

    def _cancel(self, record: TaskRecord, message: str) -> bool:
        with self._lock:
            if not self.table.cancel(record, time.time(), message):
                return False
            run = self._runs.get(record.task_id)
            if run is not None:
                run.stop(message)
                self._finish(run, Outcome.CANCELLED)
            return True

    def _finish(self, run: Run, outcome: Outcome, cause: BaseException | None = None) -> None:
        """Tell everybody who waits for the end of a task."""
        self._runs.pop(run.record.task_id, None)
        if run.passage is not None:
            run.passage.end(outcome, cause)
        if run.timer is not None:
            run.post(run.timer.cancel)
        for question in run.questions.values():
            question.recall()
        waiters, run.waiters = run.waiters, {}
        for request, session in waiters.items():
            session.post(partial(self._answer_late, session, request, run.record))
        self._announce(run)

    def _end_of_time(self, at_least: float) -> None:
        self._expire(at_least)

    def _expire(self, at_least: float = 0.0) -> float:
        """Forget what is due, and return the time; a timer knows better than a clock that was set back."""
        now = max(time.time(), at_least)
        with self._lock:
            for record in self.table.expire(now):
                run = self._runs.pop(record.task_id, None)
                if run is not None:
                    run.stop("the task has expired")
                    if run.passage is not None:
                        run.passage.end(Outcome.TIMEOUT)
                    waiters, run.waiters = run.waiters, {}
                    for request, session in waiters.items():
                        session.post(partial(self._answer_late, session, request, None))
        return now

    async def aclose(self) -> None:
        """Cancel every running task and wait for their handlers; what ended before stays to be fetched."""
        with self._lock:
            for run in list(self._runs.values()):
                self._cancel(run.record, "the server stopped")
        dispatcher = self._dispatchers.pop(threading.get_ident(), None)
        if dispatcher is not None:
            await dispatcher.aclose()

    # Answers

    def _find(self, request: Request) -> TaskRecord:
        with self._lock:
            now = self._expire()
            try:
                # "the taskId parameter in the request MUST be used as the source of truth" — 2025-11-25
                # basic/utilities/tasks: what `_meta` says of a related task is not read.
                return self.table.get(request.params.task_id, _holder(request), now)
            except RemoteProtocolError as refused:
                raise _refusal(refused) from None

    def _reply(self, session: "ServerSession", request: Request, record: TaskRecord | None) -> None:
        if not request.is_open:
            return
        if record is None:
            session.engine.send_error(request, wire_error(_EXPIRED))
        elif record.result is not None:
            session.engine.send_result(request, with_related(record.result, record.task_id))
        else:
            session.engine.send_error(request, record.error or wire_error(_CANCELLED))

    def _answer_late(self, session: "ServerSession", request: Request, record: TaskRecord | None) -> None:
        session.release(request)
        self._reply(session, request, record)
        session.channel.flush()

    def _announce(self, run: Run) -> None:
        """Tell of a new status whoever may hear it."""
        record, session = run.record, run.session
        if record.holder.dialect is Dialect.CORE:
            status = core_view(record)

            def notify() -> None:
                if not session.engine.closed:
                    session.engine.send_notification("notifications/tasks/status", status)
                    session.channel.flush()

            session.post(notify)
            return
        notice = ChangeNotice(ChangeKind.TASK, record.task_id, model.encode(extension_view(record)))
        for listener in list(self.server.sessions):
            if listener.engine.principal == record.holder.principal:
                listener.post(partial(_publish, listener, notice))

    # What handlers tell and ask

    def note_progress(self, run: Run, progress: float, message: str | None) -> None:
        """Keep what progress says in words for whoever asks for the task; for the extension."""
        with self._lock:
            if run.progress is None or progress > run.progress:
                run.progress = progress
                if message is not None:
                    self.table.note(run.record, message, time.time())

    def tell_progress(self, run: Run, progress: float, total: float | None, message: str | None) -> bool:
        """Send progress with the token of the call, until the task has ended; for the core dialect."""
        token, engine = run.request.progress_token, run.session.engine
        if token is UNSET or run.record.is_terminal or engine.closed:
            return False
        # "The progress value MUST increase with each notification" — basic/utilities/progress
        if run.progress is not None and not progress > run.progress:
            return False
        run.progress = progress
        params = ProgressParams(
            progress_token=token,
            progress=progress,
            total=UNSET if total is None else total,
            message=UNSET if message is None else message,
            meta=related_tag(run.record),
        )
        engine.send_notification("notifications/progress", params)
        return True

    async def ask(self, run: Run, question: InputRequest, key: str) -> Raw:
        """Ask the client and wait for the answer; meanwhile the task is `input_required`.

        Raises:
            MCPError: the client refused (core dialect), or the task has ended.
        """
        record = run.record
        with self._lock:
            key = self.table.free_key(record, key)
            try:
                self.table.ask(record, embedded({key: question}), time.time())
            except LocalProtocolError as error:
                raise MCPError(str(error), error_code=MCPErrorCode.CANCELLED) from None
            asked = run.questions[key] = Question(self, run, key, question)
            self._announce(run)
            self.deliver(run)
        try:
            raw: Raw = await asked.waiter
            return raw
        finally:
            with self._lock:
                asked.recall()
                run.questions.pop(key, None)
                if key in record.inputs:
                    self.table.withdraw(record, [key], time.time())
                    self._announce(run)

    def deliver(self, run: Run) -> None:
        """Send waiting questions with an open `tasks/result` request; the extension's clients come for them.

        "When the requestor encounters the input_required status, it SHOULD preemptively call tasks/result"
        — 2025-11-25 basic/utilities/tasks#input-required-status; so the questions have a stream on every transport, and
        outlive a lost connection.
        """
        if run.record.holder.dialect is not Dialect.CORE:
            return
        request, session = next((item for item in run.waiters.items() if item[1].can_ask), (None, None))
        if request is None or session is None:
            return
        for question in run.questions.values():
            if question.call is None and question.via is None and not question.done():
                question.via = request
                session.post(partial(self._send, session, question))

    def _send(self, session: "ServerSession", question: Question) -> None:
        with self._lock:
            self._send_now(session, question)

    def _send_now(self, session: "ServerSession", question: Question) -> None:
        request, record = question.via, question.run.record
        if request is None or not request.is_open:
            question.via = None
            return
        params = structs.replace(question.input.params, meta=related_tag(record))
        inputs = {question.key: InputRequest(question.input.method, params)}
        try:
            [call] = session.engine.ask(request, inputs)
        except LocalProtocolError as error:
            question.wake(None, MCPError(str(error), error_code=MCPErrorCode.MISSING_CLIENT_CAPABILITY))
            return
        question.call, question.session = call, session
        session.expect(call, question)
        session.channel.flush()

    def forsake(self, run: Run, request: Request) -> None:
        """Take the end of a `tasks/result` request that the client withdrew: its questions go another way."""
        with self._lock:
            run.waiters.pop(request, None)
            for question in run.questions.values():
                if question.via is request:
                    question.recall()
            self.deliver(run)

    def answer(self, run: Run, responses: dict[str, Raw]) -> None:
        """Take answers of the client's; those nobody awaits are ignored."""
        with self._lock:
            accepted = self.table.update(run.record, responses, time.time())
            for key, raw in accepted.items():
                question = run.questions.get(key)
                if question is not None:
                    question.wake(raw, None)
            if accepted:
                self._announce(run)


def _holder(request: Request) -> Holder:
    is_core = request.context.revision.task_params
    return Holder(request.principal, Dialect.CORE if is_core else Dialect.EXTENSION)


def _view(record: TaskRecord) -> Any:
    return core_view(record) if record.holder.dialect is Dialect.CORE else extension_view(record)


def _publish(session: "ServerSession", notice: ChangeNotice) -> None:
    session.engine.publish(notice)
    session.channel.flush()


def _text_of(result: CallToolResult) -> str | None:
    texts = [block.text for block in result.content if hasattr(block, "text")]
    return texts[0] if texts else None


def _unsupported(why: str) -> RequestError:
    return RequestError(f"Method not found: {why}", error_code=MCPErrorCode.METHOD_NOT_FOUND)


def _refusal(error: RemoteProtocolError) -> RequestError:
    wire = error.error
    return RequestError(wire.message, error_code=wire.code, data=None if wire.data is UNSET else wire.data)
