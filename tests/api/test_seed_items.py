"""The table of the seed document's items, and the items that are about the tests themselves (B29)."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kailash.mcp_server import Context, MCPClient, MCPServer
from kailash.resilience import ResultCache
from protocol.types import Implementation

from .conftest import Join
from .test_seed import SEED, block

HOME = Path(__file__).resolve().parents[2]
LAST = 191
LATER = {"oauth", "discovery"}
"""What is still to come."""

ITEMS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("seed_items.toml").read_text())


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((HOME / path).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions)


def test_every_item_has_its_row() -> None:
    assert list(ITEMS) == [f"S{number:03}" for number in range(1, LAST + 1)]
    for name, row in ITEMS.items():
        assert row and row.keys() <= {"tests", "later"}, name


def test_every_item_is_shown_by_tests_that_exist_or_is_for_later() -> None:
    for name, row in ITEMS.items():
        assert row.get("tests") or row.get("later") in LATER, name
        assert row.get("later", "discovery") in LATER, name
        for test in row.get("tests", []):
            path, _, function = test.partition("::")
            assert function in functions_of(path), f"{name}: {test}"


def test_every_block_is_there_and_run_by_a_test() -> None:
    blocks = sorted(path.stem for path in SEED.glob("B*.txt"))
    later = {"B04", "B08", "B17", "B18", "B28"}
    assert set(blocks) >= {f"B{number:02}" for number in range(1, 35)} - later
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_seed*.py"))
    assert set(re.findall(r"(?:block|at)\(\"(B\d\d)\"", sources)) == set(blocks)


# B29


def commands() -> list[list[str]]:
    lines = [line.partition("#")[0].strip() for line in block("B29").splitlines()]
    return [shlex.split(line) for line in lines if line]


@cache
def collected(path: str) -> int:
    """Return how many tests pytest finds there."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", path],
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    found = re.search(r"(\d+) tests? collected", run.stdout)
    assert found, run.stdout[-2000:]
    return int(found.group(1))


@pytest.mark.integration
@pytest.mark.parametrize("command", commands(), ids=lambda command: command[1])
def test_b29_finds_tests_where_the_document_looks_for_them(command: list[str]) -> None:
    program, path, *flags = command
    assert program == "pytest" and flags in ([], ["-v"])
    assert collected(path) > 0


@pytest.mark.integration
def test_b29_finds_as_many_tests_as_the_document_counts() -> None:
    counted = re.findall(r"pytest (\S+) +# (\d+) \w+ tests", block("B29"))
    assert len(counted) == 4
    for path, count in counted:
        assert collected(path) >= int(count), path


def test_the_markers_of_the_document_are_registered(pytestconfig: pytest.Config) -> None:
    registered = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert {"integration", "requires_docker", "e2e"} <= registered


def test_whole_scenarios_mock_nothing() -> None:
    for folder in ("tests/integration", "tests/e2e"):
        for path in (HOME / folder).rglob("*.py"):
            assert "mock" not in path.read_text(encoding="utf-8").lower(), path


# What no block shows by itself


def test_kept_results_end_with_their_time() -> None:
    cache_ = ResultCache(ttl=300.0)
    cache_.put("calculate", 42, now=0.0)
    assert cache_.get("calculate", now=299.9) == (True, 42)
    assert cache_.get("calculate", now=300.0) == (False, None)


@pytest.mark.anyio
async def test_the_name_of_the_config_is_shown_to_the_server(join: Join, revision: str) -> None:
    server = MCPServer("seen")

    @server.tool
    def who(ctx: Context) -> str:
        return str(ctx.client_info.name)

    config = {"name": "ai-client", "transport": "memory", "server": server}
    async with MCPClient(config, revisions=[revision]) as client:
        assert (await client.call_tool("who")).data == "ai-client"
    async with join(server, revision, client_info=Implementation(name="other", version="1")) as client:
        assert (await client.call_tool("who")).data == "other"
