"""The client role, from the wire: subscriptions, and the server's own requests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from protocol import (
    REVISIONS,
    CallToolParams,
    Cancelled,
    Change,
    ChangeKind,
    ClientCapabilities,
    Closed,
    CreateMessageResult,
    EmptyParams,
    ErrorCode,
    ErrorObject,
    Failure,
    ListRootsResult,
    LocalProtocolError,
    Notification,
    PaginatedParams,
    Progress,
    Request,
    Result,
    Revision,
    Root,
    RootsCapability,
    Subscribed,
    SubscribeParams,
    SubscriptionFilter,
    TaskMetadata,
    TextContent,
    Unsubscribed,
    Violation,
)
from tests.pair import (
    R2024,
    R2025_03,
    R2025_06,
    R2025_11,
    R2026,
    Talk,
    client,
    failure,
    notification,
    request,
    result,
    small_limits,
)
from tests.requirements import rule

from .clientwire import ALL, EXTENSION, IO, OLD, ask

# Subscriptions


def tag(id_: Any, **params: Any) -> dict[str, Any]:
    return {**params, "_meta": {f"{IO}subscriptionId": id_}}


def acknowledged(id_: Any, **honoured: Any) -> Any:
    return notification("notifications/subscriptions/acknowledged", tag(id_, notifications=honoured))


CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
EVERYTHING = SubscriptionFilter(
    tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True, resource_subscriptions=["a:1"]
)


@rule(184)
def test_changes_are_told_apart_by_their_subscription() -> None:
    talk = client(R2026)
    one, two = talk.engine.listen(EVERYTHING), talk.engine.listen(EVERYTHING, deadline=4.0)
    first, second = talk.hear()
    assert first["method"] == "subscriptions/listen" and first["params"]["notifications"]["resourceSubscriptions"] == [
        "a:1"
    ]
    assert f"{IO}protocolVersion" in first["params"]["_meta"] and first["id"] != second["id"]
    talk.say(acknowledged(two.id, toolsListChanged=True), acknowledged(one.id, resourceSubscriptions=["a:1"]))
    assert [talk.take(Subscribed).subscription for _ in range(2)] == [two, one]
    assert two.filter.tools_list_changed is True and one.filter.tools_list_changed is UNSET
    assert talk.pipe.next_deadline() is None
    talk.say(notification(CHANGED, tag(two.id)), notification(UPDATED, tag(one.id, uri="a:1")))
    changes = [talk.take(Change) for _ in range(2)]
    assert [(c.subscription, c.kind, c.uri) for c in changes] == [
        (two, ChangeKind.TOOLS, None),
        (one, ChangeKind.RESOURCE, "a:1"),
    ]


@rule(179, 184)
def test_changes_before_the_acknowledgement_or_for_nobody_are_dropped() -> None:
    talk = client(R2026)
    subscription = talk.engine.listen(EVERYTHING)
    talk.hear()
    call = ask(talk)[0]
    for message in (
        notification(CHANGED, tag(subscription.id)),
        notification(CHANGED, tag(str(subscription.id))),
        notification(CHANGED, tag(call.id)),
        notification(CHANGED, tag(99)),
        notification(CHANGED),
        notification(CHANGED, {"_meta": 5}),
        notification(CHANGED, {"_meta": {}}),
        acknowledged(99),
        acknowledged(call.id),
    ):
        talk.say(message)
        assert [type(event) for event in talk.events] == [Violation], message
        talk.events.clear()
    talk.say(acknowledged(subscription.id), acknowledged(subscription.id))
    assert [type(event) for event in talk.events] == [Subscribed, Violation]


def test_a_task_is_named_by_its_change() -> None:
    talk = client(R2026, capabilities=ClientCapabilities(extensions={EXTENSION: {}}))
    subscription = talk.engine.listen(SubscriptionFilter(task_ids=["t"]))
    talk.say(acknowledged(subscription.id, taskIds=["t"]))
    task = {"taskId": "t", "status": "working", "createdAt": "x", "lastUpdatedAt": "y", "ttlMs": None}
    talk.say(notification("notifications/tasks", tag(subscription.id, **task)))
    change = talk.take(Change)
    assert (change.kind, change.uri) == (ChangeKind.TASK, "t")


@pytest.mark.parametrize("ending", ["result", "cancelled", "both", "error", "silence", "lost"])
def test_a_subscription_ends_once_whoever_ends_it(ending: str) -> None:
    talk = client(R2026)
    subscription = talk.engine.listen(EVERYTHING, deadline=2.0)
    talk.hear()
    cancelled = notification("notifications/cancelled", {"requestId": subscription.id})
    closing = result(subscription.id, {"resultType": "complete"} | tag(subscription.id))
    match ending:
        case "result":
            talk.say(closing)
        case "cancelled":
            talk.say(cancelled)
        case "both":
            talk.say(cancelled, closing)
        case "error":
            talk.say(failure(subscription.id, -32602))
        case "silence":
            talk.pipe.handle_deadline(2.0)
            assert talk.hear()[0]["method"] == "notifications/cancelled"
        case "lost":
            talk.pipe.receive_eof()
    ended = talk.take(Unsubscribed)
    assert ended.subscription is subscription and (ended.error is None) is (ending in ("result", "cancelled", "both"))
    assert not [event for event in talk.events if not isinstance(event, Closed)]
    assert not subscription.is_open and talk.engine.open_calls == []
    talk.engine.unlisten(subscription)
    assert talk.hear() == []


@pytest.mark.parametrize("how", ["unlisten", "cancel"])
def test_a_subscription_may_be_given_up(how: str) -> None:
    talk = client(R2026)
    subscription = talk.engine.listen(EVERYTHING)
    talk.hear()
    getattr(talk.engine, how)(subscription, "enough")
    assert talk.hear() == [notification("notifications/cancelled", {"requestId": subscription.id, "reason": "enough"})]
    talk.engine.unlisten(subscription)
    assert talk.hear() == [] and talk.events == [] and talk.engine._watches.subscriptions == []


@OLD
def test_a_handshake_server_is_watched_resource_by_resource(revision: Revision) -> None:
    talk = client(revision)
    one = talk.engine.listen(SubscriptionFilter(tools_list_changed=True, resource_subscriptions=["a:1", "a:2", "a:1"]))
    first, second = talk.hear()
    assert [m["params"] for m in (first, second)] == [{"uri": "a:1"}, {"uri": "a:2"}]
    talk.say(result(first["id"], {}))
    assert talk.events == []
    talk.say(failure(second["id"], -32602))
    assert talk.take(Subscribed).subscription is one
    assert one.filter.resource_subscriptions == ["a:1"] and one.is_acknowledged
    # What is watched already is not watched twice.
    two = talk.engine.listen(SubscriptionFilter(resource_subscriptions=["a:1"]))
    assert talk.hear() == [] and talk.take(Subscribed).subscription is two
    talk.say(notification(UPDATED, {"uri": "a:1"}), notification(CHANGED), notification(UPDATED, {"uri": "z"}))
    heard = [(talk.take(Change)) for _ in range(4)]
    assert [(c.subscription, c.kind) for c in heard] == [
        (one, ChangeKind.RESOURCE),
        (two, ChangeKind.RESOURCE),
        (one, ChangeKind.TOOLS),
        (None, ChangeKind.RESOURCE),
    ]
    talk.engine.unlisten(one)
    assert talk.hear() == [] and not one.is_open
    talk.engine.cancel(two)
    (last,) = talk.hear()
    assert last["method"] == "resources/unsubscribe" and last["params"] == {"uri": "a:1"}
    talk.say(result(last["id"], {}))
    assert talk.events == [] and talk.engine.open_calls == []


def test_a_handshake_server_that_can_tell_nothing_is_not_asked() -> None:
    talk = client(R2025_11, can={})
    subscription = talk.engine.listen(EVERYTHING)
    assert talk.hear() == [] and talk.take(Subscribed).subscription is subscription
    assert subscription.filter.tools_list_changed is UNSET and subscription.filter.resource_subscriptions is UNSET
    talk.engine.unlisten(subscription)
    assert talk.hear() == []


@pytest.mark.parametrize("ending", ["answered", "failed", "silence", "lost"])
def test_watching_given_up_while_it_is_being_set_up_ends_quietly(ending: str) -> None:
    talk = client(R2025_11)
    subscription = talk.engine.listen(SubscriptionFilter(resource_subscriptions=["a:1"]), deadline=3.0)
    talk.engine.unlisten(subscription)
    first, second = talk.hear()
    assert [m["method"] for m in (first, second)] == ["resources/subscribe", "resources/unsubscribe"]
    match ending:
        case "answered":
            talk.say(result(first["id"], {}), result(second["id"], {}))
        case "failed":
            talk.say(failure(first["id"], 1), failure(second["id"], 1))
        case "silence":
            talk.pipe.handle_deadline(3.0)
            talk.say(result(second["id"], {}))
        case "lost":
            talk.pipe.receive_eof()
    assert [type(event) for event in talk.hear_events()] == ([Closed] if ending == "lost" else [])
    assert talk.engine.open_calls == [] and talk.engine._watches.waiting == {}


def test_a_resource_whose_watch_is_not_confirmed_in_time_is_not_watched() -> None:
    talk = client(R2025_11)
    subscription = talk.engine.listen(SubscriptionFilter(resource_subscriptions=["a:1"]), deadline=3.0)
    talk.hear()
    talk.pipe.handle_deadline(3.0)
    assert talk.take(Subscribed).subscription is subscription
    assert subscription.filter.resource_subscriptions == []
    assert talk.hear()[0]["method"] == "notifications/cancelled"


def test_a_caller_may_subscribe_by_itself() -> None:
    talk = client(R2025_11)
    for method in ("resources/subscribe", "resources/unsubscribe"):
        for answer in (result, lambda id_, _: failure(id_, 1)):
            call = ask(talk, method, SubscribeParams(uri="a:1"))[0]
            talk.say(answer(call.id, {}))
            assert [type(event) for event in talk.events] in ([Result], [Failure])
            talk.events.clear()


@pytest.mark.parametrize("revision", [R2025_11, R2026], ids=lambda revision: revision.name)
def test_a_lost_connection_ends_every_subscription(revision: Revision) -> None:
    talk = client(revision)
    subscription = talk.engine.listen(EVERYTHING)
    call = ask_all(talk)
    talk.engine.receive_eof()
    events = talk.hear_events()
    assert sorted(type(event).__name__ for event in events) == ["Closed", "Failure", "Unsubscribed"]
    assert isinstance(events[-1], Closed) and talk.take(Unsubscribed).subscription is subscription
    assert talk.take(Failure).call is call
    talk.engine.unlisten(subscription)
    talk.engine.announce_roots()
    assert talk.engine.messages_to_send() == [] and talk.pipe.next_deadline() is None


def ask_all(talk: Talk) -> Any:
    call = talk.engine.send_request("tools/list", PaginatedParams(cursor=""), deadline=9.0)
    assert talk.hear()[-1]["params"]["cursor"] == ""
    return call


# The server's own requests


CAPABLE = ClientCapabilities


@rule(25)
@OLD
def test_a_ping_of_the_server_is_answered(revision: Revision) -> None:
    talk = client(revision)
    assert talk.say(request("p", "ping")) == [result("p", {})]
    assert talk.events == [] and talk.engine.open_requests == []


@rule(4, 139)
@OLD
def test_requests_of_a_handshake_server_are_answered(revision: Revision) -> None:
    talk = client(revision)
    assert talk.say(request(7, "roots/list", {"_meta": {"progressToken": "p"}})) == []
    asked = talk.take(Request)
    assert asked.progress_token == "p"
    assert talk.engine.send_progress(asked, 1)
    talk.engine.send_result(asked, ListRootsResult(roots=[Root(uri="file:///x")]))
    progress, answer = talk.hear()
    assert progress["params"] == {"progressToken": "p", "progress": 1}
    assert answer == result(7, {"roots": [{"uri": "file:///x"}]})
    talk.say(request("8", "sampling/createMessage", {"messages": [], "maxTokens": 5}))
    content = [TextContent(text="a")]
    done = CreateMessageResult(role="assistant", content=content, model="m", result_type="complete")
    talk.engine.send_result(talk.take(Request), done)
    (answer,) = talk.hear()
    text = {"type": "text", "text": "a"}
    assert answer["result"]["content"] == ([text] if revision is R2025_11 else text)
    assert "resultType" not in answer["result"]
    talk.say(request(9, "roots/list"))
    talk.engine.send_error(talk.take(Request), ErrorObject(-1, "refused"))
    assert talk.hear() == [failure(9, -1, "refused")]


@rule(16)
@OLD
@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no/such", {}, ErrorCode.METHOD_NOT_FOUND),
        ("tools/list", {}, ErrorCode.METHOD_NOT_FOUND),
        ("notifications/message", {}, ErrorCode.METHOD_NOT_FOUND),
        ("server/discover", {}, ErrorCode.METHOD_NOT_FOUND),
        ("sampling/createMessage", {}, ErrorCode.INVALID_PARAMS),
        ("sampling/createMessage", [], ErrorCode.INVALID_PARAMS),
        ("roots/list", {"_meta": 5}, ErrorCode.INVALID_PARAMS),
    ],
)
def test_bad_requests_of_the_server_are_refused(revision: Revision, method: str, params: Any, code: int) -> None:
    talk = client(revision)
    (answer,) = talk.say(request("x", method, params))
    assert answer["id"] == "x" and answer["error"]["code"] == code
    assert talk.say(request(2, "ping")) == [result(2, {})]


@rule(148, 149, 150)
@pytest.mark.parametrize(
    ("elicitation", "mode", "is_good"),
    [
        ({}, None, True),
        ({}, "form", True),
        ({}, "url", False),
        ({"form": {}}, "url", False),
        ({"url": {}}, None, False),
        ({"url": {}}, "url", True),
    ],
)
def test_only_declared_modes_of_elicitation_are_served(elicitation: Any, mode: str | None, is_good: bool) -> None:
    declared = msgspec.convert({"elicitation": elicitation}, ClientCapabilities)
    talk = client(R2025_11, capabilities=declared)
    params = {"message": "m"} | ({} if mode is None else {"mode": mode})
    answers = talk.say(request(1, "elicitation/create", params))
    assert (answers == []) is is_good
    if not is_good:
        assert answers[0]["error"]["code"] == ErrorCode.INVALID_PARAMS
    undeclared = client(R2025_11, capabilities=ClientCapabilities())
    (answer,) = undeclared.say(request(1, "elicitation/create", params))
    assert answer["error"]["code"] == ErrorCode.METHOD_NOT_FOUND
    (answer,) = client(R2025_03).say(request(1, "elicitation/create", params))
    assert answer["error"]["code"] == ErrorCode.METHOD_NOT_FOUND


@rule(145, 146)
def test_the_server_may_withdraw_its_request() -> None:
    talk = client(R2025_11)
    talk.say(request(1, "roots/list"), notification("notifications/cancelled", {"requestId": 1}))
    asked = talk.take(Request)
    assert talk.take(Cancelled).request is asked
    talk.engine.send_result(asked, ListRootsResult(roots=[]))
    assert talk.hear() == []
    call = ask(talk)[0]
    talk.say(notification("notifications/cancelled", {"requestId": call.id}))
    assert call.is_open and talk.events == []


def test_a_server_cannot_end_what_stands_for_a_subscription() -> None:
    talk = client(R2025_11)
    subscription = talk.engine.listen(EVERYTHING)
    talk.hear()
    talk.say(notification("notifications/cancelled", {"requestId": subscription.id}))
    assert subscription.is_open
    talk.say(notification("notifications/cancelled", {}))


def test_requests_of_the_server_are_bounded_and_unique() -> None:
    talk = client(R2025_11, limits=small_limits(requests=2))
    assert talk.say(request(1, "roots/list"), request(2, "roots/list")) == []
    (twice,) = talk.say(request(1, "roots/list"))
    assert twice["error"]["code"] == ErrorCode.INVALID_REQUEST
    (busy,) = talk.say(request(3, "roots/list"))
    assert busy["error"]["code"] == ErrorCode.OVERLOADED
    talk.engine.send_result(talk.take(Request), ListRootsResult(roots=[]))
    talk.hear()
    assert talk.say(request(3, "roots/list")) == []


@rule(45, 48, 108)
def test_a_modern_client_answers_nothing() -> None:
    talk = client(R2026)
    messages = [request(1, "ping"), request(2, "roots/list"), request(3, "no/such"), {"id": 4}, [request(5, "ping")]]
    for message in (*messages, b"noise", b'{"jsonrpc":"2.0","id":1}'):
        assert talk.say(message) == []
        assert [type(event) for event in talk.events] == [Violation]
        talk.events.clear()


@rule(12, 14)
def test_batches_are_heard_where_they_exist_and_never_sent() -> None:
    talk = client(R2025_03)
    one, two = ask(talk)[0], ask(talk)[0]
    (answers,) = talk.say(
        [result(two.id, {"content": []}), result(one.id, {"content": []}), request(9, "ping"), request(8, "x")]
    )
    assert [talk.take(Result).call for _ in range(2)] == [two, one]
    assert [(answer["id"], "error" in answer) for answer in answers] == [(9, False), (8, True)]
    assert talk.say([{"id": 1}, 5]) == []
    for revision in (R2024, R2025_06, R2025_11, R2026):
        talk = client(revision)
        call = ask(talk)[0]
        assert talk.say([result(call.id, {"content": []})]) == []
        assert call.is_open and isinstance(talk.take(Violation), Violation)


@rule(139)
def test_changed_roots_are_announced_where_that_was_declared() -> None:
    talk = client(R2025_11)
    talk.engine.announce_roots()
    assert talk.hear() == [notification("notifications/roots/list_changed")]
    for quiet in (client(R2025_11, capabilities=ClientCapabilities(roots=RootsCapability())), client(R2026)):
        quiet.engine.announce_roots()
        assert quiet.hear() == []


@ALL
def test_other_notifications_are_reported(revision: Revision) -> None:
    talk = client(revision)
    talk.say(notification("vendor/x", {"a": 1}))
    heard = talk.take(Notification)
    assert heard.method == "vendor/x" and msgspec.json.decode(heard.params) == {"a": 1}
    for message in (notification("notifications/initialized"), notification("roots/list"), notification(UPDATED, {})):
        talk.say(message)
        assert isinstance(talk.take(Violation), Violation) and talk.events == []


def test_a_notification_is_sent_only_by_the_side_it_belongs_to() -> None:
    talk = client(R2025_11)
    for method in ("notifications/message", "tools/call", "notifications/tools/list_changed"):
        with pytest.raises(LocalProtocolError):
            talk.engine.send_notification(method)
    talk.engine.send_notification("vendor/x", EmptyParams())
    assert talk.hear() == [notification("vendor/x", {})]
    talk.say(request(1, "roots/list"))
    talk.engine.send_notification("vendor/y", related_to=talk.take(Request))
    assert talk.hear() == [notification("vendor/y")]


def test_an_extension_method_may_be_called() -> None:
    for revision in REVISIONS:
        talk = client(revision)
        call = ask(talk, "vendor/do", EmptyParams())[0]
        talk.say(result(call.id, {"x": 1}))
        assert talk.take(Result).call is call
        call = ask(talk, "vendor/do", EmptyParams())[0]
        talk.engine.cancel(call)
        assert talk.hear()[0]["params"] == {"requestId": call.id}


def test_a_call_that_became_a_task_is_followed_and_not_cancelled() -> None:
    talk = client(R2025_11, limits=small_limits(calls=1))
    task = CallToolParams(name="t", task=TaskMetadata())
    call = ask(talk, "tools/call", task, progress=True)[0]
    talk.say(result(call.id, {"task": {}}))
    talk.take(Result)
    heard = notification("notifications/progress", {"progressToken": call.id, "progress": 1})
    talk.say(heard)
    assert talk.take(Progress).call is call
    # No more are followed than calls may be open.
    other = ask(talk, "tools/call", task, progress=True)[0]
    talk.say(result(other.id, {"task": {}}))
    assert set(talk.engine._followed) == {call.id}
    talk.engine.unfollow(call)
    talk.events.clear()
    talk.say(heard)
    assert isinstance(talk.take(Violation), Violation)
    third = ask(talk, "tools/call", task)[0]
    talk.engine.cancel(third)
    assert talk.hear() == [] and not third.is_open


def test_a_request_of_the_server_may_have_a_deadline() -> None:
    from protocol import Expired

    talk = client(R2025_11)
    talk.say(request(1, "roots/list"))
    asked = talk.take(Request)
    talk.engine.limit_request(asked, 4.0)
    talk.pipe.handle_deadline(5.0)
    assert talk.take(Expired).request is asked and asked.is_open
    talk.engine.send_result(asked, ListRootsResult(roots=[]))
    talk.engine.limit_request(asked, 9.0)
    assert talk.pipe.next_deadline() is None


def test_an_answer_too_long_to_read_fails_the_one_call_that_waits() -> None:
    talk = client(R2026)
    first = talk.engine.send_request("tools/call", CallToolParams(name="a"))
    talk.engine.report_violation(ErrorObject(ErrorCode.INVALID_REQUEST, "message longer than 5 bytes"))
    failures = [event for event in talk.engine.events_received() if isinstance(event, Failure)]
    assert [event.call for event in failures] == [first] and failures[0].is_local
    assert "longer than 5 bytes" in failures[0].error.message
    calls = [talk.engine.send_request("tools/call", CallToolParams(name="a")) for _ in range(2)]
    talk.engine.report_violation(ErrorObject(ErrorCode.INVALID_REQUEST, "message longer than 5 bytes"))
    # With two waiting nobody can tell whose it was.
    assert talk.engine.open_calls == calls
