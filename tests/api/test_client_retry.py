"""What a client does with calls that failed: again, later, or not at all; and how it counts and groups them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kailash.errors import ConnectionError as MCPConnectionError
from kailash.errors import RateLimitError, ToolError, TransportError
from kailash.mcp_server import Context, MCPClient, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.errors import (
    CircuitBreakerRetry,
    CircuitOpenError,
    ExponentialBackoffRetry,
    RetryableOperation,
    SimpleRetry,
)

from .conftest import Join
from .webserver import serving, speaking

pytestmark = pytest.mark.anyio

AT_ONCE = {"retry_strategy": SimpleRetry(delay=0.0)}


class Failing:
    """A server whose tools fail as often as they are told, and count how often they ran."""

    def __init__(self) -> None:
        self.server = MCPServer("failing")
        self.runs = 0
        self.failures: list[MCPError] = []

        def run() -> str:
            self.runs += 1
            if self.failures:
                raise self.failures.pop(0)
            return "well"

        self.server.add_tool(run, name="plain", blocking=False)
        self.server.add_tool(run, name="reads", blocking=False, annotations={"readOnlyHint": True})
        self.server.add_tool(run, name="repeats", blocking=False, annotations={"idempotentHint": True})
        self.server.resource("memo://one", blocking=False)(run)

    def fail(self, *errors: MCPError) -> None:
        self.runs = 0
        self.failures[:] = errors


@pytest.fixture
def failing() -> Failing:
    return Failing()


async def test_refused_calls_are_made_again_and_others_only_where_that_is_safe(
    failing: Failing, join: Join, revision: str
) -> None:
    refused, passing, final = RateLimitError("x"), ToolError("x", retryable=True), ToolError("x")
    async with join(failing.server, revision, **AT_ONCE) as client:
        for is_listed in (False, True):
            if is_listed:
                await client.list_tools()
            for tool, error, is_repeated in (
                ("plain", refused, True),
                ("plain", passing, False),
                ("reads", refused, True),
                ("reads", passing, is_listed),
                ("repeats", passing, is_listed),
                ("repeats", final, False),
            ):
                failing.fail(error, error)
                if is_repeated:
                    assert (await client.call_tool(tool)).data == "well"
                else:
                    with pytest.raises(MCPError, match="x"):
                        await client.call_tool(tool)
                assert failing.runs == (3 if is_repeated else 1), (tool, error, is_listed)
        failing.fail(refused, refused)
        assert (await client.read_resource("memo://one")).data == "well"


async def test_results_that_are_errors_are_repeated_like_errors(failing: Failing, join: Join, revision: str) -> None:
    async with join(failing.server, revision, raise_on_error=False, **AT_ONCE) as client:
        failing.fail(RateLimitError("x"))
        assert (await client.call_tool("plain")).data == "well"
        failing.fail(*[RateLimitError("always")] * 9)
        result = await client.call_tool("plain")
        assert result.is_error and result.text == "always" and failing.runs == 4


async def test_without_a_strategy_nothing_is_repeated(failing: Failing, join: Join, revision: str) -> None:
    failing.fail(RateLimitError("x"))
    async with join(failing.server, revision) as client:
        with pytest.raises(RateLimitError):
            await client.call_tool("plain")
        assert failing.runs == 1


async def test_a_wait_that_outlasts_the_call_is_not_begun(failing: Failing, join: Join, revision: str) -> None:
    async with join(failing.server, revision, retry_strategy="exponential") as client:
        for times in ({"timeout": 5.0}, {"total_timeout": 5.0}):
            failing.fail(RateLimitError("come back tomorrow", retry_after=86400.0))
            with anyio.fail_after(4), pytest.raises(RateLimitError, match="tomorrow") as error:
                await client.call_tool("plain", **times)  # type: ignore[arg-type]
            assert error.value.retry_after == 86400.0 and failing.runs == 1


async def test_all_attempts_together_take_no_longer_than_one(join: Join, revision: str) -> None:
    server = MCPServer("slow")
    runs: list[int] = []

    @server.tool(annotations={"readOnlyHint": True})
    async def slow(ctx: Context) -> str:
        runs.append(1)
        if len(runs) == 1:
            raise RateLimitError("x", retry_after=0.2)
        for number in range(8):
            await ctx.progress(number)
            await anyio.sleep(0.1)
        return "well"

    options = {"retry_strategy": SimpleRetry(delay=0.0)}
    async with join(server, revision, **options) as client:
        began = anyio.current_time()
        with pytest.raises(MCPError, match=r"\(timeout=\)"):
            await client.call_tool("slow", timeout=0.5)
        assert anyio.current_time() - began < 0.7 and len(runs) == 2
        runs.clear()
        result = await client.call_tool("slow", timeout=0.5, total_timeout=10.0, on_progress=lambda *_: None)
        assert result.text == "well", "progress gives time, also to an attempt that is not the first"
        runs.clear()
        with pytest.raises(MCPError, match=r"\(total_timeout=\)"):
            await client.call_tool("slow", timeout=0.5, total_timeout=0.6, on_progress=lambda *_: None)


async def test_a_pause_can_be_cancelled(failing: Failing, join: Join, revision: str) -> None:
    failing.fail(RateLimitError("x", retry_after=50.0))
    async with join(failing.server, revision, retry_strategy="simple") as client:
        with anyio.move_on_after(0.05) as scope:
            await client.call_tool("plain")
        assert scope.cancelled_caught and failing.runs == 1
        assert (await client.call_tool("plain")).data == "well"


async def test_an_open_circuit_answers_without_the_server(failing: Failing, join: Join, revision: str) -> None:
    strategy = CircuitBreakerRetry(failure_threshold=2, timeout=60.0, max_retries=0)
    async with join(failing.server, revision, retry_strategy=strategy) as client:
        failing.fail(*[RateLimitError("x")] * 2)
        for _ in range(2):
            with pytest.raises(RateLimitError):
                await client.call_tool("plain")
        with pytest.raises(CircuitOpenError) as refused:
            await client.call_tool("plain")
        assert failing.runs == 2 and refused.value.retry_after is not None


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer one HTTP request after the other with these, and take down what came."""
    left, seen = list(answers), []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            buffered = b""
            while True:
                while b"\r\n\r\n" not in buffered:
                    try:
                        buffered += await stream.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        return
                head, _, rest = buffered.partition(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
                length = int(fields.get(b"content-length", b"0"))
                while len(rest) < length:
                    rest += await stream.receive()
                body, buffered = rest[:length], rest[length:]
                request = json.loads(body) if body else {}
                if request.get("method") == "server/discover":
                    answer = discovered(request["id"])
                elif request.get("method") == "tools/call":
                    seen.append(body)
                    answer = left.pop(0) if left else called(request["id"])
                else:
                    answer = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n"
                if not answer:
                    return  # the line is cut
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port}/mcp", seen
        group.cancel_scope.cancel()


