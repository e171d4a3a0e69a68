"""Metrics as Prometheus' own parsers read them, and who may read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from kailash.telemetry import MetricsCollector, Outcome, Refusal
from kailash.telemetry.prometheus import MetricsEndpoint
from kailash.telemetry.registry import PrometheusCollector
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http.answer import Answer, Arrival


def counted() -> MetricsCollector:
    metrics = MetricsCollector()
    slot = metrics.slot("tool", 'evil"\n\\name')
    for seconds in (0.000_01, 0.003, 0.003, 30.0, 100.0):
        slot.ended(Outcome.OK, seconds)
    slot.ended(Outcome.ERROR, 0.003, is_cached=True)
    metrics.slot("prompt", "idle")
    metrics.refused(Refusal.RATE_LIMIT)
    metrics.increment("data processed", 3)
    metrics.record("processing_time", 0.5)
    metrics.gauge("in_flight", lambda: 4)
    metrics.gauge("breaker_state", lambda: {"search": 2}, merge="max")
    return metrics


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found: Samples, sample: str, /, **labels: str) -> float:
    return found[sample, frozenset(labels.items())]


def test_the_text_parses_and_says_what_was_counted() -> None:
    found = samples(counted().export_metrics("prometheus"))
    evil = {"kind": "tool", "name": 'evil"\n\\name'}
    assert value(found, "kailash_mcp_requests_total", **evil, outcome="ok") == 5
    assert value(found, "kailash_mcp_requests_total", **evil, outcome="error") == 1
    assert value(found, "kailash_mcp_requests_total", kind="prompt", name="idle", outcome="ok") == 0
    assert value(found, "kailash_mcp_cache_hits_total", **evil) == 1
    assert value(found, "kailash_mcp_refusals_total", reason="rate_limit") == 1
    assert value(found, "kailash_mcp_refusals_total", reason="permission") == 0
    assert value(found, "kailash_mcp_in_flight") == 4
    assert value(found, "kailash_mcp_breaker_state", name="search") == 2
    assert value(found, "kailash_mcp_custom_total", name="data processed") == 3
    assert value(found, "kailash_mcp_custom_value_sum", name="processing_time") == 0.5


def test_the_histogram_is_cumulative_and_exact_at_its_bounds() -> None:
    found = samples(counted().export_metrics("prometheus"))
    name = "kailash_mcp_request_duration_seconds"
    evil = {"kind": "tool", "name": 'evil"\n\\name'}
    buckets = {
        float(dict(labels)["le"]): number
        for (sample, labels), number in found.items()
        if sample == f"{name}_bucket" and evil.items() <= dict(labels).items()
    }
    assert buckets[5e-5] == 1
    assert buckets[0.002] == 1
    assert buckets[0.005] == 4
    assert buckets[50.0] == 5
    assert buckets[60.0] == 5
    assert buckets[float("inf")] == value(found, f"{name}_count", **evil) == 6
    assert list(buckets.values()) == sorted(buckets.values())
    assert value(found, f"{name}_sum", **evil) == pytest.approx(130.00901)


NAMES = st.text(max_size=30).filter(lambda name: "\r" not in name)
"""The parser splits lines where the format does not."""


@given(st.dictionaries(NAMES, st.floats(0, 1e9), max_size=5), st.lists(st.floats(0, 1e3), max_size=20))
def test_the_text_says_what_prometheus_client_would(counts: dict[str, float], seconds: list[float]) -> None:
    metrics = MetricsCollector()
    for name, count in counts.items():
        metrics.increment(name, count)
        metrics.record(name, -count)
        metrics.gauge("share", lambda name=name: {name: 0.5})
        for each in seconds:
            metrics.slot("tool", name).ended(Outcome.TIMEOUT, each)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PrometheusCollector(metrics))
    assert [
        (family.name, family.type, family.documentation, family.samples)
        for family in parse(metrics.export_metrics("prometheus"))
    ] == [
        (family.name, family.type, family.documentation, family.samples)
        for family in parse(generate_latest(registry).decode())
    ]


def test_a_registry_of_the_users_own_takes_the_collector() -> None:
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(counted()))
    assert registry.get_sample_value("kailash_mcp_refusals_total", {"reason": "rate_limit"}) == 1


def head(method: str = "GET", **headers: str) -> RequestHead:
    pairs = [(b"host", b"localhost:8080")]
    pairs += [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return RequestHead(method=method, target="/metrics", headers=Headers(pairs), version="1.1", keep_alive=True)


def test_the_endpoint_answers_in_the_text_format() -> None:
    endpoint = MetricsEndpoint(counted())
    answer = endpoint.receive_request(head(), b"", now=0.0)
    assert answer.status == 200
    assert dict(answer.headers)[b"content-type"] == b"text/plain; version=0.0.4; charset=utf-8"
    assert value(samples(answer.body.decode()), "kailash_mcp_in_flight") == 4


def test_a_name_that_cannot_be_encoded_is_sent_all_the_same() -> None:
    metrics = MetricsCollector()
    metrics.increment("\ud800")
    answer = MetricsEndpoint(metrics).receive_request(head(), b"", now=0.0)
    assert value(samples(answer.body.decode()), "kailash_mcp_custom_total", name="?") == 1


@pytest.mark.parametrize("accept", ["text/plain; version=x", "text/plain;escaping=\t", ";;,,", "*/*"])
def test_the_endpoint_answers_whatever_is_asked_for(accept: str) -> None:
    assert MetricsEndpoint(counted()).receive_request(head(accept=accept), b"", now=0.0).status == 200


def status(answer: Answer | None) -> int | None:
    return None if answer is None else answer.status


def test_the_endpoint_refuses_other_methods_and_pages_from_elsewhere() -> None:
    endpoint = MetricsEndpoint(counted())
    local = Arrival(local="127.0.0.1")
    assert endpoint.refuse(head(), local) is None
    assert endpoint.refuse(head("HEAD"), local) is None
    assert status(endpoint.refuse(head("POST"), local)) == 405
    assert status(endpoint.refuse(head(origin="https://evil.example"), local)) == 403
    assert not endpoint.is_open
    assert MetricsEndpoint(counted(), is_open=True).is_open
    assert endpoint.too_large().status == 413
