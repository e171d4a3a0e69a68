"""What the judge says of our own server and client: nothing."""

import asyncio
import sys

from conformance.check import Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options, judge_server
from conformance.scenario import load
from conformance.target import ServerTarget

OURS = f"{sys.executable} -m conformance.targets.ours"


def test_our_server_keeps_every_rule_on_every_transport_and_revision() -> None:
    serve = f"{OURS}.server --port {{port}} --page-size 10"
    target = ServerTarget(command=f"{OURS}.server --stdio --page-size 10", serve=serve)
    outcomes, remarks = asyncio.run(judge_server(target, Options(fixtures=read_fixtures("judge"))))
    bad = [(o.scenario, o.revision, o.transport, c.rule, c.detail) for o in outcomes
           for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]  # fmt: skip
    assert not bad
    assert not remarks
    # It demands no tokens here; `test_auth_judge` has servers that do. And it speaks every revision, so there is no
    # client that is too old for it.
    unfit = ("auth-", "older-clients")
    # One scenario tells the server to end by a signal, which kills it over stdio: there its input is what ends it.
    unfit_over_stdio = ("listening-ends-gracefully",)
    skipped = [(o.scenario, o.transport) for o in outcomes if o.verdict is Verdict.SKIP]
    assert not [
        (name, transport)
        for name, transport in skipped
        if not name.startswith(unfit) and not (transport == "stdio" and name in unfit_over_stdio)
    ]


def test_our_client_keeps_every_rule_on_every_transport_and_revision() -> None:
    # It does not authorize itself; `test_auth_judge` has a client that does.
    chosen = tuple(each.id for each in load().values() if each.role == "client" and not each.id.startswith("auth/"))
    options = Options(fixtures=read_fixtures("official"), scenarios=chosen, jobs=2)
    outcomes, _ = asyncio.run(judge_client(f"{OURS}.client", options))
    bad = [(o.scenario, o.revision, o.transport, c.rule, c.detail) for o in outcomes
           for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]  # fmt: skip
    assert not bad
    assert not [o.scenario for o in outcomes if o.verdict is Verdict.SKIP]
