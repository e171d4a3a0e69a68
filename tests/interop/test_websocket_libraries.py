"""WebSocket libraries nobody here wrote, in both roles: Python's `websockets`, Node's `ws`, and what browsers have."""

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError
from kailash.mcp_server.errors import ConnectionError

from .peers import node_command
from .processes import our_server, program

websockets = pytest.importorskip("websockets")

pytestmark = pytest.mark.anyio

SEED = '{"method": "ping"}'
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}


def request(id: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with our_server("websocket", "our_echo_server.py") as server:
        yield server.port()


@contextmanager
def compressing() -> Iterator[int]:
    with our_server("websocket", "our_echo_server.py", HTTP_OPTIONS='{"compression": true}') as server:
        yield server.port()


# `websockets` as the client


async def test_block_32_as_written(port: int) -> None:
    async with websockets.connect(f"ws://localhost:{port}") as ws:
        await ws.send('{"method": "ping"}')
        response = await ws.recv()
    assert json.loads(response)["error"]["code"] == -32600


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_websockets_uses_our_server(port: int, compression: Any) -> None:
    with ExitStack() as stack:
        at = port if compression is None else stack.enter_context(compressing())
        async with websockets.connect(f"ws://localhost:{at}/ws", subprotocols=["mcp"], compression=compression) as ws:
            assert ws.subprotocol == "mcp"
            assert bool(ws.protocol.extensions) is (compression is not None)
            await ws.send(request(0, "initialize", **HELLO))
            assert json.loads(await ws.recv())["result"]["protocolVersion"] == "2025-11-25"
            await ws.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')
            for text in ("hello", "€" * 70_000, "x" * 900_000):
                await ws.send(request(1, "tools/call", name="echo", arguments={"message": text}))
                assert json.loads(await ws.recv())["result"]["content"][0]["text"] == text
            whole = request(2, "tools/call", name="echo", arguments={"message": "in pieces"})
            await ws.send([whole[at : at + 7] for at in range(0, len(whole), 7)])
            assert json.loads(await ws.recv())["result"]["content"][0]["text"] == "in pieces"
            await (await ws.ping(b"are you there"))
        assert ws.close_code == 1000


@pytest.mark.parametrize(("message", "code"), [(b"binary", 1003), ("x" * (4 * 1024 * 1024 + 1), 1009)])
async def test_websockets_learns_what_it_did_wrong(port: int, message: Any, code: int) -> None:
    # Not `async with`: if we end our side while it still writes, `websockets` aborts a transport of CPython 3.11 that
    # is over, which fails in `asyncio` (`_write_ready` does not count the loss, `abort` then uses the loop it let go).
    ws = await websockets.connect(f"ws://localhost:{port}/ws")
    with pytest.raises(websockets.ConnectionClosedError) as caught:
        await ws.send(message)
        await ws.recv()
    assert caught.value.rcvd is not None and caught.value.rcvd.code == code
    await ws.wait_closed()


async def test_websockets_is_refused_like_everybody(port: int) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(f"ws://localhost:{port}/ws", origin="https://evil.example")
    assert caught.value.response.status_code == 403


# `websockets` as the server


async def serve_one(ws: Any) -> None:
    """Speak as much of the handshake era as a client needs."""
    async for text in ws:
        message = json.loads(text)
        method, params = message["method"], message.get("params", {})
        result: dict[str, Any] | None = None
        if method == "initialize":
            info = {"name": "websockets", "version": str(ws.protocol.extensions)}
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
        elif method == "tools/call" and params["name"] == "close":
            await ws.close(4001, "as you wish")
            return
        elif method == "tools/call" and params["name"] == "binary":
            await ws.send(b"no text")
        elif method == "tools/call":
            result = {"content": [{"type": "text", "text": params["arguments"]["message"]}]}
        elif "id" in message:
            error = {"code": -32601, "message": "Method not found"}
            await ws.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}))
        if result is not None:
            whole = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
            await ws.send([whole[:5], whole[5:]])


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_our_client_uses_a_server_made_with_websockets(is_compressed: bool) -> None:
    async with websockets.serve(serve_one, "127.0.0.1", 0, subprotocols=["mcp"], ping_interval=0.05) as server:
        at = server.sockets[0].getsockname()[1]
        await use(f"ws://127.0.0.1:{at}/", is_compressed, "PerMessageDeflate")


async def use(url: str, is_compressed: bool, mark: str) -> None:
    """Use a little server with our client, every way there is."""
    config = {"url": url, "compression": is_compressed, "ping_interval": 0.05}
    with anyio.fail_after(20):
        async with MCPClient(config) as client:
            assert client.server_info is not None and (mark in client.server_info.version) is is_compressed
            for text in ("hello", "€" * 70_000, "x" * 900_000):
                assert (await client.call_tool("echo", {"message": text})).text == text
            await anyio.sleep(0.2)  # a few pings, both ways
            assert (await client.call_tool("echo", {"message": "on"})).text == "on"
            for name, why in (("close", "4001: 'as you wish'"), ("binary", "1003: messages are text")):
                with pytest.raises(ConnectionError, match=why):
                    await client.call_tool(name, {})
                assert (await client.call_tool("echo", {"message": "again"})).text == "again"


# Node's `ws`, and what browsers have


def run_node(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*node_command(script), *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("kind", ["plain", "deflate", "native"])
def test_node_uses_our_server(port: int, kind: str) -> None:
    with ExitStack() as stack:
        at = stack.enter_context(compressing()) if kind == "deflate" else port
        report = run_node("ws_client.mjs", f"ws://127.0.0.1:{at}/ws", kind)
    assert report["subprotocol"] == "mcp" and report["errors"] == []
    assert report["initialized"]["protocolVersion"] == "2025-11-25" and report["tools"] == 1
    assert report["echoed"] == [True] * 3
    assert report["closed"] == [1000, "", True] or report["closed"] == [1000, "done", True]
    if kind != "native":
        assert report["pong"] == "are you there" and report["pieces"] == "in pieces"
        assert ("permessage-deflate" in report["extensions"]) is (kind == "deflate")


def test_a_page_brings_its_token_as_a_subprotocol() -> None:
    token = base64.urlsafe_b64encode(b"a-key-that-is-known").decode().rstrip("=")
    with our_server("websocket", "our_echo_server.py", API_KEY="a-key-that-is-known") as server:
        url = f"ws://127.0.0.1:{server.port()}/ws"
        report = run_node("ws_client.mjs", url, "native", "mcp", f"mcp-bearer.{token}")
        assert report["subprotocol"] == "mcp" and report["echoed"] == [True] * 3
        refused = run_node("ws_client.mjs", url, "native", "mcp")
        assert refused["closed"][0] == 1006 and "initialized" not in refused


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_our_client_uses_a_server_made_with_ws(is_compressed: bool) -> None:
    command = [*node_command("ws_server.mjs"), "deflate" if is_compressed else "plain"]
    with program(command, r"listening (\d+)") as server:
        url = f"ws://127.0.0.1:{server.port()}/"
        await use(url, is_compressed, "permessage-deflate")
        async with MCPClient(url) as client:
            assert (await client.call_tool("pieces", {})).text == "in pieces"


async def test_our_client_reports_a_server_that_does_not_speak_websocket(port: int) -> None:
    with pytest.raises(MCPError, match="connection"):
        await MCPClient(f"wss://127.0.0.1:{port}/ws").open()
