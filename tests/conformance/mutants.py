"""Servers with one fault each: taps on the wire of a sound one, so that it looks as if it broke a rule."""

# ruff: noqa: E501 - a table: a row is a line

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.wire import Answer, HttpRequest, Tap

M = dict[str, Any]
Change = Callable[["Mutant", M, M], Any]
"""Takes the tap, a message of the target's and the request it answers (or `{}`); returns what is read instead."""

META = "io.modelcontextprotocol/"
DATES = dict(zip("ABCDE", ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"), strict=True))


@dataclass
class Mutant(Tap):
    """One fault."""

    name: str
    rule: int
    revision: str
    transport: str = "http"
    change: Change | None = None
    send: Callable[["Mutant", M], M | None] | None = None
    http: Callable[["Mutant", HttpRequest], None] | None = None
    head: Callable[["Mutant", HttpRequest, Answer], None] | None = None
    scenarios: str = ""
    event: Callable[["Mutant", str, bytes], tuple[str, bytes]] | None = None
    data: Callable[["Mutant", bytes], bytes] | None = None
    memory: dict[str, Any] = field(default_factory=dict)
    requests: dict[Any, M] = field(default_factory=dict)

    def fresh(self) -> "Mutant":
        """Return the same fault without what it remembers."""
        return replace(self, memory={}, requests={})

    def incoming_bytes(self, data: bytes) -> bytes:
        return data if self.data is None else self.data(self, data)

    def incoming_event(self, kind: str, data: bytes) -> list[tuple[str, bytes]]:
        return [(kind, data) if self.event is None else self.event(self, kind, data)]

    def outgoing_line(self, line: bytes) -> list[bytes]:
        return [*self._send(line)]

    def incoming_line(self, line: bytes) -> list[bytes]:
        return self._change(line)

    def outgoing_http(self, request: HttpRequest) -> HttpRequest:
        sent = [*self._send(request.body)] if request.body else [request.body]
        made = HttpRequest(request.method, request.target, list(request.headers), sent[0] if sent else request.body)
        if self.http is not None:
            self.http(self, made)
        return made

    def incoming_head(self, request: HttpRequest, answer: Answer) -> None:
        if self.head is not None:
            self.head(self, request, answer)

    def incoming_message(self, request: HttpRequest, message: bytes) -> list[bytes]:
        return self._change(message)

    def _send(self, data: bytes) -> list[bytes]:
        try:
            message = json.loads(data)
        except ValueError:
            return [data]
        if not isinstance(message, dict):
            return [data]
        if "id" in message and "method" in message and isinstance(message["id"], (str, int)):
            self.requests[type(message["id"]), message["id"]] = json.loads(data)
        if self.send is None:
            return [data]
        changed = self.send(self, message)
        return [] if changed is None else [json.dumps(changed).encode()]

    def _change(self, data: bytes) -> list[bytes]:
        if self.change is None:
            return [data]
        try:
            message = json.loads(data)
        except ValueError:
            return [data]
        if not isinstance(message, dict):
            return [data]
        request_id = message.get("id")
        request = self.requests.get((type(request_id), request_id), {}) if "method" not in message else {}
        found = self.change(self, message, request)
        found = found if isinstance(found, list) else [message if found is None else found]
        return [each if isinstance(each, bytes) else json.dumps(each).encode() for each in found]


# Ways to change a result.


def result(edit: Callable[[M], Any], method: str | None = None) -> Change:
    """Edit each result, or those of a method, in place."""

    def change(tap: Mutant, message: M, request: M) -> Any:
        if isinstance(message.get("result"), dict) and method in (None, request.get("method")):
            edit(message["result"])
        return None

    return change


def error(edit: Callable[[M], Any]) -> Change:
    """Edit each error in place."""

    def change(tap: Mutant, message: M, request: M) -> Any:
        if isinstance(message.get("error"), dict):
            edit(message["error"])
        return None

    return change


def note(method: str, edit: Callable[[M], Any]) -> Change:
    """Edit the params of a notification or request of the target's, or replace it by what `edit` returns."""

    def change(tap: Mutant, message: M, request: M) -> Any:
        return edit(message) if message.get("method") == method else None

    return change


def errors_become(made: M) -> Change:
    """Turn errors into results."""

    def change(tap: Mutant, message: M, request: M) -> Any:
        if "error" in message and "id" in message:
            return {"jsonrpc": "2.0", "id": message["id"], "result": made}
        return None

    return change


def refuses(method: str, code: int = -32603, when: Callable[[M], bool] = lambda request: True) -> Change:
    """Turn the results of a method into errors."""

    def change(tap: Mutant, message: M, request: M) -> Any:
        if "result" in message and request.get("method") == method and when(request):
            return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "mutated"}}
        return None

    return change


