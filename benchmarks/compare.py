"""Two runs side by side: how much each figure moved, and whether that is more than noise."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from .harness import Figure
from .tables import number

__all__ = ["Run", "compare", "load"]


_Key = tuple[str, str, float | None]


class Run:
    """The last run of a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        if not lines:
            raise ValueError(f"{path} holds no figures")
        last = lines[-1]["run"]
        lines = [line for line in lines if line["run"] == last]
        self.name = f"{path} ({last})"
        self.machine: dict[str, object] = lines[-1]["machine"]
        self.figures = [Figure.from_json(line) for line in lines]


def load(path: Path) -> Run:
    """Read a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no figures of ours.
    """
    try:
        return Run(path)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no figures: {error!r}") from None


def compare(before: Run, after: Run) -> str:
    """Return a line a figure that both have: the medians, by how much it is better, and what the spread says of it.

    Where the floor of the same table moved too, the machine did: beside it stands by how much the share of it changed.
    """
    lines = [f"before: {before.name}", f"after:  {after.name}"]
    lines += [
        f"not the same {name}: {before.machine.get(name)} and {after.machine.get(name)}"
        for name in ("cpu", "cores", "python")
        if before.machine.get(name) != after.machine.get(name)
    ]
    old = {_key(figure): figure for figure in before.figures}
    new = {_key(figure): figure for figure in after.figures}
    rows = [_row(key, old, new) for key in new if key in old]
    if not rows:
        return "\n".join([*lines, "no figure is in both"])
    head = ["table", "subject", "before", "after", "unit", "change", "beside the floor", "verdict"]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    for name, keys in (("before", old.keys() - new.keys()), ("after", new.keys() - old.keys())):
        if keys:
            lines.append(f"only {name}: {len(keys)} figures")
    return "\n".join(lines)


def _key(figure: Figure) -> _Key:
    return figure.table, figure.subject, figure.at


def _row(key: _Key, old: Mapping[_Key, Figure], new: Mapping[_Key, Figure]) -> list[str]:
    before, after = old[key], new[key]
    subject = after.subject if after.at is None else f"{after.subject}, {number(after.at)} {after.axis}"
    cells = [after.table, subject, number(before.value), number(after.value), after.unit]
    ratio = after.ratio(before)
    if ratio is None:
        return [*cells, "", "", "no ratio"]
    verdict, beside = _verdict(before.values, after.values, ratio), ""
    floor = (after.table, after.floor, after.at)
    if floor != key and floor in old and floor in new:
        moved = new[floor].ratio(old[floor])
        if moved is not None:
            beside = f"{ratio / moved - 1:+.1%}"
            if verdict == _verdict(old[floor].values, new[floor].values, moved) != "noise":
                verdict += ", as the floor"
    return [*cells, f"{ratio - 1:+.1%}", beside, verdict]


def _verdict(before: Sequence[float], after: Sequence[float], ratio: float) -> str:
    """Rounds whose ranges overlap may come from the same thing."""
    if len(before) < 3 or len(after) < 3:
        return "too few rounds to tell"
    if min(before) <= max(after) and min(after) <= max(before):
        return "noise"
    return "better" if ratio > 1 else "worse"
