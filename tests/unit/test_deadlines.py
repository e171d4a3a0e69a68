"""Deadlines as data: at most one per subject, earliest first, each expired at most once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.deadlines import NO_DEADLINES, DeadlineQueue


class Subject:
    """Something with an identity."""


def test_deadlines_expire_in_order_and_once() -> None:
    queue: DeadlineQueue[Subject] = DeadlineQueue()
    first, second = Subject(), Subject()
    assert queue.next() is None and queue.expire(1.0) == []
    queue.arm(second, 2.0)
    queue.arm(first, 1.0)
    assert queue.next() == 1.0
    assert queue.expire(0.5) == []
    assert queue.expire(2.0) == [first, second]
    assert queue.next() is None and queue.expire(9.0) == []


def test_a_deadline_moves_and_goes() -> None:
    queue: DeadlineQueue[Subject] = DeadlineQueue()
    subject = Subject()
    queue.arm(subject, 1.0)
    queue.arm(subject, 3.0)
    assert queue.next() == 3.0 and queue.expire(2.0) == []
    queue.disarm(subject)
    queue.disarm(subject)
    assert queue.next() is None
    queue.arm(subject, 1.0)
    queue.clear()
    assert queue.expire(9.0) == []


def test_the_queue_that_everybody_shares_stays_empty() -> None:
    with pytest.raises(TypeError):
        NO_DEADLINES.arm(Subject(), 1.0)
    assert NO_DEADLINES.next() is None and NO_DEADLINES.expire(9.0) == []


def test_finished_subjects_do_not_pile_up() -> None:
    queue: DeadlineQueue[Subject] = DeadlineQueue()
    kept, other = Subject(), Subject()
    queue.arm(kept, 0.5)
    queue.arm(other, 0.7)
    for number in range(1000):
        subject = Subject()
        queue.arm(subject, 1.0 + number)
        queue.disarm(subject)
    assert len(queue._heap) <= 65
    assert queue.expire(2.0) == [kept, other]


@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(0, 9)), max_size=200))
def test_the_queue_is_a_mapping_that_knows_its_least_value(steps: list[tuple[int, int | None]]) -> None:
    queue: DeadlineQueue[Subject] = DeadlineQueue()
    subjects = [Subject() for _ in range(5)]
    model: dict[int, float] = {}
    for index, deadline in steps:
        if deadline is None:
            queue.disarm(subjects[index])
            model.pop(index, None)
        else:
            queue.arm(subjects[index], float(deadline))
            model[index] = float(deadline)
        assert queue.next() == min(model.values(), default=None)
    due = queue.expire(5.0)
    assert {subjects.index(each) for each in due} == {index for index, at in model.items() if at <= 5.0}
    assert [model[subjects.index(each)] for each in due] == sorted(model[subjects.index(each)] for each in due)
