"""The floor over HTTP on trio: a task a connection, httptools, and no rule looked at."""

import sys

import httptools
import trio
from answers import Answers

answers = Answers()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class Taken:
    """A request as it comes."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.on_body = self.body.append
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.is_complete = True


async def talk(stream: trio.SocketStream) -> None:
    try:
        while True:
            taken = Taken()
            parser = httptools.HttpRequestParser(taken)
            while not taken.is_complete:
                data = await stream.receive_some()
                if not data:
                    return
                parser.feed_data(data)
            answer = answers.of(answers.decode(b"".join(taken.body))) or b""
            await stream.send_all(HEAD % (len(answer), answer))
    except trio.BrokenResourceError:
        return
    finally:
        await stream.aclose()


async def main() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    print(f"bare serves http://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)
    await trio.serve_listeners(talk, [listener])


trio.run(main)
