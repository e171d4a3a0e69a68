"""Steps down to older revisions."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from protocol import adapt
from protocol import capabilities as c
from protocol import params as p
from protocol import results as r
from protocol import types as t
from protocol.model import Model, encode, evolve, extend, extra

STEPS = (adapt.TO_2025_11_25, adapt.TO_2025_06_18, adapt.TO_2025_03_26, adapt.TO_2024_11_05)

SINCE = t.Annotations(audience=["user"], priority=0.5, last_modified="2025-01-01T00:00:00Z")
ICONS = [t.Icon(src="https://a.example/i.png")]
TEXT = t.TextContent(text="a")
IMAGE = t.ImageContent.of(b"i", "image/png")
AUDIO = t.AudioContent.of(b"s", "audio/wav")
LINK = t.ResourceLink(uri="file:///a", name="a", title="A file", icons=ICONS, annotations=SINCE)
EMBEDDED = t.EmbeddedResource(resource=t.TextResourceContents(uri="file:///a", text="a"))
HINTS: dict[str, Any] = {"result_type": "complete", "ttl_ms": 5, "cache_scope": "public"}


def down(value: Any, steps: Sequence[adapt.Step]) -> Any:
    before = encode(value)
    change = adapt.compose(steps).get(type(value))
    adapted = value if change is None else change(value)
    assert encode(value) == before, "the original changed"
    if change is not None:
        assert change(adapted) is adapted, "a second time changes more"
    return adapted


def to_d(value: Any) -> Any:
    return down(value, STEPS[:1])


def to_c(value: Any) -> Any:
    return down(value, STEPS[:2])


def to_b(value: Any) -> Any:
    return down(value, STEPS[:3])


def to_a(value: Any) -> Any:
    return down(value, STEPS)


def wire(value: Any) -> Any:
    return msgspec.json.decode(encode(value))


def test_the_common_result_passes_every_step_untouched():
    result = r.CallToolResult(content=[TEXT, IMAGE, EMBEDDED], is_error=True)
    for reach in range(len(STEPS) + 1):
        assert down(result, STEPS[:reach]) is result


def test_no_steps_change_nothing():
    assert adapt.compose([]) == {}


def test_one_step_is_used_as_it_is_and_several_run_in_order():
    one = adapt.compose([{int: lambda value: value + 1}])
    both = adapt.compose([{int: lambda value: value + 1}, {int: lambda value: value * 2, str: str.upper}])
    assert one[int](1) == 2
    assert both[int](1) == 4
    assert both[str]("a") == "A"


def test_types_that_a_revision_does_not_change_have_no_function():
    for steps in (STEPS[:1], STEPS):
        assert p.LogParams not in adapt.compose(steps)
    assert r.EmptyResult not in adapt.TO_2025_06_18
    assert p.ProgressParams not in adapt.TO_2025_03_26


@pytest.mark.parametrize(
    "result",
    [
        r.EmptyResult(**{"result_type": "complete"}),
        r.CallToolResult(content=[], result_type="complete"),
        r.ReadResourceResult(contents=[], **HINTS),
        r.ListToolsResult(tools=[], next_cursor="c", **HINTS),
        r.ListResourcesResult(resources=[], **HINTS),
        r.ListResourceTemplatesResult(resource_templates=[], **HINTS),
        r.ListPromptsResult(prompts=[], **HINTS),
        r.GetPromptResult(messages=[], result_type="complete"),
        r.CompleteResult(completion=t.Completion(values=[]), result_type="complete"),
        r.ListRootsResult(roots=[], result_type="complete"),
        r.ElicitResult(action="accept", result_type="complete"),
    ],
    ids=lambda result: type(result).__name__,
)
def test_discriminators_and_cache_hints_go_first(result: Model):
    left = wire(to_d(result))
    assert not left.keys() & {"resultType", "ttlMs", "cacheScope"}
    assert left == {
        key: value for key, value in wire(result).items() if key not in ("resultType", "ttlMs", "cacheScope")
    }


@pytest.mark.parametrize(
    "params",
    [
        p.CallToolParams(name="a", input_responses={}, request_state="s"),
        p.GetPromptParams(name="a", request_state="s"),
        p.ReadResourceParams(uri="a:b", input_responses={}),
    ],
    ids=lambda params: type(params).__name__,
)
def test_retry_members_go_first(params: Model):
    assert not wire(to_d(params)).keys() & {"inputResponses", "requestState"}


@pytest.mark.parametrize("value", [None, [1], "a", 0, False])
def test_structured_output_that_is_no_object_is_dropped_and_the_text_kept(value: Any):
    result = r.CallToolResult(content=[TEXT], structured_content=value)
    assert wire(to_d(result)) == {"content": [{"type": "text", "text": "a"}]}


def test_structured_output_without_any_block_becomes_text():
    result = r.CallToolResult(content=[], structured_content=[1, {"a": None}])
    assert wire(to_d(result)) == {"content": [{"type": "text", "text": '[1,{"a":null}]'}]}
    result = r.CallToolResult(content=[], structured_content={"a": 1})
    assert to_c(result) is result
    assert wire(to_b(result)) == {"content": [{"type": "text", "text": '{"a":1}'}]}


@pytest.mark.parametrize("value", [{}, {"a": [1]}, TEXT])
def test_structured_output_that_is_an_object_stays_until_it_is_unknown(value: Any):
    result = r.CallToolResult(content=[TEXT], structured_content=value)
    assert to_c(result) is result
    assert to_b(result).structured_content is UNSET


def test_an_output_schema_stays_only_with_an_object_at_its_root():
    schemas: list[Any] = [UNSET, {"type": "object", "title": "x"}, {"type": "array"}, {"anyOf": []}, {}]
    tools = [t.Tool(name="a", input_schema={}, output_schema=schema) for schema in schemas]
    kept = [tool.output_schema for tool in to_d(r.ListToolsResult(tools=tools)).tools]
    assert kept == [UNSET, {"type": "object", "title": "x"}, UNSET, UNSET, UNSET]
    assert all(tool.output_schema is UNSET for tool in to_b(r.ListToolsResult(tools=tools)).tools)


def test_unchanged_members_of_a_changed_list_are_the_same_objects():
    plain = t.Tool(name="a", input_schema={})
    fancy = t.Tool(name="b", input_schema={}, icons=ICONS)
    more = t.Tool(name="c", input_schema={}, icons=ICONS)
    tools = to_c(r.ListToolsResult(tools=[plain, fancy, more])).tools
    assert tools[0] is plain
    assert [tool.icons for tool in tools] == [UNSET, UNSET, UNSET]


def test_unknown_members_survive_the_way_down():
    tool = extend(t.Tool(name="a", input_schema={}, title="T", icons=ICONS), {"x": 1})
    result = to_a(extend(r.ListToolsResult(tools=[tool], **HINTS), {"y": 2}))
    assert (extra(result), extra(result.tools[0])) == ({"y": 2}, {"x": 1})


def test_icons_and_execution_of_tools_need_2025_11_25():
    tool = t.Tool(name="a", input_schema={}, icons=ICONS, execution=t.ToolExecution(task_support="optional"))
    result = r.ListToolsResult(tools=[tool])
    assert to_d(result) is result
    assert wire(to_c(result)) == {"tools": [{"name": "a", "inputSchema": {}}]}


def test_a_tool_keeps_its_title_where_older_revisions_look_for_it():
    def titled(**members: Any) -> r.ListToolsResult:
        return r.ListToolsResult(tools=[t.Tool(name="a", input_schema={}, title="T", **members)])

    assert wire(to_b(titled()))["tools"][0] == {"name": "a", "inputSchema": {}, "annotations": {"title": "T"}}
    hints = t.ToolAnnotations(read_only_hint=True)
    assert wire(to_b(titled(annotations=hints)))["tools"][0]["annotations"] == {"title": "T", "readOnlyHint": True}
    own = t.ToolAnnotations(title="Own")
    assert wire(to_b(titled(annotations=own)))["tools"][0]["annotations"] == {"title": "Own"}
    assert wire(to_a(titled(annotations=own))) == {"tools": [{"name": "a", "inputSchema": {}}]}


def test_resources_templates_and_prompts_lose_icons_then_titles():
    listings: list[Any] = [
        r.ListResourcesResult(
            resources=[t.Resource(uri="a:b", name="a", title="T", icons=ICONS, annotations=SINCE, size=1)]
        ),
        r.ListResourceTemplatesResult(
            resource_templates=[
                t.ResourceTemplate(uri_template="a:{b}", name="a", title="T", icons=ICONS, annotations=SINCE)
            ]
        ),
    ]
    for listing in listings:
        assert to_d(listing) is listing
        (newer,) = next(iter(wire(to_c(listing)).values()))
        assert "icons" not in newer
        assert (newer["title"], newer["annotations"]["lastModified"]) == ("T", "2025-01-01T00:00:00Z")
        (older,) = next(iter(wire(to_b(listing)).values()))
        assert "title" not in older
        assert older["annotations"] == {"audience": ["user"], "priority": 0.5}
        assert wire(to_a(listing)) == wire(to_b(listing))
    prompt = t.Prompt(name="a", title="T", icons=ICONS, arguments=[t.PromptArgument(name="b", title="B")])
    result = r.ListPromptsResult(prompts=[prompt])
    assert wire(to_c(result)) == {"prompts": [{"name": "a", "title": "T", "arguments": [{"name": "b", "title": "B"}]}]}
    assert wire(to_b(result)) == {"prompts": [{"name": "a", "arguments": [{"name": "b"}]}]}


def test_links_become_text_before_2025_06_18():
    result = r.CallToolResult(content=[TEXT, LINK, evolve(LINK, title=UNSET, annotations=UNSET)])
    assert to_d(result) is result
    assert "icons" not in wire(to_c(result))["content"][1]
    assert wire(to_b(result))["content"] == [
        {"type": "text", "text": "a"},
        {
            "type": "text",
            "text": "A file: file:///a",
            "annotations": {"audience": ["user"], "priority": 0.5},
        },
        {"type": "text", "text": "a: file:///a"},
    ]


def test_audio_becomes_text_before_2025_03_26():
    message = t.PromptMessage(role="user", content=evolve(AUDIO, annotations=t.Annotations(priority=1)))
    result = r.GetPromptResult(messages=[message])
    assert to_b(result) is result
    assert wire(to_a(result))["messages"] == [
        {"role": "user", "content": {"type": "text", "text": "[audio audio/wav]", "annotations": {"priority": 1}}}
    ]


def test_meta_of_nested_values_stays():
    result = r.CallToolResult(content=[evolve(LINK, meta={"a": 1}), evolve(AUDIO, meta={"b": 2})])
    assert [block["_meta"] for block in wire(to_a(result))["content"]] == [{"a": 1}, {"b": 2}]


def test_implementations_say_less_to_older_peers():
    info = t.Implementation(name="a", version="1", title="T", description="D", website_url="w", icons=ICONS)
    result = r.InitializeResult(protocol_version="x", capabilities=c.ServerCapabilities(), server_info=info)
    params = p.InitializeParams(protocol_version="x", capabilities=c.ClientCapabilities(), client_info=info)
    assert to_d(result) is result
    assert wire(to_c(result))["serverInfo"] == {"name": "a", "version": "1", "title": "T"}
    assert wire(to_b(result))["serverInfo"] == {"name": "a", "version": "1"}
    assert wire(to_a(params))["clientInfo"] == {"name": "a", "version": "1"}


def test_server_capabilities_lose_tasks_then_completions():
    declared = c.ServerCapabilities(
        completions={}, tools=c.ToolsCapability(), tasks=c.ServerTasksCapability(), extensions={"a.b/c": {}}
    )
    info = t.Implementation(name="a", version="1")
    result = r.InitializeResult(protocol_version="x", capabilities=declared, server_info=info)
    assert to_d(result) is result
    assert wire(to_b(result))["capabilities"] == {"completions": {}, "tools": {}, "extensions": {"a.b/c": {}}}
    assert wire(to_a(result))["capabilities"] == {"tools": {}, "extensions": {"a.b/c": {}}}


@pytest.mark.parametrize(
    ("declared", "older", "oldest"),
    [
        ({}, {}, {}),
        ({"roots": {"listChanged": True}}, {"roots": {"listChanged": True}}, {"roots": {"listChanged": True}}),
        ({"tasks": {}}, {}, {}),
        ({"sampling": {}}, {"sampling": {}}, {"sampling": {}}),
        ({"sampling": {"tools": {}}}, {"sampling": {}}, {"sampling": {}}),
        ({"sampling": {"context": {}}}, {"sampling": {}}, {"sampling": {}}),
        ({"elicitation": {}}, {"elicitation": {}}, {}),
        ({"elicitation": {"form": {}}}, {"elicitation": {}}, {}),
        ({"elicitation": {"form": {}, "url": {}}}, {"elicitation": {}}, {}),
        ({"elicitation": {"url": {}}}, {}, {}),
    ],
)
def test_client_capabilities_lose_what_older_servers_would_misread(
    declared: dict[str, Any], older: dict[str, Any], oldest: dict[str, Any]
):
    params = p.InitializeParams(
        protocol_version="x",
        capabilities=msgspec.convert(declared, c.ClientCapabilities),
        client_info=t.Implementation(name="a", version="1"),
    )
    assert to_d(params) is params
    assert wire(to_c(params))["capabilities"] == older
    assert wire(to_b(params))["capabilities"] == oldest
    if declared == older:
        assert to_c(params) is params


def test_sampling_loses_tools_and_gets_one_block_per_message():
    use = t.ToolUseContent(id="1", name="n", input={"a": 1})
    answer = t.ToolResultContent(tool_use_id="1", content=[TEXT, IMAGE, TEXT], structured_content=[1])
    params = p.CreateMessageParams(
        messages=[
            t.SamplingMessage(role="user", content=[TEXT, AUDIO]),
            t.SamplingMessage(role="assistant", content=use),
            t.SamplingMessage(role="user", content=[answer]),
        ],
        max_tokens=5,
        tools=[t.Tool(name="n", input_schema={})],
        tool_choice=t.ToolChoice(mode="auto"),
        task=t.TaskMetadata(),
    )
    newest = wire(to_d(params))
    assert newest["messages"][2]["content"][0] == {
        "type": "tool_result",
        "toolUseId": "1",
        "content": [{"type": "text", "text": "a"}, wire(IMAGE), {"type": "text", "text": "a"}],
    }
    older = wire(to_c(params))
    assert older.keys() == {"messages", "maxTokens"}
    assert older["messages"] == [
        {"role": "user", "content": {"type": "text", "text": "a"}},
        {"role": "user", "content": wire(AUDIO)},
        {"role": "assistant", "content": {"type": "text", "text": '[tool use] n {"a":1}'}},
        {"role": "user", "content": {"type": "text", "text": "[tool result]\na\na"}},
    ]
    assert wire(to_a(params))["messages"][1]["content"] == {"type": "text", "text": "[audio audio/wav]"}


def test_plain_sampling_passes_untouched():
    params = p.CreateMessageParams(messages=[t.SamplingMessage(role="user", content=TEXT)], max_tokens=5)
    assert to_a(params) is params


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TEXT, TEXT),
        ([IMAGE], IMAGE),
        ([TEXT, IMAGE, TEXT], t.TextContent(text="a\na")),
        ([IMAGE, AUDIO], IMAGE),
        ([], t.TextContent(text="")),
    ],
)
def test_a_sampled_answer_is_one_block_for_older_servers(content: Any, expected: Any):
    result = r.CreateMessageResult(role="assistant", content=content, model="m")
    assert to_d(result) is result
    assert to_c(result).content == expected


def test_a_form_is_written_as_2025_06_18_does():
    schema = {
        "$schema": "x",
        "type": "object",
        "properties": {
            "a": {"type": "string", "oneOf": [{"const": "r", "title": "Red"}], "default": "r"},
            "b": {"type": "number", "default": 1},
            "c": {"type": "boolean", "default": True},
            "d": {"type": "array", "items": {"type": "string", "enum": ["x"]}, "default": ["x"]},
            "e": True,
        },
        "required": ["a"],
    }
    params = p.ElicitParams(message="m", mode="form", requested_schema=schema, task=t.TaskMetadata())
    assert to_d(params) is params
    assert wire(to_c(params)) == {
        "message": "m",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "a": {"type": "string", "enum": ["r"], "enumNames": ["Red"]},
                "b": {"type": "number"},
                "c": {"type": "boolean", "default": True},
                "d": {"type": "array", "items": {"type": "string", "enum": ["x"]}, "default": ["x"]},
                "e": True,
            },
            "required": ["a"],
        },
    }


@pytest.mark.parametrize(
    "params",
    [
        p.ElicitParams(message="m", requested_schema={"type": "object", "properties": {"a": {"type": "string"}}}),
        p.ElicitParams(message="m", requested_schema={"type": "object"}),
        p.ElicitParams(message="m"),
        p.ElicitParams(message="m", mode="url", url="https://a.example", elicitation_id="1"),
    ],
)
def test_what_is_plain_or_has_no_older_form_stays(params: p.ElicitParams):
    assert to_c(params) is params


def test_completions_lose_their_context_and_titles():
    params = p.CompleteParams(
        ref=t.PromptReference(name="a", title="T"),
        argument=t.CompletionArgument(name="b", value=""),
        context=t.CompletionContext(arguments={}),
    )
    assert to_c(params) is params
    assert wire(to_b(params)) == {
        "ref": {"type": "ref/prompt", "name": "a"},
        "argument": {"name": "b", "value": ""},
    }


def test_progress_loses_its_words_last():
    params = p.ProgressParams(progress_token=0, progress=1, message="m")
    assert to_b(params) is params
    assert wire(to_a(params)) == {"progressToken": 0, "progress": 1}


def test_task_augmentation_needs_2025_11_25():
    params = p.CallToolParams(name="a", task=t.TaskMetadata(ttl=5))
    assert to_d(params) is params
    assert wire(to_c(params)) == {"name": "a"}


def test_the_newest_revision_leaves_out_what_only_older_ones_have():
    newest = [adapt.TO_2026_07_28]
    tool = t.Tool(name="a", input_schema={}, execution=t.ToolExecution(), icons=ICONS)
    assert "execution" not in wire(down(r.ListToolsResult(tools=[tool], **HINTS), newest))["tools"][0]
    discovered = r.DiscoverResult(
        supported_versions=["x"], capabilities=c.ServerCapabilities(tasks=c.ServerTasksCapability()), **HINTS
    )
    assert wire(down(discovered, newest))["capabilities"] == {}
    asked = p.ElicitParams(message="m", mode="url", url="a:b", elicitation_id="1", task=t.TaskMetadata())
    assert wire(down(asked, newest)) == {"message": "m", "mode": "url", "url": "a:b"}
    sampled = p.CreateMessageParams(messages=[], max_tokens=1, task=t.TaskMetadata())
    assert wire(down(sampled, newest)) == {"messages": [], "maxTokens": 1}
    call = p.CallToolParams(name="a", request_state="s", task=t.TaskMetadata())
    assert wire(down(call, newest)) == {"name": "a", "requestState": "s"}
    for bare in (r.ElicitResult(action="cancel"), r.ListRootsResult(roots=[])):
        assert down(evolve(bare, result_type="complete"), newest) == bare


def test_a_client_declares_no_root_changes_and_no_tasks_to_the_newest_revision():
    declared = c.ClientCapabilities(roots=c.RootsCapability(list_changed=True), tasks=c.ClientTasksCapability())
    assert wire(down(declared, [adapt.TO_2026_07_28])) == {"roots": {}}
