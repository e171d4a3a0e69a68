"""What the judge says of authorization in `mcp` 2.3.0, a client and a server that it did not grow up with.

The official suite passes what stands here as passed and what it has at all; the three extensions it fails, where this
judge leaves them out: who lacks an extension has broken no rule. What fails here the official suite does not try.
"""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.check import Outcome, Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options, judge_server
from conformance.scenario import load
from conformance.target import ServerTarget
from conformance.tokens import read_tokens
from tests.interop.peers import mcp_python

from .mutants import DATES

# The first one installs the package.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

TARGETS = Path(__file__).parents[2] / "conformance" / "targets" / "mcp"
OTHERWISE = {
    "auth/dpop": Verdict.SKIP,
    "auth/dpop-nonce": Verdict.SKIP,
    "auth/wif-jwt-bearer": Verdict.SKIP,
    "auth/challenge-among-others": Verdict.FAIL,
    "auth/no-pkce": Verdict.FAIL,
    "auth/insecure-endpoint": Verdict.FAIL,
}
"""What does not pass, and why: no such extension; reads parameters out of quoted text; goes on without PKCE; sends its
code over plain HTTP to another machine."""


def _options(scenarios: Sequence[str], revision: str) -> Options:
    return Options(
        fixtures=read_fixtures("official"),
        revisions=(DATES[revision],),
        transports=("http",),
        scenarios=tuple(scenarios),
    )


def _told(outcomes: list[Outcome]) -> list[tuple[str, list[str]]]:
    bad = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
    return [(o.scenario, [c.detail for c in o.checks_with(*bad)]) for o in outcomes]


@pytest.mark.parametrize("area", ["discovery", "issuers", "tokens", "extensions"])
def test_the_client_is_judged_as_the_official_suite_does(area: str) -> None:
    command = f"{mcp_python('2.3.0')} {TARGETS / 'auth_client.py'}"
    module = f"conformance.scenarios.client.authorization_{area}"
    there = [each.id for each in load().values() if each.run.__module__ == module and "E" in each.revisions]
    outcomes, _ = asyncio.run(judge_client(command, _options(there, "E")))
    found = {each.scenario: each.verdict for each in outcomes}
    assert found == {name: OTHERWISE.get(name, Verdict.PASS) for name in there}, _told(outcomes)


@pytest.mark.parametrize("revision", ["D", "E"])
def test_the_server_says_not_which_scope_it_wants(revision: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    rows = [f'{kind} = "tok-{secrets.token_urlsafe(18)}"\n' for kind in ("good", "narrow", "expired", "foreign")]
    path.write_text("".join(rows) + 'tool = "write"\n', encoding="utf-8")
    serve = f"{mcp_python('2.3.0')} {TARGETS / 'auth_server.py'} {{port}} {path}"
    target = ServerTarget(serve=serve, tokens=read_tokens(None, path))
    outcomes, _ = asyncio.run(judge_server(target, _options(["auth-*"], revision)))
    found = {each.scenario: each.verdict for each in outcomes if each.verdict is not Verdict.PASS}
    wanted = {"auth-insufficient-scope": Verdict.WARN} | (
        {"auth-broader-scope": Verdict.SKIP} if revision == "E" else {}
    )
    assert found == wanted, _told(outcomes)
    (said,) = [details for name, details in _told(outcomes) if name == "auth-insufficient-scope"]
    assert len(said) == 1 and said[0].startswith("the scope that is needed")
