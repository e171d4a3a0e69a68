"""A server written with `mcp` 2.x's low-level `Server`: pages, subscriptions, log levels, changed roots."""

import logging
import sys
from typing import Any

import anyio
from mcp import stdio_server, types
from mcp.server import NotificationOptions, Server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)

logging.disable(logging.ERROR)
bus = InMemorySubscriptionBus()
levels: list[str] = []
watched: set[str] = set()
roots_changed = anyio.Event()

# An empty cursor is a cursor like any other.
PAGES: dict[str | None, tuple[list[str], str | None]] = {
    None: (["touch", "grow"], ""),
    "": (["levels", "watched"], "last"),
    "last": (["roots_changed", "speak"], None),
}


def tool(name: str) -> types.Tool:
    return types.Tool(name=name, input_schema={"type": "object"})


def said(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def list_tools(ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    names, following = PAGES[None if params is None else params.cursor]
    return types.ListToolsResult(tools=[tool(name) for name in names], next_cursor=following)


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    session = ctx.session
    is_modern = ctx.protocol_version == "2026-07-28"
    match params.name:
        case "touch":
            await bus.publish(ResourceUpdated("watched://a"))
            if not is_modern:
                await session.send_resource_updated("watched://a")
        case "grow":
            for event in (ToolsListChanged(), PromptsListChanged(), ResourcesListChanged()):
                await bus.publish(event)
            if not is_modern:
                await session.send_tool_list_changed()
                await session.send_prompt_list_changed()
                await session.send_resource_list_changed()
        case "levels":
            text = " ".join(levels)
            levels.clear()
            return said(text)
        case "watched":
            return said(" ".join(sorted(watched)))
        case "roots_changed":
            await roots_changed.wait()
        case "speak":
            for level in ("debug", "warning"):
                await session.send_log_message(level, f"at {level}", "lowlevel")
        case _:
            raise ValueError(params.name)
    return said("done")


async def list_resources(ctx: Any, params: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[types.Resource(uri="watched://a", name="a")])


async def read_resource(ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text="a")])


async def list_prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=[])


async def subscribe(ctx: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
    watched.add(params.uri)
    return types.EmptyResult()


async def unsubscribe(ctx: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    watched.discard(params.uri)
    return types.EmptyResult()


async def set_level(ctx: Any, params: types.SetLevelRequestParams) -> types.EmptyResult:
    levels.append(params.level)
    return types.EmptyResult()


async def on_roots_changed(ctx: Any, params: Any) -> None:
    roots_changed.set()


server = Server(
    "low-level",
    version="9.8.7",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_read_resource=read_resource,
    on_list_prompts=list_prompts,
    on_subscribe_resource=subscribe,
    on_unsubscribe_resource=unsubscribe,
    on_subscriptions_listen=ListenHandler(bus),
    on_set_logging_level=set_level,
    on_roots_list_changed=on_roots_changed,
)


options = server.create_initialization_options(
    NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
)


async def main() -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, options)


if sys.argv[1:] == ["web"]:
    from web_serving import serve, serve_low_level

    server.create_initialization_options = lambda: options  # what the manager of sessions asks for
    serve(serve_low_level(server, options))
else:
    anyio.run(main)
