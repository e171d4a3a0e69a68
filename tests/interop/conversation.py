"""One conversation between a client of ours and a foreign server, over whatever carries it."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import webwire, wire
from .webtee import Exchange, WebTee, webtee

__all__ = ["Conversation"]


class Conversation:
    """What passed, and how to reach the server so that it is written down.

    Args:
        path: where the lines of a pipe are written to.
        stack: holds what listens, for as long as the test runs.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._transport = "stdio"
        self.tee: WebTee | None = None

    def over_stdio(self, command: list[str]) -> dict[str, Any]:
        """Return the config for a server that is started."""
        command, *args = wire.through_tee(self._path, *command)
        return {"command": command, "args": args}

    def over_web(self, transport: str, port: int, path: str) -> dict[str, Any]:
        """Return the config for a server that is there."""
        self._transport = transport
        if self.tee is None:
            self.tee = self._stack.enter_context(webtee(port))
        url = self.tee.url(path)
        return {"transport": transport, "url": url.replace("http", "ws", 1) if transport == "websocket" else url}

    def lines(self) -> list[wire.Line]:
        """Return the messages in order."""
        return wire.read(self._path) if self.tee is None else self.tee.lines()

    def exchanges(self) -> list[Exchange]:
        """Return the requests of HTTP in order."""
        return [] if self.tee is None else self.tee.exchanges()

    def forget(self) -> None:
        """Begin a new conversation."""
        if self.tee is None:
            self._path.unlink()
        else:
            self.tee.forget()

    def check_client(self, revision: str) -> None:
        """Check what our client wrote."""
        wire.check_client(self.lines(), revision)
        if self._transport == "http":
            webwire.check_client(self.exchanges(), revision)
        elif self._transport == "sse":
            webwire.check_sse_client(self.exchanges())
