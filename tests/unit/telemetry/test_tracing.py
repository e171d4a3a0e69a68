"""Spans and measurements by the semantic conventions for MCP, in the SDK's memory."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from kailash.errors import MCPErrorCode, RateLimitError, RequestError, RequestTimeoutError, ResourceError, ToolError
from kailash.telemetry import Outcome, open_tracing
from kailash.telemetry.otel import BOUNDARIES, OpenTelemetry
from protocol.errors import ErrorObject

PARENT = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


class Seen:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.tracing = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        found = [] if data is None else [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return [point for metric in found if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def seen() -> Seen:
    return Seen()


def raw(**meta: Any) -> Raw:
    return Raw(json.dumps(meta).encode())


def test_a_servers_span_is_the_child_of_its_clients(seen: Seen) -> None:
    client = seen.tracing.begin_call("tools/call", "tool", "search", transport="http")
    meta = client.meta
    assert set(meta) == {"traceparent"}
    server = seen.tracing.begin("tools/call", "tool", "search", raw(**meta, progressToken=1), transport="http")
    with server.active(), seen.tracers.get_tracer("user").start_as_current_span("work"):
        pass
    server.end(Outcome.OK)
    client.answered(b'{"content":[]}')
    work, inner, outer = seen.spans
    assert work.parent is not None and inner.parent is not None and outer.parent is None
    assert work.parent.span_id == inner.context.span_id
    assert inner.parent.span_id == outer.context.span_id
    assert inner.parent.is_remote
    assert len({span.context.trace_id for span in seen.spans}) == 1
    assert (inner.kind, outer.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert inner.name == outer.name == "tools/call search"
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}


def test_a_span_has_the_attributes_of_the_conventions(seen: Seen) -> None:
    span = seen.tracing.begin(
        "tools/call", "tool", "search", request_id=7, revision="r", session_id="s", transport="stdio"
    )
    span.end(Outcome.OK)
    assert dict(seen.span.attributes or {}) == {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "search",
        "gen_ai.operation.name": "execute_tool",
        "mcp.protocol.version": "r",
        "mcp.session.id": "s",
        "jsonrpc.request.id": "7",
        "network.transport": "pipe",
    }


def test_prompts_and_resources(seen: Seen) -> None:
    seen.tracing.begin("prompts/get", "prompt", "greet", transport="http").end(Outcome.OK)
    seen.tracing.begin("resources/read", "resource", "memo://secret", transport="websocket").end(Outcome.OK)
    seen.tracing.begin("tools/list").end(Outcome.OK)
    prompt, resource, listed = seen.spans
    assert prompt.name == "prompts/get greet"
    assert prompt.attributes is not None and prompt.attributes["gen_ai.prompt.name"] == "greet"
    assert "gen_ai.operation.name" not in prompt.attributes
    assert resource.name == "resources/read"
    assert resource.attributes is not None and resource.attributes["mcp.resource.uri"] == "memo://secret"
    assert resource.attributes["network.protocol.name"] == "websocket"
    assert listed.name == "tools/list"
    (point,) = [p for p in seen.points("mcp.server.operation.duration") if p.attributes["mcp.method.name"][:3] == "res"]
    assert "mcp.resource.uri" not in point.attributes, "there are as many as callers like"


@pytest.mark.parametrize(
    ("outcome", "error", "expected"),
    [
        (Outcome.ERROR, None, ("tool_error", None, None)),
        (Outcome.ERROR, "no luck", ("tool_error", None, "no luck")),
        (Outcome.ERROR, ErrorObject(-32602, "bad"), ("-32602", "-32602", "bad")),
        (Outcome.REFUSED, RequestError("wait", error_code=MCPErrorCode.OVERLOADED), ("1503", "1503", "wait")),
        (Outcome.REFUSED, RateLimitError("slow down"), ("-32603", "-32603", "slow down")),
        (Outcome.TIMEOUT, None, ("timeout", None, None)),
        (Outcome.CANCELLED, None, ("cancelled", None, None)),
        (Outcome.ERROR, ValueError("secret"), ("tool_error", None, None)),
        (Outcome.ERROR, ToolError("no luck"), ("tool_error", None, "no luck")),
        (Outcome.TIMEOUT, RequestTimeoutError("too long"), ("timeout", None, "too long")),
    ],
)
def test_what_went_wrong(seen: Seen, outcome: Outcome, error: Any, expected: tuple[Any, ...]) -> None:
    span = seen.tracing.begin("tools/call", "tool", "x")
    span.end(outcome, error)
    span.end(Outcome.OK)
    attributes = seen.span.attributes or {}
    assert seen.span.status.status_code is StatusCode.ERROR
    found = (attributes.get("error.type"), attributes.get("rpc.response.status_code"), seen.span.status.description)
    assert found == expected
    (point,) = seen.points("mcp.server.operation.duration")
    assert point.count == 1
    assert point.attributes["error.type"] == expected[0]


def test_an_error_that_was_masked_is_an_internal_error(seen: Seen) -> None:
    seen.tracing.begin("prompts/get", "prompt", "x").end(Outcome.ERROR, ValueError("secret"))
    seen.tracing.begin("resources/read", "resource", "x:y").end(Outcome.ERROR, ResourceError("gone"))
    masked, told = seen.spans
    assert (masked.attributes or {})["error.type"] == (told.attributes or {})["error.type"] == "-32603"
    assert (masked.status.description, told.status.description) == (None, "gone")


@pytest.mark.parametrize("answer", [b'{"content":[],"isError":true}', b'{"isError":1}', b"{", b"[]"])
def test_a_result_that_is_an_error_is_one(seen: Seen, answer: bytes) -> None:
    seen.tracing.begin_call("tools/call", "tool", "x").answered(answer)
    is_error = b"true" in answer
    assert (seen.span.status.status_code is StatusCode.ERROR) == is_error
    assert (seen.span.attributes or {}).get("error.type") == ("tool_error" if is_error else None)


def test_durations_are_measured_in_the_buckets_of_the_conventions(seen: Seen) -> None:
    seen.tracing.begin_call("tools/list", address="example.com", port=443, transport="http").end(Outcome.OK)
    seen.tracing.session_ended(3.0, revision="r", transport="http")
    seen.tracing.session_ended(4.0, is_client=True)
    (point,) = seen.points("mcp.client.operation.duration")
    assert list(point.explicit_bounds) == BOUNDARIES
    assert dict(point.attributes) == {
        "mcp.method.name": "tools/list",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "server.address": "example.com",
        "server.port": 443,
    }
    assert seen.points("mcp.server.session.duration")[0].sum == 3.0
    assert seen.points("mcp.client.session.duration")[0].sum == 4.0


def test_baggage_travels_and_is_there_for_the_handler(seen: Seen) -> None:
    token = contexts.attach(baggage.set_baggage("user", "alice"))
    try:
        client = seen.tracing.begin_call("tools/call", "tool", "x")
    finally:
        contexts.detach(token)
    server = seen.tracing.begin("tools/call", "tool", "x", raw(**client.meta))
    assert baggage.get_baggage("user") is None
    attached = server.activate()
    assert baggage.get_baggage("user") == "alice"
    server.deactivate(attached)
    assert baggage.get_baggage("user") is None
    client.end(Outcome.OK)
    server.end(Outcome.OK)


def test_what_surrounds_a_request_with_a_parent_is_linked(seen: Seen) -> None:
    with seen.tracers.get_tracer("http").start_as_current_span("POST") as around:
        seen.tracing.begin("ping", meta=raw(traceparent=PARENT)).end(Outcome.OK)
        seen.tracing.begin("ping").end(Outcome.OK)
    linked, child, _ = seen.spans
    assert [link.context.span_id for link in linked.links] == [around.get_span_context().span_id]
    assert linked.parent is not None and f"{linked.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert child.parent is not None and child.parent.span_id == around.get_span_context().span_id
    assert not child.links


@pytest.mark.parametrize(
    "meta",
    [
        None,
        UNSET,
        Raw(b"{}"),
        raw(traceparent=7),
        raw(traceparent=None, tracestate={"a": []}),
        raw(traceparent="x" * 100_000),
        raw(traceparent="00-" + "0" * 32 + "-" + "0" * 16 + "-01"),
        raw(baggage="x" * 9000),
        Raw(b"[1]"),
        {"traceparent": 1},
    ],
)
def test_a_context_that_is_none_makes_a_trace_of_its_own(seen: Seen, meta: Any) -> None:
    seen.tracing.begin("ping", meta=meta).end(Outcome.OK)
    assert seen.span.parent is None


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "baggage", "other"]), st.text(max_size=80)))
def test_no_context_of_a_peer_raises(meta: dict[str, str]) -> None:
    seen = Seen()
    seen.tracing.begin("ping", meta=raw(**meta)).end(Outcome.OK)
    assert len(seen.spans) == 1


def test_without_an_sdk_nothing_is_made() -> None:
    tracing = OpenTelemetry()
    call = tracing.begin_call("tools/call", "tool", "x")
    assert call.meta == {}
    call.sent(3)
    call.end(Outcome.OK)
    assert not trace.get_current_span().get_span_context().is_valid


def test_tracing_is_off_unless_asked_for(seen: Seen) -> None:
    assert open_tracing(None) is None
    assert open_tracing(False) is None
    assert isinstance(open_tracing(True), OpenTelemetry)
    assert open_tracing(seen.tracing) is seen.tracing
    assert isinstance(open_tracing({"tracer_provider": seen.tracers}), OpenTelemetry)
    with pytest.raises(TypeError, match="known: tracer_provider, meter_provider"):
        open_tracing({"tracer": 1})
    with pytest.raises(TypeError, match="tracing is True"):
        open_tracing(7)  # type: ignore[arg-type]
