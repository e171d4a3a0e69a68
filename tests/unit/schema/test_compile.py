"""Compiled validators: bounded, cached and clear about what is wrong."""

from typing import Any

import pytest

from kailash.schema import SchemaError, compile_schema
from kailash.schema import compile as compile_module

POINT = {
    "type": "object",
    "properties": {
        "x": {"type": "integer", "minimum": 3},
        "items": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["x"],
}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


def test_a_fitting_value_has_no_message() -> None:
    assert compile_schema(POINT).check({"x": 3}) is None
    assert list(compile_schema(POINT).iter_errors({"x": 3})) == []


def test_a_message_names_path_problem_and_count() -> None:
    text = compile_schema(POINT).check({"x": 1, "items": ["a", 2]})
    assert text is not None
    assert text.startswith("$.")
    assert text.endswith("(and 1 more)")
    paths = {problem.path for problem in compile_schema(POINT).iter_errors({"x": 1, "items": ["a", 2]})}
    assert paths == {"$.x", "$.items[1]"}


def test_messages_and_counts_are_bounded() -> None:
    validator = compile_schema({"items": {"type": "integer"}})
    assert (validator.check(["a"] * 1000) or "").endswith("(and 20 or more)")
    text = validator.check(["a" * 10_000])
    assert text is not None
    assert len(text) < 400


def test_a_value_that_is_no_json_is_a_problem() -> None:
    assert compile_schema({"type": "string"}).check({"a": object()}) is not None


def test_a_deep_value_does_not_break_the_validator() -> None:
    value: Any = 1
    for _ in range(3000):
        value = [value]
    for schema in ({}, {"$schema": "http://json-schema.org/draft-07/schema#"}):
        schema = {**schema, "items": {"$ref": "#"}, "type": "array"}
        assert compile_schema(schema).check(value) is not None


def test_equal_schemas_are_compiled_once() -> None:
    first = compile_schema({"type": "object", "required": ["a"]})
    assert compile_schema({"required": ["a"], "type": "object"}) is first


def test_a_change_to_the_callers_schema_changes_nothing_compiled() -> None:
    schema = {"type": "integer", "minimum": 1_234_567}
    validator = compile_schema(schema)
    schema["minimum"] = 0
    assert validator.check(5) is not None
    assert compile_schema(schema).check(5) is None


def test_the_cache_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "CACHE_SIZE", 2)
    first = compile_schema({"const": "first"})
    compile_schema({"const": "second"})
    assert compile_schema({"const": "first"}) is first
    compile_schema({"const": "third"})
    assert compile_schema({"const": "first"}) is first
    assert len(compile_module._cache) == 2


def test_depth_is_bounded() -> None:
    assert compile_schema(nested(64)).check({}) is None
    with pytest.raises(SchemaError, match="deeper"):
        compile_schema(nested(65))
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(SchemaError, match="deeper"):
        compile_schema({"const": deep})


def test_subschemas_and_size_are_bounded() -> None:
    with pytest.raises(SchemaError, match="subschemas"):
        compile_schema({"anyOf": [{"const": n} for n in range(2_000)]})
    with pytest.raises(SchemaError, match="bytes"):
        compile_schema({"description": "x" * (256 * 1024)})


def test_what_is_no_schema_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["not"] = loop
    for schema in (
        {"type": 12},
        {"const": object()},
        loop,
        {"pattern": "("},
        {"$ref": "#/$defs/none"},
    ):
        with pytest.raises(SchemaError):
            compile_schema(schema)
    with pytest.raises(SchemaError):
        compile_schema([])  # type: ignore[arg-type]


def fan(levels: int, keyword: str) -> dict[str, Any]:
    """A schema whose every level names the next one twice."""
    definitions: dict[str, Any] = {
        f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]} for n in range(levels)
    }
    return {"$defs": definitions | {f"a{levels}": {"type": "string"}}, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize("keyword", ["anyOf", "allOf", "oneOf", "prefixItems"])
@pytest.mark.parametrize("extra", [{}, {"$id": "http://x.example/s"}])
def test_references_cannot_multiply_without_bound(keyword: str, extra: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="stands for more"):
        compile_schema(fan(30, keyword) | extra)
    assert compile_schema(fan(5, "allOf") | extra).check("a") is None


def test_a_multiplying_schema_of_an_old_draft_is_refused_too() -> None:
    schema = fan(30, "anyOf") | {"$schema": "http://json-schema.org/draft-07/schema#"}
    with pytest.raises(SchemaError, match="stands for more"):
        compile_schema({**schema, "$ref": None, "allOf": [{"$ref": "#/$defs/a0"}]})


def tree(levels: int, leaf: Any) -> Any:
    value = leaf
    for _ in range(levels):
        value = {"c": value}
    return value


def test_faults_below_recursive_alternatives_are_told_only_where_that_is_affordable() -> None:
    node = {"type": "object", "properties": {"c": {"$ref": "#/$defs/n"}}, "additionalProperties": False}
    schema = {"$defs": {"n": {"anyOf": [node, {**node, "minProperties": 0}]}}, "$ref": "#/$defs/n"}
    validator = compile_schema(schema)
    assert validator.check(tree(40, {})) is None
    assert "too involved" in (validator.check(tree(40, 1)) or "")
    assert "too involved" not in (validator.check(tree(2, 1)) or "too involved")


def test_faults_below_plain_recursion_are_told_at_any_depth() -> None:
    members = {f"p{n}": {"$ref": "#"} for n in range(100)}
    schema = {"type": "object", "properties": {"c": {"$ref": "#"}, **members}}
    assert (compile_schema(schema).check(tree(40, 1)) or "").startswith("$" + ".c" * 40 + ":")


def test_loops_and_the_metaschema_are_answered_without_details() -> None:
    assert compile_schema({"$ref": "#"}).check(1) is None
    meta = compile_schema({"$ref": "https://json-schema.org/draft/2020-12/schema"})
    assert meta.check({"type": "string"}) is None
    assert "too involved" in (meta.check({"type": 12}) or "")


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"a": {"$anchor": "x", "type": "integer"}}, "$ref": "#x"},
        {"$defs": {"a": {"$id": "http://x.example/a", "type": "integer"}}, "$ref": "http://x.example/a"},
        {"$defs": {"a/b%": {"type": "integer"}}, "$ref": "#/$defs/a~1b%25"},
        {"allOf": [{"type": "integer"}], "$ref": "#/allOf/0"},
        {"other": {"type": "integer"}, "$ref": "#/other"},
    ],
)
def test_every_way_to_name_a_part_is_understood(schema: dict[str, Any]) -> None:
    assert "integer" in (compile_schema(schema).check("x") or "")
