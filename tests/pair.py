"""EnginePair: a server and a client engine joined by their pipes, with a manual clock; both wires are recorded."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from protocol import (
    REVISIONS,
    CallToolResult,
    ClientCapabilities,
    ClientEngine,
    ClientProfile,
    ElicitationCapability,
    Era,
    Event,
    Implementation,
    Limits,
    Pipe,
    PromptsCapability,
    Ready,
    ResourcesCapability,
    Revision,
    RootsCapability,
    SamplingCapability,
    ServerCapabilities,
    ServerEngine,
    ServerProfile,
    StateSealer,
    TextContent,
    ToolsCapability,
    find_revision,
)

E = TypeVar("E", bound=Event)
Chunker = Callable[[bytes], Iterable[bytes]]

R2024, R2025_03, R2025_06, R2025_11, R2026 = REVISIONS
HANDSHAKES = REVISIONS[:-1]

SERVER_INFO = Implementation(name="test-server", version="1.0")
CLIENT_INFO = Implementation(name="test-client", version="2.0")
SERVER_CAN = ServerCapabilities(
    logging={},
    completions={},
    tools=ToolsCapability(list_changed=True),
    prompts=PromptsCapability(list_changed=True),
    resources=ResourcesCapability(list_changed=True, subscribe=True),
)
CLIENT_CAN = ClientCapabilities(
    roots=RootsCapability(list_changed=True),
    sampling=SamplingCapability(tools={}),
    elicitation=ElicitationCapability(form={}, url={}),
)
SEALER = StateSealer([b"k" * 32])
SOME_TEXT = CallToolResult(content=[TextContent(text="ok")])


def whole(data: bytes) -> Iterator[bytes]:
    """Hand over bytes as they come."""
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """Hand over one byte at a time."""
    for index in range(len(data)):
        yield data[index : index + 1]


def at_random(seed: int) -> Chunker:
    """Return a chunker that cuts anywhere."""
    generator = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        while data:
            size = generator.randint(1, max(1, len(data) // 2))
            yield data[:size]
            data = data[size:]

    return cut


def server_profile(**options: Any) -> ServerProfile:
    """Return the profile of a server that can do everything, except for what the options say."""
    options = {"capabilities": SERVER_CAN, "sealer": SEALER, **options}
    capabilities = options.pop("capabilities")
    return ServerProfile(SERVER_INFO, capabilities, **options)


def client_profile(**options: Any) -> ClientProfile:
    """Return the profile of a client that can do everything, except for what the options say."""
    options = {"capabilities": CLIENT_CAN, **options}
    capabilities = options.pop("capabilities")
    return ClientProfile(CLIENT_INFO, capabilities, **options)


class EnginePair:
    """Two engines that hear only each other.

    Args:
        server: the server's profile.
        client: the client's profile.
        chunker: how bytes are cut on their way.
    """

    def __init__(
        self,
        server: ServerProfile | None = None,
        client: ClientProfile | None = None,
        *,
        chunker: Chunker = whole,
    ) -> None:
        self.server_engine = ServerEngine(server or server_profile())
        self.client_engine = ClientEngine(client or client_profile())
        self.server = Pipe(self.server_engine)
        self.client = Pipe(self.client_engine)
        self.now = 0.0
        self.chunker = chunker
        self.to_server: list[bytes] = []
        """Every line that the client wrote."""
        self.to_client: list[bytes] = []
        """Every line that the server wrote."""
        self.server_events: list[Event] = []
        self.client_events: list[Event] = []
        self.is_cut = False

    @classmethod
    def ready(cls, revision: Revision, **options: Any) -> EnginePair:
        """Return a pair that has settled on a revision."""
        server = options.pop("server", {})
        client = options.pop("client", {})
        pair = cls(
            server_profile(**{"revisions": [revision], **server}),
            client_profile(**{"revisions": [revision], **client}),
            **options,
        )
        pair.start()
        ready = pair.take(pair.client_events, Ready)
        assert ready.context.revision is find_revision(revision.name)
        return pair

    def start(self, **options: Any) -> None:
        """Let the client begin, and both talk until they have nothing to say."""
        self.client_engine.start(**options)
        self.exchange()

    def exchange(self) -> None:
        """Carry bytes both ways until neither side has more; gather the events."""
        while self.carry_to_server() + self.carry_to_client():
            pass

    def carry_to_server(self) -> int:
        """Carry what the client has to say; returns how many bytes."""
        return self._carry(self.client, self.server, self.to_server)

    def carry_to_client(self) -> int:
        """Carry what the server has to say; returns how many bytes."""
        return self._carry(self.server, self.client, self.to_client)

    def _carry(self, source: Pipe, target: Pipe, record: list[bytes]) -> int:
        carried = 0
        for data in source.data_to_send():
            carried += len(data)
            if data:
                record += data.splitlines()
            if self.is_cut:
                continue
            if not data:
                target.receive_eof()
            for chunk in self.chunker(data):
                target.receive_data(chunk)
        self.gather()
        return carried

    def gather(self) -> None:
        """Take the events of both sides."""
        self.server_events += self.server.events_received()
        self.client_events += self.client.events_received()

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at each deadline on the way."""
        until = self.now + seconds
        while True:
            due = [d for d in (self.server.next_deadline(), self.client.next_deadline()) if d is not None]
            if not due or min(due) > until:
                break
            self.now = max(self.now, min(due))
            self.server.handle_deadline(self.now)
            self.client.handle_deadline(self.now)
            self.gather()
        self.now = until

    def cut(self) -> None:
        """Cut the wire: both sides read the end of the stream, and nothing arrives any more."""
        self.is_cut = True
        self.server.engine.receive_eof()
        self.client.engine.receive_eof()
        self.gather()

    @staticmethod
    def take(events: list[Event], type_: type[E]) -> E:
        """Remove and return the first event of a class."""
        for index, event in enumerate(events):
            if isinstance(event, type_):
                del events[index]
                return event
        raise AssertionError(f"no {type_.__name__} among {events}")

    def at_server(self, type_: type[E]) -> E:
        """Carry on, then remove and return the server's first event of a class."""
        self.exchange()
        return self.take(self.server_events, type_)

    def at_client(self, type_: type[E]) -> E:
        """Carry on, then remove and return the client's first event of a class."""
        self.exchange()
        return self.take(self.client_events, type_)


