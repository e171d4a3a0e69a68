"""Newline-delimited messages: the framing of stdio, TCP and Unix sockets.

"Messages are delimited by newlines, and MUST NOT contain embedded newlines" — basic/transports/stdio
"""

__all__ = ["LineCodec"]


class LineCodec:
    """Splits a byte stream into lines, and ends each message with one newline.

    Args:
        limit: longest line accepted, in bytes, the newline not counted. A longer one is skipped up to its newline;
            memory stays within the limit whatever is sent.
    """

    __slots__ = ("_kept", "_limit", "_skipping", "finished")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._skipping = False
        self.finished = 0
        """How many lines have come to their end, blank ones and those too long among them."""

    @property
    def is_partial(self) -> bool:
        """Tell whether a line has begun and not ended."""
        return self._skipping or bool(self._kept)

    def receive_data(self, data: bytes) -> list[bytes | None]:
        """Take bytes as they come and return the lines they complete: none that are blank, `None` for one too long."""
        texts = data.split(b"\n")
        rest = texts.pop()
        lines: list[bytes | None] = []
        if texts:
            self.finished += len(texts)
            if self._kept or self._skipping:
                texts[0] = self._complete(texts[0], lines)
            limit = self._limit
            # A JSON text may stand between spaces, and a line may end in CR; neither matters to a JSON decoder.
            for text in texts:
                if len(text) > limit:
                    lines.append(None)
                elif text and not text.isspace():
                    lines.append(text)
        if rest:
            self._keep(rest)
        return lines

    def receive_eof(self) -> list[bytes | None]:
        """Take the end of the stream: what stands after the last newline is a line too."""
        lines: list[bytes | None] = []
        text = self._complete(b"", lines)
        if text and not text.isspace():
            lines.append(text)
        return lines

    def _keep(self, rest: bytes) -> None:
        if not self._skipping:
            self._kept += rest
            if len(self._kept) > self._limit:
                self._kept.clear()
                self._skipping = True

    def _complete(self, end: bytes, lines: list[bytes | None]) -> bytes:
        """Return the line that `end` ends; of one too long nothing is left but its mark."""
        self._keep(end)
        # `bytes`, not a view of the buffer: raw members keep what they were found in.
        text = bytes(self._kept)
        self._kept.clear()
        if self._skipping:
            self._skipping = False
            lines.append(None)
        return text

    @staticmethod
    def frame(messages: list[bytes]) -> bytes:
        """Return messages as one run of lines."""
        return b"\n".join(messages) + b"\n"
