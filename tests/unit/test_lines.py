"""Lines: one message each, however the bytes are cut, within a bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing.lines import LineCodec
from tests.requirements import rule


def feed(chunks: list[bytes], limit: int = 10) -> list[bytes | None]:
    codec = LineCodec(limit)
    lines = [line for chunk in chunks for line in codec.receive_data(chunk)]
    return lines + codec.receive_eof()


def expected(data: bytes, limit: int) -> list[bytes | None]:
    lines = [line for line in data.split(b"\n") if len(line) > limit or (line and not line.isspace())]
    # A line of nothing but spaces is skipped unless it is too long to be kept until that is known.
    return [line if len(line) <= limit else None for line in lines]


@rule(46, 47)
def test_a_message_is_one_line() -> None:
    assert LineCodec.frame([b"{}"]) == b"{}\n"
    assert LineCodec.frame([b"{}", b"[]"]) == b"{}\n[]\n"


def test_lines_are_found_in_any_pieces() -> None:
    assert feed([b"a\nb\n"]) == [b"a", b"b"]
    assert feed([b"a", b"b\nc", b"\n"]) == [b"ab", b"c"]
    assert feed([b"\n", b" \r\n", b"\na\r\n"]) == [b"a\r"]


def test_what_stands_after_the_last_newline_is_a_line() -> None:
    assert feed([b"a\nb"]) == [b"a", b"b"]
    assert feed([b"a\n  "]) == [b"a"]
    codec = LineCodec(10)
    codec.receive_data(b"x")
    assert codec.receive_eof() == [b"x"] and codec.receive_eof() == []


@pytest.mark.parametrize(("length", "kept"), [(9, True), (10, True), (11, False), (30, False)])
@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_a_line_is_as_long_as_the_limit_and_no_longer(length: int, kept: bool, size: int) -> None:
    data = b"x" * length + b"\ngood\n"
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert feed(chunks) == [b"x" * length if kept else None, b"good"]
    assert feed([data[:length]]) == [b"x" * length if kept else None]


def test_a_line_without_end_takes_no_memory() -> None:
    codec = LineCodec(1000)
    for _ in range(1000):
        assert codec.receive_data(b"x" * 500) == []
        assert len(codec._kept) <= 1000
    assert codec.receive_data(b"\n{}\n") == [None, b"{}"]


@given(
    st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\r\n", b"x" * 9, b"x" * 12, b" " * 12, b"y\nz"]), max_size=12),
    st.data(),
)
def test_lines_are_the_same_however_they_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    text = b"".join(parts)
    whole = feed([text])
    assert whole == expected(text, 10)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    edges = [0, *cuts, len(text)]
    assert feed([text[a:b] for a, b in pairwise(edges)]) == whole
    assert feed([text[at : at + 1] for at in range(len(text))]) == whole
