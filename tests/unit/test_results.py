"""The result of every request."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from protocol import results as r
from protocol.model import Model, decode, encode, extra

TASK = b'"taskId":"1","status":"completed","createdAt":"c","lastUpdatedAt":"l","ttl":null'
DETAILED = b'"taskId":"1","status":"failed","createdAt":"c","lastUpdatedAt":"l","ttlMs":null,"error":{"code": 1}'

EXAMPLES: list[tuple[type[Model], bytes]] = [
    (r.EmptyResult, b'{"_meta":{"a":1},"resultType":"complete"}'),
    (r.ListenResult, b'{"_meta":{"io.modelcontextprotocol/subscriptionId":0},"resultType":"complete"}'),
    (
        r.DiscoverResult,
        b'{"resultType":"complete","supportedVersions":["x"],"capabilities":{"tools":{}},'
        b'"instructions":"i","ttlMs":0,"cacheScope":"public"}',
    ),
    (
        r.InitializeResult,
        b'{"protocolVersion":"x","capabilities":{},"serverInfo":{"name":"a","version":"1"},"instructions":"i"}',
    ),
    (
        r.InputRequiredResult,
        b'{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create",'
        b'"params":{"message": "m"}},"b":{"method":"roots/list"}},"requestState":""}',
    ),
    (
        r.ListToolsResult,
        b'{"tools":[{"name":"a","inputSchema":{"type":"object"}}],"nextCursor":"","ttlMs":-1,"cacheScope":"private"}',
    ),
    (r.CallToolResult, b'{"content":[{"type":"text","text":"a"}],"structuredContent":null,"isError":false}'),
    (r.CallToolResult, b'{"content":[],"structuredContent":[1,"a",{"b":null}]}'),
    (r.ListResourcesResult, b'{"resources":[{"uri":"file:///a","name":"a"}],"nextCursor":"c"}'),
    (r.ListResourceTemplatesResult, b'{"resourceTemplates":[{"uriTemplate":"file:///{a}","name":"a"}]}'),
    (r.ReadResourceResult, b'{"contents":[{"uri":"a:b","text":""},{"uri":"a:b","blob":""}],"ttlMs":5}'),
    (r.ListPromptsResult, b'{"prompts":[{"name":"a","arguments":[{"name":"b","required":true}]}]}'),
    (
        r.GetPromptResult,
        b'{"messages":[{"role":"assistant","content":{"type":"text","text":"a"}}],"description":"d"}',
    ),
    (r.CompleteResult, b'{"completion":{"values":["a"],"total":2,"hasMore":true}}'),
    (
        r.CreateMessageResult,
        b'{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"a","input":{}}],'
        b'"model":"m","stopReason":"toolUse"}',
    ),
    (
        r.CreateMessageResult,
        b'{"role":"assistant","content":{"type":"text","text":"a"},"model":"m","stopReason":"whatever"}',
    ),
    (r.ElicitResult, b'{"action":"accept","content":{"a":"b","c":1,"d":true,"e":["f"]}}'),
    (r.ElicitResult, b'{"action":"decline"}'),
    (r.ListRootsResult, b'{"roots":[{"uri":"file:///a","name":"a"}]}'),
    (r.CreateTaskResult, b'{"task":{' + TASK + b"}}"),
    (r.TaskResult, b"{" + TASK + b',"_meta":{"a":1}}'),
    (r.ListTasksResult, b'{"tasks":[{' + TASK + b'}],"nextCursor":"c"}'),
    (r.DetailedTaskResult, b"{" + DETAILED + b',"resultType":"task"}'),
]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_results_are_written_as_they_were_read(kind: type[Model], text: bytes):
    assert encode(decode(text, kind)) == text


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_results_keep_unknown_members(kind: type[Model], text: bytes):
    more = b'{"x":{"y":1},' + text[1:]
    result = decode(more, kind)
    assert extra(result) == {"x": {"y": 1}}
    assert msgspec.json.decode(encode(result)) == msgspec.json.decode(more)


def test_every_result_type_has_meta_and_a_result_type():
    kinds = [kind for name, kind in vars(r).items() if name.endswith("Result")]
    assert r.CallToolResult in kinds
    for kind in kinds:
        wires = {info.encode_name: info.default for info in msgspec.structs.fields(kind)}
        assert (wires["_meta"], wires["resultType"]) == (UNSET, UNSET)


@pytest.mark.parametrize("value", [None, [], [1], {}, {"a": None}, 0, False, "", "a", 1.5])
def test_structured_content_is_any_value_and_differs_from_none_at_all(value: Any):
    text = msgspec.json.encode({"content": [], "structuredContent": value})
    result = decode(text, r.CallToolResult)
    assert result.structured_content == value
    assert encode(result) == text
    assert encode(r.CallToolResult(content=[])) == b'{"content":[]}'


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        (r.DiscoverResult, b'{"supportedVersions":[],"capabilities":{},"instructions":null}', "instructions"),
        (
            r.InitializeResult,
            b'{"protocolVersion":"","capabilities":{},"serverInfo":{"name":"","version":""},"instructions":null}',
            "instructions",
        ),
        (r.ListToolsResult, b'{"tools":[],"nextCursor":null}', "next_cursor"),
        (r.ListResourcesResult, b'{"resources":[],"nextCursor":null}', "next_cursor"),
        (r.ListResourceTemplatesResult, b'{"resourceTemplates":[],"nextCursor":null}', "next_cursor"),
        (r.ListPromptsResult, b'{"prompts":[],"nextCursor":null}', "next_cursor"),
        (r.ListTasksResult, b'{"tasks":[],"nextCursor":null}', "next_cursor"),
        (r.GetPromptResult, b'{"messages":[],"description":null}', "description"),
        (
            r.CreateMessageResult,
            b'{"role":"user","content":[],"model":"m","stopReason":null}',
            "stop_reason",
        ),
        (r.ElicitResult, b'{"action":"cancel","content":null}', "content"),
    ],
)
def test_nulls_for_absent_members_are_tolerated(kind: type[Model], text: bytes, name: str):
    result = decode(text, kind)
    assert getattr(result, name) is UNSET
    assert b"null" not in encode(result)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (r.CallToolResult, b"{}"),
        (r.CallToolResult, b'{"content":{"type":"text","text":"a"}}'),
        (r.ListToolsResult, b'{"tools":[{"name":"a"}]}'),
        (r.ListToolsResult, b'{"tools":[],"nextCursor":1}'),
        (r.ElicitResult, b'{"action":"maybe"}'),
        (r.CreateTaskResult, b"{" + TASK + b"}"),
        (r.TaskResult, b'{"taskId":"1"}'),
        (r.CompleteResult, b'{"completion":{"values":[1]}}'),
    ],
)
def test_results_of_another_shape_are_refused(kind: type[Model], text: bytes):
    with pytest.raises(msgspec.ValidationError):
        decode(text, kind)
