"""Signatures become decoders and schemas that agree with each other."""

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import subprocess
import sys
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.schema import ArgumentError, compile_schema, derive_arguments

from .models import (
    Box,
    Cat,
    Color,
    Context,
    Crate,
    Dog,
    Item,
    Left,
    Level,
    Line,
    Odd,
    Options,
    Pair,
    Point,
    Right,
    Shape,
    User,
    everything,
)


def with_type(annotation: Any, default: Any = dataclasses.MISSING) -> Callable[..., Any]:
    """A function of one parameter `v` of a type."""

    def function(v: Any) -> Any:
        return v

    def optional(v: Any = default) -> Any:
        return v

    chosen = function if default is dataclasses.MISSING else optional
    chosen.__annotations__ = {"v": annotation}
    return chosen


def schema_of(annotation: Any, default: Any = dataclasses.MISSING) -> dict[str, Any]:
    found: dict[str, Any] = derive_arguments(with_type(annotation, default)).schema["properties"]["v"]
    return found


def decoded(annotation: Any, value: Any) -> Any:
    raw = msgspec.json.encode({"v": value})
    return derive_arguments(with_type(annotation)).bind(raw)["v"]


def refused(annotation: Any, value: Any) -> str:
    with pytest.raises(ArgumentError) as caught:
        decoded(annotation, value)
    assert caught.value.argument == "v"
    return caught.value.message


# Decoding


@pytest.mark.parametrize(
    ("argument", "sent", "expected"),
    [
        ("number", 5, 5),
        ("real", 2, 2.0),
        ("flag", True, True),
        ("anything", {"a": [1]}, {"a": [1]}),
        ("literal", "b", "b"),
        ("mixed", 2, 2),
        ("color", "green", Color.GREEN),
        ("odd", [1, 2], Odd.PAIR),
        ("level", 2, Level.HIGH),
        ("mapping", {"a": 1}, {"a": 1.0}),
        ("unique", ["a", "a"], {"a"}),
        ("frozen", [1], frozenset({1})),
        ("fixed", [2, "b"], (2, "b")),
        ("many", [1, 2, 3], (1, 2, 3)),
        ("when", "2026-07-28T10:00:00Z", datetime.datetime(2026, 7, 28, 10, tzinfo=datetime.UTC)),
        ("day", "2026-07-28", datetime.date(2026, 7, 28)),
        ("hour", "10:30:00", datetime.time(10, 30)),
        ("span", "P1DT1S", datetime.timedelta(days=1, seconds=1)),
        ("ident", "6f1b7ac4-9b5b-4f6c-8d7e-0123456789ab", uuid.UUID("6f1b7ac49b5b4f6c8d7e0123456789ab")),
        ("price", "1.10", decimal.Decimal("1.10")),
        ("price", 2, decimal.Decimal(2)),
        ("path", "a/b", pathlib.Path("a/b")),
        ("data", "AAE=", b"\0\1"),
        ("point", {"x": 1}, Point(1)),
        ("point", None, None),
        ("options", {"name": "n", "size": 2}, {"name": "n", "size": 2}),
        ("pair", [1], Pair(1)),
        ("item", {"itemId": 1, "unitPrice": 2}, Item(1, 2.0)),
        ("crate", {"weight": 1, "_label": "q"}, Crate(1, "q")),
        ("user", {"name": "bo", "friends": [{"name": "al"}]}, User(name="bo", friends=[User(name="al")])),
        ("users", {"a": [{"name": "bo"}]}, {"a": [User(name="bo")]}),
        ("animal", {"type": "dog", "tricks": ["sit"]}, Dog(["sit"])),
        ("thing", {"x": 1, "y": 2}, Point(1, 2)),
        ("thing", {"itemId": 4}, Item(4)),
        ("thing", {"name": "bo"}, User(name="bo")),
        ("name", "plain", "plain"),
        ("name", "6f1b7ac4-9b5b-4f6c-8d7e-0123456789ab", uuid.UUID("6f1b7ac49b5b4f6c8d7e0123456789ab")),
        ("box", {"value": 3}, Box(3)),
        (
            "shape",
            {"file": "f", "body": [{"x": 1}], "next": {"file": "g", "body": {"a": {"x": 2}}}},
            Shape(pathlib.Path("f"), [Point(1)], 1, Shape(pathlib.Path("g"), {"a": Point(2)})),
        ),
    ],
)  # fmt: skip
def test_every_supported_type_arrives(argument: str, sent: Any, expected: Any) -> None:
    raw = msgspec.json.encode({"text": "t", argument: sent})
    bound = derive_arguments(everything).bind(raw)
    assert bound[argument] == expected
    assert type(bound[argument]) is type(expected)


