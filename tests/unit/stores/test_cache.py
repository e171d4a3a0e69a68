"""The bounded cache: by number, by bytes, by time, by tag."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.resilience import ResultCache
from kailash.resilience.cache import LONGEST_LIFE, MOST_BYTES, MOST_ENTRIES


def test_a_value_lives_for_its_time() -> None:
    cache = ResultCache(ttl=10)
    cache.put("k", None, 100.0)
    assert cache.get("k", 109.999) == (True, None)
    assert cache.get("k", 110.0) == (False, None)
    assert (cache.hits, cache.misses, len(cache)) == (1, 1, 0)
    cache.put("k", 1, 100.0, ttl=2)
    assert cache.get("k", 101.9) == (True, 1) and cache.get("k", 102.0) == (False, None)


def test_no_value_lives_longer_than_an_hour_unless_that_is_asked_for() -> None:
    cache = ResultCache(ttl=10 * LONGEST_LIFE)
    cache.put("k", 1, 0.0)
    assert cache.get("k", LONGEST_LIFE - 1)[0] and not cache.get("k", LONGEST_LIFE)[0]
    cache = ResultCache(ttl=10 * LONGEST_LIFE, longest=None)
    cache.put("k", 1, 0.0)
    assert cache.get("k", 10 * LONGEST_LIFE - 1)[0]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_least_recently_used_give_way_to_the_limit_of_entries(more: int) -> None:
    cache = ResultCache(ttl=10)
    for number in range(MOST_ENTRIES + more):
        cache.put(number, number, 0.0)
    assert len(cache) == min(MOST_ENTRIES, MOST_ENTRIES + more)
    assert cache.get(0, 0.0)[0] is (more < 1)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_least_recently_used_give_way_to_the_limit_of_bytes(more: int) -> None:
    cache = ResultCache(ttl=10)
    cache.put("a", 1, 0.0, size=MOST_BYTES // 2)
    cache.put("b", 1, 0.0, size=100)
    assert cache.get("a", 1.0)[0]  # so that it is used later than the other
    cache.put("c", 1, 1.0, size=MOST_BYTES // 2 - 100 + more)
    assert [cache.get(key, 1.0)[0] for key in "abc"] == [True, more < 1, True]
    assert cache.size <= MOST_BYTES


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nobody_out() -> None:
    cache = ResultCache(ttl=10, limit_bytes=10)
    cache.put("a", 1, 0.0, size=4)
    cache.put("a", 2, 0.0, size=11)
    assert cache.get("a", 0.0) == (False, None) and cache.size == 0
    cache.put("b", 1, 0.0, size=10)
    cache.put("c", 2, 0.0, size=11)
    assert cache.get("b", 0.0) == (True, 1) and cache.size == 10


def test_values_are_forgotten_by_their_tag() -> None:
    cache = ResultCache(ttl=10)
    cache.put("a", 1, 0.0, tag="x", size=1)
    cache.put("b", 2, 0.0, tag="y", size=1)
    cache.put("c", 3, 0.0, size=1)
    cache.clear("x")
    cache.clear("unknown")
    assert [cache.get(key, 0.0)[0] for key in "abc"] == [False, True, True] and cache.size == 2
    cache.clear()
    assert len(cache) == 0 and cache.size == 0
    cache.clear("y")


def test_values_are_forgotten_by_what_their_keys_say() -> None:
    cache = ResultCache()
    for number in range(4):
        cache.put(number, number, 0.0, size=1, tag=str(number % 2))
    cache.discard(lambda key: key > 1)
    assert [cache.get(number, 0.0)[0] for number in range(4)] == [True, True, False, False] and cache.size == 2


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit_bytes": 0}])
def test_a_cache_that_keeps_nothing_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        ResultCache(ttl=1, **options)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 12), st.sampled_from([None, "x", "y"]), st.booleans()),
        max_size=40,
    )
)
def test_the_size_is_that_of_what_is_kept(steps: list[tuple[str, int, str | None, bool]]) -> None:
    cache = ResultCache(ttl=3, limit=4, limit_bytes=20)
    for now, (key, size, tag, is_clear) in enumerate(steps):
        if is_clear:
            cache.clear(tag or "z")
        else:
            cache.put(key, size, now, size=size, tag=tag)
        assert len(cache) <= 4 and cache.size <= 20
        assert cache.size == sum(size for _, _, size, _ in cache._entries.values())
        tagged = {key for keys in cache._tagged.values() for key in keys}
        assert tagged == {key for key, (_, _, _, tag) in cache._entries.items() if tag is not None}
