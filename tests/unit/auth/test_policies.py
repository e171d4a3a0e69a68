"""Tables of secrets, passwords, roles, and what a client sends."""

from __future__ import annotations

import hmac
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given as property_of
from hypothesis import strategies as st

from kailash.auth import HeaderAuth, PermissionManager, SecretTable, has_permissions, read_auth, read_entry, reason_of
from kailash.auth.entries import read_expiry
from kailash.auth.passwords import ScryptCost, hash_password, read_hash
from kailash.errors import AuthenticationError, AuthorizationError

SALT = bytes(range(16))
CHEAP = ScryptCost(ln=10, p=1)


# Entries


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"colour": 1}, TypeError, "unknown option colour; known: permissions, rate_limit, metadata, user_id, expires"),
        ({1: 1}, TypeError, "unknown option 1"),
        ("admin", TypeError, "mapping"),
        (["admin"], TypeError, "mapping"),
        ({"permissions": "admin"}, TypeError, "list of strings"),
        ({"permissions": {"admin": True}}, TypeError, "list of strings"),
        ({"permissions": None}, TypeError, "list of strings"),
        ({"permissions": ["a", 1]}, TypeError, "each permission"),
        ({"permissions": [""]}, TypeError, "each permission"),
        ({"metadata": [1]}, TypeError, "metadata"),
        ({"user_id": ""}, TypeError, "user_id"),
        ({"user_id": 7}, TypeError, "user_id"),
        ({"rate_limit": 100}, TypeError, "rate_limit is a mapping"),
        ({"rate_limit": {}}, TypeError, "needs requests"),
        ({"rate_limit": {"requests": 1, "per": 2}}, TypeError, "known: requests, window, burst_size"),
        ({"rate_limit": {"requests": "1"}}, TypeError, "requests is a number"),
        ({"rate_limit": {"requests": True}}, TypeError, "requests is a number"),
        ({"rate_limit": {"requests": 0}}, ValueError, "above zero"),
        ({"rate_limit": {"requests": 1, "window": -1}}, ValueError, "above zero"),
        ({"rate_limit": {"requests": 1, "burst_size": 0.5}}, ValueError, "above zero"),
        ({"expires": "soon"}, ValueError, "2030-01-31"),
        ({"expires": True}, TypeError, "seconds since the epoch"),
        ({"expires": float("nan")}, TypeError, "seconds since the epoch"),
        ({"expires": [1]}, TypeError, "seconds since the epoch"),
    ],
)
def test_options_are_checked_and_the_message_names_what_is_known(
    options: Any, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why) as caught:
        read_entry(options, user_id="ann", what="API key 2")
    assert str(caught.value).startswith("API key 2: ")


def test_an_identity_belongs_to_who_asked() -> None:
    given = {"permissions": ["a"], "metadata": {"m": 1}, "rate_limit": {"requests": 100}, "expires": 9}
    entry = read_entry(given, user_id="ann", what="x")
    expected = {
        "user_id": "ann", "auth_type": "api_key", "permissions": ["a"], "metadata": {"m": 1},
        "rate_limit": {"requests": 100, "window": 60}, "expires": 9.0,
    }  # fmt: skip
    found = entry.found("api_key")
    assert found == expected
    found["permissions"].append("admin")
    found["metadata"]["m"] = 2
    found["rate_limit"]["requests"] = 10**9
    assert entry.found("api_key") == expected


def test_times_of_expiry_are_read_as_they_are_written() -> None:
    noon = datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp()
    for given in (noon, int(noon), "2030-01-31T12:00:00Z", "2030-01-31T12:00:00", "2030-01-31 13:00:00+01:00",
                  "20300131T120000Z", datetime(2030, 1, 31, 12), datetime(2030, 1, 31, 12, tzinfo=UTC)):  # fmt: skip
        assert read_expiry(given, "x") == noon
    assert read_expiry(None, "x") is None


# Tables of secrets


def test_a_table_holds_digests_only() -> None:
    table = SecretTable("API key", prefix="key")
    table.fill({"very-secret": {"metadata": {"m": 1}}, "also-secret": None})
    assert len(table) == 2 and repr(table) == "2 API keys"
    assert "secret" not in repr(table._entries).replace("metadata", "")


