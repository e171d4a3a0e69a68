"""Counting in memory that several workers share: real processes, one of them killed."""

import os
import signal
from collections.abc import Callable

import pytest

from kailash.telemetry import MetricsCollector, Outcome, Refusal
from kailash.telemetry.shared import SharedMemory


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def forked(act: Callable[[], None]) -> int:
    """Do something in a process of its own, which is then killed; returns the signal."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os.write(writer, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b".", "the process failed"
    os.close(reader)
    os.kill(pid, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


def worker(metrics: MetricsCollector, memory: SharedMemory, number: int, calls: int) -> None:
    metrics.share(memory, number)
    for _ in range(calls):
        metrics.slot("tool", "early").ended(Outcome.OK, 0.25)
        metrics.slot("tool", f"late-{number}").ended(Outcome.ERROR, 0.5)
        metrics.increment("n")
        metrics.record("v", number - 10)
        metrics.refused(Refusal.BREAKER)


def test_what_a_killed_worker_counted_stays_and_its_successor_goes_on() -> None:
    memory = SharedMemory(2)
    supervisor = MetricsCollector()
    early = supervisor.slot("tool", "early")
    early.ended(Outcome.OK, 0.1)  # of the supervisor: its workers must not each count it
    forked(lambda: worker(supervisor, memory, 0, 3))
    assert forked(lambda: worker(supervisor, memory, 1, 4)) == signal.SIGKILL
    forked(lambda: worker(supervisor, memory, 1, 5))
    supervisor.share(memory, 0)
    early.ended(Outcome.OK, 0.25)
    found = supervisor.snapshot()
    assert found["tool.early.calls"] == 13
    assert found["tool.early.avg_ms"] == 250
    assert (found["tool.late-0.errors"], found["tool.late-1.errors"]) == (3, 9)
    assert (found["custom.n"], found["custom.v.count"], found["refused_breaker"]) == (12, 12, 12)
    assert (found["custom.v.min"], found["custom.v.max"]) == (-10, -9)


def test_gauges_are_those_of_workers_that_are_alive() -> None:
    clock = Clock()
    memory = SharedMemory(3)
    workers = [MetricsCollector(now=clock) for _ in range(3)]
    for number, metrics in enumerate(workers):
        metrics.share(memory, number)
        metrics.gauge("sessions", lambda number=number: 10**number)
        metrics.gauge("breaker_state", lambda number=number: {"x": number}, merge="max")
        metrics.publish()
    assert workers[0].gauges() == {"sessions": {"": 111}, "breaker_state": {"x": 2}}
    clock.now += 6
    workers[1].publish()
    assert workers[0].gauges() == {"sessions": {"": 11}, "breaker_state": {"x": 1}}


def test_what_finds_no_room_is_counted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SharedMemory(2, region_bytes=4096)
    metrics = MetricsCollector()
    metrics.share(memory, 0)
    for number in range(20):
        metrics.slot("tool", f"t{number}").ended(Outcome.OK, 0.1)
    assert metrics.is_shared
    assert metrics.snapshot()["tools_called"] == 20


def test_names_of_any_letters_come_back() -> None:
    memory = SharedMemory(2)
    one, other = MetricsCollector(), MetricsCollector()
    one.share(memory, 0)
    other.share(memory, 1)
    names = ["", "ä", "日本", "a\x1fb", "x" * 200, "new\nline"]
    for name in names:
        one.increment(name, 2)
        other.increment(name)
    assert {name: one.snapshot()[f"custom.{name}"] for name in names} == dict.fromkeys(names, 3)
