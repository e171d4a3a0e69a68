"""The params of every request and notification."""

import msgspec
import pytest
from msgspec import UNSET, Raw, UnsetType

from protocol import params as p
from protocol.model import Model, decode, encode, extra

TASK = (
    b'"taskId":"1","status":"working","createdAt":"c","lastUpdatedAt":"l","ttl":null,'
    b'"statusMessage":"m","pollInterval":1'
)
DETAILED = (
    b'"taskId":"1","status":"input_required","createdAt":"c","lastUpdatedAt":"l","ttlMs":1,'
    b'"pollIntervalMs":1,"inputRequests":{"a":{"method":"roots/list","params":{}}}'
)

EXAMPLES: list[tuple[type[Model], bytes]] = [
    (p.EmptyParams, b"{}"),
    (p.PaginatedParams, b'{"cursor":""}'),
    (
        p.InitializeParams,
        b'{"protocolVersion":"x","capabilities":{"roots":{"listChanged":true}},'
        b'"clientInfo":{"name":"a","version":"1"}}',
    ),
    (
        p.CallToolParams,
        b'{"name":"a","arguments":{"b": 1},"inputResponses":{"k":{"action": "accept"}},'
        b'"requestState":"","task":{"ttl":5}}',
    ),
    (p.ReadResourceParams, b'{"uri":"file:///a","inputResponses":{},"requestState":"s"}'),
    (p.SubscribeParams, b'{"uri":"file:///a"}'),
    (p.GetPromptParams, b'{"name":"a","arguments":{"b":"c"},"requestState":"s"}'),
    (
        p.CompleteParams,
        b'{"ref":{"type":"ref/prompt","name":"a"},"argument":{"name":"b","value":""},'
        b'"context":{"arguments":{"c":"d"}}}',
    ),
    (
        p.CompleteParams,
        b'{"ref":{"type":"ref/resource","uri":"file:///{a}"},"argument":{"name":"a","value":"x"}}',
    ),
    (p.SetLevelParams, b'{"level":"warning"}'),
    (p.ListenParams, b'{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b"],"taskIds":["1"]}}'),
    (p.AcknowledgedParams, b'{"notifications":{}}'),
    (p.CancelledParams, b'{"requestId":0,"reason":"r"}'),
    (p.CancelledParams, b"{}"),
    (p.ProgressParams, b'{"progressToken":"","progress":0.5,"total":1,"message":"m"}'),
    (p.LogParams, b'{"level":"info","data":null,"logger":"l"}'),
    (p.ResourceUpdatedParams, b'{"uri":"file:///a"}'),
    (
        p.CreateMessageParams,
        b'{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"maxTokens":1,'
        b'"modelPreferences":{"hints":[{"name":"a"}],"costPriority":0.5},"systemPrompt":"s",'
        b'"includeContext":"none","temperature":0,"stopSequences":["x"],"metadata":{"a":1},'
        b'"tools":[{"name":"a","inputSchema":{"type":"object"}}],"toolChoice":{"mode":"auto"},"task":{}}',
    ),
    (p.ElicitParams, b'{"message":"m","requestedSchema":{"type":"object","properties":{}}}'),
    (p.ElicitParams, b'{"message":"m","mode":"form","requestedSchema":{},"task":{"ttl":1}}'),
    (p.ElicitParams, b'{"message":"m","mode":"url","url":"https://a.example","elicitationId":"1"}'),
    (p.ElicitCompleteParams, b'{"elicitationId":"1"}'),
    (p.TaskIdParams, b'{"taskId":"1"}'),
    (p.UpdateTaskParams, b'{"taskId":"1","inputResponses":{"a":{"roots":[ ]}}}'),
    (p.TaskStatusParams, b"{" + TASK + b"}"),
    (p.DetailedTaskParams, b"{" + DETAILED + b"}"),
]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_params_are_written_as_they_were_read(kind: type[Model], text: bytes):
    assert encode(decode(text, kind)) == text


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_params_keep_their_meta_raw_and_their_unknown_members(kind: type[Model], text: bytes):
    members = msgspec.json.decode(text, type=dict[str, Raw])
    more = msgspec.json.encode({"x": [1], "_meta": Raw(b'{ "a" : 1 }'), **members})
    params = decode(more, kind)
    assert bytes(params.meta) == b'{ "a" : 1 }'  # type: ignore[attr-defined]
    assert extra(params) == {"x": [1]}
    assert msgspec.json.decode(encode(params)) == msgspec.json.decode(more)


def test_every_params_type_has_a_meta_that_may_be_absent():
    kinds = [kind for name, kind in vars(p).items() if name.endswith("Params")]
    assert p.CallToolParams in kinds
    for kind in kinds:
        info = {info.name: info for info in msgspec.structs.fields(kind)}["meta"]
        assert (info.encode_name, info.type, info.default) == ("_meta", Raw | UnsetType, UNSET)


def test_what_belongs_to_a_handler_stays_raw():
    params = decode(b'{"name":"a","arguments":{"b": 1},"inputResponses":{"k":{"c": 2}}}', p.CallToolParams)
    assert isinstance(params.arguments, Raw)
    assert bytes(params.arguments) == b'{"b": 1}'
    assert isinstance(params.input_responses, dict)
    assert bytes(params.input_responses["k"]) == b'{"c": 2}'


def test_absent_null_and_empty_cursors_are_told_apart():
    assert decode(b"{}", p.PaginatedParams).cursor is UNSET
    assert decode(b'{"cursor":null}', p.PaginatedParams).cursor is UNSET
    assert decode(b'{"cursor":""}', p.PaginatedParams).cursor == ""


def test_nulls_for_absent_members_are_tolerated():
    assert decode(b'{"name":"a","arguments":null}', p.GetPromptParams).arguments is UNSET
    progress = decode(b'{"progressToken":1,"progress":1,"total":null,"message":null}', p.ProgressParams)
    assert encode(progress) == b'{"progressToken":1,"progress":1}'
    assert encode(decode(b'{"level":"info","data":1,"logger":null}', p.LogParams)) == b'{"level":"info","data":1}'


def test_numbers_keep_being_whole_or_not():
    assert encode(decode(b'{"progressToken":1,"progress":1,"total":2.5}', p.ProgressParams)) == (
        b'{"progressToken":1,"progress":1,"total":2.5}'
    )


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (p.CallToolParams, b"{}"),
        (p.CallToolParams, b'{"name":1}'),
        (p.GetPromptParams, b'{"name":"a","arguments":{"b":1}}'),
        (p.SetLevelParams, b'{"level":"loud"}'),
        (p.CompleteParams, b'{"ref":{"type":"ref/tool","name":"a"},"argument":{"name":"b","value":""}}'),
        (p.CancelledParams, b'{"requestId":null}'),
        (p.CancelledParams, b'{"requestId":true}'),
        (p.CancelledParams, b'{"requestId":1.0}'),
        (p.ProgressParams, b'{"progressToken":1,"progress":true}'),
        (p.CreateMessageParams, b'{"messages":[],"maxTokens":1.5}'),
        (p.ElicitParams, b'{"message":"m","mode":"voice"}'),
        (p.ListenParams, b'{"notifications":{"resourceSubscriptions":"a:b"}}'),
        (p.LogParams, b'{"level":"info"}'),
    ],
)
def test_params_of_another_shape_are_refused(kind: type[Model], text: bytes):
    with pytest.raises(msgspec.ValidationError):
        decode(text, kind)
