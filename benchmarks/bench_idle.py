"""What 1,000 and 10,000 idle sessions weigh, in bytes each, and how fast calls are answered among them."""

from .harness import FLOOR, Figure, Plan, Sample, figures_of
from .peering import speaking
from .subjects import web_servers
from .webload import Requests, Wire, open_session, serving, web_turn

WEIGHT = "idle sessions, bytes each"
CALLS = "calls in one session while others idle, 2025-11-25, 16 connections"
COUNTS = (1000, 10_000)


def run(plan: Plan) -> list[Figure]:
    """Measure in a fresh process each; the first hundred sessions fill what all share."""
    commands = web_servers(speaking(plan.against, "http"))
    figures: list[Figure] = []
    with serving(commands) as servers:
        for name, server in servers.items():
            opened = 0
            weights: list[tuple[int, float]] = []
            with Wire(server.port) as wire:
                for _ in range(plan.sized(100, 5)):
                    open_session(wire)
                before = server.resident
                for goal in COUNTS:
                    if goal > 1000 and name not in ("ours", FLOOR):
                        continue  # the peers' sessions take minutes to open
                    plan.tell(f"{name}, {goal:,} sessions")
                    goal = plan.sized(goal, 10)
                    while opened < goal:
                        session = open_session(wire)
                        opened += 1
                    weights.append((goal, (server.resident - before) * 1024 / opened))
                    rate = web_turn(server, Requests(server.port, session), b'"hello"', 16)
                    share = 8000 if name in ("ours", FLOOR) else 800
                    samples = [rate(plan.sized(share, 16)) for _ in range(plan.rounds)]
                    figures += figures_of(CALLS, {name: samples}, "calls/s", at=goal, axis="sessions")
            if name != FLOOR:  # it remembers none
                for goal, weight in weights:
                    found = {name: [Sample(weight)]}
                    figures += figures_of(WEIGHT, found, "B", is_less_better=True, at=goal, axis="sessions")
    return figures
