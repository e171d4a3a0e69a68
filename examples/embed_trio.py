"""The engine in trio: one nursery per connection, in which each call of a tool is a task that its client can cancel."""

import trio

import protocol as mcp

OFFERS = mcp.ServerCapabilities(tools=mcp.ToolsCapability())
PROFILE = mcp.ServerProfile(mcp.Implementation(name="waiter", version="1"), OFFERS)
TOOL = mcp.Tool(name="tick", description="Wait for ten ticks.", input_schema={"type": "object"})


async def talk(stream: trio.SocketStream, nursery: trio.Nursery) -> None:
    pipe = mcp.Pipe(engine := mcp.ServerEngine(PROFILE))
    running: dict[mcp.Request, trio.CancelScope] = {}
    writing = trio.Lock()

    async def flush() -> None:
        async with writing:  # trio's streams take one writer at a time
            with trio.CancelScope(shield=True):  # half a message is none
                await stream.send_all(b"".join(pipe.data_to_send()))

    async def tick(request: mcp.Request) -> None:
        with running[request]:
            for tick in range(10):
                engine.send_progress(request, tick, 10)  # nothing leaves if the client gave no token
                await flush()
                await trio.sleep(0.01)
            engine.send_result(request, mcp.CallToolResult(content=[mcp.TextContent(text="ten ticks")]))
            await flush()
        del running[request]

    async for data in stream:
        pipe.receive_data(data)
        for event in pipe.events_received():
            if isinstance(event, mcp.Request) and event.method == "tools/list":
                engine.send_result(event, mcp.ListToolsResult(tools=[TOOL]))
            elif isinstance(event, mcp.Request):
                running[event] = trio.CancelScope()
                nursery.start_soon(tick, event)
            elif isinstance(event, mcp.Cancelled) and event.request in running:
                running[event.request].cancel()  # the engine sends no answer to it from now on
        await flush()
    nursery.cancel_scope.cancel()  # nobody is left to hear what still runs


async def serve(stream: trio.SocketStream) -> None:
    try:
        async with trio.open_nursery() as nursery:
            await talk(stream, nursery)
    except* trio.BrokenResourceError:
        pass  # the client is gone, and its tasks with it


async def main() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}", flush=True)
    await trio.serve_listeners(serve, [listener])


trio.run(main)
