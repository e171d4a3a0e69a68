"""The values that messages carry."""

from typing import Any, get_args

import msgspec
import pytest
from msgspec import UNSET

from protocol import types as t
from protocol.model import Model, decode, encode
from protocol.params import ProgressParams


def models() -> list[type[Model]]:
    return [kind for kind in vars(t).values() if isinstance(kind, type) and issubclass(kind, Model)]


BLOCKS = [
    b'{"type":"text","text":"a"}',
    b'{"type":"image","data":"YQ==","mimeType":"image/png"}',
    b'{"type":"audio","data":"YQ==","mimeType":"audio/wav"}',
    b'{"type":"resource_link","uri":"file:///a","name":"a","size":3}',
    b'{"type":"resource","resource":{"uri":"file:///a","text":"a"}}',
    b'{"type":"resource","resource":{"uri":"file:///a","blob":"YQ=="}}',
]
SAMPLING_BLOCKS = [
    *BLOCKS[:3],
    b'{"type":"tool_use","id":"1","name":"a","input":{"b":1}}',
    b'{"type":"tool_result","toolUseId":"1","content":[{"type":"text","text":"a"}],"structuredContent":null}',
]


@pytest.mark.parametrize("kind", models(), ids=lambda kind: kind.__name__)
def test_every_type_says_what_it_is(kind: type[Model]):
    first = (kind.__doc__ or "").split("\n")[0]
    assert first.endswith(".")


@pytest.mark.parametrize("text", BLOCKS)
def test_every_content_block_is_told_by_its_tag(text: bytes):
    message = decode(b'{"role":"user","content":' + text + b"}", t.PromptMessage)
    assert isinstance(message.content, get_args(t.ContentBlock))
    assert encode(message.content) == text


@pytest.mark.parametrize("text", SAMPLING_BLOCKS)
def test_sampling_content_is_one_block_or_a_list(text: bytes):
    one = decode(b'{"role":"user","content":' + text + b"}", t.SamplingMessage)
    many = decode(b'{"role":"user","content":[' + text + b"]}", t.SamplingMessage)
    assert many.content == [one.content]
    assert isinstance(one.content, get_args(t.SamplingContentBlock))
    assert encode(one.content) == text


@pytest.mark.parametrize("text", [b'{"type":"video","data":""}', b'{"text":"a"}', b'{"type":"text","text":null}'])
def test_blocks_of_no_known_shape_are_refused(text: bytes):
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"role":"user","content":' + text + b"}", t.PromptMessage)


def test_resources_cannot_be_embedded_in_sampling():
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"role":"user","content":' + BLOCKS[4] + b"}", t.SamplingMessage)


def test_contents_are_told_apart_by_their_members():
    text = decode(BLOCKS[4], t.EmbeddedResource).resource
    blob = decode(BLOCKS[5], t.EmbeddedResource).resource
    assert isinstance(text, t.TextResourceContents)
    assert isinstance(blob, t.BlobResourceContents)
    assert (text.uri, blob.uri) == ("file:///a", "file:///a")


@pytest.mark.parametrize("data", [b"", b"a", b"\x00\xff" * 20])
def test_bytes_travel_as_base64(data: bytes):
    assert t.ImageContent.of(data, "image/png").decode() == data
    assert t.AudioContent.of(data, "audio/wav").decode() == data
    assert t.BlobResourceContents.of("file:///a", data).decode() == data


def test_helpers_set_the_mime_type():
    assert t.ImageContent.of(b"", "image/png").mime_type == "image/png"
    assert t.AudioContent.of(b"", "audio/wav").mime_type == "audio/wav"
    assert t.BlobResourceContents.of("a:b", b"").mime_type is UNSET
    assert t.BlobResourceContents.of("a:b", b"", mime_type="a/b").mime_type == "a/b"


@pytest.mark.parametrize("data", ["a", "=", "a b=", "YQ", "\u00e9"])
def test_text_that_is_not_base64_is_a_value_error(data: str):
    for block in (
        t.ImageContent(data=data, mime_type="image/png"),
        t.AudioContent(data=data, mime_type="audio/wav"),
        t.BlobResourceContents(uri="a:b", blob=data),
    ):
        with pytest.raises(ValueError, match=r"base64|ASCII"):
            block.decode()


