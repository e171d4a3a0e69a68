"""What the client keeps, repeats and refuses on its own."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import Context, MCPClient, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.errors import ConnectionError, URLElicitationRequiredError
from protocol.sampling import check_sampling_messages
from protocol.types import SamplingMessage, TextContent, ToolResultContent, ToolUseContent
from tests.requirements import rule

from .conftest import LAST_HANDSHAKE, NEWEST, Join
from .raw import RawPeer

pytestmark = pytest.mark.anyio

SCRIPTED = """
import json, sys
counts = {}
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, params = message["method"], message["params"]
    counts[method] = counts.get(method, 0) + 1
    hints = {"resultType": "complete", "ttlMs": 60000, "cacheScope": "private"}
    if method == "server/discover":
        result = {"supportedVersions": ["NEWEST"], "capabilities": {"tools": {}, "resources": {}}, **hints}
    elif method == "tools/list":
        page = params.get("cursor")
        result = {"tools": [{"name": f"{page}-{counts[method]}", "inputSchema": {"type": "object"}}], **hints}
        if page is None:
            result["nextCursor"] = ""
    elif params["uri"] == "ask:" and "inputResponses" not in params:
        ask = {"method": "roots/list"}
        result = {"resultType": "input_required", "inputRequests": {"k": ask}, "requestState": "s"}
    else:
        result = {"contents": [{"uri": params["uri"], "text": str(counts[method])}], **hints}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.fixture
def scripted(tmp_path: Path) -> dict[str, Any]:
    """A server whose every answer may be kept for a minute and says how often it was asked."""
    script = tmp_path / "scripted.py"
    script.write_text(SCRIPTED.replace("NEWEST", NEWEST))
    return {"command": sys.executable, "args": [str(script)]}


@rule(176)
async def test_kept_results_never_cross_methods_params_or_clients(scripted: dict[str, Any]) -> None:
    async with MCPClient(scripted) as client, MCPClient(scripted) as other:
        assert [tool.name for tool in await client.list_tools()] == ["None-1", "-2"]
        assert [tool.name for tool in await client.list_tools()] == ["None-1", "-2"]
        assert (await client.read_resource("a:1")).text == "1"
        assert (await client.read_resource("a:2")).text == "2"
        assert (await client.read_resource("a:1")).text == "1"
        # Another client may be another principal.
        assert (await other.read_resource("a:1")).text == "1"
    async with MCPClient(scripted, cache=False) as client:
        assert [(await client.read_resource("a:1")).text for _ in range(2)] == ["1", "2"]


@rule(177)
async def test_results_of_retries_are_not_kept(scripted: dict[str, Any]) -> None:
    async with MCPClient(scripted, roots=[]) as client:
        assert [(await client.read_resource("ask:")).text for _ in range(2)] == ["2", "4"]


@rule(178)
async def test_a_change_makes_what_it_is_about_stale(join: Join) -> None:
    server = MCPServer("changing", list_ttl=60)
    reads: list[str] = []

    @server.resource("a://{x}")
    def read(x: str) -> str:
        reads.append(x)
        return x

    async with join(server, NEWEST) as client, client.listen(resources=True, uris=["a://1"]) as changes:
        for _ in range(2):
            assert len(await client.list_resources()) == 0
        before = client._connection.session.engine._last_id
        await client.list_resources()
        assert client._connection.session.engine._last_id == before
        server.resource("b://c")(lambda: "new")
        assert (await anext(changes)).kind.value == "resourcesListChanged"
        assert len(await client.list_resources()) == 1


