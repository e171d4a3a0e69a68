"""Questions: how long from process start to the first answered call; what do import and a running server weigh?"""

import compileall
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .bench_stdio import Peer
from .harness import Figure
from .loads import INITIALIZE, INITIALIZED, call


def prepare() -> None:
    """Compile our packages as an installation does; a changed checkout would compile at each start."""
    home = Path(__file__).parent.parent
    for package in ("protocol", "kailash"):
        compileall.compile_dir(home / package, quiet=1)


def first_call(name: str, command: Sequence[str], *, rounds: int, cwd: str | None = None) -> Figure:
    """Return milliseconds from starting the process to the first answered `tools/call`, handshake included."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        peer = Peer(command, cwd)
        try:
            peer.write(INITIALIZE)
            peer.read_line()
            peer.write(INITIALIZED + call(1))
            peer.read_line()
            best = min(best, time.perf_counter() - started)
        finally:
            peer.close()
    return Figure("start to first call", name, best * 1e3, "ms")


def imports(rounds: int) -> list[Figure]:
    """Return what `import kailash.mcp_server` and its MCPServer cost: milliseconds over a bare interpreter, and MB."""
    code = (
        "import time; t = time.perf_counter(); from kailash.mcp_server import MCPServer; "
        "print((time.perf_counter() - t) * 1e3, "
        "[l for l in open('/proc/self/status') if l.startswith('VmRSS')][0].split()[1])"
    )
    taken, size = float("inf"), float("inf")
    for _ in range(rounds):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
        )
        milliseconds, kilobytes = map(float, run.stdout.split())
        taken, size = min(taken, milliseconds), min(size, kilobytes)
    return [
        Figure("import kailash.mcp_server", "ours", taken, "ms"),
        Figure("resident after it", "ours", size / 1024, "MB"),
    ]
