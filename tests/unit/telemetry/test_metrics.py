"""The collector: what is counted, under which names, by how many threads, and how much of it there may be. B22, B23."""

import json
import logging
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.errors import MCPErrorCode
from kailash.telemetry import MetricsCollector, Outcome, Refusal
from kailash.telemetry.metrics import MOST_NAMES, OTHER, SLOT_CELLS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_fresh_snapshot_has_the_names_of_the_seed_and_is_flat() -> None:
    snapshot = MetricsCollector().snapshot()
    assert snapshot["tools_called"] == snapshot["cache_hits"] == 0
    assert snapshot["error_rate"] == 0.0
    assert all(isinstance(value, int | float) for value in snapshot.values())


def test_outcomes_make_up_the_totals_and_the_figures_of_an_entry() -> None:
    clock = Clock()
    metrics = MetricsCollector(now=clock)
    search, memo = metrics.slot("tool", "search"), metrics.slot("resource", "memo://{name}")
    for _ in range(6):
        search.ended(Outcome.OK, 0.010)
    search.ended(Outcome.OK, 0.001, is_cached=True)
    search.ended(Outcome.ERROR, 0.010)
    search.ended(Outcome.TIMEOUT, 1.0)
    search.ended(Outcome.CANCELLED, 0.010)
    search.ended(Outcome.REFUSED, 0.000_01)
    memo.ended(Outcome.OK, 0.002)
    clock.now += 5
    found = metrics.snapshot()
    assert (found["tools_called"], found["resources_read"], found["prompts_got"]) == (10, 1, 0)
    assert (found["requests"], found["errors"], found["timeouts"]) == (11, 1, 1)
    assert (found["cancelled"], found["refused"], found["cache_hits"]) == (1, 1, 1)
    assert found["error_rate"] == pytest.approx(2 / 11)
    assert found["uptime_seconds"] == 5
    assert (found["tool.search.calls"], found["tool.search.errors"]) == (10, 1)
    assert found["tool.search.error_rate"] == 0.2
    assert found["tool.search.p50_ms"] == pytest.approx(10, rel=0.25)
    assert found["tool.search.p99_ms"] == pytest.approx(1000, rel=0.25)
    assert found["resource.memo://{name}.calls"] == 1
    assert metrics.stats("tool")["search"]["calls"] == 10
    assert metrics.stats("prompt") == {}


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.floats(0, 100), st.booleans()), max_size=60))
def test_every_end_is_counted_once(ends: list[tuple[Outcome, float, bool]]) -> None:
    metrics = MetricsCollector()
    slot = metrics.slot("tool", "x")
    for outcome, seconds, is_cached in ends:
        slot.ended(outcome, seconds, is_cached=is_cached)
    let_in = [each for each in ends if each[0] is not Outcome.REFUSED]
    found = metrics.snapshot()
    assert found["tools_called"] == len(let_in)
    assert found["refused"] == len(ends) - len(let_in)
    assert found["cache_hits"] == sum(is_cached for _, _, is_cached in let_in)
    assert 0 <= found["error_rate"] <= 1


def test_the_same_entry_has_the_same_slot() -> None:
    metrics = MetricsCollector()
    assert metrics.slot("tool", "x") is metrics.slot("tool", "x")
    assert metrics.slot("tool", "x") is not metrics.slot("prompt", "x")


def test_custom_values_and_counters() -> None:
    metrics = MetricsCollector()
    for value in (2, -3.5, 0.5):
        metrics.record("delta", value)
    metrics.increment("data_processed")
    metrics.increment("data_processed", 2)
    metrics.increment("share", 0.5)
    found = metrics.snapshot()
    assert found["custom.data_processed"] == 3
    assert found["custom.share"] == 0.5
    assert (found["custom.delta.count"], found["custom.delta.min"], found["custom.delta.max"]) == (3, -3.5, 2)
    assert found["custom.delta.sum"] == pytest.approx(-1)
    assert -3.5 <= found["custom.delta.p50"] <= 2


def test_a_custom_name_hides_no_metric_of_the_server() -> None:
    metrics = MetricsCollector()
    metrics.increment("tools_called", 99)
    assert metrics.snapshot()["tools_called"] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_not_counted(value: float) -> None:
    metrics = MetricsCollector()
    with pytest.raises(ValueError, match="finite"):
        metrics.record("x", value)
    with pytest.raises(ValueError, match="goes up"):
        metrics.increment("x", value)
    with pytest.raises(ValueError, match="goes up"):
        metrics.increment("x", -1)
    assert not [name for name in metrics.snapshot() if name.startswith("custom.")]


