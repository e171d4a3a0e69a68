"""Replace `$ref` by what it points to, where that helps.

Weak clients drop `$defs` or refuse `$ref`; expanding everything can triple the tokens. `auto`
expands a definition that is small, an enumeration or used once, and all of them while the whole
stays small. A definition that contains itself always stays a `$ref`.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .walk import rebuild, subschemas

Style = Literal["auto", "inline", "refs"]

PREFIX = "#/$defs/"
SMALL = 400
"""Bytes of a definition `auto` repeats wherever it is used."""
COMPACT = 4_096
"""Bytes of a whole schema up to which `auto` expands everything."""
LIMIT = 256 * 1024
"""Bytes beyond which even `inline` keeps references: nested ones can grow exponentially."""


def apply_style(schema: dict[str, Any], definitions: Mapping[str, dict[str, Any]], style: Style) -> dict[str, Any]:
    """Join a schema and its definitions according to `style`."""
    uses = {name: _uses(body) for name, body in definitions.items()}
    order, recursive = _sorted(uses)
    sizes = _expanded_sizes(definitions, uses, order)
    root = _uses(schema)
    total = _size(schema) + sum(count * sizes[name] for name, count in root.items())
    kept = set(recursive)
    if style == "refs":
        kept = set(definitions)
    elif total > (COMPACT if style == "auto" else LIMIT):
        for name in order:
            once = root.get(name, 0) + sum(use.get(name, 0) for use in uses.values()) <= 1
            if not once and sizes[name] > SMALL and "enum" not in definitions[name]:
                kept.add(name)
    done: dict[str, dict[str, Any]] = {}

    def expand(node: dict[str, Any]) -> dict[str, Any]:
        name = _target(node)
        if name is None or name in kept:
            return node
        # What stands beside a `$ref` is about this use; it wins over the definition's own words.
        return {**done[name], **{key: value for key, value in node.items() if key != "$ref"}}

    for name in order:
        if name not in kept:
            done[name] = rebuild(definitions[name], expand)
    result = rebuild(schema, expand)
    bodies = {name: rebuild(definitions[name], expand) for name in definitions if name in kept}
    reachable = _reachable(result, bodies)
    if reachable:
        result["$defs"] = {name: body for name, body in bodies.items() if name in reachable}
    return result


def _target(node: Mapping[str, Any]) -> str | None:
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(PREFIX):
        return reference.removeprefix(PREFIX)
    return None


def _uses(schema: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, node in subschemas(schema):
        name = _target(node)
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _sorted(uses: Mapping[str, Mapping[str, int]]) -> tuple[list[str], set[str]]:
    """Definitions with what they use first, and those that reach themselves."""
    order: list[str] = []
    recursive = {name for name in uses if name in _closure(uses, uses[name])}
    seen = set(recursive)

    def visit(name: str) -> None:
        if name not in seen:
            seen.add(name)
            for used in uses[name]:
                visit(used)
            order.append(name)

    for name in uses:
        visit(name)
    return order, recursive


def _closure(uses: Mapping[str, Mapping[str, int]], start: Mapping[str, int]) -> set[str]:
    found: set[str] = set()
    pending = list(start)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(uses.get(name, ()))
    return found


def _expanded_sizes(
    definitions: Mapping[str, dict[str, Any]],
    uses: Mapping[str, Mapping[str, int]],
    order: list[str],
) -> dict[str, int]:
    """What each definition would take if everything in it were expanded, without doing so."""
    sizes = dict.fromkeys(definitions, 0)  # a recursive one stays a reference: costs nothing
    for name in order:
        inner = sum(count * sizes[used] for used, count in uses[name].items())
        sizes[name] = _size(definitions[name]) + inner
    return sizes


def _reachable(schema: dict[str, Any], bodies: Mapping[str, dict[str, Any]]) -> set[str]:
    return _closure({name: _uses(body) for name, body in bodies.items()}, _uses(schema))


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))
