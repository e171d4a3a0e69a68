"""Baselines: failures that are expected; one that passes fails the run, so that the list only shrinks."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from .check import Outcome, Verdict
from .requirements import requirements

__all__ = ["BaselineError", "excused"]


class BaselineError(ValueError):
    """A baseline that cannot be read."""


def excused(outcomes: Sequence[Outcome], path: Path) -> tuple[list[Outcome], list[str]]:
    """Turn expected failures into skips; return also the entries that nothing failed for.

    The file is a table `[expected]`: a scenario (or a pattern), a colon and a requirement's id, and the reason, as in
    `"tools-call:features-128" = "upstream issue 12"`.

    Raises:
        BaselineError: no such file, or no such table.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))["expected"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise BaselineError(f"{path} is no baseline: {error}") from error
    used: set[str] = set()
    changed = []
    for outcome in outcomes:
        checks = []
        for check in outcome.checks:
            name = f"{outcome.scenario}:{requirements()[check.rule].id}"
            entry = next((pattern for pattern in table if fnmatchcase(name, pattern)), None)
            if entry is not None and check.verdict in (Verdict.FAIL, Verdict.WARN):
                used.add(entry)
                check = replace(check, verdict=Verdict.SKIP, detail=f"expected: {table[entry]} ({check.detail})")
            checks.append(check)
        changed.append(replace(outcome, checks=checks))
    return changed, [entry for entry in table if entry not in used]
