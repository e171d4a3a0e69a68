"""How to read the types msgspec does not read by itself.

A `Plan` turns JSON builtins into one such type and can say its JSON Schema. Types with a class of
their own (`Path`, a pydantic model, a subclass of `str`) are found by that class; the rest (a union
of two dataclasses, a constrained `Decimal`) get a *marker*: an empty class msgspec calls the hook
for and whose instance check lets every result through.
"""

import abc
import enum
import functools
import operator
import re
import sys
import threading
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol

import msgspec
from msgspec import UNSET
from msgspec.inspect import type_info

from .annotations import is_pydantic_type, type_name


class Renderer(Protocol):
    """What a plan needs from the schema writer."""

    mode: str

    def render(self, annotation: Any) -> dict[str, Any]: ...
    def fields_of(self, plan: "FieldsPlan") -> dict[str, Any]: ...
    def adopt(self, fragment: dict[str, Any]) -> dict[str, Any]: ...


class Plan(abc.ABC):
    """Reads one type from JSON builtins and describes it."""

    @abc.abstractmethod
    def decode(self, value: Any) -> Any:
        """Convert, or raise ValueError with what was expected."""

    @abc.abstractmethod
    def schema(self, renderer: Renderer) -> dict[str, Any]:
        """The JSON Schema of what `decode` accepts."""


class Marker(abc.ABC):
    """Base of the classes that stand for a plan inside msgspec's types."""

    plan: Plan

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        # msgspec checks what the hook returned with isinstance(); the plan has done so already.
        return True


def mark(plan: Plan, name: str) -> type[Marker]:
    """Make the class that stands for `plan`."""
    return types.new_class(name, (Marker,), exec_body=lambda body: body.update(plan=plan))


def is_marker(annotation: Any) -> bool:
    """Tell whether an annotation stands for a plan."""
    # issubclass() would ask the hook above, which says yes to everything.
    return isinstance(annotation, type) and Marker in annotation.__mro__


def convert(value: Any, annotation: Any) -> Any:
    """Read builtins as `annotation`, strictly."""
    return msgspec.convert(value, annotation, dec_hook=decode_hook, str_keys=True)


def decode_hook(cls: Any, value: Any) -> Any:
    """msgspec's `dec_hook`: read a type msgspec does not know."""
    plan = plan_of(cls)
    if plan is None:
        raise TypeError(f"{type_name(cls)} cannot be read from JSON")
    try:
        return plan.decode(value)
    except msgspec.ValidationError as error:
        # As a plain ValueError it gets the outer path appended; see `split_path`.
        raise ValueError(str(error)) from None


def plan_of(cls: Any) -> Plan | None:
    """The plan for a class msgspec treats as custom, if there is one."""
    if is_marker(cls):
        plan: Plan = cls.plan
        return plan
    return _class_plan(cls) if isinstance(cls, type) else None


@functools.lru_cache(maxsize=1024)
def _class_plan(cls: type) -> Plan | None:
    if is_pydantic_type(cls):
        return PydanticPlan(cls)
    if issubclass(cls, enum.Enum):
        return EnumPlan(cls)
    if issubclass(cls, PurePath):
        return BuiltPlan(str, cls, extra={"format": "path"})
    for base in (str, int, float):
        if issubclass(cls, base):
            return BuiltPlan(base, cls)
    if cls is deque:
        return BuiltPlan(list[Any], cls)
    if cls is OrderedDict:
        return BuiltPlan(dict[str, Any], cls)
    return None


_PATH = re.compile(r" - at `([^`]*)`")


def split_path(message: str) -> tuple[str, str]:
    """Separate a msgspec message from its JSON path (`$` when it names none)."""
    # Nested conversions append their paths inside out: "… - at `$.inner` - at `$.outer[0]`".
    paths = _PATH.findall(message)
    joined = "".join(path.removeprefix("$") for path in reversed(paths))
    return _PATH.sub("", message), "$" + joined


class BuiltPlan(Plan):
    """Reads a base type and builds the wanted one from it."""

    def __init__(self, base: Any, build: Callable[[Any], Any], *, extra: Mapping[str, Any] | None = None) -> None:
        self._base = base
        self._build = build
        self._extra = dict(extra or {})

    def decode(self, value: Any) -> Any:
        return self._build(convert(value, self._base))

    def schema(self, renderer: Renderer) -> dict[str, Any]:
        return {**renderer.render(self._base), **self._extra}


