"""The log of a session that several processes serve: what it writes for the others, and what it replays."""

from kailash.mcp_server.shared_log import SharedLog
from kailash.stores.sessions import BEGUN, FINISHED, MESSAGE, TRIM, Logged
from protocol.http import Budget, EventLogLimits
from protocol.sharing import SPAN


def make(number: int = 2, **limits: int) -> tuple[SharedLog, list[Logged]]:
    written: list[Logged] = []
    return SharedLog("name", number, written.append, EventLogLimits(**limits), Budget()), written


def test_what_goes_out_is_written_for_the_others() -> None:
    log, written = make()
    stream = 2 * SPAN + 1
    log.begin(stream, [1, "x"])
    event_id = log.append(stream, b"{}", 0.0)
    log.finish(stream)
    assert [(entry.kind, entry.data) for entry in written] == [(BEGUN, b'[1,"x"]'), (MESSAGE, b"{}"), (FINISHED, b"")]
    assert [entry.number for entry in written] == [2 * SPAN + 1, 2 * SPAN + 2, 2 * SPAN + 3]
    assert event_id == f"{stream}-{2 * SPAN + 2}" and {entry.stream for entry in written} == {stream}


def test_who_took_over_listening_last_has_the_largest_numbers() -> None:
    log, _ = make()
    assert log.mint(0) == f"0-{2 * SPAN + 1}"
    log.listening = 7
    assert log.mint(0) == f"0-{7 * SPAN + 2}" and log.mint(5) == f"5-{2 * SPAN + 3}"


def test_what_was_fetched_is_replayed_once_with_what_is_here() -> None:
    log, _ = make()
    log.listening = 3
    mine = log.append(0, b"mine", 0.0)
    log.fetch(0, [(5, b"old"), (6, b"older"), (3 * SPAN + 1, b"mine")])
    log.add(0, 4 * SPAN, b"later")
    assert log.holds(0) and log.holds(1) is False
    expected = [("0-6", b"older"), (mine, b"mine"), (f"0-{4 * SPAN}", b"later")]
    assert log.replay(0, 5, 0.0) == expected
    assert log.replay(0, 5, 0.0) == [(mine, b"mine")]
    log.add(9, 1, b"more")
    assert log.holds(9)
    log.clear()
    assert not log.holds(9) and not log.holds(0)


def test_the_store_keeps_no_more_than_one_process_would() -> None:
    log, written = make(events=100, size=1000)
    for number in range(101):
        log.append(number % 2, b"x", 0.0)
    trims = [entry for entry in written if entry.kind == TRIM]
    assert [entry.stream for entry in trims] == [0, 1] and len(written) == 103
    kept = [entry for entry in written if entry.kind == MESSAGE and entry.number >= max(t.number for t in trims)]
    assert len(kept) == 75
    written.clear()
    log.append(1, b"y" * 2000, 0.0)
    assert [entry.kind for entry in written] == [MESSAGE, TRIM, TRIM], "what is too large is published and not kept"
