"""Two pipes joined in one process: the real bytes, no sockets, no tasks."""

from __future__ import annotations

from typing import Unpack

from .channel import Channel, ChannelOptions, PipeLike

__all__ = ["MemoryChannel", "join"]


class MemoryChannel(Channel):
    """One end of a connection inside the process; connected by `join`."""

    def __init__(self, pipe: PipeLike, **options: Unpack[ChannelOptions]) -> None:
        super().__init__(pipe, **options)
        self._peer: MemoryChannel | None = None
        self._inbox: list[bytes] = []
        self._inbox_size = 0
        self._input_ended = False
        self._paused = False
        self._scheduled = False

    def attach(self, peer: MemoryChannel) -> None:
        """Take the other end."""
        self._peer = peer

    def deliver(self, data: bytes) -> None:
        """Take bytes from the peer; they are read in a later turn of the loop."""
        self._inbox.append(data)
        self._inbox_size += len(data)
        self._schedule()

    def deliver_end(self) -> None:
        """Take the end of the peer's side, behind what it delivered."""
        self._input_ended = True
        self._schedule()

    def undelivered(self) -> int:
        """Return how many bytes wait to be read."""
        return self._inbox_size

    def taken(self) -> None:
        """Learn that the peer has read everything."""
        self._free()
        if self._shutting:
            self._finish()

    def _schedule(self) -> None:
        # Never read inside the peer's flush: two pipes answering each other would recurse, and
        # everything the peer writes in this turn is read as one.
        if not self._scheduled and not self._paused:
            self._scheduled = True
            self.loop.call_soon(self._read)

    def _read(self) -> None:
        self._scheduled = False
        if self._paused:
            return
        if self._inbox:
            chunks = self._inbox
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._inbox = []
            self._inbox_size = 0
            if self._peer is not None:
                self._peer.taken()
            self.feed(data)
        if self._input_ended and not self._inbox:
            self.feed_eof()

    def _emit(self, data: bytes) -> None:
        # For a closed peer there is nobody to read; its end of input is already on the way to us.
        if self._peer is not None and not self._peer.closed:
            self._peer.deliver(data)
            self._stick()

    def _emit_end(self) -> None:
        if self._peer is not None:
            self._peer.deliver_end()

    def _backlog(self) -> int:
        return 0 if self._peer is None else self._peer.undelivered()

    def _pause(self) -> None:
        self._paused = True

    def _resume(self) -> None:
        self._paused = False
        if self._inbox or self._input_ended:
            self._schedule()

    def _shut(self) -> None:
        if not self._we_ended:
            self._emit_end()
        if not self._stuck:
            self.loop.call_soon(self._finish)

    def _kill(self) -> None:
        if self._peer is not None and not self._we_ended:
            self._peer.deliver_end()
        self.loop.call_soon(self._finish)

    def _finish(self) -> None:
        self._inbox = []
        self._inbox_size = 0
        super()._finish()
        # Bytes for a closed end are as read as they will ever be.
        if self._peer is not None and not self._peer.closed:
            self._peer.taken()


def join(one: MemoryChannel, two: MemoryChannel) -> None:
    """Connect two ends; call it once, before either flushes."""
    one.attach(two)
    two.attach(one)
