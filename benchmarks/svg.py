"""Charts as SVG text: horizontal bars with the floor marked, and lines. No library, no fonts of its own, no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

__all__ = ["Bar", "Line", "bar_chart", "color_of", "line_chart"]

WIDTH = 860
_FONT = "font-family='Helvetica, Arial, sans-serif'"
_INK, _MUTED, _RULE, _PAPER = "#1f2933", "#616e7c", "#dfe3e8", "#ffffff"
_OURS, _FLOOR = "#1f6feb", "#9aa5b1"
_OTHERS = {"mcp 2": "#e8743b", "mcp 1": "#f2b134", "fastmcp": "#8c4fbf", "typescript": "#2f9e6e"}
_SHADES = ("#1f6feb", "#58a6ff", "#3b5bdb", "#7cc4fa", "#4f6bed", "#a5b4fc")
_LETTER = 0.56
"""Of the size of a font: how wide a letter is, on the average."""


class Bar(NamedTuple):
    """One bar: its label, the value and its spread, what is written at its end, and where its floor is."""

    label: str
    value: float
    least: float
    most: float
    text: str
    floor: float | None = None


@dataclass(frozen=True)
class Line:
    """One line: points from left to right."""

    label: str
    points: Sequence[tuple[float, float]]


def color_of(subject: str, number: int = 0) -> str:
    """Return the colour of a subject, the same in every chart; lines of ours have shades, by their number."""
    if subject.startswith("bare") or "floor" in subject:
        return _FLOOR
    for start, color in _OTHERS.items():
        if subject.startswith(start):
            return color
    return _SHADES[number % len(_SHADES)]


def bar_chart(title: str, subtitle: str, bars: Sequence[Bar]) -> str:
    """Return a chart of horizontal bars; dashed lines mark the floors."""
    floors = {bar.floor for bar in bars if bar.floor}
    row, top = 30, 84
    left = 24 + max(_width(bar.label, 13) for bar in bars)
    right = 30 + max(_width(bar.text, 13) for bar in bars)
    height = top + row * len(bars) + 44
    most = max([bar.most for bar in bars] + list(floors)) or 1.0
    ticks = _linear_ticks(most)
    scale = (WIDTH - left - right) / max(most, ticks[-1])
    parts = _frame(title, subtitle, height)
    bottom = top + row * len(bars) + 6
    for tick in ticks:
        x = left + tick * scale
        parts.append(_rule(x, top - 6, x, bottom))
        parts.append(_text(x, bottom + 16, _short(tick), 11, _MUTED, "middle"))
    for number, bar in enumerate(bars):
        y = top + number * row
        long = max(1.0, bar.value * scale)
        parts.append(_text(left - 10, y + 15, bar.label, 13, _INK, "end"))
        parts.append(
            f"<rect x='{left:.1f}' y='{y + 2}' width='{long:.1f}' height='{row - 11}' rx='2' "
            f"fill='{color_of(bar.label)}'/>"
        )
        if (bar.most - bar.least) * scale > 3:
            middle = y + 2 + (row - 11) / 2
            parts.append(_rule(left + bar.least * scale, middle, left + bar.most * scale, middle, _INK, 1.2))
            parts += [
                _rule(left + end * scale, middle - 4, left + end * scale, middle + 4, _INK, 1.2)
                for end in (bar.least, bar.most)
            ]
        end = left + max(long, bar.most * scale) + 8
        parts.append(_text(end, y + 15, bar.text, 13, _INK, halo=True))
    for floor in floors:
        x = left + floor * scale
        rows = [number for number, bar in enumerate(bars) if bar.floor == floor]
        is_alone = len(floors) == 1
        upper = top - 10 if is_alone else top + rows[0] * row - 5
        lower = bottom if is_alone else top + rows[-1] * row + row - 5
        parts.append(_rule(x, upper, x, lower, _INK, 1.3, dash="5 4"))
        if is_alone:
            parts.append(_text(x, top - 15, "floor", 12, _INK, "middle"))
    return _page(parts, height)


def line_chart(title: str, subtitle: str, axis: str, lines: Sequence[Line]) -> str:
    """Return a chart of lines; both axes are logarithmic, so that what grows alike has the same slope."""
    left, right, top, bottom = 78, 32 + max(_width(line.label, 13) for line in lines), 74, 400
    height = bottom + 58
    places = [x for line in lines for x, _ in line.points]
    values = [y for line in lines for _, y in line.points if y > 0]
    across = _Scale(min(places), max(places), left, WIDTH - right)
    low, high = _decade(min(values), down=True), _decade(max(values), down=False)
    up = _Scale(low, high, bottom, top)
    parts = _frame(title, subtitle, height)
    for tick in _log_ticks(low, high):
        parts.append(_rule(left, up(tick), WIDTH - right, up(tick)))
        parts.append(_text(left - 8, up(tick) + 4, _short(tick), 11, _MUTED, "end"))
    for place in sorted(set(places)):
        parts.append(_rule(across(place), top, across(place), bottom))
        parts.append(_text(across(place), bottom + 18, _short(place), 11, _MUTED, "middle"))
    parts.append(_text((left + WIDTH - right) / 2, bottom + 40, axis, 12, _MUTED, "middle"))
    labels: list[tuple[float, float, str, str]] = []
    own = 0
    for line in lines:
        color = color_of(line.label, own)
        own += color in _SHADES
        points = [(across(x), up(y)) for x, y in line.points if y > 0]
        dash = " stroke-dasharray='6 4'" if color == _FLOOR else ""
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f"<polyline points='{drawn}' fill='none' stroke='{color}' stroke-width='2.4'{dash}/>")
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.6' fill='{color}'/>" for x, y in points]
        labels.append((*points[-1], line.label, color))
    # Labels stand beside the ends of their lines and give way to each other downwards; those of lines that end early
    # stand below them, where no other line comes from.
    below: dict[float, float] = {}
    for x, y, label, color in sorted(labels, key=lambda each: each[1]):
        if left < x < WIDTH - right - 1:
            parts.append(_text(x, y + 21, label, 13, color, "middle", weight="600", halo=True))
            continue
        below[x] = max(y + 4, below.get(x, -math.inf) + 17)
        parts.append(_text(x + 14, below[x], label, 13, color, weight="600", halo=True))
    return _page(parts, height)


class _Scale:
    """Maps values to places, logarithmically."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = math.log(low), start
        whole = math.log(high) - self._low
        self._factor = (end - start) / whole if whole else 0.0

    def __call__(self, value: float) -> float:
        return self._start + (math.log(value) - self._low) * self._factor


