"""`MCPServer`: tools, resources and prompts registered with decorators, served over any transport."""

import inspect
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
from msgspec import UNSET

from protocol.capabilities import (
    PromptsCapability,
    ResourcesCapability,
    ServerCapabilities,
    ToolsCapability,
)
from protocol.events import ChangeKind
from protocol.inputs import StateSealer
from protocol.limits import SERVER_LIMITS, Limits
from protocol.pipe import Pipe
from protocol.revisions import REVISIONS, Revision, select
from protocol.server import ServerEngine, ServerProfile
from protocol.subscriptions import ChangeNotice
from protocol.types import Icon, Implementation

from ..adapters.loops import AsyncFunction
from ..adapters.memory import MemoryChannel, join
from ..adapters.threads import WorkerPool
from .callers import ANYONE, Identity, read_identity
from .entries import positive
from .policies import Policies
from .registration import Registration
from .registry import Registry
from .session import ServerSession
from .tasks import TaskRunner

if TYPE_CHECKING:
    from ..stores import Store
    from ..telemetry import AuditLog, AuditSink, MetricsCollector
    from ..telemetry.tracing import Tracing
    from .line_sockets import SocketOptions
    from .running import RunOptions
    from .server_transport import WebSocketServerTransport
    from .web_app import WebApplication
    from .web_options import HTTPOptions

__all__ = ["MCPServer"]

TransportName = Literal["stdio", "http", "sse", "websocket", "tcp", "unix"]
Lifespan = Callable[["MCPServer"], AbstractAsyncContextManager[Any]]


