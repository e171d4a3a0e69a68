"""The corners of the public API: both forms of a call, bounds, removal, builders, what is refused at once."""

import functools
import threading
from typing import Any

import anyio
import pytest

from kailash.mcp_client.paging import items_of
from kailash.mcp_server import Context, File, Image, MCPClient, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.advanced_features import MultiModalContent, create_progress_reporter
from kailash.mcp_server.auth import APIKeyAuth
from kailash.mcp_server.errors import AuthenticationError, RequestTimeoutError, ToolError, TransportError
from protocol.results import ListToolsResult
from protocol.types import Tool
from tests.requirements import rule

from .conftest import Join
from .raw import RawPeer

pytestmark = pytest.mark.anyio


def adder() -> MCPServer:
    server = MCPServer("adder")

    @server.tool
    def add(a: int, b: int = 0) -> dict[str, int]:
        return {"sum": a + b}

    return server


async def test_both_forms_of_a_call_and_the_aliases_of_its_keywords() -> None:
    server = adder()
    async with MCPClient(server) as bound:
        for result in (
            await bound.call_tool("add", {"a": 1}),
            await bound.call_tool("add", arguments={"a": 1}),
            await bound.call_tool(tool_name="add", params={"a": 1}),
            # A result is accepted as an argument of the next call.
            await bound.call_tool("add", {"a": (await bound.call_tool("add", {"a": 1}))["sum"]}),
        ):
            assert result["sum"] == 1
        with pytest.raises(TypeError, match="name of a tool"):
            await bound.call_tool()
        with pytest.raises(TypeError, match="tool and arguments"):
            await bound.call_tool("add", {"a": 1}, {"b": 2}, {"c": 3})
    async with MCPClient() as free:
        config = {"transport": "memory", "server": server}
        for _ in range(2):
            assert (await free.call_tool(config, "add", {"a": 1, "b": 2}))["sum"] == 3
        assert (await free.call_tool(server_config=config, tool_name="add", arguments={"a": 1}))["sum"] == 1
        assert len(free._pool.clients) == 1 and len(server.sessions) == 1
        with pytest.raises(TransportError, match="no connection"):
            await free.list_tools()
        with pytest.raises(ToolError, match="cannot call 'add': url: a URL starts with http://"):
            await free.call_tool("ftp://x", "add", {"a": 1})
    assert not server.sessions
    assert MCPClient().validate() == {"valid": False, "problems": ["no config"]}


async def test_a_list_that_does_not_end_is_an_error_never_cut_short() -> None:
    async def fetch(cursor: Any) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name="t", input_schema={})], next_cursor="again")

    with pytest.raises(MCPError, match="tools/list does not end"):
        async for _ in items_of("tools/list", fetch, "tools"):
            await anyio.lowlevel.checkpoint()


async def test_more_plain_functions_than_threads_and_places_are_refused_at_once(join: Join, revision: str) -> None:
    server = MCPServer("busy", max_threads=1, max_queued=1)
    release, running = threading.Event(), threading.Event()

    @server.tool
    def hold() -> str:
        running.set()
        release.wait(5)
        return "done"

    outcomes: list[Any] = []

    async def call(client: MCPClient) -> None:
        try:
            outcomes.append((await client.call_tool("hold")).data)
        except MCPError as error:
            outcomes.append(error.error_code)
            release.set()

    async with join(server, revision) as client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call, client)
    assert sorted(outcomes, key=str) == [MCPErrorCode.OVERLOADED, "done", "done"]
    assert running.is_set()


async def test_what_is_removed_is_gone(join: Join, revision: str) -> None:
    server = adder()
    server.resource("a://b")(lambda: "x")
    server.resource("c://{d}")(lambda d: d)
    server.prompt("p")(lambda: "x")
    async with join(server, revision) as client:
        server.remove_tool("add")
        server.remove_resource("a://b")
        server.remove_resource("c://{d}")
        server.remove_prompt("p")
        assert await client.list_tools() == await client.list_resources() == await client.list_prompts() == []
        assert await client.list_resource_templates() == []
    for remove, name in ((server.remove_tool, "add"), (server.remove_resource, "a://b"), (server.remove_prompt, "p")):
        with pytest.raises(KeyError):
            remove(name)


async def test_an_inline_tool_may_use_its_context_and_fail(join: Join, revision: str) -> None:
    server = MCPServer("inline")

    @server.tool(blocking=False)
    def tell(ctx: Context, fail: bool = False) -> str:
        if fail:
            raise ToolError("failed inline")
        ctx.progress(1)
        return ctx.protocol_version

    heard: list[Any] = []
    async with join(server, revision) as client:
        assert (await client.call_tool("tell", on_progress=lambda *told: heard.append(told))).data == revision
        with pytest.raises(ToolError, match="failed inline"):
            await client.call_tool("tell", {"fail": True})
    assert heard == [(1, None, None)]


