"""Conversations over pipes, WebSocket, Streamable HTTP and HTTP+SSE."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from .dialect import ABSENT, NAMED, Conversation, NoAnswer, Pending, key_of
from .wire import Answer, Broken, HttpRequest, HttpWire, PipeWire, Transcript
from .wire_ws import WebSocketWire

__all__ = ["HttpConversation", "PipeConversation", "SseConversation", "WebSocketConversation", "encode"]


def encode(message: Any) -> bytes:
    """Return a message as it is sent."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


class Duplex(Protocol):
    """A wire that carries whole messages in both directions."""

    transcript: Transcript

    async def receive(self) -> bytes | None: ...
    def send(self, message: bytes) -> None: ...
    def put(self, message: bytes) -> None: ...
    async def drain(self) -> None: ...
    async def close(self) -> None: ...


class _DuplexConversation(Conversation):
    """A conversation over one wire that carries everything."""

    wire: Duplex

    async def _pump(self) -> None:
        while (line := await self.wire.receive()) is not None:
            self.take(line, "pipe")
        self._ended()

    def _ended(self) -> None:
        self.is_closed = True
        self._news.set()
        for pending in list(self.pending.values()):
            if not pending.reply.done():
                pending.fail(NoAnswer(f"the target ended instead of answering {pending.method}"))

    def start(self, method: str, params: Any = None, **options: Any) -> Pending:
        """Send a request."""
        message = self.message(method, params, options)
        pending = Pending(message["id"], method, "pipe", message.get("params") or {}, self)
        if self.is_closed:
            raise NoAnswer(f"the target has ended; {method} cannot be sent")
        key = key_of(message["id"])
        if key:
            self.pending[key] = pending
        self.monitor.began(self, message, "pipe")
        raw = options.get("raw")
        if raw != b"":  # the scenario writes it itself
            self.wire.send(encode(message) if raw is None else raw)
        return pending

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as one message, whatever they are."""
        self.wire.put(data)
        await self.wire.drain()

    async def notify(self, method: str, params: Any = None, **options: Any) -> None:
        """Send a notification."""
        message = {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})
        self.wire.send(encode(message))
        await self.wire.drain()

    async def respond(self, message: dict[str, Any]) -> None:
        """Send a response."""
        self.wire.send(encode(message))
        await self.wire.drain()

    async def cancel(self, pending: Pending) -> None:
        """Cancel a request."""
        self.pending.pop(key_of(pending.id) or (str, ""), None)
        await self.notify("notifications/cancelled", {"requestId": pending.id, "reason": "the judge cancels"})

    async def close(self) -> None:
        """End the child, or the connection."""
        await self.wire.close()
        await self._stop()


class PipeConversation(_DuplexConversation):
    """A conversation over a child's pipes."""

    transport = "stdio"

    def __init__(self, wire: PipeWire, *args: Any) -> None:
        super().__init__(*args)
        self.wire: PipeWire = wire
        self._spawn(self._pump())


class WebSocketConversation(_DuplexConversation):
    """A conversation over a WebSocket."""

    transport = "websocket"

    def __init__(self, wire: WebSocketWire, *args: Any) -> None:
        super().__init__(*args)
        self.wire: WebSocketWire = wire
        self._spawn(self._pump())

    def _ended(self) -> None:
        if self.wire.fault is not None:
            self.monitor.misframed(self, self.wire.fault)
        super()._ended()

    def abandon(self, pending: Pending) -> None:
        """Hang up while a request is under way."""
        self.wire.abort()


