"""What a client does with a sound server, and with one that is merely unusual."""

import asyncio
from typing import Any

from ...client import ClientTrial
from ...dialect import META
from ...requirements import revisions
from ...scenario import ENVELOPE, HANDSHAKE, Skip, scenario
from ...scripted import Call, Script, ScriptedServer

BASE = [1, 2, 3, 5, 8, 14, 17, 18, 22, 28, 29, 45, 47, 48, 59, 60, 79, 84, 93, 99, 108]


def _called(server: ScriptedServer, *names: str) -> bool:
    done = [(m.get("params") or {}).get("name") for m in server.requests("tools/call")]
    return all(name in done for name in names)


def _tools(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "inputSchema": {"type": "object", "properties": {}}} for name in names]


@scenario(covers=BASE, role="client")
async def client_uses_a_server(trial: ClientTrial) -> None:
    """The client connects, lists what there is, and uses it."""
    server = await trial.serve()
    status = await trial.run_client(server)
    trial.check(1, status == 0, f"the client ended with {status}: {trial.stderr[-200:]}")
    trial.check(1, bool(server.requests("tools/list")), "the client lists no tools")
    trial.check(17, bool(server.requests("initialize")), "the client did not initialize")
    trial.check(22, bool(server.requests("notifications/initialized")), "notifications/initialized did not come")
    if trial.is_envelope and not any(isinstance(m, dict) and "method" in m for m in server.messages):
        raise Skip("the client sent nothing")


@scenario(covers=[25, 4, 5, 7], revisions=HANDSHAKE, role="client")
async def client_answers_pings(trial: ClientTrial) -> None:
    """A ping in the middle of a call is answered; a notification nobody knows is not."""
    server = await trial.serve()
    answers: list[dict[str, Any]] = []

    async def call(handle: Call) -> dict[str, Any]:
        handle.send({"jsonrpc": "2.0", "method": "notifications/judge-made-this-up", "params": {}})
        answers.append(await handle.ask("ping", {}))
        return {"content": [{"type": "text", "text": "done"}]}

    server.scripts["tools/call"] = call
    await trial.run_client(server)
    if not answers:
        raise Skip("the client called no tool")
    trial.check(25, answers[0].get("result") == {}, f"a ping was answered with {answers[0]}")
    trial.check(4, str(answers[0].get("id", "")).startswith("judge-"), f"a ping was answered with {answers[0]}")
    stray = [
        m for m in server.messages if isinstance(m, dict) and "method" not in m and m.get("id") not in server.asked
    ]
    trial.check(7, not stray, f"not asked for: {stray}")


@scenario(covers=[23], revisions=HANDSHAKE, role="client")
async def client_meets_an_unknown_version(trial: ClientTrial) -> None:
    """A client that cannot use the revision the server chose goes away."""
    server = await trial.serve()
    server.scripts["initialize"] = lambda call: {
        "protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": server.info}  # fmt: skip
    await trial.run_client(server)
    if not server.requests("initialize"):
        raise Skip("the client did not initialize")
    after = [
        m["method"]
        for m in server.messages
        if isinstance(m, dict) and m.get("method") not in (None, "initialize", "server/discover")
    ]
    trial.check(23, not after, f"after a revision it does not know the client sent {after}")


@scenario(covers=[146], role="client")
async def client_ignores_stray_messages(trial: ClientTrial) -> None:
    """Answers to requests that were never sent, and unknown notifications, are ignored."""
    server = await trial.serve()
    server.tools = _tools("first", "second")

    def call(handle: Call) -> dict[str, Any]:
        handle.send({"jsonrpc": "2.0", "id": "never-sent", "result": {}})
        handle.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "never-sent"}})
        handle.send({"jsonrpc": "2.0", "method": "notifications/judge-made-this-up"})
        return {"content": [{"type": "text", "text": "done"}]}

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    trial.check(
        146,
        status == 0 and _called(server, "first", "second"),
        f"the client ended with {status}: {trial.stderr[-200:]}",
    )


@scenario(covers=[12], revisions="B", role="client")
async def client_takes_batches(trial: ClientTrial) -> None:
    """An answer may come in a batch with other messages."""
    server = await trial.serve()
    server.tools = _tools("first", "second")

    def call(handle: Call) -> None:
        note = {"jsonrpc": "2.0", "method": "notifications/judge-made-this-up"}
        result = {"content": [{"type": "text", "text": "done"}]}
        handle.answer([note, {"jsonrpc": "2.0", "id": handle.message["id"], "result": result}])

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    trial.check(
        12, status == 0 and _called(server, "first", "second"), f"the client ended with {status}: {trial.stderr[-200:]}"
    )


