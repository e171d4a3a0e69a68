"""A client of Streamable HTTP whose connections are lost: what is asked again, what is not, and how often."""

from __future__ import annotations

from typing import Any

from protocol import (
    Change,
    ElicitResult,
    ErrorObject,
    Failure,
    InputRequired,
    Progress,
    ReadResourceParams,
    Result,
    Subscribed,
    Unsubscribed,
)
from protocol.framing.sse import encode_event
from protocol.types import SubscriptionFilter
from tests.pair import (
    failure,
    notification,
    result,
)
from tests.requirements import rule
from tests.unit.bindings.clientwire import (
    DONE,
    Sent,
    Web,
    call_tool,
    legacy,
    list_tools,
    modern,
    tool,
)

# A connection that is lost


@rule(106)
def test_a_broken_stream_of_the_envelope_era_is_asked_again_under_a_new_id() -> None:
    web = modern()
    call, sent = web.call("resources/read", ReadResourceParams(uri="a:b"), progress=True)
    before = dict(sent.message)
    sent.stream(notification("notifications/progress", {"progressToken": call.id, "progress": 5}))
    web.take(Progress)
    sent.feed(encode_event(b"", event=None, id="1", retry=9000))
    sent.end()
    assert web.sent == [] and call.is_open
    web.pass_time(1.0)
    again = web.next("POST")
    assert again.id != before["id"] and again.message == {**before, "id": again.id} and call.id == again.id
    assert again.header("last-event-id") is None and again.header("mcp-name") == "a:b"
    again.stream(notification("notifications/progress", {"progressToken": before["id"], "progress": 1}))
    assert web.take(Progress).call is call
    again.stream(result(before["id"], {"contents": [1]}), result(again.id, {"contents": []}))
    assert bytes(web.take(Result).raw) == b'{"contents":[]}' and not web.events
    assert web.engine._renewed == {}


def test_what_is_lost_twice_fails() -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.fail()
    web.pass_time(1)
    web.next("POST").fail("reset by peer")
    failed = web.take(Failure)
    assert failed.call is call and failed.is_local and failed.error.data == {"was_sent": True}
    assert failed.error.message == "tools/list: the connection was lost before the answer came: reset by peer"
    web.pass_time(100)
    assert web.sent == []


def test_what_must_not_run_twice_fails_at_once_and_says_so() -> None:
    for web in (modern(), legacy()):
        call, sent = call_tool(web)
        sent.fail("reset by peer")
        failed = web.take(Failure)
        assert failed.call is call and failed.is_local and failed.error.data == {"was_sent": True}
        assert failed.error.message.startswith("tools/call 't': the connection was lost before the answer came")
        assert web.binding.next_deadline() is None


def test_what_could_not_be_sent_fails_at_once() -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.fail("connection refused", was_sent=False)
    failed = web.take(Failure)
    assert failed.call is call and failed.error.data == {"retryable": True}
    assert failed.error.message == "tools/list could not be sent: connection refused"


def test_a_tool_that_says_it_is_safe_is_called_again() -> None:
    web = legacy()
    list_tools(web, tool(hints={"readOnlyHint": True}))
    call, sent = call_tool(web)
    sent.fail()
    web.pass_time(1)
    again = web.next("POST")
    again.answer(DONE)
    assert web.take(Result).call is call


def test_sending_again_is_tried_a_few_times_with_longer_and_longer_waits() -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.fail()
    waits = []
    while call.is_open:
        before = web.now
        at = web.binding.next_deadline()
        web.pass_time(at - before)
        waits.append(at - before)
        web.next("POST").fail("refused", was_sent=False)
    assert waits == [1, 2, 4, 8, 16] and web.take(Failure).call is call
    call, sent = web.call("tools/list")
    sent.fail()
    web.pass_time(1)
    web.next("POST").reply(503)
    web.pass_time(2)
    again = web.next("POST")
    again.answer({"tools": []})
    assert web.take(Result).call is call


def test_a_head_without_an_end_is_what_the_head_says() -> None:
    web = modern()
    call, sent = call_tool(web)
    sent.head(500)
    sent.feed(b"half")
    sent.fail()
    failed = web.take(Failure)
    assert failed.call is call and failed.error.message == "HTTP 500 Internal Server Error: 'half'"
    call, sent = call_tool(web)
    sent.head(200, content_type="application/json")
    sent.feed(b"{")
    sent.fail()
    assert "lost before the answer came" in web.take(Failure).error.message
    call, sent = call_tool(web)
    sent.end()
    assert "ended before it began" in web.take(Failure).error.message


