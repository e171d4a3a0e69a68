"""The load where a message is a line: pipes, TCP and Unix sockets. Every answer is checked.

Throughput is a closed loop with a constant number in flight; latency comes one call at a time, or at a fixed rate.
"""

import re
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from .harness import LOAD_BUSY, SERVER_BUSY, Sample, percentile
from .loads import INITIALIZE, INITIALIZED, call

__all__ = ["WINDOW", "LinePeer", "LineSocket", "greet", "latency", "meter", "read_line", "throughput"]

WINDOW = 64
_FIRST = 1_000_000
_SILENCE = 30


class LinePeer(Protocol):
    """What the load writes to and reads from."""

    def write(self, data: bytes) -> None: ...

    def read(self) -> bytes: ...


class Measured(Protocol):
    """Whoever answers: how many seconds it has computed."""

    @property
    def computed(self) -> float: ...


class LineSocket:
    """A connection on which a message is a line."""

    def __init__(self, address: str | int) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(("127.0.0.1", address))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(_SILENCE)
        self.write = self.socket.sendall

    def read(self) -> bytes:
        data = self.socket.recv(1 << 18)
        if not data:
            raise RuntimeError("the server ended the connection")
        return data

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "LineSocket":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_line(peer: LinePeer) -> bytes:
    """Return what comes until a line is complete."""
    data = peer.read()
    while not data.endswith(b"\n"):
        data += peer.read()
    return data


def greet(peer: LinePeer, capabilities: bytes = b"{}") -> None:
    """Shake hands."""
    peer.write(INITIALIZE.replace(b'"capabilities":{}', b'"capabilities":%b' % capabilities))
    read_line(peer)
    peer.write(INITIALIZED)


def meter(server: Measured, taken: float, computed_before: float, load_before: float) -> Mapping[str, float]:
    """Return how busy both sides were in the time that was taken."""
    return {
        SERVER_BUSY: (server.computed - computed_before) / taken,
        LOAD_BUSY: (time.process_time() - load_before) / taken,
    }


_ID = re.compile(rb'"id": ?(\d+)')


def throughput(peer: LinePeer, server: Measured, total: int, meta: bytes = b"") -> Sample:
    """Return calls per second with a constant number in flight; each call is answered once, and with its text."""
    total = max(WINDOW, total)
    lines = [call(number, meta) for number in range(_FIRST, _FIRST + total)]
    parts: list[bytes] = []
    write, read = peer.write, peer.read
    computed, load, started = server.computed, time.process_time(), time.perf_counter()
    write(b"".join(lines[:WINDOW]))
    sent, got = WINDOW, 0
    while got < total:
        data = read()
        parts.append(data)
        count = data.count(b"\n")
        got += count
        more = lines[sent : sent + count]
        sent += len(more)
        if more:
            write(b"".join(more))
    taken = time.perf_counter() - started
    detail = meter(server, taken, computed, load)
    said = b"".join(parts)
    # Checked afterwards, so that the checking is no part of the load.
    answered = {int(found) for found in _ID.findall(said)}
    if len(answered) != total or said.count(b'"hello"') < total or b'"error"' in said:
        raise RuntimeError(f"{total} calls had {len(answered)} answers: {said[:500]!r}")
    return Sample(total / taken, detail)


def latency(peer: LinePeer, total: int, meta: bytes = b"") -> Sample:
    """Return the median microseconds of a call, one at a time, with what is beyond it."""
    taken = []
    for number in range(_FIRST, _FIRST + total):
        line = call(number, meta)
        started = time.perf_counter()
        peer.write(line)
        said = read_line(peer)
        taken.append((time.perf_counter() - started) * 1e6)
        if b"%d" % number not in said or b'"hello"' not in said:
            raise RuntimeError(f"asked with {number} and answered with {said[:500]!r}")
    return Sample(percentile(taken, 0.5), {"p99": percentile(taken, 0.99), "most": max(taken)})
