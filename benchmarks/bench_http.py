"""How many `tools/call` echoes a second over HTTP, on 16 keep-alive connections, without a session, by both parsers."""

from .harness import FLOOR, Figure, Plan, figures_of
from .peering import speaking
from .subjects import peer, streaming, web_servers
from .webload import Requests, web_contest

TABLE = "http, 2026-07-28, 16 connections"
H11_FLOOR = "bare, h11 (floor)"


def run(plan: Plan) -> list[Figure]:
    """Measure; each parser has a floor of its own."""
    commands = web_servers(speaking(plan.against, "envelope"))
    commands |= streaming(commands)
    commands["ours, h11"] = peer("kailash_http.py", "--codec=h11")
    commands[H11_FLOOR] = peer("bare_http.py", "--codec=h11")
    commands["bare, h11 for parsing only"] = peer("bare_http.py", "--codec=h11-parsing")
    floors = {name: H11_FLOOR if "h11" in name else FLOOR for name in commands}
    found = web_contest(commands, plan, Requests, b'"hello"')
    return figures_of(TABLE, found, "calls/s", floors=floors)
