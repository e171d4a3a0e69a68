"""How values become text."""

from typing import Any

import pytest

from kailash.mcp_server import ToolResult
from kailash.mcp_server.formatters import FORMATS, formatted, make
from protocol.types import ImageContent, TextContent

ROWS = [{"a": 1, "b": "x"}, {"a": None, "c": True}]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("json", {"a": [1, 2]}, '{\n  "a": [\n    1,\n    2\n  ]\n}'),
        ("json", "text", '"text"'),
        ("json", None, "null"),
        ("table", ROWS, "| a | b | c |\n| --- | --- | --- |\n| 1 | x |  |\n|  |  | yes |"),
        ("table", {"a": 1, "b": [2]}, "| key | value |\n| --- | --- |\n| a | 1 |\n| b | [2] |"),
        ("table", [1, "a|b"], "| value |\n| --- |\n| 1 |\n| a\\|b |"),
        ("table", [], "[]"),
        ("table", "text", "text"),
        (
            "table",
            {"one": [{"a": 1}], "two": [{"b": "x\ny"}]},
            "**one**\n\n| a |\n| --- |\n| 1 |\n\n**two**\n\n| b |\n| --- |\n| x<br>y |",
        ),
        ("markdown", {"a": 1, "b": {"c": False}}, "- **a**: 1\n- **b**:\n  - **c**: no"),
        ("markdown", ["x", ["y", "z"]], "- x\n- - y\n  - z"),
        ("markdown", [{"a": 1}], "| a |\n| --- |\n| 1 |"),
        ("markdown", {"a": "two\nlines"}, "- **a**: two\n  lines"),
        ("markdown", {}, "{}"),
        ("markdown", 1.5, "1.5"),
    ],
)
def test_each_format_writes_its_text(name: str, value: Any, text: str) -> None:
    assert FORMATS[name](value) == text


def test_deep_values_are_shown_as_json_at_last() -> None:
    value: Any = 1
    for _ in range(40):
        value = {"a": value}
    text = FORMATS["markdown"](value)
    assert text.count("**a**") == 12 and text.endswith("}" * 28)


def test_a_format_is_a_name_or_a_function() -> None:
    assert make(None) is None and make(str) is str and make("json") is FORMATS["json"]
    with pytest.raises(ValueError, match="known: json, markdown, table, or a function"):
        make("yaml")
    with pytest.raises(TypeError, match="not int"):
        make(7)  # type: ignore[arg-type]


def test_what_is_content_already_is_left_alone() -> None:
    formatter = make("json")
    assert formatter is not None
    failed = ToolResult(content=[TextContent(text="no")], is_error=True)
    image = ToolResult(content=[ImageContent.of(b"x", "image/png")])
    own = ToolResult(content=[TextContent(text="as I say")])
    assert formatted(formatter, {}, failed) is failed
    assert formatted(formatter, {}, image) is image
    assert formatted(formatter, own, own) is own
    result = formatted(formatter, [1], ToolResult(content=[TextContent(text="[1]")], structured_content=[1]))
    assert result.structured_content == [1] and result.content[0].text == "[\n  1\n]"  # type: ignore[union-attr]
