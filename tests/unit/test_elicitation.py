"""What a form may ask for, and whether an answer fits."""

from typing import Any

import pytest

from protocol.elicitation import apply_defaults, check_elicit_content, check_elicitation_schema

TITLED = [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]


def form(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


@pytest.mark.parametrize(
    "of",
    [
        {"type": "string"},
        {"type": "string", "title": "T", "description": "D", "default": "a", "x-order": 1},
        {"type": "string", "minLength": 1, "maxLength": 3, "default": "abc"},
        {"type": "string", "pattern": "^a"},
        {"type": "string", "format": "email", "default": "a@b.example"},
        {"type": "string", "format": "uri", "default": "https://a.example/b?c#d"},
        {"type": "string", "format": "date", "default": "2024-02-29"},
        {"type": "string", "format": "date-time", "default": "2024-02-29T23:59:60.5+01:30"},
        {"type": "number", "minimum": 0, "maximum": 1.5, "default": 0.5},
        {"type": "integer", "minimum": -1, "default": 2.0},
        {"type": "boolean", "default": False},
        {"type": "string", "enum": ["a", "b"], "default": "b"},
        {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]},
        {"type": "string", "oneOf": TITLED, "default": "r"},
        {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "default": []},
        {"type": "array", "items": {"anyOf": TITLED}, "minItems": 1, "maxItems": 2, "default": ["r", "g"]},
    ],
)
def test_every_permitted_property_is_accepted(of: dict[str, Any]):
    assert check_elicitation_schema(form(a=of)) is None


def test_a_form_may_say_more_about_itself():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "T",
        "description": "D",
        "additionalProperties": False,
        "x-vendor": {},
        **form("a", a={"type": "string"}),
    }
    assert check_elicitation_schema(schema) is None
    assert check_elicitation_schema({"type": "object", "properties": {}}) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ([], "the schema is not an object"),
        ({}, "the schema's type is not object"),
        ({"type": "array", "items": {}}, "the schema's type is not object"),
        ({"type": "object"}, "`properties` is not an object"),
        ({"type": "object", "properties": []}, "`properties` is not an object"),
        ({"type": "object", "properties": {}, "allOf": []}, "`allOf` has no place in a form"),
        ({"type": "object", "properties": {}, "$defs": {}}, "`$defs` has no place in a form"),
        ({"type": "object", "properties": {}, "required": "a"}, "`required` is not a list of names"),
        ({"type": "object", "properties": {}, "required": [1]}, "`required` is not a list of names"),
        ({"type": "object", "properties": {}, "required": ["a"]}, "`required` names `a`, which is no property"),
    ],
)
def test_what_is_no_flat_object_is_refused(schema: Any, fault: str):
    assert check_elicitation_schema(schema) == fault


