"""`python -m benchmarks`: run the questions, print a table for each with its ratios."""

import argparse
import json
import sys
from pathlib import Path

from . import (
    bench_clients,
    bench_engine,
    bench_http,
    bench_payloads,
    bench_pipeline,
    bench_pool,
    bench_sessions,
    bench_sharing,
    bench_sse,
    bench_startup,
    bench_stdio,
    bench_websocket,
)
from .harness import Figure, machine_note, table
from .subjects import AGAINST, servers

QUESTIONS = (
    "engine",
    "pipeline",
    "pool",
    "sharing",
    "stdio",
    "startup",
    "http",
    "sessions",
    "sse",
    "payloads",
    "clients",
    "websocket",
)
WEB = {
    "http": bench_http.run,
    "sessions": bench_sessions.run,
    "sse": bench_sse.run,
    "payloads": bench_payloads.run,
    "clients": bench_clients.run,
    "websocket": bench_websocket.run,
}


def show(figures: list[Figure]) -> str:
    """Return a table a question; ratios are to the official SDK and to the floor of the same run."""
    tables = []
    for question in dict.fromkeys(figure.question for figure in figures):
        rows = [figure for figure in figures if figure.question == question]
        by_name = {figure.subject: figure.value for figure in rows}
        # The 2.x line has no WebSocket.
        official = next((name for name in ("mcp 2.3.0", "mcp 1.30.0") if name in by_name), "mcp 2.3.0")
        sdk = by_name.get(official)
        body = [
            [
                figure.subject,
                f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:,.1f}",
                figure.unit,
                f"{figure.value / sdk:.2f}x" if sdk else "",
                f"{figure.value / floor:.2f}x" if (floor := by_name.get(figure.floor)) else "",
                "  ".join(f"{key} {value:,.2f}" for key, value in figure.detail.items()),
            ]
            for figure in rows
        ]
        tables.append(table(question, ["", "value", "unit", f"of {official}", "of the floor", ""], body))
    return "\n\n".join(tables)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="question", help=f"of {', '.join(QUESTIONS)}; default all")
    parser.add_argument(
        "--against", default=",".join(AGAINST), help=f"peers, of {', '.join(AGAINST)}; '' for none (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement; the best counts (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the figures as JSON lines")
    options = parser.parse_args()
    chosen = options.questions or list(QUESTIONS)
    against = [name for name in options.against.split(",") if name]
    for given, known, what in ((chosen, QUESTIONS, "question"), (against, AGAINST, "peer")):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"unknown {what} {', '.join(unknown)}; known: {', '.join(known)}")
    print(machine_note())
    figures: list[Figure] = []

    def tell(what: str) -> None:
        print(f"... {what}", file=sys.stderr)

    if "engine" in chosen:
        tell("engine")
        figures += bench_engine.run(options.rounds)
    if "pipeline" in chosen:
        tell("pipeline")
        figures += bench_pipeline.run(options.rounds)
    if "pool" in chosen:
        tell("pool")
        figures += bench_pool.run(options.rounds)
    if "sharing" in chosen:
        tell("sharing")
        figures += bench_sharing.run(options.rounds)
    commands = servers(against) if {"stdio", "startup"} & set(chosen) else {}
    if "stdio" in chosen:
        for name, command in commands.items():
            tell(f"stdio: {name}")
            total = 100_000 if "bare" in name else 40_000 if "ours" in name else 4_000
            figures += bench_stdio.measure(name, command, rounds=options.rounds, total=total)
        figures += bench_stdio.measure(
            "ours, 2026-07-28", commands["ours"], rounds=options.rounds, total=40_000, era="envelope"
        )
    if "startup" in chosen:
        bench_startup.prepare()
        for name, command in commands.items():
            if name in ("ours", "bare (floor)") or not name.startswith("ours"):
                tell(f"startup: {name}")
                figures.append(bench_startup.first_call(name, command, rounds=max(5, options.rounds)))
        figures += bench_startup.imports(max(5, options.rounds))
    for name in chosen:
        if name in WEB:
            tell(name)
            figures += WEB[name](against, rounds=options.rounds)
    print(show(figures))
    if options.json:
        with options.json.open("a") as out:
            for figure in figures:
                out.write(json.dumps(figure.as_json()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
