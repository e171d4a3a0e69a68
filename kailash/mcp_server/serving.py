"""`run()`: which transport, where, and until when. Arguments rank above the command line, then the environment."""

import argparse
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import anyio
from msgspec import Struct

from ..adapters.http_server import HTTPServer, bind, make_ssl_context
from ..adapters.switchboard import Switchboard
from .web_app import WebApplication
from .web_options import HTTPOptions

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["RunOptions", "run", "serve_sockets"]

logger = logging.getLogger("kailash.mcp_server")

TRANSPORTS = ("stdio", "http", "sse")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080


class RunOptions(Struct, frozen=True, kw_only=True):
    """How a server is run."""

    transport: Literal["stdio", "http", "sse"] | None = None
    """`None`: what the server was made for, else stdio."""
    host: str | None = None
    port: int | None = None
    log_level: str | None = None
    workers: int | None = None
    """Processes that share the port."""

    def __or__(self, weaker: "RunOptions") -> "RunOptions":
        values = {
            name: getattr(weaker, name) if getattr(self, name) is None else getattr(self, name)
            for name in self.__struct_fields__
        }
        return RunOptions(**values)


def read_arguments(name: str, argv: Sequence[str] | None = None) -> RunOptions:
    """Read the command line of a server's script; ends the process where it is wrong, or asks for help."""
    parser = argparse.ArgumentParser(description=f"MCP server {name}", allow_abbrev=False)
    parser.add_argument("--transport", choices=TRANSPORTS, help="default: what the server was made for, else stdio")
    parser.add_argument("--host", help=f"address to listen on (default {DEFAULT_HOST})")
    parser.add_argument("--port", type=_port, help=f"port to listen on, 0 for a free one (default {DEFAULT_PORT})")
    parser.add_argument("--log-level", type=str.upper, choices=LEVELS, help="log to standard error from this level on")
    parser.add_argument("--workers", type=_workers, help="processes that share the port (default 1)")
    found = parser.parse_args(argv)
    return RunOptions(**vars(found))


def read_environment(environment: Mapping[str, str]) -> RunOptions:
    """Read `MCP_TRANSPORT`, `MCP_HOST`, `MCP_PORT`, `MCP_LOG_LEVEL` and `MCP_WORKERS`.

    Raises:
        ValueError: one of them is malformed; the message names it.
    """
    transport = environment.get("MCP_TRANSPORT") or None
    if transport is not None and transport not in TRANSPORTS:
        raise ValueError(f"MCP_TRANSPORT is {transport!r}; known: {', '.join(TRANSPORTS)}")
    level = (environment.get("MCP_LOG_LEVEL") or "").upper() or None
    if level is not None and level not in LEVELS:
        raise ValueError(f"MCP_LOG_LEVEL is {level!r}; known: {', '.join(LEVELS)}")
    numbers: dict[str, int] = {}
    for variable, key, read in (("MCP_PORT", "port", _port), ("MCP_WORKERS", "workers", _workers)):
        text = environment.get(variable)
        if text:
            try:
                numbers[key] = read(text)
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"{variable}: {error}") from None
    return RunOptions(transport=transport, host=environment.get("MCP_HOST") or None, log_level=level, **numbers)  # type: ignore[arg-type]


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; give 1 to 256")
    return int(text)


