"""How long calls take at a fixed rate, from when each was due: coordinated omission is accounted for."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from .harness import Figure, Plan, Sample, figures_of, take_turns
from .lineload import greet
from .paced import Pace, PacedLines, paced
from .processes import Lines, WebServer, load_core
from .subjects import servers, web_servers
from .webload import Requests, in_session, serving

HTTP, STDIO = "http at a fixed rate, 2025-11-25", "stdio at a fixed rate, 2025-11-25"
RATES = (200, 1000, 4000)

Turn = Callable[[Pace], Sample]


def run(plan: Plan) -> list[Figure]:
    """Measure at each rate; who leaves some unanswered is spared the higher ones."""
    figures: list[Figure] = []
    with serving(web_servers(plan.against)) as web:
        figures += _at_rates(HTTP, {name: _over_http(server) for name, server in web.items()}, plan)
    with ExitStack() as stack:
        peers = {name: stack.enter_context(Lines(command)) for name, command in servers(plan.against).items()}
        stack.enter_context(load_core())
        for each in peers.values():
            greet(each)
        figures += _at_rates(STDIO, {name: PacedLines(each).run for name, each in peers.items()}, plan)
    return figures


def _at_rates(table: str, turns: Mapping[str, Turn], plan: Plan) -> list[Figure]:
    figures: list[Figure] = []
    for rate in RATES:
        pace = Pace(rate, plan.seconds * 2)
        for turn in turns.values():
            turn(pace)  # warms up
        found = take_turns({name: _at(turn, pace) for name, turn in turns.items()}, plan)
        tails = {
            name: [replace(sample, value=sample.detail["p99"]) for sample in samples] for name, samples in found.items()
        }
        for share, samples in (("p50", found), ("p99", tails)):
            figures += figures_of(f"{table}, {share}", samples, "ms", is_less_better=True, at=rate, axis="calls/s")
        turns = {
            name: turn
            for name, turn in turns.items()
            if not median(sample.detail["unanswered"] for sample in found[name])
        }
    return sorted(figures, key=lambda figure: figure.table)


def _at(turn: Turn, pace: Pace) -> Callable[[], Sample]:
    return lambda: turn(pace)


def _over_http(server: WebServer) -> Turn:
    requests: Requests = in_session(server.port)

    def turn(pace: Pace) -> Sample:
        return paced(server.port, requests.make(max(10, int(pace.rate * pace.seconds))), pace)

    return turn
