"""Tasks between our server and our client, in both dialects, and what either does with a peer of another make."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kailash.errors import RequestError
from kailash.mcp_server import Context, MCPClient, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.errors import RequestTimeoutError, ToolError
from protocol.capabilities import ClientCapabilities
from protocol.events import Failure, Progress, Violation
from protocol.limits import SERVER_LIMITS, Limits
from protocol.methods import TASKS_EXTENSION
from protocol.params import CallToolParams, PaginatedParams, UpdateTaskParams
from protocol.results import CallToolResult
from protocol.revisions import REVISIONS
from protocol.types import Task, TaskMetadata, TextContent
from tests.pair import R2025_11, R2026, client, result
from tests.requirements import rule

from .conftest import LAST_HANDSHAKE as CORE
from .conftest import NEWEST as EXTENSION
from .conftest import Join
from .raw import RawPeer
from .scripted import ScriptedServer

pytestmark = pytest.mark.anyio

DECLARED = {"extensions": {TASKS_EXTENSION: {}}}
ABLE = {**DECLARED, "elicitation": {}, "sampling": {}}
RELATED = "io.modelcontextprotocol/related-task"
OLDER = [revision.name for revision in REVISIONS[:-2]]
TEXT = {"content": [{"type": "text", "text": "done"}]}


class Bench:
    """A server with one tool of each kind, and gates that hold the work."""

    def __init__(self, **options: Any) -> None:
        self.gate = anyio.Event()
        self.started = anyio.Event()
        self.ended = anyio.Event()
        self.was_cancelled = False
        self.server = server = MCPServer("tasks", **options)
        quick: dict[str, Any] = {"task_poll_interval": 0.001}

        @server.tool(task="optional", **quick)
        async def work(n: int = 1) -> int:
            self.started.set()
            try:
                await self.gate.wait()
            except anyio.get_cancelled_exc_class():
                self.was_cancelled = True
                raise
            finally:
                self.ended.set()
            return n

        @server.tool(task="required", **quick)
        async def always(ctx: Context) -> str:
            return "task" if ctx.task_id else "call"

        @server.tool(task="forbidden")
        async def never(ctx: Context) -> str:
            return "task" if ctx.task_id else "call"

        @server.tool
        async def plain(ctx: Context) -> str:
            return "task" if ctx.task_id else "call"

        @server.tool(task="optional", **quick)
        async def fails() -> str:
            raise ToolError("no luck")

        @server.tool(task="optional", **quick)
        async def breaks() -> str:
            raise MCPError("out of order", error_code=MCPErrorCode.INTERNAL_ERROR)

        @server.tool(task="optional", **quick)
        async def tells(ctx: Context) -> str:
            await ctx.progress(1, 2, "half")
            await ctx.progress(1, 2, "not further")
            await ctx.info("at work")
            self.started.set()
            await self.gate.wait()
            await ctx.progress(2)
            return "told"

        @server.tool(task="optional", **quick)
        async def asks(ctx: Context) -> str:
            first = await ctx.elicit("first?", {"type": "object", "properties": {"n": {"type": "string"}}}, key="k")
            second = await ctx.sample("second?", key="k")
            return f"{first.data['n']} {second.content.text}"


@pytest.fixture
async def bench() -> Bench:
    return Bench()


@asynccontextmanager
async def raw(server: MCPServer, principal: str | None = None) -> AsyncIterator[RawPeer]:
    async with RawPeer(server) as peer:
        peer._server_channel.engine.principal = principal
        yield peer


@asynccontextmanager
async def core_peer(bench: Bench, principal: str | None = None, **capabilities: Any) -> AsyncIterator[RawPeer]:
    async with raw(bench.server, principal) as peer:
        await peer.initialize(CORE, capabilities)
        yield peer


async def start(peer: RawPeer, tool: str, *, id: int = 1, **task: Any) -> str:
    """Start a task of the core dialect and return its id."""
    response = await peer.ask("tools/call", {"name": tool, "task": task}, id=id)
    task_id: str = response["result"]["task"]["taskId"]
    return task_id


async def start_modern(peer: RawPeer, tool: str) -> str:
    """Start a task of the extension and return its id."""
    response = await peer.ask_modern("tools/call", {"name": tool}, capabilities=ABLE)
    task_id: str = response["result"]["taskId"]
    return task_id


async def read_until(peer: RawPeer, key: str, value: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the first message with a member of this value, and those before it."""
    before = []
    while (message := await peer.read()).get(key) != value:
        before.append(message)
    return message, before


async def poll(peer: RawPeer, task_id: str, status: str) -> dict[str, Any]:
    """Ask for a task of the extension until it has a status."""
    with anyio.fail_after(5):
        while True:
            response = await peer.ask_modern("tasks/get", {"taskId": task_id}, capabilities=ABLE)
            task: dict[str, Any] = response["result"]
            if task["status"] == status:
                return task
            await anyio.lowlevel.checkpoint()


# Declaring


@rule(186, 202)
async def test_each_dialect_is_declared_in_its_revision_and_only_with_a_task_tool(bench: Bench) -> None:
    declared = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    for revision in (*OLDER, CORE):
        async with raw(bench.server) as peer:
            capabilities = (await peer.initialize(revision))["capabilities"]
            assert capabilities.get("tasks") == (declared if revision == CORE else None)
    async with raw(bench.server) as peer:
        capabilities = (await peer.ask_modern("server/discover"))["result"]["capabilities"]
        assert "tasks" not in capabilities
        assert capabilities["extensions"] == {TASKS_EXTENSION: {}}
    for name in ("work", "always", "fails", "breaks", "tells", "asks"):
        bench.server.remove_tool(name)
    async with raw(bench.server) as peer:
        capabilities = (await peer.initialize(CORE))["capabilities"]
        assert "tasks" not in capabilities
        assert "extensions" not in capabilities


@rule(186)
async def test_a_server_without_task_tools_ignores_the_wish_for_a_task() -> None:
    server = MCPServer("plain")

    @server.tool
    def add(a: int, b: int) -> int:
        return a + b

    for revision in (*OLDER, CORE):
        async with raw(server) as peer:
            await peer.initialize(revision)
            call = {"name": "add", "arguments": {"a": 1, "b": 2}, "task": {"ttl": 1000}}
            answer = await peer.ask("tools/call", call)
            assert answer["result"] == {"content": [{"type": "text", "text": "3"}]}
            assert (await peer.ask("tasks/get", {"taskId": "x"}))["error"]["code"] == -32601


