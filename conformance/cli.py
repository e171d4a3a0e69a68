"""The command line: `server`, `client`, `list`, `explain`, `compare`, `matrix`, `agreement`; see `arguments`.

The exit status is 0 if the target kept every rule it was held to, 1 if it broke one, 2 if it could not be judged.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .arguments import make_parser
from .check import Outcome, Verdict
from .requirements import find, requirements, revisions

__all__ = ["main"]

_BAD = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m conformance") -> int:
    """Run a command and return the exit status.

    Args:
        arguments: default those of the process.
        prog: what the user typed to get here.
    """
    given = make_parser(prog).parse_args(arguments)
    from .baseline import BaselineError
    from .environments import Unavailable
    from .runner import CannotRun  # here: `--help` needs none of it

    commands = {
        "list": _list,
        "explain": _explain,
        "compare": _compare,
        "matrix": _matrix,
        "agreement": _agreement,
        "server": _judge,
        "client": _judge,
    }
    # Whoever is told to end shall end what it started, as it does when it is interrupted.
    with contextlib.suppress(ValueError):  # not in the main thread: whoever runs us there sees to it
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return commands[given.command_name](given)
    except (CannotRun, BaselineError, Unavailable, ValueError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
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


def _explain(given: argparse.Namespace) -> int:
    from .clientmonitor import ALWAYS_OF_CLIENTS
    from .coverage import untestable
    from .monitor import ALWAYS
    from .runner import like
    from .scenario import load

    name, there = given.id, load()
    requirement = find(name)
    if requirement is not None:
        until = "" if requirement.until == list(revisions())[-1] else f" until {requirement.until}"
        print(f"{requirement.id} ({requirement.level}, {' and '.join(requirement.roles)})")
        print(f"  {requirement.text}")
        print(f"  since {requirement.since}{until}, over {', '.join(requirement.transports)}; {requirement.address}")
        if requirement.should_in:
            print(f"  only advised in {', '.join(requirement.should_in)}")
        covering = [f"{each.role}: {each.id}" for each in there.values() if requirement.number in each.covers]
        for role, always in (("server", ALWAYS), ("client", ALWAYS_OF_CLIENTS)):
            if requirement.number in always and role in requirement.roles:
                covering.append(f"{role}: every message is held to it")
        reasons = untestable().get(requirement.number, {})
        covering += [f"{role}: not tested: {why}" for role, why in reasons.items()]
        print("\n".join(f"  {each}" for each in covering))
        return 0
    if name in there:
        each = there[name]
        print(f"{each.id} ({each.role}; {each.revisions}; {', '.join(each.transports)})\n  {each.summary}")
        if each.asks:
            print(f"  the client under test: {each.asks}")
        for rule in each.covers:
            print(f"  {requirements()[rule].id}: {requirements()[rule].text}")
        return 0
    known = [*there, *(each.id for each in requirements().values())]
    raise ValueError(f"no requirement and no scenario is named {name!r}{like(name, known)}")


def _matrix(given: argparse.Namespace) -> int:
    from . import matrix

    return matrix.run(
        _split(given.targets),
        json_path=given.json,
        html_path=given.html,
        by=given.by,
        roles=_roles(given.roles),
        revisions=_split(given.revisions),
        transports=_split(given.transports),
        scenarios=_split(given.scenarios),
        jobs=given.jobs,
    )


def _agreement(given: argparse.Namespace) -> int:
    from . import agreement

    return agreement.run(given.target, roles=_roles(given.roles), json_path=given.json)


def _roles(text: str) -> tuple[str, ...]:
    roles = _split(text)
    if not roles or set(roles) - {"server", "client"}:
        raise ValueError(f"no role is named {text!r}; there are server, client")
    return roles


def _compare(given: argparse.Namespace) -> int:
    from .report import compare, read_run

    lines = compare(read_run(given.before).outcomes, read_run(given.after).outcomes)
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


_HOW = ("command", "url", "serve", "fixtures")
"""What a replay takes from the run that it repeats unless it is told otherwise; tokens are written nowhere."""


def _remember(given: argparse.Namespace, how: dict[str, Any]) -> None:
    if any(getattr(given, name, None) for name in ("command", "url", "serve")):
        how = {"fixtures": how.get("fixtures")}
    for name in _HOW:
        if hasattr(given, name) and not getattr(given, name) and how.get(name):
            setattr(given, name, how[name])


def _judge(given: argparse.Namespace) -> int:
    from .baseline import excused
    from .fixture import read_fixtures
    from .html import write_html
    from .report import as_json, has_failed, read_run, summary, write_junit
    from .runner import CannotRun, Options, judge_server
    from .target import ServerTarget
    from .tokens import read_tokens

    wanted: dict[str, Any] = {name: _split(getattr(given, name)) for name in ("revisions", "transports", "scenarios")}
    if given.replay:
        earlier = read_run(given.replay)
        failed = [outcome for outcome in earlier.outcomes if outcome.verdict in _BAD]
        if not failed:
            print("nothing failed in that run")
            return 0
        _remember(given, earlier.how)
        wanted |= {
            "revisions": tuple(dict.fromkeys(outcome.revision for outcome in failed)),
            "transports": tuple(dict.fromkeys(outcome.transport for outcome in failed)),
            "scenarios": tuple(dict.fromkeys(outcome.scenario for outcome in failed)),
            "only": frozenset((outcome.scenario, outcome.revision, outcome.transport) for outcome in failed),
        }
    fixtures = read_fixtures(getattr(given, "fixtures", None) or "official")
    options = replace(Options(fixtures=fixtures, timeout=given.timeout, jobs=given.jobs), **wanted)
    how = {name: getattr(given, name, None) for name in _HOW}
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

        if not given.command:
            raise CannotRun("give --command")
        name = given.command
        outcomes, remarks = asyncio.run(judge_client(given.command, options, _Progress()))
    seconds = time.monotonic() - began
    if given.baseline:
        outcomes, stale = excused(outcomes, given.baseline)
        remarks += [f"baseline: {entry} passes now; take it out" for entry in stale]
    else:
        stale = []
    if given.json:
        given.json.write_text(json.dumps(as_json(outcomes, remarks, name, seconds, how), indent=1), encoding="utf-8")
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
