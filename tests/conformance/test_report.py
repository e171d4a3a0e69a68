"""Reports: text, JUnit, JSON, comparisons and baselines."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance.baseline import BaselineError, excused
from conformance.check import Check, Outcome, Verdict
from conformance.report import compare, summary, write_junit

from .outcomes import NEWEST, outcomes


def test_the_summary_names_the_rule_and_what_was_seen() -> None:
    text = summary(outcomes(), ["a remark"], details=True)
    assert "FAIL features-128 [unknown-tool]" in text and "an <unknown> tool" in text and "< <two>" in text
    assert "tested nothing: pages (one page)" in text and "a remark" in text


def test_junit_is_xml_whatever_was_on_the_wire(tmp_path: Path) -> None:
    write_junit(tmp_path / "out.xml", outcomes())
    suites = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [case.get("name") for case in suites.iter("testcase")] == ["unknown-tool", "pages"]
    assert len(list(suites.iter("failure"))) == 1 and len(list(suites.iter("skipped"))) == 1


def test_runs_are_compared_rule_by_rule() -> None:
    before, after = outcomes(), outcomes()
    after[0].checks[0] = Check(128, Verdict.PASS, "fine")
    assert compare(before, before) == []
    assert compare(before, after) == [f"features-128 {NEWEST}/http: FAIL -> PASS"]


def test_a_run_survives_json() -> None:
    told = [Outcome.from_dict(json.loads(json.dumps(each.as_dict()))) for each in outcomes()]
    assert [each.checks for each in told] == [each.checks for each in outcomes()]


def test_a_baseline_excuses_failures_and_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    path.write_text('[expected]\n"unknown-tool:features-128" = "known"\n"pages:*" = "gone"\n', encoding="utf-8")
    found, stale = excused(outcomes(), path)
    assert found[0].verdict is Verdict.PASS and "known" in found[0].checks[0].detail
    assert stale == ["pages:*"]
    with pytest.raises(BaselineError):
        excused([], tmp_path / "none.toml")
