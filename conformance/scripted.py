"""Scripted servers for clients under test: a small sound server whose every answer a scenario may replace.

It serves one client over Streamable HTTP, HTTP+SSE or WebSocket, or over standard streams through a child that relays
lines; see `relay`.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from protocol.framing.sse import encode_comment, encode_event
from protocol.framing.websocket import SocketState, WebSocket

from .dialect import META
from .requirements import Revision
from .scripted_wires import Line, SocketLine, StreamLine, agree
from .wire import Tap, Transcript
from .wire_ws import LIMITS

__all__ = ["Call", "Gate", "Head", "Script", "ScriptedServer", "read_request", "write_answer"]

SESSION = "judge-session-1"
CACHED = (
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)


Gate = Callable[["Head", bytes], "tuple[int, dict[str, str], bytes] | None"]
"""Looks at an HTTP request first: answers it with a status, headers and a body, or lets it pass."""


class Watcher(Protocol):
    """Looks at everything that a client sends; see `clientmonitor`."""

    def received(self, server: "ScriptedServer", message: Any, raw: bytes, http: "Head | None") -> None: ...
    def head(self, server: "ScriptedServer", http: "Head", message: Any) -> None: ...
    def misframed(self, server: "ScriptedServer", why: str) -> None: ...


@dataclass(slots=True)
class Head:
    """The head of an HTTP request of the client's."""

    method: str
    target: str
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """Return a header; `None` if it is absent."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    def show(self) -> str:
        """Return the headers in a line, without those that say nothing."""
        return ", ".join(f"{k}: {v}" for k, v in self.headers if k.lower() not in ("host", "user-agent", "connection"))


async def read_request(reader: asyncio.StreamReader) -> tuple[Head, bytes]:
    """Read an HTTP request with a length.

    Raises:
        ValueError: it is none.
        IncompleteReadError: it ends before its end.
    """
    block = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = block.split("\r\n")
    method, target, _ = first.split(" ", 2)
    head = Head(method, target, [(k, v.strip()) for k, colon, v in (line.partition(":") for line in rest) if colon])
    return head, await reader.readexactly(int(head.get("content-length") or 0))


def write_answer(writer: asyncio.StreamWriter, status: int, body: bytes | None, extra: dict[str, str]) -> None:
    """Write an HTTP answer and hang up; without a body, the head of a stream that goes on."""
    kind = "application/json" if body is not None else "text/event-stream"
    headers = {"Content-Type": kind, "Connection": "close"}
    if body is not None:
        headers["Content-Length"] = str(len(body))
    headers |= extra
    head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    writer.write(f"HTTP/1.1 {status} Judged\r\n{head}\r\n".encode() + (body or b""))
    if body is not None:
        writer.close()


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


@dataclass(slots=True, eq=False)
class Call:
    """A message of the client's that is to be answered, and the way to answer it."""

    server: "ScriptedServer"
    message: dict[str, Any]
    http: Head | None
    writer: asyncio.StreamWriter
    is_stream: bool = False
    is_done: bool = False
    extra: dict[str, str] = field(default_factory=dict)
    """Headers of the answer."""

    @property
    def params(self) -> dict[str, Any]:
        """The params, empty where there are none."""
        params = self.message.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def meta(self) -> dict[str, Any]:
        """The request's `_meta`."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}

    def reply(self, result: dict[str, Any]) -> None:
        """Answer with a result, sealed as the revision has it."""
        method = self.message["method"]
        if self.server.revision.is_envelope and method != "initialize":
            sealed: dict[str, Any] = {"resultType": "complete", "_meta": {f"{META}serverInfo": self.server.info}}
            if method in CACHED:
                sealed |= {"ttlMs": 0, "cacheScope": "private"}
            result = {k: v for k, v in {**sealed, **result}.items() if v is not ...}
        self.answer({"jsonrpc": "2.0", "id": self.message["id"], "result": result})

    def error(self, code: int, message: str, data: Any = None, status: int = 200) -> None:
        """Answer with an error."""
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        self.answer({"jsonrpc": "2.0", "id": self.message["id"], "error": error}, status)

    def answer(self, message: Any, status: int = 200) -> None:
        """Answer with a message as it is."""
        self.is_done = True
        if self.http is None or self.is_stream:
            self.send(message)
            if self.is_stream:
                self.end()
            return
        self.server.write_http(self.writer, status, json.dumps(message).encode(), self.extra)

    def send(self, message: Any, *, id: str | None = None, retry: int | None = None) -> None:
        """Send something before the answer, which makes it a stream over HTTP."""
        data = json.dumps(message).encode() if not isinstance(message, bytes) else message
        if self.http is None:
            self.server.write_line(data)
            return
        self.open_stream()
        self.server.transcript.add(">", "event", data)
        self.writer.write(encode_event(data, id=id, retry=retry))

    def open_stream(self) -> None:
        """Answer as a stream of events."""
        if self.http is None or self.is_stream:
            return
        self.is_stream = True
        self.server.write_http(self.writer, 200, None, self.extra)

    def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.server.transcript.add(">", "raw", data)
        self.writer.write(data)

    def comment(self, text: bytes) -> None:
        """Send a comment of the stream."""
        if self.http is not None:
            self.open_stream()
            self.writer.write(encode_comment(text))

    def end_stream(self) -> None:
        """End the answer where it is a stream of its own."""
        self.is_done = True
        if self.is_stream:
            self.end()

    def end(self) -> None:
        """End the answer."""
        self.is_done = True
        if self.http is not None:
            with contextlib.suppress(OSError):
                self.writer.close()

    async def ask(self, method: str, params: dict[str, Any], timeout: float = 4.0) -> dict[str, Any]:
        """Send the client a request and return its response; `{}` if none comes."""
        request_id = self.server.new_id()
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.server.asked[request_id] = waiting
        self.server.sent[request_id] = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        self.send(self.server.sent[request_id])
        try:
            return await asyncio.wait_for(waiting, timeout)
        except TimeoutError:
            return {}


Script = Callable[[Call], Any]
"""Answers a request: returns a result, a coroutine of one, or `None` if it has answered by itself."""


class ScriptedServer:
    """A server of one revision for one client."""

    def __init__(self, revision: Revision, transport: str, monitor: Watcher, transcript: Transcript, tap: Tap) -> None:
        self.revision = revision
        self.transport = transport
        self.monitor = monitor
        self.transcript = transcript
        self.tap = tap
        self.info = {"name": "scripted", "version": "1"}
        self.capabilities: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}}
        self.tools: list[dict[str, Any]] = [_tool("add", {"a": {"type": "number"}, "b": {"type": "number"}})]
        self.scripts: dict[str, Script] = {}
        self.messages: list[Any] = []
        """Every message of the client's, in order."""
        self.heads: list[Head] = []
        self.calls: list[Call] = []
        self.asked: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self.sent: dict[Any, dict[str, Any]] = {}
        """What the client was asked, by its id."""
        self.answers_get = 200
        self.has_sessions = True
        self.gate: Gate | None = None
        self.address = ""
        self._next = 0
        self.lines: list[Line] = []
        """What messages are written to where one wire carries them all: the newest last."""
        self.path = "/sse"
        """Where HTTP+SSE is served."""
        self.endpoint: str | None = "/messages?session=judge"
        """Where the messages of HTTP+SSE go; `None`: the event that names it does not come."""
        self.announced: str | None = None
        """What that event says, if something else."""
        self.refuses_with = 405
        """The status of a POST to where only a stream is."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.is_connected = asyncio.Event()
        self.connections = 0
        """How often one wire that carries everything was opened."""
        self._news = asyncio.Event()

    def new_id(self) -> str:
        """Return an id for a request to the client."""
        self._next += 1
        return f"judge-{self._next}"

    async def start(self) -> None:
        """Listen."""
        serve = self._serve_lines if self.transport == "stdio" else self._serve_http
        self._listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
        port = self._listening.sockets[0].getsockname()[1]
        relay = [sys.executable, str(Path(__file__).with_name("relay.py")), str(port)]
        self.address = {
            "stdio": " ".join(relay),
            "http": f"http://127.0.0.1:{port}/mcp",
            "sse": f"http://127.0.0.1:{port}/sse",
            "websocket": f"ws://127.0.0.1:{port}/ws",
        }[self.transport]

    async def close(self) -> None:
        """Stop."""
        if self._listening is not None:
            self._listening.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)

    async def until(self, is_so: Callable[[], Any], seconds: float = 4.0) -> bool:
        """Tell whether something comes true within that time; it is looked at after each message."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not is_so():
            left = deadline - asyncio.get_running_loop().time()
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(left, 0))
            except TimeoutError:
                return bool(is_so())
        return True

    def stir(self) -> None:
        """Have those who wait for something look again."""
        self._news.set()

    def reset(self, path: str) -> None:
        """Serve HTTP+SSE at a path of the same port, as an older server does."""
        self.transport = "sse"
        self.path = path

    def requests(self, method: str) -> list[dict[str, Any]]:
        """Return the client's requests and notifications of a method."""
        return [m for m in self.messages if isinstance(m, dict) and m.get("method") == method]

    # Wires.

    async def _serve_lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._opened(Line(writer))
        self._writers.append(writer)
        self.is_connected.set()
        while line := await reader.readline():
            self._hear(line.rstrip(b"\r\n"), "stdin", writer)
        self.transcript.add("<", "stdin", "(closed)")
        writer.close()

    def _opened(self, line: Line) -> None:
        self.lines.append(line)
        self.connections += 1
        self._news.set()

    def _hear(self, raw: bytes, where: str, writer: asyncio.StreamWriter) -> None:
        for passed in self.tap.incoming_line(raw):
            self.transcript.add("<", where, passed)
            if passed.strip():
                self._take(passed, None, writer)

    def write_line(self, data: bytes) -> None:
        """Write a message to the client, where one wire carries them all."""
        name = {"stdio": "stdout", "sse": "event", "websocket": "socket"}[self.transport]
        self.transcript.add(">", name, data)
        if self.lines:
            self.lines[-1].write(data)

    def write_raw(self, data: bytes, remark: str = "") -> None:
        """Write bytes as they are to that wire; the remark stands for them in the transcript."""
        self.transcript.add(">", "raw", remark or data)
        if self.lines:
            self.lines[-1].write_raw(data)

    def cut(self) -> None:
        """Hang up that wire."""
        self.transcript.add("-", "judge", "the judge hangs up")
        if self.lines:
            self.lines.pop().abort()
        for call in self.calls:
            call.is_done = True

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.is_connected.set()
        self._writers.append(writer)
        try:
            http, body = await read_request(reader)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            writer.close()
            return
        http.target = self.tap.incoming_target(http.method, http.target)
        self.tap.incoming_request(http.headers)
        if self.transport == "websocket" and http.method == "GET" and http.get("upgrade"):
            self.heads.append(http)
            await self._serve_socket(http, reader, writer)
            return
        bodies = self.tap.incoming_line(body) if body else [body]
        for passed in bodies:
            self.transcript.add("<", f"{http.method} {http.target}", f"[{http.show()}] {_text(passed)}")
            refused = self.gate(http, passed) if self.gate is not None else None
            if refused is not None:
                status, extra, answer = refused
                self.write_http(writer, status, answer, extra)
                continue
            self.heads.append(http)
            if http.method == "POST" and self.transport != "sse":
                self._take(passed, http, writer)
            elif http.method == "POST":
                self._post(passed, http, writer)
            else:
                self.monitor.head(self, http, None)
                await self._other(http, writer)

    def _post(self, body: bytes, http: Head, writer: asyncio.StreamWriter) -> None:
        """Take a POST of HTTP+SSE: its answer is bare, and the message is answered on the stream."""
        if http.target != self.endpoint:
            self.write_http(writer, self.refuses_with if http.target == self.path else 404, b"", {})
            return
        self.write_http(writer, 202, b"", {})
        self._take(body, None, writer)

    def open_stream(self, writer: asyncio.StreamWriter) -> None:
        """Answer a GET with the stream that carries everything, and name where messages go."""
        self.write_http(writer, 200, None, {})
        self._opened(StreamLine(writer))
        if self.endpoint is not None:
            told = self.announced or self.endpoint
            self.transcript.add(">", "event endpoint", told)
            writer.write(encode_event(told.encode(), event="endpoint"))

    async def _serve_socket(self, http: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transcript.add("<", "socket", f"GET {http.target} (upgrade)")
        script = self.scripts.get("GET")
        if script is not None:
            script(Call(self, {"jsonrpc": "2.0", "id": None, "method": "GET"}, http, writer))
            return
        writer.write(agree(http.get("sec-websocket-key") or "", http.get("sec-websocket-protocol") or ""))
        codec = WebSocket(is_client=False, limits=LIMITS)
        self._opened(SocketLine(writer))
        with contextlib.suppress(ConnectionError):
            while not codec.is_over and (data := await reader.read(65536)):
                for text in codec.receive_data(self.tap.incoming_bytes(data)):
                    self._hear(text, "socket", writer)
                for control in codec.data_to_send():
                    writer.write(control)
                if codec.state is SocketState.FAILED:
                    break
        ending = codec.ending
        if codec.state is SocketState.FAILED and ending is not None:
            self.monitor.misframed(self, ending.reason)
        self.transcript.add("<", "socket", f"(ended: {ending.code if ending else 'without a close'})")
        writer.close()

    async def _other(self, http: Head, writer: asyncio.StreamWriter) -> None:
        script = self.scripts.get(http.method)
        if script is not None:
            call = Call(self, {"jsonrpc": "2.0", "id": None, "method": http.method}, http, writer)
            found = script(call)
            if asyncio.iscoroutine(found):
                await found
        elif http.method == "GET" and self.transport == "sse" and http.target == self.path:
            self.open_stream(writer)
        elif (
            http.method == "GET" and not self.revision.is_envelope and self.answers_get == 200 and http.target == "/mcp"
        ):
            self.write_http(writer, 200, None, {})
        elif http.method == "DELETE" and not self.revision.is_envelope:
            self.write_http(writer, 200, b"", {})
        else:
            self.write_http(writer, 405 if http.target == "/mcp" else 404, b"", {})

    def write_http(self, writer: asyncio.StreamWriter, status: int, body: bytes | None, extra: dict[str, str]) -> None:
        """Write an HTTP answer; without a body, the head of a stream."""
        self.transcript.add(">", "http", f"{status} {extra or ''} {_text(body or b'')}")
        write_answer(writer, status, body, extra)

    # Messages.

    def _take(self, raw: bytes, http: Head | None, writer: asyncio.StreamWriter) -> None:
        try:
            message = json.loads(raw)
        except ValueError:
            message = None
        if http is not None:
            self.monitor.head(self, http, message)
        self.monitor.received(self, message, raw, http)
        self.messages.append(message)
        self._news.set()
        if isinstance(message, list):
            for each in message:
                self._settle(each)
        if not isinstance(message, dict) or "id" not in message or "method" not in message:
            self._settle(message)
            if http is not None:
                self.write_http(writer, 202 if message is not None else 400, b"", {})
            return
        call = Call(self, message, http, writer)
        self.calls.append(call)
        task = asyncio.ensure_future(self._answer(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _settle(self, message: Any) -> None:
        if isinstance(message, dict) and "method" not in message:
            waiting = self.asked.get(message.get("id"))
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def _answer(self, call: Call) -> None:
        method = call.message["method"]
        script = self.scripts.get(method) or getattr(self, f"_{method.replace('/', '_').lower()}", None)
        is_claimed = f"{META}protocolVersion" in call.meta
        if script is None or (self.revision.is_envelope != is_claimed and method not in self.scripts):
            status = 404 if is_claimed else 200
            call.error(-32601, f"Method not found: {method}", None, status)
            return
        found = script(call)
        if asyncio.iscoroutine(found):
            found = await found
        if found is not None and not call.is_done:
            call.reply(found)

    def _initialize(self, call: Call) -> dict[str, Any]:
        if self.transport == "http" and self.has_sessions and self.revision.letter != "A":
            call.extra["Mcp-Session-Id"] = SESSION
        return {"protocolVersion": self.revision.name, "capabilities": self.capabilities, "serverInfo": self.info}

    def _server_discover(self, call: Call) -> dict[str, Any]:
        return {"supportedVersions": [self.revision.name], "capabilities": self.capabilities}

    def _ping(self, call: Call) -> dict[str, Any]:
        return {}

    def _tools_list(self, call: Call) -> dict[str, Any]:
        return {"tools": self.tools}

    def _tools_call(self, call: Call) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": "done"}]}

    def _resources_list(self, call: Call) -> dict[str, Any]:
        return {"resources": [{"uri": "test://judge", "name": "judge"}]}

    def _resources_templates_list(self, call: Call) -> dict[str, Any]:
        return {"resourceTemplates": []}

    def _resources_read(self, call: Call) -> dict[str, Any]:
        return {"contents": [{"uri": call.params.get("uri"), "mimeType": "text/plain", "text": "read"}]}

    def _prompts_list(self, call: Call) -> dict[str, Any]:
        return {"prompts": [{"name": "judge"}]}

    def _prompts_get(self, call: Call) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": {"type": "text", "text": "say"}}]}

    def _logging_setlevel(self, call: Call) -> dict[str, Any]:
        return {}


def _tool(name: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": "A tool of the judge's.", "inputSchema": schema, **more}