def test_names_are_bounded_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    metrics = MetricsCollector()
    with caplog.at_level(logging.WARNING):
        for number in range(MOST_NAMES + 50):
            metrics.increment(f"user-{number}")
        metrics.record("late", 1.0)
    custom = {name for name in metrics.snapshot() if name.startswith("custom.user")}
    assert len(custom) == MOST_NAMES
    assert metrics.snapshot()[f"custom.{OTHER}"] == 50
    assert metrics.snapshot()[f"custom.{OTHER}.count"] == 1
    assert len(caplog.records) == 1


def test_slots_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kailash.telemetry.metrics.MOST_SLOTS", 3)
    metrics = MetricsCollector()
    for number in range(10):
        metrics.slot("tool", f"t{number}").ended(Outcome.OK, 0.1)
    assert set(metrics.stats("tool")) == {"t0", "t1", "t2", OTHER}
    assert metrics.snapshot()["tools_called"] == 10


def test_a_name_is_cut() -> None:
    metrics = MetricsCollector()
    metrics.increment("x" * 10_000)
    assert max(map(len, metrics.snapshot())) < 300


def test_an_unknown_kind_is_refused_with_those_known() -> None:
    metrics = MetricsCollector()
    for use in (lambda: metrics.slot("tol", "x"), lambda: metrics.stats("tol")):
        with pytest.raises(ValueError, match="known: tool, resource, prompt, completion"):
            use()


def test_refusals_are_counted_by_reason_and_by_code() -> None:
    metrics = MetricsCollector()
    metrics.refused(Refusal.RATE_LIMIT)
    metrics.refused(MCPErrorCode.RATE_LIMITED)
    metrics.refused(MCPErrorCode.CIRCUIT_OPEN)
    metrics.refused(MCPErrorCode.OVERLOADED)
    metrics.refused(-32603)
    found = metrics.snapshot()
    assert (found["refused_rate_limit"], found["refused_breaker"], found["refused_overload"]) == (2, 1, 2)
    assert found["refused_permission"] == 0


def test_gauges_are_read_when_they_are_looked_at() -> None:
    metrics = MetricsCollector()
    value = 1
    metrics.gauge("sessions", lambda: value)
    metrics.gauge("breaker_state", lambda: {"search": 2.0, "fetch": 0.0}, merge="max")
    assert metrics.snapshot()["sessions"] == 1
    value = 7
    found = metrics.snapshot()
    assert found["sessions"] == 7
    assert (found["breaker_state.search"], found["breaker_state.fetch"]) == (2, 0)


def test_a_gauge_that_fails_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    metrics = MetricsCollector()
    metrics.gauge("broken", lambda: 1 / 0)
    metrics.gauge("sessions", lambda: 3)
    found = metrics.snapshot()
    assert found["sessions"] == 3 and "broken" not in found
    assert "'broken' failed" in caplog.text


def test_metrics_are_exported_as_json() -> None:
    metrics = MetricsCollector()
    metrics.slot("tool", "x").ended(Outcome.OK, 0.1)
    assert json.loads(metrics.export_metrics())["tools_called"] == 1
    with pytest.raises(ValueError, match="known: json, prometheus"):
        metrics.export_metrics("xml")


def in_threads(count: int, act: Callable[[], None]) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=act) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(interval)


def test_no_count_is_lost_between_threads() -> None:
    metrics = MetricsCollector()
    slot = metrics.slot("tool", "x")

    def act() -> None:
        for _ in range(5000):
            slot.ended(Outcome.OK, 0.25)
            metrics.increment("n")
            metrics.record("v", 1)

    in_threads(6, act)
    found = metrics.snapshot()
    assert found["tools_called"] == found["custom.n"] == found["custom.v.count"] == 30_000
    assert found["tool.x.avg_ms"] == 250


def test_slots_are_made_once_between_threads() -> None:
    metrics = MetricsCollector()
    in_threads(6, lambda: [metrics.slot("tool", f"t{n}").ended(Outcome.OK, 0.1) for n in range(200)] and None)
    assert metrics.snapshot()["tools_called"] == 1200


def test_a_slot_is_as_long_as_its_cells() -> None:
    assert len(MetricsCollector().slot("tool", "x").cells) == SLOT_CELLS
