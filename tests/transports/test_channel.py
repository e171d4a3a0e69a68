"""Channels over pipes, sockets and threads: reading, writing, time, and every kind of end."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kailash.adapters.asyncionative import AsyncioChannel
from kailash.adapters.channel import Channel, ChannelLimits
from kailash.adapters.stream import StreamChannel, ThreadByteStream
from kailash.adapters.wires import open_wire

from .lines import Client, Echo, until, within

pytestmark = pytest.mark.anyio


class Far:
    """The other end of a connection, moved by hand."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.got = b""
        self.at_end = False
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    def write(self, data: bytes) -> int:
        try:
            return os.write(self.write_fd, data)
        except BlockingIOError:
            return 0

    def read(self, size: int = 1 << 20) -> bytes:
        try:
            data = os.read(self.read_fd, size)
        except BlockingIOError:
            return b""
        self.at_end = not data
        self.got += data
        return data

    async def read_until(self, condition: Callable[[], object]) -> None:
        def step() -> object:
            self.read()
            return condition()

        await until(step)

    def end(self) -> None:
        """End the side that writes."""
        if self.write_fd == self.read_fd:
            with socket.socket(fileno=os.dup(self.write_fd)) as sock:
                sock.shutdown(socket.SHUT_WR)
        else:
            os.close(self.write_fd)
            self.write_fd = -1

    def leave(self) -> None:
        """Close the side that reads."""
        os.close(self.read_fd)
        self.read_fd = -1

    def close(self) -> None:
        for fd in {self.read_fd, self.write_fd}:
            with suppress(OSError):
                os.close(fd)


def far_ends(kind: str) -> tuple[int, int, Far]:
    if kind == "socket":
        near, far = socket.socketpair()
        fd = near.detach()
        other = far.detach()
        return fd, os.dup(fd), Far(other, other)
    near_read, far_write = os.pipe()
    far_read, near_write = os.pipe()
    return near_read, near_write, Far(far_read, far_write)


@asynccontextmanager
async def connected(kind: str, runtime: Client, **options: Any) -> AsyncIterator[tuple[Any, Far]]:
    read_fd, write_fd, far = far_ends(kind)
    options = {"on_events": runtime.on_events, "on_closed": runtime.on_closed, **options}
    if kind == "threads":
        stream = ThreadByteStream(read_fd, write_fd)
        channel: Channel = StreamChannel(runtime.pipe, stream, **options)
        async with anyio.create_task_group() as group:
            group.start_soon(channel.run)  # type: ignore[attr-defined]
            yield channel, far
            far.close()
            channel.abort()
    else:
        channel = await open_wire(runtime.pipe, read_fd, write_fd, **options)
        try:
            yield channel, far
        finally:
            far.close()
            channel.abort()
            with anyio.CancelScope(shield=True):
                await channel.wait_closed()
    assert channel.closed
    assert len(runtime.closed) == 1


every_kind = pytest.mark.parametrize("kind", ["pipes", "socket", "threads"])


@every_kind
async def test_what_one_read_brought_is_one_batch_and_one_write(kind: str) -> None:
    runtime = Echo()
    async with connected(kind, runtime) as (channel, far):
        runtime.flush = channel.flush
        far.write(b"one\ntwo\nthree\nfo")
        await until(lambda: far.read())
        assert far.got == b"ONE\nTWO\nTHREE\n"
        assert runtime.batches == [3]
        far.write(b"ur\n")
        await far.read_until(lambda: far.got.endswith(b"FOUR\n"))


@every_kind
async def test_a_read_without_events_calls_nobody(kind: str) -> None:
    runtime = Echo()
    async with connected(kind, runtime) as (_, far):
        far.write(b"half a li")
        far.write(b"ne\n")
        await until(lambda: far.read())
        assert 0 not in runtime.batches


@every_kind
async def test_flush_outside_a_callback_is_written(kind: str) -> None:
    runtime = Client()
    async with connected(kind, runtime) as (channel, far):
        runtime.pipe.say(b"hello")
        channel.flush()
        if isinstance(channel, AsyncioChannel):
            assert far.read() == b"hello\n"
        await far.read_until(lambda: far.got == b"hello\n")


