"""How HTTP throughput goes with 1, 16, 64 and 256 connections, in both eras and with both parsers."""

from .bench_http import H11_FLOOR
from .harness import FLOOR, Figure, Plan, contest, figures_of
from .subjects import peer, web_servers
from .webload import Requests, in_session, serving, web_turn

TABLES = {
    "http, 2026-07-28, by connections": (Requests, ("mcp",)),
    "http, 2025-11-25 sessions, by connections": (in_session, ("mcp", "typescript")),
}
COUNTS = (1, 16, 64, 256)


def run(plan: Plan) -> list[Figure]:
    """Measure; the peers are those that speak the era."""
    figures: list[Figure] = []
    for table, (make, known) in TABLES.items():
        commands = web_servers([name for name in plan.against if name in known])
        commands["ours, h11"] = peer("kailash_http.py", "--codec=h11")
        commands[H11_FLOOR] = peer("bare_http.py", "--codec=h11")
        floors = {name: H11_FLOOR if "h11" in name else FLOOR for name in commands}
        with serving(commands) as servers:
            requests = {name: make(server.port) for name, server in servers.items()}
            for count in COUNTS[: plan.sized(len(COUNTS))]:
                turns = {name: web_turn(server, requests[name], b'"hello"', count) for name, server in servers.items()}
                found = contest(turns, plan, first=count)
                figures += figures_of(table, found, "calls/s", floors=floors, at=count, axis="connections")
    return figures
