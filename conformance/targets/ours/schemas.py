"""Writes the JSON schemas that the judge holds messages to, from the message types of our own implementation.

    python -m conformance.targets.ours.schemas            # writes conformance/schema/<revision>.json

A revision's schema is what its step down leaves of each type: a member that the step takes away is not there, a type
that it replaces is no type of the revision. What a Python type cannot say (a number's bounds, the format of a text, a
member that some revisions demand) stands in `shaping`. The judge reads the files and never imports this module.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from protocol import adapt
from protocol.methods import METHODS, MethodSpec
from protocol.model import Family, Model
from protocol.params import Params
from protocol.results import (
    CreateTaskResult,
    DetailedTaskResult,
    InputRequiredResult,
    ListenResult,
)
from protocol.revisions import REVISIONS, Era, Revision

from . import shaping

__all__ = ["FOLDER", "build", "main"]

FOLDER = Path(__file__).parents[2] / "schema"

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
    Raw: {},
    dict: {"type": "object"},
}
_SAMPLES: dict[Any, Any] = {str: "x", int: 1, float: 1.0, bool: True, Any: {}, Raw: Raw(b"{}")}


_WAY_DOWN = (adapt.TO_2025_11_25, adapt.TO_2025_06_18, adapt.TO_2025_03_26, adapt.TO_2024_11_05)
"""The steps from the newest revision down, one for each older revision."""


def _branches(annotation: Any) -> list[Any]:
    """Return the members of a union; where the member may be absent, null is but what we tolerate."""
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    found = [each for each in get_args(annotation) if each is not UnsetType]
    is_optional = len(found) < len(get_args(annotation))
    return [each for each in found if not (is_optional and each is type(None))]


def _sample(annotation: Any) -> Any:
    """Return a value of an annotation with every member there is."""
    first = _branches(annotation)[0]
    origin = get_origin(first)
    if origin is Literal:
        return get_args(first)[0]
    if origin is list:
        return [_sample(get_args(first)[0])]
    if origin is dict or first is dict:
        return {"type": "object"}
    if isinstance(first, type) and issubclass(first, Family) and not issubclass(first, Struct):
        return _sample(first.__subclasses__()[0])
    if isinstance(first, type) and issubclass(first, Struct):
        return first(**{info.name: _sample(info.type) for info in msgspec.structs.fields(first)})
    return _SAMPLES[first]


class _Writer:
    """Writes the definitions of one revision."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.is_envelope = revision.era is Era.ENVELOPE
        down = len(REVISIONS) - 1 - REVISIONS.index(revision)
        self._steps = _WAY_DOWN[:down] or (adapt.TO_2026_07_28,)
        self.definitions: dict[str, Any] = {}

    def left(self, type_: type[Model]) -> Model | None:
        """Return what the revision leaves of a value with every member; `None` if it has no such type."""
        value = _sample(type_)
        # Step by step, not by the composed way down: that one begins with whole messages, so it does not expect that
        # the value it is given changes its type.
        for step in self._steps:
            change = step.get(type_)
            value = value if change is None else change(value)
            if type(value) is not type_:
                return None
        return value

    def annotation(self, annotation: Any) -> dict[str, Any]:
        """Return the schema of an annotation."""
        branches = _branches(annotation)
        kinds = [self._branch(each) for each in branches]
        there = [each for each in kinds if each is not None]
        # In JSON an integer is a number.
        if {"type": "number"} in there:
            there = [each for each in there if each != {"type": "integer"}]
        if len(there) == 1:
            return there[0]
        if all(list(each) == ["type"] for each in there):
            return {"type": [each["type"] for each in there]}
        return {"anyOf": there}

    def _branch(self, kind: Any) -> dict[str, Any] | None:
        origin = get_origin(kind)
        if origin is Literal:
            return {"type": "string", "enum": sorted(get_args(kind))}
        if origin is list:
            return {"type": "array", "items": self.annotation(get_args(kind)[0])}
        if origin is dict:
            items = self.annotation(get_args(kind)[1])
            return {"type": "object", "additionalProperties": items} if items else {"type": "object"}
        if isinstance(kind, type) and issubclass(kind, Family) and not issubclass(kind, Struct):
            found = [self._branch(each) for each in kind.__subclasses__()]
            return {"anyOf": [each for each in found if each is not None]}
        if isinstance(kind, type) and issubclass(kind, Model):
            return self.model(kind)
        return dict(_PLAIN[kind])

    def model(self, type_: type[Model]) -> dict[str, Any] | None:
        """Define a type and return a reference to it; `None` if the revision has no such type."""
        name = type_.__name__
        if name not in self.definitions:
            rest = self.left(type_)
            if rest is None:
                return None
            self.definitions[name] = {}  # for types that hold themselves
            self.definitions[name] = self._define(type_, rest)
        return {"$ref": f"#/$defs/{name}"}

    def _define(self, type_: type[Model], rest: Model) -> dict[str, Any]:
        name, config = type_.__name__, type_.__struct_config__
        members: dict[str, Any] = {}
        required: list[str] = []
        if config.tag is not None:
            tag = config.tag_field or "type"
            members[tag] = {"type": "string", "const": config.tag}
            required.append(tag)
        for info in msgspec.structs.fields(type_):
            if getattr(rest, info.name) is UNSET or not shaping.is_there(name, info.encode_name, self.revision.name):
                continue
            members[info.encode_name] = self.annotation(info.type)
            if info.required:
                required.append(info.encode_name)
        made = {"type": "object", "properties": members, "required": sorted(required)}
        shaping.shape(name, made, self.revision.name)
        return made

    def params(self, spec: MethodSpec, *, is_embedded: bool = False) -> dict[str, Any]:
        """Define the params of a method and return a reference to them."""
        name = spec.params.__name__
        if not issubclass(spec.params, Model):
            raise TypeError(f"{name} is no model")
        if spec.params is Params or name == "EmptyParams":
            name = "RequestParams" if spec.is_request else "NotificationParams"
        if is_embedded:
            name = f"Embedded{name}"
        if name not in self.definitions:
            rest = self.left(spec.params)
            if rest is None:
                raise TypeError(f"{self.revision.name} has no {name}")
            made = self._define(spec.params, rest)
            meta, is_demanded = shaping.meta_of_params(self.revision.name, spec.is_request and not is_embedded)
            if self.is_envelope and spec.is_request and not is_embedded:
                for reference in ("ClientCapabilities", "Implementation"):
                    self.model(next(t for t in shaping.META_TYPES if t.__name__ == reference))
            if not is_embedded or "_meta" in made["properties"]:
                made["properties"]["_meta"] = {"type": "object"} if is_embedded else meta
            made["required"] = sorted({*made["required"], *(["_meta"] if is_demanded else [])})
            self.definitions[name] = made
        return {"$ref": f"#/$defs/{name}"}

    def message(self, spec: MethodSpec, *, is_embedded: bool = False) -> dict[str, Any]:
        """Return the schema of a whole request or notification."""
        params = self.params(spec, is_embedded=is_embedded)
        members = {"method": {"type": "string", "const": spec.name}, "params": params}
        required = ["method"]
        if not is_embedded:
            members["jsonrpc"] = {"type": "string", "const": "2.0"}
            required.append("jsonrpc")
            if spec.is_request:
                members["id"] = {"type": ["string", "integer"]}
                required.append("id")
        demanded = self.definitions[params["$ref"].rpartition("/")[2]]["required"]
        if demanded or shaping.demands_params(spec.name, self.revision.name):
            required.append("params")
        return {"type": "object", "properties": members, "required": sorted(required)}

    def result(self, type_: type[Model], *, is_embedded: bool = False, is_cached: bool = False) -> dict[str, Any]:
        """Define a result and return a reference to it."""
        found = self.model(type_)
        if found is None:
            raise TypeError(f"{self.revision.name} has no {type_.__name__}")
        made = self.definitions[type_.__name__]
        if self.is_envelope and not is_embedded:
            self.model(shaping.META_TYPES[1])
            made["properties"]["_meta"] = shaping.meta_of_results(is_listen=type_ is ListenResult)
            more = ["resultType", *(("ttlMs", "cacheScope") if is_cached else ())]
            more += ["_meta"] if type_ is ListenResult else []
            made["required"] = sorted({*made["required"], *more})
        return found


