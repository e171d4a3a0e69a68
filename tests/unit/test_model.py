"""Reading and writing wire types without losing a member."""

import dataclasses
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw, Struct, UnsetType, field

from protocol import model
from protocol.model import Family, Model, decode, decoder, encode, evolve, extend, extra, held
from protocol.params import CallToolParams
from protocol.results import CallToolResult, InputRequiredResult, ListToolsResult, ReadResourceResult
from protocol.types import EmbeddedResource, ResourceContents, SamplingMessage, TextContent, Tool


class Leaf(Model, kw_only=True):
    some_name: int
    anything: Any = UNSET
    meta: dict[str, Any] | UnsetType = field(name="_meta", default=UNSET)


class Branch(Model, kw_only=True):
    leaf: Leaf | UnsetType = UNSET
    leaves: list[Leaf] | UnsetType = UNSET
    by_name: dict[str, Leaf] | UnsetType = UNSET
    count: int = 0
    mixed: list[Leaf | int] | UnsetType = UNSET


class Opaque(Model, kw_only=True):
    payload: Raw | UnsetType = UNSET


def test_members_are_camel_case_on_the_wire_and_absent_ones_are_not_written():
    assert encode(Leaf(some_name=1)) == b'{"someName":1}'


def test_null_is_written_and_absent_is_not():
    assert encode(Leaf(some_name=1, anything=None)) == b'{"someName":1,"anything":null}'
    assert decode(b'{"someName":1,"anything":null}', Leaf).anything is None
    assert decode(b'{"someName":1}', Leaf).anything is UNSET


@pytest.mark.parametrize(
    "text",
    [
        b'{"someName":1,"x":{"y":[1,2]}}',
        b'{ "x" : null, "someName" : 1 }',
        b'{"leaf":{"someName":1,"x":1}}',
        b'{"leaves":[{"someName":1},{"someName":2,"x":"deep"}]}',
        b'{"byName":{"a":{"someName":1,"x":1},"b":{"someName":2}},"y":[]}',
        b'{"count":3,"leaf":{"anything":[1e5],"someName":1},"z":true}',
        b'{"leaves":[],"byName":{}}',
        b'{"mixed":[1,{"someName":1,"x":1},2]}',
        b'{"anything":1E6,"someName":1,"x":1}',  # as long as what is written without the last
    ],
)
def test_unknown_members_survive_at_every_depth(text: bytes):
    kind = Leaf if text.replace(b" ", b"").startswith((b'{"someName', b'{"x"')) else Branch
    assert msgspec.json.decode(encode(decode(text, kind))) == msgspec.json.decode(text)


def test_unknown_members_are_readable_and_read_only():
    leaf = decode(b'{"someName":1,"x":2}', Leaf)
    assert extra(leaf) == {"x": 2}
    with pytest.raises(TypeError):
        extra(leaf)["x"] = 3  # type: ignore[index]


def test_a_value_without_unknown_members_has_none():
    assert extra(decode(b'{"someName":1}', Leaf)) == {}
    assert extra(Leaf(some_name=1)) == {}


def test_members_in_another_order_are_not_unknown():
    leaf = decode(b'{"anything":1,"someName":1}', Leaf)
    assert extra(leaf) == {}
    assert leaf.__dict__ == {}


def test_a_raw_member_is_kept_as_it_is_beside_unknown_members():
    text = b'{"x":1,"payload":{ "y" : 2 }}'
    opaque = decode(text, Opaque)
    assert isinstance(opaque.payload, Raw)
    assert bytes(opaque.payload) == b'{ "y" : 2 }'
    assert encode(opaque) == b'{"payload":{ "y" : 2 },"x":1}'


def test_raw_input_is_read_like_bytes():
    assert extra(decode(Raw(b'{"x":1,"someName":1}'), Leaf)) == {"x": 1}


def test_types_that_are_no_models_are_read_plainly():
    assert decode(b'{"a":1}', dict[str, int]) == {"a": 1}


def test_the_decoder_of_a_type_is_built_once_and_drops_unknown_members():
    assert decoder(Leaf) is decoder(Leaf)
    assert extra(decoder(Leaf).decode(b'{"someName":1,"x":1}')) == {}


