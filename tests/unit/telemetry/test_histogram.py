"""Percentiles from buckets, against those of the samples themselves."""

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from kailash.telemetry.histogram import PROMETHEUS_SECONDS, SECONDS, VALUES, percentile

SHARES = st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0])


def counted(samples: list[float], bounds: tuple[float, ...] = SECONDS) -> list[float]:
    counts = [0.0] * (len(bounds) + 1)
    for sample in samples:
        counts[bisect_left(bounds, sample)] += 1
    return counts


@given(st.lists(st.floats(0, 59), min_size=1, max_size=300), SHARES)
def test_a_percentile_lies_in_the_bucket_of_the_sample_it_stands_for(samples: list[float], share: float) -> None:
    exact = sorted(samples)[max(1, math.ceil(share * len(samples))) - 1]
    index = bisect_left(SECONDS, exact)
    lower = SECONDS[index - 1] if index else 0.0
    found = percentile(counted(samples), SECONDS, share)
    assert lower <= found <= SECONDS[index]
    if exact > SECONDS[0]:
        assert abs(found - exact) <= 0.3 * exact


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=100))
def test_percentiles_are_in_order(samples: list[float]) -> None:
    counts = counted(samples)
    found = [percentile(counts, SECONDS, share) for share in (0.0, 0.5, 0.95, 0.99, 1.0)]
    assert found == sorted(found)


def test_nothing_counted_is_zero() -> None:
    assert percentile([0.0] * (len(SECONDS) + 1), SECONDS, 0.5) == 0.0


def test_what_is_longer_than_every_bucket_counts_as_the_last_bound() -> None:
    assert percentile(counted([1000.0]), SECONDS, 0.5) == 60.0


def test_bounds_rise_and_those_for_prometheus_are_among_them() -> None:
    for bounds in (SECONDS, VALUES, PROMETHEUS_SECONDS):
        assert list(bounds) == sorted(set(bounds))
    assert set(PROMETHEUS_SECONDS) <= set(SECONDS)
    assert (PROMETHEUS_SECONDS[0], PROMETHEUS_SECONDS[-1]) == (5e-5, 60.0)
    assert (SECONDS[0], SECONDS[-1]) == (1e-6, 60.0)