@rule(186)
async def test_callers_may_be_kept_from_listing_each_others_tasks(bench: Bench) -> None:
    assert bench.server.profile().capabilities.tasks.list == {}
    assert not bench.server.profile(lists_tasks=False).capabilities.tasks.list
    with pytest.raises(ValueError, match="optional"):
        bench.server.tool(name="x", task="maybe")(lambda: 1)


@rule(187, 188)
@pytest.mark.parametrize(
    ("tool", "outcome", "plain"),
    [("work", "task", None), ("always", "task", -32601), ("never", -32601, "call"), ("plain", -32601, "call")],
)
async def test_a_tool_says_how_it_is_called_in_the_core(bench: Bench, tool: str, outcome: Any, plain: Any) -> None:
    bench.gate.set()
    async with core_peer(bench) as peer:
        answer = await peer.ask("tools/call", {"name": tool, "task": {"ttl": 60_000}})
        if outcome == "task":
            task = answer["result"]["task"]
            assert task["status"] == "working"
            assert task["ttl"] == 60_000
            assert task["pollInterval"] == 1
            assert task["createdAt"] == task["lastUpdatedAt"]
            assert task["createdAt"].endswith("Z")
            assert len(task["taskId"]) >= 32
            assert answer["result"]["_meta"] == {RELATED: {"taskId": task["taskId"]}}
        else:
            assert answer["error"]["code"] == outcome
    async with core_peer(bench) as peer:
        answer = await peer.ask("tools/call", {"name": tool})
        if plain == -32601:
            assert answer["error"]["code"] == plain
        elif plain is not None:
            assert answer["result"]["content"][0]["text"] == plain


@rule(187)
@pytest.mark.parametrize(("wanted", "given"), [({"ttl": 5}, 1000), ({"ttl": 10**12}, 3_600_000), ({}, 3_600_000)])
async def test_a_task_is_kept_for_as_long_as_the_client_wishes_within_bounds(
    bench: Bench, wanted: Any, given: int
) -> None:
    async with core_peer(bench) as peer:
        answer = await peer.ask("tools/call", {"name": "work", "task": wanted})
        assert answer["result"]["task"]["ttl"] == given


@rule(195, 196)
@pytest.mark.parametrize(
    ("tool", "declared", "undeclared"),
    [
        ("fails", "task", "complete"),
        ("always", "task", -32021),
        ("never", "complete", "complete"),
        ("plain", "complete", "complete"),
    ],
)
async def test_the_server_decides_where_the_extension_was_declared(
    bench: Bench, tool: str, declared: str, undeclared: Any
) -> None:
    async with raw(bench.server) as peer:
        answer = await peer.ask_modern("tools/call", {"name": tool}, capabilities=DECLARED)
        assert answer["result"]["resultType"] == declared
        if declared == "task":
            assert answer["result"].keys() - {"_meta"} == {
                "resultType", "taskId", "status", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs",
            }  # fmt: skip
        # The declaration of one request does not count for the next.
        answer = await peer.ask_modern("tools/call", {"name": tool})
        if undeclared == -32021:
            assert answer["error"]["code"] == undeclared
            assert answer["error"]["data"] == {"requiredCapabilities": DECLARED}
        else:
            assert answer["result"]["resultType"] == undeclared


