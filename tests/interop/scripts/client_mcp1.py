"""Uses a server of ours through the `mcp` 1.x client.

`client_mcp1.py REVISION WHERE`; the revision `own` is the client's own choice. WHERE is JSON: `{"command": ..., "args":
..., "env": ...}`, `{"http": URL}` or `{"sse": URL}`.
"""

import json
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl, FileUrl
from reporting import Heard, Report, describe, plain


class Answers:
    """Answers what the server asks, and remembers the questions."""

    def __init__(self) -> None:
        self.questions: list[Any] = []

    async def sample(self, context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        self.questions.append(["sampling", plain(params)])
        text = types.TextContent(type="text", text="42")
        return types.CreateMessageResult(role="assistant", content=text, model="deep-thought", stopReason="endTurn")

    async def elicit(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.questions.append(["elicitation", plain(params)])
        if params.message.startswith("Really"):
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"name": "Ada", "age": 36})

    async def roots(self, context: Any) -> types.ListRootsResult:
        self.questions.append(["roots", None])
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///tmp/project"), name="project")])


async def pages(list_page: Any, member: str) -> dict[str, Any]:
    """List everything, one page after the other."""
    items: list[Any] = []
    params, count = None, 0
    while True:
        page = await list_page(params=params)
        count += 1
        items += plain(getattr(page, member))
        if page.nextCursor is None:
            return {"pages": count, "items": items}
        params = types.PaginatedRequestParams(cursor=page.nextCursor)


async def counted(session: ClientSession) -> dict[str, Any]:
    seen: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append([done, total, message])

    result = await session.call_tool("count", {"to": 3}, progress_callback=progress)
    return {"result": plain(result), "progress": seen}


async def cancelled(session: ClientSession) -> Any:
    """Start a call that never ends, withdraw it once it runs, and ask the server what it saw."""
    running = anyio.Event()
    ids: list[int] = []
    ended: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        ids.append(int(done))
        running.set()

    async def hang() -> None:
        try:
            await session.call_tool("hang", progress_callback=progress)
        except Exception as error:
            ended.append(describe(error))

    async with anyio.create_task_group() as group:
        group.start_soon(hang)
        await running.wait()
        # This client does not tell the server by itself when a caller goes away.
        params = types.CancelledNotificationParams(requestId=ids[0], reason="caller cancelled")
        await session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
        result = await session.call_tool("withdrawals")
        group.cancel_scope.cancel()
    return {"withdrawals": plain(result), "ended": ended}


async def subscribed(session: ClientSession, heard: Heard) -> Any:
    """Hear of changes."""
    await session.subscribe_resource(AnyUrl("watched://counter"))
    await session.call_tool("touch")
    methods = {
        "notifications/resources/updated",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    }
    await session.call_tool("grow")
    await heard.until(lambda items: methods <= {item.get("method") for item in items})
    await session.unsubscribe_resource(AnyUrl("watched://counter"))
    updates = [item for item in heard.items if item["method"] == "notifications/resources/updated"]
    await session.call_tool("touch")
    await session.send_ping()  # whatever the touch brought would have come before this answer
    after = [item for item in heard.items if item["method"] == "notifications/resources/updated"]
    return {"updates": updates, "after_unsubscribing": len(after) - len(updates)}


async def initialize(session: ClientSession, revision: str) -> types.InitializeResult:
    """Ask for a revision the client would not ask for by itself."""
    params = types.InitializeRequestParams(
        protocolVersion=revision,
        capabilities=types.ClientCapabilities(
            sampling=types.SamplingCapability(),
            roots=types.RootsCapability(listChanged=True),
            # Also where the revision knows no elicitation: a server must not use it there all the same.
            elicitation=types.ElicitationCapability(),
        ),
        clientInfo=types.Implementation(name="mcp-1", version="1.30.0"),
    )
    request = types.ClientRequest(types.InitializeRequest(params=params))
    result = await session.send_request(request, types.InitializeResult)
    await session.send_notification(types.ClientNotification(types.InitializedNotification()))
    return result


