"""Servers behind a URL: which transport is spoken there, and at which path, is found by asking.

| Asked                          | When                                                                   |
|--------------------------------|------------------------------------------------------------------------|
| POST to the URL                | first, unless the config says `sse`                                    |
| POST to `mcp` below it         | that was refused as if nobody spoke MCP there, and the URL is a base   |
| GET of an event stream         | so was that: servers of the first revision                             |
| GET of one at `sse` below it   | likewise, and the URL is a base                                        |

Nobody there, no time, no permission, too busy: these say nothing of what is spoken, and end the search.
"""

from collections.abc import Callable
from dataclasses import dataclass

import anyio
from msgspec import UNSET

from protocol.http.client import StreamableHTTPClient
from protocol.http.sse_client import SSEClient
from protocol.revisions import Era

from ..adapters.http_client import HTTPClientChannel
from ..adapters.http_pool import HTTPPool, PoolCounts, PoolLimits, make_tls
from ..adapters.http_transfer import ClientTimeouts
from ..adapters.http_url import HTTPURL
from ..errors import ConnectionError as MCPConnectionError
from ..errors import MCPError, MCPErrorCode, TransportError
from .config import ClientConfig
from .session import ClientSession
from .verdicts import Verdicts

__all__ = ["WebConnection", "connect_web"]


@dataclass(frozen=True, slots=True)
class _Door:
    """One way in that may be the right one."""

    is_sse: bool
    url: HTTPURL

    def __str__(self) -> str:
        return f"an event stream at {self.url}" if self.is_sse else f"POST to {self.url}"


@dataclass(frozen=True, slots=True)
class _Verdict:
    door: _Door
    era: Era


_verdicts: Verdicts[_Verdict] = Verdicts()


class WebConnection:
    """A session with a server behind a URL, and the connections that carry it."""

    def __init__(self, session: ClientSession, channel: HTTPClientChannel, pool: HTTPPool) -> None:
        self.session = session
        self.channel = channel
        self._pool = pool

    async def aclose(self) -> None:
        """End the session, there too, then the connections; from any task."""
        await self.session.aclose()
        self.channel.close()
        await self.channel.wait_closed()
        await self._pool.aclose()


async def connect_web(
    config: ClientConfig, make_session: Callable[[], ClientSession], counts: PoolCounts | None = None
) -> WebConnection:
    """Find out what is spoken at the config's URL and wait until the server is ready.

    Raises:
        TransportError: the server cannot be reached, or speaks no MCP; the text says "connection", the endpoint and the
            cause, or what was tried.
        AuthenticationError, AuthorizationError, RateLimitError: the server said so.
        MCPError: the server speaks no common revision.
    """
    pool = _make_pool(config, counts)
    try:
        asking = make_session()
        known = _verdicts.recall(config.endpoint_key, asking)
        if known is not None:
            search = _Search(config, make_session, pool)
            connection = await search.enter(known.door, known.era)
            if connection is not None:
                return connection
            _verdicts.forget(config.endpoint_key, asking)
        search = _Search(config, make_session, pool)
        for door in _doors(config):
            connection = await search.enter(door, None)
            if connection is not None:
                return connection
        raise search.failure()
    except BaseException:
        with anyio.CancelScope(shield=True):
            await pool.aclose()
        raise


def _doors(config: ClientConfig) -> list[_Door]:
    url = config.location
    path = url.target.partition("?")[0]
    is_base = path.endswith("/")
    posts = [_Door(False, url)] + ([_Door(False, url.below("mcp"))] if is_base else [])
    streams = [_Door(True, url)] + ([_Door(True, url.below("sse"))] if is_base else [])
    return streams if config.transport == "sse" else posts + streams