class HttpConversation(Conversation):
    """A conversation over Streamable HTTP."""

    transport = "http"

    def __init__(self, wire: HttpWire, *args: Any) -> None:
        super().__init__(*args)
        self.wire = wire
        self.session_id: str | None = None
        self.is_open = False
        self._posts = 0

    def headers(self, message: Any, options: Mapping[str, Any]) -> list[tuple[str, str | bytes]]:
        """Return the headers of a POST; `headers` in the options adds, replaces, or with `ABSENT` leaves out."""
        found: dict[str, Any] = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if self.wire.token is not None:
            found["Authorization"] = f"Bearer {self.wire.token}"
        method = message.get("method") if isinstance(message, dict) else None
        if self.revision.is_envelope:
            found["MCP-Protocol-Version"] = self.revision.name
            if method:
                found["Mcp-Method"] = method
                name = (message.get("params") or {}).get(NAMED.get(method, ""))
                if isinstance(name, str):
                    found["Mcp-Name"] = name
        elif self.is_open:
            if self.session_id is not None:
                found["Mcp-Session-Id"] = self.session_id
            if self.revision.version_header:
                found["MCP-Protocol-Version"] = self.revision.name
        for name, value in (options.get("headers") or {}).items():
            for known in [key for key in found if key.lower() == name.lower()]:
                del found[known]
            found[name] = value
        pairs: list[tuple[str, str | bytes]] = []
        for name, value in found.items():
            if value is not ABSENT:
                pairs += [(name, each) for each in (value if isinstance(value, list) else [value])]
        return pairs

    async def post(self, body: bytes, message: Any = None, **options: Any) -> Answer:
        """POST bytes as they are and return the answer's head."""
        request = HttpRequest(
            options.get("http_method", "POST"), self.wire.target, self.headers(message, options), body
        )
        answer = await asyncio.wait_for(self.wire.send(request, self.transcript, cut=options.get("cut")), self.timeout)
        self.monitor.head(self, answer, message)
        return answer

    async def exchange(self, body: bytes, message: Any = None, **options: Any) -> Answer:
        """POST bytes and read the whole answer."""
        answer = await self.post(body, message, **options)
        try:
            await asyncio.wait_for(self._read_all(answer), self.timeout)
        except TimeoutError as error:
            raise NoAnswer(f"the answer to a POST did not end within {self.timeout:g} s") from error
        return answer

    async def _read_all(self, answer: Answer) -> None:
        async for _ in answer.messages():
            pass

    async def get(self, http_method: str = "GET", **options: Any) -> Answer:
        """Send a GET, or another request without a body, and return the answer's head."""
        headers = {"Accept": "text/event-stream", "Content-Type": ABSENT, **(options.pop("headers", None) or {})}
        return await self.post(b"", None, http_method=http_method, headers=headers, **options)

    async def open_get(self, **options: Any) -> Answer:
        """Open the standalone stream; its messages reach the inbox."""
        answer = await self.get(**options)
        if answer.status == 200 and answer.is_stream:
            self._spawn(self._pump(answer, "get", None))
        return answer

    async def _pump(self, answer: Answer, where: str, pending: Pending | None) -> None:
        try:
            async for raw in answer.messages():
                # An error page may be of any kind; only what claims to be a message is one.
                if answer.is_stream or answer.status < 400 or answer.media_type == "application/json":
                    self.take(raw, where, pending)
        except Broken as error:
            self.transcript.add("-", where, str(error))

    def start(self, method: str, params: Any = None, **options: Any) -> Pending:
        """Send a request in a POST of its own."""
        message = self.message(method, params, options)
        self._posts += 1
        pending = Pending(message["id"], method, f"post:{self._posts}", message.get("params") or {}, self)
        key = key_of(message["id"])
        if key:
            self.pending[key] = pending
        self.monitor.began(self, message, pending.where)
        task = asyncio.ensure_future(self._run(pending, message, options))
        pending.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return pending

    async def _run(self, pending: Pending, message: dict[str, Any], options: Mapping[str, Any]) -> None:
        try:
            answer = await self.post(options.get("raw") or encode(message), message, **options)
            pending.answer = answer
            if message.get("method") == "initialize" and answer.status == 200:
                self.session_id = answer.header("mcp-session-id")
                self.is_open = True
            self._news.set()
            await self._pump(answer, pending.where, pending)
            if not pending.reply.done() and (answer.status >= 400 or not answer.is_stream):
                self._settle(pending, None)
            elif not pending.reply.done() and not answer.event_ids:
                pending.fail(NoAnswer(f"the answer to {pending.method} ended without a response"))
        except (Broken, NoAnswer) as error:
            pending.fail(NoAnswer(str(error)))

    async def notify(self, method: str, params: Any = None, **options: Any) -> int:
        """Send a notification and return the status."""
        message = {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})
        return (await self.exchange(encode(message), message, **options)).status

    async def send_raw(self, data: bytes) -> None:
        """POST bytes, whatever they are, and take what comes back."""
        answer = await self.post(data, None)
        async for raw in answer.messages():
            self.take(raw, "odd")

    def abandon(self, pending: Pending) -> None:
        """Hang up while a request is under way."""
        pending.hang_up()

    async def respond(self, message: dict[str, Any]) -> None:
        """Send a response."""
        await self.exchange(encode(message), message)

    async def cancel(self, pending: Pending) -> None:
        """Cancel a request: by a notification, or where closing its stream means it, by that."""
        if self.revision.is_envelope:
            pending.hang_up()
        else:
            await self.notify("notifications/cancelled", {"requestId": pending.id, "reason": "the judge cancels"})

    async def close(self) -> None:
        """Hang up, and end the session."""
        await self._stop()
        if self.session_id is not None and not self.is_closed:
            self.is_closed = True
            self.wire.hear()
            try:
                answer = await self.get("DELETE", headers={"Accept": ABSENT})
                answer.close()
            except (Broken, NoAnswer, TimeoutError):
                self.transcript.add("-", "judge", "the session could not be ended")
        await self.wire.close()