async def test_flush_soon_joins_the_answers_of_one_turn() -> None:
    runtime = Client()
    async with connected("pipes", runtime) as (channel, far):
        for _ in range(3):
            runtime.pipe.say(b"x")
            channel.flush_soon()
        assert far.read() == b""
        await until(lambda: far.read())
        assert far.got == b"x\nx\nx\n"


@every_kind
async def test_drain_waits_for_a_slow_peer_and_reading_pauses(kind: str) -> None:
    runtime = Client()
    limits = ChannelLimits(high_bytes=1000, cap_bytes=None)
    async with connected(kind, runtime, limits=limits) as (channel, far):
        runtime.pipe.say(b"x" * 3_000_000)
        channel.flush()
        assert channel.full
        drained = anyio.Event()

        async def drain() -> None:
            await channel.drain()
            drained.set()

        async with anyio.create_task_group() as group:
            group.start_soon(drain)
            await anyio.wait_all_tasks_blocked()
            sent = far.write(b"ping\n" * 13_000)
            await anyio.wait_all_tasks_blocked()
            sent += far.write(b"ping\n" * 13_000)
            await anyio.wait_all_tasks_blocked()
            assert not drained.is_set()
            # A stream that already waits in a read brings that one in.
            one_read = 0 if isinstance(channel, AsyncioChannel) else 65536 // 5
            assert len(runtime.lines) <= one_read
            await far.read_until(drained.is_set)
        await until(lambda: len(runtime.lines) >= sent // 5)
        assert not channel.full


@every_kind
async def test_a_client_reads_on_while_its_own_side_is_full(kind: str) -> None:
    runtime = Client()
    limits = ChannelLimits(high_messages=2)
    async with connected(kind, runtime, limits=limits, keep_reading=True) as (channel, far):
        for _ in range(3):
            runtime.pipe.say(b"x" * 500_000)
        channel.flush()
        assert channel.full
        far.write(b"answer\n")
        await until(lambda: runtime.lines == [b"answer"])
        assert channel.full


@pytest.mark.parametrize(("size", "is_full"), [(999, False), (1000, False), (1001, True)])
async def test_the_high_water_mark_counts_what_has_not_left(size: int, is_full: bool) -> None:
    runtime = Client()
    limits = ChannelLimits(high_bytes=1000)
    read_fd, write_fd, far = far_ends("pipes")
    channel = StreamChannel(
        runtime.pipe,
        ThreadByteStream(read_fd, write_fd),
        on_events=runtime.on_events,
        limits=limits,
    )
    runtime.pipe.say(b"x" * (size - 1))
    channel.flush()
    assert channel.full is is_full
    far.close()
    channel.abort()
    await channel.run()


@every_kind
async def test_a_peer_that_takes_nothing_is_dropped(kind: str) -> None:
    runtime = Client()
    limits = ChannelLimits(write_timeout=0.2, close_timeout=0.2)
    async with connected(kind, runtime, limits=limits) as (channel, far):
        runtime.pipe.say(b"x" * 3_000_000)
        channel.flush()
        if kind == "threads":
            # A blocked thread must be able to end: the descriptor is what it waits for.
            await until(lambda: channel.error is not None)
            far.leave()
        await within(3, channel.wait_closed)
        assert isinstance(channel.error, TimeoutError)
        assert runtime.closed == [channel.error]
        await channel.drain()


async def test_a_peer_that_takes_a_little_is_kept() -> None:
    runtime = Client()
    limits = ChannelLimits(write_timeout=0.2)
    async with connected("pipes", runtime, limits=limits) as (channel, far):
        runtime.pipe.say(b"x" * 1_000_000)
        channel.flush()
        started = channel.now()

        def sip() -> bool:
            far.read(4096)
            return channel.now() > started + 0.7

        await until(sip)
        assert not channel.closed
        assert channel.full or channel.error is None


async def test_more_than_the_cap_drops_the_connection() -> None:
    runtime = Client()
    limits = ChannelLimits(cap_bytes=500_000)
    async with connected("pipes", runtime, limits=limits) as (channel, _):
        runtime.pipe.say(b"x" * 1_000_000)  # one message of any size is let through
        channel.flush()
        await anyio.lowlevel.checkpoint()
        assert channel.error is None
        runtime.pipe.say(b"y")
        channel.flush()
        await channel.wait_closed()
        assert isinstance(channel.error, ConnectionAbortedError)


@every_kind
async def test_the_deadline_of_the_pipe_is_kept(kind: str) -> None:
    runtime = Client()
    async with connected(kind, runtime) as (channel, _):
        started = channel.now()
        runtime.pipe.deadline = started + 60
        channel.flush()
        runtime.pipe.deadline = started + 0.05  # an earlier one replaces it
        channel.flush()
        await until(lambda: "expired" in runtime.events)
        assert runtime.pipe.deadlines_handled[0] >= started + 0.05
        assert len(runtime.pipe.deadlines_handled) == 1


async def test_a_deadline_that_moved_back_is_not_handled_early() -> None:
    runtime = Client()
    async with connected("pipes", runtime) as (channel, _):
        runtime.pipe.deadline = channel.now() + 0.02
        channel.flush()
        runtime.pipe.deadline = later = channel.now() + 0.15
        channel.flush()
        await until(lambda: runtime.events)
        assert runtime.pipe.deadlines_handled[0] >= later


@every_kind
async def test_the_end_of_input_is_told_to_the_pipe_and_closes(kind: str) -> None:
    runtime = Echo()
    async with connected(kind, runtime) as (channel, far):
        far.write(b"last\n")
        far.end()
        await within(2, channel.wait_closed)
        assert runtime.events == [b"last", "closed"]
        assert runtime.closed == [None]
        await far.read_until(lambda: far.at_end)
        assert far.got == b"LAST\n"


@every_kind
async def test_what_was_read_can_be_answered_after_the_end_of_input(kind: str) -> None:
    runtime = Client()
    ended = anyio.Event()
    options: dict[str, Any] = {"on_eof": ended.set, "limits": ChannelLimits(linger=5)}
    async with connected(kind, runtime, **options) as (channel, far):
        far.write(b"slow\n")
        far.end()
        await ended.wait()
        assert channel.peer_ended
        assert runtime.events == [b"slow"]  # the pipe is not told yet
        runtime.pipe.say(b"done")
        channel.flush()
        channel.close()
        await within(2, channel.wait_closed)
        assert runtime.events == [b"slow", "closed"]
        await far.read_until(lambda: far.at_end)
        assert far.got == b"done\n"


@every_kind
async def test_lingering_has_an_end(kind: str) -> None:
    runtime = Client()
    options: dict[str, Any] = {"on_eof": lambda: None, "limits": ChannelLimits(linger=0.1)}
    async with connected(kind, runtime, **options) as (channel, far):
        far.end()
        took = await within(2, channel.wait_closed)
        assert took >= 0.09
        assert runtime.events == ["closed"]
        assert channel.error is None


async def test_a_pipe_that_expects_the_close_ends_the_lingering() -> None:
    runtime = Client()
    limits = ChannelLimits(linger=5)
    async with connected("pipes", runtime, limits=limits) as (channel, far):
        far.end()
        await until(lambda: channel.peer_ended)
        assert not channel.closed
        runtime.pipe.say(b"bye")
        runtime.pipe.finished = True
        channel.flush()
        await within(2, channel.wait_closed)
        await far.read_until(lambda: far.at_end)
        assert far.got == b"bye\n"


@every_kind
async def test_ending_our_side_leaves_the_other_open(kind: str) -> None:
    runtime = Client()
    async with connected(kind, runtime) as (channel, far):
        runtime.pipe.say(b"bye")
        runtime.pipe.end()
        channel.flush()
        await far.read_until(lambda: far.at_end)
        assert far.got == b"bye\n"
        far.write(b"still here\n")
        await until(lambda: runtime.lines == [b"still here"])
        assert not channel.closed
        far.end()
        await within(2, channel.wait_closed)
        assert channel.error is None


@every_kind
async def test_close_delivers_what_was_said_before(kind: str) -> None:
    runtime = Client()
    async with connected(kind, runtime) as (channel, far):
        runtime.pipe.say(b"x" * 300_000)
        channel.close()
        channel.close()
        await far.read_until(lambda: far.at_end)
        assert len(far.got) == 300_001
        await within(2, channel.wait_closed)
        assert runtime.closed == [None]
        assert runtime.events == ["closed"]
        channel.flush()
        channel.abort()
        await channel.drain()


async def test_close_does_not_wait_for_a_peer_that_takes_nothing() -> None:
    runtime = Client()
    limits = ChannelLimits(close_timeout=0.1)
    async with connected("pipes", runtime, limits=limits) as (channel, _):
        runtime.pipe.say(b"x" * 1_000_000)
        channel.close()
        await within(2, channel.wait_closed)
        assert isinstance(channel.error, TimeoutError)


@every_kind
async def test_close_inside_a_callback_sends_its_answers(kind: str) -> None:
    runtime = Echo()
    async with connected(kind, runtime) as (channel, far):
        runtime.flush = channel.close
        far.write(b"quit\nnow\n")
        await far.read_until(lambda: far.at_end)
        assert far.got == b"QUIT\nNOW\n"
        await channel.wait_closed()


@every_kind
async def test_a_failing_callback_drops_the_connection(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    runtime = Client()

    def fail(events: list[Any]) -> None:
        raise ValueError("broken runtime")

    async with connected(kind, runtime, on_events=fail) as (channel, far):
        far.write(b"x\n")
        await within(2, channel.wait_closed)
        assert isinstance(channel.error, ValueError)
        assert "broken runtime" in caplog.text


@every_kind
async def test_a_reader_that_left_ends_the_connection_at_the_next_write(kind: str) -> None:
    runtime = Echo()
    async with connected(kind, runtime) as (channel, far):
        if kind == "socket":
            far.close()
        else:
            far.leave()
            far.write(b"anyone?\n")
        await within(2, channel.wait_closed)
        assert kind == "socket" or isinstance(channel.error, BrokenPipeError)


async def test_a_peer_that_ends_both_sides_at_once_is_no_fault() -> None:
    runtime = Client()
    async with connected("pipes", runtime) as (channel, far):
        far.close()
        await within(2, channel.wait_closed)
        assert channel.error is None


@every_kind
async def test_abort_inside_a_callback_is_safe(kind: str) -> None:
    runtime = Echo()
    async with connected(kind, runtime) as (channel, far):
        runtime.flush = channel.abort
        far.write(b"x\n")
        await within(2, channel.wait_closed)
        assert runtime.events == [b"x", "closed"]


@every_kind
async def test_a_megabyte_each_way_arrives_whole(kind: str) -> None:
    runtime = Echo()
    async with connected(kind, runtime) as (_, far):
        left = b"abcdefgh" * 125 + b"\n"
        data = left * 1000
        sent = 0

        def step() -> bool:
            nonlocal sent
            sent += far.write(data[sent : sent + 65536]) if sent < len(data) else 0
            far.read()
            return len(far.got) == len(data)

        await until(step)
        assert far.got == data.upper()


async def test_wait_closed_and_drain_serve_many_waiters() -> None:
    runtime = Client()
    async with connected("pipes", runtime) as (channel, _):
        runtime.pipe.say(b"x" * 3_000_000)
        channel.flush()
        waits: list[Callable[[], Awaitable[None]]] = [channel.drain, channel.wait_closed]
        with anyio.fail_after(2):
            async with anyio.create_task_group() as group:
                for wait in waits * 2:
                    group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                channel.abort()


@pytest.mark.parametrize("kind", ["pipes", "socket"])
async def test_a_cancelled_start_leaves_nothing_open(kind: str) -> None:
    runtime = Client()
    read_fd, write_fd, far = far_ends(kind)
    channels: list[Channel] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await open_wire(
            runtime.pipe,
            read_fd,
            write_fd,
            on_open=channels.append,
            on_events=runtime.on_events,
            on_closed=runtime.on_closed,
        )
    (channel,) = channels
    channel.abort()  # where opening needs no wait it was not cancelled either
    await within(2, channel.wait_closed)
    assert runtime.closed == [None]
    await far.read_until(lambda: far.at_end)
    far.close()