@pytest.mark.parametrize(
    ("of", "fault"),
    [
        (True, "it is not a schema object"),
        ({}, "its type is not string, number, integer, boolean or array"),
        ({"type": "object", "properties": {}}, "its type is not string, number, integer, boolean or array"),
        ({"type": ["string", "null"]}, "its type is not string, number, integer, boolean or array"),
        ({"type": "null"}, "its type is not string, number, integer, boolean or array"),
        ({"type": "string", "title": 1}, "`title` is not text"),
        ({"type": "string", "description": None}, "`description` is not text"),
        ({"type": "string", "minimum": 1}, "`minimum` is not permitted for text"),
        ({"type": "string", "$ref": "#/x"}, "`$ref` is not permitted for text"),
        ({"type": "string", "format": "ipv4"}, "`format` is not email, uri, date or date-time"),
        ({"type": "string", "format": ["uri"]}, "`format` is not email, uri, date or date-time"),
        ({"type": "string", "pattern": 1}, "`pattern` is not text"),
        ({"type": "string", "minLength": -1}, "`minLength` is not a count"),
        ({"type": "string", "maxLength": 1.5}, "`maxLength` is not a count"),
        ({"type": "string", "maxLength": True}, "`maxLength` is not a count"),
        ({"type": "string", "maxLength": float("inf")}, "`maxLength` is not a count"),
        ({"type": "string", "default": 1}, "`default` is not text"),
        ({"type": "string", "maxLength": 1, "default": "ab"}, "`default` is too long"),
        ({"type": "string", "enum": ["a"], "format": "uri"}, "`format` is not permitted for a choice"),
        ({"type": "string", "enum": []}, "`enum` is not a list of texts"),
        ({"type": "string", "enum": [1]}, "`enum` is not a list of texts"),
        ({"type": "string", "enum": ["a"], "enumNames": "A"}, "`enumNames` does not give each choice a name"),
        ({"type": "string", "enum": ["a"], "enumNames": []}, "`enumNames` does not give each choice a name"),
        ({"type": "string", "enum": ["a"], "default": "b"}, "`default` is not one of the choices"),
        ({"type": "string", "enum": ["a"], "oneOf": TITLED}, "it has both `oneOf` and `enum`"),
        ({"type": "string", "enumNames": ["a"], "oneOf": TITLED}, "it has both `oneOf` and `enum`"),
        ({"type": "string", "oneOf": []}, "`oneOf` is not a list of {const, title}"),
        ({"type": "string", "oneOf": {}}, "`oneOf` is not a list of {const, title}"),
        ({"type": "string", "oneOf": ["a"]}, "`oneOf` is not a list of {const, title}"),
        ({"type": "string", "oneOf": [{"const": "a"}]}, "`oneOf` is not a list of {const, title}"),
        ({"type": "string", "oneOf": [{"const": 1, "title": "A"}]}, "`oneOf` is not a list of {const, title}"),
        ({"type": "number", "multipleOf": 2}, "`multipleOf` is not permitted for a number"),
        ({"type": "number", "minimum": "0"}, "`minimum` is not a number"),
        ({"type": "number", "maximum": float("nan")}, "`maximum` is not a number"),
        ({"type": "number", "default": True}, "`default` is not a number"),
        ({"type": "integer", "default": 1.5}, "`default` is not a whole number"),
        ({"type": "integer", "minimum": 2, "default": 1}, "`default` is too small"),
        ({"type": "boolean", "enum": [True]}, "`enum` is not permitted for a boolean"),
        ({"type": "boolean", "default": 1}, "`default` is not a boolean"),
        ({"type": "array", "items": {"anyOf": TITLED}, "uniqueItems": True}, None),
        ({"type": "array"}, "`items` is not an object"),
        ({"type": "array", "items": {"anyOf": []}}, "`items.anyOf` is not a list of {const, title}"),
        (
            {"type": "array", "items": {"anyOf": TITLED, "type": "string"}},
            "`items.anyOf` is not a list of {const, title}",
        ),
        ({"type": "array", "items": {"type": "string"}}, "`items` is neither texts to choose from nor `anyOf`"),
        (
            {"type": "array", "items": {"type": "number", "enum": ["a"]}},
            "`items` is neither texts to choose from nor `anyOf`",
        ),
        ({"type": "array", "items": {"type": "string", "enum": []}}, "`items.enum` is not a list of texts"),
        ({"type": "array", "items": {"type": "string", "enum": [1]}}, "`items.enum` is not a list of texts"),
        ({"type": "array", "items": {"anyOf": TITLED}, "minItems": "1"}, "`minItems` is not a count"),
        ({"type": "array", "items": {"anyOf": TITLED}, "default": "r"}, "`default` is not a list of texts"),
        (
            {"type": "array", "items": {"anyOf": TITLED}, "default": ["b"]},
            "`default` has an item that is not one of the choices",
        ),
    ],
)
def test_a_property_that_no_revision_permits_is_refused(of: Any, fault: str | None):
    expected = fault or "`uniqueItems` is not permitted for several choices"
    assert check_elicitation_schema(form(a=of)) == f"property `a`: {expected}"


