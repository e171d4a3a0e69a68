"""The seed document's blocks about production, as written (`seed/*.txt`), and what they promise, over the wire."""

import functools
import time
from pathlib import Path
from typing import Any

import pytest

from kailash.mcp_server import Context, MCPClient, MCPError, MCPErrorCode, MCPServer
from kailash.mcp_server.auth import APIKeyAuth, WeakSecretWarning
from kailash.mcp_server.errors import AuthenticationError, CircuitOpenError, RateLimitError
from protocol.revisions import REVISIONS

from .conftest import Join
from .test_seed import block, modules, run_block
from .test_seed_http import port_of, running
from .webserver import served, speaking

__all__ = ["modules"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the document's blocks use asyncio


def with_key(url: str, key: str, **options: Any) -> MCPClient:
    return MCPClient({"url": url, "auth": {"type": "api_key", "key": key}}, **options)


@pytest.mark.integration
async def test_b03_a_production_server(modules: Path, monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    (modules / "production.py").write_text(block("B03"))
    _, port = port_of("")
    monkeypatch.setenv("MCP_PORT", str(port))
    url = f"http://127.0.0.1:{port}"
    with running("production"):
        async with with_key(url, "admin_key_123", **speaking(revision)) as admin:
            assert admin.server_info is not None and admin.server_info.name == "production-server"
            assert [tool.name for tool in await admin.list_tools()] == ["admin_operation", "get_public_data"]
            result = await admin.call_tool("admin_operation", {"action": "restart"})
            assert result == {"action": "restart", "status": "completed"}
        async with with_key(url, "user_key_456", **speaking(revision)) as user:
            assert [tool.name for tool in await user.list_tools()] == ["get_public_data"]
            for _ in range(2):
                public = await user.call_tool("get_public_data", {"category": "news"})
                assert public == {"category": "news", "data": "public information"}
            with pytest.raises(MCPError) as refused:
                await user.call_tool("admin_operation", {"action": "restart"})
            assert refused.value.error_code in (MCPErrorCode.AUTHORIZATION_FAILED, MCPErrorCode.INVALID_PARAMS)
        for strangers in (MCPClient(url, **speaking(revision)), with_key(url, "wrong", **speaking(revision))):
            with pytest.raises(AuthenticationError):
                async with strangers:
                    pass
        # A hundred a minute, of which a few are gone: the rest may come at once.
        async with with_key(url, "user_key_456", **speaking(revision)) as user:
            calls = [("get_public_data", {"category": str(number)}) for number in range(110)]
            results = await user.call_tools(calls, return_exceptions=True)
            refusals = [result for result in results if isinstance(result, RateLimitError)]
            assert 3 <= len(refusals) <= 30 and all(refusal.retry_after for refusal in refusals)


@pytest.mark.parametrize("name", [revision.name for revision in REVISIONS])
async def test_b06_a_structured_tool(join: Join, name: str) -> None:
    server = MCPServer("seed")
    await run_block(block("B06"), {"server": server})
    async with join(server, name) as client:
        [tool] = await client.list_tools()
        assert tool.description == "Create user with validation."
        assert tool.input_schema["properties"]["email"] == {"type": "string", "format": "email"}
        assert tool.input_schema["properties"]["age"] == {"type": "integer", "minimum": 0}
        assert tool.input_schema["required"] == ["email"]
        knows_structure = name >= "2025-06-18"
        if knows_structure:
            assert isinstance(tool.output_schema, dict) and tool.output_schema["required"] == ["status"]
        for arguments in ({"email": "a@example.org"}, {"email": "a@example.org", "age": 7}):
            result = await client.call_tool("create_user", arguments)
            assert result["status"] == "created" and result["user_id"].startswith("user_")
            assert result.has_structured_content is knows_structure
        for wrong in ({}, {"email": "nobody"}, {"email": "a@example.org", "age": -1}, {"email": 7}):
            with pytest.raises(MCPError) as refused:
                await client.call_tool("create_user", wrong)
            assert refused.value.error_code == MCPErrorCode.INVALID_PARAMS


async def test_b19_keys_with_limits_and_metadata(revision: str) -> None:
    names = await run_block(block("B19"), {})
    server = MCPServer("seed", auth_provider=names["auth"])

    @server.tool(required_permission="tools", blocking=False)
    def whoami(ctx: Context) -> dict[str, Any]:
        return {"principal": ctx.principal}

    found = names["auth"].authenticate({"api_key": "key2"})
    assert found["metadata"] == {"user": "admin"} and found["permissions"] == ["admin"]
    async with served(server) as url:
        async with with_key(url, "key2", **speaking(revision)) as admin:
            assert (await admin.call_tool("whoami"))["principal"] == found["user_id"]
        async with with_key(url, "key1", **speaking(revision)) as user:
            results = await user.call_tools(["whoami"] * 110, return_exceptions=True)
            refusals = [result for result in results if isinstance(result, RateLimitError)]
            # The requests that open the connection count too.
            assert 10 <= len(refusals) <= 20 and all(refusal.retry_after for refusal in refusals)
        async with with_key(url, "key2", **speaking(revision)) as admin:
            assert (await admin.call_tool("whoami"))["principal"], "each key has a limit of its own"


async def test_b20_tokens_say_who_calls(revision: str) -> None:
    names: dict[str, Any] = {"time": time}
    with pytest.warns(WeakSecretWarning, match="at least 32"):
        await run_block(block("B20"), names)
    auth, token = names["auth"], names["token"]
    server = MCPServer("seed", auth_provider=auth)

    @server.tool(required_permission="tools")
    def whoami(ctx: Context) -> str:
        return str(ctx.principal)

    @server.tool(required_permission="admin")
    def reset() -> None: ...

    def bearing(token: str) -> MCPClient:
        return MCPClient({"url": url, "auth": {"type": "jwt", "token": token}}, **speaking(revision))

    async with served(server) as url:
        async with bearing(token) as alice:
            assert [tool.name for tool in await alice.list_tools()] == ["whoami"]
            assert (await alice.call_tool("whoami")).text == "alice"
        expired = auth.create_token({"user": "alice", "permissions": ["tools"], "exp": time.time() - 3600})
        forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
        for bad in (expired, forged):
            with pytest.raises(AuthenticationError):
                async with bearing(bad):
                    pass


async def test_b21_a_rate_limit_for_each_user(revision: str) -> None:
    # Users are told apart where they say who they are.
    auth = APIKeyAuth(["one", "other"])
    names = await run_block(block("B21"), {"MCPServer": functools.partial(MCPServer, auth_provider=auth)})
    names["server"].add_tool(lambda: "done", name="act", blocking=False)
    async with served(names["server"]) as url:
        for key in ("one", "other"):
            async with with_key(url, key, **speaking(revision)) as client:
                results = await client.call_tools(["act"] * 25, return_exceptions=True)
                refusals = [result for result in results if isinstance(result, RateLimitError)]
                assert 2 <= len(refusals) <= 5, "twenty at once; a few more come with the time it takes"
                assert all(0 < refusal.retry_after <= 3.1 for refusal in refusals if refusal.retry_after is not None)


async def test_b22_built_in_metrics(join: Join, revision: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = await run_block(block("B22"), {"MCPServer": MCPServer})
    assert capsys.readouterr().out.splitlines() == ["Tools called: 0", "Cache hits: 0", "Error rate: 0.0"]
    server = names["server"]
    server.add_tool(lambda n: n, name="same", cache_ttl=60.0)

    @server.tool
    def fail() -> None:
        raise ValueError("no")

    async with join(server, revision) as client:
        for _ in range(2):
            await client.call_tool("same", {"n": 1})
        for _ in range(2):
            with pytest.raises(MCPError):
                await client.call_tool("fail")
    metrics = server.get_metrics()
    assert (metrics["tools_called"], metrics["cache_hits"], metrics["error_rate"]) == (4, 1, 0.5)


async def test_b23_custom_metrics(join: Join, revision: str) -> None:
    server = MCPServer("seed", enable_metrics=True)
    names = {"server": server, "time": time, "process_data": lambda data: {"length": len(data)}}
    await run_block(block("B23"), names)
    async with join(server, revision) as client:
        for text in ("a", "ab", "abc"):
            assert await client.call_tool("monitored_tool", {"data": text}) == {"length": len(text)}
    metrics = server.get_metrics()
    assert metrics["custom.data_processed"] == 3
    assert metrics["custom.processing_time.count"] == 3 and metrics["custom.processing_time.max"] >= 0


async def test_b25_a_circuit_breaker(join: Join, revision: str) -> None:
    calls: list[str] = []

    def call_external_api(query: str) -> dict[str, str]:
        calls.append(query)
        if query == "down":
            raise OSError("upstream is away")
        return {"found": query}

    server = (await run_block(block("B25"), {"MCPServer": MCPServer, "call_external_api": call_external_api}))["server"]
    async with join(server, revision) as client:
        assert await client.call_tool("external_api_tool", {"query": "up"}) == {"found": "up"}
        for _ in range(5):
            with pytest.raises(MCPError) as failed:
                await client.call_tool("external_api_tool", {"query": "down"})
            assert failed.value.error_code == MCPErrorCode.TOOL_ERROR
        with pytest.raises(CircuitOpenError) as refused:
            await client.call_tool("external_api_tool", {"query": "up"})
        assert len(calls) == 6, "what failed five times is not called"
        assert refused.value.retry_after == pytest.approx(60, abs=2)
        server.reset_circuit_breaker()
        assert await client.call_tool("external_api_tool", {"query": "up"}) == {"found": "up"}


async def test_b34_what_authentication_fails_of(capsys: pytest.CaptureFixture[str], revision: str) -> None:
    server = MCPServer("seed", auth_provider=APIKeyAuth({"test": {"permissions": ["tools"]}}))
    server.add_tool(lambda: "in", name="look", required_permission="tools")
    async with served(server) as url, with_key(url, "test", **speaking(revision)) as client:
        names = await run_block(block("B34"), {"client": client})
        headers, found = capsys.readouterr().out.splitlines()
        assert headers == "{'X-API-Key': 'test'}"
        assert "'permissions': ['tools']" in found and "'auth_type': 'api_key'" in found
        assert names["result"]["user_id"]
        assert (await client.call_tool("look")).data == "in"
