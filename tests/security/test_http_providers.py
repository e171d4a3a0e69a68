"""The providers behind real servers: passwords, tokens and several ways at once, each refused in its own scheme."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from kailash.auth.passwords import ScryptCost, hash_password
from kailash.mcp_server.auth import AnyAuth, APIKeyAuth, BasicAuth, JWTAuth

from .site import Tools, open_site

pytestmark = pytest.mark.anyio

HASH = hash_password("pä:ss", bytes(16), ScryptCost(ln=10, p=1))
SECRET = "a-secret-of-more-than-thirty-two-bytes"


def basic(name: str, password: str) -> str:
    return f"Authorization: Basic {b64encode(f'{name}:{password}'.encode()).decode()}"


async def test_passwords_are_checked_and_asked_for(front: str) -> None:
    good = basic("ann", "pä:ss")
    async with open_site(front, tools=Tools(auth_provider=BasicAuth({"ann": HASH}))) as site:
        assert (await site.call("echo", good, message="x"))[0] == 200
        bodies = set()
        for line in (basic("ann", "x"), basic("eve", "pä:ss"), basic("", ""), "X-API-Key: x", "Authorization: Basic x"):
            status, headers, body = await site.call("echo", line, message="x")
            assert status == 401 and headers["www-authenticate"] == 'Basic realm="mcp", charset="UTF-8"', line
            bodies.add(body)
        assert len(bodies) == 1
        await site.is_well(good)


async def test_tokens_are_believed_from_one_header_and_never_from_the_query(front: str) -> None:
    auth = JWTAuth(SECRET, audience="us")
    token = auth.create_token({"user": "ann", "permissions": ["tools"]})
    good = f"Authorization: Bearer {token}"
    expired = auth.create_token({"user": "ann", "exp": 1_000_000_000})
    foreign = JWTAuth(SECRET, audience="them").create_token({"user": "ann"})
    async with open_site(front, tools=Tools(auth_provider=auth)) as site:
        assert (await site.call("echo", good, message="x"))[0] == 200
        bodies = set()
        for lines, path in (
            ((), f"/mcp?access_token={token}"), ((), f"/mcp?token={token}"), ((f"X-API-Key: {token}",), "/mcp"),
            ((f"{good}x",), "/mcp"), ((f"Authorization: Bearer {expired}",), "/mcp"),
            ((f"Authorization: Bearer {foreign}",), "/mcp"), (("Authorization: Bearer é.é.é",), "/mcp"),
            (("Authorization: Bearer " + "a" * 9000,), "/mcp"), ((basic("ann", token),), "/mcp"),
        ):  # fmt: skip
            status, headers, body = await site.call("echo", *lines, path=path, message="x")
            assert status == 401 and headers["www-authenticate"] == 'Bearer realm="mcp"', lines
            bodies.add(body)
        assert len(bodies) == 1 and json.loads(bodies.pop())["error"]["message"] == "Authentication required"
        await site.is_well(good)


async def test_several_ways_lead_in(front: str) -> None:
    auth = AnyAuth(JWTAuth(SECRET), APIKeyAuth(["some-key"]), BasicAuth({"ann": HASH}))
    token = JWTAuth(SECRET).create_token({"user": "ann"})
    async with open_site(front, tools=Tools(auth_provider=auth)) as site:
        for line in (
            f"Authorization: Bearer {token}", "X-API-Key: some-key", "Authorization: Bearer some-key",
            basic("ann", "pä:ss"),
        ):  # fmt: skip
            assert (await site.call("echo", line, message="x"))[0] == 200, line
        for line in ("X-API-Key: x", "Authorization: Bearer x", basic("ann", "x"), "X: y"):
            status, headers, _ = await site.call("echo", line, message="x")
            assert status == 401 and "Bearer" in headers["www-authenticate"] and "Basic" in headers["www-authenticate"]
        await site.is_well("X-API-Key: some-key")


async def test_a_callers_own_rate_is_kept_and_others_are_not_touched(front: str) -> None:
    keys = {"slow": {"rate_limit": {"requests": 2, "window": 60}}, "free": {}}
    async with open_site(front, tools=Tools(auth_provider=APIKeyAuth(keys))) as site:
        for _ in range(2):
            assert (await site.call("echo", "X-API-Key: slow", message="x"))[0] == 200
        status, headers, body = await site.call("echo", "X-API-Key: slow", message="x")
        error = json.loads(body)["error"]
        assert (status, error["code"]) == (429, 1011) and error["data"]["retryable"] is True
        assert 0 < error["data"]["retryAfter"] <= 30 and 0 < int(headers["retry-after"]) <= 30
        await site.is_well("X-API-Key: free")
