"""What must not cross between callers: kept results, shared runs, credentials on their way to somebody else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import pytest

from kailash.errors import MCPError, MCPErrorCode, ToolError
from kailash.mcp_client import MCPClient
from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.auth import APIKeyAuth
from tests.api.webserver import served
from tests.security.site import until
from tests.transports.linepeer import REVISION_NAMES

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=REVISION_NAMES[-2:])
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_equal_looking_arguments_are_kept_apart(revision: str) -> None:
    server = MCPServer("x")
    runs: list[Any] = []

    @server.tool(cache_ttl=60, blocking=False)
    def show(value: Any) -> str:
        runs.append(value)
        return f"{type(value).__name__} {value}"

    async with MCPClient(server, revisions=[revision]) as client:
        for _ in range(2):
            seen = {(await client.call_tool("show", {"value": value})).text for value in (1, 1.0, "1", True, [1], None)}
            assert seen == {"int 1", "float 1.0", "str 1", "bool True", "list [1]", "NoneType None"}
        for order in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):  # the same
            await client.call_tool("show", {"value": order})
    assert len(runs) == 7


async def test_what_took_an_answer_of_the_user_is_not_kept(revision: str) -> None:
    server = MCPServer("x")
    runs: list[str] = []

    @server.tool(cache_ttl=60)
    async def ask(ctx: Context) -> str:
        answer = (await ctx.elicit("?")).action
        runs.append(answer)
        return answer

    for action, is_agreed in (("accept", True), ("decline", False)):
        async with MCPClient(server, revisions=[revision], elicitation_handler=lambda _, say=is_agreed: say) as client:
            assert (await client.call_tool("ask")).text == action
    assert runs == ["accept", "decline"]


async def test_failures_are_not_kept(revision: str) -> None:
    server = MCPServer("x")
    runs: list[int] = []

    @server.tool(cache_ttl=60)
    async def sometimes() -> str:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError("not yet")
        return "now"

    async with MCPClient(server, revisions=[revision], raise_on_error=False) as client:
        assert [(await client.call_tool("sometimes")).is_error for _ in range(5)] == [True, True, False, False, False]
    assert len(runs) == 3


async def test_who_runs_for_others_may_leave_without_them(revision: str) -> None:
    server = MCPServer("x")
    started, release = anyio.Event(), anyio.Event()
    runs: list[int] = []

    @server.tool(cache_ttl=60)
    async def slow() -> str:
        runs.append(1)
        started.set()
        await release.wait()
        return "done"

    results: list[str] = []

    async def follow(client: MCPClient) -> None:
        results.append((await client.call_tool("slow")).text)

    with anyio.fail_after(10):
        async with (
            MCPClient(server, revisions=[revision]) as first,
            MCPClient(server, revisions=[revision]) as second,
            anyio.create_task_group() as followers,
        ):
            async with anyio.create_task_group() as leader:
                leader.start_soon(first.call_tool, "slow")
                await started.wait()
                for client in (first, second, second):
                    followers.start_soon(follow, client)
                await anyio.wait_all_tasks_blocked()
                leader.cancel_scope.cancel()
            await anyio.wait_all_tasks_blocked()
            release.set()
    assert results == ["done"] * 3 and len(runs) <= 2


async def test_faults_of_callers_open_no_breaker_and_one_trial_goes_at_a_time(revision: str) -> None:
    server = MCPServer("x", request_timeout=None, circuit_breaker_config={"failure_threshold": 5, "timeout": 0.2})
    working, release, trying = [0, 0], anyio.Event(), anyio.Event()
    refused: list[MCPError] = []

    @server.tool
    async def upstream(mode: int) -> str:
        if mode == 0:
            raise ToolError("a wrong argument", error_code=MCPErrorCode.INVALID_PARAMS)
        if mode == 1:
            await anyio.sleep_forever()
        if mode == 2:
            raise TimeoutError
        working[0] += 1
        working[1] = max(working)
        trying.set()
        await release.wait()
        working[0] -= 1
        return "well"

    async with MCPClient(server, revisions=[revision], raise_on_error=False) as client:

        async def try_it() -> None:
            try:
                await client.call_tool("upstream", {"mode": 3})
            except MCPError as error:
                refused.append(error)

        with anyio.fail_after(30):
            for _ in range(200):
                await client.call_tool("upstream", {"mode": "no number"})
            for _ in range(20):
                with anyio.move_on_after(0):
                    await client.call_tool("upstream", {"mode": 1})
            assert server.policies.breakers() == {"upstream": "closed"}
            for _ in range(5):
                await client.call_tool("upstream", {"mode": 2})
            assert server.policies.breakers() == {"upstream": "open"}
            await anyio.sleep(0.25)  # until it is tried again
            async with anyio.create_task_group() as many:
                for _ in range(100):
                    many.start_soon(try_it)
                await trying.wait()
                await until(lambda: len(refused) == 99, "the others")
                release.set()
    assert working[1] == 1


async def test_credentials_of_a_caller_are_not_sent_on(revision: str) -> None:
    """A server that asks another one while it serves sends nothing of what its caller sent."""
    heard: list[bytes] = []
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def record(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                heard.append(await stream.receive())
                await stream.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    key = "inbound-secret-of-the-caller"
    server = MCPServer("between", auth_provider=APIKeyAuth({key: {"user_id": "u", "permissions": []}}))

    @server.tool
    async def pass_on(ctx: Context) -> str:
        with suppress(MCPError):
            async with MCPClient({"url": f"http://127.0.0.1:{port}/mcp", "timeout": 5}) as client:
                await client.list_tools()
        return "asked"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, record)
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            async with (
                served(server) as url,
                MCPClient({"url": url + "/mcp", "headers": headers}, revisions=[revision]) as client,
            ):
                assert (await client.call_tool("pass_on")).text == "asked"
        tasks.cancel_scope.cancel()
    await listener.aclose()
    assert heard and not any(key.encode() in data or b"uthorization" in data for data in heard)


@pytest.mark.parametrize(
    "spelled", ["..%2f..%2fetc", "..", "%2e%2e", "a%00b", "C:%5Cx", "..%5cx", "%2Fetc", "a%2f..%2fb"]
)
async def test_templates_cannot_be_left_over_the_wire(spelled: str, revision: str) -> None:
    server = MCPServer("x")
    opened: list[str] = []

    @server.resource("file://one/{name}")
    def one(name: str) -> str:
        opened.append(name)
        return name

    @server.resource("tree://root/{+path}")
    def tree(path: str) -> str:
        opened.append(path)
        return path

    async with MCPClient(server, revisions=[revision]) as client:
        for base in ("file://one/", "tree://root/"):
            with suppress(MCPError):
                await client.read_resource(base + spelled)
            with suppress(MCPError):
                await client.read_resource(base + spelled.replace("%", "%25"))  # decoded once and no second time
        assert (await client.read_resource("file://one/well")).text == "well"
    for text in opened:
        assert "\0" not in text and "\\" not in text and not text.startswith("/") and ".." not in text.split("/"), text