def drop(*names: str) -> Callable[[M], None]:
    """Take members out."""

    def edit(found: M) -> None:
        for name in names:
            found.pop(name, None)

    return edit


def put(**more: Any) -> Callable[[M], None]:
    """Put members in."""
    return lambda found: found.update(more)


def in_meta(message: M) -> M:
    """Return a message's `_meta`, made where it is not there."""
    params = message.setdefault("params", {})
    meta: M = params.setdefault("_meta", {})
    return meta


def filled(key: str, value: Any) -> Callable[[Mutant, M], M]:
    """Put a key into the `_meta` of each request that lacks it."""

    def send(tap: Mutant, message: M) -> M:
        if "method" in message and "id" in message:
            in_meta(message).setdefault(key, value)
        return message

    return send


def without_header(*names: str) -> Callable[[Mutant, HttpRequest], None]:
    """Lose headers on the way, as a server that does not look at them."""

    def http(tap: Mutant, request: HttpRequest) -> None:
        request.headers = [(k, v) for k, v in request.headers if k.lower() not in names]

    return http


def right_header(
    name: str, member: Callable[[M], Any], *, only_absent: bool = False
) -> Callable[[Mutant, HttpRequest], None]:
    """Replace a header by what it should be, as a server that does not look at it."""

    def http(tap: Mutant, request: HttpRequest) -> None:
        if not request.body:
            return
        try:
            value = member(json.loads(request.body))
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        is_there = any(k.lower() == name.lower() for k, _ in request.headers)
        if value is None or (only_absent and is_there):
            return
        request.headers = [(k, v) for k, v in request.headers if k.lower() != name.lower()] + [(name, value)]

    return http


def status(wrong: int, right: int, method: str | None = None) -> Callable[[Mutant, HttpRequest, Answer], None]:
    """Answer with another status."""

    def head(tap: Mutant, request: HttpRequest, answer: Answer) -> None:
        if answer.status == right and method in (None, request.method):
            answer.status = wrong

    return head


def of_body(*path: str) -> Callable[[M], Any]:
    """Return a member of a body."""

    def find(message: M) -> Any:
        found: Any = message
        for name in path:
            found = found[name]
        return found

    return find


def chosen(value: Any) -> Callable[[M], Any]:
    return lambda message: value


VERSION = f"{META}protocolVersion"
ABLE = {"sampling": {}, "elicitation": {"form": {}}, "roots": {}}


def _overwritten(key: str, value: Any) -> Callable[[Mutant, M], M]:
    def send(tap: Mutant, message: M) -> M:
        if "method" in message and "id" in message and "_meta" in (message.get("params") or {}):
            in_meta(message)[key] = value
        return message

    return send


def _answers_notifications(tap: Mutant, message: M, request: M) -> Any:
    held = tap.memory.pop("note", None)
    return None if held is None else [{"jsonrpc": "2.0", "id": None, "result": {}}, message]


def _hears_notification(tap: Mutant, message: M) -> M:
    if message.get("method") == "notifications/judge-made-this-up":
        tap.memory["note"] = True
    return message


def _early(tap: Mutant, message: M, request: M) -> Any:
    stray = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    return [message, stray] if request.get("method") == "initialize" else None


def _varies(tap: Mutant, message: M, request: M) -> Any:
    if request.get("method") == "tools/list" and "result" in message:
        tap.memory["turn"] = not tap.memory.get("turn")
        if tap.memory["turn"]:
            message["result"]["tools"].reverse()
    return None


def _other_version(tap: Mutant, message: M, request: M) -> Any:
    if request.get("method") == "initialize" and "result" in message:
        tap.memory["count"] = tap.memory.get("count", 0) + 1
        if tap.memory["count"] > 1:
            message["result"]["protocolVersion"] = DATES["C"]
    return None


