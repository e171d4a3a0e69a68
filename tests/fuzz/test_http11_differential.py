"""Any bytes give events or one documented fault, and the same ones however they are cut, whichever parser reads them.

Besides: what passes the gate means to each bare parser what the gate says it means.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.framing.http11 import (
    Data,
    EndOfRequest,
    EndOfResponse,
    HTTP11Client,
    HTTP11Server,
    HTTPLimits,
    ProtocolFault,
    RequestHead,
    ResponseHead,
    make_http_client,
    make_http_server,
)
from tests.pair import at_random, byte_by_byte

httptools = pytest.importorskip("httptools")

LIMITS = HTTPLimits(
    target_bytes=40, head_bytes=240, header_count=6, body_bytes=64, extension_bytes=12, trailer_bytes=40
)
STATUSES = {400, 413, 414, 417, 431, 501, 505}


def merged(events: Iterable[Any]) -> list[Any]:
    """Join neighbouring pieces of a body: where they were cut means nothing."""
    result: list[Any] = []
    for event in events:
        if isinstance(event, Data) and result and isinstance(result[-1], Data):
            event = Data(result.pop().data + event.data)
        result.append(event)
    return result


def spelled(events: Iterable[Any]) -> list[Any]:
    """Return events with their headers spelled out; equal objects alone would not show how they differ."""
    return [(event, list(getattr(event, "headers", ())), list(getattr(event, "trailers", ()))) for event in events]


def serve(server: HTTP11Server, chunks: Iterable[bytes]) -> tuple[list[Any], bytes, bool]:
    """Answer each request as it comes; return what was heard and said."""
    events: list[Any] = []
    sent = b""
    for chunk in chunks:
        server.receive_data(chunk)
        while new := server.events_received():
            events += new
            if isinstance(new[-1], EndOfRequest):
                number = sum(isinstance(event, EndOfRequest) for event in events)
                server.send_response(200, [], b"%d" % number)
        sent += b"".join(server.data_to_send())
    server.receive_eof()
    events += server.events_received()
    sent += b"".join(server.data_to_send())
    assert server.should_close
    return merged(events), sent, server.should_close


def ask(client: HTTP11Client, chunks: Iterable[bytes], method: str) -> tuple[list[Any], bool]:
    """Send a request whenever the connection is idle; return what was heard."""
    events: list[Any] = []
    client.send_request(method, "/", headers=[(b"host", b"h")])
    for chunk in chunks:
        client.receive_data(chunk)
        events += client.events_received()
    client.receive_eof()
    events += client.events_received()
    assert client.should_close
    return merged(events), client.should_close


# Requests from well-formed parts, each part now and then replaced by what somebody has tried to smuggle with.

METHODS = [
    b"GET",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"DELETE",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"get",
    b"",
    b"G T",
    b"SOURCE",
]
TARGETS = [
    b"/",
    b"/mcp",
    b"*",
    b"http://h/mcp",
    b"https://h:1/",
    b"http://x/",
    b"h:80",
    b"",
    b"/a#b",
    b"/\xff",
    b"/a b",
]
TARGETS += [b'/"<>\\^`{|}[]', b"//h/x", b"/" + b"t" * 39, b"/" + b"t" * 40, b"/" + b"t" * 60, b"/%zz?&=%00"]
VERSIONS = [
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/1.2",
    b"HTTP/0.9",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"HTTP/1",
    b"HTTP/11",
]
FIELDS = [
    b"Host: h",
    b"Host: h:1",
    b"host:h",
    b"Host:",
    b"Host: a b",
    b"Host: h/x",
    b"Host: [::1]:8",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"content-length:\t5 ",
    b"Content-Length: 64",
    b"Content-Length: 65",
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5 5",
    b"Content-Length: 0x5",
    b"Content-Length: 05",
    b"Content-Length: " + b"9" * 19,
    b"Content-Length: " + b"1" * 20,
    b"Content-Length:",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:chunked",
    b" Transfer-Encoding: chunked",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Upgrade, keep-alive",
    b"Connection: x, CLOSE",
    b"Connection:",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    b"Expect: 100-continue",
    b"Expect: 100-Continue, x",
    b"Expect: more",
    b"Proxy-Connection: keep-alive",
    b"Trailer: x",
    b"X: a\tb",
    b"X: \xe9\xff\x80",
    b"X:",
    b"X",
    b": x",
    b"X : y",
    b"X: a\r b",
    b"X: a\nY: b",
    b"X: a\r\n folded",
    b"X: \0",
    b"X: \x7f",
    b"X\xe9: y",
    b"(X): y",
    b"X: " + b"y" * 120,
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"05\r\nhello\r\n000\r\n\r\n",
    b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
    b'5;a="b c"\r\nhello\r\n0\r\n\r\n',
    b'5;a="\\""\r\nhello\r\n0\r\n\r\n',
    b"5;\r\nhello\r\n0\r\n\r\n",
    b"5 ;a\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5;a=" + b"b" * 12 + b"\r\nhello\r\n0\r\n\r\n",
    b"1;a\r\nh\r\n" * 7 + b"0\r\n\r\n",
    b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
    b"40\r\n" + b"x" * 64 + b"\r\n0\r\n\r\n",
    b"41\r\n" + b"x" * 65 + b"\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"0\r\nX:\ty \r\nZ:\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: y\r\n z\r\n\r\n",
    b"0\r\nX: y\n\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nConnection: close\r\n\r\n",
    b"0\r\nX: " + b"y" * 40 + b"\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5\r\nhelloo\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-1\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"g\r\n",
    b"f" * 16 + b"\r\n",
    b"1" + b"0" * 16 + b"\r\n",
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw a request, valid more often than not, and sometimes bent."""
    is_sane = draw(st.integers(0, 3)) > 0
    method = draw(st.sampled_from(METHODS[:3] if is_sane else METHODS))
    target = draw(st.sampled_from(TARGETS[:2] if is_sane else TARGETS))
    version = draw(st.sampled_from(VERSIONS[:2] if is_sane else VERSIONS))
    framed = draw(st.sampled_from([[], [b"Content-Length: 5"], [b"Transfer-Encoding: chunked"]]))
    fields = [b"Host: h", *framed] if draw(st.integers(0, 4)) else []
    fields += draw(st.lists(st.sampled_from(FIELDS), max_size=2 if is_sane else 5))
    body = b"hello" if framed[:1] == [b"Content-Length: 5"] else draw(st.sampled_from(BODIES)) if framed else b""
    if not draw(st.integers(0, 5)):
        body = draw(st.sampled_from(BODIES))
    end = draw(st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r"]))
    lead = draw(st.sampled_from([b""] * 10 + [b"\r\n", b"\r\n\r\n", b"\n", b" "]))
    text = lead + end.join([b" ".join([method, target, version]), *draw(st.permutations(fields)), b"", b""]) + body
    return bent(draw, text)


def bent(draw: st.DrawFn, text: bytes) -> bytes:
    """Change, drop, or put in a byte now and then."""
    if not draw(st.integers(0, 2)) and text:
        at = draw(st.integers(0, len(text) - 1))
        put = draw(
            st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b";", b",", b"0", b"\xff", b"/", b'"'])
        )
        text = text[:at] + put + text[at + draw(st.integers(0, 1)) :]
    return text


