"""A client binding whose requests are answered by hand: heads, bodies and events in, requests and events out."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from protocol import CallToolParams, ClientEngine, Era, Event, Ready, Result, Revision
from protocol.framing.headers import Headers
from protocol.framing.sse import encode_comment, encode_event
from protocol.http.client import ClientExchange, StreamableHTTPClient, StreamableHTTPClientOptions
from tests.pair import R2025_11, R2026, SERVER_CAN, EnginePair, client_profile, line, result

E = TypeVar("E", bound=Event)

CAN = msgspec.to_builtins(SERVER_CAN)
SESSION = "s-1"
DONE = {"resultType": "complete", "content": []}
"""The result of a tool call."""


class Sent:
    """A request as the adapter gets it, and the way to answer it."""

    def __init__(self, web: Web, exchange: ClientExchange) -> None:
        self.web = web
        self.exchange = exchange
        self.is_dropped = False

    def __repr__(self) -> str:
        return f"<{self.exchange.method} {self.exchange.body!r}>"

    @property
    def method(self) -> str:
        """The method of HTTP."""
        return self.exchange.method

    @property
    def message(self) -> Any:
        """The message that is posted."""
        assert self.exchange.body is not None
        return msgspec.json.decode(self.exchange.body)

    @property
    def id(self) -> Any:
        """The id of the request that is posted."""
        return self.message["id"]

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        found = [value.decode() for key, value in self.exchange.headers if key == name.lower().encode()]
        assert len(found) < 2 and all(key == key.lower() for key, _ in self.exchange.headers)
        return found[0] if found else None

    def head(self, status: int, **headers: str) -> None:
        """Answer with a head."""
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.exchange.receive_head(status, Headers(fields), self.web.now)

    def feed(self, data: bytes) -> None:
        """Answer with a piece of the body."""
        self.exchange.receive_data(data, self.web.now)

    def end(self) -> None:
        """End the response."""
        self.exchange.receive_end(self.web.now)
        self.web.pump()

    def fail(self, why: str = "reset", *, was_sent: bool = True) -> None:
        """Lose the connection."""
        self.exchange.receive_failure(why, self.web.now, was_sent=was_sent)
        self.web.pump()

    def reply(self, status: int, body: Any = b"", content: str = "application/json", **headers: str) -> None:
        """Answer with a whole response."""
        data = body if isinstance(body, bytes) else line(body)
        self.head(status, **({"content_type": content} if data else {}), **headers)
        if data:
            self.feed(data)
        self.end()

    def answer(self, value: Any, **headers: str) -> None:
        """Answer with a result."""
        self.reply(200, result(self.id, value), **headers)

    def stream(self, *messages: Any, **headers: str) -> None:
        """Begin an event stream, or go on with it."""
        if self.exchange.status is None:
            self.head(200, content_type="text/event-stream; charset=utf-8", **headers)
        for message in messages:
            self.feed(encode_event(line(message)))
        self.web.pump()

    def prime(self, id: str, retry: int | None = None) -> None:
        """Give the stream an id."""
        self.stream()
        self.feed(encode_event(b"", event=None, id=id, retry=retry))

    def comment(self) -> None:
        """Show a sign of life."""
        self.feed(encode_comment(b"still here"))


class Web:
    """A client, its clock, and all that it sent.

    Args:
        revisions: spoken by it.
        options: of the binding.
        binding: another one.
        profile: options of the client's profile.
    """

    def __init__(
        self,
        *revisions: Revision,
        options: StreamableHTTPClientOptions | None = None,
        binding: Any = None,
        **profile: Any,
    ) -> None:
        self.engine = ClientEngine(client_profile(**({"revisions": revisions} if revisions else {}), **profile))
        self.binding: Any = StreamableHTTPClient(self.engine, options) if binding is None else binding(self.engine)
        self.now = 100.0
        self.sent: list[Sent] = []
        """What was sent and is not taken yet."""
        self.all: dict[ClientExchange, Sent] = {}
        self.events: list[Event] = []

    def start(self, era: Era | None = None, deadline: float | None = None) -> Sent:
        """Begin, and return the first request."""
        self.engine.start(deadline, era=era)
        return self.next()

    def pump(self) -> None:
        """Do what the adapter does after everything."""
        while True:
            dropped = self.binding.dropped()
            started = self.binding.requests_to_send(self.now)
            events = self.binding.events_received()
            for exchange in dropped:
                assert exchange.is_over
                self.all[exchange].is_dropped = True
            for exchange in started:
                assert exchange not in self.all, "each exactly once"
                self.all[exchange] = Sent(self, exchange)
                self.sent.append(self.all[exchange])
            self.events += events
            if not (dropped or started or events):
                return

    def next(self, method: str | None = None) -> Sent:
        """Return the next request: the next one of a method of HTTP or MCP."""
        self.pump()
        for sent in self.sent:
            if method in (None, sent.method) or (sent.exchange.body and sent.message.get("method") == method):
                self.sent.remove(sent)
                return sent
        raise AssertionError(f"no {method} in {self.sent}")

    def take(self, type_: type[E]) -> E:
        """Remove and return the first event of a class."""
        self.pump()
        return EnginePair.take(self.events, type_)

    def has(self, type_: type[Event]) -> bool:
        """Tell whether an event of a class came."""
        self.pump()
        return any(isinstance(event, type_) for event in self.events)

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while (at := self.binding.next_deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.binding.handle_deadline(self.now)
            self.pump()
        self.now = until
        self.pump()

    def call(self, method: str, params: Any = None, **options: Any) -> tuple[Any, Sent]:
        """Make a call and return it with its request."""
        call = self.engine.send_request(method, params, **options)
        return call, self.next("POST")


def discovered(**members: Any) -> dict[str, Any]:
    """Return a DiscoverResult."""
    usual = {"supportedVersions": [R2026.name], "capabilities": CAN, "ttlMs": 0, "cacheScope": "public"}
    return {"resultType": "complete", **usual, **members}


def greeting(revision: Revision = R2025_11, **members: Any) -> dict[str, Any]:
    """Return an InitializeResult."""
    info = {"name": "s", "version": "1"}
    return {"protocolVersion": revision.name, "capabilities": CAN, "serverInfo": info, **members}


def modern(**options: Any) -> Web:
    """Return a client that is ready in the envelope era."""
    web = Web(R2026, **options)
    web.start().answer(discovered())
    web.take(Ready)
    return web


def legacy(
    revision: Revision = R2025_11, *, session: str | None = SESSION, listens: bool = True, **options: Any
) -> Web:
    """Return a client that is ready in a session; with `listens`, its stream was refused so that none is in the way."""
    web = Web(revision, **options)
    headers = {} if session is None else {"mcp_session_id": session}
    web.start().answer(greeting(revision), **headers)
    web.next("notifications/initialized").reply(202)
    web.take(Ready)
    if listens and revision.session_ids and (web.sent or session is not None):
        web.next("GET").reply(405)
    return web


def raw(value: Any) -> Any:
    """Return a value as arguments are carried."""
    return msgspec.Raw(line(value))


def tool(name: str = "t", *, hints: Any = None, **properties: Any) -> dict[str, Any]:
    """Return a tool whose arguments are these properties."""
    found: dict[str, Any] = {"name": name, "inputSchema": {"type": "object", "properties": properties}}
    return found if hints is None else {**found, "annotations": hints}


def mirrored(name: str, kind: str = "string") -> dict[str, str]:
    """Return the schema of a mirrored argument."""
    return {"type": kind, "x-mcp-header": name}


def list_tools(web: Web, *tools: Any, **members: Any) -> Result:
    """Have the client see these tools."""
    _, sent = web.call("tools/list")
    sent.answer({"resultType": "complete", "tools": list(tools), "ttlMs": 0, "cacheScope": "public", **members})
    return web.take(Result)


def call_tool(web: Web, name: str = "t", arguments: Any = None, **options: Any) -> tuple[Any, Sent]:
    """Call a tool and return the call with its request."""
    params = CallToolParams(name=name) if arguments is None else CallToolParams(name=name, arguments=raw(arguments))
    return web.call("tools/call", params, **options)
