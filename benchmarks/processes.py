"""Processes that are measured, on a core of their own; what they compute and weigh is read from the kernel."""

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

from .harness import CORES

__all__ = ["Lines", "WebServer", "load_core", "on_core", "resident_of"]

_START_SECONDS = 30
_MOST = 1 << 20


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


def resident_of(pid: int) -> int:
    """Return how much memory a process has in use, in kB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _computed_of(pid: int) -> float:
    """Return the seconds that a process has computed; in nanoseconds where the kernel tells, else in its ticks."""
    try:
        threads = [path.joinpath("schedstat").read_text() for path in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int(text.split()[0]) for text in threads) / 1e9
    except FileNotFoundError:
        pass  # a kernel without these statistics, or a thread that ended just now
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children_of(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [grandchild for child in found for grandchild in _children_of(child)]


class _Process:
    process: subprocess.Popen[bytes]

    @property
    def resident(self) -> int:
        """How much memory it has in use, in kB."""
        return resident_of(self.process.pid)

    @property
    def computed(self) -> float:
        """How many seconds it and its children have computed."""
        return sum(_computed_of(pid) for pid in (self.process.pid, *_children_of(self.process.pid)))


class WebServer(_Process):
    """A server process on a core of its own.

    Args:
        command: its command line. With `{port}` in it the server is told where to listen, and asked until it does;
            otherwise it says on standard error where it is.
        cores: how many it may use.
        path: of its Unix socket, where it has no port.
    """

    def __init__(self, command: Sequence[str], *, cores: int = 1, path: str | None = None) -> None:
        self._told = tempfile.TemporaryFile()
        self.path = path
        is_told = any("{port}" in part for part in command)
        self.port = _free_port() if is_told else 0
        before = os.sched_getaffinity(0) if len(CORES) > 1 else set()
        with on_core(0):
            if cores > 1 and before:
                os.sched_setaffinity(0, set(CORES))
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

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_there():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.process.args!r} does not serve: {self._said()}")
            time.sleep(0.01)

    def _is_there(self) -> bool:
        if self.path is not None:
            return os.path.exists(self.path)
        if not self.port:
            found = re.search(r" serves \w+://[^ ]*:(\d+)", self._said())
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


class Lines(_Process):
    """A server process over its pipes: a message is a line."""

    def __init__(self, command: Sequence[str], cwd: str | None = None) -> None:
        with on_core(0):
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=cwd
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self.out = self.process.stdin.fileno(), self.process.stdout.fileno()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._in, view) :]

    def read(self) -> bytes:
        data = os.read(self.out, _MOST)
        if not data:
            raise RuntimeError(f"{self.process.args!r} ended: status {self.process.wait()}")
        return data

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
