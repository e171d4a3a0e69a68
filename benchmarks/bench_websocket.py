"""How many `tools/call` echoes a second over one WebSocket, 64 in flight; and what an idle one weighs."""

import resource
from collections.abc import Callable, Sequence

from .harness import FLOOR, Figure, Plan, Sample, contest, figures_of, take_turns
from .peering import PEERS, python_of, speaking
from .processes import WebServer, load_core
from .subjects import peer
from .webload import serving
from .websocketload import WebSocketLine

TABLE = "websocket, 2025-11-25, 64 in flight on one connection"
MEMORY = "memory of an idle websocket"
IDLE = 1000


def run(plan: Plan) -> list[Figure]:
    """Measure; the 2.x line of the official SDK has no WebSocket."""
    commands = {
        "ours": peer("kailash_http.py", "--transport=websocket", "--port={port}"),
        FLOOR: peer("bare_ws.py", "--port={port}"),
    }
    for name in speaking(plan.against, "websocket"):
        python, known = python_of(name), PEERS[name].name
        commands[known] = peer("mcp_ws.py", "--port={port}", python=python)
        commands[f"{known}, without its log"] = peer("mcp_ws.py", "--port={port}", "--quiet=yes", python=python)
    with serving(commands) as servers:
        rates = contest({name: _turn(server) for name, server in servers.items()}, plan, first=64)
    weights = {name: _weighing(command, plan.sized(IDLE, 20)) for name, command in commands.items()}
    return [
        *figures_of(TABLE, rates, "calls/s"),
        *figures_of(MEMORY, take_turns(weights, plan.once()), "kB", is_less_better=True),
    ]


def _turn(server: WebServer) -> Callable[[int], Sample]:
    def turn(count: int) -> Sample:
        with WebSocketLine(server.port) as line:
            return line.run(count, server)

    return turn


def _weighing(command: Sequence[str], count: int) -> Callable[[], Sample]:
    """Return what measures connections that were opened and greeted, and say nothing."""

    def weigh() -> Sample:
        allow_files(count * 2)
        with WebServer(command) as server, load_core():
            first = [WebSocketLine(server.port) for _ in range(max(1, count // 10))]
            before = server.resident
            lines = [WebSocketLine(server.port) for _ in range(count)]
            full = server.resident
            for line in [*first, *lines]:
                line.close()
        return Sample((full - before) / count)

    return weigh


def allow_files(count: int) -> None:
    """Let this process, and what it starts, open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 200), hard), hard))
