"""How HTTP throughput goes with one and with two worker processes, on 64 connections, in both eras.

The load takes a core too: on a machine of two cores two workers cannot do twice as much.
"""

from .harness import Figure, Plan, contest, figures_of
from .subjects import peer
from .webload import Requests, in_session, serving, web_turn

TABLES = {"workers, 2026-07-28, 64 connections": Requests, "workers, a 2025-11-25 session, 64 connections": in_session}
WORKERS = (1, 2)


def run(plan: Plan) -> list[Figure]:
    """Measure; nothing is pinned but the load."""
    commands = {}
    for count in WORKERS:
        commands[f"ours, {count}"] = peer("kailash_http.py", f"--workers={count}")
        commands[f"bare, {count}"] = peer("bare_http.py", "--port={port}", f"--workers={count}")
    floors = {name: f"bare, {name.rpartition(' ')[2]}" for name in commands}
    figures: list[Figure] = []
    with serving(commands, cores=2) as servers:
        for table, make in TABLES.items():
            turns = {name: web_turn(server, make(server.port), b'"hello"', 64) for name, server in servers.items()}
            figures += figures_of(table, contest(turns, plan, first=64), "calls/s", floors=floors)
    return figures
