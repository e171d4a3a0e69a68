"""A server as an ASGI application: mounted anywhere, run by any ASGI server, with or without a lifespan."""

from typing import TYPE_CHECKING, Any

import anyio

from ..adapters.asgi import ASGIEndpoints, Receive, Scope, Send
from ..adapters.loops import current_loop
from ..adapters.owner import Owner, spawn_owner
from .web_app import WebApplication
from .web_options import HTTPOptions

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["ASGIServer"]


class ASGIServer:
    """An ASGI application: Streamable HTTP at `/mcp` and at the mount itself, `/health`, `/ready`, and more if enabled.

    It starts with the first request, or with the lifespan where the ASGI server sends one to it, and serves one event
    loop at a time.

    Args:
        server: what is served.
        options: how; what concerns connections is the ASGI server's matter.
    """

    def __init__(self, server: "MCPServer", options: HTTPOptions) -> None:
        self._server = server
        self._options = options
        self._home: _Home | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
        elif kind == "http":
            home = await self._start()
            await home.endpoints(scope, receive, send)
        elif kind == "websocket":
            home = await self._start()
            await home.endpoints.serve_socket(scope, receive, send)
        else:
            raise ValueError(f"unknown ASGI scope {kind!r}; known: http, lifespan, websocket")

    async def aclose(self) -> None:
        """Answer what was asked, then end; for those to whom no lifespan does it. A later request starts anew."""
        home, self._home = self._home, None
        if home is not None:
            await home.stop(self._options.drain_timeout)

    async def _start(self) -> "_Home":
        home = self._home
        loop: Any = current_loop()
        if home is None or not home.is_of(loop):
            # In one step, so that two first requests cannot start two.
            home = self._home = _Home(self._server, self._options, loop)
        await home.ready()
        return home

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._start()
                except RuntimeError as error:
                    self._home = None
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _Home:
    """What serves in one loop, held open by a task of its own, because no request may own it."""

    def __init__(self, server: "MCPServer", options: HTTPOptions, loop: Any) -> None:
        self._server = server
        self._options = options
        self._loop = loop
        self._started = anyio.Event()
        self._stop = anyio.Event()
        self._app: WebApplication | None = None
        self._failure: BaseException | None = None
        self.endpoints: ASGIEndpoints
        self._owner: Owner = spawn_owner(self._hold, name=f"mcp server {server.name}")

    def is_of(self, loop: Any) -> bool:
        """Tell whether this serves in a loop, and is not over."""
        same = self._loop.loop is loop.loop if hasattr(loop, "loop") else type(self._loop) is type(loop)
        return same and not self._owner.done

    async def ready(self) -> None:
        """Wait until the server's lifespan is entered.

        Raises:
            RuntimeError: that failed.
        """
        if not self._started.is_set():
            await self._started.wait()
        if self._failure is not None:
            raise RuntimeError(f"the lifespan of {self._server.name} failed: {self._failure}") from self._failure

    async def _hold(self) -> None:
        server, options = self._server, self._options
        try:
            async with server.running():
                size = server.limits.message_bytes
                kinds = (server.enable_http_transport or not server.enable_sse_transport, server.enable_sse_transport)
                app = self._app = WebApplication(
                    server, options, http=kinds[0], sse=kinds[1], websocket=server.enable_websocket_transport
                )
                await app.start()
                self.endpoints = ASGIEndpoints(
                    app.routes,
                    take=app.take,
                    carriers=app.carriers,
                    admit=app.admit,
                    max_body=size,
                    body_timeout=options.body_timeout,
                    write_timeout=options.write_timeout,
                    cap_bytes=options.write_cap,
                    sockets=None if app.sockets is None else app.sockets.routes,
                    open_socket=None if app.sockets is None else app.sockets.open_asgi,
                )
                self._started.set()
                try:
                    await self._stop.wait()
                finally:
                    with anyio.CancelScope(shield=True):
                        await app.aclose()
        except Exception as error:
            if self._started.is_set():
                raise
            self._failure = error
        finally:
            self._started.set()

    async def stop(self, timeout: float) -> None:
        """Answer what was asked, then end."""
        if self._app is not None:
            self._app.drain()
            await self._app.wait_idle(timeout)
        self._stop.set()
        await self._owner.wait()
