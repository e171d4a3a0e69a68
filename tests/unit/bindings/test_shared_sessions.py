"""Sessions that several endpoints serve: what one exports and another takes, and which stream is whose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from protocol import ChangeKind, ChangeNotice, LocalProtocolError, Request, Result, Revision, ServerEngine
from protocol.http import EventLog, SSEEndpoint, StreamableHTTPEndpoint, StreamableHTTPOptions, StreamOptions
from protocol.http.answer import refuse
from protocol.jsonrpc import RequestId
from protocol.sharing import SPAN, HandshakeState, decode_record, encode_record
from tests.pair import HANDSHAKES, R2024, R2025_03, R2025_11, SOME_TEXT, notification, request, result, server_profile
from tests.unit.bindings.wire import Reply, Server, Session

ELICITING = {"elicitation": {}}
URI = "test://watched"


class Shelf(EventLog):
    """The log of one engine, whose marks can be looked at."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.marks: list[tuple[str, int, Any]] = []
        self._last = number * SPAN

    def begin(self, stream: int, ids: Sequence[RequestId]) -> None:
        self.marks.append(("begin", stream, list(ids)))

    def finish(self, stream: int) -> None:
        self.marks.append(("finish", stream, None))


class Endpoint(Server):
    """One of several that serve the same sessions."""

    def __init__(
        self, options: StreamableHTTPOptions | None = None, *, profile: Any = None, mint: str = "shared"
    ) -> None:
        self.logs: dict[str, Shelf] = {}
        endpoint: Any = StreamableHTTPEndpoint(
            profile or server_profile(), options, mint=lambda: mint, sharing=self._log
        )
        super().__init__(endpoint=endpoint)

    def _log(self, session_id: str, number: int) -> Shelf:
        log = self.logs[session_id] = Shelf(number)
        return log


def adopt(session: Session, endpoint: Endpoint, number: int = 1, *, age: float = 0.0) -> Session:
    """Return the same client as another endpoint sees it, which has the session's record."""
    engine = session.state.engine
    record = decode_record(encode_record(engine.handshake_record(1000.0)))
    assert record is not None
    state = endpoint.endpoint.adopt(
        session.id, record, engine.handshake_state(), now=endpoint.now, age=age, number=number
    )
    assert state is not None
    other = Session.__new__(Session)
    other.__dict__.update(session.__dict__, server=endpoint)
    return other


def pair(revision: Revision = R2025_11, **options: Any) -> tuple[Session, Session]:
    """Return one session as two endpoints have it."""
    first = Session(Endpoint(), revision, **options)
    return first, adopt(first, Endpoint())


def tool(id_: Any, token: Any = None) -> dict[str, Any]:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return request(id_, "tools/call", {"name": "t", **meta})


def begun(session: Session, id_: Any = 1) -> tuple[Reply, Request]:
    reply = session.post(tool(id_, f"token of {id_}"))
    asked = session.server.asked(id_)
    session.state.engine.send_progress(asked, 1)
    session.flush()
    assert reply.is_stream
    return reply, asked


# What is exported


@pytest.mark.parametrize("revision", HANDSHAKES)
def test_another_endpoint_goes_on_where_the_first_is(revision: Revision) -> None:
    first = Session(Endpoint(), revision, principal="ada", capabilities=ELICITING)
    first.post(request(2, "logging/setLevel", {"level": "error"}))
    first.post(request(3, "resources/subscribe", {"uri": URI}))
    second = adopt(first, Endpoint())
    mine, theirs = first.state.engine, second.state.engine
    assert theirs.revision is mine.revision is revision and theirs.principal == "ada"
    assert theirs.handshake_state() == mine.handshake_state()
    assert theirs.handshake_state() == HandshakeState(is_operating=True, log_level="error", watched=frozenset({URI}))
    assert theirs.handshake_record(1000.0) == mine.handshake_record(1000.0)
    reply = second.post(tool(7))
    asked = second.server.take(Request)
    assert asked.context.revision is revision and asked.context.can_call_peer
    assert asked.context.capabilities == mine.handshake_record(0.0).capabilities
    second.server.answer(reply, SOME_TEXT, asked)
    assert reply.json["id"] == 7


def test_a_handshake_is_exported_once_there_was_one() -> None:
    with pytest.raises(LocalProtocolError, match="no handshake"):
        ServerEngine(server_profile()).handshake_record(0.0)


def test_what_is_no_record_is_none() -> None:
    assert decode_record(b"") is None and decode_record(b'{"revision": 1}') is None
    assert decode_record(b'{"revision": "\xff"}') is None and decode_record(b"[" * 100_000) is None


