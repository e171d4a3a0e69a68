"""The server role, from the wire: lifecycle, gates, subscriptions, input, and the end of the connection."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from protocol import (
    REVISIONS,
    CallToolParams,
    CallToolResult,
    Cancelled,
    ChangeKind,
    ChangeNotice,
    ClientCapabilities,
    Closed,
    CompleteResult,
    CreateMessageParams,
    Dialect,
    ElicitCompleteParams,
    ElicitParams,
    EmptyParams,
    EmptyResult,
    Era,
    ErrorCode,
    ErrorObject,
    Failure,
    Holder,
    InputRequest,
    LocalProtocolError,
    MethodSpec,
    Notification,
    Prepared,
    RemoteProtocolError,
    Request,
    RequestState,
    Result,
    Revision,
    Role,
    SamplingMessage,
    ServerCapabilities,
    ServerEngine,
    StateSealer,
    TaskTable,
    TextContent,
    TimedOut,
    Tool,
    ToolsCapability,
    Violation,
)
from protocol.types import Completion
from tests.pair import (
    HANDSHAKES,
    R2024,
    R2025_03,
    R2025_06,
    R2025_11,
    R2026,
    SERVER_CAN,
    SOME_TEXT,
    EnginePair,
    Talk,
    client_profile,
    envelope_meta,
    enveloped,
    failure,
    initialize,
    line,
    notification,
    request,
    result,
    server,
    server_profile,
    small_limits,
)
from tests.requirements import rule

IO = "io.modelcontextprotocol/"
EXTENSION = f"{IO}tasks"
ALL = pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
OLD = pytest.mark.parametrize("revision", HANDSHAKES, ids=lambda revision: revision.name)


def call(id_: Any, revision: Revision, params: Any = None, *, method: str = "tools/call", **meta: Any) -> Any:
    """Return a request as the revision writes it."""
    own = {"name": "t"} if params is None and method == "tools/call" else dict(params or {})
    if revision.era is Era.ENVELOPE:
        return enveloped(id_, method, own, meta=envelope_meta() | meta)
    return request(id_, method, own | ({"_meta": meta} if meta else {}))


def error_of(answers: list[Any], id_: Any = None) -> int:
    """Return the code of the only answer, an error to the request of that id."""
    (answer,) = answers
    assert answer["jsonrpc"] == "2.0" and "result" not in answer
    assert answer.get("id") == id_ and type(answer.get("id")) is type(id_)
    assert isinstance(answer["error"]["message"], str)
    code = answer["error"]["code"]
    assert isinstance(code, int)
    return code


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


# Questions to the client


ELICIT = InputRequest("elicitation/create", ElicitParams(message="m", requested_schema={"type": "object"}))
VISIT = InputRequest("elicitation/create", ElicitParams(message="m", mode="url", url="https://h/", task={}))
SAMPLE = InputRequest(
    "sampling/createMessage",
    CreateMessageParams(messages=[SamplingMessage(role="user", content=TextContent(text="x"))], max_tokens=5),
)
WITH_TOOLS = InputRequest(
    "sampling/createMessage",
    CreateMessageParams(messages=[], max_tokens=5, tools=[Tool(name="t", input_schema={"type": "object"})]),
)
ROOTS = InputRequest("roots/list", EmptyParams())


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


def listen(id_: Any, *, tasks: bool = False, **wanted: Any) -> Any:
    """Return a request to subscribe."""
    meta = envelope_meta(capabilities={"extensions": {EXTENSION: {}}} if tasks else {})
    wanted = wanted or {"toolsListChanged": True}
    return enveloped(id_, "subscriptions/listen", {"notifications": wanted}, meta=meta)


TOOLS, PROMPTS = ChangeNotice(ChangeKind.TOOLS), ChangeNotice(ChangeKind.PROMPTS)


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
