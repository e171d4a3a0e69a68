"""HTTP+SSE from the wire up: one stream for all answers, and POSTs that are only accepted."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from protocol import Cancelled, ChangeKind, ChangeNotice, Closed, Expired, Limits, LocalProtocolError, Request
from protocol.errors import ErrorCode as Code
from protocol.http import Arrival, GuardOptions, SSEEndpoint, SSEOptions
from tests.pair import R2024, R2025_03, SOME_TEXT, initialize, notification, request, result, server_profile
from tests.requirements import rule
from tests.unit.bindings.wire import LOCAL, Reply, Server, head


def serve(**options: Any) -> Server:
    count = itertools.count(1)
    limits = options.pop("limits", Limits())
    endpoint = SSEEndpoint(
        server_profile(limits=limits), SSEOptions(**options) if options else None, mint=lambda: f"id/{next(count)}"
    )
    return Server(endpoint=endpoint)


class Old:
    """A client of the first revision."""

    def __init__(
        self, server: Server, *, principal: str | None = None, arrival: Arrival = LOCAL, revision: Any = R2024
    ) -> None:
        self.server = server
        self.principal = principal
        self.stream = server.send("GET", {"Accept": "text/event-stream"}, principal=principal, arrival=arrival)
        assert self.stream.is_stream
        self.target = self.stream.events[0]["data"]
        self.post(initialize(revision))
        self.post(notification("notifications/initialized"))
        server.events.clear()

    def post(self, body: Any, **options: Any) -> Reply:
        """Post a message."""
        options = {"target": self.target, "principal": self.principal, **options}
        return self.server.send("POST", {"Content-Type": "application/json"}, body, **options)

    @property
    def engine(self) -> Any:
        """Its engine."""
        return self.stream.exchange.engine

    def heard(self) -> list[Any]:
        """Return every message on the stream after the first event."""
        self.server.flush(self.stream.exchange)
        assert {each["event"] for each in self.stream.events[1:]} <= {"message"}
        first, *rest = self.stream.events
        assert first["event"] == "endpoint" and all("id" not in each for each in rest)
        return [msgspec.json.decode(each["data"]) for each in rest]


@rule(88, 89)
def test_the_first_event_names_the_path_for_posts() -> None:
    server = serve()
    stream = server.send("GET", {"Accept": "text/event-stream"})
    assert stream.status == 200 and stream.events == [{"event": "endpoint", "data": "/messages?sessionId=id%2F1"}]
    assert stream.header("x-accel-buffering") == "no"
    mounted = serve(path="/post here")
    stream = mounted.send("GET", {"Accept": "text/event-stream"}, arrival=Arrival("127.0.0.1", "/app\n"))
    assert stream.events[0]["data"] == "/app%0A/post%20here?sessionId=id%2F1"


@rule(91)
def test_posts_are_accepted_and_answered_on_the_stream() -> None:
    server = serve()
    client = Old(server)
    reply = client.post(request(1, "tools/call", {"name": "t", "_meta": {"progressToken": "p"}}))
    assert reply.status == 202 and reply.body == b"" and reply.is_ended
    asked = server.take(Request)
    client.engine.send_progress(asked, 1)
    client.engine.publish(ChangeNotice(ChangeKind.TOOLS))
    client.engine.send_result(asked, SOME_TEXT)
    methods = [(each.get("method"), each.get("id")) for each in client.heard()]
    assert methods == [
        (None, 0),
        ("notifications/progress", None),
        ("notifications/tools/list_changed", None),
        (None, 1),
    ]
    assert not client.stream.is_ended


def test_questions_are_answered_by_posts_too() -> None:
    server = serve()
    client = Old(server)
    question = client.engine.ping()
    assert client.heard()[-1]["method"] == "ping"
    assert client.post(result(question.id, {})).status == 202
    assert client.post(result(99, {})).status == 400


def test_batches_are_answered_by_an_array() -> None:
    client = Old(serve(), revision=R2025_03)
    assert client.post([request(1, "ping")]).status == 202
    assert client.heard()[-1] == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


@pytest.mark.parametrize(("body", "code"), [(b"{", Code.PARSE_ERROR), (b'{"jsonrpc":"2.0"}', Code.INVALID_REQUEST)])
def test_what_is_no_message_is_refused(body: bytes, code: int) -> None:
    client = Old(serve())
    before = len(client.heard())
    reply = client.post(body)
    assert reply.status == 400 and reply.code == code and len(client.heard()) == before


def test_a_stream_is_its_principals_alone() -> None:
    server = serve()
    client = Old(server, principal="alice")
    for other in ("mallory", None):
        assert client.post(request(1, "ping"), principal=other).status == 404
    assert client.post(request(1, "ping")).status == 202


def test_posts_to_no_stream_are_not_found() -> None:
    client = Old(serve())
    for target in ("/messages", "/messages?sessionId=x", f"{client.target}&sessionId=id%2F1", "/messages?sessionId="):
        assert client.post(request(1, "ping"), target=target).status == 404


def test_the_stream_is_the_session() -> None:
    server = serve(sessions=1)
    client = Old(server)
    client.post(request(1, "tools/call", {"name": "t"}))
    asked = server.take(Request)
    assert server.send("GET", {"Accept": "text/event-stream"}).status == 503
    server.disconnect(client.stream)
    assert server.take(Cancelled).request is asked and isinstance(server.take(Closed), Closed)
    client.engine.send_result(asked, SOME_TEXT)
    assert client.stream.exchange.flush(0.0) == []
    assert client.post(request(2, "ping")).status == 404
    Old(server)
    server.disconnect(client.stream)


def test_a_server_may_end_a_stream() -> None:
    server = serve()
    client = Old(server)
    client.stream.exchange.finish()
    client.heard()
    assert client.stream.is_ended and client.post(request(1, "ping")).status == 404
    assert not client.stream.exchange.is_live


def test_a_client_that_the_engine_gives_up_is_disconnected() -> None:
    server = serve(limits=Limits(stray_responses=1))
    client = Old(server)
    for _ in range(2):
        client.post(result(5, {}))
    client.engine.call_peer("ping", b"", related_to=None, deadline=None)
    client.heard()
    assert client.stream.is_ended and client.post(request(1, "ping")).status == 404


def test_streams_are_kept_alive_and_deadlines_kept() -> None:
    server = serve()
    client = Old(server)
    client.post(request(1, "tools/call", {"name": "t"}))
    asked = server.take(Request)
    client.engine.limit_request(asked, 5.0)
    assert client.stream.exchange.next_deadline() == 5.0
    server.pass_time(5.0)
    assert server.take(Expired).request is asked
    server.pass_time(15.0)
    server.pass_time(15.0)
    assert client.stream.events[-1] == {"": ""}


def test_streams_are_bounded_for_each_principal() -> None:
    server = serve(sessions_each=1)
    Old(server, principal="a")
    reply = server.send("GET", {"Accept": "text/event-stream"}, principal="a")
    assert reply.status == 503 and reply.header("retry-after") == "1"
    Old(server, principal="b")


def test_requests_in_flight_are_bounded_in_total_and_for_each_principal() -> None:
    server = serve(requests=2, requests_each=1)
    first, second, third = (Old(server, principal=name) for name in ("a", "b", "c"))
    assert first.post(request(1, "tools/call", {"name": "t"})).status == 202
    asked = server.take(Request)
    refused = first.post(request(2, "ping"))
    assert (refused.status, refused.code, refused.json["id"]) == (503, Code.OVERLOADED, 2)
    assert refused.header("retry-after") == "1"
    assert second.post(request(1, "tools/call", {"name": "t"})).status == 202
    assert third.post(request(1, "ping")).status == 503
    assert third.post(notification("notifications/cancelled", {"requestId": 1})).status == 202
    # An answer, a withdrawal and the end of a stream give places back; built-in answers take none for long.
    first.engine.send_result(asked, SOME_TEXT)
    first.heard()
    assert third.post(request(2, "ping")).status == 202 and third.post(request(3, "ping")).status == 202
    assert first.post(request(3, "tools/call", {"name": "t"})).status == 202
    assert third.post(request(4, "ping")).status == 503
    server.disconnect(first.stream)
    assert third.post(request(5, "ping")).status == 202
    assert second.post(notification("notifications/cancelled", {"requestId": 1})).status == 202
    assert second.post(request(6, "ping")).status == 202


def test_pages_are_told_whether_they_may_read_an_answer_that_is_not_the_endpoints() -> None:
    endpoint = serve(guard=GuardOptions(allowed_origins=("https://app.example",))).endpoint
    asked = head("POST /messages HTTP/1.1\nOrigin: https://app.example")
    assert (b"access-control-allow-origin", b"https://app.example") in endpoint.cors(asked)
    assert serve().endpoint.cors(asked) == []


def test_what_mints_ids_must_do_it_well() -> None:
    for bad in ("", "a b"):
        endpoint = SSEEndpoint(server_profile(), SSEOptions(sessions=1), mint=lambda bad=bad: bad)
        server = Server(endpoint=endpoint)
        for _ in range(2):
            with pytest.raises(LocalProtocolError):
                server.send("GET", {"Accept": "text/event-stream"})


def test_a_server_that_drains_takes_nothing_new() -> None:
    server = serve()
    client = Old(server)
    client.post(request(1, "tools/call", {"name": "t"}))
    server.endpoint.drain()
    assert client.post(request(2, "ping")).status == 503
    assert client.post(notification("notifications/cancelled", {"requestId": 9})).status == 202
    assert server.send("GET", {"Accept": "text/event-stream"}).status == 503
    client.engine.send_result(server.take(Request), SOME_TEXT)
    assert client.heard()[-1]["id"] == 1


@rule(65, 66, 67)
def test_foreign_pages_are_refused_on_both_paths() -> None:
    server = serve(guard=GuardOptions(max_body=50))
    assert server.send("GET", {"Accept": "text/event-stream", "Host": "evil.example"}).status == 421
    assert server.send("POST", {"Origin": "http://evil.example"}, b"{}").status == 403
    assert server.send("DELETE").header("allow") == "GET, POST"
    assert server.send("GET", {"Accept": "text/html"}).status == 406
    assert server.send("POST", {"Content-Type": "text/plain"}, b"{}").status == 415
    assert server.send("POST", {"Content-Type": "application/json"}, b" " * 51).status == 413
    assert server.endpoint.too_large().status == 413
    client = server.send("GET", {"Accept": "text/event-stream"})
    checked = server.endpoint.receive_request(
        head("POST /messages HTTP/1.1"),
        b"{}",
        now=0.0,
        is_checked=True,
    )
    assert checked.status == 404 and not client.is_ended