def _asked(spec: MethodSpec, is_envelope: bool) -> bool:
    return is_envelope and spec.is_embeddable


def build(revision: Revision) -> dict[str, Any]:
    """Return the schemas of a revision: messages by method, results by the method of their request, errors by code."""
    writer = _Writer(revision)
    there = [spec for name, spec in METHODS.items() if name in revision.methods]
    asked = [spec for spec in METHODS.values() if _asked(spec, writer.is_envelope)]
    found: dict[str, Any] = {
        "revision": revision.name,
        "messages": {spec.name: writer.message(spec) for spec in there},
        "results": {
            spec.name: writer.result(shaping.result_of(spec, revision.name), is_cached=spec.cacheable)
            for spec in there
            if spec.result is not None
        },
        "errors": shaping.errors(revision.name),
    }
    if writer.is_envelope:
        requests = [writer.message(spec, is_embedded=True) for spec in asked]
        responses = [writer.result(spec.result, is_embedded=True) for spec in asked if spec.result is not None]
        writer.result(InputRequiredResult)
        found["kinds"] = {
            "input_required": {"$ref": "#/$defs/InputRequiredResult"},
            "task": writer.result(DetailedTaskResult),
        }
        writer.definitions["InputRequest"] = {"anyOf": requests}
        for made in list(_objects(writer.definitions)):
            if "inputResponses" in made:
                made["inputResponses"] = {"type": "object", "additionalProperties": {"anyOf": responses}}
    elif "tasks/get" in revision.methods:
        found["kinds"] = {"task": writer.result(CreateTaskResult)}
    found["$defs"] = dict(sorted(writer.definitions.items()))
    return found


def _objects(definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in definitions.values():
        if isinstance(each.get("properties"), dict):
            yield each["properties"]


def main(arguments: list[str] | None = None) -> int:
    """Write every schema; return 0."""
    given = sys.argv[1:] if arguments is None else arguments
    folder = Path(given[0]) if given else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for revision in REVISIONS:
        text = json.dumps(build(revision), indent=1, sort_keys=True)
        (folder / f"{revision.name}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
