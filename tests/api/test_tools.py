"""Tools over the wire: schemas, arguments, results, errors, where they run, lists and changes."""

import base64
import dataclasses
import enum
import logging
import threading
import time
from typing import Annotated, Any, Literal, TypedDict

import anyio
import msgspec
import pytest

from kailash.mcp_server import Audio, Context, File, Image, MCPClient, MCPError, MCPErrorCode, MCPServer, ToolResult
from kailash.mcp_server.errors import RequestTimeoutError, ToolError
from protocol.types import TextContent

from .conftest import LAST_HANDSHAKE, NEWEST, Join
from .raw import RawPeer

pytestmark = pytest.mark.anyio
rule = pytest.mark.rule


def make(**options: Any) -> MCPServer:
    return MCPServer("tools", **options)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    deep: bool


class Shape(msgspec.Struct):
    name: str
    corners: list[Point] = []


@rule(119, 120)
async def test_the_list_says_what_the_signature_says(join: Join, revision: str) -> None:
    server = make()

    @server.tool(annotations={"readOnlyHint": True}, meta={"k": 1})
    def draw(
        shape: Shape,
        colour: Colour,
        mode: Literal["fast", "slow"] = "fast",
        scale: Annotated[float, "how large"] = 1.0,
        options: Options | None = None,
    ) -> Point:
        """Draw a shape.

        Args:
            colour: of the pen
        """
        return Point(1)

    async with join(server, revision) as client:
        assert client.server_capabilities.tools is not msgspec.UNSET
        [tool] = await client.list_tools()
    assert tool.description == "Draw a shape."
    schema = tool.input_schema
    assert schema["type"] == "object" and schema["required"] == ["shape", "colour"]
    assert schema["properties"]["colour"]["enum"] == ["blue", "red"] or schema["properties"]["colour"]["enum"] == [
        "red",
        "blue",
    ]
    assert schema["properties"]["colour"]["description"] == "of the pen"
    assert schema["properties"]["scale"]["description"] == "how large"
    assert schema["properties"]["mode"]["default"] == "fast"
    assert set(tool.output_schema["properties"]) == {"x", "y"}
    assert tool.annotations.read_only_hint is True and tool.meta == {"k": 1}


async def test_arguments_arrive_as_the_annotated_types(join: Join, revision: str) -> None:
    server = make()
    seen: list[Any] = []

    @server.tool
    def take(point: Point, colour: Colour, shape: Shape, when: Literal[1, 2], flag: bool | None = None) -> None:
        seen.extend([point, colour, shape, when, flag])

    async with join(server, revision) as client:
        arguments = {"point": {"x": 1}, "colour": "red", "shape": {"name": "s", "corners": [{"x": 2}]}, "when": 2}
        result = await client.call_tool("take", arguments)
    assert seen == [Point(1), Colour.RED, Shape("s", [Point(2)]), 2, None]
    assert result.content == [] and result.data is None


@rule(129)
@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"a": "x"}, "'a'"), ({}, "'a'"), ({"a": 1, "c": 2}, "'c'"), ({"a": True}, "'a'"), ({"a": 1.5}, "'a'")],
)
async def test_a_wrong_argument_is_a_tool_error_that_names_it(join: Join, arguments: Any, named: str) -> None:
    server = make()

    @server.tool
    def f(a: int) -> int:
        return a

    for revision in (NEWEST, LAST_HANDSHAKE):
        async with join(server, revision) as client:
            result = await client.call_tool("f", arguments, raise_on_error=False)
            assert result.is_error and named in result.text
            with pytest.raises(MCPError) as raised:
                await client.call_tool("f", arguments)
            assert raised.value.error_code == MCPErrorCode.INVALID_PARAMS
            assert (await client.call_tool("f", {"a": 1})).data == (1 if revision == NEWEST else "1")


async def test_a_wrong_argument_is_a_protocol_error_before_2025_11_25() -> None:
    server = make()

    @server.tool
    def f(a: int) -> int:
        return a

    async with RawPeer(server) as peer:
        await peer.initialize("2025-06-18")
        response = await peer.ask("tools/call", {"name": "f", "arguments": {"a": "x"}})
        assert response["error"]["code"] == -32602 and "'a'" in response["error"]["message"]
        assert (await peer.ask("tools/call", {"name": "f", "arguments": {"a": 1}}, id=2))["result"]["content"]


