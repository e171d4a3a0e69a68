"""Metrics, the audit log and traces of a whole server, from a client's call to what is told of it. B22, B23."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families

from kailash.errors import MCPError, ToolError
from kailash.mcp_server import Context, MCPClient, MCPServer
from kailash.mcp_server.auth import APIKeyAuth
from kailash.telemetry.otel import OpenTelemetry
from protocol.revisions import REVISIONS

from ..transports.peer import Peer
from .conftest import Join
from .webserver import Web, serving

pytestmark = pytest.mark.anyio


def make_server(**options: Any) -> MCPServer:
    server = MCPServer("telemetry", **options)
    tracer = trace.get_tracer("user")

    @server.tool(blocking=False)
    def inline(text: str) -> str:
        with tracer.start_as_current_span("work"):
            return text

    @server.tool
    def thread(text: str) -> str:
        started = time.perf_counter()
        with tracer.start_as_current_span("work"):
            server.metrics.increment("data_processed")
        server.metrics.record("processing_time", time.perf_counter() - started)
        return text

    @server.tool
    async def task(text: str, ctx: Context) -> str:
        with tracer.start_as_current_span("work"):
            await anyio.lowlevel.checkpoint()
        return text

    @server.tool(cache_key="kept", cache_ttl=60, blocking=False)
    def kept(text: str) -> str:
        return text

    @server.tool(blocking=False)
    def fail(text: str) -> str:
        raise ToolError("no luck")

    @server.tool(blocking=False)
    def crash(text: str) -> str:
        raise LookupError("internal detail")

    @server.tool(blocking=False, rate_limit={"requests": 1, "window": 3600})
    def rare(text: str) -> str:
        return text

    @server.tool(blocking=False, required_permission="admin")
    def guarded(text: str) -> str:
        return text

    @server.resource("memo://{name}")
    def memo(name: str) -> str:
        return name

    @server.prompt(blocking=False)
    def greet(name: str) -> str:
        return f"hello {name}"

    return server


async def call(client: MCPClient, tool: str, text: str = "x") -> Any:
    return (await client.call_tool(tool, {"text": text})).text


# Metrics


async def test_metrics_count_what_clients_did(join: Join, revision: str) -> None:
    server = make_server(enable_metrics=True)
    async with join(server, revision) as client:
        for tool in ("inline", "thread", "task", "kept", "kept", "rare"):
            assert await call(client, tool) == "x"
        for tool in ("fail", "crash", "rare"):
            with pytest.raises(MCPError):
                await call(client, tool)
        await client.read_resource("memo://x")
        await client.get_prompt("greet", {"name": "you"})
    found = server.get_metrics()
    assert (found["tools_called"], found["cache_hits"]) == (8, 1)
    assert (found["resources_read"], found["prompts_got"]) == (1, 1)
    assert (found["requests"], found["errors"], found["refused"], found["refused_rate_limit"]) == (10, 2, 1, 1)
    assert found["error_rate"] == 0.2
    assert (found["tool.kept.calls"], found["tool.kept.cache_hits"]) == (2, 1)
    assert found["tool.rare.refused"] == 1
    assert found["custom.data_processed"] == found["custom.processing_time.count"] == 1
    assert 0 < found["tool.thread.p50_ms"] <= found["tool.thread.p99_ms"] < 10_000
    assert server.get_tool_stats()["fail"]["error_rate"] == 1.0


async def test_what_users_record_counts_without_metrics_too(join: Join) -> None:
    server = make_server()
    async with join(server) as client:
        await call(client, "thread")
    assert server.get_metrics()["custom.data_processed"] == 1
    assert server.get_metrics()["tools_called"] == 0


# The audit log


async def test_the_audit_log_tells_who_did_what_and_nothing_that_was_sent(join: Join, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    server = make_server(audit=path)
    async with join(server) as client:
        await call(client, "inline", "the secret")
        await call(client, "rare", "the secret")
        for tool in ("fail", "crash", "rare"):
            with pytest.raises(MCPError):
                await call(client, tool, "the secret")
        await client.read_resource("memo://the-secret")
    text = path.read_text()
    assert "secret" not in text and "no luck" not in text and "internal detail" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(each["method"], each["name"], each["outcome"], each["reason"]) for each in lines[:5]] == [
        ("tools/call", "inline", "ok", None),
        ("tools/call", "rare", "ok", None),
        ("tools/call", "fail", "error", "tool_error"),
        ("tools/call", "crash", "error", "LookupError"),
        ("tools/call", "rare", "refused", "rate_limited"),
    ]
    assert (lines[5]["method"], lines[5]["outcome"]) == ("resources/read", "ok")
    assert {each["transport"] for each in lines} == {"memory"}
    assert len({each["request_id"] for each in lines}) == 6


async def test_a_refused_caller_is_in_the_log_without_his_key() -> None:
    records: list[dict[str, Any]] = []
    auth = APIKeyAuth({"user-key-0123456789": {"permissions": ["tools"], "metadata": {"user": "alice"}}})
    async with serving(auth_provider=auth, audit=records.append) as web:

        @web.server.tool(blocking=False, required_permission="admin")
        def guarded() -> str:
            return "never"

        config = {"url": web.url, "transport": "http", "headers": {"X-API-Key": "user-key-0123456789"}}
        async with MCPClient(config) as client:
            await client.call_tool("echo", {"message": "secret"})
            with pytest.raises(MCPError):
                await client.call_tool("guarded", {})
        stranger = {"url": web.url, "transport": "http", "headers": {"X-API-Key": "wrong-key-0123456789"}}
        with pytest.raises(MCPError):
            async with MCPClient(stranger) as client:
                await client.call_tool("echo", {"message": "secret"})
    text = json.dumps(records)
    assert "secret" not in text and "user-key" not in text and "wrong-key" not in text
    granted = next(each for each in records if each["name"] == "echo")
    refused = next(each for each in records if each["name"] == "guarded")
    assert (granted["outcome"], refused["outcome"]) == ("ok", "refused")
    assert granted["principal"] == refused["principal"] is not None
    assert any(each["principal"] is None and each["outcome"] == "refused" for each in records)


# /metrics


async def scrape(web: Web, *headers: str) -> tuple[int, dict[str, float]]:
    peer = await Peer.connect(int(web.url.rpartition(":")[2]))
    await peer.get("/metrics", *headers)
    status, _, body = await peer.response()
    await peer.close()
    return status, values(body.decode()) if status == 200 else {}


def values(text: str) -> dict[str, float]:
    return {
        ",".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_are_scraped_over_http() -> None:
    async with serving(enable_metrics=True) as web:
        async with MCPClient(web.url) as client:
            await client.call_tool("echo", {"message": "x"})
            with pytest.raises(ToolError):
                await client.call_tool("fail", {})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "wait", {})
                await web.started.wait()
                status, found = await scrape(web)
                web.release.set()
        assert status == 200
        assert found["kailash_mcp_requests_total,kind=tool,name=echo,outcome=ok"] == 1
        assert found["kailash_mcp_requests_total,kind=tool,name=fail,outcome=error"] == 1
        assert found["kailash_mcp_requests_total,kind=tool,name=wait,outcome=ok"] == 0
        assert found["kailash_mcp_request_duration_seconds_count,kind=tool,name=echo"] == 1
        assert found["kailash_mcp_in_flight"] == 1
        status, found = await scrape(web)
        assert found["kailash_mcp_requests_total,kind=tool,name=wait,outcome=ok"] == 1
        assert found["kailash_mcp_in_flight"] == 0


async def test_names_that_callers_make_up_become_no_labels() -> None:
    async with serving(enable_metrics=True) as web:
        async with MCPClient(web.url) as client:
            for number in range(20):
                with pytest.raises(MCPError):
                    await client.call_tool(f"made-up-{number}", {})
                await client.read_resource(f"memo://made-up-{number}")
        _, found = await scrape(web)
    assert not [name for name in found if "made-up" in name]


async def test_metrics_are_for_those_whom_the_server_knows_unless_they_are_open() -> None:
    auth = APIKeyAuth(["key-0123456789abcdef"])
    async with serving(enable_metrics=True, auth_provider=auth) as web:
        assert (await scrape(web))[0] == 401
        assert (await scrape(web, "X-API-Key: wrong"))[0] == 401
        assert (await scrape(web, "X-API-Key: key-0123456789abcdef"))[0] == 200
    async with serving(enable_metrics=True, auth_provider=auth, http_options={"open_metrics": True}) as web:
        assert (await scrape(web))[0] == 200
        assert (await scrape(web, "Origin: https://evil.example"))[0] == 403


async def test_without_metrics_there_is_no_such_path() -> None:
    async with serving() as web:
        assert (await scrape(web))[0] == 404


# Traces


class Seen:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = OpenTelemetry(tracer_provider=self.tracers, meter_provider=MeterProvider([self.reader]))

    def spans(self) -> list[ReadableSpan]:
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found

    def measured(self) -> set[str]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen = Seen()
    # What handlers trace with; the global provider can be set but once in a process.
    monkeypatch.setattr(trace, "get_tracer", lambda name, *_: seen.tracers.get_tracer(name))
    return seen


@asynccontextmanager
async def opened(kind: str, server: MCPServer, **options: Any) -> AsyncIterator[MCPClient]:
    """Open a client of a server, over a transport."""
    if kind == "memory":
        async with MCPClient(server, **options) as client:
            yield client
        return
    ports: list[int] = []
    listening = anyio.Event()

    def started(port: int) -> None:
        ports.append(port)
        listening.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.serve_http("127.0.0.1", 0, started=started))
        await listening.wait()
        path = "/sse" if kind == "sse" else "/mcp"
        config = {"url": f"http://127.0.0.1:{ports[0]}{path}", "transport": kind}
        async with MCPClient(config, **options) as client:
            yield client
        tasks.cancel_scope.cancel()


def revisions_of(kind: str) -> list[str]:
    names = [revision.name for revision in REVISIONS]
    return names[:1] if kind == "sse" else names[1:] if kind == "http" else names


@pytest.mark.parametrize("kind", ["memory", "http", "sse"])
async def test_spans_form_one_trace_from_client_through_server_to_tool(seen: Seen, kind: str) -> None:
    server = make_server(tracing=seen.tracing, enable_http_transport=True, enable_sse_transport=True)
    for revision in revisions_of(kind):
        async with opened(kind, server, tracing=seen.tracing, revisions=[revision]) as client:
            for tool in ("inline", "thread", "task"):
                seen.spans()
                with seen.tracers.get_tracer("user").start_as_current_span("agent"):
                    await call(client, tool)
                work, inner, outer, agent = seen.spans()
                assert [work.name, inner.name, agent.name] == ["work", f"tools/call {tool}", "agent"]
                assert (inner.kind, outer.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
                chain = [agent, outer, inner, work]
                assert len({span.context.trace_id for span in chain}) == 1
                for parent, child in pairwise(chain):
                    assert child.parent is not None and child.parent.span_id == parent.context.span_id
                for span in (inner, outer):
                    assert span.attributes is not None
                    assert span.attributes["mcp.protocol.version"] == revision
                    assert span.attributes["gen_ai.tool.name"] == tool
                assert inner.attributes is not None and outer.attributes is not None
                assert inner.attributes["jsonrpc.request.id"] == outer.attributes["jsonrpc.request.id"]
    durations = {f"mcp.{side}.{what}.duration" for side in ("client", "server") for what in ("operation", "session")}
    assert durations <= seen.measured()


async def test_requests_for_no_entry_have_spans_without_what_callers_make_up(
    seen: Seen, join: Join, revision: str
) -> None:
    server = make_server(tracing=seen.tracing)
    async with join(server, revision, tracing=seen.tracing) as client:
        seen.spans()
        await client.list_tools()
        with pytest.raises(MCPError):
            await client.call_tool("made-up", {})
        listed, _, refused, asked = seen.spans()
    assert (listed.name, listed.kind) == ("tools/list", SpanKind.SERVER)
    assert refused.name == "tools/call" and "gen_ai.tool.name" not in (refused.attributes or {})
    assert asked.name == "tools/call made-up"
    assert refused.parent is not None and refused.parent.span_id == asked.context.span_id
    assert (refused.attributes or {})["error.type"] == (asked.attributes or {})["error.type"] == "-32602"


async def test_failures_are_told_on_both_sides(seen: Seen, join: Join, revision: str) -> None:
    server = make_server(tracing=seen.tracing)
    async with join(server, revision, tracing=seen.tracing) as client:
        for tool in ("fail", "crash"):
            with pytest.raises(MCPError):
                await call(client, tool)
        failed = seen.spans()
        assert {(span.attributes or {})["error.type"] for span in failed} == {"tool_error"}
        assert {span.status.status_code for span in failed} == {StatusCode.ERROR}
        await call(client, "rare")
        seen.spans()
        with pytest.raises(MCPError):
            await call(client, "rare")
        inner, outer = seen.spans()
        assert (inner.attributes or {})["error.type"] == (outer.attributes or {})["error.type"]
        assert "internal detail" not in str([span.to_json() for span in [*failed, inner, outer]])


async def test_resources_and_prompts_have_spans(seen: Seen, join: Join) -> None:
    server = make_server(tracing=seen.tracing)
    async with join(server, tracing=seen.tracing) as client:
        await client.read_resource("memo://x")
        await client.get_prompt("greet", {"name": "you"})
    named = [span for span in seen.spans() if span.name.startswith(("resources/read", "prompts/get"))]
    assert [span.name for span in named] == ["resources/read"] * 2 + ["prompts/get greet"] * 2
    assert {(span.attributes or {})["mcp.resource.uri"] for span in named[:2]} == {"memo://x"}


async def test_a_client_that_traces_is_welcome_at_a_server_that_does_not(seen: Seen, join: Join) -> None:
    async with join(make_server(), tracing=seen.tracing) as client:
        seen.spans()
        assert await call(client, "task") == "x"
        assert [span.kind for span in seen.spans() if span.name != "work"] == [SpanKind.CLIENT]


async def test_a_call_that_is_given_up_ends_its_spans(seen: Seen) -> None:
    async with serving(tracing=seen.tracing) as web, MCPClient(web.url, tracing=seen.tracing) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "wait", {})
            await web.started.wait()
            seen.spans()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await web.cancelled.wait()
            ended = seen.spans()
            while len(ended) < 2:
                await anyio.lowlevel.checkpoint()
                ended += seen.spans()
    assert {(span.attributes or {})["error.type"] for span in ended} == {"cancelled"}
