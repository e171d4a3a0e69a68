"""asyncio's transports over any byte stream: what lets one callback-style protocol run on every event loop.

Here belong a transport and the opening of a connection for it. What the bytes mean belongs to the protocol that is
driven, which is an `asyncio.Protocol` and on asyncio itself is driven by asyncio's own transports.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl as tls
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import anyio
import anyio.abc
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from .loops import AsyncioLoop, current_loop
from .owner import spawn_owner

__all__ = ["StreamTransport", "Tunnel", "connect"]

logger = logging.getLogger("kailash.adapters.httptransport")

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_BROKEN = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.BusyResourceError)
_ATTRIBUTES: Mapping[str, Any] = {
    "socket": SocketAttribute.raw_socket,
    "sockname": SocketAttribute.local_address,
    "peername": SocketAttribute.remote_address,
    "ssl_object": TLSAttribute.ssl_object,
}
_PIECE = 1 << 16  # one write; small enough that a slow peer's progress shows
_ADDRESS = re.compile(r"[0-9.]+|.*:.*|localhost", re.IGNORECASE)
_CLOSE_TIMEOUT = 5.0  # seconds for the stream's own farewell

P = TypeVar("P", bound=asyncio.Protocol)

Tunnel = Callable[[anyio.abc.ByteStream], Awaitable[None]]
"""Talks to whoever was connected to until the wanted peer is at the other end."""


class StreamTransport(asyncio.Transport):
    """The part of `asyncio.Transport` that our protocols use, over an anyio byte stream; lives while `run` does.

    Args:
        stream: what carries the bytes; owned and closed by the transport.
        protocol: what is driven.
        extra: answers of `get_extra_info` that the stream itself does not know.
        high_water: unsent bytes above which the protocol is told to pause; at a quarter it may go on.
        read_size: most bytes of one `data_received`.
    """

    def __init__(
        self,
        stream: anyio.abc.ByteStream,
        protocol: asyncio.BaseProtocol,
        *,
        extra: Mapping[str, Any] = _NOTHING,
        high_water: int = 1 << 16,
        read_size: int = 1 << 16,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._protocol: Any = protocol
        self._known = extra
        self._high = high_water
        self._low = high_water // 4
        self._read_size = read_size
        self._scope = anyio.CancelScope()
        self._outbox: list[bytes] = []
        self._waiting = 0  # bytes in the outbox or being written
        self._is_made = False
        self._is_closing = False
        self._is_ending = False
        self._is_full = False
        self._is_paused = False
        self._error: BaseException | None = None
        self._wake: anyio.Event | None = None
        self._go_on: anyio.Event | None = None

    # Life

    def start(self) -> None:
        """Tell the protocol of the connection, unless that is done; `run` does it too."""
        if not self._is_made:
            self._is_made = True
            self._call(self._protocol.connection_made, self)

    async def run(self) -> None:
        """Drive the protocol until the connection has ended; the peer's faults are told to the protocol, not raised."""
        try:
            with self._scope:
                self.start()
                async with anyio.create_task_group() as group:
                    group.start_soon(self._read)
                    await self._write()
                    group.cancel_scope.cancel()
        finally:
            self._is_closing = True
            with anyio.CancelScope(shield=True):
                await self._farewell()
            self._outbox.clear()
            self._waiting = 0
            try:
                self._protocol.connection_lost(self._error)
            except Exception:
                logger.exception("! the callback for the end of a connection failed")

    async def _farewell(self) -> None:
        with contextlib.suppress(*_BROKEN), anyio.move_on_after(_CLOSE_TIMEOUT):
            if self._scope.cancel_called:
                await anyio.aclose_forcefully(self._stream)
            else:
                await self._stream.aclose()

    async def _read(self) -> None:
        receive = self._stream.receive
        try:
            while not self._is_closing:
                try:
                    data = await receive(self._read_size)
                except anyio.EndOfStream:
                    data = b""
                while self._is_paused and not self._is_closing:
                    self._go_on = anyio.Event()
                    await self._go_on.wait()
                if self._is_closing:
                    return
                if data:
                    self._call(self._protocol.data_received, data)
                    continue
                # A protocol that wants to go on writing says so; otherwise the end of one side is that of both.
                if not self._call(self._protocol.eof_received):
                    self.close()
                return
        except _BROKEN as error:
            self._lose(error)

    async def _write(self) -> None:
        send = self._stream.send
        try:
            while True:
                while self._outbox:
                    batch, self._outbox = self._outbox, []
                    data = batch[0] if len(batch) == 1 else b"".join(batch)
                    for start in range(0, len(data), _PIECE):
                        piece = data[start : start + _PIECE] if len(data) > _PIECE else data
                        await send(piece)
                        self._waiting -= len(piece)
                        if self._is_full and self._waiting <= self._low:
                            self._is_full = False
                            self._call(self._protocol.resume_writing)
                if self._is_closing:
                    return
                if self._is_ending and isinstance(self._stream, anyio.abc.SocketStream):
                    self._is_ending = False
                    await self._stream.send_eof()
                    continue
                self._wake = anyio.Event()
                await self._wake.wait()
                self._wake = None
        except _BROKEN as error:
            self._lose(error)

    def _call(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call the protocol; when it fails the connection is dropped, as asyncio does."""
        try:
            return callback(*args)
        except Exception as error:
            logger.exception("! the connection is dropped: its callback failed")
            self._lose(error)
            return None

    def _lose(self, error: BaseException) -> None:
        if self._error is None and not self._is_closing:
            cause = error.__cause__
            self._error = cause if isinstance(cause, OSError) else error
        self.abort()

    # What the protocol calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes behind those that wait; after the end they are dropped."""
        if self._is_closing or not data:
            return
        self._outbox.append(bytes(data))
        self._waiting += len(data)
        self._rouse()
        if self._waiting > self._high and not self._is_full:
            self._is_full = True
            self._call(self._protocol.pause_writing)

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send bytes that come in pieces."""
        self.write(b"".join(pieces))

    def can_write_eof(self) -> bool:
        """Tell whether our side alone can be ended: TLS cannot."""
        return isinstance(self._stream, anyio.abc.SocketStream)

    def write_eof(self) -> None:
        """End our side once everything is written."""
        self._is_ending = True
        self._rouse()

    def close(self) -> None:
        """Read no more, and end the connection once everything is written."""
        self._is_closing = True
        self._rouse()
        self._release()

    def abort(self) -> None:
        """End the connection now; what is unsent is lost."""
        self._is_closing = True
        self._scope.cancel()

    def is_closing(self) -> bool:
        """Tell whether the connection is ending or has ended."""
        return self._is_closing

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`; at most one read stays in memory."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Deliver again what is read."""
        self._is_paused = False
        self._release()

    def is_reading(self) -> bool:
        """Tell whether what is read is delivered."""
        return not (self._is_paused or self._is_closing)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks of `pause_writing` and `resume_writing`."""
        self._high = high if high is not None else 1 << 16 if low is None else 4 * low
        self._low = low if low is not None else self._high // 4

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._waiting

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what was given, or what the stream knows: `socket`, `sockname`, `peername`, `ssl_object`."""
        if name in self._known:
            return self._known[name]
        attribute = _ATTRIBUTES.get(name)
        return default if attribute is None else self._stream.extra(attribute, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return what is driven."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Drive another protocol from now on."""
        self._protocol = protocol

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _release(self) -> None:
        if self._go_on is not None:
            self._go_on.set()
            self._go_on = None


async def connect(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    ssl: tls.SSLContext | None = None,
    server_hostname: str | None = None,
    tunnel: Tunnel | None = None,
) -> tuple[asyncio.Transport, P]:
    """Connect, and drive a protocol over the connection until it ends, outside the caller's task.

    Args:
        factory: makes the protocol, which has its transport when this returns.
        ssl: for TLS.
        server_hostname: whom the certificate must name; default the host.
        tunnel: talks to a proxy before anything else is sent.

    Raises:
        OSError: nobody there, or the certificate is not trusted; the text says which.
    """
    loop = current_loop()
    if isinstance(loop, AsyncioLoop) and tunnel is None:
        hostname = server_hostname if ssl is not None else None
        # A name whose IPv6 leads nowhere must not cost a whole time-out; uvloop knows only one after the other.
        # Addresses need no race, in which asyncio may lose a socket when it is cancelled.
        races = isinstance(loop.loop, asyncio.BaseEventLoop) and not _ADDRESS.fullmatch(host)
        eager: dict[str, Any] = {"happy_eyeballs_delay": 0.25} if races else {}
        return await loop.loop.create_connection(factory, host, port, ssl=ssl, server_hostname=hostname, **eager)
    try:
        stream: anyio.abc.ByteStream = await anyio.connect_tcp(host, port)
    except OSError as error:
        raise _plain(error) from error
    try:
        if tunnel is not None:
            await tunnel(stream)
        if ssl is not None:
            stream = await TLSStream.wrap(
                stream, hostname=server_hostname or host, ssl_context=ssl, standard_compatible=False
            )
    except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
        await anyio.aclose_forcefully(stream)
        cause = error.__cause__
        raise (cause if isinstance(cause, OSError) else ConnectionResetError("the peer hung up")) from error
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise
    protocol = factory()
    transport = StreamTransport(stream, protocol)
    transport.start()
    spawn_owner(transport.run, name="kailash connection")
    return transport, protocol


def _plain(error: OSError) -> OSError:
    """Return the reason that anyio hides behind "all connection attempts failed"."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup) and cause.exceptions:
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error
