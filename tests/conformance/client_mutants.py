"""Clients with one fault each: taps on the wire of a sound one; see `mutants`."""

# ruff: noqa: E501 - a table: a row is a line

import json
from collections.abc import Callable
from typing import Any

from .mutants import META, M, Mutant


class ClientMutant(Mutant):
    """A fault of a client: what it sends is changed before the judge sees it."""

    def __init__(self, name: str, rule: int, revision: str, transport: str = "http", *, edit: Callable[[M], Any] | None = None,
                 headers: Callable[[list[tuple[str, str]]], Any] | None = None, target: Callable[[str, str], str] | None = None,
                 data: Callable[[Mutant, bytes], bytes] | None = None, scenarios: str = "") -> None:  # fmt: skip
        super().__init__(name, rule, revision, transport, data=data, scenarios=scenarios)
        self.edit = edit
        self.edit_headers = headers
        self.edit_target = target

    def incoming_target(self, method: str, target: str) -> str:
        return target if self.edit_target is None else self.edit_target(method, target)

    def incoming_request(self, headers: list[tuple[str, str]]) -> None:
        if self.edit_headers is not None:
            kept = self.edit_headers(list(headers))
            headers[:] = headers if kept is None else kept

    def incoming_line(self, line: bytes) -> list[bytes]:
        if self.edit is None:
            return [line]
        message = json.loads(line)
        found = self.edit(message)
        found = message if found is None else found
        return [json.dumps(each).encode() for each in (found if isinstance(found, list) else [found])]


def _lose(name: str) -> Callable[[list[tuple[str, str]]], Any]:
    return lambda headers: [(k, v) for k, v in headers if k.lower() != name.lower()]


def _say(name: str, value: str) -> Callable[[list[tuple[str, str]]], Any]:
    return lambda headers: [(k, value if k.lower() == name.lower() else v) for k, v in headers]


def _unmeta(key: str) -> Callable[[M], Any]:
    def edit(message: M) -> None:
        if "id" in message and "method" in message:
            (message.get("params") or {}).get("_meta", {}).pop(f"{META}{key}", None)

    return edit


def _if(method: str, change: Callable[[M], Any]) -> Callable[[M], Any]:
    return lambda message: change(message) if message.get("method") == method else None


def _second(method: str, change: Callable[[M], Any]) -> Callable[[M], Any]:
    """Change every message of a method but the first one."""
    seen: list[M] = []

    def edit(message: M) -> Any:
        if message.get("method") != method:
            return None
        seen.append(message)
        return change(message) if len(seen) > 1 else None

    return edit


def _other_method(message: M) -> None:
    message["method"] = "judge/none"


def _report(text: str) -> Callable[[M], Any]:
    def change(message: M) -> None:
        if message["params"].get("name") == "report":
            message["params"]["arguments"]["text"] = text

    return _if("tools/call", change)


def _reads_another(seen: list[M]) -> Callable[[M], Any]:
    def change(message: M) -> None:
        if "inputResponses" not in message["params"]:
            seen.append(message)
            if len(seen) > 1:
                message["params"]["uri"] = "test://another"

    return _if("resources/read", change)


def _cancels(message: M) -> Any:
    if message.get("method") != "tasks/cancel":
        return None
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": message["id"]}}
    return [note, message]


def _samples_as_task(message: M) -> None:
    if "model" in (message.get("result") or {}):
        message["result"] = {"task": {"taskId": "x", "status": "working"}}


