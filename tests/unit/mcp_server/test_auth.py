"""The authentication providers: who is let in, who is not, and that nothing secret shows. B19, B20, B34, X01 to X16."""

from __future__ import annotations

import builtins
import copy
import hashlib
import logging
import time
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import anyio
import pytest
from hypothesis import given as property_of
from hypothesis import strategies as st

from kailash.adapters.fetch import Fetched, FetchError
from kailash.auth.passwords import ScryptCost, hash_password
from kailash.errors import AuthenticationError, AuthorizationError, TransportError
from kailash.mcp_server.auth import (
    AnyAuth,
    APIKeyAuth,
    BasicAuth,
    BearerTokenAuth,
    JWTAuth,
    PermissionManager,
    RoleAuth,
    WeakSecretWarning,
    reason_of,
)
from kailash.mcp_server.identity import credentials_of, read_identity
from kailash.mcp_server.providers import as_provider, ask_provider
from protocol.framing.headers import NO_HEADERS, Headers

from ..auth.forge import NOW, SECRET, claims, forge, jwk, key_set, private, private_pem, public_pem

EVERYDAY = ["tools", "resources", "prompts"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def now() -> float:
    return NOW


def refused(provider: Any, credentials: Mapping[str, Any], text: str, why: str = "") -> None:
    with pytest.raises(AuthenticationError) as caught:
        provider.authenticate(credentials)
    assert str(caught.value) == text and why in reason_of(caught.value)


# As the document has it


def test_b19_keys_with_limits_and_metadata() -> None:
    auth = APIKeyAuth(
        {
            "key1": {"permissions": ["tools"], "rate_limit": {"requests": 100, "window": 60}},
            "key2": {"permissions": ["admin"], "metadata": {"user": "admin"}},
        }
    )
    first, second = (auth.authenticate({"api_key": key}) for key in ("key1", "key2"))
    assert first["permissions"] == ["tools"] and first["rate_limit"] == {"requests": 100, "window": 60}
    assert second["permissions"] == ["admin"] and second["metadata"] == {"user": "admin"}
    assert first["user_id"] != second["user_id"] and "rate_limit" not in second


def test_b20_a_token_is_made_and_believed() -> None:
    with pytest.warns(WeakSecretWarning, match="15 bytes.*at least 32"):
        auth = JWTAuth(secret="your-secret-key", algorithm="HS256", token_expiry=3600)
    expires = time.time() + 3600
    token = auth.create_token({"user": "alice", "permissions": ["tools", "resources"], "exp": expires})
    found = auth.authenticate({"token": token})
    assert found["user_id"] == "alice" and found["permissions"] == ["tools", "resources"]
    assert found["auth_type"] == "jwt" and found["expires"] == expires and found["metadata"]["user"] == "alice"


def test_b34_a_key_is_tried_by_hand() -> None:
    auth = APIKeyAuth({"test": {"permissions": ["tools"]}})
    result = auth.authenticate({"api_key": "test"})
    assert result == {
        "user_id": result["user_id"], "auth_type": "api_key", "permissions": ["tools"], "metadata": {},
    }  # fmt: skip
    assert auth.get_headers() == {"X-API-Key": "test"}


# Keys and opaque tokens


@pytest.mark.parametrize(
    ("cls", "field", "what", "kind"),
    [(APIKeyAuth, "api_key", "API key", "api_key"), (BearerTokenAuth, "token", "token", "bearer")],
)
def test_keys_and_tokens_are_known_expired_and_revoked(cls: Any, field: str, what: str, kind: str) -> None:
    clock = [NOW]
    auth = cls(
        {"one-secret": {"user_id": "ann", "expires": NOW + 1}, "two-secret": None},
        clock=lambda: clock[0],
    )
    assert auth.authenticate({field: "one-secret"}) == {
        "user_id": "ann", "auth_type": kind, "permissions": EVERYDAY, "metadata": {}, "expires": NOW + 1,
    }  # fmt: skip
    clock[0] += 1
    refused(auth, {field: "one-secret"}, f"unknown {what}", "expired")
    assert auth.authenticate({field: "two-secret"})["permissions"] == EVERYDAY
    assert auth.revoke("two-secret") and not auth.revoke("two-secret")
    refused(auth, {field: "two-secret"}, f"unknown {what}")
    auth.add("new-secret", permissions=["x"], user_id="bob")
    assert auth.authenticate({field: "new-secret"})["user_id"] == "bob"
    for nothing in ({}, {field: ""}, {field: None}, {field: 1}, {"password": "one-secret"}):
        refused(auth, nothing, f"no {what}")
    with pytest.raises(TypeError, match="known: permissions"):
        auth.add("x", colour=1)
    with pytest.raises(ValueError, match="already"):
        auth.add("new-secret")


def test_keys_come_as_one_a_list_or_a_mapping() -> None:
    for given in ("key1", ["key1", "key2"], ("key1",), {"key1": {}}, {"key1": None}, (key for key in ["key1"])):
        assert APIKeyAuth(given).authenticate({"api_key": "key1"})["permissions"] == EVERYDAY
        refused(APIKeyAuth("key1"), {"api_key": "k"}, "unknown API key")
    assert len(APIKeyAuth([])._table) == 0


def test_a_client_sends_its_one_key_and_a_server_keeps_none() -> None:
    assert BearerTokenAuth("tok").get_headers() == {"Authorization": "Bearer tok"}
    for several in (APIKeyAuth(["very-secret", "b"]), BearerTokenAuth([]), APIKeyAuth("very-secret\n")):
        with pytest.raises(ValueError, match="one"):
            several.get_headers()
        assert "very-secret" not in repr(vars(several)) + repr(several)
    auth = APIKeyAuth("very-secret")
    auth.revoke("very-secret")
    with pytest.raises(ValueError, match="API key"):
        auth.get_headers()


def test_a_key_that_is_wrong_anywhere_is_wrong() -> None:
    auth = APIKeyAuth(["0123456789abcdef"])
    for wrong in (
        "X123456789abcdef",
        "0123456789abcdeX",
        "0123456789ABCDEF",
        "ключ",
        "\ud800",
        "\xff\xfe",
        "a" * 10**6,
    ):
        refused(auth, {"api_key": wrong}, "unknown API key")


# JWTs


def hs(**options: Any) -> JWTAuth:
    return JWTAuth(SECRET, clock=now, **options)


def test_tokens_live_as_long_as_is_said() -> None:
    for options in ({}, {"token_expiry": 3600}, {"expiration": 3600}):
        auth = hs(**options)
        assert auth.authenticate({"token": auth.create_token({"user": "ann"})})["expires"] == NOW + 3600
    clock = [NOW]
    auth = JWTAuth(SECRET, token_expiry=10, leeway=5, clock=lambda: clock[0])
    token = auth.create_token({"sub": "ann"})
    clock[0] += 14
    assert auth.authenticate({"token": token})
    clock[0] += 1
    refused(auth, {"token": token}, "the token is not valid", "expired")
    assert auth.create_token({"sub": "ann"}) != token


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (forge({"alg": "none"}, claims()), "algorithm"),
        (forge({"alg": "HS512"}, claims(), digest="sha512"), "algorithm"),
        (forge({"alg": "HS256", "crit": ["x"]}, claims()), "crit"),
        (forge({"alg": "HS256", "jwk": {}}, claims()), "jwk"),
        (forge({"alg": "HS256", "zip": "DEF"}, claims()), "zip"),
        (forge({"alg": "HS256", "kid": "../../x"}, claims()), "kid"),
        (forge({"alg": "HS256"}, claims(aud="them")), "aud"),
        (forge({"alg": "HS256"}, claims(aud=["them", "you"])), "aud"),
        (forge({"alg": "HS256"}, claims(aud="us", exp=None)), "exp"),
        (forge({"alg": "HS256"}, claims(aud="us", nbf=NOW + 120)), "nbf"),
        (forge({"alg": "HS256"}, claims(aud="us", sub=None)), "names nobody"),
        (forge({"alg": "HS256"}, claims(aud="us", sub=7)), "names nobody"),
        (forge({"alg": "HS256"}, claims(aud="us", permissions=7)), "permissions"),
        (forge({"alg": "HS256"}, claims(aud="us", permissions=["a", 7])), "permissions"),
        (forge({"alg": "HS256"}, claims(aud="us"), secret=b"another" * 6), "signed"),
        ("x" * 2**20, "longer"),
    ],
)
def test_a_bad_token_is_refused_in_one_voice(token: str, why: str) -> None:
    refused(hs(audience="us"), {"token": token}, "the token is not valid", why)


