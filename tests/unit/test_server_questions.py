"""The server role, from the wire: what it asks its client, and the changes it tells of."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol import (
    ChangeKind,
    ChangeNotice,
    CreateMessageParams,
    Dialect,
    ElicitParams,
    ErrorCode,
    Failure,
    Holder,
    InputRequest,
    LocalProtocolError,
    RemoteProtocolError,
    Request,
    RequestState,
    Result,
    Revision,
    SamplingMessage,
    ServerCapabilities,
    ServerEngine,
    TaskTable,
    TextContent,
    TimedOut,
    Tool,
    ToolsCapability,
)
from tests.pair import (
    R2025_03,
    R2025_06,
    R2025_11,
    R2026,
    Talk,
    failure,
    initialize,
    notification,
    request,
    result,
    server,
    server_profile,
)
from tests.requirements import rule

from .serverwire import EXTENSION, IO, OLD, PROMPTS, ROOTS, TOOLS, VISIT, call, error_of, listen

# Questions to the client


ELICIT = InputRequest("elicitation/create", ElicitParams(message="m", requested_schema={"type": "object"}))
SAMPLE = InputRequest(
    "sampling/createMessage",
    CreateMessageParams(messages=[SamplingMessage(role="user", content=TextContent(text="x"))], max_tokens=5),
)
WITH_TOOLS = InputRequest(
    "sampling/createMessage",
    CreateMessageParams(messages=[], max_tokens=5, tools=[Tool(name="t", input_schema={"type": "object"})]),
)


@rule(148, 159, 164)
@pytest.mark.parametrize(
    ("declared", "question", "lacking"),
    [
        ({}, ELICIT, {"elicitation": {"form": {}}}),
        ({"elicitation": {}}, ELICIT, {}),
        ({"elicitation": {"form": {}}}, ELICIT, {}),
        ({"elicitation": {"url": {}}}, ELICIT, {"elicitation": {"form": {}}}),
        ({"elicitation": {}}, VISIT, {"elicitation": {"url": {}}}),
        ({"elicitation": {"url": {}}}, VISIT, {}),
        ({}, SAMPLE, {"sampling": {}}),
        ({"sampling": {}}, SAMPLE, {}),
        ({"sampling": {}}, WITH_TOOLS, {"sampling": {"tools": {}}}),
        ({"sampling": {"tools": {}}}, WITH_TOOLS, {}),
        ({}, ROOTS, {"roots": {}}),
        ({"roots": {}}, ROOTS, {}),
    ],
)
@pytest.mark.parametrize("revision", [R2025_11, R2026], ids=lambda revision: revision.name)
def test_a_client_is_asked_only_what_it_declared(
    revision: Revision, declared: Any, question: Any, lacking: Any
) -> None:
    talk = server(revision, declared=declared) if revision is R2025_11 else server()
    meta = {f"{IO}clientCapabilities": declared} if revision is R2026 else {}
    talk.say(call(1, revision, **meta))
    asked = talk.take(Request)
    assert talk.engine.missing_for(asked, {"q": question}) == lacking
    if lacking:
        with pytest.raises(LocalProtocolError):
            talk.engine.ask(asked, {"q": question})
        assert talk.hear() == [] and asked.is_open
    else:
        talk.engine.ask(asked, {"q": question})
        assert len(talk.hear()) == 1


@rule(24, 148)
def test_what_the_revision_does_not_have_is_not_asked() -> None:
    talk = server(R2025_03, declared={"elicitation": {}})
    talk.say(call(1, R2025_03))
    assert talk.engine.missing_for(talk.take(Request), {"q": ELICIT}) == {"elicitation": {}}


@rule(1, 2, 151)
@pytest.mark.parametrize("revision", [R2025_06, R2025_11], ids=lambda revision: revision.name)
def test_a_handshake_client_is_asked_by_requests(revision: Revision) -> None:
    declared = {"elicitation": {"form": {}, "url": {}}, "roots": {}, "sampling": {}}
    talk = server(revision, declared=declared)
    talk.say(call(1, revision))
    asked = talk.take(Request)
    questions = {"a": ELICIT, "b": ROOTS, "c": SAMPLE} | ({"d": VISIT} if revision is R2025_11 else {})
    calls = talk.engine.ask(asked, questions, deadline=9.0)
    assert [each.related_to for each in calls] == [1] * len(calls)
    assert talk.pipe.next_deadline() == 9.0
    heard = talk.hear()
    assert [message["method"] for message in heard] == [question.method for question in questions.values()]
    assert len({message["id"] for message in heard}) == len(heard)
    assert "params" not in heard[1]
    if revision is R2025_11:
        assert heard[3]["params"]["mode"] == "url" and heard[3]["params"]["elicitationId"]
    talk.say(result(heard[1]["id"], {"roots": []}))
    done = talk.take(Result)
    assert done.call is calls[1] and msgspec.json.decode(done.raw) == {"roots": []}
    talk.say(failure(heard[0]["id"], -1, "refused"))
    failed = talk.take(Failure)
    assert failed.call is calls[0] and failed.error.code == -1 and not failed.is_local


@rule(45, 49, 102, 162, 163, 165)
def test_a_modern_client_is_asked_by_an_answer() -> None:
    talk = server()
    able = {f"{IO}clientCapabilities": {"elicitation": {"url": {}}, "roots": {}}}
    for method, params in (
        ("tools/call", {"name": "t"}),
        ("prompts/get", {"name": "p"}),
        ("resources/read", {"uri": "a:b"}),
    ):
        talk.say(call(1, R2026, params, method=method, **able))
        asked = talk.take(Request)
        assert talk.engine.ask(asked, {"v": VISIT, "r": ROOTS}) == []
        (answer,) = talk.hear()
        value = answer["result"]
        assert value["resultType"] == "input_required" and "requestState" not in value
        assert "ttlMs" not in value and "cacheScope" not in value
        assert value["_meta"][f"{IO}serverInfo"]["name"] == "test-server"
        assert value["inputRequests"] == {
            "v": {"method": "elicitation/create", "params": {"message": "m", "mode": "url", "url": "https://h/"}},
            "r": {"method": "roots/list", "params": {}},
        }
        assert asked.state is RequestState.ANSWERED
    talk.say(call(2, R2026, {}, method="tools/list", **able))
    listing = talk.take(Request)
    with pytest.raises(LocalProtocolError):
        talk.engine.ask(listing, {"r": ROOTS})
    assert listing.is_open and talk.hear() == []


@rule(163, 171, 173)
def test_state_comes_back_sealed_or_not_at_all() -> None:
    talk = server()
    talk.say(call(1, R2026, {"name": "t", "arguments": {"a": 1}}))
    asked = talk.take(Request)
    assert talk.engine.read_state(asked, now=0.0) == b""
    assert talk.engine.ask(asked, {}, b"state", now=100.0) == []
    (answer,) = talk.hear()
    assert "inputRequests" not in answer["result"]
    state = answer["result"]["requestState"]
    retry = {"name": "t", "arguments": {"a": 1}, "requestState": state}
    talk.say(call(2, R2026, retry))
    assert talk.engine.read_state(talk.take(Request), now=101.0) == b"state"
    for changed in (
        {"requestState": state[:-4] + "AAAA"},
        {"arguments": {"a": 2}},
        {"name": "u"},
        {"requestState": "é"},
    ):
        talk.say(call(3, R2026, retry | changed))
        with pytest.raises(RemoteProtocolError) as refused:
            talk.engine.read_state(talk.events[-1], now=101.0)
        talk.engine.send_error(talk.take(Request), refused.value.error)
        assert error_of(talk.hear(), 3) == ErrorCode.INVALID_PARAMS
    talk.say(call(4, R2026, retry))
    with pytest.raises(RemoteProtocolError):
        talk.engine.read_state(talk.take(Request), now=100.0 + 601)
    talk.engine.principal = "mallory"
    talk.say(call(5, R2026, retry))
    with pytest.raises(RemoteProtocolError):
        talk.engine.read_state(talk.take(Request), now=101.0)


def test_state_needs_a_sealer() -> None:
    talk = server(sealer=None)
    talk.say(call(1, R2026, {"name": "t", "requestState": "x"}))
    asked = talk.take(Request)
    with pytest.raises(LocalProtocolError):
        talk.engine.ask(asked, {}, b"state")
    with pytest.raises(RemoteProtocolError):
        talk.engine.read_state(asked, now=0.0)


@rule(25)
def test_a_server_may_ping_a_handshake_client() -> None:
    talk = server(R2025_11)
    open_call = talk.engine.ping(deadline=4.0)
    (message,) = talk.hear()
    assert message == request(1, "ping") and talk.pipe.next_deadline() == 4.0
    talk.say(result(1, {}))
    assert talk.take(Result).call is open_call
    late = talk.engine.ping(deadline=4.0)
    talk.hear()
    talk.pipe.handle_deadline(4.0)
    assert talk.take(TimedOut).call is late
    assert talk.hear() == [notification("notifications/cancelled", {"requestId": 2, "reason": "timed out"})]
    with pytest.raises(LocalProtocolError):
        server().engine.ping()


# Changes


@rule(137)
@OLD
def test_a_watched_resource_is_announced_until_it_is_not(revision: Revision) -> None:
    talk = server(revision)
    change = ChangeNotice(ChangeKind.RESOURCE, "a:b")
    talk.engine.publish(change)
    assert talk.hear() == []
    assert talk.say(request(1, "resources/subscribe", {"uri": "a:b"})) == [result(1, {})]
    talk.engine.publish(change)
    talk.engine.publish(ChangeNotice(ChangeKind.RESOURCE, "a:c"))
    assert talk.hear() == [notification("notifications/resources/updated", {"uri": "a:b"})]
    assert talk.say(request(2, "resources/unsubscribe", {"uri": "a:b"})) == [result(2, {})]
    assert talk.say(request(3, "resources/unsubscribe", {"uri": "never"})) == [result(3, {})]
    talk.engine.publish(change)
    assert talk.hear() == []


@rule(27, 138)
@OLD
def test_list_changes_are_announced_once_if_declared_and_initialized(revision: Revision) -> None:
    talk = Talk(ServerEngine(server_profile(capabilities=ServerCapabilities(tools=ToolsCapability(list_changed=True)))))
    talk.engine.publish(TOOLS)
    assert talk.hear() == []
    talk.say(initialize(revision))
    talk.engine.publish(TOOLS)
    assert talk.hear() == []
    # What changed in between is told as soon as it may be, or the client would never know.
    assert talk.say(notification("notifications/initialized")) == [notification("notifications/tools/list_changed")]
    for _ in range(3):
        talk.engine.publish(TOOLS)
    talk.engine.publish(PROMPTS)
    talk.engine.publish(ChangeNotice(ChangeKind.TASK, "t"))
    assert talk.hear() == [notification("notifications/tools/list_changed")]
    talk.engine.publish(TOOLS)
    assert len(talk.hear()) == 1


@rule(179, 180, 181, 185)
def test_each_subscription_hears_what_it_asked_for_under_its_own_id() -> None:
    talk = server()
    uris = ["a:1", "a:2", "a:1"]
    acks = talk.say(
        listen(1, toolsListChanged=True, promptsListChanged=False, resourceSubscriptions=uris),
        listen("1", toolsListChanged=True, promptsListChanged=True, resourcesListChanged=True),
    )
    assert [ack["method"] for ack in acks] == ["notifications/subscriptions/acknowledged"] * 2
    assert acks[0]["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["a:1", "a:2"]}
    tags = [ack["params"]["_meta"][f"{IO}subscriptionId"] for ack in acks]
    assert tags == [1, "1"] and [type(tag) for tag in tags] == [int, str]
    for notice in (
        TOOLS,
        TOOLS,
        PROMPTS,
        ChangeNotice(ChangeKind.RESOURCE, "a:1"),
        ChangeNotice(ChangeKind.RESOURCE, "z"),
    ):
        talk.engine.publish(notice)
    heard = [
        (m["method"].removeprefix("notifications/"), m["params"]["_meta"][f"{IO}subscriptionId"]) for m in talk.hear()
    ]
    assert heard == [
        ("tools/list_changed", 1),
        ("tools/list_changed", "1"),
        ("prompts/list_changed", "1"),
        ("resources/updated", 1),
    ]


@rule(179)
def test_only_what_the_server_can_tell_is_acknowledged() -> None:
    talk = server(capabilities=ServerCapabilities(tools=ToolsCapability(list_changed=True)))
    (ack,) = talk.say(listen(1, toolsListChanged=True, promptsListChanged=True, resourceSubscriptions=["a:b"]))
    assert ack["params"]["notifications"] == {"toolsListChanged": True}


@rule(44)
def test_tasks_are_watched_only_where_both_sides_have_them() -> None:
    able = server(capabilities=ServerCapabilities(extensions={EXTENSION: {}}))
    (refusal,) = able.say(listen(1, taskIds=["t"]))
    assert refusal["error"]["code"] == ErrorCode.MISSING_CLIENT_CAPABILITY
    (ack,) = able.say(listen(2, tasks=True, taskIds=["t", "t"]))
    assert ack["params"]["notifications"] == {"taskIds": ["t"]}
    able.engine.publish(ChangeNotice(ChangeKind.TASK, "t", b'{"taskId":"t"}'))
    able.engine.publish(ChangeNotice(ChangeKind.TASK, "u", b'{"taskId":"u"}'))
    (told,) = able.hear()
    assert told["method"] == "notifications/tasks" and told["params"]["taskId"] == "t"
    (ack,) = server().say(listen(3, tasks=True, taskIds=["t"]))
    assert ack["params"]["notifications"] == {}
    # A server that keeps tasks honours only those of whoever asks.
    table = TaskTable(lambda: "mine")
    table.create(Holder(None, Dialect.EXTENSION), 0.0)
    keeping = server(capabilities=ServerCapabilities(extensions={EXTENSION: {}}), tasks=table)
    (ack,) = keeping.say(listen(4, tasks=True, taskIds=["mine", "other"]))
    assert ack["params"]["notifications"] == {"taskIds": ["mine"]}


@rule(182)
def test_a_subscription_carries_no_progress() -> None:
    talk = server()
    message = listen(1)
    message["params"]["_meta"]["progressToken"] = "t"
    talk.say(message)
    (asked, _) = talk.engine.listeners[0]
    assert not talk.engine.send_progress(asked, 1)


@rule(7, 181)
def test_a_cancelled_subscription_hears_nothing_more() -> None:
    talk = server()
    talk.say(listen(1), listen(2))
    assert talk.say(notification("notifications/cancelled", {"requestId": 1})) == []
    talk.engine.publish(TOOLS)
    (left,) = talk.hear()
    assert left["params"]["_meta"][f"{IO}subscriptionId"] == 2


@rule(147, 183)
@pytest.mark.parametrize("strict", [False, True])
def test_a_subscription_ends_with_a_result(strict: bool) -> None:
    talk = server(cancels_listens=strict)
    talk.say(listen("s"))
    talk.engine.end_subscriptions()
    heard = talk.hear()
    assert len(heard) == 1 + strict
    if strict:
        assert heard[0] == notification("notifications/cancelled", {"requestId": "s"})
    assert heard[-1]["id"] == "s" and heard[-1]["result"]["resultType"] == "complete"
    assert heard[-1]["result"]["_meta"][f"{IO}subscriptionId"] == "s"
    talk.engine.publish(TOOLS)
    assert talk.hear() == [] and talk.engine.open_requests == []
