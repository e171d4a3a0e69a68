"""WebSockets on real sockets: who is let in, what is said, what ends a connection, and that the next one is served."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trustme

from kailash.mcp_server import MCPServer
from kailash.mcp_server.errors import AuthenticationError
from kailash.mcp_server.transports import WebSocketServerTransport
from kailash.mcp_server.web_options import HTTPOptions
from tests.security.site import Tools

from .wspeer import META, WSPeer, call, frame, handshake, start

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(server: MCPServer, *, alone: bool = False, **options: Any) -> AsyncIterator[int]:
    """Serve on a free port."""
    ports: list[int] = []
    ready = anyio.Event()

    def started(port: int) -> None:
        ports.append(port)
        ready.set()

    async with anyio.create_task_group() as tasks:
        if alone:
            transport = WebSocketServerTransport("127.0.0.1", 0, **options)
            tasks.start_soon(lambda: transport.serve(server, started=started))
        else:
            tasks.start_soon(lambda: server.serve_http(port=0, started=started, **options))
        with anyio.fail_after(10):
            await ready.wait()
        try:
            yield ports[0]
        finally:
            tasks.cancel_scope.cancel()


def tools(**options: Any) -> Tools:
    return Tools(enable_http_transport=True, enable_websocket_transport=True, **options)


async def get(port: int, path: str) -> tuple[int, bytes]:
    """Ask without a WebSocket."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        data = b""
        try:
            while True:
                data += await stream.receive()
        except anyio.EndOfStream:
            return int(data[9:12]), data


# Where, and who


async def test_a_websocket_opens_beside_http_on_one_port() -> None:
    async with serving(tools().server) as port:
        for path in ("/ws", "/mcp", "/", "/ws/", "/mcp?x=1"):
            async with await WSPeer.open(port, path) as peer:
                assert peer.status == 101
                await peer.echo()
        assert (await get(port, "/health"))[0] == 200
        assert (await get(port, "/ws"))[0] == 426
        async with await WSPeer.open(port, "/elsewhere") as peer:
            assert peer.status == 404


async def test_a_server_of_websockets_alone_takes_every_path() -> None:
    async with serving(Tools().server, alone=True) as port:
        for path in ("/", "/ws", "/mcp", "/any/where?at=all"):
            async with await WSPeer.open(port, path) as peer:
                assert peer.status == 101
                await peer.echo()
        assert (await get(port, "/health"))[0] == 200
        assert (await get(port, "/mcp"))[0] == 404


async def test_without_being_wanted_there_is_none() -> None:
    async with serving(Tools(enable_http_transport=True).server) as port:
        async with await WSPeer.open(port, "/mcp") as peer:
            assert peer.status == 400  # a GET like any other, without a session


async def test_frames_may_come_with_the_handshake() -> None:
    async with serving(tools().server) as port, await WSPeer.connect(port) as peer:
        early = peer.socket.frame([json.dumps(call("echo", message="early")).encode()])
        assert await peer.ask(handshake() + early) == 101
        assert (await peer.answer(1))["result"]["content"][0]["text"] == "early"


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (403, handshake(Origin="https://evil.example")),
        (403, handshake(Origin="null")),
        (421, handshake(host="evil.example")),
        (426, handshake(Sec_WebSocket_Version="8")),
        (400, handshake(Sec_WebSocket_Key="short")),
        (400, handshake(Sec_WebSocket_Key="!" * 24)),
        (400, handshake(version="1.0")),
        (431, handshake(X_Large="x" * 300_000)),
        (400, handshake(Content_Length="3") + b"abc"),
    ],
)
async def test_a_handshake_that_is_none_is_refused_and_the_next_is_taken(status: int, request_: bytes) -> None:
    async with serving(tools().server) as port:
        async with await WSPeer.connect(port) as peer:
            assert await peer.ask(request_) == status
        async with await WSPeer.open(port) as peer:
            await peer.echo()


async def test_a_page_of_an_allowed_origin_is_let_in() -> None:
    async with serving(tools().server, allowed_origins=("https://app.example",)) as port:
        async with await WSPeer.open(port, Origin="https://app.example", Sec_WebSocket_Protocol="mcp") as peer:
            assert peer.status == 101 and b"sec-websocket-protocol: mcp" in peer.head
            await peer.echo()


