"""How long calls take over HTTP at a fixed rate, from when each was due: coordinated omission is accounted for."""

from collections.abc import Callable
from dataclasses import replace
from statistics import median

from .harness import Figure, Plan, Sample, figures_of, take_turns
from .paced import Pace, paced
from .processes import WebServer
from .subjects import web_servers
from .webload import Requests, in_session, serving

MEDIAN, TAIL = "http at a fixed rate, 2025-11-25, p50", "http at a fixed rate, 2025-11-25, p99"
RATES = (200, 1000, 4000)


def run(plan: Plan) -> list[Figure]:
    """Measure at each rate; who leaves some unanswered is spared the higher ones."""
    commands = web_servers(plan.against)
    seconds = plan.seconds * 2
    figures: list[Figure] = []
    with serving(commands) as servers:
        requests = {name: in_session(server.port) for name, server in servers.items()}
        for rate in RATES:
            pace = Pace(rate, seconds)
            turns = {name: _turn(servers[name], each, pace) for name, each in requests.items()}
            for turn in turns.values():
                turn()  # warms up
            found = take_turns(turns, plan)
            figures += figures_of(MEDIAN, found, "ms", is_less_better=True, at=rate, axis="calls/s")
            tails = {
                name: [replace(sample, value=sample.detail["p99"]) for sample in samples]
                for name, samples in found.items()
            }
            figures += figures_of(TAIL, tails, "ms", is_less_better=True, at=rate, axis="calls/s")
            requests = {
                name: each for name, each in requests.items() if not median(s.detail["unanswered"] for s in found[name])
            }
    return figures


def _turn(server: WebServer, requests: Requests, pace: Pace) -> Callable[[], Sample]:
    count = max(10, int(pace.rate * pace.seconds))
    return lambda: paced(server.port, requests.make(count), pace)
