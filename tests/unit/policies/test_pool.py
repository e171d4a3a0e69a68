"""What a pool decides: a table, and what it promises for any order of calls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.mcp_client.pool import Action, Held, PoolRules, decide, expired

KEYS = ["a", "b", "c"]


@given(
    held=st.lists(
        st.builds(
            Held, key=st.sampled_from(KEYS), users=st.integers(0, 2), idle_since=st.floats(0, 100, allow_nan=False)
        ),
        max_size=6,
    ),
    key=st.sampled_from(KEYS),
    most=st.integers(1, 6),
    exclusive=st.booleans(),
)
def test_a_decision_is_the_best_there_is(held: list[Held], key: str, most: int, exclusive: bool) -> None:
    action, chosen = decide(held, key, PoolRules(max_connections=most, exclusive=exclusive))
    usable = [each for each in held if each.key == key and (each.users == 0 or not exclusive)]
    idle = [each for each in held if each.users == 0]
    if usable:
        assert action is Action.USE and chosen in usable
    elif len(held) < most:
        assert (action, chosen) == (Action.OPEN, None)
    elif idle:
        assert action is Action.EVICT and chosen is not None
        assert chosen.users == 0 and chosen.idle_since == min(each.idle_since for each in idle)
    else:
        assert (action, chosen) == (Action.WAIT, None)


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=60),
    st.integers(1, 3),
    st.booleans(),
)
def test_no_order_of_calls_exceeds_the_limit_or_lends_to_two_what_is_one_callers(
    steps: list[tuple[str, bool]], most: int, exclusive: bool
) -> None:
    rules = PoolRules(max_connections=most, exclusive=exclusive)
    held: list[Held] = []
    lent: list[Held] = []
    for now, (key, is_return) in enumerate(steps):
        if is_return:
            if lent:
                back = lent.pop(0)
                back.users -= 1
                back.idle_since = now
            continue
        action, chosen = decide(held, key, rules)
        while action is Action.EVICT:
            assert chosen is not None
            held.remove(chosen)
            action, chosen = decide(held, key, rules)
        if action is Action.OPEN:
            chosen = Held(key)
            held.append(chosen)
        if action is not Action.WAIT:
            assert chosen is not None and chosen.key == key
            chosen.users += 1
            lent.append(chosen)
        assert len(held) <= most
        assert all(each.users <= 1 for each in held) or not exclusive
        assert all(each in held for each in lent)


def test_what_was_idle_for_too_long_is_closed() -> None:
    held = [Held("a", idle_since=0.0), Held("b", users=1, idle_since=0.0), Held("c", idle_since=5.0)]
    assert expired(held, 10.0, PoolRules(pool_cleanup_interval=10.0)) == held[:1]


@pytest.mark.parametrize(
    ("given_", "error", "words"),
    [
        ({"size": 1}, TypeError, "unknown key size in connection_pool_config; known: connection_timeout|known: max"),
        ({"max_connections": 0}, ValueError, "max_connections must be 1 or more"),
        ({"max_connections": 1.5}, ValueError, "max_connections must be 1 or more"),
        ({"connection_timeout": 0}, ValueError, "connection_timeout must be above zero"),
    ],
)
def test_malformed_rules_are_refused(given_: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        PoolRules.of(given_)
