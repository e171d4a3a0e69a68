"""Rewrite annotations into types msgspec can read.

`normalise` leaves alone what msgspec reads as it stands and puts a marker (see `plans`) in the
place of everything else, however deep it sits. What cannot be read from JSON at all raises
TypeError, when the tool is registered.
"""

import dataclasses
import datetime
import decimal
import enum
import sys
import typing
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NotRequired, Required, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET
from msgspec.inspect import CustomType, type_info

from . import annotations as ann
from .plans import (
    BuiltPlan,
    CheckedPlan,
    FieldsPlan,
    LiteralPlan,
    Marker,
    PydanticPlan,
    UnionPlan,
    mark,
    plan_of,
)

NoneType = type(None)

_LEAVES = frozenset(
    {
        bool, int, float, str, bytes, bytearray, memoryview, NoneType, object, uuid.UUID,
        decimal.Decimal, datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
        msgspec.Raw, msgspec.UnsetType, list, dict, set, frozenset, tuple,
    }
)  # fmt: skip
_UNCONSTRAINED = frozenset({bool, NoneType, int, float, str})
"""Types whose constraints msgspec knows in full: what it refuses for them is a mistake."""


class Entry(msgspec.Struct, frozen=True):
    """One field of a class: its names, type and default."""

    name: str
    encode_name: str
    argument: str
    type: Any
    default: Any = NODEFAULT
    """UNSET when there is one that is not a value (a factory)."""


_CONTAINERS = frozenset({list, dict, set, frozenset, tuple})


def is_plain(kind: Any) -> bool:
    """Tell whether a normalised type is read without running anyone's code: no class of a user's, no marker in it."""
    base = ann.split(kind)[0]
    if base is Any or base in _LEAVES:
        return True
    if get_origin(base) is Literal:
        return True
    members = get_args(base)
    return (ann.is_union(base) or get_origin(base) in _CONTAINERS) and all(
        member is Ellipsis or is_plain(member) for member in members
    )


def normalise(annotation: Any) -> Any:
    """Turn an annotation into a type msgspec can decode."""
    return _Normaliser().run(annotation)


def is_native(annotation: Any) -> bool:
    """Tell whether msgspec accepts a type, hooks included."""
    try:
        msgspec.json.Decoder(annotation)
    except (TypeError, ValueError):
        return False
    return True


