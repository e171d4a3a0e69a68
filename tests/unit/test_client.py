"""The client role, from the wire: calls, what their results say, and input."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from protocol import (
    ClientCapabilities,
    Closed,
    ElicitResult,
    EmptyParams,
    Era,
    ErrorObject,
    Failure,
    InputRequired,
    LocalProtocolError,
    Log,
    Progress,
    ReadResourceParams,
    Result,
    Revision,
    SubscriptionFilter,
    TimedOut,
    Violation,
)
from tests.pair import (
    R2024,
    R2025_11,
    R2026,
    client,
    failure,
    notification,
    request,
    result,
    small_limits,
)
from tests.requirements import rule

from .clientwire import ALL, EXTENSION, IO, OLD, TOOL, ask

# Calls


@rule(1, 2, 3, 144)
@ALL
def test_ids_and_tokens_are_never_used_twice(revision: Revision) -> None:
    talk = client(revision)
    seen = [ask(talk, progress=True)[1] for _ in range(5)]
    ids = [message["id"] for message in seen]
    tokens = [message["params"]["_meta"]["progressToken"] for message in seen]
    assert len(set(ids)) == len(set(tokens)) == 5
    assert all(type(each) is int for each in ids + tokens)
    assert all(message["jsonrpc"] == "2.0" for message in seen)


@rule(28, 29)
def test_every_modern_request_describes_itself() -> None:
    talk = client(R2026)
    for method, params in (("tools/call", TOOL), ("tools/list", None), ("server/discover", None)):
        message = ask(talk, method, params)[1]
        meta = message["params"]["_meta"]
        assert meta[f"{IO}protocolVersion"] == R2026.name
        assert meta[f"{IO}clientInfo"] == {"name": "test-client", "version": "2.0"}
        assert set(meta[f"{IO}clientCapabilities"]) == {"roots", "sampling", "elicitation"}
        assert meta[f"{IO}clientCapabilities"]["roots"] == {}
    quiet = client(R2026, sends_info=False)
    assert f"{IO}clientInfo" not in ask(quiet)[1]["params"]["_meta"]


@OLD
def test_a_handshake_request_carries_only_what_was_asked_for(revision: Revision) -> None:
    talk = client(revision)
    assert ask(talk)[1]["params"] == {"name": "t", "arguments": {"a": 1}}
    assert "params" not in ask(talk, "tools/list")[1]
    meta = ask(talk, meta={"vendor.x/y": 1}, progress=True, log_level="info")[1]["params"]["_meta"]
    assert meta == {"vendor.x/y": 1, "progressToken": 4}


@rule(141)
def test_a_modern_request_may_ask_for_log_messages() -> None:
    talk = client(R2026)
    meta = ask(talk, meta={"vendor.x/y": 1}, log_level="info")[1]["params"]["_meta"]
    assert meta[f"{IO}logLevel"] == "info" and meta["vendor.x/y"] == 1
    with pytest.raises(LocalProtocolError):
        talk.engine.send_request("tools/list", log_level="loud")


@rule(24)
@ALL
def test_only_what_was_negotiated_is_called(revision: Revision) -> None:
    talk = client(revision, can={"tools": {}})
    for method in ("prompts/list", "resources/subscribe", "logging/setLevel", "roots/list", "notifications/progress"):
        with pytest.raises(LocalProtocolError):
            talk.engine.send_request(method, EmptyParams())
    for method in ("initialize", "subscriptions/listen"):
        with pytest.raises(LocalProtocolError):
            talk.engine.send_request(method, EmptyParams())
    assert talk.hear() == []
    if revision is R2024:
        assert ask(talk, "completion/complete", EmptyParams())[1]["method"] == "completion/complete"
    else:
        with pytest.raises(LocalProtocolError):
            talk.engine.send_request("completion/complete")
    assert ask(talk, "tools/call", None)[1]["method"] == "tools/call"
    if revision is not R2026:
        assert ask(talk, "ping", None)[1] == request(talk.engine.open_calls[-1].id, "ping")


def test_nothing_is_called_before_it_is_ready() -> None:
    from protocol import ClientEngine
    from tests.pair import client_profile

    engine = ClientEngine(client_profile())
    for attempt in (lambda: engine.send_request("tools/list"), lambda: engine.listen(SubscriptionFilter())):
        with pytest.raises(LocalProtocolError):
            attempt()


@ALL
def test_a_result_ends_its_call(revision: Revision) -> None:
    talk = client(revision)
    first, second = ask(talk)[0], ask(talk)[0]
    assert first.name == "t"
    assert talk.say(result(second.id, {"content": []})) == []
    done = talk.take(Result)
    assert done.call is second and done.result_type == "complete" and msgspec.json.decode(done.raw) == {"content": []}
    assert not second.is_open and first.is_open
    talk.say(failure(first.id, -32602, "bad", data={"x": 1}))
    failed = talk.take(Failure)
    assert failed.call is first and not failed.is_local
    assert failed.error == ErrorObject(-32602, "bad", {"x": 1})
    assert talk.engine.open_calls == []


@rule(10, 11)
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"content": []}, "complete"),
        ({"resultType": "complete", "content": []}, "complete"),
        ({"resultType": "task", "taskId": "t"}, None),
        ({"resultType": "partial"}, None),
        ({"resultType": ""}, None),
        ({"resultType": 5}, None),
        ({"resultType": None}, None),
        ([], None),
        (5, None),
    ],
)
def test_a_modern_result_is_what_it_says_it_is(value: Any, kind: str | None) -> None:
    talk = client(R2026)
    call = ask(talk)[0]
    talk.say(result(call.id, value))
    if kind is None:
        failed = talk.take(Failure)
        assert failed.call is call and failed.is_local and "invalid response" in failed.error.message
    else:
        assert talk.take(Result).result_type == kind
    assert talk.events == []


@rule(44)
def test_a_task_is_a_result_only_where_it_was_declared_and_only_of_a_tool() -> None:
    talk = client(R2026, capabilities=ClientCapabilities(extensions={EXTENSION: {}}))
    for method, params, is_good in (("tools/call", TOOL, True), ("tools/list", None, False)):
        call = ask(talk, method, params)[0]
        talk.say(result(call.id, {"resultType": "task", "taskId": "t"}))
        if is_good:
            assert talk.take(Result).result_type == "task"
        else:
            assert talk.take(Failure).is_local


@ALL
@pytest.mark.parametrize("value", [{"code": "x", "message": "m"}, {"message": "m"}, {"code": 1}, [], 5, {"code": 1.5}])
def test_a_malformed_error_fails_its_call(revision: Revision, value: Any) -> None:
    talk = client(revision)
    call = ask(talk)[0]
    talk.say({"jsonrpc": "2.0", "id": call.id, "error": value})
    failed = talk.take(Failure)
    assert failed.call is call and failed.is_local
    assert talk.engine.open_calls == []


@rule(5)
@pytest.mark.parametrize(
    "members", [{"result": {}, "error": {"code": 1, "message": ""}}, {"result": {}, "jsonrpc": "1"}]
)
def test_a_malformed_response_fails_its_call(members: Any) -> None:
    talk = client(R2025_11)
    call = ask(talk)[0]
    assert talk.say({"jsonrpc": "2.0", "id": call.id} | members) == []
    assert talk.take(Failure).is_local and isinstance(talk.take(Violation), Violation)
    assert not call.is_open


@rule(146)
@ALL
def test_late_and_stray_responses_are_tolerated(revision: Revision) -> None:
    talk = client(revision)
    call = ask(talk)[0]
    talk.engine.cancel(call)
    talk.hear()
    assert talk.say(result(call.id, {"content": []}), result(call.id, {"content": []}), failure(call.id, 1)) == []
    assert talk.events == []
    assert talk.say(result("never", {}), result(99, {}), result(-1, {})) == []
    assert [type(event) for event in talk.events] == [Violation] * 3
    talk.events.clear()
    after = ask(talk)[0]
    talk.say(result(after.id, {"content": []}))
    assert talk.take(Result).call is after


@pytest.mark.parametrize(("count", "is_open"), [(4, True), (5, True), (6, False)])
def test_a_flood_of_responses_to_nothing_ends_the_connection(count: int, is_open: bool) -> None:
    talk = client(R2025_11, limits=small_limits(stray_responses=5))
    call = ask(talk)[0]
    for number in range(count):
        talk.say(result(f"s{number}", {}))
    assert call.is_open is is_open
    if not is_open:
        assert talk.take(Failure).call is call and talk.take(Closed).error is not None
        assert talk.say(result("more", {})) == []


@pytest.mark.parametrize(("count", "is_good"), [(2, True), (3, True), (4, False)])
@ALL
def test_calls_are_bounded(revision: Revision, count: int, is_good: bool) -> None:
    talk = client(revision, limits=small_limits(calls=3))
    for _ in range(min(count, 3)):
        ask(talk)
    if not is_good:
        with pytest.raises(LocalProtocolError):
            talk.engine.send_request("tools/list")
        assert talk.hear() == [] and len(talk.engine.open_calls) == 3
        wanted = SubscriptionFilter(resource_subscriptions=["a:b"])
        with pytest.raises(LocalProtocolError):
            talk.engine.listen(wanted)
        talk.engine.cancel(talk.engine.open_calls[0])
        talk.hear()
        ask(talk)


# Progress, log, cancellation, deadlines


@rule(143)
@ALL
def test_progress_reaches_the_call_that_asked_for_it(revision: Revision) -> None:
    talk = client(revision)
    deaf, call = ask(talk)[0], ask(talk, progress=True)[0]

    def progress(token: Any, value: Any, **members: Any) -> Any:
        return notification("notifications/progress", {"progressToken": token, "progress": value} | members)

    token = call.progress_token
    talk.say(progress(token, 0), progress(token, 0.5, total=2, message="half"), progress(token, 1, total=None))
    first, second, third = (talk.take(Progress) for _ in range(3))
    assert (first.call, first.progress, first.total, first.message) == (call, 0, None, None)
    assert (second.progress, second.total, second.message) == (0.5, 2, "half")
    assert third.total is None
    for bad in (progress(token, 1), progress(token, 0.2), progress(deaf.id, 1), progress("x", 1), progress(token, "1")):
        talk.say(bad)
        assert isinstance(talk.take(Violation), Violation)
    talk.say(result(call.id, {"content": []}))
    talk.take(Result)
    talk.say(progress(token, 5))
    assert [type(event) for event in talk.events] == [Violation]


@ALL
def test_log_messages_are_reported(revision: Revision) -> None:
    talk = client(revision)
    for logger in ({}, {"logger": "l"}):
        talk.say(notification("notifications/message", {"level": "info", "data": [1]} | logger))
        log = talk.take(Log)
        assert (log.level, log.data, log.logger) == ("info", [1], logger.get("logger"))


@rule(50, 145)
@ALL
def test_a_withdrawn_call_says_so(revision: Revision) -> None:
    talk = client(revision)
    call = ask(talk)[0]
    talk.engine.cancel(call, "changed my mind")
    (outgoing,) = talk.engine.messages_to_send()
    assert outgoing.cancels is call
    expected = notification("notifications/cancelled", {"requestId": call.id, "reason": "changed my mind"})
    assert msgspec.json.decode(outgoing.data) == expected
    talk.engine.cancel(call)
    assert talk.hear() == [] and talk.events == []


@ALL
def test_a_call_past_its_deadline_is_withdrawn(revision: Revision) -> None:
    talk = client(revision)
    late, moved = ask(talk, deadline=3.0)[0], ask(talk, deadline=3.0)[0]
    talk.engine.extend(moved, 8.0)
    talk.pipe.handle_deadline(2.9)
    assert talk.hear() == []
    talk.pipe.handle_deadline(3.0)
    (cancelled,) = talk.hear()
    assert cancelled["params"] == {"requestId": late.id, "reason": "timed out"}
    assert talk.take(TimedOut).call is late
    assert talk.pipe.next_deadline() == 8.0 and moved.is_open
    talk.say(result(moved.id, {"content": []}))
    talk.engine.extend(moved, 9.0)
    assert talk.pipe.next_deadline() is None


@rule(26)
def test_the_handshake_is_never_withdrawn() -> None:
    from protocol import ClientEngine
    from tests.pair import client_profile

    engine = ClientEngine(client_profile())
    engine.start(era=Era.HANDSHAKE)
    with pytest.raises(LocalProtocolError):
        engine.cancel(engine.open_calls[0])
    assert len(engine.messages_to_send()) == 1


# Input


def needs(**members: Any) -> dict[str, Any]:
    return {"resultType": "input_required", **members}


ELICIT = {"method": "elicitation/create", "params": {"message": "m", "requestedSchema": {"type": "object"}}}


@rule(166, 167, 168, 169)
def test_a_retry_repeats_the_request_with_what_was_asked_for() -> None:
    talk = client(R2026)
    call, message = ask(talk, progress=True, meta={"vendor.x/y": 1}, log_level="info")
    questions = {"a": ELICIT, "b": {"method": "roots/list"}}
    talk.say(result(call.id, needs(inputRequests=questions, requestState="s\u00e9\n")))
    needed = talk.take(InputRequired)
    assert needed.call is call and needed.state == "s\u00e9\n" and not call.is_open
    assert [each.method for each in needed.requests.values()] == ["elicitation/create", "roots/list"]
    assert needed.requests["a"].params.message == "m"
    for wrong in ({}, {"a": Raw(b"{}")}, {"a": Raw(b"{}"), "b": Raw(b"{}"), "c": Raw(b"{}")}):
        with pytest.raises(LocalProtocolError):
            talk.engine.answer(needed, wrong)
    responses = {"a": ElicitResult(action="decline"), "b": Raw(b'{"roots":[]}')}
    again = talk.engine.answer(needed, responses, deadline=5.0)
    assert talk.pipe.next_deadline() == 5.0
    (retry,) = talk.hear()
    assert again.rounds == 1 and retry["id"] == again.id != call.id
    assert retry["method"] == message["method"]
    assert retry["params"].pop("inputResponses") == {"a": {"action": "decline"}, "b": {"roots": []}}
    assert retry["params"].pop("requestState") == "s\u00e9\n"
    meta, before = retry["params"].pop("_meta"), message["params"].pop("_meta")
    assert meta.pop("progressToken") == again.id and before.pop("progressToken") == call.id
    assert meta == before and retry["params"] == message["params"]
    # The next round gave no state, so none goes back; an unrelated call carries nothing.
    talk.say(result(again.id, needs(inputRequests={"c": ELICIT})))
    talk.engine.answer(talk.take(InputRequired), {"c": ElicitResult(action="cancel")})
    (third,) = talk.hear()
    assert "requestState" not in third["params"] and set(third["params"]["inputResponses"]) == {"c"}
    assert not {"inputResponses", "requestState"} & set(ask(talk)[1]["params"])


@rule(167, 170)
def test_state_alone_asks_for_a_plain_retry() -> None:
    talk = client(R2026)
    call = ask(talk, "resources/read", ReadResourceParams(uri="a:b"))[0]
    talk.say(result(call.id, needs(requestState="")))
    needed = talk.take(InputRequired)
    assert needed.requests == {} and needed.state == ""
    talk.engine.answer(needed, {})
    (retry,) = talk.hear()
    assert retry["params"]["requestState"] == "" and "inputResponses" not in retry["params"]


@rule(11, 162, 163)
@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("tools/list", needs(requestState="s")),
        ("tools/call", needs()),
        ("tools/call", needs(inputRequests=5)),
        ("tools/call", needs(inputRequests={"a": {"method": "tools/call", "params": {"name": "x"}}})),
        ("tools/call", needs(inputRequests={"a": {"method": "no/such"}})),
        ("tools/call", needs(inputRequests={"a": {"method": "elicitation/create"}})),
        ("vendor/do", needs(requestState="s")),
    ],
)
def test_bad_questions_fail_the_call(method: str, value: Any) -> None:
    talk = client(R2026)
    call = ask(talk, method, TOOL)[0]
    talk.say(result(call.id, value))
    failed = talk.take(Failure)
    assert failed.call is call and failed.is_local and talk.events == []


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_rounds_of_input_are_bounded(limit: int) -> None:
    talk = client(R2026, limits=small_limits(input_rounds=limit))
    call = ask(talk)[0]
    for _ in range(limit):
        talk.say(result(call.id, needs(requestState="s")))
        call = talk.engine.answer(talk.take(InputRequired), {})
        talk.hear()
    talk.say(result(call.id, needs(requestState="s")))
    assert talk.take(Failure).is_local
