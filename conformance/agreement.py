"""Agreement: the official suite and this judge look at the same server and client, and their verdicts are compared.

`agreement.toml` says which scenario of ours looks at what one of theirs looks at, and explains the differences.
"""

import asyncio
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .check import Check, Outcome, Verdict, worst
from .client import judge_client
from .install import install
from .known import Prepared, known_targets, prepare
from .official import Leg, Side, run_leg
from .requirements import revisions
from .runner import Options, judge_server
from .scenario import load
from .schemas import RULE as SCHEMA

__all__ = ["Row", "compared", "rows_of", "run", "table"]

_FILE = Path(__file__).with_name("agreement.toml")
_SAME = {"PASS": "PASS", "WARN": "WARN", "FAIL": "FAIL", "VACUOUS": "SKIP"}
"""What a verdict on the official suite is called here."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario of the official suite, and what both say of it."""

    scenario: str
    side: str
    theirs: str
    ours: str
    """A verdict, or `none` where this judge has nothing for it."""
    ours_by: tuple[str, ...] = ()
    why: str = ""
    seen: str = ""
    """What one of the two complains of."""

    @property
    def is_equal(self) -> bool:
        """Tell whether the verdicts are the same."""
        return _SAME[self.theirs] == self.ours

    @property
    def is_explained(self) -> bool:
        """Tell whether nothing is left to say."""
        return self.is_equal or bool(self.why)


def rows_of(side: str) -> dict[str, dict[str, Any]]:
    """Return the rows of the table of one side."""
    found: dict[str, dict[str, Any]] = tomllib.loads(_FILE.read_text(encoding="utf-8"))[side]
    return found


def _row_for(table: Mapping[str, dict[str, Any]], scenario: str) -> dict[str, Any] | None:
    if scenario in table:
        return table[scenario]
    for pattern, row in table.items():
        if fnmatchcase(scenario, pattern):
            # Scenarios of the same name look at the same.
            same = {**row, "scenarios": [scenario if each == "*" else each for each in row["scenarios"]]}
            return {**same, "why": row.get("whys", {}).get(scenario, {})}
    return None


def compared(side: str, theirs: Mapping[str, tuple[str, str]], outcomes: Sequence[Outcome], target: str) -> list[Row]:
    """Compare the verdicts on one side.

    Args:
        side: `server` or `client`.
        theirs: the verdict on each official scenario, and what was wrong.
        outcomes: ours, over HTTP.
        target: whose differences are explained.

    Raises:
        ValueError: an official scenario that the table does not have.
    """
    table = rows_of(side)
    found = []
    for scenario, (verdict, problem) in theirs.items():
        row = _row_for(table, scenario)
        if row is None:
            raise ValueError(f"{_FILE.name} has no row for {side} {scenario}")
        if "none" in row:
            found.append(Row(scenario, side, verdict, "none", (), row["none"], problem))
            continue
        revision = list(revisions())[-1 if row.get("newest") else -2]
        checks = list(_looked_at(outcomes, row, revision))
        is_tested = any(c.verdict is not Verdict.SKIP and (c.rule != SCHEMA or row.get("rules")) for c in checks)
        ours = worst(c.verdict for c in checks if is_tested or c.verdict is not Verdict.PASS)
        complaint = next((c.detail for c in checks if c.verdict is ours and ours is not Verdict.PASS), "")
        why = row.get("why", {}).get(target, "")
        seen = f"ours: {complaint}" if complaint else f"theirs: {problem}" if problem else ""
        found.append(Row(scenario, side, verdict, ours.value, tuple(row["scenarios"]), why, seen))
    return found


def _looked_at(outcomes: Sequence[Outcome], row: Mapping[str, Any], revision: str) -> Iterator[Check]:
    """Yield the checks that count: of the rules that the row names, else of those that the scenarios are for."""
    there = load()
    named = set(row.get("rules", ()))
    for outcome in outcomes:
        # The scenarios of authorization are the same in all revisions, and theirs is not always the same one.
        if outcome.scenario in row["scenarios"] and (outcome.revision == revision or outcome.scenario[:5] == "auth/"):
            rules = named or {*there[outcome.scenario].covers, SCHEMA}
            yield from (check for check in outcome.checks if check.rule in rules)


def table(rows: Sequence[Row]) -> str:
    """Return the comparison as text."""
    wide = max(len(row.scenario) for row in rows)
    lines = [f"{'':6} {'official scenario':{wide}} {'theirs':8} {'ours':5}"]
    for row in rows:
        sign = "=" if row.is_equal else "-" if row.ours == "none" else "≠"
        lines.append(f"{row.side:6} {row.scenario:{wide}} {row.theirs:8} {row.ours:5} {sign} {row.why}".rstrip())
        if not row.is_explained:
            lines.append(f"{'':7}{row.seen[:300]}")
    equal = sum(row.is_equal for row in rows)
    none = sum(row.ours == "none" for row in rows)
    bare = sum(not row.is_explained for row in rows)
    lines.append(f"{equal} of {len(rows)} equal, {none} without a counterpart, {bare} differ without an explanation")
    return "\n".join(lines)


def _theirs(prepared: Prepared, side: Side) -> dict[str, tuple[str, str]]:
    suite = install()
    leg = Leg(side, None)
    if side == "client":
        report = run_leg(suite, leg, client=prepared.client(), jobs=2)
    else:
        target = prepared.server()

        async def judged() -> Any:
            await target.start()
            try:
                url = target.urls["http"].replace("127.0.0.1", "localhost")
                return await asyncio.to_thread(run_leg, suite, leg, url=url)
            finally:
                await target.close()

        report = asyncio.run(judged())
    return {o.scenario: (o.verdict, o.problems[0] if o.problems else "") for o in report.outcomes}


def _ours(prepared: Prepared, side: Side) -> list[Outcome]:
    # The two that the official suite speaks; and to a client about authorization one in which that was another.
    spoken = [*list(revisions())[-2:], *([list(revisions())[1]] if side == "client" else [])]
    named = [name for row in rows_of(side).values() for name in row.get("scenarios", ())]
    options = Options(
        fixtures=prepared.fixtures,
        revisions=tuple(spoken),
        scenarios=tuple(dict.fromkeys("auth/*" if name == "*" else name for name in named)),
        transports=("http",),
        timeout=prepared.known.timeout,
        patience=20.0,
        jobs=2,
    )
    if side == "server":
        return asyncio.run(judge_server(prepared.server(), options))[0]
    return asyncio.run(judge_client(prepared.client(), options))[0]


def run(target: str, *, roles: Sequence[str] = ("server", "client"), json_path: Path | None = None) -> int:
    """Compare both judges on a known implementation, print the table, and return the exit status.

    Raises:
        ValueError: an unknown target.
        Unavailable: the suite or the target cannot be installed.
    """
    [known] = known_targets([target])
    prepared = prepare(known)
    rows: list[Row] = []
    sides: tuple[Side, ...] = ("server", "client")
    for side in sides:
        if side not in roles or side not in known.roles:
            continue
        print(f"agreement: the official suite, {side}", file=sys.stderr, flush=True)
        theirs = _theirs(prepared, side)
        print(f"agreement: this judge, {side}", file=sys.stderr, flush=True)
        rows += compared(side, theirs, _ours(prepared, side), target)
    if json_path is not None:
        told = [{**asdict(row), "equal": row.is_equal, "explained": row.is_explained} for row in rows]
        json_path.write_text(json.dumps({"target": target, "rows": told}, indent=1), encoding="utf-8")
    print(table(rows))
    return 0 if all(row.is_explained for row in rows) else 1
