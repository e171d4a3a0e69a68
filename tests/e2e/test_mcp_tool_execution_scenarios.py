"""Whole scenarios of tool execution: real processes and real clients, from the first connection to the last word."""

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError, MCPErrorCode
from kailash.mcp_server.errors import (
    AuthenticationError,
    CircuitOpenError,
    ExponentialBackoffRetry,
    RateLimitError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.e2e]

AGENT_SERVER = '''
import anyio
from kailash.mcp_server import Context, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.advanced_features import create_progress_reporter, structured_tool

server = MCPServer("library", instructions="Search first, then summarise what was found.")
BOOKS = {"engines": ["On Engines", "Engines Again"], "nothing": []}

@server.tool(annotations={"readOnlyHint": True})
def search(topic: str) -> dict:
    """Search the library."""
    if topic not in BOOKS:
        raise MCPError(f"no shelf for {topic!r}; shelves: {', '.join(BOOKS)}", error_code=MCPErrorCode.INVALID_PARAMS)
    return {"topic": topic, "titles": BOOKS[topic]}

@server.tool
async def summarise(found: dict, ctx: Context) -> str:
    """Summarise what was found."""
    async with create_progress_reporter("reading", total=len(found["titles"])) as progress:
        for number, title in enumerate(found["titles"], 1):
            await progress.update(progress=number, status=title)
    return f"{len(found['titles'])} about {found['topic']}"

@structured_tool(
    input_schema={"type": "object", "properties": {"title": {"type": "string", "minLength": 1}}, "required": ["title"]},
    output_schema={"type": "object", "properties": {"lent": {"type": "boolean"}}, "required": ["lent"]},
)
@server.tool()
def lend(title: str) -> dict:
    """Lend a book."""
    return {"lent": True}

@server.tool
async def wait_for_return() -> str:
    """Wait until a book comes back."""
    await anyio.sleep_forever()

@server.resource("shelf://{topic}")
def shelf(topic: str) -> dict:
    """What stands on a shelf."""
    return {"titles": BOOKS[topic]}

@server.prompt
def recommend(topic: str) -> str:
    """Ask for a recommendation."""
    return f"Recommend a book about {topic}."

server.run()
'''

PRODUCTION_SERVER = """
from kailash.mcp_server import MCPServer
from kailash.mcp_server.errors import ToolError

server = MCPServer.from_config("server.toml")
broken = []

@server.tool(cache_key="price", cache_ttl=60)
def price(item: str) -> dict:
    broken.append(item) if item == "breaks" else None
    return {"item": item, "price": 42}

@server.tool(enable_circuit_breaker=True)
def upstream(fails: bool) -> str:
    if fails:
        raise OSError("the upstream is away")
    return "answered"

@server.tool(required_permission="admin")
def repair() -> str:
    server.reset_circuit_breaker()
    return "repaired"

@server.tool(rate_limit={"requests": 2, "window": 3600})
def costly() -> str:
    return "done"

server.run()
"""

