"""`MCPClient`: typed calls to one server, or to servers named per call."""

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec import Struct, structs

from protocol.capabilities import has
from protocol.client import ClientEngine, ClientProfile
from protocol.events import Change, Notification
from protocol.limits import CLIENT_LIMITS, Limits
from protocol.methods import TASKS_EXTENSION
from protocol.params import (
    EmptyParams,
    ReadResourceParams,
    SetLevelParams,
)
from protocol.results import GetPromptResult, ReadResourceResult
from protocol.revisions import REVISIONS, select
from protocol.types import (
    Completion,
    Implementation,
    LoggingLevel,
    Prompt,
    Resource,
    ResourceTemplate,
    Task,
    Tool,
)

from ..errors import MCPError, RequestTimeoutError, ToolError, TransportError
from ..resilience.retry import RetryStrategy, make_strategy
from ..telemetry import Tracing, open_tracing
from .calls import Calls
from .changes import Changes, filter_of
from .config import ClientConfig
from .connect import Connection, connect
from .health import check_health
from .inputs import InputHandlers, Roots
from .pool import PoolRules, ServerPool
from .reading import Reader
from .results import ResourceResult, ToolResult
from .retrying import RetryableOperation
from .session import ClientSession, ProgressHandler
from .target import target_of
from .tasks import TaskHandle
from .toolcalls import ToolCall, ToolCalls, call_many
from .tracing import CallTracer
from .web import WebConnection

if TYPE_CHECKING:
    from .metrics import ClientMetrics

__all__ = ["MCPClient"]


