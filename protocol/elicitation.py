"""What a form may ask for and whether an answer fits: the small part of JSON Schema that forms use.

A form is one flat object of texts, numbers, booleans and choices, in the spellings of every
revision. General JSON Schema is not a matter of this package.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

_FORM_KEYWORDS = frozenset(
    {"$schema", "type", "properties", "required", "title", "description", "additionalProperties"}
)
_COMMON = frozenset({"type", "title", "description", "default"})
_STRING_KEYWORDS = _COMMON | {"minLength", "maxLength", "format", "pattern"}
_NUMBER_KEYWORDS = _COMMON | {"minimum", "maximum"}
_CHOICE_KEYWORDS = _COMMON | {"enum", "enumNames", "oneOf"}
_LIST_KEYWORDS = _COMMON | {"items", "minItems", "maxItems"}

_DATE = r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_FORMATS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "email": re.compile(r"[^\s@]+@[^\s@.]+(?:\.[^\s@.]+)*"),
        "uri": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+"),
        "date": re.compile(_DATE, re.ASCII),
        "date-time": re.compile(rf"{_DATE}T{_TIME}", re.ASCII | re.IGNORECASE),
    }
)
_SHORT_MONTHS = frozenset({"04", "06", "09", "11"})


def check_elicitation_schema(schema: Any) -> str | None:
    """Return what is wrong with the schema of a form, `None` when a client can show it."""
    if not isinstance(schema, dict):
        return "the schema is not an object"
    if schema.get("type") != "object":
        return "the schema's type is not object"
    if (name := _stray(schema, _FORM_KEYWORDS)) is not None:
        return f"`{name}` has no place in a form"
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return "`properties` is not an object"
    for name, of in properties.items():
        if (fault := _check_property(of)) is not None:
            return f"property `{name}`: {fault}"
    required = schema.get("required", [])
    if not _is_texts(required):
        return "`required` is not a list of names"
    for name in required:
        if name not in properties:
            return f"`required` names `{name}`, which is no property"
    return None


def check_elicit_content(schema: Mapping[str, Any], content: Any) -> str | None:
    """Return what is wrong with an answer to a form, `None` when it fits.

    Args:
        schema: one that `check_elicitation_schema` accepts. A `pattern` in it is a hint to the
            client's user interface: running a peer's expression on a user's text invites a stall.
        content: the accepted content.
    """
    if not isinstance(content, dict):
        return "the content is not an object"
    properties = schema["properties"]
    for name in schema.get("required", ()):
        if name not in content:
            return f"`{name}` is missing"
    for name, value in content.items():
        of = properties.get(name)
        if of is None:
            if schema.get("additionalProperties") is False:
                return f"`{name}` was not asked for"
            if not (isinstance(value, (str, int, float)) or _is_texts(value)):
                return f"`{name}` is neither text, number, boolean nor a list of texts"
        elif (fault := _check_value(of, value)) is not None:
            return f"`{name}` {fault}"
    return None


def apply_defaults(schema: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with the form's defaults for what it leaves out."""
    defaults = {name: of["default"] for name, of in schema["properties"].items() if "default" in of}
    return {**defaults, **content}


def _check_property(of: Any) -> str | None:
    if not isinstance(of, dict):
        return "it is not a schema object"
    kind = of.get("type")
    check = _PROPERTY_CHECKS.get(kind) if isinstance(kind, str) else None
    if check is None:
        return "its type is not string, number, integer, boolean or array"
    for name in ("title", "description"):
        if not isinstance(of.get(name, ""), str):
            return f"`{name}` is not text"
    fault = check(of)
    if fault is None and "default" in of and (misfit := _check_value(of, of["default"])):
        return f"`default` {misfit}"
    return fault


def _check_string(of: Mapping[str, Any]) -> str | None:
    if "oneOf" in of or "enum" in of:
        return _check_choice(of)
    if (name := _stray(of, _STRING_KEYWORDS)) is not None:
        return f"`{name}` is not permitted for text"
    wanted = of.get("format", "email")
    if not isinstance(wanted, str) or wanted not in _FORMATS:
        return "`format` is not email, uri, date or date-time"
    if not isinstance(of.get("pattern", ""), str):
        return "`pattern` is not text"
    return _check_counts(of, "minLength", "maxLength")


def _check_choice(of: Mapping[str, Any]) -> str | None:
    if (name := _stray(of, _CHOICE_KEYWORDS)) is not None:
        return f"`{name}` is not permitted for a choice"
    if "oneOf" in of:
        if "enum" in of or "enumNames" in of:
            return "it has both `oneOf` and `enum`"
        return None if _is_titled(of["oneOf"]) else "`oneOf` is not a list of {const, title}"
    if not (_is_texts(of["enum"]) and of["enum"]):
        return "`enum` is not a list of texts"
    names = of.get("enumNames", of["enum"])
    if not _is_texts(names) or len(names) != len(of["enum"]):
        return "`enumNames` does not give each choice a name"
    return None


