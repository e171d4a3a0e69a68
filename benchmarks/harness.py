"""Measuring: warm-up, best of several rounds, percentiles, and a note of the machine. No claims, only figures."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

__all__ = ["CORES", "FLOOR", "Figure", "best_rate", "machine_note", "percentile", "table", "wanted"]

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


FLOOR = "bare (floor)"


@dataclass(frozen=True)
class Figure:
    """One measured value."""

    question: str
    subject: str
    value: float
    unit: str
    detail: dict[str, float] = field(default_factory=dict)
    floor: str = FLOOR
    """The subject of the same question that this one is compared to."""

    def as_json(self) -> dict[str, object]:
        """Return what a JSON line holds."""
        return asdict(self)


def wanted(of_sdk: float | None = None, of_floor: float | None = None) -> dict[str, float]:
    """Return the detail that names targets: the ratios to the official SDK and to the floor."""
    goals = {"wanted of mcp": of_sdk, "wanted of the floor": of_floor}
    return {name: goal for name, goal in goals.items() if goal is not None}


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of values, `share` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def best_rate(once: Callable[[], None], *, calls: int, rounds: int, count: int) -> float:
    """Return calls per second of the best round; `once` makes `calls` calls and is repeated `count` times a round."""
    for _ in range(max(1, count // 4)):
        once()
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(count):
            once()
        best = min(best, time.perf_counter() - started)
    return count * calls / best


def machine_note() -> str:
    """Say what was measured on, and how busy it was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return f"{platform.machine()}, {len(CORES)} cores, Python {platform.python_version()}, load {load:.2f} at the start"


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """Return rows as aligned text."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        title,
        *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]),
    ]
    lines.insert(2, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