def test_no_token_is_said_to_be_none() -> None:
    for nothing in ({}, {"token": None}, {"token": 7}, {"token": ""}, {"api_key": "x"}):
        refused(hs(), nothing, "no token")


def test_a_public_key_verifies_and_cannot_make_tokens() -> None:
    for kind, algorithm in (("RSA", "RS256"), ("P-256", "ES256"), ("P-384", "ES384"), ("Ed25519", "EdDSA")):
        signer = JWTAuth(private_key=private_pem(kind), issuer="i", audience="us", key_id="k1", clock=now)
        reader = JWTAuth(public_key=public_pem(kind), issuer="i", audience=["me", "us"], clock=now)
        assert signer.algorithm == reader.algorithm == algorithm
        token = signer.create_token({"user": "ann", "permissions": ["tools"]})
        assert reader.authenticate({"token": token})["permissions"] == ["tools"]
        with pytest.raises(ValueError, match="private_key"):
            reader.create_token({"user": "ann"})
        confused = forge({"alg": "HS256"}, claims(iss="i", aud="us"), secret=public_pem(kind).encode())
        refused(reader, {"token": confused}, "the token is not valid", "algorithm")
    assert JWTAuth(private_key=private_pem("RSA"), algorithm="PS384").algorithm == "PS384"
    assert JWTAuth(public_key=public_pem("RSA"), algorithms=["PS256", "RS256"]).algorithm == "PS256"