PRODUCTION_CONFIG = """
name = "shop"
enable_http_transport = true
enable_metrics = true
circuit_breaker_config = {failure_threshold = 3, timeout = 3600}

[auth_provider]
type = "api_key"
[auth_provider.keys]
"${ADMIN_KEY}" = {permissions = ["admin"], user_id = "root"}
"${USER_KEY}" = {permissions = ["tools"], user_id = "user"}
"""
ADMIN, USER = "key-of-the-admin-0001", "key-of-a-user-000002"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(folder: Path, module: str, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module over HTTP until the block is left."""
    command = [sys.executable, f"{module}.py", "--transport", "http", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", **environment}
    )
    assert process.stderr is not None
    said = [process.stderr.readline()]
    while "serves" not in said[-1]:
        assert said[-1], "".join(said)
        said.append(process.stderr.readline())
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


@asynccontextmanager
async def library(transport: str, revision: str, folder: Path) -> AsyncIterator[MCPClient]:
    (folder / "library.py").write_text(AGENT_SERVER)
    if transport == "stdio":
        config: dict[str, Any] = {"command": sys.executable, "args": ["library.py"], "cwd": str(folder)}
        async with MCPClient(config, revisions=[revision]) as client:
            yield client
        return
    port = free_port()
    with running(folder, "library", port):
        async with MCPClient(f"http://127.0.0.1:{port}", revisions=[revision]) as client:
            yield client


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_an_agent_finds_out_what_there_is_and_works_with_it(
    transport: str, revision: str, tmp_path: Path
) -> None:
    async with library(transport, revision, tmp_path) as client:
        # What there is.
        assert client.instructions is not None and client.instructions.startswith("Search first")
        tools = {tool.name: tool for tool in await client.list_tools()}
        assert set(tools) == {"search", "summarise", "lend", "wait_for_return"}
        assert tools["lend"].output_schema["required"] == ["lent"]  # type: ignore[index]

        # A mistake that says what to do, and the call that follows it.
        with pytest.raises(MCPError, match="shelves: engines, nothing") as wrong:
            await client.call_tool("search", {"topic": "trains"})
        assert wrong.value.error_code == MCPErrorCode.INVALID_PARAMS
        found = await client.call_tool("search", {"topic": "engines"})

        # One call's result is the next one's argument; progress arrives on the way.
        heard: list[str | None] = []
        summary = await client.call_tool(
            "summarise", {"found": found}, on_progress=lambda _p, _t, said: heard.append(said)
        )
        assert summary.text == "2 about engines"
        assert heard[:2] == ["On Engines", "Engines Again"]

        # Several at once, in order, one of them invalid.
        calls: list[Any] = [("lend", {"title": title}) for title in [*found["titles"], ""]]
        *lent, refused = await client.call_tools(calls, return_exceptions=True)
        assert [result["lent"] for result in lent] == [True, True]
        assert isinstance(refused, MCPError) and refused.error_code == MCPErrorCode.INVALID_PARAMS

        # Resources and prompts.
        assert (await client.read_resource("shelf://engines"))["titles"] == found["titles"]
        prompt = await client.get_prompt("recommend", {"topic": "engines"})
        assert "about engines" in prompt.messages[0].content.text  # type: ignore[union-attr]

        # Giving up on a call leaves the connection as it was.
        with anyio.move_on_after(0.1) as patience:
            await client.call_tool("wait_for_return")
        assert patience.cancelled_caught
        assert (await client.health_check())["status"] == "healthy"


async def test_a_production_server_in_its_daily_life(revision: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(PRODUCTION_SERVER)
    (tmp_path / "server.toml").write_text(PRODUCTION_CONFIG)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    keys = {"ADMIN_KEY": ADMIN, "USER_KEY": USER}

    def visit(key: str, **options: Any) -> MCPClient:
        return MCPClient({"url": url, "auth": {"type": "api_key", "key": key}}, revisions=[revision], **options)

    user = visit(USER, retry_strategy=ExponentialBackoffRetry(base_delay=0.05, max_retries=8), enable_metrics=True)
    with running(tmp_path, "shop", port, **keys) as process:
        with pytest.raises(AuthenticationError):
            await visit("a-key-of-nobody-at-all").open()
        await user.open()
        assert [tool.name for tool in await user.list_tools()] == ["price", "upstream", "costly"]
        assert (await user.call_tool("price", {"item": "pen"}))["price"] == 42

        # The upstream fails until the breaker opens; an admin closes it.
        for _ in range(3):
            with pytest.raises(MCPError) as failed:
                await user.call_tool("upstream", {"fails": True})
            assert failed.value.error_code == MCPErrorCode.TOOL_ERROR
        with pytest.raises(CircuitOpenError):
            await user.call_tool("upstream", {"fails": False}, total_timeout=5.0)
        async with visit(ADMIN) as admin:
            assert (await admin.call_tool("repair")).text == "repaired"
        assert (await user.call_tool("upstream", {"fails": False})).text == "answered"

        # A costly tool has a limit that no patience outlasts, and says when to come back.
        for _ in range(2):
            await user.call_tool("costly")
        with pytest.raises(RateLimitError) as limited:
            await user.call_tool("costly", total_timeout=5.0)
        assert limited.value.retry_after is not None and limited.value.retry_after > 60
        process.send_signal(signal.SIGKILL)
        process.wait()

    # The server is gone and comes back; the user's next call waits for it.
    results: list[Any] = []
    done = anyio.Event()

    async def shop_on() -> None:
        results.append(await user.call_tool("price", {"item": "ink"}))
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(shop_on)
        again = running(tmp_path, "shop", port, **keys)
        await anyio.to_thread.run_sync(again.__enter__)
        try:
            with anyio.fail_after(20):
                await done.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: again.__exit__(None, None, None))
    assert results[0]["price"] == 42
    metrics = user.get_metrics()
    assert metrics is not None and metrics["calls"] > 10 and metrics["errors_by_code"]["RATE_LIMITED"] == 1
    assert metrics["retries"] >= 1, "it was tried before it was back"
    await user.aclose()
