"""WebSocket frames: bytes to whole texts and back, with the closing handshake and the deadlines of a connection.

wsproto reads the frames. What it would let pass is refused here, from a frame's head and before its payload is kept:

| fault                                                          | close code |
|----------------------------------------------------------------|------------|
| a frame that breaks RFC 6455: masks, lengths, bits, order, end  | 1002       |
| a binary message                                                | 1003       |
| a text, or the reason of a close, that is no UTF-8              | 1007       |
| a message that takes longer than `message_timeout` to come      | 1008       |
| a message longer than `message_bytes`, or that inflates to that | 1009       |
| no answer to a ping within `ping_timeout`                       | 1011       |

Any bytes give the same texts and the same ending, however they are cut. What opens a connection stands in `handshake`.

States:  OPEN ─close()→ CLOSING ─peer's close→ CLOSED;  OPEN ─peer's close, answered→ CLOSED;
         OPEN | CLOSING ─a fault→ FAILED;  any ─the end of the stream→ CLOSED.
"""

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from msgspec import Struct
from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    Frame,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    ParseFailed,
    RsvBits,
    XorMaskerSimple,
)

from .deflate import Bomb, deflate, inflate

__all__ = ["ABNORMAL", "Ending", "SocketState", "WebSocket", "WebSocketLimits"]

ABNORMAL: Final = 1006
"""The code of a connection that ended without a word; never sent."""
NO_CODE: Final = 1005
"""The code of a close that names none; never sent."""


class WebSocketLimits(Struct, frozen=True, kw_only=True):
    """Sizes and times of one connection; `None`: no limit."""

    message_bytes: int | None = 4 * 1024 * 1024
    """Longest message. Excess: 1009."""
    message_timeout: float | None = 30.0
    """Seconds from a message's first byte to its last. Excess: 1008."""
    ping_interval: float | None = 20.0
    """Seconds between two pings; `None`: none are sent."""
    ping_timeout: float | None = 20.0
    """Seconds after a ping in which the peer must say something. Excess: 1011."""


class SocketState(Enum):
    """How far a connection is from its end."""

    OPEN = auto()
    CLOSING = auto()
    """Our close is sent, the peer's is awaited; what it says besides is dropped."""
    CLOSED = auto()
    """Nothing more is said by either side."""
    FAILED = auto()
    """The peer broke a rule; our close is sent, and nothing is read any more."""


class Ending(Struct, frozen=True):
    """Why a connection ended."""

    code: int
    """A close code of RFC 6455 section 7.4; `1006`: without a close."""
    reason: str
    """What goes with it: our own words, or the peer's, which are not to be trusted."""
    is_ours: bool
    """This side ended it."""


# A member of an enum is 70 ns away in CPython 3.11.
_OPEN, _CLOSING, _CLOSED, _FAILED = SocketState.OPEN, SocketState.CLOSING, SocketState.CLOSED, SocketState.FAILED
_TEXT, _BINARY, _CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
_CLOSE, _PING = Opcode.CLOSE, Opcode.PING
_NEVER = float("inf")
_LONGEST_REASON = 123
_SMALLEST_DEFLATED = 1024
_LARGE = 4096
# 1004 to 1006 and 1015 are never sent; up to 2999 no others are defined — RFC 6455 section 7.4, and IANA's list
_SENDABLE = re.compile("100[0-37-9]|101[0-4]|[34][0-9]{3}")


class _Deflated(Extension):
    """Lets the first frame of a message say that it is compressed; what it says is inflated elsewhere, and bounded."""

    name = "permessage-deflate"

    def offer(self) -> bool | str:  # pragma: no cover  # the base class wants it; nothing asks
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        return RsvBits(opcode is _TEXT or opcode is _BINARY, False, False)


class _Frames(FrameDecoder):
    """wsproto's frames, each judged as soon as its head is there."""

    def __init__(self, *, is_client: bool, limit: int | None, is_deflated: bool) -> None:
        super().__init__(is_client, [_Deflated()] if is_deflated else None)
        self.limit = limit
        self.is_within = False
        """A message has begun, and its last frame has not."""
        self.is_compressed = False
        self.size = 0
        """Bytes of the message, by the heads of its frames."""

    @property
    def is_amid(self) -> bool:
        """Tell whether something has begun that has not ended."""
        return self.is_within or self.header is not None or bool(self.buffer.buffer)

    def parse_header(self) -> bool:
        if not super().parse_header():
            return False
        header = self.header
        assert header is not None
        opcode = header.opcode
        if opcode is _TEXT or opcode is _BINARY:
            if self.is_within:
                raise ParseFailed("a message within a message")
            if opcode is _BINARY:
                raise ParseFailed("messages are text here", CloseReason.UNSUPPORTED_DATA)
            self.size = 0
            self.is_compressed = header.rsv.rsv1
        elif opcode is not _CONTINUATION:
            return True
        elif not self.is_within:
            raise ParseFailed("a continuation of nothing")
        self.is_within = not header.fin
        self.size += header.payload_len
        if self.limit is not None and self.size > self.limit:
            raise ParseFailed(f"message longer than {self.limit} bytes", CloseReason.MESSAGE_TOO_BIG)
        return True


