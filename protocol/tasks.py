"""Tasks: work that outlives the request it came with. One status table, two dialects.

    working        → input_required, completed, failed, cancelled
    input_required → working, completed, failed, cancelled
    completed, failed, cancelled: final

The core methods of 2025-11-25 and the extension `io.modelcontextprotocol/tasks` differ in names and in one meaning: a
tool result with `isError` makes a task `failed` in the core and `completed` in the extension. A record keeps what
happened; a view says it in a dialect. Time (wall-clock seconds) and chance come from the caller.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from . import meta, model
from .capabilities import ServerCapabilities, has
from .deadlines import DeadlineQueue
from .eras import tasks_declared
from .errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from .events import Context
from .events import InputRequest as Question
from .jsonrpc import DECODE_ERRORS
from .methods import DECODERS, METHODS, TASKS_EXTENSION
from .results import CreateTaskResult, DetailedTaskResult, TaskResult
from .types import DetailedTask, InputRequest, RelatedTask, Task, TaskStatus

__all__ = [
    "TERMINAL",
    "TRANSITIONS",
    "Dialect",
    "Holder",
    "TaskRecord",
    "TaskTable",
    "core_view",
    "created_task",
    "dialect_of",
    "extension_view",
    "read_inputs",
    "related_meta",
    "related_task",
    "stamp",
    "with_related",
]

TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    "working": frozenset({"input_required", "completed", "failed", "cancelled"}),
    "input_required": frozenset({"working", "completed", "failed", "cancelled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""Where a task may go from each status — 2025-11-25 basic/utilities/tasks#task-status-lifecycle."""

TERMINAL: frozenset[TaskStatus] = frozenset(status for status, following in TRANSITIONS.items() if not following)
"""The statuses a task never leaves."""


class Dialect(Enum):
    """The two ways to speak of tasks; a task is known only in the one it was created in."""

    CORE = "core"
    """The methods of 2025-11-25: the client asks for a task, and for its result."""
    EXTENSION = "extension"
    """`io.modelcontextprotocol/tasks`: the server decides, and the result is part of the task."""


class Holder(NamedTuple):
    """Whom a task is bound to: for everybody else it does not exist."""

    principal: str | None
    """`None`: callers that nobody identified; what protects their tasks is that ids cannot be guessed."""
    dialect: Dialect


def dialect_of(context: Context, offered: ServerCapabilities) -> Dialect | None:
    """Return the dialect in which a request may become a task; `None`: it may not.

    "Receivers that do not declare the task capability … MUST process requests of that type normally" — 2025-11-25
    basic/utilities/tasks; and the extension counts only if this very request declared it.
    """
    if context.revision.task_params:
        return Dialect.CORE if has(offered, "tasks.requests.tools.call") else None
    if "tasks/update" not in context.revision.methods or not tasks_declared(context):
        return None
    return Dialect.EXTENSION if has(offered, f"extensions:{TASKS_EXTENSION}") else None


class TaskRecord(Struct, eq=False, kw_only=True):
    """One task; changed only by its table."""

    task_id: str
    holder: Holder
    serial: int
    """Place in the order of creation; pages are cut by it."""
    created: float
    updated: float
    ttl: float | None
    """Seconds from creation after which the task is forgotten; `None`: never."""
    poll_interval: float | None
    status: TaskStatus = "working"
    message: str | None = None
    inputs: dict[str, InputRequest] = {}
    """What the client is being asked, by key."""
    issued: set[str] = set()
    """Every key ever used: "MUST be unique over the lifetime of a single task" — ext-tasks, task update requests."""
    result: Raw | None = None
    """The underlying request's result as it goes on the wire, without the core's related-task tag."""
    error: ErrorObject | None = None
    is_error: bool = False
    """The result is a tool's failure."""

    @property
    def is_terminal(self) -> bool:
        """Tell whether the task has ended."""
        return self.status in TERMINAL

    def is_expired(self, now: float) -> bool:
        """Tell whether the task may be forgotten."""
        return self.ttl is not None and self.created + self.ttl <= now