def test_changes_are_counted() -> None:
    session = Session(Endpoint(), is_ready=False)
    engine = session.state.engine
    counts = [engine.handshake_changes]
    for message in (
        notification("notifications/initialized"),
        request(2, "logging/setLevel", {"level": "error"}),
        request(3, "resources/subscribe", {"uri": URI}),
        request(4, "resources/unsubscribe", {"uri": URI}),
        request(5, "ping"),
    ):
        session.post(message)
        counts.append(engine.handshake_changes)
    assert [after - before for before, after in pairwise(counts)] == [1, 1, 1, 1, 0]


def test_a_session_in_the_middle_of_its_handshake_is_adopted_so() -> None:
    first = Session(Endpoint(), is_ready=False)
    second = adopt(first, Endpoint())
    listening = second.get()
    engine = second.state.engine
    engine.publish(ChangeNotice(ChangeKind.TOOLS))
    second.flush()
    assert not listening.messages
    engine.restore_state(HandshakeState(is_operating=True))
    second.flush()
    assert [message["method"] for message in listening.messages] == ["notifications/tools/list_changed"]
    engine.restore_state(HandshakeState())
    assert engine.handshake_state().is_operating, "a lifecycle never goes back"


def test_a_revision_that_is_not_served_here_is_not_adopted() -> None:
    first = Session(Endpoint(), R2024)
    record = first.state.engine.handshake_record(0.0)
    other = Endpoint(profile=server_profile(revisions=[R2025_11]))
    assert other.endpoint.adopt("shared", record, HandshakeState(), now=0.0, age=0.0, number=1) is None


def test_a_session_for_which_there_is_no_room_is_not_adopted() -> None:
    first = Session(Endpoint())
    other = Endpoint(StreamableHTTPOptions(sessions=1), mint="own")
    Session(other)
    record = first.state.engine.handshake_record(0.0)
    assert other.endpoint.adopt("shared", record, HandshakeState(), now=0.0, age=0.0, number=1) is None


def test_the_life_of_a_session_is_counted_from_its_handshake() -> None:
    first = Session(Endpoint())
    other = Endpoint(StreamableHTTPOptions(session_life=100.0, session_idle=None))
    second = adopt(first, other, age=60.0)
    assert other.endpoint.next_deadline() == 40.0
    assert other.endpoint.handle_deadline(40.0) and second.post(request(1, "ping")).status == 404


def test_ids_of_different_engines_are_never_the_same() -> None:
    first, second = pair()
    ids = set()
    for session in (first, second):
        reply, _ = begun(session)
        ids |= {*reply.ids, session.state.engine.peek_id()}
    assert len(ids) == 6


# What strays


def test_an_answer_to_another_engines_question_strays_to_it() -> None:
    first, second = pair(capabilities=ELICITING)
    assert second.state.engine.ping().id == SPAN + 1
    answer = result(SPAN + 1, {})
    assert first.post(answer).status == 202
    (stray,) = first.state.strays
    second.state.receive_stray(stray)
    assert isinstance(second.state.events_received()[0], Result)
    second.state.receive_stray(b"no message")
    assert second.state.events_received() == []


@pytest.mark.parametrize(
    ("message", "strays"),
    [
        (notification("notifications/cancelled", {"requestId": 9}), True),
        (notification("notifications/cancelled", {"requestId": 1}), False),
        (notification("notifications/cancelled", {"requestId": []}), False),
        (notification("notifications/cancelled"), False),
        (notification("notifications/progress", {"progressToken": SPAN + 1, "progress": 1}), True),
        (notification("notifications/progress", {"progressToken": 1, "progress": 1}), False),
        (notification("notifications/progress", {"progressToken": "x", "progress": 1}), False),
        (notification("notifications/roots/list_changed", {}), False),
        (result(1, {}), False),
        (result("x", {}), False),
        (result(SPAN, {}), True),
        (request(5, "ping", {}), False),
    ],
)
def test_what_strays(message: Any, strays: bool) -> None:
    first, _ = pair()
    first.post(tool(1))
    first.post(message)
    assert len(first.state.strays) == strays


def test_a_batch_is_taken_apart() -> None:
    first, _ = pair(R2025_03)
    stray, own = result(SPAN + 1, {}), request(5, "ping")
    assert first.post([stray, own]).json == [result(5, {})]
    assert first.post([stray, stray]).status == 202
    assert len(first.state.strays) == 3
    assert first.post([own, own | {"id": 6}]).status == 200 and len(first.state.strays) == 3
    assert first.post([]).status == 400 and first.post(b"[1").status == 400
    other, _ = pair(R2025_11)
    assert other.post([stray, own]).status == 400 and other.state.strays == []