class SseConversation(Conversation):
    """A conversation over HTTP+SSE: what the target says comes on one stream, what it is told goes to another address.

    Args:
        wire: of the address of the stream.
        args: those of `Conversation`.
    """

    transport = "sse"

    def __init__(self, wire: HttpWire, *args: Any) -> None:
        super().__init__(*args)
        self.wire = wire
        self.endpoint: str | None = None
        """Where messages go, as the target named it."""
        self.events: list[tuple[str, str]] = []
        """The kind and the data of each event."""
        self.stream: Answer | None = None

    @property
    def _token(self) -> dict[str, str]:
        return {} if self.wire.token is None else {"Authorization": f"Bearer {self.wire.token}"}

    async def connect(self, **headers: str) -> int:
        """Open the stream, wait for the address that messages go to, and return the status.

        Raises:
            NoAnswer: it does not come.
        """
        named = {"Accept": "text/event-stream", **self._token, **headers}
        request = HttpRequest("GET", self.wire.target, list(named.items()))
        answer = await asyncio.wait_for(self.wire.send(request, self.transcript), max(self.timeout, self.patience))
        if answer.status != 200 or not answer.is_stream:
            answer.close()
            self.is_closed = True
            return answer.status
        self.stream = answer
        self._spawn(self._pump(answer))
        deadline = asyncio.get_running_loop().time() + self.timeout
        while self.endpoint is None and not self.is_closed:
            left = deadline - asyncio.get_running_loop().time()
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                break
        return 200

    async def _pump(self, answer: Answer) -> None:
        try:
            async for raw in answer.messages():
                kind, data = answer.events[-1]
                self.events.append((kind, data))
                self.has_spoken = True
                self.monitor.event(self, kind, data)
                if kind == "endpoint" and self.endpoint is None:
                    self.endpoint = urljoin(self.wire.url, data)
                elif kind != "endpoint":
                    self.take(raw, "pipe")
                self._news.set()
        except Broken as error:
            self.transcript.add("-", "sse", str(error))
        self.is_closed = True
        self._news.set()
        for pending in list(self.pending.values()):
            pending.fail(NoAnswer(f"the stream ended instead of answering {pending.method}"))

    async def post(self, body: bytes, **options: Any) -> Answer:
        """POST bytes to the address that was named, and return the answer's head.

        Args:
            body: what is sent.
            options: `headers` to add, `target` in place of the address, `cut` into pieces.

        Raises:
            NoAnswer: no address was named.
        """
        if self.endpoint is None:
            raise NoAnswer("no event named the address that messages go to")
        parts = urlsplit(self.endpoint)
        target = options.get("target") or (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json", **self._token, **(options.get("headers") or {})}
        request = HttpRequest("POST", target, list(headers.items()), body)
        sending = self.wire.send(request, self.transcript, cut=options.get("cut"))
        return await asyncio.wait_for(sending, self.timeout)

    async def _deliver(self, body: bytes) -> int:
        status = 202
        for passed in self.wire.tap.outgoing_line(body):
            answer = await self.post(passed)
            answer.close()
            status = answer.status
        return status

    def start(self, method: str, params: Any = None, **options: Any) -> Pending:
        """Send a request; its answer comes on the stream."""
        message = self.message(method, params, options)
        pending = Pending(message["id"], method, "pipe", message.get("params") or {}, self)
        if self.is_closed:
            raise NoAnswer(f"the stream has ended; {method} cannot be sent")
        key = key_of(message["id"])
        if key:
            self.pending[key] = pending
        self.monitor.began(self, message, "pipe")
        self._spawn(self._run(pending, options.get("raw") or encode(message)))
        return pending

    async def _run(self, pending: Pending, body: bytes) -> None:
        try:
            status = await self._deliver(body)
        except (Broken, NoAnswer, TimeoutError) as error:
            pending.fail(NoAnswer(f"{pending.method} could not be sent: {error or 'no answer to the POST'}"))
            return
        if status >= 400:
            pending.fail(NoAnswer(f"the POST of {pending.method} was answered with {status}"))

    async def send_raw(self, data: bytes) -> None:
        """POST bytes, whatever they are."""
        (await self.post(data)).close()

    def abandon(self, pending: Pending) -> None:
        """Hang up while a request is under way."""
        if self.stream is not None:
            self.stream.close()

    async def notify(self, method: str, params: Any = None, **options: Any) -> int:
        """Send a notification and return the status."""
        message = {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})
        return await self._deliver(encode(message))

    async def respond(self, message: dict[str, Any]) -> None:
        """Send a response."""
        await self._deliver(encode(message))

    async def cancel(self, pending: Pending) -> None:
        """Cancel a request."""
        self.pending.pop(key_of(pending.id) or (str, ""), None)
        await self.notify("notifications/cancelled", {"requestId": pending.id, "reason": "the judge cancels"})

    async def close(self) -> None:
        """Hang up."""
        self.is_closed = True
        if self.stream is not None:
            self.stream.close()
        await self._stop()
        await self.wire.close()
