"""Secrets stay out of what the judge shows."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from conformance.check import Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.redaction import Redactor
from conformance.runner import Options

from .mutants import DATES

CLIENT = f"{sys.executable} {Path(__file__).with_name('auth_client.py')}"
ISSUED = re.compile(
    r"\b(?:at|rt|code)-[\w-]{14,}|eyJ[\w-]{8,}\.|BEGIN [A-Z ]*PRIVATE|pre-registered-secret|test-secret"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /cb?code=abc&state=x", "GET /cb?code=[redacted]&state=x"),
        (
            "grant_type=refresh_token&refresh_token=abc&scope=a",
            "grant_type=refresh_token&refresh_token=[redacted]&scope=a",
        ),
        ("[x: y] code_verifier=abc", "[x: y] code_verifier=[redacted]"),
        ('{"access_token": "abc", "scope": "a"}', '{"access_token": "[redacted]", "scope": "a"}'),
        ('{"code": -32601, "message": "no code=here"}', '{"code": -32601, "message": "no code=[redacted]"}'),
        ("[authorization: Bearer abc, host: h]", "[authorization: Bearer [redacted], host: h]"),
        ("[Authorization: abc, host: h]", "[Authorization: [redacted], host: h]"),
        ("[AUTHORIZATION: Basic abc==]", "[AUTHORIZATION: Basic [redacted]]"),
        ("dpop: eyJhbGciOiJFUzI1NiJ9.eyJqdGkiOiIxIn0.c2ln", "dpop: [jwt]"),
        ("a -----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- b", "a [private key] b"),
        ('WWW-Authenticate: Bearer error="invalid_token"', 'WWW-Authenticate: Bearer error="invalid_token"'),
        ("an ordinary line about a Bearer of news", "an ordinary line about a Bearer of news"),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(text: str, shown: str) -> None:
    assert Redactor()(text) == shown


def test_what_is_known_to_be_secret_is_named_wherever_it_stands() -> None:
    redact = Redactor()
    redact.hide("tok-1", "good token")
    redact.hide("tok-1-longer", "other token")
    assert (
        redact("[Authorization: Bearer tok-1] and tok-1-longer")
        == "[Authorization: Bearer [good token]] and [other token]"
    )


@pytest.mark.parametrize(
    "scenario",
    ["auth/expired-token", "auth/pre-registration", "auth/client-credentials-jwt", "auth/client-credentials-basic",
     "auth/enterprise-managed-authorization", "auth/wif-jwt-bearer", "auth/dpop-nonce"],
)  # fmt: skip
def test_a_run_shows_no_secret(scenario: str) -> None:
    options = Options(
        fixtures=read_fixtures("official"), revisions=(DATES["E"],), transports=("http",), scenarios=(scenario,)
    )
    (outcome,), _ = asyncio.run(judge_client(CLIENT, options))
    assert outcome.verdict is Verdict.PASS
    told = json.dumps([outcome.transcript, outcome.note, [check.detail for check in outcome.checks]])
    assert "[access token 1]" in told
    assert ISSUED.findall(told) == []


@pytest.mark.parametrize("talks", [False, True], ids=["says nothing", "goes away after 401"])
def test_who_does_not_try_is_left_out(talks: bool, tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    ask = "urllib.request.urlopen(urllib.request.Request(sys.argv[1], b'{}', method='POST'))" if talks else "pass"
    script.write_text(f"import sys, urllib.request\n{ask}\n", encoding="utf-8")
    options = Options(
        fixtures=read_fixtures("official"),
        revisions=(DATES["E"],),
        transports=("http",),
        scenarios=("auth/metadata-default", "auth/no-pkce", "auth/iss-wrong-issuer"),
    )
    outcomes, _ = asyncio.run(judge_client(f"{sys.executable} {script}", options))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.SKIP}
    wanted = "does not try to authorize itself" if talks else "did not connect"
    assert all(wanted in outcome.note for outcome in outcomes)