class _Memo(threading.local):
    """What the unions of one decoding came to, by plan and part.

    Each outcome holds its part, lest another object be given the same identity.
    """

    outcomes: dict[tuple[Plan, int], tuple[Any, Any, str | None]] | None = None


_memo = _Memo()


class UnionPlan(Plan):
    """Tries the members of a union msgspec cannot tell apart."""

    def __init__(self, members: Sequence[Any], *, label: str) -> None:
        self._members = tuple(members)
        # Plain text would win over every format of text, so it is asked last.
        self._order = sorted(self._members, key=lambda member: member is str)
        self._label = label

    @functools.cached_property
    def _names(self) -> dict[Any, frozenset[str] | None]:
        # Not before the first value: a member may be a class whose fields are still being read.
        return {member: _member_names(member) for member in self._members}

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict | list):
            return self._decode(value)
        # Unions within unions would try every combination: 2ⁿ attempts for n levels of a hostile
        # value. What became of each part is remembered until the outermost union is done.
        memo = _memo.outcomes
        outermost = memo is None
        if memo is None:
            memo = _memo.outcomes = {}
        try:
            key = (self, id(value))
            if key not in memo:
                try:
                    memo[key] = (value, self._decode(value), None)
                except ValueError as error:
                    memo[key] = (value, None, str(error))
            _, result, reason = memo[key]
        finally:
            if outermost:
                _memo.outcomes = None
        if reason is not None:
            raise ValueError(reason)
        return result

    def _decode(self, value: Any) -> Any:
        order = self._order
        if isinstance(value, dict):
            # Classes ignore members they do not know: prefer the one that knows most of them.
            keys = value.keys()
            order = sorted(order, key=lambda member: _unknown(keys, self._names[member]))
        reasons: list[str] = []
        for member in order:
            try:
                return convert(value, member)
            except (msgspec.ValidationError, RecursionError) as error:
                reason, path = split_path(str(error))
                reason = reason[:1].lower() + reason[1:]
                reasons.append(reason if path == "$" else f"{reason} at {path[1:].lstrip('.')}")
        told = "; or ".join(dict.fromkeys(reasons))
        raise ValueError(f"Expected `{self._label}`, but: {told:.400}")

    def schema(self, renderer: Renderer) -> dict[str, Any]:
        options: list[dict[str, Any]] = []
        for member in self._members:
            option = renderer.render(member)
            if option not in options:
                options.append(option)
        return options[0] if len(options) == 1 else {"anyOf": options}


def _member_names(member: Any) -> frozenset[str] | None:
    """The JSON members an object type knows; None when it takes any."""
    plan = plan_of(member)
    if isinstance(plan, FieldsPlan):
        return frozenset(field.encode_name for field in msgspec.structs.fields(plan.struct))
    if plan is not None:
        names = getattr(member, "model_fields", None)
        return frozenset(names) if isinstance(names, dict) else None
    fields = getattr(type_info(member), "fields", None)
    return None if fields is None else frozenset(field.encode_name for field in fields)


def _unknown(keys: Any, names: frozenset[str] | None) -> int:
    return 0 if names is None else len(keys - names)


