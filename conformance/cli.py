"""The command line: `server`, `client`, `list`, `explain`, `compare`, `replay`.

The exit status is 0 if the target kept every rule it was held to, 1 if it broke one, 2 if it could not be judged.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .check import Outcome, Verdict
from .requirements import find, requirements, revisions

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance", description="A judge for implementations of MCP.")
    commands = parser.add_subparsers(dest="command_name", required=True, metavar="COMMAND")
    server = commands.add_parser("server", help="judge a server")
    server.add_argument("--command", help="starts it on its standard streams")
    server.add_argument(
        "--url",
        action="append",
        default=[],
        help="where it serves: http(s):// Streamable HTTP, ws(s):// WebSocket, a path that ends in /sse, or sse=URL, "
        "HTTP+SSE (http=URL: not that); once for each transport",
    )
    server.add_argument("--serve", help="starts it to serve; {port} stands for the port, also in each --url")
    server.add_argument("--fixtures", default="official", help="a fixture file, or the name of one that comes along")
    server.add_argument("--token", help="a bearer token that it takes: env:NAME, file:PATH, or the token itself")
    server.add_argument(
        "--tokens", type=Path, help="a TOML file of tokens: good, narrow, broad, expired, foreign; tool"
    )
    client = commands.add_parser("client", help="judge a client")
    client.add_argument("--command", required=True, help="starts it; the URL, or the command of a server, is appended")
    for each in (server, client):
        each.add_argument("--revisions", default="", help="names, with commas between them; default: all it speaks")
        each.add_argument("--transports", default="", help="of stdio,http,sse,websocket; default: all that were given")
        each.add_argument("--scenarios", default="", help="ids, patterns, or requirements, with commas between them")
        each.add_argument("--timeout", type=float, default=5.0, help="seconds for an answer")
        each.add_argument("--jobs", type=int, default=8, help="how many conversations at a time")
        each.add_argument("--strict", action="store_true", help="warnings fail too")
        each.add_argument("--details", action="store_true", help="show what passed on the wire with each failure")
        each.add_argument("--json", type=Path, help="write the whole run to a file")
        each.add_argument("--junit", type=Path, help="write JUnit XML to a file")
        each.add_argument("--html", type=Path, help="write a page to a file")
        each.add_argument("--baseline", type=Path, help="a TOML file of failures that are expected")
        each.add_argument("--replay", type=Path, help="run again what failed in a JSON file of an earlier run")
    listed = commands.add_parser("list", help="list the scenarios, or the requirements")
    listed.add_argument("--requirements", action="store_true", help="list the requirements instead")
    listed.add_argument("--role", choices=("server", "client"))
    explain = commands.add_parser("explain", help="say what a requirement or a scenario is about")
    explain.add_argument("id")
    compare = commands.add_parser("compare", help="show how two runs differ")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    given = _parser().parse_args(arguments)
    from .baseline import BaselineError
    from .runner import CannotRun  # here: `--help` needs none of it

    try:
        if given.command_name == "list":
            return _list(given)
        if given.command_name == "explain":
            return _explain(given.id)
        if given.command_name == "compare":
            return _compare(given)
        return _judge(given)
    except (CannotRun, BaselineError, ValueError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _list(given: argparse.Namespace) -> int:
    from .scenario import load

    if given.requirements:
        for requirement in requirements().values():
            if given.role in (None, *requirement.roles):
                print(f"{requirement.number:3} {requirement.id:18} {requirement.level:6} {requirement.text}")
        return 0
    for each in load().values():
        if given.role in (None, each.role):
            rules = ",".join(str(rule) for rule in each.covers)
            print(f"{each.role} {each.id:34} {each.revisions:5} {','.join(each.transports):10} {rules}")
    return 0


def _explain(name: str) -> int:
    from .coverage import untestable
    from .monitor import ALWAYS
    from .scenario import load

    there = load()
    requirement = find(name)
    if requirement is not None:
        until = "" if requirement.until == list(revisions())[-1] else f" until {requirement.until}"
        print(f"{requirement.id} ({requirement.level}, {' and '.join(requirement.roles)})")
        print(f"  {requirement.text}")
        print(f"  since {requirement.since}{until}, over {', '.join(requirement.transports)}; {requirement.address}")
        if requirement.should_in:
            print(f"  only advised in {', '.join(requirement.should_in)}")
        covering = [f"{each.role}: {each.id}" for each in there.values() if requirement.number in each.covers]
        if requirement.number in ALWAYS:
            covering.append("server: every message is held to it")
        print("\n".join(f"  {each}" for each in covering))
        for role, reason in untestable().get(requirement.number, {}).items():
            print(f"  {role}: not tested: {reason}")
        return 0
    if name in there:
        each = there[name]
        print(f"{each.id} ({each.role}; {each.revisions}; {', '.join(each.transports)})\n  {each.summary}")
        if each.asks:
            print(f"  the client under test: {each.asks}")
        for rule in each.covers:
            print(f"  {requirements()[rule].id}: {requirements()[rule].text}")
        return 0
    print(
        f"no requirement and no scenario is named {name!r}; `list` and `list --requirements` show them", file=sys.stderr
    )
    return 2


def _compare(given: argparse.Namespace) -> int:
    from .report import compare, read_json

    (_, before), (_, after) = read_json(given.before), read_json(given.after)
    lines = compare(before, after)
    print("\n".join(lines) or "no difference")
    return 1 if lines else 0


class _Progress:
    """A line that is written over on a terminal; elsewhere a line for what is not passed."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, outcome: Outcome, count: int, total: int) -> None:
        if self._is_terminal:
            text = f"{count}/{total} {outcome.revision} {outcome.transport} {outcome.scenario}"
            print(f"\r\x1b[K{text[:78]}", end="" if count < total else "\n", file=sys.stderr, flush=True)
        elif outcome.verdict in (Verdict.FAIL, Verdict.ERROR) or count % 100 == 0 or count == total:
            what = f"{outcome.verdict.value} {outcome.revision} {outcome.transport} {outcome.scenario}"
            print(f"[{count}/{total}] {what}", file=sys.stderr, flush=True)