@rule(55)
@pytest.mark.integration
@pytest.mark.parametrize("revision", [NEWEST, LAST_HANDSHAKE])
async def test_subscriptions_are_sent_again_after_a_reconnect(revision: str, tmp_path: Path) -> None:
    script = tmp_path / "dying.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            from kailash.mcp_server import MCPServer
            server = MCPServer("dying")
            server.resource("a://b")(lambda: "x")

            @server.tool(blocking=False)
            def die() -> None:
                os._exit(1)

            @server.tool(blocking=False)
            def change() -> None:
                server.notify_resource_updated("a://b")

            server.run()
            """
        )
    )
    async with MCPClient({"command": sys.executable, "args": [str(script)]}, revisions=[revision]) as client:
        async with client.listen(uris=["a://b"]) as changes:
            await client.call_tool("change")
            assert (await anext(changes)).uri == "a://b"
            with pytest.raises(ConnectionError):
                await client.call_tool("die")
            # A call connects again …
            await client.call_tool("change")
            assert (await anext(changes)).uri == "a://b"
            with pytest.raises(ConnectionError):
                await client.call_tool("die")
            # … and so does waiting for the next change.
            async with anyio.create_task_group() as group:
                group.start_soon(_change_soon, client)
                with anyio.fail_after(10):
                    assert (await anext(changes)).uri == "a://b"
            await client.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(changes)


async def _change_soon(client: MCPClient) -> None:
    while not client.is_connected:
        await anyio.lowlevel.checkpoint()
    await client.call_tool("change")


@rule(154)
@pytest.mark.parametrize("name", ["password", "api_key", "Client-Secret", "creditCard", "PIN"])
async def test_forms_do_not_ask_for_secrets(join: Join, revision: str, name: str) -> None:
    server = MCPServer("nosy", debug=True)

    @server.tool
    async def ask(ctx: Context) -> str:
        return (await ctx.elicit("?", {"type": "object", "properties": {name: {"type": "string"}}})).action

    @server.tool
    async def ask_in_a_format(ctx: Context) -> str:
        form = {"type": "object", "properties": {"x": {"type": "string", "format": "password"}}}
        return (await ctx.elicit("?", form)).action

    asked: list[Any] = []
    async with join(server, revision, elicitation_handler=asked.append) as client:
        with pytest.raises(MCPError, match="asks for a secret"):
            await client.call_tool("ask")
        with pytest.raises(MCPError, match="format"):
            await client.call_tool("ask_in_a_format")
    assert asked == []


@rule(155)
async def test_url_elicitation_required_exists_in_one_revision_only() -> None:
    server = MCPServer("urls")

    @server.tool
    def needs() -> None:
        raise URLElicitationRequiredError("log in first", [("Log in", "https://example.com/x", "e1")])

    codes = {}
    for revision in (NEWEST, LAST_HANDSHAKE, "2025-06-18"):
        async with RawPeer(server) as peer:
            if revision == NEWEST:
                response = await peer.ask_modern("tools/call", {"name": "needs"})
            else:
                await peer.initialize(revision)
                response = await peer.ask("tools/call", {"name": "needs"})
        codes[revision] = response["error"]["code"]
        if revision == LAST_HANDSHAKE:
            [entry] = response["error"]["data"]["elicitations"]
            assert entry == {"mode": "url", "message": "Log in", "url": "https://example.com/x", "elicitationId": "e1"}
    assert codes == {NEWEST: -32603, LAST_HANDSHAKE: -32042, "2025-06-18": -32603}
    with pytest.raises(ValueError, match="at least one URL"):
        URLElicitationRequiredError("x", [])


def _use(*ids: str) -> SamplingMessage:
    return SamplingMessage(role="assistant", content=[ToolUseContent(id=id, name="t", input={}) for id in ids])


def _result(*ids: str, **extra: Any) -> SamplingMessage:
    blocks: list[Any] = [ToolResultContent(tool_use_id=id, content=[]) for id in ids]
    return SamplingMessage(role="user", content=blocks + extra.get("more", []))


_TEXT = SamplingMessage(role="user", content=TextContent(text="hi"))


@rule(160)
@pytest.mark.parametrize(
    ("messages", "wrong"),
    [
        ([_TEXT], None),
        ([_TEXT, _use("a", "b"), _result("b", "a"), _TEXT], None),
        ([_TEXT, _use("a")], "no results for"),
        ([_use("a"), _TEXT], "must answer exactly"),
        ([_use("a", "b"), _result("a")], "must answer exactly"),
        ([_result("a")], "must answer exactly"),
        ([_use("a"), _result("a", "a")], "must answer exactly"),
        ([_use("a"), _result("a", more=[TextContent(text="x")])], "stand alone"),
        ([SamplingMessage(role="user", content=ToolUseContent(id="a", name="t", input={}))], "only the assistant"),
    ],
)
async def test_every_tool_use_is_answered_by_itself(
    join: Join, messages: list[SamplingMessage], wrong: str | None, revision: str
) -> None:
    found = check_sampling_messages(messages)
    assert (found is None) if wrong is None else (found is not None and wrong in found)
    server = MCPServer("samples", debug=True)

    @server.tool
    async def think(ctx: Context) -> str:
        return (await ctx.sample(messages)).content.text  # type: ignore[union-attr]

    async with join(server, revision, sampling_handler=lambda params: "ok", sampling_tools=True) as client:
        if wrong is None:
            assert (await client.call_tool("think")).data == "ok"
        else:
            with pytest.raises(MCPError, match=wrong):
                await client.call_tool("think")


@rule(160)
@pytest.mark.integration
async def test_the_client_refuses_unanswered_tool_uses_too(tmp_path: Path) -> None:
    script = tmp_path / "careless.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, sys
            def send(message):
                print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
            for line in sys.stdin:
                message = json.loads(line)
                if message.get("method") == "initialize":
                    version = message["params"]["protocolVersion"]
                    info = {"name": "careless", "version": "1"}
                    result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
                    send({"id": message["id"], "result": result})
                elif message.get("method") == "tools/call":
                    call = message["id"]
                    use = {"type": "tool_use", "id": "a", "name": "t", "input": {}}
                    params = {"messages": [{"role": "assistant", "content": use}], "maxTokens": 1}
                    send({"id": 1, "method": "sampling/createMessage", "params": params})
                elif "error" in message:
                    text = {"type": "text", "text": json.dumps(message["error"])}
                    send({"id": call, "result": {"content": [text]}})
            """
        )
    )
    config = {"command": sys.executable, "args": [str(script)]}
    async with MCPClient(config, revisions=[LAST_HANDSHAKE], sampling_handler=lambda params: "no") as client:
        error = json.loads((await client.call_tool("any")).text)
    assert error["code"] == MCPErrorCode.INVALID_PARAMS and "no results" in error["message"]
