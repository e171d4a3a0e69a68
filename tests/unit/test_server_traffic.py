"""The server role, from the wire: limits, logging, progress, cancellation, batches, and the end of the connection."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol import (
    CallToolParams,
    CallToolResult,
    Cancelled,
    ClientCapabilities,
    Closed,
    CompleteResult,
    ElicitCompleteParams,
    EmptyParams,
    EmptyResult,
    ErrorCode,
    ErrorObject,
    Failure,
    InputRequest,
    LocalProtocolError,
    MethodSpec,
    Notification,
    Request,
    Result,
    Revision,
    Role,
    ServerCapabilities,
    StateSealer,
    TextContent,
    ToolsCapability,
    Violation,
)
from protocol.types import Completion
from tests.pair import (
    R2024,
    R2025_03,
    R2025_06,
    R2025_11,
    R2026,
    SERVER_CAN,
    SOME_TEXT,
    EnginePair,
    client_profile,
    enveloped,
    failure,
    initialize,
    notification,
    request,
    result,
    server,
    server_profile,
    small_limits,
)
from tests.requirements import rule

from .serverwire import ALL, IO, OLD, ROOTS, TOOLS, VISIT, call, error_of, listen

# Limits, each below, at, above


@ALL
@pytest.mark.parametrize(("size", "is_good"), [(255, True), (256, True), (257, False)])
@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
def test_names_are_bounded(revision: Revision, size: int, is_good: bool, method: str) -> None:
    talk = server(revision)
    answers = talk.say(call(1, revision, {"name": "n" * size}, method=method))
    assert (answers == []) is is_good
    if not is_good:
        assert error_of(answers, 1) == ErrorCode.INVALID_PARAMS
        assert talk.say(call(2, revision)) == []


@ALL
@pytest.mark.parametrize(("size", "is_good"), [(9, True), (10, True), (11, False)])
def test_cursors_and_tokens_are_bounded(revision: Revision, size: int, is_good: bool) -> None:
    talk = server(revision, limits=small_limits(cursor_bytes=10, token_bytes=10))
    assert (talk.say(call(1, revision, {"cursor": "c" * size}, method="tools/list")) == []) is is_good
    assert (talk.say(call(2, revision, progressToken="p" * size)) == []) is is_good
    assert talk.say(call(3, revision, {"cursor": ""}, method="tools/list")) == []
    assert talk.take(Request)


@ALL
def test_requests_in_flight_are_bounded(revision: Revision) -> None:
    talk = server(revision, limits=small_limits(requests=3))
    for number in (1, 2, 3):
        assert talk.say(call(number, revision)) == []
    (answer,) = talk.say(call(4, revision))
    assert error_of([answer], 4) == ErrorCode.OVERLOADED
    assert answer["error"]["data"] == {"retryable": True, "limit": 3}
    talk.engine.send_result(talk.take(Request), SOME_TEXT)
    talk.hear()
    assert talk.say(call(5, revision)) == []
    assert len(talk.engine.open_requests) == 3


def test_subscriptions_are_bounded_and_leave_room_for_requests() -> None:
    talk = server(limits=small_limits(subscriptions=3, requests=3))
    for number in (1, 2, 3):
        (ack,) = talk.say(listen(number))
        assert ack["method"].endswith("acknowledged")
    assert error_of(talk.say(listen(4)), 4) == ErrorCode.INVALID_PARAMS
    for number in (5, 6, 7):
        assert talk.say(call(number, R2026)) == []
    assert error_of(talk.say(call(8, R2026)), 8) == ErrorCode.OVERLOADED


@pytest.mark.parametrize(("count", "is_good"), [(2, True), (3, True), (4, False)])
def test_watched_resources_are_bounded(count: int, is_good: bool) -> None:
    limits = small_limits(subscription_uris=3)
    uris = [f"a:{number}" for number in range(count)]
    (answer,) = server(limits=limits).say(listen(1, resourceSubscriptions=uris))
    assert ("error" not in answer) is is_good
    talk = server(R2025_11, limits=limits)
    answers = [talk.say(request(uri, "resources/subscribe", {"uri": uri}))[0] for uri in uris]
    assert all("result" in each for each in answers) is is_good
    assert "result" in talk.say(request("again", "resources/subscribe", {"uri": uris[0]}))[0]


def test_questions_to_the_client_are_bounded() -> None:
    talk = server(R2025_11, declared={"roots": {}}, limits=small_limits(calls=2))
    talk.say(call(1, R2025_11))
    asked = talk.take(Request)
    questions = {str(number): InputRequest("roots/list", EmptyParams()) for number in range(3)}
    with pytest.raises(LocalProtocolError):
        talk.engine.ask(asked, questions)
    assert talk.hear() == [] and talk.engine.open_calls == []
    del questions["2"]
    assert len(talk.engine.ask(asked, questions)) == 2
    with pytest.raises(LocalProtocolError):
        talk.engine.ping()
    assert len(talk.hear()) == 2


# Logging and progress


@rule(140)
@OLD
def test_log_messages_below_the_level_are_not_sent(revision: Revision) -> None:
    talk = server(revision)
    assert talk.engine.send_log(None, "debug", "free to choose")
    assert talk.say(request(1, "logging/setLevel", {"level": "warning"}))[-1] == result(1, {})
    assert not talk.engine.send_log(None, "notice", "x")
    assert talk.engine.send_log(None, "warning", {"a": 1}, "me")
    params = {"level": "warning", "data": {"a": 1}, "logger": "me"}
    assert talk.hear() == [notification("notifications/message", params)]
    assert error_of(talk.say(request(2, "logging/setLevel", {"level": "loud"})), 2) == ErrorCode.INVALID_PARAMS
    with pytest.raises(LocalProtocolError):
        talk.engine.send_log(None, "loud", "x")


@rule(141)
def test_a_modern_request_hears_only_what_it_asked_for() -> None:
    talk = server()
    talk.say(call(1, R2026), call(2, R2026, **{f"{IO}logLevel": "error"}))
    silent, loud = talk.take(Request), talk.take(Request)
    assert not talk.engine.send_log(silent, "emergency", "x")
    assert not talk.engine.send_log(loud, "warning", "x")
    assert not talk.engine.send_log(None, "emergency", "x")
    assert talk.engine.send_log(loud, "error", "x")
    (sent,) = talk.engine.messages_to_send()
    assert sent.related_to == 2 and not sent.final
    talk.engine.send_result(loud, SOME_TEXT)
    assert not talk.engine.send_log(loud, "error", "x")
    talk.say(listen(3))
    assert not talk.engine.send_log(talk.engine.listeners[0][0], "error", "x")


@rule(142)
@ALL
def test_a_server_that_did_not_declare_logging_does_not_log(revision: Revision) -> None:
    talk = server(revision, capabilities=ServerCapabilities(tools=ToolsCapability()))
    talk.say(call(1, revision, **{f"{IO}logLevel": "debug"}))
    assert not talk.engine.send_log(talk.take(Request), "emergency", "x")
    assert talk.hear() == []


@rule(143)
@ALL
@pytest.mark.parametrize("token", [0, "", 7, "t"])
def test_progress_increases_and_stops_with_the_answer(revision: Revision, token: Any) -> None:
    talk = server(revision)
    talk.say(call(1, revision, progressToken=token))
    asked = talk.take(Request)
    send = talk.engine.send_progress
    assert [send(asked, value) for value in (0, 0, -1, 0.5, 0.5, 1)] == [True, False, False, True, False, True]
    assert not send(asked, float("nan")) and not send(asked, float("inf"))
    assert send(asked, 2, 10, "words")
    heard = talk.hear()
    assert [message["params"]["progress"] for message in heard] == [0, 0.5, 1, 2]
    assert all(message["params"]["progressToken"] == token for message in heard)
    assert all(type(message["params"]["progressToken"]) is type(token) for message in heard)
    words = {} if revision is R2024 else {"message": "words"}
    assert heard[-1]["params"] == {"progressToken": token, "progress": 2, "total": 10} | words
    talk.engine.send_result(asked, SOME_TEXT)
    assert not send(asked, 3)
    assert len(talk.hear()) == 1
    talk.say(call(2, revision))
    assert not send(talk.take(Request), 1)


# Cancellation


@rule(51, 145, 146)
@ALL
def test_nothing_is_sent_for_a_cancelled_request(revision: Revision) -> None:
    talk = server(revision)
    talk.say(call(1, revision, progressToken="t"), call("1", revision))
    asked = talk.take(Request)
    assert talk.say(notification("notifications/cancelled", {"requestId": 1, "reason": "why"})) == []
    cancelled = talk.take(Cancelled)
    assert cancelled.request is asked and cancelled.reason == "why"
    talk.engine.send_result(asked, SOME_TEXT)
    talk.engine.send_error(asked, ErrorObject(1, "m"))
    talk.engine.send_notification("notifications/message", related_to=asked)
    assert not talk.engine.send_progress(asked, 1)
    assert talk.hear() == []
    for params in ({"requestId": 1}, {"requestId": 99}, {"requestId": "no"}, {}):
        assert talk.say(notification("notifications/cancelled", params)) == []
    assert not [event for event in talk.events if isinstance(event, Cancelled)]
    other = talk.take(Request)
    talk.engine.send_result(other, SOME_TEXT)
    assert talk.hear()[0]["id"] == "1"


def test_a_lower_layer_may_withdraw_a_request() -> None:
    talk = server()
    talk.say(call(1, R2026))
    asked = talk.take(Request)
    talk.engine.cancel_request(asked, "stream closed")
    talk.engine.cancel_request(asked)
    assert talk.take(Cancelled).reason == "stream closed"
    assert talk.events == [] and talk.engine.open_requests == []


@rule(145)
def test_questions_of_a_cancelled_request_are_withdrawn() -> None:
    talk = server(R2025_11, declared={"roots": {}})
    talk.say(call(1, R2025_11))
    asked = talk.take(Request)
    (open_call,) = talk.engine.ask(asked, {"a": InputRequest("roots/list", EmptyParams())})
    (question,) = talk.hear()
    (withdrawn,) = talk.say(notification("notifications/cancelled", {"requestId": 1}))
    assert withdrawn["method"] == "notifications/cancelled" and withdrawn["params"]["requestId"] == question["id"]
    assert not open_call.is_open
    assert talk.say(result(question["id"], {"roots": []})) == []
    assert not [event for event in talk.events if isinstance(event, (Result, Violation))]


# Batches


@rule(12)
def test_a_batch_is_answered_by_a_batch() -> None:
    talk = server(R2025_03)
    members = [
        request(1, "ping"),
        notification("notifications/x"),
        call(2, R2025_03),
        request(3, "no/such"),
        7,
        result(99, {}),
        {"jsonrpc": "1.0", "id": 4, "method": "ping"},
    ]
    assert talk.say(members) == []
    talk.engine.send_result(talk.take(Request), SOME_TEXT)
    (answers,) = talk.hear()
    assert [answer.get("id") for answer in answers] == [1, 3, None, 4, 2] or len(answers) == 5
    assert {type(event) for event in talk.events} == {Notification, Violation}
    # Notifications alone are not answered, and a batch whose only request was withdrawn is not either.
    assert talk.say([notification("notifications/x")]) == []
    assert talk.say([call(5, R2025_03), notification("notifications/cancelled", {"requestId": 5})]) == []
    assert talk.say([request(6, "ping")]) == [[result(6, {})]]


@rule(13)
def test_a_handshake_is_no_member_of_a_batch() -> None:
    talk = server(R2025_03)
    (answers,) = talk.say([initialize(R2025_03, 1), request(2, "ping")])
    assert answers[0]["id"] == 1 and answers[0]["error"]["code"] == ErrorCode.INVALID_REQUEST
    assert answers[1] == result(2, {})
    assert error_of(server().say([initialize(R2025_03, 1)])) == ErrorCode.INVALID_REQUEST


def test_a_modern_request_is_no_member_of_a_batch() -> None:
    talk = server(R2025_03)
    (answers,) = talk.say([listen(1), request(2, "ping")])
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[0]["error"]["code"] == ErrorCode.INVALID_REQUEST


@rule(14)
@pytest.mark.parametrize("revision", [R2024, R2025_06, R2025_11, R2026], ids=lambda revision: revision.name)
def test_other_revisions_have_no_batches(revision: Revision) -> None:
    talk = server(revision)
    assert error_of(talk.say([call(1, revision)])) == ErrorCode.INVALID_REQUEST
    assert isinstance(talk.take(Violation), Violation)
    assert error_of(talk.say([])) == ErrorCode.INVALID_REQUEST
    assert talk.say(call(2, revision)) == []


@pytest.mark.parametrize(("count", "is_good"), [(2, True), (3, True), (4, False)])
def test_batches_are_bounded(count: int, is_good: bool) -> None:
    talk = server(R2025_03, limits=small_limits(batch_entries=3))
    (answer,) = talk.say([request(number, "ping") for number in range(count)])
    assert isinstance(answer, list) is is_good


# Both eras on one pipe, extensions, the end


def test_each_message_is_of_its_own_era() -> None:
    talk = server(R2025_11)
    assert talk.say(call(1, R2026), call(2, R2025_11)) == []
    assert [event.context.revision for event in talk.events if isinstance(event, Request)] == [R2026, R2025_11]
    assert talk.say(request(3, "ping")) == [result(3, {})]


def test_an_extension_adds_methods() -> None:
    spec = MethodSpec(name="vendor/do", sender=Role.CLIENT, params=CallToolParams, result=EmptyResult)
    note = MethodSpec(name="vendor/note", sender=Role.CLIENT, params=EmptyParams)
    talk = server(R2025_11, methods=[spec, note])
    assert talk.say(request(1, "vendor/do", {"name": "x"}), enveloped(2, "vendor/do", {"name": "y"})) == []
    first, second = talk.take(Request), talk.take(Request)
    assert (first.params.name, second.params.name) == ("x", "y")
    assert error_of(talk.say(request(3, "vendor/do", {})), 3) == ErrorCode.INVALID_PARAMS
    assert error_of(talk.say(request(4, "vendor/note", {})), 4) == ErrorCode.METHOD_NOT_FOUND
    assert talk.say(notification("notifications/cancelled", {"requestId": 1})) == []
    assert talk.take(Cancelled).request is first


def test_notifications_are_reported_and_never_answered() -> None:
    talk = server(R2025_11)
    assert talk.say(notification("notifications/roots/list_changed"), notification("vendor/x", {"a": 1})) == []
    assert [event.method for event in talk.events if isinstance(event, Notification)] == [
        "notifications/roots/list_changed",
        "vendor/x",
    ]


@rule(7)
@pytest.mark.parametrize(
    "message",
    [
        notification("tools/call", {"name": "t"}),
        notification("notifications/message", {"level": "info", "data": 1}),
        notification("notifications/cancelled", {"requestId": True}),
        notification("notifications/progress", {"progressToken": 1, "progress": 1}),
        notification("notifications/progress"),
        result(1, {}),
        failure(5, 1),
        failure(5, 1, extra=1),
        {"jsonrpc": "2.0", "error": {"code": 1, "message": "m"}},
        {"jsonrpc": "1.0", "id": 5, "result": {}},
        {"jsonrpc": "1.0", "result": {}},
    ],
)
def test_what_is_out_of_place_is_not_answered(message: Any) -> None:
    talk = server(R2025_11)
    assert talk.say(message) == []
    assert [type(event) for event in talk.events] == [Violation]
    assert talk.say(request(9, "ping")) == [result(9, {})]


@rule(56)
@ALL
def test_the_end_of_input_lets_what_was_read_be_answered(revision: Revision) -> None:
    talk = server(revision)
    talk.say(call(1, revision), call(2, revision))
    first, second = talk.take(Request), talk.take(Request)
    talk.pipe.receive_eof()
    talk.pipe.receive_eof()
    assert not talk.pipe.close_expected()
    talk.engine.send_result(first, SOME_TEXT)
    assert talk.hear()[0]["id"] == 1
    talk.engine.send_error(second, ErrorObject(5, "m"))
    assert talk.pipe.data_to_send()[-1] == b""
    assert talk.pipe.close_expected()
    assert [type(event) for event in talk.hear_events()] == [Closed]
    assert talk.pipe.data_to_send() == [] and talk.engine.open_requests == []


def test_the_end_of_input_ends_subscriptions_and_questions() -> None:
    talk = server(R2025_11, declared={"roots": {}})
    talk.say(listen("s"), call(1, R2025_11))
    asked = talk.take(Request)
    talk.engine.ask(asked, {"r": ROOTS})
    talk.hear()
    talk.pipe.receive_eof()
    assert talk.hear()[0]["id"] == "s"
    assert talk.take(Failure).is_local
    talk.engine.cancel_request(asked)
    assert talk.pipe.close_expected() and isinstance(talk.events[-1] if talk.hear_events() else None, Closed)


def test_a_lost_connection_cancels_what_is_open_and_is_silent_ever_after() -> None:
    talk = server(R2025_11, declared={"roots": {}})
    talk.say(call(1, R2025_11), listen(2))
    asked = talk.take(Request)
    open_calls = talk.engine.ask(asked, {"r": ROOTS}, deadline=5.0)
    talk.hear()
    talk.engine.receive_eof()
    talk.engine.receive_eof()
    assert [type(event) for event in talk.hear_events()] == [Cancelled, Cancelled, Failure, Closed]
    assert not asked.is_open and not open_calls[0].is_open
    assert talk.pipe.next_deadline() is None
    talk.engine.send_result(asked, SOME_TEXT)
    talk.engine.publish(TOOLS)
    talk.engine.send_notification("notifications/tools/list_changed")
    talk.engine.receive_end_of_input()
    talk.engine.report_violation(ErrorObject(1, "m"))
    assert not talk.engine.send_log(None, "error", "x") or talk.engine.messages_to_send() == []
    assert talk.say(request(3, "ping")) == []
    with pytest.raises(LocalProtocolError):
        talk.engine.ping()
    assert [type(event) for event in talk.events[4:]] == []


def test_a_sealed_result_may_be_kept_for_later() -> None:
    talk = server()
    talk.say(call(1, R2026))
    sealed = talk.engine.seal(talk.take(Request), SOME_TEXT)
    assert msgspec.json.decode(sealed)["resultType"] == "complete"


@rule(136)
def test_completion_results_pass_in_every_revision() -> None:
    talk = server(R2024)
    params = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}}
    talk.say(request(1, "completion/complete", params))
    talk.engine.send_result(talk.take(Request), CompleteResult(completion=Completion(values=["x"])))
    assert talk.hear() == [result(1, {"completion": {"values": ["x"]}})]


@rule(43)
@pytest.mark.parametrize("name", ["tasks", "", "/x", "vendor.x/", "1.x/y", "a b/c"])
def test_extensions_are_declared_by_names_with_a_prefix(name: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        server_profile(capabilities=ServerCapabilities(extensions={name: {}}))
    with pytest.raises(ValueError, match="prefix"):
        client_profile(capabilities=ClientCapabilities(extensions={name: {}}))
    assert server_profile(capabilities=ServerCapabilities(extensions={"com.example/x": {}}))


@rule(24, 156)
def test_a_notification_is_sent_only_where_the_revision_has_it() -> None:
    pair = EnginePair.ready(R2025_11)
    pair.client_engine.send_request("tools/call", CallToolParams(name="t"))
    asked = pair.at_server(Request)
    pair.server_engine.ask(asked, {"v": VISIT})
    question = pair.at_client(Request)
    done = ElicitCompleteParams(elicitation_id=question.params.elicitation_id)
    for params in (done, done, ElicitCompleteParams(elicitation_id="never")):
        # A client is told, may know the id or not, and answers nothing.
        pair.server_engine.send_notification("notifications/elicitation/complete", params)
        before = len(pair.to_server)
        heard = pair.at_client(Notification)
        assert heard.params.elicitation_id == params.elicitation_id
        assert len(pair.to_server) == before and question.is_open
    for revision in (R2025_06, R2026):
        talk = server(revision)
        talk.say(call(1, revision))
        with pytest.raises(LocalProtocolError):
            talk.engine.send_notification("notifications/elicitation/complete", done, related_to=talk.take(Request))
        assert talk.hear() == []


def test_a_sealer_needs_real_keys() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        StateSealer([])
    assert SERVER_CAN.tools


# Long texts take another way to the wire


@ALL
@pytest.mark.parametrize("size", [4096, 4097, 100_000])
def test_a_long_text_arrives_as_a_short_one_does(revision: Revision, size: int) -> None:
    talk = server(revision)
    text = ('é"\\\n' * size)[:size]
    assert talk.say(call(1, revision)) == []
    talk.engine.send_result(talk.take(Request), CallToolResult(content=[TextContent(text=text)]))
    (answer,) = talk.hear()
    assert answer["result"]["content"] == [{"type": "text", "text": text}]