@rule(128)
async def test_an_unknown_tool_is_a_protocol_error(join: Join, revision: str) -> None:
    async with join(make(), revision) as client:
        with pytest.raises(MCPError, match="unknown tool 'nope'") as raised:
            await client.call_tool("nope", {}, raise_on_error=False)
        assert raised.value.error_code == MCPErrorCode.INVALID_PARAMS


@rule(121)
async def test_values_become_content(join: Join, revision: str) -> None:
    server = make()
    values: dict[str, Any] = {
        "text": "hello",
        "nothing": None,
        "image": Image(b"png", "image/png"),
        "audio": Audio(b"wav"),
        "file": File(b"data", "application/pdf"),
        "block": TextContent(text="block"),
        "mixed": ["a", Image(b"x"), {"k": 1}],
        "raw": b"bytes",
        "mapping": {"k": [1, 2]},
        "point": Point(1, 2),
        "own": ToolResult(content=[TextContent(text="own")], structured_content={"a": 1}, meta={"m": 1}),
        "spelled": {"content": [{"type": "text", "text": "s"}], "isError": False},
    }

    @server.tool
    def give(which: str):  # type: ignore[no-untyped-def]
        return values[which]

    async with join(server, revision) as client:
        results = {name: await client.call_tool("give", {"which": name}) for name in values}
    assert results["text"].data == "hello" and not results["text"].has_structured_content
    assert results["nothing"].content == []
    assert base64.b64decode(results["image"].content[0].data) == b"png"
    assert results["image"].content[0].mime_type == "image/png"
    assert base64.b64decode(results["audio"].content[0].data) == b"wav"
    assert results["audio"].content[0].mime_type == "audio/wav"
    assert results["file"].content[0].resource.decode() == b"data"
    assert results["block"].text == "block"
    assert [type(block).__name__ for block in results["mixed"].content] == [
        "TextContent",
        "ImageContent",
        "TextContent",
    ]
    assert base64.b64decode(results["raw"].text) == b"bytes"
    assert results["mapping"].structured_content == {"k": [1, 2]} == results["mapping"].data
    assert results["point"]["x"] == 1
    assert results["own"].structured_content == {"a": 1} and results["own"].meta["m"] == 1
    assert results["spelled"].text == "s"


@rule(122, 124)
async def test_structured_content_follows_the_return_annotation(join: Join) -> None:
    server = make()

    @server.tool
    def numbers() -> list[int]:
        return [1, 2]

    @server.tool
    def maybe() -> int | None:
        return None

    @server.tool(output_schema={"type": "object", "properties": {"a": {"type": "integer"}}})
    def own():  # type: ignore[no-untyped-def]
        return {"a": 1}

    @server.tool(output_schema=False)
    def plain() -> int:
        return 1

    async with join(server, NEWEST) as client:
        schemas = {tool.name: tool.output_schema for tool in await client.list_tools()}
        assert schemas["numbers"]["type"] == "array" and schemas["own"]["properties"] == {"a": {"type": "integer"}}
        assert schemas["plain"] is msgspec.UNSET
        assert (await client.call_tool("numbers")).structured_content == [1, 2]
        nothing = await client.call_tool("maybe")
        assert nothing.has_structured_content and nothing.structured_content is None
        assert not (await client.call_tool("plain")).has_structured_content
    async with join(server, LAST_HANDSHAKE) as client:
        # Older revisions know objects only: the rest is text there.
        schemas = {tool.name: tool.output_schema for tool in await client.list_tools()}
        assert schemas["numbers"] is msgspec.UNSET and schemas["own"] is not msgspec.UNSET
        assert (await client.call_tool("numbers")).data == [1, 2]


