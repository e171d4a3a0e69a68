"""Every rule and case of the hardening list has its row, and every row its tests or the reason why not."""

from __future__ import annotations

from tests.hardening import IDS, Row, defined_tests, read_rows, summarise

ROWS = read_rows()


def test_every_rule_and_every_case_has_its_row() -> None:
    assert [row.id for row in ROWS] == IDS
    assert all(row.title for row in ROWS)


def test_every_row_names_tests_or_says_why_there_are_none() -> None:
    for row in ROWS:
        assert bool(row.tests) + bool(row.later) + bool(row.absent) == 1, row.id
        assert len(set(row.tests)) == len(row.tests), row.id


def test_every_test_that_is_named_exists() -> None:
    there = set(defined_tests())
    assert [(row.id, test) for row in ROWS for test in row.tests if test not in there] == []


def test_a_run_is_summed_up_in_a_line() -> None:
    rows = [
        Row("R01", "a", ("a.py::test_1", "a.py::test_2")),
        Row("R02", "b", ("b.py::test_3",)),
        Row("R03", "c", (), "x"),
    ]
    assert summarise([], [], rows) is None
    assert summarise(["tests/c.py::test_9"], [], rows) is None
    one = ["tests/a.py::test_1[x]", "tests/a.py::test_1[y]", "tests/a.py::test_2"]
    assert summarise(one, [], rows) == "hardening: 1 of 2 rows passed (1 for later, 0 not here)"
    text = summarise([*one, "tests/b.py::test_3[x]"], ["tests/b.py::test_3[y]"], rows)
    assert text == "hardening: 1 of 2 rows passed (1 for later, 0 not here), failed: R02"
