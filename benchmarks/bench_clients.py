"""How many calls a second a client makes, one at a time, of a server that costs next to nothing."""

import json
import subprocess
from collections.abc import Callable, Sequence

from .harness import CORES, FLOOR, Figure, Plan, Sample, figures_of, take_turns
from .peering import PEERS, python_of, speaking
from .processes import WebServer, load_core
from .subjects import peer

TABLES = {"stdio": "client, stdio, one at a time", "http": "client, http, one at a time"}
_EXPECTED = {"ours": 3000, FLOOR: 8000}
"""Calls a second, roughly: how many fill a round."""


def run(plan: Plan) -> list[Figure]:
    """Measure; the clients are processes beside the server's core. `mcp` 1.x has another client, not compared."""
    commands = {"ours": peer("client_kailash.py"), FLOOR: peer("client_bare.py")}
    for name in speaking(plan.against, "client"):
        commands[PEERS[name].name] = peer("client_mcp.py", python=python_of(name))
    figures: list[Figure] = []
    with WebServer(peer("bare_http.py")) as server:
        targets = {"stdio": peer("bare.py", f"--core={CORES[0]}"), "http": [server.url]}
        for kind, target in targets.items():
            turns = {name: _turn(command, name, target, plan) for name, command in commands.items()}
            figures += figures_of(TABLES[kind], take_turns(turns, plan), "calls/s")
    return figures


def _turn(command: Sequence[str], name: str, target: Sequence[str], plan: Plan) -> Callable[[], Sample]:
    count = max(10, int(_EXPECTED.get(name, 600) * plan.seconds))

    def turn() -> Sample:
        with load_core():
            done = subprocess.run(
                [*command, str(count), *target], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
            )
        if done.returncode:
            raise RuntimeError(f"{command!r} exited with {done.returncode}:\n{done.stderr[-2000:]}")
        found: dict[str, float] = json.loads(done.stdout)
        return Sample(found.pop("rate"), found)

    return turn
