"""Conversations with a server: the two lifecycles behind one face, so that a scenario is written once.

A conversation numbers its requests, finds the answers, and hands every message to its monitor. It holds no rules: what
a scenario asks it to send it sends, and what comes it keeps.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .requirements import Revision
from .wire import Answer, Transcript

__all__ = [
    "ABSENT",
    "FULL",
    "META",
    "NAMED",
    "Conversation",
    "Locked",
    "NoAnswer",
    "NotSpoken",
    "Pending",
    "Received",
    "Reply",
    "Watcher",
    "key_of",
]

ABSENT: Any = object()
"""A value that leaves its member out."""

META = "io.modelcontextprotocol/"
INFO = {"name": "conformance-judge", "version": "1.0"}
FULL: dict[str, Any] = {"roots": {}, "sampling": {}, "elicitation": {"form": {}}}
"""Capabilities of a client that can be asked everything."""

NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId",
         "tasks/update": "taskId", "tasks/cancel": "taskId"}  # fmt: skip


_STARTS_WITHIN = 12.0


class NoAnswer(Exception):
    """The target did not answer in time, or hung up instead."""


class NotSpoken(Exception):
    """The target does not speak the revision."""


class Locked(NotSpoken):
    """The target speaks to nobody without a token, or takes another than the one it was given."""


@dataclass(slots=True)
class Received:
    """One message from the target."""

    raw: bytes
    message: Any
    where: str
    """`pipe`, `get`, or `post:` and the number of the request whose answer carries it."""
    line: int
    """Its line of the transcript."""

    @property
    def method(self) -> str | None:
        """The method, of a request or a notification."""
        return self.message.get("method") if isinstance(self.message, dict) else None

    @property
    def params(self) -> dict[str, Any]:
        """The params, empty where there are none."""
        params = self.message.get("params") if isinstance(self.message, dict) else None
        return params if isinstance(params, dict) else {}


@dataclass(slots=True)
class Reply:
    """What came back for a request."""

    id: Any
    message: dict[str, Any] | None
    """The response; `None` where an HTTP answer held none."""
    before: list[Received] = field(default_factory=list)
    status: int | None = None
    answer: Answer | None = None
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """What the target asked on the way: key, method, params."""

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, where it is an object."""
        result = self.message.get("result") if self.message else None
        return result if isinstance(result, dict) else None

    @property
    def error(self) -> dict[str, Any] | None:
        """The error, where it is an object."""
        error = self.message.get("error") if self.message else None
        return error if isinstance(error, dict) else None

    @property
    def code(self) -> Any:
        """The error's code; `None` where there is no error."""
        return self.error.get("code") if self.error else None

    @property
    def text(self) -> str:
        """The text of a tool's result."""
        content = (self.result or {}).get("content")
        blocks = content if isinstance(content, list) else []
        return "\n".join(str(b.get("text", "")) for b in blocks if isinstance(b, dict))

    def show(self) -> str:
        """Say in short what it is."""
        if self.message is None:
            return f"HTTP {self.status} without a response"
        shown = json.dumps({k: v for k, v in self.message.items() if k in ("result", "error")})
        return (f"HTTP {self.status} " if self.status else "") + (shown if len(shown) < 300 else shown[:300] + "…")


class Watcher(Protocol):
    """Looks at everything that passes; see `monitor`."""

    expects_odd: bool

    def began(self, conversation: "Conversation", message: dict[str, Any], where: str) -> None: ...
    def received(self, conversation: "Conversation", received: Received) -> None: ...
    def head(self, conversation: "Conversation", answer: Answer, sent: Any) -> None: ...
    def event(self, conversation: "Conversation", kind: str, data: str) -> None: ...
    def misframed(self, conversation: "Conversation", why: str) -> None: ...


@dataclass(slots=True, eq=False)
class Pending:
    """A request under way."""

    id: Any
    method: str
    where: str
    params: dict[str, Any]
    conversation: "Conversation"
    received: list[Received] = field(default_factory=list)
    reply: "asyncio.Future[Reply]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    answer: Answer | None = None
    task: "asyncio.Task[None] | None" = None

    async def wait(self, timeout: float | None = None) -> Reply:
        """Return the reply.

        Raises:
            NoAnswer: it does not come in time, or cannot come any more.
        """
        limit = self.conversation.timeout if timeout is None else timeout
        if self.where == "pipe" and not self.conversation.has_spoken:
            limit = max(limit, self.conversation.patience)
        done, _ = await asyncio.wait([self.reply], timeout=limit)
        if not done:
            raise NoAnswer(f"no answer to {self.method} within {limit:g} s")
        return self.reply.result()

    async def seen(self, matches: Callable[[Received], bool], timeout: float | None = None) -> Received | None:
        """Return the first message of its stream that matches; `None` if none comes in time."""
        return await self.conversation.watch(lambda r: r in self.received and matches(r), timeout)

    def fail(self, error: Exception) -> None:
        """End it without a reply."""
        if not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # looked at, so that nobody complains when the scenario has gone on

    def hang_up(self) -> None:
        """Close the HTTP stream that carries the answer."""
        if self.answer is not None:
            self.answer.close()
        if self.task is not None:
            self.task.cancel()


