"""Tasks, as the extension of the newest revision; those of the older one stand in `tasks_legacy`."""

import asyncio
from typing import Any

from ...dialect import FULL, META
from ...scenario import Skip, Trial, scenario

EXTENSION = f"{META}tasks"
CAPABILITIES = f"{META}clientCapabilities"
ABLE = {CAPABILITIES: {**FULL, "extensions": {EXTENSION: {}}}}
TERMINAL = ("completed", "failed", "cancelled")


def _offered(trial: Trial, talk: Any) -> None:
    if EXTENSION not in (talk.server_capabilities.get("extensions") or {}):
        raise Skip("the target does not offer the tasks extension")


async def _start(trial: Trial, talk: Any, name: str, **arguments: Any) -> dict[str, Any]:
    reply = await talk.request("tools/call", trial.tool(name, **arguments), meta=ABLE)
    result = reply.result or {}
    if result.get("resultType") != "task":
        raise Skip(f"the fixture tools.{name} did not run as a task: {reply.show()}")
    return result


async def _get(talk: Any, task_id: Any) -> Any:
    return await talk.request("tasks/get", {"taskId": task_id}, meta=ABLE)


async def _until(talk: Any, task_id: Any, statuses: tuple[str, ...], seconds: float = 4.0) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found: dict[str, Any] = (await _get(talk, task_id)).result or {}
        if found.get("status") in statuses or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.05)


@scenario(covers=[195, 197, 198], revisions="E", seconds=15)
async def task_of_the_extension(trial: Trial) -> None:
    """A call that becomes a task can be asked about at once, and in the end holds the result."""
    talk = await trial.open()
    _offered(trial, talk)
    task = await _start(trial, talk, "task")
    is_flat = isinstance(task.get("taskId"), str) and "task" not in task and "status" in task
    is_new = "ttl" not in task and "pollInterval" not in task and "ttlMs" in task
    trial.check(195, is_flat and is_new, f"the result that creates a task: {task}")
    first = await _get(talk, task["taskId"])
    trial.check(197, first.result is not None, f"tasks/get at once: {first.show()}")
    trial.check(198, (first.result or {}).get("resultType") == "complete", f"tasks/get: {first.show()}")
    done = await _until(talk, task["taskId"], TERMINAL)
    is_done = done.get("status") == "completed" and isinstance(done.get("result"), dict)
    trial.check(198, is_done and "error" not in done, f"in the end: {done}")
    again = (await _get(talk, task["taskId"])).result or {}
    trial.check(198, again.get("status") == "completed", f"afterwards: {again}")


@scenario(covers=[199], revisions="E", seconds=15)
async def tasks_that_fail(trial: Trial) -> None:
    """A result with `isError` is a task that completed; an error of the protocol is one that failed."""
    talk = await trial.open()
    _offered(trial, talk)
    for name, status, member, other in (
        ("task_required", "completed", "result", "error"),
        ("task_error", "failed", "error", "result"),
    ):
        if trial.fixtures.find("tools", name) is None:
            continue
        task = await _start(trial, talk, name)
        done = await _until(talk, task["taskId"], TERMINAL)
        is_right = done.get("status") == status and member in done and other not in done
        trial.check(199, is_right, f"{name} ended as {done}")


@scenario(covers=[196, 201, 202], revisions="E")
async def tasks_of_clients_that_cannot(trial: Trial) -> None:
    """A client without the extension gets no task; unknown tasks and the older methods are refused."""
    talk = await trial.open()
    _offered(trial, talk)
    params = trial.tool("task", seconds=0.05)
    reply = await talk.request("tools/call", params)
    trial.check(196, (reply.result or {}).get("resultType") == "complete", f"without the extension: {reply.show()}")
    reply = await talk.request("tools/call", {**params, "task": {"ttl": 1000}})
    trial.check(202, (reply.result or {}).get("resultType") == "complete", f"the older `task` param: {reply.show()}")
    trial.check(202, "tasks" not in talk.server_capabilities, "the older capability `tasks` is declared")
    if trial.fixtures.find("tools", "task_required"):
        reply = await talk.request("tools/call", trial.tool("task_required"))
        trial.refused(196, reply, -32021, 400, "a tool that is only a task")
    reply = await talk.request("tasks/get", {"taskId": "judge-made-this-up"}, meta=ABLE)
    trial.refused(201, reply, -32602, None, "an unknown task")
    reply = await talk.request("tasks/get", {"taskId": "judge-made-this-up"})
    trial.refused(201, reply, -32021, None, "tasks/get without the extension")
    for method in ("tasks/list", "tasks/result"):
        reply = await talk.request(method, {"taskId": "x"}, meta=ABLE)
        trial.refused(201, reply, -32601, None, method)


@scenario(covers=[198, 200], revisions="E", seconds=15)
async def tasks_that_ask(trial: Trial) -> None:
    """A task that needs something says so, takes it, and goes on; one that is cancelled says so."""
    talk = await trial.open()
    _offered(trial, talk)
    task = await _start(trial, talk, "task_input")
    waiting = await _until(talk, task["taskId"], ("input_required", *TERMINAL))
    asked = waiting.get("inputRequests") or {}
    trial.check(198, waiting.get("status") == "input_required" and bool(asked), f"a task that asks: {waiting}")
    reply = await talk.request(
        "tasks/update", {"taskId": task["taskId"], "inputResponses": {"judge-made-this-up": {}}}, meta=ABLE
    )
    trial.check(198, (reply.result or {}).get("resultType") == "complete", f"tasks/update: {reply.show()}")
    still = (await _get(talk, task["taskId"])).result or {}
    trial.check(200, still.get("status") == "input_required", f"after an unknown key: {still}")
    answers = {key: talk.answer_to(each["method"], each.get("params") or {}) for key, each in asked.items()}
    await talk.request("tasks/update", {"taskId": task["taskId"], "inputResponses": answers}, meta=ABLE)
    done = await _until(talk, task["taskId"], TERMINAL)
    trial.check(200, done.get("status") == "completed", f"after its inputs: {done}")
    task = await _start(trial, talk, "task", seconds=30)
    reply = await talk.request("tasks/cancel", {"taskId": task["taskId"]}, meta=ABLE)
    trial.check(198, (reply.result or {}).get("resultType") == "complete", f"tasks/cancel: {reply.show()}")
    done = await _until(talk, task["taskId"], TERMINAL)
    trial.check(198, done.get("status") == "cancelled", f"after tasks/cancel: {done}")


@scenario(covers=[204], revisions="E", transports=("http",), role="server")
async def task_header(trial: Trial) -> None:
    """`Mcp-Name` is the task's id on the methods of tasks."""
    talk = await trial.open()
    _offered(trial, talk)
    task = await _start(trial, talk, "task")
    reply = await talk.request("tasks/get", {"taskId": task["taskId"]}, meta=ABLE, headers={"Mcp-Name": "other"})
    trial.refused(204, reply, -32020, 400, "tasks/get with the name of another task")


@scenario(covers=[203], revisions="E")
async def listening_to_tasks(trial: Trial) -> None:
    """Only a client with the extension listens to tasks."""
    talk = await trial.open()
    _offered(trial, talk)
    reply = await talk.request("subscriptions/listen", {"notifications": {"taskIds": ["x"]}})
    trial.refused(203, reply, -32021, None, "taskIds without the extension")
