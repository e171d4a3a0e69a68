"""Which validator understands which JSON Schema dialect.

fastjsonschema reads 2020-12 and schema-less input as draft 7 and accepts what it must not, so it
only ever sees drafts 4, 6 and 7. Even there a schema goes to jsonschema-rs when it

- names itself or refers beyond itself: fastjsonschema keeps what `$id` names in one table for the
  whole process, where one server's schema would answer another server's `$ref`;
- holds a regular expression: Python's `re` has no bound on backtracking;
- names a format: of those of draft 7 it knows some only by half;
- can make its faults expensive to find (see `cost`), as it always looks for them.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

import msgspec

from .cost import UNLIMITED, is_deeper
from .errors import SchemaError, UnsupportedDialectError
from .walk import subschemas

BACKTRACKS = 100_000
"""Steps a regular expression may take back before the value counts as not matching."""
REGEX_SIZE = 1 << 20
DEFAULT = "https://json-schema.org/draft/2020-12/schema"


class Problem(msgspec.Struct, frozen=True):
    """One way in which a value does not fit a schema."""

    path: str
    """JSON path of the offending part, `$` for the whole value."""
    message: str


Check = Callable[[Any], Iterator[Problem]]


class Dialect(msgspec.Struct, frozen=True):
    """One `$schema` and the engine for it."""

    uri: str
    draft: str
    """jsonschema-rs's name for it."""
    is_old: bool = False
    """True for drafts 4, 6 and 7."""


_DIALECTS = {
    dialect.uri: dialect
    for dialect in (
        Dialect("json-schema.org/draft/2020-12/schema", "Draft202012"),
        Dialect("json-schema.org/draft/2019-09/schema", "Draft201909"),
        Dialect("json-schema.org/draft-07/schema", "Draft7", is_old=True),
        Dialect("json-schema.org/draft-06/schema", "Draft6", is_old=True),
        Dialect("json-schema.org/draft-04/schema", "Draft4", is_old=True),
    )
}
"""Addresses without the scheme and the empty fragment: both spellings of each are about."""


def dialect_of(schema: Mapping[str, Any]) -> Dialect:
    """The dialect a schema declares, 2020-12 when it declares none.

    Raises:
        UnsupportedDialectError: It declares one that no validator here implements.
    """
    declared = schema.get("$schema", DEFAULT)
    if not isinstance(declared, str):
        raise SchemaError("$schema must be a string")
    bare = declared.removesuffix("#").removeprefix("https://").removeprefix("http://")
    if (dialect := _DIALECTS.get(bare)) is None:
        raise UnsupportedDialectError(f"JSON Schema dialect {declared[:200]!r} is not supported")
    return dialect


def build(schema: Mapping[str, Any], dialect: Dialect, *, detail_depth: int = UNLIMITED) -> Check:
    """Compile a schema with the engine of its dialect.

    Args:
        detail_depth: How deep a value may nest for its faults to be told one by one.
    """
    rust = _build_rust(dict(schema), dialect, detail_depth)
    fast = None
    if dialect.is_old and detail_depth == UNLIMITED and _is_self_contained(schema):
        fast = _build_fast(dict(schema))
    return rust if fast is None else fast


def _is_self_contained(schema: Mapping[str, Any]) -> bool:
    for _, node in subschemas(schema):
        if isinstance(node.get("$id", node.get("id")), str):
            return False
        if "pattern" in node or "patternProperties" in node or "format" in node:
            return False
        reference = node.get("$ref")
        if reference is not None and not (isinstance(reference, str) and reference[:1] == "#"):
            return False
    return True


class _RustValidator(Protocol):
    def is_valid(self, instance: Any) -> bool: ...
    def iter_errors(self, instance: Any) -> Iterator[Any]: ...


def _build_rust(schema: dict[str, Any], dialect: Dialect, detail_depth: int) -> Check:
    # Imported where it is used: its 6 MB library would double the start of a server whose tools are
    # all written in Python and never validate against a schema.
    import jsonschema_rs

    factory = getattr(jsonschema_rs, f"{dialect.draft}Validator")
    try:
        validator: _RustValidator = factory(
            schema,
            validate_formats=True,
            formats=_OLD_FORMATS if dialect.is_old else None,
            retriever=_refuse,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS, size_limit=REGEX_SIZE),
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        place = json_path(getattr(error, "instance_path", ()))
        text = getattr(error, "message", str(error))
        raise SchemaError(f"invalid JSON Schema at {place}: {text[:300]}") from None
    return functools.partial(_check_rust, validator, detail_depth)


def _check_rust(validator: _RustValidator, detail_depth: int, value: Any) -> Iterator[Problem]:
    try:
        if validator.is_valid(value):
            return
        if detail_depth < UNLIMITED and is_deeper(value, detail_depth):
            yield Problem("$", "the value does not fit the schema, which is too involved to say where")
            return
        for error in validator.iter_errors(value):
            yield Problem(json_path(error.instance_path), error.message)
    except ValueError as error:  # the value is not JSON: an object, a key that is no string …
        yield Problem("$", str(error))


def _build_fast(schema: dict[str, Any]) -> Check | None:
    import fastjsonschema  # see `_build_rust`

    try:
        validate = fastjsonschema.compile(schema, handlers=_Refusing(), use_default=False)
    except (fastjsonschema.JsonSchemaException, *_GENERATOR_FAULTS):
        return None  # valid, as the other engine has found already, but beyond this one
    return functools.partial(_check_fast, validate, fastjsonschema.JsonSchemaValueException)


_GENERATOR_FAULTS = (
    AttributeError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


def _check_fast(validate: Callable[[Any], Any], fault: type[Exception], value: Any) -> Iterator[Problem]:
    try:
        validate(value)
    except RecursionError:
        yield Problem("$", "the value is nested too deeply, or the schema refers to itself")
    except fault as error:
        # Its messages and paths begin with "data", the name of its own variable.
        message = str(error).removeprefix(getattr(error, "name", "data")).strip()
        yield Problem(json_path(getattr(error, "path", ())[1:]), message)


def _is_uuid(text: str) -> bool:
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and not set("".join(parts)) - _HEX


_HEX = frozenset("0123456789abcdefABCDEF")
_OLD_FORMATS = {"uuid": _is_uuid}
"""What drafts 4, 6 and 7 do not define, and everybody uses with them."""


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"refusing to fetch {uri[:200]!r}: a schema must bring what it refers to")


class _Refusing(dict[str, Callable[[str], Any]]):
    """Answers for every scheme, because fastjsonschema opens what no handler is named for."""

    def __contains__(self, scheme: object) -> bool:
        return True

    def __getitem__(self, scheme: str) -> Callable[[str], Any]:
        return _refuse


def json_path(parts: Any) -> str:
    """Write path segments as a JSON path: `$.items[0].name`."""
    text = "$"
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if str(part).isidentifier() else f"[{str(part)!r:.80}]"
    return text
