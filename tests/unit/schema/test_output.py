"""Return annotations become output schemas that what is returned always fits."""

import collections
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import types
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.schema import compile_schema, derive_output, dumps, to_jsonable

from .models import (
    Box,
    Cat,
    Color,
    Context,
    Crate,
    Item,
    Line,
    Odd,
    Options,
    Pair,
    Point,
    Shape,
    User,
)


class Content(msgspec.Struct):
    """Stands for a content block."""


class Text(Content):
    """A more special one."""


@pytest.mark.parametrize(
    "annotation",
    [None, type(None), Any, object, inspect.Signature.empty, str, bytes, str | None, str | bytes,
     Annotated[str, "x"], Content, Text, list[Content], Content | None, list[str | Content],
     dict[str, list[Text]], Iterator[int], AsyncIterator[Point], Awaitable[None], Context,
     list[Context], Any | None],
)  # fmt: skip
def test_what_promises_no_structure_has_no_schema(annotation: Any) -> None:
    assert derive_output(annotation, content_types=[Content]) is None


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (dict, {"type": "object"}),
        (dict[str, Any], {"type": "object"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Awaitable[dict[str, int]], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Annotated[dict[str, int], "x"], {"type": "object", "additionalProperties": {"type": "integer"}}),
    ],
)  # fmt: skip
def test_objects_are_described_as_such(annotation: Any, schema: dict[str, Any]) -> None:
    output = derive_output(annotation)
    assert output is not None
    assert output.is_object
    assert output.schema == schema


@pytest.mark.parametrize("annotation", [Point, Line, Shape, Options, Item, Crate, User, Box[int], Cat])
def test_classes_with_fields_are_objects(annotation: Any) -> None:
    output = derive_output(annotation)
    assert output is not None
    assert output.is_object
    assert output.schema["type"] == "object"
    assert "$ref" not in output.schema


@pytest.mark.parametrize("annotation", [int, bool, list[int], Pair, Color, Point | None, list[Point]])
def test_other_types_have_a_schema_that_is_no_object(annotation: Any) -> None:
    output = derive_output(annotation)
    assert output is not None
    assert not output.is_object


def test_nulls_that_are_written_are_published() -> None:
    output = derive_output(Point)
    assert output is not None
    assert output.schema["properties"]["y"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert output.schema["required"] == ["x", "y"]
    assert output.encode(Point(1)) == {"x": 1, "y": None}


RETURNS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Point, st.builds(Point, st.integers(), st.none() | st.integers())),
    (Line, st.builds(Line, st.lists(st.builds(Point, st.integers())), st.floats(-9, 9))),
    (Shape, st.builds(Shape, st.just(pathlib.Path("p")), st.lists(st.builds(Point, st.just(1))))),
    (Item, st.builds(Item, st.integers(-9, 9), st.floats(-9, 9))),
    (Crate, st.builds(Crate, st.integers(-9, 9))),
    (Pair, st.builds(Pair, st.integers(), st.text())),
    (User, st.builds(User, name=st.text(min_size=2))),
    (list[User], st.lists(st.builds(User, name=st.text(min_size=2)), max_size=2)),
    (Options, st.fixed_dictionaries({"name": st.text()}, optional={"size": st.integers(1)})),
    (Box[int], st.builds(Box, st.integers(-9, 9))),
    (Point | Item | None, st.none() | st.builds(Point, st.integers())),
    (dict[int, datetime.datetime], st.dictionaries(st.integers(), st.datetimes())),
    (datetime.time, st.times()),
    (datetime.timedelta, st.timedeltas()),
    (decimal.Decimal, st.decimals()),
    (set[Color], st.sets(st.sampled_from(Color))),
    (Odd, st.sampled_from(Odd)),
    (list[bytes], st.lists(st.binary())),
    (uuid.UUID, st.uuids()),
    (Literal["a", 1], st.sampled_from(["a", 1])),
]


@pytest.mark.parametrize(("annotation", "values"), RETURNS, ids=[str(item) for item, _ in RETURNS])
@given(data=st.data())
def test_what_is_returned_fits_the_published_schema(
    annotation: Any, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    output = derive_output(annotation)
    assert output is not None
    value = data.draw(values)
    encoded = msgspec.json.decode(dumps(output.encode(value)))
    assert compile_schema(output.schema).check(encoded) is None
    assert encoded == msgspec.json.decode(dumps(value))


# JSON


def test_dumps_is_compact_and_knows_the_usual_types() -> None:
    @attrs.define
    class Thing:
        a: int

    class Name(str):
        __slots__ = ()

    class Count(int): ...

    value = {
        "path": pathlib.PurePosixPath("a/b"),
        "decimal": decimal.Decimal("1.10"),
        "set": {1},
        "bytes": b"\0",
        "enum": Color.RED,
        "odd": Odd.PAIR,
        "when": datetime.datetime(2026, 7, 28, tzinfo=datetime.UTC),
        "model": User(name="bo"),
        "attrs": Thing(1),
        "point": Point(1),
        "names": [Name("n"), Count(3)],
        "queue": collections.deque([1]),
        "proxy": types.MappingProxyType({"a": 1}),
        "values": {"a": 1}.values(),
        5: None,
    }
    text = dumps(value)
    assert b" " not in text
    assert msgspec.json.decode(text) == {
        "path": "a/b", "decimal": "1.10", "set": [1], "bytes": "AA==", "enum": "red", "odd": [1, 2],
        "when": "2026-07-28T00:00:00Z", "model": {"name": "bo", "friends": []}, "attrs": {"a": 1},
        "point": {"x": 1, "y": None}, "names": ["n", 3], "queue": [1], "proxy": {"a": 1},
        "values": [1], "5": None,
    }  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(to_jsonable(value))) == msgspec.json.decode(text)


def test_models_are_written_under_their_aliases() -> None:
    class Aliased(pydantic.BaseModel):
        some_name: int = pydantic.Field(serialization_alias="someName")
        day: datetime.date

    output = derive_output(Aliased)
    assert output is not None
    encoded = output.encode(Aliased(some_name=1, day=datetime.date(2026, 1, 2)))
    assert encoded == {"someName": 1, "day": "2026-01-02"}
    assert compile_schema(output.schema).check(encoded) is None


@pytest.mark.parametrize("value", [ValueError("x"), Context(), (item for item in "ab"), lambda: None])
def test_what_has_no_json_form_is_refused_by_name(value: Any) -> None:
    for function in (dumps, to_jsonable):
        with pytest.raises(TypeError, match=type(value).__name__):
            function([value])


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(TypeError, match="not Unicode"):
        dumps(["\ud800"])


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for function in (dumps, to_jsonable):
        with pytest.raises(TypeError, match="contains itself"):
            function(loop)


def test_enumerations_of_dataclasses_are_written() -> None:
    @dataclasses.dataclass(frozen=True)
    class Size:
        cm: int

    class Sizes(enum.Enum):
        SMALL = Size(1)

    assert to_jsonable(Sizes.SMALL) == {"cm": 1}
    assert dumps(Sizes.SMALL) == b'{"cm":1}'