class WebSocket:
    """One side of an open connection. Feed it, write `data_to_send()`, and close when `is_over`.

    Args:
        is_client: our frames are masked, and the peer's are not.
        limits: sizes and times.
        mint_mask: returns four random bytes; the client's.
        is_deflated: permessage-deflate was agreed on, without context in either direction.
    """

    __slots__ = (
        "_frames", "_has_heard", "_is_client", "_is_deflated", "_kept", "_limits", "_message_at", "_mint_mask", "_out",
        "_ping_at", "_pong_at", "ending", "state",
    )  # fmt: skip

    def __init__(
        self,
        *,
        is_client: bool,
        limits: WebSocketLimits,
        mint_mask: Callable[[], bytes] | None = None,
        is_deflated: bool = False,
    ) -> None:
        if is_client and mint_mask is None:
            raise TypeError("the frames of a client are masked: give mint_mask")
        self._is_client = is_client
        self._is_deflated = is_deflated
        self._limits = limits
        self._mint_mask = mint_mask
        self._frames = _Frames(is_client=is_client, limit=limits.message_bytes, is_deflated=is_deflated)
        self._kept: bytearray | None = None
        """What came of a message that goes on."""
        self._out: list[bytes] = []
        self._has_heard = False
        self._ping_at = self._pong_at = self._message_at = _NEVER
        self.state = _OPEN
        self.ending: Ending | None = None
        """Why it ended, or is about to."""

    # What comes in

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take bytes as they come and return the whole texts they complete."""
        texts: list[bytes] = []
        if self.state is _CLOSED or self.state is _FAILED:
            return texts
        self._has_heard = True
        frames = self._frames
        frames.receive_bytes(data)
        try:
            while (frame := frames.process_buffer()) is not None:
                if frame.opcode is _TEXT or frame.opcode is _CONTINUATION:
                    text = self._assemble(frame)
                    if text is not None and self.state is _OPEN:
                        texts.append(text)
                else:
                    self._receive_control(frame.opcode, frame.payload)  # type: ignore[arg-type]  # always bytes
                    if self.state is _CLOSED:
                        return texts
        except ParseFailed as fault:
            self.fail(int(fault.code), str(fault))
            return texts
        if not frames.is_amid:
            self._message_at = _NEVER
        elif self._message_at == _NEVER and self._limits.message_timeout is not None:
            self._message_at = 0.0  # long ago: whoever keeps the time tells us what it is
        return texts

    def _assemble(self, frame: Frame) -> bytes | None:
        """Keep a piece of a message; return the text that it completes."""
        piece: bytes = frame.payload  # type: ignore[assignment]  # of a decoder they are bytes
        is_last = frame.frame_finished and frame.message_finished
        kept = self._kept
        if kept is not None:
            kept += piece
        elif not is_last:
            self._kept = bytearray(piece)
        if not is_last:
            return None
        if kept is not None:
            # `bytes`, not our buffer: raw members keep what they were found in.
            piece = bytes(kept)
            self._kept = None
        if self._frames.is_compressed:
            piece = self._inflate(piece)
        if not piece.isascii():
            try:
                piece.decode()
            except UnicodeDecodeError:
                raise ParseFailed("a text that is not UTF-8", CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
        return piece

    def _inflate(self, data: bytes) -> bytes:
        try:
            return inflate(data, self._limits.message_bytes)
        except Bomb as bomb:
            raise ParseFailed(str(bomb), CloseReason.MESSAGE_TOO_BIG) from None
        except ValueError as error:
            raise ParseFailed(str(error), CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None

    def _receive_control(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is _CLOSE:
            self._receive_close(payload)
        elif opcode is _PING and self.state is _OPEN:
            self._control(0x8A, payload)
        # A pong needs no look: whatever is heard of the peer shows that it lives.

    def _receive_close(self, payload: bytes) -> None:
        code, reason = NO_CODE, ""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not _SENDABLE.fullmatch(str(code)):
                raise ParseFailed("a close with a code that must not be sent")
            try:
                reason = payload[2:].decode()
            except UnicodeDecodeError:
                why = "a close with a reason that is not UTF-8"
                raise ParseFailed(why, CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
        if self.state is _OPEN:
            # "typically echos the status code it received" — RFC 6455 section 5.5.1
            self._control(0x88, payload[:2])
            self.ending = Ending(code, reason, is_ours=False)
        self._end(_CLOSED)

    def receive_eof(self) -> list[bytes]:
        """Take the end of the stream; a message that was not whole is none."""
        if self.ending is None:
            self.ending = Ending(ABNORMAL, "the connection ended without a close", is_ours=False)
        self._end(_CLOSED)
        return []

    # What goes out

    def frame(self, messages: list[bytes]) -> bytes:
        """Return texts as one run of frames; once a close was sent there are none."""
        if self.state is not _OPEN:
            return b""
        if self._is_deflated:
            return b"".join([self._frame_deflated(message) for message in messages])
        if self._is_client:
            return b"".join([self._mask(0x81, message) for message in messages])
        if len(messages) == 1:
            return self._head(0x81, len(messages[0])) + messages[0]
        return b"".join([part for message in messages for part in (self._head(0x81, len(message)), message)])

    def _frame_deflated(self, message: bytes) -> bytes:
        first = 0x81
        packed = deflate(message) if len(message) >= _SMALLEST_DEFLATED else None
        if packed is not None:
            first, message = 0xC1, packed
        return self._mask(first, message) if self._is_client else self._head(first, len(message)) + message

    @staticmethod
    def _head(first: int, size: int, mask: int = 0) -> bytes:
        if size < 126:
            return bytes((first, mask | size))
        if size < 65536:
            return bytes((first, mask | 126, size >> 8, size & 255))
        return bytes((first, mask | 127)) + size.to_bytes(8, "big")

    def _mask(self, first: int, payload: bytes) -> bytes:
        assert self._mint_mask is not None
        key, size = self._mint_mask(), len(payload)
        if size > _LARGE:
            return b"%b%b%b" % (
                self._head(first, size, 0x80),
                key,
                bytes(XorMaskerSimple(key).process(bytearray(payload))),
            )
        # As one number each, which is faster while they are small.
        stretched = int.from_bytes((key * (size // 4 + 1))[:size], "little")
        masked = (int.from_bytes(payload, "little") ^ stretched).to_bytes(size, "little")
        return self._head(first, size, 0x80) + key + masked

    def _control(self, first: int, payload: bytes) -> None:
        head_and_payload = self._mask(first, payload) if self._is_client else self._head(first, len(payload)) + payload
        self._out.append(head_and_payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin to close: our close is sent, and the peer's awaited. Idempotent.

        Args:
            code: one of RFC 6455 section 7.4 that may be sent.
            reason: for people; cut at 123 bytes.
        """
        if self.state is _OPEN:
            self._say_close(code, reason)
            self._end(_CLOSING)

    def fail(self, code: int, reason: str) -> None:
        """Close for a fault of the peer's: nothing more is read of it."""
        if self.state is _OPEN:
            self._say_close(code, reason)
        self._end(_FAILED)

    def _say_close(self, code: int, reason: str) -> None:
        self.ending = Ending(code, reason, is_ours=True)
        # Cut, and without a character that was cut in half.
        text = reason.encode(errors="replace")[:_LONGEST_REASON].decode(errors="ignore").encode()
        self._control(0x88, code.to_bytes(2, "big") + text)

    def _end(self, state: SocketState) -> None:
        self.state = state
        self._kept = None
        self._ping_at = self._pong_at = self._message_at = _NEVER
        if state is not _CLOSING:
            self._frames.buffer.buffer.clear()

    def data_to_send(self) -> list[bytes]:
        """Return the control frames to send."""
        out, self._out = self._out, []
        return out

    @property
    def is_over(self) -> bool:
        """Tell whether the stream may be closed once everything is written."""
        return self.state is _CLOSED

    @property
    def is_ending(self) -> bool:
        """Tell whether no message will be sent or heeded any more."""
        return self.state is not _OPEN

    # Time

    def start(self, now: float) -> None:
        """Learn when the connection opened."""
        if self._limits.ping_interval is not None:
            self._ping_at = now + self._limits.ping_interval

    def next_deadline(self) -> float | None:
        """Return when `handle_deadline` wants to be called; a time long ago means at once."""
        due = min(self._ping_at, self._pong_at, self._message_at)
        return None if due == _NEVER else due

    def handle_deadline(self, now: float) -> None:
        """Send what is due, and fail what came too late."""
        limits = self._limits
        if self._message_at == 0.0:
            assert limits.message_timeout is not None
            self._message_at = now + limits.message_timeout
        elif now >= self._message_at:
            self.fail(1008, f"a message took longer than {limits.message_timeout:g} s")
            return
        if now >= self._pong_at:
            self._pong_at = _NEVER
            if not self._has_heard:
                self.fail(1011, f"no answer to a ping within {limits.ping_timeout:g} s")
                return
        if now >= self._ping_at:
            assert limits.ping_interval is not None
            self._ping_at = now + limits.ping_interval
            self._control(0x89, b"kailash")
            if limits.ping_timeout is not None and self._pong_at == _NEVER:
                self._has_heard = False
                self._pong_at = now + limits.ping_timeout
