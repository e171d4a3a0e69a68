"""A client before it is connected: what its config may say, whom it shares connections with, what it shows."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, Raw

from kailash.errors import MCPErrorCode, TransportError, ValidationError
from kailash.mcp_client import ClientConfig, ToolResult, load_servers
from kailash.mcp_client.caching import ResponseCache
from kailash.mcp_client.config import expand_variables
from kailash.mcp_client.results import OutputSchemas, plain_arguments
from kailash.mcp_client.target import target_of
from kailash.mcp_server import MCPClient, SyncMCPClient
from kailash.mcp_server.auth import APIKeyAuth, BasicAuth, BearerTokenAuth, JWTAuth
from kailash.resilience import SimpleRetry
from protocol.events import Change, ChangeKind
from protocol.results import CallToolResult
from protocol.types import TextContent, Tool

KEY = "key-that-nobody-else-knows"
TOKEN = "token-that-nobody-else-knows"
PASSWORD = "a password"
SECRET = "a secret of more than thirty-two bytes, for HMAC"


def given() -> dict[str, Any]:
    token = JWTAuth(secret=SECRET, algorithm="HS256").create_token({"user": "jay"})
    return {
        "api key": {"type": "api_key", "key": KEY},
        "bearer": {"type": "bearer", "token": TOKEN},
        "basic": {"type": "basic", "username": "alice", "password": PASSWORD},
        "jwt": {"type": "jwt", "token": token},
        "key provider": APIKeyAuth(KEY),
        "token provider": BearerTokenAuth(TOKEN),
        "password provider": BasicAuth(username="alice", password=PASSWORD),
        "jwt provider": JWTAuth(secret=SECRET, algorithm="HS256", claims={"user": "jay"}),
    }


# Configs


def test_unknown_config_keys_are_refused_with_the_known_ones() -> None:
    with pytest.raises(TypeError, match=r"unknown config key colour; known: .*command"):
        MCPClient({"command": "x", "colour": "red"})
    with pytest.raises(TypeError, match="args"):
        MCPClient({"command": "x", "args": [1]})
    assert MCPClient({"command": sys.executable}).validate() == {"valid": True, "problems": []}


@pytest.mark.parametrize(
    "spelling", ["http", "streamable-http", "streamable_http", "streamableHttp", "Streamable HTTP"]
)
def test_the_transport_is_known_in_the_spellings_found_in_the_wild(spelling: str) -> None:
    assert ClientConfig.of({"type": spelling, "url": "http://host"}).transport == "http"


def test_configs_are_compared_and_shown_without_their_secrets() -> None:
    def config(token: str, path: str = "/") -> ClientConfig:
        return ClientConfig.of({"url": f"http://host{path}?k=s3cret", "headers": {"Authorization": token}})

    one, same, other = config("s3cret-1"), config("s3cret-1"), config("s3cret-2")
    assert one.key == same.key != other.key and one.endpoint_key == other.endpoint_key
    assert one.endpoint_key != config("s3cret-1", "/x").endpoint_key
    assert "s3cret" not in f"{one!r} {one.key} {one.endpoint_key} {one.endpoint}"
    assert hash(one.key) == hash(same.key)

    def make() -> dict[str, str]:
        return {}

    assert ClientConfig.of({"url": "http://host", "headers": make}).key != ClientConfig.of("http://host").key


def test_files_of_servers_may_hold_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t0ken")
    file = tmp_path / "mcp.json"
    file.write_text(
        json.dumps(
            {
                "mcpServers": {
                    "plain": {"url": "http://one/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
                    "code": {"type": "http", "url": "https://two/${env:TOKEN}"},
                    "old": {"type": "sse", "url": "http://three/sse"},
                    "cline": {"type": "streamableHttp", "url": "http://four"},
                    "windsurf": {"serverUrl": "http://five"},
                    "gemini": {"httpUrl": "http://six"},
                    "local": {"command": "node", "args": ["x.js"]},
                }
            }
        )
    )
    configs = load_servers(file)
    kinds = {name: config.transport for name, config in configs.items()}
    assert kinds == {
        "plain": "http",
        "code": "http",
        "old": "sse",
        "cline": "http",
        "windsurf": "http",
        "gemini": "http",
        "local": "stdio",
    }
    assert configs["plain"].headers == {"Authorization": "Bearer t0ken"}
    assert configs["code"].url == "https://two/t0ken" and configs["windsurf"].url == "http://five"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "no transport"),
        ({"transport": "carrier pigeon"}, "available: stdio, http, sse"),
        ({"transport": "stdio"}, 'needs a "command"'),
        ({"transport": "memory"}, "an MCPServer of this process"),
        ({"transport": "http"}, 'needs a "url"'),
        ({"url": "ftp://host"}, "url: "),
        ({"url": "http://host", "headers": {"Host": "other"}}, "set by the client itself"),
        ({"url": "http://host", "headers": {"X": "a\r\nb"}}, "line end"),
        ({"url": "http://host", "headers": 7}, "a mapping or a callable, not int"),
        ({"url": "http://host", "ca_file": "/no/such/file"}, "is not a file"),
        ({"url": "http://host", "client_key": __file__}, 'needs its "client_cert"'),
        ({"command": "x", "cwd": "/no/such/folder"}, "is not a directory"),
        ({"command": "x", "timeout": 0}, "timeout must be above zero"),
        ({"url": "http://host", "idle_timeout": -1}, "idle_timeout must be above zero"),
    ],
)
def test_each_problem_of_a_config_says_what_to_change(config: dict[str, Any], problem: str) -> None:
    report = MCPClient(config).validate()
    assert report["valid"] is False and problem in "; ".join(report["problems"])


def test_what_a_config_can_be_made_of() -> None:
    assert ClientConfig.of("http://host").transport == "http"
    assert ClientConfig.of({"url": "http://host/sse", "type": "http+sse"}).transport == "sse"
    assert ClientConfig.of({"command": "x"}).transport == "stdio"
    config = ClientConfig.of({"command": "x", "args": ["a", "b"]})
    assert ClientConfig.of(config) is config and config.endpoint == "x a b"
    with pytest.raises(TypeError, match="a mapping, a URL or an MCPServer, not int"):
        ClientConfig.of(7)
    assert MCPClient().validate() == {"valid": False, "problems": ["no config"]}
    assert repr(MCPClient()) == "MCPClient(per call)" and "http://host" in repr(MCPClient("http://host"))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("${env:NAME}", "value"),
        ("a${NAME}b${NAME}", "avaluebvalue"),
        ("${NONE:-default}", "default"),
        ("${NONE:-}", ""),
        ("$NAME", "$NAME"),
    ],
)
def test_variables_are_expanded(text: str, expanded: str) -> None:
    assert expand_variables(text, {"NAME": "value"}) == expanded
    with pytest.raises(ValueError, match="MISSING is not set"):
        expand_variables("${MISSING}", {})


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"X": "1"}},
        {"auth": {"type": "bearer", "token": "t"}},
        {"proxy": "http://proxy"},
        {"ca_file": __file__},
        {"client_cert": __file__},
        {"http_codec": "h11"},
        {"url": "http://host/?k=1"},
        {"url": "http://host:81/"},
        {"transport": "sse"},
    ],
)
def test_what_is_reached_or_shown_in_another_way_is_another_connection(more: dict[str, Any]) -> None:
    plain = {"transport": "http", "url": "http://host/"}
    assert ClientConfig.of({**plain, **more}).key != ClientConfig.of(plain).key
    assert ClientConfig.of({**plain, **more}).key == ClientConfig.of({**plain, **more}).key


@pytest.mark.parametrize("more", [{"args": ["a"]}, {"env": {"K": "v"}}, {"cwd": "/"}, {"command": "y"}])
def test_another_command_line_or_environment_is_another_child(more: dict[str, Any]) -> None:
    assert ClientConfig.of({"command": "x", **more}).key != ClientConfig.of({"command": "x"}).key


# What may be kept


def kept(ttl_ms: Any) -> Raw:
    return Raw(json.dumps({"ttlMs": ttl_ms} if ttl_ms is not None else {}).encode())


@pytest.mark.parametrize(
    ("ttl_ms", "lives"), [(None, 0), (0, 0), (-5, 0), ("x", 0), (1000, 1), (1e12, 3600), (1.5e3, 1.5)]
)
def test_a_result_is_kept_for_as_long_as_it_says(ttl_ms: Any, lives: float) -> None:
    cache = ResponseCache()
    cache.put("tools/list", None, kept(ttl_ms), "value", 100.0)
    assert cache.get("tools/list", None, 100.0) == ("value" if lives else None)
    assert cache.get("tools/list", None, 99.999 + lives) == ("value" if lives else None)
    assert cache.get("tools/list", None, 100.0 + lives) is None


def test_kept_results_are_bounded_and_go_with_a_change() -> None:
    cache = ResponseCache(limit=2)
    cache.put("resources/read", "a:1", kept(9000), 1, 0.0)
    cache.put("resources/read", "a:2", kept(9000), 2, 0.0)
    cache.change(Change(ChangeKind.RESOURCE, uri="a:1"))
    assert cache.get("resources/read", "a:1", 0.0) is None and cache.get("resources/read", "a:2", 0.0) == 2
    cache.change(Change(ChangeKind.TOOLS))
    assert cache.get("resources/read", "a:2", 0.0) == 2
    for number in range(3, 6):
        cache.put("resources/read", f"a:{number}", kept(9000), number, 0.0)
    assert sum(cache.get("resources/read", f"a:{number}", 0.0) is not None for number in range(1, 6)) <= 2
    cache.clear()
    assert cache.get("resources/read", "a:5", 0.0) is None


# Credentials


def test_the_provider_shows_its_headers_to_those_who_ask() -> None:
    client = MCPClient({"url": "http://127.0.0.1:9", "auth": {"type": "bearer", "token": TOKEN}})
    assert client.auth_provider.get_headers() == {"Authorization": f"Bearer {TOKEN}"}
    provider = APIKeyAuth(KEY)
    assert MCPClient({"url": "http://127.0.0.1:9", "auth": provider}).auth_provider is provider
    assert MCPClient("http://127.0.0.1:9").auth_provider is None and MCPClient().auth_provider is None


def test_secrets_are_in_no_text_and_no_key() -> None:
    for name, auth in given().items():
        for config in (
            {"url": "http://127.0.0.1:9", "auth": auth, "headers": {"X-Own": KEY}},
            {"command": "server", "auth": auth, "env": {"OWN": KEY}},
        ):
            read = ClientConfig.of(config)
            shown = f"{read!r} {read.key!r} {read.endpoint_key!r} {MCPClient(read)!r} {read.problems()} {read.auth!r}"
            for secret in (KEY, TOKEN, PASSWORD, SECRET, "YWxpY2U6"):
                assert secret not in shown, name


def test_connections_are_shared_by_those_with_the_same_credentials() -> None:
    def key(auth: Any, **more: Any) -> Any:
        return ClientConfig.of({"url": "http://127.0.0.1:9", "auth": auth, **more}).key

    one, same, other = ({"type": "api_key", "key": name} for name in ("one", "one", "other"))
    assert key(one) == key(same)
    assert len({key(one), key(other), key(None), key({"type": "bearer", "token": "one"})}) == 4
    provider = APIKeyAuth("one")
    assert key(provider) == key(provider) != key(APIKeyAuth("one"))


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"type": "magic"}, "type must be one of api_key, bearer, jwt, basic"),
        ({"type": "bearer"}, "auth of type bearer needs token"),
        ({"type": "bearer", "token": "t", "scope": "x"}, "unknown option scope; known: token"),
        ("text", "a mapping with a type, or a provider"),
    ],
)
def test_what_is_wrong_with_auth_is_said_with_what_is_known(auth: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        MCPClient({"url": "http://127.0.0.1:9", "auth": auth})


def test_what_cannot_be_sent_is_a_problem_of_the_config() -> None:
    basic = {"type": "basic", "username": "alice", "password": PASSWORD}
    problems = {
        "stdio": MCPClient({"command": "server", "auth": basic}),
        "memory": MCPClient({"transport": "memory", "server": object(), "auth": basic}),
        "twice": MCPClient({"url": "http://x", "auth": basic, "headers": {"authorization": "Bearer x"}}),
        "several": MCPClient({"url": "http://x", "auth": APIKeyAuth(["a", "b"])}),
    }
    said = {name: "; ".join(client.validate()["problems"]) for name, client in problems.items()}
    assert "MCP_API_KEY" in said["stdio"] and "MCP_TOKEN" in said["stdio"]
    assert "give it once" in said["twice"] and "authorization" in said["twice"]
    assert "a client sends one API key" in said["several"]


def test_files_of_servers_have_auth_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    servers = {"mcpServers": {"a": {"url": "http://x", "auth": {"type": "api_key", "key": "${SOME_KEY}"}}}}
    assert load_servers(servers)["a"].auth.get_headers() == {"X-API-Key": KEY}
    with pytest.raises(ValueError, match="server 'a': auth: type must be one of"):
        load_servers({"mcpServers": {"a": {"url": "http://x", "auth": {"type": "magic"}}}})


# Calls


@pytest.mark.parametrize(
    ("target", "keywords", "is_unbound", "found"),
    [
        (("t",), {}, False, (None, "t", None)),
        (("t", {"a": 1}), {}, False, (None, "t", {"a": 1})),
        (("http://h", "t", {"a": 1}), {}, False, ("http://h", "t", {"a": 1})),
        (("http://h", "t"), {}, True, ("http://h", "t", None)),
        (({"url": "http://h"}, "t"), {}, False, ({"url": "http://h"}, "t", None)),
        (({"url": "http://h"}, "t", {"a": 1}), {}, True, ({"url": "http://h"}, "t", {"a": 1})),
        ((), {"tool": "t", "params": {"a": 1}}, False, (None, "t", {"a": 1})),
        ((), {"server": "http://h", "tool": "t", "arguments": {"a": 1}}, True, ("http://h", "t", {"a": 1})),
        (("t",), {"arguments": {"a": 1}}, False, (None, "t", {"a": 1})),
    ],
)
def test_a_call_has_two_forms_and_keywords(
    target: tuple[Any, ...], keywords: dict[str, Any], is_unbound: bool, found: tuple[Any, ...]
) -> None:
    given = {"server": None, "tool": None, "arguments": None, "params": None, **keywords}
    assert target_of(target, **given, is_unbound=is_unbound) == found


@pytest.mark.parametrize("target", [(), (7,), ("a", "b", "c", "d"), ("h", "t", {}, {})])
def test_a_call_that_fits_neither_form_is_refused(target: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="call_tool"):
        target_of(target, None, None, None, None, is_unbound=False)


def result(text: str, **members: Any) -> ToolResult:
    return ToolResult(CallToolResult(content=[TextContent(text=text)], **members))


def test_a_result_is_a_mapping_of_what_the_tool_returned() -> None:
    structured = result('{"a": 2}', structured_content={"a": 1, "b": [1]})
    assert structured["a"] == 1 and dict(structured) == {"a": 1, "b": [1]} and structured == {"a": 1, "b": [1]}
    assert structured.data == {"a": 1, "b": [1]} and structured.has_structured_content
    plain = result('{"a": 2}')
    assert plain["a"] == 2 and len(plain) == 1 and plain.structured_content is None
    for text in ("just text", "{not json"):
        assert result(text).data == text and len(result(text)) == 0 and bool(result(text))
    assert result("[1]").data == [1] and "ToolResult([1])" in repr(result("[1]"))
    assert ToolResult(CallToolResult(content=[])).data is None
    assert "is_error=True" in repr(result("x", is_error=True))


def test_a_result_is_an_argument_of_the_next_call() -> None:
    first = result("x", structured_content={"rows": [1, 2]})
    given = plain_arguments({"data": first, "all": [first, ("a", None)], "text": TextContent(text="t")})
    assert given == {
        "data": {"rows": [1, 2]},
        "all": [{"rows": [1, 2]}, ["a", None]],
        "text": {"type": "text", "text": "t"},
    }


def test_a_failed_result_is_the_error_that_the_tool_raised() -> None:
    meta = {"kailash/error": {"code": 1011, "retryable": True, "retryAfter": 2.5, "data": {"k": 1}}}
    error = result("slow down", is_error=True, meta=meta).error()
    assert (error.error_code, error.retryable, error.retry_after) == (MCPErrorCode.RATE_LIMITED, True, 2.5)
    assert error.data == {"k": 1} and str(error) == "slow down"
    assert result("", is_error=True).error().error_code == MCPErrorCode.TOOL_ERROR


def test_structured_content_is_checked_against_the_schema_that_was_listed() -> None:
    schemas = OutputSchemas()
    tool = Tool(name="t", input_schema={"type": "object"}, output_schema={"type": "object", "required": ["a"]})
    schemas.learn([tool, Tool(name="u", input_schema={"type": "object"}, output_schema=UNSET)])
    schemas.check("t", result("x", structured_content={"a": 1}))
    schemas.check("t", result("no structure at all"))
    schemas.check("u", result("x", structured_content={}))
    with pytest.raises(ValidationError, match="tool 't' broke its output schema"):
        schemas.check("t", result("x", structured_content={}))


# Options


def test_a_retry_strategy_is_known_or_refused_at_once() -> None:
    for name in ("simple", "exponential", "circuit_breaker"):
        MCPClient("http://host", retry_strategy=name, max_retries=2)
    MCPClient("http://host", retry_strategy=SimpleRetry())
    with pytest.raises(ValueError, match="known: simple, exponential, circuit_breaker"):
        MCPClient("http://host", retry_strategy="linear")
    with pytest.raises(TypeError, match="needs a retry_strategy"):
        MCPClient("http://host", max_retries=2)


def test_figures_are_there_when_asked_for() -> None:
    assert MCPClient("http://host").get_metrics() is None
    metrics = MCPClient(enable_metrics=True).get_metrics()
    assert metrics is not None and metrics["calls"] == 0 and metrics["error_rate"] == 0.0


def test_a_synchronous_client_has_the_options_of_the_other() -> None:
    client = SyncMCPClient("http://host", enable_metrics=True)
    assert client.client.get_metrics() is not None and client.server_info is None
    client.close()
    with pytest.raises(TransportError, match="needs a"):
        SyncMCPClient({"transport": "http"}).open()
