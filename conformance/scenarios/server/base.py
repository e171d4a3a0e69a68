"""JSON-RPC itself: ids, errors, notifications, batches."""

import json
from typing import Any

from ...dialect import Received
from ...scenario import Skip, Trial, is_http, scenario

UNKNOWN = "judge/no-such-method"


@scenario(covers=[1, 4, 5, 8, 9, 14, 34, 46])
async def request_ids(trial: Trial) -> None:
    """Ids come back as they were sent: numbers, zero, text, the empty text, text that looks like a number."""
    talk = await trial.open()
    for request_id in (1001, 0, "text", "", "7", 2**53 - 1, "ünïcode"):
        reply = await talk.request("tools/list", id=request_id)
        got = reply.message.get("id") if reply.message else None
        is_same = type(got) is type(request_id) and got == request_id
        trial.check(4, is_same, f"the id {request_id!r} came back as {got!r}")


@scenario(covers=[6, 15, 16, 98])
async def unknown_method(trial: Trial) -> None:
    """A method that does not exist is answered with -32601, over HTTP in the newest revision with 404."""
    talk = await trial.open()
    reply = await talk.request(UNKNOWN)
    status = 404 if trial.is_envelope else None
    trial.refused(6, reply, None, what="an unknown method")
    if trial.is_envelope:
        trial.refused(98, reply, -32601, status, "an unknown method")
        if reply.error is not None:
            same = reply.message is not None and reply.message.get("id") == reply.id
            trial.check(16, same, f"the error to {reply.id!r} is {reply.show()}")


@scenario(covers=[7, 146])
async def notifications_are_not_answered(trial: Trial) -> None:
    """A notification, also one of an unknown method or for an unknown request, gets no answer."""
    talk = await trial.open()
    seen = len(talk.inbox)
    statuses = []
    for method, params in (
        ("notifications/judge-made-this-up", {}),
        ("notifications/cancelled", {"requestId": "never-sent", "reason": "the judge"}),
        ("notifications/cancelled", {"requestId": 987654}),
    ):
        if trial.is_http and trial.is_envelope and method == "notifications/cancelled":
            continue
        given = params if not trial.is_envelope else {**params, **(talk.stamp({}, None) or {})}
        statuses.append(await talk.notify(method, given))
    await talk.fence()
    stray = [r.message for r in talk.inbox[seen:] if isinstance(r.message, dict) and "method" not in r.message]
    stray = [m for m in stray if m.get("id") in (None, "never-sent", 987654)]
    trial.check(7, not stray, f"a notification was answered: {stray[:1]}")
    trial.check(146, not stray, f"a cancel for an unknown request was answered: {stray[:1]}")


def _is_answer(received: Received) -> bool:
    # A server of several connections may tell this one meanwhile what others changed.
    return received.method is None


@scenario(covers=[1, 16])
async def unreadable_messages(trial: Trial) -> None:
    """What is no JSON, and what is no message, gets an error without an id, and does no further harm."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    for text in (b"{not json", b'"just text"', b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"1.0","id":5,"method":"ping"}'):
        seen = len(talk.inbox)
        await talk.send_raw(text)
        answer = None
        if not is_http(talk):
            answer = await talk.watch(_is_answer, 0.3, seen)
        elif len(talk.inbox) > seen:
            answer = talk.inbox[seen]
        message = answer.message if answer else None
        if isinstance(message, dict):
            is_error = isinstance(message.get("error"), dict)
            trial.check(1, is_error, f"{text!r} was answered with {message!r}")
            is_left_out = "id" not in message or message["id"] == 5
            trial.check(16, is_left_out, f"{text!r} was answered with the id {message.get('id')!r}")
    reply = await talk.request("tools/list")
    trial.check(1, reply.result is not None, f"after unreadable messages a request was answered: {reply.show()}")


@scenario(covers=[1])
async def null_request_id(trial: Trial) -> None:
    """A request whose id is null is refused, not served."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    seen = len(talk.inbox)
    body = talk.message("tools/list", None, {"id": None})
    await talk.send_raw(json.dumps(body).encode())
    if not is_http(talk):
        await talk.watch(_is_answer, 0.3, seen)
    served = [r for r in talk.inbox[seen:] if isinstance(r.message, dict) and "result" in r.message]
    trial.check(1, not served, "a request with the id null was served")


@scenario(covers=[12], revisions="B")
async def batches_are_accepted(trial: Trial) -> None:
    """A batch of requests and a notification gets the answers of the requests; one of notifications gets none."""
    talk = await trial.open()
    seen = len(talk.inbox)
    requests = [talk.message(method, None, {}) for method in ("ping", "tools/list")]
    for each in requests:
        talk.monitor.began(talk, each, "batch")
    note = {"jsonrpc": "2.0", "method": "notifications/judge-made-this-up"}
    await talk.send_raw(json.dumps([requests[0], note, requests[1]]).encode())
    wanted = {each["id"] for each in requests}

    def answered() -> set[Any]:
        members = [r.message for r in talk.inbox[seen:] if isinstance(r.message, dict)]
        return {m["id"] for m in members if m.get("id") in wanted and "result" in m}

    await talk.watch(lambda r: answered() == wanted, 2.0, seen)
    trial.check(12, answered() == wanted, f"a batch of {sorted(wanted)} had answers to {sorted(answered())}")
    if is_http(talk):
        answer = await talk.exchange(json.dumps([note]).encode(), [note])
        is_bare = answer.status == 202 and not answer.body
        trial.check(12, is_bare, f"a batch of notifications was answered with {answer.status} and {answer.body[:80]!r}")
    reply = await talk.request("ping")
    trial.check(12, reply.result is not None, f"after a batch ping was answered with {reply.show()}")


