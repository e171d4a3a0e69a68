"""What framing costs: our codecs against the parsers under them, fed with the same bytes in the same pieces."""

from collections.abc import Callable

import h11
import httptools
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from protocol.framing.http11 import make_http_server
from protocol.framing.lines import LineCodec
from protocol.framing.sse import SSEDecoder, encode_event
from protocol.framing.websocket import WebSocket, WebSocketLimits

from .harness import FLOOR, Figure, Plan, contest, figures_of, timed
from .loads import ENVELOPE, call
from .webload import Requests
from .websocketload import frame

MANY = 64
_BODY = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}'
_TYPE = [(b"content-type", b"application/json")]


def run(plan: Plan) -> list[Figure]:
    """Measure each codec and what it stands on."""
    figures: list[Figure] = []
    for name, (ours, bare, calls) in _CODECS.items():
        turns = {"ours": timed(ours(), calls), FLOOR: timed(bare(), calls)}
        figures += figures_of(f"codec, {name}", contest(turns, plan, first=MANY), "messages/s")
    return figures


def _request() -> bytes:
    return Requests(8080).make(1)[0][0]


def _our_http(codec: str) -> Callable[[], Callable[[], object]]:
    def make() -> Callable[[], object]:
        request, server = _request(), make_http_server(codec)  # type: ignore[arg-type]

        def once() -> None:
            server.receive_data(request)
            assert len(server.events_received()) == 3
            server.send_response(200, _TYPE, _BODY)
            assert server.data_to_send()

        return once

    return make


class _Taker:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.on_body = self.body.append
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.is_complete = True


def _bare_httptools() -> Callable[[], object]:
    request = _request()

    def once() -> bytes:
        taker = _Taker()
        httptools.HttpRequestParser(taker).feed_data(request)
        assert taker.is_complete
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
            len(_BODY),
            _BODY,
        )

    return once


def _bare_h11() -> Callable[[], object]:
    request, parser = _request(), h11.Connection(h11.SERVER)
    headers = [*_TYPE, (b"content-length", b"%d" % len(_BODY))]

    def once() -> bytes:
        parser.receive_data(request)
        while type(parser.next_event()) is not h11.EndOfMessage:
            pass
        out = [
            parser.send(event) or b""
            for event in (h11.Response(status_code=200, headers=headers), h11.Data(data=_BODY), h11.EndOfMessage())
        ]
        parser.start_next_cycle()
        return b"".join(out)

    return once


def _our_websocket() -> Callable[[], object]:
    data = frame(call(1, ENVELOPE)[:-1]) * MANY
    socket = WebSocket(is_client=False, limits=WebSocketLimits())

    def once() -> None:
        texts = socket.receive_data(data)
        assert len(texts) == MANY
        socket.frame([_BODY] * MANY)

    return once


def _bare_websocket() -> Callable[[], object]:
    data = frame(call(1, ENVELOPE)[:-1]) * MANY
    text = _BODY.decode()
    socket = Connection(ConnectionType.SERVER)

    def once() -> None:
        socket.receive_data(data)
        assert sum(isinstance(event, TextMessage) for event in socket.events()) == MANY
        b"".join([socket.send(TextMessage(data=text)) for _ in range(MANY)])

    return once


def _our_lines() -> Callable[[], object]:
    data = b"".join(call(number, ENVELOPE) for number in range(MANY))
    codec = LineCodec(1 << 20)

    def once() -> None:
        assert len(codec.receive_data(data)) == MANY
        codec.frame([_BODY] * MANY)

    return once


def _bare_lines() -> Callable[[], object]:
    data = b"".join(call(number, ENVELOPE) for number in range(MANY))

    def once() -> bytes:
        assert len(data.split(b"\n")) == MANY + 1
        return b"\n".join([_BODY] * MANY) + b"\n"

    return once


def _our_sse_out() -> Callable[[], object]:
    return lambda: [encode_event(_BODY) for _ in range(MANY)]


def _bare_sse_out() -> Callable[[], object]:
    return lambda: [b"event: message\ndata: " + _BODY + b"\n\n" for _ in range(MANY)]


def _our_sse_in() -> Callable[[], object]:
    data, decoder = encode_event(_BODY) * MANY, SSEDecoder(1 << 20)

    def once() -> None:
        assert len(decoder.receive_data(data)) == MANY

    return once


def _bare_sse_in() -> Callable[[], object]:
    data = encode_event(_BODY) * MANY

    def once() -> None:
        events = [dict(line.split(b": ", 1) for line in event.split(b"\n")) for event in data.split(b"\n\n")[:-1]]
        assert len(events) == MANY

    return once


_CODECS = {
    "HTTP by httptools, a request and its answer": (_our_http("httptools"), _bare_httptools, 1),
    "HTTP by h11, a request and its answer": (_our_http("h11"), _bare_h11, 1),
    "WebSocket by wsproto, in and out": (_our_websocket, _bare_websocket, MANY),
    "lines, in and out": (_our_lines, _bare_lines, MANY),
    "SSE written": (_our_sse_out, _bare_sse_out, MANY),
    "SSE read": (_our_sse_in, _bare_sse_in, MANY),
}
"""What each is called: ours, what it stands on, and how many messages one round trip has."""
