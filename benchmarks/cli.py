"""The command line: `run`, `compare`, `list`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from conformance.install import Unavailable

from .compare import compare, load
from .goals import HEAD, reached
from .harness import Figure, Plan
from .machine import describe, note
from .peering import AGAINST, versions
from .progress import Progress
from .questions import QUESTIONS, Question
from .report import report
from .tables import tables_of

__all__ = ["arguments_of", "main"]

_EXAMPLES = """examples:
  python -m benchmarks list
  python -m benchmarks run --short                        the short set, some minutes
  python -m benchmarks run http sessions --against mcp    two questions, one peer
  python -m benchmarks run stdio --against '' --rounds 9  ours and the floor alone
  python -m benchmarks run --json run.jsonl --plot plots --report report.md
  python -m benchmarks compare before.jsonl after.jsonl
"""
_USUAL = Plan(rounds=5, seconds=0.3)
_SHORT = Plan(rounds=3, seconds=0.25)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure ours, its peers and the floor, side by side.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run | compare | list")
    run = commands.add_parser("run", help="measure", allow_abbrev=False)
    run.add_argument("questions", nargs="*", metavar="question", help="default all; `list` names them")
    run.add_argument(
        "--against",
        default=",".join(AGAINST),
        metavar="PEERS",
        help=f"of {', '.join(AGAINST)}, with commas between; '' for none (default all); installed on first use",
    )
    run.add_argument("--rounds", type=int, help=f"of each measurement (default {_USUAL.rounds}, short {_SHORT.rounds})")
    run.add_argument("--short", action="store_true", help="the short set, with shorter rounds")
    run.add_argument("--json", type=Path, metavar="FILE", help="append the figures as JSON lines")
    run.add_argument("--plot", type=Path, metavar="DIR", help="draw a picture a table there, as SVG")
    run.add_argument("--report", type=Path, metavar="FILE", help="write a report in Markdown, with those pictures")
    both = commands.add_parser("compare", help="show what changed between two runs", allow_abbrev=False)
    both.add_argument("before", type=Path, help="a file of `run --json`; its last run counts")
    both.add_argument("after", type=Path)
    commands.add_parser("list", help="name the questions", allow_abbrev=False)
    return parser


def arguments_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read a command line; what is wrong with it ends the process, and says what is known."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command != "run":
        return options
    chosen = options.questions or [name for name, row in QUESTIONS.items() if row.is_short or not options.short]
    against = [name for name in options.against.split(",") if name]
    for given, known, what in ((chosen, QUESTIONS, "question"), (against, AGAINST, "peer")):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"unknown {what} {', '.join(unknown)}; known: {', '.join(known)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.questions, options.against = chosen, against
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = arguments_of(arguments)
    if options.command == "list":
        print(_list())
    elif options.command == "run":
        plan = _SHORT if options.short else _USUAL
        plan = replace(plan, against=tuple(options.against), rounds=options.rounds or plan.rounds)
        return _run([row for name, row in QUESTIONS.items() if name in options.questions], plan, options)
    else:
        try:
            print(compare(load(options.before), load(options.after)))
        except (OSError, ValueError) as error:
            print(f"compare: {error}", file=sys.stderr)
            return 2
    return 0


def _list() -> str:
    width = max(map(len, QUESTIONS))
    lines = [
        f"{row.name:<{width}}  {row.summary}  (about {row.seconds:.0f} s"
        + (f"; against {', '.join(row.peers)}" if row.peers else "")
        + ("; short set)" if row.is_short else ")")
        for row in QUESTIONS.values()
    ]
    return "\n".join(lines)


def _run(chosen: list[Question], plan: Plan, options: argparse.Namespace) -> int:
    machine = describe()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        peers = versions([name for name in plan.against if any(name in row.peers for row in chosen)])
    except (RuntimeError, OSError, Unavailable) as error:
        print(f"a peer cannot be installed; --against '' measures without them: {error}", file=sys.stderr)
        return 2
    heading = note(machine, peers)
    print("\n".join(heading), flush=True)
    progress = Progress({row.name: row.seconds for row in chosen})
    plan = replace(plan, tell=progress.tell)
    figures: list[Figure] = []
    failed: list[str] = []
    for row in chosen:
        progress.begin(row.name)
        try:
            found = row.run(plan)
        except Exception as error:  # a long run keeps what it has, and goes on
            progress.end()
            failed.append(f"{row.name} failed: {type(error).__name__}: {error}")
            print(f"\n{failed[-1]}", file=sys.stderr, flush=True)
            continue
        progress.end()
        figures += found
        for table in tables_of(found):
            print(f"\n{table.text()}", flush=True)
        if options.json:
            # Written as they come: an interrupted run keeps what it has, too.
            with options.json.open("a") as out:
                for figure in found:
                    line = {**figure.as_json(), "run": started, "machine": machine}
                    out.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(_goals(figures))
    if options.report or options.plot:
        place = options.plot or options.report.parent / "plots"
        report(figures, [*heading, *failed], pictures=place, page=options.report)
    return 1 if failed else 0


def _goals(figures: list[Figure]) -> str:
    rows = [row for row in reached(figures) if row[-1] != "not measured"]
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in [HEAD, *rows]) for i in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [HEAD, *rows]]
    return "\n".join(["", "figures to reach", *lines])


if __name__ == "__main__":
    sys.exit(main())