@rule(123)
async def test_the_client_checks_structured_content_against_the_listed_schema(join: Join, revision: str) -> None:
    server = make()

    @server.tool(output_schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    def lie():  # type: ignore[no-untyped-def]
        return {"a": "text"}

    async with join(server, revision) as client:
        await client.list_tools()
        with pytest.raises(MCPError, match="broke its output schema"):
            await client.call_tool("lie")


@rule(125, 126, 127)
async def test_schemas_of_others_pass_untouched_and_unknown_dialects_are_errors(join: Join, revision: str) -> None:
    server = make()
    odd = {
        "type": "object",
        "$anchor": "here",
        "$defs": {"n": {"type": "integer", "x-own": [1]}},
        "properties": {"a": {"$ref": "#/$defs/n"}},
        "unevaluatedProperties": False,
        "if": {"required": ["a"]},
    }
    strange = {"type": "object", "$schema": "https://example.com/unknown-dialect"}
    remote = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/never-fetched.json"}}}
    for name, schema in (("odd", odd), ("strange", strange), ("remote", remote)):
        server.add_tool(lambda: {"a": 1}, name=name, output_schema=schema)
    async with join(server, revision) as client:
        schemas = {tool.name: tool.output_schema for tool in await client.list_tools()}
        assert schemas["odd"] == odd
        assert (await client.call_tool("odd")).data == {"a": 1}
        with pytest.raises(ValueError, match="unknown-dialect"):
            await client.call_tool("strange")
        with pytest.raises(ValueError, match="never-fetched"):
            await client.call_tool("remote")


async def test_errors_meant_for_callers_keep_everything_and_others_are_masked(
    join: Join, revision: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = make()

    @server.tool
    def meant() -> None:
        raise MCPError("come back", error_code=4711, data={"k": 1}, retryable=True, retry_after=2.5)

    @server.tool
    def for_the_model() -> None:
        raise ToolError("the model may read this")

    @server.tool
    async def unexpected() -> None:
        raise OSError("/secret/path")

    async with join(server, revision) as client:
        with pytest.raises(MCPError, match="come back") as raised:
            await client.call_tool("meant")
        error = raised.value
        assert (error.error_code, error.data, error.retryable, error.retry_after) == (4711, {"k": 1}, True, 2.5)
        with pytest.raises(ToolError, match="the model may read this"):
            await client.call_tool("for_the_model")
        with caplog.at_level(logging.ERROR), pytest.raises(ToolError) as masked:
            await client.call_tool("unexpected")
    assert "secret" not in str(masked.value) and "unexpected" in str(masked.value)
    assert "/secret/path" in caplog.text


async def test_debug_shows_unexpected_errors(join: Join, revision: str) -> None:
    server = make(debug=True)

    @server.tool(blocking=False)
    def fails() -> None:
        raise OSError("/secret/path")

    async with join(server, revision) as client:
        with pytest.raises(ToolError, match="OSError: /secret/path"):
            await client.call_tool("fails")


async def test_a_result_that_json_cannot_hold_is_an_error_and_the_next_call_works(join: Join, revision: str) -> None:
    server = make()

    @server.tool
    def bad():  # type: ignore[no-untyped-def]
        return {"k": object()}

    @server.tool
    def odd_text() -> str:
        return "lone \ud800 surrogate"

    @server.tool
    def not_a_number() -> dict[str, float]:
        return {"v": float("nan")}

    async with join(server, revision) as client:
        with pytest.raises(ToolError):
            await client.call_tool("bad")
        assert (await client.call_tool("odd_text")).text == "lone � surrogate"
        assert (await client.call_tool("not_a_number")).data == {"v": None}


async def test_plain_functions_do_not_block_each_other_nor_the_loop(join: Join, revision: str) -> None:
    server = make()
    barrier = threading.Barrier(3)
    threads: set[int] = set()

    @server.tool
    def meet() -> None:
        threads.add(threading.get_ident())
        barrier.wait(5)

    async with join(server, revision) as client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(client.call_tool, "meet")
        await client.ping()
    assert len(threads) == 3 and threading.get_ident() not in threads


async def test_blocking_false_runs_in_the_read_loop(join: Join, revision: str) -> None:
    server = make()
    server.add_tool(lambda: threading.get_ident(), name="where", blocking=False)
    async with join(server, revision) as client:
        assert int((await client.call_tool("where")).data) == threading.get_ident()


async def test_blocking_true_on_a_coroutine_function_is_refused() -> None:
    with pytest.raises(TypeError, match="coroutine function"):
        make().add_tool(anyio.sleep, blocking=True)


async def test_a_tool_that_takes_too_long_is_cancelled_and_says_which_setting(join: Join, revision: str) -> None:
    server = make()
    cancelled = anyio.Event()

    @server.tool(timeout=0.05)
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with join(server, revision) as client:
        with pytest.raises(RequestTimeoutError, match=r"tool 'slow' timed out after 0\.05 s \(timeout=\)") as raised:
            await client.call_tool("slow")
        assert raised.value.retryable
        with anyio.fail_after(5):
            await cancelled.wait()


async def test_a_client_that_gives_up_cancels_the_tool(join: Join, revision: str) -> None:
    server = make()
    started, ended = anyio.Event(), anyio.Event()
    reasons: list[str | None] = []

    @server.tool
    async def slow(ctx: Context) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            reasons.append(ctx.cancelled.reason)
            ended.set()

    async with join(server, revision) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "slow")
            await started.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await ended.wait()
        assert reasons == ["cancelled by the caller"]
        await client.ping()


async def test_a_sync_tool_sees_its_cancellation(join: Join, revision: str) -> None:
    server = make()
    outcome: list[Any] = []
    begun, done = threading.Event(), threading.Event()

    @server.tool
    def slow(ctx: Context) -> None:
        begun.set()
        outcome.append(ctx.cancelled.wait(5))
        try:
            ctx.cancelled.check()
        except MCPError as error:
            outcome.append(error.error_code)
        done.set()

    async with join(server, revision) as client:
        with pytest.raises(RequestTimeoutError, match=r"tools/call 'slow' .* within 0\.1 s \(timeout=\)"):
            await client.call_tool("slow", timeout=0.1)
        await anyio.to_thread.run_sync(done.wait, 5)
    assert outcome == [True, MCPErrorCode.CANCELLED]


async def test_a_cached_tool_runs_once_for_equal_arguments(join: Join, revision: str) -> None:
    server = make()
    runs: list[Any] = []

    @server.tool(cache_ttl=60, cache_key="sums")
    def add(a: float, b: float) -> float:
        runs.append((a, b))
        time.sleep(0)
        return a + b

    @server.tool(cache_ttl=60)
    async def fails() -> None:
        runs.append("failed")
        raise ToolError("no")

    async with join(server, revision) as client:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.call_tool, "add", {"a": 1, "b": 2})
        assert (await client.call_tool("add", {"b": 2, "a": 1})).text == "3.0"
        assert runs == [(1, 2)]
        server.clear_cache("sums")
        await client.call_tool("add", {"a": 1, "b": 2})
        assert len(runs) == 2
        for _ in range(2):
            with pytest.raises(ToolError):
                await client.call_tool("fails")
        assert runs[2:] == ["failed", "failed"]


