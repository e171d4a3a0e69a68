"""How HTTP throughput goes on asyncio, uvloop and trio; each event loop has a floor of its own."""

from .harness import Figure, Plan, figures_of
from .subjects import peer
from .webload import Requests, web_contest

TABLE = "http by event loop, 2026-07-28, 16 connections"
LOOPS = ("asyncio", "uvloop", "trio")


def run(plan: Plan) -> list[Figure]:
    """Measure; of all implementations only ours runs on trio."""
    commands = {}
    for loop in LOOPS:
        commands[f"ours, {loop}"] = peer("kailash_http.py", "--codec=httptools", f"--loop={loop}")
        is_trio = loop == "trio"
        commands[f"bare, {loop}"] = peer("bare_trio.py") if is_trio else peer("bare_http.py", f"--loop={loop}")
    floors = {name: f"bare, {name.rpartition(' ')[2]}" for name in commands}
    return figures_of(TABLE, web_contest(commands, plan, Requests, b'"hello"'), "calls/s", floors=floors)
