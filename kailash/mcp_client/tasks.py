"""Tool calls that run on at the server: asking for them, waiting for them, answering what they ask.

In 2025-11-25 the client asks for a task and waits with `tasks/result`, during which the server may ask; with the
extension the server decides, and the client polls `tasks/get` as often as the server suggests. Either way a task is
ended with `tasks/cancel`, never with `notifications/cancelled`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio
import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from protocol import model
from protocol.capabilities import has
from protocol.errors import ErrorObject, RemoteProtocolError
from protocol.events import Call, Change, ChangeKind
from protocol.jsonrpc import DECODE_ERRORS
from protocol.params import PaginatedParams, TaskIdParams, UpdateTaskParams
from protocol.results import DetailedTaskResult, ListTasksResult, TaskResult
from protocol.tasks import TERMINAL, created_task, read_inputs
from protocol.types import DetailedTask, Task, TaskMetadata, Tool

from ..errors import MCPError, MCPErrorCode, RequestTimeoutError, from_wire
from .results import ToolResult
from .session import CallOptions, ClientSession, Outcome

__all__ = ["ClientTasks", "TaskHandle"]

S = TypeVar("S", bound=Struct)

_DEFAULT_INTERVAL = 1.0
_SHORTEST_INTERVAL = 0.01
_LONGEST_INTERVAL = 60.0
_MOST_PAGES = 250


class TaskHandle:
    """A tool call that runs on at the server; `await handle.result()` waits for it.

    Made by `MCPClient.start_task`, or by `MCPClient.task` from an id kept from before.
    """

    def __init__(
        self,
        tasks: "ClientTasks",
        task: Task | DetailedTask | None,
        finish: Callable[[Raw], ToolResult],
        *,
        task_id: str,
    ) -> None:
        self.task_id = task_id
        """The server's name of the task; keep it to come back after a crash. Empty: the call has ended at once."""
        self.task = task
        """The task as it was last heard of."""
        self.call: Call | None = None
        """The call it came from, where its progress still arrives."""
        self._tasks = tasks
        self._finish = finish
        self._answered: set[str] = set()
        self._raw: Raw | None = None
        self._error: MCPError | None = None

    @property
    def has_ended(self) -> bool:
        """Tell whether the end is known here."""
        return self._raw is not None or self._error is not None

    async def status(self) -> str:
        """Ask the server how the task stands: working, input_required, completed, failed or cancelled."""
        if not self.task_id:
            return "completed"
        self.task = await self._tasks.get(self.task_id)
        return self.task.status

    async def result(self, *, timeout: float | None = None) -> ToolResult:
        """Wait for the end of the task, answer what it asks meanwhile, and return its result.

        Args:
            timeout: seconds to wait; the task itself runs on. Default no limit.

        Raises:
            MCPError: the task failed, was cancelled or expired, or `timeout` passed.
        """
        with anyio.move_on_after(timeout):
            return self._finish(await self.wait())
        raise RequestTimeoutError(f"task {self.task_id} did not end within {timeout:g} s (timeout=)")

    async def cancel(self) -> None:
        """Ask the server to end the task.

        Raises:
            MCPError: it has ended already, where the server minds.
        """
        if self.task_id:
            await self._tasks.cancel(self.task_id)

    def end(self, raw: Raw | None, error: MCPError | None = None) -> None:
        """Take the end of the task."""
        self._raw, self._error = raw, error
        self._tasks.release(self)

    async def wait(self) -> Raw:
        """Return the raw result of the underlying call once there is one."""
        if not self.has_ended:
            await (self._wait_by_result() if await self._tasks.is_core() else self._wait_by_polling())
        if self._error is not None:
            raise self._error
        assert self._raw is not None
        return self._raw

    async def _wait_by_result(self) -> None:
        try:
            outcome = await self._tasks.request("tasks/result", TaskIdParams(task_id=self.task_id), CallOptions())
        except MCPError as error:
            if error.error_code not in (MCPErrorCode.CONNECTION_ERROR, MCPErrorCode.TRANSPORT_ERROR):
                self.end(None, error)  # what the call would have been answered with
            raise
        self.end(outcome.raw)

    async def _wait_by_polling(self) -> None:
        while not self.has_ended:
            if self.task is not None:
                await anyio.sleep(_interval(self.task))
            self.task = task = await self._tasks.get(self.task_id)
            assert isinstance(task, DetailedTask)
            if task.status == "input_required":
                await self._provide(task)
            elif task.status in TERMINAL:
                self._conclude(task)

    async def _provide(self, task: DetailedTask) -> None:
        """Answer what the task asks, each key once."""
        try:
            questions = read_inputs(task)
        except RemoteProtocolError as error:
            raise MCPError(error.error.message) from None
        fresh = {key: question for key, question in questions.items() if key not in self._answered}
        if fresh:
            self._answered.update(fresh)
            await self._tasks.answer(self.task_id, fresh)

    def _conclude(self, task: DetailedTask) -> None:
        if task.status == "completed" and task.result is not UNSET:
            self.end(Raw(bytes(task.result)))
        elif task.status == "failed" and task.error is not UNSET:
            self.end(None, _failure(task.error))
        elif task.status == "cancelled":
            text = f"task {self.task_id} was cancelled" + (f": {task.status_message}" if task.status_message else "")
            self.end(None, MCPError(text, error_code=MCPErrorCode.CANCELLED))
        else:
            self.end(None, MCPError(f"invalid task from the server: {task.status} without its outcome"))