class Provider:
    """Knows one token, asks for a moment's patience, and lets credentials end when it is told."""

    def __init__(self, *, is_async: bool = False, expires: float | None = None) -> None:
        self.is_async, self.expires = is_async, expires

    def authenticate(self, credentials: Mapping[str, Any]) -> Any:
        return self._later(credentials) if self.is_async else self._find(credentials)

    async def _later(self, credentials: Mapping[str, Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        return self._find(credentials)

    def _find(self, credentials: Mapping[str, Any]) -> Any:
        if credentials.get("token") != "s3cret":
            raise AuthenticationError("unknown")
        found = {"user_id": "ada", "auth_type": "token", "permissions": [], "metadata": {}}
        return found if self.expires is None else {**found, "expires": self.expires}


TOKEN = "mcp-bearer." + base64.urlsafe_b64encode(b"s3cret").decode().rstrip("=")


@pytest.mark.parametrize("is_async", [False, True])
async def test_callers_say_who_they_are_by_header_or_by_subprotocol(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(tools(auth_provider=Provider(is_async=is_async)).server) as port:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Sec_WebSocket_Protocol": "mcp, mcp-bearer.d3Jvbmc"}):
            async with await WSPeer.open(port, **headers) as peer:
                assert peer.status == 401 and b"www-authenticate" in peer.head
        async with await WSPeer.open(port, "/ws?token=s3cret") as peer:
            assert peer.status == 401
        for headers in ({"Authorization": "Bearer s3cret"}, {"Sec_WebSocket_Protocol": f"mcp, {TOKEN}"}):
            async with await WSPeer.open(port, **headers) as peer:
                assert peer.status == 101 and TOKEN.encode() not in peer.head
                await peer.echo()
    assert "s3cret" not in caplog.text and TOKEN not in caplog.text


async def test_a_connection_ends_with_the_credentials_it_was_opened_with() -> None:
    provider = Provider(expires=time.time() + 0.5)
    async with serving(tools(auth_provider=provider).server) as port:
        async with await WSPeer.open(port, Authorization="Bearer s3cret") as peer:
            await peer.echo()
            assert (await peer.ended()).code == 1008


async def test_connections_are_counted_for_each_caller_and_in_all() -> None:
    server = tools(auth_provider=Provider()).server
    async with serving(server, max_sessions_per_principal=2) as port:
        first = await WSPeer.open(port, Authorization="Bearer s3cret")
        second = await WSPeer.open(port, Authorization="Bearer s3cret")
        async with await WSPeer.open(port, Authorization="Bearer s3cret") as third:
            assert third.status == 503 and b"retry-after" in third.head
        await first.close()
        with anyio.fail_after(5):
            while (await _tried(port)) != 101:
                await anyio.lowlevel.checkpoint()
        await second.close()


async def _tried(port: int) -> int:
    async with await WSPeer.open(port, Authorization="Bearer s3cret") as peer:
        return peer.status


# What is said


async def test_both_eras_share_one_connection() -> None:
    async with serving(tools().server) as port, await WSPeer.open(port) as peer:
        await peer.echo()
        await peer.say(start())
        assert (await peer.answer(0))["result"]["protocolVersion"] == "2025-06-18"
        await peer.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        old = {"jsonrpc": "2.0", "id": 5, "method": "tools/call"}
        await peer.say({**old, "params": {"name": "echo", "arguments": {"message": "old"}}})
        assert (await peer.answer(5))["result"]["content"][0]["text"] == "old"
        await peer.echo("new again")


async def test_what_is_no_request_is_told_so_without_an_id() -> None:
    async with serving(Tools().server, alone=True) as port, await WSPeer.open(port, "/") as peer:
        await peer.stream.send(frame(1, b'{"method": "ping"}'))
        answer = await peer.hear()
        assert answer["error"]["code"] == -32600 and "id" not in answer
        await peer.stream.send(frame(1, b"nonsense"))
        assert (await peer.hear())["error"]["code"] == -32700
        await peer.echo()


async def test_a_call_is_withdrawn_and_its_handler_cancelled() -> None:
    site = tools()
    async with serving(site.server) as port, await WSPeer.open(port) as peer:
        await peer.say(call("wait", 7))
        await site.started.wait()
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7, "_meta": META}}
        await peer.say(note)
        with anyio.fail_after(5):
            await site.cancelled.wait()
        await peer.echo()


@pytest.mark.parametrize("how", ["close", "hang up", "reset"])
async def test_the_end_of_a_connection_cancels_what_runs_for_it(how: str) -> None:
    site = tools()
    async with serving(site.server) as port:
        peer = await WSPeer.open(port)
        await peer.say(call("wait"))
        await site.started.wait()
        if how == "close":
            await peer.stream.send(frame(8, struct.pack("!H", 1000)))
            assert (await peer.ended()).code == 1000
        elif how == "reset":
            linger = struct.pack("ii", 1, 0)
            raw = peer.stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(1, 13, linger)
        await peer.close()
        with anyio.fail_after(5):
            await site.cancelled.wait()
        async with await WSPeer.open(port) as other:
            await other.echo()
        assert len(site.server.sessions) <= 1


@pytest.mark.parametrize("size", [4096, 300_000])
async def test_large_messages_pass_both_ways_whole_and_in_pieces(size: int) -> None:
    async with serving(tools().server) as port, await WSPeer.open(port) as peer:
        text = "€" * (size // 3)
        await peer.echo(text)
        data = json.dumps(call("echo", message=text), ensure_ascii=False).encode()
        pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        for number, piece in enumerate(pieces):
            await peer.stream.send(frame(0 if number else 1, piece, fin=number == len(pieces) - 1))
        assert (await peer.answer(1))["result"]["content"][0]["text"] == text


async def test_compression_is_spoken_where_both_want_it() -> None:
    server = tools().server
    offer = "permessage-deflate; client_max_window_bits"
    async with serving(server) as port, await WSPeer.open(port, Sec_WebSocket_Extensions=offer) as peer:
        assert b"extensions" not in peer.head
    async with serving(server, compression=True) as port:
        async with await WSPeer.open(port, Sec_WebSocket_Extensions=offer) as peer:
            assert b"sec-websocket-extensions: permessage-deflate" in peer.head
            peer.socket = type(peer.socket)(
                is_client=True, limits=peer.socket._limits, mint_mask=lambda: b"mask", is_deflated=True
            )
            await peer.echo("x" * 10_000)


# Faults: the case list of the Autobahn suite, and our limits. Each ends with its code, and the next client is served


LIMIT = 1000
CASES: dict[str, tuple[bytes, int]] = {
    "2.5 a ping with 126 bytes": (frame(9, b"x" * 126), 1002),
    "3.1 RSV 1": (frame(1, b"x", rsv=0x10), 1002),
    "3.2 RSV 2": (frame(1, b"x", rsv=0x20), 1002),
    "3.4 RSV 4, after a good ping": (frame(9) + frame(1, b"x", rsv=0x40), 1002),
    "3.6 RSV in a ping": (frame(9, rsv=0x40), 1002),
    "3.7 RSV in a close": (frame(8, rsv=0x70), 1002),
    **{f"4.1 opcode {opcode}": (frame(opcode), 1002) for opcode in range(3, 8)},
    **{f"4.2 opcode {opcode}": (frame(opcode), 1002) for opcode in range(11, 16)},
    "5.1 a fragmented ping": (frame(9, fin=False) + frame(0), 1002),
    "5.2 a fragmented pong": (frame(10, fin=False) + frame(0), 1002),
    "5.9 a continuation of nothing": (frame(0, b"x"), 1002),
    "5.10 an unfinished continuation of nothing": (frame(0, b"x", fin=False), 1002),
    "5.18 a text within a text": (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
    "6.3 no UTF-8": (frame(1, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"), 1007),
    "6.4 no UTF-8 over fragments": (frame(1, b"\xce\xba\xf4", fin=False) + frame(0, b"\x90\x80\x80"), 1007),
    "6.8 an overlong character": (frame(1, b"\xf8\x88\x80\x80\x80"), 1007),
    "6.10 beyond Unicode": (frame(1, b"\xf4\x90\x80\x80"), 1007),
    "6.14 half a character": (frame(1, b"\xdf"), 1007),
    "6.20 a surrogate": (frame(1, b"\xed\xbf\xbf"), 1007),
    "7.3.2 half a code": (frame(8, b"a"), 1002),
    "7.3.6 a reason too long": (frame(8, struct.pack("!H", 1000) + b"*" * 124), 1002),
    "7.5 a reason that is no UTF-8": (frame(8, struct.pack("!H", 1000) + b"\xce\xba\xed\xa0\x80"), 1007),
    **{
        f"7.9 code {code}": (frame(8, struct.pack("!H", code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "unmasked": (frame(1, b"x", mask=False), 1002),
    "binary": (frame(2, b"x"), 1003),
    "too long": (frame(1, b"x" * (LIMIT + 1)), 1009),
    "too long, by its length alone": (frame(1, b"x" * (LIMIT + 1))[:14], 1009),
    "too long in pieces": (frame(1, b"x" * LIMIT, fin=False) + frame(0, b"x"), 1009),
    "a length beyond all": (b"\x81\xff\x7f" + b"\xff" * 7 + b"mask", 1009),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_fault_ends_the_connection_with_its_code(name: str) -> None:
    wire, code = CASES[name]
    async with serving(tools().server, max_message_size=LIMIT) as port:
        for is_cut in (False, True):
            async with await WSPeer.open(port) as peer:
                await peer.echo()
                for piece in [wire[at : at + 1] for at in range(min(len(wire), 200))] if is_cut else []:
                    await peer.stream.send(piece)
                await peer.stream.send(wire[200:] if is_cut and wire[200:] else b"" if is_cut else wire)
                ending = await peer.ended()
                assert (ending.code, ending.is_ours) == (code, False) and ending.reason
        async with await WSPeer.open(port) as peer:
            await peer.echo()


GOOD: dict[str, tuple[bytes, bytes]] = {
    "2.1 a ping": (frame(9), frame(10, mask=False)),
    "2.2 a ping with a payload": (frame(9, b"Hello"), frame(10, b"Hello", mask=False)),
    "2.3 a ping with bytes": (frame(9, b"\x00\xff\xfe"), frame(10, b"\x00\xff\xfe", mask=False)),
    "2.4 the longest ping": (frame(9, b"x" * 125), frame(10, b"x" * 125, mask=False)),
    "2.7 a pong nobody asked for": (frame(10) + frame(9), frame(10, mask=False)),
    "2.10 ten pings": (
        b"".join(frame(9, b"%d" % n) for n in range(10)),
        b"".join(frame(10, b"%d" % n, mask=False) for n in range(10)),
    ),
    "5.6 a ping within a message": (frame(1, b"{", fin=False) + frame(9, b"p"), frame(10, b"p", mask=False)),
    "7.1 a close without a code": (frame(8), frame(8, mask=False)),
    "7.7 a close": (frame(8, struct.pack("!H", 3000) + b"bye"), frame(8, struct.pack("!H", 3000), mask=False)),
}


@pytest.mark.parametrize("name", GOOD)
async def test_what_is_right_is_answered_as_it_must_be(name: str) -> None:
    wire, answer = GOOD[name]
    async with serving(tools().server) as port, await WSPeer.open(port) as peer:
        await peer.stream.send(wire)
        found = b""
        with anyio.fail_after(5):
            while len(found) < len(answer):
                found += await peer.stream.receive()
        assert found == answer


@pytest.mark.parametrize(("size", "code"), [(LIMIT - 1, None), (LIMIT, None), (LIMIT + 1, 1009)])
async def test_a_message_may_be_as_long_as_the_limit(size: int, code: int | None) -> None:
    async with serving(tools().server, max_message_size=LIMIT) as port, await WSPeer.open(port) as peer:
        message = call("echo", message="")
        message["params"]["arguments"]["message"] = "x" * (size - len(json.dumps(message)))
        await peer.say(message)
        if code is None:
            assert "result" in await peer.answer(1)
        else:
            assert (await peer.ended()).code == code


# Time, and those who do not read


async def test_a_peer_that_says_nothing_to_pings_is_let_go() -> None:
    async with serving(tools().server, ping_interval=0.05, ping_timeout=0.1) as port, await WSPeer.open(port) as peer:
        data = b""
        with anyio.fail_after(5):
            try:
                while True:
                    data += await peer.stream.receive()
            except anyio.EndOfStream:
                pass
        assert data.startswith(frame(9, b"kailash", mask=False)) and struct.pack("!H", 1011) in data


async def test_a_peer_that_answers_pings_stays() -> None:
    async with serving(tools().server, ping_interval=0.05, ping_timeout=0.1) as port, await WSPeer.open(port) as peer:
        with anyio.move_on_after(0.5):
            await peer.hear()
        await peer.echo()


async def test_a_message_that_takes_too_long_ends_the_connection() -> None:
    async with serving(tools().server, message_timeout=0.2) as port, await WSPeer.open(port) as peer:
        await peer.stream.send(frame(1, b'{"jsonrpc"', fin=False))
        assert (await peer.ended()).code == 1008


@pytest.mark.parametrize("tool", ["pour", "spill"])
async def test_a_slow_reader_costs_its_high_water_mark_and_then_its_connection(tool: str) -> None:
    site = tools()
    options = {"write_timeout": 0.5, "write_buffer": 1 << 18, "write_cap": 1 << 22}
    async with serving(site.server, **options) as port:
        peer = await WSPeer.open(port)
        await peer.say(call(tool, token="t", size=65536, count=1000))
        with anyio.fail_after(15):
            while site.server.sessions:  # noqa: ASYNC110  # nothing of ours tells when the last one has ended
                await anyio.sleep(0.05)
        # What was sent before is there still, and behind it the reason.
        assert (await peer.ended()).code in (1013, 1006)
        assert len(site.calls) < 900
        await peer.close()
        async with await WSPeer.open(port) as other:
            await other.echo()


async def test_a_slow_reader_that_wakes_up_learns_why() -> None:
    site = tools()
    async with serving(site.server, write_timeout=0.4, write_buffer=1 << 16) as port:
        peer = await WSPeer.open(port)
        await peer.say(call("pour", token="t", size=65536, count=1000))
        await anyio.sleep(1.0)
        assert (await peer.ended()).code == 1013
        await peer.close()


# The end


async def test_a_server_that_stops_closes_after_the_last_answer() -> None:
    from kailash.adapters.http_server import bind
    from kailash.mcp_server.serving import Kinds, serve_sockets

    site = tools()
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    stop, ready = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        options = HTTPOptions()
        tasks.start_soon(
            lambda: serve_sockets(
                site.server, sockets, options, kinds=Kinds(websocket=True), stop=stop, started=ready.set
            )
        )
        await ready.wait()
        idle, busy = await WSPeer.open(port), await WSPeer.open(port)
        await idle.echo()
        await busy.say(call("wait", 1))
        await site.started.wait()
        stop.set()
        assert (await idle.ended()).code == 1001
        # What is asked from now on is refused, what was asked before is answered.
        await busy.say(call("echo", 2, message="late"))
        assert (await busy.answer(2))["error"]["code"] == 1503
        site.release.set()
        assert (await busy.answer(1))["result"]["content"][0]["text"] == "released"
        assert (await busy.ended()).code == 1001
        await idle.close()
        await busy.close()


async def test_over_tls() -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with certificate.private_key_and_cert_chain_pem.tempfile() as path:
        async with serving(tools().server, ssl_certfile=path) as port:
            async with await WSPeer.open(port, tls=trusting) as peer:
                await peer.echo("x" * 200_000)
                await peer.stream.send(frame(8, struct.pack("!H", 1000)))
                began = anyio.current_time()
                assert (await peer.ended()).code == 1000
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await peer.stream.receive()
                assert anyio.current_time() - began < 2