def test_defaults_fill_what_is_absent() -> None:
    bound = derive_arguments(everything).bind(b'{"text":"t"}')
    assert bound["number"] == 3
    assert bound["color"] is Color.RED
    assert bound["path"] == pathlib.Path("here")
    assert bound["items"] == []
    everything(**bound)


def test_a_mutable_default_is_not_shared_between_calls() -> None:
    arguments = derive_arguments(with_type(list[int], [1]))
    arguments.bind()["v"].append(2)
    assert arguments.bind() == {"v": [1]}


def test_no_arguments_at_all_is_an_empty_object() -> None:
    def nothing() -> None: ...

    arguments = derive_arguments(nothing)
    assert arguments.is_trivial
    assert arguments.schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert arguments.bind(None) == arguments.bind(b"{}") == {}


def test_raw_arguments_may_be_msgspec_raw() -> None:
    assert derive_arguments(with_type(int)).bind(msgspec.Raw(b'{"v":1}')) == {"v": 1}


def test_recursion_through_two_classes_finds_its_stand_ins() -> None:
    value = {"right": {"left": {"right": {"file": "x"}}}}
    assert decoded(Left, value) == Left(Right(Left(Right(file="x"))))
    assert decoded(tuple[Right, Left], [{}, {}]) == (Right(), Left())


def test_classes_of_the_standard_library_and_subclasses_arrive() -> None:
    class Name(str):
        __slots__ = ()

    assert type(decoded(Name, "a")) is Name
    assert decoded(collections.deque[int], [1]) == collections.deque([1])
    assert decoded(typing.Sequence[int], [1]) == [1]
    assert decoded(collections.OrderedDict, {"a": 1}) == collections.OrderedDict(a=1)
    assert decoded(typing.NewType("Id", int), 1) == 1
    assert decoded(dict[int, str], {"1": "a"}) == {1: "a"}
    assert decoded(dict[Color, pathlib.Path], {"red": "p"}) == {Color.RED: pathlib.Path("p")}


def test_two_classes_that_share_fields_are_told_apart_by_the_rest() -> None:
    @dataclasses.dataclass
    class Wide:
        x: int
        y: int = 0
        z: int = 0

    assert decoded(Point | Wide, {"x": 1, "z": 2}) == Wide(1, 0, 2)
    assert decoded(Point | Wide, {"x": 1}) == Point(1)


def test_attrs_and_dataclasses_that_need_a_stand_in_are_built_by_their_own_constructor() -> None:
    @attrs.define
    class Parcel:
        _files: list[pathlib.Path] = attrs.field(factory=list)
        body: Point | Item = attrs.field(default=Point(1))

    @dataclasses.dataclass
    class Even:
        size: Annotated[int, "an even one"]

        def __post_init__(self) -> None:
            if self.size % 2:
                raise ValueError("size must be even")

    assert decoded(Parcel, {"body": {"itemId": 1}}) == Parcel([], Item(1))
    assert decoded(Even, {"size": 2}) == Even(2)
    assert "must be even" in refused(Even, {"size": 3})


# Refusing