def test_all_that_is_wrong_is_refused_alike() -> None:
    table = SecretTable("API key", prefix="key")
    table.fill({"good-key-1": {"expires": 10}, "good-key-2": {}})
    assert table.find("good-key-1", 9.9).user_id.startswith("key-") and table.find("good-key-2", 1e12)
    assert table.remove("good-key-2") and not table.remove("good-key-2") and not table.remove("")
    seen = set()
    for wrong in ("good-key-1", "good-key-2", "xood-key-1", "good-key-X", "good-key-", "good-key-11", "ключ", "\ud800"):
        with pytest.raises(AuthenticationError) as caught:
            table.find(wrong, 10)
        seen.add(str(caught.value))
        assert wrong not in str(caught.value) + reason_of(caught.value)
    assert seen == {"unknown API key"}
    for nothing in ("", None, 1, b"good-key-1", ["good-key-1"]):
        with pytest.raises(AuthenticationError, match="no API key"):
            table.find(nothing, 0)


def test_known_and_unknown_secrets_take_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    table = SecretTable("API key", prefix="key")
    table.fill(["0123456789"])
    compared: list[tuple[int, int]] = []
    genuine = hmac.compare_digest

    def compare(known: bytes, digest: bytes) -> bool:
        compared.append((len(known), len(digest)))
        return bool(genuine(known, digest))

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for secret in ("0123456789", "X123456789", "012345678X", "y"):
        try:
            table.find(secret, 0)
        except AuthenticationError:
            continue
    assert compared == [(32, 32)] * 4


@pytest.mark.parametrize(
    ("given", "error"),
    [(7, TypeError), (None, TypeError), (b"key", TypeError), ([1], TypeError), ([""], ValueError), ("", ValueError),
     (["a", "a"], ValueError), ({"": {}}, ValueError), ({"a": {"x": 1}}, TypeError), ([b"k"], TypeError)],
)  # fmt: skip
def test_what_is_no_table_is_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        SecretTable("API key", prefix="key").fill(given)


def test_messages_of_configuration_show_no_secret() -> None:
    for given in ({"very-secret": {"x": 1}}, {"very-secret": 7}, ["very-secret", "very-secret"]):
        with pytest.raises((TypeError, ValueError)) as caught:
            SecretTable("API key", prefix="key").fill(given)
        assert "very-secret" not in str(caught.value)


@property_of(st.lists(st.text(min_size=1), unique=True, max_size=20), st.text())
def test_a_table_knows_what_it_was_given_and_nothing_else(secrets: list[str], other: str) -> None:
    table = SecretTable("token", prefix="token")
    table.fill(secrets)
    assert len({table.find(secret, 0).user_id for secret in secrets}) == len(secrets)
    if other not in secrets:
        with pytest.raises(AuthenticationError):
            table.find(other, 0)


# Passwords


def test_a_hash_knows_its_password_and_no_other() -> None:
    text = hash_password("päss wörd", SALT, CHEAP)
    known = read_hash(text)
    assert known is not None and known.cost == CHEAP and "$scrypt$ln=10,r=8,p=1$" in text
    assert known.matches("päss wörd")
    for wrong in ("", "päss wörd ", "PÄSS WÖRD", "pass word", "\ud800", "x" * 5000):
        assert not known.matches(wrong)
    assert hash_password("a", SALT, CHEAP) != hash_password("a", bytes(16), CHEAP)
    assert repr(known) == "PasswordHash(…)"


def test_the_derivation_is_that_of_the_standard() -> None:
    # RFC 7914 section 12, its third vector, in our spelling.
    known = read_hash(
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$"
        "cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw"
    )
    assert known is not None and known.matches("pleaseletmein")


@pytest.mark.parametrize(
    "text",
    ["hunter2", "", "$scrypt$", "$scrypt$ln=40,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
     "$scrypt$ln=14,r=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$2b$12$abcdefghijklmnopqrstuv",
     "$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAAA=$AAAA", "$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAA$" + "A" * 25],
)  # fmt: skip
def test_what_is_no_hash_is_none(text: str) -> None:
    assert read_hash(text) is None


def test_bad_ingredients_of_a_hash_are_refused() -> None:
    for password, salt in (("", SALT), (None, SALT), ("a", b"short")):
        with pytest.raises(ValueError):
            hash_password(password, salt, CHEAP)  # type: ignore[arg-type]
    for cost in ({"ln": 9}, {"ln": 19}, {"r": 0}, {"p": 17}):
        with pytest.raises(ValueError):
            ScryptCost(**cost)


# Roles


