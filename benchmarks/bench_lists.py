"""How many lists of 1,000 tools a second, over HTTP on 4 connections, in both eras."""

from collections.abc import Callable
from functools import partial

from .harness import Figure, Plan, figures_of
from .peering import speaking
from .subjects import web_servers
from .webload import Requests, Wire, open_session, web_contest

TABLE = "http, a list of 1,000 tools, 2026-07-28, 4 connections"
SESSION_TABLE = "http, a list of 1,000 tools, 2025-11-25, 4 connections"
TOOLS = 1000


def run(plan: Plan) -> list[Figure]:
    """Measure."""
    tools = plan.sized(TOOLS, 4) - 1
    figures: list[Figure] = []
    makes: tuple[tuple[str, str, Callable[[int], Requests]], ...] = (
        (TABLE, "envelope", partial(Requests, tool=None)),
        (SESSION_TABLE, "http", _in_session),
    )
    for table, needed, make in makes:
        # What the TypeScript SDK lists cannot be told from its command line.
        against = [name for name in speaking(plan.against, needed) if name != "typescript"]
        commands = web_servers(against, f"--tools={tools}")
        found = web_contest(commands, plan, make, b'"tool_%d"' % (tools - 1), connections=4)
        figures += figures_of(table, found, "lists/s")
    return figures


def _in_session(port: int) -> Requests:
    with Wire(port) as wire:
        return Requests(port, open_session(wire), tool=None)
