"""Channels: what the runtime sees of any connection.

Here belong reading, writing, one timer and the end of a connection around a sans-IO pipe. What the
bytes mean belongs to the pipe; who runs the handlers belongs to the runtime.

    a read      feed ─► pipe ─► events ─► on_events ─► one write of all that was answered
    flush()     inside a callback: nothing, the write comes at its end; elsewhere: writes now
    peer's EOF  on_eof (or the pipe is told) ─► up to `linger` seconds to answer ─► close
    the end     pipe.receive_eof() ─► its last events ─► on_closed(error), each once, in this order
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, Required, TypedDict

import anyio

from .loops import Timer, current_loop

__all__ = [
    "Channel",
    "ChannelLimits",
    "ChannelOptions",
    "PipeLike",
]

logger = logging.getLogger("kailash.adapters.channel")


class PipeLike(Protocol):
    """The sans-IO object a channel drives; `protocol.pipe.Pipe` is one."""

    @property
    def engine(self) -> Any:
        """The message-level machine behind the bytes."""

    @property
    def is_holding(self) -> bool:
        """Tell whether messages wait that were read, until `go_on`."""

    def go_on(self, *, is_last: bool = False) -> bool:
        """Take those of them for which there is room, or all; tell whether there were any."""

    def receive_data(self, data: bytes) -> None:
        """Take what was read."""

    def receive_eof(self) -> None:
        """Learn that nothing more will be read; idempotent."""

    def events_received(self) -> list[Any]:
        """Hand over what happened since the last call."""

    def data_to_send(self) -> list[bytes]:
        """Hand over what is to be written; a last `b""` ends our side."""

    def close_expected(self) -> bool:
        """Tell whether nothing more will be exchanged."""

    def next_deadline(self) -> float | None:
        """Return when `handle_deadline` wants to be called, on the loop's clock."""

    def handle_deadline(self, now: float) -> None:
        """Expire what is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """How much a slow or silent peer may cost one connection."""

    high_bytes: int = 1 << 20
    """Unsent bytes from which `drain` waits and reading pauses."""
    high_messages: int = 256
    """Unsent messages from which `drain` waits and reading pauses."""
    cap_bytes: int | None = 16 << 20
    """Unsent bytes from which a further write drops the connection."""
    write_timeout: float | None = 20.0
    """Seconds without a byte leaving, while some wait, until the connection is dropped."""
    linger: float = 0.0
    """Seconds we may go on answering after the peer's end of input."""
    close_timeout: float = 5.0
    """Seconds `close` may take to deliver what is still unsent."""


DEFAULT_LIMITS = ChannelLimits()

_PATIENCE = 0.05
"""Seconds in which some of a burst of more requests than may be in flight gets room, as calls of it are answered."""
_BREATH = 0.001
"""Seconds between two looks for it."""


class ChannelOptions(TypedDict, total=False):
    """The keyword arguments of `Channel`, for the functions that pass them on."""

    on_events: Required[Callable[[list[Any]], None]]
    on_closed: Callable[[BaseException | None], None] | None
    on_eof: Callable[[], None] | None
    limits: ChannelLimits
    keep_reading: bool