@pytest.mark.parametrize(
    ("raw", "argument", "words"),
    [
        (b"{}", "text", "missing required argument 'text'"),
        (b'{"text":1}', "text", "argument 'text': expected str, got int"),
        (b'{"text":"t","number":"3"}', "number", "expected int, got str"),
        (b'{"text":"t","number":3.5}', "number", "expected int, got float"),
        (b'{"text":"t","nope":1}', "nope", "unknown argument 'nope'; accepted: "),
        (b'{"text":"t","color":"blue"}', "color", "'blue'; allowed: 'red', 'green'"),
        (b'{"text":"t","items":[1,"x"]}', "items", "expected int, got str at items[1]"),
        (b'{"text":"t","point":{"x":"1"}}', "point", "expected int, got str at point.x"),
        (b'{"text":"t","user":{"name":"b"}}', "user", "name: String should have at least 2"),
        (b'{"text":"t","user":null,"users":{"a":[{}]}}', "users", "name: Field required"),
        (b'{"text":"t","shape":{"file":"f","body":3}}', "shape", "Point | list[Point]"),
        (b'{"text":"t","mixed":1}', "mixed", "invalid enum value 1; allowed: "),
        (b'{"text":"t","odd":3}', "odd", "allowed: 0.5, [1, 2]"),
        (b'{"text":"t","data":"?"}', "data", "base64"),
        (b"[]", None, "arguments must be an object, got array"),
        (b"null", None, "arguments must be an object, got null"),
        (b"{", None, "not valid JSON"),
        (b'{"text":"\xff"}', None, "not valid JSON"),
        (b'{"text":"t","anything":' + b"[" * 9000 + b"]" * 9000 + b"}", None, "not valid JSON"),
    ],
)
def test_a_refusal_names_argument_and_reason(raw: bytes, argument: str | None, words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        derive_arguments(everything).bind(raw)
    assert caught.value.argument == argument
    assert words in caught.value.message
    assert str(caught.value) == caught.value.message


def test_several_missing_arguments_are_named_together() -> None:
    def function(a: int, b: int, c: int) -> None: ...

    with pytest.raises(ArgumentError, match="missing required arguments 'a', 'c'"):
        derive_arguments(function).bind(b'{"b":1}')


def test_text_is_never_taken_for_a_number() -> None:
    for annotation in (int, float, bool, int | None, list[int]):
        refused(annotation, "1")


# Leniency


def test_json_in_a_string_is_read_where_only_a_structure_fits() -> None:
    assert decoded(list[int], "[1, 2]") == [1, 2]
    assert decoded(Point, '{"x": 1}') == Point(1)
    assert decoded(Point | None, '{"x": 1}') == Point(1)
    assert decoded(User, '{"name": "bo"}') == User(name="bo")
    assert decoded(Shape, '{"file": "f", "body": []}') == Shape(pathlib.Path("f"), [])


def test_json_in_a_string_stays_text_where_text_fits() -> None:
    assert decoded(list[int] | str, "[1, 2]") == "[1, 2]"
    assert decoded(Any, "[1, 2]") == "[1, 2]"

    def function(text: str, items: list[int]) -> None: ...

    bound = derive_arguments(function).bind(b'{"text":"[1]","items":"[1]"}')
    assert bound == {"text": "[1]", "items": [1]}


def test_json_in_a_string_that_does_not_fit_is_refused_for_its_content() -> None:
    assert "at v[0]" in refused(list[int], '["x"]')
    refused(list[int], "1")
    refused(list[int], "[")


def test_an_integral_float_is_an_integer_as_json_schema_has_it() -> None:
    assert decoded(int, 5.0) == 5
    assert decoded(list[int], [1.0]) == [1]
    refused(int, 5.5)


# Signatures


def test_unannotated_parameters_take_anything() -> None:
    def function(a, b=2):  # type: ignore[no-untyped-def]
        return a, b

    arguments = derive_arguments(function)
    assert arguments.schema["properties"] == {"a": {}, "b": {"default": 2}}
    assert arguments.bind(b'{"a":[1]}') == {"a": [1], "b": 2}


def test_a_default_of_none_makes_any_parameter_nullable() -> None:
    arguments = derive_arguments(with_type(int, None))
    assert arguments.schema["properties"]["v"] == {"type": "integer"}
    assert arguments.bind(b"{}") == arguments.bind(b'{"v":null}') == {"v": None}


def test_variable_positionals_and_positional_only_parameters_are_refused() -> None:
    def variable(*args: int) -> None: ...
    def positional(a: int, /) -> None: ...

    with pytest.raises(TypeError, match=r"variable.*'args'"):
        derive_arguments(variable)
    with pytest.raises(TypeError, match=r"positional.*'a'"):
        derive_arguments(positional)


def test_keyword_collectors_open_the_schema() -> None:
    def function(ctx: Context, a: int, **rest: Any) -> None: ...
    def typed(a: int, **rest: int) -> None: ...

    arguments = derive_arguments(function, skip=[Context])
    assert arguments.schema["additionalProperties"] is True
    assert arguments.bind(b'{"a":1,"b":[2]}') == {"a": 1, "b": [2]}
    assert arguments.bind(b'{"a":1.0,"b":[2]}') == {"a": 1, "b": [2]}
    with pytest.raises(ArgumentError, match="'ctx' cannot be sent"):
        arguments.bind(b'{"a":1,"ctx":2}')
    assert derive_arguments(typed).schema["additionalProperties"] == {"type": "integer"}
    with pytest.raises(ArgumentError, match="argument 'b': expected int, got str"):
        derive_arguments(typed).bind(b'{"a":1,"b":"x"}')


def test_injected_parameters_are_hidden_and_recorded() -> None:
    class Special(Context): ...

    marker = Context()

    def function(
        a: int,
        ctx: Context,
        other: Optional[Special],  # noqa: UP045 - the old spelling is what is tested
        noted: Annotated[Context | None, "x"] = None,
        by_default: Any = marker,
        by_metadata: Annotated[int, marker] = 1,
        progress_token: str | None = None,
    ) -> None: ...

    arguments = derive_arguments(function, skip=[Context])
    assert list(arguments.schema["properties"]) == ["a"]
    assert arguments.injected == {
        "ctx": Context,
        "other": Special,
        "noted": Context,
        "by_default": Context,
        "by_metadata": Context,
        "progress_token": type(None),
    }
    assert arguments.bind(b'{"a":1}') == {"a": 1}
    with pytest.raises(ArgumentError, match="unknown argument 'ctx'"):
        arguments.bind(b'{"a":1,"ctx":2}')


def test_a_progress_token_without_default_is_an_ordinary_parameter() -> None:
    def function(progress_token: str) -> None: ...

    assert list(derive_arguments(function).schema["properties"]) == ["progress_token"]


def test_string_annotations_are_evaluated_where_they_were_written() -> None:
    def function(p: "Point", ctx: "Context") -> "Missing": ...  # type: ignore[name-defined]  # noqa: F821

    assert derive_arguments(function, skip=[Context]).bind(b'{"p":{"x":1}}') == {"p": Point(1)}


def test_a_context_imported_for_type_checkers_only_is_recognised() -> None:
    source = "def function(a: 'int', ctx: 'Context'): ..."
    scope: dict[str, Any] = {}
    exec(source, scope)
    assert derive_arguments(scope["function"], skip=[Context]).injected == {"ctx": Context}
    with pytest.raises(TypeError, match="parameter 'ctx': cannot evaluate"):
        derive_arguments(scope["function"])


def test_methods_partials_callables_and_classes_can_be_derived_from() -> None:
    class Tool:
        def __init__(self, size: int = 1) -> None:
            self.size = size

        def run(self, a: "Point") -> None: ...
        def __call__(self, b: int) -> None: ...

    def add(a: int, b: int) -> int:
        return a + b

    @functools.wraps(add)
    def wrapped(*args: Any, **kwargs: Any) -> Any: ...

    assert list(derive_arguments(Tool().run).schema["properties"]) == ["a"]
    assert list(derive_arguments(Tool()).schema["properties"]) == ["b"]
    assert list(derive_arguments(Tool).schema["properties"]) == ["size"]
    assert derive_arguments(functools.partial(add, b=2)).bind(b'{"a":1}') == {"a": 1, "b": 2}
    assert list(derive_arguments(wrapped).schema["properties"]) == ["a", "b"]


@pytest.mark.parametrize(
    "annotation",
    [Context, list[Context], Callable[[int], int], type, complex, Point | Context, Box[Context],
     typing.Iterator[int], Annotated[int, at.MinLen(2)], Annotated[bool, at.Ge(1)]],
)  # fmt: skip
def test_what_json_cannot_fill_is_refused_at_registration(annotation: Any) -> None:
    with pytest.raises(TypeError, match="parameter 'v'"):
        derive_arguments(with_type(annotation))


def test_the_field_that_cannot_be_filled_is_named() -> None:
    @dataclasses.dataclass
    class Holder:
        ctx: Context

    with pytest.raises(TypeError, match="field 'ctx' of Holder: Context cannot be read"):
        derive_arguments(with_type(Holder))


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
        (Annotated[int | None, pydantic.Field(ge=1)], {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, None, 0),
        (Annotated[int | str, pydantic.Field(ge=1, min_length=2)],
         {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 2}]}, "ab", "a"),
        (pydantic.PositiveInt, {"type": "integer", "exclusiveMinimum": 0}, 1, 0),
    ],
)  # fmt: skip
def test_constraints_are_published_and_enforced(
    annotation: Any, schema: dict[str, Any], good: Any, bad: Any
) -> None:
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
        c: list[int] = pydantic.Field(default_factory=lambda: [7]),
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
    assert automatic["properties"]["v"]["prefixItems"][3] == {"type": "string", "enum": ["red", "green"]}
    assert "$defs" not in derive_arguments(with_type(several), style="inline").schema
    assert set(derive_arguments(with_type(several), style="refs").schema["$defs"]) == {"Big", "Color"}
    assert "$defs" not in derive_arguments(with_type(big)).schema


