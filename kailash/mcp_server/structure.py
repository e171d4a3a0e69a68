"""`structured_tool`: schemas beside a function, above or below the decorator that registers it."""

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, TypeVar
from weakref import WeakMethod

from msgspec import Struct

from ..schema import compile_schema

__all__ = ["Structure", "checker_of_input", "follow_structure", "structure_of", "structured_tool"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__kailash_structure__"
_FOLLOWERS = "__kailash_followers__"


class Structure(Struct, frozen=True, kw_only=True):
    """What a function takes and returns, as schemas."""

    input_schema: Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None


def structured_tool(
    *, input_schema: Mapping[str, Any] | None = None, output_schema: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Have a tool's arguments and results checked against schemas; use it above or below `@server.tool()`.

    The schemas are shown in `tools/list`. Arguments are checked before the function runs, `format` included, and its
    value afterwards, which is then sent as structured content. A schema's dialect is what its `$schema` says, 2020-12
    without. The function itself comes back.

    Args:
        input_schema: of the arguments; of type object. Default what the signature says.
        output_schema: of the value. Default what the return annotation says.

    Raises:
        TypeError: neither is given, or what is decorated is no function.
        SchemaError: a schema cannot be used.
        ValueError: `input_schema` is not of type object.
    """
    if input_schema is None and output_schema is None:
        raise TypeError("structured_tool needs input_schema=, output_schema= or both")
    if input_schema is not None:
        checker_of_input(input_schema)  # what is wrong with them is said here, compiled they are kept
    if output_schema is not None:
        compile_schema(output_schema)
    given = Structure(input_schema=input_schema, output_schema=output_schema)

    def decorate(fn: F) -> F:
        if not callable(fn):
            raise TypeError(f"structured_tool decorates functions, not {type(fn).__name__}")
        home: Any = getattr(fn, "__func__", fn)
        setattr(home, _MARK, given)
        for follower in list(getattr(home, _FOLLOWERS, ())):
            take = follower()
            if take is not None:
                take(given)
        return fn

    return decorate


def checker_of_input(schema: Mapping[str, Any]) -> Callable[[Any], str | None]:
    """Return what says what is wrong with arguments.

    Raises:
        ValueError: the schema is not of type object.
        SchemaError: it cannot be used.
    """
    # `inputSchema: { type: "object" … }` — schema.ts, Tool
    if schema.get("type") != "object":
        raise ValueError(f"an input schema is of type object, not {schema.get('type')!r}")
    return compile_schema(schema).check


def structure_of(fn: Any) -> Structure | None:
    """Return the schemas beside a function."""
    return getattr(fn, _MARK, None)


def follow_structure(fn: Any, take: MethodType) -> None:
    """Have schemas that come later told to a method, for as long as its object lives."""
    home = getattr(fn, "__func__", fn)
    followers = getattr(home, _FOLLOWERS, None)
    if followers is None:
        followers = []
        try:
            setattr(home, _FOLLOWERS, followers)
        except (AttributeError, TypeError):
            return  # a callable without room for attributes cannot be decorated later either
    followers[:] = [each for each in followers if each() is not None]
    followers.append(WeakMethod(take))
