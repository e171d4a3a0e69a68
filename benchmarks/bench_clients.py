"""Question: how many calls a second does a client make, one at a time, of a server that costs next to nothing?"""

import json
import subprocess
from collections.abc import Sequence

from .harness import CORES, Figure, wanted
from .subjects import WebServer, load_core, mcp_versions, peer

QUESTIONS = {"stdio": "client, stdio, one at a time", "http": "client, http, one at a time"}
GOALS = {"stdio": wanted(3), "http": wanted(6)}


def run(against: Sequence[str], *, rounds: int, calls: int = 10_000) -> list[Figure]:
    """Measure; the clients are processes beside the server's core."""
    commands = {"ours": peer("client_kailash.py"), "bare (floor)": peer("client_bare.py")}
    if "mcp" in against:
        # `mcp` 1.x has another client, which is not compared.
        commands.update(
            (f"mcp {version}", peer("client_mcp.py", python=python))
            for version, python in mcp_versions(["mcp"]).items()
        )
    figures = []
    with WebServer(peer("bare_http.py")) as server:
        targets = {"stdio": peer("bare.py", f"--core={CORES[0]}"), "http": [server.url]}
        for kind, target in targets.items():
            for name, command in commands.items():
                count = max(10, calls if "bare" in name else calls // 2 if name == "ours" else calls // 10)
                found = _ask([*command, str(count), str(rounds), *target])
                goal = GOALS[kind] if name == "ours" else {}
                figures.append(Figure(QUESTIONS[kind], name, found.pop("rate"), "calls/s", {**goal, **found}))
    return figures


def _ask(command: Sequence[str]) -> dict[str, float]:
    with load_core():
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{command!r} exited with {done.returncode}:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