def _no_version(tap: Mutant, message: M, request: M) -> Any:
    if request.get("method") == "initialize" and request["params"]["protocolVersion"] not in DATES.values():
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": "Unsupported"}}
    return None


def _asks(tap: Mutant, message: M, request: M) -> Any:
    asked = {"jsonrpc": "2.0", "id": "s-1", "method": "ping"}
    return [asked, message] if request.get("method") == "tools/call" else None


def _notes(made: M) -> Change:
    def change(tap: Mutant, message: M, request: M) -> Any:
        return [made, message] if request.get("method") == "tools/call" and "result" in message else None

    return change


def _keeps_state(tap: Mutant, message: M) -> M:
    if "requestState" in (message.get("params") or {}) and "state" in tap.memory:
        message["params"]["requestState"] = tap.memory["state"]
    return message


def _sees_state(tap: Mutant, message: M, request: M) -> Any:
    state = (message.get("result") or {}).get("requestState")
    if isinstance(state, str):
        tap.memory.setdefault("state", state)
    return None


def _completes(tap: Mutant, message: M, request: M) -> Any:
    responses = (request.get("params") or {}).get("inputResponses")
    if responses and "error" in message:
        done = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
        return {"jsonrpc": "2.0", "id": message["id"], "result": done}
    return None


def _session_name(tap: Mutant, request: HttpRequest, answer: Answer) -> None:
    for index, (name, value) in enumerate(answer.headers):
        if name.lower() == "mcp-session-id":
            tap.memory["name"] = value
            answer.headers[index] = (name, "a name with spaces")


def _true_name(tap: Mutant, request: HttpRequest) -> None:
    if "name" in tap.memory:
        request.headers = [(k, tap.memory["name"] if k.lower() == "mcp-session-id" else v) for k, v in request.headers]


def _learns_session(tap: Mutant, request: HttpRequest, answer: Answer) -> None:
    name = answer.header("mcp-session-id")
    if name:
        tap.memory["name"] = name


def _adds_session(tap: Mutant, request: HttpRequest) -> None:
    known = {k.lower() for k, _ in request.headers}
    if "mcp-session-id" not in known and b'"initialize"' not in request.body and "name" in tap.memory:
        request.headers.append(("Mcp-Session-Id", tap.memory["name"]))


def _mints(tap: Mutant, request: HttpRequest, answer: Answer) -> None:
    answer.headers.append(("Mcp-Session-Id", "minted"))


def _wrong_type(tap: Mutant, request: HttpRequest, answer: Answer) -> None:
    answer.headers = [(k, "text/plain" if k.lower() == "content-type" else v) for k, v in answer.headers]


def _body_status(code: int, wrong: int) -> Callable[[Mutant, HttpRequest, Answer], None]:
    return status(wrong, code)


def _no_header_refused(tap: Mutant, message: M, request: M) -> Any:
    params = request.get("params") or {}
    if params.get("name") == "test_x_mcp_header" and not params.get("arguments") and "result" in message:
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32020, "message": "mutated"}}
    return None


def _flips_scope(tap: Mutant, message: M, request: M) -> Any:
    if request.get("method") == "tools/list" and "result" in message:
        message["result"]["cacheScope"] = "public" if (request.get("params") or {}).get("cursor") else "private"
    return None


ACK = "notifications/subscriptions/acknowledged"


def _only_first(tap: Mutant, message: M, request: M) -> Any:
    if message.get("method") == "notifications/tools/list_changed":
        tap.memory["count"] = tap.memory.get("count", 0) + 1
        return [] if tap.memory["count"] > 1 else None
    return None


def _duplicates(tap: Mutant, message: M, request: M) -> Any:
    return [message, message] if message.get("method") == "notifications/progress" else None


def _drops_cursor(tap: Mutant, message: M) -> M:
    if "made this up" in str((message.get("params") or {}).get("cursor")):
        del message["params"]["cursor"]
    return message


def _debug_always(tap: Mutant, message: M) -> M:
    if message.get("method") == "logging/setLevel" and message["params"].get("level") in ("warning", "emergency"):
        message["params"]["level"] = "debug"
    return message


def _no_cancel(tap: Mutant, message: M) -> M | None:
    return None if message.get("method") == "notifications/cancelled" else message


