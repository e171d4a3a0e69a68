"""The pipe of a stranger: what does not begin with JSON is refused, however it is cut; lines are counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Closed, Request, ServerEngine, Violation
from protocol.socketpipe import SocketPipe
from tests.pair import enveloped, line, server_profile

GOOD = line(enveloped(1, "tools/list")) + b"\n"


def pipe() -> SocketPipe:
    return SocketPipe(ServerEngine(server_profile()))


@pytest.mark.parametrize("blank", [b"", b"\r\n", b" \t\n\n"])
def test_json_is_taken_behind_blanks(blank: bytes) -> None:
    one = pipe()
    one.receive_data(blank)
    assert not one.is_partial and one.finished == 0
    one.receive_data(blank + GOOD[:5])
    assert one.is_partial
    one.receive_data(GOOD[5:])
    assert [type(event) for event in one.events_received()] == [Request]
    assert one.finished == 1 and not one.is_partial


@given(first=st.integers(0, 255).filter(lambda byte: byte not in b"{[ \t\r\n"), cut=st.integers(1, 10))
def test_anything_else_is_refused_with_its_first_byte(first: int, cut: int) -> None:
    one = pipe()
    text = bytes([first]) + GOOD
    one.receive_data(text[:cut])
    one.receive_data(text[cut:])
    [answer, end] = one.data_to_send()
    assert "newline-delimited JSON-RPC" in json.loads(answer)["error"]["message"] and end == b""
    assert [type(event) for event in one.events_received()] == [Violation, Closed]
    assert one.close_expected()


def test_an_end_is_said_and_nothing_heard_behind_it() -> None:
    one = pipe()
    one.receive_data(GOOD)
    one.end()
    assert one.data_to_send() == [b""]
    one.receive_data(GOOD)
    assert one.data_to_send() == []
