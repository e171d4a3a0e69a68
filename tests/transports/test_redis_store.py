"""The store in Redis against a real server: limits, kept values, news, and what happens when the server is gone."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kailash.resilience import Rate, RateLimiter, Verdict
from kailash.stores import Store, StoreError, Want, open_store
from kailash.stores.redis import RedisStore
from kailash.stores.sessions import BEGUN, FINISHED, MESSAGE, TRIM, Logged, read_event
from protocol.capabilities import ClientCapabilities
from protocol.sharing import HandshakeRecord, HandshakeState
from protocol.types import Implementation
from tests.redis import RedisServer, redis_server, redis_url
from tests.unit.stores.oracle import History, moving_window

__all__ = ["redis_server", "redis_url"]

NOW = 1_785_000_000.0


class Blocking:
    """A store in a loop of another thread, for tests that hypothesis drives."""

    def __init__(self, portal: BlockingPortal, store: RedisStore) -> None:
        self._portal, self._store = portal, store
        self._example = 0

    def fresh(self) -> str:
        """Return what the keys of an example begin with."""
        self._example += 1
        return f"{self._example}:"

    def take(self, wants: list[Want], now: float) -> Verdict:
        return self._portal.call(self._store.take, wants, now)


@pytest.fixture(scope="module")
def blocking() -> Iterator[Blocking]:
    server = RedisServer()
    server.start()
    store = RedisStore(server.url)
    with start_blocking_portal() as portal:
        yield Blocking(portal, store)
        portal.call(store.aclose)
    server.close()


GAPS = st.lists(st.integers(0, 40).map(lambda eighths: eighths / 8), max_size=40)
quickly = settings(max_examples=40, suppress_health_check=list(HealthCheck))


@quickly
@given(gaps=GAPS, window=st.integers(1, 4))
def test_one_a_window_is_what_limits_calls_a_moving_window(blocking: Blocking, gaps: list[float], window: int) -> None:
    rate, key = Rate(requests=1, window=window), blocking.fresh()
    with moving_window(1, window) as oracle:
        now = NOW
        for gap in gaps:
            now += gap
            assert blocking.take([Want(key, rate)], now).is_allowed is oracle(now)


@quickly
@given(gaps=GAPS, requests=st.integers(1, 8), window=st.integers(1, 4))
def test_no_window_holds_more_than_its_requests_and_the_burst(
    blocking: Blocking, gaps: list[float], requests: int, window: int
) -> None:
    rate, key = Rate(requests=requests, window=window), blocking.fresh()
    history = History(rate)
    with moving_window(2 * requests, window) as oracle:
        now = NOW
        for gap in gaps:
            now += gap
            verdict = blocking.take([Want(key, rate)], now)
            history.judge(now, verdict)
            if verdict.is_allowed:
                assert oracle(now)


@quickly
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=4)),
        max_size=20,
    )
)
def test_the_verdicts_are_those_of_the_limiter_of_one_process(
    blocking: Blocking, steps: list[tuple[int, list[tuple[int, int]]]]
) -> None:
    # Rates that binary fractions hold exactly, so that both sides round alike; `now` as the store of a process has it.
    rates = [Rate(requests=4, window=2**exponent, burst=exponent + 2) for exponent in range(4)]
    limiter, prefix, now = RateLimiter(), blocking.fresh(), 0.0
    for eighths, wanted in steps:
        now += eighths / 8
        expected = limiter.take_all([(key, rates[key], cost) for key, cost in wanted], now)
        found = blocking.take([Want(f"{prefix}{key}", rates[key], cost) for key, cost in wanted], NOW + now)
        assert found == expected


def test_a_burst_fits_exactly_at_the_seconds_of_this_decade(blocking: Blocking) -> None:
    rate, key = Rate(requests=600, window=7), blocking.fresh()
    verdicts = [blocking.take([Want(key, rate)], NOW + 0.123456).is_allowed for _ in range(601)]
    assert verdicts == [True] * 600 + [False]


@pytest.fixture
async def store(redis_url: str) -> Any:
    store = open_store(redis_url)
    yield store
    await store.aclose()


@pytest.mark.anyio
async def test_many_at_once_are_never_let_through_beyond_the_rate(redis_url: str, store: Any) -> None:
    rate, passed = Rate(requests=50, window=1000), []
    others = [open_store(redis_url) for _ in range(3)]

    async def ask(each: Any) -> None:
        verdict = await each.take([Want("k", rate), Want("j", rate)], NOW)
        passed.append(verdict.is_allowed)

    async with anyio.create_task_group() as tasks:
        for number in range(400):
            tasks.start_soon(ask, [store, *others][number % 4])
    assert passed.count(True) == 50 and len(passed) == 400
    for each in others:
        await each.aclose()


@pytest.mark.anyio
async def test_buckets_and_values_expire_by_themselves(store: RedisStore) -> None:
    await store.take([Want("k", Rate(requests=1, window=10))], NOW)
    await store.put(b"v", b"value", 7200, "tag")
    await store.clear("tag")
    await store.clear(None)
    found = await store.link.execute(b"KEYS", b"*")
    lives = {key: await store.link.execute(b"PTTL", key) for key in found}
    assert set(lives) == {b"kailash:b:k", b"kailash:v:v", b"kailash:g", b"kailash:g:tag"}
    assert all(0 < life <= 7_200_000 for life in lives.values())
    assert lives[b"kailash:v:v"] <= 3_600_000, "no value is kept for more than an hour"


@pytest.mark.anyio
async def test_values_are_kept_for_their_time_and_forgotten_by_tag(store: RedisStore) -> None:
    assert await store.get(b"a") is None
    odd = bytes(range(256)) * 10
    await store.put(b"a", odd, 10, "x:y")
    await store.put(b"b", b"", 10, "z")
    await store.put(b"c", b"short", 0.001, "z")
    assert await store.get(b"a") == odd and await store.get(b"b") == b""
    with anyio.fail_after(5):
        while await store.get(b"c") is not None:
            pass
    await store.clear("x:y")
    assert await store.get(b"a") is None and await store.get(b"b") == b""
    await store.put(b"a", b"again", 10, "x:y")
    assert await store.get(b"a") == b"again"
    await store.clear(None)
    assert await store.get(b"a") is None and await store.get(b"b") is None


class Heard:
    """What a subscriber heard, to be waited for."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self._news = anyio.Event()

    def __call__(self, payload: bytes = b"missed") -> None:
        self.payloads.append(payload)
        self._news.set()

    async def until(self, *payloads: bytes) -> None:
        with anyio.fail_after(10):
            while self.payloads != list(payloads):
                await self._news.wait()
                self._news = anyio.Event()