class ClientTasks:
    """What a client needs to know and to say of tasks.

    Args:
        connect: returns the live session.
        list_tools: returns the server's tools.
        declares: the extension is declared, so that servers may answer with a task.
        timeout: seconds one request may take.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[ClientSession]],
        list_tools: Callable[[], Awaitable[list[Tool]]],
        *,
        declares: bool,
        timeout: float | None,
    ) -> None:
        self.declares = declares
        self._connect = connect
        self._list_tools = list_tools
        self._timeout = timeout
        self._support: dict[str, str] | None = None
        self._session: ClientSession | None = None

    # Which tools

    @property
    def is_watchful(self) -> bool:
        """Tell whether a call may turn out to need a task."""
        return self.declares or bool(self._support)

    def learn(self, tools: list[Tool]) -> None:
        """Take note of what the listed tools say of tasks."""
        self._support = {
            tool.name: tool.execution.task_support
            for tool in tools
            if tool.execution is not UNSET and tool.execution.task_support is not UNSET
        }

    def change(self, change: Change) -> None:
        """Forget what a change makes stale."""
        if change.kind is ChangeKind.TOOLS:
            self._support = None

    async def is_core(self) -> bool:
        """Tell whether the server speaks the core dialect."""
        context = (await self._live()).context
        return context is not None and context.revision.task_params

    async def augmentation(self, tool: str, task: bool | Mapping[str, Any] | None) -> TaskMetadata | UnsetType:
        """Return the `params.task` of a call, absent where the server or the tool must not be asked for a task.

        Args:
            task: `True` or `{"ttl": seconds}` wants one; `None` only where the tool requires it; `False` never.
        """
        ttl = _ttl_of(task)
        context = (await self._live()).context
        if task is False or context is None or not context.revision.task_params:
            return UNSET
        # "If a server's capabilities do not include tasks.requests.tools.call, then clients MUST NOT attempt to use
        # task augmentation on that server's tools" — 2025-11-25 basic/utilities/tasks#tool-level-negotiation
        if context.capabilities is None or not has(context.capabilities, "tasks.requests.tools.call"):
            return UNSET
        if self._support is None and (task is not None or self.declares):
            self.learn(await self._list_tools())
        support = (self._support or {}).get(tool, "forbidden")
        if support == "required" or (support == "optional" and task is not None):
            return TaskMetadata(ttl=ttl)
        return UNSET

    async def check_startable(self, tool: str, augmentation: TaskMetadata | UnsetType) -> None:
        """Raise `MCPError` where a call cannot become a task."""
        context = (await self._live()).context
        assert context is not None
        if context.revision.task_params:
            if augmentation is UNSET:
                why = f"tool {tool!r} of this server does not run as a task"
                raise MCPError(why, error_code=MCPErrorCode.INVALID_REQUEST)
        elif not self.declares or "tasks/update" not in context.revision.methods:
            why = f"no tasks in revision {context.revision.name}" + ("" if self.declares else " without tasks=True")
            raise MCPError(why, error_code=MCPErrorCode.INVALID_REQUEST)

    # Handles

    def handle(
        self, outcome: Outcome, finish: Callable[[Raw], ToolResult], augmentation: TaskMetadata | UnsetType
    ) -> TaskHandle:
        """Return the handle of the task a `tools/call` was answered with; an ordinary result gives one that ended."""
        task: Task | DetailedTask | None = None
        if outcome.result_type == "task":
            task = _read(outcome.raw, DetailedTaskResult)
        elif augmentation is not UNSET:
            task = created_task(outcome.raw)
        if task is None:
            if outcome.call is not None and self._session is not None:
                self._session.unfollow(outcome.call)
            handle = TaskHandle(self, None, finish, task_id="")
            handle.end(outcome.raw)
            return handle
        handle = TaskHandle(self, task, finish, task_id=task.task_id)
        handle.call = outcome.call
        return handle

    def resume(self, task_id: str, finish: Callable[[Raw], ToolResult]) -> TaskHandle:
        """Return the handle of a task known by its id."""
        return TaskHandle(self, None, finish, task_id=task_id)

    async def settle(self, handle: TaskHandle, patience: float | None, total: float | None) -> Raw:
        """Return the result of a task; if it is not wanted any more, or too late, the task is cancelled.

        Args:
            patience: seconds left of `total`.
        """
        try:
            with anyio.move_on_after(patience):
                return await handle.wait()
            text = f"task {handle.task_id} did not end within {total:g} s (total_timeout=)"
            raise RequestTimeoutError(text)
        except BaseException:
            if not handle.has_ended and self._session is not None:
                # Not awaited: whoever was cancelled shall not wait, and the server only acknowledges.
                self._session.cancel_task(handle.task_id)
                self.release(handle)
            raise

    def release(self, handle: TaskHandle) -> None:
        """Hear no more progress of a task."""
        call, handle.call = handle.call, None
        if call is not None and self._session is not None:
            self._session.unfollow(call)

    # Requests

    async def _live(self) -> ClientSession:
        self._session = await self._connect()
        return self._session

    async def request(self, method: str, params: Struct, options: CallOptions | None = None) -> Outcome:
        """Make a call."""
        session = await self._live()
        return await session.call(method, params, options or CallOptions(timeout=self._timeout))

    async def get(self, task_id: str) -> Task | DetailedTask:
        """Return a task as it stands."""
        outcome = await self.request("tasks/get", TaskIdParams(task_id=task_id))
        task: Task | DetailedTask
        if await self.is_core():
            task = _read(outcome.raw, TaskResult)
        else:
            task = _read(outcome.raw, DetailedTaskResult)
        if task.task_id != task_id:
            raise MCPError(f"the server answered with task {task.task_id!r} for {task_id!r}")
        return task

    async def cancel(self, task_id: str) -> None:
        """Ask the server to end a task."""
        await self.request("tasks/cancel", TaskIdParams(task_id=task_id))

    async def list(self) -> list[Task]:
        """Return all tasks of this caller, over all pages."""
        tasks: list[Task] = []
        cursor: str | UnsetType = UNSET
        seen: set[str] = set()
        while len(seen) < _MOST_PAGES:
            page = _read((await self.request("tasks/list", PaginatedParams(cursor=cursor))).raw, ListTasksResult)
            tasks += page.tasks
            following = page.next_cursor
            if following is UNSET or following is None:
                return tasks
            if following in seen:
                break
            seen.add(following)
            cursor = following
        raise MCPError(f"tasks/list does not end: {len(seen)} pages", error_code=MCPErrorCode.INVALID_REQUEST)

    async def answer(self, task_id: str, questions: Mapping[str, Any]) -> None:
        """Bring the handlers' answers to a task.

        Raises:
            MCPError: a handler refused; there is no way to say so, hence the task is cancelled.
        """
        responses: dict[str, Raw] = {}
        session = await self._live()
        for key, question in questions.items():
            try:
                responses[key] = Raw(model.encode(await session.answer_input(question)))
            except MCPError:
                session.cancel_task(task_id)
                raise
        await self.request("tasks/update", UpdateTaskParams(task_id=task_id, input_responses=responses))


def _interval(task: Task | DetailedTask) -> float:
    wanted = task.poll_interval_ms if isinstance(task, DetailedTask) else task.poll_interval
    seconds = _DEFAULT_INTERVAL if wanted is UNSET else wanted / 1000
    return min(max(seconds, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)


def _ttl_of(task: bool | Mapping[str, Any] | None) -> int | UnsetType:
    if task is None or isinstance(task, bool):
        return UNSET
    if not task.keys() <= {"ttl"}:
        raise TypeError(f"task= takes ttl (seconds), not {', '.join(sorted(task.keys() - {'ttl'}))}")
    ttl = task.get("ttl")
    return UNSET if ttl is None else round(ttl * 1000)


def _failure(raw: Raw) -> MCPError:
    try:
        error = msgspec.json.decode(raw, type=ErrorObject)
    except DECODE_ERRORS:
        return MCPError("invalid task from the server: malformed error object")
    data = error.data if isinstance(error.data, dict) else None
    return from_wire(error.message, error.code, data, error.data or None)


def _read(raw: Raw, type_: type[S]) -> S:
    try:
        return model.decode(raw, type_)
    except DECODE_ERRORS as error:
        raise MCPError(f"invalid {type_.__name__} from the server: {error}") from None
