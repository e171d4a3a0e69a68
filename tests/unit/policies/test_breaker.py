"""The circuit breaker: its table, its promises, and a state machine against a model."""

import re

import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from kailash.resilience import breaker as module
from kailash.resilience.breaker import BREAKER, BreakerRule, BreakerState, CircuitBreaker, Outcome

RULE = BreakerRule(failure_threshold=3, timeout=10.0, success_threshold=2)


def pass_in(breaker: CircuitBreaker, now: float) -> int:
    turn = breaker.admit(now)
    assert turn is not None
    return turn


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(RULE)
    for _ in range(3):
        breaker.fail(pass_in(breaker, 0.0), 0.0)
    return breaker


def test_it_opens_at_failures_in_a_row_and_says_how_long_to_wait() -> None:
    breaker = CircuitBreaker(RULE)
    for end in (breaker.fail, breaker.fail, breaker.succeed, breaker.fail, breaker.fail):
        end(pass_in(breaker, 0.0), 0.0)
    assert breaker.state is BreakerState.CLOSED
    breaker.fail(pass_in(breaker, 1.0), 1.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(4.0) is None and breaker.wait(4.0) == pytest.approx(7.0)


def test_it_is_tried_one_call_at_a_time_and_closes_after_enough_of_them() -> None:
    breaker = opened()
    turn = pass_in(breaker, 10.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert [breaker.admit(10.0) for _ in range(100)] == [None] * 100 and breaker.wait(10.0) == 1.0
    breaker.succeed(turn, 11.0)
    breaker.succeed(pass_in(breaker, 11.0), 11.0)
    assert breaker.state is BreakerState.CLOSED and breaker.admit(11.0) is not None


def test_a_failed_trial_opens_it_again() -> None:
    breaker = opened()
    breaker.fail(pass_in(breaker, 10.0), 10.5)
    assert breaker.state is BreakerState.OPEN and breaker.wait(11.0) == pytest.approx(9.5)


def test_a_trial_that_says_nothing_gives_its_turn_to_the_next() -> None:
    breaker = opened()
    breaker.forget(pass_in(breaker, 10.0))
    assert breaker.state is BreakerState.HALF_OPEN and breaker.admit(10.0) is not None


def test_calls_from_before_have_no_say_any_more() -> None:
    breaker = CircuitBreaker(RULE)
    early = [pass_in(breaker, 0.0) for _ in range(6)]
    for turn in early[:3]:
        breaker.fail(turn, 0.0)
    assert breaker.state is BreakerState.OPEN
    trial = pass_in(breaker, 10.0)
    breaker.fail(early[3], 10.0)
    breaker.succeed(early[4], 10.0)
    breaker.forget(early[5])
    assert breaker.state is BreakerState.HALF_OPEN and breaker.admit(10.0) is None
    breaker.succeed(trial, 10.0)
    assert breaker.admit(10.0) is not None


def test_it_can_be_closed_by_hand() -> None:
    breaker = opened()
    breaker.reset()
    assert breaker.admit(0.0) is not None and breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("wrong", [{"failure_threshold": 0}, {"success_threshold": 0}, {"timeout": 0}], ids=str)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="thresholds of one or more"):
        BreakerRule(**wrong)


def test_the_table_in_the_docstring_is_the_table() -> None:
    rows = re.findall(r"^\| (CLOSED|OPEN|HALF_OPEN) +\|(.*)\|$", module.__doc__ or "", re.MULTILINE)
    shown = {
        (BreakerState[state], outcome): BreakerState[cell.strip()]
        for state, cells in rows
        for outcome, cell in zip(Outcome, cells.split("|"), strict=True)
        if cell.strip()
    }
    assert shown == BREAKER


class Machine(stateful.RuleBasedStateMachine):
    """Calls come, end well, badly or without a word in any order, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(RULE)
        self.now = 0.0
        self.under_way: list[tuple[int, BreakerState]] = []

    @stateful.rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @stateful.rule()
    def call(self) -> None:
        turn = self.breaker.admit(self.now)
        if turn is not None:
            self.under_way.append((turn, self.breaker.state))
        else:
            assert self.breaker.state is not BreakerState.CLOSED and self.breaker.wait(self.now) > 0

    @stateful.precondition(lambda self: self.under_way)
    @stateful.rule(end=st.sampled_from(["succeed", "fail", "forget"]), which=st.integers(0, 50))
    def end(self, end: str, which: int) -> None:
        turn, _ = self.under_way.pop(which % len(self.under_way))
        rest = () if end == "forget" else (self.now,)
        getattr(self.breaker, end)(turn, *rest)

    @stateful.invariant()
    def one_call_at_a_time_is_on_trial(self) -> None:
        current = max((turn for turn, _ in self.under_way), default=0)
        trials = [turn for turn, state in self.under_way if state is BreakerState.HALF_OPEN and turn == current]
        assert len(trials) <= 1


TestMachine = Machine.TestCase
