"""What a schema says about parameters: constraints, texts, defaults and references."""

import dataclasses
import datetime
import decimal
import enum
import pathlib
from typing import Annotated, Any

import annotated_types as at
import msgspec
import pydantic
import pytest

from kailash.schema import compile_schema, derive_arguments

from .models import (
    Color,
    Point,
    Shape,
    everything,
)
from .tools import decoded, refused, schema_of, with_type

# Annotated


@pytest.mark.parametrize(
    ("annotation", "schema", "good", "bad"),
    [
        (Annotated[int, msgspec.Meta(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}, 1, 0),
        (Annotated[int, pydantic.Field(gt=1)], {"type": "integer", "exclusiveMinimum": 1}, 2, 1),
        (Annotated[float, at.Interval(ge=0, lt=1)], {"type": "number", "minimum": 0, "exclusiveMaximum": 1}, 0, 1),
        (Annotated[int, pydantic.Field(multiple_of=5)], {"type": "integer", "multipleOf": 5}, 10, 11),
        (Annotated[str, at.Len(2, 3)], {"type": "string", "minLength": 2, "maxLength": 3}, "ab", "a"),
        (Annotated[str, pydantic.Field(pattern="^a+$")], {"type": "string", "pattern": "^a+$"}, "aa", "b"),
        (Annotated[list[int], at.MinLen(1)], {"type": "array", "items": {"type": "integer"}, "minItems": 1}, [1], []),
        (Annotated[dict[str, int], msgspec.Meta(max_length=1)],
         {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}, {}, {"a": 1, "b": 2}),
        (Annotated[int | None, pydantic.Field(ge=1)],
         {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, None, 0),
        (Annotated[int | str, pydantic.Field(ge=1, min_length=2)],
         {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 2}]}, "ab", "a"),
        (pydantic.PositiveInt, {"type": "integer", "exclusiveMinimum": 0}, 1, 0),
    ],
)  # fmt: skip
def test_constraints_are_published_and_enforced(annotation: Any, schema: dict[str, Any], good: Any, bad: Any) -> None:
    assert schema_of(annotation) == schema
    assert decoded(annotation, good) == good
    refused(annotation, bad)


def test_constraints_msgspec_has_none_for_are_enforced_too() -> None:
    positive = Annotated[decimal.Decimal, pydantic.Field(gt=0, multiple_of=decimal.Decimal("0.5"))]
    assert decoded(positive, "1.5") == decimal.Decimal("1.5")
    assert "Decimal > 0" in refused(positive, "-1").replace("expected ", "")
    refused(positive, "0.7")
    since = Annotated[datetime.date, at.Ge(datetime.date(2026, 1, 1))]
    assert decoded(since, "2026-02-01") == datetime.date(2026, 2, 1)
    refused(since, "2025-02-01")
    assert schema_of(since) == {"type": "string", "format": "date"}


def test_validators_only_pydantic_knows_are_left_to_it() -> None:
    shouted = Annotated[str, pydantic.AfterValidator(str.upper)]
    assert decoded(shouted, "a") == "A"
    assert schema_of(shouted) == {"type": "string"}
    assert decoded(pydantic.AnyUrl, "http://x.example/") == pydantic.AnyUrl("http://x.example/")
    refused(pydantic.AnyUrl, "nonsense")


def test_a_pydantic_field_may_be_the_default() -> None:
    def function(
        a: int = pydantic.Field(5, ge=2, description="five"),
        b: int = pydantic.Field(..., ge=1),
        c: list[int] = pydantic.Field(default_factory=lambda: [7]),  # noqa: B008 - as users write it
    ) -> None: ...

    arguments = derive_arguments(function)
    assert arguments.schema["properties"]["a"] == {
        "type": "integer", "minimum": 2, "default": 5, "description": "five",
    }  # fmt: skip
    assert arguments.schema["required"] == ["b"]
    assert arguments.bind(b'{"b":1}') == {"a": 5, "b": 1, "c": [7]}


def test_descriptions_come_from_annotated_first_and_then_from_the_docstring() -> None:
    def function(
        a: Annotated[int, "plain"],
        b: Annotated[int, msgspec.Meta(description="meta", examples=[1])],
        c: Annotated[int, pydantic.Field(description="field")],
        d: Annotated[Point, "a corner"],
        e: int,
        f: Point,
    ) -> None:
        """Do it.

        Args:
            a: From the docstring.
            e: From the docstring.
            f: The other corner.
        """

    schema = derive_arguments(function).schema["properties"]
    texts = {name: member.get("description") for name, member in schema.items()}
    assert texts == {
        "a": "plain", "b": "meta", "c": "field", "d": "a corner", "e": "From the docstring.",
        "f": "The other corner.",
    }  # fmt: skip
    assert schema["b"]["examples"] == [1]
    assert derive_arguments(function).doc.description == "Do it."


