"""Long requests, of which only the head is read at first: whatever they hold, the answer is that of a whole reading."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Limits, Request, ServerEngine
from protocol.jsonrpc import Cut, Envelope, decode, decode_request
from tests.pair import R2025_11, enveloped, initialize, line, request, server_profile

LONG = "x" * 5000
LIMITS = Limits()


class Thorough(ServerEngine):
    """An engine that reads every message whole."""

    _decode = staticmethod(decode)


def call(arguments: Any, **members: Any) -> bytes:
    return line(enveloped(1, "tools/call", {"name": "t", "arguments": arguments, **members}))


TEXTS = [
    call({"text": LONG}),
    call({"text": LONG, "numbers": [1, {"a": [2.5, None]}]}),
    call({"text": LONG + '\\"é\n'}),
    line(request(7, "resources/read", {"uri": "x:" + LONG})),
    line(request(8, "no/such", {"text": LONG})),
    line(request(9, "tools/call", [LONG])),
]
FRAGMENTS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"\xff",
    b"\n",
    b'"id":2,',
    b',"a":1',
    b"}}",
    b"\\ud800",
    b"x",
]


def told(engine: ServerEngine, data: bytes) -> tuple[list[Any], list[Any]]:
    engine.receive_message(data)
    events = [
        (event.id, event.method, msgspec.json.encode(event.params)) if isinstance(event, Request) else str(event)
        for event in engine.events_received()
    ]
    return [(m.data, m.related_to, m.final, m.code) for m in engine.messages_to_send()], events


def agree(*texts: bytes) -> None:
    usual, thorough = ServerEngine(server_profile()), Thorough(server_profile())
    for text in texts:
        assert told(usual, text) == told(thorough, text), text[:200]


def test_only_the_head_of_a_long_request_is_read_at_first() -> None:
    found = decode_request(TEXTS[0], LIMITS)
    assert type(found) is Cut
    whole = decode(TEXTS[0], LIMITS)
    assert isinstance(whole, Envelope) and type(whole) is Envelope
    assert (found.id, found.method, bytes(found.params)) == (whole.id, whole.method, bytes(whole.params))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        call({}),
        TEXTS[0].replace(b'"id":1,', b'"id":"1",'),
        TEXTS[0].replace(b'"id":1,', b'"id":01,'),
        TEXTS[0].replace(b":", b": ", 1),
        TEXTS[0].replace(b"tools/call", b"t" * 1000),
        TEXTS[0].replace(b"xxx", b"\xffxx", 1),
        TEXTS[0] + b" ",
        call({"deep": "[" * 3 + LONG, "nested": [[[[[[[[{}]]]]]]]]}),
        b"[" + TEXTS[0] + b"]",
    ],
    ids=["short", "text id", "zeros", "spaces", "long method", "no UTF-8", "white space", "brackets", "batch"],
)
def test_what_is_out_of_the_usual_is_read_whole(text: bytes) -> None:
    limits = Limits(depth=8) if b"nested" in text else LIMITS
    assert type(decode_request(text, limits)) is not Cut
    agree(text)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_sound_request_is_taken_alike(text: bytes) -> None:
    agree(text)
    agree(line(initialize(R2025_11)), text, text)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (b"}", -32700),
        (b"]}", -32700),
        (b'},"id":2,"x":{}}', -32600),
        (b',"x":{}},"method":"ping","y":{}}', -32600),
        (b'},"params":{}}', -32600),
    ],
)
def test_what_turns_out_to_be_no_request_is_refused_as_that(end: bytes, code: int) -> None:
    text = TEXTS[0][:-2] + end
    agree(text)
    (answer,) = told(ServerEngine(server_profile()), text)[0]
    assert answer[3] == code


@given(st.data())
def test_any_damage_is_answered_alike(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 3))):
        near = st.integers(0, 200) | st.integers(len(text) - 200, len(text)) | st.integers(0, len(text))
        at = max(0, min(len(text), data.draw(near)))
        cut = data.draw(st.integers(0, 3))
        text = text[:at] + data.draw(st.sampled_from(FRAGMENTS)) + text[at + cut :]
    agree(text)
