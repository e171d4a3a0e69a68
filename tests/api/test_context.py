"""What a handler can do while it runs: ask, tell, know. The same body in both eras."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest

from kailash.mcp_server import Context, MCPError, MCPErrorCode, MCPServer
from protocol.params import CreateMessageParams, ElicitParams
from protocol.results import CreateMessageResult
from protocol.types import Root, TextContent

from .conftest import LAST_HANDSHAKE, NEWEST, Join
from .raw import NEWEST as _NEWEST
from .raw import RawPeer, modern

pytestmark = pytest.mark.anyio
rule = pytest.mark.rule


@dataclasses.dataclass
class Order:
    kind: Literal["green", "black"]
    sugar: int = 2


@rule(148, 149, 152, 153, 157, 162, 164, 166, 167, 168, 170)
async def test_elicit_in_the_middle_of_a_tool_works_the_same_in_both_eras(join: Join, revision: str) -> None:
    server = MCPServer("asks")
    runs: list[str] = []
    asked: list[ElicitParams] = []

    @server.tool
    async def order(table: int, ctx: Context) -> str:
        runs.append("run")
        price = await ctx.once("price", lambda: runs.append("priced") or 3)
        first = await ctx.elicit("Which tea?", Order)
        second = await ctx.elicit("Sure?")
        assert first.data is not None
        return f"table {table}: {first.data.kind}, {first.data.sugar} sugar, {price}, {second.action}"

    def answer(params: ElicitParams) -> Any:
        asked.append(params)
        return {"kind": "green"} if params.message == "Which tea?" else True

    async with join(server, revision, elicitation_handler=answer) as client:
        result = await client.call_tool("order", {"table": 4})
    assert result.data == "table 4: green, 2 sugar, 3, accept"
    assert runs.count("priced") == 1 and runs.count("run") == (3 if revision == NEWEST else 1)
    assert [params.message for params in asked] == ["Which tea?", "Sure?"]
    properties = asked[0].requested_schema["properties"]
    assert set(properties) == {"kind", "sugar"} and set(properties["kind"]["enum"]) == {"green", "black"}


@pytest.mark.parametrize(("answer", "action"), [(None, "decline"), (False, "decline"), ("cancel", "cancel")])
async def test_a_user_may_refuse(join: Join, revision: str, answer: Any, action: str) -> None:
    server = MCPServer("asks")

    @server.tool
    async def ask(ctx: Context) -> str:
        told = await ctx.elicit("?", Order)
        return f"{told.action} {told.accepted} {told.data}"

    async with join(server, revision, elicitation_handler=lambda params: answer) as client:
        assert (await client.call_tool("ask")).data == f"{action} False None"


@rule(151, 158)
async def test_url_elicitation_is_consent_only(join: Join, revision: str) -> None:
    server = MCPServer("asks")
    seen: list[ElicitParams] = []

    @server.tool
    async def login(ctx: Context) -> str:
        return (await ctx.elicit_url("Log in", "https://example.com/login?a=1")).action

    def answer(params: ElicitParams) -> bool:
        seen.append(params)
        return True

    modes = ("form", "url")
    async with join(server, revision, elicitation_handler=answer, elicitation_modes=modes) as client:
        assert (await client.call_tool("login")).data == "accept"
    assert (seen[0].mode, seen[0].url) == ("url", "https://example.com/login?a=1")
    assert isinstance(seen[0].elicitation_id, str) == (revision == LAST_HANDSHAKE)
    async with join(server, revision, elicitation_handler=answer) as client:
        with pytest.raises(MCPError, match="elicitation") as refused:
            await client.call_tool("login")
    assert refused.value.error_code == MCPErrorCode.MISSING_CLIENT_CAPABILITY


@rule(156)
async def test_the_end_of_a_visit_is_told_where_there_is_a_word_for_it(join: Join, revision: str) -> None:
    server = MCPServer("asks")
    seen: list[ElicitParams] = []
    told: list[Any] = []

    @server.tool
    async def login(ctx: Context) -> str:
        action = (await ctx.elicit_url("Log in", "https://example.com/login", elicitation_id="visit-7")).action
        return f"{action} {await ctx.end_visit('visit-7')}"

    def answer(params: ElicitParams) -> bool:
        seen.append(params)
        return True

    handlers = {"elicitation_handler": answer, "notification_handler": told.append}
    has_word = revision == LAST_HANDSHAKE
    async with join(server, revision, elicitation_modes=("form", "url"), **handlers) as client:
        assert (await client.call_tool("login")).data == f"accept {has_word}"
    assert (seen[0].elicitation_id == "visit-7") == has_word
    assert [each.method for each in told] == ["notifications/elicitation/complete"] * has_word


@rule(39)
async def test_what_the_client_did_not_declare_is_not_asked(join: Join, revision: str) -> None:
    server = MCPServer("asks")

    @server.tool
    async def ask(ctx: Context) -> str:
        return (await ctx.sample("hi")).model

    async with join(server, revision) as client:
        with pytest.raises(MCPError, match="sampling") as missing:
            await client.call_tool("ask")
    assert missing.value.error_code == MCPErrorCode.MISSING_CLIENT_CAPABILITY
    assert missing.value.data == {"requiredCapabilities": {"sampling": {}}}


@rule(139, 159, 161)
async def test_sampling_and_roots(join: Join, revision: str, tmp_path: Any) -> None:
    server = MCPServer("asks")

    @server.tool
    async def think(ctx: Context) -> list[str]:
        answer = await ctx.sample("question", max_tokens=7, system_prompt="be brief", temperature=0.5)
        roots = await ctx.list_roots()
        return [answer.content.text, *(root.uri for root in roots)]

    def sample(params: CreateMessageParams) -> Any:
        assert (params.max_tokens, params.system_prompt) == (7, "be brief")
        return params.messages[0].content.text.upper()

    roots = [str(tmp_path), Root(uri="file:///b")]
    async with join(server, revision, sampling_handler=sample, roots=roots) as client:
        assert (await client.call_tool("think")).data == ["QUESTION", tmp_path.as_uri(), "file:///b"]

    async def sample_later(params: CreateMessageParams) -> CreateMessageResult:
        await anyio.lowlevel.checkpoint()
        return CreateMessageResult(role="assistant", content=TextContent(text="t"), model="m", stop_reason="endTurn")

    async with join(server, revision, sampling_handler=sample_later, roots=lambda: []) as client:
        assert (await client.call_tool("think")).data == ["t"]
    async with join(server, revision, sampling_handler=sample, roots=["https://example.com"]) as client:
        with pytest.raises(MCPError):
            await client.call_tool("think")


async def test_a_handler_of_the_client_that_fails_fails_the_call(join: Join, revision: str) -> None:
    server = MCPServer("asks")

    @server.tool
    async def ask(ctx: Context) -> str:
        return (await ctx.sample("x")).model

    def refuse(params: CreateMessageParams) -> Any:
        raise MCPError("the user said no", error_code=MCPErrorCode.USER_REJECTED)

    def break_down(params: CreateMessageParams) -> Any:
        raise OSError("boom")

    for handler in (refuse, break_down):
        async with join(server, revision, sampling_handler=handler) as client:
            with pytest.raises(MCPError) as failed:
                await client.call_tool("ask")
            if handler is refuse:
                assert "the user said no" in str(failed.value)
                assert failed.value.error_code == MCPErrorCode.USER_REJECTED
            assert "boom" not in str(failed.value)
            await client.ping()


@rule(172)
async def test_questions_asked_side_by_side_go_out_in_one_round(join: Join, anyio_backend: str) -> None:
    if anyio_backend != "asyncio":
        pytest.skip("asyncio.gather")  # the same with a task group: below
    server = MCPServer("asks")
    runs: list[int] = []

    @server.tool
    async def both(ctx: Context) -> str:
        runs.append(1)
        one, two = await asyncio.gather(ctx.elicit("one", key="1"), ctx.sample("two", key="2"))
        return f"{one.action} {two.content.text}"

    async with join(server, NEWEST, elicitation_handler=lambda p: True, sampling_handler=lambda p: "s") as client:
        assert (await client.call_tool("both")).data == "accept s"
    assert len(runs) == 2


async def test_questions_inside_a_task_group(join: Join, revision: str) -> None:
    server = MCPServer("asks")

    @server.tool
    async def both(ctx: Context) -> str:
        answers: dict[str, str] = {}

        async def ask(key: str) -> None:
            answers[key] = (await ctx.elicit(key, key=key)).action

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "a")
            group.start_soon(ask, "b")
        return json.dumps(answers, sort_keys=True)

    async with join(server, revision, elicitation_handler=lambda p: p.message == "a") as client:
        assert (await client.call_tool("both")).data == {"a": "accept", "b": "decline"}


async def test_a_sync_tool_asks_with_wait(join: Join, revision: str) -> None:
    server = MCPServer("asks")

    @server.tool
    def ask(ctx: Context) -> str:
        ctx.progress(1, 2)
        ctx.info("asking")
        return ctx.wait(ctx.elicit("?")).action

    heard: list[Any] = []
    async with join(
        server, revision, elicitation_handler=lambda p: True, log_handler=heard.append, log_level="info"
    ) as client:
        result = await client.call_tool("ask", on_progress=lambda *told: heard.append(told))
    assert result.data == "accept"
    assert (1, 2, None) in heard and any(getattr(item, "data", None) == "asking" for item in heard)


async def test_a_tools_own_except_does_not_swallow_a_question(join: Join, revision: str) -> None:
    server = MCPServer("asks")

    @server.tool
    async def careful(ctx: Context) -> str:
        try:
            return (await ctx.elicit("?")).action
        except Exception as error:
            return f"swallowed {error!r}"

    async with join(server, revision, elicitation_handler=lambda p: True) as client:
        assert (await client.call_tool("careful")).data == "accept"


@rule(171, 172, 173)
async def test_state_is_refused_when_touched_and_questions_are_repeated_when_unanswered() -> None:
    server = MCPServer("asks")

    @server.tool
    async def ask(ctx: Context, n: int = 0) -> str:
        one = await ctx.elicit("one", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
        two = await ctx.elicit("two")
        return f"{one.data} {two.action}"

    able = {"elicitation": {}}
    async with RawPeer(server) as peer:

        async def call(id: int, **params: Any) -> dict[str, Any]:
            return await peer.ask("tools/call", modern({"name": "ask"} | params, able), id=id)

        first = (await call(1, arguments={"n": 1}))["result"]
        assert first["resultType"] == "input_required" and "ttlMs" not in first
        [key] = first["inputRequests"]
        assert first["inputRequests"][key]["method"] == "elicitation/create"
        assert "_meta" not in first["inputRequests"][key]["params"]
        state = first["requestState"]
        good = {key: {"action": "accept", "content": {"a": 1}}}
        # Nothing answered, or something else: the same question again. Extra keys are ignored.
        for id, responses in ((2, {}), (3, {"other": {"action": "accept"}})):
            again = await call(id, arguments={"n": 1}, requestState=state, inputResponses=responses)
            assert list(again["result"]["inputRequests"]) == [key]
        # Malformed answers never complete the call.
        for id, bad in (
            (4, {key: {"action": "maybe"}}),
            (5, {key: {"action": "accept", "content": {"a": "x"}}}),
            (6, {key: 7}),
        ):
            wrong = await call(id, arguments={"n": 1}, requestState=state, inputResponses=bad)
            assert wrong["error"]["code"] == -32602
        # Tampered, for other arguments, for another tool's name: refused.
        flipped = state[:-3] + ("A" if state[-3] != "A" else "B") + state[-2:]
        for id, params in (
            (7, {"arguments": {"n": 1}, "requestState": flipped}),
            (8, {"arguments": {"n": 2}, "requestState": state}),
        ):
            assert (await call(id, inputResponses=good, **params))["error"]["code"] == -32602
        second = (await call(9, arguments={"n": 1}, requestState=state, inputResponses=good))["result"]
        [other] = second["inputRequests"]
        assert other != key
        third = await call(
            10, arguments={"n": 1}, requestState=second["requestState"], inputResponses={other: {"action": "accept"}}
        )
        assert (
            third["result"]["resultType"] == "complete" and third["result"]["content"][0]["text"] == "{'a': 1} accept"
        )
        # Other spelling of equal arguments is the same request.
        spelled = (
            b'{"jsonrpc":"2.0","id":11,"method":"tools/call","params":%b}'
            % json.dumps(
                modern({"name": "ask", "arguments": {"n": 1}, "requestState": state, "inputResponses": good}, able),
                indent=1,
            )
            .replace("\n", " ")
            .encode()
        )
        peer.write(spelled)
        assert (await peer.read())["result"]["resultType"] == "input_required"


async def test_an_answer_without_state_counts_where_the_handler_named_the_question() -> None:
    server = MCPServer("asks")

    @server.tool
    async def named(ctx: Context) -> str:
        first = await ctx.elicit("one", {"type": "object", "properties": {"a": {"type": "integer"}}}, key="first")
        return f"{first.data} {(await ctx.elicit('two', key='second')).action}"

    @server.tool
    async def unnamed(ctx: Context) -> str:
        return (await ctx.elicit("one")).action

    accepted = {"action": "accept", "content": {"a": 1}}
    async with RawPeer(server) as peer:

        async def call(id: int, tool: str, **params: Any) -> dict[str, Any]:
            return await peer.ask("tools/call", modern({"name": tool, **params}, {"elicitation": {}}), id=id)

        blind = (await call(1, "named", inputResponses={"first": accepted, "other": accepted}))["result"]
        assert list(blind["inputRequests"]) == ["second"]
        done = await call(
            2, "named", requestState=blind["requestState"], inputResponses={"second": {"action": "accept"}}
        )
        assert done["result"]["content"][0]["text"] == "{'a': 1} accept"
        both = await call(3, "named", inputResponses={"first": accepted, "second": {"action": "decline"}})
        assert both["result"]["content"][0]["text"] == "{'a': 1} decline"
        assert (await call(4, "named", inputResponses={"first": 7}))["error"]["code"] == -32602
        again = (await call(5, "unnamed", inputResponses={"elicitation-1": {"action": "accept"}}))["result"]
        assert list(again["inputRequests"]) == ["elicitation-1"]


@rule(40)
async def test_capabilities_are_those_of_the_request_alone() -> None:
    server = MCPServer("asks")

    @server.tool
    async def ask(ctx: Context) -> str:
        return (await ctx.elicit("?")).action

    async with RawPeer(server) as peer:
        able = await peer.ask_modern("tools/call", {"name": "ask"}, capabilities={"elicitation": {}})
        assert able["result"]["resultType"] == "input_required"
        unable = await peer.ask_modern("tools/call", {"name": "ask"}, id=2)
        assert unable["error"]["code"] == -32021
        assert unable["error"]["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}} or unable["error"][
            "data"
        ] == {"requiredCapabilities": {"elicitation": {}}}


@rule(140, 141, 142)
async def test_log_messages_follow_the_level_each_eras_way(join: Join) -> None:
    server = MCPServer("logs")

    @server.tool
    async def log(ctx: Context) -> None:
        await ctx.debug("d")
        await ctx.info({"k": 1})
        await ctx.log("error", "e", logger="own")

    for revision in (NEWEST, LAST_HANDSHAKE):
        heard: list[Any] = []
        async with join(server, revision, log_handler=heard.append) as client:
            await client.call_tool("log")
            assert [item.level for item in heard] == ([] if revision == NEWEST else ["debug", "info", "error"])
            heard.clear()
            await client.set_log_level("info")
            await client.call_tool("log")
            assert [(item.level, item.data, item.logger) for item in heard] == [
                ("info", {"k": 1}, None),
                ("error", "e", "own"),
            ]


@rule(143, 144)
async def test_progress_increases_and_ends_with_the_answer(join: Join, revision: str) -> None:
    server = MCPServer("counts")
    kept: list[Context] = []

    @server.tool
    async def count(ctx: Context) -> list[bool]:
        kept.append(ctx)
        return [await ctx.progress(value, 3) for value in (1, 1, 0.5, 2)]

    heard: list[Any] = []
    async with join(server, revision) as client:
        result = await client.call_tool("count", on_progress=lambda *told: heard.append(told))
        assert result.data == [True, False, False, True]
        assert await kept[0].progress(3, 3) is False
        assert (await client.call_tool("count")).data == [False] * 4
    assert heard == [(1, 3, None), (2, 3, None)]


async def test_the_context_knows_the_request(join: Join, revision: str) -> None:
    @asynccontextmanager
    async def lifespan(server: MCPServer) -> AsyncIterator[dict[str, int]]:
        events.append("up")
        yield {"db": 1}
        events.append("down")

    events: list[str] = []
    server = MCPServer("knows", lifespan=lifespan)

    @server.tool
    def look(ctx: Context, token: int = 0) -> dict[str, Any]:
        assert ctx.server is server and ctx.capabilities is not None
        return {
            "revision": ctx.protocol_version,
            "client": ctx.client_info.name,
            "own": ctx.meta.get("com.example/own"),
            "state": ctx.lifespan,
            "principal": ctx.principal,
            "thread": threading.current_thread() is threading.main_thread(),
        }

    async with join(server, revision) as client, join(server, revision) as other:
        seen = await client.call_tool("look", meta={"com.example/own": [1]})
        assert dict(seen) == {
            "revision": revision,
            "client": "kailash-mcp-client",
            "own": [1],
            "state": {"db": 1},
            "principal": None,
            "thread": False,
        }
        assert "ctx" not in (await other.list_tools())[0].input_schema["properties"]
    assert events == ["up", "down"] and server.state is None


async def test_a_lifespan_that_fails_is_told_to_the_client(join: Join) -> None:
    @asynccontextmanager
    async def lifespan(server: MCPServer) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    with pytest.raises(MCPError, match="no database"):
        async with join(MCPServer("broken", lifespan=lifespan)):
            raise AssertionError("must not open")


def test_newest_is_the_same_everywhere() -> None:
    assert _NEWEST == NEWEST
