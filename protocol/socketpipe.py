"""SocketPipe = a pipe to a stranger: what he says must look like MCP from its first byte. Pure, as a pipe is."""

from .errors import ErrorCode, ErrorObject
from .framing.lines import LineCodec
from .pipe import Pipe
from .server import ServerEngine

__all__ = ["SocketPipe"]

_OPENINGS = b"{["
_BLANK = b" \t\r\n"


class SocketPipe(Pipe):
    """A server's engine on a TCP or Unix socket, where anything may call.

    A web page can make a browser post any text to a port of this machine, lines of JSON behind a head of HTTP among
    it. Whoever does not begin with JSON is therefore refused before a line of his is looked at.

    Args:
        engine: the server's engine, used by nothing else.
    """

    __slots__ = ("_has_begun", "_lines")

    def __init__(self, engine: ServerEngine) -> None:
        self._lines = LineCodec(engine.limits.message_bytes)
        super().__init__(engine, self._lines, is_paced=True)
        self._has_begun = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they come, cut anywhere."""
        if not self._has_begun:
            data = data.lstrip(_BLANK)
            if not data or self.engine.closed:
                return
            if data[0] not in _OPENINGS:
                self.refuse("newline-delimited JSON-RPC is spoken here, and that is none")
                return
            self._has_begun = True
        super().receive_data(data)

    @property
    def finished(self) -> int:
        """How many lines have come to their end."""
        return self._lines.finished

    @property
    def is_partial(self) -> bool:
        """Tell whether a line has begun and not ended."""
        return self._lines.is_partial

    def refuse(self, why: str) -> None:
        """End the connection over a fault of the peer's; he is told which, in an error that answers no request."""
        self.engine.report_violation(ErrorObject(ErrorCode.INVALID_REQUEST, f"Invalid request: {why}"))
        self.engine.receive_eof()

    def end(self) -> None:
        """End the connection."""
        self.engine.receive_eof()
