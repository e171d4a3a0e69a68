"""The JSON door: whatever bytes come in, an envelope or a documented fault comes out."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from protocol import ErrorCode, ErrorObject, Limits
from protocol.jsonrpc import (
    Envelope,
    Malformed,
    decode,
    duplicate_member,
    encode_error,
    encode_id,
    encode_notification,
    encode_request,
    encode_result,
    is_compact_call,
    is_valid_id,
    split_batch,
)
from tests.requirements import rule

LIMITS = Limits()
INVALID, PARSE = ErrorCode.INVALID_REQUEST, ErrorCode.PARSE_ERROR


def fault(data: bytes, limits: Limits = LIMITS) -> Malformed:
    found = decode(data, limits)
    assert isinstance(found, Malformed), found
    return found


def good(data: bytes, limits: Limits = LIMITS) -> Envelope:
    found = decode(data, limits)
    assert isinstance(found, Envelope), found
    return found


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": 1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}',
        b' {"method":"ping","id":1,"jsonrpc":"2.0"}\r',
        b'{"jsonrpc":"2.0","id":0,"method":"ping","unknown":[1]}',
        b'{"jsonrpc":"2.0","id":-1,"method":"ping","params":{}}',
        b'{"jsonrpc":"2.0","id":"","method":"ping"}',
        b'{"jsonrpc":"2.0","id":9223372036854775807,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":-9223372036854775808,"method":"ping"}',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}',
        b'{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"Ωé\\ud83d\\ude00"}}'.encode(),
        b'{"jsonrpc":"2.0","id":1,"method":"a\\\\b","params":{}}',
    ],
)
def test_good_messages_are_decoded(data: bytes) -> None:
    assert good(data).jsonrpc == "2.0"


@rule(1, 16)
@pytest.mark.parametrize(
    ("data", "code", "id_"),
    [
        (b"", PARSE, UNSET),
        (b"x", PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"', PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping",', PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":Infinity}}', PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\xff"}}', PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1,"method":"p\xff"}', PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}', PARSE, UNSET),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}\x00', PARSE, UNSET),
        (b"\xef\xbb\xbf{}", PARSE, UNSET),
        (b"null", INVALID, UNSET),
        (b"1", INVALID, UNSET),
        (b"[]", INVALID, UNSET),
        (b"{}", INVALID, UNSET),
        (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', INVALID, 7),
        (b'{"jsonrpc":2.0,"id":7,"method":"ping"}', INVALID, 7),
        (b'{"id":7,"method":"ping"}', INVALID, 7),
        (b'{"jsonrpc":"2.0","id":7}', INVALID, 7),
        (b'{"jsonrpc":"2.0","id":7,"params":{}}', INVALID, 7),
        (b'{"jsonrpc":"2.0","id":7,"method":1}', INVALID, 7),
        (b'{"jsonrpc":"2.0","method":1}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 400 + b',"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}', INVALID, 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","error":{}}', INVALID, 7),
        # Members twice: the first reader of the line may see another message than the next.
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}', INVALID, 7),
        (b'{"jsonrpc":"2.0","id":6,"id":7,"method":"ping"}', INVALID, UNSET),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{},"params":{}}', INVALID, 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","m\\u0065thod":"ping"}', INVALID, 7),
        (b'{"jsonrpc":"2.0","jsonrpc":"2.0","id":"a","method":"ping"}', INVALID, "a"),
    ],
)
def test_bad_messages_get_the_error_they_deserve(data: bytes, code: int, id_: object) -> None:
    found = fault(data)
    assert (found.error.code, found.id, found.is_response) == (code, id_, False)


@rule(5, 6)
@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":"m"}}',
        b'{"jsonrpc":"1.0","id":7,"result":{}}',
        b'{"jsonrpc":"2.0","id":7,"result":{},"result":{}}',
        b'{"jsonrpc":2,"id":7,"result":{}}',
    ],
)
def test_bad_responses_are_known_as_responses(data: bytes) -> None:
    found = fault(data)
    assert found.is_response and found.id == 7 and found.error.code == INVALID


def test_a_result_without_id_belongs_to_nobody() -> None:
    assert fault(b'{"jsonrpc":"2.0","result":{}}').is_response
    assert fault(b'{"jsonrpc":"2.0","id":null,"result":{}}').is_response


def nested(levels: int, pair: bytes = b"[]") -> bytes:
    inner = pair[:1] * (levels - 1) + pair[1:] * (levels - 1)
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + inner + b"}"


def mixed(levels: int) -> bytes:
    """Return a message that nests objects and arrays in turn."""
    opening = b"".join(b"[" if level % 2 else b'{"a":' for level in range(levels - 1))
    closing = b"".join(b"]" if level % 2 else b"}" for level in reversed(range(levels - 1)))
    body = opening + closing
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + body.replace(b":}", b":1}") + b"}"


@pytest.mark.parametrize("build", [nested, mixed])
@pytest.mark.parametrize("limit", [4, 128, 200])
def test_nesting_is_bounded(build: type, limit: int) -> None:
    limits = Limits(depth=limit)
    assert good(build(limit - 1), limits)
    assert good(build(limit), limits)
    assert fault(build(limit + 1), limits).error.code == PARSE


def test_many_brackets_side_by_side_are_not_deep() -> None:
    many = b"[" + b",".join([b'{"a":["\\"[[[","\\\\"]}'] * 2000) + b"]"
    assert good(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + many + b"}}")


def test_brackets_in_text_do_not_nest() -> None:
    assert good(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"' + b"[{" * 5000 + b'"}}')


@pytest.mark.parametrize("levels", [10_000, 100_000])
def test_absurd_nesting_is_a_parse_error(levels: int) -> None:
    found = fault(nested(levels))
    assert found.error.code == PARSE and found.id is UNSET
    found = fault(b"[" * levels + b"]" * levels)
    assert found.error.code in (PARSE, INVALID)
    batch = split_batch(b"[" * levels + b"]" * levels, LIMITS)
    assert isinstance(batch, Malformed) and batch.error.code == PARSE


@pytest.mark.parametrize(("length", "is_good"), [(15, True), (16, True), (17, False)])
def test_text_ids_and_method_names_are_bounded(length: int, is_good: bool) -> None:
    limits = Limits(id_bytes=16, method_bytes=16)
    found = decode(b'{"jsonrpc":"2.0","id":"%b","method":"ping"}' % (b"i" * length), limits)
    assert isinstance(found, Envelope) is is_good
    for params in (b"", b',"params":{}'):
        found = decode(b'{"jsonrpc":"2.0","id":1,"method":"%b"%b}' % (b"m" * length, params), limits)
        assert isinstance(found, Envelope) is is_good
        if not is_good:
            assert isinstance(found, Malformed) and found.id == 1


def test_ids_keep_to_64_bits() -> None:
    assert is_valid_id(2**63 - 1, LIMITS) and is_valid_id(-(2**63), LIMITS)
    assert not is_valid_id(2**63, LIMITS) and not is_valid_id(-(2**63) - 1, LIMITS)


def test_a_member_twice_hides_behind_no_length() -> None:
    # Long values are cut out before the names are looked at.
    value = b'{"a":"' + b"x" * 200 + b'"}'
    assert fault(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + value + b',"params":{}}').id == 1
    assert duplicate_member(b'{"a":1,"b":{"a":1},"c":["a","a"]}') is None
    assert duplicate_member(b'{"a":1,"\\u0061":2}') == "a"
    assert duplicate_member(b'{"a":' + value + b',"a":2}', Raw(value)) == "a"
    assert duplicate_member(b'{"a":1,"b":[{"x":1,"x":2}]}') is None


@pytest.mark.parametrize(
    ("raw", "is_compact"),
    [
        (b'{"name":"t"}', True),
        (b'{"name":"t","arguments":{"a":1}}', True),
        (b'{"name":"t","arguments":{"a":1},"_meta":{}}', True),
        (b'{"name": "t", "arguments": {"a":1}, "_meta": {}}', True),
        (b'{"name": "t"}', True),
        (b'{ "name":"t"}', False),
        (b'{"name":"t","name":"t"}', False),
        (b'{"name": "t", "x": 1}', False),
    ],
)
def test_the_length_proves_a_call_free_of_surprises(raw: bytes, is_compact: bool) -> None:
    class Members(msgspec.Struct):
        name: str
        arguments: Raw | msgspec.UnsetType = UNSET
        meta: Raw | msgspec.UnsetType = msgspec.field(name="_meta", default=UNSET)

    members = msgspec.json.decode(raw, type=Members)
    assert is_compact_call(Raw(raw), members.name, members.arguments, members.meta) is is_compact


@rule(12)
def test_batches_are_split_within_bounds() -> None:
    limits = Limits(batch_entries=3)
    assert split_batch(b'{"a":1}', limits) is None
    assert split_batch(b' \r\n[{"a":1}, 2]', limits) == [b'{"a":1}', b"2"]
    assert split_batch(b"[1,2,3]", limits) == [b"1", b"2", b"3"]
    for bad in (b"[]", b"[1,2,3,4]"):
        found = split_batch(bad, limits)
        assert isinstance(found, Malformed) and found.error.code == INVALID
    found = split_batch(b"[1,", limits)
    assert isinstance(found, Malformed) and found.error.code == PARSE


@rule(1, 4, 5, 6, 7, 16)
def test_messages_are_written_with_the_id_as_it_came() -> None:
    assert encode_id(7) == b"7" and encode_id("7") == b'"7"' and encode_id('a"é') == '"a\\"é"'.encode()
    assert encode_result("1", b"{}") == b'{"jsonrpc":"2.0","id":"1","result":{}}'
    error = ErrorObject(-32600, "no")
    assert encode_error(1, error) == b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no"}}'
    # "omitted" rather than null
    assert encode_error(UNSET, error) == b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"no"}}'
    assert encode_request(1, "m", b"") == b'{"jsonrpc":"2.0","id":1,"method":"m"}'
    assert encode_request(1, "m", b"{}") == b'{"jsonrpc":"2.0","id":1,"method":"m","params":{}}'
    assert encode_notification("m", b"") == b'{"jsonrpc":"2.0","method":"m"}'
    assert encode_notification("m", b"{}") == b'{"jsonrpc":"2.0","method":"m","params":{}}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@rule(8)
@given(st.binary(max_size=200) | json_values.map(msgspec.json.encode))
def test_anything_gives_an_envelope_or_a_fault(data: bytes) -> None:
    found = decode(data, LIMITS)
    if isinstance(found, Malformed):
        assert found.error.code in (PARSE, INVALID)
        assert encode_error(found.id, found.error).decode()


ESCAPES = ["\\ud800", "\\udc00", "\\ud83d\\ude00", "\\u0041", "\\\\", '\\"', "a", "é", "\\u", "\\x", "\\n"]


@given(st.lists(st.sampled_from(ESCAPES), max_size=8).map("".join), st.sampled_from(["params", "result", "other"]))
def test_what_is_let_in_can_be_read_to_its_end(text: str, member: str) -> None:
    data = f'{{"jsonrpc":"2.0","id":1,"method":"m","{member}":["{text}"]}}'.encode()
    try:
        msgspec.json.decode(data)
        is_json = True
    except msgspec.DecodeError:
        is_json = False
    found = decode(data, LIMITS)
    assert is_json is not (isinstance(found, Malformed) and found.error.code == PARSE)


@given(
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0"), "id": st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20), "method": st.text()},
        optional={"params": json_values},
    ),
    st.booleans(),
)
def test_every_good_request_comes_through(message: dict[str, object], spaced: bool) -> None:
    data = msgspec.json.encode(message)
    if spaced:
        data = msgspec.json.format(data, indent=1)
    limits = Limits(method_bytes=10**6)
    envelope = good(data, limits)
    assert (envelope.id, envelope.method) == (message["id"], message["method"])
    assert type(envelope.id) is type(message["id"])
    if "params" in message:
        assert msgspec.json.decode(envelope.params) == msgspec.json.decode(msgspec.json.encode(message["params"]))
    else:
        assert envelope.params is UNSET


@pytest.mark.parametrize("padding", [10, 5000], ids=["short", "long"])
def test_depth_is_found_however_long_the_text_and_width_is_none(padding: int) -> None:
    limits = Limits(depth=40)

    def message(inside: str) -> bytes:
        return f'{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"p":"{"x" * padding}","a":{inside}}}}}'.encode()

    assert isinstance(decode(message("[" * 38 + "]" * 38), limits), Envelope)
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        deep = message(opening * 39 + ("1" if closing == "}" else "") + closing * 39)
        found = decode(deep, limits)
        assert isinstance(found, Malformed) and found.error.code == ErrorCode.PARSE_ERROR
    assert isinstance(decode(message("[" + ",".join(["[]"] * 100 + ["{}"] * 100) + "]"), limits), Envelope)
