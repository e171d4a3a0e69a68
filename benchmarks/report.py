"""The report of a run: Markdown with the figures to reach, and a picture and a table for everything measured."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .goals import HEAD, reached
from .harness import Figure
from .questions import QUESTIONS
from .svg import Bar, Line, bar_chart, line_chart
from .tables import Table, number, tables_of

__all__ = ["draw", "report"]

_METHOD = (
    "Rounds are interleaved (A B C A B C) after a warm-up; figures are medians, with the least and the most of the "
    "rounds. Server and load run on different cores where there are two. The floor answers the same bytes through a "
    "bare loop of the same parser and socket."
)


def report(figures: Sequence[Figure], heading: Sequence[str], *, pictures: Path, page: Path | None) -> None:
    """Draw the pictures, and write the page that shows them.

    Args:
        heading: lines that describe the machine.
        pictures: the folder for them; it is made.
        page: the file to write; `None`: only pictures.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    tables = tables_of(figures)
    places = {table.title: pictures / f"{_slug(table.title)}.svg" for table in tables}
    for table in tables:
        places[table.title].write_text(draw(table))
    if page is None:
        return
    page.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# Benchmarks", "", *(f"- {line}" for line in heading), "", _METHOD, "", "## Figures to reach", ""]
    lines += ["| " + " | ".join(row) + " |" for row in (HEAD, ["---"] * len(HEAD), *reached(figures))]
    question = None
    for table in tables:
        if table.figures[0].question != question:
            question = table.figures[0].question
            row = QUESTIONS.get(question)
            lines += ["", f"## {question}", *(["", f"What is asked: {row.summary}."] if row else [])]
        shown = os.path.relpath(places[table.title], page.parent)
        lines += ["", f"### {table.title}", "", f"![{table.title}]({shown})", "", table.markdown()]
    page.write_text("\n".join([*lines, ""]))


def draw(table: Table) -> str:
    """Return the picture of a table: lines where something grows, else bars."""
    unit = table.figures[0].unit
    if table.axis:
        lines = [
            Line(subject, [(each.at or 0, each.value) for each in table.figures if each.subject == subject])
            for subject in dict.fromkeys(each.subject for each in table.figures)
        ]
        subtitle = f"{unit}, {table.direction}; both axes are logarithmic"
        subtitle += "; dashed: the floor" if table.has_floor else ""
        return line_chart(table.title, subtitle, table.axis, lines)
    rounds = len(table.figures[0].values)
    subtitle = f"{unit}, {table.direction}"
    subtitle += f"; median of {rounds} rounds, whiskers from least to most" if rounds > 1 else ""
    subtitle += f"; in brackets times {table.reference}" if table.has_reference else ""
    subtitle += "; dashed: the floor" if table.has_floor else ""
    return bar_chart(table.title, subtitle, [_bar(table, figure) for figure in table.figures])


def _bar(table: Table, figure: Figure) -> Bar:
    text = number(figure.value)
    times = table.times(figure, table.reference)
    if times is not None and figure.subject != table.reference:
        text += f" ({times:.3g}x)" if times < 100 else f" ({times:,.0f}x)"
    floor = table.floor_of(figure)
    least, most = (max(0.0, end) for end in figure.spread)
    return Bar(figure.subject, max(0.0, figure.value), least, most, text, None if floor is None else floor.value)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