def test_fields_are_described_by_their_class() -> None:
    schema = schema_of(Point)
    assert schema["description"] == "A place on the map."
    assert schema["properties"]["x"] == {"type": "integer", "description": "Metres east."}
    assert schema_of(Shape)["$ref"] == "#/$defs/Shape"


# Schema quality


def test_optional_parameters_are_published_without_null() -> None:
    assert schema_of(int | None, None) == {"type": "integer"}
    assert schema_of(int | None) == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert schema_of(int | str | None, None) == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert schema_of(Point)["properties"]["y"] == {"type": "integer"}


def test_defaults_are_published_where_json_can_say_them() -> None:
    assert schema_of(Color, Color.RED)["default"] == "red"
    assert schema_of(pathlib.Path, pathlib.Path("a"))["default"] == "a"
    assert schema_of(Point, Point(1))["default"] == {"x": 1, "y": None}
    assert "default" not in schema_of(Any, object())


def titles(schema: Any) -> list[Any]:
    if isinstance(schema, dict):
        own = [schema["title"]] if isinstance(schema.get("title"), str) else []
        return own + [title for value in schema.values() for title in titles(value)]
    return [title for value in schema for title in titles(value)] if isinstance(schema, list) else []


def test_no_title_repeats_a_name() -> None:
    assert titles(derive_arguments(everything).schema) == []

    class Named(pydantic.BaseModel):
        title: str
        x: int = pydantic.Field(title="The X of it")

    assert titles(schema_of(Named)) == ["The X of it"]
    assert set(schema_of(Named)["properties"]) == {"title", "x"}


def test_small_definitions_are_inlined_and_recursive_ones_kept() -> None:
    schema = derive_arguments(everything).schema
    assert set(schema["$defs"]) == {"Shape", "User"}
    assert schema["properties"]["color"] == {
        "type": "string", "enum": ["red", "green"], "default": "red",
    }  # fmt: skip


def wide(name: str) -> type:
    return dataclasses.make_dataclass(name, [(f"{name}_member_{n}", int) for n in range(40)])


def test_large_shared_definitions_stay_references_unless_asked_otherwise() -> None:
    big = wide("Big")
    several = tuple[big, big, big, Color, Color]  # type: ignore[valid-type]
    automatic = derive_arguments(with_type(several)).schema
    assert set(automatic["$defs"]) == {"Big"}
    assert automatic["properties"]["v"]["prefixItems"][3] == {
        "type": "string",
        "enum": ["red", "green"],
    }
    assert "$defs" not in derive_arguments(with_type(several), style="inline").schema
    assert set(derive_arguments(with_type(several), style="refs").schema["$defs"]) == {
        "Big",
        "Color",
    }
    assert "$defs" not in derive_arguments(with_type(big)).schema


def test_inlining_cannot_explode() -> None:
    inner: Any = wide("Leaf")
    for depth in range(30):
        inner = dataclasses.make_dataclass(f"Level{depth}", [("a", inner), ("b", inner)])
    for style in ("auto", "inline"):
        schema = derive_arguments(with_type(inner), style=style).schema  # type: ignore[arg-type]
        assert len(msgspec.json.encode(schema)) < 256 * 1024


def test_classes_of_the_same_name_get_definitions_of_their_own() -> None:
    first, second = wide("Same"), dataclasses.make_dataclass("Same", [("x", str)])

    class Same(pydantic.BaseModel):
        y: int

    class Holder(pydantic.BaseModel):
        a: Same
        b: Same

    schema = derive_arguments(with_type(tuple[first, second, Holder]), style="refs").schema  # type: ignore[valid-type]
    assert set(schema["$defs"]) == {"Same", "Same_2", "Same_3"}
    compile_schema(schema)


class Plain(enum.Enum):
    """Kinds of thing."""

    A = "a"


def test_the_text_of_an_enumeration_is_published() -> None:
    assert schema_of(Plain) == {"type": "string", "enum": ["a"], "description": "Kinds of thing."}
