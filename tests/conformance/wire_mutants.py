"""Servers with one fault each, of the wires and scenarios that came later; see `mutants`."""

# ruff: noqa: E501 - a table: a row is a line

from typing import Any

from conformance.wire import Answer, HttpRequest

from .mutants import M, Mutant, drop, error, note, refuses, result


def _posts_refused(tap: Mutant, request: HttpRequest, answer: Answer) -> None:
    if request.method == "POST" and b"judge-91" in request.body:
        answer.status = 405


def _unknown_taken(tap: Mutant, request: HttpRequest, answer: Answer) -> None:
    if "judge-made-this-up" in request.target:
        answer.status = 202


def _one_address(tap: Mutant, kind: str, data: bytes) -> tuple[str, bytes]:
    if kind != "endpoint":
        return kind, data
    tap.memory.setdefault("all", []).append(data)
    # The first ones are of those who only look who is there.
    return kind, tap.memory["all"][min(len(tap.memory["all"]) - 1, 2)]


def _binary(tap: Mutant, data: bytes) -> bytes:
    return data.replace(b"\x81\x7e", b"\x82\x7e", 1) if b'"fragments"' in data else data


def _drops_messages(messages: M) -> None:
    asked = messages["params"]["messages"]
    if len(asked) > 1:
        asked[-1]["content"] = asked[-1]["content"][1:]


def _text_beside(messages: M) -> None:
    asked = messages["params"]["messages"]
    if len(asked) > 1:
        asked[-1]["content"].append({"type": "text", "text": "and"})


def _task_anyway(tap: Mutant, message: M, request: M) -> Any:
    if request.get("method") == "prompts/get" and "task" in request["params"] and "result" in message:
        return {"jsonrpc": "2.0", "id": message["id"], "result": {"task": {"taskId": "x", "status": "working"}}}
    return None


def _meta_wins(tap: Mutant, message: M) -> M:
    meta = (message.get("params") or {}).get("_meta") or {}
    if message.get("method") == "tasks/get" and meta:
        message["params"]["taskId"] = next(iter(meta.values()))["taskId"]
    return message


def _late_progress(tap: Mutant, message: M, request: M) -> Any:
    if message.get("method") == "notifications/progress":
        tap.memory["note"] = message
    if request.get("method") == "ping" and "note" in tap.memory:
        return [message, tap.memory["note"]]
    return None


def _after_many(method: str, most: int) -> Any:
    """Refuse everything once a method was called more than so often."""

    def change(tap: Mutant, message: M, request: M) -> Any:
        if request.get("method") == "tools/list" and "result" in message and tap.memory.get(method, 0) > most:
            return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32603, "message": "mutated"}}
        return None

    return change


def _counts(tap: Mutant, message: M) -> M:
    method = message.get("method")
    tap.memory[method] = tap.memory.get(method, 0) + 1
    return message


def _early(tap: Mutant, message: M, request: M) -> Any:
    methods = [each.get("method") for each in tap.requests.values()]
    is_late = (
        methods[:1] == ["tools/list"] or "tools/list" in methods[: methods.index("initialize")]
        if "initialize" in methods
        else False
    )
    if request.get("method") == "initialize" and is_late:
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32600, "message": "mutated"}}
    return None


def _first_of_two(tap: Mutant, message: M, request: M) -> Any:
    return [] if message.get("id") == "twice" else None


def _refused_32042(tap: Mutant, message: M, request: M) -> Any:
    if (request.get("params") or {}).get("name") == "test_url_required":
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32042, "message": "mutated"}}
    return None


WIRES = [
    Mutant("no POST", 88, "A", "sse", head=_posts_refused),
    Mutant("any address", 88, "A", "sse", head=_unknown_taken),
    Mutant("one address for all", 88, "A", "sse", event=_one_address, scenarios="sse-streams-are-apart"),
    Mutant("no endpoint event", 89, "A", "sse", event=lambda t, k, d: ("message" if k == "endpoint" else k, d)),
    Mutant("endpoint elsewhere", 89, "A", "sse", event=lambda t, k, d: (k, b"http://example.com" + d if k == "endpoint" else d)),
    Mutant("events of another kind", 91, "A", "sse", event=lambda t, k, d: ("update" if b"judge-91" in d else k, d)),
    Mutant("log lines on the stream", 91, "A", "sse", change=lambda t, m, r: [b"INFO serving", m] if r.get("method") == "tools/list" else None),
    Mutant("answers in binary", 225, "E", "websocket", data=_binary),
    Mutant("closes with another code", 225, "B", "websocket", data=lambda t, d: d.replace(b"\x88\x02\x03\xe8", b"\x88\x02\x03\xea"), scenarios="websocket-is-closed"),
    Mutant("log lines as texts", 225, "C", "websocket", change=lambda t, m, r: [b"INFO serving", m] if r.get("method") == "tools/list" else None),
    Mutant("ids become text on a socket", 4, "D", "websocket", change=lambda t, m, r: {**m, "id": str(m["id"])} if "result" in m else None),
    Mutant("no content over SSE", 121, "A", "sse", change=result(drop("content"), "tools/call")),
    Mutant("no URLs to visit", 155, "D", change=error(drop("data"))),
    Mutant("a code of the past", 155, "E", change=_refused_32042),
    Mutant("another visit is over", 156, "D", "websocket", change=note("notifications/elicitation/complete", lambda m: m["params"].update(elicitationId="other"))),
    Mutant("a use is not answered", 160, "D", "websocket", change=note("sampling/createMessage", _drops_messages)),
    Mutant("text beside results", 160, "D", "websocket", change=note("sampling/createMessage", _text_beside)),
    Mutant("a task all the same", 186, "D", change=_task_anyway),
    Mutant("questions name no task", 192, "D", "websocket", change=note("elicitation/create", lambda m: m["params"].pop("_meta") and None)),
    Mutant("meta wins", 192, "D", "websocket", send=_meta_wins),
    Mutant("progress for another token", 194, "D", "websocket", change=note("notifications/progress", lambda m: m["params"].update(progressToken="other"))),
    Mutant("progress after the end", 194, "D", "websocket", change=_late_progress),
    Mutant("neither of two", 4, "C", "websocket", change=_first_of_two, scenarios="requests-that-come-twice"),
    Mutant("never recovers from an early message", 19, "D", "websocket", change=_early, scenarios="a-handshake-in-the-wrong-order"),
    Mutant("a cancel of what comes later", 4, "E", "websocket", change=refuses("tools/list", when=lambda r: r["id"] == "judge-later"), scenarios="requests-in-any-order"),
    Mutant("dies of clients that leave", 4, "E", send=_counts, change=_after_many("tools/call", 0), scenarios="clients-that-leave"),
    Mutant("dies of clients that do not read", 4, "B", "websocket", send=_counts, change=_after_many("tools/call", 20), scenarios="a-client-that-never-reads"),
]  # fmt: skip