@scenario(covers=[134], role="client")
async def client_follows_cursors(trial: ClientTrial) -> None:
    """Cursors are passed back as they came, the empty one too where it is one, until there is none."""
    server = await trial.serve()
    middle = "" if trial.is_envelope else "zwei/ 2=="
    pages: dict[Any, tuple[str, str | None]] = {None: ("first", middle), middle: ("second", "3"), "3": ("third", None)}
    cursors: list[Any] = []

    def tools(handle: Call) -> dict[str, Any]:
        cursors.append(handle.params.get("cursor"))
        name, following = pages.get(cursors[-1], ("stray", None))
        return {"tools": _tools(name)} | ({} if following is None else {"nextCursor": following})

    server.scripts["tools/list"] = tools
    await trial.run_client(server)
    if not cursors:
        raise Skip("the client lists no tools")
    trial.check(134, [None, middle, "3"] == cursors[:3], f"the cursors sent: {cursors}")


@scenario(covers=[10], revisions=ENVELOPE, role="client")
async def client_reads_untyped_results(trial: ClientTrial) -> None:
    """A result without `resultType` is taken for complete."""
    server = await trial.serve()
    server.tools = _tools("first", "second")
    server.scripts["tools/call"] = lambda call: {"content": [{"type": "text", "text": "done"}], "resultType": ...}
    status = await trial.run_client(server)
    is_fine = status == 0 and _called(server, "first", "second")
    trial.check(10, is_fine, f"the client ended with {status}: {trial.stderr[-200:]}")


@scenario(covers=[11, 205], revisions=ENVELOPE, role="client")
async def client_meets_an_unknown_result_type(trial: ClientTrial) -> None:
    """A result of a type nobody agreed on is an error: the client does not end as if all were well."""
    server = await trial.serve()
    server.scripts["tools/call"] = lambda call: {"content": [], "resultType": "judge-made-this-up"}
    status = await trial.run_client(server)
    if not server.requests("tools/call"):
        raise Skip("the client called no tool")
    trial.check(11, status != 0, "the client ended as if all were well")
    other = await trial.serve()
    other.scripts["resources/read"] = lambda call: {"resultType": "task", "taskId": "x", "status": "working"}
    status = await trial.run_client(other)
    if other.requests("resources/read"):
        trial.check(205, status != 0, "a task as the result of resources/read: the client ended as if all were well")


@scenario(covers=[52, 53], revisions=ENVELOPE, role="client")
async def client_falls_back(trial: ClientTrial) -> None:
    """A client of both eras asks first, and shakes hands with a server that does not understand."""
    older = list(revisions_before(trial))
    for code in (-32601, -32602, -32000):
        server = await trial.serve()
        server.revision = older[-1]
        server.has_sessions = False
        server.monitor.is_open = True  # type: ignore[attr-defined]
        server.scripts["server/discover"] = _refuses(code)
        await trial.run_client(server, MCP_CONFORMANCE_PROTOCOL_VERSION="")
        methods = [m.get("method") for m in server.messages if isinstance(m, dict)]
        trial.check(52, methods[:1] == ["server/discover"], f"the client began with {methods[:2]}")
        trial.check(53, "initialize" in methods, f"after the error {code} the client sent {methods[1:3]}")


def _refuses(code: int) -> Script:
    return lambda call: call.error(code, "what is that?")


def revisions_before(trial: ClientTrial) -> Any:
    """Return the revisions that shake hands."""
    return (each for each in revisions().values() if not each.is_envelope)


@scenario(covers=[36, 54], revisions=ENVELOPE, role="client")
async def client_is_told_the_versions(trial: ClientTrial) -> None:
    """A refusal that names a revision both speak is followed by a request of that revision, not by a handshake."""
    server = await trial.serve()
    count = 0

    def refuse(handle: Call) -> Any:
        nonlocal count
        count += 1
        if count == 1:
            data = {"supported": [trial.revision.name], "requested": handle.meta.get(f"{META}protocolVersion")}
            handle.error(-32022, "Unsupported protocol version", data, 400)
            return None
        return {"supportedVersions": [trial.revision.name], "capabilities": server.capabilities}

    server.scripts["server/discover"] = refuse
    await trial.run_client(server, MCP_CONFORMANCE_PROTOCOL_VERSION="")
    methods = [m.get("method") for m in server.messages if isinstance(m, dict)]
    if "server/discover" not in methods:
        raise Skip("the client does not probe")
    trial.check(54, "initialize" not in methods, f"the client sent {methods}")
    trial.check(36, len(methods) > 1 and methods[1] != "initialize", f"after -32022 the client sent {methods[1:3]}")


