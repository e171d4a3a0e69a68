"""What both roles share: `_meta` beside params, adaptation, and the promises of `send_*`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import (
    REVISIONS,
    ClientCapabilities,
    Engine,
    ErrorObject,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    Request,
    RequestState,
    Tool,
    Violation,
)
from protocol.engine import encode_meta, splice_meta
from protocol.jsonrpc import decode
from tests.pair import R2024, R2025_11, R2026, Talk, client, enveloped, line, server
from tests.requirements import rule


def test_meta_goes_in_front_of_the_other_members() -> None:
    assert splice_meta(b'{"a":1}', b"") == b'{"a":1}'
    assert splice_meta(b'{"a":1}', b'"k":2') == b'{"_meta":{"k":2},"a":1}'
    assert splice_meta(b"{}", b'"k":2') == b'{"_meta":{"k":2}}'
    assert encode_meta({"k": 2}) == b'"k":2'
    assert encode_meta({"k": 2}, "t") == b'"k":2,"progressToken":"t"'
    assert encode_meta({}, 0) == b'"progressToken":0'


def test_values_are_stepped_down_only_where_the_revision_differs() -> None:
    tool = Tool(name="t", input_schema={"type": "object"}, title="T")
    assert Engine.adapt(tool, R2026) is tool
    assert Engine.adapt(tool, R2024).title is not tool.title
    error = ErrorObject(1, "m")
    assert all(Engine.adapt(error, revision) is error for revision in REVISIONS)
    assert isinstance(Engine.adapt(ClientCapabilities(), R2024), ClientCapabilities)


def test_the_engine_alone_is_no_role() -> None:
    with pytest.raises(TypeError):
        Engine(server().engine.limits)  # type: ignore[abstract]


def test_the_callers_faults_and_the_peers_are_told_apart() -> None:
    error = ErrorObject(-32602, "bad")
    remote = RemoteProtocolError(error)
    assert remote.error is error and str(remote) == "bad"
    assert issubclass(LocalProtocolError, ProtocolError) and issubclass(RemoteProtocolError, ProtocolError)


def test_open_requests_are_known_until_they_are_answered() -> None:
    talk = server()
    talk.say(enveloped(1, "tools/call", {"name": "t"}))
    asked = talk.take(Request)
    assert talk.engine.open_requests == [asked] and asked.state is RequestState.OPEN
    talk.engine.limit_request(asked, 3.0)
    assert talk.pipe.next_deadline() == 3.0
    talk.engine.send_error(asked, ErrorObject(5, "m"))
    assert talk.pipe.next_deadline() is None and talk.engine.open_requests == []
    talk.engine.send_notification("notifications/message", related_to=asked)
    assert len(talk.hear()) == 1


@rule(7)
@pytest.mark.parametrize("talk", [server(R2025_11), client(R2025_11), server(), client(R2026)])
@pytest.mark.parametrize("method", ["ping", "initialize", "tools/call", "roots/list", "server/discover"])
def test_a_request_without_an_id_is_not_carried_out(talk: Talk, method: str) -> None:
    talk.events.clear()
    assert talk.say({"jsonrpc": "2.0", "method": method}) == []
    assert [type(event) for event in talk.events] == [Violation]


@rule(8)
@given(st.text(max_size=20))
def test_any_text_survives(text: str) -> None:
    talk = server()
    talk.say(enveloped(text, "tools/call", {"name": "t"}))
    talk.engine.send_result(talk.take(Request), {"content": [{"type": "text", "text": text}]})
    (answer,) = talk.hear()
    assert answer["id"] == text and answer["result"]["content"][0]["text"] == text


def test_half_a_character_is_replaced_and_not_sent() -> None:
    talk = server()
    talk.say(enveloped(1, "tools/call", {"name": "t"}))
    talk.engine.send_result(talk.take(Request), {"content": [{"type": "text", "text": "a\ud800"}]})
    (answer,) = talk.hear()
    assert answer["result"]["content"][0]["text"] == "a\ufffd"


def test_a_closed_engine_takes_nothing_that_was_decoded_elsewhere() -> None:
    engine = server().engine
    engine.receive_eof()
    engine.events_received()
    data = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    engine.receive_decoded(decode(data, engine.limits), data)
    assert engine.events_received() == [] and engine.messages_to_send() == []


def test_an_engine_knows_how_much_waits_last() -> None:
    engine = server().engine
    assert engine.last_size == 0
    engine.receive_message(line(enveloped(1, "server/discover")))
    size = engine.last_size
    [message] = engine.messages_to_send()
    assert size == len(message.data) and engine.last_size == 0
