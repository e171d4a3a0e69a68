"""What one `tools/call` costs in work that can be counted: tasks, reads, writes, JSON, Python calls, memory.

Counts do not depend on how fast the machine is, or on who else uses it: the server counts what it does itself, in a
process of its own, over real pipes and sockets. A bound is about a tenth above what it was when it was last lowered;
whoever adds a task, a write or a decode to the hot path meets it here.
"""

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from benchmarks.lineload import greet
from benchmarks.loads import ENVELOPE, call
from benchmarks.processes import Lines, WebServer
from benchmarks.webload import Requests, Wire, open_session
from benchmarks.websocketload import WebSocketLine, frame

COMMAND = [sys.executable, "-m", "tests.transports.counting_server"]
MANY = 32
_REPEATS = 3

Counts = dict[str, float]


class Path(NamedTuple):
    """A way to the server."""

    transport: str
    era: str
    codec: str = "httptools"
    heads: str = "alike"
    """Whether the heads of requests are; a server may profit from those that repeat."""


class Work(NamedTuple):
    """The most that one call may cost; its tasks and its own encoding are bounded for all ways alike."""

    calls: int
    """Of Python functions."""
    opcodes: int
    """Executed by the interpreter."""
    decodes: int
    """Of JSON."""
    peak: int
    """Bytes above what the server holds at rest, while it answers a batch of 32; a read is 64 or 256 kB of it."""


# Bounds of one Python serve for others: later versions call less and execute about as much.
BOUNDS = {
    Path("stdio", "session"): Work(calls=35, opcodes=1010, decodes=1, peak=71_000),
    Path("stdio", "envelope"): Work(calls=30, opcodes=970, decodes=1, peak=71_000),
    Path("http", "session"): Work(calls=140, opcodes=3610, decodes=1, peak=286_000),
    Path("http", "envelope"): Work(calls=111, opcodes=3040, decodes=1, peak=286_000),
    Path("http", "envelope", heads="varied"): Work(calls=182, opcodes=4970, decodes=1, peak=286_000),
    Path("http", "session", "h11"): Work(calls=140, opcodes=3610, decodes=1, peak=286_000),
    Path("http", "envelope", "h11"): Work(calls=120, opcodes=3290, decodes=1, peak=286_000),
    Path("http", "envelope", "h11", heads="varied"): Work(calls=330, opcodes=9210, decodes=1, peak=286_000),
    Path("websocket", "session"): Work(calls=69, opcodes=1930, decodes=1, peak=286_000),
    Path("websocket", "envelope"): Work(calls=66, opcodes=1960, decodes=1, peak=286_000),
}


class Counting:
    """A server that counts, and a connection to it."""

    def __init__(self, path: Path, *more: str) -> None:
        self._path = path
        self._is_enveloped = path.era == "envelope"
        command = [*COMMAND, f"--transport={path.transport}", f"--codec={path.codec}", *more]
        self._server: Lines | WebServer = Lines(command) if path.transport == "stdio" else WebServer(command)
        self._costs: dict[bytes, Counts] = {}
        self._made: dict[bytes, Requests] = {}
        self._connect()

    def _connect(self) -> None:
        server, self._wire, self._line = self._server, None, None
        if isinstance(server, Lines):
            if not self._is_enveloped:
                greet(server)
        elif self._path.transport == "http":
            self._wire = Wire(server.port)
            self._session = None if self._is_enveloped else open_session(self._wire)
        else:
            # The load shakes hands; the other era's messages may come on the same connection.
            self._line = WebSocketLine(server.port)

    def close(self) -> None:
        for each in (self._wire, self._line, self._server):
            if each is not None:
                each.close()

    def ask(self, count: int, tool: bytes = b"echo") -> bytes:
        """Make calls, all in one batch where the transport has batches, and return what they are answered with."""
        meta = ENVELOPE if self._is_enveloped else b""
        messages = [call(number, meta).replace(b'"echo"', b'"%b"' % tool) for number in range(1, count + 1)]
        if self._wire is not None:
            requests = self._requests(tool).make(count)
            return b"".join(self._wire.ask(request)[1] for request, _ in requests)
        said = b""
        with self._stopped():
            # Whole before it goes on: what it reads at once does not depend on which core is faster.
            if self._line is not None:
                self._line.socket.sendall(b"".join(frame(message.rstrip()) for message in messages))
            else:
                assert isinstance(self._server, Lines)
                self._server.write(b"".join(messages))
        while said.count(b'"jsonrpc"') < count or not said.endswith(b"}"):
            if self._line is not None:
                said += b"".join(self._line.receive())
            else:
                assert isinstance(self._server, Lines)
                said = (said + self._server.read()).rstrip()
        return said

    def _requests(self, tool: bytes) -> Requests:
        if tool not in self._made:
            varies = self._path.heads == "varied"
            self._made[tool] = Requests(self._server.port, self._session, tool=tool, varies=varies)  # type: ignore[union-attr]
        return self._made[tool]

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        pid = self._server.process.pid
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def read(self) -> Counts:
        """Return what it has counted so far."""
        said = self.ask(1, b"counts")
        found = re.search(rb'"text":"(\{.*?\})"', said)
        assert found is not None, said
        counts: Counts = json.loads(found[1].replace(b"\\", b""))
        return counts

    def cost(self, tool: bytes = b"echo") -> Counts:
        """Return what one call of a batch costs; the least of several, as timers may be due in one of them."""
        if tool not in self._costs:
            # What a connection remembers of calls it remembers after the first ones.
            for _ in range(_REPEATS):
                self.read()
                self.ask(1, tool)
            costs = [self._cost(tool) for _ in range(_REPEATS)]
            self._costs[tool] = {key: min(cost[key] for cost in costs) for key in costs[0]}
        return self._costs[tool]

    def _cost(self, tool: bytes) -> Counts:
        self.ask(MANY, tool)
        first, second = Counter(self.read()), Counter(self.read())
        self.ask(MANY, tool)
        third = self.read()
        # What reading the counts costs is no part of it.
        return {key: (third[key] - second[key] - (second[key] - first[key])) / MANY for key in third}


