"""`run()` over HTTP as people use it: processes, flags, signals, TLS, workers."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from kailash.mcp_server import Context, MCPServer
from protocol.http.eventlog import EventLog

from .peer import LAST_HANDSHAKE, Peer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Served:
    """A server process."""

    def __init__(self, *flags: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.transports.web_program", *flags]
        home = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            command, cwd=home, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline().decode()
        found = re.search(r"(https?)://([^ ]+):(\d+)/(\w+)", self.said)
        self.port = int(found[3]) if found else 0
        self.scheme = found[1] if found else ""
        self.path = found[4] if found else ""

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def exit_status(self) -> int:
        with anyio.fail_after(30):
            return await anyio.to_thread.run_sync(self.process.wait)

    def end(self) -> str:
        self.process.kill()
        return self.process.communicate(timeout=10)[1].decode()

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


Start = Callable[..., Served]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Served] = []

    def make(*flags: str, run: dict[str, Any] | None = None, **environment: str) -> Served:
        if run is not None:
            environment["RUN_OPTIONS"] = json.dumps(run)
        server = Served(*flags, environment=environment)
        running.append(server)
        return server

    yield make
    for server in running:
        server.end()


async def ask(port: int, path: str = "/mcp", tls: ssl.SSLContext | None = None) -> str:
    """Call the echo tool once on a connection of its own."""
    peer = await Peer.connect(port, tls=tls)
    await peer.call("echo", {"message": "hello"}, path=path)
    status, _, body = await peer.response()
    await peer.close()
    assert status == 200
    return str(json.loads(body)["result"]["content"][0]["text"])


# Where and how


async def test_flags_say_where_to_serve(start: Start) -> None:
    server = start("--transport", "http", "--port", "0")
    assert (server.scheme, server.path) == ("http", "mcp") and "127.0.0.1" in server.said
    for path in ("/mcp", "/", "/mcp/"):
        assert await ask(server.port, path) == "hello"
    server.stop(signal.SIGINT)
    assert await server.exit_status() == 0


@pytest.mark.parametrize("flags", [("--transport", "http"), ("--transport", "http", "--workers", "2")])
async def test_what_was_loaded_before_is_no_concern_of_the_garbage_collector(
    start: Start, flags: tuple[str, ...]
) -> None:
    peer = await Peer.connect(start(*flags, "--port", "0").port)
    await peer.call("frozen")
    _, _, body = await peer.response()
    await peer.close()
    assert int(json.loads(body)["result"]["content"][0]["text"]) > 10_000


async def test_arguments_outrank_the_command_line_which_outranks_the_environment(start: Start) -> None:
    server = start("--host", "localhost", MCP_TRANSPORT="http", MCP_PORT="0", MCP_HOST="203.0.113.1")
    assert await ask(server.port) == "hello"
    # With arguments the command line is the program's own.
    other = start("--whatever", run={"transport": "sse", "port": 0}, MCP_TRANSPORT="stdio")
    assert other.path == "sse"


async def test_both_transports_are_served_on_one_port_by_the_servers_own_wish(start: Start) -> None:
    options = json.dumps({"enable_http_transport": True, "enable_sse_transport": True})
    server = start("--port", "0", SERVER_OPTIONS=options)
    assert "/mcp and http" in server.said and server.said.strip().endswith("/sse")
    assert await ask(server.port) == "hello"
    peer, poster = await Peer.connect(server.port), await Peer.connect(server.port)
    await peer.get("/sse", "Accept: text/event-stream")
    status, headers = await peer.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    endpoint = (await peer.chunk()).decode()
    path = endpoint.partition("data: ")[2].strip()
    assert endpoint.startswith("event: endpoint") and path.startswith("/messages?sessionId=")
    info = {"name": "old", "version": "1"}
    params = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info}
    await poster.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, path=path)
    assert (await poster.response())[0] == 202
    assert json.loads((await peer.chunk()).partition(b"data: ")[2])["result"]["protocolVersion"] == "2024-11-05"
    await peer.close()
    await poster.close()


@pytest.mark.parametrize(
    ("flags", "environment", "status", "says"),
    [
        (("--help",), {}, 0, ""),
        (("--prot", "1"), {}, 2, "unrecognized arguments"),
        (("--port", "99999"), {}, 2, "is no port"),
        (("--workers", "0", "--transport", "http"), {}, 2, "is no number of processes"),
        ((), {"MCP_TRANSPORT": "carrier-pigeon"}, 1, "MCP_TRANSPORT is 'carrier-pigeon'; known: stdio, http, sse"),
        ((), {"MCP_PORT": "x"}, 1, "MCP_PORT: 'x' is no port"),
        ((), {"MCP_LOG_LEVEL": "loud"}, 1, "MCP_LOG_LEVEL is 'LOUD'; known: DEBUG"),
        ((), {"RUN_OPTIONS": '{"transport": "stdio", "port": 1}'}, 1, "port is for a network transport"),
        (("--transport", "http", "--host", "203.0.113.9"), {}, 1, "cannot listen on 203.0.113.9:8080"),
        ((), {"SERVER_OPTIONS": '{"http_options": {"codec": 1}}'}, 1, "unknown HTTP option codec; known: allowed_orig"),
        ((), {"SERVER_OPTIONS": '{"http_options": {"retry": 0}}'}, 1, "retry must be above zero"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_options_end_the_program_and_say_what_to_change(
    flags: tuple[str, ...], environment: dict[str, str], status: int, says: str
) -> None:
    command = [sys.executable, "-m", "tests.transports.web_program", *flags]
    home = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, cwd=home, env={**os.environ, **environment}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == status and says in done.stderr
    if status == 0:
        assert all(flag in done.stdout for flag in ("--transport", "--host", "--port", "--log-level", "--workers"))


async def test_health_and_readiness_are_told_without_credentials(start: Start) -> None:
    server = start("--transport", "http", "--port", "0")
    peer = await Peer.connect(server.port)
    for path, says in (("/health", "ok"), ("/ready", "ready")):
        await peer.get(path)
        status, headers, body = await peer.response()
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body)["status"] == says
    await peer.get("/health", method="DELETE")
    assert (await peer.response())[0] == 405
    await peer.close()


async def test_the_log_goes_to_standard_error_from_the_level_asked_for(start: Start) -> None:
    server = start("--transport", "http", "--port", "0", "--log-level", "debug")
    peer = await Peer.connect(server.port)
    await peer.send(b"nonsense\r\n\r\n")
    assert (await peer.response())[0] == 400
    await peer.close()
    server.stop()
    assert await server.exit_status() == 0
    assert "DEBUG   kailash.adapters.http_server ! 400" in server.end()


# Stopping


async def test_a_signal_under_load_loses_no_call(start: Start) -> None:
    server = start("--transport", "http", "--port", "0")
    answers: list[tuple[int, dict[str, str], bytes]] = []
    peers = [await Peer.connect(server.port) for _ in range(50)]
    for number, peer in enumerate(peers):
        await peer.call("sleep", {"seconds": 0.5}, id=number)
    asked = await Peer.connect(server.port)
    await asked.call("echo", {"message": "in"})
    assert (await asked.response())[0] == 200

    async def read(peer: Peer) -> None:
        answers.append(await peer.response())
        assert await peer.rest() == b""

    async with anyio.create_task_group() as tasks:
        for peer in peers:
            tasks.start_soon(read, peer)
        server.stop()
        assert await server.exit_status() == 0
    for status, headers, body in answers:
        assert status == 200 and headers["connection"] == "close"
        assert json.loads(body)["result"]["content"][0]["text"] == "slept"
    assert len(answers) == 50
    with pytest.raises(OSError):
        await Peer.connect(server.port)
    for peer in (*peers, asked):
        await peer.close()


async def test_while_it_stops_kept_connections_are_refused_and_readiness_says_so(start: Start) -> None:
    server = start("--transport", "http", "--port", "0")
    busy, kept, ready = [await Peer.connect(server.port) for _ in range(3)]
    for peer in (kept, ready):
        await peer.get("/ready")
        assert (await peer.response())[0] == 200
    await busy.call("sleep", {"seconds": 1.0})
    await kept.call("echo", {"message": "x"})
    await kept.response()
    server.stop()
    status = 200
    while status == 200:
        await ready.get("/ready")
        status, headers, _ = await ready.response()
    assert (status, headers["connection"]) == (503, "close")
    await kept.call("echo", {"message": "x"})
    status, headers, body = await kept.response()
    assert (status, headers["connection"]) == (503, "close") and "retry-after" in headers
    assert "shutting down" in json.loads(body)["error"]["message"]
    assert (await busy.response())[0] == 200
    assert await server.exit_status() == 0
    for peer in (busy, kept, ready):
        await peer.close()


async def test_subscriptions_end_with_their_result_and_streams_with_their_end(start: Start) -> None:
    server = start("--transport", "http", "--port", "0")
    listener, getter = await Peer.connect(server.port), await Peer.connect(server.port)
    await listener.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id=7)
    assert (await listener.head())[0] == 200
    assert b"notifications/subscriptions/acknowledged" in await listener.chunk()
    session = await getter.initialize()
    await getter.get("/mcp", "Accept: text/event-stream", f"Mcp-Session-Id: {session}")
    assert (await getter.head())[0] == 200
    assert await getter.chunk()
    server.stop()
    said = await listener.chunk()
    final = json.loads(said.partition(b"data: ")[2])
    assert final["id"] == 7 and final["result"]["resultType"] == "complete"
    assert await listener.chunk() == b""
    while await getter.chunk():
        pass
    assert await server.exit_status() == 0
    await listener.close()
    await getter.close()


async def test_what_takes_too_long_is_cancelled_and_told_so(start: Start) -> None:
    server = start(run={"transport": "http", "port": 0, "drain_timeout": 0.3})
    peer = await Peer.connect(server.port)
    await peer.call("sleep", {"seconds": 60})
    other = await Peer.connect(server.port)
    await other.call("echo", {"message": "x"})
    await other.response()
    server.stop()
    status, _, body = await peer.response()
    assert status == 200 or status >= 500
    assert "shutting down" in json.loads(body)["error"]["message"]
    assert await server.exit_status() == 0
    await peer.close()
    await other.close()


@pytest.mark.parametrize("tool", ["sleep", "block"])
async def test_a_second_signal_stops_at_once(start: Start, tool: str) -> None:
    server = start("--transport", "http", "--port", "0")
    peer, other = await Peer.connect(server.port), await Peer.connect(server.port)
    await peer.call(tool, {"seconds": 60})
    await other.call("echo", {"message": "x"})
    await other.response()
    server.stop()
    status = 200
    while status == 200:
        await other.get("/ready")
        status, _, _ = await other.response()
    began = time.monotonic()
    server.stop()
    assert await server.exit_status() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 2
    await peer.close()
    await other.close()


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return str(path), context


async def test_tls_is_served_with_a_certificate(start: Start, certificate: tuple[str, ssl.SSLContext]) -> None:
    path, context = certificate
    server = start(run={"port": 0, "ssl_certfile": path})
    assert server.scheme == "https"
    assert await ask(server.port, tls=context) == "hello"
    plain = await Peer.connect(server.port)
    await plain.call("echo", {"message": "x"})
    assert b"HTTP" not in await plain.rest()
    assert await ask(server.port, tls=context) == "hello"
    await plain.close()


# Workers


async def call_in(session: str, peer: Peer, tool: str, **arguments: Any) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    await peer.post(message, f"Mcp-Session-Id: {session}", f"MCP-Protocol-Version: {LAST_HANDSHAKE}")
    status, headers, body = await peer.response()
    if status != 200:
        return status
    if headers["content-type"] == "text/event-stream":
        body = body.rpartition(b"data: ")[2]
    return json.loads(body)["result"]["content"][0]["text"]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_session_is_found_whichever_worker_takes_the_connection(
    start: Start, certificate: tuple[str, ssl.SSLContext], secure: bool
) -> None:
    path, context = certificate
    run = {"port": 0, "workers": 3, **({"ssl_certfile": path} if secure else {})}
    server = start(run=run)
    tls = context if secure else None
    first = await Peer.connect(server.port, tls=tls)
    session = await first.initialize()
    owner = await call_in(session, first, "whoami")
    seen = set()
    for _ in range(30):
        peer = await Peer.connect(server.port, tls=tls)
        await peer.call("whoami")
        seen.add(json.loads((await peer.response())[2])["result"]["content"][0]["text"])
        assert await call_in(session, peer, "whoami") == owner
        assert await call_in(session, peer, "echo", message="x" * 100_000) == "x" * 100_000
        await peer.close()
    assert len(seen) == 3, "the kernel spread the connections"
    await first.close()
    server.stop()
    assert await server.exit_status() == 0


async def test_a_killed_worker_is_replaced_and_nobody_elses_connection_is_touched(start: Start) -> None:
    server = start("--transport", "http", "--port", "0", "--workers", "2")
    peers: dict[str, Peer] = {}
    while len(peers) < 2:
        peer = await Peer.connect(server.port)
        await peer.call("whoami")
        pid = json.loads((await peer.response())[2])["result"]["content"][0]["text"]
        if peers.setdefault(pid, peer) is not peer:
            await peer.close()
    victim, survivor = peers
    os.kill(int(victim), signal.SIGKILL)
    assert await peers[victim].rest() == b""
    await peers[survivor].call("whoami")
    assert json.loads((await peers[survivor].response())[2])["result"]["content"][0]["text"] == survivor
    seen: set[str] = set()
    with anyio.fail_after(10):
        while len(seen) < 2:
            with suppress(OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
                # One that the kernel gave to the dead worker's queue is lost with it.
                peer = await Peer.connect(server.port)
                await peer.call("whoami")
                seen.add(json.loads((await peer.response())[2])["result"]["content"][0]["text"])
            await peer.close()
    assert victim not in seen and len(server.workers()) == 2
    for peer in peers.values():
        await peer.close()
    server.stop()
    assert await server.exit_status() == 0
    assert "was killed by signal 9; it is replaced" in server.end()


async def test_a_change_in_one_worker_is_told_to_the_clients_of_all(start: Start) -> None:
    server = start("--transport", "http", "--port", "0", "--workers", "2")
    listeners = []
    for _ in range(8):
        peer = await Peer.connect(server.port)
        await peer.modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["test://watched"]}})
        await peer.head()
        assert b"acknowledged" in await peer.chunk()
        listeners.append(peer)
    peer = await Peer.connect(server.port)
    await peer.call("change", {"uri": "test://watched"})
    assert (await peer.response())[0] == 200
    for listener in listeners:
        assert b"notifications/resources/updated" in await listener.chunk()
        await listener.close()
    await peer.close()


async def test_workers_do_not_outlive_who_watches_over_them(start: Start) -> None:
    server = start("--transport", "http", "--port", "0", "--workers", "2")
    assert await ask(server.port) == "hello"
    server.stop(signal.SIGKILL)
    server.end()  # reads standard error to its end, which the workers share
    with pytest.raises(OSError):
        await ask(server.port)


async def test_a_worker_that_cannot_live_is_not_restarted_in_a_frenzy(start: Start) -> None:
    options = {"enable_http_transport": True}
    server = start("--port", "0", "--workers", "2", SERVER_OPTIONS=json.dumps(options))
    began = time.monotonic()
    for _ in range(4):
        killed = server.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        with anyio.fail_after(10):
            # Nothing tells us of another process's children.
            while len(set(server.workers()).difference(killed)) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4, "each short life doubles the pause"
    with anyio.fail_after(10):
        while True:
            with suppress(OSError, anyio.BrokenResourceError, anyio.IncompleteRead):
                assert await ask(server.port) == "hello"
                break
    server.stop()
    assert await server.exit_status() == 0


async def test_a_store_of_ones_own_remembers_what_streams_said() -> None:
    kept: list[EventLog] = []

    def make() -> EventLog:
        kept.append(EventLog())
        return kept[-1]

    server = MCPServer("stores", http_options={"event_store": make})

    @server.tool
    async def count(ctx: Context) -> str:
        await ctx.progress(1, 2)
        return "counted"

    async with anyio.create_task_group() as tasks:
        port: int = await tasks.start(serve_in, server)
        peer = await Peer.connect(port)
        session = await peer.initialize()
        params = {"name": "count", "arguments": {}, "_meta": {"progressToken": 1}}
        await peer.post(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, f"Mcp-Session-Id: {session}"
        )
        assert (await peer.response())[0] == 200
        assert len(kept) == 1 and len(kept[0]) == 2, "progress and result"
        await peer.close()
        tasks.cancel_scope.cancel()
    with pytest.raises(ValueError, match="event_store is called for each session"):
        MCPServer("x", http_options={"event_store": "redis"})


async def serve_in(server: MCPServer, *, task_status: Any) -> None:
    await server.serve_http(port=0, started=task_status.started)
