"""Figures as rows: ratios first, then the median with its spread. The terminal and the report show the same cells."""

from collections.abc import Iterable, Sequence

from .harness import LOAD_BUSY, SERVER_BUSY, Figure
from .subjects import reference_of

__all__ = ["LOAD_BOUND", "LOAD_LATE", "Table", "number", "tables_of"]

BUSY, COST = "busy: server, load", "server µs each"
"""The cost is computing time: others that take the core make a server slower, and not this."""
LOAD_BOUND = "† the load generator was at its limit and the server was not: it can do more"
LOAD_LATE = "§ the load generator was late itself, by half of what was measured or more"
_AT_LEAST = "‡ of a floor that the load generator held back: the true share is lower"


class Table:
    """The figures of one title, with the cells that show them."""

    def __init__(self, title: str, figures: Sequence[Figure]) -> None:
        self.title = title
        self.figures = list(figures)
        self.reference = reference_of([figure.subject for figure in figures])
        self.has_reference = any(figure.subject == self.reference for figure in figures)
        self.has_floor = any(self.floor_of(figure) is not None for figure in figures)
        self.axis = next((figure.axis for figure in figures if figure.axis), "")
        self.is_less_better = figures[0].is_less_better

    @property
    def direction(self) -> str:
        """Which way is better."""
        return "less is better" if self.is_less_better else "more is better"

    def _beside(self, figure: Figure, subject: str) -> Figure | None:
        return next((each for each in self.figures if each.subject == subject and each.at == figure.at), None)

    def floor_of(self, figure: Figure) -> Figure | None:
        """Return the figure of the floor, where there is one."""
        return self._beside(figure, figure.floor) if figure.floor else None

    def times(self, figure: Figure, subject: str) -> float | None:
        """Return how many times better than another subject a figure is."""
        other = self._beside(figure, subject)
        return None if other is None else figure.ratio(other)

    def share(self, figure: Figure) -> float | None:
        """Return how near to the floor a figure is: 1 is at it."""
        floor = self.floor_of(figure)
        return None if floor is None else figure.ratio(floor)

    @property
    def head(self) -> list[str]:
        """The names of the columns."""
        names = [""]
        names += [self.axis] if self.axis else []
        names += [f"times {self.reference}"] if self.has_reference else []
        names += ["of the floor"] if self.has_floor else []
        names += ["median", "unit", "min to max"]
        names += [BUSY, COST] if any(LOAD_BUSY in each.detail for each in self.figures) else []
        return [*names, "and"] if any(self._others(each) for each in self.figures) else names

    @property
    def rows(self) -> list[list[str]]:
        """The cells, a row a figure."""
        return [self._row(figure) for figure in self.figures]

    def _row(self, figure: Figure) -> list[str]:
        head = self.head
        row = [figure.subject + (" †" if figure.is_load_bound else "") + (" §" if figure.is_load_late else "")]
        if self.axis:
            row.append(number(figure.at or 0))
        if self.has_reference:
            times = self.times(figure, self.reference)
            row.append("" if times is None else f"{times:.3g}x" if times < 100 else f"{times:,.0f}x")
        if self.has_floor:
            share, floor = self.share(figure), self.floor_of(figure)
            is_open = floor is not None and floor is not figure and floor.is_load_bound
            row.append(
                ""
                if share is None
                else (f"{share:.0%}" if share >= 0.1 else f"{share:.1%}") + (" ‡" if is_open else "")
            )
        least, most = figure.spread
        row += [number(figure.value), figure.unit, f"{number(least)} to {number(most)}"]
        if BUSY in head:
            server, load = figure.detail.get(SERVER_BUSY), figure.detail.get(LOAD_BUSY)
            row.append("" if server is None or load is None else f"{server:.0%}, {load:.0%}")
            row.append("" if not server else number(server / figure.value * 1e6))
        if head[-1] == "and":
            row.append(", ".join(f"{name} {number(value)}" for name, value in self._others(figure).items()))
        return row

    @property
    def notes(self) -> list[str]:
        """What the marks in the rows mean."""
        cells = "".join(cell for row in self.rows for cell in row)
        return [note for note in (LOAD_BOUND, LOAD_LATE, _AT_LEAST) if note[0] in cells]

    def _others(self, figure: Figure) -> dict[str, float]:
        return {name: value for name, value in figure.detail.items() if name not in (SERVER_BUSY, LOAD_BUSY)}

    def text(self) -> str:
        """Return it as aligned text."""
        head, rows = self.head, self.rows
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        is_text = [name in ("", "unit", "and") for name in head]

        def line(cells: list[str]) -> str:
            places = zip(cells, widths, is_text, strict=True)
            return "  ".join(cell.ljust(width) if left else cell.rjust(width) for cell, width, left in places).rstrip()

        ruled = "  ".join("-" * width for width in widths)
        title = f"{self.title} ({self.direction})"
        return "\n".join([title, line(head), ruled, *map(line, rows), *self.notes])

    def markdown(self) -> str:
        """Return it as Markdown."""
        rules = [":--" if name in ("", "unit", "and") else "--:" for name in self.head]
        lines = [self.head, rules, *self.rows]
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join(["| " + " | ".join(cells) + " |" for cells in lines] + notes)


def tables_of(figures: Iterable[Figure]) -> list[Table]:
    """Return a table a title, in the order in which they came."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        found.setdefault(figure.table, []).append(figure)
    return [Table(title, rows) for title, rows in found.items()]


def number(value: float) -> str:
    """Return a number with three or four digits that count."""
    size = abs(value)
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