@rule(202)
async def test_what_the_core_knows_counts_for_nothing_in_the_extensions_revision(bench: Bench) -> None:
    legacy = {"tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}
    async with raw(bench.server) as peer:
        call = {"name": "plain", "task": {"ttl": 1}}
        assert (await peer.ask_modern("tools/call", call, capabilities=legacy))["result"]["resultType"] == "complete"
        call = {"name": "always", "task": {"ttl": 1}}
        assert (await peer.ask_modern("tools/call", call, capabilities=legacy))["error"]["code"] == -32021
        tools = (await peer.ask_modern("tools/list"))["result"]["tools"]
        assert all("execution" not in tool for tool in tools)
    async with core_peer(bench, **DECLARED) as peer:
        # And the other way round: the extension under the core's revision.
        assert (await peer.ask("tools/call", {"name": "always"}))["error"]["code"] == -32601
        assert "error" in await peer.ask("tasks/update", {"taskId": "x", "inputResponses": {}})


@pytest.mark.parametrize("revision", OLDER)
async def test_older_clients_call_every_tool_as_ever(bench: Bench, revision: str, join: Join) -> None:
    async with join(bench.server, revision) as client:
        for tool in ("always", "never", "plain"):
            assert (await client.call_tool(tool, task=True)).text == "call"
        with pytest.raises(MCPError, match=r"does not run|no tasks"):
            await client.start_task("always")
        with pytest.raises(MCPError):
            await client.list_tasks()


# Getting and fetching


@rule(190, 192)
async def test_the_result_is_waited_for_and_is_the_tools_own(bench: Bench) -> None:
    async with core_peer(bench) as peer:
        task_id = await start(peer, "work")
        await bench.started.wait()
        peer.write({"jsonrpc": "2.0", "id": 2, "method": "tasks/result", "params": {"taskId": task_id}})
        task = await peer.ask("tasks/get", {"taskId": task_id}, id=3)
        assert task["id"] == 3  # the other is not answered yet
        assert task["result"]["status"] == "working"
        assert "_meta" not in task["result"]
        bench.gate.set()
        answer, _ = await read_until(peer, "id", 2)
        assert answer["result"] == {
            "content": [{"type": "text", "text": "1"}],
            "_meta": {RELATED: {"taskId": task_id}},
        }
        assert (await _ask_past(peer, "tasks/result", task_id))["result"] == answer["result"]


async def _ask_past(peer: RawPeer, method: str, task_id: str, id: int = 77, **members: Any) -> dict[str, Any]:
    """Make a request and return its response, past the notifications before it."""
    peer.write({"jsonrpc": "2.0", "id": id, "method": method, "params": {"taskId": task_id, **members}})
    return (await read_until(peer, "id", id))[0]


@rule(190, 199)
async def test_errors_end_a_task_as_each_dialect_has_it(bench: Bench) -> None:
    async with core_peer(bench) as peer:
        failed = await start(peer, "fails")
        assert (await _ask_past(peer, "tasks/result", failed))["result"]["isError"] is True
        task = (await _ask_past(peer, "tasks/get", failed))["result"]
        assert (task["status"], task["statusMessage"]) == ("failed", "no luck")
        broken = (await _ask_past(peer, "tools/call", "", name="breaks", task={}))["result"]["task"]["taskId"]
        plain = await _ask_past(peer, "tools/call", "", name="breaks")
        same = await _ask_past(peer, "tasks/result", broken)
        assert same["result"].pop("_meta")[RELATED] == {"taskId": broken}
        plain["result"].pop("_meta")
        assert same["result"] == plain["result"]
    async with raw(bench.server) as peer:
        failed = await start_modern(peer, "fails")
        task = await poll(peer, failed, "completed")
        assert task["result"]["isError"] is True
        assert RELATED not in task["result"].get("_meta", {})
        assert "error" not in task


@rule(190, 199)
async def test_a_json_rpc_error_ends_a_task_failed_in_both_dialects(bench: Bench) -> None:
    @bench.server.tool(task="optional", task_poll_interval=0.001)
    async def refuses() -> str:
        raise RequestError("not today", error_code=-32050, data={"try": "tomorrow"})

    expected = {"code": -32050, "message": "not today", "data": {"try": "tomorrow"}}
    async with core_peer(bench) as peer:
        task_id = await start(peer, "refuses")
        assert (await _ask_past(peer, "tasks/result", task_id))["error"] == expected
        assert (await _ask_past(peer, "tasks/get", task_id))["result"]["status"] == "failed"
    async with raw(bench.server) as peer:
        task = await poll(peer, await start_modern(peer, "refuses"), "failed")
        assert task["error"] == expected
        assert task["statusMessage"] == "not today"
        assert "result" not in task
    for revision, options in ((CORE, {}), (EXTENSION, {"tasks": True})):
        async with MCPClient(bench.server, revisions=[revision], **options) as client:
            with pytest.raises(MCPError, match="not today") as raised:
                await client.call_tool("refuses", task=True)
            assert (raised.value.error_code, raised.value.data) == (-32050, {"try": "tomorrow"})


@rule(197, 198)
async def test_the_extensions_task_is_there_at_once_and_carries_its_result(bench: Bench) -> None:
    async with raw(bench.server) as peer:
        task_id = await start_modern(peer, "work")
        task = await poll(peer, task_id, "working")
        assert task["resultType"] == "complete"
        assert "result" not in task
        bench.gate.set()
        task = await poll(peer, task_id, "completed")
        assert task["resultType"] == "complete"
        assert task["result"]["content"] == [{"type": "text", "text": "1"}]
        assert task["result"]["resultType"] == "complete"
        assert task["pollIntervalMs"] == 1


@rule(191, 201)
async def test_what_is_unknown_is_invalid_and_what_is_not_negotiated_is_refused(bench: Bench) -> None:
    async with core_peer(bench) as peer:
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert (await peer.ask(method, {"taskId": "unknown"}))["error"]["code"] == -32602
        assert (await peer.ask("tasks/list", {"cursor": "forged"}))["error"]["code"] == -32602
    async with raw(bench.server) as peer:
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            params = {"taskId": "unknown", "inputResponses": {}}
            assert (await peer.ask_modern(method, params, capabilities=DECLARED))["error"]["code"] == -32602
            refused = (await peer.ask_modern(method, params))["error"]
            assert refused["code"] == -32021
            assert refused["data"] == {"requiredCapabilities": DECLARED}
        for method in ("tasks/list", "tasks/result"):
            params = {"taskId": "unknown"}
            assert (await peer.ask_modern(method, params, capabilities=DECLARED))["error"]["code"] == -32601


@rule(192)
async def test_the_params_say_which_task_is_meant_and_meta_does_not(bench: Bench) -> None:
    bench.gate.set()
    async with core_peer(bench) as peer:
        one, two = await start(peer, "always"), (await _ask_past(peer, "tools/call", "", name="fails", task={}))
        other = two["result"]["task"]["taskId"]
        misled = {"_meta": {RELATED: {"taskId": other}}}
        assert (await _ask_past(peer, "tasks/get", one, **misled))["result"]["taskId"] == one
        assert (await _ask_past(peer, "tasks/result", one, **misled))["result"]["content"][0]["text"] == "task"


@rule(193)
async def test_tasks_belong_to_their_principal(bench: Bench) -> None:
    async with core_peer(bench, "ann") as ann, core_peer(bench, "bob") as bob, core_peer(bench) as nobody:
        task_id = await start(ann, "work")
        for stranger in (bob, nobody):
            for method in ("tasks/get", "tasks/result", "tasks/cancel"):
                assert (await _ask_past(stranger, method, task_id))["error"]["code"] == -32602
            assert (await stranger.ask("tasks/list"))["result"] == {"tasks": []}
        listed = (await ann.ask("tasks/list"))["result"]["tasks"]
        assert [task["taskId"] for task in listed] == [task_id]
    async with raw(bench.server, "ann") as ann, raw(bench.server, "bob") as bob:
        task_id = await start_modern(ann, "work")
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            params = {"taskId": task_id, "inputResponses": {}}
            assert (await bob.ask_modern(method, params, capabilities=DECLARED))["error"]["code"] == -32602
        assert (await poll(ann, task_id, "working"))["taskId"] == task_id


@rule(193)
async def test_a_long_list_comes_in_pages(join: Join) -> None:
    bench = Bench(page_size=2)
    bench.gate.set()
    async with join(bench.server, CORE) as client:
        handles = [await client.start_task("work") for _ in range(5)]
        tasks = await client.list_tasks()
        assert [task.task_id for task in tasks] == [handle.task_id for handle in handles]
        assert all(isinstance(task, Task) for task in tasks)


async def test_a_task_outlives_its_connection(bench: Bench, revision: str, join: Join) -> None:
    async with bench.server.running():
        async with join(bench.server, revision, tasks=True) as client:
            handle = await client.start_task("work", {"n": 7})
            await bench.started.wait()
        assert not bench.ended.is_set()
        bench.gate.set()
        async with join(bench.server, revision, tasks=True) as client:
            assert (await client.task(handle.task_id).result()).text == "7"


async def test_tasks_end_when_the_server_stops(bench: Bench, revision: str, join: Join) -> None:
    async with join(bench.server, revision, tasks=True) as client:
        await client.start_task("work")
        await bench.started.wait()
    assert bench.ended.is_set()
    assert bench.was_cancelled


async def test_too_many_tasks_are_refused(revision: str, join: Join) -> None:
    bench = Bench(limits=Limits(**{**_members(SERVER_LIMITS), "tasks": 2}))
    async with join(bench.server, revision, tasks=True) as client:
        for _ in range(2):
            await client.start_task("work")
        with pytest.raises(MCPError) as raised:
            await client.start_task("work")
        assert raised.value.error_code == MCPErrorCode.OVERLOADED


def _members(limits: Limits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in limits.__struct_fields__}


@rule(197)
async def test_an_expired_task_is_gone_and_its_work_with_it(revision: str, join: Join) -> None:
    server = MCPServer("short")
    gone = anyio.Event()

    @server.tool(task="required", task_ttl=0.05, task_poll_interval=0.001)
    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            gone.set()

    async with join(server, revision, tasks=True) as client:
        if revision == CORE:
            # What is being waited for is answered when its time is over; the client cannot ask for less than a second.
            with anyio.fail_after(5):
                handle = await client.start_task("waits")
                assert handle.task is not None
                assert handle.task.ttl == 50  # type: ignore[union-attr]
        else:
            handle = await client.start_task("waits")
        with pytest.raises(MCPError) as raised:
            await handle.result(timeout=5)
        assert raised.value.error_code == MCPErrorCode.INVALID_PARAMS
        await gone.wait()


# Cancelling


@rule(189, 191)
async def test_the_core_cancels_once_and_before_it_answers(bench: Bench) -> None:
    async with core_peer(bench) as peer:
        task_id = await start(peer, "work")
        await bench.started.wait()
        peer.write({"jsonrpc": "2.0", "id": 5, "method": "tasks/result", "params": {"taskId": task_id}})
        peer.write({"jsonrpc": "2.0", "id": 6, "method": "tasks/cancel", "params": {"taskId": task_id}})
        messages = [await peer.read() for _ in range(3)]
        answers = {message["id"]: message for message in messages if "id" in message}
        assert answers[6]["result"]["status"] == "cancelled"
        assert answers[5]["error"]["data"]["code"] == MCPErrorCode.CANCELLED
        await bench.ended.wait()
        assert bench.was_cancelled
        assert (await _ask_past(peer, "tasks/cancel", task_id))["error"]["code"] == -32602
        assert (await _ask_past(peer, "tasks/get", task_id))["result"]["status"] == "cancelled"


@rule(198, 201)
async def test_the_extension_acknowledges_every_cancellation(bench: Bench) -> None:
    async with raw(bench.server) as peer:
        task_id = await start_modern(peer, "work")
        await bench.started.wait()
        for _ in range(2):
            answer = await peer.ask_modern("tasks/cancel", {"taskId": task_id}, capabilities=DECLARED)
            assert answer["result"].keys() == {"resultType", "_meta"}
            assert answer["result"]["resultType"] == "complete"
        await bench.ended.wait()
        task = await poll(peer, task_id, "cancelled")
        assert not {"result", "error", "inputRequests"} & task.keys()


async def test_withdrawing_the_wait_for_a_result_leaves_the_task_alone(bench: Bench) -> None:
    async with core_peer(bench) as peer:
        task_id = await start(peer, "work")
        peer.write({"jsonrpc": "2.0", "id": 5, "method": "tasks/result", "params": {"taskId": task_id}})
        peer.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
        assert (await peer.ask("tasks/get", {"taskId": task_id}, id=6))["result"]["status"] == "working"
        bench.gate.set()
        answer = await _ask_past(peer, "tasks/result", task_id, id=7)
        assert answer["result"]["content"][0]["text"] == "1"


@rule(206)
async def test_a_cancelled_caller_cancels_its_task(bench: Bench, revision: str, join: Join) -> None:
    async with bench.server.running(), join(bench.server, revision, tasks=True) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: client.call_tool("work", task=True))
            await bench.started.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await bench.ended.wait()
        assert bench.was_cancelled


