"""How many calls with arguments of 1 kB to 10 MB a second, echoed, over HTTP on 16 connections (4 from 1 MB on)."""

from .harness import FLOOR, Figure, Plan, contest, figures_of
from .peering import speaking
from .subjects import web_servers
from .webload import Requests, serving, web_turn

TABLE = "http, arguments echoed, 2026-07-28"
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
LARGE = 1_000_000
_TEXT = b"The quick brown fox jumps over the lazy dog. "


def run(plan: Plan) -> list[Figure]:
    """Measure; peers stop at 1 MB."""
    commands = web_servers(speaking(plan.against, "envelope"), "--largest=33554432")
    figures: list[Figure] = []
    with serving(commands) as servers:
        for size in SIZES[: plan.sized(len(SIZES), 4)]:
            text = _TEXT * (size // len(_TEXT))
            connections = 4 if size >= LARGE else 16
            turns = {
                name: web_turn(server, Requests(server.port, arguments=b'{"message":"%b"}' % text), text, connections)
                for name, server in servers.items()
                if size <= LARGE or name in ("ours", FLOOR)
            }
            found = contest(turns, plan, first=connections)
            figures += figures_of(TABLE, found, "calls/s", at=size, axis="bytes")
    return figures
