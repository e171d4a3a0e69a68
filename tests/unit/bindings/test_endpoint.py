"""The one path: which era a request is of, whose session it may use, and how sessions begin and end."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import Cancelled, ChangeKind, ChangeNotice, Closed, Context, LocalProtocolError, Request, Revision
from protocol.errors import ErrorCode as Code
from protocol.http import (
    Answer,
    EventLog,
    GuardOptions,
    SessionExchange,
    SingleExchange,
    StreamableHTTPEndpoint,
    StreamableHTTPOptions,
)
from tests.pair import (
    HANDSHAKES,
    R2024,
    R2025_03,
    R2025_11,
    R2026,
    SOME_TEXT,
    enveloped,
    initialize,
    notification,
    request,
    result,
    server_profile,
)
from tests.requirements import rule
from tests.unit.bindings.wire import LOCAL, Reply, Server, Session, call, head, mirrored, render

HANDSHAKE_ONLY = server_profile(revisions=HANDSHAKES)


def tool(id_: Any) -> dict[str, Any]:
    return request(id_, "tools/call", {"name": "t"})


# Which era


@rule(58, 40)
def test_both_eras_are_served_on_one_path_at_once() -> None:
    server = Server()
    session = Session(server)
    old, new = session.post(tool(1)), server.modern(call(1), {"Mcp-Session-Id": session.id})
    assert isinstance(old.exchange, SessionExchange) and isinstance(new.exchange, SingleExchange)
    first, second = server.take(Request), server.take(Request)
    assert first.context.revision is session.state.revision and second.context.revision.name == R2026.name
    server.answer(new, SOME_TEXT, second)
    server.answer(old, SOME_TEXT, first)
    assert "resultType" in new.json["result"] and "resultType" not in old.json["result"]


def test_the_body_says_which_era_it_is_whatever_the_header_says() -> None:
    for version in (None, *[revision.name for revision in HANDSHAKES]):
        reply = Server().post(call(1), {**mirrored(call(1)), "MCP-Protocol-Version": version})
        assert (reply.status, reply.code, reply.json["id"]) == (400, Code.HEADER_MISMATCH, 1)


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools\\/list","params":{"_meta":{"io.modelcontextprotocol\\/protocolVersion":"x"}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/\\u0070rotocolVersion":"x"}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"\\u005fmeta":{"io.modelcontextprotocol/protocolVersion":"x"}}}',
        request(1, "server/discover"),
        request(1, "server/discover", {"_meta": 5}),
        request(1, "subscriptions/listen", {"notifications": {}}),
    ],
)
def test_a_claim_counts_however_it_is_written(body: Any) -> None:
    reply = Server().post(body)
    assert reply.status == 400 and reply.code in (Code.INVALID_PARAMS, Code.HEADER_MISMATCH)


@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        {"_meta": {}},
        {"_meta": 5},
        {"_meta": {"progressToken": []}},
        {"_meta": 5, "text": "protocolVersion"},
        {"text": "io.modelcontextprotocol/protocolVersion"},
        5,
    ],
)
def test_what_claims_nothing_needs_a_session(params: Any) -> None:
    reply = Server().post(request(1, "tools/list", params))
    assert (reply.status, reply.code, reply.json["id"]) == (400, Code.INVALID_REQUEST, 1)
    assert "Mcp-Session-Id" in reply.json["error"]["message"]


@rule(31)
def test_a_header_of_this_era_without_the_claim_is_refused_by_its_rules() -> None:
    for body in (request(1, "tools/list"), initialize(R2025_11, 1)):
        for version in (R2026.name, "v999", ""):
            reply = Server().post(body, {"MCP-Protocol-Version": version, "Mcp-Method": body["method"]})
            assert (reply.status, reply.code) == (400, Code.INVALID_PARAMS)


@rule(85)
def test_a_server_without_this_era_knows_only_sessions() -> None:
    server = Server(profile=HANDSHAKE_ONLY)
    reply = server.modern(enveloped(1, "server/discover"))
    assert reply.status == 400 and reply.code == Code.INVALID_REQUEST
    reply = server.modern(enveloped(1, "server/discover"), {"MCP-Protocol-Version": None})
    assert reply.status == 400 and "Mcp-Session-Id" in reply.json["error"]["message"]
    assert Session(server).post(enveloped(1, "ping")).json["result"] == {}


@rule(85)
@pytest.mark.parametrize("version", ["v999", "", R2026.name, [R2025_11.name, R2025_11.name]])
def test_a_version_that_is_not_served_is_refused_in_a_session_as_well(version: Any) -> None:
    for profile in (None, HANDSHAKE_ONLY):
        server = Server(profile=profile)
        session = Session(server)
        headers = {"MCP-Protocol-Version": version}
        for body in (tool(1), notification("notifications/roots/list_changed")):
            reply = session.post(body, headers)
            accepted = "id" not in body and version == R2026.name and profile is None
            assert reply.status == (202 if accepted else 400)
        for reply in (session.get(headers), session.delete(headers)):
            is_modern = version == R2026.name and profile is None
            assert reply.status == (405 if is_modern else 400)
            assert reply.header("allow") == ("POST" if is_modern else None)
        assert session.post(request(2, "ping")).status == 200


@rule(86)
@pytest.mark.parametrize("revision", HANDSHAKES)
def test_without_the_header_the_session_knows_its_version(revision: Revision) -> None:
    server = Server()
    session = Session(server, revision)
    for id_, version in enumerate((None, revision.name, R2025_03.name)):
        session.post(tool(id_), {"MCP-Protocol-Version": version})
        context: Context = server.take(Request).context
        assert context.revision.name == revision.name


# Sessions


@rule(78)
@pytest.mark.parametrize("revision", HANDSHAKES)
def test_a_handshake_begins_a_session(revision: Revision) -> None:
    server = Server()
    session = Session(server, revision)
    assert session.id == "session-1" and session.greeting.json["result"]["protocolVersion"] == revision.name
    assert set(server.endpoint.sessions) == {"session-1"}
    assert Session(server, revision).id == "session-2"
    for reply in (session.post(request(1, "ping")), session.get()):
        assert reply.header("mcp-session-id") is None


def test_a_handshake_that_fails_begins_none() -> None:
    server = Server()
    for params in ({}, {"protocolVersion": 5}, {"protocolVersion": R2025_11.name, "capabilities": 1}):
        reply = server.post(request(1, "initialize", params))
        assert reply.status == 200 and reply.code == Code.INVALID_PARAMS and reply.json["id"] == 1
        assert reply.header("mcp-session-id") is None
    assert not server.endpoint.sessions


@rule(20, 21)
def test_a_handshake_may_come_with_the_header_already() -> None:
    for version in (R2024.name, R2025_11.name):
        reply = Server().post(initialize(R2025_11, 1), {"MCP-Protocol-Version": version, "Mcp-Method": "initialize"})
        assert reply.status == 200 and reply.json["result"]["protocolVersion"] == R2025_11.name


@rule(80)
def test_without_an_id_there_is_no_session() -> None:
    server = Server()
    bodies: list[Any] = [tool(1), notification("notifications/initialized"), result(1, {}), [initialize(R2025_03, 1)]]
    for body in bodies:
        reply = server.post(body)
        assert reply.status == 400 and reply.json.get("id") == (1 if body == tool(1) else None)
    assert server.send("GET", {"Accept": "text/event-stream"}).status == 400
    assert server.send("DELETE").status == 400
    assert server.post(b"{").code == Code.PARSE_ERROR
    assert server.post(b'{"jsonrpc":"1.0","id":4,"method":"ping"}').json["id"] == 4


@rule(81)
def test_an_id_of_no_session_is_not_found() -> None:
    server = Server()
    session = Session(server)
    session.delete()
    for headers in ({}, {"Mcp-Session-Id": "never"}, {"Mcp-Session-Id": "\u00e9"}):
        reply = session.post(tool(1), headers)
        assert reply.status == 404 and reply.json["id"] == 1
        assert "id" not in session.post(notification("notifications/initialized"), headers).json
        assert session.get(headers).status == session.delete(headers).status == 404
        assert session.post(initialize(R2025_11, 1), headers).status == 404


def test_an_id_that_is_sent_twice_is_refused() -> None:
    session = Session(Server())
    assert session.post(tool(1), {"Mcp-Session-Id": [session.id, session.id]}).status == 400


@rule(81)
def test_a_session_is_its_principals_alone() -> None:
    server = Server()
    alice, mallory = Session(server, principal="alice"), Session(server, principal="mallory")
    stream = alice.post(request(1, "tools/call", {"name": "t", "_meta": {"progressToken": 1}}))
    asked = server.take(Request)
    assert asked.principal == "alice"
    alice.state.engine.send_progress(asked, 1)
    alice.flush()
    for other in ("mallory", None):
        mallory.principal = other
        stolen = {"Mcp-Session-Id": alice.id}
        assert mallory.post(tool(2), stolen).status == 404
        assert mallory.post(notification("notifications/cancelled", {"requestId": 1}), stolen).status == 404
        assert mallory.get({**stolen, "Last-Event-ID": stream.ids[0]}).status == 404
        assert mallory.delete(stolen).status == 404
    assert asked.is_open and alice.resume(stream.ids[0]).status == 200


def test_what_mints_ids_must_do_it_well() -> None:
    for bad in ("", "a b", "\u00e9", "a\n"):
        endpoint = StreamableHTTPEndpoint(server_profile(), mint=lambda bad=bad: bad)
        server = Server()
        server.endpoint = endpoint
        with pytest.raises(LocalProtocolError):
            server.post(initialize(R2025_11))
        assert not endpoint.sessions
    server.endpoint = StreamableHTTPEndpoint(server_profile(), StreamableHTTPOptions(sessions=2), mint=lambda: "same")
    assert server.post(initialize(R2025_11)).status == 200
    with pytest.raises(LocalProtocolError):
        server.post(initialize(R2025_11))


def test_sessions_may_remember_elsewhere() -> None:
    logs: list[EventLog] = []

    def make() -> EventLog:
        logs.append(EventLog())
        return logs[-1]

    server = Server(logs=make)
    session = Session(server)
    session.get()
    session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    session.flush()
    assert [len(log) for log in logs] == [1]
    session.delete()
    assert [len(log) for log in logs] == [0]


# Bounds


def test_sessions_are_bounded_in_total_and_for_each_principal() -> None:
    server = Server(StreamableHTTPOptions(sessions=3, sessions_each=2))
    first = Session(server, principal="a")
    Session(server, principal="a")
    reply = server.post(initialize(R2025_11, 5), principal="a")
    assert reply.status == 503 and reply.header("retry-after") == "1" and reply.json["id"] == 5
    assert reply.code == Code.OVERLOADED and reply.json["error"]["data"]["retryable"] is True
    Session(server, principal="b")
    assert server.post(initialize(R2025_11), principal="c").status == 503
    first.delete()
    Session(server, principal="a")
    assert server.post(initialize(R2025_11)).status == 503


def test_requests_in_flight_are_bounded_in_total_and_for_each_principal() -> None:
    server = Server(StreamableHTTPOptions(requests=3, requests_each=2))
    mine = [server.modern(call(id_), principal="a") for id_ in range(2)]
    refused = server.modern(call(9), principal="a")
    assert refused.status == 503 and refused.code == Code.OVERLOADED and refused.json["id"] == 9
    assert refused.header("retry-after") == "1"
    other = server.modern(call(3), principal="b")
    assert server.modern(call(4), principal="c").status == 503
    server.disconnect(other)
    assert server.modern(call(5), principal="c").status is None
    server.answer(mine[0], SOME_TEXT, server.asked(0))
    assert server.modern(call(6), principal="a").status is None
    for _ in range(5):
        assert server.modern(enveloped(7, "unknown/method"), principal="b").status == 503


def test_subscriptions_are_bounded_apart_from_other_requests() -> None:
    listen = enveloped(1, "subscriptions/listen", {"notifications": {}})
    server = Server(StreamableHTTPOptions(requests=1, listens=2, listens_each=1))
    first = server.modern(listen, principal="a")
    assert first.is_stream
    refused = server.modern(listen, principal="a")
    assert refused.status == 503 and "subscriptions" in refused.json["error"]["message"]
    assert server.modern(call(2), principal="a").status is None
    assert server.modern(listen).is_stream
    assert server.modern(listen).status == 503
    server.disconnect(first)
    assert server.modern(listen, principal="a").is_stream


def test_bounds_may_be_left_out() -> None:
    options = StreamableHTTPOptions(
        sessions=None,
        sessions_each=None,
        requests=None,
        requests_each=None,
        session_idle=None,
        session_life=None,
        guard=GuardOptions(max_body=None),
    )
    server = Server(options)
    for _ in range(3):
        Session(server, principal="a")
        assert server.modern(call(1), principal="a").status is None
    assert server.endpoint.next_deadline() is None and server.endpoint.handle_deadline(1e9) == []


@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 413)])
def test_bodies_are_bounded(extra: int, status: int) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    server = Server(StreamableHTTPOptions(guard=GuardOptions(max_body=1000)))
    session = Session(server)
    assert session.post(body + b" " * (1000 + extra - len(body))).status == status
    assert server.endpoint.too_large().status == 413


# Time


def test_a_session_that_nobody_uses_ends() -> None:
    server = Server(StreamableHTTPOptions(session_idle=10.0, session_life=None))
    session = Session(server)
    assert server.endpoint.next_deadline() == 10.0
    server.now = 6.0
    session.post(request(1, "ping"))
    assert server.endpoint.handle_deadline(10.0) == []
    assert server.endpoint.next_deadline() == 16.0
    state = session.state
    assert server.endpoint.handle_deadline(15.9) == []
    assert server.endpoint.handle_deadline(16.0) == [state]
    assert [type(event) for event in state.events_received()] == [Closed]
    assert session.post(request(2, "ping")).status == 404
    assert server.endpoint.next_deadline() is None


def test_a_session_in_use_is_not_idle() -> None:
    server = Server(StreamableHTTPOptions(session_idle=10.0))
    waiting, listening, gone = Session(server), Session(server), Session(server).state
    reply = waiting.post(tool(1))
    stream = listening.get()
    assert server.endpoint.handle_deadline(10.0) == [gone]
    server.now = 11.0
    server.answer(reply, SOME_TEXT)
    server.disconnect(stream)
    assert server.endpoint.handle_deadline(19.9) == []
    assert len(server.endpoint.handle_deadline(20.0)) == 2


def test_no_session_lives_for_ever() -> None:
    server = Server(StreamableHTTPOptions(session_idle=None, session_life=100.0))
    session = Session(server)
    state = session.state
    stream = session.get()
    session.post(tool(1))
    assert server.endpoint.handle_deadline(100.0) == [state]
    assert [type(event) for event in state.events_received()] == [Cancelled, Closed]
    for ready in state.flush(100.0):
        server.replies[ready].read()
    assert stream.is_ended


def test_a_session_that_is_ended_twice_ends_once() -> None:
    server = Server()
    session = Session(server)
    state = session.state
    server.endpoint.end(state)
    server.endpoint.end(state)
    assert server.endpoint.next_deadline() is None and not server.endpoint.sessions


def test_a_session_whose_engine_was_closed_is_found_out() -> None:
    server = Server()
    session = Session(server)
    session.state.engine.receive_eof()
    assert session.get().status == 404 and not server.endpoint.sessions


# Draining


def test_a_server_that_drains_takes_no_requests_but_answers_those_it_has() -> None:
    server = Server()
    session = Session(server)
    listening = session.get()
    old, new = session.post(tool(1)), server.modern(call(2))
    listen = server.modern(enveloped(3, "subscriptions/listen", {"notifications": {}}))
    for ready in server.endpoint.drain(0.0):
        server.replies[ready].read()
    assert listening.is_ended and server.endpoint.is_draining
    for reply in (session.post(tool(5)), server.modern(call(5)), server.post(initialize(R2025_11, 5))):
        assert reply.status == 503 and reply.json["id"] == 5 and reply.header("retry-after") == "1"
    assert session.get().status == 503
    assert session.post(notification("notifications/cancelled", {"requestId": 99})).status == 202
    server.answer(old, SOME_TEXT, server.asked(1))
    server.answer(new, SOME_TEXT, server.asked(2))
    listen.exchange.engine.end_subscriptions()
    server.flush(listen.exchange)
    assert old.status == new.status == 200 and listen.is_ended
    assert session.delete().status == 204


# The guard


@rule(65, 66, 67)
def test_foreign_pages_are_refused_before_anything_is_read() -> None:
    server = Server()
    evil = {"Host": "evil.example.com", "Origin": "http://evil.example.com"}
    assert server.modern(enveloped(1, "server/discover"), evil).status == 421
    assert server.post(initialize(R2025_11), evil).status == 421
    assert server.post(initialize(R2025_11), {**evil, "Host": "localhost:8000"}).status == 403
    good = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    assert server.modern(enveloped(1, "server/discover"), good).status == 200
    reply = server.post(initialize(R2025_11), {**good, "Mcp-Method": "initialize"})
    session_id = {"Mcp-Session-Id": reply.header("mcp-session-id")}
    assert server.post(notification("notifications/initialized"), {**good, **session_id}).status == 202


def test_what_was_checked_before_the_body_was_read_is_not_checked_again() -> None:
    server = Server()
    asked = head(render("POST", {"Host": "evil.example"}))
    refusal = server.endpoint.refuse(asked, LOCAL)
    assert isinstance(refusal, Answer) and refusal.status == 421
    assert server.endpoint.refuse(asked) is not None, "there is no Accept, no Content-Type"
    found = server.endpoint.receive_request(asked, b"{", now=0.0, is_checked=True)
    assert isinstance(found, Answer) and found.status == 400


def test_browsers_are_told_what_they_may_read_in_every_answer() -> None:
    server = Server(StreamableHTTPOptions(guard=GuardOptions(allowed_origins=("https://app.example",))))
    origin = {"Origin": "https://app.example"}
    replies: list[Reply] = [
        server.modern(enveloped(1, "server/discover"), origin),
        server.modern(enveloped(1, "unknown/method"), origin),
        server.modern(enveloped(1, "subscriptions/listen", {"notifications": {}}), origin),
        server.post(initialize(R2025_11), origin),
        server.post(request(1, "ping"), origin),
        server.post(notification("vendor/x"), {**origin, "MCP-Protocol-Version": R2026.name}),
    ]
    session = {"Mcp-Session-Id": replies[3].header("mcp-session-id"), **origin}
    replies += [
        server.post(request(1, "ping"), session),
        server.post(notification("notifications/initialized"), session),
        server.send("GET", {**session, "Accept": "text/event-stream"}),
        server.send("DELETE", session),
        server.send("GET", {**session, "Accept": "text/html"}),
    ]
    for reply in replies:
        assert reply.header("access-control-allow-origin") == "https://app.example"
        assert "mcp-session-id" in str(reply.header("access-control-expose-headers"))
    assert server.modern(enveloped(1, "server/discover")).header("vary") == "origin"
    asked = head("POST /mcp HTTP/1.1\nOrigin: https://app.example")
    assert (b"access-control-allow-origin", b"https://app.example") in server.endpoint.cors(asked)
    preflight = server.send("OPTIONS", {**origin, "Access-Control-Request-Method": "POST"})
    assert preflight.status == 204