# One engine alone, spoken to in JSON.

JSON = Mapping[str, Any]


def line(message: Any) -> bytes:
    """Return a message as it stands on the wire, without its newline."""
    return msgspec.json.encode(message)


def request(id_: Any, method: str, params: Any = None, **members: Any) -> dict[str, Any]:
    """Return a request; `params` is left out when `None`."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": id_, "method": method}
    if params is not None:
        message["params"] = params
    return message | members


def notification(method: str, params: Any = None) -> dict[str, Any]:
    """Return a notification."""
    message = request(0, method, params)
    del message["id"]
    return message


def result(id_: Any, value: Any) -> dict[str, Any]:
    """Return a response that brings a result."""
    return {"jsonrpc": "2.0", "id": id_, "result": value}


def failure(id_: Any, code: int, message: str = "no", **members: Any) -> dict[str, Any]:
    """Return a response that brings an error."""
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message, **members}}


def envelope_meta(revision: Revision = R2026, capabilities: Any = None, **members: Any) -> dict[str, Any]:
    """Return the `_meta` that every request of the envelope era carries."""
    prefix = "io.modelcontextprotocol/"
    own = {f"{prefix}protocolVersion": revision.name, f"{prefix}clientCapabilities": capabilities or {}}
    return own | members


def enveloped(id_: Any, method: str, params: Any = None, *, meta: Any = None) -> dict[str, Any]:
    """Return a request of the envelope era."""
    return request(id_, method, {**(params or {}), "_meta": envelope_meta() if meta is None else meta})


def initialize(revision: Revision, id_: Any = 0, capabilities: Any = None) -> dict[str, Any]:
    """Return the request that begins a handshake."""
    params = {
        "protocolVersion": revision.name,
        "capabilities": capabilities or {},
        "clientInfo": {"name": "c", "version": "1"},
    }
    return request(id_, "initialize", params)


class Talk:
    """One side, spoken to one message at a time.

    Args:
        engine: the engine under test.
    """

    def __init__(self, engine: ServerEngine | ClientEngine) -> None:
        self.engine: Any = engine
        self.pipe = Pipe(engine)
        self.events: list[Event] = []

    def say(self, *messages: Any) -> list[Any]:
        """Send messages, raw bytes or JSON values, one to a line; returns what is answered, decoded."""
        for message in messages:
            self.pipe.receive_data((message if isinstance(message, bytes) else line(message)) + b"\n")
        return self.hear()

    def say_quietly(self, *messages: Any) -> None:
        """Send messages and leave what is answered to be heard later."""
        for message in messages:
            self.pipe.receive_data(line(message) + b"\n")

    def hear(self) -> list[Any]:
        """Return what the engine has to say, decoded, and gather its events."""
        data = b"".join(self.pipe.data_to_send())
        self.events += self.pipe.events_received()
        return [msgspec.json.decode(text) for text in data.splitlines()]

    def take(self, type_: type[E]) -> E:
        """Remove and return the first event of a class."""
        self.hear_events()
        return EnginePair.take(self.events, type_)

    def hear_events(self) -> list[Event]:
        """Gather and return the events not yet taken."""
        self.events += self.pipe.events_received()
        return self.events


def server(revision: Revision | None = None, *, declared: Any = None, **options: Any) -> Talk:
    """Return a server to talk to; with a handshake revision, one whose client declared so much and is through it."""
    talk = Talk(ServerEngine(server_profile(**options)))
    if revision is not None and revision.era is Era.HANDSHAKE:
        (answer,) = talk.say(initialize(revision, 0, declared))
        assert answer["result"]["protocolVersion"] == revision.name
        assert talk.say(notification("notifications/initialized")) == []
        talk.events.clear()
    return talk


def small_limits(**limits: int) -> Limits:
    """Return limits with some of them set."""
    return Limits(**limits)


def client(revision: Revision, *, can: Any = None, versions: Any = None, **options: Any) -> Talk:
    """Return a client to talk to, ready in a revision, with a server that declares `can` (in JSON)."""
    talk = Talk(ClientEngine(client_profile(**{"revisions": [revision], **options})))
    talk.engine.start()
    (first,) = talk.hear()
    capabilities = msgspec.to_builtins(SERVER_CAN) if can is None else can
    if revision.era is Era.HANDSHAKE:
        answer = {
            "protocolVersion": revision.name,
            "capabilities": capabilities,
            "serverInfo": {"name": "s", "version": "1"},
        }
        (done,) = talk.say(result(first["id"], answer))
        assert done == notification("notifications/initialized")
    else:
        answer = {
            "resultType": "complete",
            "supportedVersions": versions or [revision.name],
            "capabilities": capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
        }
        assert talk.say(result(first["id"], answer)) == []
    talk.take(Ready)
    return talk