class MCPClient:
    """A client of one server, or, without a config, of servers named in each call.

    `async with client:` or `open()` and `aclose()`, from any tasks in any order.

    Args:
        config: a URL, a mapping (keys: see `ClientConfig`), or an `MCPServer` of this process.
        sampling_handler, elicitation_handler, roots: answer what the server asks; see `InputHandlers`.
        log_handler: gets each log message, with `level`, `data` and `logger`.
        change_handler: gets each `Change` the server tells of.
        stderr_handler: gets the standard error of a stdio server, as bytes.
        client_info: shown to servers; default the config's name and this package's version.
        revisions: names of the protocol revisions to speak; default all five.
        log_level: least level of log messages wanted from the start.
        cache: keep results for as long as the server allows.
        raise_on_error: raise `MCPError` for a tool result that is an error.
        tasks: let servers answer tool calls with a task (2026-07-28); calls wait for it all the same.
        retry_strategy: make failed calls again where that is safe: `simple`, `exponential`, `circuit_breaker`, or a
            `RetryStrategy`; default never. Reads and lists are safe, tools that say so (`readOnlyHint`,
            `idempotentHint`, once listed), and any call whose error proves that it was not run.
        max_retries: attempts after the first; default the strategy's.
        enable_metrics: count calls; see `get_metrics`.
        tracing: make OpenTelemetry spans of calls (extra `otel`); see `open_tracing`.
        limits: bounds on what a server can make the client hold.
    """

    def __init__(
        self,
        config: Any = None,
        *,
        sampling_handler: Callable[..., Any] | None = None,
        elicitation_handler: Callable[..., Any] | None = None,
        roots: Roots | None = None,
        sampling_tools: bool = False,
        elicitation_modes: Iterable[str] = ("form",),
        log_handler: Callable[..., Any] | None = None,
        change_handler: Callable[[Change], Any] | None = None,
        notification_handler: Callable[[Notification], Any] | None = None,
        stderr_handler: Callable[[bytes], object] | None = None,
        client_info: Implementation | None = None,
        revisions: Iterable[str] | None = None,
        log_level: LoggingLevel | None = None,
        cache: bool = True,
        raise_on_error: bool = True,
        tasks: bool = False,
        retry_strategy: str | RetryStrategy | None = None,
        max_retries: int | None = None,
        enable_metrics: bool = False,
        tracing: bool | Tracing | Mapping[str, Any] | None = None,
        connection_pool_config: Mapping[str, Any] | None = None,
        limits: Limits = CLIENT_LIMITS,
    ) -> None:
        # What a client of its own for a server named in a call is made with.
        self._options = {name: value for name, value in locals().items() if name not in ("self", "config")}
        from .. import __version__

        self.config = None if config is None else ClientConfig.of(config)
        own = None if self.config is None else self.config.connection_pool_config
        rules = PoolRules.of(own if connection_pool_config is None else connection_pool_config)
        if self.config is not None and own is not None:
            self.config = rules.applied(self.config)
        name = "kailash-mcp-client" if self.config is None else self.config.name
        self._handlers = InputHandlers(
            sampling_handler,
            elicitation_handler,
            roots,
            sampling_tools=sampling_tools,
            elicitation_modes=elicitation_modes,
        )
        capabilities = self._handlers.capabilities()
        if tasks:
            capabilities.extensions = {TASKS_EXTENSION: {}}
        self._metrics = _make_metrics() if enable_metrics else None
        self._tracing = open_tracing(tracing)
        strategy = make_strategy(retry_strategy, max_retries)
        self._calls = Calls(
            self._session,
            self.config,
            operation=None if strategy is None else RetryableOperation(strategy, on_retry=self._retried),
            metrics=self._metrics,
            log_level=log_level,
        )
        self._reader = Reader(self._calls, keeps=cache)
        self._tools = ToolCalls(
            self._calls,
            self.list_tools,
            declares=tasks,
            timeout=None if self.config is None else self.config.timeout,
            raise_on_error=raise_on_error,
        )
        self._profile = ClientProfile(
            client_info or Implementation(name=name, version=__version__),
            capabilities,
            revisions=REVISIONS if revisions is None else select(revisions),
            limits=limits,
        )
        self._log_handler = log_handler
        self._change_handler = change_handler
        self._notification_handler = notification_handler
        self._stderr_handler = stderr_handler
        self._connection: Connection | WebConnection | None = None
        self._listening: list[Changes] = []
        self._lock: anyio.Lock | None = None
        self._pool = ServerPool(self._make_other, rules)

    # Life

    def validate(self) -> dict[str, Any]:
        """Return `{"valid": bool, "problems": [...]}`; each problem says what to change."""
        problems = ["no config"] if self.config is None else self.config.problems()
        return {"valid": not problems, "problems": problems}

    async def open(self) -> "MCPClient":
        """Connect, if not connected; may be called again after the connection was lost.

        Raises:
            TransportError: the server cannot be reached, or the config is incomplete.
        """
        if self.config is None:
            return self  # servers are named in each call
        if self._lock is None:
            self._lock = anyio.Lock()
        async with self._lock:
            if self._connection is not None and self._connection.session.is_closed:
                stale, self._connection = self._connection, None
                await stale.aclose()
            if self._connection is None:
                problems = self.config.problems()
                if problems:
                    raise TransportError(f"no connection possible: {'; '.join(problems)}")
                counts = None if self._metrics is None else self._metrics.http
                self._connection = await connect(self.config, self._make_session, self._stderr_handler, counts)
                self._calls.session = self._connection.session
                try:
                    if has(self.server_capabilities, "logging"):  # a wish; set_log_level() is a demand
                        await self._announce_level()
                    for changes in list(self._listening):
                        await changes.start(self._connection.session)
                except BaseException:
                    await self.aclose()
                    raise
        return self

    async def aclose(self) -> None:
        """Disconnect and leave nothing behind; harmless when not connected."""
        connection, self._connection = self._connection, None
        self._calls.session = None
        for changes in self._listening:
            changes.stop()
        with anyio.CancelScope(shield=True):
            if connection is not None:
                await connection.aclose()
            await self._pool.clear()
        self._reader.clear()

    async def __aenter__(self) -> "MCPClient":
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            warnings.warn(f"{self!r} was never closed: use `async with`, or aclose()", ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        return f"MCPClient({'per call' if self.config is None else self.config.endpoint})"

    def _make_session(self) -> ClientSession:
        assert self.config is not None
        session = ClientSession(
            ClientEngine(self._profile),
            self._handlers,
            on_log=self._log_handler,
            on_change=self._changed,
            on_notification=self._notification_handler,
            endpoint=self.config.endpoint,
        )
        session.tracer = None if self._tracing is None else CallTracer(self._tracing, self.config)
        return session

    async def _session(self) -> ClientSession:
        connection = self._connection
        if connection is None or connection.session.is_closed:
            if self.config is None:
                raise TransportError("no connection: this client has no config; name the server in the call")
            await self.open()
            connection = self._connection
            assert connection is not None
        return connection.session

    def _changed(self, change: Change) -> None:
        self._reader.change(change)
        self._tools.tasks.change(change)
        if self._change_handler is not None:
            self._change_handler(change)

    def _retried(self) -> None:
        if self._metrics is not None:
            self._metrics.retried()

    # What is known of the server

    @property
    def auth_provider(self) -> Any:
        """What gives this client its credentials, made of the config's `auth`; `None` without."""
        return None if self.config is None else self.config.auth

    @property
    def is_connected(self) -> bool:
        """Tell whether a connection is open."""
        return self._connection is not None and not self._connection.session.is_closed

    @property
    def protocol_version(self) -> str | None:
        """The negotiated revision."""
        context = self._context
        return None if context is None else context.revision.name

    @property
    def server_info(self) -> Implementation | None:
        """The server's self-reported identity."""
        context = self._context
        return None if context is None else context.peer

    @property
    def server_capabilities(self) -> Any:
        """What the server declared."""
        context = self._context
        return None if context is None else context.capabilities

    @property
    def instructions(self) -> str | None:
        """What the server says about its use."""
        context = self._context
        return None if context is None else context.instructions

    @property
    def _context(self) -> Any:
        return None if self._connection is None else self._connection.session.context

    # Tools

    async def call_tool(
        self,
        *target: Any,
        server_config: Any = None,
        tool_name: str | None = None,
        arguments: Any = None,
        params: Any = None,
        timeout: float | None = None,
        total_timeout: float | None = None,
        on_progress: ProgressHandler | None = None,
        meta: Mapping[str, Any] | None = None,
        raise_on_error: bool | None = None,
        task: bool | Mapping[str, Any] | None = None,
    ) -> ToolResult:
        """Call a tool: `call_tool(tool, arguments)`, or `call_tool(server, tool, arguments)` with a config per call.

        Args:
            timeout, total_timeout: seconds without progress, and seconds at all; default from the config.
            on_progress: gets progress, total and message of each progress notification.
            meta, raise_on_error: further `_meta` members of the request; default as the client was made.
            task: 2025-11-25: `True` or `{"ttl": seconds}` has the tool run as a task where it can, `False` never,
                default where it must. Later the server decides. In any case this waits for the result, and cancels the
                task when it is cancelled or `total_timeout` passes; `start_task` does not wait.

        Raises:
            MCPError: the tool failed (its own code), or the call did.
        """
        server, tool, given = target_of(target, server_config, tool_name, arguments, params, self.config is None)
        call = ToolCall(
            tool=tool,
            arguments=given,
            timeout=timeout,
            total_timeout=total_timeout,
            on_progress=on_progress,
            meta=meta,
            raise_on_error=raise_on_error,
            task=task,
        )
        if server is None:
            return await self._call(call)
        held = self._pool.take(server) or await self._pool.wait(server)
        other: MCPClient = held.client
        try:
            return await other._call(call)
        except BaseException as error:
            held.is_spoiled = not isinstance(error, MCPError) or isinstance(error, RequestTimeoutError)
            raise
        finally:
            self._pool.give_back(held)

    def _call(self, call: ToolCall) -> Awaitable[ToolResult]:
        if self._connection is None and self.config is not None and self.config.problems():
            # A call that cannot be made is a failed call, whatever the tool.
            raise ToolError(f"cannot call {call.tool!r}: {'; '.join(self.config.problems())}")
        return self._tools.call(call)

    async def call_tools(
        self,
        calls: Iterable[Any],
        *,
        max_concurrency: int = 16,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """Call many tools, some at once, and return their results in the order of the calls.

        Args:
            calls: each a tool's name, a tuple of what `call_tool` takes, `(tool, arguments)` or `(server, tool,
                arguments)`, or a mapping of its keywords: `{"tool": ..., "arguments": ...}`.
            max_concurrency: calls under way at once.
            return_exceptions: put a failed call's `MCPError` in its place, instead of raising the first and cancelling
                the others.
            options: further options of `call_tool`, for all of them.

        Raises:
            MCPError: a call failed, unless errors are returned.
        """

        return await call_many(
            lambda args, kwargs: self.call_tool(*args, **{**options, **kwargs}),
            calls,
            max_concurrency=max_concurrency,
            return_exceptions=return_exceptions,
        )

    async def start_task(
        self,
        tool: str,
        arguments: Any = None,
        *,
        ttl: float | None = None,
        on_progress: ProgressHandler | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> TaskHandle:
        """Call a tool that runs on at the server, without waiting for its result.

        Args:
            ttl: seconds the server shall keep the task, where the client may say so (2025-11-25).
            on_progress, meta: as in `call_tool`; progress until the task ends (2025-11-25).

        Returns:
            A handle; where the server decides and answered at once, one that has ended.

        Raises:
            MCPError: the server or the tool has no tasks, this client does not declare them, or the call failed.
        """
        return await self._tools.start(tool, arguments, ttl=ttl, on_progress=on_progress, meta=meta)

    def task(self, task_id: str) -> TaskHandle:
        """Return the handle of a task whose id was kept."""
        return self._tools.resume(task_id)

    async def list_tasks(self) -> list[Task]:
        """Return all tasks the server keeps for this caller (2025-11-25).

        Raises:
            MCPError: the server lists no tasks.
        """
        return await self._tools.list()

    async def list_tools(self) -> list[Tool]:
        """Return all tools, over all pages."""
        tools = [tool async for tool in self.iter_tools()]
        self._tools.learn(tools)
        return tools

    def iter_tools(self) -> AsyncIterator[Tool]:
        """Iterate over the tools, page by page."""
        return self._reader.items("tools/list")

    discover_tools = list_tools

    # Resources and prompts

    async def list_resources(self) -> list[Resource]:
        """Return all resources, over all pages."""
        return [item async for item in self.iter_resources()]

    def iter_resources(self) -> AsyncIterator[Resource]:
        """Iterate over the resources, page by page."""
        return self._reader.items("resources/list")

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """Return all resource templates, over all pages."""
        return [item async for item in self.iter_resource_templates()]

    def iter_resource_templates(self) -> AsyncIterator[ResourceTemplate]:
        """Iterate over the resource templates, page by page."""
        return self._reader.items("resources/templates/list")

    async def read_resource(self, uri: str, *, timeout: float | None = None) -> ResourceResult:
        """Return what a resource holds."""
        params = ReadResourceParams(uri=uri)
        return ResourceResult(
            await self._reader.get("resources/read", params, ReadResourceResult, uri, timeout=timeout)
        )

    async def list_prompts(self) -> list[Prompt]:
        """Return all prompts, over all pages."""
        return [item async for item in self.iter_prompts()]

    def iter_prompts(self) -> AsyncIterator[Prompt]:
        """Iterate over the prompts, page by page."""
        return self._reader.items("prompts/list")

    async def get_prompt(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> GetPromptResult:
        """Return a filled-in prompt; argument values that are not text are sent as JSON."""
        return await self._reader.prompt(name, arguments, timeout=timeout)

    async def complete(
        self,
        argument: str,
        value: str,
        *,
        prompt: str | None = None,
        template: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> Completion:
        """Return suggestions for an argument of a prompt or a variable of a resource template."""
        if (prompt is None) == (template is None):
            raise TypeError("complete an argument of a prompt= or of a template=")
        return await self._reader.completion(argument, value, prompt, template, context)

    # Everything else

    async def ping(self, *, timeout: float | None = None) -> None:
        """Return when the server has given a sign of life."""
        await self._session()
        methods = self._context.revision.methods
        await self._calls.read("ping" if "ping" in methods else "server/discover", EmptyParams(), timeout=timeout)

    async def set_log_level(self, level: LoggingLevel) -> None:
        """Ask for log messages from this level on, of every following call."""
        self._calls.log_level = level
        await self._session()
        await self._announce_level()

    async def _announce_level(self) -> None:
        level = self._calls.log_level
        if level is not None and "logging/setLevel" in self._context.revision.methods:
            await self._calls.read("logging/setLevel", SetLevelParams(level=level))

    def roots_changed(self) -> None:
        """Tell a handshake server that the roots changed; the envelope era asks each time."""
        if self._connection is not None and not self._connection.session.is_closed:
            self._connection.session.engine.announce_roots()
            self._connection.session.channel.flush()

    @asynccontextmanager
    async def listen(
        self,
        *,
        tools: bool = False,
        prompts: bool = False,
        resources: bool = False,
        uris: Iterable[str] = (),
        tasks: Iterable[str] = (),
        timeout: float | None = None,
    ) -> AsyncIterator[Changes]:
        """Hear of changes while the context is open: `async with client.listen(tools=True) as changes: async for ...`.

        Raises:
            MCPError: the server does not acknowledge; also from the iterator, when it cannot be reached again.
        """
        session = await self._session()
        wanted = filter_of(tools=tools, prompts=prompts, resources=resources, uris=uris, tasks=tasks)
        assert self.config is not None
        changes = Changes(wanted, self.open, self.config.timeout if timeout is None else timeout)
        await changes.start(session)
        self._listening.append(changes)
        try:
            yield changes
        finally:
            self._listening.remove(changes)
            changes.stop()

    async def request(self, method: str, params: Struct | None = None, *, timeout: float | None = None) -> Any:
        """Make any other call and return its result as builtins: for extensions."""
        raw, _ = await self._calls.read(method, params, timeout=timeout)
        return msgspec.json.decode(raw)

    # How it goes

    def get_metrics(self) -> dict[str, Any] | None:
        """Return what was counted, over all servers of this client; `None` unless `enable_metrics`.

        Keys: `calls`, `errors`, `error_rate`, `refused`, `timeouts`, `cancelled`, `avg_ms`, `p50_ms`, `p95_ms`,
        `p99_ms`, also for each of `methods` and `tools`; `retries`, `http_pool_hits`, `http_pool_misses`,
        `errors_by_code`.
        """
        return None if self._metrics is None else self._metrics.snapshot() | self._pool.counts()

    async def health_check(self, *, timeout: float | None = 5.0) -> dict[str, Any]:
        """Ask the server for a sign of life; never raises for a server that gives none.

        Returns:
            `status` (`healthy` or `unhealthy`) with `server`, `protocol_version` and `latency_ms`, or with `error`;
            without a config `servers` by their endpoints.
        """
        if self.config is not None:
            return await check_health(self, self.config.endpoint, timeout)
        found = {str(other): await other.health_check(timeout=timeout) for other in self._pool.clients}
        is_well = all(each["status"] == "healthy" for each in found.values())
        return {"status": "healthy" if is_well else "unhealthy", "servers": found}

    # Servers named in calls

    def _make_other(self, config: ClientConfig) -> "MCPClient":
        other = MCPClient(self._pool.rules.applied(config), **self._options)
        other._count_in(self._metrics)
        return other

    @property
    def connection_pool_config(self) -> dict[str, Any]:
        """How connections to servers that calls name are held: every option, as it is in effect."""
        return structs.asdict(self._pool.rules)

    @property
    def _websocket_pools(self) -> Mapping[Hashable, "MCPClient"]:
        return self._pool.websockets

    async def _clear_connection_pools(self) -> None:
        await self._pool.clear()

    def _count_in(self, metrics: "ClientMetrics | None") -> None:
        self._metrics = self._calls.metrics = metrics


def _make_metrics() -> "ClientMetrics":
    from .metrics import ClientMetrics  # what most clients do without

    return ClientMetrics()
