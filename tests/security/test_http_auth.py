"""Who asks: refused before a body is read, from headers alone, in one voice, and never logged. R23, R40, X14 to X16."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from kailash.errors import AuthenticationError, MCPError
from kailash.mcp_server.auth import APIKeyAuth
from tests.requirements import rule

from .site import META, NEWEST, Reply, Site, Tools, open_site, rpc, until

pytestmark = pytest.mark.anyio

KEY = "s3cret-key-of-ann-0123456789"
GOOD = f"X-API-Key: {KEY}"
_HEAD = (
    f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nMCP-Protocol-Version: {NEWEST}\r\n"
    f"Accept: application/json, text/event-stream\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"
)


def keyed() -> Tools:
    return Tools(auth_provider=APIKeyAuth({KEY: {"user_id": "ann"}}))


def is_refused(reply: Reply) -> bool:
    """Tell whether a reply is a 401 with its challenge, and says nothing of why."""
    assert reply[0] == 401 and reply[1]["www-authenticate"].startswith("Bearer ")
    error = json.loads(reply[2])["error"]
    return bool(error["message"] == "Authentication required" and set(error) == {"code", "message"})


@rule(208)
async def test_nobody_is_answered_before_who_it_is(front: str) -> None:
    async with open_site(front, tools=keyed(), sse=True) as site:
        bodies: set[bytes] = set()
        for method, path in (
            ("POST", "/mcp"), ("POST", "/"), ("GET", "/mcp"), ("DELETE", "/mcp"),
            ("GET", "/sse"), ("POST", "/messages"), ("GET", "/mcp/"),
        ):  # fmt: skip
            lines = "Content-Type: application/json\r\nContent-Length: 0\r\n" if method == "POST" else ""
            reply = await site.ask(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
            assert is_refused(reply), (method, path)
            bodies.add(reply[2])
        assert len(bodies) == 1
        for path in ("/health", "/ready"):
            assert (await site.ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()))[0] == 200
        # What is not ours to serve is refused first: hosts, origins, media types.
        assert (await site.call("echo", "Host: evil.example", message="x"))[0] == 421
        assert (await site.call("echo", "Origin: https://evil.example", message="x"))[0] == 403
        await site.is_well(GOOD)


async def test_a_body_is_not_read_for_nobody(front: str) -> None:
    async with open_site(front, tools=keyed()) as site:
        for lines in ("", "Expect: 100-continue\r\n", "X-API-Key: wrong\r\n"):
            reply = await site.ask(f"{_HEAD}{lines}Content-Length: 3000000\r\n\r\n".encode() + b"x" * 1000)
            assert is_refused(reply)
            reply = await site.ask(f"{_HEAD}{lines}Transfer-Encoding: chunked\r\n\r\n1000\r\n".encode())
            assert is_refused(reply)
        assert site.tools.calls == []
        await site.is_well(GOOD)


async def test_a_key_comes_in_one_of_two_headers_and_nowhere_else(front: str) -> None:
    async with open_site(front, tools=keyed()) as site:
        for lines in (
            (GOOD,), (f"x-api-key:{KEY}",), (f"Authorization: Bearer {KEY}",), (f"AUTHORIZATION: bearer   {KEY} ",),
        ):  # fmt: skip
            assert (await site.call("echo", *lines, message="x"))[0] == 200, lines
        calls = len(site.tools.calls)
        for query in ("api_key", "access_token", "token", "X-API-Key", "authorization", "key"):
            assert is_refused(await site.call("echo", path=f"/mcp?{query}={KEY}", message="x")), query
        for lines in (
            (f"Cookie: api_key={KEY}; X-API-Key={KEY}",),
            (f"Proxy-Authorization: Bearer {KEY}",),
            (f"X-Api-Token: {KEY}",),
            (f"X_API_Key: {KEY}",),
            (GOOD, GOOD),
            (f"X-API-Key: {KEY}, {KEY}",),
            (f"Authorization: Bearer {KEY}", f"Authorization: Bearer {KEY}"),
            (f"Authorization: Bearer {KEY}, Bearer {KEY}",),
            (f"Authorization: {KEY}",),
            ("Authorization: Bearer",),
            ("Authorization:",),
            (f"Authorization: Digest {KEY}",),
            (f"Authorization: Bearer{KEY}",),
            ("Authorization: Basic !!!!",),
            (f"Authorization: Basic {b64encode(KEY.encode()).decode()}",),
            (f"Authorization: Basic {b64encode(b'x:' + KEY.encode()).decode()}",),
            (f"Authorization: Basic {b64encode(bytes(range(128, 256))).decode()}",),
        ):
            assert is_refused(await site.call("echo", *lines, message="x")), lines
        arguments = {"message": "x", "api_key": KEY, "token": KEY}
        message = rpc("tools/call", name="echo", arguments=arguments, _meta={**META, "api_key": KEY})
        assert is_refused(await site.modern(message, "Mcp-Method: tools/call", "Mcp-Name: echo"))
        assert len(site.tools.calls) == calls
        await site.is_well(GOOD)


async def test_wrong_keys_are_all_the_same(front: str) -> None:
    async with open_site(front, tools=keyed()) as site:
        found = set()
        for wrong in (
            "X" + KEY[1:], KEY[:-1] + "X", KEY[:-1], KEY + "X", KEY.upper(), "", " ", "é", "\xff\xfe", "\x80" * 100,
            "k" * 8000, "null", "0", "' or 1=1 --", "../../x", "%00",
        ):  # fmt: skip
            for line in (f"X-API-Key: {wrong}", f"Authorization: Bearer {wrong}"):
                reply = await site.call("echo", line, message="x")
                assert is_refused(reply), line
                found.add(reply[2])
        assert len(found) == 1 and site.tools.calls == []
        await site.is_well(GOOD)


async def test_pages_may_read_that_they_must_sign_in(front: str) -> None:
    async with open_site(front, tools=keyed(), sse=True, allowed_origins=("https://app.example",)) as site:
        for path in ("/mcp", "/messages"):
            reply = await site.post(rpc("ping"), "Origin: https://app.example", path=path)
            assert is_refused(reply) and reply[1]["access-control-allow-origin"] == "https://app.example"
            assert "www-authenticate" in reply[1]["access-control-expose-headers"]
        # A preflight never has credentials.
        sent = "OPTIONS /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://app.example\r\n"
        sent += "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
        assert (await site.ask(sent.encode()))[0] == 204
        await site.is_well(GOOD)


# Providers of other people


class Provider:
    """Finds out slowly, or fails."""

    def __init__(self) -> None:
        self.asked, self.answer, self.stopped = anyio.Event(), anyio.Event(), anyio.Event()
        self.failure: Exception | None = None
        self.found: Any = {"user_id": "ann", "permissions": ["tools"]}
        self.is_slow = False

    async def authenticate(self, credentials: Mapping[str, Any]) -> Any:
        self.asked.set()
        try:
            if self.is_slow:
                await self.answer.wait()
        except anyio.get_cancelled_exc_class():
            self.stopped.set()
            raise
        if credentials.get("token") != KEY:
            raise AuthenticationError(f"no such token: {credentials.get('token')}")
        if self.failure is not None:
            raise self.failure
        return self.found


class Direct(Provider):
    """The same at once."""

    def authenticate(self, credentials: Mapping[str, Any]) -> Any:  # type: ignore[override]
        if credentials.get("token") != KEY:
            raise AuthenticationError(f"no such token: {credentials.get('token')}")
        if self.failure is not None:
            raise self.failure
        return self.found


BEARER = f"Authorization: Bearer {KEY}"


async def test_a_provider_may_take_its_time(front: str) -> None:
    provider = Provider()
    async with open_site(front, tools=Tools(auth_provider=provider)) as site:
        assert is_refused(await site.call("echo", message="x"))
        assert is_refused(await site.call("echo", "Authorization: Bearer x", message="x"))
        provider.is_slow = True
        replies: list[Reply] = []

        async def ask() -> None:
            replies.append(await site.call("echo", BEARER, message="x" * 200_000))

        provider.asked = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await provider.asked.wait()
            assert site.tools.calls == []
            provider.answer.set()
        assert replies[0][0] == 200 and len(site.tools.calls) == 1
        await site.is_well(BEARER)


async def test_a_provider_is_not_waited_for_longer_than_for_a_request(own: str) -> None:
    provider = Provider()
    provider.is_slow = True
    async with open_site(own, tools=Tools(auth_provider=provider), head_timeout=0.1, body_timeout=0.1) as site:
        assert (await site.call("echo", BEARER, message="too late"))[0] == 408
        with anyio.fail_after(2):
            await provider.stopped.wait()
        provider.answer.set()
        await site.is_at_rest()
        assert site.tools.calls == []
        await site.is_well(BEARER)


async def test_who_is_gone_is_not_looked_for_any_more(own: str) -> None:
    provider = Provider()
    provider.is_slow = True
    async with open_site(own, tools=Tools(auth_provider=provider)) as site:
        peer = await site.peer()
        await peer.send(_HEAD.encode() + BEARER.encode() + b"\r\nContent-Length: 100000\r\n\r\nx")
        await provider.asked.wait()
        await peer.close()
        with anyio.fail_after(2):
            await provider.stopped.wait()
        provider.is_slow = False
        await site.is_well(BEARER)


async def test_a_provider_that_fails_lets_nobody_in_and_is_no_reason_to_hang_up(front: str) -> None:
    logging.getLogger("kailash").setLevel(logging.CRITICAL)
    try:
        for provider in (Provider(), Direct()):
            async with open_site(front, tools=Tools(auth_provider=provider)) as site:
                for failure in (MCPError("no directory"), RuntimeError("bug"), KeyError("x"), OSError("gone")):
                    provider.failure = failure
                    reply = await site.call("echo", BEARER, message="x")
                    assert reply[0] == 503 and int(reply[1]["retry-after"]) > 0, failure
                    assert json.loads(reply[2])["error"]["code"] == 1503
                    assert b"directory" not in reply[2] and b"bug" not in reply[2]
                provider.failure = None
                for found in (None, {}, {"user_id": "x"}, {"user_id": "x", "permissions": None}, "ann"):
                    provider.found = found
                    assert (await site.call("echo", BEARER, message="x"))[0] == 503, found
                assert site.tools.calls == []
                provider.found = {"user_id": "ann", "permissions": ["tools"]}
                await site.is_well(BEARER)
    finally:
        logging.getLogger("kailash").setLevel(logging.NOTSET)


# Logs


@pytest.mark.parametrize("kind", [Direct, Provider])
async def test_no_secret_is_ever_logged(front: str, kind: type[Provider], caplog: pytest.LogCaptureFixture) -> None:
    secrets = [
        KEY,
        "wrong-secret-1",
        "wrong-secret-2",
        "cookie-secret",
        "query-secret",
        "argument-secret",
        "name-secret",
    ]
    provider = kind()
    caplog.set_level(logging.DEBUG)
    async with open_site(front, tools=Tools(auth_provider=provider), sse=True) as site:
        await logged(site, provider)
        session = await site.session(BEARER)
        await site.post(rpc("ping"), BEARER, f"Mcp-Session-Id: {session}")
        await site.post(rpc("ping"), "Authorization: Bearer wrong-secret-1", f"Mcp-Session-Id: {session}")
        await site.is_well(BEARER)
        secrets.append(session)
    # The ASGI server's own log of paths is its operator's.
    ours = [record for record in caplog.records if record.name.startswith(("kailash", "protocol"))]
    assert any("! 4" in record.getMessage() for record in ours) or front == "uvicorn"
    text = "\n".join(logging.Formatter("%(message)s").format(record) for record in ours)
    for secret in secrets:
        assert secret not in text, secret
    assert "\x1b" not in text and "\u202e" not in text


async def logged(site: Site, provider: Provider) -> None:
    """Do everything that something may be logged of."""
    evil = "\x1b[31m\u202e\n"
    assert (await site.call("echo", BEARER, message=f"argument-secret{evil}"))[0] == 200
    await site.call("echo", "Authorization: Bearer wrong-secret-1", "Cookie: a=cookie-secret", message="x")
    await site.call("echo", "X-API-Key: wrong-secret-2", path="/mcp?token=query-secret", message="x")
    await site.call("name-secret", BEARER, BEARER.replace("Bearer", "Basic"), message="x")
    await site.call("name-secret", BEARER, message="x")
    await site.post(b'{"argument-secret": ' + evil.encode(), BEARER)
    await site.post(rpc(f"name-secret{evil}"), BEARER, "Mcp-Session-Id: name-secret")
    for failure in (RuntimeError(f"cannot look up {KEY}"), MCPError(f"cannot look up {KEY}")):
        provider.failure = failure
        assert (await site.call("echo", BEARER, message="x"))[0] == 503
    provider.failure = None
    peer = await site.peer()
    await peer.send(
        b"GET /?query-secret HTTP/1.1\r\nHost: x\r\n" + BEARER.encode() + b"\r\nBad Header: name-secret\r\n\r\n"
    )
    assert (await peer.head())[0] == 400
    await peer.close()
    await until(lambda: len(site.connections) == 0, "connections")
