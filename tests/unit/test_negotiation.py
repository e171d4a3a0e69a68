"""How a client finds the era of its server: what each answer proves, and what it does next."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import (
    REVISIONS,
    ClientEngine,
    ClientProfile,
    Closed,
    Era,
    ErrorCode,
    ErrorObject,
    Event,
    LocalProtocolError,
    Negotiation,
    Ready,
    Result,
    Revision,
    Violation,
)
from protocol.negotiation import Evidence, choose, read_offer, weigh
from tests.pair import (
    CLIENT_INFO,
    HANDSHAKES,
    R2024,
    R2025_06,
    R2025_11,
    R2026,
    EnginePair,
    Talk,
    client_profile,
    failure,
    notification,
    request,
    result,
    server_profile,
)
from tests.requirements import rule

DISCOVERED: dict[str, Any] = {
    "resultType": "complete",
    "supportedVersions": [R2026.name],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "public",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
}


def initialized(revision: Revision = R2025_11, **members: Any) -> dict[str, Any]:
    return {
        "protocolVersion": revision.name,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"},
        **members,
    }


def unsupported(*versions: str) -> dict[str, Any]:
    return {"code": -32022, "message": "no", "data": {"supported": list(versions), "requested": R2026.name}}


def begun(**options: Any) -> tuple[Talk, Any]:
    """Return a client that has begun, and its first message."""
    start = {key: options.pop(key) for key in ("deadline", "era", "probe_deadline") if key in options}
    talk = Talk(ClientEngine(client_profile(**options)))
    talk.engine.start(**start)
    (first,) = talk.hear()
    return talk, first


def error(id_: Any, value: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": value}


@rule(52)
def test_a_client_of_both_eras_asks_the_server_what_it_is() -> None:
    talk, first = begun()
    assert first["method"] == "server/discover"
    assert first["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == R2026.name
    assert talk.engine.state is Negotiation.PROBING


def test_a_modern_server_is_ready_at_once() -> None:
    talk, first = begun()
    assert talk.say(result(first["id"], DISCOVERED | {"instructions": "read me"})) == []
    context = talk.take(Ready).context
    assert context.revision is R2026 and not context.can_call_peer
    assert context.peer is not None and context.peer.name == "s"
    assert (context.instructions, context.versions) == ("read me", (R2026.name,))
    assert talk.engine.context is context


@pytest.mark.parametrize("meta", [None, {}, {"io.modelcontextprotocol/serverInfo": 5}])
def test_a_server_may_keep_its_name_to_itself(meta: Any) -> None:
    talk, first = begun()
    answer = {key: value for key, value in DISCOVERED.items() if key != "_meta"}
    talk.say(result(first["id"], answer if meta is None else answer | {"_meta": meta}))
    assert talk.take(Ready).context.peer is None


@rule(53)
@pytest.mark.parametrize(
    "answer",
    [
        {"code": -32601, "message": "Method not found"},
        {"code": -32602, "message": "Invalid params"},
        {"code": -32600, "message": "not initialized"},
        {"code": -32000, "message": "whatever"},
        {"code": 5, "message": ""},
        {"code": -32022, "message": "no data"},
        {"code": -32022, "message": "odd data", "data": {"supported": 7}},
        {"code": "x"},
    ],
)
def test_any_error_that_proves_nothing_leads_to_the_handshake(answer: dict[str, Any]) -> None:
    talk, first = begun()
    (second,) = talk.say(error(first["id"], answer))
    assert second["method"] == "initialize" and second["id"] != first["id"]
    assert second["params"]["protocolVersion"] == R2025_11.name
    assert not [event for event in talk.events if isinstance(event, Result)]


@rule(53)
@pytest.mark.parametrize("answer", [{}, {"tools": []}, 5, None])
def test_a_result_that_is_no_discovery_leads_to_the_handshake(answer: Any) -> None:
    talk, first = begun()
    (second,) = talk.say(result(first["id"], answer))
    assert second["method"] == "initialize"


@rule(53)
def test_a_malformed_answer_to_the_probe_leads_to_the_handshake() -> None:
    talk, first = begun()
    (second,) = talk.say({"jsonrpc": "1.0", "id": first["id"], "result": {}})
    assert second["method"] == "initialize"


@rule(53)
def test_silence_leads_to_the_handshake() -> None:
    talk, _ = begun(deadline=10.0, probe_deadline=2.0)
    assert talk.pipe.next_deadline() == 2.0
    talk.pipe.handle_deadline(2.0)
    (second,) = talk.hear()
    assert second["method"] == "initialize"
    assert talk.pipe.next_deadline() == 10.0
    talk.say(result(second["id"], initialized()))
    assert talk.take(Ready).context.revision is R2025_11


def test_a_server_that_discovers_only_old_revisions_gets_a_handshake() -> None:
    talk, first = begun()
    answer = DISCOVERED | {"supportedVersions": [R2024.name, R2025_06.name]}
    (second,) = talk.say(result(first["id"], answer))
    assert second["params"]["protocolVersion"] == R2025_06.name


def test_a_server_without_a_common_revision_is_given_up() -> None:
    talk, first = begun()
    assert talk.say(result(first["id"], DISCOVERED | {"supportedVersions": ["1999-01-01"]})) == []
    closed = talk.take(Closed)
    assert closed.error is not None and R2026.name in closed.error.message
    assert talk.engine.state is Negotiation.FAILED


@rule(36, 54)
def test_a_server_that_names_a_common_modern_revision_is_asked_again_once() -> None:
    revisions = (*REVISIONS, R2026)
    assert weigh([R2026.name], revisions, {}) == (Evidence.NAMED, R2026)
    assert weigh([R2026.name], revisions, {R2026.name: 1}) == (Evidence.NAMED, R2026)
    assert weigh([R2026.name], revisions, {R2026.name: 2}) == (Evidence.REFUSED, None)
    talk, first = begun()
    (second,) = talk.say(error(first["id"], unsupported(R2026.name)))
    assert second["method"] == "server/discover" and second["id"] != first["id"]
    # It refuses the very revision it names: never a handshake, never a loop.
    assert talk.say(error(second["id"], unsupported(R2026.name))) == []
    assert isinstance(talk.take(Closed).error, ErrorObject)


def test_a_refusal_that_names_only_old_revisions_leads_to_the_handshake() -> None:
    talk, first = begun()
    (second,) = talk.say(error(first["id"], unsupported(R2024.name, "1999-01-01")))
    assert second["method"] == "initialize" and second["params"]["protocolVersion"] == R2024.name


def test_a_refusal_that_names_nothing_known_is_final() -> None:
    talk, first = begun()
    assert talk.say(error(first["id"], unsupported("1999-01-01"))) == []
    assert talk.take(Closed).error is not None


def test_a_modern_server_may_show_itself_late() -> None:
    talk, first = begun(era=Era.HANDSHAKE)
    assert first["method"] == "initialize"
    (second,) = talk.say(error(first["id"], unsupported(R2026.name)))
    assert second["method"] == "server/discover"
    talk.say(result(second["id"], DISCOVERED))
    assert talk.take(Ready).context.revision is R2026


def test_refusing_the_handshake_with_old_revisions_is_final() -> None:
    talk, first = begun(era=Era.HANDSHAKE)
    assert talk.say(error(first["id"], unsupported(R2024.name))) == []
    assert talk.take(Closed).error is not None


@rule(17, 18, 22)
@pytest.mark.parametrize("revision", HANDSHAKES, ids=lambda revision: revision.name)
def test_the_handshake_begins_with_initialize_and_ends_with_initialized(revision: Revision) -> None:
    talk, first = begun(revisions=[revision])
    assert first["method"] == "initialize"
    assert first["params"]["protocolVersion"] == revision.name
    assert first["params"]["clientInfo"] == {"name": "test-client", "version": "2.0"}
    assert isinstance(first["params"]["capabilities"], dict)
    assert talk.events == []
    assert talk.say(result(first["id"], initialized(revision))) == [notification("notifications/initialized")]
    context = talk.take(Ready).context
    assert context.revision is revision and context.can_call_peer and context.versions == (revision.name,)


def test_a_client_accepts_another_revision_that_it_speaks() -> None:
    talk, first = begun(era=Era.HANDSHAKE)
    talk.say(result(first["id"], initialized(R2024, instructions="")))
    context = talk.take(Ready).context
    assert context.revision is R2024 and context.instructions is None


@rule(23)
@pytest.mark.parametrize(
    "answer",
    [initialized() | {"protocolVersion": "1999-01-01"}, initialized() | {"protocolVersion": R2026.name}, {}, 7],
)
def test_a_client_leaves_when_it_cannot_use_the_answer(answer: Any) -> None:
    talk, first = begun(era=Era.HANDSHAKE)
    assert talk.say(result(first["id"], answer)) == []
    assert talk.take(Closed).error is not None
    assert talk.pipe.close_expected()
    with pytest.raises(LocalProtocolError):
        talk.engine.send_request("tools/list")


def test_a_refused_handshake_ends_the_connection() -> None:
    talk, first = begun(era=Era.HANDSHAKE)
    assert talk.say(failure(first["id"], -32603, "broken")) == []
    closed = talk.take(Closed)
    assert closed.error is not None and "broken" in closed.error.message


@rule(26)
def test_a_handshake_that_takes_too_long_is_closed_not_cancelled() -> None:
    talk, _ = begun(era=Era.HANDSHAKE, deadline=5.0)
    talk.pipe.handle_deadline(5.0)
    assert talk.hear() == []
    assert talk.take(Closed).error is not None
    assert talk.events == []


def test_without_a_handshake_to_fall_back_on_silence_is_a_failure() -> None:
    talk, _ = begun(revisions=[R2026], deadline=5.0, probe_deadline=1.0)
    assert talk.pipe.next_deadline() == 5.0
    talk.pipe.handle_deadline(5.0)
    assert talk.take(Closed).error is not None


def test_without_a_handshake_an_old_server_cannot_be_used() -> None:
    talk, first = begun(revisions=[R2026])
    talk.say(failure(first["id"], -32601))
    closed = talk.take(Closed)
    assert closed.error is not None and closed.error.code == ErrorCode.UNSUPPORTED_VERSION


def test_a_late_answer_to_the_probe_is_used_while_the_handshake_is_open() -> None:
    talk, first = begun(deadline=10.0, probe_deadline=2.0)
    talk.pipe.handle_deadline(2.0)
    (second,) = talk.hear()
    talk.say(result(first["id"], DISCOVERED))
    assert talk.take(Ready).context.revision is R2026
    # The answer to `initialize` comes as well and is nobody's.
    assert talk.say(result(second["id"], initialized())) == []
    assert talk.events == [] and talk.engine.open_calls == []


@pytest.mark.parametrize("answer", [{}, DISCOVERED | {"supportedVersions": [R2024.name]}])
def test_a_late_answer_that_proves_nothing_changes_nothing(answer: Any) -> None:
    talk, first = begun(deadline=10.0, probe_deadline=2.0)
    talk.pipe.handle_deadline(2.0)
    (second,) = talk.hear()
    assert talk.say(result(first["id"], answer)) == []
    talk.say(result(second["id"], initialized()))
    assert talk.take(Ready).context.revision is R2025_11


def test_a_late_error_to_the_probe_changes_nothing() -> None:
    talk, first = begun(deadline=10.0, probe_deadline=2.0)
    talk.pipe.handle_deadline(2.0)
    (second,) = talk.hear()
    assert talk.say(failure(first["id"], -32601)) == []
    talk.say(result(second["id"], initialized()))
    assert talk.take(Ready).context.revision is R2025_11


def test_an_answer_to_the_probe_after_the_handshake_is_nobodys() -> None:
    talk, first = begun(deadline=10.0, probe_deadline=2.0)
    talk.pipe.handle_deadline(2.0)
    (second,) = talk.hear()
    talk.say(result(second["id"], initialized()))
    talk.take(Ready)
    assert talk.say(result(first["id"], DISCOVERED)) == []
    assert talk.events == [] and talk.engine.open_calls == []


def test_a_late_answer_to_the_first_probe_does_not_answer_the_second() -> None:
    talk, first = begun(deadline=10.0, probe_deadline=2.0)
    talk.pipe.handle_deadline(2.0)
    (second,) = talk.hear()
    (third,) = talk.say(error(second["id"], unsupported(R2026.name)))
    assert third["method"] == "server/discover"
    assert talk.say(result(first["id"], DISCOVERED)) == [] and talk.engine.state is Negotiation.PROBING
    talk.say(result(third["id"], DISCOVERED))
    assert talk.take(Ready).context.revision is R2026


@rule(25)
def test_a_ping_is_answered_before_the_handshake_ends() -> None:
    talk, _ = begun(era=Era.HANDSHAKE)
    assert talk.say(request("p", "ping")) == [result("p", {})]
    assert talk.say(request("q", "roots/list")) == []
    assert isinstance(talk.take(Violation), Violation)


def test_the_end_of_the_stream_ends_the_negotiation() -> None:
    for era in Era:
        talk, _ = begun(era=era)
        talk.pipe.receive_eof()
        events: list[Event] = talk.hear_events()
        assert [type(event) for event in events] == [Closed]


def test_a_client_starts_once_and_speaks_what_it_was_told() -> None:
    talk, _ = begun()
    with pytest.raises(LocalProtocolError):
        talk.engine.start()
    for revisions, era in (([R2026], Era.HANDSHAKE), ([R2024], Era.ENVELOPE)):
        engine = ClientEngine(client_profile(revisions=revisions))
        with pytest.raises(LocalProtocolError):
            engine.start(era=era)
        assert engine.state is Negotiation.IDLE
    with pytest.raises(ValueError, match="at least one"):
        ClientProfile(CLIENT_INFO, revisions=[])


def test_offers_are_read_only_from_the_error_that_makes_them() -> None:
    assert read_offer(ErrorObject(-32601, "", {"supported": ["x"]})) is None
    assert read_offer(ErrorObject(-32022, "", {"supported": ["x"]})) == ["x"]
    assert read_offer(ErrorObject(-32022, "", object())) is None
    assert read_offer(ErrorObject(-32022, "")) is None


def test_the_newest_common_revision_is_chosen() -> None:
    offered = [revision.name for revision in REVISIONS]
    assert choose(offered, REVISIONS, Era.ENVELOPE) is R2026
    assert choose(offered, REVISIONS, Era.HANDSHAKE) is R2025_11
    assert choose(offered, (R2024,), Era.HANDSHAKE) is R2024
    assert choose([], REVISIONS, Era.HANDSHAKE) is None


MODERN, OLD, DUAL = [R2026], list(HANDSHAKES), list(REVISIONS)


@rule(54)
@pytest.mark.parametrize(
    ("server", "client", "settled"),
    [
        (MODERN, MODERN, R2026),
        (DUAL, MODERN, R2026),
        (OLD, MODERN, None),
        (MODERN, DUAL, R2026),
        (DUAL, DUAL, R2026),
        (OLD, DUAL, R2025_11),
        (MODERN, OLD, None),
        (DUAL, OLD, R2025_11),
        (OLD, OLD, R2025_11),
    ],
)
def test_the_two_eras_meet_as_the_table_says(server: Any, client: Any, settled: Revision | None) -> None:
    pair = EnginePair(server_profile(revisions=server), client_profile(revisions=client))
    pair.start()
    if settled is None:
        assert pair.take(pair.client_events, Closed).error is not None
    else:
        assert pair.take(pair.client_events, Ready).context.revision is settled