class _Search:
    """Tries doors, and remembers what each said."""

    def __init__(self, config: ClientConfig, make_session: Callable[[], ClientSession], pool: HTTPPool) -> None:
        self._config = config
        self._make_session = make_session
        self._pool = pool
        self._tried: list[tuple[_Door, MCPError]] = []

    async def enter(self, door: _Door, era: Era | None) -> WebConnection | None:
        """Return the connection, or `None` when something else may be behind another door.

        Raises:
            MCPError: no other door would do.
        """
        config = self._config
        session = self._make_session()
        binding: StreamableHTTPClient | SSEClient
        if door.is_sse:
            if not session.engine.profile.handshakes:
                return None  # no server of that transport speaks anything else
            era = Era.HANDSHAKE
            binding = SSEClient(session.engine, url=door.url.text)
        else:
            binding = StreamableHTTPClient(session.engine)
        channel = self._make_channel(door, session, binding)
        session.attach(channel)
        try:
            context = await session.start(config.connect_timeout, config.probe_timeout, era)
        except MCPError as error:
            await _close(session, channel)
            if not _is_elsewhere(binding, session, error):
                raise _failed(config, error) from error
            self._tried.append((door, error))
            return None
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _close(session, channel)
            raise
        _verdicts.remember(config.endpoint_key, session, _Verdict(door, context.revision.era))
        return WebConnection(session, channel, self._pool)

    def _make_channel(
        self, door: _Door, session: ClientSession, binding: StreamableHTTPClient | SSEClient
    ) -> HTTPClientChannel:
        from .. import __version__

        config = self._config
        return HTTPClientChannel(
            binding,
            self._pool,
            door.url,
            on_events=session.on_events,
            on_closed=session.on_closed,
            headers=config.sent_headers,
            user_agent=f"kailash-mcp/{__version__}",
            timeouts=_timeouts(config, is_sse=door.is_sse),
        )

    def failure(self) -> MCPError:
        """Return the error that says what was tried."""
        if len(self._tried) == 1:
            return _failed(self._config, self._tried[0][1])
        tried = "; ".join(f"{door}: {error.message}" for door, error in self._tried)
        return TransportError(f"connection to {self._config.endpoint} failed: nobody speaks MCP there; tried {tried}")


async def _close(session: ClientSession, channel: HTTPClientChannel) -> None:
    await session.aclose()
    channel.close()
    await channel.wait_closed()


def _is_elsewhere(binding: StreamableHTTPClient | SSEClient, session: ClientSession, error: MCPError) -> bool:
    """Tell whether an answer is that of a server which speaks no MCP at this door."""
    facts = error.data if isinstance(error.data, dict) else {}
    if isinstance(binding, SSEClient):
        # Whatever answered was reached, and is no event stream of MCP; the others name themselves by their class.
        return isinstance(error, MCPConnectionError) and "status" in facts and facts.get("retryable") is not True
    if binding.should_try_sse:
        return True
    # Without a handshake there is no second question whose answer could tell more.
    return error.error_code == MCPErrorCode.UNSUPPORTED_VERSION and not session.engine.profile.handshakes


def _failed(config: ClientConfig, error: MCPError) -> MCPError:
    if isinstance(error, MCPConnectionError):
        return TransportError(
            f"connection to {config.endpoint} failed: {error.message}", data=error.data, retryable=error.retryable
        )
    if isinstance(error.data, dict) and "status" in error.data:
        return type(error)(
            f"{config.endpoint} refused the connection: {error.message}",
            data=error.data,
            retryable=error.retryable,
            retry_after=error.retry_after,
        )
    return error


def _make_pool(config: ClientConfig, counts: PoolCounts | None) -> HTTPPool:
    try:
        ssl = None
        if config.location.scheme == "https" or config.ca_file is not None or config.client_cert is not None:
            ssl = make_tls(ca_file=config.ca_file, client_cert=config.client_cert, client_key=config.client_key)
        limits = PoolLimits(connect=config.http_connect_timeout)
        return HTTPPool(limits=limits, ssl=ssl, proxy=config.proxy, codec=config.http_codec, counts=counts)
    except (OSError, ImportError) as error:
        raise TransportError(f"no connection to {config.endpoint} possible: {error}") from error


def _timeouts(config: ClientConfig, *, is_sse: bool) -> ClientTimeouts:
    head, idle = config.first_byte_timeout, config.idle_timeout
    usual = ClientTimeouts()
    return ClientTimeouts(
        head=usual.head if head is UNSET else head,
        call_head=usual.call_head if head is UNSET else head,
        idle=(None if is_sse else usual.idle) if idle is UNSET else idle,
        total=config.response_timeout,
    )
