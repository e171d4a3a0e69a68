"""The server role, from the wire: lifecycle, the envelope, and what answers look like."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from protocol import (
    REVISIONS,
    CallToolResult,
    EmptyParams,
    EmptyResult,
    ErrorCode,
    ErrorObject,
    InputRequest,
    LocalProtocolError,
    Prepared,
    Request,
    RequestState,
    Revision,
    ServerCapabilities,
    TextContent,
    ToolsCapability,
)
from tests.pair import (
    R2024,
    R2025_06,
    R2025_11,
    R2026,
    SOME_TEXT,
    envelope_meta,
    enveloped,
    initialize,
    line,
    notification,
    request,
    result,
    server,
    small_limits,
)
from tests.requirements import rule

from .serverwire import ALL, EXTENSION, IO, OLD, call, error_of

# What a transport tells beside a message


def test_a_pipe_tells_nothing_of_arguments_so_that_there_is_nothing_to_compare() -> None:
    talk = server()
    talk.engine.mirrors = {"t": {}}
    talk.say(enveloped(1, "tools/call", {"name": "t", "arguments": {"a": 1}}))
    assert talk.take(Request).params.name == "t"


# Lifecycle


@rule(19, 20)
@OLD
def test_a_supported_revision_is_echoed(revision: Revision) -> None:
    (answer,) = server().say(initialize(revision, "first"))
    assert answer["id"] == "first"
    assert answer["result"]["protocolVersion"] == revision.name
    assert answer["result"]["serverInfo"] == {"name": "test-server", "version": "1.0"}
    declared = {"logging", "prompts", "resources", "tools"} | ({"completions"} if revision is not R2024 else set())
    assert set(answer["result"]["capabilities"]) == declared
    assert "resultType" not in answer["result"] and "_meta" not in answer["result"]


@rule(21)
@pytest.mark.parametrize("asked", ["1999-01-01", R2026.name, ""])
def test_an_unsupported_revision_gets_a_result_that_names_another(asked: str) -> None:
    message = initialize(R2024)
    message["params"]["protocolVersion"] = asked
    (answer,) = server().say(message)
    assert answer["result"]["protocolVersion"] == R2025_11.name
    (answer,) = server(revisions=[R2024, R2025_06, R2026]).say(message)
    assert answer["result"]["protocolVersion"] == R2025_06.name


def test_instructions_are_told_where_the_era_has_them() -> None:
    (answer,) = server(instructions="read").say(initialize(R2025_11))
    assert answer["result"]["instructions"] == "read"
    (answer,) = server(instructions="read").say(enveloped(1, "server/discover"))
    assert answer["result"]["instructions"] == "read"


@rule(25)
@OLD
def test_a_ping_is_answered_at_any_time(revision: Revision) -> None:
    talk = server()
    assert talk.say(request(1, "ping")) == [result(1, {})]
    talk.say(initialize(revision))
    assert talk.say(request(2, "ping", {})) == [result(2, {})]
    assert talk.say(notification("notifications/initialized"), request("3", "ping")) == [result("3", {})]


def test_nothing_else_is_answered_before_the_handshake() -> None:
    talk = server()
    assert error_of(talk.say(request(1, "tools/list")), 1) == ErrorCode.INVALID_PARAMS
    assert error_of(talk.say(request(2, "no/such")), 2) == ErrorCode.METHOD_NOT_FOUND
    assert talk.say(notification("notifications/initialized")) == []
    assert error_of(talk.say(request(3, "tools/list")), 3) == ErrorCode.INVALID_PARAMS
    (answer,) = talk.say(initialize(R2025_11, 4))
    assert "result" in answer


@OLD
def test_a_second_handshake_is_refused_and_the_first_stands(revision: Revision) -> None:
    talk = server(revision)
    assert error_of(talk.say(initialize(R2025_11, "again")), "again") == ErrorCode.INVALID_REQUEST
    assert talk.say(call(2, revision)) == []
    assert talk.take(Request).context.revision is revision


@pytest.mark.parametrize(
    "params", [None, {}, {"protocolVersion": 1}, {"protocolVersion": R2024.name, "capabilities": {}}, [1]]
)
def test_a_handshake_with_wrong_params_can_be_repeated(params: Any) -> None:
    talk = server()
    assert error_of(talk.say(request(1, "initialize", params)), 1) == ErrorCode.INVALID_PARAMS
    (answer,) = talk.say(initialize(R2025_11, 2))
    assert answer["result"]["protocolVersion"] == R2025_11.name


@rule(24)
@OLD
def test_results_have_the_shape_of_the_negotiated_revision(revision: Revision) -> None:
    talk = server(revision)
    talk.say(call(1, revision))
    structured = CallToolResult(content=[TextContent(text="x")], structured_content=[1], result_type="complete")
    talk.engine.send_result(talk.take(Request), structured)
    assert talk.hear() == [result(1, {"content": [{"type": "text", "text": "x"}]})]
    talk.say(call(2, revision))
    prepared = Prepared(SOME_TEXT)
    for _ in range(2):
        talk.engine.send_result(talk.take(Request), prepared)
        talk.say(call(3, revision))
    assert prepared.sealed == {revision.name: b'{"content":[{"type":"text","text":"ok"}]}'}


def test_a_shared_result_is_encoded_once_for_each_revision() -> None:
    prepared = Prepared(SOME_TEXT)
    talk = server(R2025_11)
    for revision in (R2026, R2026, R2025_11):
        talk.say(call(1, revision))
        talk.engine.send_result(talk.take(Request), prepared)
        assert ("resultType" in talk.hear()[0]["result"]) is (revision is R2026)
    assert set(prepared.sealed) == {R2026.name, R2025_11.name}


@rule(57)
def test_a_modern_only_server_names_what_it_speaks() -> None:
    talk = server(revisions=[R2026])
    (answer,) = talk.say(initialize(R2025_11, 1))
    assert answer["error"]["code"] == ErrorCode.UNSUPPORTED_VERSION
    assert answer["error"]["data"] == {"supported": [R2026.name], "requested": R2025_11.name}
    (answer,) = talk.say(request(2, "initialize", {}))
    assert answer["error"]["data"]["requested"] == ""
    assert error_of(talk.say(request(3, "ping")), 3) == ErrorCode.INVALID_PARAMS
    assert error_of(talk.say(request(4, "tools/list")), 4) == ErrorCode.INVALID_PARAMS


def test_an_old_server_knows_no_discovery() -> None:
    talk = server(revisions=[R2025_11])
    assert error_of(talk.say(enveloped(1, "server/discover")), 1) == ErrorCode.METHOD_NOT_FOUND


# The envelope


@rule(30, 31, 32)
@pytest.mark.parametrize(
    ("params", "missing"),
    [
        (None, "protocolVersion"),
        ({}, "protocolVersion"),
        ({"_meta": {}}, "protocolVersion"),
        ({"_meta": {f"{IO}clientCapabilities": {}}}, "protocolVersion"),
        ({"_meta": {f"{IO}protocolVersion": R2026.name}}, "clientCapabilities"),
        ({"_meta": {f"{IO}protocolVersion": "1999-01-01"}}, "clientCapabilities"),
    ],
)
def test_a_request_that_does_not_describe_itself_is_refused(params: Any, missing: str) -> None:
    (answer,) = server().say(request(1, "server/discover", params))
    assert error_of([answer], 1) == ErrorCode.INVALID_PARAMS
    assert missing in answer["error"]["message"]


@rule(33, 34)
def test_a_client_may_keep_its_name_to_itself() -> None:
    talk = server()
    talk.say(call(1, R2026))
    first = talk.take(Request)
    assert first.context.peer is None
    talk.engine.send_result(first, SOME_TEXT)
    (answer,) = talk.say(call(2, R2026, **{f"{IO}clientInfo": {"name": "c", "version": "1"}}))
    assert answer["result"]["_meta"][f"{IO}serverInfo"] == {"name": "test-server", "version": "1.0"}
    peer = talk.take(Request).context.peer
    assert peer is not None and peer.name == "c"


@rule(35)
def test_an_unsupported_revision_is_refused_with_those_that_are_not() -> None:
    talk = server()
    (discovered,) = talk.say(enveloped(1, "server/discover"))
    for asked in ("1999-01-01", R2025_11.name):
        meta = envelope_meta() | {f"{IO}protocolVersion": asked}
        (answer,) = talk.say(enveloped(2, "tools/list", meta=meta))
        assert error_of([answer], 2) == ErrorCode.UNSUPPORTED_VERSION
        assert answer["error"]["data"]["requested"] == asked
        assert answer["error"]["data"]["supported"] == discovered["result"]["supportedVersions"]


@rule(9, 37, 174)
def test_discovery_tells_everything() -> None:
    (answer,) = server().say(enveloped("d", "server/discover"))
    value = answer["result"]
    assert value["resultType"] == "complete" and value["ttlMs"] == 0 and value["cacheScope"] == "private"
    assert value["supportedVersions"] == [revision.name for revision in reversed(REVISIONS)]
    assert set(value["capabilities"]) == {"logging", "completions", "prompts", "resources", "tools"}
    assert "serverInfo" not in value and value["_meta"][f"{IO}serverInfo"]["name"] == "test-server"


@rule(38, 98)
@pytest.mark.parametrize(
    "method",
    [
        "no/such",
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
        "roots/list",
        "sampling/createMessage",
        "notifications/cancelled",
    ],
)
def test_what_the_revision_does_not_have_is_not_found(method: str) -> None:
    talk = server()
    assert error_of(talk.say(enveloped(1, method, {"uri": "a:b", "level": "info"})), 1) == ErrorCode.METHOD_NOT_FOUND
    assert talk.events == []


@rule(38)
@ALL
def test_what_is_not_declared_is_not_found(revision: Revision) -> None:
    talk = server(revision, capabilities=ServerCapabilities(tools=ToolsCapability()))
    for method in ("prompts/list", "resources/list", "resources/subscribe", "logging/setLevel"):
        params = {"uri": "a:b", "level": "info"}
        assert error_of(talk.say(call(1, revision, params, method=method)), 1) == ErrorCode.METHOD_NOT_FOUND
    # 2024-11-05 has no capability that would gate completions.
    params = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}}
    answers = talk.say(call(2, revision, params, method="completion/complete"))
    assert (answers == []) is (revision is R2024)
    assert talk.say(call(3, revision, method="tools/list")) == []


@rule(40, 42)
def test_capabilities_count_for_one_request() -> None:
    talk = server()
    talk.say(enveloped(1, "tools/call", {"name": "t"}, meta=envelope_meta(capabilities={"roots": {}})))
    able = talk.take(Request)
    talk.say(call(2, R2026))
    unable = talk.take(Request)
    question = {"where": InputRequest("roots/list", EmptyParams())}
    assert talk.engine.missing_for(able, question) == {}
    assert talk.engine.missing_for(unable, question) == {"roots": {}}
    with pytest.raises(LocalProtocolError):
        talk.engine.ask(unable, question)
    assert unable.is_open


@rule(39, 44)
def test_what_an_extension_adds_needs_it_on_both_sides() -> None:
    talk = server()
    assert error_of(talk.say(enveloped(1, "tasks/get", {"taskId": "t"})), 1) == ErrorCode.METHOD_NOT_FOUND
    talk = server(capabilities=ServerCapabilities(extensions={EXTENSION: {}}))
    (answer,) = talk.say(enveloped(1, "tasks/get", {"taskId": "t"}))
    assert error_of([answer], 1) == ErrorCode.MISSING_CLIENT_CAPABILITY
    assert answer["error"]["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    meta = envelope_meta(capabilities={"extensions": {EXTENSION: {}}})
    assert talk.say(enveloped(2, "tasks/get", {"taskId": "t"}, meta=meta)) == []


@pytest.mark.parametrize(
    "meta",
    [
        5,
        [],
        {"progressToken": 1.5},
        {f"{IO}protocolVersion": 1},
        envelope_meta() | {f"{IO}logLevel": "loud"},
        envelope_meta() | {f"{IO}clientCapabilities": 5},
        envelope_meta() | {f"{IO}clientCapabilities": None},
        envelope_meta() | {f"{IO}clientInfo": {"name": 1}},
        envelope_meta() | {"progressToken": "t" * 257},
        envelope_meta() | {"progressToken": 2**63},
    ],
)
def test_meta_of_the_wrong_shape_is_refused(meta: Any) -> None:
    talk = server()
    assert error_of(talk.say(request(1, "tools/call", {"name": "t", "_meta": meta})), 1) == ErrorCode.INVALID_PARAMS
    assert error_of(talk.say(request(2, "no/such", {"_meta": meta})), 2) in (
        ErrorCode.INVALID_PARAMS,
        ErrorCode.METHOD_NOT_FOUND,
    )
    assert talk.say(call(3, R2026)) == []
    assert talk.take(Request).id == 3


@ALL
@pytest.mark.parametrize("params", [{}, {"name": 5}, {"name": "t", "requestState": 1}, [], 7, "x"])
def test_params_of_the_wrong_shape_are_refused(revision: Revision, params: Any) -> None:
    talk = server(revision)
    if isinstance(params, dict) and revision is R2026:
        params["_meta"] = envelope_meta()
    assert error_of(talk.say(request(1, "tools/call", params)), 1) == ErrorCode.INVALID_PARAMS
    assert talk.say(call(2, revision)) == []


@ALL
def test_members_twice_are_refused_at_every_level(revision: Revision) -> None:
    meta = line(envelope_meta()).decode() if revision is R2026 else '{"a":1}'
    twice = meta[:-1] + "," + meta[1:]
    good = f'{{"name":"t","_meta":{meta}}}'
    talk = server(revision)
    for params in (
        f'{{"name":"t","name":"t","_meta":{meta}}}',
        f'{{"name":"t","_meta":{meta},"_meta":{meta}}}',
        f'{{"name":"t","_meta":{twice}}}',
        f'{{"name":"t","arguments":{{}},"arguments":{{"a":1}},"_meta":{meta}}}',
    ):
        text = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'
        for _ in range(2):  # the second time the same `_meta` is known already
            assert error_of(talk.say(text.encode()), 1) == ErrorCode.INVALID_PARAMS
        ok = f'{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{good}}}'
        assert talk.say(ok.encode()) == []
        talk.engine.send_result(talk.take(Request), SOME_TEXT)
        assert talk.hear()[0]["id"] == 2


def test_what_is_remembered_of_meta_is_bounded() -> None:
    talk = server(limits=small_limits(contexts=3))
    known = talk.engine.profile.envelope_era.known
    for number in range(10):
        talk.say(call(number, R2026, vendor=number))
        assert 1 <= len(known) <= 3
    first, second = (talk.say(call(number, R2026, vendor=9)) for number in (11, 12))
    assert first == second == []
    before = dict(known)
    talk.say(call(13, R2026, vendor="x" * 5000), call(14, R2026, progressToken=1))
    assert known == before


# Shapes that repeat


@ALL
@rule(4)
@pytest.mark.parametrize("id_", [0, 1, -5, "", "1", "é"])
def test_an_answer_repeats_the_id_with_its_type(revision: Revision, id_: Any) -> None:
    talk = server(revision)
    talk.say(call(id_, revision))
    talk.engine.send_result(talk.take(Request), SOME_TEXT)
    (answer,) = talk.hear()
    assert answer["id"] == id_ and type(answer["id"]) is type(id_)


@ALL
def test_one_and_the_text_one_are_two_ids(revision: Revision) -> None:
    talk = server(revision)
    assert talk.say(call(1, revision), call("1", revision)) == []
    assert error_of(talk.say(call(1, revision)), 1) == ErrorCode.INVALID_REQUEST
    first = talk.take(Request)
    talk.engine.send_result(first, SOME_TEXT)
    (answer,) = talk.hear()
    assert answer["id"] == 1 and "result" in answer


def test_results_may_be_structs_mappings_or_raw() -> None:
    talk = server()
    sent: list[Any] = [
        {"content": [], "_meta": {"a": 1}},
        Raw(b'{"content":[],"resultType":"task","_meta":null}'),
        EmptyResult(),
        CallToolResult(content=[], meta={"b": 2}),
    ]
    received = []
    for value in sent:
        talk.say(call(1, R2026))
        talk.engine.send_result(talk.take(Request), value)
        received.append(talk.hear()[0]["result"])
    info = {f"{IO}serverInfo": {"name": "test-server", "version": "1.0"}}
    assert received == [
        {"content": [], "_meta": {"a": 1} | info, "resultType": "complete"},
        {"content": [], "_meta": info, "resultType": "task"},
        {"_meta": info, "resultType": "complete"},
        {"content": [], "_meta": {"b": 2} | info, "resultType": "complete"},
    ]


@rule(174)
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/list", {}),
        ("prompts/list", {}),
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": "a:b"}),
    ],
)
def test_cacheable_results_say_how_long_they_last(method: str, params: Any) -> None:
    talk = server(cache_hints={method: (5000, "public")})
    for value in ({"x": 1}, {"x": 1, "ttlMs": 7}):
        talk.say(call(1, R2026, params, method=method))
        talk.engine.send_result(talk.take(Request), value)
        (answer,) = talk.hear()
        assert answer["result"]["ttlMs"] == value.get("ttlMs", 5000)
        assert answer["result"]["cacheScope"] == "public"
    talk.say(call(2, R2026))
    talk.engine.send_result(talk.take(Request), SOME_TEXT)
    assert "ttlMs" not in talk.hear()[0]["result"]


# Errors


@rule(15)
@pytest.mark.parametrize("code", [-32002, -32042, -32050, -32023, -32099])
def test_codes_of_the_past_and_of_the_future_are_not_sent(code: int) -> None:
    talk = server()
    talk.say(call(1, R2026))
    talk.engine.send_error(talk.take(Request), ErrorObject(code, "m", {"a": 1}))
    (answer,) = talk.hear()
    expected = ErrorCode.INVALID_PARAMS if code == -32002 else ErrorCode.INTERNAL_ERROR
    assert answer["error"] == {"code": expected, "message": "m", "data": {"a": 1}}
    talk = server(R2025_11)
    talk.say(call(1, R2025_11))
    talk.engine.send_error(talk.take(Request), ErrorObject(code, "m"))
    assert talk.hear()[0]["error"]["code"] == code


def test_answering_twice_is_the_callers_fault() -> None:
    talk = server()
    talk.say(call(1, R2026))
    asked = talk.take(Request)
    talk.engine.send_result(asked, SOME_TEXT)
    talk.hear()
    for again in (
        lambda: talk.engine.send_result(asked, SOME_TEXT),
        lambda: talk.engine.send_error(asked, ErrorObject(1, "m")),
        lambda: talk.engine.ask(asked, {}),
    ):
        with pytest.raises(LocalProtocolError):
            again()
    assert talk.hear() == [] and asked.state is RequestState.ANSWERED
    talk.say(call(2, R2026))
    with pytest.raises(TypeError):
        talk.engine.send_result(talk.events[-1], {"a": object()})
    talk.engine.send_result(talk.take(Request), SOME_TEXT)
    assert talk.hear()[0]["id"] == 2
