"""Runs the official suite, `@modelcontextprotocol/conformance`, and tells what came of each scenario.

    python -m conformance.official                              # all there is: takes a minute or two
    python -m conformance.official --server --requirements 2026-07-28
    python -m conformance.official --client --only sse --details

A leg is one side with one set of scenarios: those that a revision requires, spoken in that revision, or the whole
suite, each scenario in the revision it was written for. The suite's own summary is not enough: it hides warnings, and
shows as passed what tested nothing. So every scenario gets a verdict of ours; see `verdicts`.

`baseline.toml` names the scenarios that need not pass. The exit code is 0 if all others do.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .environments import ROOT
from .install import Suite, Unavailable, install
from .verdicts import Outcome, excuse_of, judge, stale_entries

__all__ = ["LEGS", "Leg", "Report", "Side", "main", "run_leg", "serving"]

Side = Literal["server", "client"]

BASELINE = Path(__file__).with_name("baseline.toml")
TARGETS = f"{__package__}.targets.ours"

_STARTS_WITHIN = 20.0
_SCENARIO_MS = 30_000
_LEG_SECONDS = 300
_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")


@dataclass(frozen=True, slots=True)
class Leg:
    """One side, with one set of scenarios."""

    side: Side
    requirements: str | None
    """The revision whose requirements they are; `None`: the whole suite."""

    def __str__(self) -> str:
        return f"{self.side} {self.requirements or 'suite'}"


LEGS = tuple(Leg(side, revision) for side in ("server", "client") for revision in ("2025-11-25", "2026-07-28", None))


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a leg."""

    leg: Leg
    outcomes: list[Outcome]
    seconds: float
    stale: list[str] = field(default_factory=list)
    """Entries of the baseline that excuse only what passes."""

    @property
    def complaints(self) -> list[str]:
        """What makes the run fail, one line each."""
        lines = [
            f"{o.verdict} {self.leg} {o.scenario}: {'; '.join(o.problems) or 'no reason given'}"
            for o in self.outcomes
            if o.is_unexpected
        ]
        return lines + [f"baseline.toml excuses {name!r}, which passes: take the entry out" for name in self.stale]


def run_leg(
    suite: Suite,
    leg: Leg,
    *,
    url: str | None = None,
    client: str | None = None,
    only: str | None = None,
    jobs: int = 4,
    out: Path | None = None,
) -> Report:
    """Run the scenarios of a leg.

    Args:
        suite: the installed suite.
        leg: which scenarios.
        url: of the running server, for the server side.
        client: the command of a client, for the client side; default: ours.
        only: a pattern; scenarios whose names have no match are left out.
        jobs: how many clients run at once.
        out: where the suite leaves what it found; default a folder that is deleted in the end.
    """
    started = time.monotonic()
    wanted = {name: scored for name, scored in suite.scenarios(leg).items() if re.search(only or "", name)}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if out is None else out / str(leg).replace(" ", "-")
        shutil.rmtree(place, ignore_errors=True)
        if leg.side == "client":
            # `exec`: the suite starts it through a shell, and would end only that when it takes too long.
            command = f"exec {client or f'{sys.executable} -m {TARGETS}.client'}"
            codes = _run_each(suite, leg, ["client", "--command", command], wanted, place, jobs)
        elif only is not None:
            codes = _run_each(suite, leg, ["server", "--url", str(url)], wanted, place, 1)
        else:
            _run_all(suite, leg, ["server", "--url", str(url)], place)
            codes = {}  # the exit code is of all scenarios together; each has its checks
        found = dict(_read_checks(place, leg))
    excuses = tomllib.loads(BASELINE.read_text())[leg.side]
    outcomes = [
        judge(name, is_scored, found.get(name), codes.get(name, 0), excuse_of(name, excuses))
        for name, is_scored in wanted.items()
    ]
    return Report(leg, outcomes, time.monotonic() - started, [] if only else stale_entries(outcomes, excuses))


def _run_all(suite: Suite, leg: Leg, arguments: Sequence[str], place: Path) -> None:
    which = ["--suite", "all"] if leg.requirements is None else ["--requirements", leg.requirements]
    suite.run([*arguments, *which, "--timeout", str(_SCENARIO_MS), "-o", str(place)], timeout=_LEG_SECONDS)


