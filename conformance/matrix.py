"""The matrix: known implementations, each in an environment of its own, judged side by side."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .check import Outcome, Verdict, worst
from .client import judge_client
from .environments import Unavailable
from .html import Column, write_page
from .known import Known, Prepared, known_targets, prepare
from .report import by_requirement
from .requirements import requirements
from .runner import CannotRun, Options, choose, judge_server

__all__ = ["Judged", "as_json", "judge_all", "run", "table", "write_matrix"]

_SIGNS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.WARN: "warn",
    Verdict.SKIP: "skip",
    Verdict.ERROR: "error",
}
_SHOWN = (Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.SKIP)


@dataclass(slots=True)
class Judged:
    """What came of one implementation in one role."""

    known: Known
    role: str
    outcomes: list[Outcome] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    reason: str | None = None
    """Why it could not be judged."""

    def verdicts(self) -> dict[int, Verdict]:
        """Return the worst verdict of each requirement."""
        return {rule: worst(lanes.values()) for rule, lanes in by_requirement(self.outcomes).items()}


def judge_all(
    names: Sequence[str] = (),
    *,
    roles: Sequence[str] = ("server", "client"),
    revisions: Sequence[str] = (),
    transports: Sequence[str] = (),
    scenarios: Sequence[str] = (),
    jobs: int = 4,
    told: Callable[[str], None] = lambda text: None,
) -> list[Judged]:
    """Judge known implementations, one after the other.

    Args:
        names: of targets; default all.
        roles: in which they are judged, as far as they have them.
        revisions, transports, scenarios: as in a single run; patterns of scenarios only.
        jobs: how many conversations at a time.
        told: is told what happens.

    Raises:
        ValueError: an unknown name.
    """
    found: list[Judged] = []
    wanted = _by_role(roles, scenarios)
    for known in known_targets(names):
        try:
            prepared = prepare(known)
        except (Unavailable, RuntimeError) as error:
            told(f"{known.id}: cannot be installed: {error}")
            found += [Judged(known, role, reason=f"cannot be installed: {error}") for role in known.roles]
            continue
        for role in roles:
            if role in known.roles and role in wanted:
                told(f"{known.id}: {role}")
                found.append(_judge(prepared, role, revisions, transports, wanted[role], jobs))
    return found


def _by_role(roles: Sequence[str], scenarios: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for each role what was asked of it; a role of which nothing was asked is left out."""
    if not scenarios:
        return dict.fromkeys(roles, ())
    found: dict[str, list[str]] = {}
    for name in scenarios:
        fitting = [role for role in roles if _is_scenario(role, name)]
        if not fitting:
            raise ValueError(f"no scenario is named {name!r}; `list` shows those there are")
        for role in fitting:
            found.setdefault(role, []).append(name)
    return {role: tuple(given) for role, given in found.items()}


def _is_scenario(role: str, name: str) -> bool:
    try:
        return bool(choose(role, [name]))
    except CannotRun:
        return False


def _judge(
    prepared: Prepared,
    role: str,
    revisions: Sequence[str],
    transports: Sequence[str],
    scenarios: Sequence[str],
    jobs: int,
) -> Judged:
    known = prepared.known
    judged = Judged(known, role)
    options = Options(
        fixtures=prepared.fixtures,
        revisions=tuple(revisions),
        transports=tuple(transports),
        scenarios=tuple(scenarios),
        timeout=known.timeout,
        patience=max(10.0, known.timeout * 2),
        jobs=jobs,
    )
    began = time.monotonic()
    try:
        if role == "server":
            judged.outcomes, judged.remarks = asyncio.run(judge_server(prepared.server(), options))
        else:
            judged.outcomes, judged.remarks = asyncio.run(judge_client(prepared.client(), _for_client(known, options)))
    except CannotRun as error:
        judged.reason = str(error)
    judged.seconds = time.monotonic() - began
    return judged


