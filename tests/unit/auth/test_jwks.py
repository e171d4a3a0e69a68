"""Published keys: when they are fetched, what is kept, and that nobody can make us fetch more. R30, X12, X13."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.auth.jwks import MAX_KEY_SET, MAX_KEYS, KeyCache, read_key_set
from kailash.auth.jwt import ParsedToken

from .forge import jwk, key_set, private

URL = "https://issuer.example/keys"


def token(kid: str | None = "a", algorithm: str = "RS256") -> ParsedToken:
    return ParsedToken(algorithm=algorithm, kid=kid, type=None, claims={}, message=b"", signature=b"")


def filled(now: float = 0.0) -> KeyCache:
    cache = KeyCache(URL)
    cache.begin(token(), now)
    cache.receive(key_set(jwk("RSA", kid="a"), jwk("P-256", kid="b"), jwk("Ed25519")), now)
    return cache


def test_nothing_is_fetched_before_it_is_needed_and_then_once() -> None:
    cache = KeyCache(URL)
    assert not cache.has_keys(0) and cache.find(token(), 0) == [] and cache.wants(token(), 0)
    cache.begin(token(), 0)
    assert not cache.wants(token(), 0) and not cache.wants(token(), 29.9)
    assert cache.wants(token(), 30)


def test_a_token_gets_the_key_it_names_if_that_fits() -> None:
    cache = filled()
    assert [key.kid for key in cache.find(token("a"), 1)] == ["a"]
    assert cache.find(token("b"), 1) == [] and cache.find(token("c"), 1) == []
    assert [key.kid for key in cache.find(token("b", "ES256"), 1)] == ["b"]
    assert [key.kid for key in cache.find(token(None), 1)] == ["a"]
    assert [key.kid for key in cache.find(token(None, "EdDSA"), 1)] == [None]
    assert cache.find(token("x", "EdDSA"), 1) == []


def test_a_hundred_unknown_names_cost_one_fetch_in_thirty_seconds() -> None:
    cache = filled(0)
    fetches = []
    for tick in range(1200):  # two minutes, ten a second
        now = 1 + tick / 10
        asked = token(f"unknown-{tick % 100}")
        if cache.wants(asked, now):
            cache.begin(asked, now)
            cache.receive(key_set(jwk("RSA", kid="a")), now)
            fetches.append(now)
    assert len(fetches) == 4
    assert all(later - earlier >= 30 for earlier, later in pairwise(fetches))


def test_a_name_that_was_not_there_is_not_looked_for_again_soon() -> None:
    cache = filled(0)
    assert cache.wants(token("new"), 40)
    cache.begin(token("new"), 40)
    cache.receive(key_set(jwk("RSA", kid="a")), 40)
    assert not cache.wants(token("new"), 80) and not cache.wants(token("new"), 339)
    assert cache.wants(token("other"), 80) and cache.wants(token("new"), 340)
    # Once it is published, whoever else asked, it is known at once.
    cache.begin(token("other"), 80)
    cache.receive(key_set(jwk("RSA", kid="new")), 80)
    assert cache.find(token("new"), 80)


def test_what_is_remembered_of_unknown_names_is_bounded() -> None:
    cache = filled(0)
    for number in range(1000):
        now = 100.0 + number * 0.0001
        cache.begin(token(f"k{number}"), now)
        cache.receive(key_set(jwk("RSA", kid="a")), now)
    assert len(cache._missing) <= 256


def test_keys_grow_old_and_stale_and_are_gone() -> None:
    cache = filled(0)
    assert not cache.wants(token("a"), 599) and cache.find(token("a"), 599)
    assert cache.wants(token("a"), 600) and cache.find(token("a"), 600), "used while they are fetched"
    for minute in range(10, 70):
        now = minute * 60.0
        cache.begin(token("a"), now)  # and nothing comes
        assert cache.find(token("a"), now) and cache.has_keys(now)
    assert cache.find(token("a"), 4199) and not cache.find(token("a"), 4200) and not cache.has_keys(4200)


def test_withdrawn_keys_are_gone_with_the_next_set() -> None:
    cache = filled(0)
    cache.receive(key_set(jwk("P-256", kid="b")), 600)
    assert cache.find(token("a"), 600) == [] and cache.find(token("b", "ES256"), 600)


def test_a_fetch_that_nobody_waited_for_may_begin_again() -> None:
    cache = KeyCache(URL)
    cache.begin(token(), 0)
    cache.abandon()
    assert cache.wants(token(), 0)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b" " * (MAX_KEY_SET + 1), "bytes"), (b"x" * 10_000_000, "bytes"), (b"", "JSON"), (b"{", "JSON"),
        (b"\xff", "JSON"), (b"[" * 5000, "JSON"), (b"[]", "no key set"), (b"{}", "no key set"), (b"null", "no key set"),
        (b'{"keys":{}}', "no key set"), (b'{"keys":[]}', "no key in it"), (b'{"keys":[1,null,{}]}', "no key in it"),
        (b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', "no key in it"), (b"<html>", "JSON"),
        (key_set(*[{"kty": "x"}] * (MAX_KEYS + 1)), "32 keys"),
    ],
)  # fmt: skip
def test_what_is_no_key_set_changes_nothing(data: bytes, why: str) -> None:
    cache = filled(0)
    with pytest.raises(ValueError, match=why):
        cache.receive(data, 700)
    assert cache.find(token("a"), 700) and cache.is_due(700)


def test_limits_of_a_key_set_are_exact() -> None:
    good = jwk("Ed25519")
    for count in (MAX_KEYS - 1, MAX_KEYS):
        assert len(read_key_set(key_set(*[good] * count))) == count
    for size in (MAX_KEY_SET - 1, MAX_KEY_SET):
        data = key_set(good)
        assert read_key_set(data + b" " * (size - len(data)))
    assert "b'" not in repr(filled()) and "3 keys" in repr(filled())


def test_a_private_key_that_was_published_is_not_trusted() -> None:
    published: dict[str, Any] = private("P-256").as_dict(private=True)
    with pytest.raises(ValueError, match="no key in it"):
        read_key_set(key_set(published))
    assert len(read_key_set(key_set(published, jwk("P-256")))) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_set_or_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_key_set(data)
