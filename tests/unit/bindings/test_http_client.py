"""The client side of Streamable HTTP: what each message is sent as, and what every kind of answer means."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from protocol import (
    CallToolParams,
    Change,
    ChangeKind,
    ClientCapabilities,
    Closed,
    ErrorObject,
    Failure,
    GetPromptParams,
    LocalProtocolError,
    PaginatedParams,
    Progress,
    ReadResourceParams,
    Ready,
    Request,
    Result,
    TaskIdParams,
    TimedOut,
    Violation,
)
from protocol.framing.headers import Headers
from protocol.framing.sse import encode_event
from protocol.http import client_calls, client_session
from protocol.http.client import StreamableHTTPClientOptions
from protocol.http.client_exchange import ClientExchange
from protocol.http.client_session import SessionMove, SessionState
from protocol.methods import METHODS
from tests.pair import (
    R2025_03,
    R2025_06,
    R2025_11,
    R2026,
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
    discovered,
    greeting,
    legacy,
    list_tools,
    modern,
    tool,
)

BOTH = "application/json, text/event-stream"
EXTENSION = {"io.modelcontextprotocol/tasks": {}}


# What goes out


@rule(59, 60, 93, 99, 108)
def test_each_message_is_a_post_of_its_own_with_the_headers_of_its_era() -> None:
    web = Web()
    probe = web.start()
    assert probe.method == "POST" and probe.message["method"] == "server/discover"
    for sent in (probe, call_after(web, probe)):
        meta = sent.message["params"]["_meta"]
        assert sent.header("mcp-protocol-version") == meta["io.modelcontextprotocol/protocolVersion"] == R2026.name
        assert sent.header("accept") == BOTH and sent.header("content-type") == "application/json"
        assert sent.header("mcp-method") == sent.message["method"]
        assert sent.header("mcp-session-id") is None and sent.exchange.target is None
        assert set(sent.message) == {"jsonrpc", "id", "method", "params"}


def call_after(web: Web, probe: Sent) -> Sent:
    probe.answer(discovered())
    assert web.take(Ready).context.revision is R2026
    return web.call("tools/list")[1]


@rule(99, 112, 204)
def test_names_are_repeated_where_the_method_has_one() -> None:
    web = modern(capabilities=ClientCapabilities(extensions=EXTENSION))
    web.engine.context.capabilities.extensions = EXTENSION  # type: ignore[union-attr]
    said = [
        ("tools/call", CallToolParams(name="my-tool"), "my-tool"),
        ("resources/read", ReadResourceParams(uri="file:///a%20b.txt"), "file:///a%20b.txt"),
        ("prompts/get", GetPromptParams(name="grüß"), f"=?base64?{base64.b64encode('grüß'.encode()).decode()}?="),
        ("tasks/get", TaskIdParams(task_id="id 1"), "id 1"),
        ("tasks/cancel", TaskIdParams(task_id=" x"), f"=?base64?{base64.b64encode(b' x').decode()}?="),
        ("tools/list", PaginatedParams(), None),
    ]
    for method, params, expected in said:
        call, sent = web.call(method, params)
        assert sent.header("mcp-name") == expected and sent.header("mcp-method") == method
        assert sent.exchange.call is call


def test_what_may_be_sent_twice_says_so() -> None:
    web = modern()
    assert web.call("tools/list")[1].exchange.is_repeatable
    assert not call_tool(web)[1].exchange.is_repeatable
    assert not web.call("vendor/thing", CallToolParams(name="x"))[1].exchange.is_repeatable
    list_tools(web, tool(hints={"readOnlyHint": True}), tool("i", hints={"idempotentHint": True}), tool("no", hints={}))
    assert [call_tool(web, name)[1].exchange.is_repeatable for name in ("t", "i", "no")] == [True, True, False]


def test_a_method_that_is_no_header_fails_its_call() -> None:
    web = modern()
    call = web.engine.send_request("vendor/Ü")
    failed = web.take(Failure)
    assert failed.call is call and failed.is_local and "Mcp-Method" in failed.error.message
    web.engine.send_notification("vendor/a b")
    assert "Mcp-Method" in web.take(Violation).error.message and web.sent == []


@rule(84)
def test_handshake_requests_have_the_version_once_it_is_known() -> None:
    for revision in (R2025_03, R2025_06, R2025_11):
        web = Web(revision)
        first = web.start()
        assert first.header("mcp-protocol-version") is None and first.header("mcp-method") is None
        assert first.header("accept") == BOTH
        first.answer(greeting(revision), mcp_session_id=SESSION)
        expected = revision.name if revision.version_header else None
        note = web.next("notifications/initialized")
        assert note.header("mcp-protocol-version") == expected and note.header("accept") == BOTH
        note.reply(202)
        assert web.next("GET").header("mcp-protocol-version") == expected
        assert web.call("tools/list")[1].header("mcp-protocol-version") == expected


@rule(79)
def test_the_session_id_is_sent_on_everything_after() -> None:
    web = legacy()
    assert web.binding.session_id == SESSION
    _, sent = web.call("tools/list")
    assert sent.header("mcp-session-id") == SESSION
    sent.stream(request(7, "roots/list"))
    web.engine.send_error(web.take(Request), ErrorObject(1, "no"))
    answer = web.next("POST")
    assert answer.header("mcp-session-id") == SESSION and answer.message["id"] == 7
    web.binding.close(web.now)
    ending = web.next()
    assert ending.method == "DELETE" and ending.header("mcp-session-id") == SESSION and web.sent == []
    ending.reply(405)
    web.binding.close(web.now)
    web.pump()
    assert web.sent == [] and web.binding.session_id is None and sent.is_dropped


@rule(78)
def test_a_session_id_that_is_no_visible_ascii_ends_the_connection() -> None:
    web = Web(R2025_11)
    web.start().answer(greeting(), mcp_session_id="a b")
    closed = web.take(Closed)
    assert closed.error is not None and "visible ASCII" in closed.error.message and web.sent == []


def test_calls_wait_until_the_server_took_the_end_of_the_handshake() -> None:
    web = Web(R2025_11)
    web.start().answer(greeting(), mcp_session_id=SESSION)
    web.take(Ready)
    note = web.next("notifications/initialized")
    first = web.engine.send_request("tools/list")
    gone = web.engine.send_request("prompts/list")
    web.engine.cancel(gone)
    web.pump()
    assert web.sent == []
    note.reply(202)
    assert [web.next().method for _ in range(2)] == ["GET", "POST"] and web.sent == []
    assert first.is_open


def test_a_server_that_does_not_take_the_end_of_the_handshake_is_reported() -> None:
    web = Web(R2025_11)
    web.start().answer(greeting(), mcp_session_id=SESSION)
    web.engine.send_request("tools/list")
    web.next("notifications/initialized").reply(500)
    assert "HTTP 500 Internal Server Error" in web.take(Violation).error.message
    assert web.next("GET") and web.next("POST")


# Answers


@rule(61)
@pytest.mark.parametrize("make", [modern, legacy])
def test_answers_come_as_json_or_as_a_stream(make: Any) -> None:
    web = make()
    call, sent = web.call("tools/list")
    sent.answer({"resultType": "complete", "tools": []})
    assert web.take(Result).call is call and sent.exchange.is_over and not sent.is_dropped
    call, sent = call_tool(web, progress=True)
    sent.stream(notification("notifications/progress", {"progressToken": call.id, "progress": 1}))
    assert web.take(Progress).call is call
    sent.stream(result(sent.id, DONE))
    assert web.take(Result).call is call
    sent.end()
    assert not sent.is_dropped and web.binding.next_deadline() is None
    assert not web.events


def test_a_stream_that_does_not_end_after_the_response_is_closed_a_little_later() -> None:
    web = modern()
    _, sent = web.call("tools/list")
    sent.stream(result(sent.id, {"tools": []}))
    assert not sent.is_dropped and not sent.exchange.is_over
    web.pass_time(1.0)
    assert sent.is_dropped
    sent.stream(notification("notifications/message", {"level": "info", "data": 1}))
    sent.end()
    sent.fail()
    assert not web.has(Violation)


@rule(107)
def test_comments_and_other_events_are_nothing_and_end_with_the_deadline() -> None:
    web = modern()
    call, sent = web.call("tools/list", deadline=web.now + 5)
    sent.stream()
    for _ in range(100):
        sent.comment()
        sent.feed(encode_event(b"?", event="ping"))
    assert not web.events
    web.pass_time(5)
    assert web.take(TimedOut).call is call and sent.is_dropped and web.sent == []


def test_interim_heads_are_skipped() -> None:
    web = modern()
    _, sent = web.call("tools/list")
    sent.head(103)
    sent.answer({"tools": []})
    assert web.has(Result)


def test_the_error_of_an_answer_without_its_id_is_the_calls() -> None:
    web = modern()
    for id_ in ({"id": None}, {}):
        for status in (200, 400):
            call, sent = web.call("tools/list")
            sent.reply(status, {"jsonrpc": "2.0", "error": {"code": -32600, "message": "what?"}, **id_})
            failed = web.take(Failure)
            assert failed.call is call and failed.error == ErrorObject(-32600, "what?") and not failed.is_local
        call, sent = web.call("tools/list")
        sent.stream({"jsonrpc": "2.0", "error": {"code": -32600, "message": "what?"}, **id_})
        assert web.take(Failure).call is call


def test_an_error_status_with_another_ids_error_fails_the_call_here() -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.reply(400, failure("server-error", -32600, "Bad session"))
    failed = web.take(Failure)
    assert failed.call is call and failed.is_local
    assert failed.error.message == "HTTP 400 Bad Request: 'Bad session'" and failed.error.data == {"status": 400}


@pytest.mark.parametrize(
    ("status", "body", "content", "expected"),
    [
        (500, b"<b>oops\n</b>", "text/html", "HTTP 500 Internal Server Error: '<b>oops\\n</b>'"),
        (418, b"", "text/plain", "HTTP 418"),
        (200, b"<html>", "text/html", "no response in the answer: HTTP 200: '<html>'"),
        (202, b"", "", "no response in the answer: HTTP 202"),
        (204, b"", "", "no response in the answer: HTTP 204"),
        (302, b"", "", "HTTP 302"),
        (400, b"x" * 300, "text/plain", f"HTTP 400 Bad Request: '{'x' * 200}'…"),
        (413, b"\xff\x1b[31m", "text/plain", "HTTP 413 Content Too Large: '\ufffd\\x1b[31m'"),
        (400, b'{"id":1,"error":5}', "application/json", 'HTTP 400 Bad Request: \'{"id":1,"error":5}\''),
    ],
)
def test_what_is_no_answer_fails_the_call_and_says_what_came(
    status: int, body: bytes, content: str, expected: str
) -> None:
    web = modern()
    call, sent = call_tool(web)
    sent.reply(status, body, content)
    failed = web.take(Failure)
    assert failed.call is call and failed.is_local and failed.error.message == expected
    assert failed.error.data == {"status": status}


def test_bodies_without_a_type_are_tried() -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.head(200)
    sent.feed(line(result(sent.id, {"tools": []})))
    sent.end()
    assert web.take(Result).call is call


def test_an_answer_that_cannot_be_read_fails_the_call() -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.reply(200, b"{")
    assert web.take(Failure).call is call and web.has(Violation)
    call, sent = web.call("tools/list")
    sent.reply(200, {"jsonrpc": "2.0", "id": sent.id, "result": {}, "error": {}})
    failed = web.take(Failure)
    assert failed.call is call and "invalid response" in failed.error.message
    call, sent = web.call("tools/list")
    sent.reply(200, {"jsonrpc": "2.0", "id": None, "error": 5})
    assert web.take(Failure).call is call


def test_an_answer_to_another_request_ends_that_one() -> None:
    web = legacy()
    call, sent = web.call("tools/list")
    other, second = web.call("prompts/list")
    sent.stream(result(other.id, {"prompts": []}), result(999, {}))
    assert web.take(Result).call is other
    assert web.has(Violation)
    second.end()
    sent.stream(result(call.id, {"tools": []}))
    assert web.take(Result).call is call


def test_batches_are_read_where_they_exist() -> None:
    web = legacy(R2025_03)
    call, sent = web.call("tools/list")
    sent.reply(200, [result(sent.id, {"tools": []}), notification("notifications/tools/list_changed")])
    assert web.take(Result).call is call and web.take(Change).kind is ChangeKind.TOOLS
    _, sent = web.call("prompts/list")
    sent.stream([request(5, "ping"), request(6, "roots/list")])
    asked = web.take(Request)
    web.engine.send_error(asked, ErrorObject(1, "no"))
    posted = web.next("POST")
    assert [each["id"] for each in posted.message] == [5, 6]
    posted.reply(202)


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_ask_learns_how_to_whatever_the_body_says(status: int) -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.reply(status, failure(sent.id, -32600, "who?"), www_authenticate='Bearer realm="x"')
    failed = web.take(Failure)
    assert failed.call is call and not failed.is_local
    assert failed.error.data == {"status": status, "www_authenticate": ['Bearer realm="x"']}
    assert (failed.error.code, failed.error.message) == (-32600, "who?")


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_ask_learns_how_to_where_the_body_says_nothing(status: int) -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.reply(status, b"who?", "text/plain", www_authenticate='Bearer realm="x"')
    failed = web.take(Failure)
    assert failed.call is call and failed.is_local
    assert failed.error.data == {"status": status, "www_authenticate": ['Bearer realm="x"']}
    assert failed.error.message.endswith(": 'who?'")


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_succeed_later_says_when(status: int) -> None:
    web = modern()
    call, sent = web.call("tools/list")
    sent.reply(status, b"busy", "text/plain", retry_after=" 7 ")
    failed = web.take(Failure)
    assert failed.call is call and failed.is_local
    assert failed.error.data == {"status": status, "retryable": True, "retry_after": 7.0}
    # A date needs a clock that is right; it is not guessed at.
    _, sent = web.call("tools/list")
    sent.reply(status, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    assert web.take(Failure).error.data == {"status": status, "retryable": True}
    for data, expected in [
        (None, {"status": status, "retryable": True, "retry_after": 7.0}),
        ({"retryable": False}, {"status": status, "retryable": False, "retry_after": 7.0}),
        ([1], [1]),
    ]:
        _, sent = web.call("tools/list")
        members = {} if data is None else {"data": data}
        sent.reply(status, failure(sent.id, 1503, "busy", **members), retry_after="7")
        failed = web.take(Failure)
        assert not failed.is_local and failed.error == ErrorObject(1503, "busy", expected)


def test_answers_that_are_too_large_are_cut_off() -> None:
    web = modern(limits=small_limits(message_bytes=1000), options=StreamableHTTPClientOptions(event_bytes=50))
    call, sent = web.call("tools/list")
    sent.head(200, content_type="application/json")
    sent.feed(b" " * 600)
    sent.feed(b" " * 600)
    web.pump()
    failed = web.take(Failure)
    assert failed.call is call and sent.is_dropped and "a body larger than 1000 bytes" in failed.error.message
    call, sent = web.call("tools/list")
    sent.stream()
    sent.feed(b"data: " + b"x" * 1000)
    sent.feed(b"\n\n")
    web.pump()
    failed = web.take(Failure)
    assert failed.call is call and sent.is_dropped and "an event larger than 50 bytes" in failed.error.message
    assert web.sent == []
    call, sent = web.call("tools/list")
    sent.head(500)
    sent.feed(b"x" * 1001)
    web.pump()
    assert web.take(Failure).call is call and sent.is_dropped


# Cancellation


def test_a_withdrawn_call_of_the_envelope_era_is_its_closed_stream() -> None:
    web = modern()
    call, sent = call_tool(web)
    sent.stream()
    web.engine.cancel(call, "enough")
    web.pump()
    assert sent.is_dropped and sent.exchange.is_over and web.sent == []
    # What was not begun is never begun.
    call = web.engine.send_request("tools/list")
    web.engine.cancel(call)
    web.pump()
    assert web.sent == []
    call, sent = web.call("tools/list", deadline=web.now + 1)
    web.pass_time(1)
    assert web.take(TimedOut).call is call and sent.is_dropped and web.sent == []


def test_a_withdrawn_call_of_a_session_is_told_and_closed() -> None:
    web = legacy()
    call, sent = call_tool(web)
    web.engine.cancel(call, "enough")
    told = web.next("POST")
    assert told.message["method"] == "notifications/cancelled" and told.message["params"]["requestId"] == call.id
    assert sent.is_dropped
    told.reply(202)
    call = web.engine.send_request("tools/list")
    web.engine.cancel(call)
    web.pump()
    assert web.sent == [], "the server never heard of it"
    assert not web.events


def test_the_server_is_told_although_the_stream_is_gone() -> None:
    web = legacy()
    call, sent = call_tool(web)
    sent.prime("e1")
    sent.end()
    web.engine.cancel(call)
    assert web.next("POST").message["method"] == "notifications/cancelled"
    web.pass_time(60)
    assert web.sent == []


def test_a_late_answer_to_a_task_nobody_waits_for_is_let_go() -> None:
    web = legacy()
    params = CallToolParams(name="t", task={})  # type: ignore[arg-type]
    call, sent = web.call("tools/call", params)
    web.engine.cancel(call)
    web.pump()
    assert web.sent == [] and not sent.is_dropped
    sent.reply(200, b"")
    assert not web.has(Failure)
    call, sent = web.call("tools/call", params)
    web.engine.cancel(call)
    sent.reply(500)
    assert not web.has(Failure)
    call, sent = web.call("tools/call", params)
    web.engine.cancel(call)
    sent.prime("e1")
    sent.end()
    web.pass_time(60)
    assert web.sent == [] and not web.events
    call, sent = web.call("tools/call", params)
    sent.prime("e2")
    sent.end()
    web.engine.cancel(call)
    web.pass_time(60)
    assert web.sent == [] and not web.events


# Finding out the era


def test_a_probe_without_proof_leads_to_the_handshake() -> None:
    for status, body in [
        (400, b""),
        (404, b"no such path"),
        (405, b""),
        (400, failure("server-error", -32600, "Missing session ID")),
        (200, b"<html>"),
        (202, b""),
    ]:
        web = Web()
        web.start().reply(status, body, "text/html" if isinstance(body, bytes) else "application/json")
        again = web.next("POST")
        assert again.message["method"] == "initialize" and not web.binding.should_try_sse
        assert again.header("mcp-method") is None
    for status in (200, 400, 404, 500):
        web = Web()
        probe = web.start()
        probe.reply(status, failure(probe.id, -32601, "no such method"))
        assert web.next("POST").message["method"] == "initialize"


@rule(36)
def test_a_probe_that_names_versions_is_repeated_with_one_of_them() -> None:
    web = Web()
    probe = web.start()
    data = {"supported": [R2025_06.name], "requested": R2026.name}
    probe.reply(400, failure(probe.id, -32022, "no", data=data))
    assert web.next("POST").message["params"]["protocolVersion"] == R2025_06.name


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503, 504])
def test_what_says_nothing_of_the_era_ends_the_connection(status: int) -> None:
    for start in (lambda web: web.start(), lambda web: start_handshake(web)):
        web = Web()
        start(web).reply(status, www_authenticate="Bearer", retry_after="3")
        error = web.take(Closed).error
        assert error is not None and error.data["status"] == status and error.data["retry_after"] == 3.0
        assert error.data["www_authenticate"] == ["Bearer"] and web.sent == []


def start_handshake(web: Web) -> Sent:
    web.start().reply(404)
    return web.next("POST")


def test_a_network_that_fails_says_nothing_of_the_era() -> None:
    for was_sent in (True, False):
        web = Web()
        web.start().fail("no route", was_sent=was_sent)
        error = web.take(Closed).error
        assert error is not None and "no route" in error.message and web.sent == []
    web = Web()
    web.start(deadline=110.0)
    web.pass_time(10)
    error = web.take(Closed).error
    assert error is not None and "not answered in time" in error.message and web.sent == []


def test_a_modern_refusal_is_not_cured_by_a_handshake() -> None:
    web = Web()
    probe = web.start()
    probe.reply(400, failure(probe.id, -32021, "roots needed"))
    error = web.take(Closed).error
    assert error is not None and error.code == -32021 and web.sent == []


@rule(92)
@pytest.mark.parametrize("status", [400, 404, 405, 410])
def test_a_refused_handshake_advises_to_try_http_and_sse(status: int) -> None:
    web = Web()
    start_handshake(web).reply(status, b"nothing here", "text/plain")
    error = web.take(Closed).error
    assert web.binding.should_try_sse and error is not None and f"HTTP {status}" in error.message
    web = Web()
    first = start_handshake(web)
    first.reply(status, failure(first.id, -32600, "what?"))
    assert web.binding.should_try_sse and web.has(Closed)


def test_a_modern_server_that_refuses_the_handshake_is_probed_again() -> None:
    web = Web()
    first = start_handshake(web)
    first.reply(400, failure(first.id, -32022, "no", data={"supported": [R2026.name], "requested": "x"}))
    assert not web.binding.should_try_sse
    assert web.next("POST").message["method"] == "server/discover"


# Notifications, and what the server asks


@rule(45, 108)
def test_a_modern_server_cannot_ask() -> None:
    web = modern()
    call, sent = call_tool(web)
    sent.stream(request(1, "roots/list"), result(call.id, DONE))
    assert web.has(Violation) and web.take(Result).call is call and web.sent == []


def test_notifications_that_are_not_taken_are_reported() -> None:
    web = legacy()
    for answer, expected in [
        (lambda sent: sent.reply(400), "HTTP 400"),
        (lambda sent: sent.fail("reset"), "reset"),
    ]:
        web.engine.announce_roots()
        answer(web.next("POST"))
        assert expected in web.take(Violation).error.message
    web.engine.announce_roots()
    sent = web.next("POST")
    sent.stream(notification("notifications/tools/list_changed"))
    sent.end()
    assert web.take(Change) and not web.events
    web.engine.announce_roots()
    web.next("POST").reply(200, b"{}")
    assert not web.events
    web = modern()
    web.engine.send_notification("vendor/note")
    sent = web.next("POST")
    assert sent.header("mcp-method") == "vendor/note" and sent.header("mcp-protocol-version") == R2026.name
    sent.reply(202)
    assert not web.events


# The end


def test_a_closed_client_sends_nothing_but_the_end_of_its_session() -> None:
    web = legacy()
    call, sent = call_tool(web)
    sent.prime("e1")
    sent.end()
    _, open_ = web.call("tools/list")
    web.engine.send_request("prompts/list")
    web.binding.close(web.now)
    assert web.next().method == "DELETE"
    assert web.sent == [] and open_.is_dropped and not call.is_open and web.has(Closed)
    assert web.binding.next_deadline() is None
    with pytest.raises(LocalProtocolError):
        web.engine.send_request("tools/list")
    web = modern()
    web.binding.close(web.now)
    web.pump()
    assert web.sent == []


def test_a_closed_engine_lets_go_of_everything() -> None:
    web = legacy()
    _, sent = call_tool(web)
    web.engine.receive_eof()
    web.pump()
    assert sent.is_dropped and web.sent == []
    sent.answer(DONE)
    web.binding.close(web.now)
    assert web.next().method == "DELETE"


# Tables and parts


def test_the_table_of_the_session_is_the_one_that_is_written_down() -> None:
    rows = [each for each in str(client_session.__doc__).splitlines() if each.startswith("| ")]
    moves = [SessionMove[each.strip().upper()] for each in rows[0].split("|")[2:-1]]
    written = {}
    for row in rows[1:]:
        name, *cells = [each.strip() for each in row.split("|")[1:-1]]
        for move, cell in zip(moves, cells, strict=True):
            if cell:
                written[SessionState[name], move] = SessionState[cell]
    assert written == client_session.SESSION


def test_every_way_of_a_call_is_written_down() -> None:
    rows = [each for each in str(client_calls.__doc__).splitlines() if each.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == [way.name for way in client_calls.Way]


def test_requests_that_must_not_run_twice_exist() -> None:
    assert METHODS.keys() >= client_calls.ONCE


def test_an_exchange_by_itself_takes_anything() -> None:
    web = modern()
    exchange = ClientExchange(web.binding._wire, "GET", [])
    exchange.receive_head(200, Headers(), web.now)
    exchange.receive_data(b"x", web.now)
    exchange.receive_end(web.now)
    assert exchange.is_over
    for status in (200, 404):
        exchange = ClientExchange(web.binding._wire, "GET", [])
        exchange.receive_head(status, Headers([(b"Content-Type", b"Text/Event-Stream")]), web.now)
        exchange.receive_data(b"data: {}\n\n", web.now)
        exchange.receive_failure("gone", web.now, was_sent=True)
        assert exchange.is_over
