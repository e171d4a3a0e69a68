"""WebSockets through ASGI servers of others, who do the framing: uvicorn with `websockets` and with `wsproto`."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import uvicorn

from kailash.mcp_client import MCPClient

from .test_websocket import Provider, tools
from .wspeer import WSPeer, call, frame

pytest.importorskip("websockets")

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["websockets-sansio", "wsproto"])
def framing(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[pytest.param(("asyncio", {}), id="asyncio")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


@asynccontextmanager
async def under_uvicorn(app: Any, framing: str) -> AsyncIterator[int]:
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, ws=framing, log_level="warning"))
    server.ready = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await server.ready.wait()
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True


async def test_both_sides_of_a_conversation(framing: str) -> None:
    site = tools()
    async with under_uvicorn(site.server.asgi_app(), framing) as port:
        for path in ("/ws", "/mcp", "/"):
            async with await WSPeer.open(port, path, Sec_WebSocket_Protocol="chat, mcp") as peer:
                assert peer.status == 101 and b"protocol: mcp" in peer.head.lower()
                await peer.echo()
                await peer.echo("€" * 100_000)
                await peer.stream.send(frame(1, b'{"method":\n"ping"}'))
                assert (await peer.hear())["error"]["code"] == -32600
        async with MCPClient(f"ws://127.0.0.1:{port}/mcp") as client:
            steps: list[float] = []
            found = await client.call_tool(
                "pour", {"size": 10, "count": 5}, on_progress=lambda at, *_: steps.append(at)
            )
            assert found.text == "poured" and steps == [0, 1, 2, 3, 4]


async def test_who_may_not_is_refused(framing: str) -> None:
    server = tools(auth_provider=Provider()).server
    token = "mcp-bearer." + base64.urlsafe_b64encode(b"s3cret").decode().rstrip("=")
    async with under_uvicorn(server.asgi_app(max_sessions_per_principal=1), framing) as port:
        cases: list[tuple[int, dict[str, Any]]] = [
            (403, {"Origin": "https://evil.example"}),
            (421, {"host": "evil.example"}),
            (401, {}),
            (404, {"path": "/elsewhere"}),
        ]
        for status, options in cases:
            async with await WSPeer.open(port, **options) as peer:
                assert peer.status == status
        async with await WSPeer.open(port, Sec_WebSocket_Protocol=f"mcp, {token}") as peer:
            assert peer.status == 101 and token.encode() not in peer.head
            await peer.echo()
            async with await WSPeer.open(port, Authorization="Bearer s3cret") as second:
                assert second.status == 503


async def test_faults_and_the_end_of_credentials_have_their_codes(framing: str) -> None:
    site = tools(auth_provider=Provider(expires=time.time() + 1.0))
    headers = {"Authorization": "Bearer s3cret"}
    async with under_uvicorn(site.server.asgi_app(max_message_size=1000), framing) as port:
        for wire, code in ((frame(2, b"x"), 1003), (frame(1, b"x" * 1001), 1009)):
            async with await WSPeer.open(port, **headers) as peer:
                await peer.stream.send(wire)
                assert (await peer.ended()).code == code
        async with await WSPeer.open(port, **headers) as peer:
            await peer.echo()
            assert (await peer.ended()).code == 1008


async def test_whoever_hangs_up_cancels_what_runs(framing: str) -> None:
    site = tools()
    async with under_uvicorn(site.server.asgi_app(), framing) as port:
        async with await WSPeer.open(port) as peer:
            await peer.say(call("wait"))
            await site.started.wait()
        with anyio.fail_after(5):
            await site.cancelled.wait()


async def test_a_server_that_stops_says_so(framing: str) -> None:
    site = tools()
    app = site.server.asgi_app()
    async with under_uvicorn(app, framing) as port, await WSPeer.open(port) as peer:
        await peer.echo()
        await app.aclose()
        assert (await peer.ended()).code == 1001