@pytest.mark.anyio
async def test_news_reach_every_process_that_shares_the_store(redis_url: str, store: Store) -> None:
    other, third = open_store(redis_url), open_store(redis_url, prefix="others:")
    mine, theirs, strangers = Heard(), Heard(), Heard()
    leave = await store.subscribe("topic", mine)
    await other.subscribe("topic", theirs)
    await third.subscribe("topic", strangers)
    await other.publish("topic", b"\x001")
    await mine.until(b"\x001")
    await theirs.until(b"\x001")
    leave()
    leave()
    await store.publish("topic", b"2")
    await theirs.until(b"\x001", b"2")
    assert mine.payloads == [b"\x001"] and strangers.payloads == []
    await other.aclose()
    await third.aclose()


async def _until_back(store: Store) -> None:
    with anyio.fail_after(10):
        while True:
            try:
                await store.get(b"k")
            except StoreError:
                await anyio.sleep(0.01)  # another process is waited for
            else:
                return


@pytest.mark.anyio
async def test_a_server_that_is_gone_is_said_at_once_and_found_again(
    redis_server: RedisServer, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kailash.stores")
    heard = Heard()
    await store.subscribe("topic", heard, missed=heard)
    await store.put(b"k", b"v", 10, "t")
    redis_server.stop()
    with anyio.fail_after(5):
        for attempt in range(200):
            begun = time.perf_counter()
            with pytest.raises(StoreError, match="cannot be reached"):
                await store.get(b"k")
            assert attempt == 0 or time.perf_counter() - begun < 1
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, "one line a minute"
    redis_server.start()
    await _until_back(store)
    assert await store.get(b"k") is None
    await heard.until(b"missed")
    await store.publish("topic", b"again")
    await heard.until(b"missed", b"again")


@pytest.mark.anyio
async def test_a_server_that_says_nothing_holds_nobody_for_long(redis_server: RedisServer, store: Store) -> None:
    await store.put(b"k", b"v", 60, "t")
    redis_server.freeze()
    with anyio.fail_after(10):
        with pytest.raises(StoreError, match="no answer within"):
            await store.get(b"k")
        begun = time.perf_counter()
        with pytest.raises(StoreError):
            await store.get(b"k")
        assert time.perf_counter() - begun < 0.5
    redis_server.thaw()
    await _until_back(store)
    assert await store.get(b"k") == b"v"


@pytest.mark.anyio
async def test_who_subscribes_while_the_server_is_gone_hears_it_when_it_is_back(redis_server: RedisServer) -> None:
    redis_server.stop()
    store = open_store(redis_server.url)
    heard = Heard()
    with anyio.fail_after(5):
        await store.subscribe("topic", heard)
    redis_server.start()
    await _until_back(store)
    await store.publish("topic", b"1")
    await heard.until(b"1")
    await store.aclose()


@pytest.mark.anyio
async def test_a_caller_that_is_cancelled_disturbs_nobody(store: RedisStore) -> None:
    await store.put(b"k", b"v", 60, "t")
    for _ in range(20):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.get, b"other")
                await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert await store.get(b"k") == b"v"


