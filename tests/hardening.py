"""The table of tests/hardening.toml: which tests cover which rule and case, and how many of these a run has passed."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["IDS", "Row", "defined_tests", "read_rows", "summarise"]

HERE = Path(__file__).parent
IDS = [*(f"R{number:02}" for number in range(1, 55)), *(f"X{number:02}" for number in range(1, 81))]


class Row(NamedTuple):
    """One rule or case."""

    id: str
    title: str
    tests: tuple[str, ...] = ()
    """Ids below `tests/`, without parameters."""
    later: str = ""
    """What must be built before it can be tested."""
    absent: str = ""
    """Why it is about nothing that is here."""


def read_rows() -> list[Row]:
    """Return the table."""
    content = tomllib.loads((HERE / "hardening.toml").read_text())
    return [Row(id, **{**row, "tests": tuple(row.get("tests", ()))}) for id, row in content.items()]


def defined_tests() -> Iterator[str]:
    """Yield the id of every test there is, found in the sources."""
    for path in sorted(HERE.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{path.relative_to(HERE).as_posix()}::{node.name}"


def summarise(passed: Iterable[str], failed: Iterable[str], rows: list[Row]) -> str | None:
    """Return how many rows a run has passed, in one line; `None` if it had nothing to do with them.

    Args:
        passed, failed: ids of the tests that did, as pytest has them.
        rows: the table.
    """
    good, bad = ({_bare(id) for id in ids} for ids in (passed, failed))
    covered = [row for row in rows if row.tests]
    ran = [row for row in covered if not {*row.tests}.isdisjoint(good | bad)]
    if not ran:
        return None
    well = [row for row in ran if {*row.tests} <= good - bad]
    later, absent = (sum(bool(each) for each in column) for column in zip(*(row[3:] for row in rows), strict=True))
    broken = [row.id for row in ran if not bad.isdisjoint(row.tests)]
    text = f"hardening: {len(well)} of {len(covered)} rows passed ({later} for later, {absent} not here)"
    return f"{text}, failed: {', '.join(broken)}" if broken else text


def _bare(id: str) -> str:
    return id.removeprefix("tests/").partition("[")[0]