def _lower_method(tap: Mutant, request: HttpRequest) -> None:
    request.headers = [
        (k, v.lower() if k.lower() == "mcp-method" and isinstance(v, str) else v) for k, v in request.headers
    ]


def _refuses_cased(tap: Mutant, message: M, request: M) -> Any:
    return None


def _nested_task(found: M) -> None:
    if found.get("resultType") == "task":
        found["task"] = {name: found.pop(name) for name in ("status", "ttlMs") if name in found}


def _first_schema(found: M) -> None:
    found["tools"][0]["inputSchema"] = None


def _task_at_first(tap: Mutant, message: M, request: M) -> Any:
    if request.get("method") == "tasks/get" and not tap.memory.get("seen"):
        tap.memory["seen"] = True
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": "not yet"}}
    return None


def _inputs(edit: Callable[[M], Any]) -> Callable[[M], None]:
    def change(found: M) -> None:
        for asked in (found.get("inputRequests") or {}).values():
            edit(asked)

    return change


def _nested_form(asked: M) -> None:
    schema = (asked.get("params") or {}).get("requestedSchema")
    if schema:
        schema["properties"]["nested"] = {"type": "object", "properties": {}}


def _no_region_header(message: M) -> Any:
    region = ((message.get("params") or {}).get("arguments") or {}).get("region")
    return region if isinstance(region, str) and region.isascii() and region.strip() == region and region else None


def _list_change_everywhere(found: M) -> None:
    for name in ("tools", "prompts"):
        found["capabilities"].get(name, {}).pop("listChanged", None)