CLIENTS = [
    ClientMutant("no jsonrpc", 1, "D", "stdio", edit=lambda m: m.pop("jsonrpc", None) and None),
    ClientMutant("initialize without clientInfo", 17, "D", edit=_if("initialize", lambda m: m["params"].pop("clientInfo") and None)),
    ClientMutant("no initialized", 22, "D", "stdio", edit=lambda m: [] if m.get("method") == "notifications/initialized" else None),
    ClientMutant("no version in meta", 28, "E", edit=_unmeta("protocolVersion")),
    ClientMutant("no clientInfo", 29, "E", edit=_unmeta("clientInfo")),
    ClientMutant("accepts JSON only", 60, "D", headers=_say("accept", "application/json")),
    ClientMutant("forgets its session", 79, "C", headers=_lose("mcp-session-id")),
    ClientMutant("no version header", 84, "C", headers=_lose("mcp-protocol-version")),
    ClientMutant("another version in the header", 93, "E", headers=_say("mcp-protocol-version", "2025-11-25")),
    ClientMutant("no Mcp-Method", 99, "E", headers=_lose("mcp-method")),
    ClientMutant("no Mcp-Name", 99, "E", headers=_lose("mcp-name")),
    ClientMutant("ping says pong", 25, "B", edit=lambda m: m.update(result={"pong": 1}) if m.get("result") == {} else None),
    ClientMutant("changes the state", 167, "E", edit=lambda m: m["params"].update(requestState="x") if "requestState" in (m.get("params") or {}) else None),
    ClientMutant("does not encode", 112, "E", headers=lambda h: [(k, "Z?rich" if k.lower() == "mcp-param-text" else v) for k, v in h]),
    ClientMutant("mirrors nothing", 109, "E", headers=_lose("mcp-param-plain")),
    ClientMutant("makes up cursors", 134, "D", edit=_if("tools/list", lambda m: m["params"].update(cursor="x") if (m.get("params") or {}).get("cursor") else None)),
    ClientMutant("roots are anywhere", 139, "C", edit=lambda m: [r.update(uri="https://x") for r in m["result"]["roots"]] and None if "roots" in (m.get("result") or {}) else None),
    ClientMutant("posts elsewhere", 90, "A", "sse", target=lambda m, t: "/elsewhere" if m == "POST" and "messages" in t else t),
    ClientMutant("looks for the stream elsewhere", 92, "C", target=lambda m, t: "/elsewhere" if m == "GET" else t),
    ClientMutant("binary frames", 225, "D", "websocket", data=lambda t, d: b"\x82" + d[1:] if d[:1] == b"\x81" else d),
    ClientMutant("texts that are no messages", 225, "C", "websocket", edit=_if("tools/list", lambda m: ["text", m])),
    ClientMutant("gives up in silence", 50, "E", "stdio", edit=lambda m: [] if m.get("method") == "notifications/cancelled" else None),
    ClientMutant("forgets its subscriptions", 55, "E", "stdio", edit=_second("subscriptions/listen", _other_method)),
    ClientMutant("unknown mode is cancelled", 150, "D", edit=lambda m: (m.pop("error"), m.update(result={"action": "cancel"})) and None if (m.get("error") or {}).get("code") == -32602 else None),
    ClientMutant("gives one for another", 176, "E", edit=_report("this is test://one")),
    ClientMutant("keeps what came of inputs", 177, "E", edit=_reads_another([])),
    ClientMutant("a task all the same", 186, "D", edit=_samples_as_task),
    ClientMutant("another task's name", 204, "E", headers=lambda h: [(k, "other" if k.lower() == "mcp-name" and v == "judge-task-1" else v) for k, v in h]),
    ClientMutant("takes the task for the result", 205, "E", "websocket", edit=_report("working")),
    ClientMutant("cancels a task as a request", 206, "E", "stdio", edit=_cancels),
]  # fmt: skip

SCRIPTED: list[tuple[str, int, str, str]] = [
    ("no times", 187, "D", "client-hosts-tasks"),
    ("never ends", 189, "D", "client-hosts-tasks"),
    ("cancels later", 189, "D", "client-hosts-tasks"),
    ("nameless result", 190, "D", "client-hosts-tasks"),
    ("other codes", 191, "D", "client-hosts-tasks"),
    ("any cursor", 191, "D", "client-hosts-tasks"),
    ("cancels what has ended", 191, "D", "client-hosts-tasks"),
    ("meta wins", 192, "D", "client-hosts-tasks"),
    ("nameless progress", 192, "D", "client-hosts-tasks"),
    ("lists nothing", 193, "D", "client-hosts-tasks"),
    ("another token", 194, "D", "client-hosts-tasks"),
    ("progress after the end", 194, "D", "client-hosts-tasks"),
    ("draft 7", 125, "D", "client-validates-by-dialect"),
    ("any dialect", 125, "E", "client-validates-by-dialect"),
    ("any subscription", 184, "E", "client-listens"),
    ("keeps what changed", 178, "E", "client-listens"),
]
"""Faults of `scripted_client`: the fault, the rule, the revision, the scenario. Without one it keeps every rule."""
