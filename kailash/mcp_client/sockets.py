"""A server behind a TCP or Unix socket."""

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from protocol.pipe import Pipe

from ..adapters.asyncionative import AsyncioChannel
from ..adapters.channel import Channel
from ..adapters.sockets import connect_tcp, connect_unix
from ..errors import TransportError
from .config import ClientConfig
from .session import ClientSession

if TYPE_CHECKING:
    from .connect import Connection

__all__ = ["open_socket"]

_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
"""Seconds before the second attempt; each further pause is twice as long, and all are drawn."""
_reached: set[str] = set()
"""Endpoints that were there: such a one may be about to come back, and is worth another attempt."""
_MOST_REACHED = 1024


async def open_socket(
    config: ClientConfig, make_session: Callable[[], ClientSession], on_stderr: Callable[[bytes], object] | None
) -> "Connection":
    """Connect a session.

    Raises:
        TransportError: nobody is there.
    """
    from .connect import Connection  # which imports this module

    session = make_session()
    pause = _FIRST_PAUSE
    for left in reversed(range(_ATTEMPTS if config.endpoint in _reached else 1)):
        try:
            with anyio.fail_after(config.http_connect_timeout):
                channel = await _connect(config, session)
            break
        except TimeoutError as error:
            text = f"connection to {config.endpoint} failed: no answer within {config.http_connect_timeout:g} s"
            raise TransportError(f"{text} (http_connect_timeout=)", retryable=True) from error
        except OSError as error:
            if not left:
                why = os.strerror(error.errno) if error.errno else str(error)
                raise TransportError(f"connection to {config.endpoint} failed: {why}", retryable=True) from error
        await anyio.sleep(random.uniform(0.5, 1.0) * pause)
        pause *= 2
    if len(_reached) >= _MOST_REACHED:
        _reached.clear()
    _reached.add(config.endpoint)

    async def close() -> None:
        channel.close()
        await channel.wait_closed()

    return Connection(session, close)


async def _connect(config: ClientConfig, session: ClientSession) -> Channel:
    def make() -> AsyncioChannel:
        channel = AsyncioChannel(
            Pipe(session.engine), on_events=session.on_events, on_closed=session.on_closed, keep_reading=True
        )
        session.attach(channel)
        return channel

    if config.transport == "unix":
        return await connect_unix(make, config.path or "")
    return await connect_tcp(make, config.host or "", config.port or 0)
