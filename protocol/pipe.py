"""Pipe = engine + codec: one peer on one ordered byte stream. Pure: bytes in, bytes and events out."""

from typing import Protocol

from .bursts import Burst
from .engine import Engine
from .errors import ErrorCode, ErrorObject
from .events import Event
from .framing.lines import LineCodec

__all__ = ["Codec", "Pipe"]


class Codec(Protocol):
    """What a pipe needs of a framing."""

    def receive_data(self, data: bytes) -> list[bytes | None]:
        """Take bytes and return the whole messages they complete, `None` in the place of one that was too long."""

    def receive_eof(self) -> list[bytes | None]:
        """Take the end of the stream and return what it completes."""

    def frame(self, messages: list[bytes]) -> bytes:
        """Return messages as bytes to send."""


class Pipe:
    """One engine on one byte stream; drive it with `receive_*`, `data_to_send`, `events_received`, in this order.

    Args:
        engine: the role's engine, used by nothing else.
        codec: the framing; newline-delimited messages by default.
        is_paced: take of a burst no more requests than may be in flight, and the rest by `go_on`, which is to be called
            as long as it `is_holding`: what is answered at once has left room by then.
    """

    __slots__ = ("_burst", "_codec", "_eof_sent", "engine")

    def __init__(self, engine: Engine, codec: Codec | None = None, *, is_paced: bool = False) -> None:
        self.engine = engine
        self._codec: Codec = LineCodec(engine.limits.message_bytes) if codec is None else codec
        self._eof_sent = False
        self._burst: Burst[bytes | None] | None = Burst(engine) if is_paced else None

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they come, cut anywhere."""
        messages = self._codec.receive_data(data)
        self._feed(messages if self._burst is None else self._burst.admit(messages, len(data)))

    def receive_eof(self) -> None:
        """Take the end of the peer's bytes; a server still answers what it has read. Idempotent."""
        self.go_on(is_last=True)
        self._feed(self._codec.receive_eof())
        self.engine.receive_end_of_input()

    @property
    def is_holding(self) -> bool:
        """Tell whether messages of a burst wait."""
        return bool(self._burst)

    def go_on(self, *, is_last: bool = False) -> bool:
        """Take as many of the messages that wait as there is room for requests; all of them if `is_last`.

        Returns:
            Whether any were taken.
        """
        taken = self._burst.take(is_last=is_last) if self._burst else []
        self._feed(taken)
        return bool(taken)

    def _feed(self, messages: list[bytes | None]) -> None:
        receive = self.engine.receive_message
        for message in messages:
            if message is not None:
                receive(message)
            else:
                limit = self.engine.limits.message_bytes
                why = f"Invalid request: message longer than {limit} bytes"
                self.engine.report_violation(ErrorObject(ErrorCode.INVALID_REQUEST, why))

    def events_received(self) -> list[Event]:
        """Return what happened since the last call."""
        return self.engine.events_received()

    def data_to_send(self) -> list[bytes]:
        """Return the bytes to send since the last call; a last `b""` ends our side of the stream."""
        messages = self.engine.messages_to_send()
        data = [self._codec.frame([message.data for message in messages])] if messages else []
        if self.engine.closed and not self._eof_sent:
            self._eof_sent = True
            data.append(b"")
        return data

    def close_expected(self) -> bool:
        """Tell whether the stream may be closed: nothing more will be sent or heeded."""
        return self.engine.closed

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, absolute on the caller's clock."""
        return self.engine.next_deadline()

    def handle_deadline(self, now: float) -> None:
        """Expire what is due."""
        self.engine.handle_deadline(now)
