"""The judge of authorization is judged: a sound client passes, and each fault is caught and its rule named."""

import asyncio
import sys
from pathlib import Path

import pytest

from conformance.check import Outcome, Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options
from conformance.scenario import load

from .auth_mutants import CLIENTS, Fault
from .mutants import DATES

CLIENT = f"{sys.executable} {Path(__file__).with_name('auth_client.py')}"


def _judge(command: str, scenario: str, revisions: tuple[str, ...] = (), jobs: int = 4) -> list[Outcome]:
    options = Options(
        fixtures=read_fixtures("official"), revisions=revisions, transports=("http",), scenarios=(scenario,), jobs=jobs
    )
    return asyncio.run(judge_client(command, options))[0]


def _bad(outcomes: list[Outcome]) -> list[tuple[str, str, int, str]]:
    wrong = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
    return [(o.scenario, o.revision, c.rule, c.detail) for o in outcomes for c in o.checks_with(*wrong)]


def test_a_sound_client_passes_every_scenario_in_every_revision() -> None:
    outcomes = _judge(CLIENT, "auth/*")
    assert not _bad(outcomes)
    assert len(outcomes) > 70
    assert not [(o.scenario, o.note) for o in outcomes if o.verdict is Verdict.SKIP]


@pytest.mark.parametrize("fault", CLIENTS, ids=lambda f: f"{f.rule}-{f.name}-{f.scenario[5:]}".replace(" ", "-"))
def test_a_client_with_a_fault_is_caught_and_its_rule_named(fault: Fault) -> None:
    outcomes = _judge(f"{CLIENT} --mutate '{fault.name}'", fault.scenario, (DATES[fault.revision],))
    found = _bad(outcomes)
    assert fault.rule in [rule for _, _, rule, _ in found], [(o.note, o.checks, o.transcript) for o in outcomes]
    assert not [c.detail for o in outcomes for c in o.checks_with(Verdict.ERROR)]


def test_every_rule_of_a_client_has_a_fault() -> None:
    assert {fault.rule for fault in CLIENTS} == set(range(211, 225))
    assert {fault.scenario for fault in CLIENTS} <= set(load())