# Subscriptions of the envelope era


def listen(web: Web) -> tuple[Any, Sent]:
    subscription = web.engine.listen(SubscriptionFilter(tools_list_changed=True))
    return subscription, web.next("POST")


def tagged(sent: Sent, method: str, **params: Any) -> Any:
    return notification(method, {"_meta": {"io.modelcontextprotocol/subscriptionId": sent.id}, **params})


def acknowledge(sent: Sent) -> None:
    sent.stream(tagged(sent, "notifications/subscriptions/acknowledged", notifications={"toolsListChanged": True}))


def test_a_subscription_whose_stream_breaks_is_begun_again() -> None:
    web = modern()
    subscription, sent = listen(web)
    for _ in range(10):
        acknowledge(sent)
        assert web.take(Subscribed).subscription is subscription
        sent.stream(tagged(sent, "notifications/tools/list_changed"))
        assert web.take(Change).subscription is subscription
        sent.fail()
        assert web.sent == []
        web.pass_time(1)
        sent = web.next("POST")
        assert sent.message["method"] == "subscriptions/listen"
    acknowledge(sent)
    sent.stream(result(sent.id, {"resultType": "complete"}))
    assert web.take(Unsubscribed).error is None
    sent.end()
    web.pass_time(100)
    assert web.sent == []


def test_a_subscription_that_cannot_be_begun_again_ends() -> None:
    web = modern()
    subscription, sent = listen(web)
    acknowledge(sent)
    web.take(Subscribed)
    fails = [
        lambda each: each.fail(),
        lambda each: each.fail("refused", was_sent=False),
        lambda each: each.reply(503, failure(each.id, 1503)),
    ]
    count = 0
    while subscription.is_open:
        fails[count % 3](sent)
        count += 1
        if subscription.is_open:
            web.pass_time(100)
            sent = web.next("POST")
    assert count == 6
    error = web.take(Unsubscribed).error
    assert error is not None and "subscriptions/listen" in error.message


def test_a_refused_subscription_ends() -> None:
    web = modern()
    _, sent = listen(web)
    sent.reply(400, failure(sent.id, -32602, "no"))
    assert web.take(Unsubscribed).error == ErrorObject(-32602, "no")
    _, sent = listen(web)
    sent.fail("refused", was_sent=False)
    assert web.take(Unsubscribed).error is not None
    subscription, sent = listen(web)
    web.engine.unlisten(subscription)
    web.pump()
    assert sent.is_dropped and web.sent == []


# Input on the way


def test_a_round_of_input_that_is_lost_is_repeated_as_it_was() -> None:
    web = modern()
    call, sent = web.call("resources/read", ReadResourceParams(uri="a:b"))
    ask = {"method": "elicitation/create", "params": {"mode": "form", "message": "?", "requestedSchema": {}}}
    sent.answer({"resultType": "input_required", "inputRequests": {"q": ask}, "requestState": "st"})
    needed = web.take(InputRequired)
    call = web.engine.answer(needed, {"q": ElicitResult(action="accept", content={"a": 1})})
    sent = web.next("POST")
    sent.fail()
    web.pass_time(1)
    again = web.next("POST")
    assert {**again.message, "id": 0} == {**sent.message, "id": 0}
    assert again.message["params"]["requestState"] == "st" and again.header("mcp-name") == "a:b"
    again.answer({"contents": []})
    assert web.take(Result).call is call


# What the engine watches by itself


def test_a_request_to_watch_a_resource_is_asked_again() -> None:
    web = legacy()
    subscription = web.engine.listen(SubscriptionFilter(resource_subscriptions=["a:1"]))
    sent = web.next("resources/subscribe")
    sent.fail()
    web.pass_time(1)
    again = web.next("resources/subscribe")
    assert again.id != sent.id and not web.has(Subscribed)
    again.answer({})
    assert web.take(Subscribed).subscription is subscription


def test_a_call_that_ended_cannot_fail_any_more() -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.answer({"tools": []})
    web.take(Result)
    web.engine.fail_call(call, ErrorObject(1, "no"))
    web.engine.unfollow(call)
    assert not web.events
