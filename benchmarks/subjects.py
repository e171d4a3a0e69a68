"""What is measured: the commands of the servers and clients, ours and others'; foreign ones are installed on first use.

Those of HTTP run on a core of their own.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

from .harness import CORES

__all__ = [
    "AGAINST",
    "PEERS",
    "WebServer",
    "load_core",
    "mcp_versions",
    "servers",
    "streaming",
    "web_servers",
    "websocket_python",
]

PEERS = Path(__file__).with_name("peers")

AGAINST = ("mcp", "mcp1", "typescript")
_PLAIN = "--answers=json"
_VERSIONS = {"mcp": "2.3.0", "mcp1": "1.30.0"}


def peer(name: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """Return the command of a script of `peers/`."""
    return [python, str(PEERS / name), *arguments]


def mcp_versions(against: Sequence[str]) -> dict[str, str]:
    """Return the interpreters of the official Python SDK, by version."""
    # Imported where foreign things are asked for: the tests' package need not be there otherwise.
    from tests.interop import peers

    return {version: peers.mcp_python(version) for name, version in _VERSIONS.items() if name in against}


def websocket_python(version: str) -> str:
    """Return the interpreter of the official Python SDK with what it needs for WebSockets."""
    from tests.interop import peers  # as above

    return peers.mcp_python(version, "ws")


def typescript(script: str) -> list[str]:
    """Return the command of a script for the official TypeScript SDK."""
    from tests.interop import peers

    node, installed, *_ = peers.everything_command("stdio")
    # Modules are found from where the script lies, so it is laid beside an installed SDK.
    home = next(p for p in Path(installed).parents if p.name == "node_modules").parent
    placed = home / f"kailash-bench-{script}"
    shutil.copy(PEERS / script, placed)
    return [node, str(placed)]


def servers(against: Sequence[str]) -> dict[str, list[str]]:
    """Return the command of each server over stdio."""
    commands = {
        "ours": peer("kailash_server.py"),
        "ours, async tool": peer("kailash_async.py"),
        "ours, thread tool": peer("kailash_thread.py"),
        "bare (floor)": peer("bare.py"),
    }
    if against:
        for version, python in mcp_versions(against).items():
            commands[f"mcp {version}"] = peer("mcp_sdk.py", python=python)
        if "typescript" in against:
            commands["typescript"] = typescript("typescript.mjs")
    return commands


def web_servers(against: Sequence[str], *arguments: str, streams: bool = False) -> dict[str, list[str]]:
    """Return the command of each server over HTTP.

    Args:
        against: the peers.
        arguments: of ours, of the floor and of `mcp`.
        streams: let the peers answer with event streams, as they do by default; plain answers are faster.
    """
    commands = {
        "ours": peer("kailash_http.py", "--codec=httptools", *arguments),
        "bare (floor)": peer("bare_http.py", "--codec=httptools", *arguments),
    }
    if against:
        for version, python in mcp_versions(against).items():
            more = [] if streams else [_PLAIN]
            commands[f"mcp {version}"] = peer("mcp_http.py", "--port={port}", *more, *arguments, python=python)
        if "typescript" in against:
            commands["typescript"] = [*typescript("typescript_http.mjs"), "{port}", "stream" if streams else "json"]
    return commands


def streaming(commands: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the servers of `mcp` among these as they are by default: they answer with event streams, slower."""
    return {
        f"{name}, default answers": [part for part in command if part != _PLAIN]
        for name, command in commands.items()
        if _PLAIN in command
    }


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Run this process, and what it starts, on one core, where there are several."""
    if len(CORES) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def load_core() -> AbstractContextManager[None]:
    """Run the load, in this process, beside the server's core."""
    return on_core(1)


class WebServer:
    """A server process on a core of its own.

    Args:
        command: its command line. With `{port}` in it the server is told where to listen, and asked until it does;
            otherwise it says on standard error where it is.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._told = tempfile.TemporaryFile()
        is_told = any("{port}" in part for part in command)
        self.port = _free_port() if is_told else 0
        with on_core(0):
            self.process = subprocess.Popen(
                [part.replace("{port}", str(self.port)) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._told,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def resident(self) -> int:
        """How much memory it has in use, in kB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1])

    @property
    def computed(self) -> float:
        """How many seconds it has computed."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while not self._is_there():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.process.args!r} does not serve: {self._said()}")
            time.sleep(0.01)

    def _is_there(self) -> bool:
        if not self.port:
            found = re.search(r" serves http://[^ ]*:(\d+)/", self._said())
            self.port = int(found[1]) if found else 0
            return bool(self.port)
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def _said(self) -> str:
        return os.pread(self._told.fileno(), 1 << 16, 0).decode(errors="replace")

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._told.close()

    def __enter__(self) -> "WebServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
