"""Counts in fixed buckets: where a value falls, and which value has so many below it."""

from collections.abc import Sequence
from math import ceil
from typing import Final

__all__ = ["PROMETHEUS_SECONDS", "SECONDS", "VALUES", "percentile"]

_STEPS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
"""Ten to a decade, so that a bucket's ends differ by a quarter."""


def _bounds(first: int, last: int, up_to: float) -> tuple[float, ...]:
    # Read from text, so that a bound is the very number that its decimal name stands for.
    every = (float(f"{step}e{exponent}") for exponent in range(first, last + 1) for step in _STEPS)
    return tuple(bound for bound in every if bound <= up_to)


SECONDS: Final = (*_bounds(-6, 1, 50.0), 60.0)
"""Upper ends, inclusive, of the buckets of durations: 1 µs to a minute; longer ones have a bucket more."""

VALUES: Final = _bounds(-6, 8, 1e9)
"""Those of values of which nothing is known; the first bucket also has all that is below it."""

PROMETHEUS_SECONDS: Final = (
    *(bound for bound in SECONDS if bound >= 5e-5 and f"{bound:.2e}"[:4] in ("1.00", "2.00", "5.00")),
    60.0,
)
"""The bounds that are told to Prometheus, one to two to five: each is one of `SECONDS`, so their counts are exact."""


def percentile(counts: Sequence[float], bounds: Sequence[float], share: float) -> float:
    """Return the value that a share of all values do not exceed, as closely as buckets tell.

    Args:
        counts: values in each bucket; one more than there are bounds.
        bounds: upper ends of the buckets, inclusive.
        share: between 0 and 1.
    """
    total = sum(counts)
    if not total:
        return 0.0
    rank = max(1, ceil(share * total))
    below = 0.0
    lower = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below += count
        lower = bound
    return lower  # nothing is known of the longest but that they are longer than every bucket
