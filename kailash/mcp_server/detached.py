"""A handler at work as a task: what it runs on, what it asks, and its context. Who runs it: `tasks.py`."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from protocol import model
from protocol.events import Call, InputRequest, Request
from protocol.tasks import Dialect, TaskRecord, related_meta
from protocol.types import LoggingLevel

from ..adapters.loops import current_loop
from ..adapters.waiter import make_waiter
from ..errors import ConnectionError as MCPConnectionError
from ..errors import MCPError
from ..schema import to_jsonable
from .context import Context, Told
from .tools import ToolEntry

if TYPE_CHECKING:
    from .pipeline import Passage
    from .session import ServerSession
    from .tasks import TaskRunner

__all__ = ["Question", "Run", "TaskContext", "Waiting", "related_tag"]


class Run:
    """A task at work."""

    __slots__ = (
        "context",
        "entry",
        "handle",
        "is_private",
        "loop",
        "passage",
        "progress",
        "questions",
        "record",
        "request",
        "session",
        "thread",
        "timer",
        "waiters",
    )

    def __init__(self, record: TaskRecord, session: "ServerSession", request: Request, entry: ToolEntry) -> None:
        self.record = record
        self.session = session
        """The connection it was called on; it may be over."""
        self.request = request
        """The call, long answered."""
        self.entry = entry
        self.loop = current_loop()
        self.thread = threading.get_ident()
        self.context: TaskContext
        self.handle: Any = None
        self.is_private = False
        """Its result holds what this client answered, and is kept for nobody else."""
        self.passage: Passage | None = None
        """What is told of the end."""
        self.timer: Any = None
        self.progress: float | None = None
        self.questions: dict[str, Question] = {}
        self.waiters: dict[Request, ServerSession] = {}
        """Open `tasks/result` requests; questions of the core dialect travel with one of them."""

    def post(self, act: Callable[[], Any]) -> None:
        """Run something in the thread of the task's loop: now, if this is it."""
        if threading.get_ident() == self.thread:
            act()
        else:
            self.loop.call_threadsafe(act)

    def stop(self, reason: str) -> None:
        """Cancel the handler; a thread is asked to end and left behind."""
        self.context.cancelled.set(reason)
        self.post(self.handle.cancel)


class Question:
    """A question of a task's handler; in the core dialect also the waiter that the client's answer wakes."""

    __slots__ = ("call", "input", "key", "run", "runner", "session", "via", "waiter")

    def __init__(self, runner: "TaskRunner", run: Run, key: str, question: InputRequest) -> None:
        self.runner = runner
        self.run = run
        self.key = key
        self.input = question
        self.waiter = make_waiter(run.loop)
        self.call: Call | None = None
        self.session: ServerSession | None = None
        self.via: Request | None = None

    def done(self) -> bool:
        """Tell whether the handler got its answer."""
        return self.waiter.done()

    def set_result(self, raw: Raw) -> None:
        """Take the client's answer."""
        self.call = None
        self.runner.answer(self.run, {self.key: raw})

    def set_exception(self, error: MCPError) -> None:
        """Take the client's refusal; a lost connection is none: the question waits for the next one."""
        session, self.call, self.session, self.via = self.session, None, None, None
        if isinstance(error, MCPConnectionError) and session is not None and not session.can_ask:
            self.runner.deliver(self.run)
        else:
            self.wake(None, error)

    def wake(self, raw: Raw | None, error: MCPError | None) -> None:
        """Let the handler go on."""

        def act() -> None:
            if self.waiter.done():
                return
            if error is None:
                self.waiter.set_result(raw)
            else:
                self.waiter.set_exception(error)

        self.run.post(act)

    def recall(self) -> None:
        """Take the question back from the client, to be asked again or not at all."""
        call, session = self.call, self.session
        self.call = self.session = self.via = None
        if call is not None and session is not None:
            session.post(lambda: session.forget(call, "no longer needed"))


class Waiting:
    """What a session cancels when the client withdraws a `tasks/result` request: the waiting, not the task."""

    __slots__ = ("request", "run", "runner")

    def __init__(self, runner: "TaskRunner", run: Run, request: Request) -> None:
        self.runner = runner
        self.run = run
        self.request = request

    def cancel(self) -> None:
        """Wait no longer; its questions go another way."""
        self.runner.forsake(self.run, self.request)


class TaskContext(Context):
    """The context of a handler that runs as a task: what it tells and asks reaches the client by way of the task."""

    __slots__ = ("_run", "_runner")

    def __init__(self, runner: "TaskRunner", run: Run) -> None:
        super().__init__(run.session, run.request)
        self._runner = runner
        self._run = run

    @property
    def task_id(self) -> str | None:
        """The task that runs this handler."""
        return self._run.record.task_id

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> Told:
        """Tell how far the work has come: with the call's token in 2025-11-25, else as the task's status message."""
        record = self._run.record
        if record.is_terminal:
            return Told(None, False)
        if record.holder.dialect is Dialect.CORE:
            return self._tell(lambda: self._runner.tell_progress(self._run, progress, total, message))
        self._runner.note_progress(self._run, progress, message)
        return Told(None, False)

    def log(self, level: LoggingLevel, data: Any, logger: str | None = None) -> Told:
        """Log, where tasks may: the extension has no log messages."""
        run, engine = self._run, self._session.engine
        if run.record.holder.dialect is Dialect.EXTENSION or run.record.is_terminal:
            return Told(None, False)
        plain = to_jsonable(data)
        tag = related_tag(run.record)
        return self._tell(lambda: not engine.closed and engine.send_log(None, level, plain, logger, meta=tag))

    async def start_task(self) -> bool:
        """Return `True`: this is a task."""
        return True

    async def _put(self, question: InputRequest, key: str | None) -> Raw:
        if self._ledger is not None:
            # What was asked before the task began; see `start_task`.
            answer = self._recall(question, key)[2]
            if answer is not None:
                return answer
        self._run.is_private = True
        return await self._runner.ask(self._run, question, key or question.method.partition("/")[0])


def related_tag(record: TaskRecord) -> Raw:
    """Return the `_meta` of a message that belongs to a task (2025-11-25)."""
    return Raw(model.encode(related_meta(record.task_id)))
