"""The store of one process, what `open_store` makes of what it is given, and the limiter behind it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.resilience import Rate, RateLimiter
from kailash.stores import MemoryStore, Store, StoreError, Want, open_store
from kailash.stores.redis_url import RedisAddress
from tests.unit.stores.oracle import History, moving_window


def test_all_buckets_are_taken_from_or_none() -> None:
    store, slow, fast = MemoryStore(), Rate(requests=1, window=10), Rate(requests=5, window=1)
    assert store.take([Want("a", slow), Want("b", fast)], 0.0).is_allowed
    verdict = store.take([Want("b", fast), Want("a", slow)], 1.0)
    assert not verdict.is_allowed and verdict.retry_after == pytest.approx(9.0)
    assert [store.take([Want("b", fast)], 1.0).is_allowed for _ in range(6)] == [True] * 5 + [False]


def test_the_longest_wait_is_told() -> None:
    store, slow, slower = MemoryStore(), Rate(requests=1, window=10), Rate(requests=1, window=20)
    assert store.take([Want("a", slow), Want("b", slower)], 0.0).is_allowed
    for wants in ([Want("a", slow), Want("b", slower)], [Want("b", slower), Want("a", slow)]):
        assert store.take(wants, 5.0).retry_after == pytest.approx(15.0)


def test_a_key_that_comes_twice_is_taken_from_twice() -> None:
    store, rate = MemoryStore(), Rate(requests=3, window=10)
    twice = [Want("a", rate), Want("a", rate)]
    assert store.take(twice, 0.0).is_allowed
    assert not store.take(twice, 0.0).is_allowed
    assert store.take([Want("a", rate)], 0.0).is_allowed


def test_no_wants_are_always_granted() -> None:
    assert MemoryStore().take([], 0.0).is_allowed


def test_a_burst_fits_exactly_at_the_seconds_of_this_decade() -> None:
    store, rate = MemoryStore(), Rate(requests=10_000, window=60)
    now = 1_785_000_000.123456
    verdicts = [store.take([Want("a", rate), Want("b", rate)], now).is_allowed for _ in range(10_001)]
    assert verdicts == [True] * 10_000 + [False]


def test_buckets_stay_bounded() -> None:
    limiter, rate = RateLimiter(limit=10), Rate(requests=1, window=100)
    for number in range(100):
        limiter.take_all([(number, rate, 1.0), (-number, rate, 1.0)], 0.0)
        assert len(limiter) <= 10


@given(
    st.lists(st.tuples(st.floats(0, 5), st.lists(st.integers(0, 2), max_size=3)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 20),
)
def test_buckets_that_are_taken_from_together_are_those_that_are_taken_from_alone(
    steps: list[tuple[float, list[int]]], requests: int, window: int
) -> None:
    together, alone, rate = RateLimiter(), RateLimiter(), Rate(requests=requests, window=window)
    now = 0.0
    for gap, keys in steps:
        now += gap
        verdict = together.take_all([(key, rate, 1.0) for key in keys], now)
        if verdict.is_allowed:
            assert all(alone.take(key, rate, now).is_allowed for key in keys)
        else:
            assert verdict.retry_after > 0
    for key in range(3):
        assert together.take(key, rate, now) == alone.take(key, rate, now)


GAPS = st.lists(st.integers(0, 40).map(lambda eighths: eighths / 8), max_size=60)


@given(GAPS, st.integers(1, 4))
def test_one_a_window_is_what_limits_calls_a_moving_window(gaps: list[float], window: int) -> None:
    store, rate = MemoryStore(), Rate(requests=1, window=window)
    with moving_window(1, window) as oracle:
        now = 1_785_000_000.0
        for gap in gaps:
            now += gap
            assert store.take([Want("k", rate)], now).is_allowed is oracle(now)


@given(GAPS, st.integers(1, 8), st.integers(1, 4))
def test_no_window_holds_more_than_its_requests_and_the_burst(gaps: list[float], requests: int, window: int) -> None:
    store, rate = MemoryStore(), Rate(requests=requests, window=window)
    history = History(rate)
    with moving_window(2 * requests, window) as oracle:
        now = 1_785_000_000.0
        for gap in gaps:
            now += gap
            verdict = store.take([Want("k", rate)], now)
            history.judge(now, verdict)
            if verdict.is_allowed:
                assert oracle(now)


def test_values_are_kept_for_their_time_and_forgotten_by_tag() -> None:
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    store.put(b"a", b"1", 10, "x")
    store.put(b"b", b"2", 20, "y")
    assert store.get(b"a") == b"1"
    now[0] = 10.0
    assert store.get(b"a") is None and store.get(b"b") == b"2"
    store.clear("x")
    assert store.get(b"b") == b"2"
    store.clear("y")
    assert store.get(b"b") is None
    store.put(b"a", b"1", 10, "x")
    store.clear(None)
    assert store.get(b"a") is None


def test_what_is_published_reaches_who_subscribed() -> None:
    store = MemoryStore()
    heard: list[bytes] = []
    leave = store.subscribe("topic", heard.append)
    also = store.subscribe("topic", heard.append)
    store.publish("topic", b"1")
    store.publish("other", b"2")
    also()
    store.publish("topic", b"3")
    leave()
    leave()
    store.publish("topic", b"4")
    assert heard == [b"1", b"1", b"3"]


def test_nothing_given_is_a_store_of_this_process() -> None:
    store = open_store(None)
    assert isinstance(store, MemoryStore) and store.is_local and store.sessions is None
    assert open_store(store) is store and isinstance(store, Store)


def test_what_is_no_store_is_refused_with_what_is_known_and_without_its_secrets() -> None:
    with pytest.raises(ValueError, match=r"unknown store \(mysql\); known: redis://, rediss://, unix://") as caught:
        open_store("mysql://user:hunter2@host")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="no URL") as caught:
        open_store("hunter2@host")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(TypeError, match="not int"):
        open_store(1)  # type: ignore[arg-type]


def test_a_url_is_read_once_and_its_password_shown_never() -> None:
    address = RedisAddress.parse("redis://us%20er:hunter%322@host.example:7000/3")
    assert (address.host, address.port, address.db) == ("host.example", 7000, 3)
    assert (address.username, address.password) == ("us er", "hunter22")
    assert address.shown == "redis://host.example:7000/3" and "hunter" not in repr(address)
    store = open_store("redis://:hunter22@host.example")
    assert repr(store) == "RedisStore('redis://host.example:6379/0')" and not store.is_local
    address = RedisAddress.parse("unix://:hunter22@/run/redis.sock?db=2")
    assert (address.path, address.db, address.password) == ("/run/redis.sock", 2, "hunter22")
    assert RedisAddress.parse("rediss://host").tls is not None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:hunter2@host:port", "no valid port"),
        ("redis://:hunter2@/0", "names no host"),
        ("unix://:hunter2@", "names its path"),
        ("redis://:hunter2@host/db", "is a number"),
        ("redis://:hunter2@host?colour=red", "unknown option colour in the URL of the Redis store; known: db"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_a_store_error_may_be_tried_again() -> None:
    assert StoreError("gone").retryable