class MCPServer(Registration):
    """A server of tools, resources and prompts.

    Args:
        name: shown to clients.
        version: shown to clients; default the version of this package.
        title, description, website_url, icons: shown to clients that want more.
        instructions: text for the client's model on how to use the server.
        lifespan: `async with lifespan(server) as state`: entered once before the first connection is served, left after
            the last; handlers find `state` in `ctx.lifespan`.
        auth_provider: authenticates callers: anything with `authenticate(credentials)`, or a list of such; see `auth`.
        stdio_permissions: what a caller over stdio may do when it brings no credentials (environment variables
            `MCP_API_KEY` or `MCP_TOKEN`); default none if there is an `auth_provider`, else everything.
        enable_http_transport: have `run()` serve Streamable HTTP, at `/mcp` and at the base URL.
        enable_sse_transport: have `run()` serve the older HTTP+SSE, at `/sse` with `/messages`.
        enable_websocket_transport: have `run()` serve WebSockets, at `/ws` and, beside HTTP, at `/mcp` on upgrade.
        http_options: how to serve over HTTP: a mapping with the names of `HTTPOptions`.
        socket_options: how to serve over TCP and Unix sockets: a mapping with the names of `SocketOptions`.
        rate_limit_config: how many calls pass: `requests_per_minute` (or `requests` and `window`), `burst_size`,
            `per_user`.
        circuit_breaker_config: when what fails is not tried for a while: `failure_threshold`, `timeout`,
            `success_threshold`, `is_failure`.
        cache_config: how many results are kept: `max_entries`, `max_bytes`, `max_ttl`, `on_store_error`.
        store: where servers of one name keep rate limits, results and sessions together: `redis://…`; default here.
        on_store_error: whether calls pass (`"open"`) or are refused (`"closed"`) while the store of the limits is away.
        max_concurrent_requests: calls that run at once; `max_queued` wait, and more are refused at once.
        enable_metrics: count calls for `get_metrics()`, and over HTTP for `/metrics`.
        audit: write each decision down: `True` (logger `kailash.audit`), the path of a file, or a function.
        tracing: make OpenTelemetry spans (extra `otel`).
        page_size: entries per page of a list; `None` for all at once.
        request_timeout: seconds a handler may take, unless its own `timeout` says otherwise; `None` for no limit.
        max_threads, max_queued: worker threads for plain functions, and how many calls may wait for one, or for their
            turn where only so many may run at once.
        list_ttl: seconds a client may keep lists; they still go stale at once when they change.
        limits: bounds on what one client can make the server hold.
        state_keys: secrets of 32 bytes or more that seal request state; the first seals. Default: a random one, which
            is right for one process; several processes behind one address must share them.
        revisions: names of the protocol revisions to serve; default all five.
        debug: show callers the text of unexpected exceptions.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        title: str | None = None,
        description: str | None = None,
        website_url: str | None = None,
        icons: Sequence[Icon] | None = None,
        instructions: str | None = None,
        lifespan: Lifespan | None = None,
        auth_provider: Any = None,
        stdio_permissions: Iterable[str] | None = None,
        enable_http_transport: bool = False,
        enable_sse_transport: bool = False,
        enable_websocket_transport: bool = False,
        http_options: "HTTPOptions | Mapping[str, Any] | None" = None,
        socket_options: "SocketOptions | Mapping[str, Any] | None" = None,
        rate_limit_config: Mapping[str, Any] | None = None,
        circuit_breaker_config: Mapping[str, Any] | None = None,
        cache_config: Mapping[str, Any] | None = None,
        store: "str | Store | None" = None,
        on_store_error: Literal["open", "closed"] = "closed",
        max_concurrent_requests: int | None = None,
        enable_metrics: bool = False,
        audit: "AuditSink | AuditLog | None" = None,
        tracing: "bool | Tracing" = False,
        page_size: int | None = None,
        request_timeout: float | None = 300.0,
        max_threads: int = 32,
        max_queued: int = 64,
        list_ttl: float = 0.0,
        limits: Limits = SERVER_LIMITS,
        state_keys: Sequence[bytes] | None = None,
        revisions: Iterable[str] | None = None,
        debug: bool = False,
    ) -> None:
        if not name:
            raise ValueError("a server needs a name")
        if page_size is not None and page_size < 1:
            raise ValueError(f"page_size must be 1 or more, not {page_size}")
        from .. import __version__

        self.name = name
        self.run_defaults: RunOptions | None = None
        """What `run()` falls back on; of the configuration, where there is one."""
        self.info = Implementation(
            name=name,
            version=version or __version__,
            title=UNSET if title is None else title,
            description=UNSET if description is None else description,
            website_url=UNSET if website_url is None else website_url,
            icons=UNSET if icons is None else list(icons),
        )
        self.instructions = instructions
        self.auth_provider = None if auth_provider is None else _provider_of(auth_provider)
        self.enable_http_transport = enable_http_transport
        self.enable_sse_transport = enable_sse_transport
        self.enable_websocket_transport = enable_websocket_transport
        self._http_options = http_options
        if http_options is not None:
            self.http_options()  # what is wrong with them is said here
        self._socket_options = socket_options
        if socket_options is not None:
            self.socket_options()
        self.page_size = page_size
        self.request_timeout = positive("request_timeout", request_timeout)
        self.debug = debug
        self.state: Any = None
        """What the lifespan yielded, while the server runs."""
        self.sessions: set[ServerSession] = set()
        """The live connections."""
        self.place = ""
        """What ids begin with that other workers must recognise as ours."""
        self.applications: set[WebApplication] = set()
        """What is served over HTTP just now."""
        self.registry = Registry(self._list_changed)
        self.policies = Policies(
            name,
            rate_limit=rate_limit_config,
            breaker=circuit_breaker_config,
            cache=cache_config,
            store=store,
            on_store_error=on_store_error,
            most_at_once=max_concurrent_requests,
            most_waiting=max_queued,
            metrics=enable_metrics,
            audit=audit,
            tracing=tracing,
        )
        self.limits = limits
        self._lifespan = lifespan
        self._stdio_permissions = None if stdio_permissions is None else frozenset(stdio_permissions)
        self._max_threads, self._max_queued = max_threads, max_queued
        self._sealer = StateSealer(state_keys or [secrets.token_bytes(32)])
        self._revisions: Sequence[Revision] = REVISIONS if revisions is None else select(revisions)
        self._list_ttl_ms = int(list_ttl * 1000)
        self.tasks = TaskRunner(self, limits)
        """The tasks that run and that ran."""
        self._profiles: dict[tuple[bool, ...], ServerProfile] = {}
        self._pools: dict[int, WorkerPool] = {}
        self._running = 0
        self._start_lock: anyio.Lock | None = None
        self._leave: Callable[[], Any] | None = None

    # What is known of it while it runs

    @property
    def metrics(self) -> "MetricsCollector":
        """Takes what you count yourself: `metrics.increment(name)` and `metrics.record(name, value)`."""
        return self.policies.metrics

    @property
    def store(self) -> "Store":
        """Where rate limits, results and sessions live that several processes may share."""
        return self.policies.store

    def get_metrics(self) -> dict[str, Any]:
        """Return what was counted, in one flat dict: `tools_called`, `cache_hits`, `error_rate` (0 to 1), …

        Calls are counted with `enable_metrics=True`.
        """
        return self.policies.metrics.snapshot()

    def get_tool_stats(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each tool: calls, errors, cache hits, percentiles in milliseconds."""
        return self.policies.metrics.stats("tool")

    def get_resource_stats(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each resource and template, by URI."""
        return self.policies.metrics.stats("resource")

    def get_server_stats(self) -> dict[str, Any]:
        """Return what the server is, what it offers, and how it does."""
        registry = self.registry
        return {
            "name": self.name,
            "version": self.info.version,
            "tools": len(registry.tools),
            "resources": len(registry.resources) + len(registry.templates),
            "prompts": len(registry.prompts),
            "connections": len(self.sessions),
            "circuit_breakers": self.policies.breakers(),
            "metrics": self.get_metrics(),
        }

    async def health_check(self) -> dict[str, Any]:
        """Return whether all is well: `healthy`, or `degraded` with the problems: open breakers, a lost store."""
        wrong = [
            f"circuit breaker of {name} is {state}"
            for name, state in self.policies.breakers().items()
            if state != "closed"
        ]
        wrong += await self.policies.check_store()
        return {"status": "degraded" if wrong else "healthy", "problems": wrong, "connections": len(self.sessions)}

    def reset_circuit_breaker(self, name: str | None = None) -> None:
        """Close the circuit breaker of a tool, or all of them."""
        self.policies.reset_breaker(name)

    def clear_cache(self, name: str | None = None) -> None:
        """Forget kept results: all, or those of a tool, of a `cache_key`, or of one filled in (`"weather:Paris"`).

        With a `store` that is shared, its results are forgotten in the background; there a name that is filled in
        clears all of its `cache_key`.
        """
        for tag in self.policies.clear_cache(name):
            self._spawn(self.policies.clear_store, tag)

    def _spawn(self, async_fn: AsyncFunction, *args: Any) -> None:
        """Run something in whatever loop serves; from any thread."""
        loops = [app.carriers.loop for app in self.applications] + [session.channel.loop for session in self.sessions]
        if not loops:
            raise RuntimeError("the server does not run: there is no loop in which its store could be asked")
        loops[0].call_threadsafe(lambda: loops[0].spawn(async_fn, args, None, lambda _: None))

    @classmethod
    def from_config(cls, source: "str | os.PathLike[str] | Mapping[str, Any] | None" = None, **arguments: Any) -> Self:
        """Return a server of what is written down: a TOML or JSON file, and `MCP_*` variables of the environment.

        Arguments rank above the environment, that above the file; see `configuration`.

        Args:
            source: the file's path, what such a file holds, or `None`.
            arguments: those of the class.

        Raises:
            TypeError: an unknown option, or a value of the wrong type.
            ValueError: a malformed file or variable, or no name.
        """
        from .configuration import read_settings  # what a server that is made in code never needs

        settings = read_settings(cls, source, arguments)
        server = cls(**settings.options)
        server.run_defaults = settings.run
        return server

    # Changes

    def notify_resource_updated(self, uri: str) -> None:
        """Tell the clients that watch a resource that it changed; safe from any thread."""
        self._publish(ChangeNotice(ChangeKind.RESOURCE, uri))

    def notify_list_changed(self, kind: ChangeKind) -> None:
        """Tell the clients that want to know that a list changed; registering and removing does it by itself."""
        self._publish(ChangeNotice(kind))

    def _refresh(self) -> None:
        for application in self.applications:
            application.refresh()

    def _list_changed(self, kind: ChangeKind) -> None:
        self._refresh()
        if self.sessions or self.applications:
            self._publish(ChangeNotice(kind))

    def _publish(self, notice: ChangeNotice) -> None:
        self.publish_here(notice)
        for application in self.applications:
            application.tell(notice)

    def publish_here(self, notice: ChangeNotice) -> None:
        """Tell the clients of this process."""
        for session in list(self.sessions):
            if threading.get_ident() == session.thread:
                session.engine.publish(notice)
                session.channel.flush()
            else:
                session.call_soon_threadsafe(lambda s=session: (s.engine.publish(notice), s.channel.flush()))

    # Serving

    def run(
        self,
        transport: "TransportName | WebSocketServerTransport | None" = None,
        *,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        workers: int | None = None,
        log_level: str | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        drain_timeout: float | None = None,
    ) -> None:
        """Serve until the client is done (stdio) or until SIGTERM or SIGINT; blocks.

        Called without arguments in the script that is run, this reads `--transport --host --port --path --log-level
        --workers` from its command line, and `--help` lists them. `MCP_TRANSPORT`, `MCP_HOST`, `MCP_PORT`, `MCP_PATH`,
        `MCP_LOG_LEVEL` and `MCP_WORKERS` of the environment rank below both.

        Args:
            transport: `stdio`, `http`, `sse`, `websocket`, `tcp`, `unix`, or a `WebSocketServerTransport`; default what
                the server was made for, else HTTP if `host`, `port` or `workers` is given.
            host, port: where to listen; default 127.0.0.1:8080, and port 0 means a free one.
            path: of the Unix socket.
            workers: processes that share the port and are replaced when they die.
            log_level: log to standard error from this level on.
            ssl_certfile, ssl_keyfile: serve TLS.
            drain_timeout: seconds for requests in flight when told to stop; a second signal stops at once.

        Raises:
            ValueError: an option that does not fit the transport, or a malformed environment variable.
        """
        from .running import RunOptions, run, script_of

        if transport is not None and not isinstance(transport, str):
            transport.run(self, workers=workers or 1, log_level=log_level)
            return
        given = RunOptions(transport=transport, host=host, port=port, path=path, workers=workers, log_level=log_level)
        is_script = script_of(inspect.currentframe())
        more = {"ssl_certfile": ssl_certfile, "ssl_keyfile": ssl_keyfile, "drain_timeout": drain_timeout}
        reads_arguments = is_script and given == RunOptions()
        run(self, given, reads_arguments=reads_arguments, more=more)

    async def serve_http(
        self, host: str = "127.0.0.1", port: int = 8080, *, started: Callable[[int], Any] | None = None, **options: Any
    ) -> None:
        """Serve over HTTP in a loop of yours, on asyncio or trio, until cancelled.

        Args:
            host, port: where to listen; port 0 means a free one.
            started: called with the port once connections are accepted.
            options: those of `HTTPOptions`, which rank above the server's own.

        Raises:
            OSError: the address is taken, or is none of this machine's.
        """
        from .serving import serve_until_cancelled

        await serve_until_cancelled(self, host, port, self.http_options(**options), started)

    async def serve_tcp(
        self, host: str = "127.0.0.1", port: int = 8080, *, started: Callable[[int], Any] | None = None, **options: Any
    ) -> None:
        """Serve newline-delimited messages over TCP in a loop of yours, on asyncio or trio, until cancelled.

        Args:
            host, port: where to listen; port 0 means a free one.
            started: called with the port once connections are accepted.
            options: those of `SocketOptions`, which rank above the server's own.

        Raises:
            OSError: the address is taken, or is none of this machine's.
            ValueError: there is an `auth_provider`, to which nobody could present credentials.
        """
        from .line_sockets import serve_tcp

        await serve_tcp(self, host, port, self.socket_options(**options), started)

    async def serve_unix(
        self, path: "str | os.PathLike[str]", *, started: Callable[[], Any] | None = None, **options: Any
    ) -> None:
        """Serve newline-delimited messages over a Unix socket in a loop of yours, on asyncio or trio, until cancelled.

        Only processes of this user (and root) can connect; callers are told apart as `uid:1000` where the system says.

        Args:
            path: of the socket; what a dead server left there is replaced.
            started: called once connections are accepted.
            options: those of `SocketOptions`, which rank above the server's own.

        Raises:
            OSError: another server listens there, or the path cannot be used.
            ValueError: there is an `auth_provider` that has no `authenticate_peer(*, uid, gid, pid)`.
        """
        from .line_sockets import serve_unix

        await serve_unix(self, os.fspath(path), self.socket_options(**options), started)

    def asgi_app(self, **options: Any) -> Any:
        """Return an ASGI application that serves this server; mount it under any path, no lifespan needed.

        Args:
            options: those of `HTTPOptions`, which rank above the server's own.
        """
        from .asgi import ASGIServer

        return ASGIServer(self, self.http_options(**options))

    def http_options(self, **more: Any) -> "HTTPOptions":
        """Return how this server is served over HTTP.

        Raises:
            TypeError, ValueError: an unknown option, or one with a wrong value.
        """
        from .web_options import HTTPOptions

        return HTTPOptions.of(self._http_options, **more)

    def socket_options(self, **more: Any) -> "SocketOptions":
        """Return how this server is served over TCP and Unix sockets.

        Raises:
            TypeError, ValueError: an unknown option, or one with a wrong value.
        """
        from .line_sockets import SocketOptions

        return SocketOptions.of(self._socket_options, **more)

    @property
    def default_transport(self) -> Literal["http", "sse", "websocket"] | None:
        """What `run()` serves when it is not told."""
        if self.enable_http_transport:
            return "http"
        return "sse" if self.enable_sse_transport else "websocket" if self.enable_websocket_transport else None

    async def run_stdio(self) -> BaseException | None:
        """Serve over stdio until the client is done; returns what ended the connection, `None` for an orderly end."""
        from ..adapters.stdio import serve_stdio

        async with self.running():
            session = self.new_session(await self._stdio_identity(), transport="stdio")
            error = await serve_stdio(
                Pipe(session.engine, is_paced=True),
                on_open=session.attach,
                on_events=session.on_events,
                on_closed=session.on_closed,
            )
            await session.aclose()
            return error

    async def _stdio_identity(self) -> Identity:
        """Return who owns this process."""
        if self.auth_provider is None:
            return Identity(permissions=self._stdio_permissions)
        credentials = {
            key: os.environ[variable]
            for key, variable in (("api_key", "MCP_API_KEY"), ("token", "MCP_TOKEN"))
            if os.environ.get(variable)
        }
        if not credentials:
            return Identity(permissions=self._stdio_permissions or frozenset())
        from .providers import ask_provider

        if "token" in credentials:
            credentials.setdefault("api_key", credentials["token"])  # as a Bearer header does
        found = ask_provider(self.auth_provider, credentials)
        return read_identity(await found if hasattr(found, "__await__") else found)

    def new_session(self, identity: Identity = ANYONE, *, transport: str = "memory") -> ServerSession:
        """Return a session, with an engine of its own, for one connection."""
        engine = ServerEngine(self.profile())
        engine.principal = identity.principal
        return ServerSession(self, engine, identity, transport=transport)

    def open_memory(self, client: MemoryChannel) -> MemoryChannel:
        """Serve a client in this process: a real protocol round trip without a socket."""
        session = self.new_session(Identity(permissions=self._stdio_permissions))
        channel = MemoryChannel(
            Pipe(session.engine, is_paced=True), on_events=session.on_events, on_closed=session.on_closed
        )
        session.attach(channel)
        join(channel, client)
        return channel

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the lifespan open; connections served meanwhile share it."""
        if self._start_lock is None:
            self._start_lock = anyio.Lock()
        async with self._start_lock:
            if self._running == 0 and self._lifespan is not None:
                manager = self._lifespan(self)
                self.state = await manager.__aenter__()
                self._leave = lambda: manager.__aexit__(None, None, None)
            self._running += 1
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                async with self._start_lock:
                    self._running -= 1
                    if self._running == 0:
                        await self.tasks.aclose()
                        await self.policies.aclose()
                        for pool in self._pools.values():
                            pool.close()
                        self._pools.clear()
                        leave, self._leave = self._leave, None
                        if leave is not None:
                            await leave()
                            self.state = None

    def profile(self, *, lists_tasks: bool = True) -> ServerProfile:
        """Return what an engine shows of this server: capabilities follow from what is registered now.

        Args:
            lists_tasks: offer `tasks/list`; not for callers that nobody tells apart, who share all their tasks.
        """
        registry = self.registry
        has_resources = bool(len(registry.resources) or len(registry.templates))
        has_prompts, completes = bool(len(registry.prompts)), bool(registry.completions)
        key = (has_resources, has_prompts, completes, self.tasks.is_offered, lists_tasks)
        profile = self._profiles.get(key)
        if profile is not None:
            return profile
        capabilities = ServerCapabilities(
            logging={},
            tools=ToolsCapability(list_changed=True),
            resources=ResourcesCapability(subscribe=True, list_changed=True) if has_resources else UNSET,
            prompts=PromptsCapability(list_changed=True) if has_prompts else UNSET,
            completions={} if completes else UNSET,
        )
        self.tasks.declare(capabilities, lists=lists_tasks)
        kept = (self._list_ttl_ms, "private")
        lists = ("tools/list", "resources/list", "resources/templates/list", "prompts/list", "server/discover")
        profile = self._profiles[key] = ServerProfile(
            self.info,
            capabilities,
            revisions=self._revisions,
            instructions=self.instructions,
            limits=self.limits,
            sealer=self._sealer,
            tasks=self.tasks.table,
            arguments=registry.decoders,
            cache_hints=dict.fromkeys(lists, kept),
        )
        return profile

    # For sessions

    def worker_pool(self) -> WorkerPool:
        """Return the running loop's worker threads."""
        key = threading.get_ident()
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = WorkerPool(limit=self._max_threads, queue=self._max_queued)
        return pool


def _provider_of(given: Any) -> Any:
    from .providers import as_provider  # what most servers on their own stdio never need

    return as_provider(given)
