"""Peers that are slow, stop reading, flood, or never leave. R06, R07, R24."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import ssl
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio import to_thread
from anyio.abc import ByteStream
from sniffio import current_async_library

from kailash.adapters import http_connection
from kailash.adapters.carriers import LARGE_TOLD, MOST_TOLD
from kailash.adapters.http_connection import HTTPConnection
from kailash.mcp_server import Context, MCPServer
from protocol.framing.httphead import HTTPLimits
from tests.requirements import rule
from tests.transports.peer import Peer

from .site import META, NEWEST, Site, Tools, open_site, rpc, until

pytestmark = pytest.mark.anyio

_BODY = json.dumps(rpc("tools/call", name="echo", arguments={"message": "slow"}, _meta=META)).encode()
_HEAD = (
    f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nMCP-Protocol-Version: {NEWEST}\r\n"
    f"Accept: application/json, text/event-stream\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"
).encode()
_COUNTED = _HEAD + b"Content-Length: %d\r\n\r\n" % len(_BODY)
_GOOD = _COUNTED + _BODY


async def dribble(peer: Peer, data: bytes) -> bytes:
    """Send a byte at a time for as long as the server listens; return what it says in the end."""
    said = b""
    with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
        for number in range(len(data)):
            await peer.send(data[number : number + 1])
            with anyio.move_on_after(0.01):
                said += await peer.stream.receive()
                break
        while True:
            said += await peer.stream.receive()
    return said


# Slow to send


async def test_a_byte_at_a_time_moves_no_deadline(own: str) -> None:
    slow = {
        b"": (_GOOD, b" 408 "),  # its head
        _HEAD[:40]: (_HEAD[40:], b" 408 "),
        _COUNTED: (_BODY, b" 408 "),
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n": (b"1\r\n \r\n" * 100, b" 408 "),
        _GOOD: (_GOOD, b" 408 "),  # the second request of a connection
    }
    async with open_site(own, head_timeout=0.15, body_timeout=0.15, idle_timeout=5) as site:

        async def attack(first: bytes, rest: bytes, expected: bytes) -> None:
            peer = await site.peer()
            if first:
                await peer.send(first)
            if first == _GOOD:
                assert (await peer.response())[0] == 200
            assert expected in await dribble(peer, rest), first
            await peer.close()

        with anyio.fail_after(3):
            async with anyio.create_task_group() as tasks:
                for first, (rest, expected) in slow.items():
                    tasks.start_soon(attack, first, rest, expected)
        assert site.tools.calls == ["slow"]
        await site.is_well()


async def test_who_says_nothing_is_closed_without_a_word_and_others_are_served_meanwhile(own: str) -> None:
    async with open_site(own, head_timeout=0.2, idle_timeout=0.2) as site:
        silent = [await site.peer() for _ in range(50)]
        idle = await site.peer()
        await idle.send(_GOOD)
        assert (await idle.response())[0] == 200
        good = await site.peer()
        await good.send(_GOOD)
        assert (await good.response())[0] == 200
        await good.close()
        with anyio.fail_after(3):
            for peer in (*silent, idle):
                assert await peer.rest() == b""
        await site.is_well()


async def test_a_body_that_stops_is_cut_by_whoever_reads_it(front: str) -> None:
    async with open_site(front, body_timeout=0.15) as site:
        peer = await site.peer()
        await peer.send(_COUNTED + _BODY[:10])
        with anyio.fail_after(3):
            assert (await peer.head())[0] == 408
        await peer.close()
        await site.is_well()


async def test_a_handler_may_take_longer_than_any_deadline_of_the_connection(own: str) -> None:
    timeouts = {"head_timeout": 0.05, "body_timeout": 0.05, "idle_timeout": 0.05, "write_timeout": 0.05}
    async with open_site(own, **timeouts) as site:
        peer = await site.peer()
        await peer.call("wait")
        await site.tools.started.wait()
        with anyio.move_on_after(0.12):
            await peer.stream.receive()
            pytest.fail("answered")
        site.tools.release.set()
        assert (await peer.response())[0] == 200
        await peer.close()
        await site.is_well()


# Slow to read


class NarrowStream(ByteStream):
    """A connection with little room for what is sent to us, and that reads nothing ahead."""

    def __init__(self, port: int) -> None:
        self.raw = socket.socket()
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.raw.connect(("127.0.0.1", port))  # which the kernel alone answers, at once
        self.raw.setblocking(False)

    async def send(self, item: bytes) -> None:
        while item:
            await anyio.wait_writable(self.raw)
            item = item[self.raw.send(item) :]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.wait_readable(self.raw)
        try:
            found = self.raw.recv(max_bytes)
        except OSError as error:
            raise anyio.BrokenResourceError from error
        if not found:
            raise anyio.EndOfStream
        return found

    async def send_eof(self) -> None:
        self.raw.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        self.raw.close()


def connect_narrow(site: Site) -> Peer:
    """Connect with little room for what is sent to us."""
    peer = Peer(NarrowStream(site.port))
    site._peers.append(peer)
    return peer


def only(site: Site) -> HTTPConnection:
    """Return the one connection there is."""
    (found,) = site.http.connections
    assert isinstance(found, HTTPConnection)
    return found


_LARGE = 16 << 20
"""More than the kernel takes for a peer that does not read."""


@rule(104)
@pytest.mark.parametrize("size", [1 << 13, 1 << 18], ids=["small", "large"])
async def test_a_reader_that_stops_costs_its_high_water_mark_and_is_dropped(own: str, size: int) -> None:
    high = 1 << 17
    async with open_site(own, write_buffer=high, write_timeout=0.2) as site:
        peer = connect_narrow(site)
        await peer.call("pour", {"size": size, "count": _LARGE // size}, progressToken="t")
        await site.tools.started.wait()
        connection = only(site)
        await until(lambda: connection._is_paused, "paused")
        # What it tells in one turn of the loop comes on top.
        assert connection._transport.get_write_buffer_size() <= high + max(2 * size, MOST_TOLD * LARGE_TOLD)
        with anyio.fail_after(3):
            await site.tools.cancelled.wait()  # its deadline drops it, and that withdraws the request
        assert len(site.tools.calls) < _LARGE // size
        await site.is_at_rest()
        await peer.close()
        await site.is_well()


async def test_a_reader_that_stops_is_dropped_by_an_asgi_server_too(foreign: str) -> None:
    async with open_site(foreign, write_buffer=1 << 16, write_timeout=0.2) as site:
        peer = connect_narrow(site)
        await peer.call("pour", {"size": 1 << 16, "count": _LARGE >> 16}, progressToken="t")
        with anyio.fail_after(5):
            await site.tools.cancelled.wait()
        await site.is_at_rest(connections=1)
        await peer.close()
        await site.is_well()


async def test_a_session_loses_the_reader_that_stops_and_goes_on(own: str) -> None:
    most = 1 << 18
    async with open_site(own, write_buffer=1 << 16, write_timeout=0.2, replay_bytes=most) as site:
        name = await site.session()
        await site.is_at_rest()
        peer = connect_narrow(site)
        call: dict[str, Any] = {"name": "pour", "arguments": {"count": _LARGE >> 16}, "_meta": {"progressToken": 1}}
        await peer.post(rpc("tools/call", 5, **call), f"Mcp-Session-Id: {name}")
        with anyio.fail_after(5):
            await site.tools.started.wait()
        await site.is_at_rest()
        assert not site.tools.cancelled.is_set() and len(site.tools.calls) == _LARGE >> 16
        assert site.app.http is not None
        assert site.app.http.sessions[name]._log._size <= most  # type: ignore[union-attr]
        await peer.close()
        await site.is_well()


async def test_a_reader_that_is_slow_but_reads_gets_everything(own: str) -> None:
    async with open_site(own, write_buffer=1 << 16, write_timeout=1) as site:
        peer = connect_narrow(site)
        await peer.call("pour", {"size": 1 << 16, "count": 50}, progressToken="t")
        status, _, body = await peer.response()
        assert status == 200 and body.count(b"notifications/progress") == 50 and b'"poured"' in body
        await peer.close()
        await site.is_well()


async def test_a_handler_that_never_waits_for_its_peer_is_stopped_by_the_cap(own: str) -> None:
    cap, size = 1 << 20, 1 << 16
    async with open_site(own, write_buffer=1 << 16, write_cap=cap, write_timeout=20) as site:
        peer = connect_narrow(site)
        await peer.call("spill", {"size": size, "count": _LARGE // size}, progressToken="t")
        await site.tools.started.wait()
        await site.is_at_rest()
        assert len(site.tools.calls) < _LARGE // size
        await peer.close()
        await site.is_well()


async def test_a_handler_that_lets_nobody_else_run_fills_no_memory(own: str) -> None:
    tools = Tools()

    @tools.server.tool
    async def gush(ctx: Context) -> str:
        for number in range(_LARGE >> 16):
            _ = ctx.progress(number, message="x" * (1 << 16))
        return "gushed"

    async with open_site(own, tools=tools, write_buffer=1 << 16, write_cap=1 << 20) as site:
        peer = connect_narrow(site)
        tracemalloc.start()
        try:
            await peer.call("gush", progressToken="t")
            await site.is_at_rest()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < _LARGE / 2
        await peer.close()
        await site.is_well()


def bulky() -> tuple[MCPServer, list[int], Tools]:
    """Return a server with a tool whose answers are much larger than its requests."""
    tools = Tools()
    answered: list[int] = []

    @tools.server.tool(blocking=False)
    def bulk(number: int) -> str:
        answered.append(number)
        return "x" * (1 << 17)

    return tools.server, answered, tools


def bulk_call(number: int) -> bytes:
    body = json.dumps(rpc("tools/call", number, name="bulk", arguments={"number": number}, _meta=META)).encode()
    return _HEAD.replace(b": echo", b": bulk") + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_pipelined_requests_are_not_answered_faster_than_they_are_read(own: str) -> None:
    _, answered, tools = bulky()
    count = _LARGE >> 17
    async with open_site(own, tools=tools, write_buffer=1 << 17, write_timeout=5) as site:
        peer = connect_narrow(site)
        await until(lambda: site.http.connections, "connected")
        connection = only(site)
        await peer.send(b"".join(map(bulk_call, range(count))))
        await until(lambda: connection._is_paused, "paused")
        assert len(answered) < count / 2
        assert connection._transport.get_write_buffer_size() <= 3 << 17
        for number in range(count):
            assert json.loads((await peer.response())[2])["id"] == number
        assert answered == list(range(count))
        await peer.close()
        await site.is_well()


async def test_requests_behind_one_that_takes_long_are_read_as_far_as_there_is_room(own: str) -> None:
    async with open_site(own) as site:
        peer = connect_narrow(site)
        await peer.call("wait")
        await site.tools.started.wait()
        connection = only(site)
        count = 4000

        async def flood() -> None:
            await peer.send(_GOOD * count)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood)
            await until(lambda: connection._is_unread, "reading stopped")
            assert len(connection._codec._buffer) < HTTPLimits().pipelined_bytes + (1 << 18) + 1
            site.tools.release.set()
            for _ in range(count + 1):
                assert (await peer.response())[0] == 200
        assert len(site.tools.calls) == count
        await peer.close()
        await site.is_well()


# Too many


def hammer(port: int, count: int) -> list[bytes]:
    """Connect that often, all at once, and return what each connection is told."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    said = []
    for each in sockets:
        with each:
            each.settimeout(5)
            said.append(each.recv(1000))
    return said


