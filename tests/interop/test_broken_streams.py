"""The network breaks in the middle of a call; who listens goes on where it was, and nothing is called twice."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient

from .peers import mcp_python, node_command
from .processes import Program, our_server, program
from .test_foreign_servers import HANDSHAKES
from .webtee import Exchange, WebTee, webtee
from .wire import SCRIPTS

SEEN = [[1, 2, "before"], [2, 2, "after"]]
PYTHON = ("1.30.0", "2.3.0")


def has_begun(exchanges: list[Exchange]) -> bool:
    """Tell whether the call was heard of."""
    return any("before" in text for exchange in exchanges for _, text in exchange.messages)


def is_resumed(exchanges: list[Exchange]) -> bool:
    """Tell whether somebody listens to what was broken."""
    return any(each.method == "GET" and "last-event-id" in each.headers and each.status == 200 for each in exchanges)


async def release(port: int) -> None:
    """Let the call go on, from outside."""
    async with MCPClient({"url": f"http://127.0.0.1:{port}/mcp"}) as client:
        await client.call_tool("release")


async def interrupt(tee: WebTee) -> None:
    """Break the connection of a call that has begun, and let it go on once somebody listens again."""
    await anyio.to_thread.run_sync(tee.wait_until, has_begun)
    tee.cut()
    await anyio.to_thread.run_sync(tee.wait_until, is_resumed)
    await release(tee.target)


def check(tee: WebTee) -> None:
    exchanges = tee.exchanges()
    [call] = [each for each in exchanges if "interrupted" in str(each.message)]
    resumed = [each for each in exchanges if each.headers.get("last-event-id") in call.ids]
    # The last event that came is where it goes on.
    assert call.ids and next(each.headers["last-event-id"] for each in resumed) == call.ids[-1]
    assert not call.is_complete and any("went on" in text for each in resumed for _, text in each.messages)


@pytest.fixture(scope="module")
def ours() -> Iterator[Program]:
    with our_server(script="our_web_server.py", HTTP_OPTIONS='{"retry": 0.05}') as server:
        yield server


@pytest.mark.anyio
@pytest.mark.parametrize("client", [*PYTHON, "npm-sdk"])
async def test_a_foreign_client_goes_on_with_our_server(ours: Program, client: str) -> None:
    if client == "npm-sdk":
        command = node_command("resume_sdk.mjs")
    else:
        command = [mcp_python(client), "-W", "ignore", str(SCRIPTS / f"resume_mcp{client[0]}.py")]
    with webtee(ours.port()) as tee, anyio.fail_after(40):
        async with anyio.create_task_group() as group:
            group.start_soon(interrupt, tee)
            done = await anyio.run_process([*command, tee.url()], check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        assert json.loads(done.stdout) == {"progress": SEEN, "text": "went on"}
        check(tee)


@pytest.mark.anyio
@pytest.mark.parametrize("server", [*PYTHON, "npm-sdk"])
async def test_our_client_goes_on_with_a_foreign_server(server: str) -> None:
    if server == "npm-sdk":
        command = node_command("server_sdk.mjs")
    else:
        command = [mcp_python(server), "-W", "ignore", str(SCRIPTS / f"server_mcp{server[0]}.py")]
    seen: list[Any] = []
    with ExitStack() as stack:
        running = stack.enter_context(program([*command, "web"], r"listening (\d+)"))
        tee = stack.enter_context(webtee(running.port()))
        client = MCPClient({"transport": "http", "url": tee.url()}, revisions=HANDSHAKES)
        with anyio.fail_after(40):
            async with client, anyio.create_task_group() as group:
                group.start_soon(interrupt, tee)
                result = await client.call_tool("interrupted", on_progress=lambda *told: seen.append(list(told)))
        assert result.text == "went on" and seen == SEEN
        check(tee)