@pytest.fixture(scope="module", params=BOUNDS, ids=lambda path: "-".join(path))
def counting(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Counting]]:
    server = Counting(request.param)
    yield request.param, server
    server.close()


def test_a_call_costs_no_more_than_its_bounds(counting: tuple[Path, Counting]) -> None:
    path, server = counting
    bounds, cost = BOUNDS[path], server.cost()
    # HTTP/1.1 has one request of a connection at a time; what comes in one batch leaves in one write.
    writes = 1 if path.transport == "http" else 1 / MANY
    most = {"tasks": 0, "writes": writes, "reads": writes, "encodes": 1, "decodes": bounds.decodes}
    most |= {"calls": bounds.calls, "opcodes": bounds.opcodes}
    # Python 3.12 does not tell of its instructions.
    found = {name: cost.get(name, 0) for name in most}
    over = {name: f"{value:g}, at most {most[name]:g}" for name, value in found.items() if value > most[name]}
    assert not over, f"one tools/call over {'-'.join(path)} does more than it did: {over}"


def test_a_coroutine_that_awaits_nothing_costs_at_most_one_task(counting: tuple[Path, Counting]) -> None:
    _, server = counting
    assert server.cost(b"later")["tasks"] <= 1


def test_what_a_call_made_is_gone_without_the_collector(counting: tuple[Path, Counting]) -> None:
    _, server = counting
    # It is switched off: an object in a cycle for each call would show as one for each.
    assert server.cost()["tracked"] < 0.5


def test_work_that_is_added_is_seen(counting: tuple[Path, Counting]) -> None:
    _, server = counting
    usual, more = server.cost(), server.cost(b"wasteful")
    added = {name: round(more[name] - usual[name], 3) for name in ("tasks", "writes", "decodes", "encodes")}
    assert added == {"tasks": 1, "writes": 1, "decodes": 1, "encodes": 1}
    assert more["calls"] > usual["calls"] and more.get("opcodes", 1) > usual.get("opcodes", 0)


@pytest.mark.parametrize("path", BOUNDS, ids=lambda path: "-".join(path))
def test_memory_at_rest_stays_as_it_is_and_a_batch_needs_little_more(path: Path) -> None:
    server = Counting(path, "--memory=yes")
    try:
        # Stores that grow by doubling, and histories that fill up, are at rest after some batches.
        for _ in range(6):
            server.ask(MANY)
            server.read()
        before = server.read()
        for _ in range(4):
            server.ask(MANY)
        after = server.read()
    finally:
        server.close()
    assert (after["kept"] - before["kept"]) / (4 * MANY) < 16, "bytes kept of each call"
    assert after["peak"] - after["kept"] <= BOUNDS[path].peak
