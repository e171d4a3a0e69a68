"""`run()`: which transport, where, and how. Arguments rank above the command line, that above the environment.

A server on its own stdio starts faster than it could load HTTP: that is imported when it is served.
"""

import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import anyio
from msgspec import Struct

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["RunOptions", "run", "script_of"]

TRANSPORTS = ("stdio", "http", "sse", "websocket", "tcp", "unix")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080


class RunOptions(Struct, frozen=True, kw_only=True):
    """How a server is run."""

    transport: Literal["stdio", "http", "sse", "websocket", "tcp", "unix"] | None = None
    """`None`: what the server was made for, else stdio."""
    host: str | None = None
    port: int | None = None
    path: str | None = None
    """Of the Unix socket."""
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
    import argparse  # several milliseconds that a server without a command line starts faster

    def checked(read: Callable[[str], int]) -> Callable[[str], int]:
        def convert(text: str) -> int:
            try:
                return read(text)
            except ValueError as error:
                raise argparse.ArgumentTypeError(str(error)) from None

        return convert

    parser = argparse.ArgumentParser(description=f"MCP server {name}", allow_abbrev=False)
    parser.add_argument("--transport", choices=TRANSPORTS, help="default: what the server was made for, else stdio")
    parser.add_argument("--host", help=f"address to listen on (default {DEFAULT_HOST})")
    parser.add_argument(
        "--port", type=checked(_port), help=f"port to listen on, 0 for a free one (default {DEFAULT_PORT})"
    )
    parser.add_argument("--path", help="Unix socket to listen on, with --transport unix")
    parser.add_argument("--log-level", type=str.upper, choices=LEVELS, help="log to standard error from this level on")
    parser.add_argument("--workers", type=checked(_workers), help="processes that share the port (default 1)")
    found = parser.parse_args(argv)
    return RunOptions(**vars(found))


def read_environment(environment: Mapping[str, str]) -> RunOptions:
    """Read `MCP_TRANSPORT`, `MCP_HOST`, `MCP_PORT`, `MCP_PATH`, `MCP_LOG_LEVEL` and `MCP_WORKERS`.

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
            except ValueError as error:
                raise ValueError(f"{variable}: {error}") from None
    host, path = environment.get("MCP_HOST") or None, environment.get("MCP_PATH") or None
    return RunOptions(transport=transport, host=host, path=path, log_level=level, **numbers)  # type: ignore[arg-type]


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"{text!r} is no port; give 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise ValueError(f"{text!r} is no number of processes; give 1 to 256")
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
    if reads_arguments and len(sys.argv) > 1:
        options = given | read_arguments(server.name)
    options = options | read_environment(os.environ)
    if server.run_defaults is not None:
        options = options | server.run_defaults
    if options.log_level is not None:
        configure_logging(options.log_level)
    transport = options.transport or server.default_transport
    if transport is None:
        where = (options.host, options.port, options.workers, *more.values())
        transport = "stdio" if all(each is None for each in where) else "http"
    # What is there by now stays to the end. A full collection would walk all of it, 20 ms and more with many tools, in
    # the middle of somebody's call; what is frozen is left alone, and its pages are shared with workers.
    gc.freeze()
    if transport == "stdio":
        network = {"host": given.host, "port": given.port, "workers": given.workers, **more}
        _check_unused(network, "is for a network transport; give transport='http' as well")
        _check_unused({"path": given.path}, "is of a Unix socket; give transport='unix' as well")
        _run_stdio(server)
        return
    if transport in ("tcp", "unix"):
        _run_sockets(server, transport, given, options, more)
        return
    _check_unused({"path": given.path}, "is of a Unix socket; give transport='unix' as well")
    from .serving import Kinds, run_web

    host = DEFAULT_HOST if options.host is None else options.host
    port = DEFAULT_PORT if options.port is None else options.port
    run_web(
        server, server.http_options(**more), host, port, workers=options.workers or 1, kinds=Kinds.of(server, transport)
    )


def _check_unused(values: Mapping[str, Any], why: str) -> None:
    for key, value in values.items():
        if value is not None:
            raise ValueError(f"{key} {why}")


def _run_sockets(
    server: "MCPServer", transport: str, given: RunOptions, options: RunOptions, more: Mapping[str, Any]
) -> None:
    from .line_sockets import run_sockets

    is_unix = transport == "unix"
    _check_unused({"path": None if is_unix else given.path}, "is of a Unix socket; give transport='unix' as well")
    where = {"host": given.host, "port": given.port} if is_unix else {}
    _check_unused(where, "is of a network transport; a Unix socket has a path")
    http = {"workers": given.workers, **{key: value for key, value in more.items() if key != "drain_timeout"}}
    _check_unused(http, f"is of HTTP; transport={transport!r} has none")
    socket_options = server.socket_options(drain_timeout=more.get("drain_timeout"))
    if not is_unix:
        host = DEFAULT_HOST if options.host is None else options.host
        run_sockets(server, socket_options, host=host, port=DEFAULT_PORT if options.port is None else options.port)
    elif options.path is None:
        raise ValueError("transport='unix' needs a path: path=, --path or MCP_PATH")
    else:
        run_sockets(server, socket_options, path=options.path)


def _run_stdio(server: "MCPServer") -> None:
    try:
        error = anyio.run(server.run_stdio)
    except KeyboardInterrupt:
        return
    if error is not None:
        sys.exit(1)


def script_of(frame: FrameType | None) -> bool:
    """Tell whether `run()`, whose frame this is, was called by the script that is run."""
    caller = None if frame is None else frame.f_back
    return caller is not None and caller.f_globals.get("__name__") == "__main__"
