"""A client over standard streams that can do what ours cannot, and do it wrongly: `FAULT` in the environment says how.

It hosts tasks (2025-11-25), validates structured content, and listens; it is made for the judge's scenarios and speaks
no more than they need.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any

import jsonschema_rs

FAULT = os.environ.get("FAULT", "")
SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
VERSION = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "")
META = "io.modelcontextprotocol/"
RELATED = f"{META}related-task"
WHEN = "2026-01-01T00:00:00Z"
WATCHED = "test://watched"
ANSWER = {"role": "assistant", "content": {"type": "text", "text": "hello"}, "model": "none"}


class Client:
    """One connection."""

    def __init__(self, command: list[str]) -> None:
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.count = 0
        self.tasks: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        assert self.server.stdout is not None
        for line in self.server.stdout:
            self.inbox.put(json.loads(line))
        self.inbox.put(None)

    def send(self, **message: Any) -> None:
        assert self.server.stdin is not None
        with self.lock:
            self.server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self.server.stdin.flush()

    def begin(self, method: str, **params: Any) -> int:
        self.count += 1
        if VERSION.startswith("2026"):
            params["_meta"] = {f"{META}protocolVersion": VERSION, f"{META}clientCapabilities": {},
                               f"{META}clientInfo": {"name": "scripted", "version": "1"}}  # fmt: skip
        self.send(id=self.count, method=method, params=params)
        return self.count

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        request = self.begin(method, **params)
        while (message := self.next()) is not None:
            if "method" not in message and message.get("id") == request:
                return dict(message.get("result") or {})
            self.serve(message)
        sys.exit("the server is gone")

    def next(self) -> dict[str, Any] | None:
        return self.inbox.get(timeout=5)

    def open(self) -> None:
        if VERSION.startswith("2026"):
            self.call("server/discover")
            return
        tasks = {"list": {}, "cancel": {}, "requests": {"sampling": {"createMessage": {}}}}
        able = {"sampling": {}, "tasks": tasks}
        self.call("initialize", protocolVersion=VERSION, capabilities=able, clientInfo={"name": "x", "version": "1"})
        self.send(method="notifications/initialized")

    # What the server asks.

    def serve(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params") or {}
        if "id" not in message or method is None:
            return
        if method == "sampling/createMessage":
            found = self.task(params) if "task" in params else ANSWER
        elif method == "tasks/result":
            self.result(message["id"], params["taskId"])
            return
        elif method == "tasks/list":
            if "cursor" in params and FAULT != "any cursor":
                self.refuse(message["id"])
                return
            found = {"tasks": [] if FAULT == "lists nothing" else [task["shown"] for task in self.tasks.values()]}
        elif method in ("tasks/get", "tasks/cancel"):
            related = ((params.get("_meta") or {}).get(RELATED) or {}).get("taskId")
            name = related if related and FAULT == "meta wins" else params["taskId"]
            task = self.tasks.get(name)
            is_over = task is not None and task["shown"]["status"] != "working"
            if task is None or (method == "tasks/cancel" and is_over and FAULT != "cancels what has ended"):
                self.refuse(message["id"])
                return
            if method == "tasks/cancel":
                task["shown"]["status"] = "working" if FAULT == "cancels later" else "cancelled"
            found = task["shown"]
        else:
            found = {}
        self.send(id=message["id"], result=found)

    def refuse(self, request: Any) -> None:
        self.send(id=request, error={"code": -32603 if FAULT == "other codes" else -32602, "message": "no such task"})

    def task(self, params: dict[str, Any]) -> dict[str, Any]:
        name = f"task-{len(self.tasks)}"
        shown = {"taskId": name, "status": "working", "createdAt": WHEN, "lastUpdatedAt": WHEN, "ttl": 60000}
        if FAULT == "no times":
            del shown["createdAt"]
        self.tasks[name] = {"shown": shown, "token": params["_meta"]["progressToken"]}
        return {"task": dict(shown)}

    def progress(self, name: str, value: int) -> None:
        token = "other" if FAULT == "another token" else self.tasks[name]["token"]
        meta = {} if FAULT == "nameless progress" else {RELATED: {"taskId": name}}
        self.send(method="notifications/progress", params={"progressToken": token, "progress": value, "_meta": meta})

    def result(self, request: Any, name: str) -> None:
        task = self.tasks[name]
        self.progress(name, 1)
        if FAULT != "never ends":
            task["shown"]["status"] = "completed"
        meta = {} if FAULT == "nameless result" else {"_meta": {RELATED: {"taskId": name}}}
        self.send(id=request, result={**ANSWER, **meta})
        if FAULT == "progress after the end":
            time.sleep(0.05)
            self.progress(name, 2)

    # What the scenarios ask for.

    def use(self) -> None:
        for tool in self.call("tools/list")["tools"]:
            result = self.call("tools/call", name=tool["name"], arguments={})
            schema = tool.get("outputSchema")
            if schema is not None and not self.fits(schema, result.get("structuredContent")):
                sys.exit("the content does not fit")

    def fits(self, schema: dict[str, Any], content: Any) -> bool:
        if FAULT == "any dialect":
            schema = {key: value for key, value in schema.items() if key != "$schema"}
        try:
            kind = jsonschema_rs.Draft7Validator if FAULT == "draft 7" else jsonschema_rs.validator_for
            return bool(kind(schema).is_valid(content))
        except jsonschema_rs.ValidationError:
            return False

    def listen(self) -> None:
        self.call("tools/list")
        tools = self.begin("subscriptions/listen", notifications={"toolsListChanged": True})
        updates = self.begin("subscriptions/listen", notifications={"resourceSubscriptions": [WATCHED]})
        left = {tools, updates}
        while left and (message := self.next()) is not None:
            method, params = message.get("method"), message.get("params") or {}
            tag = (params.get("_meta") or {}).get(f"{META}subscriptionId")
            if FAULT == "any subscription":
                tag = {"notifications/tools/list_changed": tools, "notifications/resources/updated": updates}.get(
                    str(method)
                )
            if method == "notifications/tools/list_changed" and tag == tools:
                if FAULT != "keeps what changed":
                    self.call("tools/list")
                left.discard(tools)
            elif method == "notifications/resources/updated" and tag == updates:
                self.call("resources/read", uri=WATCHED)
                left.discard(updates)


def main() -> None:
    """Do what the scenario asks for."""
    client = Client(sys.argv[1:])
    client.open()
    (client.listen if SCENARIO == "client-listens" else client.use)()
    assert client.server.stdin is not None
    client.server.stdin.close()


if __name__ == "__main__":
    main()
