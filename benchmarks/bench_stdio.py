"""How many calls a second over stdio, 64 in flight; and how long one call at a time takes. Floor: a read-write loop."""

from collections.abc import Callable
from contextlib import ExitStack

from .harness import Figure, Plan, Sample, contest, figures_of
from .lineload import WINDOW, greet, latency, throughput
from .loads import ENVELOPE
from .processes import Lines, load_core
from .subjects import peer, servers

MANY, ONE = f"stdio, {WINDOW} in flight", "stdio, one at a time"
ENVELOPED = "ours, 2026-07-28"


def run(plan: Plan) -> list[Figure]:
    """Measure; in 2025-11-25, which all speak."""
    commands = servers(plan.against)
    commands[ENVELOPED] = commands["ours"]
    commands["ours, async tool"] = peer("kailash_async.py")
    commands["ours, thread tool"] = peer("kailash_thread.py")
    metas = {name: ENVELOPE if name == ENVELOPED else b"" for name in commands}
    with ExitStack() as stack:
        peers = {name: stack.enter_context(Lines(command)) for name, command in commands.items()}
        stack.enter_context(load_core())
        for name, each in peers.items():
            if not metas[name]:
                greet(each)
        many = {name: _many(each, metas[name]) for name, each in peers.items()}
        one = {name: _one(each, metas[name]) for name, each in peers.items()}
        rates = contest(many, plan, first=WINDOW)
        times = contest(one, plan, first=20, rate_of=lambda sample: 1e6 / sample.value)
    return [*figures_of(MANY, rates, "calls/s"), *figures_of(ONE, times, "µs p50", is_less_better=True)]


def _many(lines: Lines, meta: bytes) -> Callable[[int], Sample]:
    return lambda count: throughput(lines, lines, count, meta)


def _one(lines: Lines, meta: bytes) -> Callable[[int], Sample]:
    return lambda count: latency(lines, count, meta)
