"""Question: how many `tools/call` echoes a second over HTTP, on 16 keep-alive connections, without a session?"""

from collections.abc import Sequence

from .harness import FLOOR, Figure, wanted
from .subjects import peer, streaming, web_servers
from .webload import Requests, contest

QUESTION = "http, 2026-07-28, 16 connections"


def run(against: Sequence[str], *, rounds: int, calls: int = 40_000) -> list[Figure]:
    """Measure; each codec has a floor of its own."""
    # The TypeScript SDK and `mcp` 1.x do not speak this revision.
    commands = web_servers([name for name in against if name == "mcp"])
    commands |= streaming(commands)
    commands["ours, h11"] = peer("kailash_http.py", "--codec=h11")
    commands["bare, h11 (floor)"] = peer("bare_http.py", "--codec=h11")
    commands["bare, h11 for parsing only"] = peer("bare_http.py", "--codec=h11-parsing")
    shares = {"ours": 2, "bare (floor)": 1, "ours, h11": 4, "bare, h11 (floor)": 4, "bare, h11 for parsing only": 4}
    counts = {name: calls // shares.get(name, 20) for name in commands}
    found = contest(commands, counts, Requests, b'"hello"', rounds=rounds)
    goals = {"ours": wanted(12, 0.30), "ours, h11": wanted(3.3, 0.72)}
    floors = {name: "bare, h11 (floor)" if "h11" in name else FLOOR for name in commands}
    return [
        Figure(QUESTION, name, best.rate, "calls/s", {**goals.get(name, {}), **best.busy}, floors[name])
        for name, best in found.items()
    ]
