"""Sessions from the wire up: which stream carries what, and what becomes of connections that are lost or left."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import (
    Cancelled,
    ChangeKind,
    ChangeNotice,
    Closed,
    EmptyParams,
    ErrorObject,
    Expired,
    InputRequest,
    Limits,
    Notification,
    Request,
    Result,
    Revision,
)
from protocol.errors import ErrorCode as Code
from protocol.http import EventLogLimits, StreamableHTTPOptions, StreamOptions
from tests.pair import (
    HANDSHAKES,
    R2024,
    R2025_03,
    SOME_TEXT,
    notification,
    request,
    result,
    server_profile,
)
from tests.requirements import rule
from tests.unit.bindings.wire import Reply, Server, Session

RESUMABLE = HANDSHAKES[1:]


def tool(id_: Any, token: Any = None) -> dict[str, Any]:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return request(id_, "tools/call", {"name": "t", **meta})


def begun(session: Session, id_: Any = 1) -> tuple[Reply, Request]:
    """Return a call whose answer became a stream."""
    reply = session.post(tool(id_, f"token of {id_}"))
    asked = session.server.asked(id_)
    tell(session, asked, 1)
    assert reply.is_stream
    return reply, asked


def tell(session: Session, asked: Request, progress: float) -> None:
    session.state.engine.send_progress(asked, progress)
    session.flush()


def progress_of(reply: Reply) -> list[float]:
    return [each["params"]["progress"] for each in reply.messages if each.get("method") == "notifications/progress"]


# Answers


@rule(64, 77)
@pytest.mark.parametrize("revision", HANDSHAKES)
def test_requests_are_answered_independently_each_on_its_own_connection(revision: Revision) -> None:
    server = Server()
    session = Session(server, revision)
    replies = {id_: session.post(tool(id_, id_)) for id_ in (1, "1", 2)}
    asked = {each.id: each for each in [server.take(Request) for _ in replies]}
    tell(session, asked["1"], 1)
    server.answer(replies[2], SOME_TEXT, asked[2])
    server.answer(replies["1"], SOME_TEXT, asked["1"])
    assert replies[2].json["id"] == 2 and replies[2].status == 200
    assert [each.get("id") for each in replies["1"].messages] == [None, "1"]
    assert replies[1].status is None
    server.answer(replies[1], SOME_TEXT, asked[1])
    assert replies[1].json["id"] == 1
    assert not session.state.is_busy


def test_a_session_knows_what_carries_its_answers() -> None:
    server = Server()
    session = Session(server, HANDSHAKES[-1])
    replies = [session.post(tool(id_)) for id_ in (1, 2)]
    assert session.state.exchanges == [reply.exchange for reply in replies]
    server.disconnect(replies[0])
    assert session.state.exchanges == [replies[1].exchange]


@rule(62)
def test_notifications_and_responses_are_accepted_without_a_body() -> None:
    server = Server()
    session = Session(server, capabilities={"roots": {}})
    assert session.greeting.json["id"] == 0
    told = session.post(notification("notifications/roots/list_changed"))
    assert told.status == 202 and told.is_ended and told.body == b""
    assert server.take(Notification).method == "notifications/roots/list_changed"
    reply = session.post(tool(1))
    (question,) = session.state.engine.ask(server.take(Request), {"r": InputRequest("roots/list", EmptyParams())})
    session.flush()
    assert [each["method"] for each in reply.messages] == ["roots/list"]
    told = session.post(result(question.id, {"roots": []}))
    assert told.status == 202 and told.body == b""
    assert server.take(Result).call is question
    server.disconnect(told)


@rule(63)
def test_what_cannot_be_accepted_is_refused() -> None:
    session = Session(Server())
    for body in (
        notification("notifications/message", {"level": "info", "data": 1}),
        notification("notifications/cancelled", {"requestId": []}),
        result(99, {}),
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}',
    ):
        reply = session.post(body)
        assert reply.status == 400 and "id" not in reply.json
    late = notification("notifications/progress", {"progressToken": "gone", "progress": 1})
    assert session.post(late).status == 202


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"{", Code.PARSE_ERROR, 400),
        (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', Code.INVALID_REQUEST, 400),
        (request(5, "unknown/method"), Code.METHOD_NOT_FOUND, 200),
        (request(5, "tools/call", {}), Code.INVALID_PARAMS, 200),
        (request(5, "initialize", {}), Code.INVALID_REQUEST, 400),
        ([request(5, "ping")], Code.INVALID_REQUEST, 400),
    ],
)
def test_what_the_engine_refuses_is_answered_at_once(body: Any, code: int, status: int) -> None:
    session = Session(Server())
    reply = session.post(body)
    assert (reply.status, reply.code, reply.is_ended) == (status, code, True)
    assert reply.json.get("id") == (5 if code != Code.PARSE_ERROR and not isinstance(body, list) else None)
    assert not session.state.is_busy


def test_an_id_in_use_is_refused_on_its_own_connection_and_the_first_goes_on() -> None:
    server = Server()
    session = Session(server)
    first = session.post(tool(1))
    second = session.post(tool(1))
    assert second.status == 400 and second.code == Code.INVALID_REQUEST and first.status is None
    server.answer(first, SOME_TEXT)
    assert first.json["result"]


def test_what_a_handler_refuses_is_answered_ok() -> None:
    server = Server()
    session = Session(server)
    reply = session.post(tool(1))
    session.state.engine.send_error(server.take(Request), ErrorObject(-32603, "no"))
    session.flush()
    assert reply.status == 200 and reply.code == -32603


def test_messages_go_out_in_the_order_of_the_engine() -> None:
    server = Server()
    session = Session(server)
    reply = session.post(tool(1, "p"))
    asked = server.take(Request)
    for step in (1, 2, 3):
        session.state.engine.send_progress(asked, step)
    session.post(request(9, "ping"))
    assert progress_of(reply) == [1, 2, 3] and not reply.is_ended
    session.state.engine.send_result(asked, SOME_TEXT)
    session.flush()
    assert progress_of(reply) == [1, 2, 3] and reply.is_ended


# Batches


@rule(12)
def test_a_batch_is_answered_by_one_array() -> None:
    server = Server()
    session = Session(server, R2025_03)
    reply = session.post([tool(1), request(2, "ping"), notification("notifications/roots/list_changed"), tool(3)])
    first, second = server.take(Request), server.take(Request)
    server.answer(reply, SOME_TEXT, second)
    assert reply.status is None
    server.answer(reply, SOME_TEXT, first)
    assert sorted(each["id"] for each in reply.json) == [1, 2, 3]
    assert session.post([notification("notifications/roots/list_changed")]).status == 202
    assert [each["id"] for each in session.post([request(7, "ping")]).json] == [7]
    assert session.post([]).status == 400
    assert session.post([{"jsonrpc": "2.0"}]).json[0]["error"]["code"] == Code.INVALID_REQUEST
    assert not session.state.is_busy


@rule(12)
def test_a_batch_whose_first_member_is_answered_at_once_waits_for_the_others() -> None:
    """The transcript that showed it: [ping, notification, tools/list] was never answered."""
    server = Server()
    session = Session(server, R2025_03)
    reply = session.post([request(2, "ping"), notification("notifications/roots/list_changed"), tool(3)])
    assert reply.status is None
    server.answer(reply, SOME_TEXT, server.take(Request))
    assert reply.status == 200 and [each["id"] for each in reply.json] == [2, 3]
    assert not session.state.is_busy


def test_messages_about_members_of_a_batch_go_to_the_batch() -> None:
    server = Server()
    session = Session(server, R2025_03)
    reply = session.post([tool(1, "a"), tool(2, "b")])
    asked = [server.take(Request), server.take(Request)]
    for each in asked:
        tell(session, each, 1)
    assert [each["params"]["progressToken"] for each in reply.messages] == ["a", "b"]
    for each in asked:
        server.answer(reply, SOME_TEXT, each)
    assert reply.is_ended and [each["id"] for each in reply.messages[-1]] == [1, 2]


@pytest.mark.parametrize("withdrawn", [(1,), (2,), (1, 2)])
def test_a_batch_goes_on_without_its_withdrawn_members(withdrawn: tuple[int, ...]) -> None:
    server = Server()
    session = Session(server, R2025_03)
    other = session.post(tool("other"))
    reply = session.post([tool(1), tool(2), tool("other")])
    asked = {each.id: each for each in [server.take(Request) for _ in range(3)]}
    assert set(asked) == {1, 2, "other"}
    for id_ in withdrawn:
        assert session.post(notification("notifications/cancelled", {"requestId": id_})).status == 202
    for id_ in {1, 2} - set(withdrawn):
        server.answer(reply, SOME_TEXT, asked[id_])
    answered = sorted(str(each["id"]) for each in reply.json)
    assert answered == sorted([*map(str, {1, 2} - set(withdrawn)), "other"])
    assert other.status is None and session.state.is_busy


def test_what_a_batch_brings_about_elsewhere_goes_there() -> None:
    server = Server()
    session = Session(server, R2025_03, capabilities={"roots": {}})
    first = session.post(tool(1))
    session.state.engine.ask(server.take(Request), {"r": InputRequest("roots/list", EmptyParams())})
    reply = session.post([notification("notifications/cancelled", {"requestId": 1}), request(2, "ping")])
    session.flush()
    assert [each["method"] for each in first.messages] == ["roots/list", "notifications/cancelled"]
    assert first.is_ended and [each["id"] for each in reply.json] == [2]


def test_a_batch_whose_only_request_is_withdrawn_still_tells_what_else_was_wrong() -> None:
    server = Server()
    session = Session(server, R2025_03)
    reply = session.post([{"jsonrpc": "2.0", "id": 9}, tool(1)])
    session.state.engine.cancel_request(server.take(Request))
    session.state.events_received()
    session.flush()
    assert [each["error"]["code"] for each in reply.json] == [Code.INVALID_REQUEST]


def test_an_answer_to_nobody_goes_to_nobody() -> None:
    session = Session(Server())
    listening = session.get()
    session.state.engine.receive_message(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    session.flush()
    assert listening.messages == []


# Cancellation


@rule(146)
def test_a_withdrawn_request_is_not_answered_and_its_connection_ends() -> None:
    server = Server()
    session = Session(server)
    silent, (streaming, _) = session.post(tool(1)), begun(session, 2)
    for id_, reply in ((1, silent), (2, streaming)):
        assert session.post(notification("notifications/cancelled", {"requestId": id_})).status == 202
        asked = server.take(Cancelled).request
        session.flush()
        assert reply.is_stream and reply.is_ended
        session.state.engine.send_result(asked, SOME_TEXT)
        session.flush()
    assert not session.state.is_busy and progress_of(streaming) == [1]


@rule(87)
def test_a_lost_connection_cancels_nothing() -> None:
    server = Server()
    session = Session(server)
    silent, (streaming, _) = session.post(tool(1)), begun(session, 2)
    for reply in (silent, streaming):
        server.disconnect(reply)
    assert [type(event) for event in server.events] == [Request]
    assert len(session.state.engine.open_requests) == 2 and session.state.is_busy
    for asked in session.state.engine.open_requests:
        session.state.engine.send_result(asked, SOME_TEXT)
    session.flush()
    assert not session.state.is_busy
    server.disconnect(streaming)


# The standalone stream


@rule(69, 70, 71)
@pytest.mark.parametrize("revision", HANDSHAKES)
def test_what_belongs_to_no_request_goes_to_who_listens_and_nothing_else(revision: Revision) -> None:
    server = Server()
    session = Session(server, revision)
    session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    session.flush()
    listening = session.get()
    assert listening.is_stream and not listening.is_ended and listening.messages == []
    reply, asked = begun(session)
    session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    session.flush()
    server.answer(reply, SOME_TEXT, asked)
    assert [each.get("method") for each in listening.messages] == ["notifications/tools/list_changed"]
    assert [each.get("method") for each in reply.messages] == ["notifications/progress", None]
    assert session.state.is_busy
    server.disconnect(listening)
    assert not session.state.is_busy


@rule(71)
def test_who_listens_again_takes_over() -> None:
    session = Session(Server())
    first, second = session.get(), None
    second = session.get()
    session.flush()
    assert first.is_ended and not second.is_ended
    session.state.engine.publish(ChangeNotice(ChangeKind.PROMPTS))
    session.flush()
    assert first.messages == [] and len(second.messages) == 1


def test_questions_about_a_request_that_is_gone_go_to_who_listens() -> None:
    server = Server()
    session = Session(server, capabilities={"elicitation": {}})
    listening = session.get()
    session.state.engine.call_peer("ping", b"", related_to=77, deadline=None)
    session.flush()
    assert [each["method"] for each in listening.messages] == ["ping"]


def test_silent_streams_are_kept_alive() -> None:
    server = Server()
    session = Session(server)
    listening = session.get()
    silent = session.post(tool(1))
    for _ in range(2):
        server.pass_time(15.0)
    assert listening.events[-1] == {"": ""} and silent.is_stream
    server.answer(silent, SOME_TEXT)
    assert silent.messages[-1]["id"] == 1 and silent.is_ended


# Resuming


@rule(74)
def test_streams_of_the_newest_session_revision_begin_with_an_id_and_a_time_to_come_back() -> None:
    server = Server(StreamableHTTPOptions(stream=StreamOptions(retry=250)))
    session = Session(server)
    reply, _ = begun(session)
    for stream in (reply, session.get()):
        first = stream.events[0]
        assert first["data"] == "" and first["retry"] == "250" and first["id"] and "event" not in first
    for revision in HANDSHAKES[:-1]:
        reply, _ = begun(Session(server, revision))
        assert reply.events[0]["data"] and "retry" not in reply.events[0]
        assert ("id" in reply.events[0]) is revision.resumable


@rule(72)
@pytest.mark.parametrize("revision", RESUMABLE)
def test_event_ids_are_unique_across_the_session(revision: Revision) -> None:
    server = Server()
    session = Session(server, revision)
    streams = [session.get(), begun(session, 1)[0], begun(session, 2)[0], session.get()]
    session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    session.flush()
    ids = [each for stream in streams for each in stream.ids]
    assert len(ids) == len(set(ids)) and ids
    assert {each.split("-")[0] for each in streams[1].ids}.isdisjoint({each.split("-")[0] for each in streams[2].ids})


@rule(70, 73)
@pytest.mark.parametrize("revision", RESUMABLE)
def test_a_lost_stream_is_taken_up_where_it_was_left(revision: Revision) -> None:
    server = Server()
    session = Session(server, revision)
    reply, asked = begun(session)
    other, _ = begun(session, 2)
    server.disconnect(reply)
    tell(session, asked, 2)
    again = session.resume(reply.ids[-1])
    assert again.is_stream and progress_of(again) == [2] and not again.is_ended
    tell(session, asked, 3)
    server.answer(again, SOME_TEXT, asked)
    assert progress_of(again) == [2, 3] and again.messages[-1]["id"] == 1 and again.is_ended
    assert progress_of(other) == [1] and not other.is_ended
    # Even what is over can be asked for again, for a while.
    late = session.resume(again.ids[0])
    assert progress_of(late) == [3] and late.is_ended and late.messages[-1]["id"] == 1
    assert session.resume(again.ids[-1]).messages == []


def test_who_resumes_takes_over_from_a_connection_that_nobody_noticed_to_be_lost() -> None:
    server = Server()
    session = Session(server)
    reply, asked = begun(session)
    again = session.resume(reply.ids[0])
    assert reply.is_ended and progress_of(again) == [1]
    server.disconnect(reply)
    server.answer(again, SOME_TEXT, asked)
    assert again.is_ended and reply.messages[-1].get("id") is None


def test_the_standalone_stream_is_resumed_too() -> None:
    server = Server()
    session = Session(server)
    first = session.get()
    server.disconnect(first)
    session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    session.flush()
    again = session.resume(first.ids[-1])
    assert [each["method"] for each in again.messages] == ["notifications/tools/list_changed"]
    assert not again.is_ended
    session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    session.flush()
    assert len(again.messages) == 2


def test_streams_that_are_not_there_cannot_be_resumed() -> None:
    server = Server()
    session = Session(server)
    session.post(tool(1))
    reply, _ = begun(session, 2)
    mine = reply.ids[0]
    for event_id in ("", "x", "99-1", "0-1", "1-1", "2-1"):
        refused = session.resume(event_id)
        assert refused.status == 400 and "Last-Event-ID" in refused.json["error"]["message"]
    other = Session(server)
    assert other.resume(mine).status == 400
    old = Session(server, R2024)
    stream, _ = begun(old)
    assert stream.ids == [] and old.resume("2-1").status == 400


def test_what_is_forgotten_is_not_replayed_and_streams_of_which_nothing_is_left_go() -> None:
    server = Server(StreamableHTTPOptions(log=EventLogLimits(events=2)))
    session = Session(server)
    firsts = []
    for id_ in range(200):
        reply, asked = begun(session, id_)
        server.answer(reply, SOME_TEXT, asked)
        firsts.append(reply.ids[0])
    assert len(session.state._streams) <= 65
    assert session.resume(firsts[0]).status == 400
    assert len(session.resume(firsts[-1]).messages) == 2


@rule(74)
def test_a_handler_may_let_its_client_come_back_later() -> None:
    server = Server()
    session = Session(server)
    reply = session.post(tool(1, "p"))
    asked = server.take(Request)
    assert session.state.close_stream(asked)
    session.flush()
    assert reply.is_ended and reply.events == [{"id": reply.ids[0], "retry": "1000", "data": ""}]
    assert not session.state.close_stream(asked), "nobody is there"
    tell(session, asked, 1)
    again = session.resume(reply.ids[0])
    assert progress_of(again) == [1]
    assert session.state.close_stream(asked, retry=50)
    session.flush()
    assert again.is_ended and again.events[-1]["retry"] == "50" and again.events[-1]["data"] == ""
    session.state.engine.send_result(asked, SOME_TEXT)
    session.flush()
    last = session.resume(again.ids[-1])
    assert last.is_ended and [each["id"] for each in last.messages] == [1]
    assert not session.state.close_stream(asked), "it is answered"


def test_clients_of_older_revisions_are_not_sent_away() -> None:
    for revision in HANDSHAKES[:-1]:
        server = Server()
        session = Session(server, revision)
        session.post(tool(1))
        assert not session.state.close_stream(server.take(Request))


# Bounds


def test_too_many_requests_of_one_session_are_refused_by_the_engine() -> None:
    session = Session(Server(profile=server_profile(limits=Limits(requests=2))))
    replies = [session.post(tool(id_)) for id_ in (1, 2, 3)]
    assert [reply.status for reply in replies] == [None, None, 503]
    assert replies[2].code == Code.OVERLOADED and replies[2].header("retry-after") == "1"


def test_too_many_requests_of_all_are_refused_before_the_engine_sees_them() -> None:
    server = Server(StreamableHTTPOptions(requests=2))
    session = Session(server)
    replies = [session.post(tool(id_)) for id_ in (1, 2, 3)]
    assert [reply.status for reply in replies] == [None, None, 503]
    assert replies[2].json["id"] == 3 and replies[2].header("retry-after") == "1"
    server.disconnect(replies[2])
    server.answer(replies[0], SOME_TEXT)
    assert session.post(request(4, "ping")).status == 200
    assert session.post(tool(5)).status is None


def test_the_deadline_of_a_handler_is_the_sessions() -> None:
    server = Server()
    session = Session(server)
    session.post(tool(1))
    asked = server.take(Request)
    assert session.state.next_deadline() is None
    session.state.engine.limit_request(asked, 5.0)
    assert session.state.next_deadline() == 5.0
    session.state.handle_deadline(5.0)
    assert [type(event) for event in session.state.events_received()] == [Expired]


# The end


@rule(83, 81)
def test_the_end_of_a_session_ends_everything_in_it() -> None:
    server = Server()
    session = Session(server)
    state = session.state
    listening, silent = session.get(), session.post(tool(1))
    streaming, _ = begun(session, 2)
    reply = session.delete()
    assert reply.status == 204 and reply.is_ended
    assert listening.is_ended and streaming.is_ended
    assert silent.status == 404 and silent.is_ended
    assert [type(event) for event in server.events] == [Request, Cancelled, Cancelled, Closed]
    assert state.is_over and not state.is_busy and server.endpoint.sessions == {}
    assert session.post(request(3, "ping")).status == 404
    assert state.flush(0.0) == [] and state.events_received() == []


def test_a_session_without_a_log_ends_too() -> None:
    session = Session(Server(), R2024)
    stream, _ = begun(session)
    assert session.delete().status == 204 and stream.is_ended


def test_the_engine_may_give_up_a_client_and_that_ends_the_session() -> None:
    server = Server(profile=server_profile(limits=Limits(stray_responses=1)))
    session = Session(server)
    assert session.post(result(5, {})).status == 400 and session.id in server.endpoint.sessions
    assert session.post(result(5, {})).status == 400
    assert session.post(request(3, "ping")).status == 404 and server.endpoint.sessions == {}
