"""What a client makes of servers that are odd, or that it has to refuse something."""

import asyncio
import json
from typing import Any

from ...client import ClientTrial
from ...scenario import Skip, scenario
from ...scripted import Call
from .sse import odd_answer
from .subscriptions import said, tool


@scenario(covers=[1, 8], role="client")
async def client_reads_odd_messages(trial: ClientTrial) -> None:
    """Escapes, spaces, members in any order, unknown ones, and a long text make no difference."""
    server = await trial.serve()
    server.tools = [tool("first"), tool("second")]

    async def call(handle: Call) -> None:
        text = "zażółć \U0001f389 \u2028 " + ("x" * (1 << 18) if handle.params.get("name") == "first" else "")
        result: dict[str, Any] = {"judgeMadeThisUp": [None], **said(text)}
        if trial.is_envelope:
            result["resultType"] = "complete"
        message = {"result": result, "id": handle.message["id"], "judgeMadeThisUp": 1, "jsonrpc": "2.0"}
        is_escaped = handle.params.get("name") == "first"
        spaced = json.dumps(message, ensure_ascii=is_escaped, separators=(" ,\t", " : ")).encode()
        handle.send(spaced)
        handle.end_stream()

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    count = len(server.requests("tools/call"))
    is_fine = status == 0 and count == 2
    for rule in (1, 8):
        trial.check(rule, is_fine, f"{count} calls, the client ended with {status}: {trial.stderr[-200:]}")


@scenario(covers=[1, 8], transports=("stdio",), role="client")
async def client_reads_crumbs(trial: ClientTrial) -> None:
    """A line that comes in crumbs, characters cut in two, and several lines in one piece are understood."""
    server = await trial.serve()
    server.tools = [tool("first"), tool("second")]

    async def call(handle: Call) -> None:
        result: dict[str, Any] = said("zażółć \U0001f389")
        if trial.is_envelope:
            result["resultType"] = "complete"
        message = {"jsonrpc": "2.0", "id": handle.message["id"], "result": result}
        line = json.dumps(message, ensure_ascii=False).encode() + b"\n"
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/judge-made-this-up"}).encode() + b"\n"
        for at in range(0, len(line) - 5, 5):
            server.write_raw(line[at : at + 5])
            await asyncio.sleep(0.001)
        # At once: when the line has ended the next answer may begin.
        server.write_raw(line[len(line) - 1 - (len(line) - 1) % 5 :] + note * 3)
        handle.is_done = True

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    count = len(server.requests("tools/call"))
    is_fine = status == 0 and count == 2
    for rule in (1, 8):
        trial.check(rule, is_fine, f"{count} calls, the client ended with {status}: {trial.stderr[-200:]}")


@scenario(covers=[61], revisions="BCDE", transports=("http",), role="client")
async def client_reads_hostile_streams(trial: ClientTrial) -> None:
    """A long comment, every kind of line end, and text that comes byte by byte are read."""
    server = await trial.serve()
    server.tools = [tool("first"), tool("second")]

    async def call(handle: Call) -> None:
        handle.open_stream()
        await odd_answer(server, handle, **({"resultType": "complete"} if trial.is_envelope else {}))
        handle.end()

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    count = len(server.requests("tools/call"))
    is_fine = status == 0 and count == 2
    trial.check(61, is_fine, f"{count} calls, the client ended with {status}: {trial.stderr[-200:]}")


@scenario(
    covers=[150],
    revisions="D",
    role="client",
    asks="declare elicitation by form and not by URL; use everything there is",
)
async def client_refuses_a_mode(trial: ClientTrial) -> None:
    """A question in a mode that the client did not declare is refused with -32602."""
    server = await trial.serve()
    answers: list[dict[str, Any]] = []
    asked = {"mode": "url", "url": "https://example.com/judge", "message": "Look", "elicitationId": "judge-1"}

    async def call(handle: Call) -> dict[str, Any]:
        answers.append(await handle.ask("elicitation/create", asked))
        return said("done")

    server.scripts["tools/call"] = call
    await trial.run_client(server)
    able = [(m["params"].get("capabilities") or {}) for m in server.requests("initialize")]
    if not answers or "elicitation" not in able[0]:
        raise Skip("the client called no tool, or declares no elicitation")
    if "url" in able[0]["elicitation"]:
        raise Skip("the client declares that it shows URLs")
    code = (answers[0].get("error") or {}).get("code")
    trial.check(150, code == -32602, f"a URL for a client that shows only forms was answered with {answers[0]}")


_PAIR = {"type": "array", "prefixItems": [{"type": "integer"}]}
_SCHEMAS: tuple[tuple[str, dict[str, Any], Any, bool], ...] = (
    ("a number that is text", {"properties": {"n": {"type": "integer"}}}, {"n": "text"}, False),
    ("prefixItems, which fit", {"properties": {"n": _PAIR}}, {"n": [1, "x"]}, True),
    ("prefixItems, which do not fit", {"properties": {"n": _PAIR}}, {"n": ["x"]}, False),
    ("a dialect that nobody knows", {"$schema": "https://judge.invalid/dialect"}, {"n": 1}, False),
)


@scenario(covers=[125], revisions="DE", transports=("stdio", "http"), role="client")
async def client_validates_by_dialect(trial: ClientTrial) -> None:
    """A schema that names no dialect is one of 2020-12; one of an unknown dialect is an error."""
    for what, schema, content, is_right in _SCHEMAS:
        server = await trial.serve()
        server.tools = [{**tool("first"), "outputSchema": {"type": "object", **schema}}]
        server.scripts["tools/call"] = lambda call, c=content: {**said(json.dumps(c)), "structuredContent": c}
        status = await trial.run_client(server)
        if what == "a number that is text":
            if status == 0 or not server.requests("tools/call"):
                raise Skip("the client does not validate structured content")
            continue
        trial.check(125, (status == 0) == is_right, f"{what}: the client ended with {status}: {trial.stderr[-200:]}")
