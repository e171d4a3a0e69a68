"""A client in a session of Streamable HTTP: streams that are taken up again, the stream for the rest, lost sessions."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import (
    REVISIONS,
    Change,
    Closed,
    ElicitResult,
    ErrorObject,
    Failure,
    Ready,
    Request,
    Result,
    SetLevelParams,
    Subscribed,
    TimedOut,
    Violation,
)
from protocol.events import Cancelled
from protocol.framing.sse import encode_event
from protocol.http.client import StreamableHTTPClientOptions
from protocol.types import SubscriptionFilter
from tests.pair import (
    R2025_06,
    R2025_11,
    failure,
    line,
    notification,
    request,
    result,
    small_limits,
)
from tests.requirements import rule
from tests.unit.bindings.clientwire import (
    DONE,
    SESSION,
    Sent,
    Web,
    call_tool,
    greeting,
    legacy,
)

# Taking up streams


@rule(75, 76)
def test_a_stream_is_taken_up_after_the_time_the_server_asks_for() -> None:
    web = legacy()
    call, sent = call_tool(web)
    sent.prime("e1", retry=500)
    sent.end()
    web.pass_time(0.499)
    assert web.sent == []
    web.pass_time(0.001)
    resumed = web.next()
    assert resumed.method == "GET" and resumed.header("last-event-id") == "e1"
    assert resumed.header("accept") == "text/event-stream" and resumed.header("mcp-session-id") == SESSION
    assert resumed.exchange.call is call and resumed.exchange.body is None
    resumed.stream()
    resumed.feed(encode_event(line(notification("notifications/tools/list_changed")), id="e2"))
    resumed.end()
    assert web.take(Change)
    web.pass_time(0.5)
    third = web.next("GET")
    assert third.header("last-event-id") == "e2"
    third.stream(result(call.id, DONE))
    assert web.take(Result).call is call
    third.end()
    assert web.binding.next_deadline() is None


@rule(76)
def test_a_lost_connection_is_taken_up_where_an_id_is_known() -> None:
    web = legacy()
    call, sent = call_tool(web)
    sent.prime("e1")
    sent.fail()
    web.pass_time(1.0)
    web.next("GET").stream(result(call.id, DONE))
    assert web.take(Result).call is call
    # An id that no header can carry is none.
    call, sent = call_tool(web)
    sent.stream()
    sent.feed("id: é\ndata:\n\n".encode())
    sent.end()
    assert web.take(Failure).call is call


def test_a_revision_without_resumption_has_none() -> None:
    web = legacy(REVISIONS[0], listens=False)
    call, sent = call_tool(web)
    sent.prime("e1")
    sent.end()
    assert web.take(Failure).call is call and web.sent == []


def test_a_server_that_never_waits_is_asked_only_so_often() -> None:
    web = legacy(options=StreamableHTTPClientOptions(rounds=3))
    call, sent = call_tool(web)
    waits = []
    while call.is_open:
        sent.prime("e1", retry=0)
        sent.end()
        at = web.binding.next_deadline()
        if at is not None:
            waits.append(round(at - web.now, 3))
            web.pass_time(at - web.now)
            sent = web.next("GET")
    assert waits == [0.1] * 3 and web.take(Failure).call is call


@pytest.mark.parametrize("status", [400, 405, 410, 200])
def test_a_stream_that_cannot_be_taken_up_is_lost(status: int) -> None:
    web = legacy()
    call, sent = call_tool(web)
    other, listing = web.call("prompts/list")
    for each in (sent, listing):
        each.prime("e1")
        each.end()
    web.pass_time(1)
    for _ in range(2):
        web.next("GET").reply(status)
    failed = web.take(Failure)
    assert failed.call is call and "could not be taken up again" in failed.error.message
    web.pass_time(1)
    again = web.next("POST")
    again.answer({"prompts": []})
    assert web.take(Result).call is other


def test_attempts_to_take_up_a_stream_are_bounded() -> None:
    web = legacy()
    call, sent = call_tool(web)
    sent.prime("e1")
    sent.end()
    waits = []
    fails = [lambda each: each.reply(503), lambda each: each.fail("refused", was_sent=False)]
    while call.is_open:
        at = web.binding.next_deadline()
        waits.append(at - web.now)
        web.pass_time(at - web.now)
        fails[len(waits) % 2](web.next("GET"))
    assert waits == [1, 1, 2, 4, 8, 16] and web.take(Failure).call is call


# The listening stream


@rule(68)
def test_the_stream_for_what_belongs_to_no_request_is_opened_after_the_handshake() -> None:
    web = legacy(listens=False)
    stream = web.next("GET")
    assert stream.header("accept") == "text/event-stream" and stream.header("mcp-session-id") == SESSION
    assert stream.exchange.call is None and stream.exchange.is_repeatable
    stream.stream(request(1, "elicitation/create", {"mode": "form", "message": "?", "requestedSchema": {}}))
    web.engine.send_result(web.take(Request), ElicitResult(action="decline"))
    posted = web.next("POST")
    assert posted.message == result(1, {"action": "decline"})
    posted.reply(202)
    web.binding.close(web.now)
    web.pump()
    assert stream.is_dropped


@pytest.mark.parametrize("status", [400, 404, 405, 200])
def test_a_server_without_that_stream_is_asked_once(status: int) -> None:
    web = legacy(listens=False)
    web.next("GET").reply(status)
    web.pass_time(1000)
    assert web.sent == [] and (status == 200) is web.has(Violation)
    assert web.binding.session_id == SESSION


def test_a_server_that_refuses_that_stream_is_reported() -> None:
    web = legacy(listens=False)
    web.next("GET").reply(401, www_authenticate="Bearer")
    assert web.take(Violation).error.data == {"status": 401, "www_authenticate": ["Bearer"]}
    web.pass_time(1000)
    assert web.sent == []


def test_that_stream_is_opened_again_when_it_ends() -> None:
    web = legacy(listens=False)
    stream = web.next("GET")
    stream.prime("g1", retry=3000)
    stream.end()
    web.pass_time(2.9)
    assert web.sent == []
    web.pass_time(0.2)
    stream = web.next("GET")
    assert stream.header("last-event-id") == "g1"
    stream.stream(notification("notifications/tools/list_changed"))
    stream.fail()
    web.pass_time(3)
    stream = web.next("GET")
    assert stream.header("last-event-id") == "g1"
    # It is forgotten there: what was missed is lost, the stream is not.
    stream.reply(400)
    web.pass_time(3)
    stream = web.next("GET")
    assert stream.header("last-event-id") is None


def test_that_stream_is_tried_again_in_longer_and_longer_waits() -> None:
    web = legacy(listens=False)
    waits = []
    for attempt in range(8):
        stream = web.next("GET")
        if attempt % 2:
            stream.reply(503)
        else:
            stream.fail("refused", was_sent=False)
        at = web.binding.next_deadline()
        waits.append(at - web.now)
        web.pass_time(at - web.now)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    stream = web.next("GET")
    stream.stream(notification("notifications/tools/list_changed"))
    stream.end()
    assert web.binding.next_deadline() == web.now + 1


def test_an_event_too_large_for_that_stream_is_reported_and_it_is_opened_again() -> None:
    web = legacy(listens=False, options=StreamableHTTPClientOptions(event_bytes=20))
    stream = web.next("GET")
    stream.stream()
    stream.feed(b"data: " + b"x" * 100 + b"\n\n")
    assert "larger than 20 bytes" in web.take(Violation).error.message and stream.is_dropped
    web.pass_time(1)
    assert web.next("GET")


def test_that_stream_waits_while_a_call_is_to_take_up_its_own() -> None:
    web = legacy(listens=False)
    stream = web.next("GET")
    stream.stream()
    _, sent = call_tool(web)
    sent.prime("e1", retry=2000)
    stream.fail()
    sent.end()
    web.pass_time(1.5)
    assert web.sent == []
    web.pass_time(0.5)
    assert [web.next("GET").header("last-event-id") for _ in range(2)] == ["e1", None] and web.sent == []


def test_a_client_need_not_listen() -> None:
    web = legacy(listens=False, options=StreamableHTTPClientOptions(is_listening=False))
    web.pass_time(10)
    assert web.sent == []
    web = legacy(session=None, listens=False)
    assert web.next("GET").header("mcp-session-id") is None


# Sessions that are lost


def restart(web: Web, sent: Sent, revision: Any = R2025_11, session: str | None = "s-2", **members: Any) -> None:
    """Refuse a request as a server does that was started anew, and greet the client again."""
    sent.reply(404, failure(sent.id if sent.method == "POST" else None, -32001, "Session not found"))
    again = web.next("initialize")
    assert again.header("mcp-session-id") is None and again.header("mcp-protocol-version") is None
    again.answer(greeting(revision, **members), **({} if session is None else {"mcp_session_id": session}))


@rule(82)
def test_a_lost_session_is_renewed_underneath() -> None:
    web = legacy(listens=False)
    stream = web.next("GET")
    stream.stream()
    _, sent = web.call("logging/setLevel", SetLevelParams(level="info"))
    sent.answer({})
    web.take(Result)
    web.engine.listen(SubscriptionFilter(resource_subscriptions=["a:1", "a:2"]))
    for _ in range(2):
        web.next("POST").answer({})
    web.take(Subscribed)
    kept = web.engine.listen(SubscriptionFilter(resource_subscriptions=["a:3"]))
    web.next("POST").answer({})
    web.take(Subscribed)
    web.engine.unlisten(kept)
    web.next("POST").answer({})

    call, sent = call_tool(web, arguments={"x": 1})
    other, second = web.call("prompts/list")
    restart(web, sent)
    second.reply(404)
    assert stream.is_dropped and web.binding.session_id == "s-2"
    late = web.engine.send_request("resources/list")
    web.engine.announce_roots()
    note = web.next("notifications/initialized")
    assert web.sent == [] or [each.message["method"] for each in web.sent] == ["notifications/roots/list_changed"]
    assert note.header("mcp-session-id") == "s-2" and note.header("mcp-protocol-version") == R2025_11.name
    note.reply(202)
    said = [
        (each.method, each.exchange.body and each.message["method"], each.header("mcp-session-id")) for each in web.sent
    ]
    assert {each[2] for each in said} == {"s-2"}
    assert [each[1] for each in said if each[1] != "notifications/roots/list_changed"] == [
        "logging/setLevel",
        "resources/subscribe",
        "resources/subscribe",
        None,
        "tools/call",
        "prompts/list",
        "resources/list",
    ]
    for name in ("logging/setLevel", "resources/subscribe"):
        web.next(name).answer({})
    web.next("resources/subscribe").reply(400)
    assert "HTTP 400" in web.take(Violation).error.message
    for each, name, value in [
        (call, "tools/call", DONE),
        (other, "prompts/list", {"prompts": []}),
        (late, "resources/list", {"resources": []}),
    ]:
        again = web.next(name)
        assert again.id == each.id and again.message["method"] == name
        again.answer(value)
        assert web.take(Result).call is each
    assert not web.has(Ready) and not web.has(Closed)


def test_questions_of_a_lost_session_are_withdrawn() -> None:
    web = legacy()
    call, sent = call_tool(web)
    sent.stream(request(1, "roots/list"))
    asked = web.take(Request)
    _, second = web.call("prompts/list")
    restart(web, second)
    assert web.take(Cancelled).request is asked
    assert call.is_open and not sent.is_dropped
    web.next("notifications/initialized").reply(202)
    # A stream of the old session may still bring its answer, but cannot be taken up.
    sent.feed(encode_event(b"", event=None, id="e9"))
    sent.end()
    assert web.take(Failure).call is call


def test_what_waits_to_take_up_a_stream_of_a_lost_session_is_repeated_or_fails() -> None:
    web = legacy()
    call, sent = call_tool(web)
    other, listing = web.call("prompts/list")
    for each in (sent, listing):
        each.prime("e1", retry=5000)
        each.end()
    _, third = web.call("tools/list")
    restart(web, third)
    failed = web.take(Failure)
    assert failed.call is call and "lost the session" in failed.error.message
    web.next("notifications/initialized").reply(202)
    assert web.next("tools/list")
    web.pass_time(5)
    web.next("prompts/list").answer({"prompts": []})
    assert web.take(Result).call is other


def test_a_stream_whose_session_is_found_lost_is_repeated_or_fails() -> None:
    web = legacy()
    call, sent = call_tool(web)
    other, listing = web.call("prompts/list")
    for each in (sent, listing):
        each.prime("e1")
        each.end()
    web.pass_time(1)
    first, second = web.next("GET"), web.next("GET")
    restart(web, first)
    second.reply(404)
    assert web.take(Failure).call is call
    web.next("notifications/initialized").reply(202)
    web.pass_time(1)
    web.next("prompts/list").answer({"prompts": []})
    assert web.take(Result).call is other


def test_a_lost_session_is_found_by_whatever_names_it() -> None:
    web = legacy(listens=False)
    stream = web.next("GET")
    stream.stream()
    stream.end()
    web.pass_time(1)
    restart(web, web.next("GET"), session="s-2")
    web.next("notifications/initialized").reply(202)
    stream = web.next("GET")
    web.engine.announce_roots()
    note = web.next("POST")
    note.reply(404)
    web.next("initialize").answer(greeting(), mcp_session_id="s-3")
    assert stream.is_dropped
    web.next("notifications/initialized").reply(202)
    assert web.binding.session_id == "s-3" and not web.has(Violation)


def test_a_session_lost_while_it_is_restored_is_renewed_again() -> None:
    web = legacy()
    _, sent = web.call("logging/setLevel", SetLevelParams(level="info"))
    sent.answer({})
    web.take(Result)
    call, sent = web.call("tools/list")
    restart(web, sent)
    web.next("notifications/initialized").reply(202)
    restart(web, web.next("logging/setLevel"), session="s-3")
    web.next("notifications/initialized").reply(202)
    old = web.next("tools/list")
    old.reply(404)
    assert [each.header("mcp-session-id") for each in web.sent] == ["s-3", "s-3"]
    web.next("tools/list").answer({"tools": []})
    assert web.take(Result).call is call and not web.has(Violation)


def test_notifications_wait_for_the_new_session_but_answers_to_the_old_do_not() -> None:
    web = legacy(limits=small_limits(requests=1))
    call, sent = call_tool(web)
    sent.stream(request(1, "roots/list"))
    asked = web.take(Request)
    _, second = web.call("prompts/list")
    second.reply(404)
    web.engine.send_error(asked, ErrorObject(1, "no"))
    web.engine.cancel(call)
    web.engine.announce_roots()
    web.engine.announce_roots()
    first = web.next("initialize")
    assert web.sent == []
    first.answer(greeting(), mcp_session_id="s-2")
    web.next("notifications/initialized").reply(202)
    assert [each.message["method"] for each in web.sent] == ["notifications/roots/list_changed", "prompts/list"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda sent: sent.answer(greeting(R2025_06)),
        lambda sent: sent.answer({}),
        lambda sent: sent.answer(greeting(), mcp_session_id="\x7f"),
        lambda sent: sent.reply(400, b"no"),
        lambda sent: sent.reply(200, failure(sent.id, -32603, "no")),
        lambda sent: sent.reply(200, {"jsonrpc": "2.0", "id": sent.id, "error": 5}),
        lambda sent: sent.reply(200, b"?", "text/plain"),
    ],
)
def test_a_session_that_cannot_be_renewed_ends_the_connection(answer: Any) -> None:
    web = legacy()
    call, sent = web.call("tools/list")
    sent.reply(404)
    answer(web.next("initialize"))
    assert web.take(Failure).call is call
    assert web.take(Closed).error is not None and web.sent == []
    web.pass_time(1000)
    assert web.sent == []


def test_renewing_a_session_is_tried_again_while_the_server_is_away() -> None:
    web = legacy()
    call, sent = web.call("tools/list")
    sent.reply(404)
    web.next("initialize").fail("refused", was_sent=False)
    web.pass_time(1)
    web.next("initialize").reply(503)
    web.pass_time(2)
    web.next("initialize").stream()
    web.pass_time(30)
    web.pass_time(4)
    again = web.next("initialize")
    again.stream(result(again.id, greeting()), mcp_session_id="s-2")
    web.next("notifications/initialized").reply(202)
    web.next("tools/list").answer({"tools": []})
    assert web.take(Result).call is call
    call, sent = web.call("tools/list")
    sent.reply(404)
    while not web.engine.closed:
        web.next("initialize").fail("refused", was_sent=False)
        web.pass_time(30)
    error = web.take(Closed).error
    assert error is not None and "could not be renewed" in error.message


def test_a_server_that_forgets_every_session_is_given_up() -> None:
    web = legacy()
    call, sent = web.call("tools/list")
    for number in range(2):
        restart(web, sent, session=f"s-{number}")
        web.next("notifications/initialized").reply(202)
        sent = web.next("tools/list")
    sent.reply(404)
    assert web.take(Failure).call is call
    error = web.take(Closed).error
    assert error is not None and "forgets every session" in error.message


def test_a_server_that_refuses_the_end_of_every_handshake_is_given_up() -> None:
    web = legacy()
    _, sent = web.call("tools/list")
    restart(web, sent)
    web.next("notifications/initialized").reply(404)
    web.next("initialize").answer(greeting(), mcp_session_id="s-3")
    web.next("notifications/initialized").reply(404)
    assert web.has(Closed)


def test_a_call_that_no_session_knows_fails_alone() -> None:
    web = legacy()
    call, sent = web.call("tools/list")
    for number in range(3):
        sent.reply(404)
        web.next("initialize").answer(greeting(), mcp_session_id=f"s-{number}")
        web.next("notifications/initialized").reply(202)
        if number < 2:
            sent = web.next("tools/list")
        other, fine = web.call("prompts/list")
        fine.answer({"prompts": []})
        assert web.take(Result).call is other
    failed = web.take(Failure)
    assert failed.call is call and failed.error.data == {"retryable": True}


def test_a_404_without_a_session_is_only_a_404() -> None:
    web = legacy(session=None, listens=False)
    web.next("GET").reply(404)
    call, sent = web.call("tools/list")
    sent.reply(404)
    assert web.take(Failure).call is call and web.sent == []


def test_the_new_server_may_do_without_sessions() -> None:
    web = legacy()
    call, sent = web.call("tools/list")
    restart(web, sent, session=None)
    web.next("notifications/initialized").reply(202)
    again = web.next("tools/list")
    assert again.header("mcp-session-id") is None and web.binding.session_id is None
    web.binding.close(web.now)
    assert not call.is_open
    web.pump()
    assert web.sent == []


def test_an_answer_may_come_although_its_session_is_lost() -> None:
    web = legacy()
    _, other = web.call("prompts/list")
    call, sent = web.call("tools/list")
    sent.reply(404)
    other.stream(result(call.id, {"tools": []}))
    assert web.take(Result).call is call
    web.next("initialize").answer(greeting(), mcp_session_id="s-2")
    web.next("notifications/initialized").reply(202)
    assert web.sent == []


def test_a_call_whose_time_is_up_as_it_comes_back_is_withdrawn() -> None:
    web = legacy()
    call, sent = call_tool(web, deadline=web.now + 1)
    sent.prime("e1")
    sent.end()
    web.pass_time(1)
    assert web.take(TimedOut).call is call
    assert web.next("POST").message["params"]["requestId"] == call.id and web.sent == []
