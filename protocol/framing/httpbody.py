"""The gate before the HTTP/1.1 parsers, second part: how far a body goes, and whether its chunks are well-formed.

Each class tells how many bytes at hand belong to the current body and may be read; nothing else reaches a parser.
"""

import re
from enum import Enum, auto
from typing import Protocol

from .headers import NO_HEADERS, Headers
from .httphead import HTTPLimits, Refused, read_trailers

__all__ = ["Body", "ChunkedBody", "CountedBody", "EndlessBody"]


class Body(Protocol):
    """Measures one body."""

    is_complete: bool
    """Its last byte has been admitted."""
    fault: Refused | None
    """What is wrong with the byte behind those admitted."""
    trailers: Headers

    def admit(self, source: bytes | bytearray, at: int) -> int:
        """Return the end of what belongs to the body and may be read, from `at` on."""


class CountedBody:
    """A body whose length was declared."""

    __slots__ = ("_remaining", "fault", "is_complete", "trailers")

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.is_complete = length == 0
        self.fault: Refused | None = None
        self.trailers = NO_HEADERS

    def admit(self, source: bytes | bytearray, at: int) -> int:
        """Return the end of the body, or of `source`."""
        taken = min(self._remaining, len(source) - at)
        self._remaining -= taken
        self.is_complete = self._remaining == 0
        return at + taken


class EndlessBody:
    """A body that ends with the connection.

    Args:
        limit: most bytes it may have, or `None`.
    """

    __slots__ = ("_remaining", "fault", "is_complete", "trailers")

    def __init__(self, limit: int | None) -> None:
        self._remaining = limit
        self.is_complete = False
        self.fault: Refused | None = None
        self.trailers = NO_HEADERS

    def admit(self, source: bytes | bytearray, at: int) -> int:
        """Return the end of `source`, or of what the limit leaves of it."""
        if self._remaining is None:
            return len(source)
        taken = min(self._remaining, len(source) - at)
        self._remaining -= taken
        if at + taken < len(source):
            self.fault = Refused(413, "body too large")
        return at + taken


class _Expecting(Enum):
    """Where in a chunked body the next byte stands."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9112 section 7.1.1 without white space and escapes: nobody uses extensions, and parsers differ about those.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb'|"[ !#-\[\]-~]*"))?)*')
_SIZE_DIGITS = 16
_SMALL = 64
_END = b"\r\n"


class ChunkedBody:
    """A body in chunks, each line of it well-formed and the whole within the limits."""

    __slots__ = (
        "_counted", "_crumbs", "_expecting", "_extensions", "_limits", "_remaining", "fault", "is_complete", "trailers",
    )  # fmt: skip

    def __init__(self, limits: HTTPLimits) -> None:
        self._limits = limits
        self._expecting = _Expecting.SIZE
        self._remaining = 0
        self._counted = 0
        self._crumbs = 0
        self._extensions = 0
        self.is_complete = False
        self.fault: Refused | None = None
        self.trailers = NO_HEADERS

    def admit(self, source: bytes | bytearray, at: int) -> int:
        """Return the end of the last whole line, or of the data at hand; a line without its end is not admitted."""
        try:
            while not self.is_complete:
                end = self._step(source, at)
                if end == at:
                    break
                at = end
        except Refused as refused:
            # What came before the fault is good; the caller reads it first, as it would have, cut there.
            self.fault = refused
        return at

    def _step(self, source: bytes | bytearray, at: int) -> int:
        match self._expecting:
            case _Expecting.SIZE:
                return self._read_size(source, at)
            case _Expecting.DATA:
                taken = min(self._remaining, len(source) - at)
                self._remaining -= taken
                if not self._remaining:
                    self._expecting = _Expecting.DATA_END
                return at + taken
            case _Expecting.DATA_END:
                end = source[at : at + 2]
                if not _END.startswith(end):
                    raise Refused(400, "a chunk longer than its size")
                if len(end) < 2:
                    return at
                self._expecting = _Expecting.SIZE
                return at + 2
            case _:
                return self._read_trailers(source, at)

    def _read_size(self, source: bytes | bytearray, at: int) -> int:
        longest = at + _SIZE_DIGITS + self._limits.extension_bytes + len(_END)
        end = source.find(_END, at, longest)
        if end < 0:
            if len(source) >= longest:
                raise Refused(400, "chunk size too long")
            return at
        line = _CHUNK.fullmatch(source, at, end)
        if line is None:
            raise Refused(400, "bad chunk size")
        self._extensions += end - line.end(1)
        if self._extensions > self._limits.extension_bytes:
            raise Refused(400, "too many chunk extensions")
        size = int(line.group(1), 16)
        self._counted += size
        if self._limits.body_bytes is not None and self._counted > self._limits.body_bytes:
            raise Refused(413, "body too large")
        if 0 < size < _SMALL:
            self._crumbs += 1
            if self._limits.small_chunks is not None and self._crumbs > self._limits.small_chunks:
                raise Refused(400, "too many small chunks")
        self._remaining = size
        self._expecting = _Expecting.DATA if size else _Expecting.TRAILERS
        return end + len(_END)

    def _read_trailers(self, source: bytes | bytearray, at: int) -> int:
        if source.startswith(_END, at):
            end = at + len(_END)
        else:
            longest = at + self._limits.trailer_bytes
            end = source.find(_END + _END, at, longest)
            if end < 0:
                if len(source) >= longest:
                    raise Refused(431, "trailers too large")
                return at
            end += 2 * len(_END)
            self.trailers = read_trailers(bytes(source[at:end]), self._limits)
        self.is_complete = True
        return end
