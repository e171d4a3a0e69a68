"""The worker pool: results, refusals, context, and threads that come and go."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import anyio
import pytest

from kailash.adapters.threads import WorkerPool, WorkersBusy

from .lines import until

pytestmark = pytest.mark.anyio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def raiser() -> None:
    raise ValueError("from the thread")


async def test_a_function_runs_in_another_thread_and_its_result_comes_back() -> None:
    pool = WorkerPool()
    assert await pool.run(threading.get_ident) != threading.get_ident()
    assert await pool.run(lambda: 42) == 42
    assert len(pool) == 0
    pool.close()
    await until(lambda: pool.threads == 0)


async def test_what_a_function_raises_comes_back() -> None:
    pool = WorkerPool()
    with pytest.raises(ValueError, match="from the thread"):
        await pool.run(raiser)

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await pool.run(leave)
    assert await pool.run(lambda: 1) == 1
    pool.close()


async def test_results_are_reported_in_the_thread_of_the_loop() -> None:
    pool = WorkerPool()
    reported: list[tuple[Any, Any, int]] = []
    pool.submit(lambda: "x", lambda *outcome: reported.append((*outcome, threading.get_ident())))
    await until(lambda: reported)
    assert reported == [("x", None, threading.get_ident())]
    pool.close()


async def test_a_failing_report_does_not_lose_the_others(caplog: pytest.LogCaptureFixture) -> None:
    pool = WorkerPool(limit=1)
    reported: list[int] = []

    def fail(result: Any, error: BaseException | None) -> None:
        raise ValueError("bad report")

    pool.submit(lambda: 1, fail)
    pool.submit(lambda: 2, lambda result, error: reported.append(result))
    await until(lambda: reported == [2])
    assert "bad report" in caplog.text
    pool.close()


async def test_functions_that_block_run_at_the_same_time_up_to_the_limit() -> None:
    pool = WorkerPool(limit=8, queue=4)
    barrier = threading.Barrier(9)
    for _ in range(8):
        pool.submit(lambda: barrier.wait(4), lambda *_: None)
    late: list[int] = []
    pool.submit(lambda: late.append(1), lambda *_: None)
    await until(lambda: barrier.n_waiting == 8)
    assert pool.threads == 8
    assert late == []
    barrier.wait(4)
    await until(lambda: late and len(pool) == 0)
    assert pool.threads == 8
    pool.close()


@pytest.mark.parametrize(("limit", "queue"), [(1, 0), (2, 3)])
async def test_more_than_limit_and_queue_is_refused_at_once(limit: int, queue: int) -> None:
    pool = WorkerPool(limit=limit, queue=queue)
    release = threading.Event()
    done: list[Any] = []
    for _ in range(limit + queue):
        pool.submit(lambda: release.wait(4), lambda *outcome: done.append(outcome))
    with pytest.raises(WorkersBusy):
        pool.submit(lambda: None, lambda *_: None)
    with pytest.raises(WorkersBusy):
        await pool.run(lambda: None)
    assert len(pool) == limit + queue
    release.set()
    await until(lambda: len(done) == limit + queue)
    assert await pool.run(lambda: 7) == 7
    pool.close()


async def test_short_functions_share_few_threads() -> None:
    pool = WorkerPool(limit=32, queue=2000)
    done: list[Any] = []
    for number in range(2000):
        pool.submit(lambda number=number: number, lambda result, _: done.append(result))
    await until(lambda: len(done) == 2000)
    assert sorted(done) == list(range(2000))
    assert pool.threads <= 32
    pool.close()


async def test_context_variables_are_copied() -> None:
    pool = WorkerPool()
    variable.set("caller")

    def change() -> str:
        seen = variable.get()
        variable.set("thread")
        return seen

    assert await pool.run(change) == "caller"
    assert variable.get() == "caller"
    pool.close()


async def test_a_cancelled_caller_stops_waiting_and_the_place_comes_back() -> None:
    pool = WorkerPool(limit=1, queue=0)
    release = threading.Event()
    with anyio.move_on_after(0.05) as scope:
        await pool.run(lambda: release.wait(4))
    assert scope.cancelled_caught
    assert len(pool) == 1
    release.set()
    await until(lambda: len(pool) == 0)
    assert await pool.run(lambda: 1) == 1
    pool.close()


async def test_idle_threads_end_and_new_ones_start() -> None:
    pool = WorkerPool(idle=0.02)
    for _ in range(3):
        assert await pool.run(lambda: 1) == 1
        await until(lambda: pool.threads == 0)
    pool.close()


async def test_no_work_is_lost_while_threads_come_and_go() -> None:
    pool = WorkerPool(limit=4, queue=64, idle=0.001)
    total = 0
    for number in range(400):
        total += await pool.run(lambda number=number: number)
        if number % 50 == 0:
            await anyio.sleep(0.001)
    assert total == sum(range(400))
    pool.close()


async def test_a_closed_pool_finishes_what_it_has_and_takes_no_more() -> None:
    pool = WorkerPool(limit=1)
    done: list[Any] = []
    for number in range(3):
        pool.submit(lambda number=number: number, lambda result, _: done.append(result))
    pool.close()
    pool.close()
    with pytest.raises(WorkersBusy):
        pool.submit(lambda: None, lambda *_: None)
    await until(lambda: done == [0, 1, 2] and pool.threads == 0)


def test_a_result_that_comes_after_the_loop_has_ended_is_dropped() -> None:
    release = threading.Event()
    finished = threading.Event()

    def late() -> None:
        release.wait(4)
        finished.set()

    async def main() -> WorkerPool:
        pool = WorkerPool(idle=0.01)
        pool.submit(late, lambda *_: None)
        return pool

    for backend in ("asyncio", "trio"):
        pool = anyio.run(main, backend=backend)
        release.set()
        assert finished.wait(4)
        pool.close()
        release.clear()
        finished.clear()