class Conversation(ABC):
    """One client of the target, in one revision."""

    transport = ""

    def __init__(self, revision: Revision, monitor: Watcher, transcript: Transcript, timeout: float) -> None:
        self.revision = revision
        self.monitor = monitor
        self.transcript = transcript
        self.timeout = timeout
        self.capabilities: dict[str, Any] = dict(FULL)
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.inbox: list[Received] = []
        self.pending: dict[tuple[type, Any], Pending] = {}
        self.ended: set[tuple[type, Any]] = set()
        self.welcome: dict[str, Any] = {}
        """The result of `initialize` or `server/discover`."""
        self.is_closed = False
        self.patience = max(3 * timeout, _STARTS_WITHIN)
        """Seconds for the first answer of a child, which has to start."""
        self.has_spoken = False
        """The target has said something: it has started."""
        self._next_id = 0
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    # What differs between transports.

    @abstractmethod
    def start(self, method: str, params: Any = None, **options: Any) -> Pending: ...

    @abstractmethod
    async def send_raw(self, data: bytes) -> None: ...

    @abstractmethod
    async def notify(self, method: str, params: Any = None, **options: Any) -> int | None: ...

    @abstractmethod
    async def respond(self, message: dict[str, Any]) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    # What does not.

    @property
    def server_capabilities(self) -> dict[str, Any]:
        """What the target declared."""
        found = self.welcome.get("capabilities")
        return found if isinstance(found, dict) else {}

    async def open(self, *, initialized: bool = True) -> None:
        """Shake hands, or ask what there is.

        Raises:
            NotSpoken: the target does not speak the revision.
        """
        if self.revision.is_envelope:
            reply = await self.request("server/discover")
            if reply.result is None:
                raise self._unspoken("server/discover", reply)
            self.welcome = reply.result
            supported = reply.result.get("supportedVersions")
            if isinstance(supported, list) and self.revision.name not in supported:
                raise NotSpoken(f"{self.revision.name}: the server speaks {supported}")
            return
        reply = await self.initialize()
        if reply.result is None:
            raise self._unspoken("initialize", reply)
        if reply.result.get("protocolVersion") != self.revision.name:
            raise NotSpoken(f"{self.revision.name}: the server chose {reply.result.get('protocolVersion')}")
        if initialized:
            await self.notify("notifications/initialized")

    def _unspoken(self, method: str, reply: Reply) -> NotSpoken:
        if reply.status == 401:
            return Locked(f"{self.revision.name}: the server demands authorization (401); give it a --token")
        return NotSpoken(f"{self.revision.name}: {method} answered {reply.show()}")

    async def initialize(self, version: Any = None, **options: Any) -> Reply:
        """Send `initialize` and keep the welcome."""
        params = {
            "protocolVersion": version or self.revision.name,
            "capabilities": self.declared,
            "clientInfo": INFO,
        }
        reply = await self.request("initialize", params, **options)
        self.welcome = reply.result or {}
        return reply

    @property
    def declared(self) -> dict[str, Any]:
        """The capabilities in the shape of the revision."""
        found = dict(self.capabilities)
        if self.revision.letter in "AB":
            found.pop("elicitation", None)
        elif self.revision.letter == "C" and "elicitation" in found:
            found["elicitation"] = {}
        if not self.revision.is_envelope and "roots" in found:
            found["roots"] = {"listChanged": True}
        return found

    def new_id(self) -> int:
        """Return an id that was not used before."""
        self._next_id += 1
        return self._next_id

    def stamp(self, params: Any, meta: Mapping[str, Any] | None) -> Any:
        """Add what each request of the revision carries; `ABSENT` in `meta` leaves a key out."""
        stamped = dict(params or {})
        own = dict(stamped.get("_meta") or {})
        if self.revision.is_envelope:
            own = {
                f"{META}protocolVersion": self.revision.name,
                f"{META}clientCapabilities": self.declared,
                f"{META}clientInfo": INFO,
                **own,
            }
        own.update(meta or {})
        own = {key: value for key, value in own.items() if value is not ABSENT}
        if own:
            stamped["_meta"] = own
        return stamped if stamped or params is not None else None

    def message(self, method: str, params: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Build a request: `id`, `meta`, `stamp` and `extra` members as the options say."""
        request_id = options.get("id", ABSENT)
        built: dict[str, Any] = {"jsonrpc": "2.0", "id": self.new_id() if request_id is ABSENT else request_id}
        built["method"] = method
        stamped = self.stamp(params, options.get("meta")) if options.get("stamp", True) else params
        if stamped is not None:
            built["params"] = stamped
        return built

    async def request(self, method: str, params: Any = None, *, timeout: float | None = None, **options: Any) -> Reply:
        """Send a request and return its reply."""
        return await self.start(method, params, **options).wait(timeout)

    async def call(self, method: str, params: Any = None, *, rounds: int = 5, **options: Any) -> Reply:
        """Send a request and answer what is asked on the way, as the era has it."""
        asked: list[tuple[str, str, dict[str, Any]]] = []
        given = dict(params or {})
        for _ in range(rounds):
            seen = len(self.inbox)
            reply = await self.request(method, given, **options)
            reply.asked = asked
            requests = [r for r in self.inbox[seen:] if r.method and "id" in r.message]
            asked += [(str(r.message["id"]), r.method or "", r.params) for r in requests]
            needed = reply.result if reply.result and reply.result.get("resultType") == "input_required" else None
            if needed is None or not self.revision.is_envelope:
                return reply
            wanted = needed.get("inputRequests") or {}
            responses = {}
            for key, request in wanted.items():
                asked.append((key, request.get("method"), request.get("params") or {}))
                responses[key] = self.answer_to(request.get("method"), request.get("params") or {})
            given = {**(params or {}), "inputResponses": responses}
            if "requestState" in needed:
                given["requestState"] = needed["requestState"]
        raise NoAnswer(f"{method} still asks for input after {rounds} rounds")

    def answer_to(self, method: str | None, params: dict[str, Any]) -> Any:
        """Answer what the target asks."""
        if method in self.answers:
            return self.answers[method](params)
        if method == "roots/list":
            return {"roots": [{"uri": "file:///judge", "name": "judge"}]}
        if method == "sampling/createMessage":
            content = {"type": "text", "text": "the judge's model"}
            return {"role": "assistant", "content": content, "model": "judge", "stopReason": "endTurn"}
        if method == "elicitation/create":
            return {"action": "accept", "content": _fill(params.get("requestedSchema") or {})}
        return {}

    def take(self, raw: bytes, where: str, pending: Pending | None = None) -> None:
        """Keep a message that came, settle what it settles, and answer what it asks."""
        try:
            parsed = json.loads(raw)
        except (ValueError, RecursionError):
            parsed = None
        for message in parsed if isinstance(parsed, list) and parsed else [parsed]:
            self.has_spoken = True
            received = Received(raw, message, where, self.transcript.last)
            self.inbox.append(received)
            self.monitor.received(self, received)
            self._route(received, pending)
        self._news.set()

    def _route(self, received: Received, pending: Pending | None) -> None:
        message = received.message
        if not isinstance(message, dict):
            return
        if pending is not None:
            pending.received.append(received)
        if "method" in message:
            if pending is None:
                for each in self.pending.values():
                    each.received.append(received)
            if "id" in message and not self.revision.is_envelope:
                self._spawn(self._respond_to(message))
            return
        key = key_of(message.get("id"))
        found = self.pending.get(key) if key else None
        if found is None and message.get("id") is None and "error" in message and not self.monitor.expects_odd:
            # An error that names no request answers the one of its stream, or the only one there is.
            found = pending or (next(iter(self.pending.values())) if len(self.pending) == 1 else None)
        if found is not None and not found.reply.done():
            self._settle(found, message)

    def _settle(self, pending: Pending, message: dict[str, Any] | None) -> None:
        answer = pending.answer
        status = answer.status if answer else None
        if not pending.reply.done():
            pending.reply.set_result(Reply(pending.id, message, list(pending.received), status, answer))
        key = key_of(pending.id)
        if key and self.pending.get(key) is pending:
            del self.pending[key]
            self.ended.add(key)

    async def _respond_to(self, message: dict[str, Any]) -> None:
        method = message["method"]
        answer = self.answer_to(method, message.get("params") or {})
        if answer is not None:
            await self.respond({"jsonrpc": "2.0", "id": message["id"], "result": answer})

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def watch(
        self, matches: Callable[[Received], bool], timeout: float | None = None, start: int = 0
    ) -> Received | None:
        """Return the first message of the inbox that matches; `None` if none comes in time."""
        deadline = asyncio.get_running_loop().time() + (self.timeout if timeout is None else timeout)
        while True:
            for received in self.inbox[start:]:
                if matches(received):
                    return received
            start = len(self.inbox)
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or self.is_closed:
                return None
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return None

    async def fence(self) -> Reply:
        """Make a request that any server answers: what came before it has been dealt with."""
        return await self.request("server/discover" if self.revision.is_envelope else "ping")

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pending in list(self.pending.values()):
            if not pending.reply.done():
                pending.reply.cancel()


def key_of(request_id: Any) -> tuple[type, Any] | None:
    """Tell `1` from `"1"` and from `true`."""
    return (type(request_id), request_id) if isinstance(request_id, (int, str)) else None


def _fill(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    return {name: _value(row) for name, row in properties.items() if isinstance(row, dict)}


_PLAIN: dict[str, Any] = {"string": "text", "integer": 5, "number": 5.5, "boolean": True, "array": []}


def _value(schema: Mapping[str, Any]) -> Any:
    choices: Sequence[Any] = schema.get("enum") or [c.get("const") for c in schema.get("oneOf") or ()]
    if "default" in schema:
        return schema["default"]
    if choices:
        return choices[0]
    formats = {"email": "judge@example.com", "uri": "https://example.com", "date": "2020-01-01"}
    return formats.get(schema.get("format", ""), _PLAIN.get(schema.get("type", ""), "text"))