class TaskTable:
    """The tasks of one server.

    Args:
        mint: gives an unguessable id.
        limit: most tasks kept. Excess: error 1503.
        holder_limit: most tasks kept for one holder. Excess: error 1503.
        page_size: tasks per page of a list.
    """

    def __init__(
        self, mint: Callable[[], str], *, limit: int = 10_000, holder_limit: int = 1_000, page_size: int = 100
    ) -> None:
        self._mint = mint
        self._limit = limit
        self._holder_limit = holder_limit
        self._page_size = page_size
        self._tasks: dict[str, TaskRecord] = {}
        self._held: dict[Holder, dict[str, TaskRecord]] = {}
        self._expiries: DeadlineQueue[TaskRecord] = DeadlineQueue()
        self._serial = 0

    def __len__(self) -> int:
        """Return how many tasks are kept."""
        return len(self._tasks)

    # Life

    def create(
        self, holder: Holder, now: float, *, ttl: float | None = None, poll_interval: float | None = None
    ) -> TaskRecord:
        """Register a task, which begins `working`; from now on it is found.

        Raises:
            RemoteProtocolError: 1503; too many tasks are kept.
            LocalProtocolError: the minted id is taken.
        """
        held = self._held.get(holder, {})
        for count, limit in ((len(self._tasks), self._limit), (len(held), self._holder_limit)):
            if count >= limit:
                # Never by forgetting another: a task lives at least as long as was promised.
                data = {"retryable": True, "limit": limit}
                raise RemoteProtocolError(ErrorObject(ErrorCode.OVERLOADED, "Too many tasks", data))
        task_id = self._mint()
        if task_id in self._tasks:
            raise LocalProtocolError("the minted task id is taken")
        self._serial += 1
        record = TaskRecord(
            task_id=task_id,
            holder=holder,
            serial=self._serial,
            created=now,
            updated=now,
            ttl=ttl,
            poll_interval=poll_interval,
        )
        self._tasks[task_id] = record
        self._held.setdefault(holder, held)[task_id] = record
        if ttl is not None:
            self._expiries.arm(record, now + ttl)
        return record

    def expire(self, now: float) -> list[TaskRecord]:
        """Forget and return the tasks whose time has passed, ended or not."""
        expired = self._expiries.expire(now)
        for record in expired:
            del self._tasks[record.task_id]
            held = self._held[record.holder]
            del held[record.task_id]
            if not held:
                del self._held[record.holder]
        return expired

    def next_expiry(self) -> float | None:
        """Return when the next task expires."""
        return self._expiries.next()

    # What clients ask for

    def get(self, task_id: str, holder: Holder, now: float) -> TaskRecord:
        """Return a holder's task.

        Raises:
            RemoteProtocolError: −32602; there is none, it expired, or it is another's. The peer is not told which.
        """
        record = self._tasks.get(task_id)
        if record is None or record.holder != holder or record.is_expired(now):
            raise _invalid("Task not found")
        return record

    def knows(self, task_id: str, holder: Holder) -> bool:
        """Tell whether a holder has this task."""
        return task_id in self._held.get(holder, ())

    def page(self, holder: Holder, now: float, cursor: str | None = None) -> tuple[list[TaskRecord], str | None]:
        """Return one page of a holder's tasks, oldest first, and the cursor of the next.

        Raises:
            RemoteProtocolError: −32602; the cursor is not one of ours.
        """
        after = 0 if cursor is None else _read_cursor(cursor)
        held = self._held.get(holder, {}).values()
        tasks = [record for record in held if record.serial > after and not record.is_expired(now)]
        if len(tasks) <= self._page_size:
            return tasks, None
        page = tasks[: self._page_size]
        return page, _write_cursor(page[-1].serial)

    def cancel(self, record: TaskRecord, now: float, message: str | None = None) -> bool:
        """End a task as cancelled; `False` when it had ended before."""
        if record.is_terminal:
            return False
        self._move(record, "cancelled", now)
        record.message = message
        return True

    def update(self, record: TaskRecord, responses: Mapping[str, Raw], now: float) -> dict[str, Raw]:
        """Take answers and return those that were awaited; the others are ignored.

        The task works on once nothing is awaited any more.
        """
        accepted = {key: answer for key, answer in responses.items() if key in record.inputs}
        self._drop(record, accepted, now)
        return accepted

    # What the work reports

    def settle(
        self,
        record: TaskRecord,
        now: float,
        *,
        result: Raw | None = None,
        error: ErrorObject | None = None,
        is_error: bool = False,
        message: str | None = None,
    ) -> bool:
        """End a task with the result or the error of its request; `False` when it had ended before.

        "Once a task is cancelled, it MUST remain in cancelled status even if execution continues to completion"
        — 2025-11-25 basic/utilities/tasks#task-cancellation

        Args:
            is_error: the result says that the tool failed.
            message: for people.

        Raises:
            LocalProtocolError: neither result nor error, or both.
        """
        if (result is None) == (error is None):
            raise LocalProtocolError("a task ends with a result or an error")
        if record.is_terminal:
            return False
        self._move(record, "completed" if error is None else "failed", now)
        record.result, record.error, record.is_error, record.message = result, error, is_error, message
        return True

    def ask(self, record: TaskRecord, inputs: Mapping[str, InputRequest], now: float) -> None:
        """Wait for the client's answers.

        Raises:
            LocalProtocolError: nothing is asked, a key was used before, or the task has ended.
        """
        used = record.issued & inputs.keys()
        if used or not inputs:
            raise LocalProtocolError(f"input keys used before: {sorted(used)}" if used else "nothing is asked")
        if record.status != "input_required":
            self._move(record, "input_required", now)
        record.issued |= inputs.keys()
        record.inputs |= inputs
        record.updated = now

    def withdraw(self, record: TaskRecord, keys: Iterable[str], now: float) -> None:
        """Stop waiting for some answers; those no longer awaited are left alone."""
        self._drop(record, [key for key in keys if key in record.inputs], now)

    def note(self, record: TaskRecord, message: str, now: float) -> bool:
        """Say in words how the work is getting on; `False` when it has ended."""
        if record.is_terminal:
            return False
        record.message = message
        record.updated = now
        return True

    @staticmethod
    def free_key(record: TaskRecord, wanted: str) -> str:
        """Return the key, or the first of `key-2`, `key-3` … that the task has not used yet."""
        key, count = wanted, 1
        while key in record.issued:
            count += 1
            key = f"{wanted}-{count}"
        return key

    def _drop(self, record: TaskRecord, keys: Iterable[str], now: float) -> None:
        dropped = [record.inputs.pop(key) for key in keys]
        if dropped:
            record.updated = now
            if not record.inputs:
                self._move(record, "working", now)

    @staticmethod
    def _move(record: TaskRecord, status: TaskStatus, now: float) -> None:
        if status not in TRANSITIONS[record.status]:
            raise LocalProtocolError(f"a task does not go from {record.status} to {status}")
        record.status = status
        record.updated = now
        if status in TERMINAL:
            record.inputs.clear()


