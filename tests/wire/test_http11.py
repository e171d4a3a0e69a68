"""Transcripts of HTTP/1.1 connections, replayed whole, byte by byte and at random cuts, over both parsers.

Heads are spelled as curl, httpx, node's undici, uvicorn and proxies spell theirs.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing.http11 import (
    Data,
    EndOfRequest,
    EndOfResponse,
    HTTP11Client,
    HTTP11Server,
    ProtocolFault,
    RequestHead,
    ResponseHead,
    Upgraded,
    make_http_client,
    make_http_server,
)
from protocol.framing.sse import SSEDecoder, encode_event
from tests.pair import at_random, byte_by_byte, whole

pytest.importorskip("httptools")

CODECS: list[Any] = ["h11", "httptools"]

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}'
CURL = (
    b"POST /mcp HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/7.88.1\r\nAccept: application/json, "
    b"text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 71\r\n\r\n" + CALL
)
HTTPX = (
    b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: application/json, text/event-stream\r\n"
    b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\n"
    b"MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: 6f1c\r\nContent-Length: 71\r\n"
    b"Content-Type: application/json\r\n\r\n" + CALL
)
UNDICI = (
    b"POST /mcp HTTP/1.1\r\nhost: localhost:8000\r\nconnection: keep-alive\r\naccept: application/json, "
    b"text/event-stream\r\ncontent-type: application/json\r\naccept-language: *\r\nsec-fetch-mode: cors\r\n"
    b"user-agent: node\r\naccept-encoding: gzip, deflate\r\ncontent-length: 71\r\n\r\n" + CALL
)
LISTEN = b"GET /mcp HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: s1-7\r\n\r\n"
PROXIED = (
    b"POST /mcp HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"20\r\n" + CALL[:32] + b"\r\n27;x=1\r\n" + CALL[32:] + b"\r\n0\r\nDigest: x\r\n\r\n"
)
OLD = b"GET /health HTTP/1.0\r\n\r\n"
SOCKET = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
)
SMUGGLED = (
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
    b"ET /admin HTTP/1.1\r\nHost: h\r\n\r\n"
)

ASKED = {
    "curl once": (CURL, "HDE", [200]),
    "httpx, a session": (HTTPX * 3 + LISTEN, "HDE HDE HDE HE", [200, 200, 200, 200]),
    "undici, then a bad request": (UNDICI + b"nonsense\r\n\r\n" + UNDICI, "HDE F", [200, 400]),
    "through a proxy": (PROXIED + CURL, "HDE HDE", [200, 200]),
    "an old checker": (OLD + CURL, "HE", [200]),
    "an upgrade": (SOCKET, "HE U", []),
    "a smuggler": (CURL + SMUGGLED + CURL, "HDE F", [200, 400]),
    "one that breaks off": (HTTPX + HTTPX[:-10], "HDE HD F", [200, 400]),
}
LETTERS: dict[type, str] = {
    RequestHead: "H", ResponseHead: "H", Data: "D", EndOfRequest: "E", EndOfResponse: "E", ProtocolFault: "F",
    Upgraded: "U",
}  # fmt: skip


def outline(events: list[Any]) -> str:
    """Name events by letters, the pieces of one body by one, a space behind each message."""
    letters = "".join(LETTERS[type(event)] for event in events)
    return " ".join(re.sub("D+", "D", letters).replace("E", "E ").replace("F", " F").replace("U", " U").split())


def bodies(events: list[Any]) -> list[bytes]:
    """Return the bodies of messages, one for each head."""
    found: list[bytes] = []
    for event in events:
        if isinstance(event, RequestHead | ResponseHead):
            found.append(b"")
        elif isinstance(event, Data):
            found[-1] += event.data
    return found


def serve(server: HTTP11Server, chunks: Any) -> tuple[list[Any], list[bytes], bytes]:
    """Answer as a server does that streams every second answer; return events, bodies, and what was sent."""
    events: list[Any] = []
    answered = 0
    for chunk in chunks:
        if events and isinstance(events[-1], Upgraded):
            events[-1] = Upgraded(events[-1].trailing + chunk)
            continue
        server.receive_data(chunk)
        while new := server.events_received():
            events += new
            if not isinstance(new[-1], EndOfRequest):
                continue
            head = [event for event in events if isinstance(event, RequestHead)][-1]
            answered += 1
            if b"upgrade" in head.headers:
                server.upgrade()
            elif answered % 2:
                server.send_response(200, [(b"content-type", b"application/json")], b"{}")
            else:
                server.start_response(200, [(b"content-type", b"text/event-stream")])
                server.send_body(encode_event(b"{}"))
                server.end_response()
    server.receive_eof()
    events += server.events_received()
    return events, bodies(events), b"".join(server.data_to_send())


def hear(client: HTTP11Client, chunks: Any) -> tuple[str, list[bytes]]:
    """Ask once; return what was heard."""
    events: list[Any] = []
    client.send_request("POST", "/mcp", headers=[(b"host", b"h")], body=b"{}")
    for chunk in chunks:
        client.receive_data(chunk)
        events += client.events_received()
    client.receive_eof()
    events += client.events_received()
    return outline(events), bodies(events)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", ASKED)
def test_a_recorded_connection_is_served_the_same_in_any_pieces(name: str, codec: Any) -> None:
    text, expected, statuses = ASKED[name]
    events, content, sent = serve(make_http_server(codec), whole(text))
    assert outline(events) == expected
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", sent)] == statuses
    heads = [(event.method, event.target, list(event.headers)) for event in events if isinstance(event, RequestHead)]
    for cut in (byte_by_byte, *map(at_random, range(20))):
        again, content_again, sent_again = serve(make_http_server(codec), cut(text))
        assert (outline(again), content_again, sent_again) == (expected, content, sent)
        assert heads == [
            (event.method, event.target, list(event.headers)) for event in again if isinstance(event, RequestHead)
        ]
    if name == "an upgrade":
        assert events[-1].trailing == SOCKET[SOCKET.index(b"\x81") :]


STREAM = encode_event(b"", id="0", retry=500) + encode_event(b'{"a":1}', id="1") + encode_event(b'{"b":\n2}', id="2")


def chunked(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


EVENTS = b"HTTP/1.1 200 OK\r\ndate: x\r\nserver: uvicorn\r\ncontent-type: text/event-stream\r\ncache-control: no-cache"
HEARD = {
    "uvicorn, JSON": (
        b"HTTP/1.1 200 OK\r\ndate: Tue, 28 Jul 2026 12:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: 2\r\n"
        b"content-type: application/json\r\n\r\n{}",
        "HDE",
    ),
    "uvicorn, events": (EVENTS + b"\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(STREAM, 60), "HDE"),
    "in tiny chunks": (EVENTS + b"\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(STREAM, 1), "HDE"),
    "up to the end": (EVENTS + b"\r\nconnection: close\r\n\r\n" + STREAM, "HDE"),
    "node, after hints": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 202 Accepted\r\nConnection: keep-alive\r\n"
        b"Keep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
        "HE",
    ),
    "cut": (EVENTS + b"\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(STREAM, 60)[:-7], "HD F"),
    "a page of a proxy": (b"HTTP/1.0 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<h1>502</h1>", "HDE"),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", HEARD)
def test_a_recorded_response_is_heard_the_same_in_any_pieces(name: str, codec: Any) -> None:
    text, expected = HEARD[name]
    outcome = hear(make_http_client(codec), whole(text))
    assert outcome[0] == expected
    for cut in (byte_by_byte, *map(at_random, range(20))):
        assert hear(make_http_client(codec), cut(text)) == outcome


@pytest.mark.parametrize("codec", CODECS)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
def test_what_the_server_writes_the_client_reads(codec: Any, pieces: list[bytes], data: st.DataObject) -> None:
    server, client = make_http_server(codec), make_http_client(codec)
    client.send_request("POST", "/", headers=[(b"host", b"h")], body=b"".join(pieces))
    for text in client.data_to_send():
        server.receive_data(text)
    assert bodies(server.events_received()) == [b"".join(pieces)]
    server.start_response(200, [(b"content-type", b"text/event-stream")])
    for piece in pieces:
        server.send_body(encode_event(piece))
    server.end_response()
    text = b"".join(server.data_to_send())
    cuts = sorted(data.draw(st.lists(st.integers(1, len(text) - 1), max_size=6, unique=True)))
    decoder = SSEDecoder(1000)
    read = []
    for start, end in pairwise([0, *cuts, len(text)]):
        client.receive_data(text[start:end])
        for event in client.events_received():
            if isinstance(event, Data):
                read += decoder.receive_data(event.data)
    assert client.is_idle and server.is_idle
    lines = [piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n") for piece in pieces]
    assert [event.data for event in read] == lines