class Channel(ABC):
    """One connection driving one pipe; the base of every kind of connection.

    Args:
        pipe: The sans-IO object; the channel is its only user of bytes and deadlines.
        on_events: Called with the events of each read or deadline, never with an empty list.
        on_closed: Called once, last, with the error that ended the connection or None.
        on_eof: Called at the peer's end of input. With it the pipe is told only by `close`, or when
            `linger` has passed, so that what was read can still be answered; without it, at once.
        limits: What a slow peer may cost.
        keep_reading: Read on although our own outbound side is full. Clients do, because the
            server may be waiting for us to read before it reads again; servers must not.
    """

    def __init__(
        self,
        pipe: PipeLike,
        *,
        on_events: Callable[[list[Any]], None],
        on_closed: Callable[[BaseException | None], None] | None = None,
        on_eof: Callable[[], None] | None = None,
        limits: ChannelLimits = DEFAULT_LIMITS,
        keep_reading: bool = False,
    ) -> None:
        self.pipe = pipe
        self.engine: Any = pipe.engine
        self.limits = limits
        self.loop = current_loop()
        self.now: Callable[[], float] = self.loop.now
        self.error: BaseException | None = None
        """What ended the connection; None for an orderly end."""
        self.closed = False
        """True once everything is over and `on_closed` is being or has been called."""

        self._on_events = on_events
        self._on_closed = on_closed
        self._on_eof = on_eof
        self._keep_reading = keep_reading

        self._busy = False  # inside a callback into the pipe or the runtime
        self._flush_asked = False
        self._peer_ended = False
        self._pipe_told = False
        self._we_ended = False
        self._is_going_on = False
        self._is_end_held = False
        self._patience_ends = 0.0
        self._closing = False
        self._shutting = False

        self._emitted = 0  # bytes ever given to the transport
        self._unsent = 0  # messages given to it since it last was empty
        self._stuck = False  # the transport holds bytes the peer has not taken
        self._full = False
        self._stalled_since = 0.0
        self._progress = 0
        self._stall_check = inf
        self._close_at = inf

        self._timer: Timer | None = None
        self._armed = inf
        self._writable: anyio.Event | None = None
        self._ended: anyio.Event | None = None

    # --- what the runtime calls -------------------------------------------------------------------

    @property
    def peer_ended(self) -> bool:
        """True once the peer has ended its side."""
        return self._peer_ended

    @property
    def full(self) -> bool:
        """True while the peer takes less than we send; `drain` waits for the end of it."""
        return self._full

    def flush(self) -> None:
        """Write what the pipe has to send, now or at the end of the callback we are in."""
        if not self._busy and not self._shutting:
            self._push()

    def flush_soon(self) -> None:
        """Write what the pipe has to send in the loop's next turn: one write for many answers."""
        if not self._flush_asked:
            self._flush_asked = True
            self.loop.call_soon(self._flush_now)

    def flush_told(self) -> None:
        """Write what a handler tells on its way."""
        self.flush()

    @property
    def is_full(self) -> bool:
        """Tell whether to `drain` before more is told."""
        return self._full

    async def drain(self) -> None:
        """Wait while the peer takes less than we send; returns at once once closed."""
        while self._full and not self.closed:
            if self._writable is None:
                self._writable = anyio.Event()
            await self._writable.wait()

    def end_sending(self) -> None:
        """End our side once everything is written, and go on reading."""
        if self._shutting or self._we_ended:
            return
        self._push()
        self._end_our_side()

    def close(self) -> None:
        """End the connection after writing what the pipe has to send; idempotent."""
        if self._closing:
            return
        self._closing = True
        if not self._busy:
            self._begin_shutting()

    def abort(self, error: BaseException | None = None) -> None:
        """End the connection at once; what is unsent is lost."""
        if self.closed:
            return
        if self.error is None:
            self.error = error
        self._closing = self._shutting = True
        self._kill()

    async def wait_closed(self) -> None:
        """Wait until `on_closed` has been called."""
        if not self.closed:
            if self._ended is None:
                self._ended = anyio.Event()
            await self._ended.wait()

    # --- what the transport calls -----------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take what was read: pipe, events, one write."""
        if self._closing:
            return
        self._busy = True
        is_waking = self.loop.begin()
        try:
            try:
                self.pipe.receive_data(data)
                events = self.pipe.events_received()
                if events:
                    self._on_events(events)
            except Exception as error:
                self._fail(error)
            finally:
                # Tasks whose answers were read go on before anything is written: what they ask leaves with the rest.
                if is_waking:
                    self.loop.end()
        finally:
            self._busy = False
        self._settle()
        if self.pipe.is_holding and not self._is_going_on:
            self._patience_ends = self.now() + _PATIENCE
            self._go_on_soon()

    def _go_on_soon(self) -> None:
        self._is_going_on = True
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take more of a burst: what was answered meanwhile has left room. After a while what has none is refused."""
        self._is_going_on = False
        if self._closing:
            return
        now = self.now()

        def take() -> None:
            if self.pipe.go_on(is_last=now >= self._patience_ends):
                self._patience_ends = now + _PATIENCE  # calls are being answered

        self._step(take)
        self._settle()
        if self.pipe.is_holding:
            self._is_going_on = True
            self.loop.call_at(now + _BREATH, self._go_on)
        elif self._is_end_held:
            self.feed_eof()

    def feed_eof(self) -> None:
        """Take the end of the peer's side."""
        if self._peer_ended:
            return
        if self.pipe.is_holding and not self._closing:
            self._is_end_held = True
            return
        self._peer_ended = True
        if self._closing:
            return
        if self._on_eof is None:
            self._tell_eof()
        else:
            self._step(self._on_eof)
        self._settle()
        if self._closing:
            return
        if self.limits.linger > 0:
            self._close_by(self.limits.linger)
        else:
            self.close()

    # --- what a kind of connection provides -------------------------------------------------------

    @abstractmethod
    def _emit(self, data: bytes) -> None:
        """Start writing; calls `_stick` when not all of it left at once."""

    @abstractmethod
    def _emit_end(self) -> None:
        """End our side behind what was emitted."""

    @abstractmethod
    def _backlog(self) -> int:
        """Return how many emitted bytes have not left yet."""

    @abstractmethod
    def _pause(self) -> None:
        """Stop reading."""

    @abstractmethod
    def _resume(self) -> None:
        """Read on."""

    @abstractmethod
    def _shut(self) -> None:
        """Stop reading, end our side behind what was emitted, then call `_finish`."""

    @abstractmethod
    def _kill(self) -> None:
        """Drop everything and call `_finish`, in a later turn of the loop."""

    # --- writing ----------------------------------------------------------------------------------

    def _flush_now(self) -> None:
        self._flush_asked = False
        self.flush()

    def _push(self) -> None:
        chunks = self.pipe.data_to_send()
        if chunks:
            self._transmit(chunks)
        if self.pipe.close_expected():
            if self._peer_ended:
                self.close()
            elif self._close_at == inf:
                self._close_by(self.limits.close_timeout)
        deadline = self.pipe.next_deadline()
        # A later deadline leaves the timer alone: it then fires early, once, and is set anew. With
        # the usual equal timeouts this is one timer per timeout instead of one per message.
        if deadline is not None and deadline < self._armed:
            self._arm(deadline)

    def _transmit(self, chunks: list[bytes]) -> None:
        ends = not chunks[-1]
        if ends:
            chunks = chunks[:-1]
        if chunks and not self._we_ended:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            cap = self.limits.cap_bytes
            if cap is not None and self._stuck and self._backlog() > cap:
                self._give_up(ConnectionAbortedError(f"more than {cap} bytes wait for the peer"))
                return
            self._emitted += len(data)
            self._emit(data)
            if self._stuck:
                self._count(len(chunks))
        if ends:
            self._end_our_side()

    def _give_up(self, error: Exception) -> None:
        """Have no more patience with a peer that does not read."""
        self.abort(error)

    def _end_our_side(self) -> None:
        if not self._we_ended and not self._shutting:
            self._we_ended = True
            self._emit_end()

    def _count(self, messages: int) -> None:
        self._unsent += messages
        if self._full or self._shutting:
            return
        limits = self.limits
        if self._unsent > limits.high_messages or self._backlog() > limits.high_bytes:
            self._full = True
            if not self._keep_reading:
                self._pause()

    def _stick(self) -> None:
        """Note that the transport holds bytes, and watch that they leave."""
        if self._stuck:
            return
        self._stuck = True
        if self.limits.write_timeout is not None:
            self._stalled_since = self.now()
            self._progress = self._emitted - self._backlog()
            self._stall_check = self._stalled_since + self.limits.write_timeout / 4
            self._arm(self._stall_check)

    def _free(self) -> None:
        """Note that everything emitted has left."""
        self._stuck = False
        self._unsent = 0
        self._stall_check = inf
        if self._full:
            self._full = False
            if not self._keep_reading and not self._peer_ended and not self._shutting:
                self._resume()
            if self._writable is not None:
                self._writable.set()
                self._writable = None

    # --- callbacks into the pipe and the runtime --------------------------------------------------

    def _step(self, action: Callable[[], None]) -> None:
        self._busy = True
        try:
            action()
            events = self.pipe.events_received()
            if events:
                self._on_events(events)
        except Exception as error:
            self._fail(error)
        finally:
            self._busy = False

    def _fail(self, error: Exception) -> None:
        logger.exception("! the connection is dropped: its callback failed")
        self.abort(error)

    def _settle(self) -> None:
        # The end of every callback: the one place where its answers are written.
        if self._shutting:
            return
        if self._closing:
            self._begin_shutting()
        else:
            self._push()

    def _tell_eof(self) -> None:
        if not self._pipe_told:
            self._pipe_told = True
            self._step(self.pipe.receive_eof)

    # --- time -------------------------------------------------------------------------------------

    def _arm(self, when: float) -> None:
        if when < self._armed and not self.closed:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = when
            self._timer = self.loop.call_at(when, self._on_time)

    def _close_by(self, timeout: float) -> None:
        self._close_at = min(self._close_at, self.now() + timeout)
        self._arm(self._close_at)

    def _on_time(self) -> None:
        self._timer = None
        self._armed = inf
        if self.closed:
            return
        now = self.now()
        if not self._shutting:
            deadline = self.pipe.next_deadline()
            if deadline is not None and deadline <= now:
                self._step(lambda: self.pipe.handle_deadline(now))
                self._settle()
        if now >= self._stall_check:
            self._check_stall(now)
        if now >= self._close_at:
            self._close_at = inf
            if self._shutting:
                self.abort(TimeoutError("the peer did not take what was left to send"))
            else:
                self.close()
        if not self._shutting:
            deadline = self.pipe.next_deadline()
            if deadline is not None:
                self._arm(deadline)
        self._arm(min(self._stall_check, self._close_at))

    def _check_stall(self, now: float) -> None:
        timeout = self.limits.write_timeout
        if timeout is None:
            return
        progress = self._emitted - self._backlog()
        if progress != self._progress:
            self._progress = progress
            self._stalled_since = now
        elif now - self._stalled_since >= timeout:
            self._stall_check = inf
            self._give_up(TimeoutError(f"the peer has taken nothing for {timeout} s"))
            return
        self._stall_check = min(self._stalled_since + timeout, now + timeout / 4)

    # --- the end ----------------------------------------------------------------------------------

    def _begin_shutting(self) -> None:
        if self._shutting:
            return
        if self._peer_ended:
            # Before the last write: what the pipe still has to say about its end goes out too.
            self._tell_eof()
        chunks = self.pipe.data_to_send()
        if chunks and not self._shutting:
            self._transmit(chunks)
        if self._shutting:
            return
        self._shutting = True
        self._close_at = self.now() + self.limits.close_timeout
        self._arm(self._close_at)
        self._shut()

    def _finish(self) -> None:
        if self.closed:
            return
        self._closing = self._shutting = True
        self._tell_eof()
        self.pipe.data_to_send()  # nobody is left to read it
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._free()
        if self._on_closed is not None:
            try:
                self._on_closed(self.error)
            except Exception:
                logger.exception("! the callback for the end of a connection failed")
        if self._ended is not None:
            self._ended.set()
