"""The pictures of the benchmarks: well-formed, complete, and nothing of them outside the paper."""

import re
from xml.etree import ElementTree

import pytest

from benchmarks.harness import Figure
from benchmarks.report import draw
from benchmarks.svg import WIDTH, Bar, Line, bar_chart, color_of, line_chart
from benchmarks.tables import tables_of

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(drawn: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawn).iter(f"{_SVG}text")]


def _places(drawn: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(drawn)
    found = [
        (float(element.get(x, 0)), float(element.get(y, 0)))
        for element in root.iter()
        for x, y in (("x", "y"), ("x1", "y1"), ("x2", "y2"), ("cx", "cy"))
        if element.get(x) is not None
    ]
    points = [element.get("points", "") for element in root.iter(f"{_SVG}polyline")]
    return found + [(float(x), float(y)) for text in points for x, y in re.findall(r"([\d.-]+),([\d.-]+)", text)]


def _bars(*values: float) -> list[Bar]:
    return [Bar(f"subject {n}", value, value * 0.9, value * 1.1, f"{value:g}", 70.0) for n, value in enumerate(values)]


@pytest.mark.parametrize("values", [(1.0,), (0.002, 0.5), (7.0, 9_999_999.0), (100.0, 100.0, 0.0)])
def test_every_bar_stands_on_the_paper_with_its_label_and_value(values: tuple[float, ...]) -> None:
    drawn = bar_chart("a < b & c", "calls/s", _bars(*values))
    assert {"a < b & c", "calls/s", "floor", *(f"{value:g}" for value in values)} <= set(_texts(drawn))
    height = float(ElementTree.fromstring(drawn).get("height", 0))
    assert all(0 <= x <= WIDTH and 0 <= y <= height for x, y in _places(drawn))


def test_bars_are_as_long_as_their_values() -> None:
    drawn = bar_chart("t", "s", _bars(50.0, 100.0))
    _, first, second = (float(each.get("width", 0)) for each in ElementTree.fromstring(drawn).iter(f"{_SVG}rect"))
    assert first == pytest.approx(second / 2, abs=0.1)


@pytest.mark.parametrize(
    "points", [[(1.0, 5.0)], [(1.0, 5.0), (256.0, 5.0)], [(1e3, 4_784.0), (1e7, 7.5)], [(200.0, 0.03), (400.0, 9e6)]]
)
def test_every_point_of_a_line_stands_on_the_paper(points: list[tuple[float, float]]) -> None:
    drawn = line_chart("t", "calls/s", "connections", [Line("ours", points), Line("bare (floor)", points)])
    assert {"ours", "bare (floor)", "connections"} <= set(_texts(drawn))
    height = float(ElementTree.fromstring(drawn).get("height", 0))
    assert all(0 <= x <= WIDTH and 0 <= y <= height for x, y in _places(drawn))


def test_labels_of_lines_that_end_together_do_not_cover_each_other() -> None:
    drawn = line_chart("t", "u", "x", [Line(f"ours {n}", [(1.0, 5.0), (2.0, 5.0)]) for n in range(4)])
    ends = [
        float(element.get("y", 0))
        for element in ElementTree.fromstring(drawn).iter(f"{_SVG}text")
        if (element.text or "").startswith("ours")
    ]
    assert all(later - earlier >= 16 for earlier, later in zip(sorted(ends), sorted(ends)[1:], strict=False))


def test_a_subject_has_the_same_colour_everywhere() -> None:
    names = ("bare, h11", "mcp 2.3.0", "mcp 1.30.0", "fastmcp 4.2.3", "typescript 1.32.2", "ours")
    assert len({color_of(name) for name in names}) == len(names)
    assert color_of("mcp 2.3.0, default answers") == color_of("mcp 2.3.0")


def test_a_table_with_an_axis_is_drawn_as_lines_and_others_as_bars() -> None:
    grown = [Figure("t", "ours", (10.0 * at,), "calls/s", at=at, axis="connections") for at in (1, 16)]
    (lines,) = tables_of(grown)
    assert "<polyline" in draw(lines)
    (bars,) = tables_of(
        [Figure("t", "ours", (3.0, 4.0), "ms", is_less_better=True), Figure("t", "mcp 2.3.0", (9.0, 9.0), "ms")]
    )
    drawn = draw(bars)
    assert "<polyline" not in drawn and "less is better" in drawn and "in brackets times mcp 2.3.0" in drawn
