"""Every rule of the conformance list that does not name OAuth is bound to a test that shows it holds."""

from __future__ import annotations

from pathlib import Path

from tests.requirements import bound_rules, rule

TESTS = Path(__file__).resolve().parents[1]

LAST = 224
ABOUT_AUTHORIZATION = set(range(207, LAST + 1))
REQUIRED = set(range(1, LAST + 1)) - ABOUT_AUTHORIZATION

PENDING: set[int] = set()
"""Rules of the libraries above the engine that no test shows yet. Shrinks; a rule that is bound must not stand here."""


def test_every_rule_is_bound_to_a_test() -> None:
    bound = {number for number, _ in bound_rules(TESTS)}
    assert sorted(REQUIRED - bound - PENDING) == []


def test_what_is_pending_is_not_bound() -> None:
    bound = {number for number, _ in bound_rules(TESTS)}
    assert sorted(PENDING & bound) == []
    assert PENDING <= REQUIRED


def test_only_rules_that_exist_are_bound() -> None:
    assert {number for number, _ in bound_rules(TESTS)} <= set(range(1, LAST + 1))


@rule(1)
def test_a_test_knows_its_rules() -> None:
    names = {name for number, name in bound_rules(TESTS) if number == 1}
    assert "test_requirements.py::test_a_test_knows_its_rules" in names
