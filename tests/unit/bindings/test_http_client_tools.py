"""What a client of Streamable HTTP does with tools whose arguments are mirrored into headers."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from protocol import (
    CallToolParams,
    ErrorCode,
    Failure,
    Result,
    Violation,
)
from protocol.http.client import StreamableHTTPClientOptions
from tests.pair import (
    R2026,
    failure,
)
from tests.requirements import rule
from tests.unit.bindings.clientwire import (
    DONE,
    Sent,
    call_tool,
    legacy,
    list_tools,
    mirrored,
    modern,
    raw,
    tool,
)

# Mirrored arguments


@rule(109, 110, 111, 112)
def test_annotated_arguments_are_repeated_in_headers() -> None:
    web = modern()
    list_tools(
        web,
        tool(
            region=mirrored("Region"),
            count=mirrored("Count", "integer"),
            dry=mirrored("Method", "boolean"),
            plain={"type": "string"},
            inner={"type": "object", "properties": {"deep": mirrored("Deep")}},
        ),
    )
    wrapped = f"=?base64?{base64.b64encode('zürich'.encode()).decode()}?="
    for arguments, expected in [
        ({"region": "eu", "count": 42, "dry": True, "plain": "x"}, ["eu", "42", "true", None]),
        ({"region": "", "count": -7.0, "dry": False, "inner": {"deep": "a b"}}, ["", "-7", "false", "a b"]),
        ({"region": "zürich", "count": None, "inner": None}, [wrapped, None, None, None]),
        ({"region": {"a": 1}, "dry": [1], "inner": 5}, [None] * 4),
        (
            {"region": " x", "count": 0, "inner": {"deep": "=?base64?eA==?="}},
            ["=?base64?IHg=?=", "0", None, "=?base64?PT9iYXNlNjQ/ZUE9PT89?="],
        ),
        (None, [None] * 4),
    ]:
        _, sent = call_tool(web, arguments=arguments)
        names = ("mcp-param-region", "mcp-param-count", "mcp-param-method", "mcp-param-deep")
        assert [sent.header(name) for name in names] == expected
        assert sent.header("mcp-param-plain") is None
    _, sent = web.call("tools/call", CallToolParams(name="t", arguments=raw([1])))
    assert sent.header("mcp-param-region") is None


def test_an_argument_without_a_form_in_a_header_fails_its_call() -> None:
    web = modern()
    list_tools(web, tool(count=mirrored("Count", "integer")))
    web.engine.send_request("tools/call", CallToolParams(name="t", arguments=raw({"count": 2**53})))
    failed = web.take(Failure)
    assert failed.is_local and failed.error.code == ErrorCode.INVALID_PARAMS and web.sent == []
    assert "argument 'count' of tool 't'" in failed.error.message


@rule(113)
def test_a_tool_with_a_bad_annotation_is_left_out_and_the_others_kept() -> None:
    web = modern()
    bad = {
        "empty": {"x": mirrored("")},
        "space": {"x": mirrored("a b")},
        "colon": {"x": mirrored("a:b")},
        "foreign": {"x": mirrored("ü")},
        "twice": {"x": mirrored("A"), "y": mirrored("a")},
        "number": {"x": mirrored("A", "number")},
        "object": {"x": mirrored("A", "object")},
        "array": {"x": mirrored("A", "array")},
        "null": {"x": mirrored("A", "null")},
        "items": {"x": {"type": "array", "items": mirrored("A")}},
    }
    good = tool("valid", region=mirrored("Region"))
    odd = [5, {"name": 5}, {"name": "schemaless", "inputSchema": "x-mcp-header"}]
    found = list_tools(web, *[tool(name, **each) for name, each in bad.items()], good, *odd, nextCursor="c", other=1.5)
    listed = msgspec.json.decode(found.raw)
    assert listed["tools"] == [good, *odd] and listed["nextCursor"] == "c" and listed["other"] == 1.5
    assert web.binding.rejected_tools.keys() == bad.keys()
    reported = [event.error.message for event in web.events if isinstance(event, Violation)]
    assert len(reported) == len(bad) and "tool 'empty'" in reported[0] and "header token" in reported[0]
    web.events.clear()
    # Nobody is told twice, and a tool that was mended can be used.
    list_tools(web, tool("empty", **bad["empty"]), tool("space", x=mirrored("ok")))
    assert not web.has(Violation) and "space" not in web.binding.rejected_tools
    call = web.engine.send_request("tools/call", CallToolParams(name="empty"))
    failed = web.take(Failure)
    assert failed.call is call and "cannot be used over HTTP" in failed.error.message and web.sent == []


def test_lists_without_annotations_pass_as_they_are() -> None:
    web = modern()
    found = list_tools(web, tool(), tool("u", x={"type": "string", "description": "\u2028"}))
    assert len(msgspec.json.decode(found.raw)["tools"]) == 2
    _, sent = web.call("tools/list")
    sent.reply(
        200,
        b'{"jsonrpc":"2.0","id":%d,"result":{"tools":[{"name":"e","inputSchema":{"properties":{"a":{"x\\u002dmcp-header":""}}}}]}}'
        % sent.id,
    )
    assert msgspec.json.decode(web.take(Result).raw) == {"tools": []}
    _, sent = web.call("tools/list")
    sent.answer({"tools": 5})
    assert bytes(web.take(Result).raw) == b'{"tools":5}'


def test_handshake_revisions_mirror_nothing() -> None:
    web = legacy()
    found = list_tools(web, tool(x=mirrored("")), tool("y", x=mirrored("X")))
    assert len(msgspec.json.decode(found.raw)["tools"]) == 2 and not web.binding.rejected_tools
    _, sent = call_tool(web, "y", {"x": "1"})
    assert sent.header("mcp-param-x") is None and sent.header("mcp-name") is None


def test_only_so_many_tools_are_remembered() -> None:
    web = modern(options=StreamableHTTPClientOptions(known_tools=2))
    tools = [tool(name, x=mirrored("X")) for name in "abc"]
    list_tools(web, *tools, *[tool(name, x=mirrored("")) for name in "def"])
    assert [call_tool(web, name, {"x": "1"})[1].header("mcp-param-x") for name in "abc"] == [None, "1", "1"]
    assert web.binding.rejected_tools.keys() == {"d", "e"}


def mismatch(sent: Sent) -> None:
    sent.reply(400, failure(sent.id, -32020, "Header mismatch: Mcp-Param-X header is missing"))


def test_a_header_mismatch_is_cured_by_a_new_list() -> None:
    web = modern()
    call, sent = call_tool(web, arguments={"x": "1"})
    other, second = call_tool(web, arguments={"x": "2"})
    gone, third = call_tool(web, arguments={"x": "3"})
    for each in (sent, second, third):
        mismatch(each)
    web.engine.cancel(gone)
    listing = web.next("POST")
    assert listing.message["method"] == "tools/list" and "cursor" not in listing.message["params"]
    assert listing.header("mcp-protocol-version") == R2026.name and listing.header("mcp-method") == "tools/list"
    assert listing.message["params"]["_meta"] and web.sent == [] and not web.events
    listing.answer({"tools": [], "nextCursor": "p2"})
    listing = web.next("POST")
    assert listing.message["params"]["cursor"] == "p2"
    listing.answer({"tools": [tool(x=mirrored("X"))]})
    for each, value in ((call, "1"), (other, "2")):
        again = web.next("POST")
        assert again.header("mcp-param-x") == value and again.id == each.id and again.id not in (sent.id, second.id)
        again.answer(DONE)
        assert web.take(Result).call is each
    assert not web.events and web.sent == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda listing: listing.answer({"tools": [tool()]}),
        lambda listing: listing.answer({"tools": 5}),
        lambda listing: listing.reply(200, failure(listing.id, -32603, "no")),
        lambda listing: listing.reply(500),
        lambda listing: listing.fail(),
    ],
)
def test_a_header_mismatch_that_no_list_explains_is_the_answer(answer: Any) -> None:
    web = modern()
    call, sent = call_tool(web, arguments={"x": "1"})
    mismatch(sent)
    answer(web.next("POST"))
    failed = web.take(Failure)
    assert failed.call is call and failed.error.code == ErrorCode.HEADER_MISMATCH and not failed.is_local
    assert web.sent == []


def test_a_header_mismatch_is_cured_only_once() -> None:
    web = modern(options=StreamableHTTPClientOptions(refresh_pages=1))
    call, sent = call_tool(web, arguments={"x": "1"})
    mismatch(sent)
    web.next("POST").answer({"tools": [tool(x=mirrored("X"))], "nextCursor": "more"})
    mismatch(web.next("POST"))
    assert web.take(Failure).call is call and web.sent == []


def test_a_list_that_does_not_come_is_waited_for_only_so_long() -> None:
    web = modern()
    call, sent = call_tool(web, arguments={"x": "1"})
    mismatch(sent)
    listing = web.next("POST")
    listing.stream()
    web.pass_time(29)
    assert call.is_open
    web.pass_time(1)
    assert web.take(Failure).call is call and listing.is_dropped


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [({"x": mirrored("")}, {"x": "1"}), ({"x": mirrored("X", "integer")}, {"x": 2**60})],
)
def test_a_refused_tool_turns_out_to_be_unusable(schema: Any, arguments: Any) -> None:
    web = modern()
    call, sent = call_tool(web, arguments=arguments)
    mismatch(sent)
    web.next("POST").answer({"tools": [tool(**schema)]})
    failed = web.take(Failure)
    assert failed.call is call and failed.error.code == ErrorCode.INVALID_PARAMS


def test_other_methods_and_eras_take_that_error_as_it_is() -> None:
    web = modern()
    _, sent = web.call("prompts/list")
    mismatch(sent)
    assert web.take(Failure).error.code == ErrorCode.HEADER_MISMATCH
    web = legacy()
    _, sent = call_tool(web)
    mismatch(sent)
    assert web.take(Failure).error.code == ErrorCode.HEADER_MISMATCH
    web = modern()
    _, sent = call_tool(web)
    sent.reply(200, {"jsonrpc": "2.0", "id": sent.id, "error": "no"})
    assert web.take(Failure).is_local
