"""Many calls written at once: none is refused that is never in flight beside too many others."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPServer

COUNT = 300
PROGRAM = """
import anyio
from kailash.mcp_server import MCPServer

server = MCPServer("burst")

@server.tool(blocking=False)
def inline(number: int) -> int:
    return number

@server.tool
async def task(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return number

@server.tool
def thread(number: int) -> int:
    return number

@server.tool
async def slow(number: int) -> int:
    await anyio.sleep(0.03)
    return number

@server.tool
async def stuck(number: int) -> int:
    await anyio.sleep(2)
    return number

server.run()
"""
INITIALIZE = (
    '{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    '"clientInfo":{"name":"t","version":"1"}}}\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
)


def _calls(tool: str, count: int) -> str:
    return "".join(
        json.dumps({"jsonrpc": "2.0", "id": n, "method": "tools/call",
                    "params": {"name": tool, "arguments": {"number": n}}}) + "\n"
        for n in range(count)
    )  # fmt: skip


def _answers(tmp_path: Path, text: str) -> dict[object, dict[str, object]]:
    script = tmp_path / "burst.py"
    script.write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run([sys.executable, str(script)], input=text, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({each["id"] for each in found}) == len(found)
    return {each["id"]: each for each in found}


@pytest.mark.parametrize("tool", ["inline", "task", "thread", "slow"])
def test_calls_that_make_room_as_they_are_answered_are_never_too_many(tmp_path: Path, tool: str) -> None:
    found = _answers(tmp_path, INITIALIZE + _calls(tool, COUNT))
    del found["i"]
    assert {n: each["result"]["content"][0]["text"] for n, each in found.items()} == {n: str(n) for n in range(COUNT)}


def test_calls_that_stay_in_flight_are_refused_beyond_the_limit(tmp_path: Path) -> None:
    found = _answers(tmp_path, INITIALIZE + _calls("stuck", 70) + '{"jsonrpc":"2.0","id":"p","method":"ping"}\n')
    refused = [n for n, each in found.items() if each.get("error", {}).get("code") == 1503]
    assert refused == list(range(64, 70)) and found["p"]["result"] == {}
    assert [n for n, each in found.items() if n != "i" and "result" in each and n != "p"] == list(range(64))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_in_the_process_may_make_many_calls_at_once(backend: str) -> None:
    server = MCPServer("burst")

    @server.tool
    async def task(number: int) -> int:
        return number

    async def main() -> list[object]:
        async with MCPClient(server) as client:
            results = await client.call_tools([("task", {"number": n}) for n in range(COUNT)], max_concurrency=COUNT)
            return [result.text for result in results]

    assert anyio.run(main, backend=backend) == [str(n) for n in range(COUNT)]
