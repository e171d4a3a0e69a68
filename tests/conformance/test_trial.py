"""What one run of a scenario comes to, whatever goes wrong in it."""

import asyncio
import sys
from collections.abc import Sequence

import pytest

from conformance.check import Check, Outcome, Verdict, worst
from conformance.dialect import NoAnswer
from conformance.fixture import read_fixtures
from conformance.requirements import revisions
from conformance.runner import CannotRun, Options, judge_server
from conformance.scenario import Scenario, Trial, run_scenario
from conformance.target import ServerTarget

NEWEST = list(revisions())[-1]


def test_the_worst_verdict_counts_and_a_skip_never_passes() -> None:
    assert worst([Verdict.PASS, Verdict.SKIP, Verdict.WARN]) is Verdict.WARN
    assert worst([Verdict.SKIP]) is Verdict.SKIP
    assert Outcome("a", "server", NEWEST, "stdio", [Check(1, Verdict.SKIP, "")]).verdict is Verdict.SKIP


def _ran(body: object, covers: Sequence[int] = (1, 4)) -> Outcome:
    which = Scenario("made-up", body, tuple(covers), "E", ("stdio",), "server", False, 0.2)  # type: ignore[arg-type]
    target = ServerTarget(command="unused")
    revision = revisions()[NEWEST]
    return asyncio.run(run_scenario(which, revision, "stdio", target, read_fixtures("official"), 0.2))


def test_a_scenario_that_tests_nothing_is_said_to() -> None:
    async def nothing(trial: Trial) -> None:
        """Does nothing."""

    outcome = _ran(nothing)
    assert outcome.verdict is Verdict.SKIP
    assert {check.detail for check in outcome.checks} == {"the scenario ended without testing it"}


def test_a_fault_of_the_judge_is_none_of_the_target() -> None:
    async def broken(trial: Trial) -> None:
        """Is broken."""
        raise KeyError("oops")

    assert _ran(broken).verdict is Verdict.ERROR


def test_silence_is_blamed_on_the_rule_that_was_to_be_looked_at() -> None:
    async def silent(trial: Trial) -> None:
        """Waits for nothing."""
        trial.check(128, True, "fine")
        raise NoAnswer("no answer")

    outcome = _ran(silent, (128, 133))
    assert [(check.rule, check.verdict) for check in outcome.checks] == [(128, Verdict.PASS), (133, Verdict.WARN)]


def test_a_hung_scenario_is_cut() -> None:
    async def hung(trial: Trial) -> None:
        """Never ends."""
        await asyncio.Event().wait()

    outcome = _ran(hung)
    assert outcome.verdict is Verdict.FAIL and "cut off" in outcome.note


def test_a_server_that_never_answers_cannot_be_judged() -> None:
    target = ServerTarget(command=f"{sys.executable} -c 'import time; time.sleep(60)'")
    options = Options(fixtures=read_fixtures("official"), revisions=(NEWEST,), timeout=0.3, patience=0.3)
    with pytest.raises(CannotRun, match="no answer"):
        asyncio.run(judge_server(target, options))