# Views


def core_view(record: TaskRecord) -> TaskResult:
    """Return a task as 2025-11-25 writes it."""
    # "failed … includes cases where the tool call result has isError set to true" — 2025-11-25 basic/utilities/tasks
    return TaskResult(
        task_id=record.task_id,
        status="failed" if record.is_error else record.status,
        created_at=stamp(record.created),
        last_updated_at=stamp(record.updated),
        ttl=_millis(record.ttl),
        poll_interval=UNSET if record.poll_interval is None else _millis(record.poll_interval) or 0,
        status_message=UNSET if record.message is None else record.message,
    )


def extension_view(record: TaskRecord) -> DetailedTaskResult:
    """Return a task as the extension writes it, with what its status adds."""
    return DetailedTaskResult(
        task_id=record.task_id,
        status=record.status,
        created_at=stamp(record.created),
        last_updated_at=stamp(record.updated),
        ttl_ms=_millis(record.ttl),
        poll_interval_ms=UNSET if record.poll_interval is None else _millis(record.poll_interval) or 0,
        status_message=UNSET if record.message is None else record.message,
        input_requests=dict(record.inputs) if record.status == "input_required" else UNSET,
        result=UNSET if record.result is None else record.result,
        error=UNSET if record.error is None else Raw(model.encode(record.error)),
    )


