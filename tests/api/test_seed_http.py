"""The HTTP blocks of the seed document as written (`seed/*.txt`), at the document's own port where it is free."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient

from .test_seed import block, modules, run_block

__all__ = ["modules"]

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def port_of(text: str) -> tuple[str, int]:
    """Return a block with a port that is free: the document's own, if it can be had."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 8080))
            return text, 8080
        except OSError:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            return text.replace("8080", str(port)), port


@contextmanager
def running(module: str, *flags: str, says: str = "serves") -> Iterator[list[str]]:
    """Run a reader's module until the block is left; gives the line that says where it is reached."""
    command = [sys.executable, "-m", module, *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines: list[str] = []
    try:
        while not lines or says not in lines[-1]:
            line = process.stderr.readline()
            assert line, "".join(lines)
            lines.append(line)
        yield lines
    finally:
        process.terminate()
        lines += process.communicate(timeout=20)[1].splitlines(keepends=True)
    assert process.returncode == 0, "".join(lines)


TOOL = """
@server.tool()
def echo(message: str) -> dict:
    return {"echo": message}
"""


async def test_b10_streamable_http_at_the_base_url(modules: Path) -> None:
    text, port = port_of(block("B10"))
    server_part, client_part = text.split("# Client via HTTP")
    made, ran = server_part.split("server.run")
    (modules / "http_server.py").write_text(f"from kailash.mcp_server import MCPServer\n{made}{TOOL}\nserver.run{ran}")
    names: dict[str, Any] = await run_block(client_part, {})
    with running("http_server") as said:
        assert f":{port}/mcp" in said[-1]
        async with MCPClient(names["client_config"]) as client:
            assert client.server_info is not None and client.server_info.name == "http-server"
            assert await client.call_tool("echo", {"message": "hello"}) == {"echo": "hello"}
        for url in (f"http://localhost:{port}", f"http://localhost:{port}/mcp", f"http://127.0.0.1:{port}/"):
            async with MCPClient(url) as client:
                assert (await client.call_tool("echo", {"message": url}))["echo"] == url


async def test_b11_server_sent_events(modules: Path) -> None:
    text, port = port_of(block("B11"))
    server_part, client_part = text.split("# Client via SSE")
    run = "server.run()" if port == 8080 else f"server.run(port={port})"
    (modules / "sse_server.py").write_text(f"from kailash.mcp_server import MCPServer\n{server_part}{TOOL}\n{run}\n")
    names: dict[str, Any] = await run_block(client_part, {})
    with running("sse_server") as said:
        assert said[-1].strip().endswith(f":{port}/sse")
        async with MCPClient(names["client_config"]) as client:
            assert client.server_info is not None and client.server_info.name == "sse-server"
            assert await client.call_tool("echo", {"message": "hello"}) == {"echo": "hello"}


async def test_b30_the_log_level_of_a_server_that_is_run_as_a_script(modules: Path) -> None:
    lsof, command = [line for line in block("B30").splitlines() if line and not line.startswith("#")]
    assert lsof == "lsof -i :8080", "what the document looks for is our default port"
    module, *flags = shlex.split(command)[2:]
    (modules / f"{module}.py").write_text(
        "from kailash.mcp_server import MCPServer\n"
        "server = MCPServer('logged', enable_http_transport=True)\n" + TOOL + "server.run()\n"
    )
    _, port = port_of("")
    os.environ["MCP_PORT"] = str(port)
    try:
        with running(module, *flags) as said:
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(b"nonsense\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 400")
            await stream.aclose()
    finally:
        del os.environ["MCP_PORT"]
    assert re.search(r"DEBUG +kailash", "".join(said))


async def test_b31_health_and_a_config_that_is_checked(modules: Path, tmp_path: Path) -> None:
    text, port = port_of(block("B31"))
    (modules / "healthy.py").write_text(
        f"from kailash.mcp_server import MCPServer\nMCPServer('healthy', enable_http_transport=True).run(port={port})\n"
    )
    curl, check = [line for line in text.splitlines() if line and not line.startswith("#")]
    url = shlex.split(curl)[1]
    with running("healthy"):
        if shutil.which("curl"):
            answer = await anyio.run_process(["curl", "-sS", "--fail", url])
            said = answer.stdout.decode()
        else:
            said = await anyio.to_thread.run_sync(lambda: urllib.request.urlopen(url).read().decode())
        assert '"status":"ok"' in said
    # The document leaves the config to its reader.
    for config, verdict in (
        ({"transport": "http", "url": f"http://localhost:{port}"}, "'valid': True"),
        ({"transport": "http"}, 'a server behind http needs a "url"'),
        ({"transport": "carrier pigeon"}, "available: stdio, http, sse"),
    ):
        program = shlex.split(check)[2].replace("import MCPClient;", f"import MCPClient; config = {config!r};")
        done = await anyio.run_process([sys.executable, "-c", program])
        assert verdict in done.stdout.decode()
