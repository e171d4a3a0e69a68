"""A server as an ASGI application: under three ASGI servers, mounted in three frameworks, lifespan or not."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import Context, MCPServer

from .peer import LAST_HANDSHAKE, META, NEWEST, Peer

pytestmark = pytest.mark.anyio

HOME = Path(__file__).resolve().parents[2]
LIFE: list[str] = []


@asynccontextmanager
async def lifespan(server: MCPServer) -> AsyncIterator[str]:
    LIFE.append("up")
    yield "state"
    LIFE.append("down")


def make_server(**options: Any) -> MCPServer:
    server = MCPServer("asgi", **options)

    @server.tool(blocking=False)
    def echo(message: str) -> str:
        return message

    @server.tool
    async def count(ctx: Context) -> str:
        for number in (1, 2):
            await ctx.progress(number, 2)
        return "counted"

    @server.tool
    async def ask(ctx: Context) -> str:
        return (await ctx.elicit("?")).action

    return server


# Without any ASGI server: the application is called as one would call it


class Call:
    """One HTTP request to an application."""

    def __init__(self, path: str, body: bytes = b"", *, method: str = "POST", root: str = "", **headers: str) -> None:
        own = {"host": "127.0.0.1", "content-type": "application/json", "accept": "application/json, text/event-stream"}
        fields = {**own, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "root_path": root, "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
            "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 50000),
        }  # fmt: skip
        self.body = body
        self.pieces = 1
        self.sent: list[Any] = []
        self.news = anyio.Event()
        self.gone = anyio.Event()
        self._given = 0

    async def receive(self) -> Any:
        if self._given < self.pieces:
            size = -(-len(self.body) // self.pieces) or 1
            piece = self.body[self._given * size : (self._given + 1) * size]
            self._given += 1
            return {"type": "http.request", "body": piece, "more_body": self._given < self.pieces}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.news.set()
        self.news = anyio.Event()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def answer(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


def tool_call(name: str, path: str = "/mcp", root: str = "", **arguments: Any) -> Call:
    params = {"name": name, "arguments": arguments, "_meta": {**META, "progressToken": 1}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    return Call(path, body, root=root, mcp_protocol_version=NEWEST, mcp_method="tools/call", mcp_name=name)


@asynccontextmanager
async def alive(app: Any) -> AsyncIterator[None]:
    """Hold an application up by its lifespan."""
    stop, up = anyio.Event(), anyio.Event()
    said: list[str] = []

    async def receive() -> Any:
        if not said:
            return {"type": "lifespan.startup"}
        await stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        said.append(message["type"])
        up.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app, {"type": "lifespan"}, receive, send)
        await up.wait()
        yield
        stop.set()
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/mcp", ""),
        ("/", ""),
        ("/tools", "/tools"),
        ("/tools/mcp", "/tools"),
        ("/tools/mcp/", "/tools"),
        ("/mcp", "/x"),
    ],
)
async def test_a_call_is_answered_wherever_the_application_is_mounted(path: str, root: str) -> None:
    app = make_server().asgi_app()
    async with alive(app):
        call = tool_call("echo", path, root, message="hello")
        await app(call.scope, call.receive, call.send)
    assert call.status == 200 and call.headers["content-type"] == "application/json"
    assert int(call.headers["content-length"]) == len(call.answer)
    assert json.loads(call.answer)["result"]["content"][0]["text"] == "hello"


async def test_progress_is_sent_as_it_comes() -> None:
    app = make_server().asgi_app()
    async with alive(app):
        call = tool_call("count")
        call.pieces = 7
        await app(call.scope, call.receive, call.send)
    assert call.headers["content-type"] == "text/event-stream" and "content-length" not in call.headers
    events = [json.loads(line[6:]) for line in call.answer.decode().splitlines() if line.startswith("data: ")]
    assert [event["params"]["progress"] for event in events[:2]] == [1, 2]
    assert events[2]["result"]["content"][0]["text"] == "counted" and not call.sent[-1]["more_body"]


async def test_a_client_that_goes_away_cancels_its_call() -> None:
    server = make_server()
    started, ended = anyio.Event(), anyio.Event()

    @server.tool
    async def hang() -> str:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    app = server.asgi_app()
    async with alive(app):
        call = tool_call("hang")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, call.scope, call.receive, call.send)
            await started.wait()
            call.gone.set()
        with anyio.fail_after(5):
            await ended.wait()
    assert not call.sent and not server.sessions


async def test_a_session_is_asked_on_one_request_and_answers_on_another() -> None:
    server = make_server()
    app = server.asgi_app()

    def message(body: Any, **headers: str) -> Call:
        return Call("/mcp", json.dumps({"jsonrpc": "2.0", **body}).encode(), **headers)

    async with alive(app), anyio.create_task_group() as tasks:
        info = {"name": "x", "version": "1"}
        params = {"protocolVersion": LAST_HANDSHAKE, "capabilities": {"elicitation": {}}, "clientInfo": info}
        call = message({"id": 1, "method": "initialize", "params": params})
        await app(call.scope, call.receive, call.send)
        session = call.headers["mcp-session-id"]
        note = message({"method": "notifications/initialized"}, mcp_session_id=session)
        await app(note.scope, note.receive, note.send)
        assert note.status == 202 and note.answer == b""
        asking = message({"id": 2, "method": "tools/call", "params": {"name": "ask"}}, mcp_session_id=session)
        tasks.start_soon(app, asking.scope, asking.receive, asking.send)
        while b"elicitation/create" not in asking.answer:
            await asking.news.wait()
        asked = json.loads(asking.answer.rpartition(b"data: ")[2])
        answer = message({"id": asked["id"], "result": {"action": "decline"}}, mcp_session_id=session)
        await app(answer.scope, answer.receive, answer.send)
        assert answer.status == 202
        while asking.sent[-1].get("more_body", True):
            await asking.news.wait()
        assert b'"text":"decline"' in asking.answer
        bye = Call("/mcp", method="DELETE", mcp_session_id=session)
        await app(bye.scope, bye.receive, bye.send)
        assert bye.status == 204
    assert not server.sessions


async def test_it_starts_with_the_first_request_where_no_lifespan_comes() -> None:
    LIFE.clear()
    server = make_server(lifespan=lifespan)
    app = server.asgi_app()
    for _ in range(2):
        call = tool_call("echo", message="x")
        await app(call.scope, call.receive, call.send)
        assert call.status == 200
    assert LIFE == ["up"]
    await app.aclose()
    assert LIFE == ["up", "down"]


async def test_a_lifespan_that_fails_is_told() -> None:
    @asynccontextmanager
    async def broken(server: MCPServer) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    app = make_server(lifespan=broken).asgi_app()
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        said.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert said == [{"type": "lifespan.startup.failed", "message": "the lifespan of asgi failed: no database"}]


async def test_sizes_paths_and_strange_scopes_are_refused() -> None:
    app = make_server().asgi_app(allowed_hosts=["mcp.example"])
    async with alive(app):
        for call, status in (
            (Call("/nowhere"), 404),
            (Call("/mcp", b"x" * (4 * 1024 * 1024 + 1)), 413),
            (Call("/mcp", b"{}", host="evil.example"), 421),
            (Call("/mcp", b"{}", content_type="text/plain"), 415),
            (Call("/mcp", b"{}", method="PUT"), 405),
            (Call("/health", method="GET"), 200),
        ):
            await app(call.scope, call.receive, call.send)
            assert call.status == status
        with pytest.raises(ValueError, match="unknown ASGI scope 'teapot'; known: http, lifespan, websocket"):
            await app({"type": "teapot"}, call.receive, call.send)


async def test_a_silent_handler_is_kept_alive_by_comments() -> None:
    server = make_server()
    release = anyio.Event()

    @server.tool
    async def hang() -> str:
        await release.wait()
        return "done"

    app = server.asgi_app(commit_after=0.01, keep_alive=0.01)
    async with alive(app):
        call = tool_call("hang")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, call.scope, call.receive, call.send)
            with anyio.fail_after(5):
                while len(call.sent) < 3:
                    await call.news.wait()
            release.set()
    assert call.answer.startswith(b":") and b'"text":"done"' in call.answer


# Under real ASGI servers, mounted in real frameworks

PROGRAM = """
import sys
from tests.transports.test_asgi import make_server

