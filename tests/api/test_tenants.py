"""Two callers of one server: of caches, lists, sessions, event logs, tasks and subscriptions nothing crosses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kailash.adapters.http_url import parse_url
from kailash.errors import AuthorizationError, MCPError
from kailash.mcp_client import MCPClient
from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.auth import APIKeyAuth

from ..transports.peer import Peer
from .webserver import serving

pytestmark = pytest.mark.anyio

ADA, BOB = "key-of-ada", "key-of-bob"
KEYS = {ADA: {"user_id": "ada", "permissions": ["read"]}, BOB: {"user_id": "bob", "permissions": ["write"]}}


@asynccontextmanager
async def tenants(**options: Any) -> AsyncIterator[tuple[MCPServer, str]]:
    async with serving(auth_provider=APIKeyAuth(KEYS), **options) as web:
        with anyio.fail_after(20):
            yield web.server, web.url + "/mcp"


def client_of(url: str, key: str, revision: str, **options: Any) -> MCPClient:
    return MCPClient({"url": url, "headers": {"X-API-Key": key}}, revisions=[revision], **options)


@pytest.mark.parametrize("blocking", [True, False, None])
async def test_kept_results_are_each_callers_own(revision: str, blocking: bool | None) -> None:
    async with tenants() as (server, url):
        runs: list[str | None] = []

        if blocking is None:

            @server.tool(cache_ttl=60)
            async def whoami(ctx: Context) -> str:
                runs.append(ctx.principal)
                return str(ctx.principal)

        else:

            @server.tool(cache_ttl=60, blocking=blocking)
            def whoami(ctx: Context) -> str:
                runs.append(ctx.principal)
                return str(ctx.principal)

        @server.resource("me://{part}", cache_ttl=60)
        def me(part: str, ctx: Context) -> str:
            runs.append(ctx.principal)
            return f"{part} of {ctx.principal}"

        for _ in range(2):
            for key, name in ((ADA, "ada"), (BOB, "bob")):
                async with client_of(url, key, revision) as client:
                    assert (await client.call_tool("whoami")).text == name
                    assert (await client.read_resource("me://name")).text == f"name of {name}"
        assert sorted(map(str, runs)) == ["ada", "ada", "bob", "bob"]


async def test_callers_that_ask_the_same_at_once_do_not_share_a_run(revision: str) -> None:
    async with tenants() as (server, url):
        runs: list[str | None] = []
        release = anyio.Event()

        @server.tool(cache_ttl=60)
        async def slow(ctx: Context) -> str:
            runs.append(ctx.principal)
            if len(runs) == 2:
                release.set()
            await release.wait()
            return str(ctx.principal)

        found: list[tuple[str, str]] = []

        async def ask(key: str, name: str) -> None:
            async with client_of(url, key, revision) as client:
                found.append((name, (await client.call_tool("slow")).text))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, ADA, "ada")
            group.start_soon(ask, BOB, "bob")
        assert sorted(found) == [("ada", "ada"), ("bob", "bob")]


async def test_a_caller_who_may_do_less_by_now_gets_nothing_kept_from_before(revision: str) -> None:
    entries = {ADA: {"user_id": "ada", "permissions": ["read", "secret"]}}
    rights = [["read", "secret"], ["read"]]

    class Shrinking:
        def authenticate(self, credentials: dict[str, str]) -> dict[str, Any]:
            return {"user_id": "ada", "permissions": rights[0], "auth_type": "test", "metadata": entries}

    async with serving(auth_provider=Shrinking()) as web:

        @web.server.tool(cache_ttl=60, blocking=False)
        def look(ctx: Context) -> str:
            return ",".join(sorted(ctx.permissions or ()))

        with anyio.fail_after(10):
            async with client_of(web.url, ADA, revision) as client:
                assert (await client.call_tool("look")).text == "read,secret"
                del rights[0]
                assert (await client.call_tool("look")).text == "read"


async def test_lists_show_what_may_be_used(revision: str) -> None:
    async with tenants() as (server, url):
        for permission in ("read", "write"):
            name = f"may_{permission}"
            server.tool(name=name, required_permission=permission)(lambda: "used")
            server.resource(f"{permission}://only", required_permission=permission)(lambda: "read")
            server.prompt(name, required_permission=permission)(lambda: "asked")
        for key, own, other in ((ADA, "read", "write"), (BOB, "write", "read")):
            async with client_of(url, key, revision) as client:
                tools = {tool.name for tool in await client.list_tools()}
                assert f"may_{own}" in tools and f"may_{other}" not in tools
                assert [resource.uri for resource in await client.list_resources()] == [f"{own}://only"]
                assert [prompt.name for prompt in await client.list_prompts()] == [f"may_{own}"]
                assert (await client.call_tool(f"may_{own}")).text == "used"
                assert (await client.read_resource(f"{own}://only")).text == "read"
                await client.get_prompt(f"may_{own}")
                for refused, name in (
                    (client.call_tool, f"may_{other}"),
                    (client.read_resource, f"{other}://only"),
                    (client.get_prompt, f"may_{other}"),
                ):
                    with pytest.raises(AuthorizationError) as raised:
                        await refused(name)
                    assert raised.value.data["missing"] == [other]


async def test_sessions_and_their_event_logs_are_found_by_nobody_else() -> None:
    async with tenants() as (server, url):

        @server.tool
        async def tally(ctx: Context) -> str:
            await ctx.progress(1, 2, "for ada only")
            return "counted"

        port = parse_url(url).port
        ada, bob = await Peer.connect(port), await Peer.connect(port)
        session = await ada.initialize(f"X-API-Key: {ADA}")
        own = f"Mcp-Session-Id: {session}"
        call = {
            "jsonrpc": "2.0",
            "id": 5,
            "method": "tools/call",
            "params": {"name": "tally", "arguments": {}, "_meta": {"progressToken": 1}},
        }
        await ada.post(call, own, f"X-API-Key: {ADA}")
        status, _, body = await ada.response()
        assert status == 200 and b"for ada only" in body
        last = [line[4:].strip() for line in body.decode().splitlines() if line.startswith("id: ")][-1]
        stranger = (own, f"X-API-Key: {BOB}")
        await bob.post(call, *stranger)
        assert (await bob.response())[0] == 404
        await bob.get("/mcp", "Accept: text/event-stream", f"Last-Event-ID: {last}", *stranger)
        assert (await bob.response())[0] == 404
        await bob.get("/mcp", *stranger, method="DELETE")
        assert (await bob.response())[0] == 404
        # With a session of his own, an event id of hers still opens nothing.
        his = await bob.initialize(f"X-API-Key: {BOB}")
        await bob.get(
            "/mcp",
            "Accept: text/event-stream",
            f"Last-Event-ID: {last}",
            f"Mcp-Session-Id: {his}",
            f"X-API-Key: {BOB}",
        )
        status, _ = await bob.head()
        assert status in (400, 404)
        await ada.post({"jsonrpc": "2.0", "id": 6, "method": "ping"}, own, f"X-API-Key: {ADA}")
        assert (await ada.response())[0] == 200
        await ada.close()
        await bob.close()


async def test_tasks_are_their_callers_own(revision: str) -> None:
    async with tenants() as (server, url):
        release = anyio.Event()

        @server.tool(task="optional")
        async def work() -> str:
            await release.wait()
            return "done"

        async with client_of(url, ADA, revision, tasks=True) as ada, client_of(url, BOB, revision, tasks=True) as bob:
            task = await ada.start_task("work")
            stolen = bob.task(task.task_id)
            for attempt in (stolen.status, stolen.result, stolen.cancel):
                with pytest.raises(MCPError):
                    await attempt()
            release.set()
            assert (await task.result()).text == "done"


async def test_what_is_told_of_a_watched_resource_names_nobody(revision: str) -> None:
    heard: dict[str, list[Any]] = {ADA: [], BOB: []}
    async with tenants() as (server, url):
        server.resource("shared://x")(lambda: "x")
        server.resource("shared://y")(lambda: "y")
        async with (
            client_of(url, ADA, revision) as ada,
            client_of(url, BOB, revision) as bob,
            ada.listen(uris=["shared://x"]) as hers,
            bob.listen(uris=["shared://y"]) as his,
        ):
            server.notify_resource_updated("shared://x")
            server.notify_resource_updated("shared://y")
            for key, changes in ((ADA, hers), (BOB, his)):
                heard[key].append(await anext(aiter(changes)))
        assert [change.uri for change in heard[ADA]] == ["shared://x"]
        assert [change.uri for change in heard[BOB]] == ["shared://y"]
        assert "ada" not in repr(heard[ADA])


NAMES = ["read", "write", "admin", "delete", "share"]


@settings(max_examples=40)
@given(
    tools=st.lists(st.frozensets(st.sampled_from(NAMES), max_size=3), min_size=1, max_size=6),
    granted=st.frozensets(st.sampled_from(NAMES)),
)
async def test_what_is_listed_is_what_may_be_called(tools: list[frozenset[str]], granted: frozenset[str]) -> None:
    server = MCPServer("permissions", stdio_permissions=granted)
    for number, required in enumerate(tools):
        server.tool(name=f"tool{number}", required_permissions=required, blocking=False)(lambda: "used")
    async with MCPClient(server) as client:
        listed = {tool.name for tool in await client.list_tools()}
        callable_: set[str] = set()
        for number in range(len(tools)):
            try:
                await client.call_tool(f"tool{number}")
            except AuthorizationError as error:
                assert set(error.data["missing"]) == tools[number] - granted
            else:
                callable_.add(f"tool{number}")
    assert listed == callable_
    assert listed == {f"tool{number}" for number, needs in enumerate(tools) if needs <= granted or "admin" in granted}