def _json(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def discovered(id_: Any) -> bytes:
    result = {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "scripted", "version": "1"},
        "resultType": "complete",
    }
    return _json({"jsonrpc": "2.0", "id": id_, "result": result})


def called(id_: Any) -> bytes:
    content = {"content": [{"type": "text", "text": "well"}], "resultType": "complete"}
    return _json({"jsonrpc": "2.0", "id": id_, "result": content})


def status(line: str, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *fields, "content-length: 0", "", ""]).encode()


async def test_of_http_only_what_proves_that_nothing_ran_is_repeated() -> None:
    for answer, is_repeated in (
        (status("429 Too Many Requests"), True),
        (status("503 Service Unavailable", "retry-after: 0"), True),
        (status("503 Service Unavailable"), False),
        (status("502 Bad Gateway"), False),
        (b"", False),
    ):
        async with (
            answering(answer) as (url, seen),
            MCPClient(url, revisions=["2026-07-28"], **AT_ONCE) as client,  # type: ignore[arg-type]
        ):
            if is_repeated:
                assert (await client.call_tool("write")).data == "well"
            else:
                with pytest.raises((TransportError, MCPConnectionError)):
                    await client.call_tool("write")
            assert len(seen) == (2 if is_repeated else 1), answer


async def test_a_server_that_is_not_there_yet_is_tried_again(revision: str) -> None:
    attempts: list[int] = []

    class Counting(SimpleRetry):
        def pause(self, attempt: int, chance: float) -> float:
            attempts.append(attempt)
            return 0.0

    client = MCPClient("http://127.0.0.1:9/mcp", retry_strategy=Counting(max_retries=2), **speaking(revision))
    with pytest.raises(TransportError, match="connection"):
        await client.call_tool("x")
    assert attempts == [1, 2]


