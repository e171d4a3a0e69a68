"""The judge is judged: of implementations with one fault each it must catch every one, and name the rule."""

import asyncio
import shlex
import sys
from collections.abc import Iterator

import pytest

from conformance.check import Outcome, Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options, judge_server
from conformance.target import ServerTarget

from .client_mutants import CLIENTS, SCRIPTED, ClientMutant
from .mutants import DATES, SERVERS, Mutant, drop, result
from .wire_mutants import WIRES

OURS = f"{sys.executable} -m conformance.targets.ours"
PAGES = "--page-size 10"
SERVE = f"{OURS}.server --port {{port}} {PAGES}"
URLS = ("http://127.0.0.1:{port}/mcp", "http://127.0.0.1:{port}/sse", "ws://127.0.0.1:{port}/ws")


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """Our server, over the network, for all."""
    loop = asyncio.new_event_loop()
    target = ServerTarget(serve=SERVE, url=URLS)
    loop.run_until_complete(target.start())
    yield target.urls
    loop.run_until_complete(target.close())
    loop.close()


def _found(outcomes: list[Outcome], rule: int) -> list[str]:
    bad = (Verdict.FAIL, Verdict.WARN)
    return [f"{o.scenario}: {c.detail}" for o in outcomes for c in o.checks_with(*bad) if c.rule == rule]


def _judge(mutant: Mutant, target: ServerTarget) -> list[Outcome]:
    options = Options(
        fixtures=read_fixtures("judge"),
        revisions=(DATES[mutant.revision],),
        transports=(mutant.transport,),
        scenarios=(mutant.scenarios or str(mutant.rule),),
        timeout=3.0,
    )
    return asyncio.run(judge_server(target, options))[0]


@pytest.mark.parametrize("mutant", SERVERS + WIRES, ids=lambda m: f"{m.rule}-{m.name}".replace(" ", "-"))
def test_a_server_with_a_fault_is_caught_and_its_rule_named(mutant: Mutant, urls: dict[str, str]) -> None:
    if mutant.transport == "stdio":
        target = ServerTarget(command=f"{OURS}.server --stdio {PAGES}", tap=mutant.fresh())
    else:
        target = ServerTarget(url=f"{mutant.transport}={urls[mutant.transport]}", tap=mutant.fresh())
    outcomes = _judge(mutant, target)
    assert _found(outcomes, mutant.rule), [(o.scenario, [(c.rule, c.detail) for c in o.checks]) for o in outcomes]
    assert not [c.detail for o in outcomes for c in o.checks_with(Verdict.ERROR)]


def test_a_server_that_ends_a_subscription_without_naming_it_is_caught() -> None:
    mutant = Mutant("nameless end", 183, "E", "websocket", change=result(drop("_meta"), "subscriptions/listen"))
    outcomes = _judge(mutant, ServerTarget(serve=SERVE, url=URLS, tap=mutant))
    assert _found(outcomes, 183)


@pytest.mark.parametrize("mutant", CLIENTS, ids=lambda m: f"{m.rule}-{m.name}".replace(" ", "-"))
def test_a_client_with_a_fault_is_caught_and_its_rule_named(mutant: ClientMutant) -> None:
    options = Options(
        fixtures=read_fixtures("judge"),
        revisions=(DATES[mutant.revision],),
        transports=(mutant.transport,),
        scenarios=(mutant.scenarios or str(mutant.rule),),
    )
    outcomes, _ = asyncio.run(judge_client(f"{OURS}.client", options, tap=mutant))
    assert _found(outcomes, mutant.rule), [(o.scenario, [(c.rule, c.detail) for c in o.checks]) for o in outcomes]


def _judge_scripted(fault: str, revision: str, scenario: str) -> list[Outcome]:
    options = Options(
        fixtures=read_fixtures("judge"), revisions=(DATES[revision],), transports=("stdio",), scenarios=(scenario,)
    )
    command = f"env FAULT={shlex.quote(fault)} {sys.executable} -m tests.conformance.scripted_client"
    return asyncio.run(judge_client(command, options))[0]


@pytest.mark.parametrize(("fault", "rule", "revision", "scenario"), SCRIPTED, ids=lambda v: str(v).replace(" ", "-"))
def test_a_scripted_client_with_a_fault_is_caught(fault: str, rule: int, revision: str, scenario: str) -> None:
    outcomes = _judge_scripted(fault, revision, scenario)
    assert _found(outcomes, rule), [(o.scenario, o.note, [(c.rule, c.detail) for c in o.checks]) for o in outcomes]


@pytest.mark.parametrize(("revision", "scenario"), sorted({row[2:] for row in SCRIPTED}))
def test_a_scripted_client_without_a_fault_keeps_every_rule(revision: str, scenario: str) -> None:
    outcomes = _judge_scripted("", revision, scenario)
    assert [o.verdict for o in outcomes] == [Verdict.PASS], [(o.note, o.transcript, o.checks) for o in outcomes]
    assert not [c.detail for o in outcomes for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.SKIP)]
