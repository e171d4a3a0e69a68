"""Serving over HTTP until told to stop: one process or several, and the end in which nothing is lost."""

import signal
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from ..adapters.heap import keep_freed_memory
from ..adapters.http_server import HTTPServer, bind, make_ssl_context
from ..adapters.switchboard import Switchboard
from ..telemetry.shared import SharedMemory
from .web_app import WebApplication
from .web_options import HTTPOptions

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["Kinds", "run_web", "serve_sockets", "serve_until_cancelled"]


class Kinds(NamedTuple):
    """What is served on one port."""

    http: bool = True
    sse: bool = False
    websocket: bool = False

    @classmethod
    def of(cls, server: "MCPServer", transport: str) -> "Kinds":
        """Return what a server was made for, and what it is asked for besides: `http`, `sse` or `websocket`."""
        return cls(
            transport == "http" or server.enable_http_transport,
            transport == "sse" or server.enable_sse_transport,
            transport == "websocket" or server.enable_websocket_transport,
        )


JUST_HTTP = Kinds()


def run_web(server: "MCPServer", http: HTTPOptions, host: str, port: int, *, workers: int, kinds: Kinds) -> None:
    """Serve over HTTP until told to stop; blocks, and ends the process where that went wrong.

    Args:
        http: how.
        host, port: where.
        workers: processes that share the port.
        kinds: what to serve.
    """
    context = None if http.ssl_certfile is None else make_ssl_context(http.ssl_certfile, http.ssl_keyfile)
    keep_freed_memory()
    try:
        sockets = bind(host, port, is_shared=workers > 1)
    except OSError as error:
        sys.exit(f"{server.name}: {error.strerror}")
    # Before the fork: each worker counts in its part of it, and tells of them all.
    counts = SharedMemory(workers) if workers > 1 else None

    def serve(switchboard: Switchboard | None, sockets: list[socket.socket]) -> int:
        if switchboard is not None and counts is not None:
            server.metrics.share(counts, switchboard.number)

        def tell() -> None:
            if switchboard is None or switchboard.number == 0:
                announce(server, sockets, is_secure=context is not None, kinds=kinds)

        async def main() -> int:
            return await serve_sockets(
                server, sockets, http, context, kinds=kinds, started=tell, switchboard=switchboard
            )

        return anyio.run(main, backend_options={"use_uvloop": _has_uvloop()})

    if workers > 1:
        from ..adapters.workers import run_workers

        code = run_workers(serve, sockets, workers)
    else:
        code = serve(None, sockets)
    if code:
        sys.exit(code)


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401  # the extra `fast`; only servers on a network gain by it
    except ImportError:
        return False
    return True


def announce(server: "MCPServer", sockets: list[socket.socket], *, is_secure: bool, kinds: Kinds) -> None:
    """Say on standard error where the server is reached."""
    host, port = sockets[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    base = f"{'https' if is_secure else 'http'}://{shown}:{port}"
    paths = [f"{base}/mcp"] if kinds.http else []
    if kinds.sse:
        paths.append(f"{base}/sse")
    if kinds.websocket:
        paths.append(f"{'wss' if is_secure else 'ws'}://{shown}:{port}/ws")
    sys.stderr.write(f"{server.name} serves {' and '.join(paths)}\n")
    sys.stderr.flush()


async def serve_sockets(
    server: "MCPServer",
    sockets: list[socket.socket],
    options: HTTPOptions,
    context: ssl.SSLContext | None = None,
    *,
    kinds: Kinds = JUST_HTTP,
    stop: anyio.Event | None = None,
    started: Callable[[], Any] | None = None,
    switchboard: Switchboard | None = None,
) -> int:
    """Serve on bound sockets until told to stop, by a signal or by `stop`; returns the exit status.

    Args:
        kinds: what to serve.
        stop: stops gracefully when set; without it SIGTERM and SIGINT do, and a second one stops at once.
        started: called once connections are accepted.
        switchboard: of the workers that share the port.
    """
    async with server.running():
        app = WebApplication(
            server, options, http=kinds.http, sse=kinds.sse, websocket=kinds.websocket, switchboard=switchboard
        )
        http = HTTPServer(
            app.routes,
            take=app.take,
            carriers=app.carriers,
            admit=app.admit,
            options=options.server_options(server.limits.message_bytes),
            switchboard=switchboard,
            place=app.place,
            sockets=None if app.sockets is None else app.sockets.routes,
            open_socket=None if app.sockets is None else app.sockets.open,
        )
        if switchboard is not None:
            switchboard.start(app.carriers.loop, http.adopt, app.hear)
        status = 0
        with ExitStack() as stack:
            signals: Any = None
            if stop is None:
                signals = stack.enter_context(anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
            await app.start()
            await http.listen(sockets, ssl=context)
            if started is not None:
                started()
            try:
                if stop is not None:
                    await stop.wait()
                else:
                    await anext(signals)
                status = await _drain(app, http, options.drain_timeout, signals)
            finally:
                with anyio.CancelScope(shield=True):
                    if switchboard is not None:
                        switchboard.stop()
                    await app.aclose()
                    await http.aclose(timeout=0.0 if status else 2.0)
        return status


async def serve_until_cancelled(
    server: "MCPServer",
    host: str,
    port: int,
    options: HTTPOptions,
    started: Callable[[int], Any] | None,
    kinds: Kinds | None = None,
) -> None:
    """Serve on an address until cancelled; then what is in flight is cancelled too.

    Args:
        kinds: what to serve; default what the server was made for, and HTTP unless that is HTTP+SSE alone.
    """
    context = None if options.ssl_certfile is None else make_ssl_context(options.ssl_certfile, options.ssl_keyfile)
    sockets = bind(host, port)
    port = sockets[0].getsockname()[1]
    await serve_sockets(
        server,
        sockets,
        options,
        context,
        kinds=kinds or Kinds.of(server, "sse" if server.enable_sse_transport else "http"),
        stop=anyio.Event(),
        started=None if started is None else lambda: started(port),
    )


async def _drain(app: WebApplication, http: HTTPServer, timeout: float, signals: Any) -> int:
    """Answer what was asked; returns 0, or the exit status of whoever asked a second time."""
    status = 0
    async with anyio.create_task_group() as tasks:

        async def hurry() -> None:
            nonlocal status
            number = await anext(signals)
            status = 128 + number
            tasks.cancel_scope.cancel()

        if signals is not None:
            tasks.start_soon(hurry)
        http.is_draining = True  # together with what follows, so that no answer says one thing and means another
        app.drain()
        await http.drain()
        await app.wait_idle(timeout)
        # A request may be on its way on a connection that was kept: it is refused, rather than cut off.
        await http.wait_empty(_GRACE)
        http.shut_connections()
        await http.wait_empty(2.0)
        tasks.cancel_scope.cancel()
    return status


_GRACE = 0.25
"""Seconds in which requests on connections that were kept are refused, before those are closed."""
