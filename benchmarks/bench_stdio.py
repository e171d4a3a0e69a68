"""Questions: how many calls a second over stdio, 64 in flight; and how long does one call at a time take?

Server and load run on different cores where there are two.
"""

import os
import subprocess
import time
from collections.abc import Sequence

from .harness import CORES, Figure, percentile
from .loads import ENVELOPE, INITIALIZE, INITIALIZED, call

WINDOW = 64


class Peer:
    """A server process and its pipes."""

    def __init__(self, command: Sequence[str], cwd: str | None = None) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=cwd
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.write_fd = self.process.stdin.fileno()
        self.read_fd = self.process.stdout.fileno()
        if len(CORES) > 1:
            os.sched_setaffinity(self.process.pid, {CORES[0]})

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.write_fd, view) :]

    def read(self) -> bytes:
        data = os.read(self.read_fd, 1 << 20)
        if not data:
            raise RuntimeError(f"{self.process.args!r} ended: status {self.process.wait()}")
        return data

    def read_line(self) -> bytes:
        data = self.read()
        while not data.endswith(b"\n"):
            data += self.read()
        return data

    def handshake(self) -> None:
        self.write(INITIALIZE)
        self.read_line()
        self.write(INITIALIZED)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def throughput(peer: Peer, total: int, meta: bytes) -> float:
    """Return calls per second with a constant number in flight."""
    lines = [call(number, meta) for number in range(1, total + 1)]
    started = time.perf_counter()
    peer.write(b"".join(lines[:WINDOW]))
    sent, got = WINDOW, 0
    while got < total:
        count = peer.read().count(b"\n")
        got += count
        more = lines[sent : sent + count]
        sent += len(more)
        if more:
            peer.write(b"".join(more))
    return total / (time.perf_counter() - started)


def latency(peer: Peer, total: int, meta: bytes) -> list[float]:
    """Return seconds of each call, one at a time."""
    taken = []
    for number in range(total):
        line = call(1_000_000 + number, meta)
        started = time.perf_counter()
        peer.write(line)
        peer.read_line()
        taken.append(time.perf_counter() - started)
    return taken


def measure(
    name: str, command: Sequence[str], *, rounds: int, total: int, era: str = "handshake", cwd: str | None = None
) -> list[Figure]:
    """Measure one server: best throughput of the rounds, and the latencies of the best round."""
    meta = ENVELOPE if era == "envelope" else b""
    rate, p50, p99 = 0.0, float("inf"), float("inf")
    previous = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if previous is not None and len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[1]})
    try:
        for _ in range(rounds):
            peer = Peer(command, cwd)
            try:
                if not meta:
                    peer.handshake()
                throughput(peer, max(WINDOW, total // 10), meta)
                rate = max(rate, throughput(peer, total, meta))
                taken = latency(peer, max(300, total // 50), meta)
                if percentile(taken, 0.5) < p50:
                    p50, p99 = percentile(taken, 0.5), percentile(taken, 0.99)
            finally:
                peer.close()
    finally:
        if previous is not None:
            os.sched_setaffinity(0, previous)
    return [
        Figure("stdio, 64 in flight", name, rate, "calls/s"),
        Figure("stdio, one at a time", name, p50 * 1e6, "us p50", {"p99": p99 * 1e6}),
    ]
