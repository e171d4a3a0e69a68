"""The published schema and the decoder accept the same values."""

import datetime
import decimal
import functools
import pathlib
import uuid
from typing import Annotated, Any, Literal

import annotated_types as at
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
    Crate,
    Dog,
    Item,
    Level,
    Line,
    Odd,
    Options,
    Pair,
    Point,
    Shape,
    User,
)
from .tools import with_type

EXACT: list[Any] = [
    int, float, bool, str, None, Any, Literal["a", 1], Literal[True, 2], Color, Level, Odd,
    list[int], list, dict[str, int], dict[str, list[bool]], tuple[int, str], tuple[int, ...],
    int | None, int | str, float | list[int], Annotated[int, at.Interval(ge=-2, le=2)],
    Annotated[str, pydantic.Field(min_length=1, pattern="^[ab]+$")], Annotated[list[int], at.Len(1, 2)],
    Line, Options, Pair, Item, Cat | Dog, list[Options], Point | Item, Literal["a"] | list[str],
    dict[Literal["a", "b"], int], int | bool, Point | Line, Literal[1.5, None], Box[int], Box,
]  # fmt: skip
WORDS = st.sampled_from(["", "a", "b", "ab", "red", "green", "x", "cat", "dog", "1"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | WORDS | st.sampled_from([0.5, 1.0, 2.0])
NAMES = st.sampled_from(
    [
        "a",
        "b",
        "x",
        "y",
        "name",
        "size",
        "itemId",
        "unitPrice",
        "points",
        "width",
        "tags",
        "type",
        "lives",
        "tricks",
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
NEAR = {
    Line: st.fixed_dictionaries(
        {"points": st.lists(st.fixed_dictionaries({"x": SCALARS}))}, optional={"width": SCALARS}
    ),
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
    (
        datetime.timedelta,
        st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=9000)).map(
            lambda span: span - datetime.timedelta(microseconds=span.microseconds)
        ),
    ),
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
