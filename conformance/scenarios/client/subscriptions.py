"""What a client does that listens, caches, gives up, and follows tasks: each where it is told to."""

import asyncio
from typing import Any

from ...client import ClientTrial
from ...dialect import META
from ...scenario import ENVELOPE, Skip, scenario
from ...scripted import Call, ScriptedServer

TAG = f"{META}subscriptionId"
ACK = "notifications/subscriptions/acknowledged"
STARTS_WITHIN = 20.0
KEPT: dict[str, Any] = {"ttlMs": 60000, "cacheScope": "private"}
WATCHED = "test://watched"


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """Return a tool."""
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


def said(text: str) -> dict[str, Any]:
    """Return a tool's result."""
    return {"content": [{"type": "text", "text": text}]}


class _Listening:
    """Takes subscriptions, and tells of changes."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.calls: list[Call] = []
        server.capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
        server.scripts["subscriptions/listen"] = self.take
        server.scripts["tools/list"] = lambda call: {"tools": server.tools, **KEPT}
        server.scripts["resources/list"] = lambda call: {"resources": [{"uri": WATCHED, "name": "watched"}]}

    def take(self, call: Call) -> None:
        self.calls.append(call)
        wanted = call.params.get("notifications")
        call.send(self._note(ACK, call.message["id"], notifications=wanted))

    def of(self, name: str) -> list[Call]:
        """Return the subscriptions to a kind of change."""
        return [each for each in self.calls if (each.params.get("notifications") or {}).get(name)]

    def tell(self, call: Call, method: str, tag: Any = ..., **params: Any) -> None:
        """Tell of a change."""
        call.send(self._note(method, call.message["id"] if tag is ... else tag, **params))

    def _note(self, method: str, tag: Any, **params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": method, "params": {"_meta": {TAG: tag}, **params}}

    def reads(self) -> int:
        return len([m for m in self.server.requests("resources/read") if m["params"].get("uri") == WATCHED])

    def lists(self) -> int:
        return len(self.server.requests("tools/list"))


@scenario(
    covers=[184, 178],
    revisions=ENVELOPE,
    transports=("stdio", "websocket"),
    role="client",
    asks="list the tools; listen to changes of their list, and by a second subscription to updates of test://watched; "
    "list the tools again when they change, read the resource when it is updated; end after one of each",
)
async def client_listens(trial: ClientTrial) -> None:
    """What is told belongs to the subscription that it names, and makes stale what was kept."""
    server = await trial.serve()
    heard = _Listening(server)
    async with trial.client_running(server, until=STARTS_WITHIN) as running:
        await server.until(
            lambda: (heard.of("toolsListChanged") and heard.of("resourceSubscriptions")) or running.done(),
            STARTS_WITHIN,
        )
        is_told = bool(heard.of("toolsListChanged") and heard.of("resourceSubscriptions")) and len(heard.calls) == 2
        if not is_told or heard.of("toolsListChanged") == heard.of("resourceSubscriptions"):
            raise Skip("the client does not listen when it is told to")
        tools, updates = heard.of("toolsListChanged")[0], heard.of("resourceSubscriptions")[0]
        reads, lists = heard.reads(), heard.lists()
        heard.tell(tools, "notifications/resources/updated", "judge-no-such-subscription", uri=WATCHED)
        heard.tell(updates, "notifications/tools/list_changed", "judge-no-such-subscription")
        await server.until(lambda: heard.reads() > reads or heard.lists() > lists, 0.4)
        is_still = (heard.reads(), heard.lists()) == (reads, lists)
        trial.check(184, is_still, "the client followed what was told to a subscription that it never made")
        heard.tell(tools, "notifications/tools/list_changed")
        await server.until(lambda: heard.lists() > lists or running.done())
        heard.tell(updates, "notifications/resources/updated", uri=WATCHED)
        await server.until(lambda: heard.reads() > reads or running.done())
        if (heard.reads(), heard.lists()) == (reads, lists):
            raise Skip("the client listens, and does not look at what has changed")
        trial.check(184, heard.lists() > lists, "the list of tools changed, and the client did not list them")
        trial.check(184, heard.reads() > reads, "the resource was updated, and the client did not read it")
        if lists:
            trial.check(178, heard.lists() > lists, "a list that has changed was taken from the cache")


@scenario(
    covers=[55],
    revisions=ENVELOPE,
    transports=("stdio",),
    role="client",
    asks="listen to changes of the list of tools; when the connection is lost, connect again and go on; list the tools "
    "when they change, and end",
)
async def client_listens_again(trial: ClientTrial) -> None:
    """After a connection was lost a client that listens sends its subscriptions again."""
    server = await trial.serve()
    heard = _Listening(server)
    async with trial.client_running(server, until=STARTS_WITHIN) as running:
        await server.until(lambda: heard.calls or running.done(), STARTS_WITHIN)
        if not heard.calls:
            raise Skip("the client does not listen when it is told to")
        server.cut()
        await server.until(lambda: server.connections > 1 or running.done(), STARTS_WITHIN)
        if server.connections < 2:
            raise Skip("the client does not connect again")
        is_sent = await server.until(lambda: len(heard.calls) > 1 or running.done(), STARTS_WITHIN)
        trial.check(55, is_sent and len(heard.calls) > 1, "the client connected again and did not listen again")
        if len(heard.calls) > 1:
            heard.tell(heard.calls[-1], "notifications/tools/list_changed")


def _reports(server: ScriptedServer) -> list[Any]:
    calls = [m["params"] for m in server.requests("tools/call") if m["params"].get("name") == "report"]
    return [(params.get("arguments") or {}).get("text") for params in calls]


@scenario(
    covers=[176],
    revisions=ENVELOPE,
    role="client",
    asks="read test://one, test://two, and test://one again; after each call the tool report with what was read as its "
    "argument text",
)
async def client_caches(trial: ClientTrial) -> None:
    """What was kept of one resource is not given for another."""
    server = await trial.serve()
    server.tools = [tool("report", text={"type": "string"})]
    uris = ["test://one", "test://two"]
    server.scripts["resources/list"] = lambda call: {"resources": [{"uri": uri, "name": uri} for uri in uris]}

    def read(call: Call) -> dict[str, Any]:
        uri = call.params.get("uri")
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": f"this is {uri}"}], **KEPT}

    server.scripts["resources/read"] = read
    await trial.run_client(server)
    reports = _reports(server)
    if len(reports) != 3:
        raise Skip(f"the client reports {reports}, not what it reads")
    wanted = [f"this is {uri}" for uri in ("test://one", "test://two", "test://one")]
    reads = [m["params"].get("uri") for m in server.requests("resources/read")]
    if trial.check(176, reports == wanted, f"read: {wanted}; the client reports {reports}") and len(reads) > 2:
        trial.checks.clear()
        raise Skip("the client does not cache")


@scenario(
    covers=[177],
    revisions=ENVELOPE,
    role="client",
    asks="read test://asks twice, answering what is asked; after each call the tool report with what was read as its "
    "argument text",
)
async def client_caches_no_answers_to_inputs(trial: ClientTrial) -> None:
    """A result that came of inputs is not kept, whatever it says of itself."""
    server = await trial.serve()
    server.tools = [tool("report", text={"type": "string"})]
    form = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted = {"who": {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": form}}}
    server.scripts["resources/list"] = lambda call: {"resources": [{"uri": "test://asks", "name": "asks"}]}

    def read(call: Call) -> dict[str, Any]:
        if "inputResponses" not in call.params:
            return {"resultType": "input_required", "inputRequests": wanted, "ttlMs": ..., "cacheScope": ...}
        return {"contents": [{"uri": "test://asks", "mimeType": "text/plain", "text": "read"}], **KEPT}

    server.scripts["resources/read"] = read
    status = await trial.run_client(server)
    reads = [m["params"] for m in server.requests("resources/read") if m["params"].get("uri") == "test://asks"]
    answered = [params for params in reads if "inputResponses" in params]
    if not answered or _reports(server) != ["read", "read"]:
        raise Skip(f"the client does not read the resource twice and say so; it ended with {status}")
    begun = len(reads) - len(answered)
    trial.check(177, begun > 1, "the second read was answered from what was kept of the first, which came of inputs")


@scenario(
    covers=[50],
    revisions=ENVELOPE,
    transports=("stdio",),
    role="client",
    asks="call the tool slow, give up after half a second, and then call the tool quick",
)
async def client_gives_up(trial: ClientTrial) -> None:
    """A request that is given up is cancelled by its id."""
    server = await trial.serve()
    server.tools = [tool("slow"), tool("quick")]
    slow: list[Any] = []
    times: list[float] = []

    async def call(handle: Call) -> dict[str, Any]:
        times.append(asyncio.get_running_loop().time())
        if handle.params.get("name") == "slow":
            slow.append(handle.message["id"])
            await asyncio.sleep(30)
        return said("done")

    server.scripts["tools/call"] = call
    await trial.run_client(server, until=5.0)
    quick = [m for m in server.requests("tools/call") if m["params"].get("name") == "quick"]
    # Whoever makes both calls at once has not given up the first.
    if not slow or not quick or times[-1] - times[0] < 0.3:
        raise Skip("the client does not give up when it is told to")
    named = [(m.get("params") or {}).get("requestId") for m in server.requests("notifications/cancelled")]
    trial.check(50, named[:1] == slow[:1], f"the request {slow[0]!r} was given up; cancelled: {named}")