SERVERS = [
    Mutant("no jsonrpc", 1, "E", change=lambda t, m, r: {k: v for k, v in m.items() if k != "jsonrpc"}),
    Mutant("ids become text", 4, "E", change=lambda t, m, r: {**m, "id": str(m["id"])} if "result" in m else None),
    Mutant("answers name no id", 4, "D", "stdio", change=lambda t, m, r: {**m, "id": 0} if m.get("id") == "" else None),
    Mutant("both result and error", 5, "E", change=lambda t, m, r: {**m, "error": {"code": 1, "message": "x"}} if "result" in m else None),
    Mutant("answers twice", 5, "C", "stdio", change=lambda t, m, r: [m, m] if r.get("method") == "tools/list" else None),
    Mutant("codes are text", 6, "E", change=error(lambda e: e.update(code=str(e["code"])))),
    Mutant("errors without message", 6, "A", change=error(drop("message"))),
    Mutant("answers notifications", 7, "D", "stdio", change=_answers_notifications, send=_hears_notification),
    Mutant("latin-1", 8, "D", "stdio", change=lambda t, m, r: [json.dumps(m).encode().replace(b"test_", b"t\xe9st_")] if r.get("method") == "tools/list" else None),
    Mutant("no resultType", 9, "E", change=result(drop("resultType"))),
    Mutant("answers in a batch", 14, "D", "stdio", change=lambda t, m, r: [json.dumps([m]).encode()] if r.get("method") == "tools/list" else None),
    Mutant("reserved code", 15, "E", change=error(lambda e: e.update(code=-32050))),
    Mutant("old code", 15, "E", change=error(lambda e: e.update(code=-32002))),
    Mutant("errors with id null", 16, "E", change=lambda t, m, r: {**m, "id": None} if "error" in m else None),
    Mutant("no serverInfo in the welcome", 19, "D", change=result(drop("serverInfo"), "initialize")),
    Mutant("another version", 20, "D", change=_other_version),
    Mutant("unknown version is an error", 21, "B", change=_no_version),
    Mutant("ping says pong", 25, "A", change=result(put(pong=True), "ping")),
    Mutant("ping is refused", 25, "C", change=refuses("ping", -32601)),
    Mutant("speaks before it may", 27, "D", "stdio", change=_early),
    Mutant("serves without _meta", 30, "E", send=lambda t, m: (in_meta(m).update({VERSION: DATES["E"], f"{META}clientCapabilities": {}}) or m) if "_meta" not in (m.get("params") or {}) and "id" in m else m),
    Mutant("serves without version", 31, "E", send=filled(VERSION, DATES["E"])),
    Mutant("serves without capabilities", 32, "E", send=filled(f"{META}clientCapabilities", {})),
    Mutant("demands clientInfo", 33, "E", change=refuses("tools/list", -32602, lambda r: f"{META}clientInfo" not in r["params"]["_meta"])),
    Mutant("does not say who it is", 34, "E", change=result(drop("_meta"))),
    Mutant("no list of versions", 35, "E", change=error(drop("data"))),
    Mutant("wrong code for versions", 35, "E", change=error(lambda e: e.update(code=-32602) if e["code"] == -32022 else None)),
    Mutant("discover without versions", 37, "E", change=result(drop("supportedVersions"), "server/discover")),
    Mutant("declared and refused", 38, "E", change=refuses("prompts/list", -32601)),
    Mutant("capabilities as a list", 39, "E", change=error(lambda e: e.update(data={"requiredCapabilities": ["sampling"]}))),
    Mutant("remembers capabilities", 40, "E", send=_overwritten(f"{META}clientCapabilities", ABLE)),
    Mutant("lists vary", 41, "E", change=_varies),
    Mutant("extensions without prefix", 43, "E", change=result(lambda f: f["capabilities"].update(extensions={"tasks": {}}), "server/discover")),
    Mutant("asks a modern client", 102, "E", change=_asks),
    Mutant("asks on the pipe", 49, "E", "stdio", change=_asks),
    Mutant("logs to stdout", 46, "D", "stdio", change=lambda t, m, r: [b"INFO serving", m] if r.get("method") == "tools/list" else None),
    Mutant("answers what was cancelled", 51, "E", "stdio", send=_no_cancel),
    Mutant("200 for notifications", 62, "D", head=status(200, 202)),
    Mutant("202 for rubbish", 63, "D", head=status(202, 400)),
    Mutant("plain text", 64, "D", head=_wrong_type),
    Mutant("any origin", 65, "B", http=without_header("origin")),
    Mutant("origin 400", 66, "E", head=status(400, 403)),
    Mutant("any host", 67, "D", http=right_header("Host", chosen("localhost"))),
    Mutant("GET 404", 69, "C", head=status(404, 200, "GET")),
    Mutant("messages come twice", 71, "D", change=_duplicates),
    Mutant("session id with spaces", 78, "D", http=_true_name, head=_session_name),
    Mutant("no session needed", 80, "D", http=_adds_session, head=_learns_session),
    Mutant("dead session 400", 81, "C", head=status(400, 404)),
    Mutant("DELETE 500", 83, "D", head=lambda t, q, a: setattr(a, "status", 500) if q.method == "DELETE" else None),
    Mutant("any version header", 85, "D", http=without_header("mcp-protocol-version")),
    Mutant("version header needed", 86, "C", head=lambda t, q, a: setattr(a, "status", 400) if not any(k.lower() == "mcp-protocol-version" for k, _ in q.headers) and b"tools/list" in q.body else None),
    Mutant("header need not agree", 94, "E", http=right_header("MCP-Protocol-Version", of_body("params", "_meta", VERSION))),
    Mutant("header need not be", 95, "E", http=right_header("MCP-Protocol-Version", of_body("params", "_meta", VERSION), only_absent=True)),
    Mutant("unknown version 200", 96, "E", head=status(200, 400)),
    Mutant("missing capability 200", 97, "E", head=status(200, 400)),
    Mutant("unknown method 200", 98, "E", head=status(200, 404)),
    Mutant("any Mcp-Method", 100, "E", http=right_header("Mcp-Method", of_body("method"))),
    Mutant("any Mcp-Name", 100, "E", http=right_header("Mcp-Name", of_body("params", "name"))),
    Mutant("any case of a method", 101, "E", http=_lower_method),
    Mutant("mints sessions", 105, "E", head=_mints),
    Mutant("Base64 is not read", 114, "E", change=refuses("tools/call", -32020, lambda r: r["params"].get("name") == "test_x_mcp_header")),
    Mutant("any Base64", 115, "E", http=right_header("Mcp-Param-Region", _no_region_header)),
    Mutant("any argument header", 116, "E", http=right_header("Mcp-Param-Region", _no_region_header)),
    Mutant("demands a header for nothing", 117, "E", change=_no_header_refused),
    Mutant("tools undeclared", 119, "D", change=result(lambda f: f["capabilities"].pop("prompts", None), "initialize")),
    Mutant("no inputSchema", 120, "B", change=result(_first_schema, "tools/list")),
    Mutant("no content", 121, "A", change=result(drop("content"), "tools/call")),
    Mutant("data without type", 121, "D", change=result(lambda f: [b.pop("mimeType", None) for b in f.get("content", ())], "tools/call")),
    Mutant("no structured content", 122, "D", change=result(drop("structuredContent"), "tools/call")),
    Mutant("null is dropped", 124, "E", change=result(drop("structuredContent"), "tools/call")),
    Mutant("unknown tool is a result", 128, "E", change=errors_become({"resultType": "complete", "content": [], "isError": True})),
    Mutant("wrong arguments are an error", 129, "D", change=refuses("tools/call", -32602, lambda r: r["params"]["name"] == "test_validated")),
    Mutant("missing resource is empty", 130, "E", change=errors_become({"resultType": "complete", "contents": []})),
    Mutant("contents without uri", 132, "D", change=result(lambda f: [c.pop("uri", None) for c in f["contents"]], "resources/read")),
    Mutant("unknown prompt -32603", 133, "C", change=error(lambda e: e.update(code=-32603))),
    Mutant("any cursor", 135, "E", send=_drops_cursor),
    Mutant("101 completions", 136, "D", change=result(lambda f: f["completion"].update(values=["x"] * 101), "completion/complete")),
    Mutant("tells of other resources", 137, "D", change=note("notifications/resources/updated", lambda m: m["params"].update(uri="test://other"))),
    Mutant("listChanged undeclared", 138, "D", change=result(_list_change_everywhere, "initialize")),
    Mutant("logs below the level", 140, "D", send=_debug_always),
    Mutant("logs unasked", 141, "E", send=_overwritten(f"{META}logLevel", "debug")),
    Mutant("logging undeclared", 142, "E", change=result(lambda f: f["capabilities"].pop("logging", None), "server/discover")),
    Mutant("progress stands still", 143, "E", change=note("notifications/progress", lambda m: m["params"].update(progress=1))),
    Mutant("progress for another token", 143, "B", change=note("notifications/progress", lambda m: m["params"].update(progressToken="other"))),
    Mutant("cancels a call", 147, "E", change=_notes({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})),
    Mutant("nested forms", 152, "E", change=result(_inputs(_nested_form))),
    Mutant("input required without either", 163, "E", change=result(lambda f: drop("inputRequests", "requestState")(f))),
    Mutant("asks for something else", 164, "E", change=result(_inputs(lambda a: a.update(method="judge/ask")))),
    Mutant("any state", 171, "E", send=_keeps_state, change=_sees_state),
    Mutant("nonsense completes", 172, "E", change=_completes),
    Mutant("negative ttl", 174, "E", change=result(lambda f: f.update(ttlMs=-1) if "ttlMs" in f else None)),
    Mutant("scope changes between pages", 175, "E", change=_flips_scope),
    Mutant("no acknowledgement", 179, "E", change=note(ACK, lambda m: [])),
    Mutant("acknowledges too much", 179, "E", change=note(ACK, lambda m: m["params"]["notifications"].update(promptsListChanged=True))),
    Mutant("untagged", 180, "E", change=note("notifications/tools/list_changed", lambda m: m["params"]["_meta"].clear())),
    Mutant("tells what was not asked", 181, "E", change=note("notifications/resources/updated", lambda m: m["params"].update(uri="test://other"))),
    Mutant("tells one of many", 185, "E", change=_only_first),
    Mutant("nested tasks", 195, "E", change=result(_nested_task, "tools/call")),
    Mutant("tasks come late", 197, "E", change=_task_at_first),
    Mutant("tasks/get says task", 198, "E", change=result(put(resultType="task"), "tasks/get")),
    Mutant("isError fails a task", 199, "E", change=result(lambda f: f.update(status="failed") if f.get("status") == "completed" else None, "tasks/get")),
    Mutant("unknown task -32603", 201, "E", change=error(lambda e: e.update(code=-32603))),
    Mutant("declares old tasks", 202, "E", change=result(lambda f: f["capabilities"].update(tasks={}), "server/discover")),
]  # fmt: skip