@rule(134, 135)
async def test_long_lists_come_in_pages_and_the_client_joins_them(join: Join, revision: str) -> None:
    server = make(page_size=3)
    for number in range(8):
        server.add_tool(lambda: 1, name=f"t{number}")
    async with join(server, revision) as client:
        assert [tool.name for tool in await client.list_tools()] == [f"t{number}" for number in range(8)]
    async with RawPeer(server) as peer:
        first = (await peer.ask_modern("tools/list"))["result"]
        assert len(first["tools"]) == 3
        # What is removed meanwhile does not shift the next page.
        server.remove_tool("t0")
        second = (await peer.ask_modern("tools/list", {"cursor": first["nextCursor"]}, id=2))["result"]
        assert [tool["name"] for tool in second["tools"]] == ["t3", "t4", "t5"]
        last = (await peer.ask_modern("tools/list", {"cursor": second["nextCursor"]}, id=3))["result"]
        assert len(last["tools"]) == 2 and "nextCursor" not in last
        for number, bad in enumerate(("", "nonsense", "dG9vbDo5OTk5", "cHJvbXB0OjE=", "é"), 4):
            error = await peer.ask_modern("tools/list", {"cursor": bad}, id=number)
            if bad != "dG9vbDo5OTk5":  # "tool:9999" is one of ours, past the end
                assert error["error"]["code"] == -32602, bad
            else:
                assert error["result"]["tools"] == []