def configure_logging(level: str) -> None:
    """Log to standard error; for programs, never for libraries."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s %(message)s", force=False
    )
    logging.getLogger("kailash").setLevel(level)


def run(server: "MCPServer", given: RunOptions, *, reads_arguments: bool, more: Mapping[str, Any]) -> None:
    """Serve until the client is done, or until told to stop; blocks.

    Args:
        given: what `run()` was called with.
        reads_arguments: the command line counts.
        more: HTTP options that `run()` was called with.
    """
    options = given
    if reads_arguments:
        options = given | read_arguments(server.name)
    options = options | read_environment(os.environ)
    if options.log_level is not None:
        configure_logging(options.log_level)
    transport = options.transport or server.default_transport
    if transport is None:
        where = (options.host, options.port, options.workers, *more.values())
        transport = "stdio" if all(each is None for each in where) else "http"
    if transport == "stdio":
        network = {"host": given.host, "port": given.port, "workers": given.workers, **more}
        for key, value in network.items():
            if value is not None:
                raise ValueError(f"{key} is for a network transport; give transport='http' as well")
        _run_stdio(server)
        return
    _run_web(server, options, transport, server.http_options(**more))


def _run_stdio(server: "MCPServer") -> None:
    try:
        error = anyio.run(server.run_stdio)
    except KeyboardInterrupt:
        return
    if error is not None:
        sys.exit(1)


def _run_web(server: "MCPServer", options: RunOptions, transport: str, http: HTTPOptions) -> None:
    host = DEFAULT_HOST if options.host is None else options.host
    port = DEFAULT_PORT if options.port is None else options.port
    context = None if http.ssl_certfile is None else make_ssl_context(http.ssl_certfile, http.ssl_keyfile)
    try:
        sockets = bind(host, port, is_shared=(options.workers or 1) > 1)
    except OSError as error:
        sys.exit(f"{server.name}: {error.strerror}")
    only_sse = transport == "sse" and not server.enable_http_transport
    kinds = (not only_sse, server.enable_sse_transport or transport == "sse")

    def serve(switchboard: Switchboard | None, sockets: list[socket.socket]) -> int:
        def tell() -> None:
            if switchboard is None or switchboard.number == 0:
                announce(server, sockets, is_secure=context is not None, kinds=kinds)

        async def main() -> int:
            return await serve_sockets(
                server, sockets, http, context, kinds=kinds, started=tell, switchboard=switchboard
            )

        return anyio.run(main, backend_options={"use_uvloop": _has_uvloop()})

    if options.workers is not None and options.workers > 1:
        from ..adapters.workers import run_workers

        code = run_workers(serve, sockets, options.workers)
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


def announce(server: "MCPServer", sockets: list[socket.socket], *, is_secure: bool, kinds: tuple[bool, bool]) -> None:
    """Say on standard error where the server is reached."""
    host, port = sockets[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    base = f"{'https' if is_secure else 'http'}://{shown}:{port}"
    paths = [f"{base}/mcp"] if kinds[0] else []
    if kinds[1]:
        paths.append(f"{base}/sse")
    sys.stderr.write(f"{server.name} serves {' and '.join(paths)}\n")
    sys.stderr.flush()


async def serve_sockets(
    server: "MCPServer",
    sockets: list[socket.socket],
    options: HTTPOptions,
    context: ssl.SSLContext | None = None,
    *,
    kinds: tuple[bool, bool] = (True, False),
    stop: anyio.Event | None = None,
    started: Callable[[], Any] | None = None,
    switchboard: Switchboard | None = None,
) -> int:
    """Serve on bound sockets until told to stop, by a signal or by `stop`; returns the exit status.

    Args:
        kinds: whether to serve Streamable HTTP, and HTTP+SSE.
        stop: stops gracefully when set; without it SIGTERM and SIGINT do, and a second one stops at once.
        started: called once connections are accepted.
        switchboard: of the workers that share the port.
    """
    async with server.running():
        app = WebApplication(server, options, http=kinds[0], sse=kinds[1], switchboard=switchboard)
        http = HTTPServer(
            app.routes,
            take=app.runtime.take,
            carriers=app.carriers,
            admit=app.admit,
            options=options.server_options(server.limits.message_bytes),
            switchboard=switchboard,
            place=app.place,
        )
        if switchboard is not None:
            switchboard.start(app.carriers.loop, http.adopt, app.hear)
        status = 0
        with ExitStack() as stack:
            signals: Any = None
            if stop is None:
                signals = stack.enter_context(anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
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
    server: "MCPServer", host: str, port: int, options: HTTPOptions, started: Callable[[int], Any] | None
) -> None:
    """Serve on an address until cancelled; then what is in flight is cancelled too."""
    context = None if options.ssl_certfile is None else make_ssl_context(options.ssl_certfile, options.ssl_keyfile)
    sockets = bind(host, port)
    port = sockets[0].getsockname()[1]
    kinds = (server.enable_http_transport or not server.enable_sse_transport, server.enable_sse_transport)
    await serve_sockets(
        server,
        sockets,
        options,
        context,
        kinds=kinds,
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


def script_of(frame: FrameType | None) -> bool:
    """Tell whether `run()`, whose frame this is, was called by the script that is run."""
    caller = None if frame is None else frame.f_back
    return caller is not None and caller.f_globals.get("__name__") == "__main__"
