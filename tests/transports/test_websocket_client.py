"""Our client over WebSockets: every way to name a server, what is refused, and what happens when one goes away."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.abc
import pytest
import trustme

from kailash.adapters.http_url import parse_url
from kailash.adapters.owner import Owner, spawn_owner
from kailash.adapters.url_security import AddressRefused, TransportSecurity
from kailash.mcp_client import MCPClient
from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.errors import (
    AuthenticationError,
    ConnectionError,
    MCPError,
    RateLimitError,
    TransportError,
)
from kailash.mcp_server.transports import WebSocketServerTransport, WebSocketTransport
from protocol.events import ChangeKind
from protocol.framing.handshake import Offer, accept_headers

from .test_websocket import Provider, serving, tools
from .wspeer import frame

pytestmark = pytest.mark.anyio


async def test_a_server_is_named_by_url_config_or_transport() -> None:
    async with serving(tools().server) as port:
        url = f"ws://localhost:{port}/mcp"
        sources: list[Any] = [
            url,
            {"url": url},
            {"transport": "websocket", "url": url, "ping_interval": 20.0, "ping_timeout": 20.0},
            {"type": "ws", "url": url, "allow_localhost": True, "skip_security_validation": True},
            WebSocketTransport(url, subprotocols=["mcp-v1"], ping_interval=20.0, ping_timeout=20.0),
            WebSocketTransport(url=url, subprotocols=[], ping_interval=None, compression=True),
        ]
        for source in sources:
            client = MCPClient(source)
            assert client.validate() == {"valid": True, "problems": []}
            async with client:
                assert (await client.call_tool("echo", {"message": "hi"})).text == "hi"
                assert client.protocol_version == "2026-07-28"


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"])
async def test_every_revision_is_spoken(revision: str) -> None:
    async with serving(tools().server) as port:
        async with MCPClient(f"ws://127.0.0.1:{port}/ws", revisions=[revision]) as client:
            assert client.protocol_version == revision
            assert (await client.call_tool("echo", {"message": "hi"})).text == "hi"
            steps: list[float] = []
            heard = await client.call_tool(
                "pour", {"size": 10, "count": 5}, on_progress=lambda at, *_: steps.append(at)
            )
            assert heard.text == "poured" and steps == [0, 1, 2, 3, 4]


async def test_many_calls_share_the_connection() -> None:
    site = tools()
    async with serving(site.server) as port, MCPClient(f"ws://127.0.0.1:{port}/ws") as client:
        found = await client.call_tools([("echo", {"message": f"{n}" * 2000}) for n in range(200)], max_concurrency=64)
        assert [result.text for result in found] == [f"{n}" * 2000 for n in range(200)]
        assert len(site.server.sessions) == 1


async def test_a_call_is_cancelled_there_when_it_is_here() -> None:
    site = tools()
    async with serving(site.server) as port, MCPClient(f"ws://127.0.0.1:{port}/ws") as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "wait")
            await site.started.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await site.cancelled.wait()
        assert (await client.call_tool("echo", {"message": "on"})).text == "on"


async def test_credentials_travel_in_the_handshake() -> None:
    async with serving(tools(auth_provider=Provider()).server) as port:
        url = f"ws://127.0.0.1:{port}/ws"

        async def later() -> dict[str, str]:
            return {"Authorization": "Bearer s3cret"}

        for more in ({"auth": {"type": "bearer", "token": "s3cret"}}, {"headers": later}):
            async with MCPClient({"url": url, **more}) as client:
                await client.call_tool("echo", {"message": "hi"})
        with pytest.raises(AuthenticationError, match=r"connection to ws://.* 401"):
            await MCPClient(url).open()

        def broken() -> Any:
            raise RuntimeError("s3cret")

        with pytest.raises(
            TransportError, match="headers could not be made: the callable raised RuntimeError"
        ) as caught:
            await MCPClient({"url": url, "headers": broken}).open()
        assert "s3cret" not in str(caught.value)


async def test_over_tls_the_certificate_is_looked_at() -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    with (
        certificate.private_key_and_cert_chain_pem.tempfile() as path,
        authority.cert_pem.tempfile() as trusted,
    ):
        async with serving(tools().server, ssl_certfile=path) as port:
            url = f"wss://localhost:{port}/mcp"
            async with MCPClient({"url": url, "ca_file": trusted}) as client:
                assert (await client.call_tool("echo", {"message": "x" * 100_000})).text == "x" * 100_000
            with pytest.raises(TransportError, match=r"connection to wss://.*certificate is not trusted"):
                await MCPClient(url).open()
            with pytest.raises(TransportError, match=r"connection to wss://.*certificate is not trusted"):
                await MCPClient({"url": f"wss://127.0.0.1:{port}/mcp", "ca_file": trusted}).open()


# What is refused


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def test_nobody_there() -> None:
    with pytest.raises(TransportError, match=r"connection to ws://127.0.0.1:\d+/ws failed: connection refused"):
        await MCPClient(f"ws://127.0.0.1:{_free_port()}/ws").open()


@pytest.mark.parametrize("url", ["http://localhost/ws", "ftp://localhost", "ws://", "ws://user:hunter2@localhost/"])
def test_a_url_that_cannot_be_used_is_a_problem(url: str) -> None:
    found = MCPClient({"transport": "websocket", "url": url}).validate()
    assert not found["valid"] and "hunter2" not in str(found["problems"])


def test_times_are_above_zero() -> None:
    found = MCPClient({"url": "ws://localhost", "ping_interval": 0, "ping_timeout": -1}).validate()
    assert len(found["problems"]) == 2


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433", "127.1", "0.0.0.0"]
)
async def test_this_machine_is_refused_in_every_spelling_where_it_is_not_allowed(host: str) -> None:
    client = MCPClient({"url": f"ws://{host}:{_free_port()}/", "allow_localhost": False})
    with pytest.raises(TransportError, match=r"connection to .* failed: "):
        await client.open()
    skipped = MCPClient(
        {"url": f"ws://{host}:{_free_port()}/", "allow_localhost": False, "skip_security_validation": True}
    )
    with pytest.raises(TransportError) as caught:
        await skipped.open()
    assert "public" not in str(caught.value)


ADDRESSES = [
    # address, by default, with allow_localhost=False
    ("93.184.216.34", True, True),
    ("2606:2800:220:1::1", True, True),
    ("127.0.0.1", True, False),
    ("::1", True, False),
    ("10.1.2.3", True, False),
    ("192.168.0.1", True, False),
    ("fd00::1", True, False),
    ("100.64.0.1", True, False),
    ("::ffff:10.0.0.1", True, False),
    ("64:ff9b::a00:1", True, False),
    ("169.254.169.254", False, False),
    ("::ffff:169.254.169.254", False, False),
    ("fe80::1%eth0", False, False),
    ("fd00:ec2::254", False, False),
    ("100.100.100.200", False, False),
    ("224.0.0.1", False, False),
]


@pytest.mark.parametrize(("address", "usual", "strict"), ADDRESSES)
async def test_addresses_are_judged_and_pinned(address: str, usual: bool, strict: bool) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34", address]

    url = parse_url("ws://mcp.example/", ("ws", "wss"))
    for allow, is_allowed in ((True, usual), (False, strict)):
        security = TransportSecurity(allow_localhost=allow, resolve=resolve)
        if is_allowed:
            assert await security.addresses(url) == ["93.184.216.34", address]
        else:
            with pytest.raises(AddressRefused) as caught:
                await security.addresses(url)
            assert address not in str(caught.value)
    assert asked == ["mcp.example"] * 2
    assert await TransportSecurity(is_skipped=True, resolve=resolve).addresses(url) == ()


async def test_a_resolver_that_gives_nonsense_is_not_believed() -> None:
    for found in ([], ["nonsense"]):

        async def resolve(host: str, port: int, found: list[str] = found) -> list[str]:
            return found

        with pytest.raises(AddressRefused):
            await TransportSecurity(resolve=resolve).addresses(parse_url("ws://x/", ("ws", "wss")))


# Servers that misbehave

Script = Callable[[anyio.abc.SocketStream], Awaitable[None]]


class Scripted:
    """A server that agrees to every handshake, unless told otherwise, and then does what it is told."""

    def __init__(self, script: Script, answer: bytes | None = None) -> None:
        self._script, self._answer = script, answer

    async def __aenter__(self) -> str:
        self._stack = AsyncExitStack()
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(listener.serve, self._serve)
        self._tasks, self._listener = tasks, listener
        return f"ws://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/"

    async def __aexit__(self, *exc: Any) -> None:
        self._tasks.cancel_scope.cancel()
        await self._stack.__aexit__(*exc)
        await self._listener.aclose()

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            key = head.partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0]
            fields = accept_headers(Offer(key, (), False), None)
            lines = b"".join(b"%b: %b\r\n" % field for field in fields)
            agreed = b"HTTP/1.1 101 x\r\nconnection: Upgrade\r\n" + lines + b"\r\n"
            await stream.send(self._answer or agreed)
            try:
                await self._script(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass


async def hear(stream: anyio.abc.SocketStream) -> None:
    while True:
        await stream.receive()


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n\r\n", RateLimitError, "429"),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere\r\n\r\n", TransportError, "302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", TransportError, "200"),
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", TransportError, "not one to our"),
        (b"SSH-2.0\r\n\r\n", TransportError, "no HTTP server"),
    ],
)
async def test_a_refusal_says_what_it_was(answer: bytes, kind: type[MCPError], text: str) -> None:
    async with Scripted(hear, answer) as url:
        with pytest.raises(kind, match=text) as caught:
            await MCPClient(url).open()
        assert "connection" in str(caught.value)
        if kind is RateLimitError:
            assert caught.value.retry_after == 7.0


async def test_a_server_that_hangs_up_instead_of_answering() -> None:
    async def nothing(stream: anyio.abc.SocketStream) -> None:
        return

    async with Scripted(nothing, b"HTTP") as url:
        with pytest.raises(TransportError, match=r"connection .*hung up without an answer"):
            await MCPClient(url).open()


async def test_a_server_that_never_answers() -> None:
    async with Scripted(hear, b"HTTP") as url:
        with pytest.raises(TransportError, match="http_connect_timeout"):
            await MCPClient({"url": url, "http_connect_timeout": 0.2}).open()


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(1, b"x"), 1002),
        (frame(2, b"x", mask=False), 1003),
        (frame(1, b"\xff", mask=False), 1007),
        (b"\x81\x7f\x00\x00\x00\x00\x10\x00\x00\x00", 1009),
        (frame(8, b"\x03\xe9bye\n", mask=False), 1001),
        (b"", 1006),
    ],
)
async def test_what_a_server_does_wrong_ends_the_calls_that_wait(wire: bytes, code: int) -> None:
    async def misbehave(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        if wire:
            await stream.send(wire)
            await hear(stream)

    async with Scripted(misbehave) as url:
        with pytest.raises(MCPError, match=f"connection .* {code}: "):
            await MCPClient(url, revisions=["2025-06-18"]).open()


async def test_a_server_that_says_nothing_to_pings_is_given_up() -> None:
    async with Scripted(hear) as url:
        client = MCPClient({"url": url, "ping_interval": 0.1, "ping_timeout": 0.2, "probe_timeout": 20})
        with anyio.fail_after(8), pytest.raises(MCPError, match="1011"):
            await client.open()


# Going away and coming back


def make_server() -> MCPServer:
    server = MCPServer("restarting")

    @server.tool
    def echo(message: str) -> str:
        return message

    @server.tool
    async def wait(ctx: Context) -> str:
        await anyio.sleep_forever()
        return ""

    @server.resource("test://watched")
    def watched() -> str:
        return "content"

    return server


class Restarting:
    """A server on one port that can be ended and started again."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.server = make_server()
        self._owner: Owner

    async def start(self) -> None:
        ready = anyio.Event()
        transport = WebSocketServerTransport("127.0.0.1", self.port)
        self._owner = spawn_owner(
            lambda: transport.serve(self.server, started=lambda _: ready.set()), name="a server that is restarted"
        )
        await ready.wait()

    async def stop(self) -> None:
        self._owner.cancel()
        await self._owner.wait()