class LiteralPlan(Plan):
    """Reads one of several constants, telling `1`, `1.0` and `true` apart."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = {_plain(value): value for value in values}

    def decode(self, value: Any) -> Any:
        try:
            return self._values[_plain(value)]
        except (KeyError, TypeError):
            allowed = ", ".join(repr(value) for _, value in self._values)
            raise ValueError(f"Expected one of {allowed}, got {value!r:.80}") from None

    def schema(self, renderer: Renderer) -> dict[str, Any]:
        return {"enum": [value for _, value in self._values]}


def _plain(value: Any) -> tuple[type, Any]:
    inner = value.value if isinstance(value, enum.Enum) else value
    return type(inner), inner


class EnumPlan(Plan):
    """Reads an enumeration whose values are neither all texts nor all integers."""

    def __init__(self, cls: type[enum.Enum]) -> None:
        self._cls = cls
        self._members = {_key(member.value): member for member in cls}

    def decode(self, value: Any) -> Any:
        member = self._members.get(_key(value))
        if member is None:
            raise ValueError(f"Invalid enum value {value!r:.80}")
        return member

    def schema(self, renderer: Renderer) -> dict[str, Any]:
        return {"enum": [msgspec.to_builtins(member.value) for member in self._cls]}


def _key(value: Any) -> bytes:
    # A tuple value arrives as a list: compare what both look like on the wire.
    return msgspec.json.encode(value)


_CHECKS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "gt": (operator.gt, ">"),
    "ge": (operator.ge, ">="),
    "lt": (operator.lt, "<"),
    "le": (operator.le, "<="),
    "multiple_of": (lambda value, step: value % step == 0, "a multiple of"),
    "min_length": (lambda value, size: len(value) >= size, "of length >="),
    "max_length": (lambda value, size: len(value) <= size, "of length <="),
    "pattern": (lambda value, text: re.search(text, str(value)) is not None, "matching"),
}
_KEYWORDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}


class CheckedPlan(Plan):
    """Applies constraints to a type msgspec has none for, such as `Decimal`."""

    def __init__(self, base: Any, constraints: Mapping[str, Any]) -> None:
        unknown = constraints.keys() - _CHECKS.keys()
        if unknown:
            raise TypeError(f"{type_name(base)} cannot have {', '.join(sorted(unknown))}")
        self._base = base
        self._constraints = dict(constraints)

    def decode(self, value: Any) -> Any:
        result = convert(value, self._base)
        for name, bound in self._constraints.items():
            check, words = _CHECKS[name]
            if not check(result, bound):
                raise ValueError(f"Expected `{type_name(self._base)}` {words} {bound}")
        return result

    def schema(self, renderer: Renderer) -> dict[str, Any]:
        schema = dict(renderer.render(self._base))
        for name, bound in self._constraints.items():
            if name in _KEYWORDS and isinstance(bound, str | int | float):
                schema[_KEYWORDS[name]] = bound
        return schema


class FieldsPlan(Plan):
    """Reads a class with fields through a struct whose field types msgspec can read."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.struct: Any = None
        self.defaults: dict[str, Any] = {}
        self._arguments: dict[str, str] = {}
        self._build: Callable[..., Any] = cls

    def fill(
        self,
        struct: Any,
        *,
        arguments: Mapping[str, str],
        defaults: Mapping[str, Any],
        build: Callable[..., Any],
    ) -> None:
        """Set what could not be known while the class was still being read (it may be recursive).

        Args:
            arguments: Constructor argument by field name.
        """
        self.struct = struct
        self.defaults = dict(defaults)
        self._arguments = dict(arguments)
        self._build = build

    def decode(self, value: Any) -> Any:
        read = convert(value, self.struct)
        found = ((argument, getattr(read, name)) for name, argument in self._arguments.items())
        return self._build(**{name: value for name, value in found if value is not UNSET})

    def schema(self, renderer: Renderer) -> dict[str, Any]:
        return renderer.fields_of(self)


class PydanticPlan(Plan):
    """Leaves a value to pydantic, which is imported already if there is such a type."""

    def __init__(self, annotation: Any) -> None:
        self._pydantic = sys.modules["pydantic"]
        self._annotation = annotation

    @functools.cached_property
    def _adapter(self) -> Any:
        return self._pydantic.TypeAdapter(self._annotation)

    def decode(self, value: Any) -> Any:
        try:
            # As JSON, because strict models accept a date or a set from JSON only.
            return self._adapter.validate_json(msgspec.json.encode(value))
        except self._pydantic.ValidationError as error:
            raise ValueError(_pydantic_message(error)) from None

    def schema(self, renderer: Renderer) -> dict[str, Any]:
        return renderer.adopt(self._adapter.json_schema(mode=renderer.mode))


def _pydantic_message(error: Any) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = []
    for problem in problems[:5]:
        place = ".".join(str(part) for part in problem["loc"])
        shown.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    if len(problems) > 5:
        shown.append(f"and {len(problems) - 5} more")
    return "; ".join(shown)
