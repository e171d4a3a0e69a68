"""Tasks of the older revision, where they belong to the core."""

from typing import Any

from ...dialect import META
from ...scenario import Skip, Trial, scenario

RELATED = f"{META}related-task"
TERMINAL = ("completed", "failed", "cancelled")


@scenario(covers=[187, 189, 190, 191, 193], revisions="D", seconds=20)
async def task_of_the_older_revision(trial: Trial) -> None:
    """A call augmented with `task` is a task at once; its result waits for its end; terminal states stay."""
    talk = await trial.open()
    trial.needs(talk, "tasks", "requests", "tools", "call")
    params = {**trial.tool("task"), "task": {"ttl": 60000}}
    reply = await talk.request("tools/call", params)
    task = (reply.result or {}).get("task")
    is_made = isinstance(task, dict) and isinstance(task.get("taskId"), str) and task.get("status") == "working"
    is_dated = isinstance(task, dict) and "createdAt" in task and "ttl" in task
    if not trial.check(187, is_made and is_dated, f"CreateTaskResult: {reply.show()}") or not isinstance(task, dict):
        return
    name = {"taskId": task["taskId"]}
    if (talk.server_capabilities["tasks"]).get("list") is not None:
        listed = await talk.request("tasks/list", {})
        ids = [t.get("taskId") for t in (listed.result or {}).get("tasks") or ()]
        trial.check(193, task["taskId"] in ids, f"tasks/list holds {ids}")
    result = await talk.request("tasks/result", name, timeout=8)
    meta = ((result.result or {}).get("_meta") or {}).get(RELATED)
    trial.check(190, "content" in (result.result or {}), f"tasks/result: {result.show()}")
    trial.check(190, meta == name, f"the related task of tasks/result is {meta!r}")
    state = (await talk.request("tasks/get", name)).result or {}
    trial.check(189, state.get("status") == "completed", f"after its result: {state}")
    reply = await talk.request("tasks/cancel", name)
    trial.refused(191, reply, -32602, None, "tasks/cancel of a task that has ended")
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        reply = await talk.request(method, {"taskId": "judge-made-this-up"})
        trial.refused(191, reply, -32602, None, f"{method} of an unknown task")
    if (talk.server_capabilities["tasks"]).get("list") is not None:
        reply = await talk.request("tasks/list", {"cursor": "judge made this up"})
        trial.refused(191, reply, -32602, None, "tasks/list with a made-up cursor")


@scenario(covers=[188, 189], revisions="D")
async def tools_that_are_tasks(trial: Trial) -> None:
    """A tool that is only a task is refused when called plainly; a cancelled task is cancelled at once."""
    talk = await trial.open()
    trial.needs(talk, "tasks", "requests", "tools", "call")
    reply = await talk.request("tools/call", trial.tool("task_required"))
    trial.refused(188, reply, -32601, None, "a tool that is only a task, called plainly")
    made = await talk.request("tools/call", {**trial.tool("task", seconds=30), "task": {}})
    task = (made.result or {}).get("task") or {}
    reply = await talk.request("tasks/cancel", {"taskId": task.get("taskId")})
    status = (reply.result or {}).get("status")
    trial.check(189, status == "cancelled", f"tasks/cancel: {reply.show()}")


def _related(params: Any) -> Any:
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta.get(RELATED) if isinstance(meta, dict) else None


async def _start(trial: Trial, talk: Any, name: str, **options: Any) -> str:
    """Run a tool as a task and return the task's id."""
    trial.needs(talk, "tasks", "requests", "tools", "call")
    params = {**trial.tool(name), "task": {"ttl": 60000}}
    reply = await talk.request("tools/call", params, **options)
    task = (reply.result or {}).get("task")
    if not isinstance(task, dict) or not isinstance(task.get("taskId"), str):
        raise Skip(f"the fixture tools.{name} did not run as a task: {reply.show()}")
    return str(task["taskId"])


@scenario(covers=[186], revisions="D")
async def task_where_there_are_none(trial: Trial) -> None:
    """`task` on a request that the server declared no tasks for is ignored, and the request served as usual."""
    talk = await trial.open()
    declared = (talk.server_capabilities.get("tasks") or {}).get("requests") or {}
    tried: list[tuple[str, dict[str, Any], str]] = []
    if "call" not in (declared.get("tools") or {}):
        tried.append(("tools/call", trial.tool("text"), "content"))
    if (row := trial.fixtures.find("prompts", "simple")) is not None:
        tried.append(("prompts/get", {"name": row["name"]}, "messages"))
    if (row := trial.fixtures.find("resources", "text")) is not None:
        tried.append(("resources/read", {"uri": row["uri"]}, "contents"))
    if not tried:
        trial.fixture("prompts", "simple")
    for method, params, member in tried:
        reply = await talk.request(method, {**params, "task": {"ttl": 60000}})
        is_usual = member in (reply.result or {}) and "task" not in (reply.result or {})
        trial.check(186, is_usual, f"{method} with `task`, for which no tasks were declared: {reply.show()}")


@scenario(covers=[192], revisions="D", seconds=15)
async def messages_about_a_task(trial: Trial) -> None:
    """What a task asks and its result name the task; what a request says of a task counts, not its `_meta`."""
    talk = await trial.open()
    if trial.is_http:
        await talk.open_get()
    task_id = await _start(trial, talk, "task_input")
    other = await _start(trial, talk, "task")
    result = talk.start("tasks/result", {"taskId": task_id})
    asked = await talk.watch(lambda r: r.method == "elicitation/create", 3.0)
    if asked is not None:
        related = _related(asked.params)
        trial.check(192, related == {"taskId": task_id}, f"what task {task_id!r} asks is related to {related!r}")
        reply = await result.wait()
        related = _related(reply.result)
        trial.check(192, related == {"taskId": task_id}, f"the result of {task_id!r} is related to {related!r}")
    reply = await talk.request("tasks/get", {"taskId": task_id}, meta={RELATED: {"taskId": other}})
    got = (reply.result or {}).get("taskId")
    trial.check(192, got == task_id, f"asked for {task_id!r} by params and {other!r} by _meta, got {got!r}")
    if asked is None:
        raise Skip("the fixture tools.task_input asks nothing as a task")


@scenario(covers=[194, 143], revisions="D", seconds=15)
async def progress_of_a_task(trial: Trial) -> None:
    """A task tells its progress under the token of the request that began it, and no more once it has ended."""
    talk = await trial.open()
    if trial.is_http:
        await talk.open_get()
    task_id = await _start(trial, talk, "task_progress", meta={"progressToken": "of-the-task"})
    ended = await talk.request("tasks/result", {"taskId": task_id}, timeout=8)
    told = [r for r in talk.inbox if r.method == "notifications/progress"]
    if not told:
        raise Skip("the fixture tools.task_progress tells no progress as a task")
    tokens = {str(r.params.get("progressToken")) for r in told}
    trial.check(194, tokens == {"of-the-task"}, f"the progress of a task came for {sorted(tokens)}")
    seen = next(at for at, each in enumerate(talk.inbox) if each.message == ended.message)
    await talk.fence()
    if trial.is_http:  # streams of their own arrive in no order: what was told before may still be under way
        await talk.watch(lambda r: False, 0.2)
        seen = len(talk.inbox)
    late = await talk.watch(lambda r: r.method == "notifications/progress", 0.3, seen)
    trial.check(194, late is None, "a task that has ended still tells progress")
