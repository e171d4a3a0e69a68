"""How many `tools/call` echoes a second over HTTP, on 16 keep-alive connections, without a session, by both parsers."""

from collections.abc import Callable

from .harness import FLOOR, Figure, Plan, Sample, contest, figures_of
from .peering import speaking
from .processes import WebServer
from .subjects import peer, streaming, web_servers
from .webload import CONNECTIONS, Mixed, Requests, serving, web_turn

TABLE = "http, 2026-07-28, 16 connections"
H11_FLOOR = "bare, h11 (floor)"


def run(plan: Plan) -> list[Figure]:
    """Measure; each parser has a floor of its own. Clients repeat their heads, and a server may profit from that."""
    commands = web_servers(speaking(plan.against, "envelope"))
    commands |= streaming(commands)
    commands["ours, async tool"] = peer("kailash_http.py", "--codec=httptools", "--echo=async")
    commands["ours, thread tool"] = peer("kailash_http.py", "--codec=httptools", "--echo=thread")
    commands["ours, h11"] = peer("kailash_http.py", "--codec=h11")
    commands[H11_FLOOR] = peer("bare_http.py", "--codec=h11")
    commands["bare, h11 for parsing only"] = peer("bare_http.py", "--codec=h11-parsing")
    with serving(commands) as servers:
        turns = {name: _turn(server) for name, server in servers.items()}
        for name in ("ours", "ours, h11"):
            turns[f"{name}, no two heads alike"] = _turn(servers[name], varies=True)
        turns["ours, 60 lengths of arguments"] = _mixed(servers["ours"])
        found = contest(turns, plan, first=CONNECTIONS)
    floors = {name: H11_FLOOR if "h11" in name else FLOOR for name in found}
    return figures_of(TABLE, found, "calls/s", floors=floors)


def _mixed(server: WebServer) -> Callable[[int], Sample]:
    texts = [b"hello" + b"x" * length for length in range(0, 420, 7)]
    kinds = [Requests(server.port, arguments=b'{"message":"%b"}' % text) for text in texts]
    return web_turn(server, Mixed(kinds), b'"hello', CONNECTIONS)


def _turn(server: WebServer, *, varies: bool = False) -> Callable[[int], Sample]:
    return web_turn(server, Requests(server.port, varies=varies), b'"hello"', CONNECTIONS)