def test_permissions_and_users_are_where_they_are_said_to_be() -> None:
    for said, expected in (
        ({"permissions": ["a", "b", "a"]}, ["a", "b"]), ({"scope": "a b"}, ["a", "b"]), ({"scp": ["a"]}, ["a"]),
        ({"scope": ""}, []), ({}, []), ({"permissions": [], "scope": "admin"}, []), ({"permissions": None}, []),
    ):  # fmt: skip
        found = hs().authenticate({"token": forge({"alg": "HS256"}, claims(**said))})
        assert found["permissions"] == expected, said
    token = forge({"alg": "HS256"}, claims(realm={"roles": ["r"]}, scope="admin", email="ann@example.com"))
    assert hs(permissions_claim=("realm", "roles")).authenticate({"token": token})["permissions"] == ["r"]
    assert hs(permissions_claim="none").authenticate({"token": token})["permissions"] == []
    assert hs(permissions_claim=("scope", "x")).authenticate({"token": token})["permissions"] == []
    assert hs(user_claim="email").authenticate({"token": token})["user_id"] == "ann@example.com"
    refused(hs(user_claim="name"), {"token": token}, "the token is not valid", "nobody")
    for name in ("user", "user_id", "client_id"):
        assert (
            hs().authenticate({"token": forge({"alg": "HS256"}, claims(sub=None, **{name: "bob"}))})["user_id"] == "bob"
        )


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({}, TypeError, "one of secret"),
        ({"secret": SECRET, "public_key": "x"}, TypeError, "one of secret"),
        ({"secret": SECRET, "jwks_url": "https://x.example"}, TypeError, "one of secret"),
        ({"secret": ""}, ValueError, "empty"),
        ({"secret": 7}, TypeError, "string or bytes"),
        ({"secret": "short", "strict": True}, ValueError, "at least 32"),
        ({"secret": "x" * 31, "strict": True}, ValueError, "31 bytes"),
        ({"secret": SECRET, "algorithm": "none"}, ValueError, "known: HS256"),
        ({"secret": SECRET, "algorithm": "RS256"}, ValueError, "does not fit"),
        ({"secret": SECRET, "algorithms": "HS256"}, TypeError, "algorithm="),
        ({"secret": SECRET, "token_expiry": 1, "expiration": 2}, TypeError, "two names"),
        ({"secret": SECRET, "token_expiry": 0}, ValueError, "at least"),
        ({"secret": SECRET, "token_expiry": "1h"}, TypeError, "number of seconds"),
        ({"secret": SECRET, "leeway": -1}, ValueError, "leeway"),
        ({"secret": SECRET, "leeway": float("inf")}, ValueError, "leeway"),
        ({"secret": SECRET, "audience": [""]}, TypeError, "audience"),
        ({"secret": SECRET, "issuer": 7}, TypeError, "issuer"),
        ({"secret": public_pem("RSA")}, ValueError, "public_key="),
        ({"public_key": public_pem("RSA"), "algorithm": "HS256"}, ValueError, "does not fit"),
        ({"public_key": public_pem("RSA"), "algorithm": "ES256"}, ValueError, "does not fit"),
        ({"public_key": private_pem("RSA")}, ValueError, "private_key="),
        ({"private_key": public_pem("RSA")}, ValueError, "private_key is a public key"),
        ({"jwks_url": "https://x.example"}, ValueError, "issuer= and audience="),
        ({"jwks_url": "http://x.example", "issuer": "i", "audience": "a"}, ValueError, "https"),
        ({"jwks_url": "file:///etc/passwd", "issuer": "i", "audience": "a"}, ValueError, "https"),
        ({"jwks_url": "https://x.example", "issuer": "i", "audience": "a", "algorithm": "HS256"}, ValueError, "HMAC"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why) as caught:
        JWTAuth(**options)
    assert SECRET not in str(caught.value) and "BEGIN" not in str(caught.value)