def _run_each(
    suite: Suite, leg: Leg, arguments: Sequence[str], names: Iterable[str], place: Path, jobs: int
) -> dict[str, int]:
    """Run scenarios one by one, and return the exit codes: a client that fails shows only there."""
    which = [] if leg.requirements is None else ["--spec-version", leg.requirements, "--force"]

    def run(name: str) -> tuple[str, int]:
        options = ["--scenario", name, *which, "--timeout", str(_SCENARIO_MS), "-o", str(place)]
        return name, suite.run([*arguments, *options], timeout=_SCENARIO_MS / 1000 + 30)

    with ThreadPoolExecutor(jobs) as pool:
        return dict(pool.map(run, names))


def _read_checks(place: Path, leg: Leg) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield the checks of each scenario; the suite writes them into a folder named after it and the time."""
    prefix = "server-" if leg.side == "server" else ""
    for file in place.rglob("checks.json"):
        name = _STAMP.sub("", file.parent.relative_to(place).as_posix()).removeprefix(prefix)
        yield name, json.loads(file.read_text())


@contextmanager
def serving(*, log: Path | None = None) -> Iterator[str]:
    """Run our server on a free port, and give its URL.

    Raises:
        RuntimeError: it does not start; the text is what it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryFile("w+") if log is None else log.open("w+") as output:
        command = [sys.executable, "-m", f"{TARGETS}.server", "--port", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _STARTS_WITHIN
            while not _listens(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise RuntimeError(f"the server does not start:\n{output.read()[-2000:]}")
                time.sleep(0.05)
            # Of the names for this machine, the one that the suite takes for local in every scenario.
            yield f"http://localhost:{port}/mcp"
        finally:
            server.terminate()
            server.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Run what the arguments say, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.official", description="Run the official suite.")
    parser.add_argument("--server", action="store_true", help="our server only")
    parser.add_argument("--client", action="store_true", help="our client only")
    parser.add_argument("--requirements", nargs="*", metavar="REVISION", help="what these revisions require")
    parser.add_argument("--suite", choices=["all"], help="the whole suite; default: it and what both revisions require")
    parser.add_argument("--only", metavar="REGEX", help="scenarios whose names match")
    parser.add_argument("--details", action="store_true", help="show each check that did not succeed")
    parser.add_argument("--jobs", type=int, default=4, help="clients at once (default %(default)s)")
    parser.add_argument("--out", type=Path, help="keep what the suite writes down in this folder")
    options = parser.parse_args()
    try:
        suite = install()
    except Unavailable as error:
        sys.exit(str(error))
    reports = []
    for leg in _chosen(options):
        with serving() if leg.side == "server" else nullcontext() as url:
            report = run_leg(suite, leg, url=url, only=options.only, jobs=options.jobs, out=options.out)
        _print(report, details=options.details)
        reports.append(report)
    complaints = [line for report in reports for line in report.complaints]
    print("\n" + "\n".join(complaints or ["as it should be"]))
    return 1 if complaints else 0


def _chosen(options: argparse.Namespace) -> list[Leg]:
    sides = [side for side in ("server", "client") if getattr(options, side)] or ["server", "client"]
    if options.requirements is None and options.suite is None:
        return [leg for leg in LEGS if leg.side in sides]
    sets: set[str | None] = set(options.requirements or ())
    unknown = sets - {leg.requirements for leg in LEGS}
    if unknown:
        known = ", ".join(leg.requirements for leg in LEGS if leg.side == "server" and leg.requirements)
        sys.exit(f"no requirements for {', '.join(map(str, unknown))}; there are some for {known}")
    if options.suite is not None:
        sets.add(None)
    return [leg for leg in LEGS if leg.side in sides and leg.requirements in sets]


def _print(report: Report, *, details: bool) -> None:
    print(f"\n{report.leg}")
    for outcome in report.outcomes:
        note = "" if outcome.is_scored else " (not required)"
        if outcome.excuse is not None and outcome.verdict != "PASS":
            note += f" — {outcome.excuse}"
        checks = f"{outcome.passed}/{outcome.passed + len(outcome.problems)}"
        print(f"  {outcome.verdict:<8}{checks:>6}  {outcome.scenario}{note}")
        if details or outcome.is_unexpected:
            for problem in outcome.problems:
                print(f"                 {problem}")
    for title, outcomes in (
        ("required" if report.leg.requirements else "all", [o for o in report.outcomes if o.is_scored]),
        ("not required", [o for o in report.outcomes if not o.is_scored]),
    ):
        if outcomes:
            counts = Counter(outcome.verdict for outcome in outcomes)
            others = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("WARN", "FAIL", "VACUOUS"))
            print(f"  {title}: {counts['PASS']} of {len(outcomes)} pass; {others}")
    print(f"  {sum(o.passed for o in report.outcomes)} checks succeeded, {report.seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
