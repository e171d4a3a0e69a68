"""Where a JSON Schema holds further schemas.

One table for everybody who walks schemas, because a property may be *called* `title` or `$ref`:
only the position tells a keyword from a name.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

ONE = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if",
        "items", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
MANY = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
NAMED = frozenset({"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"})


def children(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas directly inside a schema."""
    for keyword, value in schema.items():
        if keyword in ONE and isinstance(value, Mapping):
            yield value
        elif keyword in MANY and isinstance(value, list):
            yield from (item for item in value if isinstance(item, Mapping))
        elif keyword in NAMED and isinstance(value, Mapping):
            yield from (item for item in value.values() if isinstance(item, Mapping))


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Every schema within a schema, itself first, each with its depth; needs no stack."""
    pending: list[tuple[int, Mapping[str, Any]]] = [(0, schema)]
    while pending:
        depth, current = pending.pop()
        yield depth, current
        pending.extend((depth + 1, child) for child in children(current))


def rebuild(schema: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Copy a schema of our own making, `change` applied to every schema in it, inside first."""
    copy: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ONE and isinstance(value, dict):
            copy[keyword] = rebuild(value, change)
        elif keyword in MANY and isinstance(value, list):
            copy[keyword] = [rebuild(x, change) if isinstance(x, dict) else x for x in value]
        elif keyword in NAMED and isinstance(value, dict):
            copy[keyword] = {name: rebuild(x, change) if isinstance(x, dict) else x for name, x in value.items()}
        else:
            copy[keyword] = value
    return change(copy)
