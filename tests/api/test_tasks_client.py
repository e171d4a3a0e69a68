"""What our client does with tasks, and with servers of another make."""

from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError, MCPErrorCode
from protocol.capabilities import ClientCapabilities
from protocol.events import Failure, Progress, Violation
from protocol.methods import TASKS_EXTENSION
from protocol.params import CallToolParams, PaginatedParams
from protocol.types import TaskMetadata
from tests.pair import R2025_11, R2026, client, result
from tests.requirements import rule

from .bench import TEXT, Bench
from .conftest import LAST_HANDSHAKE as CORE
from .conftest import NEWEST as EXTENSION
from .conftest import Join
from .scripted import ScriptedServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench() -> Bench:
    return Bench()


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
