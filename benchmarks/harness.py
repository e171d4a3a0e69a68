"""Measuring: rounds that take turns, a warm-up that finds how much fills one, medians with their spread.

Here belongs what every question shares; what is sent, and to whom, does not. No claims, only figures.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import median

__all__ = [
    "CORES",
    "FLOOR",
    "LOAD_BUSY",
    "LOAD_LATE",
    "SERVER_BUSY",
    "Figure",
    "Plan",
    "Sample",
    "contest",
    "figures_of",
    "percentile",
    "take_turns",
    "timed",
]

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]

FLOOR = "bare (floor)"
SERVER_BUSY, LOAD_BUSY = "server busy", "load busy"
"""Details: how much of a core each used."""
LOAD_LATE = "load late p99"
"""Detail: by how much, in the unit of the figure, the generator itself was behind while a connection was free."""

_BUSY = 0.9


@dataclass(frozen=True)
class Sample:
    """What one round of one subject gave."""

    value: float
    detail: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """One measured value: that of each round, and their median."""

    table: str
    """The title of the table in which it stands; ratios are taken within it."""
    subject: str
    values: tuple[float, ...]
    """Of each round."""
    unit: str
    detail: Mapping[str, float] = field(default_factory=dict)
    """Medians of what else was measured."""
    floor: str = FLOOR
    """The subject of the same table that this one is compared to; empty: none."""
    is_less_better: bool = False
    at: float | None = None
    """Where on a line it stands: a number of connections, a size."""
    axis: str = ""
    """What `at` counts."""
    question: str = ""

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most of the rounds."""
        return min(self.values), max(self.values)

    @property
    def is_load_bound(self) -> bool:
        """Tell whether the load generator was at its limit and the server was not: the server could do more."""
        return self.detail.get(LOAD_BUSY, 0.0) > _BUSY > self.detail.get(SERVER_BUSY, 1.0)

    @property
    def is_load_late(self) -> bool:
        """Tell whether the load generator was so late itself that it is a good part of what was measured."""
        return self.detail.get(LOAD_LATE, 0.0) > self.value / 2

    def ratio(self, other: "Figure") -> float | None:
        """Return how many times better this is than another; below 1 it is worse. `None`: one of them is nothing."""
        mine, theirs = (other.value, self.value) if self.is_less_better else (self.value, other.value)
        return mine / theirs if theirs > 0 and mine > 0 else None

    def as_json(self) -> dict[str, object]:
        """Return what a JSON line holds."""
        return {**asdict(self), "median": self.value}

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> "Figure":
        """Read what `as_json` gave."""
        known = {name: value for name, value in line.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "values": tuple(known["values"])})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Plan:
    """How much is measured, and against whom.

    Args:
        against: names of the peers.
        rounds: of each subject, besides the warm-up.
        seconds: that one round of one subject is to take.
        scale: of numbers that are part of a question (idle sessions, listeners, tools); tests shrink them.
        tell: is told what is being measured.
    """

    against: tuple[str, ...] = ()
    rounds: int = 5
    seconds: float = 0.3
    scale: float = 1.0
    tell: Callable[[str], None] = lambda what: None

    def only(self, *peers: str) -> "Plan":
        """Return the same plan without the peers that cannot answer."""
        return replace(self, against=tuple(name for name in self.against if name in peers))

    def once(self) -> "Plan":
        """Return the same plan with one round, for what takes long and does not vary."""
        return replace(self, rounds=1)

    def sized(self, number: int, least: int = 1) -> int:
        """Return a number that is part of the question, at the scale of this plan."""
        return max(least, round(number * self.scale))


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of values, `share` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(once: Callable[[], object], calls: int = 1) -> Callable[[int], Sample]:
    """Return a turn that repeats a function which makes `calls` calls; it gives calls per second."""

    def turn(count: int) -> Sample:
        repeats = range(max(1, count // calls))
        started = time.perf_counter()
        for _ in repeats:
            once()
        return Sample(len(repeats) * calls / (time.perf_counter() - started))

    return turn


def contest(
    turns: Mapping[str, Callable[[int], Sample]],
    plan: Plan,
    *,
    first: int = 1,
    rate_of: Callable[[Sample], float] = lambda sample: sample.value,
) -> dict[str, list[Sample]]:
    """Let subjects take turns (A B C A B C), so that what else the machine does meets them all.

    Args:
        turns: each makes as many operations as it is told.
        first: operations of the first attempt; the warm-up repeats with more until they take long enough to tell how
            many fill a round.
        rate_of: tells how many operations a second a sample stands for; default its value.
    """
    counts = {}
    for name, turn in turns.items():
        plan.tell(name)
        count = first
        while True:
            rate = rate_of(turn(count))
            if count / rate >= plan.seconds / 4:
                break
            count = max(count + 1, min(count * 20, int(rate * plan.seconds / 2)))
        counts[name] = max(1, int(rate * plan.seconds))
    return take_turns({name: _with(turn, counts[name]) for name, turn in turns.items()}, plan)


def _with(turn: Callable[[int], Sample], count: int) -> Callable[[], Sample]:
    return lambda: turn(count)


def take_turns(turns: Mapping[str, Callable[[], Sample]], plan: Plan) -> dict[str, list[Sample]]:
    """Let subjects take turns that need no number, without a warm-up."""
    found: dict[str, list[Sample]] = {name: [] for name in turns}
    for number in range(plan.rounds):
        for name, turn in turns.items():
            plan.tell(f"{name}, round {number + 1} of {plan.rounds}")
            found[name].append(turn())
    return found


def figures_of(
    table: str,
    found: Mapping[str, Iterable[Sample]],
    unit: str,
    *,
    floors: Mapping[str, str] | None = None,
    is_less_better: bool = False,
    at: float | None = None,
    axis: str = "",
) -> list[Figure]:
    """Return a figure a subject.

    Args:
        floors: the floor of each subject; default is the table's own.
    """
    figures = []
    for name, samples in found.items():
        each = list(samples)
        detail = {key: median(sample.detail[key] for sample in each if key in sample.detail) for key in each[0].detail}
        values = tuple(sample.value for sample in each)
        floor = (floors or {}).get(name, FLOOR)
        figures.append(Figure(table, name, values, unit, detail, floor, is_less_better, at, axis))
    return figures