STATUS_LINES = [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 X", b"HTTP/1.1 404"]
STATUS_LINES += [
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 103 Early",
    b"HTTP/1.1 101 Switch",
    b"HTTP/2 200 OK",
]
STATUS_LINES += [b"HTTP/1.1 999 \xe9\t", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 200OK"]
STATUS_LINES += [
    b"ICY 200 OK",
    b"HTTP/1.1 099 X",
    b"HTTP/1.1 +20 X",
    b"HTTP/1.2 200 OK",
    b"HTTP/3.0 200 OK",
    b"HTTP/1.1 600 ",
]


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Draw a response, sometimes bent."""
    line = draw(st.sampled_from(STATUS_LINES[:3] * 3 + STATUS_LINES))
    framed = draw(st.sampled_from([[], [b"Content-Length: 5"], [b"Transfer-Encoding: chunked"]]))
    fields = [*framed, *draw(st.lists(st.sampled_from(FIELDS), max_size=2))]
    body = draw(st.sampled_from(BODIES[:3] + BODIES))
    return bent(draw, b"\r\n".join([line, *fields, b"", b""]) + body)


def cuttings(text: bytes, seed: int) -> list[list[bytes]]:
    return [[text] if text else [], list(byte_by_byte(text)), list(at_random(seed)(text))]


def compare_servers(text: bytes, seed: int, *, cuts: int = 3) -> None:
    expected = None
    for chunks in cuttings(text, seed)[:cuts]:
        for codec in ("h11", "httptools"):
            events, sent, _ = serve(make_http_server(codec, LIMITS), chunks)
            got = (spelled(events), sent)
            expected = expected or got
            assert got == expected, (codec, text)
    assert expected is not None
    faults = [event for event, _, _ in expected[0] if isinstance(event, ProtocolFault)]
    assert len(faults) <= 1 and {fault.status for fault in faults} <= STATUSES
    # Nothing happens behind a fault.
    assert not faults or isinstance(expected[0][-1][0], ProtocolFault)
    check_meaning(text, [event for event, _, _ in expected[0]])


class Bare:
    """What httptools makes of a request by itself."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


def check_meaning(text: bytes, events: list[Any]) -> None:
    """Let bare parsers read the first request of a stream, if it passed; both must find what the gate found."""
    if not any(isinstance(event, EndOfRequest) for event in events) or text.startswith(b"\r\n"):
        return
    head = next(event for event in events if isinstance(event, RequestHead))
    end = next(index for index, event in enumerate(events) if isinstance(event, EndOfRequest))
    body = b"".join(event.data for event in events[:end] if isinstance(event, Data))
    strict = h11.Connection(h11.SERVER)
    strict.receive_data(text)
    request = strict.next_event()
    assert isinstance(request, h11.Request)
    assert request.method.decode() == head.method and request.target.endswith(head.target.encode())
    ours = [(name, value) for name, value in head.headers if name != b"content-length"]
    assert [field for field in request.headers if field[0] != b"content-length"] == ours
    found = b""
    while isinstance(event := strict.next_event(), h11.Data):
        found += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage) and found == body
    assert list(event.headers) == list(events[end].trailers)
    if b"upgrade" in head.headers:
        return  # by itself it stops at the offer
    bare = Bare()
    parser = httptools.HttpRequestParser(bare)
    for at in range(len(text)):
        parser.feed_data(text[at : at + 1])
        if bare.is_complete:
            break
    assert parser.get_method().decode() == head.method and bare.target == request.target
    assert bare.fields[: len(head.headers)] == list(head.headers) and bare.body == body
    assert parser.get_http_version() == head.version


def compare_clients(text: bytes, seed: int, method: str, *, cuts: int = 3) -> None:
    expected = None
    for chunks in cuttings(text, seed)[:cuts]:
        for codec in ("h11", "httptools"):
            events, _ = ask(make_http_client(codec, LIMITS), chunks, method)
            got = spelled(events)
            expected = expected if expected is not None else got
            assert got == expected, (codec, text)
    assert expected is not None
    kinds = [type(event) for event, _, _ in expected if not isinstance(event, Data)]
    assert kinds in ([ResponseHead, EndOfResponse], [ResponseHead, ProtocolFault], [ProtocolFault])


@given(requests(), st.integers(0, 99))
@example(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nhello", 0)
@example(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nConnection: Upgrade\r\n\r\n", 0)
def test_both_codecs_serve_the_same_requests(text: bytes, seed: int) -> None:
    compare_servers(text, seed)


@given(st.lists(requests(), min_size=2, max_size=3), st.integers(0, 99))
def test_both_codecs_serve_the_same_pipelines(texts: list[bytes], seed: int) -> None:
    compare_servers(b"".join(texts), seed)


@given(st.binary(max_size=80), st.integers(0, 99))
def test_both_codecs_refuse_the_same_noise(text: bytes, seed: int) -> None:
    compare_servers(text, seed)


WHOLE = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nX: a b\r\n\r\n",
    b"GET http://h/a?b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: h:1\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nh\r\n0\r\n\r\n",
    b'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nA;a="b"\r\n0123456789\r\n0;b=c\r\nX: y\r\n\r\n',
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nrest",
    b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n.",
]
ODD = b'\0\t\n\x0b\r !"#%*+,-./019:;=?@AGafgx[\\]^_`{|}~\x7f\x80\xff'


@pytest.mark.parametrize("text", WHOLE)
@pytest.mark.parametrize("drop", [0, 1])
def test_one_byte_anywhere_makes_no_difference_between_them(text: bytes, drop: int) -> None:
    for at in range(len(text) + 1 - drop):
        for byte in ODD:
            compare_servers(text[:at] + bytes([byte]) + text[at + drop :], 0, cuts=1)


@pytest.mark.parametrize("text", WHOLE)
def test_a_byte_less_makes_no_difference_between_them(text: bytes) -> None:
    for at in range(len(text)):
        compare_servers(text[:at] + text[at + 1 :], at)
        compare_servers(text[:at], at)


@given(responses(), st.integers(0, 99), st.sampled_from(["GET", "POST", "HEAD"]))
def test_both_codecs_hear_the_same_responses(text: bytes, seed: int, method: str) -> None:
    compare_clients(text, seed, method)


@given(st.binary(max_size=60), st.integers(0, 99))
def test_both_codecs_hear_the_same_noise(text: bytes, seed: int) -> None:
    compare_clients(b"HTTP/1.1 200 OK\r\n" + text, seed, "GET")
    compare_clients(text, seed, "GET")


HEARD = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 200\r\nConnection: x\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nh\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 N\r\nUpgrade: h2\r\n\r\n",
]


@pytest.mark.parametrize("text", HEARD)
@pytest.mark.parametrize("drop", [0, 1])
def test_one_byte_anywhere_makes_no_difference_to_clients(text: bytes, drop: int) -> None:
    for at in range(len(text) + 1 - drop):
        for byte in ODD:
            compare_clients(text[:at] + bytes([byte]) + text[at + drop :], 0, "GET", cuts=1)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_both_codecs_know_every_status(method: str) -> None:
    for status in range(100, 1000):
        line = b"HTTP/1.1 %d X\r\n" % status
        compare_clients(line + b"Content-Length: 5\r\n\r\nhello", status, method, cuts=1)
        compare_clients(line + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status, method, cuts=1)
        compare_clients(line + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\nrest", status, method, cuts=1)


def test_the_two_really_are_two() -> None:
    assert type(make_http_server("h11")._make_parser()) is not type(make_http_server("httptools")._make_parser())
