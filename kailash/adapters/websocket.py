"""WebSockets: a channel that ends with a close, given a connection that HTTP has opened, or opening one as a client.

No connection and no message has a task of its own: on asyncio the transport calls, elsewhere a `StreamTransport` does.
"""

from __future__ import annotations

import asyncio
import os
import ssl as tls
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import anyio

from protocol.framing.handshake import ClientHandshake, Opened, Refusal
from protocol.websocket import WebSocketPipe

from .asyncionative import AsyncioChannel, DuplexProtocol
from .channel import ChannelOptions
from .http_url import HTTPURL
from .httptransport import connect
from .loops import current_loop
from .waiter import make_waiter

__all__ = ["UpgradeRefused", "WebSocketChannel", "adopt", "connect_websocket", "mint_mask"]

_GOING_AWAY = 1001
_TRY_AGAIN_LATER = 1013
_MASKS = 256


def make_minter() -> Callable[[], bytes]:
    """Return what mints masks of four bytes: the system is asked for many at once."""
    left: list[bytes] = []

    def mint() -> bytes:
        if not left:
            drawn = os.urandom(4 * _MASKS)
            left.extend(drawn[start : start + 4] for start in range(0, len(drawn), 4))
        return left.pop()

    return mint


mint_mask = make_minter()
"""Mints the masks of this process."""


class WebSocketChannel(AsyncioChannel):
    """A channel over a WebSocket.

    Args:
        pipe: the engine and the WebSocket.
        is_busy: tells whether an answer is still owed; a server's, which then closes behind it.
        options: those of `Channel`.
    """

    pipe: WebSocketPipe

    def __init__(
        self, pipe: WebSocketPipe, *, is_busy: Callable[[], bool] | None = None, **options: Unpack[ChannelOptions]
    ) -> None:
        super().__init__(pipe, **options)
        self.forget: Callable[[WebSocketChannel], None] | None = None
        """Told of the end; of whoever counts connections."""
        self._is_busy_with = is_busy
        self._is_draining = False

    # The end

    def close(self) -> None:
        """Say that it ends, and end when the peer says so too, or after `close_timeout`; idempotent."""
        if self._closing or self._peer_ended or self.pipe.close_expected():
            super().close()
            return
        self.pipe.close()
        self._close_by(self.limits.close_timeout)
        self.flush()

    def drain_answer(self) -> None:
        """Close behind the last answer that is owed."""
        self._is_draining = True
        self.flush()

    @property
    def is_draining(self) -> bool:
        """Tell whether no new request is to be taken."""
        return self._is_draining

    def shut(self) -> None:
        """Close now, whatever is owed."""
        self.pipe.close(_GOING_AWAY, "the server is shutting down")
        self.flush()

    def _push(self) -> None:
        super()._push()
        if self._is_busy_with is None:
            return  # "the server MUST close the TCP connection first" — RFC 6455 section 7.1.1
        if self._is_draining and not self.pipe.close_expected() and not self._is_busy_with():
            self.pipe.close(_GOING_AWAY, "the server is shutting down")
            super()._push()
        if self.pipe.is_over:
            self.close()

    def _give_up(self, error: Exception) -> None:
        if self._shutting:
            self.abort(error)
            return
        # Behind everything that was not read: if the peer reads on after all, it learns why nothing follows.
        self.error = error
        self._closing = self._shutting = True
        self.pipe.fail(_TRY_AGAIN_LATER, "too much waits to be read")
        data = b"".join(self.pipe.data_to_send())
        self._emitted += len(data)
        self._emit(data)
        self._close_at = self.now() + self.limits.close_timeout
        self._arm(self._close_at)
        self._shut()
        # Those who write learn of it now; in a turn of its own, for it may be one of them that we are called by.
        self.loop.call_soon(lambda: None if self.closed else self._step(_nothing))

    def _finish(self) -> None:
        is_new = not self.closed
        super()._finish()
        if is_new and self.forget is not None:
            self.forget(self)


def _nothing() -> None:
    """Do nothing: the events that are there are to be taken."""


def adopt(channel: WebSocketChannel, transport: asyncio.Transport, trailing: bytes) -> None:
    """Let a channel have a connection on which the handshake is done.

    Args:
        trailing: what was read behind the handshake.
    """
    protocol = DuplexProtocol(channel)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if transport.get_write_buffer_size():
        channel.writing_paused()  # the answer to the handshake has not left yet
    channel.pipe.socket.start(channel.now())
    if trailing:
        protocol.data_received(trailing)
    else:
        channel.flush()


class UpgradeRefused(ConnectionError):
    """A server that answers, and does not open a WebSocket."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.status = refusal.status
        self.headers = refusal.headers


class _Opening(asyncio.Protocol):
    """The handshake of a client; whoever waits gets the channel."""

    def __init__(self, handshake: ClientHandshake, make: Callable[[Opened], WebSocketChannel]) -> None:
        self._handshake = handshake
        self._make = make
        self._transport: asyncio.Transport
        self.waiter: Any = make_waiter(current_loop())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is one in all but its class
        self._transport.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        found = self._handshake.receive_data(data)
        if isinstance(found, Opened):
            channel = self._make(found)
            if not self.waiter.done():
                self.waiter.set_result(channel)
            adopt(channel, self._transport, found.trailing)
        elif found is not None:
            self._refuse(found)

    def eof_received(self) -> bool:
        self._refuse(self._handshake.receive_eof())
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._refuse(self._handshake.receive_eof())

    def _refuse(self, refusal: Refusal) -> None:
        if not self.waiter.done():
            self.waiter.set_exception(UpgradeRefused(refusal))
        self._transport.abort()


async def connect_websocket(
    url: HTTPURL,
    make: Callable[[Opened], WebSocketChannel],
    *,
    addresses: Sequence[str] = (),
    headers: Sequence[tuple[bytes, bytes]] = (),
    subprotocols: Sequence[str] = (),
    is_deflate_offered: bool = False,
    ssl: tls.SSLContext | None = None,
) -> WebSocketChannel:
    """Open a WebSocket as a client.

    Args:
        url: where; `wss` needs `ssl`.
        make: makes the channel once the server has agreed.
        addresses: those of the host that may be connected to, one after the other; default whatever it has.
        headers: of the handshake, besides its own.
        subprotocols: in the order of our liking.
        is_deflate_offered: offer compression.
        ssl: whom to trust.

    Raises:
        UpgradeRefused: what answers does not open a WebSocket.
        OSError: nobody there, or the certificate is not trusted.
    """
    failure: OSError | None = None
    opening: _Opening | None = None
    for address in addresses or (url.host,):
        handshake = ClientHandshake(
            url.target,
            url.authority,
            nonce=os.urandom(16),
            headers=headers,
            subprotocols=subprotocols,
            is_deflate_offered=is_deflate_offered,
        )
        try:
            transport, opening = await connect(
                lambda handshake=handshake: _Opening(handshake, make),  # type: ignore[misc]
                address,
                url.port,
                ssl=ssl,
                server_hostname=url.host,
            )
            break
        except OSError as error:
            failure = failure or error
    if opening is None:
        assert failure is not None
        raise failure
    try:
        channel: WebSocketChannel = await opening.waiter
    except anyio.get_cancelled_exc_class():
        transport.abort()
        raise
    return channel
