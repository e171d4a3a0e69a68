"""One POST of the envelope era from the wire up: the ladder of checks, the answer rule, and lost connections."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import (
    Cancelled,
    ChangeKind,
    ChangeNotice,
    Closed,
    ErrorObject,
    Expired,
    InputRequest,
    Limits,
    MethodSpec,
    Notification,
    Request,
    Role,
    ServerCapabilities,
)
from protocol.errors import ErrorCode as Code
from protocol.framing.headers import mirror_paths
from protocol.http import StreamableHTTPOptions, StreamOptions, exchange
from protocol.http.exchange import EXCHANGE, Move, State
from protocol.params import EmptyParams
from protocol.results import EmptyResult
from tests.pair import (
    HANDSHAKES,
    R2026,
    SOME_TEXT,
    envelope_meta,
    enveloped,
    line,
    notification,
    request,
    result,
    server_profile,
)
from tests.requirements import rule
from tests.unit.bindings.wire import BOTH, LOCAL, Reply, Server, call, head, mirrored, render

UNKNOWN = "v999.0.0"
MODERN_ONLY = server_profile(revisions=[R2026])


def streaming(**options: Any) -> StreamableHTTPOptions:
    return StreamableHTTPOptions(stream=StreamOptions(**options))


def progressing(id_: Any = 1) -> dict[str, Any]:
    return enveloped(id_, "tools/call", {"name": "t"}, meta=envelope_meta(progressToken="p"))


# The answer rule


@rule(58, 64)
def test_a_response_that_comes_first_is_answered_as_json_in_one_write() -> None:
    server = Server()
    reply = server.modern(call(7))
    assert reply.status is None and reply.writes == 0
    server.answer(reply, SOME_TEXT)
    assert reply.status == 200 and reply.is_ended and reply.writes == 1
    assert reply.json["id"] == 7 and reply.json["result"]["content"][0]["text"] == "ok"
    assert not reply.exchange.is_live and reply.exchange.next_deadline() is None


@rule(64, 103)
def test_what_comes_before_the_response_makes_the_answer_a_stream_that_the_response_ends() -> None:
    server = Server()
    reply = server.modern(progressing())
    asked = server.take(Request)
    reply.exchange.engine.send_progress(asked, 1)
    server.flush(reply.exchange)
    assert reply.is_stream and reply.status == 200 and not reply.is_ended
    assert reply.header("x-accel-buffering") == "no" and "no-cache" in str(reply.header("cache-control"))
    assert [each["method"] for each in reply.messages] == ["notifications/progress"]
    server.answer(reply, SOME_TEXT, asked)
    assert reply.is_ended
    assert [each.get("id") for each in reply.messages] == [None, 1]
    assert all(each == {"event": "message", "data": each["data"]} for each in reply.events)


@rule(105)
def test_streams_of_this_era_have_no_ids_and_no_sessions() -> None:
    server = Server()
    headers = {"Mcp-Session-Id": "stray", "Last-Event-ID": "1-1"}
    reply = server.modern(progressing(), headers)
    reply.exchange.engine.send_progress(server.take(Request), 1)
    server.flush(reply.exchange)
    assert reply.ids == [] and reply.header("mcp-session-id") is None
    assert not server.endpoint.sessions


def test_a_handler_that_is_silent_for_long_gets_a_stream_that_is_kept_alive() -> None:
    server = Server(streaming(commit_after=10.0, keep_alive=5.0))
    reply = server.modern(progressing())
    asked = server.take(Request)
    assert reply.exchange.next_deadline() == 5.0, "by then it may have become a stream"
    server.pass_time(9.9)
    reply.exchange.handle_deadline(server.now)
    assert reply.status is None
    server.pass_time(0.1)
    assert reply.is_stream and reply.body == b""
    server.pass_time(5.0)
    assert reply.events == [{"": ""}]
    reply.exchange.engine.send_progress(asked, 1)
    server.flush(reply.exchange)
    server.pass_time(5.0)
    assert len(reply.events) == 2, "what was written counts as a sign of life"
    server.pass_time(5.0)
    assert len(reply.events) == 3
    server.answer(reply, SOME_TEXT, asked)
    assert reply.is_ended and reply.messages[-1]["id"] == 1
    reply.exchange.handle_deadline(1e9)
    assert reply.exchange.data_to_send() == []


def test_a_stream_that_begins_at_once_is_kept_alive_from_then_on() -> None:
    server = Server(streaming(commit_after=10.0, keep_alive=1.0))
    listen = enveloped(1, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    reply = server.modern(listen)
    assert reply.is_stream and reply.exchange.next_deadline() == 1.0
    server.pass_time(1.0)
    server.pass_time(1.0)
    assert reply.events[-1] == {"": ""}, "not only once the answer would have been overdue"


def test_silence_need_not_be_broken() -> None:
    server = Server(streaming(commit_after=None, keep_alive=None))
    assert server.modern(call(1)).exchange.next_deadline() is None
    patient = Server(streaming(commit_after=None, keep_alive=5.0))
    reply = patient.modern(progressing())
    patient.pass_time(5.0)
    assert reply.status is None
    reply.exchange.engine.send_progress(patient.take(Request), 1)
    patient.flush(reply.exchange)
    patient.pass_time(5.0)
    patient.pass_time(5.0)
    assert reply.events[-1] == {"": ""}
    brief = Server(streaming(commit_after=1.0, keep_alive=None))
    reply = brief.modern(call(1))
    brief.pass_time(1.0)
    assert reply.is_stream and reply.exchange.next_deadline() is None


@rule(179)
def test_a_subscription_streams_from_its_first_message_on() -> None:
    server = Server()
    reply = server.modern(enveloped("s", "subscriptions/listen", {"notifications": {"toolsListChanged": True}}))
    assert reply.is_stream and not reply.is_ended
    assert reply.messages[0]["method"] == "notifications/subscriptions/acknowledged"
    reply.exchange.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    server.flush(reply.exchange)
    server.pass_time(15.0)
    server.pass_time(15.0)
    assert reply.events[-1] == {"": ""}
    reply.exchange.engine.end_subscriptions()
    server.flush(reply.exchange)
    assert reply.is_ended and reply.messages[-1]["id"] == "s"
    assert [each.get("method") for each in reply.messages][1:] == ["notifications/tools/list_changed", None]


def test_a_subscription_that_is_refused_does_not_stream() -> None:
    server = Server(profile=server_profile(limits=Limits(subscription_uris=1)))
    asked = {"notifications": {"resourceSubscriptions": ["a:1", "a:2"]}}
    reply = server.modern(enveloped(1, "subscriptions/listen", asked))
    assert reply.status == 400 and reply.code == Code.INVALID_PARAMS


@rule(45, 102)
def test_questions_to_the_client_are_answers_not_requests() -> None:
    server = Server()
    reply = server.modern(enveloped(1, "tools/call", {"name": "t"}, meta=envelope_meta(capabilities={"roots": {}})))
    inputs = {"r": InputRequest("roots/list", EmptyParams())}
    assert reply.exchange.engine.ask(server.take(Request), inputs) == []
    server.flush(reply.exchange)
    assert reply.is_ended and reply.json["result"]["resultType"] == "input_required"


def test_nothing_follows_the_response() -> None:
    server = Server(profile=server_profile(cancels_listens=True))
    reply = server.modern(call(1))
    asked = server.take(Request)
    server.answer(reply, SOME_TEXT, asked)
    reply.exchange.engine.send_notification("vendor/late")
    server.flush(reply.exchange)
    assert reply.exchange.flush(0.0) == []
    server.disconnect(reply)
    assert not [event for event in server.events if isinstance(event, Cancelled)]


def test_what_a_handler_refuses_is_answered_ok_but_for_the_codes_that_have_a_status() -> None:
    for code, status in ((-32602, 200), (-32603, 200), (42, 200), (-32021, 400), (-32601, 404), (1503, 503)):
        server = Server()
        reply = server.modern(call(1))
        reply.exchange.engine.send_error(server.take(Request), ErrorObject(code, "no", {"why": 1}))
        server.flush(reply.exchange)
        assert (reply.status, reply.code, reply.json["id"]) == (status, code, 1)
        assert (reply.header("retry-after") is not None) is (status == 503)
    server = Server(streaming(statuses={-32602: 400}))
    reply = server.modern(call(1))
    reply.exchange.engine.send_error(server.take(Request), ErrorObject(-32602, "no"))
    server.flush(reply.exchange)
    assert reply.status == 400


@pytest.mark.parametrize(
    ("data", "header"),
    [
        ({"retryAfter": 2.2}, "3"),
        ({"retryAfter": 0}, "0"),
        ({"retryAfter": -1}, "1"),
        ({"retryAfter": "soon"}, "1"),
        ("later", "1"),
    ],
)
def test_an_error_that_says_when_to_come_back_says_so_in_the_head(data: Any, header: str) -> None:
    server = Server()
    reply = server.modern(call(1))
    reply.exchange.engine.send_error(server.take(Request), ErrorObject(1503, "busy", data))
    server.flush(reply.exchange)
    assert (reply.status, reply.header("retry-after")) == (503, header)


# Lost connections


@rule(51, 104)
def test_a_lost_connection_cancels_the_request_and_nothing_more_is_sent() -> None:
    server = Server()
    for id_, reply in ((1, server.modern(call(1))), (2, server.modern(progressing(2)))):
        asked = server.asked(id_)
        reply.exchange.engine.send_progress(asked, 1)
        server.disconnect(reply)
        assert server.take(Cancelled).request is asked and isinstance(server.take(Closed), Closed)
        reply.exchange.engine.send_progress(asked, 2)
        reply.exchange.engine.send_result(asked, SOME_TEXT)
        assert reply.exchange.flush(0.0) == [] and reply.exchange.data_to_send() == []
        server.disconnect(reply)
        assert not [event for event in server.events if not isinstance(event, Request)]


def test_what_was_not_written_yet_when_the_connection_was_lost_is_forgotten() -> None:
    server = Server()
    reply = server.modern(progressing())
    reply.exchange.engine.send_progress(server.take(Request), 1)
    assert reply.exchange.flush(0.0) == [reply.exchange]
    reply.exchange.receive_disconnect()
    assert reply.exchange.data_to_send() == []


def test_the_deadline_of_a_handler_is_the_exchanges() -> None:
    server = Server()
    reply = server.modern(call(1))
    asked = server.take(Request)
    reply.exchange.engine.limit_request(asked, 3.0)
    assert reply.exchange.next_deadline() == 3.0
    server.pass_time(3.0)
    assert server.take(Expired).request is asked and reply.status is None


# The ladder of checks


def refused(reply: Any, status: int, code: int, id_: Any = 1) -> Any:
    assert (reply.status, reply.code) == (status, code), reply.json
    assert reply.json.get("id") == id_
    assert reply.writes == 1 and reply.is_ended
    return reply.json["error"]


@rule(30, 31, 32, 105)
@pytest.mark.parametrize("missing", ["_meta", "protocolVersion", "clientCapabilities"])
def test_a_request_that_does_not_describe_itself_is_refused_before_its_headers(missing: str) -> None:
    meta = {key: value for key, value in envelope_meta().items() if not key.endswith(missing)}
    for method in ("server/discover", "tools/list"):
        body = request(1, method, {} if missing == "_meta" else {"_meta": meta})
        headers = {"MCP-Protocol-Version": R2026.name}
        error = refused(Server().post(body, {**headers, "Mcp-Method": method}), 400, Code.INVALID_PARAMS)
        assert missing in error["message"] or missing == "_meta"
        refused(Server().post(body, {**headers, "Mcp-Method": "wrong"}), 400, Code.INVALID_PARAMS)
    refused(
        Server().post(request(1, "server/discover"), {"MCP-Protocol-Version": R2026.name}), 400, Code.INVALID_PARAMS
    )


@rule(94, 95, 100)
@pytest.mark.parametrize(
    "headers",
    [
        {"MCP-Protocol-Version": None},
        {"MCP-Protocol-Version": UNKNOWN},
        {"MCP-Protocol-Version": HANDSHAKES[-1].name},
        {"MCP-Protocol-Version": [R2026.name, R2026.name]},
        {"Mcp-Method": None},
        {"Mcp-Method": "tools/list"},
        {"Mcp-Method": "TOOLS/CALL"},
        {"Mcp-Method": ["tools/call", "tools/call"]},
        {"Mcp-Name": None},
        {"Mcp-Name": "other"},
        {"Mcp-Name": "T"},
        {"Mcp-Name": ["t", "t"]},
        {"Mcp-Name": "=?base64?dA?="},
        {"Mcp-Name": "=?BASE64?dA==?="},
        {"Mcp-Name": "t\u00e9"},
    ],
)
def test_headers_that_do_not_repeat_the_body_are_refused(headers: dict[str, Any]) -> None:
    error = refused(Server().modern(call(1), headers), 400, Code.HEADER_MISMATCH)
    (name,) = headers
    assert error["message"].startswith("Header mismatch: ") and name in error["message"]


@rule(101, 114)
@pytest.mark.parametrize(
    "headers",
    [
        {"Mcp-Name": "  t\t "},
        {"Mcp-Name": "=?base64?dA==?="},
        {"Mcp-Method": " tools/call "},
        {"MCP-Protocol-Version": None, "mcp-PROTOCOL-version": R2026.name},
        {"Mcp-Method": None, "MCP-METHOD": "tools/call"},
    ],
)
def test_headers_may_be_spelled_and_padded_in_any_way(headers: dict[str, Any]) -> None:
    server = Server()
    server.modern(call(1), headers)
    assert server.take(Request).params.name == "t"


def test_a_method_that_looks_odd_in_a_header_is_compared_all_the_same() -> None:
    server = Server()
    reply = server.modern(enveloped(1, "vendor/_"))
    assert (reply.status, reply.code) == (404, Code.METHOD_NOT_FOUND)
    reply = server.modern(enveloped(1, "vendor/_"), {"Mcp-Method": "vendor/-"})
    assert (reply.status, reply.code) == (400, Code.HEADER_MISMATCH)


def test_the_same_head_may_come_with_other_bodies() -> None:
    server = Server()
    usual = {"Host": "localhost", "Accept": BOTH, "Content-Type": "application/json", **mirrored(call(1))}
    same = head(render("POST", usual))
    for body, status in ((call(1), None), (call(2), None), (enveloped(3, "tools/list"), 400)):
        found = server.endpoint.receive_request(same, line(body), now=0.0, arrival=LOCAL)
        found.flush(0.0)
        assert found.exchanges == (found,)
        reply = Reply(found)
        reply.read()
        assert reply.status == status
    assert reply.code == Code.HEADER_MISMATCH


@rule(94, 96, 35)
def test_an_unknown_version_is_refused_with_those_that_are_served_after_the_headers() -> None:
    body = enveloped(1, "tools/list", meta=envelope_meta(**{"io.modelcontextprotocol/protocolVersion": UNKNOWN}))
    error = refused(Server().modern(body), 400, Code.UNSUPPORTED_VERSION)
    assert error["data"]["requested"] == UNKNOWN and error["data"]["supported"][0] == R2026.name
    refused(Server().modern(body, {"MCP-Protocol-Version": R2026.name}), 400, Code.HEADER_MISMATCH)
    body["method"] = "unknown/method"
    refused(Server().modern(body), 400, Code.UNSUPPORTED_VERSION)


@rule(98)
@pytest.mark.parametrize(
    "method",
    ["unknown/method", "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"],
)
def test_unknown_and_removed_methods_are_not_found(method: str) -> None:
    refused(Server().modern(enveloped(1, method)), 404, Code.METHOD_NOT_FOUND)
    refused(Server().modern(enveloped(1, method), {"Mcp-Method": "x"}), 400, Code.HEADER_MISMATCH)


@rule(38, 98)
def test_methods_that_are_not_offered_are_not_found() -> None:
    bare = Server(profile=server_profile(capabilities=ServerCapabilities()))
    refused(bare.modern(enveloped(1, "tools/list")), 404, Code.METHOD_NOT_FOUND)


@rule(97, 39)
def test_a_missing_capability_of_the_client_is_refused() -> None:
    asked = {"notifications": {"taskIds": ["t"]}}
    error = refused(Server().modern(enveloped(1, "subscriptions/listen", asked)), 400, Code.MISSING_CLIENT_CAPABILITY)
    assert isinstance(error["data"]["requiredCapabilities"], dict)


def test_params_that_cannot_be_read_are_refused_as_such_if_the_headers_are_there() -> None:
    body = enveloped(1, "tools/call", {"name": 5})
    refused(Server().modern(body, {"Mcp-Name": "5"}), 400, Code.INVALID_PARAMS)
    refused(Server().modern(body, {"Mcp-Name": None}), 400, Code.HEADER_MISMATCH)


def test_the_same_client_is_checked_each_time() -> None:
    server = Server()
    for _ in range(2):
        server.modern(call(1))
        assert server.take(Request)
        refused(server.modern(call(1), {"Mcp-Name": "x"}), 400, Code.HEADER_MISMATCH)


def test_uris_are_mirrored_and_methods_of_extensions_too() -> None:
    server = Server()
    read = enveloped(1, "resources/read", {"uri": "file:///\u00e9"})
    reply = server.modern(read, {"Mcp-Name": "=?base64?ZmlsZTovLy/DqQ==?="})
    assert reply.status is None and server.take(Request).params.uri == "file:///\u00e9"
    refused(server.modern(read, {"Mcp-Name": "file:///e"}), 400, Code.HEADER_MISMATCH)
    spec = MethodSpec(name="vendor/x", sender=Role.CLIENT, params=EmptyParams, result=EmptyResult)
    own = Server(profile=server_profile(methods=[spec]))
    assert own.modern(enveloped(1, "vendor/x")).status is None


@rule(16, 62)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", Code.PARSE_ERROR),
        (b"\xff", Code.PARSE_ERROR),
        (b"1", Code.INVALID_REQUEST),
        (b"[]", Code.INVALID_REQUEST),
    ],
)
def test_what_is_no_message_is_refused_without_an_id(body: bytes, code: int) -> None:
    reply = Server().post(body, {"MCP-Protocol-Version": R2026.name})
    assert reply.status == 400 and reply.code == code and "id" not in reply.json


@rule(14)
def test_arrays_and_responses_are_refused() -> None:
    headers = {"MCP-Protocol-Version": R2026.name}
    assert Server().post([call(1)], headers).status == 400
    assert Server().post(result(1, {}), headers).status == 400
    assert Server().post(b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', headers).status == 400


@rule(62, 63)
def test_notifications_are_accepted_without_a_body_or_refused() -> None:
    server = Server()
    headers = {"MCP-Protocol-Version": R2026.name}
    reply = server.post(notification("vendor/told", {"a": 1}), headers)
    assert reply.status == 202 and reply.body == b"" and reply.is_ended and reply.head is not None
    assert reply.head.headers == []
    assert server.take(Notification).method == "vendor/told"
    assert server.post(notification("notifications/cancelled", {"requestId": 1}), headers).status == 202
    wrong = server.post(notification("notifications/message", {"level": "info", "data": 1}), headers)
    assert wrong.status == 400 and "id" not in wrong.json
    assert (
        server.post(notification("notifications/progress", {"progressToken": 1, "progress": 2}), headers).status == 202
    )
    unknown = server.post(notification("vendor/told"), {"MCP-Protocol-Version": UNKNOWN})
    assert unknown.status == 400 and unknown.code == Code.UNSUPPORTED_VERSION
    assert Server(profile=MODERN_ONLY).post(notification("vendor/told")).status == 202
    server.disconnect(reply)


# Mirrored arguments

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
        "plain": {"type": "string"},
    },
}
MIRRORS = {"t": mirror_paths(SCHEMA)}


def mirrored_call(arguments: Any, headers: dict[str, Any] | None = None) -> tuple[Server, Any]:
    server = Server(mirrors=MIRRORS)
    params = {} if arguments is None else {"arguments": arguments}
    return server, server.modern(call(1, "t", **params), headers)


@rule(114, 117)
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "Hello"}, {"Mcp-Param-Region": "Hello"}),
        ({"region": "Hello"}, {"mcp-param-REGION": "  Hello "}),
        ({"region": "Hello"}, {"Mcp-Param-Region": "=?base64?SGVsbG8=?="}),
        ({"region": "SGVsbG8="}, {"Mcp-Param-Region": "SGVsbG8="}),
        ({"region": "=?base64?SGVsbG8="}, {"Mcp-Param-Region": "=?base64?SGVsbG8="}),
        ({"region": "=?BASE64?SGVsbG8=?="}, {"Mcp-Param-Region": "=?BASE64?SGVsbG8=?="}),
        ({"region": ""}, {"Mcp-Param-Region": ""}),
        ({"count": 42}, {"Mcp-Param-Count": "42.0"}),
        ({"deep": {"flag": True}}, {"Mcp-Param-Flag": "true"}),
        ({"region": None, "count": None, "deep": {"flag": None}}, {}),
        ({"deep": None}, {}),
        ({"deep": 5, "plain": "x"}, {}),
        ({}, {}),
        (None, {}),
        ({"plain": "x"}, {"Mcp-Param-Plain": "y", "Mcp-Param-Unknown": "z"}),
    ],
)
def test_mirrored_arguments_that_agree_are_served(arguments: Any, headers: dict[str, Any]) -> None:
    server, _ = mirrored_call(arguments, headers)
    assert server.take(Request).method == "tools/call"


@rule(115, 116, 118)
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "Hello"}, {}),
        ({"region": "Hello"}, {"Mcp-Param-Region": "hello"}),
        ({"region": "Hello"}, {"Mcp-Param-Region": "=?base64?SGVsbG8?="}),
        ({"region": "Hello"}, {"Mcp-Param-Region": "=?base64?SGVs!!!bG8=?="}),
        ({"region": "Hello"}, {"Mcp-Param-Region": "Hell\u00f6"}),
        ({"region": "Hello"}, {"Mcp-Param-Region": ["Hello", "Hello"]}),
        ({"count": 42}, {"Mcp-Param-Count": "43"}),
        ({"count": 42}, {"Mcp-Param-Count": "forty-two"}),
        ({"deep": {"flag": True}}, {"Mcp-Param-Flag": "false"}),
        ({"deep": {"flag": True}}, {}),
        ({}, {"Mcp-Param-Region": "Hello"}),
        (None, {"Mcp-Param-Region": ""}),
    ],
)
def test_mirrored_arguments_that_disagree_are_refused(arguments: Any, headers: dict[str, Any]) -> None:
    server, reply = mirrored_call(arguments, headers)
    refused(reply, 400, Code.HEADER_MISMATCH)
    assert not [event for event in server.events if isinstance(event, Request)]


def test_arguments_that_are_no_object_are_refused_as_params() -> None:
    _, reply = mirrored_call([1])
    refused(reply, 400, Code.INVALID_PARAMS)


def test_tools_without_mirrored_arguments_need_no_headers() -> None:
    server = Server(mirrors=MIRRORS)
    server.modern(call(1, "other", arguments={"region": "x"}))
    assert server.take(Request).params.name == "other"
    assert server.modern(enveloped(2, "tools/list")).status is None


def test_checks_of_the_method_come_before_those_of_the_arguments() -> None:
    server = Server(profile=server_profile(capabilities=ServerCapabilities()), mirrors=MIRRORS)
    refused(server.modern(call(1, "t", arguments={"region": "x"})), 404, Code.METHOD_NOT_FOUND)


# A server of this era alone


@rule(57)
def test_an_older_client_is_told_which_versions_there_are() -> None:
    body = request(
        1,
        "initialize",
        {"protocolVersion": HANDSHAKES[-1].name, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    )
    for headers in ({}, {"MCP-Protocol-Version": HANDSHAKES[-1].name}):
        error = refused(Server(profile=MODERN_ONLY).post(body, headers), 400, Code.UNSUPPORTED_VERSION)
        assert error["data"] == {"supported": [R2026.name], "requested": HANDSHAKES[-1].name}


@rule(95, 105)
def test_it_knows_neither_sessions_nor_requests_without_a_version() -> None:
    server = Server(profile=MODERN_ONLY)
    body = enveloped(1, "tools/list")
    refused(server.modern(body, {"MCP-Protocol-Version": None}), 400, Code.HEADER_MISMATCH)
    refused(server.post(request(1, "tools/list")), 400, Code.INVALID_PARAMS)
    for method in ("GET", "DELETE"):
        reply = server.send(method, {"Accept": "text/event-stream", "Mcp-Session-Id": "s"})
        assert reply.status == 405 and reply.header("allow") == "POST"


# The table


def test_the_table_is_what_the_docstring_shows() -> None:
    rows = [line.strip("|").split("|") for line in str(exchange.__doc__).splitlines() if line.startswith("| ")]
    header, *body = [[cell.strip() for cell in row] for row in rows]
    shown = {
        (State[row[0]], Move[move]): State[cell]
        for row in body
        for move, cell in zip(header[1:], row[1:], strict=True)
        if cell
    }
    assert shown == dict(EXCHANGE)
    assert {state for state, _ in EXCHANGE} == {State.OPEN, State.STREAMING}
    assert {move for _, move in EXCHANGE} == set(Move)