def test_inlining_cannot_explode() -> None:
    inner: Any = wide("Leaf")
    for depth in range(30):
        inner = dataclasses.make_dataclass(f"Level{depth}", [("a", inner), ("b", inner)])
    for style in ("auto", "inline"):
        schema = derive_arguments(with_type(inner), style=style).schema  # type: ignore[arg-type]
        assert len(msgspec.json.encode(schema)) < 256 * 1024
        compile_schema(schema)


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


# The published schema against the decoder


EXACT: list[Any] = [
    int, float, bool, str, None, Any, Literal["a", 1], Literal[True, 2], Color, Level, Odd,
    list[int], list, dict[str, int], dict[str, list[bool]], tuple[int, str], tuple[int, ...],
    int | None, int | str, float | list[int], Annotated[int, at.Interval(ge=-2, le=2)],
    Annotated[str, pydantic.Field(min_length=1, pattern="^[ab]+$")], Annotated[list[int], at.Len(1, 2)],
    Line, Options, Pair, Item, Cat | Dog, list[Options], Point | Item, Literal["a"] | list[str],
    dict[Literal["a", "b"], int], int | bool, Point | Line, Literal[1.5, None], Box[int], Box,
]  # fmt: skip
WORDS = st.sampled_from(["", "a", "b", "ab", "red", "green", "x", "cat", "dog", "1"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | WORDS | st.sampled_from([0.5, 1.0, 2.0])
)
NAMES = st.sampled_from(
    ["a", "b", "x", "y", "name", "size", "itemId", "unitPrice", "points", "width", "tags", "type", "lives", "tricks"]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
NEAR = {
    Line: st.fixed_dictionaries({"points": st.lists(st.fixed_dictionaries({"x": SCALARS}))}, optional={"width": SCALARS}),
    Options: st.fixed_dictionaries({"name": SCALARS}, optional={"size": SCALARS}),
    Item: st.fixed_dictionaries({"itemId": SCALARS}, optional={"unitPrice": SCALARS}),
    Pair: st.lists(SCALARS, max_size=3),
}  # fmt: skip


@pytest.mark.parametrize("annotation", EXACT, ids=[str(item) for item in EXACT])
@given(data=st.data())
def test_schema_and_decoder_accept_the_same_values(annotation: Any, data: st.DataObject) -> None:
    near: st.SearchStrategy[Any] = NEAR.get(annotation, st.nothing())
    arguments, validator = _derived(annotation)
    document = data.draw(st.fixed_dictionaries({}, optional={"v": JSON | near, "w": st.integers()}))
    try:
        arguments.bind(msgspec.json.encode(document))
    except ArgumentError as error:
        problem = validator.check(document)
        assert problem is not None, f"only the decoder refuses {document}: {error}"
    else:
        assert validator.check(document) is None, f"only the schema refuses {document}"


@functools.cache
def _derived(annotation: Any) -> Any:
    arguments = derive_arguments(with_type(annotation))
    return arguments, compile_schema(arguments.schema)


aware = st.datetimes(timezones=st.just(datetime.UTC))
VALUES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (datetime.datetime, aware),
    (datetime.date, st.dates()),
    (datetime.time, aware.map(datetime.datetime.timetz)),
    (datetime.timedelta, st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=9000)).map(
        lambda span: span - datetime.timedelta(microseconds=span.microseconds)
    )),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary(max_size=20)),
    (Annotated[bytes, msgspec.Meta(min_length=2, max_length=5)], st.binary(min_size=2, max_size=5)),
    (pathlib.PurePosixPath, st.text("ab/.", max_size=9).map(pathlib.PurePosixPath)),
    (set[int], st.sets(st.integers(-9, 9))),
    (frozenset[Color], st.frozensets(st.sampled_from(Color))),
    (dict[int, str], st.dictionaries(st.integers(-99, 99), st.text(max_size=3))),
    (Color, st.sampled_from(Color)),
    (Line, st.builds(Line, st.lists(st.builds(Point, st.integers(-9, 9))))),
    (Shape, st.builds(Shape, st.just(pathlib.Path("p")), st.builds(Point, st.integers(-9, 9)))),
    (Crate, st.builds(Crate, st.integers(-9, 9))),
    (Pair, st.builds(Pair, st.integers(-9, 9), st.text(max_size=3))),
    (User, st.builds(User, name=st.text(min_size=2, max_size=9))),
    (str | uuid.UUID, st.uuids()),
    (Box[int], st.builds(Box, st.integers(-9, 9))),
]