def _decade(value: float, *, down: bool) -> float:
    """Return the next of 1, 2, 5, 10, 20 … below or above."""
    base = 10.0 ** math.floor(math.log10(value))
    steps = [base * step for step in (1, 2, 5, 10)]
    if down:
        return max(step for step in steps if step <= value * 1.0001)
    return min(step for step in steps if step >= value * 0.9999)


def _log_ticks(low: float, high: float) -> list[float]:
    ticks, tick = [low], low
    steps = (1, 2, 5) if high / low < 300 else (1,)
    while tick < high * 0.999:
        base = 10.0 ** math.floor(math.log10(tick) + 1e-9)
        tick = min(base * step for step in (*steps, 10) if base * step > tick * 1.001)
        ticks.append(tick)
    return [tick for tick in ticks if tick <= high * 1.001]


def _linear_ticks(most: float) -> list[float]:
    base = 10.0 ** math.floor(math.log10(most / 4))
    step = min(base * each for each in (1, 2, 5, 10) if base * each >= most / 5)
    return [step * number for number in range(int(most / step * 1.0001) + 1)]


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.3g}"


def _width(text: str, size: int) -> float:
    return len(text) * size * _LETTER


def _frame(title: str, subtitle: str, height: float) -> list[str]:
    return [
        f"<rect width='{WIDTH}' height='{height}' fill='{_PAPER}'/>",
        _text(24, 28, title, 17, _INK, weight="600"),
        _text(24, 47, subtitle, 12, _MUTED),
    ]


def _page(parts: Sequence[str], height: float) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'>"
    return "\n".join([head, *parts, "</svg>", ""])


def _text(
    x: float,
    y: float,
    text: str,
    size: int,
    color: str,
    anchor: str = "start",
    *,
    weight: str = "400",
    halo: bool = False,
) -> str:
    outline = f" stroke='{_PAPER}' stroke-width='4' paint-order='stroke'" if halo else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {_FONT} font-size='{size}' font-weight='{weight}' fill='{color}' "
        f"text-anchor='{anchor}'{outline}>{escape(text)}</text>"
    )


def _rule(
    x: float, y: float, to_x: float, to_y: float, color: str = _RULE, width: float = 1.0, *, dash: str = ""
) -> str:
    dashed = f" stroke-dasharray='{dash}'" if dash else ""
    return (
        f"<line x1='{x:.1f}' y1='{y:.1f}' x2='{to_x:.1f}' y2='{to_y:.1f}' stroke='{color}' "
        f"stroke-width='{width}'{dashed}/>"
    )
