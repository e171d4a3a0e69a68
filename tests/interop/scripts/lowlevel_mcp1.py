"""A server written with `mcp` 1.x's low-level `Server`: pages, subscriptions, log levels, changed roots."""

import logging
import sys
from typing import Any

import anyio
from mcp import stdio_server, types
from mcp.server.lowlevel import NotificationOptions, Server
from pydantic import AnyUrl

logging.disable(logging.ERROR)
server: Server[Any, Any] = Server("low-level", "9.8.7")
levels: list[str] = []
watched: set[str] = set()
roots_changed = anyio.Event()

PAGES: dict[str | None, tuple[list[str], str | None]] = {
    None: (["touch", "grow"], "2"),
    "2": (["levels", "watched"], "last"),
    "last": (["roots_changed", "speak"], None),
}


@server.list_tools()
async def list_tools(request: types.ListToolsRequest) -> types.ListToolsResult:
    # Before the first call of a tool the package asks by itself, with None whatever the annotation says.
    params = getattr(request, "params", None)
    names, following = PAGES[None if params is None else params.cursor]
    tools = [types.Tool(name=name, inputSchema={"type": "object"}) for name in names]
    return types.ListToolsResult(tools=tools, nextCursor=following)


@server.call_tool()
async def call_tool(name: str, arguments: dict[str, Any]) -> list[types.TextContent]:
    session = server.request_context.session
    text = "done"
    match name:
        case "touch":
            await session.send_resource_updated(AnyUrl("watched://a"))
        case "grow":
            await session.send_tool_list_changed()
            await session.send_prompt_list_changed()
            await session.send_resource_list_changed()
        case "levels":
            text = " ".join(levels)
            levels.clear()
        case "watched":
            text = " ".join(sorted(watched))
        case "roots_changed":
            await roots_changed.wait()
        case "speak":
            for level in ("debug", "warning"):
                await session.send_log_message(level, f"at {level}", "lowlevel")
        case _:
            raise ValueError(name)
    return [types.TextContent(type="text", text=text)]


@server.list_resources()
async def list_resources() -> list[types.Resource]:
    return [types.Resource(uri=AnyUrl("watched://a"), name="a")]


@server.list_prompts()
async def list_prompts() -> list[types.Prompt]:
    return []


@server.subscribe_resource()
async def subscribe(uri: AnyUrl) -> None:
    watched.add(str(uri))


@server.unsubscribe_resource()
async def unsubscribe(uri: AnyUrl) -> None:
    watched.discard(str(uri))


@server.set_logging_level()
async def set_level(level: types.LoggingLevel) -> None:
    levels.append(level)


async def on_roots_changed(notification: types.RootsListChangedNotification) -> None:
    roots_changed.set()


server.notification_handlers[types.RootsListChangedNotification] = on_roots_changed


options = server.create_initialization_options(
    NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
)
# The decorator above is not reflected in what this version declares.
options.capabilities.resources = types.ResourcesCapability(subscribe=True, listChanged=True)


async def main() -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, options)


if sys.argv[1:] == ["web"]:
    from web_serving import serve, serve_low_level

    server.create_initialization_options = lambda: options  # what the manager of sessions asks for
    serve(serve_low_level(server, options))
elif sys.argv[1:] == ["ws"]:
    from web_serving import serve, serve_socket

    serve(serve_socket(server, options))
else:
    anyio.run(main)