@scenario(covers=[166, 167, 168, 169, 170], revisions=ENVELOPE, role="client")
async def client_gives_inputs(trial: ClientTrial) -> None:
    """What is asked for is answered by the same request under another id, with the state as it came."""
    server = await trial.serve()
    server.tools = _tools("stateful", "plain")
    state = "opaque/==\u00e9 state"
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted = {"who": {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": schema}}}
    rounds: dict[str, list[dict[str, Any]]] = {"stateful": [], "plain": []}

    def call(handle: Call) -> dict[str, Any]:
        name = handle.params.get("name")
        seen = rounds.setdefault(str(name), [])
        seen.append(handle.message)
        if name == "stateful" and len(seen) == 1:
            return {"resultType": "input_required", "inputRequests": wanted, "requestState": state}
        if name == "stateful" and len(seen) == 2:
            return {"resultType": "input_required", "inputRequests": wanted}
        return {"content": [{"type": "text", "text": "done"}]}

    server.scripts["tools/call"] = call
    await trial.run_client(server)
    sent = rounds["stateful"]
    if len(sent) < 2:
        trial.check(170, not sent, "the client did not come back with inputs")
        raise Skip("the client called no tool, or answers no questions")
    first, second = sent[0], sent[1]
    trial.check(166, first["id"] != second["id"], f"the retry has the id {second['id']!r} again")
    kept = ("name", "arguments")
    same = all(first["params"].get(key) == second["params"].get(key) for key in kept)
    trial.check(166, same, f"the retry's params are {second['params']}")
    trial.check(
        167,
        second["params"].get("requestState") == state,
        f"the state came back as {second['params'].get('requestState')!r}",
    )
    responses = second["params"].get("inputResponses")
    is_keyed = isinstance(responses, dict) and set(responses) == {"who"}
    trial.check(168, is_keyed, f"inputResponses: {responses}")
    if is_keyed:
        answer = responses["who"]
        is_bare = isinstance(answer, dict) and answer.get("action") in ("accept", "decline", "cancel")
        trial.check(168, is_bare and not {"jsonrpc", "result", "resultType"} & set(answer), f"an input is {answer}")
        trial.check(170, is_bare, f"an input is {answer}")
    if len(sent) > 2:
        trial.check(167, "requestState" not in sent[2]["params"], "a state of an earlier round was sent again")
    for other in rounds["plain"]:
        stray = {"inputResponses", "requestState"} & set(other["params"])
        trial.check(169, not stray, f"another call carries {stray}")


@scenario(covers=[149, 157, 153], revisions="CD", role="client")
async def client_answers_forms(trial: ClientTrial) -> None:
    """A form without a mode is a form; the answer has an action, and content that fits."""
    server = await trial.serve()
    answers: list[dict[str, Any]] = []
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 30}},
        "required": ["name"],
    }

    async def call(handle: Call) -> dict[str, Any]:
        answers.append(await handle.ask("elicitation/create", {"message": "Who?", "requestedSchema": schema}))
        return {"content": [{"type": "text", "text": "done"}]}

    server.scripts["tools/call"] = call
    await trial.run_client(server)
    able = [(m["params"].get("capabilities") or {}) for m in server.requests("initialize")]
    if not answers or not able or "elicitation" not in able[0]:
        raise Skip("the client called no tool, or declares no elicitation")
    result = answers[0].get("result") or {}
    trial.check(149, bool(result), f"a form without mode was answered with {answers[0]}")
    trial.check(157, result.get("action") in ("accept", "decline", "cancel"), f"the answer is {answers[0]}")
    if result.get("action") == "accept":
        content = result.get("content") or {}
        fits = isinstance(content.get("name"), str) and type(content.get("age", 0)) is int
        trial.check(153, fits, f"the content is {content}")


@scenario(covers=[139, 24], revisions=HANDSHAKE, role="client")
async def client_shows_roots(trial: ClientTrial) -> None:
    """Roots are files."""
    server = await trial.serve()
    answers: list[dict[str, Any]] = []

    async def call(handle: Call) -> dict[str, Any]:
        answers.append(await handle.ask("roots/list", {}))
        return {"content": [{"type": "text", "text": "done"}]}

    server.scripts["tools/call"] = call
    await trial.run_client(server)
    able = [(m["params"].get("capabilities") or {}) for m in server.requests("initialize")]
    if not answers:
        raise Skip("the client called no tool")
    if "roots" not in able[0]:
        trial.check(24, "error" in answers[0], f"roots were not declared, and are {answers[0]}")
        return
    roots = (answers[0].get("result") or {}).get("roots")
    is_whole = isinstance(roots, list) and all(str(root.get("uri", "")).startswith("file://") for root in roots)
    trial.check(139, is_whole, f"roots/list was answered with {answers[0]}")
    trial.check(24, is_whole, "roots were declared and are there")


