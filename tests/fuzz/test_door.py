"""Any bytes give events or one documented fault, and the same ones however they are cut."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import REVISIONS, ClientEngine, ErrorCode, Event, Pipe, Revision, ServerEngine
from tests.pair import (
    R2025_03,
    R2025_11,
    R2026,
    at_random,
    byte_by_byte,
    client_profile,
    enveloped,
    initialize,
    line,
    notification,
    request,
    result,
    server_profile,
)

GOOD = [
    *(line(initialize(revision)) for revision in REVISIONS),
    line(notification("notifications/initialized")),
    line(request(1, "ping")),
    line(request("1", "tools/call", {"name": "t", "_meta": {"progressToken": "p"}})),
    line(enveloped(2, "tools/call", {"name": "t"})),
    line(enveloped(3, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})),
    line(enveloped(4, "server/discover")),
    line(notification("notifications/cancelled", {"requestId": 3})),
    line(notification("notifications/progress", {"progressToken": 1, "progress": 1})),
    line(notification("notifications/message", {"level": "info", "data": None})),
    line([request(5, "ping"), notification("x"), result(1, {})]),
    line(
        result(1, {"protocolVersion": R2025_11.name, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}})
    ),
    line(result(1, {"supportedVersions": [R2026.name], "capabilities": {}, "resultType": "complete"})),
    line({"jsonrpc": "2.0", "id": 1, "error": {"code": -32022, "message": "", "data": {"supported": [R2026.name]}}}),
    line({"jsonrpc": "2.0", "error": {"code": 1, "message": "m"}}),
]
FRAGMENTS = [
    b"\n",
    b"\r\n",
    b"{",
    b"}",
    b"[",
    b'"',
    b",",
    b":",
    b"null",
    b"1e999",
    b"\\ud800",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\x00",
]
FRAGMENTS += [b'"id":', b'"method":"ping"', b'"jsonrpc":"2.0"', b'"_meta":{}', b" ", b"9" * 40]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Draw bytes that look like messages more often than chance would."""
    pieces = draw(st.lists(st.sampled_from(GOOD) | st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=8))
    text = bytearray()
    for piece in pieces:
        text += piece
        if draw(st.booleans()):
            text += b"\n"
        if text and draw(st.integers(0, 9)) == 0:
            text[draw(st.integers(0, len(text) - 1))] = draw(st.integers(0, 255))
    return bytes(text)


def fresh_server() -> Pipe:
    return Pipe(ServerEngine(server_profile()))


def batching_server() -> Pipe:
    pipe = Pipe(ServerEngine(server_profile()))
    pipe.receive_data(line(initialize(R2025_03)) + b"\n")
    pipe.data_to_send()
    return pipe


def fresh_client() -> Pipe:
    engine = ClientEngine(client_profile())
    engine.start(9.0, probe_deadline=3.0)
    return Pipe(engine)


def ready_client(revision: Revision = R2025_11) -> Pipe:
    engine = ClientEngine(client_profile(revisions=[revision]))
    engine.start()
    pipe = Pipe(engine)
    info = {"name": "s", "version": "1"}
    pipe.receive_data(
        line(result(1, {"protocolVersion": revision.name, "capabilities": {"tools": {}}, "serverInfo": info})) + b"\n"
    )
    engine.send_request("tools/list")
    pipe.data_to_send()
    return pipe


def outcome(pipe: Pipe, data: bytes, cut: Any) -> tuple[list[str], bytes]:
    """Return what happened, without identities, and what was sent."""
    events: list[Event] = []
    sent = b""
    for chunk in cut(data):
        pipe.receive_data(chunk)
        sent += b"".join(pipe.data_to_send())
        events += pipe.events_received()
    pipe.receive_eof()
    sent += b"".join(pipe.data_to_send())
    events += pipe.events_received()
    return [described(event) for event in events], sent


def described(event: Event) -> str:
    own = [getattr(event, name, None) for name in ("id", "method", "level", "kind", "reason", "error", "progress")]
    others = [getattr(getattr(event, name, None), "id", None) for name in ("request", "call")]
    return f"{type(event).__name__} {own} {others}"


@pytest.mark.parametrize("fresh", [fresh_server, batching_server, fresh_client, ready_client])
@given(data=streams(), seed=st.integers(0, 99))
def test_any_bytes_give_the_same_however_they_are_cut(fresh: Any, data: bytes, seed: int) -> None:
    events, sent = outcome(fresh(), data, lambda whole: [whole] if whole else [])
    for cut in (byte_by_byte, at_random(seed)):
        assert outcome(fresh(), data, cut) == (events, sent)
    assert events[-1].startswith("Closed") or not fresh().close_expected()
    for text in sent.splitlines():
        message = msgspec.json.decode(text)
        for member in message if isinstance(message, list) else [message]:
            assert member["jsonrpc"] == "2.0" and member.get("id", 0) is not None
            if "error" in member:
                assert member["error"]["code"] in {int(code) for code in ErrorCode}


@pytest.mark.parametrize("fresh", [fresh_server, batching_server, fresh_client, ready_client])
@given(data=st.binary(max_size=100))
def test_noise_never_raises(fresh: Any, data: bytes) -> None:
    outcome(fresh(), data, byte_by_byte)
