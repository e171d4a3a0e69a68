"""Question: what does it cost a call that its server is named in it, over one on a connection that is held?

In one process and without a socket: what differs is only the pool's decision and its book-keeping.
"""

import time
from collections.abc import Awaitable, Callable

import anyio

from kailash.mcp_client import ClientConfig, MCPClient
from kailash.mcp_client.pool import Held
from kailash.mcp_server import MCPServer

from .harness import Figure

TARGET = 5.0
"""Microseconds."""


async def measure(rounds: int, calls: int) -> list[Figure]:
    """Measure; the two take turns, and the best round of each counts."""
    server = MCPServer("bench")
    server.tool(name="echo", blocking=False)(_echo)
    best = {"held": float("inf"), "ours": float("inf")}
    url = "ws://127.0.0.1:9/mcp"
    async with MCPClient(server) as held, MCPClient() as pooled:
        # The same connection, for a call that names a server by its URL.
        place = Held(ClientConfig.of(url).key, held)
        pooled._pool._held[place] = None

        async def bound() -> None:
            await held.call_tool("echo", {"message": "x"})

        async def named() -> None:
            await pooled.call_tool(url, "echo", {"message": "x"})

        for _ in range(rounds * 5):
            for name, one in (("held", bound), ("ours", named)):
                best[name] = min(best[name], await _time(one, calls))
        del pooled._pool._held[place]
    more = best["ours"] - best["held"]
    return [
        Figure("pool", "held", best["held"], "µs a call"),
        Figure("pool", "ours", best["ours"], "µs a call", {"over a held one": more, "target": TARGET}),
    ]


async def _time(one: Callable[[], Awaitable[None]], calls: int) -> float:
    await one()
    started = time.perf_counter()
    for _ in range(calls):
        await one()
    return (time.perf_counter() - started) / calls * 1e6


def _echo(message: str) -> str:
    return message


def run(rounds: int, *, calls: int = 2000) -> list[Figure]:
    """Measure in a loop."""
    return anyio.run(measure, rounds, calls)