def test_a_null_that_reads_as_absent_is_not_an_unknown_member():
    result = decode(b'{"nextCursor":null,"tools":[]}', ListToolsResult)
    assert result.next_cursor is UNSET
    assert encode(result) == b'{"tools":[]}'


def test_tagged_blocks_keep_unknown_members_and_their_tag():
    text = b'{"content":[{"text":"a","type":"text","x":{"y":1}}],"z":0}'
    result = decode(text, CallToolResult)
    assert isinstance(result.content[0], TextContent)
    assert extra(result.content[0]) == {"x": {"y": 1}}
    assert encode(result) == b'{"content":[{"type":"text","text":"a","x":{"y":1}}],"z":0}'


def test_untagged_contents_keep_unknown_members():
    text = b'{"contents":[{"uri":"a:b","text":"t","x":1},{"uri":"a:c","blob":"YQ=="}]}'
    assert encode(decode(text, ReadResourceResult)) == text
    text = b'{"type":"resource","resource":{"uri":"a:b","text":"t","x":1},"y":2}'
    assert encode(decode(text, EmbeddedResource)) == text


def test_a_single_block_or_a_list_keeps_unknown_members():
    for content in (b'{"type":"text","text":"t","x":1}', b'[{"type":"text","text":"t","x":1}]'):
        text = b'{"role":"user","content":' + content + b"}"
        assert encode(decode(text, SamplingMessage)) == text


def test_models_in_a_mapping_keep_unknown_members():
    text = b'{"inputRequests":{"a":{"method":"roots/list","x":1},"b":{"method":"roots/list"}}}'
    assert encode(decode(text, InputRequiredResult)) == text


def test_values_that_are_no_models_of_a_family_are_refused():
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"contents":[5]}', ReadResourceResult)
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"contents":[{"uri":"a:b","text":5}]}', ReadResourceResult)


def test_a_type_msgspec_does_not_know_is_refused():
    class Holder(Struct):
        thing: complex

    with pytest.raises(msgspec.ValidationError):
        decode(b'{"thing":{}}', Holder)


def test_a_family_must_say_how_it_is_told_apart():
    assert getattr(Family.variant, "__isabstractmethod__", False)
    assert not getattr(ResourceContents.variant, "__isabstractmethod__", False)


def test_evolve_keeps_unknown_members_and_leaves_the_original_alone():
    leaf = decode(b'{"someName":1,"x":2}', Leaf)
    changed = evolve(leaf, some_name=5)
    assert (changed.some_name, extra(changed)) == (5, {"x": 2})
    assert (leaf.some_name, extra(leaf)) == (1, {"x": 2})
    assert evolve(Leaf(some_name=1), some_name=2).__dict__ == {}


def test_extend_adds_members_the_type_does_not_know():
    leaf = decode(b'{"someName":1,"x":2}', Leaf)
    more = extend(leaf, {"y": 3})
    assert encode(more) == b'{"someName":1,"x":2,"y":3}'
    assert extra(leaf) == {"x": 2}


def test_a_new_root_around_a_value_with_unknown_members_writes_them():
    tool = decode(b'{"name":"a","inputSchema":{},"x":1}', Tool)
    assert encode(ListToolsResult(tools=[tool])) == b'{"tools":[{"name":"a","inputSchema":{},"x":1}]}'


def test_a_subclass_instance_with_unknown_members_writes_them():
    class Special(Leaf, kw_only=True):
        special: int = 0

    assert encode(Branch(leaf=extend(Special(some_name=1), {"x": 1}))) == b'{"leaf":{"someName":1,"x":1}}'


def test_defaults_are_left_out_beside_unknown_members_too():
    assert encode(extend(Branch(count=0), {"x": 1})) == b'{"x":1}'
    assert encode(extend(Branch(count=2), {"x": 1})) == b'{"count":2,"x":1}'


def test_a_walk_that_finds_no_unknown_members_writes_plainly():
    extend(Leaf(some_name=1), {"x": 1})  # from here on leaves are known to carry some
    branch = Branch(leaf=Leaf(some_name=1), leaves=[Leaf(some_name=2)], by_name={"a": Leaf(some_name=3)})
    assert encode(branch) == b'{"leaf":{"someName":1},"leaves":[{"someName":2}],"byName":{"a":{"someName":3}}}'