# RetryableOperation


async def test_an_operation_is_run_until_it_goes_well() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def operation(**options: Any) -> RetryableOperation:
        slept.clear()
        options.setdefault("strategy", ExponentialBackoffRetry(base_delay=1.0))
        return RetryableOperation(clock=lambda: 0.0, chance=lambda: 0.5, sleep=sleep, **options)

    failures: list[Exception] = []

    async def work(value: int, *, plus: int = 0) -> int:
        if failures:
            raise failures.pop(0)
        return value + plus

    failures[:] = [MCPConnectionError("gone"), OSError("the network")]
    assert await operation().execute(work, 1, plus=2) == 3
    assert slept == [0.5, 1.0]
    assert await operation(strategy="simple", max_retries=1).execute(lambda value: value, 5) == 5
    failures[:] = [ToolError("no")]
    with pytest.raises(ToolError):
        await operation().execute(work, 1)
    failures[:] = [MCPConnectionError("gone")]
    with pytest.raises(MCPConnectionError):
        await operation(is_safe=False).execute(work, 1)
    failures[:] = [OSError("the network")] * 9
    with pytest.raises(OSError, match="the network"):
        await operation(strategy="simple", max_retries=2).execute(work, 1)
    assert slept == [0.5, 0.5] and len(failures) == 6
    failures[:] = [KeyError("a bug")]
    with pytest.raises(KeyError):
        await operation().execute(work, 1)
    with pytest.raises(ValueError, match="known: simple"):
        operation(strategy="linear")


async def test_a_circuit_that_opens_between_attempts_ends_in_the_error_that_opened_it() -> None:
    strategy = CircuitBreakerRetry(failure_threshold=2, max_retries=5, base_delay=0.001)

    def work() -> None:
        raise RateLimitError("upstream")

    with pytest.raises(RateLimitError, match="upstream"):
        await RetryableOperation(strategy).execute(work)
    with pytest.raises(CircuitOpenError):
        await RetryableOperation(strategy).execute(work)


# Batches, health and figures


async def test_many_calls_run_so_many_at_once_and_results_keep_their_order(join: Join, revision: str) -> None:
    server = MCPServer("many")
    running: list[int] = [0, 0]

    @server.tool
    async def square(n: int) -> int:
        running[0] += 1
        running[1] = max(running)
        await anyio.sleep(0.001 * (5 - n % 5))
        running[0] -= 1
        if n == 13:
            raise ToolError("unlucky")
        return n * n

    async with join(server, revision) as client:
        results = await client.call_tools([("square", {"n": n}) for n in range(10)], max_concurrency=3)
        assert [int(result.text) for result in results] == [n * n for n in range(10)]
        assert running[1] == 3
        mixed = [("square", {"n": 2}), {"tool": "square", "arguments": {"n": 13}}, ["square", {"n": 4}]]
        two, unlucky, four = await client.call_tools(mixed, return_exceptions=True)
        assert (two.text, four.text) == ("4", "16") and isinstance(unlucky, ToolError)
        with pytest.raises(ToolError, match="unlucky"):
            await client.call_tools([("square", {"n": n}) for n in range(10, 20)])
        assert await client.call_tools([]) == []
        with pytest.raises(ValueError, match="max_concurrency"):
            await client.call_tools(["square"], max_concurrency=0)
        with pytest.raises(TypeError, match="not int"):
            await client.call_tools([7])
    async with MCPClient() as unbound:
        results = await unbound.call_tools([(server, "square", {"n": 3}), (server, "square", {"n": 4})])
        assert [result.text for result in results] == ["9", "16"]


