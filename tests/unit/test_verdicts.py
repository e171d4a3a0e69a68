"""What the conformance run makes of the checks that the official suite wrote down."""

import re
from pathlib import Path
from typing import Any

import pytest

import conformance
from conformance.official import LEGS, Report
from conformance.verdicts import Outcome, excuse_of, judge, stale_entries

HOME = Path(conformance.__file__).parent
EXCUSES = {"auth/*": "later", "one": "never"}


def check(status: str, id: str = "some-check", **more: str) -> dict[str, str]:
    return {"id": id, "status": status, "description": "says what", **more}


def verdict(*checks: dict[str, str], code: int = 0) -> str:
    return judge("x", True, checks, code, None).verdict


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["SUCCESS"], "PASS"),
        (["SUCCESS", "SKIPPED", "INFO"], "PASS"),
        (["SUCCESS", "WARNING"], "WARN"),
        (["SUCCESS", "WARNING", "FAILURE"], "FAIL"),
        (["SKIPPED", "INFO"], "VACUOUS"),
        ([], "VACUOUS"),
    ],
)
def test_the_worst_check_decides(statuses: list[str], expected: str) -> None:
    assert verdict(*map(check, statuses)) == expected


def test_being_well_formed_alone_is_nothing() -> None:
    assert verdict(check("SUCCESS", "wire-schema-valid")) == "VACUOUS"
    assert verdict(check("SUCCESS", "wire-schema-valid"), check("SUCCESS")) == "PASS"
    assert verdict(check("FAILURE", "wire-schema-valid"), check("SUCCESS")) == "FAIL"


def test_a_missing_result_and_a_client_that_fails_are_failures() -> None:
    assert judge("x", True, None, 0, None).problems == ("no result",)
    failed = judge("x", True, [check("SUCCESS")], 1, None)
    assert failed.verdict == "FAIL" and failed.problems == ("the client ended in an error, or took too long",)
    # Where a check failed, that is why the suite's exit code is what it is.
    assert judge("x", True, [check("WARNING")], 1, None).problems == ("WARNING some-check: says what",)


def test_problems_are_told_in_one_line_each_the_worst_first() -> None:
    checks: list[Any] = [check("SKIPPED"), check("SUCCESS"), check("FAILURE", errorMessage="first\nsecond")]
    outcome = judge("x", True, checks, 0, None)
    assert outcome.passed == 1
    assert outcome.problems == ("FAILURE some-check: first", "SKIPPED some-check: says what")


def test_an_excuse_is_for_a_name_or_a_pattern() -> None:
    assert excuse_of("auth/metadata", EXCUSES) == "later"
    assert excuse_of("one", EXCUSES) == "never"
    assert excuse_of("one-more", EXCUSES) is None
    assert Outcome("x", True, "WARN").is_unexpected
    assert not Outcome("x", True, "FAIL", excuse="later").is_unexpected
    assert not Outcome("x", True, "PASS").is_unexpected


def test_an_entry_is_stale_when_all_that_it_names_passes() -> None:
    half = [Outcome("auth/a", True, "PASS"), Outcome("auth/b", True, "FAIL")]
    assert stale_entries(half, EXCUSES) == []
    whole = [Outcome("auth/a", True, "PASS"), Outcome("auth/b", True, "PASS")]
    assert stale_entries(whole, EXCUSES) == ["auth/*"]


def test_a_report_complains_of_what_is_unexpected_and_of_what_is_stale() -> None:
    outcomes = [
        Outcome("a", True, "FAIL", problems=("why",)),
        Outcome("b", True, "VACUOUS"),
        Outcome("c", True, "PASS"),
    ]
    report = Report(LEGS[0], outcomes, 1.0, ["old"])
    first, second, third = report.complaints
    assert first == f"FAIL {LEGS[0]} a: why"
    assert "no reason given" in second
    assert "'old'" in third
    assert Report(LEGS[0], outcomes[2:], 1.0).complaints == []


def test_only_the_target_of_ours_knows_this_project() -> None:
    # A judge shares no rules with the accused: how bytes are cut into messages is all they have in common.
    ours = HOME / "targets" / "ours"
    others = [file for file in HOME.rglob("*.py") if not file.is_relative_to(ours)]
    assert len(others) >= 4
    for file in others:
        assert not re.search(
            r"^\s*(from|import) (kailash\b|protocol\b(?!\.(framing|jsonrpc|limits)\b))", file.read_text(), re.MULTILINE
        ), file
