"""What a client does with tasks: those that servers run by the extension, and its own in the older revision."""

from typing import Any

from ...client import ClientTrial
from ...dialect import META
from ...scenario import ENVELOPE, Skip, scenario
from ...scripted import Call, ScriptedServer
from .subscriptions import said, tool

EXTENSION = f"{META}tasks"
RELATED = f"{META}related-task"
STATUSES = ("working", "input_required", "completed", "failed", "cancelled")
TERMINAL = STATUSES[2:]
SAMPLE: dict[str, Any] = {
    "messages": [{"role": "user", "content": {"type": "text", "text": "Say hello"}}],
    "maxTokens": 10,
}
WHEN = "2026-01-01T00:00:00Z"


class _Tasks:
    """Runs the tool `slow` as a task."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.begun = 0
        self.asked = 0
        self.is_cancelled = False
        server.capabilities = {"tools": {}, "extensions": {EXTENSION: {}}}
        server.tools = [tool("slow"), tool("quick"), tool("report", text={"type": "string"})]
        server.scripts["tools/call"] = self.call
        server.scripts["tasks/get"] = self.get
        server.scripts["tasks/cancel"] = self.cancel

    def task(self, status: str) -> dict[str, Any]:
        return {"taskId": "judge-task-1", "status": status, "createdAt": WHEN, "lastUpdatedAt": WHEN,
                "ttlMs": 60000, "pollIntervalMs": 50}  # fmt: skip

    def call(self, handle: Call) -> dict[str, Any]:
        name = handle.params.get("name")
        able = (handle.meta.get(f"{META}clientCapabilities") or {}).get("extensions") or {}
        if name != "slow" or EXTENSION not in able:
            return said(f"{name} is done")
        self.begun += 1
        return {"resultType": "task", **self.task("working")}

    def get(self, handle: Call) -> dict[str, Any]:
        self.asked += 1
        if self.is_cancelled:
            return self.task("cancelled")
        if self.asked < 3:
            return self.task("working")
        return {**self.task("completed"), "result": {"resultType": "complete", **said("slow is done")}}

    def cancel(self, handle: Call) -> dict[str, Any]:
        self.is_cancelled = True
        return {}


@scenario(
    covers=[204, 205],
    revisions=ENVELOPE,
    role="client",
    asks="declare the tasks extension; call the tool slow and wait for the end of its task, then call quick; after "
    "each call report with the text of the result as its argument text",
)
async def client_follows_a_task(trial: ClientTrial) -> None:
    """A call may be answered with a task or at once; a task is asked about by its id, over HTTP in a header too."""
    server = await trial.serve()
    tasks = _Tasks(server)
    await trial.run_client(server)
    if not tasks.begun:
        raise Skip("the client does not declare the tasks extension")
    reports = [
        (m["params"].get("arguments") or {}).get("text")
        for m in server.requests("tools/call")
        if m["params"].get("name") == "report"
    ]
    if len(reports) != 2:
        raise Skip(f"the client reports {reports}, not what it was answered")
    wanted = ["slow is done", "quick is done"]
    trial.check(205, reports == wanted, f"the results were {wanted}; the client reports {reports}")
    asked = [call for call in server.calls if call.message["method"] == "tasks/get"]
    trial.check(205, bool(asked), "the client does not ask about its task")
    for call in asked:
        same = call.params.get("taskId") == "judge-task-1"
        trial.check(204, same, f"the client asks about {call.params.get('taskId')!r}")
        if call.http is not None:
            told = call.http.get("mcp-name")
            trial.check(204, told == call.params.get("taskId"), f"tasks/get with the header Mcp-Name {told!r}")


@scenario(
    covers=[206],
    revisions=ENVELOPE,
    role="client",
    asks="declare the tasks extension; call the tool slow, and cancel its task",
)
async def client_cancels_a_task(trial: ClientTrial) -> None:
    """A task is cancelled by `tasks/cancel`, never by `notifications/cancelled`."""
    server = await trial.serve()
    tasks = _Tasks(server)
    server.scripts["tasks/get"] = lambda call: tasks.task("cancelled" if tasks.is_cancelled else "working")
    await trial.run_client(server, until=4.0)
    notes = server.requests("notifications/cancelled")
    if not tasks.begun or not (tasks.is_cancelled or notes):
        raise Skip("the client cancels no task")
    trial.check(206, not notes, f"a task was cancelled by {notes[:1]}")


async def _asked(trial: ClientTrial, play: Any) -> dict[str, Any]:
    """Run the client against a server whose tool asks it by `play`, and return what the client declared."""
    server = await trial.serve()
    played: list[str] = []

    async def call(handle: Call) -> dict[str, Any]:
        if not played:
            played.append("once")
            await play(server, handle)
        return said("done")

    server.scripts["tools/call"] = call
    await trial.run_client(server, until=12.0)
    able = [(m["params"].get("capabilities") or {}) for m in server.requests("initialize")]
    if not played or not able:
        raise Skip("the client called no tool")
    found: dict[str, Any] = able[0]
    return found


def _declared(able: dict[str, Any]) -> dict[str, Any]:
    """Return which requests a client runs as tasks."""
    tasks = able.get("tasks")
    found = tasks.get("requests") if isinstance(tasks, dict) else None
    return found if isinstance(found, dict) else {}


@scenario(covers=[186], revisions="D", role="client")
async def client_without_tasks(trial: ClientTrial) -> None:
    """A client that declares no tasks ignores `task` and answers as usual."""
    answers: list[dict[str, Any]] = []

    async def play(server: ScriptedServer, handle: Call) -> None:
        answers.append(await handle.ask("sampling/createMessage", {**SAMPLE, "task": {"ttl": 60000}}))

    able = await _asked(trial, play)
    if "createMessage" in (_declared(able).get("sampling") or {}):
        raise Skip("the client runs sampling as a task")
    if "sampling" not in able:
        raise Skip("the client declares no sampling")
    result = answers[0].get("result") or {}
    trial.check(186, "content" in result and "task" not in result, f"`task` for a client without: {answers[0]}")


@scenario(
    covers=[187, 189, 190, 191, 192, 193, 194],
    revisions="D",
    role="client",
    asks="declare tasks for sampling, with their list and their cancelling; use everything there is",
)
async def client_hosts_tasks(trial: ClientTrial) -> None:
    """A question with `task` is a task at once, whose result waits for its end, and which then stays."""
    able: dict[str, Any] = {}

    async def play(server: ScriptedServer, handle: Call) -> None:
        able.update((server.requests("initialize")[0]["params"]).get("capabilities") or {})
        if "createMessage" in (_declared(able).get("sampling") or {}):
            await _host(trial, server, handle, able["tasks"])

    await _asked(trial, play)
    if "createMessage" not in (_declared(able).get("sampling") or {}):
        raise Skip("the client runs nothing as a task")


async def _host(trial: ClientTrial, server: ScriptedServer, handle: Call, tasks: dict[str, Any]) -> None:
    async def begin(token: str) -> dict[str, Any]:
        params = {**SAMPLE, "task": {"ttl": 60000}, "_meta": {"progressToken": token}}
        return await handle.ask("sampling/createMessage", params)

    def code(answer: dict[str, Any]) -> Any:
        return (answer.get("error") or {}).get("code")

    made = await begin("of-the-task")
    task = (made.get("result") or {}).get("task") or {}
    is_made = isinstance(task.get("taskId"), str) and task.get("status") == "working"
    is_dated = "createdAt" in task and "lastUpdatedAt" in task and "ttl" in task
    if not trial.check(187, is_made and is_dated, f"a question with `task` was answered with {made}"):
        return
    name = {"taskId": task["taskId"]}
    other = (((await begin("of-another")).get("result") or {}).get("task") or {}).get("taskId")
    got = (await handle.ask("tasks/get", {**name, "_meta": {RELATED: {"taskId": other}}})).get("result") or {}
    trial.check(189, got.get("status") in STATUSES, f"tasks/get: {got}")
    same = got.get("taskId") == task["taskId"]
    trial.check(192, same, f"asked for {task['taskId']!r} by params and {other!r} by _meta, got {got}")
    if "list" in tasks:
        listed = (await handle.ask("tasks/list", {})).get("result") or {}
        ids = [each.get("taskId") for each in listed.get("tasks") or ()]
        trial.check(193, task["taskId"] in ids, f"tasks/list holds {ids}")
        bad = await handle.ask("tasks/list", {"cursor": "the judge made this up"})
        trial.check(191, code(bad) == -32602, f"tasks/list with a made-up cursor: {bad}")
    ended = await handle.ask("tasks/result", name, 8.0)
    result = ended.get("result") or {}
    trial.check(190, "content" in result or "error" in ended, f"tasks/result: {ended}")
    related = (result.get("_meta") or {}).get(RELATED)
    trial.check(190, related == name or "error" in ended, f"the result of a task is related to {related!r}")
    seen = len(server.messages)
    for _ in range(2):
        state = (await handle.ask("tasks/get", name)).get("result") or {}
        trial.check(189, state.get("status") in TERMINAL, f"after its result the task is {state}")
    unknown = await handle.ask("tasks/get", {"taskId": "judge-made-this-up"})
    trial.check(191, code(unknown) == -32602, f"tasks/get of an unknown task: {unknown}")
    if "cancel" in tasks:
        late = await handle.ask("tasks/cancel", name)
        trial.check(191, code(late) == -32602, f"tasks/cancel of a task that has ended: {late}")
        stopped = (await handle.ask("tasks/cancel", {"taskId": other})).get("result")
        if stopped is not None:  # it may have ended meanwhile, which is refused
            trial.check(189, stopped.get("status") == "cancelled", f"tasks/cancel: {stopped}")
    _progress(trial, server, seen)


def _progress(trial: ClientTrial, server: ScriptedServer, ended: int) -> None:
    told = [
        (index, m["params"])
        for index, m in enumerate(server.messages)
        if isinstance(m, dict) and m.get("method") == "notifications/progress"
    ]
    for index, params in told:
        token = params.get("progressToken")
        trial.check(194, token in ("of-the-task", "of-another"), f"progress for the token {token!r}")
        if token == "of-the-task":
            trial.check(194, index < ended, "a task that has ended still tells progress")
            related = (params.get("_meta") or {}).get(RELATED)
            trial.check(192, related is not None, "the progress of a task does not name it")