async def test_thousands_of_connections_too_many_are_refused_and_cost_next_to_nothing(own: str) -> None:
    async with open_site(own, max_connections=1) as site:
        peer = await site.peer()
        await peer.send(_GOOD)
        assert (await peer.response())[0] == 200
        for _ in range(4):
            said = await to_thread.run_sync(hammer, site.port, 250)
            assert all(each.startswith(b"HTTP/1.1 503 ") for each in said)
            assert b"connection: close" in said[0]
        await site.is_at_rest(connections=1)
        await peer.send(_GOOD)
        assert (await peer.response())[0] == 200
        await peer.close()
        await site.is_well()


async def test_connections_that_were_refused_and_stay_keep_nobody_out(own: str) -> None:
    async with open_site(own, max_connections=2) as site:
        good = [await site.peer() for _ in range(2)]
        for peer in good:
            await peer.send(_GOOD)
            assert (await peer.response())[0] == 200
        refused = [await site.peer() for _ in range(20)]
        for peer in refused:
            assert (await peer.head())[0] == 503
        # However many were told to leave and did not: they take up no place, and not more than as many sockets.
        with anyio.fail_after(1):
            await until(lambda: len(site.http.connections) <= 4, "refused connections")
        for peer in good:
            await peer.close()
        await until(lambda: len(site.http.connections) <= 2, "connections")
        fresh = await site.peer()
        await fresh.send(_GOOD)
        assert (await fresh.response())[0] == 200
        for peer in (*refused, fresh):
            await peer.close()
        await site.is_well()


