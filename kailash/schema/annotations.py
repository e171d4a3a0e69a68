"""Read what `Annotated[...]` and pydantic's `Field(...)` say about a value.

Constraints and texts are taken by attribute, not by class, so that msgspec's `Meta`, the
`annotated_types` objects and pydantic's fields all work without any of them being imported here.
"""

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import UNSET

CONSTRAINTS = (
    "gt",
    "ge",
    "lt",
    "le",
    "multiple_of",
    "min_length",
    "max_length",
    "pattern",
    "tz",
)
NUMERIC = frozenset({"gt", "ge", "lt", "le", "multiple_of"})
LENGTHS = frozenset({"min_length", "max_length"})


class Notes(msgspec.Struct, kw_only=True):
    """What the metadata of one annotation amounts to."""

    description: str | None = None
    constraints: dict[str, Any] = {}
    schema: dict[str, Any] = {}
    """Further JSON Schema members: title, examples and what the author added by hand."""
    default: Any = UNSET
    default_factory: Callable[[], Any] | None = None
    is_foreign: bool = False
    """True when only pydantic can honour the metadata (validators, strictness)."""


def split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Separate an annotation from its `Annotated` metadata, innermost first."""
    metadata: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            metadata = (*more, *metadata)
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation, metadata


def read_notes(metadata: Iterable[Any]) -> Notes:
    """Sum up metadata; where two items disagree the outer one wins."""
    notes = Notes(constraints={}, schema={})
    for item in metadata:
        if isinstance(item, str):
            notes.description = item
        elif isinstance(item, msgspec.Meta):
            _read_members(notes, item)
            if item.extra_json_schema:
                notes.schema.update(item.extra_json_schema)
        elif is_pydantic_field(item):
            _read_field(notes, item)
        elif isinstance(getattr(item, "documentation", None), str):  # typing_extensions.Doc
            notes.description = item.documentation
        elif not _read_members(notes, item) and _is_from_pydantic(item):
            notes.is_foreign = True
    return notes


def _read_members(notes: Notes, item: Any) -> bool:
    found = False
    if isinstance(item, type):  # the class itself is a marker, its attributes are descriptors
        return False
    for name in CONSTRAINTS:
        value = getattr(item, name, None)
        if value is None:
            continue
        if name == "pattern" and isinstance(value, re.Pattern):
            value = value.pattern
        if name in LENGTHS and value == 0 and name == "min_length":
            found = True
            continue  # annotated_types.Len spells "no lower bound" as 0
        notes.constraints[name] = value
        found = True
    description = getattr(item, "description", None)
    if isinstance(description, str):
        notes.description = description
    for name in ("title", "examples"):
        value = getattr(item, name, None)
        if isinstance(value, str | list) and value:
            notes.schema[name] = value
    return found


def _read_field(notes: Notes, field: Any) -> None:
    _read_members(notes, field)
    inner = read_notes(field.metadata)
    notes.constraints.update(inner.constraints)
    notes.is_foreign = notes.is_foreign or inner.is_foreign
    if isinstance(field.json_schema_extra, dict):
        notes.schema.update(field.json_schema_extra)
    if not field.is_required():
        if field.default_factory is not None:
            notes.default_factory = field.default_factory
        else:
            notes.default = field.default


def is_pydantic_field(item: object) -> bool:
    """Tell whether `item` is what pydantic's `Field(...)` returns."""
    return type(item).__name__ == "FieldInfo" and _is_from_pydantic(item)


def is_pydantic_type(annotation: Any) -> bool:
    """Tell whether pydantic has to read this class: a model, its dataclass or one of its types."""
    if "pydantic" not in sys.modules or not isinstance(annotation, type):
        return False
    return hasattr(annotation, "__get_pydantic_core_schema__") or hasattr(annotation, "__pydantic_validator__")


def _is_from_pydantic(item: object) -> bool:
    return type(item).__module__.partition(".")[0] == "pydantic"


def is_union(annotation: Any) -> bool:
    """Tell whether an annotation is `A | B`, `Union[A, B]` or `Optional[A]`."""
    return get_origin(annotation) in (typing.Union, types.UnionType)


def union_of(members: Iterable[Any]) -> Any:
    """Build a union at run time."""
    return typing.Union[tuple(members)]  # noqa: UP007 - made of values, not of names


def resolve(
    annotations: Mapping[str, Any],
    *,
    namespace: Mapping[str, Any],
    locals: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate annotations that may be strings, keeping `Annotated`."""
    holder = types.SimpleNamespace(__annotations__=dict(annotations))
    return typing.get_type_hints(holder, globalns=dict(namespace), localns=dict(locals or {}), include_extras=True)


def class_hints(cls: type) -> dict[str, Any]:
    """The evaluated annotations of a class and its bases."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise TypeError(f"{cls.__qualname__}: cannot evaluate its annotations: {error}") from error


def type_name(annotation: Any) -> str:
    """An annotation as people write it, for error messages."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return "None" if annotation is type(None) else annotation.__name__
    return _QUALIFIED.sub("", inspect.formatannotation(annotation))


_QUALIFIED = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?:<locals>\.)?")


def annotated(annotation: Any, item: Any) -> Any:
    """`Annotated[annotation, item]`."""
    return Annotated[annotation, item]