def _hook(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, User) else str(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("annotation", "values"), VALUES, ids=[str(item) for item, _ in VALUES])
@given(data=st.data())
def test_values_of_a_type_pass_its_schema_and_come_back(
    annotation: Any, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = data.draw(values)
    plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_hook)
    document = {"v": _without_nulls(msgspec.json.decode(msgspec.json.encode(plain)))}
    arguments, validator = _derived(annotation)
    assert validator.check(document) is None
    assert arguments.bind(msgspec.json.encode(document)) == {"v": value}


@given(st.binary(max_size=60) | JSON.map(msgspec.json.encode))
def test_any_bytes_give_arguments_or_an_argument_error(raw: bytes) -> None:
    try:
        derived, _ = _derived(Point)
        derived.bind(raw)
    except ArgumentError as error:
        assert error.message


# Cost


def test_importing_the_package_loads_no_validator_and_no_model_library() -> None:
    code = (
        "import sys, kailash.schema as s; "
        "s.derive_arguments(lambda a: a).bind(b'{\"a\":1}'); "
        "print([m for m in ('jsonschema_rs','fastjsonschema','pydantic','attrs','attr',"
        "'asyncio','anyio','json') if m in sys.modules])"
    )
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_good_call_decodes_once_and_looks_at_nothing_else() -> None:
    arguments = derive_arguments(with_type(int))
    calls: list[Any] = []

    def decode(raw: Any) -> Any:
        calls.append(raw)
        return arguments.decode(raw)

    counted = msgspec.structs.replace(arguments, decode=decode, schema={})
    assert counted.bind(b'{"v":1}') == {"v": 1}
    assert calls == [b'{"v":1}']


class Plain(enum.Enum):
    """Kinds of thing."""

    A = "a"


def test_the_text_of_an_enumeration_is_published() -> None:
    assert schema_of(Plain) == {"type": "string", "enum": ["a"], "description": "Kinds of thing."}
