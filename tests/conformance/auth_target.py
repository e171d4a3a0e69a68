"""A protected MCP server, to judge the judge with: ours behind a gate; each `--mutate NAME` adds one with a fault.

    python auth_target.py --tokens FILE [--mutate NAME]...

The file is the one that the judge is given: the gate knows what each of its tokens is.
"""

import argparse
import asyncio
import json
import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import uvicorn

from kailash.mcp_server import MCPServer

PRM = "/.well-known/oauth-protected-resource"
IMPLIES = {"mcp:admin": {"mcp:admin", "mcp:read", "mcp:write"}}
GRANTED = {"good": ["mcp:read", "mcp:write"], "narrow": ["mcp:read"], "broad": ["mcp:admin"],
           "expired": ["mcp:read", "mcp:write"], "foreign": ["mcp:read", "mcp:write"]}  # fmt: skip


def make_server() -> MCPServer:
    """Return a server with one tool that writes."""
    server = MCPServer("protected", enable_http_transport=True)

    @server.tool
    async def write() -> str:
        """Writes something."""
        return "written"

    return server


class Gate:
    """ASGI: lets pass what comes with a token that is good enough."""

    def __init__(self, app: Any, tokens: dict[str, str], origin: str, mutation: str) -> None:
        self.app, self.tokens, self.origin, self.mutation = app, tokens, origin, mutation

    def broken(self, name: str) -> bool:
        return name == self.mutation

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path == f"{PRM}/mcp" and not self.broken("no metadata"):
            await self._metadata(send)
            return
        if path != "/mcp":
            await self._answer(send, 404, [])
            return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        refusal = self._refusal(scope, body)
        if refusal is not None:
            status, parameters = refusal
            where = f"{self.origin}{PRM}/mcp"
            shown = parameters if self.broken("metadata untold") else {"resource_metadata": where, **parameters}
            told = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in shown.items())
            headers = [] if self.broken("no challenge") else [(b"www-authenticate", told.encode())]
            await self._answer(send, status, headers)
            return
        events = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return events.pop() if events else await receive()

        await self.app(scope, again, send)

    def _refusal(self, scope: Any, body: bytes) -> tuple[int, dict[str, str]] | None:
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if self.broken("token from the query") and b"access_token=" in scope["query_string"]:
            scheme, token = "bearer", scope["query_string"].decode().partition("access_token=")[2]
        if self.broken("a session is enough") and "mcp-session-id" in headers:
            return None
        if self.broken("open to GET") and scope["method"] == "GET":
            return None
        if self.broken("any scheme") and scheme:
            scheme = "bearer"
            token = token if token in self.tokens else next(iter(self.tokens))
        if not scheme and self.broken("open to everybody"):
            return None
        if not scheme:
            return (403 if self.broken("forbidden without a token") else 401), {"scope": "mcp:read"}
        kind = self.tokens.get(token)
        if kind is None and self.broken("any token") and scheme.lower() == "bearer":
            kind = "good"
        refused = {"expired": not self.broken("expired is fine"), "foreign": not self.broken("foreign is fine"),
                   None: True}  # fmt: skip
        if scheme.lower() != "bearer" or refused.get(kind) or (self.broken("refuses the good") and kind == "good"):
            return 401, {"error": "no" if self.broken("says no") else "invalid_token"}
        assert kind is not None
        granted: set[str] = set()
        for each in GRANTED[kind]:
            granted |= {each} if self.broken("no hierarchy") else IMPLIES.get(each, {each})
        try:
            is_call = json.loads(body).get("method") == "tools/call"
        except (ValueError, AttributeError):
            is_call = False
        if self.broken("no hierarchy") and kind == "broad" and not is_call:
            return None
        if is_call and "mcp:write" not in granted and not self.broken("any scope"):
            status = 401 if self.broken("401 for a scope") else 403
            said = {"error": "insufficient_scope", "scope": "mcp:write"}
            return status, {} if self.broken("scope untold") else said
        return None

    async def _metadata(self, send: Any) -> None:
        made: dict[str, Any] = {
            "resource": f"{self.origin}/mcp",
            "authorization_servers": [f"{self.origin}/as"],
            "scopes_supported": ["mcp:read"],
        }
        if self.broken("no authorization server"):
            made["authorization_servers"] = []
        if self.broken("another resource"):
            made["resource"] = "https://example.com/mcp"
        if self.broken("offline_access"):
            made["scopes_supported"].append("offline_access")
        await self._answer(send, 200, [(b"content-type", b"application/json")], json.dumps(made).encode())

    async def _answer(self, send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def serve(tokens: dict[str, str], mutations: list[str]) -> None:
    """Serve the sound one and each of the others, on a port each, and print which is where."""
    running, places = [], {}
    for mutation in ["", *mutations]:
        listening = socket.create_server(("127.0.0.1", 0))
        places[mutation] = origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        gate = Gate(make_server().asgi_app(), tokens, origin, mutation)
        server = uvicorn.Server(uvicorn.Config(gate, log_level="error", lifespan="off"))
        running.append(server.serve(sockets=[listening]))
    print(json.dumps(places), flush=True)
    await asyncio.gather(*running)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=Path, required=True)
    known = sorted(set(re.findall(r'broken\("([^"]+)"\)', Path(__file__).read_text(encoding="utf-8"))))
    parser.add_argument("--mutate", action="append", default=[], choices=known)
    given = parser.parse_args()
    rows = tomllib.loads(given.tokens.read_text())
    tokens = {rows[kind]: kind for kind in GRANTED if kind in rows}
    asyncio.run(serve(tokens, given.mutate))


if __name__ == "__main__":
    main()
