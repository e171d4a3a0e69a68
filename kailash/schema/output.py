"""From a return annotation to an output schema and an encoder."""

import collections.abc as abc
import inspect
from collections.abc import Collection
from typing import Any, get_args, get_origin

import msgspec

from . import annotations as ann
from .inline import PREFIX, Style
from .jsonable import to_jsonable
from .normal import normalise
from .render import SchemaWriter
from .walk import subschemas

_STREAMS = frozenset({abc.Iterator, abc.Generator, abc.AsyncIterator, abc.AsyncGenerator})
_WRAPPERS = frozenset({abc.Awaitable, abc.Coroutine})
_TEXT = (str, bytes, bytearray, type(None))


class Output(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a function promises to return."""

    schema: dict[str, Any]
    is_object: bool
    """False when a revision that only knows objects needs the value wrapped into one."""

    def encode(self, value: Any) -> Any:
        """Convert a returned value to JSON builtins."""
        return to_jsonable(value)


def derive_output(annotation: Any, *, content_types: Collection[type] = (), style: Style = "auto") -> Output | None:
    """Derive an output schema from a return annotation.

    Args:
        content_types: Classes that are content already; what returns them is not structured.

    Returns:
        None for what has no structure to promise: nothing, `Any`, text, bytes, content, a stream,
        or a class that cannot be described.
    """
    annotation = _unwrapped(annotation)
    if annotation is Any or annotation in (None, object, inspect.Parameter.empty):
        return None
    if get_origin(annotation) in _STREAMS or annotation in _STREAMS:
        return None
    members = get_args(annotation) if ann.is_union(annotation) else (annotation,)
    bases = [ann.split(member)[0] for member in members]
    if Any in bases or all(base in _TEXT or base is None for base in bases):
        return None
    if _holds(annotation, frozenset(content_types)):
        return None
    writer = SchemaWriter("serialization")
    try:
        schema = writer.finish(writer.render(normalise(annotation)), style)
    except TypeError:
        return None
    schema = _root(schema)
    return Output(schema=schema, is_object=schema.get("type") == "object") if schema else None


def _unwrapped(annotation: Any) -> Any:
    while get_origin(ann.split(annotation)[0]) in _WRAPPERS:
        annotation = get_args(ann.split(annotation)[0])[-1]
    base, _ = ann.split(annotation)
    return base if not ann.is_pydantic_type(base) else annotation


def _holds(annotation: Any, content_types: frozenset[type]) -> bool:
    """Tell whether content sits in a type or in the containers it is made of."""
    base, _ = ann.split(annotation)
    if isinstance(base, type) and not content_types.isdisjoint(getattr(base, "__mro__", ())):
        return True
    return any(_holds(argument, content_types) for argument in get_args(base))


def _root(schema: dict[str, Any]) -> dict[str, Any]:
    """Put a definition the root refers to in its place: a root wants its `type` in sight."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    body = schema["$defs"][reference.removeprefix(PREFIX)]
    beside = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
    root = {**body, **beside}
    rest = schema["$defs"]
    if not _mentions(root, reference) and not any(_mentions(x, reference) for x in rest.values()):
        rest = {name: x for name, x in rest.items() if PREFIX + name != reference}
    return {**root, "$defs": rest} if rest else root


def _mentions(schema: dict[str, Any], reference: str) -> bool:
    return any(node.get("$ref") == reference for _, node in subschemas(schema))
