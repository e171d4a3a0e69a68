"""How many calls a second over TCP and Unix sockets, 64 in flight, and how long one takes; beside stdio's pipes."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .harness import Figure, Plan, Sample, contest, figures_of
from .lineload import WINDOW, LineSocket, greet, latency, throughput
from .processes import WebServer, load_core
from .subjects import peer

MANY, ONE = f"sockets, {WINDOW} in flight", "sockets, one at a time"


def run(plan: Plan) -> list[Figure]:
    """Measure, in 2025-11-25; the peers have no such transports."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
        ours = WebServer(peer("kailash_http.py", "--transport=tcp"))
        servers = {"ours, tcp": stack.enter_context(ours)}
        servers["bare, tcp"] = stack.enter_context(WebServer(peer("bare.py", "--port=0")))
        for name, script, more in (("ours", "kailash_http.py", ["--transport=unix"]), ("bare", "bare.py", [])):
            path = str(home / name)
            served = WebServer(peer(script, *more, f"--path={path}"), path=path)
            servers[f"{name}, unix"] = stack.enter_context(served)
        stack.enter_context(load_core())
        lines = {name: stack.enter_context(LineSocket(server.path or server.port)) for name, server in servers.items()}
        for each in lines.values():
            greet(each)
        rates = contest({name: _many(lines[name], servers[name]) for name in servers}, plan, first=WINDOW)
        turns = {name: _one(each) for name, each in lines.items()}
        times = contest(turns, plan, first=20, rate_of=lambda sample: 1e6 / sample.value)
    floors = {name: f"bare, {name.rpartition(' ')[2]}" for name in servers}
    return [
        *figures_of(MANY, rates, "calls/s", floors=floors),
        *figures_of(ONE, times, "µs p50", floors=floors, is_less_better=True),
    ]


def _many(line: LineSocket, server: WebServer) -> Callable[[int], Sample]:
    return lambda count: throughput(line, server, count)


def _one(line: LineSocket) -> Callable[[int], Sample]:
    return lambda count: latency(line, count)
