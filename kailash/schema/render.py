"""Write the JSON Schema of a normalised type.

The types come as msgspec's own description of them (`msgspec.inspect`), so what is published is
what the decoder was built from.
"""

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import msgspec.inspect as mi
from msgspec import NODEFAULT, UNSET

from . import annotations as ann
from .docstrings import parse_docstring
from .inline import PREFIX, Style, apply_style
from .jsonable import to_jsonable
from .plans import FieldsPlan, plan_of
from .walk import rebuild

Mode = Literal["validation", "serialization"]
"""Pydantic's words: a schema for what comes in, or for what goes out."""

_BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_LENGTHS = {"min_length": "min", "max_length": "max"}
_SIMPLE: dict[type, dict[str, Any]] = {
    mi.AnyType: {},
    mi.RawType: {},
    mi.NoneType: {"type": "null"},
    mi.BoolType: {"type": "boolean"},
    mi.IntType: {"type": "integer"},
    mi.FloatType: {"type": "number"},
    mi.StrType: {"type": "string"},
    mi.BytesType: {"type": "string", "contentEncoding": "base64"},
    mi.ByteArrayType: {"type": "string", "contentEncoding": "base64"},
    mi.MemoryViewType: {"type": "string", "contentEncoding": "base64"},
    mi.DateTimeType: {"type": "string", "format": "date-time"},
    mi.DateType: {"type": "string", "format": "date"},
    mi.TimeType: {"type": "string", "format": "time"},
    mi.TimeDeltaType: {"type": "string", "format": "duration"},
    mi.UUIDType: {"type": "string", "format": "uuid"},
}
_LOOSE = (mi.DateTimeType, mi.TimeType, mi.TimeDeltaType)
_DECIMAL = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number"}


