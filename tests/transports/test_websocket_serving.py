"""`run()` over WebSockets as people use it: processes, flags, signals, workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from .wspeer import WSPeer

pytestmark = pytest.mark.anyio

HOME = Path(__file__).resolve().parents[2]
PROGRAM = HOME / "tests" / "interop" / "scripts" / "our_echo_server.py"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Served:
    """A server process."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *flags],
            cwd=HOME,
            env={**os.environ, "PYTHONPATH": str(HOME)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline().decode()
        found = re.search(r"ws://[^ ]+:(\d+)/ws", self.said)
        self.port = int(found[1]) if found else 0

    async def exit_status(self) -> int:
        with anyio.fail_after(30):
            return await anyio.to_thread.run_sync(self.process.wait)


Start = Callable[..., Served]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Served] = []

    def make(*flags: str) -> Served:
        running.append(Served(*flags))
        return running[-1]

    yield make
    for server in running:
        server.process.kill()
        server.process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_closes_with_1001_and_ends_well(start: Start, number: int) -> None:
    server = start("--transport", "websocket", "--port", "0")
    assert "serves ws://127.0.0.1:" in server.said
    async with await WSPeer.open(server.port, "/any/path") as peer:
        await peer.echo()
        server.process.send_signal(number)
        assert (await peer.ended()).code == 1001
    assert await server.exit_status() == 0


async def test_workers_share_the_port(start: Start) -> None:
    server = start("--transport", "websocket", "--port", "0", "--workers", "2")
    peers = [await WSPeer.open(server.port) for _ in range(12)]
    for peer in peers:
        await peer.echo()
    server.process.send_signal(signal.SIGTERM)
    for peer in peers:
        assert (await peer.ended()).code == 1001
        await peer.close()
    assert await server.exit_status() == 0
