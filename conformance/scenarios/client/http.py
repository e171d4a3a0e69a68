"""What a client does over Streamable HTTP."""

import asyncio
import base64
from typing import Any

from ...client import ClientTrial
from ...scenario import ENVELOPE, Skip, scenario
from ...scripted import SESSION, Call

HTTP = ("http",)
DONE = {"content": [{"type": "text", "text": "done"}]}


def _tools(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "inputSchema": {"type": "object", "properties": {}}} for name in names]


@scenario(covers=[61, 107], revisions="BCDE", transports=HTTP, role="client")
async def client_reads_streams(trial: ClientTrial) -> None:
    """An answer may be JSON or a stream, with comments, odd line ends, unknown fields and data in several lines."""
    server = await trial.serve()
    server.tools = _tools("first", "second")

    def call(handle: Call) -> None:
        handle.comment(b"hello")
        handle.open_stream()
        sealed = {"resultType": "complete"} if trial.is_envelope else {}
        text = str({"jsonrpc": "2.0", "id": handle.message["id"], "result": {**DONE, **sealed}}).replace("'", '"')
        cut = text.index(",") + 1
        handle.raw(b": another\r\nunknown: field\r\n")
        handle.raw(f"data: {text[:cut]}\r\ndata: {text[cut:]}\r\n\r\n".encode())
        handle.end()

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    calls = server.requests("tools/call")
    trial.check(
        61,
        status == 0 and len(calls) == 2,
        f"{len(calls)} calls, the client ended with {status}: {trial.stderr[-200:]}",
    )
    trial.check(107, status == 0 and len(calls) == 2, f"comments: the client ended with {status}")


@scenario(covers=[82], revisions="BCD", transports=HTTP, role="client")
async def client_loses_its_session(trial: ClientTrial) -> None:
    """When its session is gone a client shakes hands again, without the old name."""
    server = await trial.serve()
    gone = False

    def tools(handle: Call) -> Any:
        nonlocal gone
        if not gone:
            gone = True
            handle.error(-32600, "Session not found", None, 404)
            return None
        return {"tools": server.tools}

    server.scripts["tools/list"] = tools
    await trial.run_client(server)
    starts = [head for head, m in zip(server.heads, _posts(server), strict=False) if m == "initialize"]
    if not gone:
        raise Skip("the client lists no tools")
    trial.check(82, len(server.requests("initialize")) > 1, "after 404 the client did not shake hands again")
    named = [head.get("mcp-session-id") for head in starts[1:]]
    trial.check(82, SESSION not in named, "the new handshake names the old session")


def _posts(server: Any) -> list[str | None]:
    """Return the method of each HTTP request's message, in the order of `server.heads`."""
    messages = iter(server.messages)
    found: list[str | None] = []
    for head in server.heads:
        message = next(messages, None) if head.method == "POST" else None
        found.append(message.get("method") if isinstance(message, dict) else None)
    return found


@scenario(covers=[68, 61], revisions="BCD", transports=HTTP, role="client")
async def client_without_a_standalone_stream(trial: ClientTrial) -> None:
    """A server that answers GET with 405 is used all the same."""
    server = await trial.serve()
    server.answers_get = 405
    status = await trial.run_client(server)
    trial.check(61, status == 0, f"the client ended with {status}: {trial.stderr[-200:]}")
    gets = [head for head in server.heads if head.method == "GET"]
    for head in gets:
        trial.check(68, "text/event-stream" in (head.get("accept") or ""), f"GET with Accept {head.get('accept')!r}")


@scenario(covers=[75, 76], revisions="D", transports=HTTP, role="client")
async def client_fetches_the_rest(trial: ClientTrial) -> None:
    """A stream that ends early is taken up again after the time that was named, with the id of its last event."""
    server = await trial.serve()
    times: list[float] = []
    held: list[Any] = []
    clock = asyncio.get_running_loop().time

    def call(handle: Call) -> None:
        handle.open_stream()
        handle.raw(b"id: judge-7\nretry: 400\ndata:\n\n")
        held.append(handle.message["id"])
        times.append(clock())
        handle.end()

    def get(handle: Call) -> None:
        last = handle.http.get("last-event-id") if handle.http else None
        if last == "judge-7":
            times.append(clock())
            handle.send({"jsonrpc": "2.0", "id": held[-1], "result": DONE}, id="judge-8")
            handle.end()
        else:
            handle.open_stream()

    server.scripts["tools/call"] = call
    server.scripts["GET"] = get
    await trial.run_client(server)
    if not held:
        raise Skip("the client called no tool")
    if trial.check(76, len(times) > 1, "the client did not come back with Last-Event-ID"):
        waited = times[1] - times[0]
        trial.check(75, waited >= 0.38, f"the client came back after {waited:.3f} s; it was told 0.4 s")