async def test_a_call_that_takes_too_long_cancels_its_task(bench: Bench, revision: str, join: Join) -> None:
    async with bench.server.running(), join(bench.server, revision, tasks=True) as client:
        with pytest.raises(RequestTimeoutError, match="total_timeout"):
            await client.call_tool("work", task=True, total_timeout=0.05)
        with anyio.fail_after(5):
            await bench.ended.wait()
        assert bench.was_cancelled
        handle = await client.start_task("work")
        with pytest.raises(RequestTimeoutError, match="timeout"):
            await handle.result(timeout=0.02)
        assert await handle.status() == "working"


async def test_a_tools_own_timeout_ends_its_task(revision: str, join: Join) -> None:
    server = MCPServer("slow")
    freed = threading.Event()

    @server.tool(task="required", timeout=0.05, task_poll_interval=0.001)
    def waits(ctx: Context) -> None:
        ctx.cancelled.wait(5)
        freed.set()

    async with join(server, revision, tasks=True) as client:
        with pytest.raises(MCPError, match="timed out") as raised:
            await client.call_tool("waits")
        assert raised.value.error_code == MCPErrorCode.TIMEOUT
    assert freed.wait(5)


# What tasks tell


@rule(192, 194)
async def test_progress_keeps_the_calls_token_until_the_end(bench: Bench) -> None:
    async with core_peer(bench) as peer:
        call = {"name": "tells", "task": {}, "_meta": {"progressToken": "p"}}
        task_id = (await peer.ask("tools/call", call))["result"]["task"]["taskId"]
        tag = {RELATED: {"taskId": task_id}}
        told = await peer.read()
        assert told["method"] == "notifications/progress"
        assert told["params"] == {"progressToken": "p", "progress": 1, "total": 2, "message": "half", "_meta": tag}
        logged = await peer.read()
        assert logged["method"] == "notifications/message"
        assert logged["params"] == {"level": "info", "data": "at work", "_meta": tag}
        bench.gate.set()
        last = await peer.read()
        assert last["params"] == {"progressToken": "p", "progress": 2, "_meta": tag}
        ended = await peer.read()
        assert ended["method"] == "notifications/tasks/status"
        assert ended["params"]["status"] == "completed"
        assert "_meta" not in ended["params"]


@rule(194)
async def test_a_client_hears_the_progress_of_its_task(bench: Bench, join: Join) -> None:
    heard: list[Any] = []
    arrived = anyio.Event()

    def hear(*progress: Any) -> None:
        heard.append(progress)
        arrived.set()

    async with join(bench.server, CORE) as client:
        handle = await client.start_task("tells", on_progress=hear)
        await arrived.wait()
        assert heard == [(1, 2, "half")]
        bench.gate.set()
        assert (await handle.result()).text == "told"
        assert heard == [(1, 2, "half"), (2, None, None)]
        assert handle.call is None


async def test_the_extension_has_no_progress_and_no_log_but_a_status_message(bench: Bench) -> None:
    async with raw(bench.server) as peer:
        meta = {"progressToken": "p", "io.modelcontextprotocol/logLevel": "debug"}
        answer = await peer.ask_modern("tools/call", {"name": "tells"}, capabilities=DECLARED, **meta)
        await bench.started.wait()
        # The next line is the answer to this: nothing came in between.
        task = await poll(peer, answer["result"]["taskId"], "working")
        assert task["statusMessage"] == "half"