def _check_number(of: Mapping[str, Any]) -> str | None:
    if (name := _stray(of, _NUMBER_KEYWORDS)) is not None:
        return f"`{name}` is not permitted for a number"
    for name in ("minimum", "maximum"):
        if not _is_number(of.get(name, 0)):
            return f"`{name}` is not a number"
    return None


def _check_boolean(of: Mapping[str, Any]) -> str | None:
    if (name := _stray(of, _COMMON)) is not None:
        return f"`{name}` is not permitted for a boolean"
    return None


def _check_list(of: Mapping[str, Any]) -> str | None:
    if (name := _stray(of, _LIST_KEYWORDS)) is not None:
        return f"`{name}` is not permitted for several choices"
    items = of.get("items")
    if not isinstance(items, dict):
        return "`items` is not an object"
    if "anyOf" in items:
        if items.keys() != {"anyOf"} or not _is_titled(items["anyOf"]):
            return "`items.anyOf` is not a list of {const, title}"
    elif items.keys() != {"type", "enum"} or items["type"] != "string":
        return "`items` is neither texts to choose from nor `anyOf`"
    elif not (_is_texts(items["enum"]) and items["enum"]):
        return "`items.enum` is not a list of texts"
    return _check_counts(of, "minItems", "maxItems")


_PROPERTY_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = MappingProxyType(
    {
        "string": _check_string,
        "number": _check_number,
        "integer": _check_number,
        "boolean": _check_boolean,
        "array": _check_list,
    }
)


def _check_counts(of: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        count = of.get(name, 0)
        if not _is_number(count) or count != int(count) or count < 0:
            return f"`{name}` is not a count"
    return None


def _check_value(of: Mapping[str, Any], value: Any) -> str | None:
    match of["type"]:
        case "boolean":
            return None if isinstance(value, bool) else "is not a boolean"
        case "string":
            return _misfit_text(of, value)
        case "array":
            return _misfit_list(of, value)
        case kind:
            return _misfit_number(of, value, kind)


def _misfit_text(of: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, str):
        return "is not text"
    if "oneOf" in of or "enum" in of:
        return None if value in _choices(of, "oneOf") else "is not one of the choices"
    if len(value) < of.get("minLength", 0):
        return "is too short"
    if len(value) > of.get("maxLength", len(value)):
        return "is too long"
    wanted = of.get("format")
    if wanted is not None and not _has_format(value, wanted):
        return f"is not a valid {wanted}"
    return None


def _misfit_number(of: Mapping[str, Any], value: Any, kind: str) -> str | None:
    if not _is_number(value):
        return "is not a number"
    if kind == "integer" and value != int(value):
        return "is not a whole number"
    if value < of.get("minimum", value):
        return "is too small"
    if value > of.get("maximum", value):
        return "is too large"
    return None


def _misfit_list(of: Mapping[str, Any], value: Any) -> str | None:
    if not _is_texts(value):
        return "is not a list of texts"
    allowed = _choices(of["items"], "anyOf")
    if any(item not in allowed for item in value):
        return "has an item that is not one of the choices"
    if len(value) < of.get("minItems", 0):
        return "has too few items"
    if len(value) > of.get("maxItems", len(value)):
        return "has too many items"
    return None


def _has_format(value: str, name: str) -> bool:
    found = _FORMATS[name].fullmatch(value)
    if found is None or not name.startswith("date"):
        return found is not None
    year, month, day = found.group(1, 2, 3)
    if month == "02":
        # Divisible by 4, and by 16 where the century would break the rule: the Gregorian leap year.
        is_leap = int(year) % (16 if year.endswith("00") else 4) == 0
        return int(day) <= (29 if is_leap else 28)
    return not (month in _SHORT_MONTHS and day == "31")


def _choices(of: Mapping[str, Any], titled: str) -> list[str]:
    return [choice["const"] for choice in of[titled]] if titled in of else of["enum"]


def _stray(of: Mapping[str, Any], permitted: frozenset[str]) -> str | None:
    """Return a keyword that is not permitted; a vendor's own `x-` keywords always are."""
    return next((name for name in of if name not in permitted and not name.startswith("x-")), None)


def _is_number(value: Any) -> bool:
    # Infinities have no whole part to compare with, and no place in JSON.
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and value not in (float("inf"), float("-inf"))
        and value == value
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_titled(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(choice, dict) and choice.keys() == {"const", "title"} and _is_texts(list(choice.values()))
            for choice in value
        )
    )
