"""The engine in an asyncio protocol of one's own: what a server that already speaks other things on asyncio adds."""

import asyncio

import protocol as mcp

OFFERS = mcp.ServerCapabilities(tools=mcp.ToolsCapability())
PROFILE = mcp.ServerProfile(mcp.Implementation(name="notes", version="1"), OFFERS)
TOOL = mcp.Tool(name="remember", description="Count what was said.", input_schema={"type": "object"})


class MCP(asyncio.Protocol):
    """One connection. The callbacks of the transport drive the pipe: no task, no queue, no await."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls  # whatever the rest of the program holds
        self.pipe = mcp.Pipe(mcp.ServerEngine(PROFILE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        self.pipe.receive_data(data)
        self.turn()

    def eof_received(self) -> bool:
        self.pipe.receive_eof()  # what was asked before is still answered; `turn` closes
        self.turn()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipe.receive_eof()

    def pause_writing(self) -> None:
        self.transport.pause_reading()  # a peer that takes no answers is not asked for more questions

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def turn(self) -> None:
        """After each feed: take what happened, answer it, and write all of it at once."""
        for event in self.pipe.events_received():
            if isinstance(event, mcp.Request) and event.method == "tools/list":
                self.pipe.engine.send_result(event, mcp.ListToolsResult(tools=[TOOL]))
            elif isinstance(event, mcp.Request):
                self.calls.append(event.params.name)
                text = mcp.TextContent(text=f"{len(self.calls)} calls")
                self.pipe.engine.send_result(event, mcp.CallToolResult(content=[text]))
        self.transport.write(b"".join(self.pipe.data_to_send()))
        if self.pipe.close_expected():
            self.transport.close()


async def main(calls: list[str]) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: MCP(calls), "127.0.0.1", 0)
    print(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main([]))
