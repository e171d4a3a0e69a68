"""The foreign implementations: each is installed on first use, in an environment of its own under `.peers/`.

To add one: a row of `PEERS`, and its scripts in `peers/`.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conformance.install import REPOSITORY, install_packages

__all__ = ["AGAINST", "PEERS", "Peer", "node_script", "python_of", "versions"]

HOME = REPOSITORY / ".peers"
SCRIPTS = Path(__file__).with_name("peers")
_LOCKED_NPM = REPOSITORY / "tests" / "interop" / "npm"
_STAMP = ".complete"
_BUILD_SECONDS = 600


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
    """Return the interpreter of a Python peer's environment; it is built if nobody has."""
    peer = PEERS[name]
    # The names are those of the interop tests, so that both share what is built.
    package, _, number = peer.requirement.partition("==")
    place = HOME / f"{package.partition('[')[0]}-{number}{'-ws' if '[ws]' in package else ''}"
    if not (place / _STAMP).exists():
        HOME.mkdir(exist_ok=True)
        with _locked(place):
            if not (place / _STAMP).exists():
                _build(place, peer.requirement)
    return str(place / "bin" / "python")


def _build(place: Path, requirement: str) -> None:
    print(f"installing {requirement} into {place}", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement],
    ):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr[-2000:]}")
    (place / _STAMP).touch()


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    with place.with_name(f"{place.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # runs at the same time wait for each other
        yield


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
