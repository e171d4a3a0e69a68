"""What happens to tasks: they are cancelled, time out, tell, ask, cross event loops, and are listened to."""

import threading
from typing import Any

import anyio
import pytest

from kailash.mcp_server import Context, MCPClient, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.errors import RequestTimeoutError
from protocol.params import UpdateTaskParams
from protocol.results import CallToolResult
from protocol.types import Task, TextContent
from tests.requirements import rule

from .bench import ABLE, DECLARED, RELATED, Bench, ask_past, core_peer, poll, raw, read_until, start, start_modern
from .conftest import LAST_HANDSHAKE as CORE
from .conftest import NEWEST as EXTENSION
from .conftest import Join

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench() -> Bench:
    return Bench()


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
        assert (await ask_past(peer, "tasks/cancel", task_id))["error"]["code"] == -32602
        assert (await ask_past(peer, "tasks/get", task_id))["result"]["status"] == "cancelled"


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
        answer = await ask_past(peer, "tasks/result", task_id, id=7)
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
            answer = await ask_past(peer, "tasks/result", task_id)
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


async def test_one_server_may_be_served_on_two_loops(
    bench: Bench, revision: str, join: Join, anyio_backend: str
) -> None:
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
            return anyio.run(elsewhere, backend=anyio_backend)

        async def release() -> None:
            await anyio.to_thread.run_sync(waiting.wait, abandon_on_cancel=True)
            bench.gate.set()

        async with anyio.create_task_group() as group:
            group.start_soon(release)
            assert await anyio.to_thread.run_sync(in_thread) == "1"
        assert bench.was_cancelled
        assert await two.status() == "cancelled"


async def test_questions_cross_loops_too(bench: Bench, revision: str, join: Join, anyio_backend: str) -> None:
    answers: dict[str, Any] = {"elicitation_handler": lambda p: {"n": "one"}, "sampling_handler": lambda p: "two"}

    def in_thread() -> str:
        async def elsewhere() -> str:
            async with MCPClient(bench.server, revisions=[revision], tasks=True, **answers) as other:
                return (await other.task(handle.task_id).result(timeout=5)).text

        return anyio.run(elsewhere, backend=anyio_backend)

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


# Asking first


@rule(195)
async def test_a_call_that_asks_first_is_answered_with_a_task_once_all_is_known(bench: Bench) -> None:
    async with raw(bench.server) as peer:
        call = {"name": "prepares"}
        first = (await peer.ask_modern("tools/call", call, capabilities=ABLE))["result"]
        assert first["resultType"] == "input_required"
        assert "taskId" not in first
        answers = {"k": {"action": "accept", "content": {"n": "Ada"}}}
        retry = {**call, "requestState": first["requestState"], "inputResponses": answers}
        created = (await peer.ask_modern("tools/call", retry, capabilities=ABLE))["result"]
        assert created["resultType"] == "task"
        assert not {"requestState", "inputRequests"} & created.keys()
        # What it asks from here on stands in the task.
        task = await poll(peer, created["taskId"], "input_required")
        update = {
            "taskId": created["taskId"],
            "inputResponses": {key: {"action": "decline"} for key in task["inputRequests"]},
        }
        await peer.ask_modern("tasks/update", update, capabilities=ABLE)
        task = await poll(peer, created["taskId"], "completed")
        assert task["result"]["content"][0]["text"] == "Ada 7 True True decline"


async def test_a_call_that_asks_first_stays_a_call_for_clients_without_tasks(bench: Bench) -> None:
    async with raw(bench.server) as peer:
        answers = {"k": {"action": "accept", "content": {"n": "Ada"}}, "more": {"action": "accept"}}
        call = {"name": "prepares", "inputResponses": answers}
        answer = (await peer.ask_modern("tools/call", call, capabilities={"elicitation": {}}))["result"]
        assert answer["content"][0]["text"] == "Ada 7 False False accept"


async def test_a_call_that_asks_first_is_a_task_at_once_in_the_core(bench: Bench) -> None:
    async with core_peer(bench, elicitation={}) as peer:
        task_id = await start(peer, "prepares")
        peer.write({"jsonrpc": "2.0", "id": 4, "method": "tasks/result", "params": {"taskId": task_id}})
        for action in ("accept", "decline"):
            question, _ = await read_until(peer, "method", "elicitation/create")
            answer = {"action": action, "content": {"n": "Ada"}}
            peer.write({"jsonrpc": "2.0", "id": question["id"], "result": answer})
        answer, _ = await read_until(peer, "id", 4)
        assert answer["result"]["content"][0]["text"] == "Ada 7 True True decline"


async def test_asking_first_is_for_tools_that_run_as_tasks(bench: Bench) -> None:
    with pytest.raises(ValueError, match="task_asks_first"):
        bench.server.add_tool(lambda: 1, name="x", task_asks_first=True)
