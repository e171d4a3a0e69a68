"""Builds the foreign implementations, each in an environment of its own, once; see `conformance.environments`.

A registry that cannot be reached skips the test; any other failure fails it.
"""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from conformance.environments import HOME, Unavailable, built, make_venv, run_build
from conformance.install import install_packages

__all__ = ["autobahn_command", "everything_command", "inspector_command", "mcp_python", "node_command"]

SCRIPTS = Path(__file__).with_name("scripts")


def mcp_python(version: str, extra: str = "") -> str:
    """Return the interpreter of an environment that holds this version of `mcp`, with an extra of it."""
    name, package = (f"mcp-{version}-{extra}", f"mcp[{extra}]") if extra else (f"mcp-{version}", "mcp")
    try:
        return str(make_venv(name, [f"{package}=={version}"]))
    except Unavailable as error:
        pytest.skip(f"cannot build {name}: {error}")


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
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run_build([*pip, "--target", str(place), "autobahntestsuite==25.10.1"])


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


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """Return a built environment; build it if nobody has."""
    try:
        return built(name, build)
    except Unavailable as error:
        pytest.skip(f"cannot build {name}: {error}")
