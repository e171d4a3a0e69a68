"""What it costs an answer over HTTP to be an event stream (one progress notification and the result) and not JSON."""

from functools import partial

from .harness import Figure, Plan, contest, figures_of
from .peering import PEERS, speaking
from .subjects import web_servers
from .webload import Requests, Wire, open_session, serving, web_turn

TABLES = {"2026-07-28": "envelope", "2025-11-25": "http"}


def run(plan: Plan) -> list[Figure]:
    """Measure; 16 connections."""
    figures: list[Figure] = []
    for revision, needed in TABLES.items():
        commands = web_servers(speaking(plan.against, needed), streams=True)
        with serving(commands) as servers:
            turns = {}
            for name, server in servers.items():
                session = None
                if revision == "2025-11-25":
                    with Wire(server.port) as wire:
                        session = open_session(wire)
                make = partial(Requests, server.port, session)
                requests = make(tool=b"count", arguments=b'{"to":1}', token=True)
                turns[name] = web_turn(server, requests, b'"done"', 16)
                if name not in {each.name for each in PEERS.values()}:
                    turns[f"{name}, as JSON"] = web_turn(server, make(), b'"hello"', 16)
            found = contest(turns, plan, first=16)
        figures += figures_of(f"http, answers as event streams, {revision}, 16 connections", found, "calls/s")
    return figures