def test_values_under_any_that_are_no_models_are_written_as_they_are():
    leaf = extend(Leaf(some_name=1, anything=[{"deep": [1]}]), {"x": 1})
    assert encode(Branch(leaves=[leaf], count=1)) == (
        b'{"leaves":[{"someName":1,"anything":[{"deep":[1]}],"x":1}],"count":1}'
    )


def test_plain_values_are_written_too():
    assert encode({"a": [1, None]}) == b'{"a":[1,null]}'
    assert encode(Raw(b'{"a" : 1}')) == b'{"a" : 1}'


def test_not_a_number_and_infinities_are_null():
    assert encode([float("nan"), float("inf"), float("-inf")]) == b"[null,null,null]"
    assert encode(Leaf(some_name=1, anything=float("nan"))) == b'{"someName":1,"anything":null}'


@dataclasses.dataclass
class Plain:
    text: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ({"k\udc00": ["\udc00", ("\ud800",), {"\ud800"}]}, {"k\ufffd": ["\ufffd", ["\ufffd"], ["\ufffd"]]}),
        ([None, True, 1, 1.5, "\ud800"], [None, True, 1, 1.5, "\ufffd"]),
        ([Plain(text="\ud800")], [{"text": "\ufffd"}]),
        (["\ud800", b"abc"], ["\ufffd", "YWJj"]),
        (Leaf(some_name=1, anything="\ud800"), {"someName": 1, "anything": "\ufffd"}),
        (TextContent(text="\ud800"), {"type": "text", "text": "\ufffd"}),
        (extend(Leaf(some_name=1), {"x": "\ud800"}), {"someName": 1, "x": "\ufffd"}),
    ],
)
def test_lone_surrogates_are_replaced(value: Any, expected: Any):
    assert msgspec.json.decode(encode(value)) == expected


def test_raw_members_are_kept_when_surrogates_are_replaced():
    params = CallToolParams(name="\ud800", arguments=Raw(b'{"a": 1}'))
    assert encode(params) == '{"name":"\ufffd","arguments":{"a": 1}}'.encode()


def test_structs_that_are_no_models_are_written_when_surrogates_are_replaced():
    class Other(Struct, tag="other"):
        text: str

    assert msgspec.json.decode(encode(Other(text="\ud800"))) == {"type": "other", "text": "\ufffd"}


def test_values_without_a_json_form_are_refused():
    with pytest.raises(TypeError):
        encode(object())
    with pytest.raises(TypeError):
        encode(["\ud800", object()])


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'{"someName":"1"}', b'{"someName":true}', b"{}"])
def test_texts_of_another_shape_are_refused(text: bytes):
    with pytest.raises(msgspec.DecodeError):
        decode(text, Leaf)


def test_held_names_the_models_below_each_field():
    assert held(Branch) == {
        "leaf": frozenset({Leaf}),
        "leaves": frozenset({Leaf}),
        "by_name": frozenset({Leaf}),
        "mixed": frozenset({Leaf}),
    }
    assert held(Leaf) == {}


def test_every_unknown_member_type_is_remembered_for_its_bases_too():
    extend(TextContent(text="a"), {"x": 1})
    assert TextContent in model._carriers


@pytest.mark.parametrize(
    ("text", "structured"),
    [
        ("x" * 10_000, None),
        ('"é\n\u2028\x00\\' * 1000, {"a": [1, 1.5, True, None, "ü" * 5000], "b": {"c": {}}}),
        ("lone \ud800 surrogate", {"a": 1}),
        ("long number", {"a": 2**70}),
        ("no number", {"a": float("nan"), "b": float("inf")}),
        ("number as name", {1: "one"}),
    ],
)
def test_long_text_is_written_as_short_text_is(text: str, structured: Any) -> None:
    result = CallToolResult(content=[TextContent(text=text)], structured_content=structured or UNSET)
    assert model.encode_long(result) == model.encode(result)


def test_long_text_is_written_with_the_members_that_no_type_knows() -> None:
    result = model.extend(CallToolResult(content=[TextContent(text="x" * 10_000)]), {"new": 1})
    assert model.encode_long(result) == model.encode(result)
    assert b'"new":1' in model.encode_long(result)
