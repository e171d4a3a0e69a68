"""Serving over TCP and Unix sockets: each connection is an engine and a session, as one over stdio is."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec import UNSET, Struct

from protocol.errors import ErrorObject
from protocol.events import Event, Request
from protocol.jsonrpc import encode_error
from protocol.server import ServerEngine
from protocol.socketpipe import SocketPipe

from ..adapters.channel import ChannelLimits
from ..adapters.heap import keep_freed_memory
from ..adapters.http_server import bind
from ..adapters.sockets import LineChannel, LineTimeouts, Peer, SocketServer, bind_unix, unlink_unix
from ..errors import AuthenticationError, MCPErrorCode, RequestError
from ..telemetry import Refusal
from .callers import Identity, read_identity
from .pipeline import reason_of
from .session import Home, ServerSession

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["SocketOptions", "run_sockets", "serve_tcp", "serve_unix"]

logger = logging.getLogger("kailash.mcp_server.line_sockets")

_GRACE = 0.25
"""Seconds in which requests that are on their way are refused in words, before connections end."""
_LINGER = 3.0
"""Seconds in which what was asked is still answered to a client that has ended its side, or is gone."""
_FAREWELL = 2.0
"""Seconds in which a peer may read what was said to him last."""
_SHUTTING_DOWN = "the server is shutting down"


class SocketOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is served over TCP or a Unix socket. Times are in seconds, sizes in bytes; `None`: no limit."""

    max_connections: int | None = 1000
    """Further ones are told so, and closed."""
    first_message_timeout: float | None = 10.0
    """For the first message of a connection."""
    message_timeout: float | None = 30.0
    """For every other, from its first byte."""
    idle_timeout: float | None = 1800.0
    """In which a client says nothing and waits for nothing; then its connection is closed."""
    write_timeout: float | None = 20.0
    """In which the client must take something of what waits for it."""
    write_buffer: int = 1 << 20
    """Unsent bytes of a connection from which handlers wait for the client, and nothing more is read from it."""
    write_cap: int | None = 16 << 20
    """Unsent bytes with which a connection is dropped."""
    drain_timeout: float = 30.0
    """For requests in flight when the server is told to stop; then they are cancelled."""

    @classmethod
    def of(cls, source: "SocketOptions | Mapping[str, Any] | None", **more: Any) -> "SocketOptions":
        """Return options of a mapping, with others that rank above it; those that are `None` there do not count.

        Raises:
            TypeError: an unknown option, or a value of the wrong type.
            ValueError: one of them is out of range.
        """
        base = msgspec.structs.asdict(source) if isinstance(source, SocketOptions) else dict(source or {})
        values = base | {name: value for name, value in more.items() if value is not None}
        unknown = values.keys() - set(cls.__struct_fields__)
        if unknown:
            known = ", ".join(cls.__struct_fields__)
            raise TypeError(f"unknown socket option {', '.join(sorted(unknown))}; known: {known}")
        try:
            options = msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise TypeError(f"socket options: {error}") from None
        for name in cls.__struct_fields__:
            value = getattr(options, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above zero, not {value!r}")
        return options

    @property
    def timeouts(self) -> LineTimeouts:
        """How long a peer may take."""
        return LineTimeouts(first=self.first_message_timeout, message=self.message_timeout, idle=self.idle_timeout)

    @property
    def limits(self) -> ChannelLimits:
        """What a slow peer may cost."""
        return ChannelLimits(
            high_bytes=self.write_buffer,
            cap_bytes=self.write_cap,
            write_timeout=self.write_timeout,
            linger=_LINGER,
            close_timeout=_FAREWELL,
        )


class LineSockets:
    """The connections of one server. Made in a task of the loop that serves.

    Args:
        server: whose tools are served.
        options: how.
    """

    def __init__(self, server: "MCPServer", options: SocketOptions, transport: str) -> None:
        self._server = server
        self._transport = transport
        self._home = Home(server)
        self._timeouts, self._limits = options.timeouts, options.limits
        self._sessions: set[ServerSession] = set()
        self._is_draining = False
        self.listener = SocketServer(
            self._open,
            refusal=_line(MCPErrorCode.OVERLOADED, "too many connections: come back later", retryable=True),
            most_connections=options.max_connections,
        )

    def _open(self, peer: Peer) -> LineChannel | bytes:
        try:
            identity = self._identify(peer)
        except Exception as error:
            # Of a provider: one that fails lets nobody in. What its error says may hold more than callers may know.
            policies = self._server.policies
            policies.turned_away(None, "connect", reason_of(error), Refusal.AUTHENTICATION, transport=self._transport)
            if not isinstance(error, AuthenticationError):
                logger.error("! the auth provider failed: %s", type(error).__name__)
                return _line(MCPErrorCode.OVERLOADED, "authentication is not available", retryable=True)
            return _line(MCPErrorCode.AUTHENTICATION_FAILED, "authentication required", retryable=False)
        engine = ServerEngine(self._server.profile())
        engine.principal = identity.principal
        session = ServerSession(self._server, engine, identity, transport=self._transport, home=self._home)

        def on_events(events: list[Event]) -> None:
            session.on_events([event for event in events if not _is_late(session, event)] if late() else events)

        def on_closed(error: BaseException | None) -> None:
            if error is not None:
                logger.info("x a connection was lost: %s", error)
            self._sessions.discard(session)
            session.on_closed(error)

        def late() -> bool:
            return self._is_draining

        channel = LineChannel(
            SocketPipe(engine),
            timeouts=self._timeouts,
            is_busy=lambda: bool(engine.open_requests),
            on_events=on_events,
            on_closed=on_closed,
            limits=self._limits,
        )
        self._sessions.add(session)
        session.attach(channel)
        return channel

    def _identify(self, peer: Peer) -> Identity:
        provider = self._server.auth_provider
        if provider is not None:
            return read_identity(provider.authenticate_peer(uid=peer.uid, gid=peer.gid, pid=peer.pid))
        if peer.uid is not None:
            return Identity(principal=f"uid:{peer.uid}", auth_type="peer", metadata={"gid": peer.gid, "pid": peer.pid})
        return Identity(peer=peer.address)

    # The end

    async def drain(self, timeout: float) -> None:
        """Accept nothing new and answer what was asked; after `timeout` seconds handlers are cancelled."""
        self._is_draining = True
        await self.listener.stop_listening()
        for session in list(self._sessions):
            session.engine.end_subscriptions()
            session.channel.flush()
        deadline = anyio.current_time() + timeout
        while any(session.is_busy for session in self._sessions):
            if anyio.current_time() >= deadline:
                self.cancel_all()
                break
            # Handlers end in callbacks and threads of every kind; twenty looks a second cost less than telling us.
            await anyio.sleep(0.05)
        if self._sessions:
            await anyio.sleep(_GRACE)

    def cancel_all(self) -> None:
        """Answer every request that is still being handled with an error, and cancel its handler."""
        for session in list(self._sessions):
            session.cancel_all(_SHUTTING_DOWN)
            session.channel.flush()

    async def aclose(self, timeout: float) -> None:
        """End what is open, and wait for cancelled handlers to end."""
        await self.listener.aclose(timeout)
        await self._home.dispatcher.aclose()


def _is_late(session: ServerSession, event: Event) -> bool:
    """Refuse a request that came after the server was told to stop; returns whether it is one."""
    if type(event) is not Request:
        return False
    session.refuse(event, RequestError(_SHUTTING_DOWN, error_code=MCPErrorCode.OVERLOADED, retryable=True))
    return True


def _line(code: MCPErrorCode, text: str, *, retryable: bool) -> bytes:
    return encode_error(UNSET, ErrorObject(code, text, {"retryable": retryable})) + b"\n"


# Where


def _check_provider(server: "MCPServer", transport: str) -> None:
    """Refuse to serve where nobody could say who he is.

    Raises:
        ValueError: the server wants to know, and this transport cannot tell.
    """
    provider = server.auth_provider
    if provider is None:
        return
    if transport == "tcp":
        raise ValueError(
            "auth_provider: a client can present no credentials over tcp; give transport='http' (or 'websocket'), or "
            "transport='unix', where the system says who connects"
        )
    # Credentials of other kinds cannot be sent there either, and what a uid may do only the provider can say: one that
    # was not written for that must not come to let everybody in, or nobody.
    if not callable(getattr(provider, "authenticate_peer", None)):
        raise ValueError(
            f"auth_provider: over a unix socket only the system says who connects, and {type(provider).__name__} has "
            "no authenticate_peer(*, uid, gid, pid); give it one, or transport='http'"
        )


def _open_tcp(server: "MCPServer", host: str, port: int) -> list[socket.socket]:
    _check_provider(server, "tcp")
    sockets = bind(host, port)
    for each in sockets:
        address = each.getsockname()[0]
        if not ip_address(address.partition("%")[0]).is_loopback:
            logger.warning("! whoever reaches %s may use this server: tcp knows neither credentials nor TLS", address)
    return sockets


def _open_unix(server: "MCPServer", path: str) -> socket.socket:
    _check_provider(server, "unix")
    return bind_unix(path)


async def _serve(
    server: "MCPServer",
    sockets: list[socket.socket],
    options: SocketOptions,
    transport: str,
    started: Callable[[], Any] | None,
    *,
    until_signal: bool,
) -> int:
    """Serve on bound sockets until cancelled, or told to stop by a signal; returns the exit status."""
    async with server.running():
        lines = LineSockets(server, options, transport)
        status = 0
        with ExitStack() as stack:
            signals: Any = None
            if until_signal:
                signals = stack.enter_context(anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
            await lines.listener.listen(sockets)
            if started is not None:
                started()
            try:
                if signals is None:
                    await anyio.sleep_forever()
                await anext(signals)
                status = await _drain(lines, options.drain_timeout, signals)
            finally:
                with anyio.CancelScope(shield=True):
                    lines.cancel_all()
                    await lines.aclose(0.1 if status else _FAREWELL)
        return status


async def _drain(lines: LineSockets, timeout: float, signals: Any) -> int:
    """Answer what was asked; returns 0, or the exit status of whoever asked a second time."""
    status = 0
    async with anyio.create_task_group() as tasks:

        async def hurry() -> None:
            nonlocal status
            number = await anext(signals)
            status = 128 + number
            tasks.cancel_scope.cancel()

        tasks.start_soon(hurry)
        await lines.drain(timeout)
        tasks.cancel_scope.cancel()
    return status


async def serve_tcp(
    server: "MCPServer", host: str, port: int, options: SocketOptions, started: Callable[[int], Any] | None
) -> None:
    """Serve on a port until cancelled; then what is in flight is cancelled too."""
    sockets = _open_tcp(server, host, port)
    bound = sockets[0].getsockname()[1]
    tell = None if started is None else lambda: started(bound)
    await _serve(server, sockets, options, "tcp", tell, until_signal=False)


async def serve_unix(server: "MCPServer", path: str, options: SocketOptions, started: Callable[[], Any] | None) -> None:
    """Serve on a Unix socket until cancelled; then what is in flight is cancelled too, and the file goes."""
    made = _open_unix(server, path)
    inode = _inode_of(path)
    try:
        await _serve(server, [made], options, "unix", started, until_signal=False)
    finally:
        unlink_unix(path, inode)


def _inode_of(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def run_sockets(server: "MCPServer", options: SocketOptions, *, host: str = "", port: int = 0, path: str = "") -> None:
    """Serve on a Unix socket, if there is a `path`, else on a port, until told to stop; blocks.

    A failure ends the process.
    """
    keep_freed_memory()
    try:
        sockets = [_open_unix(server, path)] if path else _open_tcp(server, host, port)
    except OSError as error:
        sys.exit(f"{server.name}: {error.strerror}")
    if path:
        shown = f"unix://{path}"
    else:
        address, bound = sockets[0].getsockname()[:2]
        shown = f"tcp://[{address}]:{bound}" if ":" in address else f"tcp://{address}:{bound}"

    def tell() -> None:
        sys.stderr.write(f"{server.name} serves {shown}\n")
        sys.stderr.flush()

    async def main() -> int:
        transport = "unix" if path else "tcp"
        return await _serve(server, sockets, options, transport, tell, until_signal=True)

    inode = _inode_of(path) if path else None
    try:
        code = anyio.run(main, backend_options={"use_uvloop": _has_uvloop()})
    finally:
        if inode is not None:
            unlink_unix(path, inode)
    if code:
        sys.exit(code)


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401  # the extra `fast`; only servers on a network gain by it
    except ImportError:
        return False
    return True
