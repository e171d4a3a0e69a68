"""The opening handshake of WebSocket, both sides, without a socket: what is agreed to, and what is refused and how."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing.handshake import (
    BadOffer,
    ClientHandshake,
    Offer,
    Opened,
    Refusal,
    accept_headers,
    is_upgrade,
    read_offer,
)
from protocol.framing.headers import Headers
from protocol.framing.httphead import HTTPLimits, RequestHead
from protocol.http.answer import Answer, Arrival
from protocol.http.guard import GuardOptions
from protocol.http.seats import Seats
from protocol.http.upgrade import Upgrade, WebSocketEndpoint, token_of

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

USUAL = [
    (b"host", b"localhost"),
    (b"upgrade", b"websocket"),
    (b"connection", b"keep-alive, Upgrade"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", KEY),
]


def head(*more: tuple[bytes, bytes], without: bytes = b"", method: str = "GET", version: str = "1.1") -> RequestHead:
    fields = [field for field in USUAL if field[0] != without]
    return RequestHead(method, "/ws", Headers([*fields, *more]), version, True)


def instead(name: bytes, value: bytes) -> RequestHead:
    return head((name, value), without=name)


# The server's side


def test_the_usual_offer_is_understood() -> None:
    asked = head((b"sec-websocket-protocol", b"mcp, other"), (b"sec-websocket-protocol", b"mcp-v1,mcp"))
    assert is_upgrade(asked.headers) and not is_upgrade(Headers())
    assert read_offer(asked) == Offer(KEY, ("mcp", "other", "mcp-v1"), False)
    assert read_offer(head()) == Offer(KEY, (), False)
    assert read_offer(instead(b"upgrade", b"h2c, WebSocket")) == Offer(KEY, (), False)
    assert read_offer(head((b"content-length", b"0"))) == Offer(KEY, (), False)


REFUSED: dict[str, tuple[RequestHead, int]] = {
    "POST": (head(method="POST"), 400),
    "HTTP/1.0": (head(version="1.0"), 400),
    "no upgrade": (head(without=b"upgrade"), 426),
    "another upgrade": (instead(b"upgrade", b"h2c"), 426),
    "no connection": (head(without=b"connection"), 426),
    "another connection": (instead(b"connection", b"keep-alive"), 426),
    "no version": (head(without=b"sec-websocket-version"), 426),
    "an old version": (instead(b"sec-websocket-version", b"8"), 426),
    "two versions": (head((b"sec-websocket-version", b"13")), 426),
    "no key": (head(without=b"sec-websocket-key"), 400),
    "two keys": (head((b"sec-websocket-key", KEY)), 400),
    "a short key": (instead(b"sec-websocket-key", base64.b64encode(b"x" * 15)), 400),
    "a long key": (instead(b"sec-websocket-key", base64.b64encode(b"x" * 17)), 400),
    "a key that is no Base64": (instead(b"sec-websocket-key", b"!" * 22 + b"=="), 400),
    "a key in another spelling": (instead(b"sec-websocket-key", KEY[:21] + b"R=="), 400),
    "a body": (head((b"content-length", b"5")), 400),
    "a chunked body": (head((b"transfer-encoding", b"chunked")), 400),
    "a subprotocol that is no token": (head((b"sec-websocket-protocol", b"a b")), 400),
    "an empty subprotocol": (head((b"sec-websocket-protocol", b"mcp,")), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_handshake_is_refused(name: str) -> None:
    asked, status = REFUSED[name]
    found = read_offer(asked)
    assert isinstance(found, BadOffer) and found.status == status


@pytest.mark.parametrize(
    ("offered", "is_taken"),
    [
        (b"permessage-deflate", True),
        (b"permessage-deflate; client_max_window_bits", True),
        (b"permessage-deflate; client_max_window_bits=9", True),
        (b'permessage-deflate; client_max_window_bits="15"; server_max_window_bits=15', True),
        (b"permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
        (b"permessage-deflate; server_max_window_bits=10, permessage-deflate", True),
        (b"permessage-deflate; server_max_window_bits=10", False),
        (b"permessage-deflate; server_max_window_bits=abc", False),
        (b"permessage-deflate; server_max_window_bits", False),
        (b"permessage-deflate; client_max_window_bits=99", False),
        (b"permessage-deflate; server_no_context_takeover=1", False),
        (b"permessage-deflate; client_max_window_bits; client_max_window_bits", False),
        (b"permessage-deflate; unheard-of", False),
        (b"x-webkit-deflate-frame", False),
        (b"a," * 16 + b"permessage-deflate", False),
        (b"", False),
    ],
)
def test_compression_is_taken_where_we_can_agree_to_all_of_it(offered: bytes, is_taken: bool) -> None:
    found = read_offer(head((b"sec-websocket-extensions", offered)))
    assert isinstance(found, Offer) and found.takes_deflate is is_taken


def test_the_answer_proves_that_the_offer_was_read() -> None:
    offer = Offer(KEY, ("mcp",), True)
    assert accept_headers(offer, None) == [(b"upgrade", b"websocket"), (b"sec-websocket-accept", ACCEPT)]
    agreed = dict(accept_headers(offer, "mcp", is_deflated=True))
    assert agreed[b"sec-websocket-protocol"] == b"mcp"
    assert b"server_no_context_takeover; client_no_context_takeover" in agreed[b"sec-websocket-extensions"]


# The endpoint

HERE = Arrival(local="127.0.0.1")


def endpoint(total: int | None = None, each: int | None = None, **options: Any) -> WebSocketEndpoint:
    guard = GuardOptions(allowed_origins=options.pop("origins", ()), allowed_hosts=options.pop("hosts", ()))
    return WebSocketEndpoint(guard, seats=Seats(total, each), **options)


def status_of(answer: Any) -> int:
    assert isinstance(answer, Answer)
    return answer.status


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (head((b"origin", b"https://evil.example")), 403),
        (head((b"origin", b"null")), 403),
        (head((b"origin", b"http://localhost"), (b"origin", b"http://localhost")), 403),
        (instead(b"host", b"evil.example"), 421),
        (head((b"host", b"localhost")), 421),
        (head(method="POST"), 405),
        (head(method="OPTIONS"), 405),
        (head(without=b"upgrade"), 426),
        (head(version="1.0"), 400),
    ],
)
def test_who_may_not_is_refused_before_anything_else(asked: RequestHead, status: int) -> None:
    asked_of = endpoint()
    assert status_of(asked_of.refuse(asked, HERE)) == status
    assert status_of(asked_of.receive_request(asked, b"", now=0, arrival=HERE)) == status


def test_where_somebody_else_reads_the_handshake_only_the_sender_is_judged() -> None:
    asked_of = endpoint(1)
    bare = head(without=b"upgrade")
    assert asked_of.refuse_sender(bare, HERE) is None
    assert status_of(asked_of.refuse_sender(head((b"origin", b"https://evil.example")), HERE)) == 403
    agreed = asked_of.agree(["chat", "mcp"], None)
    assert isinstance(agreed, Upgrade) and agreed.subprotocol == "mcp"
    assert status_of(asked_of.agree([], "ada")) == 503


def test_a_wrong_version_is_told_the_right_one() -> None:
    answer = endpoint().refuse(instead(b"sec-websocket-version", b"8"), HERE)
    assert answer is not None
    assert (b"sec-websocket-version", b"13") in answer.headers and (b"upgrade", b"websocket") in answer.headers


def test_a_page_of_this_machine_or_of_an_allowed_origin_may() -> None:
    assert endpoint().refuse(head((b"origin", b"http://localhost:3000")), HERE) is None
    allowed = endpoint(origins=("https://app.example",))
    asked = head((b"origin", b"https://app.example"))
    assert allowed.refuse(asked, HERE) is None and allowed.cors(asked) == []
    assert status_of(allowed.too_large()) == 413


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (b"mcp", "mcp"),
        (b"mcp-v1, mcp", "mcp-v1"),
        (b"chat, mcp", "mcp"),
        (b"chat", None),
        (b"mcp-bearer.c2VjcmV0, mcp", "mcp"),
        (b"mcp-bearer.c2VjcmV0", None),
    ],
)
def test_a_subprotocol_is_chosen_only_if_it_was_offered(offered: bytes, chosen: str | None) -> None:
    found = endpoint().receive_request(head((b"sec-websocket-protocol", offered)), b"", now=0, arrival=HERE)
    assert isinstance(found, Upgrade) and found.subprotocol == chosen
    assert dict(found.headers).get(b"sec-websocket-protocol") == (None if chosen is None else chosen.encode())
    assert not any(b"c2VjcmV0" in value for _, value in found.headers)


def test_compression_is_agreed_to_only_where_it_is_wanted() -> None:
    asked = head((b"sec-websocket-extensions", b"permessage-deflate"))
    for is_wanted in (False, True):
        found = endpoint(is_deflate_agreed=is_wanted).receive_request(asked, b"", now=0, is_checked=True)
        assert isinstance(found, Upgrade) and found.is_deflated is is_wanted
        assert (b"sec-websocket-extensions" in dict(found.headers)) is is_wanted


def test_connections_are_counted_in_all_and_for_each_caller() -> None:
    full = endpoint(3, 1)
    first = full.receive_request(head(), b"", now=0, principal="ada", is_checked=True)
    assert isinstance(first, Upgrade)
    second = full.receive_request(head(), b"", now=0, principal="ada", is_checked=True)
    assert status_of(second) == 503 and (b"retry-after", b"1") in second.headers
    for principal in (None, "bob"):
        assert isinstance(full.receive_request(head(), b"", now=0, principal=principal, is_checked=True), Upgrade)
    assert status_of(full.receive_request(head(), b"", now=0, is_checked=True)) == 503
    first.seat.leave()
    assert isinstance(full.receive_request(head(), b"", now=0, principal="ada", is_checked=True), Upgrade)


def test_nobody_is_let_in_while_the_server_stops() -> None:
    stopping = endpoint()
    stopping.is_draining = True
    assert status_of(stopping.receive_request(head(), b"", now=0, is_checked=True)) == 503


@pytest.mark.parametrize(
    ("offered", "token"),
    [
        ([b"mcp, mcp-bearer.c2VjcmV0"], "secret"),
        ([b"mcp", b"mcp-bearer.w7w_"], "ü?"),
        ([b"mcp-bearer.YQ"], "a"),
        ([], None),
        ([b"mcp"], None),
        ([b"mcp-bearer."], None),
        ([b"mcp-bearer.YQ, mcp-bearer.Yg"], None),
        ([b"mcp-bearer.!!!!"], None),
        ([b"mcp-bearer.A"], None),
        ([b"mcp-bearer._w"], None),
        ([b"mcp-bearer." + b"A" * 8192], None),
    ],
)
def test_a_page_says_who_it_is_with_a_subprotocol(offered: list[bytes], token: str | None) -> None:
    assert token_of(Headers([(b"sec-websocket-protocol", value) for value in offered])) == token


# The client's side

NONCE = base64.b64decode(KEY)


def handshake(**options: Any) -> ClientHandshake:
    return ClientHandshake("/mcp?x=1", "example.com:3001", nonce=NONCE, **options)


def answer(*more: bytes, status: bytes = b"101 Switching Protocols", accept: bytes = ACCEPT) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept]
    return b"\r\n".join([*lines, *more]) + b"\r\n\r\n"


def test_the_request_says_what_is_wanted() -> None:
    made = handshake(headers=[(b"Authorization", b"Bearer t")], subprotocols=("mcp", "mcp-v1"), is_deflate_offered=True)
    lines = made.request.split(b"\r\n")
    assert lines[0] == b"GET /mcp?x=1 HTTP/1.1" and lines[1] == b"Host: example.com:3001"
    assert b"Authorization: Bearer t" in lines and b"Sec-WebSocket-Protocol: mcp, mcp-v1" in lines
    assert b"Sec-WebSocket-Key: " + KEY in lines and made.request.endswith(b"\r\n\r\n")
    assert b"permessage-deflate" in made.request
    plain = handshake().request
    assert b"Protocol" not in plain and b"Extensions" not in plain


@pytest.mark.parametrize("is_cut", [False, True])
def test_an_answer_opens_the_connection(is_cut: bool) -> None:
    made = handshake(subprotocols=("mcp",), is_deflate_offered=True)
    extension = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
    wire = answer(b"Sec-WebSocket-Protocol: mcp", extension)
    if is_cut:
        for at in range(len(wire) - 1):
            assert made.receive_data(wire[at : at + 1]) is None
        assert made.receive_data(wire[-1:]) == Opened("mcp", True, b"")
    else:
        assert made.receive_data(wire + b"\x81\x00") == Opened("mcp", True, b"\x81\x00")
    assert handshake().receive_data(answer()) == Opened(None, False, b"")


@pytest.mark.parametrize(
    "wire",
    [
        answer(accept=b"x" * 28),
        answer(b"Sec-WebSocket-Accept: " + ACCEPT),
        answer().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        answer().replace(b"Connection: Upgrade", b"Connection: close"),
        answer(b"Sec-WebSocket-Protocol: chat"),
        answer(b"Sec-WebSocket-Protocol: mcp", b"Sec-WebSocket-Protocol: mcp"),
        answer(b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 101 \r\n" + b"x" * 20_000,
    ],
)
def test_an_answer_that_agrees_to_something_else_is_a_refusal(wire: bytes) -> None:
    found = handshake(subprotocols=("mcp",)).receive_data(wire)
    assert isinstance(found, Refusal) and found.status is None and found.reason


@pytest.mark.parametrize(
    "extensions",
    [
        b"permessage-deflate",
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-deflate; server_no_context_takeover; server_max_window_bits=16",
        b"permessage-deflate; server_no_context_takeover; client_max_window_bits=12",
        b"x-other; server_no_context_takeover",
        b"permessage-deflate; server_no_context_takeover, x-other",
    ],
)
def test_a_client_takes_no_other_compression_than_it_asked_for(extensions: bytes) -> None:
    found = handshake(is_deflate_offered=True).receive_data(answer(b"Sec-WebSocket-Extensions: " + extensions))
    assert isinstance(found, Refusal)


@pytest.mark.parametrize("more", [b"", b"; client_no_context_takeover", b"; server_max_window_bits=12"])
def test_a_client_takes_what_makes_compression_no_different(more: bytes) -> None:
    extension = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover" + more
    assert handshake(is_deflate_offered=True).receive_data(answer(extension)) == Opened(None, True, b"")


def test_a_refusal_keeps_its_status_and_headers() -> None:
    found = handshake().receive_data(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(found, Refusal) and found.status == 503 and found.headers is not None
    assert found.headers.get(b"retry-after") == b"1"
    assert handshake().receive_eof().status is None


def test_the_heads_limits_hold() -> None:
    found = handshake(limits=HTTPLimits(head_bytes=50)).receive_data(answer())
    assert isinstance(found, Refusal)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_answer_gives_at_most_one_outcome_and_never_raises(pieces: list[bytes]) -> None:
    made = handshake()
    for piece in [b"HTTP/1.1 101 x\r\n", *pieces]:
        found = made.receive_data(piece)
        assert found is None or isinstance(found, Refusal)
        if found is not None:
            break
