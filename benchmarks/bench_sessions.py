"""How many calls a second in a session of 2025-11-25, on 16 connections; and what a thousand idle sessions weigh."""

from collections.abc import Callable, Sequence

from .harness import FLOOR, Figure, Plan, Sample, figures_of, take_turns
from .processes import WebServer, load_core
from .subjects import streaming, web_servers
from .webload import Wire, end_session, in_session, open_session, web_contest

CALLS = "http, a 2025-11-25 session, 16 connections"
MEMORY = "memory of an idle session"
IDLE = 1000


def run(plan: Plan) -> list[Figure]:
    """Measure; all connections use one session."""
    commands = web_servers(plan.against)
    found = web_contest({**commands, **streaming(commands)}, plan, in_session, b'"hello"')
    count = plan.sized(IDLE, 50)
    weights = {name: _weighing(command, count) for name, command in commands.items() if name != FLOOR}
    return [
        *figures_of(CALLS, found, "calls/s"),
        *figures_of(MEMORY, take_turns(weights, plan.once()), "kB", is_less_better=True),
    ]


def _weighing(command: Sequence[str], count: int) -> Callable[[], Sample]:
    """Return what measures in a fresh process; its first sessions fill what all share."""

    def weigh() -> Sample:
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
        detail = {"kept when ended": (ended - before) / count, "more the second time": (again - full) / count}
        return Sample((full - before) / count, detail)

    return weigh
