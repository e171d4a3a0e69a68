"""Pipe: bytes in, bytes and events out; after every kind of bad input the next good request is answered."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import (
    CLIENT_LIMITS,
    SERVER_LIMITS,
    ClientEngine,
    Closed,
    ErrorCode,
    Limits,
    Pipe,
    Request,
    ServerEngine,
    Violation,
)
from tests.pair import (
    R2025_11,
    R2026,
    SOME_TEXT,
    client,
    client_profile,
    enveloped,
    line,
    request,
    result,
    server,
    server_profile,
    small_limits,
)
from tests.requirements import rule

INVALID, PARSE, PARAMS = ErrorCode.INVALID_REQUEST, ErrorCode.PARSE_ERROR, ErrorCode.INVALID_PARAMS
META = line(enveloped(1, "x"))[len('{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":') : -2]
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":%b}}'

BAD = {
    "not JSON": (b"hello", PARSE, None),
    "half of it": (b'{"jsonrpc":"2.0","id":1,', PARSE, None),
    "not an object": (b'"ping"', INVALID, None),
    "a number": (b"7", INVALID, None),
    "wrong version": (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', INVALID, 1),
    "no version": (b'{"id":1,"method":"ping"}', INVALID, 1),
    "no method": (b'{"jsonrpc":"2.0","id":1}', INVALID, 1),
    "id null": (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID, None),
    "id true": (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', INVALID, None),
    "id 1.5": (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', INVALID, None),
    "id list": (b'{"jsonrpc":"2.0","id":[],"method":"ping"}', INVALID, None),
    "huge id": (b'{"jsonrpc":"2.0","id":1' + b"0" * 30 + b',"method":"ping"}', INVALID, None),
    "unknown method": (line(enveloped(1, "no/such")), ErrorCode.METHOD_NOT_FOUND, 1),
    "wrong params": (line(enveloped(1, "tools/call", {"name": []})), PARAMS, 1),
    "params a list": (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}', PARAMS, 1),
    "before initialize": (line(request(1, "tools/list")), PARAMS, 1),
    "10,000 levels": (CALL.replace(b'"t"', b"[" * 10_000 + b"]" * 10_000) % META, PARSE, None),
    "invalid UTF-8": (CALL.replace(b'"t"', b'"\xff"') % META, PARSE, None),
    "overlong UTF-8": (CALL.replace(b'"t"', b'"\xc0\xaf"') % META, PARSE, None),
    "lone surrogate": (CALL.replace(b'"t"', b'"\\udc00"') % META, PARSE, None),
    "NaN": (CALL.replace(b'"t"', b"NaN") % META, PARSE, None),
    "control character": (CALL.replace(b'"t"', b'"\x01"') % META, PARSE, None),
    "member twice": (CALL.replace(b'"id":1', b'"id":1,"id":1') % META, INVALID, None),
    "method twice": (CALL.replace(b'"id":1', b'"id":1,"method":"ping"') % META, INVALID, 1),
    "param twice": (CALL.replace(b'"name":"t"', b'"name":"t","name":"u"') % META, PARAMS, 1),
    "meta twice": (CALL % (META[:-1] + b"," + META[1:]), PARAMS, 1),
    "a batch": (b"[]", INVALID, None),
    "zero byte": (b"\x00", PARSE, None),
}


@rule(1, 8, 16, 30, 46)
@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_answered_and_the_next_request_served(name: str, size: int | None) -> None:
    data, code, id_ = BAD[name]
    talk = server()
    step = size if size is not None and len(data) < 1000 else len(data) + 1
    for at in range(0, len(data), step):
        talk.pipe.receive_data(data[at : at + step])
    talk.pipe.receive_data(b"\n")
    (answer,) = talk.hear()
    assert answer["error"]["code"] == code, answer
    assert answer.get("id") == id_ and ("id" in answer) is (id_ is not None)
    talk.say(enveloped(2, "tools/call", {"name": "t"}))
    talk.engine.send_result(talk.take(Request), SOME_TEXT)
    (good,) = talk.hear()
    assert good["id"] == 2 and "result" in good


@rule(45)
@pytest.mark.parametrize("name", BAD)
def test_a_client_skips_bad_input_in_silence(name: str) -> None:
    data = BAD[name][0]
    if name == "wrong version":
        return  # a response of the peer's, where the test below looks
    talk = client(R2026)
    assert talk.say(data) == []
    assert [type(event) for event in talk.events] == [Violation]
    call = talk.engine.send_request("tools/list")
    talk.hear()
    talk.say(result(call.id, {"tools": []}))
    assert not call.is_open


@pytest.mark.parametrize("size", [1 << 16, 1 << 30])
@pytest.mark.parametrize(("excess", "is_good"), [(-1, True), (0, True), (1, False), (16 << 20, False)])
def test_a_message_is_as_long_as_the_limit_and_no_longer(excess: int, is_good: bool, size: int) -> None:
    talk = server()
    bare = line(enveloped(1, "tools/call", {"name": "t", "arguments": {"a": ""}}))
    padding = SERVER_LIMITS.message_bytes + excess - len(bare)
    data = line(enveloped(1, "tools/call", {"name": "t", "arguments": {"a": "x" * padding}})) + b"\n"
    assert len(data) - 1 == SERVER_LIMITS.message_bytes + excess
    for at in range(0, len(data), size):
        talk.pipe.receive_data(data[at : at + size])
    answers = talk.hear()
    assert (answers == []) is is_good
    if is_good:
        assert talk.take(Request).id == 1
    else:
        assert answers[0]["error"]["code"] == INVALID and "id" not in answers[0]
    assert talk.say(enveloped(2, "tools/call", {"name": "t"})) == []
    assert talk.take(Request).id == 2


def test_what_was_too_long_is_answered_in_its_turn() -> None:
    messages = [request(1, "ping"), request("x" * 300, "ping"), request(2, "ping"), request(3, "ping")]
    data = b"".join(line(message) + b"\n" for message in messages)
    talk = server(limits=small_limits(message_bytes=200))
    talk.pipe.receive_data(data)
    whole = talk.hear()
    assert [answer.get("id") for answer in whole] == [1, None, 2, 3]
    for size in (1, 10, 250):
        talk = server(limits=small_limits(message_bytes=200))
        heard: list[Any] = []
        for at in range(0, len(data), size):
            talk.pipe.receive_data(data[at : at + size])
            heard += talk.hear()
        assert heard == whole


def test_a_line_without_its_end_is_read_at_the_end() -> None:
    talk = server()
    talk.pipe.receive_data(line(request(1, "ping")))
    assert talk.hear() == []
    talk.pipe.receive_eof()
    assert talk.hear() == [result(1, {})]
    assert talk.pipe.close_expected() and isinstance(talk.take(Closed), Closed)
    talk = server(limits=small_limits(message_bytes=50))
    talk.pipe.receive_data(b"x" * 60)
    talk.pipe.receive_eof()
    assert talk.hear()[0]["error"]["code"] == INVALID


@rule(46, 47)
def test_the_end_is_said_once_and_nothing_after_it() -> None:
    for engine in (ServerEngine(server_profile()), ClientEngine(client_profile())):
        pipe = Pipe(engine)
        assert pipe.data_to_send() == [] and not pipe.close_expected()
        pipe.receive_eof()
        pipe.receive_eof()
        assert pipe.data_to_send() == [b""]
        assert pipe.data_to_send() == [] and pipe.close_expected()
        assert len(pipe.events_received()) == 1 and pipe.events_received() == []
        pipe.receive_data(line(request(1, "ping")) + b"\n")
        assert pipe.data_to_send() == [] and pipe.next_deadline() is None
        pipe.handle_deadline(1e9)


@rule(46, 47)
def test_newlines_in_content_stay_inside_their_message() -> None:
    talk = server()
    talk.say(enveloped("a\nb", "tools/call", {"name": "line\nline"}))
    talk.engine.send_result(talk.take(Request), {"content": [{"type": "text", "text": "1\n2\r\n\u2028"}]})
    data = b"".join(talk.pipe.data_to_send())
    assert data.count(b"\n") == 1 and data.endswith(b"\n")


def test_clients_trust_their_server_with_larger_messages() -> None:
    assert CLIENT_LIMITS.message_bytes > SERVER_LIMITS.message_bytes
    assert Limits() == SERVER_LIMITS


def test_a_pipe_may_have_another_framing() -> None:
    class Blocks:
        """Messages of four bytes, the first of which gives the number of bytes that count."""

        def receive_data(self, data: bytes) -> list[bytes | None]:
            return [data]

        def receive_eof(self) -> list[bytes | None]:
            return [None]

        def frame(self, messages: list[bytes]) -> bytes:
            return b"|".join(messages)

    pipe = Pipe(ServerEngine(server_profile()), Blocks())
    pipe.receive_data(line(request(1, "ping")))
    assert pipe.data_to_send() == [line(result(1, {}))]
    pipe.receive_eof()
    assert b"longer than" in pipe.data_to_send()[0]


def test_a_ready_client_is_at_rest_after_the_end() -> None:
    talk = client(R2025_11)
    talk.pipe.receive_eof()
    assert [type(event) for event in talk.hear_events()] == [Closed]
