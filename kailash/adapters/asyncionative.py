"""The channel over asyncio transports: the fast path, also under uvloop."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from .channel import Channel

__all__ = ["AsyncioChannel", "DuplexProtocol", "ReadSide", "WriteSide"]


class AsyncioChannel(Channel):
    """A channel over asyncio transports: one for both directions, or one for each."""

    _reader: asyncio.ReadTransport | None = None
    _writer: asyncio.WriteTransport | None = None
    _is_duplex = False

    def attach_reader(self, transport: asyncio.ReadTransport) -> None:
        """Take the transport that reads; it may already be delivering."""
        self._reader = transport

    def attach_writer(self, transport: asyncio.WriteTransport, *, is_duplex: bool = False) -> None:
        """Take the transport that writes; the one that also reads when `is_duplex`."""
        self._is_duplex = is_duplex
        self._writer = transport
        # High and low at zero make the two flow-control callbacks say "bytes are waiting" and
        # "none are": all the bookkeeping needed, and uvloop then writes at once.
        transport.set_write_buffer_limits(high=0, low=0)

    @property
    def has_sides(self) -> bool:
        """Tell whether one direction can end without the other."""
        return self._writer is not None and self._writer.can_write_eof()

    def writing_paused(self) -> None:
        """Note that the transport could not write everything."""
        self._stick()

    def writing_resumed(self) -> None:
        """Note that the transport has written everything."""
        self._free()

    def reader_lost(self, error: BaseException | None) -> None:
        """Note that the reading transport is gone."""
        self._reader = None
        if error is not None and not self._shutting:
            self.abort(error)
        if self._writer is None:
            self._finish()

    def writer_lost(self, error: BaseException | None) -> None:
        """Note that the writing transport is gone."""
        self._writer = None
        if not self._shutting and not self._we_ended and (error is not None or self._stuck):
            self.abort(error or BrokenPipeError("the peer no longer reads"))
        # Otherwise the reader of our output left while nothing was being written. That matters only
        # once there is something to write: a peer that ends both its sides at once is no fault.
        if self._reader is None:
            self._finish()

    def _emit(self, data: bytes) -> None:
        # A transport whose reader hung up drops what is written until it reports the loss.
        if self._writer is None or self._writer.is_closing():
            self.abort(BrokenPipeError("the peer no longer reads"))
        else:
            self._writer.write(data)

    def _emit_end(self) -> None:
        if self._writer is None:
            return
        if not self._is_duplex:
            self._writer.close()
        elif self._writer.can_write_eof():  # TLS cannot; there the end of both sides is one
            with suppress(OSError):  # asyncio has not noticed yet that the peer is gone, and will tell us
                self._writer.write_eof()

    def _backlog(self) -> int:
        return 0 if self._writer is None else self._writer.get_write_buffer_size()

    def _pause(self) -> None:
        if self._reader is not None and not self._peer_ended:
            self._reader.pause_reading()

    def _resume(self) -> None:
        if self._reader is not None:
            self._reader.resume_reading()

    def _shut(self) -> None:
        if self._reader is not None:
            self._reader.close()
        # A transport for both directions is closed once: asyncio's TLS forgets its connection the second time.
        if self._writer is not None and not self._is_duplex:
            self._writer.close()
        self._finish_unattached()

    def _kill(self) -> None:
        # Aborting a pipe that has nothing to write and is closing would report its loss twice.
        if self._writer is not None and (not self._writer.is_closing() or self._writer.get_write_buffer_size()):
            self._writer.abort()
        if self._reader is not None and not self._is_duplex:
            self._reader.close()
        self._finish_unattached()

    def _finish_unattached(self) -> None:
        if self._reader is None and self._writer is None:
            self.loop.call_soon(self._finish)


_READ_SIZE = 1 << 16


class ReadSide(asyncio.Protocol):
    """The protocol of a transport that only reads for a channel."""

    def __init__(self, channel: AsyncioChannel) -> None:
        self._channel = channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the transport to the channel."""
        # asyncio reads pipes with 256 KiB buffers, which malloc maps, shrinks and unmaps for every message: three
        # system calls beside the read. A pipe holds 64 KiB, and a buffer of that size comes from the heap.
        if hasattr(transport, "max_size"):
            transport.max_size = _READ_SIZE
        self._channel.attach_reader(transport)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Feed the channel."""
        self._channel.feed(data)

    def eof_received(self) -> None:
        """End the peer's side."""
        self._channel.feed_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report the loss."""
        self._channel.reader_lost(exc)


class WriteSide(asyncio.BaseProtocol):
    """The protocol of a transport that only writes for a channel."""

    def __init__(self, channel: AsyncioChannel) -> None:
        self._channel = channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the transport to the channel."""
        self._channel.attach_writer(transport)  # type: ignore[arg-type]

    def pause_writing(self) -> None:
        """Report bytes that wait."""
        self._channel.writing_paused()

    def resume_writing(self) -> None:
        """Report that none wait."""
        self._channel.writing_resumed()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report the loss."""
        self._channel.writer_lost(exc)


class DuplexProtocol(WriteSide, asyncio.Protocol):
    """The protocol of a transport for both directions: TCP, Unix sockets, TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the transport to the channel, for both directions."""
        self._channel.attach_reader(transport)  # type: ignore[arg-type]
        self._channel.attach_writer(transport, is_duplex=True)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Feed the channel."""
        self._channel.feed(data)

    def eof_received(self) -> bool:
        """End the peer's side and keep ours open, for the answers; with TLS both end at once."""
        self._channel.feed_eof()
        return self._channel.has_sides

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report the loss of both directions."""
        self._channel.writer_lost(exc)
        self._channel.reader_lost(exc)