class _Normaliser:
    def __init__(self) -> None:
        self._stand_ins: dict[Any, type[Marker]] = {}
        self._active: set[Any] = set()
        self._met_active: set[Any] = set()
        self._native: set[Any] = set()
        """Classes found to need nothing; without it a chain of shared classes is walked 2ⁿ times."""

    def run(self, annotation: Any) -> Any:
        while True:
            known = len(self._stand_ins)
            self._met_active.clear()
            self._native.clear()
            for marker in self._stand_ins.values():
                plan = marker.plan
                if isinstance(plan, FieldsPlan):
                    plan.struct = None
            result = self.visit(annotation)
            # A recursive class was taken for native before its own fields said otherwise: once
            # more, now that it is known to need a stand-in.
            if len(self._stand_ins) == known or not self._met_active & self._stand_ins.keys():
                return result

    def visit(self, annotation: Any) -> Any:
        base, metadata = ann.split(annotation)
        if metadata:
            return self._annotated(annotation, base, metadata)
        if base is None:
            return NoneType
        if base is Any or base in _LEAVES if isinstance(base, type) else base is Any:
            return base
        if isinstance(base, typing.TypeVar):
            return self.visit(_filled(base))
        if isinstance(base, typing.NewType):
            inner = self.visit(base.__supertype__)
            return base if inner is base.__supertype__ else inner
        origin = get_origin(base)
        if ann.is_union(base):
            return self._union(base, [self.visit(member) for member in get_args(base)])
        if origin is Literal:
            return base if is_native(base) else mark(LiteralPlan(get_args(base)), "Literal")
        if origin in (NotRequired, Required, typing.Final):
            return origin[self.visit(get_args(base)[0])]
        if origin is not None and not _has_fields(origin):
            return self._container(base, origin)
        return self._class(base, origin or base)

    def _annotated(self, annotation: Any, base: Any, metadata: tuple[Any, ...]) -> Any:
        notes = ann.read_notes(metadata)
        if notes.is_foreign and "pydantic" in sys.modules:
            return mark(PydanticPlan(annotation), "pydantic")
        inner = self.visit(base)
        if inner is base and all(isinstance(item, msgspec.Meta) for item in metadata):
            if is_native(annotation):
                return annotation
        result = self._constrained(inner, notes.constraints)
        extra = dict(notes.schema)
        if notes.description is not None:
            extra["description"] = notes.description
        return Annotated[result, msgspec.Meta(extra_json_schema=extra)] if extra else result

    def _constrained(self, base: Any, constraints: dict[str, Any]) -> Any:
        if not constraints:
            return base
        wanted = {name: _as_int(value) for name, value in constraints.items()}
        try:
            annotated = Annotated[base, msgspec.Meta(**wanted)]
        except (TypeError, ValueError):
            pass  # a mixture msgspec refuses, or a bound that is no number: a date, a Decimal
        else:
            if is_native(annotated):
                return annotated
        if ann.is_union(base):
            members = get_args(base)
            shares = [_applicable(member, wanted) for member in members]
            if {name for share in shares for name in share} >= wanted.keys():
                pairs = zip(members, shares, strict=True)
                return self._union(base, [self._constrained(*pair) for pair in pairs])
        if base in _UNCONSTRAINED:
            raise TypeError(f"{ann.type_name(base)} cannot have {', '.join(sorted(wanted))}")
        return mark(CheckedPlan(base, wanted), ann.type_name(base))

    def _union(self, original: Any, members: list[Any]) -> Any:
        if Any in members or object in members:
            return Any
        result = ann.union_of(members)
        if all(a is b for a, b in zip(members, get_args(original), strict=False)):
            result = original
        if is_native(result):
            return result
        named = [m for m in members if m is not NoneType]
        label = " | ".join(ann.type_name(member) for member in named)
        marker = mark(UnionPlan(named, label=label), label)
        return ann.union_of([marker, NoneType]) if len(named) < len(members) else marker

    def _container(self, base: Any, origin: Any) -> Any:
        if origin not in (deque, tuple) and isinstance(type_info(origin), CustomType):
            raise TypeError(f"{ann.type_name(base)} cannot be read from JSON")
        arguments = get_args(base)
        inner = [item if item is Ellipsis else self.visit(item) for item in arguments]
        if origin is deque:
            return mark(BuiltPlan(list[inner[0]], deque), "deque")  # type: ignore[valid-type]
        if all(a is b for a, b in zip(inner, arguments, strict=True)):
            result = base
        else:
            result = origin[tuple(inner)] if len(inner) != 1 else origin[inner[0]]
        if not is_native(result):
            raise TypeError(f"{ann.type_name(base)} cannot be read from JSON")
        return result

    def _class(self, base: Any, cls: Any) -> Any:
        if ann.is_pydantic_type(cls):
            return base
        if _has_fields(cls):
            return self._fields(base, cls)
        if not isinstance(cls, type):
            raise TypeError(f"{ann.type_name(base)} cannot be read from JSON")
        if issubclass(cls, enum.Enum):
            return cls if is_native(cls) else mark(_plan(cls), cls.__name__)
        if plan_of(cls) is not None or not isinstance(type_info(cls), CustomType):
            return cls
        raise TypeError(
            f"{ann.type_name(cls)} cannot be read from JSON; make it a dataclass, a TypedDict, a "
            "msgspec.Struct or a pydantic model"
        )

    def _fields(self, base: Any, cls: type) -> Any:
        if base in self._stand_ins:
            marker = self._stand_ins[base]
            if isinstance(marker.plan, FieldsPlan) and marker.plan.struct is None:
                self._fill(marker.plan, base, cls)
            return marker
        if base in self._active:
            self._met_active.add(base)
            return base
        if base in self._native:
            return base
        if is_native(base) and self._keeps_fields(base, cls):
            self._native.add(base)
            return base
        plan = FieldsPlan(base)
        marker = self._stand_ins[base] = mark(plan, cls.__name__)
        self._fill(plan, base, cls)
        return marker

    def _keeps_fields(self, base: Any, cls: type) -> bool:
        """Tell whether every field of a class is read as it is declared."""
        self._active.add(base)
        try:
            # `==`, not `is`: a field's annotation is evaluated anew every time it is asked for.
            return all(self._field_type(cls, x) == x.type for x in _entries_of(base, cls))
        finally:
            self._active.discard(base)

    def _field_type(self, cls: type, entry: Entry) -> Any:
        try:
            return self.visit(entry.type)
        except TypeError as error:
            raise TypeError(f"field {entry.name!r} of {cls.__name__}: {error}") from None

    def _fill(self, plan: FieldsPlan, base: Any, cls: type) -> None:
        plan.struct = msgspec.Struct  # not None: a recursive visit must not come back here
        entries = list(_entries_of(base, cls))
        fields: list[Any] = []
        for entry in entries:
            kind = self._field_type(cls, entry)
            required = entry.default is NODEFAULT
            fields.append((entry.name, kind) if required else (entry.name, kind, UNSET))
        struct = msgspec.defstruct(
            cls.__name__,
            fields,
            rename={entry.name: entry.encode_name for entry in entries},
            kw_only=not _is_array(cls),
            **_struct_options(cls),
        )
        shown = {
            entry.encode_name: entry.default
            for entry in entries
            if entry.default is not NODEFAULT and entry.default is not UNSET
        }
        build: Callable[..., Any] = dict if typing.is_typeddict(cls) else cls
        plan.fill(
            struct,
            arguments={entry.name: entry.argument for entry in entries},
            defaults=shown,
            build=build,
        )


