"""`MCPServer`: tools, resources and prompts registered with decorators, served over any transport."""

import inspect
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

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
from protocol.types import Annotations, Icon, Implementation, ToolAnnotations

from ..adapters.memory import MemoryChannel, join
from ..adapters.threads import WorkerPool
from .caching import ToolCache
from .entries import Entry, bare_or_called, positive
from .prompts import CompletionEntry, PromptEntry
from .registry import Registry
from .resources import ResourceEntry, TemplateEntry
from .session import ServerSession
from .tasks import TaskRunner
from .tools import ToolEntry

if TYPE_CHECKING:
    from .web_app import WebApplication
    from .web_options import HTTPOptions

__all__ = ["MCPServer"]

F = TypeVar("F", bound=Callable[..., Any])

Lifespan = Callable[["MCPServer"], AbstractAsyncContextManager[Any]]


class MCPServer:
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
        http_options: how to serve over HTTP: a mapping with the names of `HTTPOptions`.
        page_size: entries per page of a list; `None` for all at once.
        request_timeout: seconds a handler may take, unless its own `timeout` says otherwise; `None` for no limit.
        max_threads, max_queued: worker threads for plain functions, and how many calls may wait for one.
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
        http_options: "HTTPOptions | Mapping[str, Any] | None" = None,
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
        self._http_options = http_options
        if http_options is not None:
            self.http_options()  # what is wrong with them is said here
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
        self.limits = limits
        self._lifespan = lifespan
        self._stdio_permissions = None if stdio_permissions is None else frozenset(stdio_permissions)
        self._max_threads, self._max_queued = max_threads, max_queued
        self._sealer = StateSealer(state_keys or [secrets.token_bytes(32)])
        self._revisions: Sequence[Revision] = REVISIONS if revisions is None else select(revisions)
        self._list_ttl_ms = int(list_ttl * 1000)
        self.tasks = TaskRunner(self, limits)
        """The tasks that run and that ran."""
        self._caches: dict[str, ToolCache] = {}
        self._profiles: dict[tuple[bool, ...], ServerProfile] = {}
        self._pools: dict[int, WorkerPool] = {}
        self._running = 0
        self._start_lock: anyio.Lock | None = None
        self._leave: Callable[[], Any] | None = None

    # Registration

    @overload
    def tool(self, fn: F, /) -> F: ...
    @overload
    def tool(
        self,
        name: str | None = None,
        /,
        **options: Any,
    ) -> Callable[[F], F]: ...
    def tool(self, fn: Any = None, /, **options: Any) -> Any:
        """Register a function as a tool; with or without parentheses, the function itself comes back.

        Options: `name`, `title`, `description`, `annotations`, `icons`, `meta`, `timeout` (seconds), `blocking`
        (`False` runs a plain function in the read loop instead of a thread), `input_schema` (shown and checked instead
        of what the signature says), `output_schema` (a schema, or `False` for none), `required_permission`,
        `required_permissions` (all of them), `cache_ttl` (seconds) with `cache_key` (what clears it), `task`
        ("optional" or "required": runs as a task, see `tasks`) with `task_ttl` (seconds a task is kept, running or
        ended; `None` for as long as the server), `task_poll_interval` (seconds between polls) and `task_asks_first`
        (it is an ordinary call, with questions, until it awaits `ctx.start_task()`).

        >>> from kailash.mcp_server import MCPServer
        >>> server = MCPServer("doc")
        >>> @server.tool
        ... def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> add(1, 2)
        3
        """
        if isinstance(fn, str):
            options = {"name": fn, **options}
            fn = None
        return bare_or_called(fn, lambda function: self.add_tool(function, **options))

    def add_tool(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        blocking: bool | None = None,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | bool | None = None,
        required_permission: str | None = None,
        required_permissions: Iterable[str] = (),
        cache_key: str | None = None,
        cache_ttl: float | None = None,
        task: str | None = None,
        task_ttl: float | None = 3600.0,
        task_poll_interval: float | None = 1.0,
        task_asks_first: bool = False,
    ) -> None:
        """Register a function as a tool; the options are those of `tool`."""
        if cache_key is not None and cache_ttl is None:
            raise TypeError("cache_key names a cache; say how long results live with cache_ttl (seconds)")
        required = {required_permission} if required_permission is not None else set()
        entry = ToolEntry(
            fn,
            name=name,
            title=title,
            description=description,
            annotations=annotations,
            icons=icons,
            meta=meta,
            timeout=timeout,
            blocking=blocking,
            input_schema=input_schema,
            output_schema=output_schema,
            required_permissions=frozenset(required.union(required_permissions)),
            cache_name=cache_key,
            cache_ttl=positive("cache_ttl", cache_ttl),
            task=task,
            task_ttl=task_ttl,
            task_poll_interval=task_poll_interval,
            task_asks_first=task_asks_first,
        )
        self.registry.add_tool(entry)
        self.tasks.offer(entry)
        if entry.cache_ttl is not None:
            self._caches[entry.name] = ToolCache(cache_key or entry.name, entry.cache_ttl)

    def resource(
        self,
        uri: str,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        size: int | None = None,
        annotations: Annotations | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        blocking: bool | None = None,
    ) -> Callable[[F], F]:
        """Register a function as a resource, or, when the URI has `{variables}`, as a resource template (RFC 6570)."""
        if not isinstance(uri, str):
            raise TypeError('a resource needs its URI: @server.resource("config://settings")')
        common: dict[str, Any] = {
            "name": name,
            "title": title,
            "description": description,
            "mime_type": mime_type,
            "annotations": annotations,
            "icons": icons,
            "meta": meta,
            "timeout": timeout,
            "blocking": blocking,
        }

        def register(fn: Callable[..., Any]) -> None:
            if "{" in uri:
                if size is not None:
                    raise TypeError("a template has no size")
                self.registry.templates.add(TemplateEntry(fn, uri, **common))
            else:
                self.registry.resources.add(ResourceEntry(fn, uri, size=size, **common))

        return bare_or_called(None, register)  # type: ignore[no-any-return]

    @overload
    def prompt(self, fn: F, /) -> F: ...
    @overload
    def prompt(self, name: str | None = None, /, **options: Any) -> Callable[[F], F]: ...
    def prompt(self, fn: Any = None, /, **options: Any) -> Any:
        """Register a function as a prompt; with or without parentheses, the function itself comes back.

        Options: `name`, `title`, `description`, `icons`, `meta`, `timeout`, `blocking`.
        """
        if isinstance(fn, str):
            options = {"name": fn, **options}
            fn = None
        return bare_or_called(fn, lambda function: self.registry.prompts.add(PromptEntry(function, **options)))

    def completion(
        self, *, prompt: str | None = None, template: str | None = None, argument: str, blocking: bool | None = None
    ) -> Callable[[F], F]:
        """Register a function that suggests values for an argument of a prompt or a variable of a template."""
        if (prompt is None) == (template is None):
            raise TypeError("a completion is for a prompt= or a template=")
        ref = prompt if prompt is not None else template
        assert ref is not None

        def register(fn: Callable[..., Any]) -> None:
            self.registry.completions[ref, argument] = CompletionEntry(fn, ref, argument, blocking=blocking)

        return bare_or_called(None, register)  # type: ignore[no-any-return]

    def remove_tool(self, name: str) -> None:
        """Take a tool away; clients are told."""
        self.registry.remove_tool(name)
        self.tasks.withdraw(name)
        self._caches.pop(name, None)

    def remove_resource(self, uri: str) -> None:
        """Take a resource or a template away; clients are told."""
        catalogue: Any = self.registry.templates if "{" in uri else self.registry.resources
        catalogue.remove(uri)

    def remove_prompt(self, name: str) -> None:
        """Take a prompt away; clients are told."""
        self.registry.prompts.remove(name)

    def enable_tool(self, name: str) -> None:
        """Offer a disabled tool again; clients are told."""
        self.registry.tools.enable(name, True)

    def disable_tool(self, name: str) -> None:
        """Neither list nor serve a tool for now; clients are told."""
        self.registry.tools.enable(name, False)

    def clear_cache(self, name: str | None = None) -> None:
        """Forget kept results, of one `cache_key` (or tool name) or of all."""
        for tool, cache in self._caches.items():
            if name is None or name in (tool, cache.name):
                cache.clear()

    # Changes

    def notify_resource_updated(self, uri: str) -> None:
        """Tell the clients that watch a resource that it changed; safe from any thread."""
        self._publish(ChangeNotice(ChangeKind.RESOURCE, uri))

    def notify_list_changed(self, kind: ChangeKind) -> None:
        """Tell the clients that want to know that a list changed; registering and removing does it by itself."""
        self._publish(ChangeNotice(kind))

    def _list_changed(self, kind: ChangeKind) -> None:
        for application in self.applications:
            application.refresh()
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
        transport: Literal["stdio", "http", "sse"] | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        workers: int | None = None,
        log_level: str | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        drain_timeout: float | None = None,
    ) -> None:
        """Serve until the client is done (stdio) or until SIGTERM or SIGINT; blocks.

        Called without arguments in the script that is run, this reads `--transport --host --port --log-level --workers`
        from its command line, and `--help` lists them. `MCP_TRANSPORT`, `MCP_HOST`, `MCP_PORT`, `MCP_LOG_LEVEL` and
        `MCP_WORKERS` of the environment rank below both.

        Args:
            transport: default what the server was made for, else HTTP if `host`, `port` or `workers` is given.
            host, port: where to listen; default 127.0.0.1:8080, and port 0 means a free one.
            workers: processes that share the port and are replaced when they die.
            log_level: log to standard error from this level on.
            ssl_certfile, ssl_keyfile: serve TLS.
            drain_timeout: seconds for requests in flight when told to stop; a second signal stops at once.

        Raises:
            ValueError: an option that does not fit the transport, or a malformed environment variable.
        """
        from .running import RunOptions, run, script_of

        given = RunOptions(transport=transport, host=host, port=port, workers=workers, log_level=log_level)
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

    @property
    def default_transport(self) -> Literal["http", "sse"] | None:
        """What `run()` serves when it is not told."""
        return "http" if self.enable_http_transport else "sse" if self.enable_sse_transport else None

    async def run_stdio(self) -> BaseException | None:
        """Serve over stdio until the client is done; returns what ended the connection, `None` for an orderly end."""
        from ..adapters.stdio import serve_stdio

        async with self.running():
            session = self.new_session(*await self._stdio_identity())
            error = await serve_stdio(
                Pipe(session.engine),
                on_open=session.attach,
                on_events=session.on_events,
                on_closed=session.on_closed,
            )
            await session.aclose()
            return error

    async def _stdio_identity(self) -> tuple[str | None, frozenset[str] | None]:
        """Return principal and permissions of whoever owns this process."""
        if self.auth_provider is None:
            return None, self._stdio_permissions
        credentials = {
            key: os.environ[variable]
            for key, variable in (("api_key", "MCP_API_KEY"), ("token", "MCP_TOKEN"))
            if os.environ.get(variable)
        }
        if not credentials:
            return None, self._stdio_permissions or frozenset()
        from .identity import read_identity
        from .providers import ask_provider

        if "token" in credentials:
            credentials.setdefault("api_key", credentials["token"])  # as a Bearer header does
        found = ask_provider(self.auth_provider, credentials)
        identity = read_identity(await found if hasattr(found, "__await__") else found)
        return identity.principal, identity.permissions

    def new_session(self, principal: str | None = None, permissions: frozenset[str] | None = None) -> ServerSession:
        """Return a session, with an engine of its own, for one connection."""
        engine = ServerEngine(self.profile())
        engine.principal = principal
        return ServerSession(self, engine, permissions)

    def open_memory(self, client: MemoryChannel) -> MemoryChannel:
        """Serve a client in this process: a real protocol round trip without a socket."""
        session = self.new_session(permissions=self._stdio_permissions)
        channel = MemoryChannel(Pipe(session.engine), on_events=session.on_events, on_closed=session.on_closed)
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

    def cache_for(self, entry: Entry) -> ToolCache | None:
        """Return where an entry's results are kept, if they are."""
        return self._caches.get(entry.name) if self._caches and type(entry) is ToolEntry else None


def _provider_of(given: Any) -> Any:
    from .providers import as_provider  # what most servers on their own stdio never need

    return as_provider(given)
