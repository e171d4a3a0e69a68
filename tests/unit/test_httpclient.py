"""HTTP/1.1, the client side: one request, its response, then the next; the same over both parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol import LocalProtocolError
from protocol.framing.headers import Headers
from protocol.framing.http11 import (
    Data,
    EndOfResponse,
    HTTP11Client,
    HTTPLimits,
    Phase,
    ProtocolFault,
    ResponseHead,
    make_http_client,
)

pytest.importorskip("httptools")

Make = Callable[..., HTTP11Client]
HOST = [(b"host", b"h")]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=["h11", "httptools"])
def make(request: pytest.FixtureRequest) -> Make:
    """Return what makes clients that have sent a request."""

    def made(method: str = "GET", **limits: Any) -> HTTP11Client:
        client = make_http_client(request.param, HTTPLimits(**{"body_bytes": None, "small_chunks": None, **limits}))
        client.send_request(method, "/", headers=HOST)
        client.data_to_send()
        return client

    return made


def heard(client: HTTP11Client, *chunks: bytes) -> list[Any]:
    """Feed a client; return what it reports, the pieces of a body joined."""
    events: list[Any] = []
    for chunk in chunks:
        client.receive_data(chunk)
        for event in client.events_received():
            if isinstance(event, Data) and events and isinstance(events[-1], Data):
                event = Data(events.pop().data + event.data)
            events.append(event)
    return events


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""]) + body


# Requests


@pytest.mark.parametrize(
    ("method", "body", "written"),
    [
        ("GET", None, b"GET /a?b HTTP/1.1\r\nhost: h\r\nx: y\r\n\r\n"),
        ("DELETE", None, b"DELETE /a?b HTTP/1.1\r\nhost: h\r\nx: y\r\n\r\n"),
        ("POST", b"{}", b"POST /a?b HTTP/1.1\r\nhost: h\r\nx: y\r\ncontent-length: 2\r\n\r\n{}"),
        ("POST", None, b"POST /a?b HTTP/1.1\r\nhost: h\r\nx: y\r\ncontent-length: 0\r\n\r\n"),
        ("GET", b"", b"GET /a?b HTTP/1.1\r\nhost: h\r\nx: y\r\ncontent-length: 0\r\n\r\n"),
    ],
)
def test_a_request_is_one_buffer(method: str, body: bytes | None, written: bytes) -> None:
    client = make_http_client()
    assert client.is_idle and client.phase is Phase.IDLE
    client.send_request(method, "/a?b", headers=[*HOST, (b"x", b"y")], body=body)
    assert client.data_to_send() == [written] and client.data_to_send() == []
    assert not client.is_idle and client.phase is Phase.HEAD


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("get", "/", HOST),
        ("", "/", HOST),
        ("GET /", "/", HOST),
        ("CONNECT", "/", HOST),
        ("GET", "", HOST),
        ("GET", "/ HTTP/1.1\r\nX: y", HOST),
        ("GET", "/a b", HOST),
        ("GET", "/é", HOST),
        ("GET", "http://u@h/", HOST),
        ("GET", "https://h/", HOST),
        ("GET", "/", []),
        ("GET", "/", HOST * 2),
        ("GET", "/", [*HOST, (b"content-length", b"5")]),
        ("GET", "/", [*HOST, (b"x", b"a\r\nb: c")]),
    ],
)
def test_what_would_break_a_request_is_not_sent(method: str, target: str, headers: Any) -> None:
    client = make_http_client()
    with pytest.raises(LocalProtocolError):
        client.send_request(method, target, headers=headers)
    assert client.is_idle and client.data_to_send() == []


def test_one_request_at_a_time(make: Make) -> None:
    client = make()
    with pytest.raises(LocalProtocolError):
        client.send_request("GET", "/", headers=HOST)
    heard(client, OK)
    client.send_request("GET", "/", headers=HOST)
    client.receive_eof()
    with pytest.raises(LocalProtocolError):
        client.send_request("GET", "/", headers=HOST)


# Responses


def test_a_response_is_a_head_its_data_and_an_end(make: Make) -> None:
    client = make()
    head = ResponseHead(200, "OK", Headers([(b"content-length", b"5")]), "1.1", True)
    assert heard(client, OK) == [head, Data(b"hello"), EndOfResponse()]
    assert client.is_idle and not client.should_close


@pytest.mark.parametrize(
    "text",
    [
        OK,
        CHUNKED + b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: y\r\n\r\n",
        response(b"Content-Length: 0", line=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404"),
        response(line=b"HTTP/1.1 204 No Content"),
    ],
)
def test_a_response_may_come_byte_by_byte(make: Make, text: bytes) -> None:
    whole = heard(make(), text)
    client = make()
    assert heard(client, *[text[at : at + 1] for at in range(len(text))]) == whole
    assert isinstance(whole[-1], EndOfResponse) and client.is_idle


def test_chunks_and_trailers_are_read(make: Make) -> None:
    events = heard(make(), CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n")
    assert events[1:] == [Data(b"hello"), EndOfResponse(Headers([(b"x", b"y")]))]


def test_a_coding_may_be_spelled_in_capitals(make: Make) -> None:
    events = heard(make(), response(b"Transfer-Encoding: Chunked", body=b"1\r\nx\r\n0\r\n\r\n"))
    assert events[1:] == [Data(b"x"), EndOfResponse()]


def test_a_body_without_length_ends_with_the_connection(make: Make) -> None:
    client = make()
    events = heard(client, response(b"Content-Type: text/event-stream"), b"data: x", b"\n\n")
    assert events[1:] == [Data(b"data: x\n\n")] and not events[0].keep_alive
    assert client.phase is Phase.BODY and not client.should_close
    client.receive_eof()
    assert client.events_received() == [EndOfResponse()] and client.should_close
    client.receive_eof()
    client.receive_data(b"x")
    assert client.events_received() == []


@pytest.mark.parametrize(
    ("line", "fields", "keeps"),
    [
        (b"HTTP/1.1 200", [], True),
        (b"HTTP/1.1 200 OK", [b"Connection: close"], False),
        (b"HTTP/1.0 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive"], True),
    ],
)
def test_the_server_says_whether_the_connection_stays(
    make: Make, line: bytes, fields: list[bytes], keeps: bool
) -> None:
    client = make()
    events = heard(client, response(b"Content-Length: 0", *fields, line=line))
    assert events[0].keep_alive is keeps and isinstance(events[-1], EndOfResponse)
    assert client.is_idle is keeps and client.should_close is not keeps


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_some_statuses_have_no_body_whatever_they_declare(make: Make, status: bytes) -> None:
    client = make(body_bytes=10)
    events = heard(client, response(b"Content-Length: 500", line=b"HTTP/1.1 " + status))
    assert [type(event) for event in events] == [ResponseHead, EndOfResponse] and client.is_idle


def test_a_response_that_repeats_a_head_may_come_in_pieces(make: Make) -> None:
    client = make()
    whole = heard(client, OK)
    for at in (len(OK) - 1, len(OK) - 4, len(OK) - 5, 10):
        client.send_request("GET", "/", headers=HOST)
        assert heard(client, OK[:at], OK[at:]) == whole and client.is_idle


def test_a_response_to_head_that_repeats_one_with_a_body_has_none_all_the_same(make: Make) -> None:
    client = make()
    for _ in range(3):
        assert [type(event) for event in heard(client, OK)] == [ResponseHead, Data, EndOfResponse]
        client.send_request("GET", "/", headers=HOST)
    heard(client, OK)
    client.send_request("HEAD", "/", headers=HOST)
    # What follows belongs to no response.
    assert [type(event) for event in heard(client, OK)] == [ResponseHead, EndOfResponse] and client.should_close


def test_the_response_to_head_has_no_body_whatever_it_declares(make: Make) -> None:
    for fields in ([b"Content-Length: 500"], [b"Transfer-Encoding: chunked"], [], [b"Upgrade: h2c"]):
        client = make("HEAD", body_bytes=10)
        assert [type(event) for event in heard(client, response(*fields))] == [ResponseHead, EndOfResponse]
        assert client.is_idle


def test_a_stream_may_come_in_crumbs() -> None:
    client = make_http_client()
    client.send_request("GET", "/", headers=HOST)
    assert heard(client, CHUNKED + b"1\r\nx\r\n" * 5000)[-1] == Data(b"x" * 5000)


def test_interim_responses_are_skipped(make: Make) -> None:
    client = make()
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert [type(event) for event in heard(client, interim * 8 + OK)] == [ResponseHead, Data, EndOfResponse]
    assert heard(make(), interim[:-1]) == []
    assert heard(make(), interim) == []


@pytest.mark.parametrize("cut", [1, 5, 10_000])
def test_interim_responses_do_not_go_on_for_ever(make: Make, cut: int) -> None:
    client = make()
    text = b"HTTP/1.1 100 Continue\r\n\r\n" * 17
    events = heard(client, *[text[at : at + cut] for at in range(0, len(text), cut)])
    assert [type(event) for event in events] == [ProtocolFault] and client.should_close


def test_a_protocol_nobody_asked_for_is_refused(make: Make) -> None:
    client = make()
    text = response(b"Upgrade: x", b"Connection: Upgrade", line=b"HTTP/1.1 101 Switching Protocols")
    assert [event.status for event in heard(client, text)] == [400]
    assert client.should_close


FAULTS = {
    "length and coding": (response(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "two lengths": (response(b"Content-Length: 5", b"Content-Length: 6"), 400),
    "a signed length": (response(b"Content-Length: +5"), 400),
    "another coding": (response(b"Transfer-Encoding: gzip, chunked"), 501),
    "a coding in 1.0": (response(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"), 400),
    "version 2": (response(line=b"HTTP/2.0 200 OK"), 505),
    "no version": (response(line=b"ICY 200 OK"), 400),
    "no status": (response(line=b"HTTP/1.1 OK"), 400),
    "a status of two digits": (response(line=b"HTTP/1.1 20 OK"), 400),
    "a status of zero": (response(line=b"HTTP/1.1 099 X"), 400),
    "a bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 400),
    "a folded line": (response(b"X: a", b" b"), 400),
    "an empty line": (b"\r\n" + OK, 400),
    "another protocol": (b"SSH-2.0-x\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_head_is_a_fault(make: Make, name: str) -> None:
    text, status = FAULTS[name]
    for chunks in ([text], [text[at : at + 1] for at in range(len(text))]):
        client = make()
        events = heard(client, *chunks)
        assert [event.status for event in events] == [status] and client.should_close
        assert heard(client, OK) == [] and client.data_to_send() == []


def test_a_bad_chunk_is_a_fault(make: Make) -> None:
    client = make()
    events = heard(client, CHUNKED + b"1\r\nx\r\nzz\r\n")
    assert events[1] == Data(b"x") and isinstance(events[2], ProtocolFault) and client.should_close


@pytest.mark.parametrize("size", [0, 10, len(OK) - 1])
def test_a_connection_that_ends_early_is_a_fault(make: Make, size: int) -> None:
    client = make()
    assert not client.has_response_begun
    if size:
        client.receive_data(OK[:size])
    client.receive_eof()
    assert isinstance(client.events_received()[-1], ProtocolFault) and client.should_close
    assert client.has_response_begun is (size > 0)


def test_an_idle_connection_may_end(make: Make) -> None:
    client = make()
    heard(client, OK)
    client.receive_eof()
    assert client.events_received() == [] and client.should_close


@pytest.mark.parametrize("cut", [len(OK), len(OK) + 3])
def test_what_nobody_asked_for_ends_the_connection(make: Make, cut: int) -> None:
    client = make()
    text = OK + b"HTTP/1.1 408 Request Timeout\r\n\r\n"
    events = heard(client, text[:cut], text[cut:])
    assert [type(event) for event in events] == [ResponseHead, Data, EndOfResponse]
    assert client.should_close and not client._buffer


def status_line_of(size: int) -> bytes:
    return response(b"Content-Length: 0", line=b"HTTP/1.1 200 " + b"x" * (size - 13))


def head_of(size: int) -> bytes:
    text = response(b"Content-Length: 0", b"X: ")
    return text[:-4] + b"x" * (size - len(text)) + b"\r\n\r\n"


def fields_of(count: int) -> bytes:
    return response(b"Content-Length: 0", *[b"X: y"] * (count - 1))


def body_of(size: int) -> bytes:
    return response(b"Content-Length: %d" % size, body=b"x" * size)


def chunks_of(size: int) -> bytes:
    return CHUNKED + b"1\r\nx\r\n" * size + b"0\r\n\r\n"


def stream_of(size: int) -> bytes:
    return response(body=b"x" * size)


@pytest.mark.parametrize(
    ("name", "build", "status"),
    [
        ("head_bytes", head_of, 431),
        ("header_count", fields_of, 431),
        ("body_bytes", body_of, 413),
        ("body_bytes", chunks_of, 413),
        ("body_bytes", stream_of, 413),
    ],
)
@pytest.mark.parametrize("step", [1, 13, 10_000])
def test_each_limit_is_kept_to_the_byte(make: Make, name: str, build: Any, status: int, step: int) -> None:
    for size, is_good in ((59, True), (60, True), (61, False), (500, False)):
        text = build(size)
        client = make(**{name: 60})
        events = heard(client, *[text[at : at + step] for at in range(0, len(text), step)])
        if is_good:
            client.receive_eof()
            assert isinstance([*events, *client.events_received()][-1], EndOfResponse)
        else:
            assert isinstance(events[-1], ProtocolFault) and events[-1].status == status


def test_a_status_line_without_end_takes_no_memory(make: Make) -> None:
    client = make()
    for _ in range(300):
        client.receive_data(b"HTTP/1.1 200 " + b"x" * 100)
        assert len(client._buffer) <= 16 * 1024
    assert [event.status for event in client.events_received()] == [431]  # type: ignore[union-attr]
    assert isinstance(heard(make(head_bytes=60), status_line_of(61))[-1], ProtocolFault)


def test_a_proxy_is_asked_in_absolute_form() -> None:
    client = make_http_client()
    client.send_request("GET", "http://[::1]:8080/a?b", headers=HOST)
    assert client.data_to_send()[0].startswith(b"GET http://[::1]:8080/a?b HTTP/1.1\r\n")


@pytest.mark.parametrize("codec", ["h11", "httptools"])
def test_what_repeats_itself_is_read_and_written_alike(codec: Any) -> None:
    client = make_http_client(codec)
    for body, headers in ((b"one", HOST), (b"two", HOST), (b"six", [*HOST, (b"x", b"y")]), (b"ten", HOST)):
        client.send_request("POST", "/", headers=headers, body=b"x")
        expected = b"".join(b"%b: %b\r\n" % field for field in headers)
        assert client.data_to_send() == [b"POST / HTTP/1.1\r\n" + expected + b"content-length: 1\r\n\r\nx"]
        client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body)
        head, data, end = client.events_received()
        assert isinstance(head, ResponseHead) and head.headers.get(b"content-length") == b"3"
        assert data == Data(body) and isinstance(end, EndOfResponse)
    # The same head in answer to HEAD has no body behind it, and is remembered for nobody.
    client.send_request("HEAD", "/", headers=HOST)
    client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    assert [type(event) for event in client.events_received()] == [ResponseHead, EndOfResponse]
    client.send_request("GET", "/", headers=HOST)
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend":
        client.receive_data(bytes([byte]))
    assert b"".join(event.data for event in client.events_received() if isinstance(event, Data)) == b"end"
