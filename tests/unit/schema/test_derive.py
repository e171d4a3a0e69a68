"""Signatures become decoders and schemas that agree with each other."""

import collections
import dataclasses
import datetime
import decimal
import functools
import pathlib
import subprocess
import sys
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Optional, TypeVar

import annotated_types as at
import attrs
import msgspec
import pytest

from kailash.schema import ArgumentError, derive_arguments

from .models import (
    Box,
    Color,
    Context,
    Crate,
    Dog,
    Item,
    Left,
    Level,
    Odd,
    Pair,
    Point,
    Right,
    Shape,
    User,
    everything,
)
from .tools import decoded, refused, schema_of, with_type

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
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
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


@dataclasses.dataclass
class Plus:
    left: "Plus | Minus | int"
    bad: int = 0


@dataclasses.dataclass
class Minus:
    left: "Plus | Minus | int"
    bad: int = 0


def test_unions_within_unions_are_not_tried_in_every_combination() -> None:
    arguments = derive_arguments(with_type(Plus | Minus))
    for leaf, extra in (("x", b""), ("1", b',"bad":"x"')):
        value = leaf.encode() if leaf == "1" else b'"x"'
        for _ in range(60):
            value = b'{"left":' + value + extra + b"}"
        with pytest.raises(ArgumentError) as caught:
            arguments.bind(b'{"v":' + value + b"}")
        assert len(caught.value.message) < 2_000
    nested = b'{"v":{"left":{"left":1}}}'
    assert arguments.bind(nested) == {"v": Plus(Plus(1))}


T = TypeVar("T")


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    file: pathlib.PurePosixPath | int = 0


def test_generic_classes_are_filled_in_and_may_need_a_stand_in() -> None:
    assert decoded(Page[Point], {"items": [{"x": 1}], "file": "p"}) == Page([Point(1)], pathlib.PurePosixPath("p"))
    assert decoded(Page, {"items": ["anything"], "file": 2}) == Page(["anything"], 2)
    refused(Page[int], {"items": ["x"]})


def test_tagged_and_array_like_structs_keep_their_form_in_a_stand_in() -> None:
    class Tagged(msgspec.Struct, tag="t", forbid_unknown_fields=True):
        body: Point | Item

    class Row(msgspec.Struct, array_like=True):
        body: Point | Item
        note: Annotated[str, "text"] = "n"

    assert decoded(Tagged, {"type": "t", "body": {"x": 1}}) == Tagged(Point(1))
    refused(Tagged, {"type": "u", "body": {"x": 1}})
    refused(Tagged, {"type": "t", "body": {"x": 1}, "more": 1})
    assert decoded(Row, [{"itemId": 2}]) == Row(Item(2))
    schema = schema_of(Tagged)
    assert schema["properties"]["type"] == {"const": "t"}
    assert schema["additionalProperties"] is False
    assert schema_of(Row)["minItems"] == 1