# What tasks ask


@rule(192)
async def test_questions_of_the_core_come_with_the_wait_for_the_result(bench: Bench) -> None:
    async with core_peer(bench, elicitation={}, sampling={}) as peer:
        task_id = await start(peer, "asks")
        tag = {RELATED: {"taskId": task_id}}
        status = await peer.read()
        assert (status["method"], status["params"]["status"]) == ("notifications/tasks/status", "input_required")
        assert (await peer.ask("tasks/get", {"taskId": task_id}, id=2))["result"]["status"] == "input_required"
        peer.write({"jsonrpc": "2.0", "id": 3, "method": "tasks/result", "params": {"taskId": task_id}})
        question = await peer.read()
        assert question["method"] == "elicitation/create"
        assert question["params"]["_meta"] == tag
        # The wait is withdrawn, the question with it; both come again.
        peer.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}})
        withdrawn = await peer.read()
        assert withdrawn["params"]["requestId"] == question["id"]
        peer.write({"jsonrpc": "2.0", "id": 4, "method": "tasks/result", "params": {"taskId": task_id}})
        question = await peer.read()
        assert question["params"]["message"] == "first?"
        answer = {"action": "accept", "content": {"n": "one"}}
        peer.write({"jsonrpc": "2.0", "id": question["id"], "result": answer})
        question, told = await read_until(peer, "method", "sampling/createMessage")
        assert [message["params"]["status"] for message in told] == ["working", "input_required"]
        sampled = {"role": "assistant", "content": {"type": "text", "text": "two"}, "model": "m"}
        peer.write({"jsonrpc": "2.0", "id": question["id"], "result": sampled})
        answer, _ = await read_until(peer, "id", 4)
        assert answer["result"]["content"][0]["text"] == "one two"


async def test_a_refusal_reaches_the_handler_in_the_core(bench: Bench) -> None:
    async with core_peer(bench, elicitation={}, sampling={}) as peer:
        task_id = await start(peer, "asks")
        peer.write({"jsonrpc": "2.0", "id": 4, "method": "tasks/result", "params": {"taskId": task_id}})
        question, _ = await read_until(peer, "method", "elicitation/create")
        peer.write({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "will not"}})
        answer, _ = await read_until(peer, "id", 4)
        assert answer["result"]["isError"] is True
        assert answer["result"]["content"][0]["text"] == "will not"


async def test_an_answer_that_cannot_be_read_reaches_the_handler_too(bench: Bench) -> None:
    async with core_peer(bench, elicitation={}, sampling={}) as peer:
        task_id = await start(peer, "asks")
        peer.write({"jsonrpc": "2.0", "id": 4, "method": "tasks/result", "params": {"taskId": task_id}})
        question, _ = await read_until(peer, "method", "elicitation/create")
        peer.write({"jsonrpc": "2.0", "id": question["id"], "result": {}, "error": {"code": 1, "message": ""}})
        answer, _ = await read_until(peer, "id", 4)
        assert answer["result"]["isError"] is True


async def test_a_question_survives_the_connection_it_was_asked_on(bench: Bench) -> None:
    async with bench.server.running():
        async with core_peer(bench, elicitation={}, sampling={}) as peer:
            task_id = await start(peer, "asks")
            peer.write({"jsonrpc": "2.0", "id": 4, "method": "tasks/result", "params": {"taskId": task_id}})
            question, _ = await read_until(peer, "method", "elicitation/create")
        async with core_peer(bench, elicitation={}, sampling={}) as peer:
            peer.write({"jsonrpc": "2.0", "id": 4, "method": "tasks/result", "params": {"taskId": task_id}})
            again, _ = await read_until(peer, "method", "elicitation/create")
            assert again["params"] == question["params"]
        # A client that cannot answer is told of no question; the handler learns of it.
        async with core_peer(bench) as peer:
            answer = await _ask_past(peer, "tasks/result", task_id)
            assert answer["result"]["isError"] is True


@rule(198, 200)
async def test_questions_of_the_extension_stand_in_the_task(bench: Bench) -> None:
    async with raw(bench.server) as peer:
        task_id = await start_modern(peer, "asks")
        task = await poll(peer, task_id, "input_required")
        assert task["inputRequests"].keys() == {"k"}
        assert task["inputRequests"]["k"]["method"] == "elicitation/create"
        strangers = {"other": {"action": "accept"}}
        await peer.ask_modern("tasks/update", {"taskId": task_id, "inputResponses": strangers}, capabilities=ABLE)
        assert (await poll(peer, task_id, "input_required"))["inputRequests"].keys() == {"k"}
        answers = {"k": {"action": "accept", "content": {"n": "one"}}, **strangers}
        acknowledged = await peer.ask_modern(
            "tasks/update", {"taskId": task_id, "inputResponses": answers}, capabilities=ABLE
        )
        assert acknowledged["result"].keys() == {"resultType", "_meta"}
        task = await poll(peer, task_id, "input_required")
        # The handler named its question as before; on the wire no key comes twice.
        assert task["inputRequests"].keys() == {"k-2"}
        await peer.ask_modern("tasks/update", {"taskId": task_id, "inputResponses": answers}, capabilities=ABLE)
        sampled = {"role": "assistant", "content": {"type": "text", "text": "two"}, "model": "m"}
        answers = {"k-2": sampled}
        await peer.ask_modern("tasks/update", {"taskId": task_id, "inputResponses": answers}, capabilities=ABLE)
        task = await poll(peer, task_id, "completed")
        assert task["result"]["content"][0]["text"] == "one two"


@rule(200)
async def test_two_questions_at_once_may_be_answered_one_by_one() -> None:
    server = MCPServer("both")

    @server.tool(task="required", task_poll_interval=0.001)
    async def both(ctx: Context) -> str:
        answers: dict[str, str] = {}

        async def ask(name: str) -> None:
            answers[name] = (await ctx.elicit(name)).action

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "a")
            group.start_soon(ask, "b")
        return " ".join(f"{name} {answers[name]}" for name in sorted(answers))

    async with raw(server) as peer:
        task_id = await start_modern(peer, "both")
        with anyio.fail_after(5):
            while len((task := await poll(peer, task_id, "input_required"))["inputRequests"]) < 2:
                await anyio.lowlevel.checkpoint()
        first, second = task["inputRequests"]
        answers: dict[str, Any] = {first: {"action": "accept"}}
        await peer.ask_modern("tasks/update", {"taskId": task_id, "inputResponses": answers}, capabilities=ABLE)
        assert (await poll(peer, task_id, "input_required"))["inputRequests"].keys() == {second}
        answers = {second: {"action": "decline"}}
        await peer.ask_modern("tasks/update", {"taskId": task_id, "inputResponses": answers}, capabilities=ABLE)
        text = (await poll(peer, task_id, "completed"))["result"]["content"][0]["text"]
        assert sorted(text.split()) == ["a", "accept", "b", "decline"]


