"""The engine under a thread pool: blocking sockets and blocking tools, for programs in which nothing is async."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor, wait

from msgspec import ValidationError, json

import protocol as mcp

OFFERS = mcp.ServerCapabilities(tools=mcp.ToolsCapability())
PROFILE = mcp.ServerProfile(mcp.Implementation(name="primes", version="1"), OFFERS)
TOOL = mcp.Tool(name="count_primes", input_schema={"type": "object", "properties": {"below": {"type": "integer"}}})
tools = ThreadPoolExecutor(max_workers=4, thread_name_prefix="tool")  # bounds how much works at once, for all clients


class Connection:
    """One client. An engine is not thread-safe, and need not be: it is held for microseconds, and never over I/O."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.pipe = sock, mcp.Pipe(mcp.ServerEngine(PROFILE))
        self.engine, self.sending = threading.Lock(), threading.Lock()

    def flush(self) -> None:
        with self.sending:  # a client that does not read stops those who write to it, and nobody who reads
            with self.engine:
                data = b"".join(self.pipe.data_to_send())
            self.sock.sendall(data)

    def call(self, request: mcp.Request) -> None:
        try:
            below = json.decode(request.params.arguments, type=dict[str, int])["below"]
            primes = [n for n in range(2, below) if all(n % d for d in range(2, int(n**0.5) + 1))]
            result = mcp.CallToolResult(content=[mcp.TextContent(text=str(len(primes)))])
        except (ValidationError, KeyError) as error:
            result = mcp.CallToolResult(content=[mcp.TextContent(text=str(error))], is_error=True)
        with self.engine:
            self.pipe.engine.send_result(request, result)  # sends nothing if it was cancelled meanwhile
        self.flush()

    def run(self) -> None:
        with self.sock:
            calls = set()
            while data := self.sock.recv(65536):
                with self.engine:
                    self.pipe.receive_data(data)
                    for event in self.pipe.events_received():
                        if isinstance(event, mcp.Request) and event.method == "tools/list":
                            self.pipe.engine.send_result(event, mcp.ListToolsResult(tools=[TOOL]))
                        elif isinstance(event, mcp.Request):
                            calls.add(tools.submit(self.call, event))
                self.flush()
                calls = {call for call in calls if not call.done()}  # only what still works
            wait(calls)  # what was asked before the end is still answered


with socket.create_server(("127.0.0.1", 0)) as listener:
    print(f"tcp://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        threading.Thread(target=Connection(listener.accept()[0]).run, daemon=True).start()
