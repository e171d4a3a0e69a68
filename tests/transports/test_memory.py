"""Two pipes in one process: real bytes, bounded, never recursive."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kailash.adapters.channel import ChannelLimits
from kailash.adapters.memory import MemoryChannel, join

from .lines import Client, Echo, until, within

pytestmark = pytest.mark.anyio


def joined(
    client: Client,
    server: Client,
    *,
    limits: ChannelLimits | None = None,
    near_limits: ChannelLimits | None = None,
    **server_options: Any,
) -> tuple[MemoryChannel, MemoryChannel]:
    limits = limits or ChannelLimits()
    near = MemoryChannel(
        client.pipe,
        on_events=client.on_events,
        on_closed=client.on_closed,
        limits=near_limits or limits,
        keep_reading=True,
    )
    options = {"on_events": server.on_events, "on_closed": server.on_closed, **server_options}
    far = MemoryChannel(server.pipe, limits=limits, **options)
    join(near, far)
    return near, far


async def test_bytes_go_there_and_back() -> None:
    client, server = Client(), Echo()
    near, far = joined(client, server)
    client.pipe.say(b"one")
    client.pipe.say(b"two")
    near.flush()
    assert server.events == []  # never inside the writer's call
    await until(lambda: client.lines)
    assert client.lines == [b"ONE", b"TWO"]
    assert client.batches == [2]
    near.close()
    await within(2, near.wait_closed)
    await within(2, far.wait_closed)
    assert client.closed == server.closed == [None]
    assert client.events[-1] == server.events[-1] == "closed"


async def test_two_ends_that_answer_each_other_do_not_recurse() -> None:
    one, two = Echo(), Echo()
    near, far = joined(one, two)
    one.pipe.say(b"ball")
    near.flush()
    await until(lambda: len(one.lines) > 3000)
    near.abort()
    await far.wait_closed()
    await near.wait_closed()


async def test_what_is_not_read_counts_against_the_writer() -> None:
    client, server = Client(), Client()
    limits = ChannelLimits(high_messages=4)
    near, far = joined(client, server, limits=limits)
    for _ in range(5):
        client.pipe.say(b"x")
    near.flush()
    assert near.full
    await within(2, near.drain)
    assert len(server.lines) == 5
    near.close()
    await far.wait_closed()
    await near.wait_closed()


async def test_a_server_whose_answers_are_not_read_stops_reading() -> None:
    client, server = Client(), Client()
    limits = ChannelLimits(high_messages=2, write_timeout=0.2)
    # Our own patience lasts longer: if both ended at once, what we said might be read after all.
    near, far = joined(client, server, limits=limits, near_limits=ChannelLimits(write_timeout=5))
    # A reader that has paused for good.
    near._pause()
    for _ in range(3):
        server.pipe.say(b"x")
    far.flush()
    assert far.full
    client.pipe.say(b"unread")
    near.flush()
    await within(2, far.wait_closed)
    assert server.lines == []
    assert isinstance(far.error, TimeoutError)
    near._resume()
    await within(2, near.wait_closed)


async def test_everything_said_before_the_end_arrives() -> None:
    client, server = Client(), Client()
    near, far = joined(client, server)
    client.pipe.say(b"x" * 2_000_000)
    near.close()
    await within(2, near.wait_closed)
    await within(2, far.wait_closed)
    assert len(server.lines[0]) == 2_000_000
    assert near.error is None
    assert far.error is None


async def test_the_server_may_answer_after_the_client_has_ended_its_side() -> None:
    client, server = Client(), Client()
    ended = anyio.Event()
    limits = ChannelLimits(linger=5)
    near, far = joined(client, server, limits=limits, on_eof=ended.set)
    client.pipe.say(b"last")
    client.pipe.end()
    near.flush()
    await ended.wait()
    server.pipe.say(b"answer")
    far.close()
    await within(2, far.wait_closed)
    await until(lambda: client.lines)
    near.close()
    await within(2, near.wait_closed)
    assert client.lines == [b"answer"]


async def test_aborting_one_end_ends_the_other() -> None:
    client, server = Client(), Echo()
    near, far = joined(client, server)
    far.abort(ValueError("gone"))
    client.pipe.say(b"anyone?")
    near.flush()
    await within(2, near.wait_closed)
    await within(2, far.wait_closed)
    assert isinstance(far.error, ValueError)
    assert near.error is None


async def test_deadlines_are_kept() -> None:
    client, server = Client(), Echo()
    near, far = joined(client, server)
    client.pipe.deadline = near.now() + 0.02
    near.flush()
    await until(lambda: client.events == ["expired"])
    near.close()
    await near.wait_closed()
    await far.wait_closed()
