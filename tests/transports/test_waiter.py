"""Waiters: who is woken, when, and in which context."""

from __future__ import annotations

import asyncio
import contextvars

import anyio
import pytest

from kailash.adapters.loops import AsyncioLoop, current_loop
from kailash.adapters.waiter import TaskWaiter, make_waiter

pytestmark = pytest.mark.anyio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")


async def test_a_value_or_an_error_wakes_the_task() -> None:
    loop = current_loop()
    for is_error in (False, True):
        waiter = make_waiter(loop)
        found: list[object] = []

        async def wait(waiter: object = waiter, found: list[object] = found) -> None:
            try:
                found.append(await waiter)  # type: ignore[misc]
            except LookupError as error:
                found.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not waiter.done()
            if is_error:
                waiter.set_exception(KeyError("x"))
            else:
                waiter.set_result("value")
        assert found == [KeyError if is_error else "value"]


class TestAsyncio:
    pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])

    async def test_what_is_set_while_something_is_taken_wakes_at_its_end_in_the_tasks_own_context(self) -> None:
        loop = AsyncioLoop(asyncio.get_running_loop())
        order: list[str] = []
        first, second = TaskWaiter(loop), TaskWaiter(loop)

        async def wait(name: str, waiter: TaskWaiter, then: TaskWaiter | None) -> None:
            variable.set(name)
            order.append(await waiter)
            order.append(variable.get())
            if then is not None:
                then.set_result("because of the first")

        tasks = [asyncio.create_task(wait("one", first, second)), asyncio.create_task(wait("two", second, None))]
        done = asyncio.Event()

        def read() -> None:
            assert loop.begin()
            assert not loop.begin()
            first.set_result("read")
            order.append("taken")
            loop.end()
            order.append("next turn")
            done.set()

        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(read)
        await done.wait()
        await asyncio.gather(*tasks)
        assert order == ["taken", "read", "one", "because of the first", "two", "next turn"]
        assert variable.get() == "nobody's"

    async def test_within_a_task_nothing_begins_and_the_next_turn_wakes(self) -> None:
        loop = AsyncioLoop(asyncio.get_running_loop())
        assert not loop.begin()
        waiter = TaskWaiter(loop)
        asyncio.get_running_loop().call_soon(waiter.set_result, "later")
        assert await waiter == "later"
        assert await waiter == "later"

    async def test_a_task_can_be_cancelled_and_waited_for_by_everything_that_takes_futures(self) -> None:
        loop = AsyncioLoop(asyncio.get_running_loop())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(TaskWaiter(loop), 0.01)
        with anyio.move_on_after(0.01) as scope:
            await TaskWaiter(loop)
        assert scope.cancelled_caught
        waiter = TaskWaiter(loop)
        asyncio.get_running_loop().call_soon(waiter.set_result, 1)
        assert await asyncio.gather(waiter, asyncio.shield(waiter)) == [1, 1]

    async def test_a_task_that_ends_the_program_leaves_no_other_asleep(self) -> None:
        loop = AsyncioLoop(asyncio.get_running_loop())
        waiters = [TaskWaiter(loop), TaskWaiter(loop)]

        async def stop() -> None:
            await waiters[0]
            raise SystemExit

        async def go_on() -> str:
            return str(await waiters[1])

        stopping, going = asyncio.create_task(stop()), asyncio.create_task(go_on())
        ended: list[type] = []

        def read() -> None:
            loop.begin()
            for waiter in waiters:
                waiter.set_result("read")
            try:
                loop.end()
            except SystemExit as error:
                ended.append(type(error))

        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(read)
        assert await going == "read"
        assert ended == [SystemExit]
        with pytest.raises(SystemExit):
            await stopping
