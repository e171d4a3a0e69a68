"""HTTP/1.1, the server side: strict about what comes in, exact about what goes out, the same over both parsers."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import pytest

from protocol import LocalProtocolError
from protocol.framing import http11
from protocol.framing.headers import Headers
from protocol.framing.http11 import (
    Data,
    EndOfRequest,
    HTTP11Server,
    HTTPLimits,
    Phase,
    ProtocolFault,
    RequestHead,
    Upgraded,
    make_http_client,
    make_http_server,
)
from protocol.framing.httphead import Refused

pytest.importorskip("httptools")

Make = Callable[..., HTTP11Server]
CODECS: list[Any] = ["h11", "httptools"]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /mcp?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(params=CODECS)
def make(request: pytest.FixtureRequest) -> Make:
    def made(**limits: Any) -> HTTP11Server:
        return make_http_server(request.param, HTTPLimits(**limits))

    return made


def heard(server: HTTP11Server, *chunks: bytes) -> list[Any]:
    """Feed a server; return what it reports, the pieces of a body joined."""
    events: list[Any] = []
    for chunk in chunks:
        server.receive_data(chunk)
        for event in server.events_received():
            if isinstance(event, Data) and events and isinstance(events[-1], Data):
                event = Data(events.pop().data + event.data)
            events.append(event)
    return events


def sent(server: HTTP11Server) -> bytes:
    return b"".join(server.data_to_send())


def head(
    method: str = "GET", target: str = "/", *, version: str = "1.1", keep: bool = True, **more: Any
) -> RequestHead:
    fields = more.pop("fields", [(b"host", b"h")])
    return RequestHead(method, target, Headers(fields), version, keep, **more)


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""]) + body


# Requests


def test_a_request_is_a_head_its_data_and_an_end(make: Make) -> None:
    server = make()
    fields = [(b"host", b"h"), (b"content-length", b"2")]
    assert heard(server, POST) == [head("POST", "/mcp?a=b", fields=fields), Data(b"{}"), EndOfRequest()]
    assert server.phase is Phase.ANSWERING and not server.should_close and server.data_to_send() == []


def test_a_request_without_body_ends_with_its_head(make: Make) -> None:
    assert heard(make(), GET) == [head(), EndOfRequest()]


@pytest.mark.parametrize("text", [GET, POST, CHUNKED + b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n", b"\r\n" + GET])
def test_a_request_may_come_byte_by_byte(make: Make, text: bytes) -> None:
    whole = heard(make(), text)
    assert heard(make(), *[text[at : at + 1] for at in range(len(text))]) == whole
    assert isinstance(whole[-1], EndOfRequest)


def test_what_a_connection_is_doing_can_be_seen(make: Make) -> None:
    server = make()
    assert server.phase is Phase.HEAD and server.is_idle and server.wants_data
    heard(server, b"PO")
    assert server.phase is Phase.HEAD and not server.is_idle
    heard(server, POST[2:-1])
    assert server.phase is Phase.BODY and not server.is_idle and server.wants_data
    heard(server, POST[-1:])
    assert server.phase is Phase.ANSWERING
    server.send_response(200)
    assert server.phase is Phase.HEAD and server.is_idle


def test_header_names_come_in_lower_case_and_values_without_edge_space(make: Make) -> None:
    events = heard(make(), request(b"HOST:h", b"X-A: \t a\tb \t", b"x-a:", b"Z: \xe9\xff"))
    assert list(events[0].headers) == [(b"host", b"h"), (b"x-a", b"a\tb"), (b"x-a", b""), (b"z", b"\xe9\xff")]


def test_a_head_that_repeats_is_known_again(make: Make) -> None:
    server = make()
    heads = []
    for text in (GET, GET, POST, GET[:20], GET[20:], GET, b"\r\n" + GET):
        events = heard(server, text)
        heads += [(event.method, len(event.headers)) for event in events if isinstance(event, RequestHead)]
        if events:
            server.send_response(200)
    assert heads == [("GET", 1), ("GET", 1), ("POST", 2), ("GET", 1), ("GET", 1), ("GET", 1)]
    large = request(b"Host: h", b"X: " + b"x" * 3000)
    assert [type(event) for event in heard(server, large)] == [RequestHead, EndOfRequest]
    server.send_response(200)
    assert [type(event) for event in heard(server, large)] == [RequestHead, EndOfRequest]


def test_lines_that_were_seen_are_known_again_and_there_are_not_too_many_of_them(make: Make) -> None:
    server = make()
    for number in range(100):
        events = heard(server, request(b"Host: h", b"X: \t%d " % number, b"Y: z"))
        assert list(events[0].headers) == [(b"host", b"h"), (b"x", b"%d" % number), (b"y", b"z")]
        server.send_response(200)


def test_a_large_answer_is_not_copied_behind_its_head(make: Make) -> None:
    server = make()
    heard(server, POST)
    body = b"x" * 20_000
    server.send_response(200, [(b"content-type", b"text/plain")], body)
    start, rest = server.data_to_send()
    assert rest is body and start.endswith(b"\r\ncontent-length: 20000\r\n\r\n")
    heard(server, POST)
    with pytest.raises(LocalProtocolError):
        server.send_response(304, [(b"content-type", b"text/plain")], body)


def test_a_parser_is_asked_once_for_a_head_that_repeats(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server, made = make(), []
    monkeypatch.setattr(server, "_make_parser", lambda make=server._make_parser: made.append(None) or make())
    # How many parsers each message takes: one that is chunked, or offers an upgrade, is read by one every time.
    for text, parsers in (
        ([POST], 1), ([POST], 0), ([POST], 0), ([POST[:-1], POST[-1:]], 0), ([POST[:-2], POST[-2:]], 0),
        ([POST], 0), ([GET], 1), ([GET], 0), ([POST[:-2], POST[-2:]], 1), ([POST[:-1], POST[-1:]], 0),
        ([POST], 0), ([CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"], 1), ([CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"], 1),
        ([request(b"Host: h", b"Upgrade: x")], 1), ([request(b"Host: h", b"Upgrade: x")], 1),
    ):  # fmt: skip
        made.clear()
        events = heard(server, *text)
        assert len(made) == parsers, text
        assert [event for event in events if isinstance(event, Data)] == (
            [Data(b"{}")] if b"".join(text).endswith(b"{}") or b"2\r\n{}" in text[0] else []
        )
        assert events[-1] == EndOfRequest() and isinstance(events[0], RequestHead)
        server.send_response(200)


def test_a_target_may_be_absolute_and_means_the_same(make: Make) -> None:
    events = heard(make(), request(b"Host: H:80", line=b"GET http://h:80/mcp?x HTTP/1.1"))
    assert events[0].target == "/mcp?x"


def test_a_server_as_a_whole_is_an_asterisk(make: Make) -> None:
    assert heard(make(), request(b"Host: h", line=b"OPTIONS * HTTP/1.1"))[0].target == "*"


@pytest.mark.parametrize("host", [b"h", b"localhost:8000", b"127.0.0.1", b"[::1]", b"[::1]:80", b"a_b.example:"])
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(make: Make, host: bytes) -> None:
    assert [type(event) for event in heard(make(), request(b"Host: " + host))] == [RequestHead, EndOfRequest]


def test_chunks_are_joined_and_trailers_reported(make: Make) -> None:
    text = CHUNKED + b'5;a;b="c d"\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX: y\r\nZ: \r\n\r\n'
    events = heard(make(), text)
    assert events[1:] == [Data(b"hello0123456789"), EndOfRequest(Headers([(b"x", b"y"), (b"z", b"")]))]


def test_one_empty_line_before_a_request_is_skipped(make: Make) -> None:
    server = make()
    assert heard(server, b"\r", b"\n") == [] and server.is_idle
    assert heard(server, GET) == [head(), EndOfRequest()]
    server.send_response(200)
    assert heard(server, b"\r\n" + GET) == [head(), EndOfRequest()]
    server.send_response(200)
    assert heard(server, b"\r\n\r\n")[0].status == 400


# What is refused

FAULTS = {
    # Framing that two readers may understand in two ways
    "length and coding": (request(b"Host: h", b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "coding and length": (request(b"Host: h", b"Transfer-Encoding: x", b"Content-Length: 5"), 400),
    "another coding": (request(b"Host: h", b"Transfer-Encoding: gzip, chunked"), 501),
    "a coding twice": (request(b"Host: h", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 501),
    "a coding in capitals": (request(b"Host: h", b"Transfer-Encoding: Chunked"), 501),
    "a coding before a tab": (request(b"Host: h", b"Transfer-Encoding: chunked\t"), 501),
    "identity": (request(b"Host: h", b"Transfer-Encoding: identity"), 501),
    "no coding": (request(b"Host: h", b"Transfer-Encoding:"), 501),
    "a coding in 1.0": (request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), 400),
    "two lengths": (request(b"Host: h", b"Content-Length: 5", b"Content-Length: 6"), 400),
    "a length twice": (request(b"Host: h", b"Content-Length: 5", b"Content-Length: 5"), 400),
    "a list of lengths": (request(b"Host: h", b"Content-Length: 5, 5"), 400),
    "a signed length": (request(b"Host: h", b"Content-Length: +5"), 400),
    "a negative length": (request(b"Host: h", b"Content-Length: -5"), 400),
    "a hexadecimal length": (request(b"Host: h", b"Content-Length: 0x5"), 400),
    "no length": (request(b"Host: h", b"Content-Length:"), 400),
    "a length of 20 digits": (request(b"Host: h", b"Content-Length: " + b"0" * 19 + b"5"), 400),
    "a huge length": (request(b"Host: h", b"Content-Length: " + b"9" * 19), 413),
    # Lines
    "a folded line": (request(b"Host: h", b"X: a", b" b"), 400),
    "a space before the colon": (request(b"Host: h", b"X : a"), 400),
    "a space before the name": (request(b" Host: h"), 400),
    "no colon": (request(b"Host: h", b"X"), 400),
    "no name": (request(b"Host: h", b": x"), 400),
    "a name with a high byte": (request(b"Host: h", b"\xc3\xa9: x"), 400),
    "a bare LF": (b"GET / HTTP/1.1\nHost: h\n\n", 400),
    "a bare LF in a value": (request(b"Host: h", b"X: a\nY: b"), 400),
    "a bare CR": (request(b"Host: h", b"X: a\rb"), 400),
    "a NUL": (request(b"Host: h", b"X: \0"), 400),
    "a DEL": (request(b"Host: h", b"X: \x7f"), 400),
    "another protocol": (b"\x16\x03\x01\x02\x00", 400),
    # The request line
    "no request line": (b"\r\n\r\n", 400),
    "two spaces": (request(b"Host: h", line=b"GET  / HTTP/1.1"), 400),
    "a space at the end": (request(b"Host: h", line=b"GET / HTTP/1.1 "), 400),
    "no version": (request(b"Host: h", line=b"GET /"), 400),
    "version 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "version 1.2": (request(b"Host: h", line=b"GET / HTTP/1.2"), 505),
    "version 0.9": (request(b"Host: h", line=b"GET / HTTP/0.9"), 505),
    "version 1.10": (request(b"Host: h", line=b"GET / HTTP/1.10"), 400),
    "a version in small letters": (request(b"Host: h", line=b"GET / http/1.1"), 400),
    "a tunnel": (request(b"Host: h", line=b"CONNECT h:80 HTTP/1.1"), 501),
    "an unknown method": (request(b"Host: h", line=b"BREW / HTTP/1.1"), 501),
    "a method in small letters": (request(b"Host: h", line=b"get / HTTP/1.1"), 501),
    "a target without slash": (request(b"Host: h", line=b"GET mcp HTTP/1.1"), 400),
    "a fragment": (request(b"Host: h", line=b"GET /a#b HTTP/1.1"), 400),
    "a high byte in the target": (request(b"Host: h", line=b"GET /\xff HTTP/1.1"), 400),
    "an asterisk for another method": (request(b"Host: h", line=b"GET * HTTP/1.1"), 400),
    "another scheme": (request(b"Host: h", line=b"GET ftp://h/ HTTP/1.1"), 400),
    "user and password": (request(b"Host: h", line=b"GET http://u:p@h/ HTTP/1.1"), 400),
    # The host
    "no host": (request(), 400),
    "two hosts": (request(b"Host: h", b"Host: h"), 400),
    "an empty host": (request(b"Host:"), 400),
    "a host with a path": (request(b"Host: h/x"), 400),
    "a host with a user": (request(b"Host: u@h"), 400),
    "a host with a space": (request(b"Host: a b"), 400),
    "a bad host in 1.0": (request(b"Host: a?b", line=b"GET / HTTP/1.0"), 400),
    "two minds about the host": (request(b"Host: h", line=b"GET http://x/ HTTP/1.1"), 400),
    "an absolute target without host": (request(line=b"GET http://x/ HTTP/1.0"), 400),
    # Expectations
    "an unknown expectation": (request(b"Host: h", b"Expect: more"), 417),
    "two expectations": (request(b"Host: h", b"Expect: 100-continue", b"Expect: 100-continue"), 417),
}  # fmt: skip

CHUNK_FAULTS = {
    "no size": (b"\r\n", 400),
    "no number": (b"g\r\n", 400),
    "a signed size": (b"+5\r\nhello", 400),
    "a prefixed size": (b"0x5\r\nhello", 400),
    "a space before the size": (b" 5\r\nhello", 400),
    "a space behind the size": (b"5 \r\nhello", 400),
    "17 digits": (b"0" * 16 + b"5\r\nhello", 400),
    "a huge size": (b"f" * 16 + b"\r\n", 413),
    "a bare LF": (b"5\nhello\r\n0\r\n\r\n", 400),
    "an empty extension": (b"5;\r\nhello", 400),
    "a space in an extension": (b"5;a b\r\nhello", 400),
    "an escape in an extension": (b'5;a="\\""\r\nhello', 400),
    "a control character in an extension": (b"5;a\0\r\nhello", 400),
    "more than its size": (b"5\r\nhello!\r\n", 400),
    "no line end": (b"5\r\nhello0\r\n\r\n", 400),
    "LF alone behind the data": (b"5\r\nhello\n0\r\n\r\n", 400),
    "a space in a trailer": (b"0\r\nX : y\r\n\r\n", 400),
    "a bare LF in a trailer": (b"0\r\nX: y\nZ: z\r\n\r\n", 400),
    "a length as a trailer": (b"0\r\nContent-Length: 5\r\n\r\n", 400),
    "a coding as a trailer": (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "credentials as a trailer": (b"0\r\nAuthorization: x\r\n\r\n", 400),
    "too many trailers": (b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
}


def refused(server: HTTP11Server, text: bytes, status: int) -> list[Any]:
    """Feed what is refused; check the answer and return what came before."""
    events = heard(server, text)
    fault = events.pop()
    assert isinstance(fault, ProtocolFault) and fault.status == status and fault.reason.isprintable()
    answer = sent(server)
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + fault.reason.encode())
    assert server.should_close and server.phase is Phase.CLOSED and not server.wants_data
    # Nothing that comes later is read.
    assert heard(server, GET) == [] and sent(server) == b""
    return events


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_head_is_refused_before_it_reaches_a_parser(make: Make, name: str) -> None:
    text, status = FAULTS[name]
    assert refused(make(), text, status) == []
    server = make()
    for at in range(len(text)):
        server.receive_data(text[at : at + 1])
    assert [event.status for event in server.events_received()] == [status]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CHUNK_FAULTS)
def test_a_bad_chunk_is_refused_before_it_reaches_a_parser(make: Make, name: str) -> None:
    text, status = CHUNK_FAULTS[name]
    before = refused(make(), CHUNKED + text, status)
    assert isinstance(before[0], RequestHead) and before[1:] in ([], [Data(b"hello")])
    server = make()
    events = heard(server, CHUNKED, *[text[at : at + 1] for at in range(len(text))])
    assert events[:-1] == before and events[-1].status == status


def test_a_fault_does_not_take_back_what_came_before_it(make: Make) -> None:
    server = make()
    assert refused(server, CHUNKED + b"3\r\nabc\r\nzz\r\n", 400)[1:] == [Data(b"abc")]


def test_the_answer_to_head_has_no_body_even_when_it_is_an_error(make: Make) -> None:
    server = make()
    text = request(b"Host: h", b"Transfer-Encoding: chunked", line=b"HEAD / HTTP/1.1", body=b"zz\r\n")
    assert heard(server, text)[-1].status == 400
    assert sent(server).endswith(b"connection: close\r\n\r\n")


# Limits


def line_of(size: int) -> bytes:
    return request(b"Host: h", line=b"GET /" + b"t" * (size - 1) + b" HTTP/1.1")


def head_of(size: int) -> bytes:
    text = request(b"Host: h", b"X: ")
    return text[:-4] + b"x" * (size - len(text)) + b"\r\n\r\n"


def fields_of(count: int) -> bytes:
    return request(b"Host: h", *[b"X: y"] * (count - 1))


def body_of(size: int) -> bytes:
    return request(b"Host: h", b"Content-Length: %d" % size, body=b"x" * size)


def chunks_of(size: int) -> bytes:
    return CHUNKED + b"1\r\nx\r\n" * size + b"0\r\n\r\n"


def large_chunks_and(size: int) -> bytes:
    return CHUNKED + (b"40\r\n" + b"x" * 64 + b"\r\n") * 70 + (b"3f\r\n" + b"x" * 63 + b"\r\n") * size + b"0\r\n\r\n"


def extensions_of(size: int) -> bytes:
    return CHUNKED + b"1;" + b"a" * 9 + b"\r\nx\r\n0;" + b"a" * (size - 11) + b"\r\n\r\n"


def trailers_of(size: int) -> bytes:
    return CHUNKED + b"0\r\nX:" + b"y" * (size - 6) + b"\r\n\r\n"


LIMITS: list[tuple[str, Callable[[int], bytes], int]] = [
    ("target_bytes", line_of, 414),
    ("head_bytes", head_of, 431),
    ("header_count", fields_of, 431),
    ("body_bytes", body_of, 413),
    ("body_bytes", chunks_of, 413),
    ("small_chunks", chunks_of, 400),
    ("small_chunks", large_chunks_and, 400),
    ("extension_bytes", extensions_of, 400),
    ("trailer_bytes", trailers_of, 431),
]


@pytest.mark.parametrize(("name", "build", "status"), LIMITS)
@pytest.mark.parametrize("step", [1, 13, 10_000])
def test_each_limit_is_kept_to_the_byte(make: Make, name: str, build: Any, status: int, step: int) -> None:
    for size, is_good in ((59, True), (60, True), (61, False), (500, False)):
        text = build(size)
        events = heard(make(**{name: 60}), *[text[at : at + step] for at in range(0, len(text), step)])
        if is_good:
            assert isinstance(events[-1], EndOfRequest)
        else:
            assert isinstance(events[-1], ProtocolFault) and events[-1].status == status


def test_the_defaults_are_those_of_the_limit_table() -> None:
    limits = HTTPLimits()
    assert (limits.target_bytes, limits.head_bytes, limits.header_count) == (8192, 16384, 100)
    assert limits.body_bytes == 4 * 1024 * 1024
    for build, size in ((line_of, 8192), (head_of, 16384), (fields_of, 100)):
        for more, kind in ((0, EndOfRequest), (1, ProtocolFault)):
            assert isinstance(heard(make_http_server("h11"), build(size + more))[-1], kind)


def test_a_body_too_large_is_refused_before_it_is_read(make: Make) -> None:
    text = request(b"Host: h", b"Expect: 100-continue", b"Content-Length: 4194305")
    assert refused(make(), text, 413) == []
    assert refused(make(), CHUNKED + b"400001\r\n", 413)[1:] == []


def test_no_limit_is_no_limit(make: Make) -> None:
    server = make(body_bytes=None)
    events = heard(server, request(b"Host: h", b"Content-Length: " + b"9" * 19), b"x" * 5_000_000)
    assert len(events[-1].data) == 5_000_000
    assert len(heard(make(body_bytes=None), CHUNKED + b"fffffffffffffff\r\n", b"x" * 5_000_000)[-1].data) == 5_000_000


@pytest.mark.parametrize("text", [b"G", b"GET /" + b"x", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n", b"\0", b"\r"])
def test_a_head_without_end_takes_no_memory(make: Make, text: bytes) -> None:
    server = make()
    for _ in range(300):
        server.receive_data(text)
        server.receive_data(b"a: b" * 25)
        assert len(server._buffer) <= 16 * 1024
    assert server.should_close and len(server.events_received()) == 1


@pytest.mark.parametrize("text", [b"5;a" * 100, b"f" * 100, b"0\r\nX: " + b"y" * 100])
def test_a_chunk_line_without_end_takes_no_memory(make: Make, text: bytes) -> None:
    server = make()
    server.receive_data(CHUNKED + text)
    for _ in range(300):
        server.receive_data(b"a" * 100)
        assert len(server._buffer) <= 4 * 1024
    assert server.should_close


# Responses


def test_a_response_is_one_buffer(make: Make) -> None:
    server = make()
    heard(server, POST)
    server.send_response(200, [(b"content-type", b"application/json")], b"{}")
    assert server.data_to_send() == [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    ]
    assert server.data_to_send() == [] and not server.should_close


@pytest.mark.parametrize(
    ("status", "written"),
    [
        (202, b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"),
        (204, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (304, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (599, b"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n"),
    ],
)
def test_a_response_may_have_no_body(make: Make, status: int, written: bytes) -> None:
    server = make()
    heard(server, GET)
    server.send_response(status)
    assert sent(server) == written


def test_the_answer_to_head_is_that_to_get_without_its_body(make: Make) -> None:
    server = make()
    heard(server, request(b"Host: h", line=b"HEAD / HTTP/1.1"))
    server.send_response(200, body=b"hello")
    assert sent(server) == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    heard(server, request(b"Host: h", line=b"HEAD / HTTP/1.1"))
    server.start_response(200)
    server.send_body(b"hello")
    server.end_response()
    assert sent(server) == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert heard(server, GET) == [head(), EndOfRequest()]


def test_a_response_of_unknown_length_comes_in_chunks(make: Make) -> None:
    server = make()
    heard(server, GET)
    server.start_response(200, [(b"content-type", b"text/event-stream")])
    for data in (b"hello", b"", b"x" * 26):
        server.send_body(data)
    server.end_response()
    assert server.data_to_send() == [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n",
        b"1a\r\n" + b"x" * 26 + b"\r\n",
        b"0\r\n\r\n",
    ]
    assert heard(server, GET) == [head(), EndOfRequest()]


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"a\r\nSet-Cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"\0"),
        (b"x\r\ny", b"a"),
        (b"", b"a"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"Content-Length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"Connection", b"close"),
    ],
)
def test_a_header_cannot_break_a_response(make: Make, field: tuple[bytes, bytes]) -> None:
    server = make()
    heard(server, GET)
    for send in (server.send_response, server.start_response):
        with pytest.raises(LocalProtocolError):
            send(200, [(b"a", b"b"), field])
    assert server.data_to_send() == []
    server.send_response(200)
    assert sent(server) == OK


def test_what_makes_no_sense_is_not_sent(make: Make) -> None:
    server = make()
    for illegal in (
        lambda: server.send_response(200),
        lambda: server.start_response(200),
        lambda: server.send_body(b""),
        server.end_response,
        server.upgrade,
    ):
        with pytest.raises(LocalProtocolError):
            illegal()
    heard(server, GET)
    for status in (99, 100, 101, 600):
        with pytest.raises(LocalProtocolError):
            server.send_response(status)
        with pytest.raises(LocalProtocolError):
            server.start_response(status)
    with pytest.raises(LocalProtocolError):
        server.send_response(204, body=b"x")
    with pytest.raises(LocalProtocolError):
        server.start_response(304)
    server.start_response(200)
    with pytest.raises(LocalProtocolError):
        server.send_response(200)
    server.end_response()
    assert sent(server) == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"


# The connection


@pytest.mark.parametrize(
    ("version", "option", "keeps"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: keep-alive"], True),
        (b"1.1", [b"Connection: Close"], False),
        (b"1.1", [b"Connection: keep-alive, close"], False),
        (b"1.1", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"1.1", [b"Connection:"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: keep-alive"], True),
        (b"1.0", [b"Connection: x, Keep-Alive"], True),
        (b"1.0", [b"Connection: close"], False),
    ],
)
def test_the_peer_says_whether_the_connection_stays(
    make: Make, version: bytes, option: list[bytes], keeps: bool
) -> None:
    server = make()
    text = request(b"Host: h", *option, line=b"GET / HTTP/" + version)
    assert heard(server, text)[0].keep_alive is keeps
    server.send_response(200)
    answer = sent(server)
    assert (b"connection: close" in answer) is not keeps and server.should_close is not keeps
    assert (b"connection: keep-alive" in answer) is (keeps and version == b"1.0")
    assert bool(heard(server, GET)) is keeps


def test_a_stream_for_1_0_ends_with_the_connection(make: Make) -> None:
    server = make()
    assert heard(server, request(b"Connection: keep-alive", line=b"GET / HTTP/1.0"))[0].version == "1.0"
    server.start_response(200)
    server.send_body(b"a")
    server.send_body(b"b")
    assert not server.should_close
    server.end_response()
    assert sent(server) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"
    assert server.should_close


def test_the_next_request_waits_for_the_answer_to_this_one(make: Make) -> None:
    server = make()
    assert heard(server, GET + POST + GET[:5]) == [head(), EndOfRequest()]
    assert heard(server, GET[5:]) == []
    server.send_response(200)
    assert [type(event) for event in server.events_received()] == [RequestHead, Data, EndOfRequest]
    server.start_response(200)
    assert server.events_received() == []
    server.end_response()
    assert server.events_received() == [head(), EndOfRequest()]
    server.send_response(200)
    assert server.events_received() == [] and server.is_idle


def test_requests_that_wait_are_bounded(make: Make) -> None:
    server = make(pipelined_bytes=100)
    assert len(heard(server, GET)) == 2 and server.wants_data
    server.receive_data(b"x" * 99)
    assert server.wants_data
    server.receive_data(GET * 4)
    assert not server.wants_data
    for _ in range(1000):
        server.receive_data(GET)  # by a caller who does not care
    assert len(server._buffer) == 99 + 4 * len(GET)
    server.send_response(200)
    assert sent(server) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert server.should_close and server.events_received() == []


def test_a_caller_who_stops_reading_loses_nothing(make: Make) -> None:
    server = make(pipelined_bytes=50)
    server.receive_data(GET * 10)
    assert not server.wants_data
    for left in range(10, 0, -1):
        assert server.events_received() == [head(), EndOfRequest()]
        server.send_response(200)
        assert server.wants_data or left > 2
    assert sent(server) == OK * 10


def test_a_bad_request_in_line_is_refused_when_its_turn_comes(make: Make) -> None:
    server = make()
    heard(server, GET + b"BAD\r\n\r\n" + GET)
    assert sent(server) == b""
    server.send_response(200)
    assert [event.status for event in server.events_received()] == [400]  # type: ignore[union-attr]
    assert sent(server).startswith(OK + b"HTTP/1.1 400 Bad Request\r\n") and server.should_close


def test_a_peer_is_told_to_continue_when_the_server_wants_the_body(make: Make) -> None:
    server = make()
    text = request(b"Host: h", b"Expect: 100-Continue", b"Content-Length: 2", line=b"POST / HTTP/1.1")
    assert heard(server, text)[0].expects_continue
    server.send_continue()
    server.send_continue()
    assert sent(server) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert heard(server, b"{}") == [Data(b"{}"), EndOfRequest()]
    server.send_response(200)
    assert sent(server) == OK
    # A body that is there already was not waited with.
    heard(server, text + b"{}")
    server.send_continue()
    assert sent(server) == b""


def test_an_expectation_without_body_or_in_1_0_is_none(make: Make) -> None:
    assert not heard(make(), request(b"Host: h", b"Expect: 100-continue"))[0].expects_continue
    old = request(b"Expect: more", b"Content-Length: 2", line=b"POST / HTTP/1.0")
    assert not heard(make(), old)[0].expects_continue
    server = make()
    heard(server, GET)
    server.send_continue()
    assert sent(server) == b""


def test_an_answer_before_the_end_of_the_request_closes(make: Make) -> None:
    server = make()
    heard(server, POST[:-1])
    server.send_response(401)
    assert sent(server) == b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert server.should_close and heard(server, b"}" + GET) == []


def test_a_stream_may_begin_before_the_end_of_the_request(make: Make) -> None:
    server = make()
    heard(server, POST[:-1])
    server.start_response(200)
    assert heard(server, b"}") == [Data(b"}"), EndOfRequest()]
    server.send_body(b"x")
    server.end_response()
    assert b"connection: close" in sent(server) and server.should_close


def test_a_fault_within_a_stream_cuts_it(make: Make) -> None:
    server = make()
    heard(server, CHUNKED)
    server.start_response(200)
    sent(server)
    assert [event.status for event in heard(server, b"zz\r\n")] == [400]
    assert sent(server) == b"" and server.should_close
    # Who has not heard of it yet may go on, without effect.
    server.send_body(b"x")
    server.end_response()
    server.send_response(200)
    server.start_response(200)
    server.upgrade()
    server.refuse(408, "too slow")
    server.drain()
    server.receive_eof()
    assert sent(server) == b"" and server.events_received() == []


def test_the_end_of_the_stream_between_requests_is_the_end(make: Make) -> None:
    server = make()
    server.receive_eof()
    assert server.should_close and server.events_received() == []


@pytest.mark.parametrize("size", [1, 10, len(POST) - 1])
def test_the_end_of_the_stream_within_a_request_is_a_fault(make: Make, size: int) -> None:
    server = make()
    heard(server, POST[:size])
    server.receive_eof()
    assert [event.status for event in server.events_received()] == [400]  # type: ignore[union-attr]
    assert sent(server).startswith(b"HTTP/1.1 400 ") and server.should_close


def test_requests_that_came_whole_are_answered_after_the_end_of_the_stream(make: Make) -> None:
    server = make()
    heard(server, GET * 2 + GET[:4])
    server.receive_eof()
    server.send_response(200)
    assert server.events_received() == [head(), EndOfRequest()] and not server.should_close
    server.send_response(200)
    assert [event.status for event in server.events_received()] == [400]  # type: ignore[union-attr]
    assert server.should_close


def test_a_server_that_drains_answers_and_closes(make: Make) -> None:
    idle = make()
    idle.drain()
    assert idle.should_close
    server = make()
    heard(server, GET + GET)
    server.drain()
    assert not server.should_close
    server.send_response(200)
    assert b"connection: close" in sent(server) and server.should_close and server.events_received() == []


def test_a_stream_that_outlives_the_drain_is_the_last(make: Make) -> None:
    server = make()
    heard(server, GET)
    server.start_response(200)
    server.drain()
    server.send_body(b"x")
    server.end_response()
    assert sent(server).endswith(b"0\r\n\r\n") and server.should_close


def test_a_request_half_read_when_draining_is_answered(make: Make) -> None:
    server = make()
    heard(server, POST[:10])
    server.drain()
    assert not server.should_close
    assert isinstance(heard(server, POST[10:])[-1], EndOfRequest)
    server.send_response(200)
    assert b"connection: close" in sent(server) and server.should_close


def test_whoever_keeps_the_time_may_refuse(make: Make) -> None:
    server = make()
    heard(server, POST[:-1])
    server.refuse(408, "too slow")
    assert server.events_received() == [] and server.should_close
    assert sent(server) == (
        b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 8\r\n"
        b"connection: close\r\n\r\ntoo slow"
    )


# Upgrades

SOCKET = request(b"Host: h", b"Connection: Upgrade", b"Upgrade: websocket")


def test_a_connection_is_handed_over_with_what_came_behind(make: Make) -> None:
    server = make()
    assert [type(event) for event in heard(server, SOCKET + b"\x81")] == [RequestHead, EndOfRequest]
    server.receive_data(b"\x80")
    server.upgrade([(b"upgrade", b"websocket")])
    assert server.events_received() == [Upgraded(b"\x81\x80")]
    assert sent(server) == b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    assert server.phase is Phase.UPGRADED and not server.should_close and not server.wants_data
    with pytest.raises(LocalProtocolError):
        server.receive_data(b"x")
    with pytest.raises(LocalProtocolError):
        server.send_response(200)
    server.refuse(408, "too slow")
    server.drain()
    server.receive_eof()
    assert sent(server) == b"" and server.events_received() == []


def test_another_protocol_may_write_its_own_answer(make: Make) -> None:
    server = make()
    heard(server, SOCKET)
    server.upgrade()
    assert server.events_received() == [Upgraded(b"")] and sent(server) == b""


def test_an_upgrade_not_taken_up_is_an_ordinary_request(make: Make) -> None:
    server = make()
    text = request(b"Host: h", b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: 5", body=b"hello")
    for _ in range(2):
        events = heard(server, text)
        assert events[1:] == [Data(b"hello"), EndOfRequest()] and events[0].headers.get(b"upgrade") == b"h2c"
        server.send_response(200)
    assert sent(server) == OK * 2


def test_only_a_complete_request_of_1_1_is_upgraded(make: Make) -> None:
    server = make()
    heard(server, request(b"Host: h", b"Upgrade: x", b"Content-Length: 5"))
    with pytest.raises(LocalProtocolError):
        server.upgrade()
    server = make()
    heard(server, request(b"Upgrade: x", line=b"GET / HTTP/1.0"))
    with pytest.raises(LocalProtocolError):
        server.upgrade()


# Parsers


class Fussy:
    """A parser of one opinion."""

    is_complete = False

    def __init__(self, refusal: Refused | None) -> None:
        self.refusal = refusal

    def feed(self, data: bytes) -> list[bytes]:
        if self.refusal is not None:
            raise self.refusal
        return []


@pytest.mark.parametrize("refusal", [Refused(400, "no"), None])
def test_a_parser_has_a_veto(refusal: Refused | None) -> None:
    server = HTTP11Server(lambda: Fussy(refusal), HTTPLimits())
    assert [type(event) for event in heard(server, GET)] == [RequestHead, ProtocolFault]
    assert sent(server).startswith(b"HTTP/1.1 400 ") and server.should_close


@pytest.mark.parametrize("codec", CODECS)
def test_what_the_gate_would_not_pass_the_parsers_refuse_too(codec: Any) -> None:
    with pytest.raises(Refused):
        make_http_server(codec)._make_parser().feed(b"GET /\0 HTTP/1.1\r\n\r\n")


def test_an_offer_that_reaches_llhttp_is_refused() -> None:
    with pytest.raises(Refused):
        make_http_server("httptools")._make_parser().feed(SOCKET)


def test_httptools_is_taken_where_it_is_installed() -> None:
    for make in (make_http_server, make_http_client):
        fast, auto = make("httptools"), make("auto")
        assert type(auto._make_parser()) is type(fast._make_parser()) is not type(make("h11")._make_parser())


def test_without_httptools_h11_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    spec = importlib.util.spec_from_file_location("protocol.framing.http11_alone", http11.__file__)
    assert spec is not None and spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    server = alone.make_http_server()
    assert type(server._make_parser()).__name__ == "_H11Parser"
    assert isinstance(heard(server, GET)[-1], EndOfRequest)
    with pytest.raises(ImportError, match="kailash-mcp-engine\\[fast\\]"):
        alone.make_http_server("httptools")
    with pytest.raises(ImportError, match="extra `fast`"):
        alone.make_http_client("httptools")