async def test_a_process_without_a_free_descriptor_serves_again_once_it_has_one(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.1)
    async with open_site(own) as site:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        if current_async_library() == "asyncio":
            # It tells of that, and the test's runner would take it for a failure.
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        waiting = [socket.socket() for _ in range(3)]
        highest = max(map(int, os.listdir("/proc/self/fd")))
        spare = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        try:
            with suppress(OSError):
                while True:
                    spare.append(socket.socket())
            for each in waiting:
                each.setblocking(False)
                with suppress(BlockingIOError):
                    each.connect(("127.0.0.1", site.port))
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for each in (*spare, *waiting):
                each.close()
        await site.is_well()


# The last word


async def test_an_early_answer_is_heard_by_who_still_sends(own: str) -> None:
    async with open_site(own) as site:
        for size in (100_000, 5 << 20, 5 << 20):
            head = _HEAD.replace(b"application/json\r\nMCP", b"text/plain\r\nMCP") if size < 1 << 20 else _HEAD
            sent = head + b"Content-Length: %d\r\n\r\n" % size + b"x" * min(size, 200_000)
            peer = await site.peer()
            await peer.send(sent)
            status, headers, body = await peer.response()
            assert status == (415 if size < 1 << 20 else 413) and body
            assert size < 1 << 20 or (headers["connection"] == "close" and await peer.rest() == b"")
            await peer.close()
        await site.is_well()