@scenario(covers=[106], revisions=ENVELOPE, transports=HTTP, role="client")
async def client_does_not_resume(trial: ClientTrial) -> None:
    """A stream that breaks is not taken up again; asking again is a new request."""
    server = await trial.serve()
    ids: list[Any] = []

    def call(handle: Call) -> Any:
        ids.append(handle.message["id"])
        if len(ids) > 1:
            return dict(DONE)
        handle.open_stream()
        handle.raw(b"id: judge-7\ndata:\n\n")
        handle.end()
        return None

    server.scripts["tools/call"] = call
    await trial.run_client(server)
    if not ids:
        raise Skip("the client called no tool")
    resumed = [head for head in server.heads if head.get("last-event-id") is not None or head.method == "GET"]
    trial.check(106, not resumed, "the client tried to take up a broken stream")
    trial.check(106, len(set(map(str, ids))) == len(ids), f"asked again under the id {ids}")


REGION = {"type": "string", "x-mcp-header": "Region"}
ARGUMENTS = {
    "plain": "us-west1", "number": 42, "flag": True, "text": "Zürich", "edge": " padded ",
    "look": "=?base64?YQ==?=", "hidden": "secret",
}  # fmt: skip


@scenario(covers=[109, 110, 111, 112, 113], revisions=ENVELOPE, transports=HTTP, role="client")
async def client_mirrors_arguments(trial: ClientTrial) -> None:
    """Arguments are repeated in headers where the schema says so, and tools with a bad annotation are left alone.

    The client under test fills arguments by constants of the schema: `const` says what each is to be.
    """
    server = await trial.serve()
    kinds = {"number": "integer", "flag": "boolean"}
    properties = {
        name: {"type": kinds.get(name, "string"), "const": value, "x-mcp-header": name.capitalize()}
        for name, value in ARGUMENTS.items()
    }
    del properties["hidden"]["x-mcp-header"]
    properties["absent"] = {"type": "string", "default": "x", "x-mcp-header": "Absent"}
    good = {"name": "good", "inputSchema": {"type": "object", "properties": properties}}
    bad = [
        {"name": f"bad{index}", "inputSchema": {"type": "object", "properties": row}}
        for index, row in enumerate(
            (
                {"a": {"type": "string", "x-mcp-header": ""}},
                {"a": {"type": "string", "x-mcp-header": "no token"}},
                {"a": {"type": "number", "x-mcp-header": "A"}},
                {"a": {"type": "object", "x-mcp-header": "A"}},
                {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}},
                {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}},
            )
        )
    ]
    server.tools = [*bad, good]
    await trial.run_client(server)
    calls = [(c.params.get("name"), c) for c in server.calls if c.message["method"] == "tools/call"]
    if not calls:
        trial.check(113, not server.requests("tools/list"), "no tool was called, not even the one without a fault")
        raise Skip("the client called no tool")
    called = [name for name, _ in calls]
    trial.check(113, "good" in called, f"called: {called}")
    trial.check(113, not any(str(name).startswith("bad") for name in called), f"called: {called}")
    for name, call in calls:
        if name == "good" and call.http is not None:
            _mirrored(trial, call)


def _mirrored(trial: ClientTrial, call: Call) -> None:
    arguments = call.params.get("arguments") or {}
    assert call.http is not None
    told = {name: call.http.get(f"Mcp-Param-{name.capitalize()}") for name in (*ARGUMENTS, "absent")}
    wrapped = {name: "=?base64?" + base64.b64encode(str(arguments.get(name)).encode()).decode() + "?="
               for name in ("text", "edge", "look")}  # fmt: skip
    if "plain" in arguments:
        trial.check(109, told["plain"] == arguments["plain"], f"{arguments['plain']!r} as {told['plain']!r}")
    trial.check(109, told["hidden"] is None, "an argument without the annotation was repeated")
    if "absent" not in arguments:
        trial.check(110, told["absent"] is None, "a header for an argument that was not given")
    if type(arguments.get("number")) is int:
        trial.check(111, told["number"] == str(arguments["number"]), f"{arguments['number']} as {told['number']!r}")
    if type(arguments.get("flag")) is bool:
        wanted = "true" if arguments["flag"] else "false"
        trial.check(111, told["flag"] == wanted, f"{arguments['flag']} as {told['flag']!r}")
    for name, value in wrapped.items():
        # A client that fills in something else sends what may need no wrapping.
        if arguments.get(name) == ARGUMENTS[name]:
            trial.check(112, told[name] == value, f"{arguments[name]!r} as {told[name]!r}, expected {value!r}")
