"""Calls of tools: from arguments to a result or the error that the tool raised, with a task in between or without."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import anyio
from msgspec import UNSET, Raw, Struct

from protocol.params import CallToolParams
from protocol.results import CallToolResult
from protocol.types import Task, Tool

from ..errors import MCPError
from ..schema import dumps
from .calls import Calls
from .results import OutputSchemas, ToolResult, plain_arguments, read_as
from .session import Outcome, ProgressHandler
from .tasks import ClientTasks, TaskHandle

__all__ = ["ToolCall", "ToolCalls", "call_many"]


class ToolCall(Struct, kw_only=True):
    """One call of a tool, and how it is made."""

    tool: str
    arguments: Any = None
    timeout: float | None = None
    total_timeout: float | None = None
    on_progress: ProgressHandler | None = None
    meta: Mapping[str, Any] | None = None
    raise_on_error: bool | None = None
    task: bool | Mapping[str, Any] | None = None


class ToolCalls:
    """Calls the tools of one client's server.

    Args:
        calls: makes the calls.
        list_tools: returns the server's tools.
        declares: the extension for tasks is declared.
        timeout: seconds one request about a task may take.
        raise_on_error: raise the error of a result that is one, unless a call says otherwise.
    """

    def __init__(
        self,
        calls: Calls,
        list_tools: Callable[[], Awaitable[list[Tool]]],
        *,
        declares: bool,
        timeout: float | None,
        raise_on_error: bool,
    ) -> None:
        self.tasks = ClientTasks(calls.connect, list_tools, declares=declares, timeout=timeout)
        self._calls = calls
        self._schemas = OutputSchemas()
        self._raise_on_error = raise_on_error
        self._repeatable: frozenset[str] = frozenset()

    def learn(self, tools: list[Tool]) -> None:
        """Take what the newest list says of the tools."""
        self._schemas.learn(tools)
        self.tasks.learn(tools)
        self._repeatable = frozenset(
            tool.name
            for tool in tools
            if tool.annotations is not UNSET
            and (tool.annotations.read_only_hint is True or tool.annotations.idempotent_hint is True)
        )

    async def call(self, call: ToolCall) -> ToolResult:
        """Call a tool and wait for its result.

        Raises:
            MCPError: the tool failed (its own code), or the call did.
        """
        metrics = self._calls.metrics
        if metrics is None:
            result = await self._call(call)
        else:
            with metrics.watch("tools/call", call.tool) as ending:
                result = await self._call(call)
                ending.error = _failure_of(result)
        if result.is_error and (self._raise_on_error if call.raise_on_error is None else call.raise_on_error):
            raise result.error()
        return result

    async def _call(self, call: ToolCall) -> ToolResult:
        given = call.arguments
        params = CallToolParams(
            name=call.tool, arguments=UNSET if given is None else Raw(dumps(plain_arguments(given)))
        )
        tasks = self.tasks
        if call.task is not None or tasks.is_watchful:
            params.task = await tasks.augmentation(call.tool, call.task)
        started = anyio.current_time() if tasks.declares or params.task is not UNSET else 0.0
        operation = self._calls.operation
        answer: Outcome | ToolResult
        if operation is None:
            answer = await self._attempt(call, params, call.timeout, call.total_timeout)
        else:
            times = (call.timeout, call.total_timeout)
            is_followed = call.on_progress is not None
            answer = await operation.run(
                lambda elapsed: self._attempt(
                    call, params, *self._calls.remaining(elapsed, *times, is_followed=is_followed)
                ),
                is_safe=call.tool in self._repeatable,
                patience=self._calls.patience(*times, is_followed=is_followed),
                failure_of=_failure_of,
            )
        if isinstance(answer, ToolResult):
            return answer
        # From here on the call was run; whatever goes wrong now, it is not made again.
        handle = tasks.handle(answer, lambda raw: self.finished(call.tool, raw), params.task)
        total = self._calls.total_timeout(call.total_timeout)
        patience = None if total is None else total - (anyio.current_time() - started)
        return self._read(call.tool, await tasks.settle(handle, patience, total))

    async def _attempt(
        self, call: ToolCall, params: CallToolParams, timeout: float | None, total_timeout: float | None
    ) -> "Outcome | ToolResult":
        outcome = await self._calls.outcome(
            "tools/call",
            params,
            timeout=timeout,
            total_timeout=total_timeout,
            on_progress=call.on_progress,
            meta=call.meta,
        )
        if params.task is UNSET and outcome.result_type == "complete":
            return self._read(call.tool, outcome.raw)
        return outcome

    def _read(self, tool: str, raw: Raw) -> ToolResult:
        result = ToolResult(read_as(raw, CallToolResult))
        if not result.is_error:
            self._schemas.check(tool, result)
        return result

    def finished(self, tool: str, raw: Raw) -> ToolResult:
        """Return the result of a task's call.

        Raises:
            MCPError: the tool failed, and this client raises that.
        """
        result = self._read(tool, raw)
        if result.is_error and self._raise_on_error:
            raise result.error()
        return result

    # Tasks

    async def start(
        self,
        tool: str,
        arguments: Any,
        *,
        ttl: float | None,
        on_progress: ProgressHandler | None,
        meta: Mapping[str, Any] | None,
    ) -> TaskHandle:
        """Call a tool that runs on at the server, without waiting for its result."""
        augmentation = await self.tasks.augmentation(tool, {} if ttl is None else {"ttl": ttl})
        await self.tasks.check_startable(tool, augmentation)
        raw_arguments = UNSET if arguments is None else Raw(dumps(plain_arguments(arguments)))
        params = CallToolParams(name=tool, arguments=raw_arguments, task=augmentation)
        outcome = await self._calls.outcome("tools/call", params, on_progress=on_progress, meta=meta)
        return self.tasks.handle(outcome, lambda raw: self.finished(tool, raw), augmentation)

    def resume(self, task_id: str) -> TaskHandle:
        """Return the handle of a task whose id was kept."""
        return self.tasks.resume(task_id, lambda raw: self.finished("", raw))

    async def list(self) -> list[Task]:
        """Return all tasks the server keeps for this caller (2025-11-25)."""
        return await self.tasks.list()


def _failure_of(answer: "Outcome | ToolResult") -> MCPError | None:
    return answer.error() if isinstance(answer, ToolResult) and answer.is_error else None


async def call_many(
    make: Callable[[tuple[Any, ...], dict[str, Any]], Awaitable[ToolResult]],
    calls: Iterable[Any],
    *,
    max_concurrency: int,
    return_exceptions: bool,
) -> list[Any]:
    """Make calls, so many at once, and return their results in the order of the calls.

    Args:
        make: makes one, of its arguments and keywords.
        calls: each a name, a tuple of arguments, or a mapping of keywords.
        max_concurrency: how many at once.
        return_exceptions: return errors in the places of results.

    Raises:
        MCPError: of the first that failed, when errors are not wanted as values; the others are cancelled.
    """
    if max_concurrency < 1:
        raise ValueError(f"max_concurrency must be one or more, not {max_concurrency!r}")
    todo = list(map(_spelled, calls))
    results: list[Any] = [None] * len(todo)
    remaining = iter(enumerate(todo))
    failed: list[MCPError] = []
    async with anyio.create_task_group() as group:

        async def work() -> None:
            for index, call in remaining:
                try:
                    results[index] = await make(*call)
                except MCPError as error:
                    if not return_exceptions:
                        failed.append(error)
                        group.cancel_scope.cancel()
                        return
                    results[index] = error

        for _ in range(min(max_concurrency, len(todo))):
            group.start_soon(work)
    if failed:
        raise failed[0]  # and not a group of one: no ExceptionGroup ever reaches a user
    return results


_KEYWORDS: Mapping[Any, str] = {"tool": "tool_name", "server": "server_config"}


def _spelled(call: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(call, str):
        return (call,), {}
    if isinstance(call, Mapping):
        return (), {_KEYWORDS.get(key, key): value for key, value in call.items()}
    if isinstance(call, tuple | list):
        return tuple(call), {}
    raise TypeError(f"a call is the name of a tool, a tuple or a mapping, not {type(call).__name__}")
