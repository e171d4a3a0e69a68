"""Newline-delimited messages: the framing of stdio, TCP and Unix sockets.

"Messages are delimited by newlines, and MUST NOT contain embedded newlines" — basic/transports/stdio
"""

__all__ = ["LineCodec"]


class LineCodec:
    """Splits a byte stream into lines, and ends each message with one newline.

    Args:
        limit: longest line accepted, in bytes, the newline not counted. A longer one is skipped up to its newline and
            counted; memory stays within the limit whatever is sent.
    """

    __slots__ = ("_limit", "_parts", "_size", "_skipping", "oversized")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self.oversized = 0
        """Lines that were too long since the owner last set this to zero."""

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take bytes as they come and return the lines they complete; blank lines are dropped."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._size or self._skipping:
                lines[0] = self._complete(lines[0])
            if len(data) > self._limit:
                lines = [self._checked(line) for line in lines]
        if rest:
            self._keep(rest)
        # A JSON text may stand between spaces, and a line may end in CR; neither matters to a JSON decoder.
        return [line for line in lines if line and not line.isspace()]

    def receive_eof(self) -> list[bytes]:
        """Take the end of the stream: what stands after the last newline is a line too."""
        if not self._size and not self._skipping:
            return []
        line = self._complete(b"")
        return [line] if line and not line.isspace() else []

    def _keep(self, rest: bytes) -> None:
        if self._skipping:
            return
        self._size += len(rest)
        if self._size > self._limit:
            self._parts.clear()
            self._size = 0
            self._skipping = True
        else:
            self._parts.append(rest)

    def _complete(self, end: bytes) -> bytes:
        self._keep(end)
        if self._skipping:
            self._skipping = False
            self.oversized += 1
            return b""
        line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line

    def _checked(self, line: bytes) -> bytes:
        if len(line) > self._limit:
            self.oversized += 1
            return b""
        return line

    @staticmethod
    def frame(messages: list[bytes]) -> bytes:
        """Return messages as one run of lines."""
        return b"\n".join(messages) + b"\n"
