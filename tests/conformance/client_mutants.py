"""Clients with one fault each: taps on the wire of a sound one; see `mutants`."""

# ruff: noqa: E501 - a table: a row is a line

import json
from collections.abc import Callable
from typing import Any

from .mutants import META, M, Mutant


class ClientMutant(Mutant):
    """A fault of a client: what it sends is changed before the judge sees it."""

    def __init__(self, name: str, rule: int, revision: str, transport: str = "http", *, edit: Callable[[M], Any] | None = None,
                 headers: Callable[[list[tuple[str, str]]], Any] | None = None) -> None:  # fmt: skip
        super().__init__(name, rule, revision, transport)
        self.edit = edit
        self.edit_headers = headers

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
]  # fmt: skip
