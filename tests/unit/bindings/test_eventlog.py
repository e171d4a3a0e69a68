"""What a session remembers of its event streams, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http import Budget, EventLog, EventLogLimits
from protocol.http.eventlog import parse_event_id
from tests.requirements import rule


def numbers(log: EventLog, stream: int, after: int = 0, now: float = 0.0) -> list[bytes]:
    return [data for _, data in log.replay(stream, after, now)]


@rule(72)
def test_ids_tell_their_stream_and_are_never_used_twice() -> None:
    log = EventLog()
    ids = [log.append(stream, b"x", 0.0) for stream in (1, 2, 1)] + [log.mint(2), log.append(2, b"y", 0.0)]
    assert len(set(ids)) == len(ids)
    assert [each.split("-")[0] for each in ids] == ["1", "2", "1", "2", "2"]
    assert [parse_event_id(each.encode()) for each in ids] == [(1, 1), (2, 2), (1, 3), (2, 4), (2, 5)]


@pytest.mark.parametrize("text", ["", "-", "1-", "-1", "a-1", "1-b", "1", "1-2-3", "+1-2", "1-" + "9" * 16, "١-1"])
def test_ids_that_are_not_ours_are_none(text: str) -> None:
    assert parse_event_id(text.encode()) is None


@rule(73)
def test_only_the_same_stream_is_replayed_and_only_what_came_after() -> None:
    log = EventLog()
    first = log.append(1, b"a", 0.0)
    log.append(2, b"b", 0.0)
    log.mint(1)
    second = log.append(1, b"c", 0.0)
    assert log.replay(1, 0, 0.0) == [(first, b"a"), (second, b"c")]
    assert numbers(log, 1, 1) == [b"c"] and numbers(log, 1, 3) == [b"c"] and numbers(log, 1, 4) == []
    assert numbers(log, 2) == [b"b"] and numbers(log, 3) == []
    assert log.holds(1) and log.holds(2) and not log.holds(3)


@pytest.mark.parametrize(("count", "kept"), [(2, 2), (3, 3), (4, 3)])
def test_the_count_is_bounded(count: int, kept: int) -> None:
    log = EventLog(EventLogLimits(events=3))
    for index in range(count):
        log.append(1, b"%d" % index, 0.0)
    assert numbers(log, 1) == [b"%d" % index for index in range(count - kept, count)]
    assert len(log) == kept


@pytest.mark.parametrize(("size", "kept"), [(4, 2), (5, 2), (6, 1)])
def test_the_bytes_are_bounded(size: int, kept: int) -> None:
    log = EventLog(EventLogLimits(size=10))
    log.append(1, b"x" * 5, 0.0)
    log.append(2, b"y" * size, 0.0)
    assert len(log) == kept and log.holds(1) is (kept == 2)
    log.append(3, b"z" * 11, 0.0)
    assert len(log) == 0 and not log.holds(2)


@pytest.mark.parametrize(("now", "kept"), [(9.9, 1), (10.0, 0), (10.1, 0)])
def test_the_age_is_bounded(now: float, kept: int) -> None:
    log = EventLog(EventLogLimits(age=10.0))
    log.append(1, b"x", 0.0)
    assert len(numbers(log, 1, 0, now)) == kept


def test_all_sessions_share_a_budget_and_who_exceeds_it_forgets() -> None:
    budget = Budget(10)
    one, two = EventLog(None, budget), EventLog(None, budget)
    one.append(1, b"x" * 6, 0.0)
    two.append(1, b"y" * 4, 0.0)
    assert budget.used == 10 and not budget.is_exceeded
    two.append(1, b"z" * 3, 0.0)
    assert len(one) == 1 and numbers(two, 1) == [b"z" * 3] and budget.used == 9
    two.append(1, b"w" * 9, 0.0)
    assert len(two) == 0 and budget.used == 6
    one.clear()
    assert budget.used == 0 and len(one) == 0 and not one.holds(1)
    assert not Budget().is_exceeded


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.floats(0, 5)), max_size=60))
def test_the_log_is_what_is_left_of_a_list_within_its_bounds(steps: list[tuple[int, int, float]]) -> None:
    log = EventLog(EventLogLimits(events=8, size=20, age=10.0), Budget(15))
    model: list[tuple[int, int, int, float]] = []
    now = 0.0
    for number, (stream, size, wait) in enumerate(steps, 1):
        now += wait
        log.append(stream, b"x" * size, now)
        model.append((stream, number, size, now))
        while model and (len(model) > 8 or sum(each[2] for each in model) > 15 or model[0][3] + 10.0 <= now):
            model.pop(0)
        for each in range(4):
            expected = [(f"{s}-{n}", b"x" * z) for s, n, z, _ in model if s == each]
            assert log.replay(each, 0, now) == expected and log.holds(each) is bool(expected)
