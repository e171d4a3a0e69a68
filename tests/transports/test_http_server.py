"""HTTP connections on real sockets: both eras on one path, keep-alive, pipelining, deadlines, limits, losses."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from kailash.adapters.carriers import Carriers
from kailash.adapters.http_server import HTTPServer, HTTPServerOptions, HTTPTimeouts
from kailash.adapters.loops import current_loop
from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.web import WebRuntime
from protocol.http.endpoint import StreamableHTTPEndpoint

from .peer import Peer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["h11", "httptools"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Tools:
    """A server and what its tools have seen."""

    def __init__(self) -> None:
        self.server = MCPServer("web")
        self.started, self.cancelled = anyio.Event(), anyio.Event()
        self.release = anyio.Event()

        @self.server.tool(blocking=False)
        def echo(message: str) -> str:
            return message

        @self.server.tool
        async def count(ctx: Context) -> str:
            for number in (1, 2):
                await ctx.progress(number, 2)
            return "counted"

        @self.server.tool
        async def ask(ctx: Context) -> str:
            return (await ctx.elicit("?")).action

        @self.server.tool
        async def wait() -> str:
            self.started.set()
            try:
                await self.release.wait()
            except anyio.get_cancelled_exc_class():
                self.cancelled.set()
                raise
            return "released"


@asynccontextmanager
async def serve(codec: Any, **options: Any) -> AsyncIterator[tuple[Tools, "HTTPServer", int]]:
    tools = Tools()
    endpoint = StreamableHTTPEndpoint(tools.server.profile(), mint=lambda: secrets.token_urlsafe(16))
    async with tools.server.running():
        carriers = Carriers(current_loop())
        runtime = WebRuntime(tools.server, carriers)
        settings = HTTPServerOptions(codec=codec, **options)
        http = HTTPServer({"/mcp": endpoint}, take=runtime.take, carriers=carriers, options=settings)
        port = await http.start()
        try:
            yield tools, http, port
        finally:
            tools.release.set()
            await runtime.aclose()
            await http.aclose()
        assert not http.connections


async def test_a_call_is_answered_as_json_and_the_connection_is_kept(codec: str) -> None:
    async with serve(codec) as (_, _, port):
        peer = await Peer.connect(port)
        for number in range(3):
            await peer.call("echo", {"message": f"m{number}"}, id=number)
            status, headers, body = await peer.response()
            answer = json.loads(body)
            assert (status, headers["content-type"]) == (200, "application/json")
            assert answer["id"] == number and answer["result"]["content"][0]["text"] == f"m{number}"
        await peer.close()


async def test_pipelined_requests_are_answered_in_order(codec: str) -> None:
    async with serve(codec) as (_, _, port):
        peer = await Peer.connect(port)
        for number in range(5):
            await peer.call("count" if number % 2 else "echo", {} if number % 2 else {"message": "x"}, id=number)
        assert [json.loads((await peer.response())[2])["id"] for _ in range(5)] == list(range(5))
        await peer.close()


async def test_progress_makes_the_answer_a_stream(codec: str) -> None:
    async with serve(codec) as (_, _, port):
        peer = await Peer.connect(port)
        await peer.call("count", progressToken="t")
        status, headers, body = await peer.response()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: ")]
        assert [event["params"]["progress"] for event in events[:2]] == [1, 2]
        assert events[2]["result"]["content"][0]["text"] == "counted"
        await peer.call("echo", {"message": "after"})
        assert (await peer.response())[0] == 200
        await peer.close()


async def test_a_session_is_asked_on_its_own_stream_and_answers_on_another_post(codec: str) -> None:
    async with serve(codec) as (_, _, port):
        peer, other = await Peer.connect(port), await Peer.connect(port)
        session = f"Mcp-Session-Id: {await peer.initialize()}"
        await peer.post({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "ask"}}, session)
        _, headers = await peer.head()
        assert headers["content-type"] == "text/event-stream"
        text = b""
        while b"elicitation/create" not in text:
            text += await peer.chunk()
        asked = json.loads(text[text.rindex(b"data: ") + 6 :].splitlines()[0])
        await other.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {}}}, session)
        assert (await other.response())[0] == 202
        assert b'"text":"accept"' in await peer.chunk()
        await other.send(f"DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{session}\r\n\r\n".encode())
        assert (await other.response())[0] == 204
        await other.post({"jsonrpc": "2.0", "id": 6, "method": "ping"}, session)
        assert (await other.response())[0] == 404
        await peer.close()
        await other.close()


async def test_a_lost_connection_cancels_in_the_newest_revision_and_not_in_a_session(codec: str) -> None:
    async with serve(codec) as (tools, _, port):
        peer = await Peer.connect(port)
        await peer.call("wait")
        await tools.started.wait()
        await peer.close()
        with anyio.fail_after(5):
            await tools.cancelled.wait()
        tools.cancelled, tools.started = anyio.Event(), anyio.Event()
        peer = await Peer.connect(port)
        session = await peer.initialize()
        message = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "wait"}}
        await peer.post(message, f"Mcp-Session-Id: {session}")
        await tools.started.wait()
        await peer.close()
        other = await Peer.connect(port)
        await other.call("echo", {"message": "x"})
        assert (await other.response())[0] == 200 and not tools.cancelled.is_set()
        await other.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        (b"PUT /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405),
        (b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n", 421),
        (b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n", 403),
        (b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /mcp HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_bad_requests_get_their_status_and_the_next_client_is_served(
    codec: str, request_bytes: bytes, status: int
) -> None:
    async with serve(codec) as (_, _, port):
        peer = await Peer.connect(port)
        await peer.send(request_bytes)
        with anyio.fail_after(5):
            assert (await peer.response())[0] == status
        await peer.close()
        other = await Peer.connect(port)
        await other.call("echo", {"message": "x"})
        assert (await other.response())[0] == 200
        await other.close()


@pytest.mark.parametrize(
    ("sent", "timeouts", "answer"),
    [
        (b"POST /mcp HT", HTTPTimeouts(head=0.1), b"408"),
        (
            b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json, text/event-stream\r\n"
            b"Content-Type: application/json\r\nContent-Length: 5\r\n\r\nab",
            HTTPTimeouts(body=0.1),
            b"408",
        ),
        (b"", HTTPTimeouts(head=0.1), b""),
    ],
    ids=["half a head", "half a body", "nothing"],
)
async def test_slow_requests_are_cut(codec: str, sent: bytes, timeouts: HTTPTimeouts, answer: bytes) -> None:
    async with serve(codec, timeouts=timeouts) as (_, http, port):
        peer = await Peer.connect(port)
        await peer.send(sent)
        with anyio.fail_after(5):
            said = await peer.rest()
        assert answer in said and (answer or said == b"")
        await peer.close()
        assert await http.wait_empty(5)


async def test_too_many_connections_are_turned_away(codec: str) -> None:
    async with serve(codec, most_connections=1) as (_, _, port):
        peer, other = await Peer.connect(port), await Peer.connect(port)
        assert (await other.response())[0] == 503
        await other.close()
        await peer.call("echo", {"message": "x"})
        assert (await peer.response())[0] == 200
        await peer.close()


async def test_closing_answers_what_is_under_way(codec: str) -> None:
    async with serve(codec) as (tools, http, port):
        peer = await Peer.connect(port)
        await peer.call("wait")
        await tools.started.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(http.aclose)
            await wait_all_tasks_blocked()
            tools.release.set()
            status, headers, body = await peer.response()
            assert status == 200 and headers["connection"] == "close"
            assert json.loads(body)["result"]["content"][0]["text"] == "released"
        await peer.close()
