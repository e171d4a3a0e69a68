"""The floor over HTTP: an `asyncio.Protocol` that parses requests, and answers the bodies without looking at a rule.

`--codec=httptools`, `h11` or `h11-parsing`, `--tools=N`, `--workers=N`, `--loop=asyncio` or `uvloop` (default: uvloop
where it is installed, as our own server does).
"""

import asyncio
import os
import signal
import sys
from typing import Any

import h11
import httptools
from answers import Answers, Message
from command_line import options


class Head:
    """The head of an answer."""

    def __init__(self, line: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.status = int(line[:3])
        self.headers = list(headers)
        lines = [b"HTTP/1.1 " + line, *(b"%b: %b" % header for header in headers), b"content-length: %d", b"", b""]
        self.template = b"\r\n".join(lines)


TYPE = (b"content-type", b"application/json")
JSON = Head(b"200 OK", TYPE)
GREETING = Head(b"200 OK", TYPE, (b"mcp-session-id", b"floor"))
ACCEPTED = Head(b"202 Accepted")
ENDED = Head(b"200 OK")
NOT_ALLOWED = Head(b"405 Method Not Allowed")
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

ACKNOWLEDGED = (
    b'{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":'
    b'{"io.modelcontextprotocol/subscriptionId":%d},"notifications":{"resourceSubscriptions":["bench://watched"]}}}'
)
UPDATED = (
    b'{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":'
    b'{"io.modelcontextprotocol/subscriptionId":%d},"uri":"bench://watched"}}'
)

answers: Answers
listeners: "dict[Connection, int]" = {}


def event(data: bytes) -> bytes:
    """Return an event in a chunk of its own."""
    return b"%x\r\nevent: message\ndata: %b\n\n\r\n" % (len(data) + 23, data)


class Connection(asyncio.Protocol):
    """What both codecs share."""

    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.streaming: asyncio.Task[None] | None = None

    def connection_lost(self, error: Exception | None) -> None:
        listeners.pop(self, None)

    def pause_writing(self) -> None:
        self.resumed.clear()

    def resume_writing(self) -> None:
        self.resumed.set()

    def answer(self, method: bytes, body: bytes) -> None:
        if method != b"POST":
            self.reply(ENDED if method == b"DELETE" else NOT_ALLOWED, b"")
            return
        message = answers.decode(body)
        if message.method == "subscriptions/listen":
            listeners[self] = number = int(message.id or 0)
            self.transport.write(STREAM + event(ACKNOWLEDGED % number))
            return
        if message.params.name == "touch":
            for listener, number in listeners.items():
                listener.transport.write(event(UPDATED % number))
        if message.params.arguments.to:
            self.streaming = asyncio.ensure_future(self.stream(message))
            return
        answer = answers.of(message)
        if answer is None:
            self.reply(ACCEPTED, b"")
        else:
            self.reply(GREETING if message.method == "initialize" else JSON, answer)

    def reply(self, head: Head, body: bytes) -> None:
        self.transport.write(head.template % len(body) + body)

    async def stream(self, message: Message) -> None:
        """Send each message as an event of its own, in a write of its own."""
        write = self.transport.write
        write(STREAM)
        for data in answers.progress(message):
            if not self.resumed.is_set():
                await self.resumed.wait()
            write(event(data))
        write(b"0\r\n\r\n")


class HttptoolsConnection(Connection):
    """Parses with httptools."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.data_received = self.parser.feed_data

    def on_message_begin(self) -> None:
        self.body = b""
        self.headers: dict[bytes, bytes] = {}

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body = self.body + body if self.body else body

    def on_message_complete(self) -> None:
        self.answer(self.parser.get_method(), self.body)


class H11ParsingConnection(Connection):
    """Parses with h11, a new one for each message; does not frame with it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.parser = h11.Connection(h11.SERVER)

    def renew(self) -> None:
        self.parser = h11.Connection(h11.SERVER)

    def data_received(self, data: bytes) -> None:
        parser = self.parser
        parser.receive_data(data)
        while True:
            event = parser.next_event()
            kind = type(event)
            if kind is h11.Request:
                self.method = event.method
                self.parts = []
            elif kind is h11.Data:
                self.parts.append(event.data)
            elif kind is h11.EndOfMessage:
                self.answer(self.method, b"".join(self.parts))
                self.renew()
                return  # the load sends nothing before it is answered
            else:
                return


class H11Connection(H11ParsingConnection):
    """Parses and frames with h11, as its documentation shows it."""

    def renew(self) -> None:
        self.parser.start_next_cycle()

    def reply(self, head: Head, body: bytes) -> None:
        send = self.parser.send
        headers = [*head.headers, (b"content-length", b"%d" % len(body))]
        data = send(h11.Response(status_code=head.status, headers=headers)) or b""
        data += send(h11.Data(data=body)) or b""
        self.transport.write(data + (send(h11.EndOfMessage()) or b""))


async def main(codec: str, port: int, workers: int) -> None:
    kinds = {"httptools": HttptoolsConnection, "h11": H11Connection, "h11-parsing": H11ParsingConnection}
    create_server = asyncio.get_running_loop().create_server
    server = await create_server(kinds[codec], "127.0.0.1", port, reuse_port=workers > 1, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(f"bare serves http://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)
    await server.serve_forever()


def run(codec: str, port: int, workers: int) -> None:
    if given.get("loop", "uvloop") == "uvloop":
        try:
            import uvloop
        except ImportError:
            if "loop" in given:
                raise
        else:
            uvloop.run(main(codec, port, workers))
            return
    asyncio.run(main(codec, port, workers))


given = options()
answers = Answers(int(given.get("tools", 0)))
workers = int(given.get("workers", 1))
children = []
for _ in range(workers - 1):
    child = os.fork()
    if not child:
        run(given.get("codec", "httptools"), int(given["port"]), workers)
    children.append(child)


def end(number: int, frame: object) -> None:
    for child in children:
        os.kill(child, signal.SIGTERM)
    os._exit(0)


if children:
    signal.signal(signal.SIGTERM, end)
run(given.get("codec", "httptools"), int(given.get("port", 0)), workers)
