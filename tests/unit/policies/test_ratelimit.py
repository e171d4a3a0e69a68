"""GCRA against what it promises, and against a sliding log as oracle."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.resilience import Rate, RateLimiter


def test_a_burst_passes_at_once_and_then_the_rate() -> None:
    limiter, rate = RateLimiter(), Rate(requests=60, window=60, burst=3)
    assert [limiter.take("a", rate, 100.0).is_allowed for _ in range(4)] == [True, True, True, False]
    verdict = limiter.take("a", rate, 100.0)
    assert verdict.retry_after == pytest.approx(1.0)
    assert not limiter.take("a", rate, 100.99).is_allowed
    assert limiter.take("a", rate, 101.0).is_allowed
    assert not limiter.take("a", rate, 101.0).is_allowed


def test_keys_do_not_share_a_bucket() -> None:
    limiter, rate = RateLimiter(), Rate(requests=1, window=10)
    assert limiter.take("a", rate, 0.0).is_allowed and limiter.take("b", rate, 0.0).is_allowed
    assert not limiter.take("a", rate, 0.0).is_allowed
    limiter.clear()
    assert limiter.take("a", rate, 0.0).is_allowed


def test_a_refused_request_takes_nothing() -> None:
    limiter, rate = RateLimiter(), Rate(requests=1, window=1)
    assert limiter.take("a", rate, 0.0).is_allowed
    for step in range(1, 10):
        assert not limiter.take("a", rate, step / 10).is_allowed
    assert limiter.take("a", rate, 1.0).is_allowed


def test_a_request_may_count_for_several() -> None:
    limiter, rate = RateLimiter(), Rate(requests=10, window=10, burst=10)
    assert limiter.take("a", rate, 0.0, cost=8).is_allowed
    refused = limiter.take("a", rate, 0.0, cost=8)
    assert not refused.is_allowed and refused.retry_after == pytest.approx(6.0)
    assert limiter.take("a", rate, 6.0, cost=8).is_allowed


def test_buckets_are_bounded_and_full_ones_go_first() -> None:
    limiter, rate = RateLimiter(limit=100), Rate(requests=1, window=1)
    for number in range(1000):
        limiter.take(number, rate, 0.0)
    assert len(limiter) == 100
    for number in range(1000):
        limiter.take(f"later {number}", rate, 50.0 + number)
    assert len(limiter) <= 100


@pytest.mark.parametrize(
    "wrong",
    [{"requests": 0}, {"requests": 1, "window": 0}, {"requests": -1}, {"requests": 1, "burst": 0}],
    ids=str,
)
def test_rates_that_let_nothing_pass_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"above zero|lets nothing pass"):
        Rate(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        RateLimiter(limit=0)


@given(
    requests=st.integers(1, 20),
    window=st.sampled_from([0.5, 1.0, 7.0, 60.0]),
    burst=st.integers(1, 20),
    steps=st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=200),
)
def test_no_window_lets_more_pass_than_burst_and_rate(
    requests: int, window: float, burst: int, steps: list[float]
) -> None:
    limiter, rate = RateLimiter(), Rate(requests=requests, window=window, burst=burst)
    now, passed = 1000.0, deque[float]()
    for step in steps:
        now += step
        verdict = limiter.take("k", rate, now)
        if verdict.is_allowed:
            passed.append(now)
            for start in passed:
                count = sum(start <= at <= now for at in passed)
                assert count <= burst + (now - start) / rate.interval + 1e-6
        else:
            # What it says of the wait is true to the point.
            again = RateLimiter()
            again._arrivals["k"] = limiter._arrivals["k"]
            assert again.take("k", rate, now + verdict.retry_after).is_allowed
