"""`/metrics` of two processes on one port: one tells of both, and what a killed one counted stays counted."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..transports.peer import Peer

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
HOME = Path(__file__).resolve().parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Served:
    def __init__(self, workers: int) -> None:
        flags = ["--transport", "http", "--port", "0", "--workers", str(workers)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.transports.web_program", *flags],
            cwd=HOME,
            env={**os.environ, "SERVER_OPTIONS": json.dumps({"enable_metrics": True})},
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        found = re.search(r":(\d+)/", self.process.stderr.readline().decode())
        assert found is not None
        self.port = int(found[1])
        self.told: dict[str, float] = {}

    async def call(self, tool: str) -> str:
        """Call a tool on a connection of its own, which any of the workers may get."""
        peer = await Peer.connect(self.port)
        await peer.call(tool, {"message": "x"} if tool == "echo" else {})
        status, _, body = await peer.response()
        await peer.close()
        assert status == 200
        return str(json.loads(body)["result"]["content"][0]["text"])

    async def scrape(self) -> dict[str, float]:
        """Return what one of the workers tells; no counter may be below what was told before."""
        peer = await Peer.connect(self.port)
        await peer.get("/metrics")
        status, headers, body = await peer.response()
        await peer.close()
        assert status == 200 and headers["content-type"].startswith("text/plain")
        counters = {}
        gauges = {}
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                key = ",".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))])
                (gauges if family.type == "gauge" else counters)[key] = sample.value
        assert all(counters[key] >= value for key, value in self.told.items())
        self.told = counters
        return {**counters, **gauges}

    async def line(self) -> str:
        """Return the next line of what the processes say."""
        assert self.process.stderr is not None
        return (await anyio.to_thread.run_sync(self.process.stderr.readline)).decode()


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served(2)
    yield served
    served.process.send_signal(signal.SIGTERM)
    served.process.communicate(timeout=30)


ECHOED = "kailash_mcp_requests_total,kind=tool,name=echo,outcome=ok"
ASKED = "kailash_mcp_requests_total,kind=tool,name=whoami,outcome=ok"


async def test_counters_are_those_of_all_workers_and_never_go_back(served: Served) -> None:
    echoed = asked = 0
    killed: set[str] = set()
    for round_ in range(3):
        pids: set[str] = set()
        with anyio.fail_after(30):
            while len(pids) < 2:
                pids.add(await served.call("whoami"))
                asked += 1
        for _ in range(20):
            await served.call("echo")
            echoed += 1
        for _ in range(6):  # by either worker
            found = await served.scrape()
            assert found[ECHOED] == found["kailash_mcp_request_duration_seconds_count,kind=tool,name=echo"] == echoed
            assert found[ASKED] == asked
        assert found["kailash_mcp_in_flight"] == found["kailash_mcp_sessions"] == 0
        if round_ < 2:
            victim = pids.pop()
            assert victim not in killed
            killed.add(victim)
            os.kill(int(victim), signal.SIGKILL)
            # What was connected to the dead worker is reset; the next connections are the other's, then the new one's.
            with anyio.fail_after(20):
                while "is replaced" not in await served.line():
                    pass  # a new first worker says where it serves
            assert (await served.scrape())[ECHOED] == echoed