def _millis(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def stamp(seconds: float) -> str:
    """Return wall-clock seconds since 1970 as ISO 8601 text in UTC."""
    whole, millis = divmod(round(seconds * 1000), 1000)
    days, second = divmod(whole, 86_400)
    # Years are counted from March, so that the leap day is the last; eras of 400 years are all alike.
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = (shifted + 2) % 12 + 1
    year = year_of_era + era * 400 + (month <= 2)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{year:04}-{month:02}-{day:02}T{clock}.{millis:03}Z"


def created_task(raw: Raw) -> Task | None:
    """Return the task that a result of 2025-11-25 announces, `None` for another result."""
    try:
        return model.decode(raw, CreateTaskResult).task
    except DECODE_ERRORS:
        return None


def read_inputs(task: DetailedTask) -> dict[str, Question]:
    """Return what a task asks of its client, by key, decoded.

    Raises:
        RemoteProtocolError: the server asks something that cannot be asked.
    """
    questions = {}
    for key, entry in ({} if task.input_requests is UNSET else task.input_requests).items():
        spec = METHODS.get(entry.method)
        if spec is None or not spec.is_embeddable:
            raise _unreadable(f"input request {key!r} of method {entry.method!r}")
        try:
            params = DECODERS[entry.method](b"{}" if entry.params is UNSET else entry.params)
        except DECODE_ERRORS as error:
            raise _unreadable(f"input request {key!r}: {error}") from None
        questions[key] = Question(entry.method, params)
    return questions


# The core's tag on whatever belongs to a task


class _RelatedMeta(Struct):
    related: RelatedTask | UnsetType = msgspec.field(name=meta.RELATED_TASK, default=UNSET)


_decode_related = msgspec.json.Decoder(_RelatedMeta).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_NOTHING = Raw(b"{}")


def related_meta(task_id: str) -> dict[str, Any]:
    """Return the `_meta` members of a message that belongs to a task (2025-11-25)."""
    return {meta.RELATED_TASK: {"taskId": task_id}}


def related_task(raw: Raw | UnsetType) -> str | None:
    """Return the task that a raw `_meta` names."""
    if raw is UNSET:
        return None
    try:
        related = _decode_related(raw).related
    except DECODE_ERRORS:
        return None
    return None if related is UNSET else related.task_id


def with_related(result: Raw, task_id: str) -> Raw:
    """Return a result that also says which task it belongs to; otherwise it is the same."""
    members: dict[str, Any] = dict(_decode_members(result))
    own = msgspec.json.decode(members.get("_meta", _NOTHING))
    members["_meta"] = {**(own if isinstance(own, dict) else {}), **related_meta(task_id)}
    return Raw(model.encode(members))


# Cursors


def _write_cursor(serial: int) -> str:
    return urlsafe_b64encode(b"task:%d" % serial).decode()


def _read_cursor(cursor: str) -> int:
    try:
        serial = urlsafe_b64decode(cursor.encode("ascii")).removeprefix(b"task:")
        if serial.isdigit() and _write_cursor(int(serial)) == cursor:
            return int(serial)
    except ValueError:
        pass
    raise _invalid("cursor")


def _invalid(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: {why}"))


def _unreadable(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorObject(ErrorCode.INTERNAL_ERROR, f"invalid response: {why}"))
