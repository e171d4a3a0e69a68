"""Docstrings of three styles come apart into the same pieces."""

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.schema import Doc, parse_docstring

GOOGLE = """Find
    a flight.

    Cheapest first.

    Args:
        origin: Airport code
            of three letters.
        when (Literal["a:b"], optional): The day.
        **options: More: of it.

    Returns:
        Flight: the best one.

    Raises:
        KeyError: no such airport.

    Note:
        Prices change.
    """
NUMPY = """Find a flight.

    Cheapest first.

    Parameters
    ----------
    origin : str
        Airport code
        of three letters.
    when, until : date, optional
        The day.

    Returns
    -------
    Flight
        the best one.

    Raises
    ------
    KeyError
        no such airport.

    Notes
    -----
    Prices change.
    """
SPHINX = """Find a flight.

    Cheapest first.

    :param origin: Airport code
        of three letters.
    :type origin: str
    :param date when: The day.
    :returns: the best one.
    :raises KeyError: no such airport.
    """


def test_google_sections_are_found() -> None:
    doc = parse_docstring(GOOGLE)
    assert doc.summary == "Find a flight."
    assert doc.params == {
        "origin": "Airport code of three letters.",
        "when": "The day.",
        "options": "More: of it.",
    }
    assert doc.returns == "the best one."
    assert doc.description == "Find a flight.\n\nCheapest first.\n\nNote:\n    Prices change."
    assert "KeyError" not in doc.description


def test_numpy_sections_are_found() -> None:
    doc = parse_docstring(NUMPY)
    assert doc.params == {
        "origin": "Airport code of three letters.",
        "when": "The day.",
        "until": "The day.",
    }
    assert doc.returns == "the best one."
    assert "KeyError" not in doc.description
    assert doc.body.startswith("Cheapest first.")
    assert doc.body.endswith("Prices change.")


def test_sphinx_fields_are_found() -> None:
    doc = parse_docstring(SPHINX)
    assert doc.params == {"origin": "Airport code of three letters.", "when": "The day."}
    assert doc.returns == "the best one."
    assert doc.description == "Find a flight.\n\nCheapest first."


@pytest.mark.parametrize("text", [None, "", "   \n  "])
def test_nothing_gives_an_empty_doc(text: str | None) -> None:
    assert parse_docstring(text) == Doc()


def test_a_line_that_only_looks_like_a_section_is_prose() -> None:
    doc = parse_docstring("Sum.\n\nArgs: none of them matter.\nReturns\nsoon.")
    assert doc.body == "Args: none of them matter.\nReturns\nsoon."
    assert doc.params == {}


def test_returns_without_a_type_stay_whole() -> None:
    assert parse_docstring("S.\n\nReturns:\n    A day: the best one.").returns == ("A day: the best one.")


def test_fields_with_unknown_names_are_prose() -> None:
    assert parse_docstring(":ref:`x` is the summary.").summary == ":ref:`x` is the summary."


@given(st.text(" \n:-(*)abArgs\tReturns", max_size=200))
def test_any_text_gives_a_doc(text: str) -> None:
    doc = parse_docstring(text)
    assert all(name.strip() == name for name in doc.params)


@pytest.mark.parametrize("unit", ["Args:\n\n", "Args:\n    a: b\n", ":param a:\n", "a(" * 3 + ":\n", "Args\n----\n"])
def test_work_grows_with_the_length_only(unit: str) -> None:
    small, large = (_opcodes(unit * count) for count in (100, 800))
    assert large <= 9 * small


def _opcodes(text: str) -> int:
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        parse_docstring(text)
    finally:
        sys.settrace(previous)
    return count
