"""The blocks of the seed document as written (`seed/*.txt`), and what their headings promise, over the wire."""

import ast
import asyncio
import base64
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError, MCPErrorCode, MCPServer
from protocol.revisions import REVISIONS

pytestmark = pytest.mark.anyio

SEED = Path(__file__).with_name("seed")
EVERY = pytest.mark.parametrize("revision", [revision.name for revision in REVISIONS])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the document's blocks use asyncio


def block(number: str) -> str:
    return (SEED / f"{number}.txt").read_text()


async def run_block(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a block that may use `await` outside a function, as the document's do."""
    compiled = compile(code, "<seed>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if result is not None:
        await result
    return names


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the reader's own modules, with `python` being this one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return tmp_path


@pytest.mark.integration
def test_b01_and_b02_a_first_server_and_a_first_client(modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (modules / "my_mcp_server.py").write_text(block("B01"))
    anyio.run(run_block, block("B02"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert "Found data for: AI models" in first
    assert "1.0.0" in second


@pytest.mark.integration
async def test_b01_lists_what_it_promises_and_caches(modules: Path) -> None:
    (modules / "my_mcp_server.py").write_text(block("B01"))
    async with MCPClient({"transport": "stdio", "command": "python", "args": ["-m", "my_mcp_server"]}) as client:
        tools = {tool.name: tool for tool in await client.list_tools()}
        assert set(tools) == {"search_data", "calculate"}
        assert tools["search_data"].description == "Search for data based on query."
        assert tools["search_data"].input_schema["properties"] == {"query": {"type": "string"}}
        assert tools["search_data"].input_schema["required"] == ["query"]
        result = await client.call_tool("calculate", {"expression": "6 * 7"})
        assert result == {"expression": "6 * 7", "result": 42}
        # The expression has an effect that only the first of two equal calls may have.
        counting = {"expression": "[globals().setdefault('n', []).append(1), len(globals()['n'])][1]"}
        assert (await client.call_tool("calculate", counting))["result"] == 1
        assert (await client.call_tool("calculate", counting))["result"] == 1
        [resource] = await client.list_resources()
        assert (resource.uri, resource.description) == ("config://settings", "Get application settings.")
        assert await client.read_resource("config://settings") == {
            "version": "1.0.0",
            "features": ["tools", "resources"],
        }


@EVERY
async def test_b05_progress_reaches_the_client(join: Any, revision: str) -> None:
    server = MCPServer("seed")
    await run_block(block("B05"), {"server": server, "asyncio": asyncio})
    heard: list[tuple[float, float | None, str | None]] = []
    async with join(server, revision) as client:
        [tool] = await client.list_tools()
        assert set(tool.input_schema["properties"]) == {"data"}
        result = await client.call_tool("long_operation", {"data": "x"}, on_progress=lambda *told: heard.append(told))
        assert result == {"result": "Processed x"}
        assert await client.call_tool("long_operation", {"data": "y"}) == {"result": "Processed y"}
    steps = [progress for progress, _, _ in heard]
    assert steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] == 100
    # The first revision has no words beside the numbers.
    assert heard[7] == (7, 100, None if revision == REVISIONS[0].name else "Processing step 7")


@EVERY
async def test_b07_content_of_several_types(join: Any, revision: str) -> None:
    server = MCPServer("seed")
    await run_block(block("B07"), {"server": server, "chart_image_bytes": b"\x89PNG"})
    async with join(server, revision) as client:
        result = await client.call_tool("generate_report", {"data": "x"})
    text, image, resource = result.content
    assert text.text == "Analysis Report"
    assert (image.data, image.mime_type) == (base64.b64encode(b"\x89PNG").decode(), "image/png")
    assert (resource.resource.uri, resource.resource.text) == ("file://report.pdf", "Full Report")


@pytest.mark.integration
async def test_b09_stdio_is_the_default(modules: Path) -> None:
    server_part, client_part = block("B09").split("# Client connects via STDIO")
    (modules / "my_server.py").write_text("from kailash.mcp_server import MCPServer\n" + server_part)
    names: dict[str, Any] = await run_block(client_part, {})
    async with MCPClient(names["client_config"]) as client:
        assert client.server_info is not None and client.server_info.name == "stdio-server"


@EVERY
async def test_b24_structured_errors_keep_their_code(join: Any, revision: str) -> None:
    def process_data(data: str) -> str:
        if data == "bad":
            raise ValueError("no good")
        return data.upper()

    server = MCPServer("seed")
    await run_block(block("B24"), {"server": server, "process_data": process_data})
    async with join(server, revision) as client:
        assert (await client.call_tool("safe_tool", {"data": "a"}))["result"] == "A"
        with pytest.raises(MCPError, match="Data cannot be empty") as empty:
            await client.call_tool("safe_tool", {"data": ""})
        assert empty.value.error_code == MCPErrorCode.INVALID_PARAMS
        with pytest.raises(MCPError, match="Invalid data format: no good") as bad:
            await client.call_tool("safe_tool", {"data": "bad"})
        assert bad.value.error_code == MCPErrorCode.VALIDATION_ERROR
        assert bad.value.retryable is False


@pytest.mark.integration
def test_b26_unit_tests_of_a_reader_pass(tmp_path: Path) -> None:
    (tmp_path / "test_reader.py").write_text(block("B26"))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_reader.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0 and "3 passed" in run.stdout, run.stdout


ECHO_SERVER = """
from kailash.mcp_server import MCPServer
server = MCPServer("echo-server")

@server.tool()
def echo(message: str) -> dict:
    return {"echo": message}

server.run()
"""


@pytest.mark.integration
async def test_b27_integration_tests_of_a_reader_pass(modules: Path) -> None:
    (modules / "echo_server.py").write_text(textwrap.dedent(ECHO_SERVER))
    names = await run_block(block("B27"), {"MCPError": MCPError, "MCPErrorCode": MCPErrorCode})
    await names["test_client_server_communication"]()
    await names["test_error_handling"]()


@pytest.mark.integration
@pytest.mark.parametrize("as_package", [False, True])
def test_a_users_own_protocol_module_is_named(modules: Path, as_package: bool) -> None:
    shadow = modules / "protocol" / "__init__.py" if as_package else modules / "protocol.py"
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text("")
    (modules / "script.py").write_text("from kailash.mcp_server import MCPServer\n")
    run = subprocess.run([sys.executable, "script.py"], cwd=modules, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert str(shadow) in run.stderr and "shadows" in run.stderr and "rename that file" in run.stderr
