"""The judge of authorization is judged: a sound client passes, and each fault is caught and its rule named."""

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.check import Outcome, Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.runner import Options, judge_server
from conformance.scenario import load
from conformance.target import ServerTarget
from conformance.tokens import Tokens, parse_challenges, read_token, read_tokens

from .auth_mutants import CLIENTS, SERVERS, Fault
from .mutants import DATES

KINDS = ("good", "narrow", "broad", "expired", "foreign")
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


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of tokens, for the judge and for the server that it judges."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    rows = [f'{kind} = "tok-{secrets.token_urlsafe(18)}"\n' for kind in KINDS]
    path.write_text("".join(rows) + 'tool = "write"\n', encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def servers(tokens: Path) -> Iterator[dict[str, str]]:
    """The origin of the sound server, under the empty name, and of one with each fault."""
    script = Path(__file__).with_name("auth_target.py")
    faults = [word for fault in SERVERS for word in ("--mutate", fault.name)]
    command = [sys.executable, str(script), "--tokens", str(tokens), *faults]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.kill()


def _judge_server(
    origin: str, given: Tokens, scenarios: str, revisions: tuple[str, ...] = ()
) -> tuple[list[Outcome], list[str]]:
    options = Options(
        fixtures=read_fixtures("official"), revisions=revisions, transports=("http",), scenarios=(scenarios,)
    )
    return asyncio.run(judge_server(ServerTarget(url=f"{origin}/mcp", tokens=given), options))


def test_a_sound_server_passes_every_scenario_and_no_token_is_shown(servers: dict[str, str], tokens: Path) -> None:
    outcomes, _ = _judge_server(servers[""], read_tokens(None, tokens), "auth-*")
    assert not _bad(outcomes)
    assert len(outcomes) > 25
    assert not [(o.scenario, o.note) for o in outcomes if o.verdict is Verdict.SKIP]
    told = json.dumps([[o.transcript, o.note, [c.detail for c in o.checks]] for o in outcomes])
    assert "[good token]" in told
    assert not [token for token in read_tokens(None, tokens).secrets if token in told]


def test_a_server_that_lets_nobody_in_is_judged_by_how_it_says_so(servers: dict[str, str]) -> None:
    outcomes, remarks = _judge_server(servers[""], Tokens(), "*")
    assert not _bad(outcomes)
    passed = {o.scenario for o in outcomes if o.verdict is Verdict.PASS}
    assert passed == {"auth-metadata", "auth-missing-token", "auth-invalid-token"}
    assert all("--token" in remark for remark in remarks)


@pytest.mark.parametrize("fault", SERVERS, ids=lambda f: f"{f.rule}-{f.name}".replace(" ", "-"))
def test_a_server_with_a_fault_is_caught_and_its_rule_named(
    fault: Fault, servers: dict[str, str], tokens: Path
) -> None:
    given = read_tokens(None, tokens)
    outcomes, _ = _judge_server(servers[fault.name], given, fault.scenario, (DATES[fault.revision],))
    found = _bad(outcomes)
    assert fault.rule in [rule for _, _, rule, _ in found], [(o.note, o.checks, o.transcript) for o in outcomes]
    assert not [c.detail for o in outcomes for c in o.checks_with(Verdict.ERROR)]


def test_every_rule_of_a_server_has_a_fault() -> None:
    assert {fault.rule for fault in SERVERS} == set(range(207, 211))
    assert {fault.scenario for fault in SERVERS} <= set(load())


def test_tokens_come_from_the_environment_a_file_or_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_TOKEN", "from-the-environment")
    path = tmp_path / "token"
    path.write_text("from-a-file\n", encoding="utf-8")
    assert read_token("env:JUDGE_TOKEN") == "from-the-environment"
    assert read_token(f"file:{path}") == "from-a-file"
    assert read_token("a-token") == "a-token"
    for wrong in ("env:NOT_THERE", f"file:{tmp_path / 'none'}", "two words", ""):
        with pytest.raises(ValueError):
            read_token(wrong)


def test_a_file_of_tokens_knows_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text('godo = "x"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="known: good, narrow"):
        read_tokens(None, path)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer", [("bearer", {})]),
        ('Bearer realm="a, b", scope="x y"', [("bearer", {"realm": "a, b", "scope": "x y"})]),
        (r'Basic realm="\"q\"", bearer a=1,b = 2', [("basic", {"realm": '"q"'}), ("bearer", {"a": "1", "b": "2"})]),
        ("Negotiate YWJj==, DPoP algs=ES256", [("negotiate", {}), ("dpop", {"algs": "ES256"})]),
        ("", []),
    ],
)
def test_challenges_are_parsed(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == found


def test_a_challenge_that_does_not_end_is_none() -> None:
    with pytest.raises(ValueError):
        parse_challenges('Bearer realm="a')
