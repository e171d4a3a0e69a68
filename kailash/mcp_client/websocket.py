"""A server behind a WebSocket: the handshake, the URL's security, and coming back where a server was before."""

import inspect
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from protocol.framing.handshake import Opened
from protocol.framing.websocket import WebSocket, WebSocketLimits
from protocol.websocket import WebSocketPipe

from ..adapters.http_headers import encode_headers
from ..adapters.http_pool import describe_error, make_tls
from ..adapters.url_security import AddressRefused, TransportSecurity
from ..adapters.websocket import UpgradeRefused, WebSocketChannel, connect_websocket, mint_mask
from ..errors import AuthenticationError, AuthorizationError, MCPError, RateLimitError, TransportError
from .config import ClientConfig
from .session import ClientSession

__all__ = ["open_websocket"]

_BY_STATUS: dict[int | None, type[MCPError]] = {
    401: AuthenticationError,
    403: AuthorizationError,
    429: RateLimitError,
}
_TEMPORARY = frozenset({429, 502, 503, 504})
_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
"""Seconds before the second attempt; each further pause is twice as long, and all are drawn."""
_reached: set[Any] = set()
"""Endpoints that were there: such a one may be about to come back, and is worth another attempt."""
_MOST_REACHED = 1024


async def open_websocket(config: ClientConfig, session: ClientSession) -> Callable[[], Awaitable[None]]:
    """Open a WebSocket for a session, and return what closes it.

    Raises:
        TransportError: the server cannot be reached, or must not be.
        AuthenticationError, AuthorizationError, RateLimitError: the server said so.
    """
    pause = _FIRST_PAUSE
    for left in reversed(range(_ATTEMPTS if config.endpoint_key in _reached else 1)):
        try:
            channel = await _connect(config, session)
            break
        except MCPError as error:
            if not left or not error.retryable:
                raise
        await anyio.sleep(random.uniform(0.5, 1.0) * pause)
        pause *= 2
    if len(_reached) >= _MOST_REACHED:
        _reached.clear()
    _reached.add(config.endpoint_key)

    async def close() -> None:
        channel.close()
        await channel.wait_closed()

    return close


async def _connect(config: ClientConfig, session: ClientSession) -> WebSocketChannel:
    from .. import __version__

    url = config.location

    def make(opened: Opened) -> WebSocketChannel:
        limits = WebSocketLimits(
            message_bytes=session.engine.limits.message_bytes,
            message_timeout=None,  # calls have time-outs of their own
            ping_interval=config.ping_interval,
            ping_timeout=config.ping_timeout,
        )
        socket = WebSocket(is_client=True, limits=limits, mint_mask=mint_mask, is_deflated=opened.is_deflated)
        pipe = WebSocketPipe(session.engine, socket)
        channel = WebSocketChannel(pipe, on_events=session.on_events, on_closed=session.on_closed, keep_reading=True)
        session.attach(channel)
        return channel

    try:
        fields = await _headers(config)
        if not any(name.lower() == b"user-agent" for name, _ in fields):
            fields.append((b"User-Agent", f"kailash-mcp/{__version__}".encode()))
        ssl = None
        if url.scheme == "wss":
            ssl = make_tls(ca_file=config.ca_file, client_cert=config.client_cert, client_key=config.client_key)
        security = TransportSecurity(allow_localhost=config.allow_localhost, is_skipped=config.skip_security_validation)
        with anyio.fail_after(config.http_connect_timeout):
            return await connect_websocket(
                url,
                make,
                addresses=await security.addresses(url),
                headers=fields,
                subprotocols=config.subprotocols,
                is_deflate_offered=config.compression,
                ssl=ssl,
            )
    except UpgradeRefused as error:
        raise _refused(config, error) from error
    except TimeoutError as error:
        text = f"connection to {config.endpoint} failed: no answer within {config.http_connect_timeout:g} s"
        raise TransportError(f"{text} (http_connect_timeout=)", retryable=True) from error
    except OSError as error:
        is_refused = isinstance(error, AddressRefused)
        why = str(error) if is_refused else describe_error(error)
        raise TransportError(f"connection to {config.endpoint} failed: {why}", retryable=not is_refused) from error


async def _headers(config: ClientConfig) -> list[tuple[bytes, bytes]]:
    """Return the headers of the handshake; what a callable raises is not shown, it may hold what they were made of."""
    sent = config.sent_headers
    try:
        made = sent() if callable(sent) else sent
        return encode_headers((await made if inspect.isawaitable(made) else made) or {})
    except Exception as error:
        why = str(error) if isinstance(error, ValueError) and str(error).startswith("headers: ") else ""
        shown = why or f"the callable raised {type(error).__name__}"
        raise TransportError(
            f"connection to {config.endpoint} failed: the headers could not be made: {shown}"
        ) from None


def _refused(config: ClientConfig, error: UpgradeRefused) -> MCPError:
    after = None if error.headers is None else error.headers.get(b"retry-after")
    return _BY_STATUS.get(error.status, TransportError)(
        f"connection to {config.endpoint} failed: {error}",
        data=None if error.status is None else {"status": error.status},
        retryable=error.status in _TEMPORARY,
        retry_after=float(after) if after is not None and after.isdigit() else None,
    )