# Streams of others


def test_a_log_is_told_where_a_stream_begins_and_ends() -> None:
    first, _ = pair()
    reply, asked = begun(first)
    log = first.server.logs["shared"]
    stream = reply.exchange.stream
    assert log.marks == [("begin", stream, [1])]
    first.server.answer(reply, SOME_TEXT, asked)
    assert log.marks[1:] == [("finish", stream, None)]
    first.get()
    quick = first.post(tool(2))
    first.server.answer(quick, SOME_TEXT)
    assert len(log.marks) == 2, "neither what belongs to no request nor an answer that is no stream is marked"


def test_a_revision_that_resumes_nothing_logs_nothing() -> None:
    first, _ = pair(R2024)
    reply, asked = begun(first)
    first.server.answer(reply, SOME_TEXT, asked)
    assert first.server.logs["shared"].marks == [] and not reply.ids


def test_a_stream_goes_on_at_another_endpoint() -> None:
    first, second = pair()
    reply, _ = begun(first)
    stream, last = reply.exchange.stream, reply.ids[-1]
    assert second.resume(last).status == 400, "nobody knows it here"
    log, state = second.server.logs["shared"], second.state
    log.keep(stream, SPAN - 1, b'{"missed":1}', 0.0)
    state.graft(stream, is_done=False)
    assert not state.relay(stream, f"{stream}-7", b'{"nobody":1}')
    resumed = second.resume(last)
    assert resumed.messages == [{"missed": 1}]
    assert state.relay(stream, f"{stream}-{SPAN}", b'{"more":1}')
    second.flush()
    assert resumed.messages == [{"missed": 1}, {"more": 1}] and not resumed.is_ended
    state.end_relay(stream)
    state.end_relay(stream)
    second.flush()
    assert resumed.is_ended and not state.relay(stream, "1-1", b"{}")
    assert first.state.exchanges, "nobody told the first"
    first.state.let_go(stream)
    first.state.let_go(stream + 1)
    first.flush()
    assert reply.is_ended and first.state.is_busy


def test_a_stream_that_is_over_is_told_to_its_end() -> None:
    _, second = pair()
    second.server.logs["shared"].keep(1, 5, b'{"missed":1}', 0.0)
    second.state.graft(1, is_done=True)
    resumed = second.resume("1-4")
    assert resumed.messages == [{"missed": 1}] and resumed.is_ended


def test_requests_whose_engine_is_gone_are_answered_so() -> None:
    _, second = pair()
    second.state.graft(1, is_done=False)
    resumed = second.resume("1-4")
    second.state.abandon(1, [7, "x"], 0.0)
    second.flush()
    assert [message["id"] for message in resumed.messages] == [7, "x"] and resumed.is_ended
    assert all(message["error"]["data"]["retryable"] for message in resumed.messages)


def test_who_listens_elsewhere_is_told_nothing_here() -> None:
    first, second = pair()
    listening = first.get()
    second.state.graft(0, is_done=False)
    resumed = second.resume(listening.ids[0])
    first.state.lose_listener()
    for session in (first, second):
        session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
        session.flush()
    assert listening.is_ended and not listening.messages
    assert [message["method"] for message in resumed.messages] == ["notifications/tools/list_changed"]
    assert first.resume(listening.ids[0]).status == 400, "what it is asked for is not here any more"
    first.state.lose_listener()


# Answers that wait until they may be given


def test_an_answer_that_is_held_is_written_when_it_is_released() -> None:
    session = Session(Endpoint(StreamableHTTPOptions(stream=StreamOptions(commit_after=1.0, keep_alive=1.0))))
    reply = session.post(tool(1))
    exchange = reply.exchange
    exchange.hold()
    assert exchange.is_live and exchange.next_deadline() is None and exchange.data_to_send() == []
    exchange.handle_deadline(5.0)
    session.server.answer(reply, SOME_TEXT)
    assert reply.status is None and exchange.is_live and not exchange.has_data
    exchange.release()
    reply.read()
    assert reply.json["id"] == 1 and not exchange.is_live


def test_another_answer_may_be_given_in_its_place() -> None:
    session = Session(Endpoint())
    reply = session.post(tool(1))
    reply.exchange.hold()
    session.server.answer(reply, SOME_TEXT)
    reply.exchange.release(refuse(503, "not now"))
    reply.read()
    assert reply.status == 503 and reply.is_ended


def test_an_endpoint_that_shares_nothing_keeps_its_sessions_to_itself() -> None:
    server = Server()
    session = Session(server)
    assert session.post(result(SPAN + 1, {})).status == 400 and session.state.strays == []
    assert not isinstance(server.endpoint, SSEEndpoint)