async def test_the_clients_handlers_answer_what_a_task_asks(bench: Bench, revision: str, join: Join) -> None:
    asked: list[str] = []

    def elicit(params: Any) -> Any:
        asked.append(params.message)
        return {"n": "one"}

    def sample(params: Any) -> str:
        asked.append("sample")
        return "two"

    async with join(bench.server, revision, tasks=True, elicitation_handler=elicit, sampling_handler=sample) as client:
        assert (await client.call_tool("asks", task=True)).text == "one two"
    assert asked == ["first?", "sample"]


async def test_a_question_the_client_cannot_answer_ends_the_task(bench: Bench, revision: str, join: Join) -> None:
    async with join(bench.server, revision, tasks=True) as client:
        with pytest.raises(MCPError) as raised:
            await client.call_tool("asks", task=True)
        assert raised.value.error_code == MCPErrorCode.MISSING_CLIENT_CAPABILITY


@rule(206)
async def test_a_handler_that_refuses_cancels_the_extensions_task(bench: Bench, join: Join) -> None:
    def refuse(params: Any) -> None:
        raise MCPError("will not", error_code=MCPErrorCode.USER_REJECTED)

    async with join(
        bench.server, EXTENSION, tasks=True, elicitation_handler=refuse, sampling_handler=lambda p: "x"
    ) as client:
        handle = await client.start_task("asks")
        with pytest.raises(MCPError, match="will not"):
            await handle.result()
        assert await handle.status() == "cancelled"


async def test_a_plain_function_runs_as_a_task_in_its_thread(revision: str, join: Join) -> None:
    server = MCPServer("threads")

    @server.tool(task="required", task_poll_interval=0.001)
    def asks(ctx: Context) -> str:
        ctx.progress(1)
        ctx.info("hello")
        answer = ctx.wait(ctx.elicit("sure?"))
        return f"{answer.action} {threading.current_thread() is not threading.main_thread()}"

    @server.tool(task="required", blocking=False, task_poll_interval=0.001)
    def inline() -> str:
        return "at once"

    async with join(server, revision, tasks=True, elicitation_handler=lambda p: True) as client:
        assert (await client.call_tool("asks")).text == "accept True"
        assert (await client.call_tool("inline")).text == "at once"


async def test_kept_results_serve_tasks_too(revision: str, join: Join) -> None:
    server = MCPServer("kept")
    runs: list[int] = []

    @server.tool(task="required", cache_ttl=60, task_poll_interval=0.001)
    async def counts() -> int:
        runs.append(1)
        return len(runs)

    async with join(server, revision, tasks=True) as client:
        assert [(await client.call_tool("counts")).text for _ in range(2)] == ["1", "1"]


async def test_busy_workers_fail_a_task(revision: str, join: Join) -> None:
    server = MCPServer("busy", max_threads=1, max_queued=0)
    started, gate = threading.Event(), threading.Event()

    @server.tool(task="required", task_poll_interval=0.001)
    def blocks() -> None:
        started.set()
        gate.wait(5)

    async with join(server, revision, tasks=True) as client:
        first = await client.start_task("blocks")
        await anyio.to_thread.run_sync(started.wait)
        with pytest.raises(MCPError) as raised:
            await client.call_tool("blocks")
        assert raised.value.error_code == MCPErrorCode.OVERLOADED
        gate.set()
        await first.result()


async def test_one_server_may_be_served_on_two_loops(bench: Bench, revision: str, join: Join) -> None:
    """A second client runs an event loop of its own in another thread; tasks, answers and ends cross over."""
    async with join(bench.server, revision, tasks=True) as client:
        one, two = await client.start_task("work"), await client.start_task("work")
        await bench.started.wait()
        waiting = threading.Event()

        async def elsewhere() -> str:
            async with MCPClient(bench.server, revisions=[revision], tasks=True) as other:
                await other.task(two.task_id).cancel()
                waiting.set()
                text = (await other.task(one.task_id).result(timeout=5)).text
                third = await other.start_task("asks" if revision == EXTENSION else "always")
                assert await third.status() in ("working", "completed", "failed", "input_required")
                return text

        def in_thread() -> str:
            return anyio.run(elsewhere)

        async def release() -> None:
            await anyio.to_thread.run_sync(waiting.wait)
            bench.gate.set()

        async with anyio.create_task_group() as group:
            group.start_soon(release)
            assert await anyio.to_thread.run_sync(in_thread) == "1"
        assert bench.was_cancelled
        assert await two.status() == "cancelled"


async def test_questions_cross_loops_too(bench: Bench, revision: str, join: Join) -> None:
    answers: dict[str, Any] = {"elicitation_handler": lambda p: {"n": "one"}, "sampling_handler": lambda p: "two"}

    def in_thread() -> str:
        async def elsewhere() -> str:
            async with MCPClient(bench.server, revisions=[revision], tasks=True, **answers) as other:
                return (await other.task(handle.task_id).result(timeout=5)).text

        return anyio.run(elsewhere)

    async with join(bench.server, revision, tasks=True, **answers) as client:
        handle = await client.start_task("asks")
        assert await anyio.to_thread.run_sync(in_thread) == "one two"


async def test_a_tool_may_say_itself_that_it_failed(revision: str, join: Join) -> None:
    server = MCPServer("honest")

    @server.tool(task="required", task_ttl=None, task_poll_interval=0.001)
    async def fails() -> CallToolResult:
        return CallToolResult(content=[TextContent(text="no luck")], is_error=True)

    async with join(server, revision, tasks=True) as client:
        handle = await client.start_task("fails")
        with pytest.raises(MCPError, match="no luck"):
            await handle.result()
        assert await handle.status() == ("failed" if revision == CORE else "completed")
        assert handle.task is not None
        assert (handle.task.ttl if isinstance(handle.task, Task) else handle.task.ttl_ms) is None
        if revision == EXTENSION:
            assert await client.request("tasks/update", UpdateTaskParams(task_id=handle.task_id, input_responses={}))


