"""What a server serves over HTTP: its paths, its health, and its end. Whoever moves the bytes is told in `serving`."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from protocol.events import ChangeKind
from protocol.framing.httphead import RequestHead
from protocol.http.answer import ANYWHERE, Answer, Arrival
from protocol.http.endpoint import StreamableHTTPEndpoint, StreamableHTTPOptions
from protocol.http.sse_endpoint import SSEEndpoint
from protocol.subscriptions import ChangeNotice

from ..adapters.carriers import Carriers, EndpointLike
from ..adapters.loops import current_loop
from ..adapters.switchboard import Switchboard
from ..telemetry.prometheus import MetricsEndpoint
from .web import WebRuntime
from .web_options import HTTPOptions

if TYPE_CHECKING:
    from ..stores import Store
    from .server import MCPServer
    from .sharing import SharedSessions
    from .websocket import Sockets

__all__ = ["StatusEndpoint", "WebApplication"]

_PUBLISHING = 2.0
"""Seconds between two looks at gauges that other workers tell."""
_decode_news = msgspec.json.Decoder(tuple[ChangeKind, str | None, bytes]).decode
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")


class WebApplication:
    """The endpoints of one server, and the runtime behind them. Made in a task of the loop that serves.

    Args:
        server: what is served.
        options: how.
        http: serve Streamable HTTP at `/mcp` and at `/`.
        sse: serve HTTP+SSE at `/sse` and `/messages`.
        websocket: serve WebSockets at `/ws`, `/mcp` and `/`, or, where nothing else is served, at every path.
        switchboard: of the workers that share the port, if there are several.
    """

    def __init__(
        self,
        server: "MCPServer",
        options: HTTPOptions,
        *,
        http: bool = True,
        sse: bool = False,
        websocket: bool = False,
        switchboard: Switchboard | None = None,
    ) -> None:
        self.server = server
        self.options = options
        self._switchboard = switchboard
        self.carriers = Carriers(current_loop())
        self.runtime = WebRuntime(server, self.carriers)
        self.admit: Callable[[EndpointLike, RequestHead, Arrival], Any] | None = None
        if server.auth_provider is not None or server.policies.tells_callers_apart:
            self.admit = options.admission(server.auth_provider, self.carriers.loop.now, server.policies)
        self.take = self.runtime.take
        self.sharing: SharedSessions | None = None
        if server.policies.store.sessions is not None:
            self._share(server.policies.store)
        self.is_draining = False
        self._timer: Any = None
        self._ticker: Any = None
        if switchboard is not None:
            server.place = f"{switchboard.number}."
        size = server.limits.message_bytes
        profile = self._profile()
        self.http = self.sse = None
        self.routes: dict[str, EndpointLike] = {
            "/health": StatusEndpoint(self.health),
            "/ready": StatusEndpoint(self.readiness),
        }
        if http:
            self.http = StreamableHTTPEndpoint(
                profile,
                options.endpoint_options(size),
                mint=self.mint if self.sharing is None else mint_shared,
                mirrors=server.registry.mirrors,
                logs=options.event_store,
                sharing=None if self.sharing is None else self.sharing.log_of,
            )
            if self.sharing is not None:
                self.sharing.endpoint = self.http
            self.routes["/mcp"] = self.routes["/"] = self.http
            self._arm()
        if sse:
            self.sse = SSEEndpoint(
                profile, options.sse_options(size), mint=self.mint if self.sharing is None else mint_shared
            )
            served = self.sse if self.sharing is None else self.sharing.share_sse(self.sse)
            self.routes["/sse"] = self.routes["/messages"] = served
        self.sockets: Sockets | None = None
        if websocket:
            self._serve_sockets("/ws", "/mcp", "/") if http or sse else self._serve_sockets("*")
        if server.policies.is_counting:
            self._serve_metrics()
        server.applications.add(self)

    def _serve_sockets(self, *paths: str) -> None:
        from .websocket import Sockets  # what most servers never need

        self.sockets = Sockets(self.server, self.options, self._profile, paths)

    def _profile(self) -> Any:
        # Callers that nobody tells apart would list each other's tasks.
        return self.server.profile(lists_tasks=self.server.auth_provider is not None)

    def _share(self, store: "Store") -> None:
        from .sharing import SharedSessions  # what servers without a shared store never need

        options = self.options
        if options.event_store is not None:
            raise ValueError("event_store: events of sessions that several processes serve are kept in their store")
        self.sharing = SharedSessions(
            store,
            self.server.name,
            self.runtime,
            self.carriers,
            admit=self.admit,
            idle=options.session_idle,
            life=options.session_life,
            hear=self.hear,
            limits=options.endpoint_options(self.server.limits.message_bytes).log,
            all_logs_size=StreamableHTTPOptions().all_logs_size,
        )
        self.take, self.admit = self.sharing.take, self.sharing.admit

    async def start(self) -> None:
        """Hear the processes that serve the same sessions, where there are such; before anything is served."""
        if self.sharing is not None:
            await self.sharing.start()

    def refresh(self) -> None:
        """Take what the server offers by now; connections that are open go on with what they were told."""
        for endpoint in (self.http, self.sse):
            if endpoint is not None:
                endpoint.profile = self._profile()

    # Workers: the id of a session, and that of a task, begins with the number of the worker that has it

    def mint(self) -> str:
        """Return a fresh session id of 192 random bits."""
        return self.server.place + secrets.token_urlsafe(24)

    def place(self, head: RequestHead) -> int | None:
        """Return which other worker a request is for, `None` if it may be answered here."""
        switchboard = self._switchboard
        assert switchboard is not None
        name = head.headers.get(b"mcp-session-id")
        if name is None and (head.headers.get(b"mcp-method") or b"").startswith(b"tasks/"):
            name = head.headers.get(b"mcp-name")
        if name is None and "sessionId=" in head.target:
            name = head.target.partition("sessionId=")[2].encode()
        if name is None:
            return None
        number = name.partition(b".")[0]
        if not number.isdigit() or len(number) > 4 or int(number) in (switchboard.number, len(switchboard)):
            return None
        return int(number) if int(number) < len(switchboard) else None

    def tell(self, notice: ChangeNotice) -> None:
        """Tell the other workers of a change."""
        news = msgspec.json.encode((notice.kind, notice.key, notice.body))
        if self.sharing is not None:
            self.sharing.tell(news, self._tell_workers)
        else:
            self._tell_workers(news)

    def _tell_workers(self, news: bytes) -> None:
        if self._switchboard is not None:
            self._switchboard.tell_all(news)

    def hear(self, news: bytes) -> None:
        """Tell our clients of a change in another worker."""
        self.server.publish_here(ChangeNotice(*_decode_news(news)))

    # Health

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of `/health`: the process answers."""
        sessions = 0 if self.http is None else len(self.http.sessions)
        return 200, {
            "status": "draining" if self.is_draining else "ok",
            "server": {"name": self.server.info.name, "version": self.server.info.version},
            "sessions": sessions,
        }

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of `/ready`: whether new requests are welcome."""
        return (503, {"status": "draining"}) if self.is_draining else (200, {"status": "ready"})

    def _serve_metrics(self) -> None:
        server, metrics = self.server, self.server.metrics
        metrics.gauge("in_flight", lambda: sum(session.in_flight for session in list(server.sessions)))
        metrics.gauge("sessions", lambda: sum(session.is_lasting for session in list(server.sessions)))
        guard = self.options.guard_options(server.limits.message_bytes)
        self.routes["/metrics"] = MetricsEndpoint(metrics, is_open=self.options.open_metrics, guard=guard)
        if metrics.is_shared:
            self._publish()

    def _publish(self) -> None:
        self.server.metrics.publish()
        loop = self.carriers.loop
        self._ticker = loop.call_at(loop.now() + _PUBLISHING, self._publish)

    # The life of sessions

    def _arm(self) -> None:
        assert self.http is not None
        loop = self.carriers.loop
        deadline = self.http.next_deadline()
        # With no session there is none; one made meanwhile cannot be due before it was idle for so long.
        idle = min(filter(None, (self.options.session_idle, self.options.session_life)), default=None)
        if deadline is None and idle is not None:
            deadline = loop.now() + idle
        if deadline is not None:
            self._timer = loop.call_at(deadline, self._on_time)

    def _on_time(self) -> None:
        assert self.http is not None
        for session in self.http.handle_deadline(self.carriers.loop.now()):
            if self.sharing is not None:
                self.sharing.leave(session)
            self.runtime.end(session)
        self._arm()

    # The end

    def drain(self) -> None:
        """Take no more requests, and let nobody listen; what was asked before is still answered."""
        self.is_draining = True
        if self.http is not None:
            self.carriers.carry(self.http.drain(self.carriers.loop.now()))
        if self.sse is not None:
            self.sse.drain()
        self.runtime.end_subscriptions()
        if self.sockets is not None:
            self.sockets.drain()

    async def wait_idle(self, timeout: float) -> None:
        """Wait until every request is answered; those that take longer than `timeout` seconds are cancelled."""
        deadline = anyio.current_time() + timeout
        while self.runtime.is_busy or (self.sockets is not None and self.sockets.is_busy):
            if anyio.current_time() >= deadline:
                self.runtime.cancel_all("the server is shutting down")
                if self.sockets is not None:
                    self.sockets.cancel_all("the server is shutting down")
                return
            # Handlers end in callbacks and threads of every kind; twenty looks a second cost less than telling us would
            # cost each of them.
            await anyio.sleep(0.05)

    async def aclose(self) -> None:
        """End every session and every stream."""
        self.server.applications.discard(self)
        for timer in (self._timer, self._ticker):
            if timer is not None:
                timer.cancel()
        if self.sharing is not None:
            await self.sharing.aclose()
        if self.http is not None:
            for session in list(self.http.sessions.values()):
                self.http.end(session)
                self.runtime.end(session)
        await self.runtime.aclose()
        if self.sockets is not None:
            await self.sockets.aclose()


def mint_shared() -> str:
    """Return a fresh session id of 192 random bits, for a session that every process serves."""
    return secrets.token_urlsafe(24)


class StatusEndpoint:
    """Answers GET with what a function tells of the server, as JSON; for load balancers, so nobody need say who asks.

    Args:
        tell: returns the HTTP status and the body.
    """

    is_open = True
    """Who asks is not found out."""

    def __init__(self, tell: Any) -> None:
        self._tell = tell

    def refuse(self, head: RequestHead, arrival: Arrival = ANYWHERE) -> Answer | None:
        """Return the answer to anything but GET and HEAD."""
        if head.method in ("GET", "HEAD"):
            return None
        return Answer(405, [(b"allow", b"GET, HEAD"), _JSON], b'{"error":"method not allowed"}')

    def too_large(self) -> Answer:
        """Return the answer to a body that is too long."""
        return Answer(413, [])

    def receive_request(
        self,
        head: RequestHead,
        body: bytes,
        *,
        now: float,
        arrival: Arrival = ANYWHERE,
        principal: str | None = None,
        is_checked: bool = False,
    ) -> Answer:
        """Return the status."""
        status, content = self._tell()
        return Answer(status, [_JSON, _NO_STORE], msgspec.json.encode(content))
