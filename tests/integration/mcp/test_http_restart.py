"""A server that is restarted under its clients: sessions are gone, and nobody notices."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from kailash.mcp_server import MCPClient
from protocol.revisions import REVISIONS

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Restartable:
    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        flags = ["--transport", "http", "--port", str(self.port)]
        command = [sys.executable, "-m", "tests.transports.web_program", *flags]
        self.process = subprocess.Popen(command, cwd=HOME, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        assert b"serves" in self.process.stderr.readline()

    def stop(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.communicate(timeout=20)


@pytest.fixture
def server() -> Iterator[Restartable]:
    server = Restartable()
    server.start()
    yield server
    server.stop(signal.SIGKILL)


async def echo(client: MCPClient, message: str) -> str:
    result = await client.call_tool("echo", {"message": message})
    return str(result.content[0].text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("revision", [revision.name for revision in REVISIONS])
async def test_a_restart_is_invisible(server: Restartable, revision: str, number: int) -> None:
    async with MCPClient(server.url, revisions=[revision]) as client:
        for round_ in range(2):
            assert await echo(client, f"before {round_}") == f"before {round_}"
            tools = await client.list_tools()
            server.stop(number)
            server.start()
            assert [tool.name for tool in await client.list_tools()] == [tool.name for tool in tools]
            assert await echo(client, f"after {round_}") == f"after {round_}"
        assert client.protocol_version == revision


@pytest.mark.parametrize(
    ("revision", "number"),
    # A server that shuts down ends the subscriptions of the newest revision with a result, which their clients see.
    [(REVISIONS[-2].name, signal.SIGTERM), (REVISIONS[-2].name, signal.SIGKILL), (REVISIONS[-1].name, signal.SIGKILL)],
)
async def test_who_watches_a_resource_watches_it_after_a_restart(
    server: Restartable, revision: str, number: int
) -> None:
    async with MCPClient(server.url, revisions=[revision]) as client, client.listen(uris=["test://watched"]) as changes:
        server.stop(number)
        server.start()
        with anyio.fail_after(20):
            # The first call finds the session gone; the watch is renewed with it, or by itself.
            while True:
                await client.call_tool("change", {"uri": "test://watched"})
                with anyio.move_on_after(0.5):
                    change = await anext(aiter(changes))
                    break
        assert change.uri == "test://watched"
