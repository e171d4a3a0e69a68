"""Server-sent events: one writer that no payload can break out of, and a decoder with the grammar of the WHATWG.

"The event stream format" — https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re

from msgspec import Struct

__all__ = ["SSEDecoder", "ServerSentEvent", "encode_comment", "encode_event"]

_LINE_END = re.compile(rb"\r\n|\r|\n")
_EVENT_NAME = re.compile(r"[0-9A-Za-z_.-]{1,64}")
# Visible ASCII: it comes back as the header `Last-Event-ID`.
_EVENT_ID = re.compile(r"[!-~]{1,256}")


def encode_event(
    data: bytes, *, event: str | None = "message", id: str | None = None, retry: int | None = None
) -> bytes:
    """Return one event, ready to be written.

    Args:
        data: the payload. Each of its lines becomes a `data` line; the reader joins them with LF again.
        event: the event's type: 1 to 64 letters, digits, `_`, `.`, `-`. `None` leaves the line out.
        id: the event's id: 1 to 256 visible ASCII characters.
        retry: milliseconds a reader waits before it reconnects.

    Raises:
        ValueError: a type, an id or a time that could break the framing.
    """
    head = b"event: message\n" if event == "message" else b"" if event is None else _event_line(event)
    if id is not None:
        if not _EVENT_ID.fullmatch(id):
            raise ValueError("an event id is 1 to 256 visible ASCII characters")
        head += b"id: %b\n" % id.encode()
    if retry is not None:
        if retry < 0:
            raise ValueError("retry is a number of milliseconds, not negative")
        head += b"retry: %d\n" % retry
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    return head + b"data: " + data + b"\n\n"


def _event_line(event: str) -> bytes:
    if not _EVENT_NAME.fullmatch(event):
        raise ValueError("an event type is 1 to 64 letters, digits, underscores, dots or hyphens")
    return b"event: %b\n" % event.encode()


def encode_comment(text: bytes = b"") -> bytes:
    """Return a comment, which readers ignore and proxies take for a sign of life."""
    if not text:
        return b":\n\n"
    return b"".join([b": %b\n" % line for line in _LINE_END.split(text)]) + b"\n"


class ServerSentEvent(Struct, frozen=True, gc=False):
    """One event of a stream, never with empty data."""

    data: bytes
    """The `data` lines, joined with LF."""
    event: str = "message"
    """The event's type."""
    id: str = ""
    """The last id seen on the stream up to and with this event."""


_BOM = b"\xef\xbb\xbf"
_LARGEST_RETRY = 10**15
_LONGEST_ID = 1024
_DIGITS = re.compile(rb"[0-9]+")


class SSEDecoder:
    """Reads events from a byte stream, cut anywhere.

    An event whose data is empty is not handed out, whether or not it has a `data` line, because no MCP message is
    empty; its id is remembered all the same, as priming events need.

    Args:
        limit: most bytes that the lines of one event may hold together. An event beyond it is skipped up to its end,
            its id is not remembered, and `skipped` counts it; what is kept stays within the limit whatever is sent.
            Comments do not count. An id beyond 1 KiB is ignored.
    """

    __slots__ = (
        "_after_cr", "_at_start", "_data", "_event", "_held", "_id", "_is_dropping_line", "_is_oversize", "_limit",
        "_line", "_more", "last_event_id", "retry_ms", "skipped",
    )  # fmt: skip

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.last_event_id = ""
        """The id of the last event that ended, or of an earlier one if that had none."""
        self.retry_ms: int | None = None
        """Milliseconds to wait before reconnecting, as last asked for."""
        self.skipped = 0
        """Events that were larger than the limit."""
        self._line = bytearray()
        self._after_cr = False
        self._at_start = True
        self._is_dropping_line = False
        self._is_oversize = False
        self._data: bytes | None = None
        self._more = bytearray()
        self._event = ""
        self._id: str | None = None
        self._held = 0

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """Take bytes as they come and return the events they complete."""
        events: list[ServerSentEvent] = []
        if self._at_start:
            data = self._skip_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" in data:
            # A CR at the very end is a whole line end already; the LF that may follow belongs to it.
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._line:
            self._keep(lines[0])
            lines[0] = self._completed()
        for line in lines:
            if line:
                self._take(line)
            else:
                self._dispatch(events)
        if rest:
            self._keep(rest)
        return events

    def receive_eof(self) -> None:
        """Take the end of the stream: an event that no blank line ended is dropped."""
        self._line.clear()
        self._is_dropping_line = self._after_cr = False
        self._reset()

    def _skip_bom(self, data: bytes) -> bytes:
        """Cut the byte order mark off the start of the stream, which may come in pieces."""
        start = bytes(self._line) + data
        self._line.clear()
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._line += start
            return b""
        self._at_start = False
        return start.removeprefix(_BOM)

    def _keep(self, piece: bytes) -> None:
        """Keep the beginning of a line, unless nothing of it will be needed."""
        if self._is_dropping_line:
            return
        line = self._line
        line += piece
        if line.startswith(b":"):
            self._is_dropping_line = True
            # The colon remains: a line that held nothing would end the event.
            del line[1:]
        elif self._held + len(line) > self._limit:
            self._overflow()
            self._is_dropping_line = True
            line[:] = b":"

    def _completed(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        self._is_dropping_line = False
        return line

    def _overflow(self) -> None:
        self._reset()
        self._is_oversize = True

    def _reset(self) -> None:
        self._data = None
        self._more.clear()
        self._event = ""
        self._id = None
        self._held = 0
        self._is_oversize = False

    def _take(self, line: bytes) -> None:
        if self._is_oversize or line.startswith(b":"):
            return
        if self._held + len(line) > self._limit:
            self._overflow()
            return
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            if self._data is None:
                self._data = value
            else:
                self._more += b"\n"
                self._more += value
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id":
            # A longer id fits no request that would resume with it, and would be kept as long as the stream lives.
            if b"\0" not in value and len(value) <= _LONGEST_ID:
                self._id = value.decode(errors="replace")
        else:
            if name == b"retry" and _DIGITS.fullmatch(value):
                # Any number of digits is a number; the huge ones all mean "never".
                self.retry_ms = min(int(value), _LARGEST_RETRY) if len(value) < 20 else _LARGEST_RETRY
            return
        self._held += len(line)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._is_oversize:
            self.skipped += 1
            self._reset()
            return
        if self._id is not None:
            self.last_event_id = self._id
        if self._data is not None:
            data = self._data + bytes(self._more) if self._more else self._data
            if data:
                events.append(ServerSentEvent(data, self._event or "message", self.last_event_id))
        if self._held:
            self._reset()