def shout(port: int, data: bytes) -> bytes:
    """Send everything before anything is read, as most clients do; raises when the connection is reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        said = b""
        while piece := connection.recv(65536):
            said += piece
        return said


async def test_the_connection_is_not_reset_under_an_early_answer(own: str) -> None:
    async with open_site(own) as site:
        sent = _HEAD + b"Content-Length: 99999999\r\n\r\n" + b"x" * 200_000
        assert (await to_thread.run_sync(shout, site.port, sent)).startswith(b"HTTP/1.1 413 ")
        sent = sent.replace(b"99999999", b"250000").replace(b"Host: 127.0.0.1", b"Host: evil.example")
        assert (await to_thread.run_sync(shout, site.port, sent)).startswith(b"HTTP/1.1 421 ")
        await site.is_well()


async def test_who_does_not_hear_the_last_word_is_left(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "_LINGER_SECONDS", 0.1)
    async with open_site(own) as site:
        peer = await site.peer()
        await peer.send(b"nonsense\r\n\r\n")
        assert (await peer.response())[0] == 400
        with anyio.fail_after(2):
            await until(lambda: not site.http.connections, "closed")
        # And who goes on sending is left sooner.
        other = await site.peer()
        with suppress(anyio.BrokenResourceError):
            await other.send(_HEAD + b"Content-Length: 99999999\r\n\r\n")
            for _ in range(100):
                await other.send(b"x" * 65536)
        await other.close()
        await peer.close()
        await site.is_well()


# TLS


async def test_what_is_no_tls_is_dropped_and_an_early_answer_is_heard_over_it(
    own: str, tmp_path: Path, anyio_backend: Any
) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    tools = Tools()
    ported: list[int] = []
    started = anyio.Event()

    def tell(port: int) -> None:
        ported.append(port)
        started.set()

    async with anyio.create_task_group() as tasks:
        serve: Callable[[], Any] = lambda: tools.server.serve_http(  # noqa: E731
            port=0, started=tell, ssl_certfile=str(tmp_path / "cert.pem"), http_codec=own
        )
        tasks.start_soon(serve)
        await started.wait()
        for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""):
            peer = await Peer.connect(ported[0])
            if noise:
                await peer.send(noise)
                assert b"HTTP" not in await peer.rest()
            await peer.close()
        peer = await Peer.connect(ported[0], tls=context)
        await peer.send(_HEAD + b"Content-Length: 99999999\r\n\r\n" + b"x" * 100_000)
        assert (await peer.response())[0] == 413
        await peer.close()
        peer = await Peer.connect(ported[0], tls=context)
        await peer.send(_GOOD)
        assert (await peer.response())[0] == 200
        await peer.close()
        tasks.cancel_scope.cancel()
