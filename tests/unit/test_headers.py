"""Headers: found in any case, never ambiguous; values and annotations mirrored as the revision of 2026 asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing.headers import (
    ANNOTATION,
    NO_HEADERS,
    DuplicateHeader,
    Headers,
    InvalidMirror,
    MirroredHeader,
    compare_param,
    decode_value,
    encode_value,
    is_token,
    mirror_paths,
    trim,
)
from tests.requirements import rule

FIELDS = Headers([(b"Host", b"a"), (b"X-Odd-Name", b"1"), (b"accept", b"x"), (b"x-odd-NAME", b"2")])


def test_a_header_is_found_in_any_case() -> None:
    assert FIELDS.get(b"HOST") == b"a" and FIELDS.get(b"host") == b"a"
    assert FIELDS.get(b"x-odd-name") == b"1"
    assert FIELDS.get(b"absent") is None
    assert b"Accept" in FIELDS and b"absent" not in FIELDS and "host" not in FIELDS


def test_every_value_of_a_header_is_kept_in_order() -> None:
    assert FIELDS.get_all(b"X-odd-name") == [b"1", b"2"]
    assert FIELDS.get_all(b"Host") == [b"a"] and FIELDS.get_all(b"absent") == []
    assert list(FIELDS) == [(b"host", b"a"), (b"x-odd-name", b"1"), (b"accept", b"x"), (b"x-odd-name", b"2")]
    assert len(FIELDS) == 4 and len(NO_HEADERS) == 0


def test_a_header_that_may_stand_once_is_told_from_one_that_stands_twice() -> None:
    assert FIELDS.single(b"host") == b"a" and FIELDS.single(b"absent") is None
    assert FIELDS.is_repeated(b"X-Odd-Name") and not FIELDS.is_repeated(b"host")
    with pytest.raises(DuplicateHeader, match="more than one X-Odd-Name header"):
        FIELDS.single(b"X-Odd-Name")
    twins = Headers([(b"a", b"1"), (b"A", b"1")])
    with pytest.raises(DuplicateHeader):
        twins.single(b"a")


def test_what_was_handed_out_changes_nothing() -> None:
    FIELDS.get_all(b"x-odd-name").clear()
    assert FIELDS.get_all(b"x-odd-name") == [b"1", b"2"]


def test_headers_are_equal_when_their_fields_are() -> None:
    assert Headers([(b"A", b"1")]) == Headers([(b"a", b"1")])
    assert hash(Headers([(b"A", b"1")])) == hash(Headers([(b"a", b"1")]))
    assert Headers([(b"A", b"1")]) != Headers([(b"a", b"2")])
    assert Headers() != [] and Headers() == NO_HEADERS


def test_a_secret_is_not_shown() -> None:
    assert repr(Headers([(b"Authorization", b"Bearer s3cret")])) == "Headers([b'authorization'])"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(b"a", True), (b"X-Y_z~!", True), (b"", False), (b"a b", False), (b"a:", False), (b"\xc3", False)],
)
def test_a_token_is_one_or_more_token_characters(text: bytes, is_one: bool) -> None:
    assert is_token(text) is is_one


def test_optional_white_space_is_spaces_and_tabs() -> None:
    assert trim(b" \t a b\t ") == b"a b"
    assert trim(b"\x0ba\r") == b"\x0ba\r"


@rule(111, 112)
@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("us-west1", b"us-west1"),
        ("Hello, 世界", b"=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", b"=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", b"=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", b"=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("=?base64?=", b"=?base64?PT9iYXNlNjQ/PQ==?="),
        ("=?BASE64?literal?=", b"=?BASE64?literal?="),
        ("=?base64?literal", b"=?base64?literal"),
        ("a b  c", b"a b  c"),
        ("a\tb", b"=?base64?YQli?="),
        ("\x7f", b"=?base64?fw==?="),
        ("x ", b"=?base64?eCA=?="),
        ("\tx", b"=?base64?CXg=?="),
        ("x", b"x"),
        ("", b""),
        (True, b"true"),
        (False, b"false"),
        (0, b"0"),
        (-7, b"-7"),
        (42.0, b"42"),
        (2**53 - 1, b"9007199254740991"),
        (1 - 2**53, b"-9007199254740991"),
    ],
)
def test_a_value_is_encoded_as_its_type_and_characters_ask(value: Any, header: bytes) -> None:
    assert encode_value(value) == header
    assert decode_value(header) == (value if isinstance(value, str) else header.decode())


@pytest.mark.parametrize(
    "value", [2**53, -(2**53), 10**400, 1.5, float("nan"), float("inf"), 1e300, "\ud800", "a\udfff"]
)
def test_what_no_peer_would_read_back_is_not_encoded(value: Any) -> None:
    with pytest.raises(ValueError):
        encode_value(value)


@rule(114)
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"  x \t", "x"),
        (b"a\tb", "a\tb"),
        (b"=?Base64?eA==?=", "=?Base64?eA==?="),
        (b"=?base64?eA==", "=?base64?eA=="),
        (b"base64?eA==?=", "base64?eA==?="),
        (b"=?base64?=", "=?base64?="),
        (b"=?base64??=", ""),
        (b" =?base64?eA==?= ", "x"),
        (b"x=?base64?eA==?=", "x=?base64?eA==?="),
    ],
)
def test_only_the_exact_sentinel_is_decoded(raw: bytes, text: str) -> None:
    assert decode_value(raw) == text


@rule(115, 118)
@pytest.mark.parametrize(
    "raw",
    [
        b"=?base64?eA?=",  # padding missing
        b"=?base64?eA=?=",
        b"=?base64?eA===?=",
        b"=?base64?e?=",
        b"=?base64?eB==?=",  # a second spelling of "x"
        b"=?base64?e-_=?=",  # the other alphabet
        b"=?base64?e A==?=",
        b"=?base64?=eA=?=",
        b"=?base64?eA==?=?=",
        b"=?base64?/w==?=",  # no UTF-8
        b"=?base64?7aCA?=",  # half a surrogate pair
        b"\xc3\xa9",
        b"a\0b",
        b"a\x0bb",
        b"a\rb",
        b"\x7f",
    ],
)
def test_a_value_that_cannot_be_decoded_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        decode_value(raw)


@given(st.text())
def test_any_text_survives_a_header(text: str) -> None:
    raw = encode_value(text)
    assert raw.isascii() and not any(byte < 32 or byte == 127 for byte in raw) and raw == trim(raw)
    assert decode_value(b" \t" + raw + b" ") == text


@given(st.text(alphabet="=?base64 \t\r\nA", max_size=24))
def test_a_text_like_the_sentinel_survives_a_header(text: str) -> None:
    assert decode_value(encode_value(text)) == text


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda inner: b"=?base64?" + inner + b"?="))
def test_any_bytes_are_text_or_an_error(raw: bytes) -> None:
    try:
        text = decode_value(raw)
    except ValueError:
        return
    assert decode_value(encode_value(text)) == text


def prop(name: str, type: Any = "string") -> dict[str, Any]:
    return {"type": type, ANNOTATION: name}


def test_annotated_properties_are_found_through_nested_objects() -> None:
    schema = {
        "type": "object",
        "properties": {
            "region": prop("Region"),
            "plain": {"type": "string"},
            "count": prop("count", "integer"),
            "deep": {"type": "object", "properties": {"er": {"properties": {"flag": prop("Method", "boolean")}}}},
            # A property may be called anything.
            "x-mcp-header": {"type": "number"},
            "properties": prop("P"),
        },
    }
    assert mirror_paths(schema) == {
        ("region",): MirroredHeader("Mcp-Param-Region", "string"),
        ("count",): MirroredHeader("Mcp-Param-count", "integer"),
        ("deep", "er", "flag"): MirroredHeader("Mcp-Param-Method", "boolean"),
        ("properties",): MirroredHeader("Mcp-Param-P", "string"),
    }
    assert mirror_paths({}) == {}


@rule(113)
@pytest.mark.parametrize("name", ["", "a b", "a:", "é", "a\n", 1, None, True, ["a"], "\u212a"])
def test_an_annotation_is_a_token(name: Any) -> None:
    with pytest.raises(InvalidMirror, match="#/properties/a: x-mcp-header must be a header token"):
        mirror_paths({"properties": {"a": {"type": "string", ANNOTATION: name}}})


@pytest.mark.parametrize("kind", ["number", "object", "array", "null", None, ["string"], ["string", "null"], 1])
def test_only_strings_integers_and_booleans_are_mirrored(kind: Any) -> None:
    with pytest.raises(InvalidMirror, match="needs the type string, integer or boolean"):
        mirror_paths({"properties": {"a": prop("A", kind)}})
    with pytest.raises(InvalidMirror, match="needs the type"):
        mirror_paths({"properties": {"a": {ANNOTATION: "A"}}})


def test_two_annotations_never_name_one_header() -> None:
    twice = {"a": prop("Name"), "b": {"properties": {"c": prop("nAME", "integer")}}}
    with pytest.raises(InvalidMirror, match="stands twice"):
        mirror_paths({"properties": twice})


@pytest.mark.parametrize(
    "schema",
    [
        prop("A"),
        {"items": prop("A")},
        {"items": [prop("A")]},
        {"prefixItems": [True, prop("A")]},
        {"oneOf": [{"properties": {"a": prop("A")}}]},
        {"anyOf": [prop("A")]},
        {"allOf": [{"properties": {"a": prop("A")}}]},
        {"not": prop("A")},
        {"if": prop("A")},
        {"then": {"properties": {"a": prop("A")}}},
        {"else": prop("A")},
        {"$defs": {"x": prop("A")}},
        {"definitions": {"x": {"properties": {"a": prop("A")}}}},
        {"patternProperties": {"^a": prop("A")}},
        {"additionalProperties": prop("A")},
        {"dependentSchemas": {"a": prop("A")}},
        {"dependencies": {"a": ["b"], "c": prop("A")}},
        {"properties": {"list": {"type": "array", "items": {"properties": {"a": prop("A")}}}}},
        {"properties": {"deep": {"propertyNames": prop("A")}}},
        {"properties": {"deep": {"contentSchema": prop("A")}}},
        {"unevaluatedProperties": prop("A")},
        {"contains": prop("A")},
    ],
)
def test_an_annotation_out_of_reach_is_a_violation(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidMirror, match="no property reached"):
        mirror_paths(schema)


@pytest.mark.parametrize(
    "keyword", ["default", "const", "examples", "enum", "x-own", "$ref", "required", "oneOf", "title"]
)
def test_data_is_not_taken_for_schema(keyword: str) -> None:
    data: Any = {"properties": {"a": prop("A")}, ANNOTATION: "B"}
    value = data if keyword == "oneOf" else [data]
    schema = {keyword: value if keyword in ("enum", "examples", "oneOf", "required") else data}
    assert mirror_paths({"properties": {"a": schema, "b": True, "c": [prop("A")]}}) == {}


def test_a_deep_schema_needs_no_stack() -> None:
    schema: dict[str, Any] = prop("A")
    for _ in range(5000):
        schema = {"properties": {"x": schema}}
    assert len(next(iter(mirror_paths(schema)))) == 5000


@rule(116)
@pytest.mark.parametrize(
    ("header", "value", "kind", "agrees"),
    [
        ("a", "a", "string", True),
        ("a", "A", "string", False),
        ("42", "42", "string", True),
        ("42", "42.0", "string", False),
        ("42", "42", "integer", True),
        ("42", 42, "integer", True),
        ("42.0", 42, "integer", True),
        ("42", 42.0, "integer", True),
        ("42.000", 42.0, "integer", True),
        ("-7", -7, "integer", True),
        ("-0", 0, "integer", True),
        ("43", 42, "integer", False),
        ("42.5", 42, "integer", False),
        ("42", 42.5, "integer", False),
        ("042", 42, "integer", False),
        ("4.2e1", 42, "integer", False),
        ("４２", 42, "integer", False),
        (" 42", 42, "integer", False),
        ("", 0, "integer", False),
        ("9007199254740993", 2**53 + 1, "integer", True),
        ("9007199254740992", 2**53 + 1, "integer", False),
        ("1" * 5000, 1, "integer", False),
        ("1", True, "integer", False),
        ("true", True, "boolean", True),
        ("false", False, "boolean", True),
        ("True", True, "boolean", False),
        ("false", True, "boolean", False),
        ("1", True, "boolean", False),
        ("42", 42, "string", False),
    ],
)
def test_header_and_body_are_compared_by_what_they_say(header: str, value: Any, kind: Any, agrees: bool) -> None:
    assert compare_param(header, value, kind=kind) is agrees


@given(st.integers(1 - 2**53, 2**53 - 1) | st.text() | st.booleans())
def test_what_a_client_mirrors_the_server_finds_equal(value: Any) -> None:
    kind: Any = {int: "integer", str: "string", bool: "boolean"}[type(value)]
    assert compare_param(decode_value(encode_value(value)), value, kind=kind)
