"""Server-sent events: nothing breaks out of one, and the same events come of any pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing.sse import ServerSentEvent, SSEDecoder, encode_comment, encode_event
from tests.requirements import rule

Event = ServerSentEvent


def decode(text: bytes, limit: int = 10_000) -> list[ServerSentEvent]:
    return SSEDecoder(limit).receive_data(text)


def test_an_event_is_a_type_and_a_line_of_data() -> None:
    assert encode_event(b"{}") == b"event: message\ndata: {}\n\n"
    assert encode_event(b"{}", event=None) == b"data: {}\n\n"
    assert encode_event(b"/messages?id=1", event="endpoint") == b"event: endpoint\ndata: /messages?id=1\n\n"


def test_an_event_may_carry_an_id_and_a_time() -> None:
    assert encode_event(b"{}", id="s1/7") == b"event: message\nid: s1/7\ndata: {}\n\n"
    assert encode_event(b"", event=None, id="0", retry=500) == b"id: 0\nretry: 500\ndata: \n\n"


def test_each_line_of_the_data_gets_its_own_name() -> None:
    assert encode_event(b"a\nb\r\nc\rd", event=None) == b"data: a\ndata: b\ndata: c\ndata: d\n\n"
    assert encode_event(b"\n", event=None) == b"data: \ndata: \n\n"


@pytest.mark.parametrize("text", ["a\nb", "a\r", "", "a b", "é", "a:b", "x" * 65, "a\0"])
def test_an_event_type_cannot_break_the_framing(text: str) -> None:
    with pytest.raises(ValueError):
        encode_event(b"{}", event=text)


@pytest.mark.parametrize("text", ["1\ndata: x", "1\r", "", "a b", "é", "1\0", "x" * 257, "\x7f"])
def test_an_id_cannot_break_the_framing(text: str) -> None:
    with pytest.raises(ValueError):
        encode_event(b"{}", id=text)


def test_a_time_is_not_negative() -> None:
    with pytest.raises(ValueError):
        encode_event(b"{}", retry=-1)


@rule(107)
def test_a_comment_is_no_event() -> None:
    assert encode_comment() == b":\n\n"
    assert encode_comment(b"alive") == b": alive\n\n"
    assert encode_comment(b"a\ndata: b\r\rc") == b": a\n: data: b\n: \n: c\n\n"
    assert decode(encode_comment(b"a\r\ndata: x\n\n") + encode_event(b"{}")) == [Event(b"{}")]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [Event(b"a")]),
        (b"data:a\n\n", [Event(b"a")]),
        (b"data:  a\n\n", [Event(b" a")]),
        (b"data: a:b\n\n", [Event(b"a:b")]),
        (b"data: a\r\n\r\n", [Event(b"a")]),
        (b"data: a\r\r", [Event(b"a")]),
        (b"data: a\r\n\n", [Event(b"a")]),
        (b"data: a\n\r\n", [Event(b"a")]),
        (b"data: a\ndata:b\ndata\n\n", [Event(b"a\nb\n")]),
        (b"data\ndata\n\n", [Event(b"\n")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Event(b"a")]),
        (b": c\ndata: a\n:\n\n", [Event(b"a")]),
        (b"data: a\nfoo: b\nDATA: c\n data: d\n\n", [Event(b"a")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [Event(b"a", "x"), Event(b"b")]),
        (b"event: x\nevent\ndata: a\n\n", [Event(b"a")]),
        (b"event: x\n\ndata: b\n\n", [Event(b"b")]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [Event(b"a", id="1"), Event(b"b", id="1")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [Event(b"a", id="1"), Event(b"b")]),
        (b"id: 1\nid: 2\0\ndata: a\n\n", [Event(b"a", id="1")]),
        (b"id: " + b"x" * 1025 + b"\ndata: a\n\n", [Event(b"a")]),
        (b"id: \xc3\xa9\nevent: \xff\ndata: a\n\n", [Event(b"a", "\ufffd", "é")]),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"\n\n\n\n", []),
    ],
)
def test_the_stream_is_read_as_the_grammar_says(text: bytes, events: list[ServerSentEvent]) -> None:
    assert decode(text) == events
    decoder = SSEDecoder(10_000)
    assert [event for at in range(len(text)) for event in decoder.receive_data(text[at : at + 1])] == events


def test_an_event_without_data_only_leaves_its_id() -> None:
    decoder = SSEDecoder(100)
    assert decoder.receive_data(encode_event(b"", id="p1", retry=3)) == []
    assert (decoder.last_event_id, decoder.retry_ms) == ("p1", 3)
    assert decoder.receive_data(b"id: p2\n") == [] and decoder.last_event_id == "p1"
    assert decoder.receive_data(b"\n") == [] and decoder.last_event_id == "p2"


@pytest.mark.parametrize(
    ("value", "time"),
    [(b"1500", 1500), (b"0", 0), (b"", None), (b"1.5", None), (b"-1", None), (b"+1", None), (b"1s", None),
     ("٣".encode(), None), (b"007", 7), (b"9" * 5000, 10**15), (b"9" * 16, 10**15)],
)  # fmt: skip
def test_a_time_is_all_digits(value: bytes, time: int | None) -> None:
    decoder = SSEDecoder(10_000)
    decoder.receive_data(b"retry: " + value + b"\n\n")
    assert decoder.retry_ms == time


def test_an_event_that_does_not_end_is_dropped() -> None:
    decoder = SSEDecoder(100)
    decoder.receive_data(b"id: 1\ndata: a\ndata: b")
    decoder.receive_eof()
    decoder.receive_eof()
    assert decoder.last_event_id == ""
    assert decoder.receive_data(b"\n\ndata: c\n\n") == [Event(b"c")]


def held(decoder: SSEDecoder) -> int:
    parts = [decoder._line, decoder._data or b"", decoder._more, decoder._event, decoder._id or ""]
    return sum(map(len, parts))


@pytest.mark.parametrize(("size", "fits"), [(93, True), (94, True), (95, False), (500, False)])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_event_is_as_large_as_the_limit_and_no_larger(size: int, fits: bool, step: int) -> None:
    text = b"id: 9\ndata:" + b"x" * size + b"\n\nid: 10\ndata: y\n\n"
    decoder = SSEDecoder(5 + 5 + 94)
    events = []
    for at in range(0, len(text), step):
        events += decoder.receive_data(text[at : at + step])
        assert held(decoder) <= 104
    good = Event(b"y", id="10")
    assert events == ([Event(b"x" * size, id="9"), good] if fits else [good])
    assert decoder.skipped == (not fits)


def test_the_id_of_an_event_too_large_is_not_remembered() -> None:
    decoder = SSEDecoder(20)
    assert decoder.receive_data(b"id: 1\ndata: " + b"x" * 20 + b"\nid: 2\ndata: y\n\n") == []
    assert (decoder.skipped, decoder.last_event_id) == (1, "")


@pytest.mark.parametrize(
    "line", [b"data:x\n", b"data: " + b"y" * 50 + b"\n", b"data: no end", b"event: z\n", b"id: 1\n"]
)
def test_an_event_without_end_takes_no_memory(line: bytes) -> None:
    decoder = SSEDecoder(1000)
    for _ in range(5000):
        assert decoder.receive_data(line) == []
        assert held(decoder) <= 1000
    assert decoder.receive_data(b"\n\ndata: ok\n\n") == [Event(b"ok")]
    assert decoder.skipped == 1


@pytest.mark.parametrize("line", [b": c\n", b":" + b"c" * 500, b"\r", b"\n", b"retry: 1\n", b"unknown: x\n"])
def test_what_is_not_kept_may_go_on_for_ever(line: bytes) -> None:
    decoder = SSEDecoder(100)
    for _ in range(2000):
        assert decoder.receive_data(line) == []
        assert held(decoder) <= 1
    assert decoder.receive_data(b"\n\ndata: ok\n\n") == [Event(b"ok")]
    assert decoder.skipped == 0


@given(
    st.binary(),
    st.none() | st.from_regex(r"[0-9A-Za-z_.-]{1,64}", fullmatch=True),
    st.none() | st.from_regex(r"[!-~]{1,256}", fullmatch=True),
    st.none() | st.integers(0, 10**9),
)
def test_what_is_encoded_is_decoded(data: bytes, event: str | None, id: str | None, retry: int | None) -> None:
    decoder = SSEDecoder(10_000)
    events = decoder.receive_data(encode_event(data, event=event, id=id, retry=retry) + encode_event(b"next"))
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    first = [Event(lines, event or "message", id or "")] if lines else []
    assert events == [*first, Event(b"next", id=id or "")]
    assert (decoder.last_event_id, decoder.retry_ms) == (id or "", retry)


PIECES = [
    b"data: a", b"data", b"data:", b"event: x", b"id: 1", b"id: 2\0", b"retry: 5", b"retry: x", b": c", b":",
    b"\n", b"\r", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xef", b"\xff", b" ", b"x" * 30, b"data: " + b"y" * 30,
]  # fmt: skip


def reference(text: bytes, limit: int) -> tuple[list[ServerSentEvent], str, int | None, int]:
    """Read a whole stream the slow way, as the specification words it."""
    text = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[ServerSentEvent] = []
    last, retry, skipped = "", None, 0
    data: list[bytes] = []
    name, new, size, is_large = "", None, 0, False
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        if number == len(lines) - 1:
            break
        if not line:
            if is_large:
                skipped += 1
            else:
                last = last if new is None else new
                if b"\n".join(data):
                    events.append(Event(b"\n".join(data), name or "message", last))
            data, name, new, size, is_large = [], "", None, 0, False
            continue
        if line.startswith(b":") or is_large:
            continue
        if size + len(line) > limit:
            is_large = True
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field in (b"data", b"event", b"id"):
            size += len(line)
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            new = value.decode(errors="replace")
        elif field == b"retry" and value.isdigit():
            retry = int(value)
    return events, last, retry, skipped


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=16), st.data())
def test_events_are_the_same_however_they_are_cut(pieces: list[bytes], draw: st.DataObject) -> None:
    text = b"".join(pieces)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(text)), max_size=6)))

    def outcome(chunks: list[bytes]) -> Any:
        decoder = SSEDecoder(40)
        events = [event for chunk in chunks for event in decoder.receive_data(chunk)]
        return events, decoder.last_event_id, decoder.retry_ms, decoder.skipped

    whole = outcome([text])
    assert whole == reference(text, 40)
    assert outcome([text[at : at + 1] for at in range(len(text))]) == whole
    assert outcome([text[a:b] for a, b in pairwise([0, *cuts, len(text)])]) == whole
