"""How long it takes from starting a process to its first answered call, and to import the server's package."""

import compileall
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from conformance.install import REPOSITORY

from .harness import FLOOR, Figure, Plan, Sample, figures_of, take_turns
from .lineload import read_line
from .loads import INITIALIZE, INITIALIZED, call
from .peering import PEERS, python_of
from .processes import Lines, load_core
from .subjects import servers

TABLE = "start to first call, stdio"
IMPORT = "import of the server's package"
_IMPORTS = {"mcp": "from mcp.server import MCPServer", "mcp1": "from mcp.server.fastmcp import FastMCP"}
_TIMED = "import time; t = time.perf_counter(); {}; print((time.perf_counter() - t) * 1e3)"


def run(plan: Plan) -> list[Figure]:
    """Measure; the floor starts an interpreter with a JSON decoder, that of imports is the decoder."""
    compile_ours()
    starts = {name: _first_call(command) for name, command in servers(plan.against).items()}
    imports = {
        "ours": _import(sys.executable, "from kailash.mcp_server import MCPServer; MCPServer"),
        FLOOR: _import(sys.executable, "import msgspec"),
    }
    for name, code in _IMPORTS.items():
        if name in plan.against:
            imports[PEERS[name].name] = _import(python_of(name), code)
    if "fastmcp" in plan.against:
        imports[PEERS["fastmcp"].name] = _import(python_of("fastmcp"), "from fastmcp import FastMCP")
    return [
        *figures_of(TABLE, take_turns(starts, plan), "ms", is_less_better=True),
        *figures_of(IMPORT, take_turns(imports, plan), "ms", is_less_better=True),
    ]


def compile_ours() -> None:
    """Compile our packages as an installation does; a changed checkout would compile at each start."""
    for package in ("protocol", "kailash"):
        compileall.compile_dir(REPOSITORY / package, quiet=1)


def _first_call(command: Sequence[str]) -> Callable[[], Sample]:
    def turn() -> Sample:
        with load_core():
            started = time.perf_counter()
            with Lines(command) as lines:
                lines.write(INITIALIZE)
                read_line(lines)
                lines.write(INITIALIZED + call(1))
                said = read_line(lines)
                taken = time.perf_counter() - started
        if b'"hello"' not in said:
            raise RuntimeError(f"{command!r} answered {said[:500]!r}")
        return Sample(taken * 1e3)

    return turn


def _import(python: str, code: str) -> Callable[[], Sample]:
    def turn() -> Sample:
        done = subprocess.run(
            [python, "-c", _TIMED.format(code)], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        return Sample(float(done.stdout))

    return turn
