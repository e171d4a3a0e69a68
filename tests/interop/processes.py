"""Servers as processes of their own, which say on standard error where they are."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from . import wire

__all__ = ["Program", "free_port", "our_server", "program"]

ROOT = Path(__file__).parents[2]
STARTS_WITHIN = 30.0


class Program:
    """A running server."""

    def __init__(self, command: list[str], announcement: str, environment: Mapping[str, str]) -> None:
        self._found: re.Match[str] | None = None
        self._announced = threading.Event()
        self._announcement = re.compile(announcement)
        self._said: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._said.append(line)
                if self._found is None:
                    self._found = self._announcement.search(line)
                    if self._found is not None:
                        self._announced.set()
        self._announced.set()

    @property
    def said(self) -> str:
        """What it printed so far."""
        return "".join(self._said)

    def port(self) -> int:
        """Wait until it serves, and return where."""
        self._announced.wait(STARTS_WITHIN)
        if self._found is None:
            raise RuntimeError(f"{self.process.args} does not start:\n{self.said[-2000:]}")
        return int(self._found[1])

    def end(self) -> None:
        """Stop it at once: event streams may be open, for which some servers wait."""
        self.process.kill()
        self.process.wait(5)
        self._reader.join(5)


@contextmanager
def program(command: list[str], announcement: str, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run a server until it is no longer needed.

    Args:
        announcement: what it prints once it serves; the first group is the port.
    """
    running = Program(command, announcement, environment or {})
    try:
        running.port()
        yield running
    finally:
        running.end()


def our_server(
    transport: str = "http", script: str = "our_server.py", port: int = 0, **environment: str
) -> AbstractContextManager[Program]:
    """Run a server of ours, on a free port unless told which."""
    command = [sys.executable, str(wire.SCRIPTS / script), "--transport", transport, "--port", str(port)]
    return program(command, r"serves (?:http|ws)://127\.0\.0\.1:(\d+)/", {"PYTHONPATH": str(ROOT), **environment})


def free_port() -> int:
    """Return a port that is free now, for servers which cannot find one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