async def test_a_task_that_has_ended_asks_nothing(revision: str, join: Join) -> None:
    server = MCPServer("late")
    started, refused = threading.Event(), threading.Event()

    @server.tool(task="required", task_poll_interval=0.001)
    def late(ctx: Context) -> None:
        started.set()
        ctx.cancelled.wait(5)
        try:
            ctx.wait(ctx.elicit("still there?"))
        except MCPError as error:
            assert error.error_code == MCPErrorCode.CANCELLED
            assert not ctx.progress(5).sent
            refused.set()

    async with join(server, revision, tasks=True, elicitation_handler=lambda p: True) as client:
        handle = await client.start_task("late")
        await anyio.to_thread.run_sync(started.wait)
        await handle.cancel()
        assert await anyio.to_thread.run_sync(refused.wait, 5)


async def test_what_a_client_knows_of_tools_goes_stale_with_their_list(bench: Bench, join: Join) -> None:
    changed = anyio.Event()
    async with join(bench.server, CORE, tasks=True, change_handler=lambda change: changed.set()) as client:
        assert (await client.call_tool("always")).text == "task"
        bench.server.remove_tool("always")
        bench.server.tool(name="always")(lambda: "call")
        await changed.wait()
        assert (await client.call_tool("always")).text == "call"


# Subscriptions


@rule(203)
async def test_listeners_hear_of_their_tasks_in_full_and_of_no_others(bench: Bench) -> None:
    async with raw(bench.server, "ann") as ann, raw(bench.server, "bob") as bob:
        task_id = await start_modern(ann, "work")
        wanted = {"notifications": {"taskIds": [task_id, "unknown"]}}
        refused = await ann.ask_modern("subscriptions/listen", wanted, id="l")
        assert refused["error"]["code"] == -32021
        assert refused["error"]["data"] == {"requiredCapabilities": DECLARED}
        heard = await ann.ask_modern("subscriptions/listen", wanted, id="l", capabilities=DECLARED)
        assert heard["params"]["notifications"] == {"taskIds": [task_id]}
        nothing = await bob.ask_modern("subscriptions/listen", wanted, id="l", capabilities=DECLARED)
        assert nothing["params"]["notifications"] == {"taskIds": []}
        bench.gate.set()
        change = await ann.read()
        assert change["method"] == "notifications/tasks"
        tag = change["params"].pop("_meta")
        assert tag == {"io.modelcontextprotocol/subscriptionId": "l"}
        task = await poll(ann, task_id, "completed")
        assert change["params"] == {name: task[name] for name in task if name not in ("resultType", "_meta")}
        # Bob's next line is the answer to his own question.
        assert (await bob.ask_modern("tools/list", id=9))["id"] == 9


@rule(203)
async def test_a_client_listens_for_its_tasks(bench: Bench, join: Join) -> None:
    async with join(bench.server, EXTENSION, tasks=True) as client:
        handle = await client.start_task("work")
        async with client.listen(tasks=[handle.task_id]) as changes:
            bench.gate.set()
            async for change in changes:
                assert change.uri == handle.task_id
                assert change.params.status == "completed"
                break


# The client and servers of another make


@rule(188)
async def test_a_client_asks_for_no_task_that_it_must_not_ask_for(bench: Bench, join: Join) -> None:
    bench.gate.set()
    async with join(bench.server, CORE) as client:
        assert (await client.call_tool("never", task=True)).text == "call"
        assert (await client.call_tool("plain", task={"ttl": 5})).text == "call"
        assert (await client.call_tool("always", task=None)).text == "task"  # known to be required, for it was listed
        assert (await client.call_tool("work", task=False)).text == "1"
        assert await client.list_tasks() != []
        for tool in ("never", "plain", "unknown"):
            with pytest.raises(MCPError, match="does not run as a task"):
                await client.start_task(tool)
        with pytest.raises(TypeError, match="ttl"):
            await client.call_tool("work", task={"seconds": 5})
        handle = await client.start_task("work", {"n": 3}, ttl=30)
        assert handle.task is not None
        assert handle.task.ttl == 30_000  # type: ignore[union-attr]
        assert (await handle.result()).text == "3"
    async with join(bench.server, CORE, tasks=True) as client:
        assert (await client.call_tool("always")).text == "task"  # listed first, since this client minds tasks


@rule(186, 188)
async def test_a_server_that_declares_no_tasks_is_asked_for_none() -> None:
    tool = {"name": "t", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}}

    def script(message: dict[str, Any]) -> Any:
        return {"result": {"tools": [tool]} if message.get("method") == "tools/list" else TEXT}

    for declared in ({}, {"tasks": {}}, {"tasks": {"list": {}, "cancel": {}}}):
        server = ScriptedServer(CORE, {"tools": {}, **declared}, script)
        async with MCPClient(server, revisions=[CORE], tasks=True) as client:
            await client.list_tools()
            assert (await client.call_tool("t", task=True)).text == "done"
        (call,) = [message for message in server.heard if message.get("method") == "tools/call"]
        assert "task" not in call["params"]


CORE_TASKS = {"tools": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}
CORE_TOOL = {"name": "t", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}}
CORE_TASK = {"taskId": "T", "status": "working", "createdAt": "", "lastUpdatedAt": "", "ttl": None}
FLAT_TASK = {
    "taskId": "T",
    "status": "working",
    "createdAt": "",
    "lastUpdatedAt": "",
    "ttlMs": None,
    "pollIntervalMs": 1,
}
EXTENSION_TASKS = {"tools": {}, "extensions": {TASKS_EXTENSION: {}}}


@rule(186)
async def test_a_server_that_ignores_the_wish_is_taken_at_its_result() -> None:
    def script(message: dict[str, Any]) -> Any:
        return {"result": {"tools": [CORE_TOOL]} if message["method"] == "tools/list" else TEXT}

    async with MCPClient(ScriptedServer(CORE, CORE_TASKS, script), revisions=[CORE]) as client:
        assert (await client.call_tool("t", task=True, on_progress=print)).text == "done"
        handle = await client.start_task("t")
        assert handle.task_id == ""
        assert handle.has_ended
        assert await handle.status() == "completed"
        await handle.cancel()
        assert (await handle.result()).text == "done"


@rule(206)
async def test_a_caller_that_leaves_before_the_task_is_named_cancels_it_by_name() -> None:
    """Cancelled while `tools/call` is in flight: "tasks/cancel MUST be used instead" of the notification."""

    def script(message: dict[str, Any]) -> Any:
        if message["method"] == "tools/list":
            return {"result": {"tools": [CORE_TOOL]}}
        return None

    server = ScriptedServer(CORE, CORE_TASKS, script)
    async with MCPClient(server, revisions=[CORE]) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: client.call_tool("t", task=True))
            call = await server.wait_for("tools/call")
            group.cancel_scope.cancel()
        server.say({"id": call["id"], "result": {"task": CORE_TASK}})
        cancelled = await server.wait_for("tasks/cancel")
        assert cancelled["params"]["taskId"] == "T"
        assert "notifications/cancelled" not in server.methods()