def test_a_secret_of_32_bytes_is_no_reason_to_warn() -> None:
    for secret in ("x" * 32, "x" * 33, b"x" * 32, "é" * 16):
        JWTAuth(secret, strict=True)
    for secret in ("x", "x" * 13, "x" * 31):
        with pytest.warns(WeakSecretWarning) as seen:
            JWTAuth(secret)
        assert len(seen) == 1 and seen[0].filename == __file__


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("ann", TypeError), (None, TypeError), ({"exp": "tomorrow"}, TypeError), ({"exp": float("nan")}, ValueError),
        ({"permissions": "admin"}, TypeError), ({"permissions": [1]}, TypeError), ({"x": object()}, ValueError),
        ({"nbf": True}, TypeError), ({"exp": -5}, ValueError),
    ],
)  # fmt: skip
def test_a_payload_that_nobody_would_believe_is_not_signed(payload: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        hs().create_token(payload)


def test_a_client_sends_tokens_of_its_own_making_and_renews_them() -> None:
    clock = [NOW]
    auth = JWTAuth(SECRET, claims={"user": "ann", "permissions": ["tools"]}, token_expiry=100, clock=lambda: clock[0])
    first = auth.get_headers()
    assert auth.authenticate({"token": first["Authorization"].removeprefix("Bearer ")})["user_id"] == "ann"
    clock[0] += 49
    assert auth.get_headers() == first
    clock[0] += 1
    assert auth.get_headers() != first
    with pytest.raises(ValueError, match="claims="):
        hs().get_headers()


@property_of(st.integers(0, 10**6), st.sampled_from("AZaz09-_.+/= "))
def test_a_changed_token_is_nobodys(at: int, letter: str) -> None:
    token = TOKEN[: at % len(TOKEN)] + letter + TOKEN[at % len(TOKEN) + 1 :]
    if token != TOKEN:
        refused(hs(), {"token": token}, "the token is not valid")


TOKEN = hs().create_token({"user": "ann"})


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "joserfc":
            raise ImportError(name)
        return genuine(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"kailash-mcp-engine\[auth\]"):
        JWTAuth(SECRET)


# Published keys


class Issuer:
    """Publishes keys, when it is let."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.body = key_set(*keys)
        self.status = 200
        self.failure: Exception | None = None
        self.gate: anyio.Event | None = None
        self.asked = 0
        self.time = 0.0

    async def __call__(self, url: str) -> Fetched:
        assert url == "https://issuer.example/keys"
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Fetched(self.status, NO_HEADERS, self.body, url)

    def auth(self) -> JWTAuth:
        return JWTAuth(
            jwks_url="https://issuer.example/keys", issuer="https://issuer.example", audience="us",
            fetch=self, clock=now, timer=lambda: self.time,
        )  # fmt: skip


@cache
def signer(kind: str, kid: str | None) -> JWTAuth:
    return JWTAuth(
        private_key=private(kind).as_dict(private=True), issuer="https://issuer.example", audience="us", key_id=kid,
        clock=now,
    )  # fmt: skip


def signed(kind: str = "RSA", kid: str | None = "a") -> dict[str, str]:
    return {"token": signer(kind, kid).create_token({"user": "ann"})}


def misnamed(number: int) -> dict[str, str]:
    """Return a token that names a key nobody has."""
    said = claims(iss="https://issuer.example", aud="us")
    return {"token": forge({"alg": "RS256", "kid": f"unknown{number}"}, said)}


async def ask(auth: JWTAuth, credentials: Mapping[str, str]) -> Any:
    found = auth.authenticate(credentials)
    return await found if hasattr(found, "__await__") else found


@pytest.mark.anyio
async def test_keys_are_fetched_when_first_needed_and_kept() -> None:
    issuer = Issuer(jwk("RSA", kid="a"), jwk("P-256", kid="b"))
    auth = issuer.auth()
    assert (await ask(auth, signed()))["user_id"] == "ann" and issuer.asked == 1
    assert auth.authenticate(signed())["user_id"] == "ann", "at once"
    assert auth.authenticate(signed("P-256", "b")) and auth.authenticate(signed("P-256", None)) and issuer.asked == 1
    refused(auth, signed("other"), "the token is not valid", "no known key")
    with pytest.raises(ValueError, match="make tokens"):
        auth.create_token({"user": "ann"})


@pytest.mark.anyio
async def test_a_thousand_callers_at_once_cost_one_fetch() -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    issuer.gate = anyio.Event()
    auth = issuer.auth()
    credentials = signed()
    found: list[Any] = []

    async def call() -> None:
        found.append(await ask(auth, credentials))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert found == [] and issuer.asked == 1
            issuer.gate.set()
    assert len(found) == 1000 and issuer.asked == 1


@pytest.mark.anyio
async def test_who_starts_a_fetch_may_leave_without_the_others() -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    issuer.gate = anyio.Event()
    auth = issuer.auth()
    found: list[Any] = []
    first = anyio.CancelScope()

    async def leader() -> None:
        with first:
            await ask(auth, signed())

    async def follower() -> None:
        found.append(await ask(auth, signed()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(leader)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(follower)
            await anyio.wait_all_tasks_blocked()
            first.cancel()
            await anyio.wait_all_tasks_blocked()
            issuer.gate.set()
    assert len(found) == 1 and issuer.asked == 1


@pytest.mark.anyio
async def test_a_new_key_is_found_and_unknown_ones_cost_little() -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    auth = issuer.auth()
    await ask(auth, signed())
    issuer.body = key_set(jwk("RSA", kid="a"), jwk("P-256", kid="new"))
    for number in range(100):
        refused(auth, misnamed(number), "the token is not valid")
    assert issuer.asked == 1
    issuer.time = 30.0
    assert (await ask(auth, signed("P-256", "new")))["user_id"] == "ann" and issuer.asked == 2
    for number in range(100):
        with pytest.raises(AuthenticationError):
            await ask(auth, misnamed(number))
    assert issuer.asked == 2


@pytest.mark.anyio
async def test_tokens_that_are_bad_in_themselves_fetch_nothing() -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    auth = issuer.auth()
    good = {"iss": "https://issuer.example", "aud": "us"}
    for header, said in (
        ({"alg": "none"}, {}), ({"alg": "HS256"}, {}), ({"alg": "RS256", "kid": "../../x"}, {}),
        ({"alg": "RS256", "jku": "https://evil.example"}, {}), ({"alg": "RS256"}, {"iss": "https://evil.example"}),
        ({"alg": "RS256"}, {"aud": "them"}), ({"alg": "RS256"}, {"exp": NOW - 100}),
    ):  # fmt: skip
        refused(auth, {"token": forge(header, claims(**{**good, **said}))}, "the token is not valid")
    assert issuer.asked == 0


@pytest.mark.anyio
async def test_an_issuer_that_is_away_does_not_lock_out_whom_it_vouched_for(caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    auth = issuer.auth()
    credentials = signed()
    await ask(auth, credentials)
    for failure, status, body in (
        (FetchError("https://issuer.example did not answer"), 200, b""), (None, 500, b"{}"),
        (None, 200, b"x" * 10_000_000), (None, 200, b"<html>"), (None, 200, key_set()),
    ):  # fmt: skip
        issuer.failure, issuer.status, issuer.body = failure, status, body
        issuer.time += 600.0
        asked = issuer.asked
        assert (await ask(auth, credentials))["user_id"] == "ann"
        await anyio.wait_all_tasks_blocked()
        assert issuer.asked == asked + 1
        assert auth.authenticate(credentials)["user_id"] == "ann" and issuer.asked == asked + 1
    assert len([record for record in caplog.records if "no keys from the issuer" in record.getMessage()]) == 5
    assert credentials["token"] not in caplog.text
    issuer.time = 4200.0
    with pytest.raises(TransportError, match="not available") as caught:
        await ask(auth, credentials)
    assert caught.value.retryable and caught.value.retry_after == 30.0
    issuer.status, issuer.body, issuer.failure = 200, key_set(jwk("RSA", kid="a")), None
    issuer.time += 30.0
    assert (await ask(auth, credentials))["user_id"] == "ann"


@pytest.mark.anyio
async def test_old_keys_are_used_while_new_ones_are_fetched() -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    auth = issuer.auth()
    await ask(auth, signed())
    issuer.time, issuer.gate = 700.0, anyio.Event()
    assert (await ask(auth, signed()))["user_id"] == "ann", "nobody waits"
    await anyio.wait_all_tasks_blocked()
    assert issuer.asked == 2
    issuer.gate.set()
    await anyio.wait_all_tasks_blocked()


@pytest.mark.anyio
async def test_a_fetch_that_fails_in_its_own_way_lets_nobody_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    issuer.failure = RuntimeError("bug")
    auth = issuer.auth()
    with anyio.fail_after(5), pytest.raises(TransportError):
        await ask(auth, signed())
    issuer.failure = None
    assert (await ask(auth, signed()))["user_id"] == "ann"


def test_one_provider_serves_one_event_loop_after_the_other() -> None:
    issuer = Issuer(jwk("RSA", kid="a"))
    auth = issuer.auth()

    async def leave_early() -> None:
        issuer.gate = anyio.Event()
        with anyio.move_on_after(0.01):
            await ask(auth, signed())

    for backend in ("asyncio", "trio"):
        anyio.run(leave_early, backend=backend)
        issuer.gate = None
        issuer.time += 30
        assert anyio.run(ask, auth, signed(), backend=backend)["user_id"] == "ann"
        issuer.time += 700


# Passwords

CHEAP = hash_password("pässword", bytes(16), ScryptCost(ln=10, p=1))


def basic(**options: Any) -> BasicAuth:
    return BasicAuth({"ann": CHEAP, "bob": {"password_hash": CHEAP, "permissions": ["x"], **options}}, clock=now)


def test_users_are_known_by_their_passwords() -> None:
    auth = basic(metadata={"m": 1}, user_id="robert", expires=NOW + 9)
    assert auth.authenticate({"username": "ann", "password": "pässword"}) == {
        "user_id": "ann", "auth_type": "basic", "permissions": EVERYDAY, "metadata": {},
    }  # fmt: skip
    bob = auth.authenticate({"username": "bob", "password": "pässword"})
    assert bob["user_id"] == "robert" and bob["expires"] == NOW + 9 and bob["metadata"] == {"m": 1}
    for name, password in (
        ("ann", "password"),
        ("ann", ""),
        ("eve", "pässword"),
        ("", ""),
        ("ann ", "pässword"),
        ("ann", CHEAP),
    ):
        refused(auth, {"username": name, "password": password}, "unknown user or password")
    for nothing in ({}, {"username": "ann"}, {"username": "ann", "password": None}, {"username": 1, "password": "x"}):
        refused(auth, nothing, "no user and password")
    refused(basic(expires=NOW), {"username": "bob", "password": "pässword"}, "unknown user or password", "expired")


def test_an_unknown_user_costs_what_a_known_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from kailash.auth import passwords

    derived: list[tuple[int, int, int]] = []

    def scrypt(*args: Any, **options: Any) -> bytes:
        derived.append((options["n"], options["r"], options["p"]))
        return hashlib.scrypt(*args, **options)

    monkeypatch.setattr(passwords, "scrypt", scrypt)
    auth = basic()
    for name, password in (("ann", "wrong"), ("eve", "wrong"), ("bob", "wrong")):
        refused(auth, {"username": name, "password": password}, "unknown user or password")
    assert derived == [(1024, 8, 1)] * 3
    for _ in range(3):
        auth.authenticate({"username": "ann", "password": "pässword"})
    assert len(derived) == 4, "what was right is remembered"
    refused(auth, {"username": "ann", "password": "wrong"}, "unknown user or password")
    assert len(derived) == 5
    refused(BasicAuth({}), {"username": "x", "password": "y"}, "unknown user or password")
    assert derived[-1] == (16384, 8, 5), "with no users at all, too"


def test_a_password_is_remembered_for_a_while_and_never_as_it_is() -> None:
    clock = [NOW]
    auth = BasicAuth({"ann": CHEAP}, clock=lambda: clock[0])
    auth.authenticate({"username": "ann", "password": "pässword"})
    assert "pässword" not in repr(vars(auth))
    marks = copy.copy(auth._remembered)
    clock[0] += 301
    auth.authenticate({"username": "ann", "password": "pässword"})
    assert auth._remembered != marks


@pytest.mark.parametrize(
    ("users", "error", "why"),
    [
        ({"ann": "hunter2"}, ValueError, "BasicAuth.hash"), ({"ann": {}}, ValueError, "BasicAuth.hash"),
        ({"ann": {"password_hash": "hunter2"}}, ValueError, "BasicAuth.hash"),
        ({"ann": {"password": "hunter2"}}, TypeError, "known: password_hash"), ({"ann": 7}, TypeError, "user 'ann'"),
        ({"a:b": CHEAP}, ValueError, "colon"), ({"": CHEAP}, ValueError, "empty"),
        (["ann"], TypeError, "mapping"), (None, TypeError, "mapping"),
        ({"ann": {"password_hash": CHEAP, "permissions": "x"}}, TypeError, "list of strings"),
    ],
)  # fmt: skip
def test_plain_passwords_are_not_taken_and_not_shown(users: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why) as caught:
        BasicAuth(users)
    assert "hunter2" not in str(caught.value)


def test_a_hash_is_made_for_the_configuration() -> None:
    text = BasicAuth.hash("hunter2", entropy=lambda size: bytes(range(size)))
    assert text.startswith("$scrypt$ln=14,r=8,p=5$") and "hunter2" not in text
    assert BasicAuth({"ann": text}).authenticate({"username": "ann", "password": "hunter2"})["user_id"] == "ann"
    assert BasicAuth.hash("hunter2") != BasicAuth.hash("hunter2")


def test_a_client_sends_user_and_password() -> None:
    headers = BasicAuth(username="ann", password="pä:ss").get_headers()
    sent = Headers([(name.lower().encode(), value.encode()) for name, value in headers.items()])
    assert credentials_of(sent) == {"username": "ann", "password": "pä:ss"}
    with pytest.raises(ValueError, match="not its hash"):
        basic().get_headers()
    for wrong in ({"username": "ann"}, {"password": "x"}, {"users": {}, "username": "a", "password": "b"}):
        with pytest.raises(TypeError):
            BasicAuth(**wrong)


# Several ways, and roles


class Slow:
    """Somebody else's provider, and an asynchronous one."""

    async def authenticate(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        if credentials.get("token") == "broken":
            raise RuntimeError("bug")
        if credentials.get("token") != "slow":
            raise AuthenticationError("no")
        return {"user_id": "sue", "auth_type": "slow", "permissions": ["reader"], "metadata": {}}


@pytest.mark.anyio
async def test_whoever_one_provider_knows_is_in() -> None:
    auth = AnyAuth(hs(), Slow(), APIKeyAuth({"k": {"user_id": "kim"}}), basic())

    async def who(**credentials: Any) -> str:
        found = auth.authenticate(credentials)
        return str((await found if hasattr(found, "__await__") else found)["user_id"])

    assert auth.authenticate({"token": TOKEN})["user_id"] == "ann", "at once, where it can be"
    assert await who(token="slow") == "sue"
    assert await who(api_key="k") == await who(api_key="k", token="x") == "kim"
    assert await who(username="bob", password="pässword") == "bob"
    for wrong in ({}, {"token": "x"}, {"api_key": "x"}, {"username": "ann", "password": "x"}):
        with pytest.raises(AuthenticationError, match="unknown credentials"):
            await who(**wrong)
    with pytest.raises(RuntimeError):
        await who(token="broken", api_key="k")
    assert auth.challenge == 'Bearer realm="mcp", Basic realm="mcp", charset="UTF-8"'


def test_users_of_named_providers_are_their_own() -> None:
    auth = AnyAuth(APIKeyAuth({"k": {"user_id": "ann"}}), staff=hs())
    assert auth.authenticate({"api_key": "k"})["user_id"] == "ann"
    assert auth.authenticate({"token": TOKEN})["user_id"] == "staff:ann"
    assert auth.get_headers() == {"X-API-Key": "k"}
    with pytest.raises(AuthenticationError):
        AnyAuth(APIKeyAuth("a"), BearerTokenAuth("b")).authenticate({"token": "c"})


def test_what_is_no_provider_is_refused() -> None:
    for wrong in ("key", 7, {"type": "x"}, object()):
        with pytest.raises(TypeError, match="authenticate"):
            as_provider(wrong)
        with pytest.raises(TypeError, match="authenticate"):
            AnyAuth(wrong)
    with pytest.raises(TypeError, match="at least one"):
        AnyAuth()
    auth = APIKeyAuth("k")
    assert as_provider(auth) is auth and as_provider(None) is None
    assert as_provider([auth, hs()]).authenticate({"token": TOKEN})["user_id"] == "ann"


@pytest.mark.anyio
async def test_roles_are_what_they_stand_for() -> None:
    roles = {"reader": ["read"], "chief": {"permissions": ["write"], "inherits": ["reader"]}}
    auth = RoleAuth(APIKeyAuth({"k": {"permissions": ["chief", "x"], "user_id": "kim"}}), roles)
    found = auth.authenticate({"api_key": "k"})
    assert found["permissions"] == ["chief", "read", "write", "x"] and found["user_id"] == "kim"
    assert auth.get_headers() == {"X-API-Key": "k"} and "chief" in repr(auth)
    slow = RoleAuth(Slow(), PermissionManager(roles))
    assert (await slow.authenticate({"token": "slow"}))["permissions"] == ["read", "reader"]
    assert RoleAuth(basic(), roles).is_blocking and not auth.is_blocking
    PermissionManager(roles).require(found, "read")
    with pytest.raises(AuthorizationError):
        PermissionManager(roles).require(found, "delete")


@pytest.mark.anyio
async def test_a_provider_that_blocks_is_asked_in_a_thread() -> None:
    import threading

    class Blocking:
        is_blocking = True

        def authenticate(self, credentials: Mapping[str, Any]) -> Any:
            assert threading.current_thread() is not threading.main_thread()
            return Slow().authenticate(credentials) if "token" in credentials else {"user_id": "x"}

    assert (await ask_provider(Blocking(), {}))["user_id"] == "x"
    assert (await ask_provider(Blocking(), {"token": "slow"}))["user_id"] == "sue"
    with pytest.raises(AuthenticationError):
        await ask_provider(basic(), {"username": "ann", "password": "x"})


# What shows


def test_nothing_secret_shows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "very-secret-0123456789-0123456789"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        providers = [
            APIKeyAuth([secret, "b"]), BearerTokenAuth({secret: {}, "b": {}}), JWTAuth(secret, claims={"user": "u"}),
            BasicAuth(username="ann", password=secret), BasicAuth({"ann": BasicAuth.hash(secret)}),
        ]  # fmt: skip
    providers[2].get_headers()  # type: ignore[attr-defined]
    for provider in [*providers, AnyAuth(*providers), RoleAuth(providers[0], {})]:
        assert secret not in repr(provider) and secret not in str(provider)
        for field in ("api_key", "token", "password", "username"):
            with pytest.raises(AuthenticationError) as caught:
                AnyAuth(*providers[:3]).authenticate({field: secret[:-1]})
            assert secret[:-1] not in repr(caught.value) + reason_of(caught.value)
    assert secret not in caplog.text


def test_a_provider_says_what_identities_are_read_from() -> None:
    for provider, credentials in (
        (APIKeyAuth("k"), {"api_key": "k"}), (BearerTokenAuth("t"), {"token": "t"}), (hs(), {"token": TOKEN}),
        (basic(), {"username": "ann", "password": "pässword"}),
    ):  # fmt: skip
        found = provider.authenticate(credentials)
        assert found.keys() >= {"user_id", "auth_type", "permissions", "metadata"}
        assert read_identity(found).principal == found["user_id"]
