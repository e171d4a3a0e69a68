"""Servers of what is written down: a file, the environment, arguments, in rising rank."""

from pathlib import Path

import pytest

from kailash.mcp_server import MCPServer, SimpleMCPServer
from kailash.mcp_server.auth import APIKeyAuth
from kailash.mcp_server.configuration import read_settings

TOML = """
name = "written"
instructions = "Ask ${WHOM:-nobody}."
page_size = 2
debug = true
enable_http_transport = true
rate_limit_config = {requests_per_minute = 100, burst_size = 20}

[auth_provider]
type = "api_key"
[auth_provider.keys."${ADMIN_KEY}"]
permissions = ["admin"]

[run]
host = "127.0.0.1"
port = 8123
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ADMIN_KEY", "a-key-of-the-admins")
    return monkeypatch


def write(folder: Path, text: str, name: str = "server.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_makes_a_server(tmp_path: Path) -> None:
    server = MCPServer.from_config(write(tmp_path, TOML))
    assert (server.name, server.instructions, server.page_size, server.debug) == ("written", "Ask nobody.", 2, True)
    assert isinstance(server.auth_provider, APIKeyAuth)
    assert server.auth_provider.authenticate({"api_key": "a-key-of-the-admins"})["permissions"] == ["admin"]
    assert server.run_defaults is not None and server.run_defaults.port == 8123


def test_json_and_mappings_say_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, '{"name": "j", "run": {"transport": "http"}, "revisions": ["2025-06-18"]}', "s.json")
    server = MCPServer.from_config(str(path))
    assert server.name == "j" and server.run_defaults is not None and server.run_defaults.transport == "http"
    simple = SimpleMCPServer.from_config({"name": "m", "description": "d"})
    assert type(simple) is SimpleMCPServer and simple.debug


def test_arguments_rank_above_the_environment_and_that_above_the_file(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, TOML)
    for name, text in {
        "MCP_NAME": "told",
        "MCP_PAGE_SIZE": "7",
        "MCP_DEBUG": "no",
        "MCP_REQUEST_TIMEOUT": "none",
        "MCP_RATE_LIMIT_CONFIG": '{"requests_per_minute": 5}',
        "MCP_STDIO_PERMISSIONS": "tools, admin",
        "MCP_API_KEY": "is a credential and no option",
    }.items():
        environment.setenv(name, text)
    server = MCPServer.from_config(path, page_size=9)
    assert (server.name, server.page_size, server.debug, server.request_timeout) == ("told", 9, False, None)
    options = read_settings(MCPServer, path, {}).options
    assert options["rate_limit_config"] == {"requests_per_minute": 5}
    assert options["stdio_permissions"] == ["tools", "admin"]
    assert MCPServer.from_config().name == "told", "the environment alone will do"


@pytest.mark.parametrize(
    ("text", "name", "error", "said"),
    [
        ("name = 'x'\npagesize = 3", "s.toml", TypeError, r"unknown option pagesize; known: .*page_size"),
        ("name = 'x'\n[run]\nports = 3", "s.toml", TypeError, r"unknown option ports in run; known: host, log_level"),
        ("name = 'x'\nrun = 3", "s.toml", TypeError, r"run is a table"),
        ("name = 'x'\n[run]\nport = 'x'", "s.toml", TypeError, r"run: .*\$\.port"),
        ("name = 'x'\npage_size = 'many'", "s.toml", TypeError, r"page_size: .*str"),
        ("page_size = 3", "s.toml", ValueError, r"needs a name.*MCP_NAME"),
        ("name = ", "s.toml", ValueError, r"s\.toml"),
        ("[1]", "s.json", ValueError, r"is an object, not list"),
        ("name: x", "s.yaml", ValueError, r"\.toml or \.json, not \.yaml"),
        ("name = '${NOT_SET_AT_ALL}'", "s.toml", ValueError, r"NOT_SET_AT_ALL is not set"),
        ("name = 'x'\nauth_provider = {type = 'magic'}", "s.toml", TypeError, "api_key, bearer, basic, jwt"),
        ("name = 'x'\nrate_limit_config = {rpm = 3}", "s.toml", TypeError, "unknown key rpm"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_known(
    text: str, name: str, error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        MCPServer.from_config(write(tmp_path, text, name))


def test_a_key_in_the_wrong_place_is_not_repeated() -> None:
    with pytest.raises(TypeError) as error:
        MCPServer.from_config({"name": "x", "auth_provider": {"type": "api_key", "very-secret-key": {}}})
    assert "very-secret-key" not in str(error.value) and "keys" in str(error.value)


@pytest.mark.parametrize(("name", "text"), [("MCP_PAGE_SIZE", "many"), ("MCP_DEBUG", "perhaps")])
def test_a_malformed_variable_is_named(name: str, text: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, text)
    with pytest.raises(ValueError, match=name):
        MCPServer.from_config({"name": "x"})
