"""How a tool's value becomes text for the model: JSON, Markdown, a table, or as a function says.

Only the text changes; structured content stays what it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from protocol.results import CallToolResult
from protocol.types import TextContent

from ..schema import dumps, to_jsonable
from .content import result_of

__all__ = ["FORMATS", "formatted", "make"]

Formatter = Callable[[Any], Any]

_MOST_DEPTH = 12
"""Levels of Markdown; what is deeper is shown as JSON."""


def make(given: str | Formatter | None) -> Formatter | None:
    """Return what turns a value into text, of a name or a function; `None` for what is done anyway.

    Raises:
        ValueError: an unknown name; the message lists those there are.
        TypeError: it is neither a name nor a function.
    """
    if given is None:
        return None
    if isinstance(given, str):
        if given not in FORMATS:
            raise ValueError(f"unknown format_response {given!r}; known: {', '.join(FORMATS)}, or a function")
        return FORMATS[given]
    if not callable(given):
        raise TypeError(
            f"format_response is {', '.join(FORMATS)}, or a function of the value, not {type(given).__name__}"
        )
    return given


def formatted(formatter: Formatter, value: Any, result: CallToolResult) -> CallToolResult:
    """Return a result whose text is what a formatter makes of the value; content and errors stay as they are.

    Args:
        formatter: of `make`.
        value: what the function returned.
        result: what was made of it.
    """
    if result.is_error is True or not all(isinstance(block, TextContent) for block in result.content):
        return result
    if isinstance(value, CallToolResult):
        return result  # said everything itself
    return msgspec.structs.replace(result, content=result_of(formatter(value), structured=False).content)


def as_json(value: Any) -> str:
    """Return indented JSON."""
    return msgspec.json.format(dumps(value), indent=2).decode()


def as_markdown(value: Any) -> str:
    """Return Markdown: mappings as lists of terms, lists of mappings as tables."""
    return _markdown(to_jsonable(value), 0)


def as_table(value: Any) -> str:
    """Return a Markdown table: a row for each mapping of a list, or for each member of one mapping."""
    plain = to_jsonable(value)
    if _is_rows(plain):
        return _table(plain)
    if isinstance(plain, Mapping) and plain:
        if all(_is_rows(member) for member in plain.values()):
            return "\n\n".join(f"**{_cell(key)}**\n\n{_table(member)}" for key, member in plain.items())
        return _rows(["key", "value"], [[key, member] for key, member in plain.items()])
    if isinstance(plain, list) and plain:
        return _rows(["value"], [[item] for item in plain])
    return _markdown(plain, 0)


FORMATS: Mapping[str, Formatter] = {"json": as_json, "markdown": as_markdown, "table": as_table}
"""The formatters that have names."""


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and item for item in value)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return _rows(columns, [[row.get(column) for column in columns] for row in rows])


def _rows(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: Any) -> str:
    # A bar or a line end would begin another cell or row.
    return _inline(value).replace("\\", "\\\\").replace("|", "\\|").replace("\r", "").replace("\n", "<br>")


def _inline(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else dumps(value).decode()


def _markdown(value: Any, depth: int) -> str:
    if _is_rows(value) and depth == 0:
        return _table(value)
    if depth < _MOST_DEPTH and isinstance(value, Mapping) and value:
        return "\n".join(_item(f"**{_inline(key)}**:", member, depth) for key, member in value.items())
    if depth < _MOST_DEPTH and isinstance(value, list) and value:
        return "\n".join(_item("", item, depth) for item in value)
    return _inline(value)


def _item(lead: str, value: Any, depth: int) -> str:
    indent = "  " * depth
    if isinstance(value, Mapping | list) and value and depth + 1 < _MOST_DEPTH:
        inner = _markdown(value, depth + 1)
        if lead:
            return f"{indent}- {lead}\n{inner}"
        return f"{indent}- {inner.lstrip()}"
    text = _inline(value).replace("\n", f"\n{indent}  ")
    return f"{indent}- {lead} {text}".rstrip() if lead else f"{indent}- {text}"
