"""Read Google, NumPy and Sphinx docstrings.

Only what a tool's schema needs: the prose, the text of each parameter and the text of the return
value. Every line is looked at a fixed number of times, so the cost is linear in the docstring.
"""

import inspect
import re
from collections.abc import Iterator

import msgspec

_PARAMS, _RETURNS, _DROPPED = "params", "returns", "dropped"

_SECTIONS = {
    "args": _PARAMS,
    "arguments": _PARAMS,
    "parameters": _PARAMS,
    "params": _PARAMS,
    "keyword args": _PARAMS,
    "keyword arguments": _PARAMS,
    "other parameters": _PARAMS,
    "attributes": _PARAMS,
    "returns": _RETURNS,
    "return": _RETURNS,
    "yields": _RETURNS,
    "yield": _RETURNS,
    "raises": _DROPPED,
    "raise": _DROPPED,
    "warns": _DROPPED,
}
"""Sections that leave the prose. Any other one (`Note`, `Example` …) stays in the body, because a
model that reads the description profits from it."""

_PROSE_SECTIONS = frozenset({"see also", "notes", "references", "examples", "warnings"})
"""NumPy sections that end the one above them although they stay in the prose."""

_FIELDS = {
    "param": _PARAMS,
    "parameter": _PARAMS,
    "arg": _PARAMS,
    "argument": _PARAMS,
    "key": _PARAMS,
    "keyword": _PARAMS,
    "var": _PARAMS,
    "ivar": _PARAMS,
    "return": _RETURNS,
    "returns": _RETURNS,
    "yield": _RETURNS,
    "yields": _RETURNS,
    "type": _DROPPED,
    "rtype": _DROPPED,
    "raise": _DROPPED,
    "raises": _DROPPED,
    "except": _DROPPED,
    "exception": _DROPPED,
    "vartype": _DROPPED,
    "meta": _DROPPED,
}
_FIELD = re.compile(r":([a-z]+)([^:\n]*):(?:\s+|$)")


class Doc(msgspec.Struct, frozen=True, kw_only=True):
    """What a docstring says, taken apart."""

    summary: str = ""
    """The first paragraph, on one line."""
    body: str = ""
    """The rest of the prose, without the parameter, return and raise sections."""
    params: dict[str, str] = {}
    """Text of each documented parameter, by name."""
    returns: str = ""

    @property
    def description(self) -> str:
        """Summary and body together, as a tool's description."""
        return f"{self.summary}\n\n{self.body}".strip()


def parse_docstring(text: str | None) -> Doc:
    """Take a docstring of any of the three common styles apart."""
    if not text:
        return Doc()
    lines = inspect.cleandoc(text).splitlines()
    prose: list[str] = []
    params: dict[str, str] = {}
    returns: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if (section := _SECTIONS.get(line.rstrip(": \t").lower())) is not None:
            if line.rstrip().endswith(":") and _indent(following):
                index, block = _indented(lines, index + 1)
                if section == _PARAMS:
                    params.update(_google_entries(block))
                elif section == _RETURNS:
                    returns.append(_without_type(_joined(block)))
                continue
            if _is_rule(following):
                index, block = _ruled(lines, index + 2)
                if section == _PARAMS:
                    params.update(_numpy_entries(block))
                elif section == _RETURNS:
                    returns.append(_joined([x for x in block if _indent(x)] or block))
                continue
        match = _FIELD.match(line)
        if match is not None and (section := _FIELDS.get(match[1])) is not None:
            index, block = _continued(lines, index + 1)
            entry = _joined([line[match.end() :], *block])
            if section == _PARAMS:
                # ":param int size:" names the type first; the name is the last word.
                params.update({name.lstrip("*"): entry for name in match[2].split()[-1:]})
            elif section == _RETURNS:
                returns.append(entry)
            continue
        prose.append(line.rstrip())
        index += 1
    summary, body = _split_prose(prose)
    return Doc(summary=summary, body=body, params=params, returns=" ".join(x for x in returns if x))


def _split_prose(prose: list[str]) -> tuple[str, str]:
    start = next((i for i, line in enumerate(prose) if line), len(prose))
    end = next((i for i in range(start, len(prose)) if not prose[i]), len(prose))
    return _joined(prose[start:end]), "\n".join(prose[end:]).strip("\n")


def _google_entries(block: list[str]) -> Iterator[tuple[str, str]]:
    base = next((_indent(line) for line in block if line.strip()), 0)
    name = ""
    parts: list[str] = []
    for line in block:
        if _indent(line) <= base and (found := _google_head(line.strip())) is not None:
            if name:
                yield name, _joined(parts)
            name, parts = found[0], [found[1]]
        elif name:
            parts.append(line)
    if name:
        yield name, _joined(parts)


def _google_head(line: str) -> tuple[str, str] | None:
    """The name and first text of `name (type): text`; None for any other line."""
    opening, colon = line.find("("), line.find(":")
    if 0 <= opening < colon:
        # The type may itself hold a colon, as in `Literal["a:b"]`: look behind its bracket.
        closing = line.find("):", opening)
        colon = closing + 1 if closing >= 0 else colon
    if colon < 0:
        return None
    name = line[: opening if 0 <= opening < colon else colon].strip().lstrip("*")
    return (name, line[colon + 1 :]) if name.isidentifier() else None


def _numpy_entries(block: list[str]) -> Iterator[tuple[str, str]]:
    names: list[str] = []
    parts: list[str] = []
    for line in block:
        if line and not _indent(line):
            yield from ((name, _joined(parts)) for name in names)
            head = line.partition(":")[0]
            names, parts = [x.strip().lstrip("*") for x in head.split(",")], []
        else:
            parts.append(line)
    yield from ((name, _joined(parts)) for name in names)


def _indented(lines: list[str], index: int) -> tuple[int, list[str]]:
    start = index
    while index < len(lines) and (not lines[index].strip() or _indent(lines[index])):
        index += 1
    return index, lines[start:index]


def _continued(lines: list[str], index: int) -> tuple[int, list[str]]:
    start = index
    while index < len(lines) and _indent(lines[index]):
        index += 1
    return index, lines[start:index]


def _ruled(lines: list[str], index: int) -> tuple[int, list[str]]:
    start = index
    while index < len(lines):
        ends = index + 1 < len(lines) and _is_rule(lines[index + 1])
        if ends and lines[index].strip().lower() in _SECTIONS.keys() | _PROSE_SECTIONS:
            break
        index += 1
    return index, lines[start:index]


def _is_rule(line: str) -> bool:
    return len(line) >= 3 and not line.strip("-")


def _indent(line: str) -> int:
    """Width of the leading white space; 0 for a blank line."""
    stripped = line.lstrip()
    return len(line) - len(stripped) if stripped else 0


def _joined(lines: list[str]) -> str:
    return " ".join(word for line in lines for word in line.split())


def _without_type(text: str) -> str:
    """`int: the size` → `the size`; anything that does not begin with a type stays whole."""
    head, colon, rest = text.partition(": ")
    return rest if colon and " " not in head.replace(", ", ",") else text