@pytest.mark.anyio
async def test_the_password_is_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with contextlib.closing(RedisServer(password="hunter22")) as server:
        server.start()
        await _log_in(server, caplog)


async def _log_in(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    right = open_store(server.url)
    await right.put(b"k", b"v", 60, "t")
    assert await right.get(b"k") == b"v"
    wrong = open_store(server.url.replace("hunter22", "hunter33"))
    with pytest.raises(StoreError, match="it refuses: invalid username-password pair") as refused:
        await wrong.get(b"k")
    server.stop()
    with pytest.raises(StoreError) as lost:
        await right.get(b"k")
    for shown in (str(refused.value), repr(refused.value), str(lost.value), repr(right), repr(wrong), caplog.text):
        assert "hunter" not in shown
    await right.aclose()
    await wrong.aclose()


@pytest.mark.anyio
async def test_a_server_is_reached_by_its_unix_socket(redis_server: RedisServer) -> None:
    store = open_store(f"unix://{redis_server.socket}?db=3")
    await store.put(b"k", b"v", 60, "t")
    assert await store.get(b"k") == b"v"
    await store.aclose()
    other = open_store(redis_server.url)
    assert await other.get(b"k") is None, "another database"
    await other.aclose()


@pytest.mark.anyio
async def test_while_it_is_tried_again_calls_fail_at_once(
    redis_server: RedisServer, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.put(b"k", b"v", 60, "t")
    redis_server.freeze()
    with pytest.raises(StoreError):
        await store.get(b"k")
    # The kernel still accepts connections, so that an attempt lasts until it is given up.
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        begun = time.perf_counter()
        with pytest.raises(StoreError):
            await store.get(b"k")
        assert time.perf_counter() - begun < 0.5
        await anyio.lowlevel.checkpoint()
    redis_server.thaw()
    await _until_back(store)
    assert len([record for record in caplog.records if record.name == "kailash.stores"]) == 1


@pytest.mark.anyio
async def test_what_the_server_refuses_is_an_error_of_the_store(store: RedisStore) -> None:
    await store.link.execute(b"LPUSH", b"kailash:b:k", b"no bucket")
    with pytest.raises(StoreError, match="refuses"):
        await store.take([Want("k", Rate(requests=1))], NOW)
    assert await store.get(b"k") is None, "the connection is none the worse"


def test_a_store_outlives_the_loops_that_use_it(redis_url: str) -> None:
    store = open_store(redis_url)
    for number in range(3):

        async def use(number: int = number) -> None:
            assert await store.get(b"k") == (None if number == 0 else b"v")
            await store.put(b"k", b"v", 60, "t")
            if number:
                await store.aclose()

        anyio.run(use)


# Sessions


RECORD = HandshakeRecord(
    revision="r",
    peer=Implementation(name="n", version="1"),
    capabilities=ClientCapabilities(),
    principal="ada",
    born=1.0,
)
STATE = HandshakeState(is_operating=True, log_level="error", watched=frozenset({"a:b", "\u20ac"}))


@pytest.mark.anyio
async def test_a_session_is_what_it_was_and_everybody_gets_another_number(store: RedisStore) -> None:
    sessions = store.sessions
    assert await sessions.touch("s", 10) is None and await sessions.adopt("s", "w", 10) is None
    assert await sessions.create("s", RECORD, STATE, "w0", 10)
    assert not await sessions.create("s", RECORD, STATE, "w0", 10), "an id is taken once"
    numbers = []
    for worker in ("w1", "w2"):
        kept = await sessions.adopt("s", worker, 10)
        assert kept is not None and kept.state == STATE and kept.record.principal == "ada"
        numbers.append(kept.number)
    assert numbers == [1, 2]
    kept = await sessions.touch("s", 10)
    assert kept is not None and kept.number == 0
    await sessions.end("s", "topic", b"ended")
    assert await sessions.touch("s", 10) is None
    assert not await sessions.change("s", STATE, HandshakeState(), "topic", b"changed")


@pytest.mark.anyio
async def test_what_two_change_at_once_are_two_changes(store: RedisStore) -> None:
    sessions = store.sessions
    heard = Heard()
    await store.subscribe("topic", heard)
    before = HandshakeState(is_operating=True, watched=frozenset({"a"}))
    await sessions.create("s", RECORD, before, "w", 10)
    both = (
        HandshakeState(is_operating=True, watched=frozenset({"a", "b"})),
        HandshakeState(is_operating=True, log_level="info"),
    )
    for after in both:
        assert await sessions.change("s", before, after, "topic", b"changed")
    kept = await sessions.touch("s", 10)
    assert kept is not None
    assert kept.state == HandshakeState(is_operating=True, log_level="info", watched=frozenset({"b"}))
    assert await sessions.change("s", kept.state, kept.state, "topic", b"again")
    await heard.until(b"changed", b"changed", b"again")


@pytest.mark.anyio
async def test_events_are_kept_in_order_and_who_was_overtaken_writes_nothing(store: RedisStore) -> None:
    sessions = store.sessions
    heard = Heard()
    await store.subscribe(sessions.stream_topic("s", 5), heard)
    await sessions.create("s", RECORD, STATE, "w", 10)
    read = await sessions.read("s", 5, 0)
    assert not (read.is_known or read.is_alive or read.is_done)
    await sessions.live("w", 10)
    entries = [
        Logged("s", 5, 10, BEGUN, b'[1,"x"]'),
        Logged("s", 5, 11, MESSAGE, b"eleven"),
        Logged("s", 6, 3, MESSAGE, b"elsewhere"),
        Logged("s", 5, 9, MESSAGE, b"too late"),
        Logged("s", 5, 12, MESSAGE, bytes(range(256))),
    ]
    await sessions.append(entries, 10)
    read = await sessions.read("s", 5, 0)
    assert read.is_known and read.is_alive and not read.is_done and read.ids == [1, "x"]
    assert read.messages == [(11, b"eleven"), (12, bytes(range(256)))]
    await sessions.append([Logged("s", 5, 13, FINISHED, b"")], 10)
    await sessions.live("w", 0)
    read = await sessions.read("s", 5, 11)
    assert read.is_done and not read.is_alive and read.messages == [(12, bytes(range(256)))]
    with anyio.fail_after(5):
        while len(heard.payloads) < 4:
            await anyio.lowlevel.checkpoint()
    assert [read_event(payload) for payload in heard.payloads] == [
        (BEGUN, 10, b'[1,"x"]'),
        (MESSAGE, 11, b"eleven"),
        (MESSAGE, 12, bytes(range(256))),
        (FINISHED, 13, b""),
    ]


@pytest.mark.anyio
async def test_events_before_a_number_are_forgotten(store: RedisStore) -> None:
    sessions = store.sessions
    many = [Logged("s", 5, number, MESSAGE, b"x" * 1000) for number in range(1, 201)]
    await sessions.append([*many, Logged("s", 5, 151, TRIM, b"")], 10)
    kept = [number for number, _ in (await sessions.read("s", 5, 0)).messages]
    assert kept[-1] == 200 and 50 <= len(kept) < 60


@pytest.mark.anyio
async def test_everything_of_a_session_expires_by_itself(store: RedisStore) -> None:
    sessions = store.sessions
    await sessions.create("s", RECORD, STATE, "w", 10)
    await sessions.append([Logged("s", 5, 1, MESSAGE, b"x")], 10)
    await sessions.live("w", 10)
    found = await store.link.execute(b"KEYS", b"*")
    assert len(found) == 3
    for key in found:
        assert 0 < await store.link.execute(b"PTTL", key) <= 10_000


@pytest.mark.anyio
async def test_a_receiver_that_fails_disturbs_nobody(store: RedisStore, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()

    def fail(payload: bytes) -> None:
        raise ValueError(payload)

    await store.subscribe("topic", fail)
    await store.subscribe("topic", heard)
    assert await store.publish("topic", b"1") == 1
    await heard.until(b"1")
    assert "could not be taken" in caplog.text
    assert await store.publish("nobody", b"1") == 0
