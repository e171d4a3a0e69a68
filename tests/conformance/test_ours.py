"""What the judge says of our own server and client: nothing."""

import asyncio
import sys

from conformance.check import Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options, judge_server
from conformance.target import ServerTarget

OURS = f"{sys.executable} -m conformance.targets.ours"

UNFIT = ("auth-", "auth/", "older-clients")
"""Scenarios that have nothing to test here: our target demands no tokens and has none, and it speaks every revision."""


def test_our_server_keeps_every_rule_on_every_transport_and_revision() -> None:
    serve = f"{OURS}.server --port {{port}} --page-size 10"
    target = ServerTarget(command=f"{OURS}.server --stdio --page-size 10", serve=serve)
    outcomes, remarks = asyncio.run(judge_server(target, Options(fixtures=read_fixtures("judge"))))
    bad = [(o.scenario, o.revision, o.transport, c.rule, c.detail) for o in outcomes
           for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]  # fmt: skip
    assert not bad
    assert not remarks
    assert not [o.scenario for o in outcomes if o.verdict is Verdict.SKIP and not o.scenario.startswith(UNFIT)]


def test_our_client_keeps_every_rule_on_every_transport_and_revision() -> None:
    options = Options(fixtures=read_fixtures("official"), jobs=2)
    outcomes, _ = asyncio.run(judge_client(f"{OURS}.client", options))
    bad = [(o.scenario, o.revision, o.transport, c.rule, c.detail) for o in outcomes
           for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]  # fmt: skip
    assert not bad
    assert not [o.scenario for o in outcomes if o.verdict is Verdict.SKIP and not o.scenario.startswith(UNFIT)]
