"""The foreign implementations: each is installed on first use, in an environment of its own under `.peers/`.

To add one: a row of `PEERS`, and its scripts in `peers/`.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conformance.environments import HOME, ROOT, make_venv
from conformance.install import install_packages

__all__ = ["AGAINST", "PEERS", "Peer", "node_script", "python_of", "versions"]

SCRIPTS = Path(__file__).with_name("peers")
_LOCKED_NPM = ROOT / "tests" / "interop" / "npm"


@dataclass(frozen=True)
class Peer:
    """One foreign implementation."""

    name: str
    """As tables call it, with its version."""
    requirement: str
    """What pip installs; empty: a package of npm, from the lock file of the interop tests."""
    speaks: frozenset[str]
    """Which of `stdio`, `http` (sessions), `envelope` (2026-07-28 over HTTP), `websocket`, `client` it can."""


PEERS = {
    "mcp": Peer("mcp 2.3.0", "mcp==2.3.0", frozenset({"stdio", "http", "envelope", "client"})),
    "mcp1": Peer("mcp 1.30.0", "mcp[ws]==1.30.0", frozenset({"stdio", "http", "websocket"})),
    "fastmcp": Peer("fastmcp 4.2.3", "fastmcp==4.2.3", frozenset({"stdio", "http"})),
    "typescript": Peer("typescript 1.32.2", "", frozenset({"stdio", "http"})),
}
AGAINST = tuple(PEERS)


def speaking(against: Sequence[str], what: str) -> list[str]:
    """Return those of the peers that speak something."""
    return [name for name in against if what in PEERS[name].speaks]


@cache
def python_of(name: str) -> str:
    """Return the interpreter of a Python peer's environment; it is built if nobody has.

    Raises:
        Unavailable: the registry does not answer.
    """
    requirement = PEERS[name].requirement
    # The names are those of the interop tests, so that both share what is built.
    package, _, number = requirement.partition("==")
    place = f"{package.partition('[')[0]}-{number}{'-ws' if '[ws]' in package else ''}"
    return str(make_venv(place, [requirement]))


@cache
def _npm() -> tuple[str, Path]:
    home = HOME / "interop"
    return str(install_packages(_LOCKED_NPM, home)), home


def node_script(script: str, *arguments: str) -> list[str]:
    """Return the command of a script of `peers/` under Node, with the packages at hand."""
    node, home = _npm()
    # Packages are looked for beside the script, so it is laid beside them.
    placed = home / f"kailash-bench-{script}"
    fresh = placed.with_suffix(f".{os.getpid()}")
    shutil.copy(SCRIPTS / script, fresh)
    fresh.replace(placed)
    return [node, str(placed), *arguments]


def versions(against: Sequence[str]) -> dict[str, str]:
    """Return what each peer runs on, by its name; installs what is missing."""
    found = {}
    for name in against:
        peer = PEERS[name]
        interpreter = python_of(name) if peer.requirement else _npm()[0]
        said = subprocess.run([interpreter, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        found[peer.name] = said if peer.requirement else f"Node {said}"
    return found