@rule(174, 175)
async def test_lists_carry_cache_hints_and_the_client_heeds_them(join: Join) -> None:
    server = make(list_ttl=60, page_size=1)
    server.add_tool(lambda: 1, name="a")
    server.add_tool(lambda: 1, name="b")
    async with RawPeer(server) as peer:
        pages = [await peer.ask_modern("tools/list")]
        pages.append(await peer.ask_modern("tools/list", {"cursor": pages[0]["result"]["nextCursor"]}, id=2))
        for page in pages:
            assert page["result"]["ttlMs"] == 60_000 and page["result"]["cacheScope"] == "private"
    calls = 0
    async with join(server, NEWEST) as client:
        await client.list_tools()
        session = client._connection.session
        before = session.engine._last_id
        await client.list_tools()
        assert session.engine._last_id == before
        async with client.listen(tools=True) as changes:
            server.remove_tool("b")
            async for _ in changes:
                break
        assert [tool.name for tool in await client.list_tools()] == ["a"]
    assert calls == 0


async def test_disabled_tools_are_neither_listed_nor_served_and_clients_hear_of_it(join: Join, revision: str) -> None:
    server = make()
    server.add_tool(lambda: 1, name="a")
    server.add_tool(lambda: 1, name="b")
    async with join(server, revision) as client, client.listen(tools=True) as changes:
        server.disable_tool("b")
        async for change in changes:
            assert change.kind.value == "toolsListChanged"
            break
        assert [tool.name for tool in await client.list_tools()] == ["a"]
        with pytest.raises(MCPError, match="unknown tool"):
            await client.call_tool("b")
        server.enable_tool("b")
        assert (await client.call_tool("b")).data in (1, "1")
        with pytest.raises(KeyError):
            server.enable_tool("c")


async def test_protected_tools_are_hidden_from_and_refused_to_callers_without_permission(
    revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kailash.mcp_server.auth import APIKeyAuth

    auth = APIKeyAuth({"k-admin": {"permissions": ["admin"]}, "k-user": {"permissions": ["tools"]}})

    def serve(**options: Any) -> MCPServer:
        server = make(auth_provider=auth, **options)
        server.add_tool(lambda: "secret", name="operate", required_permission="operate")
        server.add_tool(lambda: "open", name="look")
        return server

    for permissions, seen in (((), ["look"]), (("operate",), ["operate", "look"]), (("admin",), ["operate", "look"])):
        async with MCPClient(serve(stdio_permissions=permissions), revisions=[revision]) as client:
            assert [tool.name for tool in await client.list_tools()] == seen
            if "operate" in seen:
                assert (await client.call_tool("operate")).data == "secret"
            else:
                with pytest.raises(MCPError, match="requires the permission 'operate'"):
                    await client.call_tool("operate")
    for key, granted in (("k-admin", {"admin"}), ("k-user", {"tools"})):
        monkeypatch.setenv("MCP_API_KEY", key)
        assert (await serve()._stdio_identity()).permissions == granted
    monkeypatch.setenv("MCP_API_KEY", "wrong")
    with pytest.raises(MCPError, match="unknown API key"):
        await serve()._stdio_identity()


SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"place": {"$anchor": "placeDef", "type": "object", "properties": {"city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "place": {"$ref": "#/$defs/place"}, "phone": {"type": "string"}},
    "if": {"properties": {"name": {"const": "callable"}}, "required": ["name"]},
    "then": {"required": ["phone"]},
    "additionalProperties": False,
}


async def test_an_input_schema_of_the_authors_is_listed_as_written_and_checked(revision: str, join: Join) -> None:
    server = make()
    seen: list[dict[str, Any]] = []

    @server.tool(input_schema=SCHEMA, blocking=False)
    def keeps(**arguments: Any) -> str:
        seen.append(arguments)
        return "kept"

    async with join(server, revision) as client:
        [tool] = await client.list_tools()
        assert tool.input_schema == SCHEMA
        assert (await client.call_tool("keeps")).text == "kept"
        assert (await client.call_tool("keeps", {"name": "x", "place": {"city": "y"}})).text == "kept"
        for wrong in ({"name": "callable"}, {"place": {"city": 1}}, {"other": 1}):
            with pytest.raises(MCPError, match="arguments do not fit the input schema") as raised:
                await client.call_tool("keeps", wrong)
            assert raised.value.error_code == MCPErrorCode.INVALID_PARAMS
    assert seen == [{}, {"name": "x", "place": {"city": "y"}}]
