"""Everything a reader can copy runs: the README's blocks, the docstrings' examples, the files under `examples/`."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_client import MCPClient
from protocol.revisions import REVISIONS
from tests.transports.test_asgi import tool_call

HOME = Path(__file__).parents[2]
README = (HOME / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(*command: str, cwd: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_has_a_server_a_client_an_application_and_the_engine_alone() -> None:
    assert len(BLOCKS) == 4
    assert all(block.count("\n") <= 26 for block in BLOCKS), "short enough to read"


@pytest.mark.integration
def test_the_readmes_server_and_client_meet(tmp_path: Path) -> None:
    (tmp_path / "weather.py").write_text(BLOCKS[0])
    (tmp_path / "client.py").write_text(BLOCKS[1])
    assert run("client.py", cwd=tmp_path).splitlines() == ["['forecast']", "Springfield, Ohio clear"]


@pytest.mark.integration
def test_the_readmes_server_is_served_over_http_by_its_command_line(tmp_path: Path) -> None:
    [line] = [line for line in README.splitlines() if line.startswith("python weather.py --transport")]
    flags = line.partition("#")[0].split()[2:]
    flags[flags.index("--port") + 1] = "0"
    (tmp_path / "weather.py").write_text(BLOCKS[0])
    command = [sys.executable, "weather.py", *flags]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"http://[^/]+", process.stderr.readline())
            assert found is not None
            client = BLOCKS[1].replace(
                'config = {"command": "python", "args": ["weather.py"]}', f"config = {found[0]!r}"
            )
            (tmp_path / "client.py").write_text(client)
            assert run("client.py", cwd=tmp_path).splitlines() == ["['forecast']", "Springfield, Ohio clear"]
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.mark.anyio
async def test_the_readmes_application_answers() -> None:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[2], "README.md", "exec"), names)
    names["tools"].tool(lambda message: message, name="echo", blocking=False)
    call = tool_call("echo", "/tools/mcp", message="hello")
    await names["app"](call.scope, call.receive, call.send)
    assert call.status == 200 and b'"hello"' in call.answer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.integration
def test_the_readmes_engine_answers(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BLOCKS[3])
    assert '"text":"hello"' in run("own.py", cwd=tmp_path)


def test_the_readmes_map_names_files_that_exist() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    assert len(rows) > 12
    folder = HOME
    for row in rows:
        for name in re.findall(r"`([^`]+)`", row):
            if "/" in name and not (HOME / name).is_dir():
                folder = (HOME / name).parent
            if not (HOME / name).exists():
                assert (folder / name).exists(), name


@pytest.mark.integration
def test_the_demo_runs() -> None:
    assert run("examples/demo.py", cwd=HOME).endswith("demo: all good\n")


EMBEDDED = {
    "embed_selectors": ("uptime", {}, r"\d+\.\d+"),
    "embed_protocol": ("remember", {}, r"\d+ calls"),
    "embed_trio": ("tick", {}, "ten ticks"),
    "embed_threads": ("count_primes", {"below": 100}, "25"),
}
"""The examples with an engine in a loop of one's own: what to call, and what is answered."""


def test_the_embedding_examples_can_be_read_at_once() -> None:
    found = {path.stem: path.read_text() for path in (HOME / "examples").glob("embed_*.py")}
    assert found.keys() == EMBEDDED.keys()
    assert all(text.count("\n") <= 60 for text in found.values())


@pytest.mark.integration
@pytest.mark.anyio
@pytest.mark.parametrize("name", EMBEDDED)
async def test_an_engine_in_a_loop_of_ones_own_serves(name: str) -> None:
    tool, arguments, expected = EMBEDDED[name]
    command = [sys.executable, "-W", "error", f"examples/{name}.py"]
    async with await anyio.open_process(command, cwd=HOME, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            url = (await process.stdout.receive()).decode().strip()
            for era in REVISIONS[-2:]:  # clients of both eras, one after the other and several at once
                async with MCPClient(url, revisions=[era.name]) as one, MCPClient(url) as two:
                    assert [each.name for each in await one.list_tools()] == [tool]
                    for client in (one, two, one):
                        answer = await client.call_tool(tool, arguments)
                        assert re.fullmatch(expected, answer.text)
            raw = await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2]))
            async with raw:  # what is none is answered, and the next client served
                await raw.send(b"hello\n")
                assert b"-32700" in await raw.receive()
            async with MCPClient(url) as client:
                assert await client.list_tools()
        finally:
            process.kill()
        assert b"Traceback" not in b"".join([text async for text in process.stderr])


MODULES = sorted(
    str(path.relative_to(HOME).with_suffix("")).replace(os.sep, ".")
    for package in ("kailash", "protocol")
    for path in (HOME / package).rglob("*.py")
    if ">>>" in path.read_text()
)


def test_some_docstrings_have_examples() -> None:
    assert MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed
