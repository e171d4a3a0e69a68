"""Heads that come again, but for the length of the body: whatever comes, it is heard as a connection hears it first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing.http11 import Data, HTTPLimits, RequestHead, make_http_client, make_http_server
from protocol.framing.httphead import ResponseHead

pytest.importorskip("httptools")

CODECS: list[Any] = ["h11", "httptools"]
LIMITS = HTTPLimits(body_bytes=1000, head_bytes=200)
HOST = [(b"host", b"h")]
BEFORE = [b"Host: h", b"HOST:h\r\nX: content-length: 5", b"host: h\r\nx-content-length: 7"]
SPELLED = [b"Content-Length: ", b"content-length:", b"CONTENT-LENGTH: \t"]
BEHIND = [b"", b"X: y\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n"]
LENGTHS = [
    *(b"2", b"10", b"1", b"2", b"10", b"999", b"1000", b"1001", b"0", b"00", b"07", b"+5", b"-1", b"1_0", b"5 ", b""),
    *(b"5,5", b"5, 5", b"1" * 15, b"1" * 16, b"1" * 25, b"0x5", b"\xb2", b"5\n"),
    *(b"5\r\nContent-Length: 5", b"5\r\nTransfer-Encoding: chunked"),
]


def told(event: Any) -> Any:
    """Return an event; a head without the length among its headers."""
    if isinstance(event, RequestHead | ResponseHead):
        fields = [field for field in event.headers if field[0] != b"content-length"]
        return (type(event), fields, event.version, event.keep_alive)
    return event


def heard(connection: Any, *chunks: bytes) -> list[Any]:
    """Feed a connection; return what it reports, the pieces of a body joined."""
    events: list[Any] = []
    for chunk in chunks:
        connection.receive_data(chunk)
        for event in map(told, connection.events_received()):
            if isinstance(event, Data) and events and isinstance(events[-1], Data):
                event = Data(events.pop().data + event.data)
            events.append(event)
    return events


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data())
def test_a_server_hears_them_as_if_they_came_first(codec: Any, data: st.DataObject) -> None:
    before, spelled, behind = (data.draw(st.sampled_from(each)) for each in (BEFORE, SPELLED, BEHIND))
    server = make_http_server(codec, LIMITS)
    for length in data.draw(st.lists(st.sampled_from(LENGTHS), min_size=2, max_size=6)):
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 5 else 5
        text = b"POST / HTTP/1.1\r\n%b\r\n%b%b\r\n%b\r\n%b" % (before, spelled, length, behind, b"x" * size)
        at = data.draw(st.sampled_from([0, 1, 20, len(text) - size, len(text) - 1]))
        expected = heard(make_http_server(codec, LIMITS), text)
        if at == 0 and data.draw(st.booleans()):
            whole = server.recall(text)
            if whole is not None:
                assert whole[1] == b"x" * size and [told(whole[0]), Data(whole[1])] == expected[:2]
                server.send_response(200)
                continue
        assert heard(server, *[piece for piece in (text[:at], text[at:]) if piece]) == expected
        server.send_response(200)
        if server.should_close:
            break
        server.data_to_send()


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data())
def test_a_client_hears_them_as_if_they_came_first(codec: Any, data: st.DataObject) -> None:
    spelled, behind = data.draw(st.sampled_from(SPELLED)), data.draw(st.sampled_from(BEHIND[:3]))
    client = make_http_client(codec, LIMITS)
    for length in data.draw(st.lists(st.sampled_from(LENGTHS), min_size=2, max_size=6)):
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 5 else 5
        text = b"HTTP/1.1 200 OK\r\n%b%b\r\n%b\r\n%b" % (spelled, length, behind, b"x" * size)
        at = data.draw(st.sampled_from([0, 1, 20, len(text) - size, len(text) - 1]))
        first = make_http_client(codec, LIMITS)
        for each in (first, client):
            each.send_request("GET", "/", headers=HOST)
        pieces = [piece for piece in (text[:at], text[at:]) if piece]
        assert heard(client, *pieces) == heard(first, *pieces)
        assert client.is_idle is first.is_idle
        if not client.is_idle:
            break


@pytest.mark.parametrize("codec", CODECS)
def test_a_head_that_stands_for_several_lengths_names_none(codec: Any) -> None:
    server = make_http_server(codec)
    heads = []
    for size in (1, 1, 20, 300, 1, 20):
        text = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX: y\r\n\r\n%b" % (size, b"x" * size)
        whole = server.recall(text)
        if whole is None:
            server.receive_data(text)
            head, body, _ = server.events_received()
            assert isinstance(body, Data)
            whole = head, body.data  # type: ignore[assignment]
        assert whole is not None and whole[1] == b"x" * size
        heads.append(whole[0])
        server.send_response(200)
    assert heads[0] is heads[1] and heads[0].headers.get(b"content-length") == b"1"
    assert heads[2] is heads[3] is heads[4] is heads[5] and heads[2].headers.get(b"content-length") is None
    assert list(heads[2].headers) == [(b"host", b"h"), (b"x", b"y")]


@pytest.mark.parametrize("codec", CODECS)
def test_only_a_whole_request_is_recalled(codec: Any) -> None:
    server = make_http_server(codec)
    text = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
    assert server.recall(text) is None
    server.receive_data(text)
    assert server.recall(text) is None  # one is being answered
    server.send_response(200)
    for other in (text[:-1], text + b"P", b"\r\n" + text, text.replace(b"Host", b"host")):
        assert server.recall(other) is None
    server.receive_data(text[:-1])
    assert server.recall(text) is None
    server.receive_data(text[-1:])
    server.send_response(200)
    server.events_received()
    whole = server.recall(text)
    assert whole is not None and whole[1] == b"{}" and server.events_received() == []
    server.send_response(200)
    assert server.is_idle