server = make_server()
kind = {kind!r}
if kind == "plain":
    app = server.asgi_app()
elif kind == "starlette":
    from starlette.applications import Starlette
    from starlette.routing import Mount
    app = Starlette(routes=[Mount("/api/tools", app=server.asgi_app())])
elif kind == "fastapi":
    from fastapi import FastAPI
    app = FastAPI()
    app.mount("/api/tools", server.asgi_app())
else:
    import django.conf
    django.conf.settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="tests", SECRET_KEY="x" * 50)
    from django.core.asgi import get_asgi_application
    pages, tools = get_asgi_application(), server.asgi_app()
    async def app(scope, receive, send):
        if scope["type"] == "http" and scope["path"].startswith("/api/tools"):
            await tools({{**scope, "root_path": "/api/tools"}}, receive, send)
        elif scope["type"] == "http":
            await pages(scope, receive, send)
"""

COMMANDS = {
    "uvicorn": ["uvicorn", "--port", "{port}", "--log-level", "error", "program:app"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", "--log-level", "error", "program:app"],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "--log-level", "error", "program:app"],
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(
    scope="module",
    params=[("uvicorn", "plain"), ("hypercorn", "plain"), ("granian", "plain")]
    + [("uvicorn", kind) for kind in ("starlette", "fastapi", "django")],
    ids="-".join,
)
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Run an ASGI server with our application in it; gives the port and the path."""
    under, kind = request.param
    folder = tmp_path_factory.mktemp("asgi")
    (folder / "program.py").write_text(PROGRAM.format(kind=kind))
    port = free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in COMMANDS[under])]
    path = f"{folder}:{HOME}"
    process = subprocess.Popen(command, cwd=folder, env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"})
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < until, "the ASGI server did not start"
    yield port, "/mcp" if kind == "plain" else "/api/tools/mcp"
    process.terminate()
    assert process.wait(timeout=20) in (0, -15)


async def test_it_works_under_real_servers(mounted: tuple[int, str]) -> None:
    port, path = mounted
    peer = await Peer.connect(port)
    for number in range(3):
        await peer.call("echo", {"message": "x" * 70_000}, id=number, path=path)
        status, _, body = await peer.response()
        assert status == 200 and json.loads(body)["id"] == number
    await peer.call("count", path=path, progressToken=5)
    status, headers, body = await peer.response()
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert body.count(b"notifications/progress") == 2 and b'"text":"counted"' in body
    info = {"name": "raw", "version": "1"}
    params = {"protocolVersion": LAST_HANDSHAKE, "capabilities": {}, "clientInfo": info}
    await peer.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, path=path)
    status, headers, _ = await peer.response()
    assert status == 200
    session = f"Mcp-Session-Id: {headers['mcp-session-id']}"
    await peer.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, session, path=path)
    assert (await peer.response())[0] == 202
    listener = await Peer.connect(port)
    await listener.get(path, session, "Accept: text/event-stream")
    assert (await listener.head())[0] == 200
    assert b"id: 0-" in await listener.chunk()
    await listener.close()
    await peer.get(path, session, method="DELETE")
    assert (await peer.response())[0] == 204
    await peer.close()


def test_one_application_serves_one_loop_after_the_other() -> None:
    app = make_server().asgi_app()

    async def once() -> int:
        call = tool_call("echo", message="x")
        await app(call.scope, call.receive, call.send)
        await app.aclose()
        return call.status

    assert [asyncio.run(once()) for _ in range(2)] == [200, 200]
