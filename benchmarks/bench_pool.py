"""What it costs a call that its server is named in it, over one on a connection that is held.

In one process and without a socket: what differs is only the pool's decision and its book-keeping.
"""

import time
from collections.abc import Awaitable, Callable

import anyio

from kailash.mcp_client import ClientConfig, MCPClient
from kailash.mcp_client.pool import Held
from kailash.mcp_server import MCPServer

from .harness import Figure, Plan, Sample, figures_of

TABLE = "pool, a call in memory"
HELD = "on a held connection"


async def measure(plan: Plan) -> list[Figure]:
    """Measure; the two take turns."""
    server = MCPServer("bench")
    server.tool(name="echo", blocking=False)(_echo)
    url = "ws://127.0.0.1:9/mcp"
    found: dict[str, list[Sample]] = {HELD: [], "ours": []}
    async with MCPClient(server) as held, MCPClient() as pooled:
        # The same connection, for a call that names a server by its URL.
        place = Held(ClientConfig.of(url).key, held)
        pooled._pool._held[place] = None

        async def bound() -> None:
            await held.call_tool("echo", {"message": "x"})

        async def named() -> None:
            await pooled.call_tool(url, "echo", {"message": "x"})

        calls = max(20, int(plan.seconds * 10_000))
        for number in range(plan.rounds + 1):
            for name, one in ((HELD, bound), ("ours", named)):
                sample = Sample(await _time(one, calls))
                if number:  # the first one warms up
                    found[name].append(sample)
        del pooled._pool._held[place]
    return figures_of(TABLE, found, "µs a call", floors=dict.fromkeys(found, HELD), is_less_better=True)


async def _time(one: Callable[[], Awaitable[None]], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        await one()
    return (time.perf_counter() - started) / calls * 1e6


def _echo(message: str) -> str:
    return message


def run(plan: Plan) -> list[Figure]:
    """Measure in a loop."""
    return anyio.run(measure, plan)
