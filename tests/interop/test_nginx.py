"""An nginx with kept connections and default buffering stands before our servers, and nobody notices."""

import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient
from protocol.events import ChangeKind

from .nginx import nginx
from .processes import Program, our_server
from .test_foreign_servers import HANDSHAKES
from .webtee import webtee

SECONDS = 30
OPTIONS = json.dumps({"allowed_hosts": ["mcp.example"], "keep_alive": 0.2, "drain_timeout": 10})


def upstream(port: int = 0) -> Any:
    """Run a server of ours."""
    return our_server(script="our_web_server.py", port=port, HTTP_OPTIONS=OPTIONS)


class Site:
    """An nginx and what is behind it."""

    def __init__(self, port: int, servers: list[Program]) -> None:
        self.port = port
        self.servers = servers

    def client(self, path: str, **options: Any) -> MCPClient:
        return MCPClient({"transport": "http", "url": f"http://127.0.0.1:{self.port}{path}"}, **options)

    def direct(self) -> MCPClient:
        """Return a client of the first server that does not come through the nginx."""
        return MCPClient({"transport": "http", "url": f"http://127.0.0.1:{self.servers[0].port()}/mcp"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        servers = [stack.enter_context(upstream()) for _ in range(2)]
        ports = [server.port() for server in servers]
        home: Path = tmp_path_factory.mktemp("nginx")
        yield Site(stack.enter_context(nginx(home, ports, read_timeout="1s")), servers)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/one/mcp", "/old/mcp"])
@pytest.mark.parametrize("revisions", [None, HANDSHAKES], ids=["envelope", "handshake"])
async def test_progress_comes_as_it_is_made(site: Site, revisions: Any, path: str) -> None:
    seen: list[float] = []
    with anyio.fail_after(SECONDS):
        async with site.client(path, revisions=revisions) as client, site.direct() as direct:
            stage = anyio.Event()

            def on_progress(done: float, total: float | None, message: str | None) -> None:
                seen.append(done)
                stage.set()

            async def let_go() -> None:
                nonlocal stage
                for _ in range(3):
                    await stage.wait()  # what is held back somewhere never comes
                    stage = anyio.Event()
                    await direct.call_tool("release")

            async with anyio.create_task_group() as group:
                group.start_soon(let_go)
                result = await client.call_tool("stages", {"count": 3}, on_progress=on_progress)
    assert result.text == "through" and seen == [1, 2, 3]


@pytest.mark.anyio
async def test_it_would_be_held_back_if_we_did_not_say_otherwise(site: Site) -> None:
    """The test above is one: where the nginx does not heed our header, nothing comes before the end."""
    seen: list[float] = []
    with anyio.fail_after(SECONDS):
        async with site.client("/held/mcp") as client, site.direct() as direct:
            with anyio.move_on_after(0.5) as patience:
                await client.call_tool("stages", {"count": 1}, on_progress=lambda done, *_: seen.append(done))
            await direct.call_tool("release")
    assert patience.cancelled_caught and not seen


@pytest.mark.anyio
@pytest.mark.parametrize("revisions", [None, HANDSHAKES], ids=["envelope", "handshake"])
async def test_a_silent_subscription_stays_open(site: Site, revisions: Any) -> None:
    """The nginx gives up on a second of silence, so there is none: comments keep the stream alive."""
    with webtee(site.port) as tee, anyio.fail_after(SECONDS):
        client = MCPClient({"transport": "http", "url": tee.url("/one/mcp")}, revisions=revisions)
        async with client, site.direct() as direct:
            async with client.listen(uris=["test://watched"]) as changes:
                with anyio.move_on_after(1.5) as silence:
                    await anext(changes)
                assert silence.cancelled_caught
                await direct.call_tool("touch")
                change = await anext(changes)
                [stream] = [each for each in tee.exchanges() if each.is_stream and not each.is_complete]
                assert stream.ended_by is None, "it is the first one still"
    assert change.kind is ChangeKind.RESOURCE and change.uri == "test://watched"


@pytest.mark.anyio
async def test_large_bodies_pass_both_ways(site: Site) -> None:
    size = 3 << 20
    with anyio.fail_after(SECONDS):
        async with site.client("/mcp") as client:
            assert (await client.call_tool("size", {"text": "x" * size})).text == str(size)
            assert len((await client.call_tool("text_of", {"size": size})).text) == size


@pytest.mark.parametrize(("host", "status"), [("mcp.example", 200), ("mcp.example:443", 200), ("evil.example", 421)])
def test_the_name_asked_for_is_the_name_checked(site: Site, host: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    headers = {
        "Host": host,
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/list",
    }
    connection.request("POST", "/mcp", json.dumps(body), headers)
    response = connection.getresponse()
    said = response.read()
    connection.close()
    assert response.status == status, said


@pytest.mark.anyio
async def test_servers_are_replaced_under_load_and_no_call_is_lost(tmp_path: Path) -> None:
    done: list[int] = []
    answers: set[int] = set()
    with ExitStack() as stack:
        first, second = (stack.enter_context(upstream()) for _ in range(2))
        site = Site(stack.enter_context(nginx(tmp_path, [first.port(), second.port()])), [first, second])
        numbers = iter(range(100_000))
        is_enough = False
        progress = anyio.Event()

        async def caller(client: MCPClient) -> None:
            while not is_enough:
                number = next(numbers)
                answers.add(int((await client.call_tool("work", {"number": number})).text))
                done.append(number)
                progress.set()

        async def some_more() -> None:
            nonlocal progress
            aim = len(done) + 100
            while len(done) < aim:
                progress = anyio.Event()
                await progress.wait()

        with anyio.fail_after(SECONDS):
            async with site.client("/mcp") as client, anyio.create_task_group() as group:
                for _ in range(16):
                    group.start_soon(caller, client)
                await some_more()
                assert answers == {first.process.pid, second.process.pid}
                first.process.send_signal(signal.SIGTERM)
                assert await anyio.to_thread.run_sync(first.process.wait) == 0
                await some_more()
                third = await anyio.to_thread.run_sync(stack.enter_context, upstream(first.port()))
                await some_more()
                second.process.send_signal(signal.SIGTERM)
                assert await anyio.to_thread.run_sync(second.process.wait) == 0
                await some_more()
                is_enough = True
        assert answers == {server.process.pid for server in (first, second, third)}
        worked = [line for server in (first, second, third) for line in server.said.splitlines() if "work " in line]
    assert sorted(worked) == sorted(f"work {number}" for number in done), "each call was done once"
