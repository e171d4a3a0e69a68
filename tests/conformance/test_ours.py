"""What the judge says of our own server and client: nothing."""

import asyncio
import sys

import pytest

from conformance.check import Outcome, Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options, judge_server
from conformance.scenario import EVERYWHERE
from conformance.target import ServerTarget

OURS = f"{sys.executable} -m conformance.targets.ours"
WIRES = pytest.mark.parametrize("transports", [("stdio",), ("http",), ("sse", "websocket")], ids="-".join)


def _broken(outcomes: list[Outcome]) -> list[tuple[str, str, str, int, str]]:
    return [(o.scenario, o.revision, o.transport, c.rule, c.detail) for o in outcomes
            for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]  # fmt: skip


def _lacking(outcomes: list[Outcome]) -> set[str]:
    """Return the scenarios that lacked something they need."""
    assert not [o.scenario for o in outcomes if o.verdict is Verdict.SKIP and not o.note]
    # Authorization is judged where there is some; see `test_auth_judge`.
    return {o.scenario for o in outcomes if o.note and not o.scenario.startswith("auth")}


@WIRES
def test_our_server_keeps_every_rule_in_every_revision(transports: tuple[str, ...]) -> None:
    serve = f"{OURS}.server --port {{port}} --page-size 10"
    urls = ("http://127.0.0.1:{port}/mcp", "http://127.0.0.1:{port}/sse", "ws://127.0.0.1:{port}/ws")
    target = ServerTarget(command=f"{OURS}.server --stdio --page-size 10", serve=serve, url=urls)
    assert target.transports == EVERYWHERE
    options = Options(fixtures=read_fixtures("judge"), transports=transports)
    outcomes, remarks = asyncio.run(judge_server(target, options))
    assert not _broken(outcomes)
    assert not remarks
    # Over stdio a signal simply ends it.
    assert _lacking(outcomes) == ({"listening-ends-gracefully"} if transports == ("stdio",) else set())


@WIRES
def test_our_client_keeps_every_rule_in_every_revision(transports: tuple[str, ...]) -> None:
    options = Options(fixtures=read_fixtures("official"), transports=transports, jobs=4)
    outcomes, _ = asyncio.run(judge_client(f"{OURS}.client", options))
    assert not _broken(outcomes)
    assert {o.transport for o in outcomes} == set(transports)
    # That it runs tasks of its own is nothing that it says of itself.
    assert _lacking(outcomes) == {"client-hosts-tasks"}
