"""Retries as pure decisions: what may be repeated, when, and how often at most."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.errors import (
    AuthenticationError,
    CircuitOpenError,
    ConnectionError,
    MCPError,
    MCPErrorCode,
    RateLimitError,
    RequestTimeoutError,
    ToolError,
    TransportError,
)
from kailash.resilience import (
    BreakerState,
    CircuitBreakerRetry,
    ErrorAggregator,
    ExponentialBackoffRetry,
    RetryBudget,
    RetryStrategy,
    SimpleRetry,
)
from kailash.resilience import retry as module
from kailash.resilience.retry import asked_wait, is_passing, is_refusal, make_strategy

REFUSED: list[MCPError] = [
    RateLimitError("slow down"),
    CircuitOpenError("open"),
    MCPError("too much", error_code=MCPErrorCode.OVERLOADED),
    TransportError("HTTP 503", data={"status": 503, "retryable": True, "retry_after": 2.0}, retryable=True),
    MCPError("HTTP 429", data={"status": 429}),
    TransportError("no connection", retryable=True),
    ConnectionError("could not be sent", data={"retryable": True}, retryable=True),
]
PASSING: list[MCPError] = [
    ConnectionError("gone", retryable=True),
    ConnectionError("gone after it was sent", data={"was_sent": True}),
    TransportError("HTTP 502", data={"status": 502, "retryable": True}, retryable=True),
    TransportError("HTTP 503", data={"status": 503, "retryable": True}, retryable=True),
    RequestTimeoutError("the tool took too long", retryable=True),
    ToolError("upstream is away", retryable=True),
]
FINAL: list[MCPError] = [
    ToolError("no"),
    AuthenticationError("who?"),
    RequestTimeoutError("too slow"),
    TransportError("nobody speaks MCP there"),
    MCPError("HTTP 404", data={"status": 404}),
]


@pytest.mark.parametrize(
    ("errors", "safe", "other"), [(REFUSED, True, True), (PASSING, True, False), (FINAL, False, False)]
)
def test_the_table_of_what_may_be_repeated_holds(errors: list[MCPError], safe: bool, other: bool) -> None:
    for error in errors:
        for is_safe, again in ((True, safe), (False, other)):
            delay = SimpleRetry().next_delay(error, 1, 0.0, 0.5, is_safe=is_safe)
            assert (delay is not None) is again, (error, is_safe)
        assert is_refusal(error) is other
        assert is_passing(error) is safe


def test_the_docstring_shows_the_table() -> None:
    rows = [line.split("|")[2:4] for line in (module.__doc__ or "").splitlines() if line.startswith("| ")]
    shown = [tuple(cell.strip() for cell in row) for row in rows]
    assert shown == [("a safe call", "any other"), ("again", "again"), ("again", "never"), ("never", "never")]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (MCPError("x", retry_after=3.0), 3.0),
        (MCPError("x", data={"retryAfter": 2}), 2.0),
        (MCPError("x", data={"retry_after": 1.5}), 1.5),
        (MCPError("x", data={"retryAfter": True}), None),
        (MCPError("x", data={"retryAfter": "soon"}), None),
        (MCPError("x", data={"retryAfter": -1}), None),
        (MCPError("x", data={"retryAfter": float("nan")}), None),
        (MCPError("x", data=[1]), None),
    ],
)
def test_the_time_an_error_asks_for_is_found_wherever_it_stands(error: MCPError, seconds: float | None) -> None:
    assert asked_wait(error) == seconds


def test_nobody_comes_back_before_the_time_that_was_asked_for() -> None:
    strategy = ExponentialBackoffRetry(base_delay=1.0)
    for chance in (0.0, 0.5, 1.0):
        delay = strategy.next_delay(RateLimitError("x", retry_after=5.0), 1, 0.0, chance, is_safe=False)
        assert delay is not None and 5.0 <= delay <= 6.0
    at_once = SimpleRetry(delay=3.0).next_delay(RateLimitError("x", retry_after=0.0), 1, 0.0, 0.5, is_safe=False)
    assert at_once == 0.0


def test_retries_end_at_their_number() -> None:
    strategy = SimpleRetry(max_retries=2)
    delays = [strategy.next_delay(REFUSED[0], attempt, 0.0, 0.5, is_safe=True) for attempt in (1, 2, 3)]
    assert delays == [0.5, 0.5, None]


@given(st.integers(1, 2000), st.floats(0, 1), st.floats(0.01, 10), st.floats(1, 4))
def test_full_jitter_stays_in_a_range_that_grows_to_its_longest(
    attempt: int, chance: float, base: float, multiplier: float
) -> None:
    strategy = ExponentialBackoffRetry(base_delay=base, max_delay=60.0, multiplier=multiplier)
    pause = strategy.pause(attempt, chance)
    assert 0 <= pause <= min(60.0, base * multiplier ** min(attempt - 1, 64)) * 1.000001
    assert strategy.pause(attempt, 1.0) <= strategy.pause(attempt + 1, 1.0)


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=200), st.floats(0, 1), st.integers(0, 5))
def test_a_budget_keeps_retries_a_share_of_the_calls(steps: list[tuple[float, bool]], ratio: float, floor: int) -> None:
    budget = RetryBudget(ratio=ratio, floor=floor, window=60.0)
    now = 0.0
    calls: list[float] = []
    retries: list[float] = []
    for pause, is_call in steps:
        now += pause
        if is_call:
            budget.call(now)
            calls.append(now)
        elif budget.take(now):
            retries.append(now)
            lately = [at for at in calls if at > now - 66.0]
            assert sum(at > now - 60.0 for at in retries) <= max(floor, ratio * len(lately))


def test_a_budget_that_is_spent_ends_retries_and_returns_with_time() -> None:
    strategy = ExponentialBackoffRetry(budget=RetryBudget(ratio=0.1, floor=1, window=10.0))
    for _ in range(30):
        strategy.begin(0.0)
    allowed = [strategy.next_delay(REFUSED[0], 1, 0.0, 0.5, is_safe=True) is not None for _ in range(5)]
    assert allowed == [True, True, True, False, False]
    assert strategy.next_delay(REFUSED[0], 1, 11.5, 0.5, is_safe=True) is not None, "the floor"
    assert strategy.next_delay(REFUSED[0], 1, 11.5, 0.5, is_safe=True) is None
    unbounded = ExponentialBackoffRetry(budget=None)
    unbounded.begin(0.0)
    assert all(unbounded.next_delay(REFUSED[0], 1, 0.0, 0.5, is_safe=True) is not None for _ in range(100))


def test_the_circuit_opens_on_failures_of_the_server_and_not_of_tools() -> None:
    strategy = CircuitBreakerRetry(failure_threshold=2, timeout=10.0, success_threshold=1)
    for error in FINAL[:2] * 5:
        strategy.end(strategy.begin(0.0), error, 0.0)
    assert strategy.breaker.state is BreakerState.CLOSED
    for error in (PASSING[0], REFUSED[0]):
        strategy.end(strategy.begin(1.0), error, 1.0)
    with pytest.raises(CircuitOpenError, match=r"tried again in 6\.0 s") as refused:
        strategy.begin(5.0)
    assert refused.value.retry_after == 6.0 and refused.value.retryable
    turn = strategy.begin(11.0)
    with pytest.raises(CircuitOpenError):
        strategy.begin(11.0)
    strategy.abandon(turn)  # cancelled: the next one is on trial
    strategy.end(strategy.begin(11.0), None, 11.5)
    assert strategy.breaker.state is BreakerState.CLOSED
    strategy.end(strategy.begin(12.0), RequestTimeoutError("slow"), 12.0)
    strategy.end(strategy.begin(12.0), RequestTimeoutError("slow"), 12.0)
    assert strategy.breaker.state is BreakerState.OPEN


def test_a_strategy_is_a_name_or_an_object() -> None:
    kinds = {"simple": SimpleRetry, "exponential": ExponentialBackoffRetry, "circuit_breaker": CircuitBreakerRetry}
    for name, kind in kinds.items():
        made = make_strategy(name, 7)
        assert type(made) is kind and made.max_retries == 7
        assert type(make_strategy(name)) is kind
    own = SimpleRetry()
    assert make_strategy(own) is own
    assert make_strategy(None) is None and make_strategy(None, 0) is None
    wrong: list[tuple[Any, int | None, type[Exception], str]] = [
        ("linear", None, ValueError, "unknown retry_strategy 'linear'; known: simple, exponential, circuit_breaker"),
        (None, 3, TypeError, "max_retries needs a retry_strategy: simple"),
        (own, 3, TypeError, "has max_retries of its own"),
        (7, None, TypeError, "or a RetryStrategy, not int"),
    ]
    for strategy, retries, kind_of_error, said in wrong:
        with pytest.raises(kind_of_error, match=re.escape(said)):
            make_strategy(strategy, retries)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimpleRetry(max_retries=-1),
        lambda: SimpleRetry(max_retries=True),
        lambda: SimpleRetry(delay=-1),
        lambda: ExponentialBackoffRetry(base_delay=0),
        lambda: ExponentialBackoffRetry(max_delay=0.1),
        lambda: ExponentialBackoffRetry(multiplier=0.5),
        lambda: RetryBudget(ratio=2),
        lambda: RetryBudget(floor=-1),
        lambda: RetryBudget(window=0),
        lambda: CircuitBreakerRetry(failure_threshold=0),
        lambda: ErrorAggregator(window=0),
        lambda: ErrorAggregator(limit=0),
    ],
)
def test_values_out_of_range_are_errors(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


def test_a_strategy_of_ones_own_needs_a_pause_alone() -> None:
    class Never(RetryStrategy):
        pass

    with pytest.raises(NotImplementedError):
        Never().next_delay(REFUSED[0], 1, 0.0, 0.5, is_safe=True)

    class Late(RetryStrategy):
        def pause(self, attempt: int, chance: float) -> float:
            return 10.0 * attempt

    late = Late(max_retries=2)
    late.end(late.begin(0.0), None, 0.0)
    late.abandon(0)
    assert late.next_delay(REFUSED[1], 2, 0.0, 0.5, is_safe=False) == 20.0


def test_errors_are_counted_by_code_and_forgotten_with_time() -> None:
    errors = ErrorAggregator(window=10.0, limit=3)
    errors.record(RateLimitError("a", retryable=True), 0.0)
    errors.record(RateLimitError("b"), 5.0)
    errors.record(ValueError("c"), 6.0)
    errors.record(MCPError("d", error_code=-31999), 7.0)
    assert errors.count() == 4 and errors.count(MCPErrorCode.RATE_LIMITED) == 2
    summary = errors.summary(8.0)
    assert summary["total"] == 4
    assert summary["by_code"] == {"RATE_LIMITED": 2, "INTERNAL_ERROR": 1, "OTHER": 1}
    assert summary["recent"] == 3 and summary["recent_by_code"] == {"RATE_LIMITED": 1, "INTERNAL_ERROR": 1, "OTHER": 1}
    assert summary["last"] == "d" and summary["retryable"] == 0 and summary["recent_rate"] == 0.3
    assert errors.summary(100.0)["last"] is None
    errors.clear()
    assert errors.count() == 0


def test_codes_that_peers_make_up_do_not_grow_the_totals() -> None:
    errors = ErrorAggregator()
    for code in range(5000, 6000):
        errors.record(MCPError("x", error_code=code), 0.0)
    assert errors.summary(0.0)["by_code"] == {"OTHER": 1000}
