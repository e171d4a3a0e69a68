"""The engine in a plain `selectors` loop: an MCP server on a TCP port without asyncio, tasks or threads."""

import selectors
import socket
import time

import protocol as mcp

# One profile for all connections: it is immutable, and what was worked out for one client is known for the next.
OFFERS = mcp.ServerCapabilities(tools=mcp.ToolsCapability())
PROFILE = mcp.ServerProfile(mcp.Implementation(name="clock", version="1"), OFFERS)
TOOL = mcp.Tool(name="uptime", description="Seconds since the server began.", input_schema={"type": "object"})
BEGAN = time.monotonic()
loop = selectors.DefaultSelector()


class Connection:
    """One client: a socket, and a pipe, which is an engine with its framing."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # what cannot be done at once is done when the loop says so
        self.sock, self.pipe, self.unsent = sock, mcp.Pipe(mcp.ServerEngine(PROFILE)), b""
        loop.register(sock, selectors.EVENT_READ, self)

    def ready(self, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            # The pipe never raises for what the peer sent: whatever was wrong with it is in what there is to send.
            data = self.sock.recv(65536)
            self.pipe.receive_data(data) if data else self.pipe.receive_eof()
            for event in self.pipe.events_received():
                if isinstance(event, mcp.Request):
                    self.answer(event)
        self.unsent += b"".join(self.pipe.data_to_send())
        self.unsent = self.unsent[self.sock.send(self.unsent) :] if self.unsent else b""
        if self.pipe.close_expected() and not self.unsent:
            loop.unregister(self.sock)
            self.sock.close()
        else:
            # Whoever does not read what he asked for is not read from: his backlog stays as it is.
            loop.modify(self.sock, selectors.EVENT_WRITE if self.unsent else selectors.EVENT_READ, self)

    def answer(self, request: mcp.Request) -> None:
        if request.method == "tools/list":
            self.pipe.engine.send_result(request, mcp.ListToolsResult(tools=[TOOL]))
        else:  # tools/call: the engine refuses what the profile does not offer, so nothing else arrives
            text = f"{time.monotonic() - BEGAN:.3f}"
            self.pipe.engine.send_result(request, mcp.CallToolResult(content=[mcp.TextContent(text=text)]))


with socket.create_server(("127.0.0.1", 0)) as listener:
    loop.register(listener, selectors.EVENT_READ)
    print(f"tcp://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        for key, mask in loop.select():
            try:
                key.data.ready(mask) if key.data else Connection(listener.accept()[0])
            except OSError:  # a client that is gone: its connection goes, and no other
                if key.data:
                    loop.unregister(key.fileobj)
                    key.data.sock.close()
