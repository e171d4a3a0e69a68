"""Stands between an HTTP client and the server, notes each piece of bytes before passing it on, and reads the notes.

Nothing of the project is used to read them: neither its HTTP codec nor its decoder of event streams.
"""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import wire
from .wsframes import is_websocket, read_texts

__all__ = ["Exchange", "WebTee", "webtee"]

# What a server may write to one stream between two messages is less than this.
_READ = 1 << 16


class _Piece(NamedTuple):
    connection: int
    sender: str
    data: bytes
    """Nothing: the sender closed the connection."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and what came back."""

    connection: int
    asked_at: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int | None = None
    response_headers: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[int, str]] = field(default_factory=list)
    """What came back: one JSON body, or the data of events; with the place in the conversation."""
    ids: list[str] = field(default_factory=list)
    """Those of the events."""
    is_complete: bool = False
    ended_by: str | None = None
    """Who closed the connection before the response was complete."""

    @property
    def is_stream(self) -> bool:
        """Tell whether an event stream came back."""
        return self.response_headers.get("content-type", "").startswith("text/event-stream")

    @property
    def message(self) -> Any:
        """What was posted."""
        return json.loads(self.body) if self.method == "POST" and self.body else None


class WebTee:
    """A port behind which a server is, and what passed."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._pieces: list[_Piece] = []
        self._arrived = threading.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None

    def url(self, path: str = "/mcp") -> str:
        """Return where the server seems to be."""
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_until(self, is_so: Callable[[list[Exchange]], object], seconds: float = 20.0) -> None:
        """Wait for something to have passed.

        Raises:
            TimeoutError: it did not.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: is_so(self.exchanges()), seconds):
                raise TimeoutError(f"what was waited for did not pass; there were {self.exchanges()}")

    def cut(self) -> None:
        """Break every connection, as a network does."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def forget(self) -> None:
        """Begin a new conversation."""
        self._pieces = []

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    # In the thread

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        number = self._connections
        self._writers.add(writer)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        self._writers.add(forth)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(number, "client", reader, forth))
                group.create_task(self._pass_on(number, "server", back, writer))
        finally:
            self._writers -= {writer, forth}
            self._tasks.discard(task)

    async def _pass_on(
        self, number: int, sender: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_READ):
                self._note(_Piece(number, sender, data))
                sink.write(data)
                await sink.drain()
        self._note(_Piece(number, sender, b""))
        sink.close()
        with suppress(OSError):
            await sink.wait_closed()

    def _note(self, piece: _Piece) -> None:
        with self._arrived:
            self._pieces.append(piece)
            self._arrived.notify_all()

    # Reading

    def exchanges(self) -> list[Exchange]:
        """Return every request so far, in order, with what came back."""
        pieces = list(self._pieces)
        found = []
        for connection in dict.fromkeys(piece.connection for piece in pieces):
            if any(is_websocket(piece.data) for piece in pieces if piece.connection == connection):
                continue
            asked = _Reader(connection)
            for place, piece in enumerate(pieces):
                if piece.connection == connection:
                    asked.feed(piece, place)
            found += asked.exchanges
        return sorted(found, key=lambda exchange: exchange.asked_at)

    def _texts(self) -> list[tuple[int, str, str]]:
        """Return what passed on WebSockets."""
        pieces = list(self._pieces)
        heads = {piece.connection: piece.data for piece in reversed(pieces) if piece.sender == "client"}
        return [
            (place, sender, text)
            for connection, head in heads.items()
            if is_websocket(head)
            for sender in ("client", "server")
            for place, text in read_texts(
                [
                    (at, one.data)
                    for at, one in enumerate(pieces)
                    if (one.connection, one.sender) == (connection, sender)
                ],
                is_masked=sender == "client",
            )
        ]

    def lines(self) -> list[wire.Line]:
        """Return the messages of the conversation in the order in which they passed."""
        written = self._texts()
        for exchange in self.exchanges():
            if exchange.method == "POST" and exchange.body:
                written.append((exchange.asked_at, "client", exchange.body.decode()))
            written += [(place, "server", text) for place, text in exchange.messages if _is_message(exchange, text)]
        lines = []
        for _, sender, text in sorted(written, key=lambda each: each[0]):
            message = json.loads(text)
            assert isinstance(message, dict) and message["jsonrpc"] == "2.0", f"{sender} wrote {text!r}"
            lines.append(wire.Line(sender, text, message))
        return lines


def _is_message(exchange: Exchange, text: str) -> bool:
    # Refusals outside of MCP, as of a path that is not there, may say what they like.
    return exchange.is_stream or text.startswith("{")


class _Reader:
    """Reads what passed on one connection."""

    def __init__(self, connection: int) -> None:
        self.exchanges: list[Exchange] = []
        self._connection = connection
        self._request = _Message()
        self._response = _Message()
        self._answered = 0

    def feed(self, piece: _Piece, place: int) -> None:
        if piece.sender == "client":
            self._ask(piece.data, place)
        else:
            self._answer(piece.data, place)

    def _ask(self, data: bytes, place: int) -> None:
        if not data and self._answered < len(self.exchanges):
            current = self.exchanges[self._answered]
            current.ended_by = current.ended_by or "client"
        self._request.data += data
        while self._request.read_head():
            self._request.read_body(is_bodiless="content-length" not in self._request.headers)
            if not self._request.is_complete:
                return
            method, target, _ = self._request.first.split(" ")
            headers, body = self._request.headers, bytes(self._request.body)
            self.exchanges.append(Exchange(self._connection, place, method, target, headers, body))
            self._request = _Message(self._request.data)

    def _answer(self, data: bytes, place: int) -> None:
        response = self._response
        response.data += data
        response.is_closed = response.is_closed or not data
        while self._answered < len(self.exchanges) and response.read_head():
            exchange = self.exchanges[self._answered]
            status = int(response.first.split(" ")[1])
            if status < 200:
                response = self._response = _Message(response.data)
                continue
            exchange.status, exchange.response_headers = status, response.headers
            response.read_body(is_bodiless=status in (204, 304) or exchange.method == "HEAD")
            if exchange.is_stream:
                _read_events(response.body, exchange, place)
            if not response.is_complete:
                break
            exchange.is_complete = True
            if response.body and not exchange.is_stream:
                exchange.messages.append((place, bytes(response.body).decode()))
            self._answered += 1
            response = self._response = _Message(response.data)
        if not data and self._answered < len(self.exchanges):
            current = self.exchanges[self._answered]
            current.ended_by = current.ended_by or "server"


_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def _read_events(body: bytearray, exchange: Exchange, place: int) -> None:
    while (end := _EVENT_END.search(body)) is not None:
        text = bytes(body[: end.end()]).decode()
        del body[: end.end()]
        fields = [line.partition(":") for line in text.splitlines() if line and not line.startswith(":")]
        values = {name: value.removeprefix(" ") for name, _, value in fields}
        if values.get("id"):
            exchange.ids.append(values["id"])
        data = "\n".join(value.removeprefix(" ") for name, _, value in fields if name == "data")
        if data and values.get("event", "message") == "message":
            exchange.messages.append((place, data))


class _Message:
    """One HTTP message, as far as it came."""

    def __init__(self, data: bytearray | None = None) -> None:
        self.data = bytearray() if data is None else data
        self.first = ""
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_complete = False
        self.is_closed = False
        self._left: int | None = None

    def read_head(self) -> bool:
        if self.first:
            return True
        head, end, rest = bytes(self.data).partition(b"\r\n\r\n")
        if not end:
            return False
        self.first, *fields = head.decode("latin-1").split("\r\n")
        for text in fields:
            name, _, value = text.partition(":")
            self.headers[name.lower()] = value.strip()
        self.data[:] = rest
        return True

    def read_body(self, *, is_bodiless: bool) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            while not self.is_complete and (end := self.data.find(b"\r\n")) >= 0:
                size = int(self.data[:end].split(b";")[0], 16)
                if len(self.data) < end + 2 + size + 2:
                    return
                self.body += self.data[end + 2 : end + 2 + size]
                del self.data[: end + 2 + size + 2]
                self.is_complete = size == 0
        elif is_bodiless:
            self.is_complete = True
        elif "content-length" in self.headers:
            if self._left is None:
                self._left = int(self.headers["content-length"])
            taken = self.data[: self._left]
            del self.data[: len(taken)]
            self.body += taken
            self._left -= len(taken)
            self.is_complete = self._left == 0
        else:
            self.body += self.data
            self.data.clear()
            self.is_complete = self.is_closed


@contextmanager
def webtee(target: int) -> Iterator[WebTee]:
    """Stand before a port of this machine."""
    tee = WebTee(target)
    thread = threading.Thread(target=tee._loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(tee._start(), tee._loop).result(10)
        yield tee
        asyncio.run_coroutine_threadsafe(tee._stop(), tee._loop).result(10)
    finally:
        tee._loop.call_soon_threadsafe(tee._loop.stop)
        thread.join(10)
        tee._loop.close()