@pytest.mark.parametrize("token", [b"1", b"0", b"-5", b'"1"', b'""', b"123456789012345678901234567890"])
def test_tokens_keep_their_json_type(token: bytes):
    params = decode(b'{"progressToken":' + token + b',"progress":1}', ProgressParams)
    assert encode(params) == b'{"progressToken":' + token + b',"progress":1}'


@pytest.mark.parametrize("token", [b"true", b"false", b"1.0", b"1.5", b"1e3", b"null", b"[]", b"{}"])
def test_tokens_are_integers_or_text_and_nothing_else(token: bytes):
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"progressToken":' + token + b',"progress":1}', ProgressParams)


@pytest.mark.parametrize(
    ("kind", "members", "nulls"),
    [
        (t.Icon, {"src": "a"}, ["mimeType"]),
        (t.Implementation, {"name": "a", "version": "1"}, ["title", "description"]),
        (t.TextResourceContents, {"uri": "a:b", "text": ""}, ["mimeType"]),
        (t.BlobResourceContents, {"uri": "a:b", "blob": ""}, ["mimeType"]),
        (
            t.ResourceLink,
            {"type": "resource_link", "uri": "a:b", "name": "a"},
            ["title", "description", "mimeType"],
        ),
        (t.ToolAnnotations, {}, ["title"]),
        (t.Tool, {"name": "a", "inputSchema": {}}, ["title", "description", "outputSchema"]),
        (t.Resource, {"uri": "a:b", "name": "a"}, ["title", "description", "mimeType"]),
        (t.ResourceTemplate, {"uriTemplate": "a:b", "name": "a"}, ["title", "description", "mimeType"]),
        (t.PromptArgument, {"name": "a"}, ["title", "description"]),
        (t.Prompt, {"name": "a"}, ["title", "description", "arguments"]),
        (t.PromptReference, {"type": "ref/prompt", "name": "a"}, ["title"]),
        (t.CompletionContext, {}, ["arguments"]),
    ],
)
def test_a_null_that_peers_send_for_an_absent_member_reads_as_absent(
    kind: type[Model], members: dict[str, Any], nulls: list[str]
):
    text = msgspec.json.encode({**members, **dict.fromkeys(nulls)})
    assert msgspec.json.decode(encode(decode(text, kind))) == members
    full = {**members, **{name: "x" for name in nulls if name not in ("outputSchema", "arguments")}}
    assert msgspec.json.decode(encode(decode(msgspec.json.encode(full), kind))) == full


def test_a_present_member_that_nulls_would_replace_is_kept():
    tool = t.Tool(name="a", input_schema={}, output_schema={})
    assert tool.output_schema == {}
    assert t.Prompt(name="a", arguments=[]).arguments == []
    assert t.CompletionContext(arguments={}).arguments == {}


def test_schemas_are_carried_word_for_word():
    schema = (
        b'{"$schema":"x","type":"object","properties":{"a":{"type":["string","null"],"x-mcp-header":"A"}},'
        b'"$defs":{"b":{"$ref":"#/x"}},"additionalProperties":false,"default":null}'
    )
    text = b'{"name":"a","inputSchema":' + schema + b',"outputSchema":' + schema + b"}"
    assert encode(decode(text, t.Tool)) == text


def test_levels_go_from_the_least_severe_to_the_most():
    assert get_args(t.LoggingLevel) == t.LOGGING_LEVELS
    assert t.LOGGING_LEVELS[0] == "debug"
    assert t.LOGGING_LEVELS[-1] == "emergency"


def test_a_task_without_an_end_has_a_null_time_to_live():
    task = t.Task(task_id="1", status="working", created_at="c", last_updated_at="l", ttl=None)
    assert b'"ttl":null' in encode(task)
    detailed = t.DetailedTask(task_id="1", status="working", created_at="c", last_updated_at="l", ttl_ms=None)
    assert b'"ttlMs":null' in encode(detailed)


def test_a_result_inside_a_task_stays_raw():
    text = (
        b'{"taskId":"1","status":"completed","createdAt":"c","lastUpdatedAt":"l","ttlMs":5,"result":{ "content" : [] }}'
    )
    assert encode(decode(text, t.DetailedTask)) == text


def test_an_unknown_status_is_refused():
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"taskId":"1","status":"paused","createdAt":"c","lastUpdatedAt":"l","ttl":1}', t.Task)