@scenario(covers=[13], revisions="B", alone=True)
async def initialize_in_a_batch(trial: Trial) -> None:
    """`initialize` inside a batch is refused."""
    talk = await trial.open(own=True, handshake=False)
    talk.monitor.expects_odd = True
    params = {"protocolVersion": trial.revision.name, "capabilities": {}, "clientInfo": {"name": "j", "version": "1"}}
    body = json.dumps([{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}]).encode()
    await talk.send_raw(body)
    if not is_http(talk):
        await talk.watch(_is_answer, 0.5)
    welcomed = [r for r in talk.inbox if isinstance(r.message, dict) and "result" in r.message]
    trial.check(13, not welcomed, "initialize inside a batch was served")


@scenario(covers=[14], revisions="CDE")
async def arrays_are_refused(trial: Trial) -> None:
    """An array of messages is an error in revisions without batches (advice: they need not be understood)."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    seen = len(talk.inbox)
    await talk.send_raw(json.dumps([talk.message("tools/list", None, {})]).encode())
    if not is_http(talk):
        await talk.watch(_is_answer, 0.3, seen)
    served = [r for r in talk.inbox[seen:] if isinstance(r.message, dict) and "result" in r.message]
    trial.advise(14, not served, "a batch was served")
    reply = await talk.request("tools/list")
    trial.check(14, reply.result is not None, f"after an array a request was answered with {reply.show()}")


@scenario(covers=[128, 6])
async def unknown_tool(trial: Trial) -> None:
    """A tool that does not exist is an error of the protocol, -32602."""
    talk = await trial.open()
    trial.needs(talk, "tools")
    reply = await talk.request("tools/call", {"name": "judge-no-such-tool", "arguments": {}})
    trial.check(128, reply.error is not None, f"an unknown tool was answered with {reply.show()}")
    if reply.error is not None:
        trial.advise(128, reply.code == -32602, f"an unknown tool has the code {reply.code}")


@scenario(covers=[38], revisions="E")
async def undeclared_features(trial: Trial) -> None:
    """What the server declares can be called; what it does not declare answers -32601."""
    talk = await trial.open()
    table = {
        "tools": "tools/list",
        "resources": "resources/list",
        "prompts": "prompts/list",
    }
    for capability, method in table.items():
        reply = await talk.request(method)
        if capability in talk.server_capabilities:
            trial.check(38, reply.result is not None, f"{capability} is declared; {method} answered {reply.show()}")
        else:
            trial.refused(38, reply, -32601, 404, f"{capability} is not declared; {method}")


@scenario(covers=[119])
async def features_are_declared(trial: Trial) -> None:
    """A feature that answers is declared."""
    talk = await trial.open()
    table = {"tools": "tools/list", "resources": "resources/list", "prompts": "prompts/list"}
    for capability, method in table.items():
        reply = await talk.request(method)
        if reply.result is None:
            continue
        key = method.partition("/")[0]
        has_any = bool(reply.result.get(key))
        trial.check(119, not has_any or capability in talk.server_capabilities, f"{method} answers; not declared")
    row = trial.fixtures.find("prompts", "arguments")
    if row and "complete" in row and trial.revision.letter != "A":
        params = {"ref": {"type": "ref/prompt", "name": row["name"]},
                  "argument": {"name": row["complete"]["argument"], "value": ""}}  # fmt: skip
        reply = await talk.request("completion/complete", params)
        is_said = "completions" in talk.server_capabilities
        trial.check(119, reply.result is None or is_said, "completion answers; completions is not declared")


@scenario(covers=[43, 44], revisions="E")
async def extension_names(trial: Trial) -> None:
    """Names of extensions have a prefix; a client without any is served all the same."""
    talk = await trial.open()
    extensions = talk.server_capabilities.get("extensions") or {}
    if not extensions:
        raise Skip("the target has no extensions")
    for name in extensions:
        prefix, slash, rest = name.partition("/")
        is_named = bool(slash and rest and all(_is_label(each) for each in prefix.split(".")))
        trial.check(43, is_named, f"an extension is named {name!r}")
    reply = await talk.request("tools/list", meta={"io.modelcontextprotocol/clientCapabilities": {}})
    trial.check(44, reply.result is not None, f"a client without extensions: {reply.show()}")


def _is_label(text: str) -> bool:
    return bool(text) and text[0].isalpha() and text[-1].isalnum() and all(c.isalnum() or c == "-" for c in text)