async def test_resources_and_prompts_that_fail_are_masked_and_time_out(join: Join, revision: str) -> None:
    server = MCPServer("failing")

    @server.resource("a://fails")
    def fails() -> str:
        raise OSError("/secret")

    @server.prompt(timeout=0.05)
    async def slow() -> str:
        await anyio.sleep_forever()
        return ""

    async with join(server, revision) as client:
        with pytest.raises(MCPError, match="resource 'a://fails' failed") as masked:
            await client.read_resource("a://fails")
        assert "secret" not in str(masked.value)
        with pytest.raises(RequestTimeoutError, match="prompt 'slow' timed out"):
            await client.get_prompt("slow")


async def test_builders_of_content(tmp_path: Any, join: Join, revision: str) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    content = MultiModalContent().add_text("t").add_image("cG5n").add_audio(b"wav").add_audio("d2F2")
    content.add_resource("a://b", b"bytes").add_resource("a://c", "text", "text/html")
    server = MCPServer("builds")
    server.tool("all")(lambda: {"content": content.to_list()})
    server.tool("path")(lambda: Image(path=picture))
    server.tool("file")(lambda: File(path=picture))
    async with join(server, revision) as client:
        kinds = [type(block).__name__ for block in (await client.call_tool("all")).content]
        assert kinds == ["TextContent", "ImageContent", *["AudioContent"] * 2, *["EmbeddedResource"] * 2]
        assert (await client.call_tool("path")).content[0].mime_type == "image/png"
        assert (await client.call_tool("file")).content[0].resource.mime_type == "image/png"
    for wrong in ({}, {"data": b"x", "path": "y"}):
        with pytest.raises(TypeError, match="either data or path"):
            Image(**wrong)


async def test_a_progress_reporter_outside_any_request_says_nothing() -> None:
    reporter = await create_progress_reporter("idle", total=2)
    assert await reporter.update(1) is False
    async with create_progress_reporter("idle") as progress:
        assert await progress.update(increment=2) is False


def test_keys_are_kept_as_digests_and_compared_whole() -> None:
    auth = APIKeyAuth({"k1": {"permissions": ["a"], "metadata": {"m": 1}, "user_id": "u"}})
    assert auth.authenticate({"api_key": "k1"}) == {
        "user_id": "u",
        "auth_type": "api_key",
        "permissions": ["a"],
        "metadata": {"m": 1},
    }
    assert "k1" not in repr(vars(auth))
    for wrong in ({}, {"api_key": ""}, {"api_key": 1}, {"api_key": "k"}, {"api_key": "k11"}, {"api_key": "ключ"}):
        with pytest.raises(AuthenticationError):
            auth.authenticate(wrong)
    with pytest.raises(TypeError, match=r"known: .*permissions"):
        APIKeyAuth({"k": {"colour": 1}})


@rule(3, 16)
async def test_the_limit_of_requests_in_flight_is_exact_and_the_others_go_on() -> None:
    server = MCPServer("limited")
    release = anyio.Event()

    @server.tool
    async def wait() -> str:
        await release.wait()
        return "done"

    async with RawPeer(server) as peer:
        await peer.initialize("2025-11-25")
        call = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "wait"}}
        peer.write(*({**call, "id": number} for number in range(65)))
        refused = await peer.read()
        assert refused["id"] == 64 and refused["error"]["code"] == 1503
        assert refused["error"]["data"]["retryable"] is True
        # An id in use is refused too, and the request it belongs to goes on.
        peer.write({**call, "id": 7})
        assert (await peer.read())["error"]["code"] == -32600
        release.set()
        assert sorted([(await peer.read())["id"] for _ in range(64)]) == list(range(64))


def test_names_of_the_package_are_listed_where_one_is_wrong() -> None:
    import kailash.mcp_server

    with pytest.raises(AttributeError, match="MCPServer"):
        _ = kailash.mcp_server.MCPServre
    assert "Context" in dir(kailash.mcp_server)


async def test_anything_callable_is_a_tool(join: Join, revision: str) -> None:
    class Kit:
        def method(self, a: int) -> str:
            return f"method {a}"

        async def later(self, a: int) -> str:
            return f"later {a}"

        def __call__(self, a: int) -> str:
            return f"called {a}"

    server, kit = MCPServer("kit"), Kit()
    server.add_tool(kit.method)
    server.add_tool(kit.later)
    server.add_tool(kit, name="kit")
    server.add_tool(functools.partial(kit.method, a=5), name="part")
    async with join(server, revision) as client:
        texts = [(await client.call_tool(name, {"a": 1})).data for name in ("method", "later", "kit", "part")]
    assert texts == ["method 1", "later 1", "called 1", "method 1"]