CONTENT: list[tuple[dict[str, Any], Any, str | None]] = [
    ({"type": "string"}, "", None),
    ({"type": "string"}, 1, "is not text"),
    ({"type": "string"}, None, "is not text"),
    ({"type": "string", "minLength": 2}, "a", "is too short"),
    ({"type": "string", "minLength": 2}, "ab", None),
    ({"type": "string", "maxLength": 2}, "abc", "is too long"),
    ({"type": "string", "maxLength": 1}, "\U0001f600", None),
    ({"type": "string", "pattern": "^b"}, "a", None),
    ({"type": "string", "enum": ["a"]}, "a", None),
    ({"type": "string", "enum": ["a"]}, "A", "is not one of the choices"),
    ({"type": "string", "oneOf": TITLED}, "r", None),
    ({"type": "string", "oneOf": TITLED}, "Red", "is not one of the choices"),
    ({"type": "number"}, 1.5, None),
    ({"type": "number"}, "1", "is not a number"),
    ({"type": "number"}, True, "is not a number"),
    ({"type": "integer"}, 1, None),
    ({"type": "integer"}, 1.0, None),
    ({"type": "integer"}, 1.5, "is not a whole number"),
    ({"type": "integer"}, float("inf"), "is not a number"),
    ({"type": "number", "minimum": 1}, 0.5, "is too small"),
    ({"type": "number", "minimum": 1, "maximum": 1}, 1, None),
    ({"type": "number", "maximum": 1}, 2, "is too large"),
    ({"type": "boolean"}, True, None),
    ({"type": "boolean"}, 0, "is not a boolean"),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, ["b", "a"], None),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, "a", "is not a list of texts"),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, [1], "is not a list of texts"),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, ["c"], "has an item that is not one of the choices"),
    ({"type": "array", "items": {"anyOf": TITLED}, "minItems": 1}, [], "has too few items"),
    ({"type": "array", "items": {"anyOf": TITLED}, "maxItems": 1}, ["r", "g"], "has too many items"),
]


@pytest.mark.parametrize(("of", "value", "fault"), CONTENT)
def test_a_value_fits_its_property(of: dict[str, Any], value: Any, fault: str | None):
    assert check_elicit_content(form("a", a=of), {"a": value}) == (None if fault is None else f"`a` {fault}")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("email", "a@b", True),
        ("email", "a.b+c@d-e.example", True),
        ("email", "a", False),
        ("email", "a@", False),
        ("email", "a@b.", False),
        ("email", "a@b@c", False),
        ("email", "a b@c", False),
        ("uri", "urn:x", True),
        ("uri", "file:///a", True),
        ("uri", "/a", False),
        ("uri", "1a:b", False),
        ("uri", "http://a b", False),
        ("date", "2024-02-29", True),
        ("date", "2023-02-29", False),
        ("date", "2000-02-29", True),
        ("date", "1900-02-29", False),
        ("date", "2024-04-31", False),
        ("date", "2024-04-30", True),
        ("date", "2024-12-31", True),
        ("date", "2024-13-01", False),
        ("date", "2024-1-1", False),
        ("date", "2024-01-01T00:00:00Z", False),
        ("date", "\u0662\u0660\u0662\u0664-01-01", False),
        ("date-time", "2024-01-01T00:00:00Z", True),
        ("date-time", "2024-01-01t00:00:00z", True),
        ("date-time", "2024-01-01T24:00:00Z", False),
        ("date-time", "2024-01-01T00:00:00", False),
        ("date-time", "2024-02-30T00:00:00Z", False),
    ],
)
def test_formats_are_checked(name: str, text: str, expected: bool):
    schema = form(a={"type": "string", "format": name})
    assert check_elicit_content(schema, {"a": text}) == (None if expected else f"`a` is not a valid {name}")


def test_content_is_an_object_that_holds_what_is_required():
    schema = form("a", a={"type": "string"}, b={"type": "string"})
    assert check_elicit_content(schema, None) == "the content is not an object"
    assert check_elicit_content(schema, {"b": ""}) == "`a` is missing"
    assert check_elicit_content(schema, {"a": ""}) is None
    assert check_elicit_content({"type": "object", "properties": {}}, {}) is None


def test_more_than_was_asked_for_is_accepted_unless_the_form_forbids_it():
    schema = form(a={"type": "string"})
    for value in ("x", 1, 1.5, True, ["x"]):
        assert check_elicit_content(schema, {"b": value}) is None
    for value in (None, {}, [1]):
        assert check_elicit_content(schema, {"b": value}) == (
            "`b` is neither text, number, boolean nor a list of texts"
        )
    closed = {**schema, "additionalProperties": False}
    assert check_elicit_content(closed, {"b": "x"}) == "`b` was not asked for"


def test_defaults_fill_only_what_is_left_out():
    schema = form(
        a={"type": "string", "default": "x"},
        b={"type": "boolean", "default": False},
        c={"type": "number"},
    )
    content = {"a": "mine", "d": 1}
    assert apply_defaults(schema, content) == {"a": "mine", "b": False, "d": 1}
    assert content == {"a": "mine", "d": 1}
