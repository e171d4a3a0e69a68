"""Uses a server of ours through the `mcp` 2.x client.

`client_mcp2.py MODE WHERE`; WHERE is JSON: `{"command": ..., "args": ..., "env": ...}`, `{"http": URL}` or `{"sse":
URL}`.
"""

import json
import sys
from typing import Any

import anyio
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.sse import sse_client
from reporting import Heard, Report


class Answers:
    """Answers what the server asks, and remembers the questions."""

    def __init__(self) -> None:
        self.questions: list[Any] = []

    async def sample(self, context: Any, params: Any) -> Any:
        self.questions.append(["sampling", params.model_dump(mode="json", by_alias=True, exclude_none=True)])
        text = types.TextContent(type="text", text="42")
        return types.CreateMessageResult(role="assistant", content=text, model="deep-thought", stop_reason="endTurn")

    async def elicit(self, context: Any, params: Any) -> Any:
        self.questions.append(["elicitation", params.model_dump(mode="json", by_alias=True, exclude_none=True)])
        if params.message.startswith("Really"):
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"name": "Ada", "age": 36})

    async def roots(self, context: Any) -> Any:
        self.questions.append(["roots", None])
        return types.ListRootsResult(roots=[types.Root(uri="file:///tmp/project", name="project")])


async def pages(list_page: Any, member: str) -> dict[str, Any]:
    """List everything, one page after the other."""
    items: list[Any] = []
    cursor, count = None, 0
    while True:
        page = await list_page(cursor=cursor)
        count += 1
        items += getattr(page, member)
        cursor = page.next_cursor
        if cursor is None:
            return {
                "pages": count,
                "items": [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in items],
            }


async def counted(client: Client) -> dict[str, Any]:
    seen: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append([done, total, message])

    result = await client.call_tool("count", {"to": 3}, progress_callback=progress)
    return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True), "progress": seen}


async def cancelled(client: Client) -> Any:
    """Start a call that never ends, withdraw it once it runs, and ask the server what it saw."""
    running = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        running.set()

    async def hang() -> None:
        await client.call_tool("hang", progress_callback=progress)

    async with anyio.create_task_group() as group:
        group.start_soon(hang)
        await running.wait()
        group.cancel_scope.cancel()
    return await client.call_tool("withdrawals")


async def listened(client: Client) -> Any:
    """Hear of changes over `subscriptions/listen`."""
    events: list[str] = []
    async with client.listen(
        tools_list_changed=True,
        prompts_list_changed=True,
        resources_list_changed=True,
        resource_subscriptions=["watched://counter"],
    ) as subscription:
        honored = subscription.honored.model_dump(mode="json", by_alias=True, exclude_none=True)
        await client.call_tool("touch")
        await client.call_tool("grow")
        async for event in subscription:
            events.append(repr(event))
            if len(events) == 4:
                break
    return {"honored": honored, "events": sorted(events)}


async def subscribed(client: Client, heard: Heard) -> Any:
    """Hear of changes as handshake clients do."""
    await client.subscribe_resource("watched://counter")
    await client.call_tool("touch")
    methods = {
        "notifications/resources/updated",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    }
    await client.call_tool("grow")
    await heard.until(lambda items: methods <= {item.get("method") for item in items})
    await client.unsubscribe_resource("watched://counter")
    updates = [item for item in heard.items if item["method"] == "notifications/resources/updated"]
    await client.call_tool("touch")
    await client.send_ping()  # whatever the touch brought would have come before this answer
    after = [item for item in heard.items if item["method"] == "notifications/resources/updated"]
    return {"updates": updates, "after_unsubscribing": len(after) - len(updates)}


async def use(client: Client, report: Report, heard: Heard, logs: Heard) -> None:
    step = report.step
    is_modern = client.protocol_version == "2026-07-28"
    report.note("revision", client.protocol_version)
    report.note("server_info", client.server_info)
    report.note("capabilities", client.server_capabilities)
    report.note("instructions", client.instructions)

    await step("tools", pages(client.list_tools, "tools"))
    await step("add", client.call_tool("add", {"a": 1, "b": 2}))
    await step("forecast", client.call_tool("forecast", {"city": "Kailash"}))
    await step("numbers", client.call_tool("numbers", {"upto": 3}))
    await step("media", client.call_tool("media"))
    await step("said", client.call_tool("fail", {"how": "said"}))
    await step("crashed", client.call_tool("fail", {"how": "crashed"}))
    await step("unknown_tool", client.call_tool("no-such-tool"))
    await step("bad_arguments", client.call_tool("add", {"a": "one"}))
    await step("whoami", client.call_tool("whoami"))
    await step("count", counted(client))

    await step("ask_user", client.call_tool("ask_user"))
    await step("ask_model", client.call_tool("ask_model"))
    await step("ask_roots", client.call_tool("ask_roots"))
    await step("ask_all", client.call_tool("ask_all"))

    await step("resources", pages(client.list_resources, "resources"))
    await step("templates", pages(client.list_resource_templates, "resource_templates"))
    await step("read_text", client.read_resource("text://hello"))
    await step("read_blob", client.read_resource("blob://pixel"))
    await step("read_template", client.read_resource("sum://40/2"))
    await step("missing_resource", client.read_resource("text://missing"))

    await step("prompts", pages(client.list_prompts, "prompts"))
    await step("summarize", client.get_prompt("summarize", {"text": "all"}))
    await step("review", client.get_prompt("review", {"code": "pass"}))
    await step("unknown_prompt", client.get_prompt("no-such-prompt"))
    await step("prompt_without_argument", client.get_prompt("summarize"))

    prompt = types.PromptReference(type="ref/prompt", name="review")
    template = types.ResourceTemplateReference(type="ref/resource", uri="greet://{name}")
    await step("complete_prompt", client.complete(prompt, {"name": "language", "value": "p"}))
    await step("complete_in_context", client.complete(prompt, {"name": "language", "value": "p"}, {"code": "pass"}))
    await step("complete_template", client.complete(template, {"name": "name", "value": "x"}))

    if not is_modern:
        await step("set_level", client.set_logging_level("warning"))
    await step("speak", client.call_tool("speak"))
    await step("logs", logs.until(lambda items: len(items) >= 2))
    await step("ping", client.send_ping())
    if not is_modern:
        await step("roots_changed", client.send_roots_list_changed())
    await step("cancel", cancelled(client))
    await step("changes", listened(client) if is_modern else subscribed(client, heard))
    await step("tools_after", pages(client.list_tools, "tools"))


def server(where: dict[str, Any]) -> Any:
    """Return what names the server to the client."""
    if "http" in where:
        return where["http"]
    if "sse" in where:
        return sse_client(where["sse"])
    return StdioServerParameters(**where)


async def main() -> None:
    mode, where = sys.argv[1], json.loads(sys.argv[2])
    report, heard, logs, answers = Report(), Heard(), Heard(), Answers()

    async def log(params: Any) -> None:
        logs.add(params)

    async def message(item: Any) -> None:
        heard.add(item)

    try:
        async with Client(
            server(where),
            mode=mode,
            sampling_callback=answers.sample,
            elicitation_callback=answers.elicit,
            list_roots_callback=answers.roots,
            logging_callback=log,
            log_level="warning" if mode != "legacy" else None,
            message_handler=message,
            client_info=types.Implementation(name="mcp-2", version="2.3.0"),
        ) as client:
            await use(client, report, heard, logs)
    except MCPError as error:
        report.note("failed", repr(error))
    report.note("questions", answers.questions)
    report.note("heard", heard.items)
    report.print()


anyio.run(main)
