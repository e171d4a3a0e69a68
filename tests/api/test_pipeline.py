"""Limits, breakers, gates, caches and observers of calls: one pipeline, over the wire, in both eras."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import Raw
from msgspec.json import encode

from kailash.errors import CircuitOpenError, MCPError, MCPErrorCode, RateLimitError, ToolError
from kailash.mcp_server import Context, MCPServer
from protocol.params import CallToolParams

from .conftest import Join

pytestmark = pytest.mark.anyio


def make(**options: Any) -> MCPServer:
    return MCPServer("guarded", **options)


# Rate limits


async def test_a_rate_limit_refuses_with_the_time_to_wait(revision: str, join: Join) -> None:
    server = make(rate_limit_config={"requests_per_minute": 60, "burst_size": 2})
    server.tool(name="act", blocking=False)(lambda: "done")
    server.resource("x://y")(lambda: "read")
    async with join(server, revision) as client:
        await client.list_tools()  # lists are free
        assert (await client.call_tool("act")).text == "done"
        await client.read_resource("x://y")
        with pytest.raises(RateLimitError, match="the rate limit of this server") as raised:
            await client.call_tool("act")
        assert raised.value.error_code == MCPErrorCode.RATE_LIMITED
        assert raised.value.retryable
        assert raised.value.retry_after == pytest.approx(1.0, abs=0.2)
        with pytest.raises(RateLimitError):
            await client.read_resource("x://y")


async def test_a_tool_has_a_rate_limit_of_its_own(revision: str, join: Join) -> None:
    server = make(rate_limit_config={"requests": 3, "window": 3600})
    server.tool(name="rare", rate_limit=1)(lambda: "rare")
    server.tool(name="often")(lambda: "often")
    async with join(server, revision) as client:
        await client.call_tool("rare")
        with pytest.raises(RateLimitError, match="tool 'rare'"):
            await client.call_tool("rare")
        # What was refused took nothing from the other bucket.
        await client.call_tool("often")
        await client.call_tool("often")
        with pytest.raises(RateLimitError):
            await client.call_tool("often")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rate": 1}, "unknown key rate in rate_limit_config; known: .*burst_size.*requests_per_minute"),
        ({"burst_size": 1}, "needs requests_per_minute"),
        ({"requests_per_minute": 1, "default_limit": 2}, "says requests_per_minute twice"),
        ({"requests_per_minute": 1, "window": 2}, "give requests_per_minute, or"),
        ({"requests_per_minute": "many"}, "requests is a number"),
        ({"requests_per_minute": 1, "per_user": 1}, "True or False"),
        ({"requests_per_minute": 1, "burst_limit": 1.5}, "whole number"),
        ([60], "a number of calls a minute or a mapping"),
    ],
)
def test_a_malformed_rate_limit_is_refused(config: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make(rate_limit_config=config)


# Circuit breaker


async def test_a_breaker_opens_and_says_when_to_come_back(revision: str, join: Join) -> None:
    server = make(circuit_breaker_config={"failure_threshold": 2, "recovery_timeout": 60, "success_threshold": 1})
    broken = True

    @server.tool(blocking=False)
    def flaky(number: int = 0) -> str:
        if broken:
            raise RuntimeError("down")
        return "up"

    @server.tool(blocking=False, enable_circuit_breaker=False)
    def careless() -> str:
        raise RuntimeError("down")

    @server.tool(blocking=False)
    def strict(age: int) -> str:
        raise MCPError("no such age", error_code=MCPErrorCode.VALIDATION_ERROR)

    async with join(server, revision) as client:
        for _ in range(2):
            with pytest.raises(ToolError):
                await client.call_tool("flaky")
        with pytest.raises(CircuitOpenError, match="its circuit breaker is open") as raised:
            await client.call_tool("flaky")
        assert 59 < (raised.value.retry_after or 0) <= 60
        for _ in range(4):
            with pytest.raises(ToolError):
                await client.call_tool("careless")
            # What the caller did wrong is no failure of the tool's.
            with pytest.raises(MCPError, match="no such age"):
                await client.call_tool("strict", {"age": 1})
            with pytest.raises(MCPError, match="age"):
                await client.call_tool("strict", {"age": "old"})
        assert server.policies.breakers() == {"flaky": "open", "strict": "closed"}
        assert (await server.health_check())["status"] == "degraded"
        broken = False
        server.reset_circuit_breaker("flaky")
        assert (await client.call_tool("flaky")).text == "up"


async def test_what_counts_as_failure_can_be_said(join: Join, revision: str) -> None:
    server = make(
        circuit_breaker_config={
            "failure_threshold": 1,
            "is_failure": lambda error: not isinstance(error, LookupError),
        }
    )

    @server.tool(blocking=False)
    def find(name: str) -> str:
        raise (KeyError if name == "missing" else OSError)(name)

    async with join(server, revision) as client:
        for name in ("missing", "missing", "disk"):
            with pytest.raises(ToolError):
                await client.call_tool("find", {"name": name})
        with pytest.raises(CircuitOpenError):
            await client.call_tool("find", {"name": "missing"})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"threshold": 1}, "unknown key threshold in circuit_breaker_config; known: failure_threshold"),
        ({"timeout": 1, "recovery_timeout": 2}, "says timeout twice"),
        ({"is_failure": 1}, "is a function"),
        ({"failure_threshold": 1.5}, "whole number"),
        (5, "is a mapping"),
    ],
)
def test_a_malformed_breaker_is_refused(config: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make(circuit_breaker_config=config)


# Admission


async def test_only_so_many_run_at_once_and_so_many_wait(revision: str, join: Join) -> None:
    server = make(max_queued=2)
    running = most = 0
    release = anyio.Event()
    results: list[str] = []

    @server.tool(max_concurrency=2)
    async def work(number: int) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        return str(number)

    async with join(server, revision) as client:
        refused: list[float | None] = []
        settled = anyio.Event()

        async def call(number: int) -> None:
            try:
                results.append((await client.call_tool("work", {"number": number})).text)
            except MCPError as error:
                assert error.error_code == MCPErrorCode.OVERLOADED
                assert "2 calls of tool 'work' run and 2 wait" in error.message
                refused.append(error.retry_after)
                if len(refused) == 3:
                    settled.set()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for number in range(7):
                    group.start_soon(call, number)
                await settled.wait()
                release.set()
    assert len(set(results)) == 4
    assert most == 2
    assert refused == [1.0, 1.0, 1.0]


async def test_a_call_that_waits_for_its_turn_can_be_withdrawn_and_times_out(revision: str, join: Join) -> None:
    server = make(max_concurrent_requests=1)
    started, release = anyio.Event(), anyio.Event()
    ran: list[int] = []

    @server.tool(timeout=0.2)
    async def work(number: int, hold: bool = False) -> str:
        ran.append(number)
        if hold:
            started.set()
            with anyio.CancelScope(shield=True):
                await release.wait()
        return str(number)

    @server.tool
    async def hold() -> str:
        started.set()
        await release.wait()
        return "held"

    async with join(server, revision) as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "hold")
        with anyio.fail_after(5):
            await started.wait()
            with pytest.raises(MCPError, match="timed out"):
                await client.call_tool("work", {"number": 1})
            with anyio.move_on_after(0.05):
                await client.call_tool("work", {"number": 2})
            await anyio.wait_all_tasks_blocked()
            release.set()
            assert (await client.call_tool("work", {"number": 3})).text == "3"
    assert ran == [3]


# Cache


async def test_a_template_names_the_arguments_that_count(revision: str, join: Join) -> None:
    server = make()
    runs: list[str] = []

    @server.tool(cache_key="weather:{city}", cache_ttl=60)
    def weather(city: str, trace: str = "") -> str:
        runs.append(city)
        return f"{city} {len(runs)}"

    async with join(server, revision) as client:

        async def ask(city: str, trace: str) -> str:
            return (await client.call_tool("weather", {"city": city, "trace": trace})).text

        assert await ask("Paris", "a") == await ask("Paris", "b") == "Paris 1"
        assert await ask("Rome", "a") == "Rome 2"
        server.clear_cache("weather:Paris")
        assert await ask("Rome", "b") == "Rome 2"
        assert await ask("Paris", "c") == "Paris 3"
        server.clear_cache("weather:{city}")
        assert await ask("Rome", "b") == "Rome 4"
    with pytest.raises(TypeError, match="cache_key names town; arguments of 'weather': city"):
        make().tool(name="weather", cache_key="weather:{town}", cache_ttl=1)(lambda city: city)


async def test_resources_and_prompts_are_kept_too(revision: str, join: Join) -> None:
    server = make()
    runs: list[str] = []

    @server.resource("memo://{name}", cache_ttl=60)
    def memo(name: str) -> str:
        runs.append(name)
        return name

    @server.prompt(cache_ttl=60)
    def greet(name: str) -> str:
        runs.append(name)
        return f"hello {name}"

    async with join(server, revision) as client:
        for _ in range(2):
            for name in ("a", "b"):
                assert (await client.read_resource(f"memo://{name}")).text == name
                prompt = await client.get_prompt("greet", {"name": name})
                assert prompt.messages[0].content.text == f"hello {name}"
    assert runs == ["a", "a", "b", "b"]


async def test_a_thousand_that_ask_the_same_at_once_share_one_run(revision: str, join: Join) -> None:
    server = make()
    server.limits = server.limits.__class__(requests=2000)
    runs = 0
    release = anyio.Event()

    @server.tool(cache_ttl=60)
    async def slow(number: int) -> int:
        nonlocal runs
        runs += 1
        await release.wait()
        return number

    async with join(server, revision) as client:
        results: list[Any] = []

        async def ask() -> None:
            results.append((await client.call_tool("slow", {"number": 7})).text)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(1000):
                    group.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                release.set()
    assert results == ["7"] * 1000
    assert runs == 1


async def test_the_end_of_the_first_is_not_that_of_those_who_wait(revision: str, join: Join) -> None:
    server = make()
    started = [anyio.Event(), anyio.Event()]
    release = anyio.Event()
    runs: list[int] = []

    @server.tool(cache_ttl=60)
    async def slow() -> str:
        runs.append(1)
        started[len(runs) - 1].set()
        await release.wait()
        return f"run {len(runs)}"

    async with join(server, revision) as first, join(server, revision) as second:
        results: list[str] = []

        async def follow() -> None:
            results.append((await second.call_tool("slow")).text)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                async with anyio.create_task_group() as leading:
                    leading.start_soon(first.call_tool, "slow")
                    await started[0].wait()
                    for _ in range(3):
                        group.start_soon(follow)
                    await anyio.wait_all_tasks_blocked()
                    leading.cancel_scope.cancel()
                await started[1].wait()
                release.set()
    assert results == ["run 2"] * 3
    assert len(runs) == 2


async def test_arguments_that_cannot_be_read_are_refused_as_ever(revision: str, join: Join) -> None:
    server = make(enable_metrics=True)
    server.tool(name="act", cache_ttl=60)(lambda a=1: a)
    async with join(server, revision) as client:
        for wrong in ([1], "x", {"b": 1}):
            result = await client.request("tools/call", CallToolParams(name="act", arguments=Raw(encode(wrong))))
            assert result["isError"] and result["_meta"]["kailash/error"]["code"] == MCPErrorCode.INVALID_PARAMS
        assert (await client.call_tool("act")).text == "1"


async def test_what_is_cleared_while_it_is_made_is_not_kept(revision: str, join: Join) -> None:
    server = make()
    started, release = anyio.Event(), anyio.Event()
    runs = 0

    @server.tool(cache_ttl=60)
    async def count() -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            started.set()
            await release.wait()
        return runs

    async with join(server, revision) as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "count")
        with anyio.fail_after(5):
            await started.wait()
            server.clear_cache()
            release.set()
            await client.call_tool("count")
            assert (await client.call_tool("count")).text == "2"


# What is recorded


async def test_calls_are_counted_and_written_down(revision: str, join: Join) -> None:
    lines: list[dict[str, Any]] = []
    server = make(enable_metrics=True, audit=lines.append, stdio_permissions=["look"])

    @server.tool(cache_ttl=60)
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool
    async def fail(secret: str) -> str:
        raise RuntimeError(secret)

    @server.tool(required_permission="operate")
    def operate() -> str:
        return "never"

    async with join(server, revision) as client:
        for _ in range(3):
            await client.call_tool("add", {"a": 1, "b": 2})
        with pytest.raises(ToolError):
            await client.call_tool("fail", {"secret": "hunter2"})
        with pytest.raises(MCPError, match="requires the permission 'operate'") as raised:
            await client.call_tool("operate")
        assert raised.value.error_code == MCPErrorCode.AUTHORIZATION_FAILED
        assert raised.value.data == {"missing": ["operate"]}
    metrics = server.get_metrics()
    assert (metrics["tools_called"], metrics["cache_hits"], metrics["error_rate"]) == (4, 2, 0.25)
    assert metrics["refused_permission"] == 1
    assert server.get_tool_stats()["add"]["calls"] == 3
    assert [(line["name"], line["outcome"], line["reason"]) for line in lines] == [
        ("add", "ok", None),
        ("add", "ok", None),
        ("add", "ok", None),
        ("fail", "error", "RuntimeError"),
        ("operate", "refused", "authorization_failed"),
    ]
    assert "hunter2" not in repr(lines)


async def test_a_call_that_is_withdrawn_is_recorded_as_such(revision: str, join: Join) -> None:
    lines: list[dict[str, Any]] = []
    server = make(audit=lines.append, circuit_breaker_config={"failure_threshold": 1})
    started = anyio.Event()

    @server.tool
    async def wait(ctx: Context) -> str:
        started.set()
        await anyio.sleep_forever()
        return ""

    async with join(server, revision) as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "wait")
        with anyio.fail_after(5):
            await started.wait()
            group.cancel_scope.cancel()
    assert [line["outcome"] for line in lines] == ["cancelled"]
    assert server.policies.breakers() == {"wait": "closed"}


# Tasks pass the same, and are recorded when they end


async def test_a_task_is_recorded_when_it_ends(revision: str, join: Join) -> None:
    lines: list[dict[str, Any]] = []
    server = make(enable_metrics=True, audit=lines.append, circuit_breaker_config={"failure_threshold": 2})
    release = anyio.Event()

    @server.tool(task="optional", task_poll_interval=0.05, max_concurrency=1)
    async def work(fails: bool = False) -> str:
        await release.wait()
        if fails:
            raise RuntimeError("broken")
        return "done"

    async with join(server, revision, tasks=True) as client:
        first = await client.start_task("work")
        assert lines == []
        release.set()
        with anyio.fail_after(5):
            assert (await first.result()).text == "done"
            second = await client.start_task("work", {"fails": True})
            with pytest.raises(ToolError):
                await second.result()
    assert lines[0]["outcome"] == "ok" and lines[-1]["outcome"] == "error"
    assert server.get_metrics()["tools_called"] == len(lines)


async def test_a_task_waits_for_its_turn_and_its_place_is_free_when_it_ends(revision: str, join: Join) -> None:
    server = make(max_queued=1)
    started: list[int] = []
    begun, release = anyio.Event(), anyio.Event()

    @server.tool(task="optional", task_poll_interval=0.05, max_concurrency=1)
    async def work(number: int) -> int:
        started.append(number)
        begun.set()
        await release.wait()
        return number

    async with join(server, revision, tasks=True) as client:
        results: list[Any] = []

        async def run(number: int) -> None:
            task = await client.start_task("work", {"number": number})
            results.append((await task.result()).text)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(run, 1)
                await begun.wait()
                group.start_soon(run, 2)
                [gate] = [stage.gate for stage in server.registry.tools.get("work").pipeline.stages]
                while not gate.waiting:
                    await anyio.lowlevel.checkpoint()
                assert started == [1]
                with pytest.raises(MCPError, match="1 calls of tool 'work' run and 1 wait"):
                    await client.start_task("work", {"number": 3})
                release.set()
        assert sorted(results) == ["1", "2"]
        cancelled = await client.start_task("work", {"number": 4})
        with contextlib.suppress(MCPError):
            await cancelled.cancel()
        assert (await client.call_tool("work", {"number": 5})).text == "5"


async def test_a_task_that_asks_keeps_its_result_for_nobody_else(revision: str, join: Join) -> None:
    server = make()

    @server.tool(task="optional", cache_ttl=60, task_poll_interval=0.05)
    async def consent(ctx: Context) -> str:
        return (await ctx.elicit("may I?")).action

    async def accept(params: Any) -> dict[str, Any]:
        return {}

    async def decline(params: Any) -> None:
        return None

    answers = []
    for handler in (accept, decline):
        async with join(server, revision, tasks=True, elicitation_handler=handler) as client:
            with anyio.fail_after(5):
                task = await client.start_task("consent")
                answers.append((await task.result()).text)
    assert answers[0] == "accept" and answers[1] != "accept"


async def test_a_cached_task_shares_the_kept_result(revision: str, join: Join) -> None:
    server = make()
    runs: list[int] = []

    @server.tool(task="optional", task_poll_interval=0.05, cache_ttl=60)
    async def work(number: int) -> int:
        runs.append(number)
        return number

    async with join(server, revision, tasks=True) as client:
        with anyio.fail_after(5):
            for _ in range(2):
                task = await client.start_task("work", {"number": 1})
                assert (await task.result()).text == "1"
    assert runs == [1]
