"""From a config to a live session: spawn or join, find the era, remember it; `web` does it for URLs."""

from collections.abc import Awaitable, Callable

import anyio

from protocol.pipe import Pipe
from protocol.revisions import Era

from ..adapters.http_pool import PoolCounts
from ..adapters.memory import MemoryChannel
from ..adapters.owner import Owner, spawn_owner
from ..adapters.spawn import Process, SpawnError, spawn_process
from ..errors import ConnectionError as MCPConnectionError
from ..errors import MCPError, TransportError
from .config import ClientConfig
from .session import ClientSession
from .sockets import open_socket
from .verdicts import Verdicts
from .web import WebConnection, connect_web

__all__ = ["Connection", "connect"]

_eras: Verdicts[Era] = Verdicts()


class Connection:
    """A session and what carries it."""

    def __init__(self, session: ClientSession, close: Callable[[], Awaitable[None]]) -> None:
        self.session = session
        self._close = close

    async def aclose(self) -> None:
        """End the session, then what carries it; from any task."""
        await self.session.aclose()
        await self._close()


async def connect(
    config: ClientConfig,
    make_session: Callable[[], ClientSession],
    on_stderr: Callable[[bytes], object] | None,
    counts: PoolCounts | None = None,
) -> Connection | WebConnection:
    """Open a connection and wait until the server is ready.

    Args:
        config: how to reach it.
        make_session: called for each way that is tried.
        on_stderr: gets the standard error of a stdio server.
        counts: counts requests and connections of HTTP.

    Raises:
        TransportError: the server cannot be reached; the text says "connection", the endpoint and the cause.
        MCPError: the server speaks no common revision.
    """
    if config.is_networked and config.transport not in _OPENERS:
        return await connect_web(config, make_session, counts)
    open_ = _OPENERS[config.transport or ""]
    connection = await open_(config, make_session, on_stderr)
    era = _eras.recall(config.key, connection.session)
    try:
        context = await connection.session.start(config.connect_timeout, config.probe_timeout, era)
    except MCPConnectionError as error:
        await connection.aclose()
        if era is Era.HANDSHAKE or not connection.session.engine.profile.handshakes or error.message.startswith(_SLOW):
            raise _unreachable(config, error) from error
        # Some old servers exit on a request they do not know: as good a sign as any error — spec.md 2.21.
        connection = await open_(config, make_session, on_stderr)
        try:
            context = await connection.session.start(config.connect_timeout, config.probe_timeout, Era.HANDSHAKE)
        except MCPError as again:
            await connection.aclose()
            raise _unreachable(config, again) from again
        except BaseException:
            with anyio.CancelScope(shield=True):
                await connection.aclose()
            raise
    except BaseException:
        with anyio.CancelScope(shield=True):
            await connection.aclose()
        raise
    _eras.remember(config.key, connection.session, context.revision.era)
    return connection


_SLOW = "server/discover was not answered"


def _unreachable(config: ClientConfig, error: MCPError) -> MCPError:
    if not isinstance(error, MCPConnectionError):
        return error
    return TransportError(f"connection to {config.endpoint} failed: {error.message}", retryable=True)


async def _open_stdio(
    config: ClientConfig, make_session: Callable[[], ClientSession], on_stderr: Callable[[bytes], object] | None
) -> Connection:
    session = make_session()
    assert config.command is not None
    try:
        process = await spawn_process(
            config.command,
            config.args,
            pipe=Pipe(session.engine),
            on_events=session.on_events,
            on_open=session.attach,
            on_closed=session.on_closed,
            env=config.child_environment,
            cwd=config.cwd,
            on_stderr=on_stderr,
        )
    except SpawnError as error:
        raise TransportError(f"connection to {config.endpoint} failed: {error}") from error
    session.describe_loss = lambda: _describe_exit(process, config)
    return Connection(session, process.aclose)


async def _describe_exit(process: Process, config: ClientConfig) -> str:
    """Say how a child ended: its status and the last lines of its standard error."""
    with anyio.move_on_after(1.0):
        await process.wait()
    code = process.returncode
    if code is None:
        text = f"{config.endpoint} closed its output"
    elif code < 0:
        text = f"{config.endpoint} was killed by signal {-code}"
    else:
        text = f"{config.endpoint} exited with status {code}"
    tail = process.stderr_tail()
    return f"{text}; its standard error ended:\n{tail}" if tail else text


async def _open_memory(
    config: ClientConfig, make_session: Callable[[], ClientSession], on_stderr: Callable[[bytes], object] | None
) -> Connection:
    server = config.server
    stop = anyio.Event()
    started = anyio.Event()

    async def hold() -> None:
        # The server's lifespan belongs to this task, so that the client may be closed from any other.
        async with server.running():
            started.set()
            await stop.wait()

    owner: Owner = spawn_owner(hold, name=f"mcp server {config.endpoint}")
    ended = anyio.Event()

    async def watch() -> None:
        try:
            await owner.wait()
        except Exception:
            return  # told to whoever waits for `started`
        finally:
            ended.set()
            started.set()

    spawn_owner(watch, name=f"mcp server {config.endpoint}: watch")
    await started.wait()
    if owner.done:
        raise TransportError(f"connection to {config.endpoint} failed: its lifespan failed: {owner.error}")
    session = make_session()
    channel = MemoryChannel(
        Pipe(session.engine), on_events=session.on_events, on_closed=session.on_closed, keep_reading=True
    )
    session.attach(channel)
    peer = server.open_memory(channel)

    async def close() -> None:
        channel.close()
        await channel.wait_closed()
        await peer.wait_closed()
        stop.set()
        await ended.wait()

    return Connection(session, close)


async def _open_websocket(
    config: ClientConfig, make_session: Callable[[], ClientSession], on_stderr: Callable[[bytes], object] | None
) -> Connection:
    from .websocket import open_websocket  # wsproto's ten milliseconds, which other clients start faster

    session = make_session()
    return Connection(session, await open_websocket(config, session))


_OPENERS = {
    "stdio": _open_stdio,
    "memory": _open_memory,
    "websocket": _open_websocket,
    "tcp": open_socket,
    "unix": open_socket,
}
