"""HTTP spoken to an endpoint: raw heads and bodies in, what would be written out, a clock that stands still."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from protocol import Event, Request, Revision, ServerProfile
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http import (
    END,
    Answer,
    Arrival,
    Exchange,
    ResponseHead,
    SSEEndpoint,
    StreamableHTTPEndpoint,
    StreamableHTTPOptions,
)
from tests.pair import R2025_11, R2026, EnginePair, enveloped, initialize, line, notification, server_profile

E = TypeVar("E", bound=Event)

LOCAL = Arrival("127.0.0.1")
BOTH = "application/json, text/event-stream"


def head(text: str) -> RequestHead:
    """Parse a request's head from its text: a request line, then one header on each line."""
    first, *lines = [each for each in text.strip().splitlines() if each.strip()]
    method, target = first.split()[:2]
    fields = [each.strip().encode("latin-1").partition(b":") for each in lines]
    return RequestHead(method, target, Headers([(name, value.strip()) for name, _, value in fields]), "1.1", True)


def render(method: str, headers: Mapping[str, str | list[str] | None], target: str = "/mcp") -> str:
    """Return the text of a head; a list gives a header several times, `None` leaves it out."""
    text = f"{method} {target} HTTP/1.1\n"
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values or []:
            text += f"{name}: {value}\n"
    return text


class Reply:
    """What is written in answer to one request, as far as it has come."""

    def __init__(self, found: Exchange | Answer) -> None:
        self.found = found
        self.head: ResponseHead | None = None
        self.body = b""
        self.is_ended = False
        self.writes = 0
        """In how many turns something was written."""
        if isinstance(found, Answer):
            self.read()

    @property
    def exchange(self) -> Any:
        """The exchange that answers."""
        assert isinstance(self.found, Exchange)
        return self.found

    def read(self) -> None:
        """Take what is to be written."""
        parts = self.found.data_to_send()
        self.writes += bool(parts)
        for part in parts:
            assert not self.is_ended, "nothing comes after the end"
            if isinstance(part, Answer):
                assert self.head is None, "a whole answer, and nothing else"
                self.head, self.body, self.is_ended = ResponseHead(part.status, part.headers), part.body, True
            elif isinstance(part, ResponseHead):
                assert self.head is None and not self.body, "one head, and first"
                self.head = part
            elif part is END:
                self.is_ended = True
            else:
                assert self.head is not None and isinstance(part, bytes)
                self.body += part

    @property
    def status(self) -> int | None:
        """The status, if it was written."""
        return None if self.head is None else self.head.status

    def header(self, name: str) -> str | None:
        """Return the value of a header, `None` if there is none."""
        assert self.head is not None
        found = [value.decode() for key, value in self.head.headers if key.decode() == name]
        assert len(found) < 2
        return found[0] if found else None

    @property
    def is_stream(self) -> bool:
        """Tell whether the answer is an event stream."""
        return self.head is not None and self.header("content-type") == "text/event-stream"

    @property
    def json(self) -> Any:
        """The answer, where it is one JSON text."""
        assert self.header("content-type") == "application/json" and self.is_ended
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> int:
        """The code of the error."""
        return int(self.json["error"]["code"])

    @property
    def events(self) -> list[dict[str, str]]:
        """The fields of each event, comments as `{"": text}`."""
        assert self.is_stream
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            fields = [each.partition(":") for each in block.split("\n")]
            assert len({name for name, _, _ in fields}) == len(fields)
            found.append({name: value.removeprefix(" ") for name, _, value in fields})
        return found

    @property
    def messages(self) -> list[Any]:
        """The messages on the event stream."""
        return [msgspec.json.decode(each["data"]) for each in self.events if each.get("data")]

    @property
    def ids(self) -> list[str]:
        """The ids of the events."""
        return [each["id"] for each in self.events if "id" in each]


