"""The dialect a schema declares decides which engine reads it."""

from typing import Any

import pytest

from kailash.schema import SchemaError, UnsupportedDialectError, compile_schema
from kailash.schema.dialect import build, dialect_of, json_path

D4 = "http://json-schema.org/draft-04/schema#"
D6 = "http://json-schema.org/draft-06/schema#"
D7 = "http://json-schema.org/draft-07/schema#"
D2019 = "https://json-schema.org/draft/2019-09/schema"
D2020 = "https://json-schema.org/draft/2020-12/schema"


def engine(schema: dict[str, Any]) -> str:
    check: Any = build(schema, dialect_of(schema))
    return "rust" if "rust" in check.func.__name__ else "fast"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [(D4, "fast"), (D6, "fast"), (D7, "fast"), (D2019, "rust"), (D2020, "rust")],
)
def test_each_dialect_has_its_engine(declared: str, expected: str) -> None:
    assert engine({"$schema": declared, "type": "object"}) == expected


def test_a_schema_without_dialect_is_2020_12() -> None:
    assert engine({"type": "object"}) == "rust"
    # fastjsonschema would take this for draft 7, ignore prefixItems and accept the value.
    validator = compile_schema({"prefixItems": [{"type": "integer"}], "items": False})
    assert validator.check(["x"]) is not None
    assert validator.check([1]) is None


@pytest.mark.parametrize("declared", [D7.rstrip("#"), D7.replace("http:", "https:")])
def test_both_spellings_of_an_address_are_known(declared: str) -> None:
    assert dialect_of({"$schema": declared}).draft == "Draft7"


@pytest.mark.parametrize("declared", ["", "http://json-schema.org/draft-03/schema#", "x", D7 + "#"])
def test_unknown_dialects_are_refused(declared: str) -> None:
    with pytest.raises(UnsupportedDialectError):
        compile_schema({"$schema": declared})


def test_a_dialect_that_is_no_string_is_refused() -> None:
    with pytest.raises(SchemaError):
        compile_schema({"$schema": 7})


@pytest.mark.parametrize(
    "extra",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^x": {}}},
        {"$id": "http://x.example/s"},
        {"definitions": {"a": {"$id": "http://x.example/a"}}},
    ],
)
def test_old_schemas_with_patterns_or_names_go_to_the_bounded_engine(extra: dict[str, Any]) -> None:
    assert engine({"$schema": D7, **extra}) == "rust"


def test_a_property_called_id_or_pattern_is_no_keyword() -> None:
    schema = {"$schema": D7, "properties": {"$id": {"type": "string"}, "pattern": {}}}
    assert engine(schema) == "fast"


def test_one_schemas_name_does_not_answer_anothers_reference() -> None:
    name = "http://shared.example/s"
    compile_schema({"$schema": D7, "$id": name, "definitions": {"a": {"type": "string"}}})
    with pytest.raises(SchemaError, match="refusing"):
        compile_schema({"$schema": D7, "$ref": name})


@pytest.mark.parametrize("declared", [D4, D7, D2019, D2020])
@pytest.mark.parametrize("target", ["http://127.0.0.1:9/x", "https://x.example/y", "file:///etc/passwd"])
def test_references_outside_the_schema_are_never_followed(declared: str, target: str) -> None:
    with pytest.raises(SchemaError, match="refusing"):
        compile_schema({"$schema": declared, "properties": {"a": {"$ref": target}}})


@pytest.mark.parametrize("declared", [D4, D7, D2020])
def test_defaults_are_not_written_into_the_value(declared: str) -> None:
    value: dict[str, Any] = {}
    schema = {"$schema": declared, "properties": {"a": {"type": "integer", "default": 3}}}
    assert compile_schema(schema).check(value) is None
    assert value == {}


@pytest.mark.parametrize("declared", [D7, D2019, D2020])
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("email", "a@b.cd", "nobody"),
        ("uri", "https://x.example/", "no uri"),
        ("date", "2026-07-28", "28.7.2026"),
        ("date-time", "2026-07-28T10:00:00Z", "today"),
        ("uuid", "6f1b7ac4-9b5b-4f6c-8d7e-0123456789ab", "6f1b7ac4"),
        ("ipv4", "127.0.0.1", "localhost"),
    ],
)
def test_formats_are_asserted(declared: str, name: str, good: str, bad: str) -> None:
    validator = compile_schema({"$schema": declared, "properties": {"a": {"format": name}}})
    assert validator.check({"a": good}) is None
    assert validator.check({"a": 1}) is None
    assert (validator.check({"a": bad}) or "").startswith("$.a: ")


def test_a_pattern_cannot_run_away() -> None:
    validator = compile_schema({"$schema": D7, "pattern": "^(a+)+\\1$"})
    assert validator.check("a" * 40 + "b") is not None


@pytest.mark.parametrize("declared", [D7, D2020])
def test_a_schema_that_only_refers_to_itself_ends(declared: str) -> None:
    compile_schema({"$schema": declared, "$ref": "#"}).check({"a": 1})


def test_paths_quote_what_is_no_name() -> None:
    assert json_path(["a", 0, "b c", "d"]) == "$.a[0]['b c'].d"