def test_roles_hold_what_they_inherit() -> None:
    manager = PermissionManager(
        {
            "chief": {"inherits": ["writer", "auditor"]},
            "reader": ["read"],
            "writer": {"permissions": ["write"], "inherits": ["reader"]},
            "auditor": ("audit",),
            "nobody": [],
        }
    )
    assert manager.roles["chief"] == {"write", "read", "audit"} and manager.roles["nobody"] == frozenset()
    assert manager.expand(["writer", "other"]) == {"writer", "other", "write", "read"}
    ann = {"permissions": ["chief"]}
    assert manager.has_permission(ann, "read", "audit") and not manager.has_permission(ann, "delete")
    manager.require(ann, "read")
    with pytest.raises(AuthorizationError, match="missing permission: burn, delete") as caught:
        manager.require(ann, "read", "delete", "burn")
    assert caught.value.data == {"missing": ["burn", "delete"]}
    manager.add_role("boss", ["admin"], inherits=["chief"])
    assert manager.has_permission({"permissions": ["boss"]}, "anything at all")
    assert "boss" in repr(manager)


def test_admin_implies_everything() -> None:
    assert has_permissions(["admin"], ["x", "y"]) and has_permissions(["x"], []) and not has_permissions([], ["x"])
    assert PermissionManager().has_permission({"permissions": ["admin"]}, "x")
    assert not PermissionManager().has_permission({}, "x")


@pytest.mark.parametrize(
    ("roles", "error", "why"),
    [
        ({"a": {"inherits": ["a"]}}, ValueError, "circle: a → a"),
        ({"a": {"inherits": ["b"]}, "b": {"inherits": ["c"]}, "c": {"inherits": ["a"]}}, ValueError, "circle"),
        ({"a": {"inherits": ["b"]}}, ValueError, "'b', which is no role"),
        ({"a": "read"}, TypeError, "list of strings"),
        ({"a": {"inherits": "b"}, "b": []}, TypeError, "inherits"),
        ({"a": {"parents": []}}, TypeError, "known: permissions, inherits"),
        ({"": []}, TypeError, "name of a role"),
        ({1: []}, TypeError, "name of a role"),
    ],
)
def test_roles_that_mean_nothing_are_refused(roles: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        PermissionManager(roles)


def test_a_role_that_is_refused_changes_nothing() -> None:
    manager = PermissionManager({"a": ["x"], "b": {"inherits": ["a"]}})
    before = manager.roles
    for wrong in (lambda: manager.add_role("a", inherits=["b"]), lambda: manager.add_role("c", "x")):
        with pytest.raises((TypeError, ValueError)):
            wrong()
        assert manager.roles == before


@property_of(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6))
def test_a_role_holds_at_least_what_its_parents_hold(parents: dict[str, list[str]]) -> None:
    try:
        manager = PermissionManager(
            {name: {"permissions": [f"p-{name}"], "inherits": listed} for name, listed in parents.items()}
        )
    except ValueError:
        return
    for name, listed in parents.items():
        assert f"p-{name}" in manager.roles[name]
        assert all(manager.roles[parent] < manager.roles[name] for parent in listed)


# What a client sends


def test_credentials_become_headers() -> None:
    assert read_auth({"type": "api_key", "key": "k"}).get_headers() == {"X-API-Key": "k"}
    assert read_auth({"type": "api_key", "api_key": "k", "header": "X-Key"}).get_headers() == {"X-Key": "k"}
    assert read_auth({"type": "bearer", "token": "t"}).get_headers() == {"Authorization": "Bearer t"}
    basic = read_auth({"type": "basic", "username": "ann", "password": "pä:ss"}).get_headers()
    assert b64decode(basic["Authorization"].removeprefix("Basic ")).decode() == "ann:pä:ss"
    auth = HeaderAuth.bearer("very-secret")
    assert read_auth(auth) is auth and "very-secret" not in repr(auth) and "bearer" in repr(auth)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("k", "mapping"), (None, "mapping"), ({}, "api_key, bearer, jwt, basic"),
        ({"type": "magic"}, "api_key, bearer"), ({"type": ["basic"]}, "api_key, bearer"),
        ({"type": "bearer"}, "needs token"),
        ({"type": "basic", "username": "a"}, "needs password"),
        ({"type": "bearer", "token": "very-secret", "colour": 1}, "known: token"),
        ({"type": "bearer", "token": 7}, "token is a string"), ({"type": "api_key", "key": ""}, "api_key is a string"),
        ({"type": "basic", "username": "a:b", "password": "very-secret"}, "colon"),
        ({"type": "bearer", "token": "very-secret\r\nX: y"}, "cannot carry"),
        ({"type": "api_key", "key": "very-secret ключ"}, "cannot carry"),
    ],
)  # fmt: skip
def test_credentials_that_cannot_be_sent_are_refused_without_being_shown(source: Any, why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why) as caught:
        read_auth(source)
    assert "very-secret" not in str(caught.value)