async def use(session: ClientSession, revision: str, report: Report, heard: Heard, logs: Heard) -> None:
    step = report.step
    first = session.initialize() if revision == "own" else initialize(session, revision)
    initialized = await step("initialize", first)
    report.note("revision", initialized.protocolVersion)
    report.note("server_info", initialized.serverInfo)
    report.note("capabilities", initialized.capabilities)
    report.note("instructions", initialized.instructions)

    await step("tools", pages(session.list_tools, "tools"))
    await step("add", session.call_tool("add", {"a": 1, "b": 2}))
    await step("forecast", session.call_tool("forecast", {"city": "Kailash"}))
    await step("numbers", session.call_tool("numbers", {"upto": 3}))
    await step("media", session.call_tool("media"))
    await step("said", session.call_tool("fail", {"how": "said"}))
    await step("crashed", session.call_tool("fail", {"how": "crashed"}))
    await step("unknown_tool", session.call_tool("no-such-tool"))
    await step("bad_arguments", session.call_tool("add", {"a": "one"}))
    await step("whoami", session.call_tool("whoami"))
    await step("count", counted(session))

    await step("ask_user", session.call_tool("ask_user"))
    await step("ask_model", session.call_tool("ask_model"))
    await step("ask_roots", session.call_tool("ask_roots"))
    await step("ask_all", session.call_tool("ask_all"))

    await step("resources", pages(session.list_resources, "resources"))
    await step("templates", pages(session.list_resource_templates, "resourceTemplates"))
    await step("read_text", session.read_resource(AnyUrl("text://hello")))
    await step("read_blob", session.read_resource(AnyUrl("blob://pixel")))
    await step("read_template", session.read_resource(AnyUrl("sum://40/2")))
    await step("missing_resource", session.read_resource(AnyUrl("text://missing")))

    await step("prompts", pages(session.list_prompts, "prompts"))
    await step("summarize", session.get_prompt("summarize", {"text": "all"}))
    await step("review", session.get_prompt("review", {"code": "pass"}))
    await step("unknown_prompt", session.get_prompt("no-such-prompt"))
    await step("prompt_without_argument", session.get_prompt("summarize"))

    prompt = types.PromptReference(type="ref/prompt", name="review")
    template = types.ResourceTemplateReference(type="ref/resource", uri="greet://{name}")
    await step("complete_prompt", session.complete(prompt, {"name": "language", "value": "p"}))
    await step("complete_in_context", session.complete(prompt, {"name": "language", "value": "p"}, {"code": "pass"}))
    await step("complete_template", session.complete(template, {"name": "name", "value": "x"}))

    await step("set_level", session.set_logging_level("warning"))
    await step("speak", session.call_tool("speak"))
    await step("logs", logs.until(lambda items: len(items) >= 2))
    await step("ping", session.send_ping())
    await step("roots_changed", session.send_roots_list_changed())
    await step("cancel", cancelled(session))
    await step("changes", subscribed(session, heard))
    await step("tools_after", pages(session.list_tools, "tools"))


def streams(where: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
    """Return what connects to the server."""
    if "http" in where:
        return streamable_http_client(where["http"])
    if "websocket" in where:
        from mcp.client.websocket import websocket_client  # which needs its extra

        return websocket_client(where["websocket"])
    if "sse" in where:
        return sse_client(where["sse"])
    return stdio_client(StdioServerParameters(**where))


async def main() -> None:
    report, heard, logs, answers = Report(), Heard(), Heard(), Answers()

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        logs.add(params)

    async def message(item: Any) -> None:
        if isinstance(item, types.ServerNotification):
            heard.add(item.root)

    async with (
        streams(json.loads(sys.argv[2])) as (read, write, *_),
        ClientSession(
            read,
            write,
            sampling_callback=answers.sample,
            elicitation_callback=answers.elicit,
            list_roots_callback=answers.roots,
            logging_callback=log,
            message_handler=message,
            client_info=types.Implementation(name="mcp-1", version="1.30.0"),
        ) as session,
    ):
        await use(session, sys.argv[1], report, heard, logs)
    report.note("questions", answers.questions)
    report.note("heard", heard.items)
    report.print()


anyio.run(main)
