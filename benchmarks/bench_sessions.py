"""Questions: how many calls a second in a session of 2025-11-25; and what do a thousand idle sessions weigh?"""

from collections.abc import Sequence

from .harness import FLOOR, Figure, wanted
from .subjects import WebServer, load_core, streaming, web_servers
from .webload import Requests, Wire, contest, end_session, open_session

CALLS = "http, a 2025-11-25 session, 16 connections"
MEMORY = "memory of an idle session"


def run(against: Sequence[str], *, rounds: int, calls: int = 40_000, sessions: int = 1000) -> list[Figure]:
    """Measure; all connections use one session."""
    commands = web_servers(against)
    shares = {"ours": 2, "bare (floor)": 1, "typescript": 4}
    contestants = {**commands, **streaming(commands)}
    counts = {name: calls // shares.get(name, 20) for name in contestants}
    found = contest(contestants, counts, _in_session, b'"hello"', rounds=rounds)
    goals = {"ours": wanted(10)}
    rates = [
        Figure(CALLS, name, best.rate, "calls/s", {**goals.get(name, {}), **best.busy}) for name, best in found.items()
    ]
    return rates + [_weight(name, command, sessions) for name, command in commands.items() if name != FLOOR]


def _in_session(port: int) -> Requests:
    with Wire(port) as wire:
        return Requests(port, open_session(wire))


def _weight(name: str, command: Sequence[str], count: int) -> Figure:
    """Measure in a fresh process; its first sessions fill what all share."""
    with WebServer(command) as server, load_core(), Wire(server.port) as wire:

        def fill(count: int) -> int:
            """Return the memory in use with this many sessions open, then end them."""
            sessions = [open_session(wire) for _ in range(count)]
            resident = server.resident
            for session in sessions:
                end_session(wire, session)
            return resident

        fill(max(1, count // 10))
        before = server.resident
        full = fill(count)
        ended = server.resident
        again = fill(count)
    goal = {"at most": 10.0} if name == "ours" else {}
    detail = {**goal, "kept when ended": (ended - before) / count, "more the second time": (again - full) / count}
    return Figure(MEMORY, name, (full - before) / count, "kB", detail)
