"""WebSocketPipe = engine + WebSocket: one peer on one connection, each text one message. Pure: bytes in, events out.

A WebSocket is a shared channel with the rules of stdio: both eras, `notifications/cancelled`, no headers.
"""

from .bursts import Burst
from .engine import Engine
from .errors import ErrorCode, ErrorObject
from .events import Event
from .framing.websocket import SocketState, WebSocket
from .methods import Role

__all__ = ["WebSocketPipe"]

_OPEN, _CLOSING, _FAILED = SocketState.OPEN, SocketState.CLOSING, SocketState.FAILED
_NORMAL = 1000
_POLICY = 1008
_MOST_SHOWN = 200


class WebSocketPipe:
    """One engine on one WebSocket; driven as a `Pipe` is.

    Args:
        engine: the role's engine, used by nothing else.
        socket: the framing, opened.
        is_paced: as of a `Pipe`.
    """

    __slots__ = ("_burst", "_is_end_sent", "_is_told", "_out", "engine", "expires_at", "socket")

    def __init__(self, engine: Engine, socket: WebSocket, *, is_paced: bool = False) -> None:
        self.engine = engine
        self._burst: Burst[bytes] | None = Burst(engine) if is_paced else None
        self.socket = socket
        self.expires_at: float | None = None
        """When the credentials end that it was opened with, on the clock of deadlines; it then closes with 1008."""
        self._is_told = False
        self._is_end_sent = False
        self._out: list[bytes] = []

    # What comes in

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they come, cut anywhere."""
        texts = self.socket.receive_data(data)
        self._feed(texts if self._burst is None else self._burst.admit(texts, len(data)))
        if self.socket.state is not _OPEN:
            self.go_on(is_last=True)
            self._tell()

    def _feed(self, texts: list[bytes]) -> None:
        receive = self.engine.receive_message
        for text in texts:
            receive(text)

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

    def receive_eof(self) -> None:
        """Take the end of the peer's bytes, with or without a close before it. Idempotent."""
        self.socket.receive_eof()
        self._tell()

    def _tell(self) -> None:
        """Tell the engine of the end; while only our close is sent, there is none yet."""
        if not self._is_told and self.socket.state is not _CLOSING:
            self._is_told = True
            self.engine.receive_eof(self._explain())

    def _explain(self) -> ErrorObject | None:
        ending = self.socket.ending
        if ending is None or ending.code == _NORMAL:
            return None
        # What the peer says goes into logs and errors: shown as text, and cut.
        reason = ending.reason if ending.is_ours else repr(ending.reason[:_MOST_SHOWN])
        by = "" if ending.is_ours else " by the other side"
        return ErrorObject(ErrorCode.INTERNAL_ERROR, f"the WebSocket was closed{by}, code {ending.code}: {reason}")

    def events_received(self) -> list[Event]:
        """Return what happened since the last call."""
        return self.engine.events_received()

    # What goes out

    def data_to_send(self) -> list[bytes]:
        """Return the bytes to send since the last call; a last `b""` ends our side of the stream."""
        self._take()
        socket = self.socket
        if self.engine.closed and socket.state is _OPEN:
            # For a server that is the end of its patience with this client; for a client, of its own will.
            socket.close(_NORMAL if self.engine.role is Role.CLIENT else _POLICY)
            self._take()
        out, self._out = self._out, []
        if socket.state is _FAILED and not self._is_end_sent:
            self._is_end_sent = True
            out.append(b"")
        return out

    def _take(self) -> None:
        # Pongs leave before answers; behind a close there are none.
        self._out += self.socket.data_to_send()
        messages = self.engine.messages_to_send()
        if messages:
            data = self.socket.frame([message.data for message in messages])
            if data:
                self._out.append(data)

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Begin to close, behind what the engine has to send already; the peer is given time to agree."""
        self._take()
        self.socket.close(code, reason)

    def fail(self, code: int, reason: str) -> None:
        """Close, whatever the peer says to that."""
        self._take()
        self.socket.fail(code, reason)
        self._tell()

    @property
    def is_over(self) -> bool:
        """Tell whether both sides have said that it ends."""
        return self.socket.is_over

    def close_expected(self) -> bool:
        """Tell whether the stream ends soon: nothing more will be sent or heeded."""
        return self.socket.is_ending

    # Time

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, absolute on the caller's clock."""
        due = self.socket.next_deadline()
        for other in (self.engine.next_deadline(), self.expires_at):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def handle_deadline(self, now: float) -> None:
        """Expire what is due."""
        self.engine.handle_deadline(now)
        self.socket.handle_deadline(now)
        if self.expires_at is not None and now >= self.expires_at:
            self.expires_at = None
            self.fail(_POLICY, "the credentials have expired")
        if self.socket.state is _FAILED:
            self._tell()
