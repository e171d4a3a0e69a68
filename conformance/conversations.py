"""Conversations over pipes and over Streamable HTTP."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from .dialect import ABSENT, NAMED, Conversation, NoAnswer, Pending, key_of
from .wire import Answer, Broken, HttpRequest, HttpWire, PipeWire

__all__ = ["HttpConversation", "PipeConversation", "encode"]


def encode(message: Any) -> bytes:
    """Return a message as it is sent."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


class PipeConversation(Conversation):
    """A conversation over a child's pipes."""

    transport = "stdio"

    def __init__(self, wire: PipeWire, *args: Any) -> None:
        super().__init__(*args)
        self.wire = wire
        self._spawn(self._pump())

    async def _pump(self) -> None:
        while (line := await self.wire.receive()) is not None:
            self.take(line, "pipe")
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
        """End the child."""
        await self.wire.close()
        await self._stop()


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
            try:
                answer = await self.get("DELETE", headers={"Accept": ABSENT})
                answer.close()
            except (Broken, NoAnswer):
                pass
        await self.wire.close()
