"""Dispatchers and owners: coroutines that run outside any user's task."""

from __future__ import annotations

import contextvars

import anyio
import anyio.lowlevel
import pytest

from kailash.adapters.dispatch import Dispatcher
from kailash.adapters.loops import current_loop
from kailash.adapters.owner import Owner, spawn_owner

from .lines import until, within

pytestmark = pytest.mark.anyio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_a_handler_starts_later_and_runs_to_its_end() -> None:
    dispatcher = Dispatcher()
    seen: list[str] = []

    async def handler(word: str) -> None:
        seen.append(word)
        await anyio.lowlevel.checkpoint()
        seen.append(variable.get())

    variable.set("caller")
    running = dispatcher.spawn(handler, "hello")
    assert seen == []
    assert len(dispatcher) == 1
    await until(running.done)
    assert seen == ["hello", "caller"]
    assert not running.cancelled()
    assert len(dispatcher) == 0
    assert await dispatcher.aclose()


async def test_a_handler_may_be_started_from_a_callback_of_the_loop() -> None:
    dispatcher = Dispatcher()
    done = anyio.Event()

    async def handler() -> None:
        done.set()

    current_loop().call_soon(lambda: dispatcher.spawn(handler) and None)
    with anyio.fail_after(2):
        await done.wait()
    await dispatcher.aclose()


async def test_cancelling_one_handler_leaves_the_others() -> None:
    dispatcher = Dispatcher()
    ended: list[str] = []
    started = 0
    release = anyio.Event()

    async def handler(name: str) -> None:
        nonlocal started
        started += 1
        try:
            # Scopes inside a handler see the cancellation as their own backend's.
            async with anyio.create_task_group() as group:
                group.start_soon(release.wait)
        finally:
            ended.append(name)

    first = dispatcher.spawn(handler, "first")
    second = dispatcher.spawn(handler, "second")
    await until(lambda: started == 2)
    first.cancel()
    first.cancel()
    await until(first.done)
    assert first.cancelled()
    assert ended == ["first"]
    assert not second.done()
    release.set()
    await until(second.done)
    assert not second.cancelled()


async def test_a_handler_cancelled_before_it_starts_ends() -> None:
    dispatcher = Dispatcher()

    async def handler() -> None:
        await anyio.sleep(60)

    running = dispatcher.spawn(handler)
    running.cancel()
    await until(running.done)
    assert running.cancelled()
    assert len(dispatcher) == 0


async def test_what_a_handler_raises_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dispatcher = Dispatcher()

    async def handler() -> None:
        raise ValueError("broken handler")

    running = dispatcher.spawn(handler)
    await until(running.done)
    await until(lambda: "broken handler" in caplog.text)
    assert isinstance(running.exception(), ValueError)


async def test_closing_waits_for_running_handlers() -> None:
    dispatcher = Dispatcher()
    ended: list[int] = []

    async def handler() -> None:
        await anyio.sleep(0.05)
        ended.append(1)

    for _ in range(3):
        dispatcher.spawn(handler)
    assert await dispatcher.aclose(2)
    assert ended == [1, 1, 1]


async def test_closing_cancels_what_does_not_end_and_waits_for_its_cleanup() -> None:
    dispatcher = Dispatcher()
    cleaned: list[int] = []

    async def handler() -> None:
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            cleaned.append(1)

    dispatcher.spawn(handler)
    await anyio.wait_all_tasks_blocked()
    took = await within(2, lambda: dispatcher.aclose(0.05))
    assert took >= 0.09
    assert cleaned == [1]
    assert len(dispatcher) == 0


async def test_a_cleanup_without_end_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Dispatcher(cleanup=0.05)
    release = anyio.Event()

    async def handler() -> None:
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    dispatcher.spawn(handler)
    await anyio.wait_all_tasks_blocked()
    assert not await dispatcher.aclose()
    assert "ignore their cancellation" in caplog.text
    release.set()
    await until(lambda: len(dispatcher) == 0)


async def test_an_owner_is_ended_from_another_task_than_the_one_that_made_it() -> None:
    owners: list[Owner] = []
    cleaned: list[int] = []

    async def work() -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 60)
        finally:
            cleaned.append(1)

    async def make() -> None:
        with anyio.CancelScope() as scope:
            owners.append(spawn_owner(work, name="work"))
            scope.cancel()  # of no concern to the owner
            await anyio.sleep(60)

    async with anyio.create_task_group() as group:
        group.start_soon(make)
    await anyio.wait_all_tasks_blocked()
    (owner,) = owners
    assert not owner.done
    async with anyio.create_task_group() as group:
        group.start_soon(owner.wait)
        group.start_soon(owner.wait)
        await anyio.wait_all_tasks_blocked()
        owner.cancel()
    assert owner.done
    assert owner.error is None
    assert cleaned == [1]
    owner.cancel()
    await owner.wait()


async def test_cancelling_the_wait_does_not_cancel_the_owner() -> None:
    release = anyio.Event()
    owner = spawn_owner(release.wait, name="waiter")
    with anyio.move_on_after(0.02):
        await owner.wait()
    assert not owner.done
    release.set()
    await within(2, owner.wait)


async def test_what_an_owner_raises_is_kept_logged_and_raised_to_whoever_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(word: str) -> None:
        raise ValueError(word)

    owner = spawn_owner(fail, "broken owner", name="failing")
    await until(lambda: owner.done)
    assert isinstance(owner.error, ValueError)
    assert "failing failed" in caplog.text
    for _ in range(2):
        with pytest.raises(ValueError, match="broken owner"):
            await owner.wait()


async def test_timers_fire_in_time_and_can_be_taken_back() -> None:
    loop = current_loop()
    fired: list[float] = []
    due = loop.now() + 0.05
    timer = loop.call_at(due, lambda: fired.append(-1.0))
    loop.call_at(due, lambda: fired.append(loop.now()))
    timer.cancel()
    await until(lambda: fired)
    assert fired[0] >= due - 0.001
    assert -1.0 not in fired


def test_there_is_no_loop_outside_of_one() -> None:
    with pytest.raises(RuntimeError):
        current_loop()


def test_an_owner_still_running_at_the_end_of_the_run_is_cancelled() -> None:
    cleaned: list[int] = []

    async def work() -> None:
        try:
            await anyio.sleep(60)
        finally:
            cleaned.append(1)

    async def main() -> None:
        spawn_owner(work, name="work")
        await anyio.wait_all_tasks_blocked()

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
    assert cleaned == [1, 1]
