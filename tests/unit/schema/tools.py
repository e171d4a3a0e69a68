"""What the schema tests say often."""

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from kailash.schema import ArgumentError, derive_arguments


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
