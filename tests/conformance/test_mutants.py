"""The judge is judged: of implementations with one fault each it must catch every one, and name the rule."""

import asyncio
import sys
from collections.abc import Iterator

import pytest

from conformance.check import Outcome, Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options, judge_server
from conformance.target import ServerTarget

from .client_mutants import CLIENTS, ClientMutant
from .mutants import DATES, SERVERS, Mutant

OURS = f"{sys.executable} -m conformance.targets.ours"
PAGES = "--page-size 10"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Our server, over HTTP, for all."""
    loop = asyncio.new_event_loop()
    target = ServerTarget(serve=f"{OURS}.server --port {{port}} {PAGES}")
    loop.run_until_complete(target.start())
    yield target.url or ""
    loop.run_until_complete(target.close())
    loop.close()


def _found(outcomes: list[Outcome], rule: int) -> list[str]:
    bad = (Verdict.FAIL, Verdict.WARN)
    return [f"{o.scenario}: {c.detail}" for o in outcomes for c in o.checks_with(*bad) if c.rule == rule]


def _judge(mutant: Mutant | None, url: str, rule: int, revision: str, transport: str) -> list[Outcome]:
    tap = mutant.fresh() if mutant else None
    target = (
        ServerTarget(url=url, tap=tap)
        if transport == "http"
        else ServerTarget(command=f"{OURS}.server --stdio {PAGES}", tap=tap)
    )
    options = Options(
        fixtures=read_fixtures("judge"),
        revisions=(DATES[revision],),
        transports=(transport,),
        scenarios=((mutant.scenarios if mutant else "") or str(rule),),
        timeout=3.0,
    )
    return asyncio.run(judge_server(target, options))[0]


@pytest.mark.parametrize("mutant", SERVERS, ids=lambda m: f"{m.rule}-{m.name}".replace(" ", "-"))
def test_a_server_with_a_fault_is_caught_and_its_rule_named(mutant: Mutant, url: str) -> None:
    outcomes = _judge(mutant, url, mutant.rule, mutant.revision, mutant.transport)
    assert _found(outcomes, mutant.rule), [(o.scenario, [(c.rule, c.detail) for c in o.checks]) for o in outcomes]
    assert not [c.detail for o in outcomes for c in o.checks_with(Verdict.ERROR)]


@pytest.mark.parametrize("mutant", CLIENTS, ids=lambda m: f"{m.rule}-{m.name}".replace(" ", "-"))
def test_a_client_with_a_fault_is_caught_and_its_rule_named(mutant: ClientMutant) -> None:
    options = Options(
        fixtures=read_fixtures("judge"),
        revisions=(DATES[mutant.revision],),
        transports=(mutant.transport,),
        scenarios=(str(mutant.rule),),
    )
    outcomes, _ = asyncio.run(judge_client(f"{OURS}.client", options, tap=mutant))
    assert _found(outcomes, mutant.rule), [(o.scenario, [(c.rule, c.detail) for c in o.checks]) for o in outcomes]