def _plan(cls: type) -> Any:
    plan = plan_of(cls)
    assert plan is not None
    return plan


def _as_int(value: Any) -> Any:
    """An integral float as an int, because msgspec takes no float bound for an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_SIZED = (str, bytes, bytearray, list, dict, set, frozenset, tuple)


def _applicable(member: Any, constraints: dict[str, Any]) -> dict[str, Any]:
    base = ann.split(member)[0]
    kind = get_origin(base) or base
    if kind in (int, float, decimal.Decimal):
        wanted = ann.NUMERIC
    elif kind is str:
        wanted = ann.LENGTHS | {"pattern"}
    elif kind in (datetime.datetime, datetime.time, datetime.date):
        wanted = ann.NUMERIC | {"tz"}
    else:
        wanted = ann.LENGTHS if kind in _SIZED else frozenset()
    return {name: value for name, value in constraints.items() if name in wanted}


def _has_fields(cls: Any) -> bool:
    return isinstance(cls, type) and (
        issubclass(cls, msgspec.Struct)
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
        or typing.is_typeddict(cls)
        or _is_namedtuple(cls)
    )


def _is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def _is_array(cls: type) -> bool:
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_config__.array_like
    return _is_namedtuple(cls)


def _struct_options(cls: type) -> dict[str, Any]:
    if not issubclass(cls, msgspec.Struct):
        return {"array_like": _is_namedtuple(cls)}
    config = cls.__struct_config__
    return {
        "array_like": config.array_like,
        "forbid_unknown_fields": config.forbid_unknown_fields,
        "tag": config.tag,
        "tag_field": config.tag_field,
    }


def _entries_of(base: Any, cls: Any) -> Iterator[Entry]:
    """The fields of a class or of `Class[int]`, their type variables filled in."""
    arguments = dict(zip(getattr(cls, "__parameters__", ()), get_args(base), strict=False))
    for entry in _entries(cls):
        hint = entry.type
        if isinstance(hint, typing.TypeVar):
            yield msgspec.structs.replace(entry, type=arguments.get(hint, _filled(hint)))
        elif inner := getattr(hint, "__parameters__", ()):
            wanted = tuple(arguments.get(variable, _filled(variable)) for variable in inner)
            yield msgspec.structs.replace(entry, type=hint[wanted])
        else:
            yield entry


def _filled(variable: Any) -> Any:
    """What an open type variable stands for."""
    return Any if variable.__bound__ is None else variable.__bound__


def _entries(cls: Any) -> Iterator[Entry]:
    """The fields of a class of any of the five kinds."""
    hints = ann.class_hints(cls)
    if issubclass(cls, msgspec.Struct):
        for field in msgspec.structs.fields(cls):
            default = NODEFAULT if field.required else field.default
            yield Entry(
                field.name,
                field.encode_name,
                field.name,
                hints.get(field.name, field.type),
                UNSET if default is NODEFAULT and not field.required else default,
            )
    elif typing.is_typeddict(cls):
        for name, hint in hints.items():
            origin = get_origin(hint)
            # Under `from __future__ import annotations` __required_keys__ misses NotRequired[...].
            required = name in cls.__required_keys__ and origin is not NotRequired
            kind = get_args(hint)[0] if origin in (NotRequired, Required) else hint
            yield Entry(name, name, name, kind, NODEFAULT if required else UNSET)
    elif dataclasses.is_dataclass(cls):
        for item in dataclasses.fields(cls):
            if item.init:
                default = item.default
                if default is dataclasses.MISSING:
                    missing = item.default_factory is dataclasses.MISSING
                    default = NODEFAULT if missing else UNSET
                yield Entry(item.name, item.name, item.name, hints.get(item.name, Any), default)
    elif hasattr(cls, "__attrs_attrs__"):
        for field in cls.__attrs_attrs__:
            if field.init:
                default = field.default
                if getattr(default, "name", None) == "NOTHING":
                    default = NODEFAULT
                elif type(default).__name__ == "Factory":
                    default = UNSET
                kind = hints.get(field.name, Any)
                yield Entry(field.name, field.name, field.alias, kind, default)
    else:
        for name in cls._fields:
            default = cls._field_defaults.get(name, NODEFAULT)
            yield Entry(name, name, name, hints.get(name, Any), default)