def _judge(given: argparse.Namespace) -> int:
    from .baseline import excused
    from .fixture import read_fixtures
    from .html import write_html
    from .report import as_json, has_failed, read_json, summary, write_junit
    from .runner import CannotRun, Options, judge_server
    from .target import ServerTarget
    from .tokens import read_tokens

    wanted: dict[str, Any] = {name: _split(getattr(given, name)) for name in ("revisions", "transports", "scenarios")}
    if given.replay:
        _, earlier = read_json(given.replay)
        failed = [outcome for outcome in earlier if outcome.verdict in (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]
        if not failed:
            print("nothing failed in that run")
            return 0
        wanted = {
            "revisions": tuple(dict.fromkeys(outcome.revision for outcome in failed)),
            "transports": tuple(dict.fromkeys(outcome.transport for outcome in failed)),
            "scenarios": tuple(dict.fromkeys(outcome.scenario for outcome in failed)),
        }
    fixtures = read_fixtures(getattr(given, "fixtures", "official"))
    options = replace(Options(fixtures=fixtures, timeout=given.timeout, jobs=given.jobs), **wanted)
    began = time.monotonic()
    if given.command_name == "server":
        if not (given.command or given.url or given.serve):
            raise CannotRun("give --command, --url or --serve")
        tokens = read_tokens(given.token, given.tokens)
        target = ServerTarget(command=given.command, url=given.url, serve=given.serve, tokens=tokens)
        name = " ".join(each for each in (given.command, given.serve, *given.url) if each)
        outcomes, remarks = asyncio.run(judge_server(target, options, _Progress()))
    else:
        from .client import judge_client

        name = given.command
        outcomes, remarks = asyncio.run(judge_client(given.command, options, _Progress()))
    seconds = time.monotonic() - began
    if given.baseline:
        outcomes, stale = excused(outcomes, given.baseline)
        remarks += [f"baseline: {entry} passes now; take it out" for entry in stale]
    else:
        stale = []
    if given.json:
        given.json.write_text(json.dumps(as_json(outcomes, remarks, name, seconds), indent=1), encoding="utf-8")
    if given.junit:
        write_junit(given.junit, outcomes)
    if given.html:
        write_html(given.html, outcomes, remarks, name, seconds)
    print(summary(outcomes, remarks, details=given.details))
    print(f"{seconds:.1f} s")
    if any(outcome.checks_with(Verdict.ERROR) for outcome in outcomes):
        return 2
    if not any(outcome.checks_with(Verdict.PASS, Verdict.FAIL, Verdict.WARN) for outcome in outcomes):
        raise CannotRun("no scenario tested anything")
    return 1 if stale or has_failed(outcomes, strict=given.strict) else 0


def _split(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())