@scenario(covers=[123], revisions="CDE", role="client")
async def client_checks_structured_content(trial: ClientTrial) -> None:
    """Structured content that does not fit the tool's schema is not taken as if it did."""
    server = await trial.serve()
    output = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    server.tools = [{"name": "first", "inputSchema": {"type": "object"}, "outputSchema": output}]
    bad = {"content": [{"type": "text", "text": "x"}], "structuredContent": {"n": "no number"}}
    server.scripts["tools/call"] = lambda call: dict(bad)
    status = await trial.run_client(server)
    if not server.requests("tools/call"):
        raise Skip("the client called no tool")
    trial.check(123, status != 0, "the client ended as if all were well")


@scenario(covers=[126], revisions="DE", transports=("http",), role="client")
async def client_fetches_no_schemas(trial: ClientTrial) -> None:
    """A schema that points elsewhere is not fetched."""
    server = await trial.serve()
    canary = server.address.replace("/mcp", "/canary.json")
    schema = {"type": "object", "properties": {"x": {"$ref": canary}}}
    server.tools = [{"name": "first", "inputSchema": schema, "outputSchema": {"$ref": canary}}, *_tools("second")]
    await trial.run_client(server)
    if not server.requests("tools/list"):
        raise Skip("the client lists no tools")
    fetched = [head.target for head in server.heads if "canary" in head.target]
    trial.check(126, not fetched, f"the client fetched {fetched}")


@scenario(covers=[13, 44, 43], role="client")
async def client_keeps_to_itself(trial: ClientTrial) -> None:
    """`initialize` stands alone; names of extensions have a prefix; a server without any is used all the same."""
    server = await trial.serve()
    status = await trial.run_client(server)
    batched = [m for m in server.messages if isinstance(m, list) and any(e.get("method") == "initialize" for e in m)]
    trial.check(13, not batched, "initialize was sent in a batch")
    able = [c.meta.get(f"{META}clientCapabilities") or {} for c in server.calls]
    names = {name for each in able for name in (each.get("extensions") or {})}
    if names:
        trial.check(43, all("/" in name for name in names), f"extensions: {names}")
    trial.check(44, status == 0, f"a server without extensions: the client ended with {status}")


@scenario(covers=[143, 144], role="client")
async def client_hears_progress(trial: ClientTrial) -> None:
    """Progress, also for tokens nobody gave, does no harm."""
    server = await trial.serve()
    server.tools = _tools("first", "second")

    async def call(handle: Call) -> dict[str, Any]:
        token = handle.meta.get("progressToken", "nobody")
        for value in (1, 2):
            params = {"progressToken": token, "progress": value, "total": 2}
            handle.send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            await asyncio.sleep(0)
        return {"content": [{"type": "text", "text": "done"}]}

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    trial.check(
        144,
        status == 0 and _called(server, "first", "second"),
        f"the client ended with {status}: {trial.stderr[-200:]}",
    )
    sent = [m for m in server.messages if isinstance(m, dict) and m.get("method") == "notifications/progress"]
    trial.check(143, not sent or not trial.is_envelope, f"the client told progress: {sent[:1]}")


RICH: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"place": {"$anchor": "place", "type": "object", "properties": {"city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "place": {"$ref": "#/$defs/place"}},
    "allOf": [{"anyOf": [{"required": ["name"]}, {"required": ["place"]}]}],
    "if": {"required": ["name"]},
    "then": {"required": ["place"]},
    "else": {"minProperties": 1},
    "additionalProperties": False,
    "x-of-the-judge": [1, {"kept": None}],
}


@scenario(covers=[127], revisions="DE", role="client")
async def json_schema_2020_12_preservation(trial: ClientTrial) -> None:
    """The schema of `json_schema_2020_12_tool` comes back, as it was, in a call of `json_schema_echo`."""
    server = await trial.serve()
    echo = {"name": "json_schema_echo", "inputSchema": {"type": "object", "properties": {"schema": {"type": "object"}}}}
    server.tools = [{"name": "json_schema_2020_12_tool", "inputSchema": RICH}, echo]
    await trial.run_client(server)
    sent = [m["params"] for m in server.requests("tools/call") if m["params"].get("name") == "json_schema_echo"]
    schemas = [(each.get("arguments") or {}).get("schema") for each in sent]
    if not any(schemas):
        raise Skip("the client does not echo schemas")
    trial.check(127, schemas[0] == RICH, f"the schema came back as {schemas[0]}")