@rule(206)
@pytest.mark.parametrize("dialect", ["core", "extension"])
async def test_a_task_is_never_cancelled_by_notification(dialect: str) -> None:
    def script(message: dict[str, Any]) -> Any:
        match message["method"]:
            case "tools/list":
                return {"result": {"tools": [CORE_TOOL]}}
            case "tools/call" if dialect == "core":
                return {"result": {"task": CORE_TASK}}
            case "tools/call":
                return {"result": {"resultType": "task", **FLAT_TASK}}
            case "tasks/get":
                return {"result": {"resultType": "complete", **FLAT_TASK}}
            case "tasks/cancel":
                return {"result": {"resultType": "complete", **CORE_TASK}}
        return None

    revision = CORE if dialect == "core" else EXTENSION
    server = ScriptedServer(revision, CORE_TASKS if dialect == "core" else EXTENSION_TASKS, script)
    async with MCPClient(server, revisions=[revision], tasks=True) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: client.call_tool("t", task=True))
            await server.wait_for("tasks/result" if dialect == "core" else "tasks/get")
            group.cancel_scope.cancel()
        assert (await server.wait_for("tasks/cancel"))["params"]["taskId"] == "T"
        named = [m["params"] for m in server.heard if m.get("method") == "notifications/cancelled"]
        calls = [m["id"] for m in server.heard if m.get("method") == "tools/call"]
        assert not [params for params in named if params["requestId"] in calls]


@rule(205)
async def test_a_client_takes_either_answer_to_a_call() -> None:
    polled = 0

    def script(message: dict[str, Any]) -> Any:
        nonlocal polled
        if message["method"] == "tasks/get":
            polled += 1
            # The status may lag behind an answer; the question is not put to the user twice.
            form = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
            asked = {"q": {"method": "elicitation/create", "params": form}}
            if polled < 4:
                return {"result": {**FLAT_TASK, "status": "input_required", "inputRequests": asked}}
            return {"result": {**FLAT_TASK, "status": "completed", "result": TEXT}}
        if message["method"] == "tasks/update":
            return {"result": {"resultType": "complete"}}
        if message["params"]["name"] == "now":
            return {"result": {"resultType": "complete", **TEXT}}
        return {"result": {"resultType": "task", **FLAT_TASK}}

    asked: list[Any] = []

    def elicit(params: Any) -> bool:
        asked.append(params.message)
        return True

    server = ScriptedServer(EXTENSION, EXTENSION_TASKS, script)
    async with MCPClient(server, revisions=[EXTENSION], tasks=True, elicitation_handler=elicit) as client:
        assert (await client.call_tool("now")).text == "done"
        assert (await client.call_tool("later")).text == "done"
        handle = await client.start_task("now")
        assert (await handle.result()).text == "done"
    assert asked == ["?"]
    (update,) = [message for message in server.heard if message["method"] == "tasks/update"]
    assert update["params"]["inputResponses"] == {"q": {"action": "accept", "content": {}}}


@rule(205)
def test_a_task_where_none_was_negotiated_is_an_invalid_response() -> None:
    task = {"resultType": "task", **FLAT_TASK}
    able = {"capabilities": ClientCapabilities(extensions={TASKS_EXTENSION: {}})}
    for talk, method, params in (
        (client(R2026, **able), "tools/list", PaginatedParams()),
        (client(R2026), "tools/call", CallToolParams(name="t")),
    ):
        talk.engine.send_request(method, params)
        (call,) = talk.hear()
        talk.say(result(call["id"], task))
        failure = talk.take(Failure)
        assert failure.is_local
        assert "task" in failure.error.message


@rule(194)
def test_progress_of_a_task_is_heard_until_it_is_unfollowed() -> None:
    talk = client(R2025_11, can=CORE_TASKS)
    call = talk.engine.send_request("tools/call", CallToolParams(name="t", task=TaskMetadata()), progress=True)
    talk.hear()
    token = {"progressToken": call.id}
    progress = {"jsonrpc": "2.0", "method": "notifications/progress"}
    talk.say(result(call.id, {"task": CORE_TASK}), {**progress, "params": {**token, "progress": 1}})
    assert talk.take(Progress).call is call
    talk.say({**progress, "params": {**token, "progress": 1}})
    assert talk.take(Violation)
    talk.engine.unfollow(call)
    talk.say({**progress, "params": {**token, "progress": 2}})
    assert talk.take(Violation)
    assert not any(isinstance(event, Progress) for event in talk.hear_events())


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({**FLAT_TASK, "status": "completed"}, "without its outcome"),
        ({**FLAT_TASK, "status": "failed", "error": {"message": 1}}, "malformed error"),
        ({**FLAT_TASK, "taskId": "U"}, "answered with task 'U'"),
        ({**FLAT_TASK, "status": "input_required", "inputRequests": {"q": {"method": "ping"}}}, "invalid response"),
        ({"taskId": "T"}, "invalid DetailedTaskResult"),
        ({**FLAT_TASK, "status": "cancelled"}, "was cancelled"),
        ({**FLAT_TASK, "resultType": "task"}, "not negotiated"),
    ],
)
async def test_a_task_that_makes_no_sense_is_an_error(task: dict[str, Any], why: str) -> None:
    def script(message: dict[str, Any]) -> Any:
        return {"result": task if message["method"] == "tasks/get" else {"resultType": "task", **FLAT_TASK}}

    server = ScriptedServer(EXTENSION, EXTENSION_TASKS, script)
    async with MCPClient(server, revisions=[EXTENSION], tasks=True) as client:
        with pytest.raises(MCPError, match=why):
            await client.call_tool("t")


async def test_a_list_that_does_not_end_is_an_error() -> None:
    def script(message: dict[str, Any]) -> Any:
        return {"result": {"tasks": [CORE_TASK], "nextCursor": "again"}}

    async with MCPClient(ScriptedServer(CORE, CORE_TASKS, script), revisions=[CORE]) as client:
        with pytest.raises(MCPError, match="does not end"):
            await client.list_tasks()


async def test_tasks_that_nobody_declared_cannot_be_started(bench: Bench, join: Join) -> None:
    async with join(bench.server, EXTENSION) as client:
        with pytest.raises(MCPError, match="tasks=True"):
            await client.start_task("work")
        with pytest.raises(MCPError) as raised:
            await client.call_tool("always")
        assert raised.value.error_code == MCPErrorCode.MISSING_CLIENT_CAPABILITY