async def test_a_lost_connection_fails_what_waits_and_the_next_call_connects_again() -> None:
    there = Restarting()
    await there.start()
    async with MCPClient(f"ws://127.0.0.1:{there.port}") as client:
        await client.call_tool("echo", {"message": "a"})
        failed: list[BaseException] = []

        async def wait() -> None:
            try:
                await client.call_tool("wait")
            except MCPError as error:
                failed.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with anyio.fail_after(5):
                while not any(session.is_busy for session in there.server.sessions):  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            await there.stop()
        assert isinstance(failed[0], ConnectionError)
        # Nobody is there at first: a server that was there before is worth some patience.
        results: list[Any] = []

        async def ask() -> None:
            results.append(await client.call_tool("echo", {"message": "b"}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(0.3)
            await there.start()
        assert results[0].text == "b"
    await there.stop()


async def test_subscriptions_are_renewed_when_the_connection_is() -> None:
    there = Restarting()
    await there.start()
    async with MCPClient(f"ws://127.0.0.1:{there.port}") as client:
        async with client.listen(uris=["test://watched"]) as changes:
            there.server.notify_resource_updated("test://watched")
            with anyio.fail_after(5):
                assert (await anext(changes)).kind is ChangeKind.RESOURCE
            await there.stop()
            await there.start()
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:

                    async def tell() -> None:
                        while True:
                            there.server.notify_resource_updated("test://watched")
                            await anyio.sleep(0.05)

                    tasks.start_soon(tell)
                    assert (await anext(changes)).uri == "test://watched"
                    tasks.cancel_scope.cancel()
    await there.stop()


# Servers named in calls


async def test_a_server_may_be_named_in_each_call() -> None:
    site = tools()
    async with serving(site.server) as port, MCPClient() as client:
        for _ in range(3):
            found = await client.call_tool(f"ws://127.0.0.1:{port}/mcp", "echo", {"message": "hi"})
            assert found.text == "hi" and len(site.server.sessions) == 1
