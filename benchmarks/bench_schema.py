"""What schemas cost: arguments bound to a signature, values validated, and at start a signature read into a schema."""

from typing import Any, Literal

import jsonschema_rs
import msgspec

from kailash.schema.compile import compile_schema
from kailash.schema.derive import derive_arguments

from .harness import FLOOR, Figure, Plan, contest, figures_of, timed

BINDING = "schema, arguments of a call decoded and checked"
VALIDATING = "schema, values validated against JSON Schema 2020-12"
DERIVING = "schema, signatures read"


class Point(msgspec.Struct):
    """Where."""

    x: float
    y: float


def place(name: str, at: Point, tags: list[str], kind: Literal["tree", "house"] = "tree", height: float = 1.0) -> str:
    """Put something on the map.

    Args:
        name: what it is called.
        at: where it stands.
    """
    return f"{name} {at} {tags} {kind} {height}"


class _Bare(msgspec.Struct):
    name: str
    at: Point
    tags: list[str]
    kind: Literal["tree", "house"] = "tree"
    height: float = 1.0


RAW = b'{"name":"oak","at":{"x":1.5,"y":2.5},"tags":["old","tall"],"kind":"tree","height":20}'


def run(plan: Plan) -> list[Figure]:
    """Measure."""
    arguments = derive_arguments(place)
    schema: dict[str, Any] = arguments.schema
    bare = msgspec.json.Decoder(_Bare).decode
    value = msgspec.json.decode(RAW)
    ours, theirs = compile_schema(schema), jsonschema_rs.validator_for(schema)
    assert ours.check(value) is None and theirs.is_valid(value) and ours.check({"name": 1}) is not None

    def read() -> None:
        derive_arguments(place)

    def write() -> None:
        # What any way to a schema has to do at least: make the decoder, and have the types described.
        msgspec.json.Decoder(msgspec.defstruct("Bare", [("name", str), ("at", Point), ("tags", list[str])]))
        msgspec.json.schema(_Bare)

    tables: tuple[tuple[str, dict[str, Any], str, int], ...] = (
        (
            BINDING,
            {"ours": lambda: arguments.bind(RAW), FLOOR: lambda: msgspec.structs.asdict(bare(RAW))},
            "a second",
            9,
        ),
        (VALIDATING, {"ours": lambda: ours.check(value), FLOOR: lambda: theirs.is_valid(value)}, "a second", 9),
        (DERIVING, {"ours": read, FLOOR: write}, "a second", 1),
    )
    figures: list[Figure] = []
    for table, calls, unit, first in tables:
        turns = {name: timed(once) for name, once in calls.items()}
        figures += figures_of(table, contest(turns, plan, first=first), unit)
    return figures