class SchemaWriter:
    """Renders types and gathers the definitions they share."""

    def __init__(self, mode: Mode = "validation") -> None:
        self.mode: str = mode
        self.definitions: dict[str, dict[str, Any]] = {}
        self._names: dict[Any, str] = {}

    def finish(self, schema: dict[str, Any], style: Style) -> dict[str, Any]:
        """Join a rendered schema with its definitions."""
        joined = msgspec.json.encode(apply_style(schema, self.definitions, style))
        # Through the wire and back: no tuple left, and no part shared with a type or another part.
        result: dict[str, Any] = msgspec.json.decode(joined)
        return result

    def render(self, annotation: Any) -> dict[str, Any]:
        """The schema of a normalised type."""
        return self._type(mi.type_info(annotation))

    def property_of(self, annotation: Any, default: Any) -> dict[str, Any]:
        """The schema of a parameter or field.

        Args:
            default: The value it has when absent; NODEFAULT when required, UNSET when unknown.
        """
        return self._property(mi.type_info(annotation), default)

    def _property(self, info: mi.Type, default: Any) -> dict[str, Any]:
        schema = self._type(info)
        if default is NODEFAULT or default is UNSET:
            return schema
        if default is None:
            # Absent says the same and weak clients stumble over unions with null. Not for what
            # goes out: there the null is written.
            return _without_null(schema) if self.mode == "validation" else schema
        shown = _as_json(default)
        return schema if shown is UNSET else {**schema, "default": shown}

    def _type(self, info: mi.Type) -> dict[str, Any]:
        match info:
            case mi.Metadata():
                return {**self._type(info.type), **(info.extra_json_schema or {})}
            case mi.CustomType():
                plan = plan_of(info.cls)
                if plan is None:
                    raise TypeError(f"{ann.type_name(info.cls)} has no JSON Schema")
                return plan.schema(self)
            case mi.DecimalType():
                if self._is_output:
                    return {"type": "string"}  # not always a number: "NaN", "Infinity"
                return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": _DECIMAL}]}
            case mi.UnionType():
                return _any_of([self._type(member) for member in info.types])
            case mi.LiteralType():
                return _enumeration(list(info.values))
            case mi.EnumType():
                return self._named(info.cls, lambda: self._enum(info.cls))
            case mi.TupleType():
                items = [self._type(item) for item in info.item_types]
                return _tuple(items, len(items))
            case mi.CollectionType():
                return self._collection(info)
            case mi.DictType():
                return self._dict(info)
            case mi.StructType() if info.array_like:
                return self._named(info.cls, lambda: self._array(info.fields))
            case mi.NamedTupleType():
                return self._named(info.cls, lambda: self._array(info.fields))
            case mi.StructType() | mi.DataclassType() | mi.TypedDictType():
                return self._named(info.cls, lambda: self._object(info.cls, info))
        schema = dict(_SIMPLE[type(info)])
        if self._is_output and isinstance(info, _LOOSE) and getattr(info, "tz", None) is not True:
            # Python writes "10:30:00" and "PT0.5S"; RFC 3339 wants an offset and whole seconds, and
            # a client that asserts formats would refuse the result.
            del schema["format"]
        return schema | _limits(info, "Length")

    @property
    def _is_output(self) -> bool:
        return self.mode == "serialization"

    def _collection(self, info: mi.CollectionType) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array"}
        if items := self._type(info.item_type):
            schema["items"] = items
        if isinstance(info, mi.SetType | mi.FrozenSetType):
            schema["uniqueItems"] = True
        return schema | _limits(info, "Items")

    def _dict(self, info: mi.DictType) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"}
        if values := self._type(info.value_type):
            schema["additionalProperties"] = values
        key = info.key_type
        if isinstance(key, mi.IntType):
            schema["propertyNames"] = {"pattern": r"^-?(0|[1-9]\d*)$"}
        elif not isinstance(key, mi.AnyType) and (names := self._type(key)) != {"type": "string"}:
            schema["propertyNames"] = names
        return schema | _limits(info, "Properties")

    def _enum(self, cls: type[enum.Enum]) -> dict[str, Any]:
        return _enumeration([member.value for member in cls]) | _description(cls)

    def _object(self, cls: Any, info: Any, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
        members: dict[str, Any] = {}
        required: list[str] = []
        if getattr(info, "tag_field", None) is not None:
            members[info.tag_field] = {"const": info.tag}
            required.append(info.tag_field)
        texts = _documented(cls)
        for field in info.fields:
            default = _default_of(field)
            if defaults is not None and default is UNSET:
                default = defaults.get(field.encode_name, UNSET)
            schema = self._property(field.type, default)
            if field.name in texts:
                schema = {"description": texts[field.name], **schema}
            members[field.encode_name] = schema
            if field.required or (self._is_output and dataclasses.is_dataclass(cls)):
                required.append(field.encode_name)
        schema = {"type": "object", **_description(cls), "properties": members}
        if required:
            schema["required"] = required
        if getattr(info, "forbid_unknown_fields", False):
            schema["additionalProperties"] = False
        return schema

    def _array(self, fields: tuple[mi.Field, ...]) -> dict[str, Any]:
        items = [self._property(field.type, _default_of(field)) for field in fields]
        return _tuple(items, sum(field.required for field in fields))

    def fields_of(self, plan: FieldsPlan) -> dict[str, Any]:
        """The schema of a class that is read through a struct of ours."""

        def build() -> dict[str, Any]:
            info = mi.type_info(plan.struct)
            assert isinstance(info, mi.StructType)
            if info.array_like:
                return self._array(info.fields)
            return self._object(plan.cls, info, plan.defaults)

        return self._named(plan.cls, build)

    def adopt(self, fragment: dict[str, Any]) -> dict[str, Any]:
        """Take over a schema pydantic wrote, its definitions and without its noise."""
        definitions = fragment.pop("$defs", {})
        names = {name: self._allocate(name, body) for name, body in definitions.items()}

        def clean(node: dict[str, Any]) -> dict[str, Any]:
            reference = node.get("$ref")
            if isinstance(reference, str) and reference.startswith(PREFIX):
                name = reference.removeprefix(PREFIX)
                node["$ref"] = PREFIX + names.get(name, name)
            node.pop("discriminator", None)  # OpenAPI's; its mapping dangles once refs move
            if self.mode == "validation" and "default" in node and node["default"] is None:
                del node["default"]
                node = _without_null(node)
            for name, member in node.get("properties", {}).items():
                if isinstance(member, dict) and _is_noise(member.get("title"), name):
                    del member["title"]
            return node

        for name, body in definitions.items():
            cleaned = rebuild(body, clean)
            if _is_noise(cleaned.get("title"), name):
                del cleaned["title"]
            self.definitions[names[name]] = cleaned
        result = rebuild(fragment, clean)
        result.pop("title", None)  # the class name of the model itself
        return result

    def _named(self, cls: Any, build: Any) -> dict[str, Any]:
        name = self._names.get(cls)
        if name is None:
            title = getattr(cls, "__name__", None) or ann.type_name(cls)
            if getattr(cls, "__args__", ()):
                title = ann.type_name(cls)
            name = self._names[cls] = self._free(re.sub(r"[^A-Za-z0-9_.-]+", "_", title))
            self.definitions[name] = {}  # holds the name while the class refers to itself
            self.definitions[name] = build()
        return {"$ref": PREFIX + name}

    def _allocate(self, name: str, body: Mapping[str, Any]) -> str:
        key = ("pydantic", name, repr(body))
        if key not in self._names:
            self._names[key] = self._free(name)
            self.definitions[self._names[key]] = {}
        return self._names[key]

    def _free(self, name: str) -> str:
        free, number = name, 2
        while free in self.definitions:
            free, number = f"{name}_{number}", number + 1
        return free


def _default_of(field: mi.Field) -> Any:
    if field.required:
        return NODEFAULT
    if field.default_factory in (list, dict, set, frozenset, tuple):
        return field.default_factory()
    return UNSET if field.default is NODEFAULT else field.default


def _limits(info: mi.Type, noun: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, keyword in _BOUNDS.items():
        if (value := getattr(info, name, None)) is not None:
            found[keyword] = value
    for name, word in _LENGTHS.items():
        if (value := getattr(info, name, None)) is not None:
            if isinstance(info, mi.BytesType | mi.ByteArrayType | mi.MemoryViewType):
                value = (value + 2) // 3 * 4  # the length is published of the base64 text
            found[word + noun] = value
    return found


def _tuple(items: list[dict[str, Any]], required: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "maxItems": len(items)}
    if items:
        schema["prefixItems"] = items
    if required:
        schema["minItems"] = required
    return schema


def _enumeration(values: list[Any]) -> dict[str, Any]:
    kinds = {_KINDS.get(type(value)) for value in values}
    kind = kinds.pop() if len(kinds) == 1 else None
    return {"type": kind, "enum": values} if kind else {"enum": values}


def _any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    unique: list[dict[str, Any]] = []
    for option in options:
        if not option:
            return {}
        if option not in unique:
            unique.append(option)
    if {"type": "integer"} in unique and {"type": "number"} in unique:
        unique.remove({"type": "integer"})  # every integer is a number
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    options = schema.get("anyOf")
    if not isinstance(options, list) or {"type": "null"} not in options:
        return schema
    rest = [option for option in options if option != {"type": "null"}]
    others = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**_any_of(rest), **others} if rest else schema


def _as_json(value: Any) -> Any:
    try:
        return to_jsonable(value)
    except (TypeError, ValueError):
        return UNSET


def _is_noise(title: Any, name: str) -> bool:
    """Tell whether a title only repeats the name, as pydantic writes them."""
    if not isinstance(title, str):
        return False
    return re.sub(r"[\W_]+", "", title).lower() == re.sub(r"[\W_]+", "", name).lower()


def _own_doc(cls: Any) -> str | None:
    doc = getattr(cls, "__dict__", {}).get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{cls.__name__}("):
        return None  # dataclasses and named tuples write their signature there
    return None if doc == "An enumeration." else doc


def _description(cls: Any) -> dict[str, Any]:
    summary = parse_docstring(_own_doc(cls)).summary
    return {"description": summary} if summary else {}


def _documented(cls: Any) -> dict[str, str]:
    return parse_docstring(_own_doc(cls)).params
