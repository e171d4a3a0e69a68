"""Tasks between our server and our client: how they come to be, whose they are, how they are found and fetched."""

from typing import Any

import anyio
import pytest

from kailash.errors import RequestError
from kailash.mcp_server import MCPClient, MCPError, MCPErrorCode, MCPServer
from protocol.limits import SERVER_LIMITS, Limits
from protocol.methods import TASKS_EXTENSION
from protocol.revisions import REVISIONS
from protocol.types import Task
from tests.requirements import rule

from .bench import DECLARED, RELATED, Bench, ask_past, core_peer, poll, raw, read_until, start, start_modern
from .conftest import LAST_HANDSHAKE as CORE
from .conftest import NEWEST as EXTENSION
from .conftest import Join

pytestmark = pytest.mark.anyio

OLDER = [revision.name for revision in REVISIONS[:-2]]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


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
    for name in ("work", "always", "fails", "breaks", "tells", "asks", "prepares"):
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
        assert (await ask_past(peer, "tasks/result", task_id))["result"] == answer["result"]


@rule(190, 199)
async def test_errors_end_a_task_as_each_dialect_has_it(bench: Bench) -> None:
    async with core_peer(bench) as peer:
        failed = await start(peer, "fails")
        assert (await ask_past(peer, "tasks/result", failed))["result"]["isError"] is True
        task = (await ask_past(peer, "tasks/get", failed))["result"]
        assert (task["status"], task["statusMessage"]) == ("failed", "no luck")
        broken = (await ask_past(peer, "tools/call", "", name="breaks", task={}))["result"]["task"]["taskId"]
        plain = await ask_past(peer, "tools/call", "", name="breaks")
        same = await ask_past(peer, "tasks/result", broken)
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
        assert (await ask_past(peer, "tasks/result", task_id))["error"] == expected
        assert (await ask_past(peer, "tasks/get", task_id))["result"]["status"] == "failed"
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
        one, two = await start(peer, "always"), (await ask_past(peer, "tools/call", "", name="fails", task={}))
        other = two["result"]["task"]["taskId"]
        misled = {"_meta": {RELATED: {"taskId": other}}}
        assert (await ask_past(peer, "tasks/get", one, **misled))["result"]["taskId"] == one
        assert (await ask_past(peer, "tasks/result", one, **misled))["result"]["content"][0]["text"] == "task"


@rule(193)
async def test_tasks_belong_to_their_principal(bench: Bench) -> None:
    async with core_peer(bench, "ann") as ann, core_peer(bench, "bob") as bob, core_peer(bench) as nobody:
        task_id = await start(ann, "work")
        for stranger in (bob, nobody):
            for method in ("tasks/get", "tasks/result", "tasks/cancel"):
                assert (await ask_past(stranger, method, task_id))["error"]["code"] == -32602
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