def _for_client(known: Known, options: Options) -> Options:
    own = known.client.get("transports")
    chosen = options.transports or own or ()
    return replace(options, transports=tuple(each for each in chosen if own is None or each in own))


def _area(rule: int) -> str:
    return requirements()[rule].id.rpartition("-")[0]


def table(judged: Sequence[Judged], *, by: str = "area") -> str:
    """Return the comparison as text.

    Args:
        judged: what came of each.
        by: `area`: how many requirements of each area were kept, broken, missed and not tested; `requirement`: the
            verdict of each requirement that is not kept by all.
    """
    there = [each for each in judged if each.reason is None]
    verdicts = [each.verdicts() for each in there]
    rules = sorted({rule for found in verdicts for rule in found})
    rows: list[list[str]] = [["", *(f"{each.known.id} {each.role}" for each in there)]]
    if by == "area":
        rows += [
            [area, *(_counts(Counter(v for rule, v in found.items() if _area(rule) == area)) for found in verdicts)]
            for area in dict.fromkeys(_area(rule) for rule in rules)
        ]
        rows.append(["all", *(_counts(Counter(found.values())) for found in verdicts)])
    else:
        bad = [rule for rule in rules if any(found.get(rule) in (Verdict.FAIL, Verdict.WARN) for found in verdicts)]
        rows += [
            [requirements()[rule].id, *(_SIGNS[found[rule]] if rule in found else "" for found in verdicts)]
            for rule in bad
        ]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if by == "area":
        lines.insert(0, f"requirements: {'/'.join(_SIGNS[verdict] for verdict in _SHOWN)}")
    lines += [f"{each.known.id} {each.role}: {each.reason}" for each in judged if each.reason is not None]
    return "\n".join(lines)


def _counts(counts: Counter[Verdict]) -> str:
    return "/".join(str(counts[verdict]) for verdict in _SHOWN) if counts else ""


def as_json(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the comparison as JSON can hold it."""
    return {
        "judge": "kailash conformance 1",
        "targets": [
            {
                "id": each.known.id,
                "title": each.known.title,
                "version": each.known.version,
                "role": each.role,
                "seconds": round(each.seconds, 2),
                "reason": each.reason,
                "remarks": each.remarks,
                "requirements": {requirements()[rule].id: v.value for rule, v in each.verdicts().items()},
                "outcomes": [outcome.as_dict() for outcome in each.outcomes],
            }
            for each in judged
        ],
    }


def write_matrix(path: Path, judged: Sequence[Judged]) -> None:
    """Write the comparison as a page: a column for each implementation and role."""
    there = [each for each in judged if each.reason is None]
    columns = [Column(each.known.name, f"{each.role}, {each.known.language}", each.outcomes) for each in there]
    remarks = [f"{each.known.name}, {each.role}: {each.reason}" for each in judged if each.reason is not None]
    remarks += [f"{each.known.name}, {each.role}, not judged: {remark}" for each in there for remark in each.remarks]
    lead = (
        "<p>Each cell is the worst verdict of a requirement over all revisions and transports that the target "
        "speaks; a click shows what was seen. Grey was not tested: the target has no fixture for it, or it does not "
        "apply.</p>"
    )
    write_page(path, "MCP implementations side by side", lead, columns, remarks)


def run(
    names: Sequence[str], *, json_path: Path | None = None, html_path: Path | None = None, by: str = "area", **how: Any
) -> int:
    """Judge, write what is asked for, print the table, and return the exit status."""
    judged = judge_all(names, told=lambda text: print(f"matrix: {text}", file=sys.stderr, flush=True), **how)
    if json_path is not None:
        json_path.write_text(json.dumps(as_json(judged), indent=1), encoding="utf-8")
    if html_path is not None:
        write_matrix(html_path, judged)
    print(table(judged, by=by))
    there = [each for each in judged if each.reason is None]
    if not there:
        return 2
    return 1 if any(Verdict.FAIL in each.verdicts().values() for each in there) else 0
