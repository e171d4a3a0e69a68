"""Builds the foreign implementations, each in an environment of its own under `.peers/`, once.

Parallel runs wait for each other on a file lock; a stamp file, written last, says that a build is complete. A registry
that cannot be reached skips the test; any other failure fails it.
"""

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from conformance.install import Unavailable, install_packages

__all__ = ["autobahn_command", "everything_command", "inspector_command", "mcp_python", "node_command"]

HOME = Path(__file__).parents[2] / ".peers"
SCRIPTS = Path(__file__).with_name("scripts")

_STAMP = ".complete"
_BUILD_SECONDS = 540

# What pip and npm print when the registry, rather than the package, is the trouble.
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|NameResolutionError|ProtocolError"
    r"|name resolution|Network is unreachable|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ECONNRESET"
)


class Unreachable(Exception):
    """Says that a package registry does not answer."""


def mcp_python(version: str, extra: str = "") -> str:
    """Return the interpreter of an environment that holds this version of `mcp`, with an extra of it."""
    name, package = (f"mcp-{version}-{extra}", f"mcp[{extra}]") if extra else (f"mcp-{version}", "mcp")
    return str(_built(name, lambda place: _make_venv(place, f"{package}=={version}")) / "bin" / "python")


def everything_command(transport: str) -> list[str]:
    """Return the command line that runs server-everything: `stdio`, `streamableHttp` or `sse`."""
    return [_npm().node, str(_npm().scope / "server-everything" / "dist" / "index.js"), transport]


def inspector_command() -> list[str]:
    """Return the command line that runs the Inspector without a browser."""
    return [_npm().node, str(_npm().scope / "inspector" / "clients" / "launcher" / "build" / "index.js"), "--cli"]


def node_command(script: str) -> list[str]:
    """Return the command line that runs a script of ours with the npm packages at hand."""
    # Packages are looked for beside the script: it is run as if it were where they are.
    link = _npm().home / "scripts"
    if not link.is_symlink():
        with suppress(FileExistsError):  # another run was faster
            link.symlink_to(SCRIPTS, target_is_directory=True)
    return [_npm().node, "--preserve-symlinks", "--preserve-symlinks-main", str(link / script)]


def autobahn_command(mode: str, spec: Path) -> list[str]:
    """Return the command line of the Autobahn test suite, which needs a Python 2.7."""
    python = _python2()
    place = _built("autobahn-25.10.1", lambda place: _install_autobahn(python, place))
    # A folder, not an environment: `virtualenv` is not at hand. Its `.pth` files count all the same.
    start = f"import site; site.addsitedir({str(place)!r}); from autobahntestsuite.wstest import run; run()"
    return [python, "-u", "-c", start, "-m", mode, "-s", str(spec), "-u", "0"]


@cache
def _python2() -> str:
    homes = sorted(Path.home().glob(".pyenv/versions/2.7.*/bin/python"))
    for found in [shutil.which("python2.7"), *map(str, homes)]:
        # What pyenv puts on the path may be nothing but the wish for an interpreter.
        if (
            found
            and subprocess.run([found, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
        ):
            return found
    pytest.skip("the Autobahn test suite needs a Python 2.7 with pip, and there is none")


def _install_autobahn(python: str, place: Path) -> None:
    package = "autobahntestsuite==25.10.1"
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(place), package])


class _Packages(NamedTuple):
    """Where the npm packages are, and what runs them."""

    node: str
    home: Path

    @property
    def scope(self) -> Path:
        return self.home / "node_modules" / "@modelcontextprotocol"


@cache
def _npm() -> _Packages:
    home = HOME / "interop"
    try:
        return _Packages(str(install_packages(Path(__file__).with_name("npm"), home)), home)
    except Unavailable as error:
        pytest.skip(str(error))


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


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
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
