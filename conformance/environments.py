"""Environments for foreign implementations, each built once into a folder of its own.

Runs at the same time wait for each other on a file lock; a stamp, written last, says that a build is complete. In a
checkout they are under `.peers/`, which git ignores; after an install in the user's cache.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["HOME", "ROOT", "Unavailable", "built", "make_venv", "run_build"]

ROOT = Path(__file__).parents[(__package__ or "").count(".") + 1]
"""The folder that the judge's package is imported from: the checkout, or where packages are installed."""

_STAMP = ".complete"
_BUILD_SECONDS = 540

# What pip and npm print when the registry, rather than the package, is the trouble.
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|NameResolutionError|ProtocolError"
    r"|name resolution|Network is unreachable|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ECONNRESET"
    r"|ERR_SOCKET_TIMEOUT"
)


def _home() -> Path:
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / ".peers"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "kailash-mcp"


HOME = _home()
"""Where the environments are."""


class Unavailable(Exception):
    """Says what stands in the way of an environment on this machine."""


def built(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of an environment; build it if nobody has.

    Args:
        name: the folder's, below `HOME`.
        build: fills the folder it is given.

    Raises:
        Unavailable: a registry does not answer.
        RuntimeError: the build failed.
    """
    place = HOME / name
    if (place / _STAMP).exists():
        return place
    HOME.mkdir(parents=True, exist_ok=True)
    with _locked(name):
        if not (place / _STAMP).exists():
            _say(f"building {place}")
            shutil.rmtree(place, ignore_errors=True)
            build(place)
            (place / _STAMP).touch()
            _say(f"built {place}")
    return place


def make_venv(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python of an environment that holds these packages.

    Raises:
        Unavailable: the registry does not answer.
        RuntimeError: pip failed.
    """

    def build(place: Path) -> None:
        run_build([sys.executable, "-m", "venv", str(place)])
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run_build([*pip, *requirements])

    return built(name, build) / "bin" / "python"


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (HOME / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_build(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run one step of a build.

    Raises:
        Unavailable: it printed that a registry does not answer.
        RuntimeError: it failed otherwise; the text is the end of what it printed.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
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
            raise Unavailable(f"the registry does not answer: {line.strip()[:300]}")
    raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-2000:]}")


def _say(text: str) -> None:
    print(f"environments: {text}", file=sys.__stderr__, flush=True)