class Server:
    """An endpoint, its clock, and everything that it reported.

    Args:
        options: of the endpoint.
        profile: what the server is.
        endpoint: another one than Streamable HTTP's.
        mirrors: of the endpoint.
        logs: of the endpoint.
    """

    def __init__(
        self,
        options: StreamableHTTPOptions | None = None,
        *,
        profile: ServerProfile | None = None,
        endpoint: SSEEndpoint | None = None,
        mirrors: Any = None,
        logs: Any = None,
    ) -> None:
        count = itertools.count(1)
        self.endpoint: Any = endpoint or StreamableHTTPEndpoint(
            profile or server_profile(),
            options,
            mint=lambda: f"session-{next(count)}",
            mirrors=mirrors or {},
            logs=logs,
        )
        self.now = 0.0
        self.events: list[Event] = []
        self.replies: dict[Any, Reply] = {}

    def send(
        self,
        method: str,
        headers: Mapping[str, Any] | None = None,
        body: Any = b"",
        *,
        target: str = "/mcp",
        principal: str | None = None,
        arrival: Arrival = LOCAL,
    ) -> Reply:
        """Send a request, and take what is written because of it."""
        data = body if isinstance(body, bytes) else line(body)
        found = self.endpoint.receive_request(
            head(render(method, {"Host": "localhost", **(headers or {})}, target)),
            data,
            now=self.now,
            arrival=arrival,
            principal=principal,
        )
        reply = Reply(found)
        if isinstance(found, Exchange):
            self.replies[found] = reply
            self.events += found.events_received()
            self.flush(found)
        return reply

    def flush(self, exchange: Exchange) -> None:
        """Carry what the exchange's engine has to say."""
        for ready in exchange.flush(self.now):
            self.replies[ready].read()

    def post(self, body: Any, headers: Mapping[str, Any] | None = None, **options: Any) -> Reply:
        """Post a message with the headers that every message has."""
        usual = {"Accept": BOTH, "Content-Type": "application/json"}
        return self.send("POST", {**usual, **(headers or {})}, body, **options)

    def modern(self, body: Any, headers: Mapping[str, Any] | None = None, **options: Any) -> Reply:
        """Post a request of the envelope era with the headers that belong to it."""
        return self.post(body, {**mirrored(body), **(headers or {})}, **options)

    def take(self, type_: type[E]) -> E:
        """Remove and return the first event of a class."""
        return EnginePair.take(self.events, type_)

    def asked(self, id_: Any) -> Request:
        """Remove and return the request of an id."""
        found = next(event for event in self.events if isinstance(event, Request) and event.id == id_)
        self.events.remove(found)
        return found

    def answer(self, reply: Reply, result: Any, request: Request | None = None) -> None:
        """Answer the request that is waiting, as a handler would."""
        reply.exchange.engine.send_result(request or self.take(Request), result)
        self.flush(reply.exchange)

    def disconnect(self, reply: Reply) -> None:
        """Lose the connection of a reply."""
        reply.exchange.receive_disconnect()
        self.events += reply.exchange.events_received()
        self.flush(reply.exchange)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and everything do what it does then."""
        self.now += seconds
        for exchange, reply in list(self.replies.items()):
            at = exchange.next_deadline()
            if at is not None and at <= self.now:
                exchange.handle_deadline(self.now)
                self.events += exchange.events_received()
                self.flush(exchange)
                reply.read()


def mirrored(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that repeat a request of the envelope era."""
    params = body.get("params") or {}
    meta = params.get("_meta") or {}
    headers = {
        "MCP-Protocol-Version": meta.get("io.modelcontextprotocol/protocolVersion", R2026.name),
        "Mcp-Method": body["method"],
    }
    name = params.get("name") or params.get("uri") or params.get("taskId")
    return headers if name is None else {**headers, "Mcp-Name": name}


class Session:
    """A client in a session.

    Args:
        server: whose session it is.
        revision: the one that is asked for.
        principal: who the client is.
        capabilities: what it declares.
    """

    def __init__(
        self,
        server: Server,
        revision: Revision = R2025_11,
        *,
        principal: str | None = None,
        capabilities: Any = None,
        is_ready: bool = True,
    ) -> None:
        self.server = server
        self.principal = principal
        self.greeting = server.post(initialize(revision, 0, capabilities), principal=principal)
        assert self.greeting.status == 200 and not self.greeting.is_stream
        self.id = self.greeting.header("mcp-session-id")
        self.headers = {"Mcp-Session-Id": self.id}
        if revision.version_header:
            self.headers["MCP-Protocol-Version"] = revision.name
        if is_ready:
            assert self.post(notification("notifications/initialized")).status == 202
            server.events.clear()

    @property
    def state(self) -> Any:
        """The session as the server has it."""
        return self.server.endpoint.sessions[self.id]

    def post(self, body: Any, headers: Mapping[str, Any] | None = None) -> Reply:
        """Post a message."""
        return self.server.post(body, {**self.headers, **(headers or {})}, principal=self.principal)

    def get(self, headers: Mapping[str, Any] | None = None) -> Reply:
        """Listen."""
        more = {"Accept": "text/event-stream", **self.headers, **(headers or {})}
        return self.server.send("GET", more, principal=self.principal)

    def resume(self, event_id: str) -> Reply:
        """Come back for what was missed."""
        return self.get({"Last-Event-ID": event_id})

    def delete(self, headers: Mapping[str, Any] | None = None) -> Reply:
        """End the session."""
        return self.server.send("DELETE", {**self.headers, **(headers or {})}, principal=self.principal)

    def flush(self) -> None:
        """Carry what the engine has to say."""
        for ready in self.state.flush(self.server.now):
            self.server.replies[ready].read()


def call(id_: Any, name: str = "t", **params: Any) -> dict[str, Any]:
    """Return a tool call of the envelope era."""
    return enveloped(id_, "tools/call", {"name": name, **params})