async def test_a_client_counts_its_calls(failing: Failing, join: Join, revision: str) -> None:
    async with join(failing.server, revision, enable_metrics=True, **AT_ONCE) as client:
        await client.list_tools()
        await client.call_tool("plain")
        failing.fail(RateLimitError("x"), ToolError("y"))
        with pytest.raises(ToolError):
            await client.call_tool("plain")
        with anyio.move_on_after(0):
            await client.call_tool("plain")
        await client.read_resource("memo://one")
        metrics = client.get_metrics()
    assert metrics is not None
    assert (metrics["calls"], metrics["errors"], metrics["retries"]) == (5, 1, 1)
    assert metrics["error_rate"] == 0.2 and metrics["cancelled"] == 1
    assert metrics["tools"]["plain"]["calls"] == 3
    assert set(metrics["methods"]) == {"tools/list", "tools/call", "resources/read"}
    assert metrics["errors_by_code"] == {"TOOL_ERROR": 1}
    assert 0 < metrics["p50_ms"] <= metrics["p95_ms"] <= metrics["p99_ms"]
    assert metrics["http_pool_hits"] == metrics["http_pool_misses"] == 0
    assert metrics["websocket_pool_hits"] == metrics["websocket_pool_misses"] == 0
    assert json.dumps(metrics)
    assert MCPClient("http://127.0.0.1:9").get_metrics() is None


async def test_results_that_are_errors_count_as_errors(failing: Failing, join: Join, revision: str) -> None:
    failing.fail(ToolError("y"))
    async with join(failing.server, revision, enable_metrics=True, raise_on_error=False) as client:
        assert (await client.call_tool("plain")).is_error
        metrics = client.get_metrics()
        assert metrics is not None and (metrics["calls"], metrics["errors"]) == (1, 1)


async def test_connections_that_are_used_again_are_pool_hits(revision: str) -> None:
    async with serving() as web, MCPClient(enable_metrics=True, **speaking(revision)) as client:
        for number in range(5):
            await client.call_tool(web.url, "echo", {"message": str(number)})
        metrics = client.get_metrics()
    assert metrics is not None
    assert metrics["calls"] == 5 and metrics["tools"]["echo"]["calls"] == 5
    assert metrics["http_pool_misses"] >= 1 and metrics["http_pool_hits"] >= 4


async def test_health_says_how_a_server_is_and_never_raises(revision: str) -> None:
    async with serving() as web:
        async with MCPClient(web.url, **speaking(revision)) as client:
            health = await client.health_check()
            assert health["status"] == "healthy" and health["protocol_version"] == revision
            assert health["latency_ms"] > 0 and health["server"].startswith(web.url)
        async with MCPClient(**speaking(revision)) as unbound:
            await unbound.call_tool(web.url, "echo", {"message": "x"})
            health = await unbound.health_check()
            assert health["status"] == "healthy" and len(health["servers"]) == 1
    health = await MCPClient(web.url, **speaking(revision)).health_check()
    assert health["status"] == "unhealthy" and "connection" in health["error"]
    assert health["error_code"] == MCPErrorCode.TRANSPORT_ERROR
    assert (await MCPClient({"transport": "http"}).health_check())["status"] == "unhealthy"
