"""A server before it is served: what is registered, how, and what is refused at once."""

import dataclasses
import datetime
import logging
import uuid
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from kailash.mcp_server import Context, HTTPOptions, MCPServer, SimpleMCPServer
from kailash.mcp_server.advanced_features import MultiModalContent, structured_tool
from kailash.mcp_server.auth import APIKeyAuth
from kailash.mcp_server.running import RunOptions, read_arguments, read_environment
from kailash.schema import SchemaError

STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


def make(**options: Any) -> MCPServer:
    return MCPServer("tools", **options)


def tool_of(server: MCPServer, name: str) -> Any:
    entry = server.registry.tools.get(name)
    assert entry is not None
    return entry.tool


def test_decorators_work_bare_and_called_and_return_the_function_itself() -> None:
    server = make()

    @server.tool
    def one(a: int) -> int:
        return a

    @server.tool()
    def two(a: int) -> int:
        return a

    @server.tool("third", title="Third")
    def three(a: int) -> int:
        return a

    assert (one(1), two(2), three(3)) == (1, 2, 3)
    assert [entry.name for entry in server.registry.tools] == ["one", "two", "third"]


def test_unknown_options_and_taken_names_are_refused() -> None:
    server = make()
    with pytest.raises(TypeError, match="colour"):
        server.tool(colour="red")(lambda: 1)
    with pytest.raises(TypeError, match="name="):
        server.tool(lambda: 1)
    with pytest.raises(TypeError, match="cache_ttl"):
        server.add_tool(make, name="x", cache_key="k")
    server.add_tool(dataclasses.asdict, name="x")
    with pytest.raises(ValueError, match="already registered"):
        server.add_tool(dataclasses.asdict, name="x")
    with pytest.raises(ValueError, match="timeout"):
        server.add_tool(dataclasses.asdict, name="y", timeout=0)
    with pytest.raises(TypeError, match="known"):
        server.add_tool(dataclasses.asdict, name="z", annotations={"safe": True})


def test_an_input_schema_describes_an_object() -> None:
    with pytest.raises(ValueError, match="of type object"):
        make().tool(name="x", input_schema={"type": "string"})(lambda text: text)


def test_schemas_that_cannot_be_used_are_errors_where_they_are_written() -> None:
    with pytest.raises(TypeError, match="input_schema=, output_schema="):
        structured_tool()
    with pytest.raises(ValueError, match="type object"):
        structured_tool(input_schema={"type": "array"})
    with pytest.raises(SchemaError, match="unknown-dialect"):
        structured_tool(output_schema={"$schema": "https://example.com/unknown-dialect"})
    with pytest.raises(SchemaError, match="refusing to fetch"):
        structured_tool(output_schema={"$ref": "http://127.0.0.1:9/never.json"})
    with pytest.raises(TypeError, match="decorates functions"):
        structured_tool(output_schema=STATUS)(7)  # type: ignore[type-var]


# The server itself


def test_only_the_name_must_be_said() -> None:
    server = MCPServer("alone")
    assert server.name == "alone" and server.auth_provider is None
    with pytest.raises(ValueError, match="needs a name"):
        MCPServer("")
    with pytest.raises(TypeError):
        MCPServer()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"page_size": 0}, ValueError, "page_size must be 1 or more"),
        ({"request_timeout": 0}, ValueError, "request_timeout must be above zero"),
        ({"http_options": {"colour": 1}}, TypeError, "unknown HTTP option colour; known: "),
        ({"http_options": {"retry": 0}}, ValueError, "retry must be above zero"),
        ({"auth_provider": 7}, TypeError, "authenticate"),
        ({"rate_limit_config": {"rpm": 1}}, TypeError, "unknown key rpm in rate_limit_config; known: "),
        ({"circuit_breaker_config": {"failures": 1}}, TypeError, "unknown key failures .*; known: .*failure_threshold"),
        ({"cache_config": {"size": 1}}, TypeError, "unknown key size in cache_config; known: "),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_a_server_refuses_what_it_does_not_know(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make(**options)


def test_the_provider_is_the_one_that_was_given() -> None:
    auth = APIKeyAuth(["key"])
    assert make(auth_provider=auth).auth_provider is auth
    both = make(auth_provider=[auth, APIKeyAuth(["other"])]).auth_provider
    assert both.authenticate({"api_key": "other"})["permissions"]


def test_aliases_of_the_config_keys_are_heeded_once() -> None:
    make(rate_limit_config={"default_limit": 5, "burst_limit": 2, "per_client": True})
    make(circuit_breaker_config={"failure_threshold": 2, "recovery_timeout": 5})
    with pytest.raises(TypeError, match="another word"):
        make(rate_limit_config={"default_limit": 5, "requests_per_minute": 5})


def test_a_simple_server_is_one_that_shows_more() -> None:
    simple = SimpleMCPServer("s", "for a try")
    assert isinstance(simple, MCPServer) and simple.debug and simple.info.description == "for a try"
    assert not SimpleMCPServer("s", debug=False).debug


# Tools


def test_a_tool_says_what_its_function_says() -> None:
    server = make()

    @server.tool()
    def search(query: str, limit: int = 10, ctx: Context | None = None, progress_token: Any = None) -> dict[str, Any]:
        """Search for things.

        Args:
            query: what for.
        """
        return {"q": query, "limit": limit}

    tool = tool_of(server, "search")
    assert tool.description == "Search for things."
    assert tool.input_schema["properties"]["query"] == {"type": "string", "description": "what for."}
    assert set(tool.input_schema["properties"]) == {"query", "limit"} and tool.input_schema["required"] == ["query"]
    assert search("x") == {"q": "x", "limit": 10}, "a decorated tool is a function like any other"


def test_a_parameter_that_may_be_left_out_is_not_required() -> None:
    server = make()

    @server.tool
    def create_user(email: str, age: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert tool_of(server, "create_user").input_schema["required"] == ["email"]


def test_tools_come_and_go() -> None:
    server = make()
    server.add_tool(lambda: 1, name="one")
    server.disable_tool("one")
    assert server.registry.tools.get("one") is None
    server.enable_tool("one")
    assert server.registry.tools.get("one") is not None
    server.remove_tool("one")
    for act in (server.remove_tool, server.enable_tool, server.disable_tool):
        with pytest.raises(KeyError):
            act("one")
    server.add_tool(lambda: 2, name="one")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"task": "maybe"}, ValueError, "optional, required or forbidden"),
        ({"task_asks_first": True}, ValueError, "task="),
        ({"cache_ttl": 0}, ValueError, "cache_ttl must be above zero"),
        ({"required_permissions": "admin"}, TypeError, "a list of names"),
        ({"format_response": "yaml"}, ValueError, "known: json, markdown, table"),
        ({"output_schema": {"type": "object"}, "blocking": True, "timeout": -1}, ValueError, "timeout"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency"),
        ({"rate_limit": "often"}, TypeError, "rate_limit is a number"),
    ],
)
def test_a_tool_refuses_options_out_of_range(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make().add_tool(lambda: 1, name="x", **options)


def test_a_name_that_some_clients_refuse_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make().add_tool(lambda: 1, name="what is this?")
    assert "some clients will refuse it" in caplog.text


def test_a_coroutine_function_does_not_block() -> None:
    async def later() -> None: ...

    with pytest.raises(TypeError, match="blocking=True is for plain functions"):
        make().add_tool(later, blocking=True)


# Resources, prompts and completions


def test_resources_are_fixed_or_templates() -> None:
    server = make()
    server.resource("config://settings")(lambda: {"a": 1})
    server.resource("file:///{+path}")(lambda path: path)
    assert server.registry.resources.get("config://settings") is not None
    assert server.registry.find_resource("file:///a/b") is not None
    assert server.registry.find_resource("other:///a/b") is None
    server.remove_resource("config://settings")
    server.remove_resource("file:///{+path}")
    assert server.registry.find_resource("config://settings") is None
    with pytest.raises(TypeError, match="needs its URI"):
        server.resource(lambda: 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no size"):
        server.resource("a://{b}", size=3)(lambda b: b)
    with pytest.raises(TypeError, match="unknown resource option colour"):
        server.resource("a://b", colour="red")(lambda: 1)  # type: ignore[call-arg]


def test_prompts_and_completions_are_registered_by_name() -> None:
    server = make()

    @server.prompt
    def ask(topic: str) -> str:
        """Ask about it."""
        return topic

    @server.completion(prompt="ask", argument="topic")
    def topics(value: str) -> list[str]:
        return [value]

    assert ask("x") == "x" and topics("y") == ["y"]
    assert server.registry.prompts.get("ask") is not None
    with pytest.raises(TypeError, match="a prompt= or a template="):
        server.completion(argument="topic")
    server.remove_prompt("ask")
    with pytest.raises(KeyError):
        server.remove_prompt("ask")


# Content


def test_content_of_several_kinds_is_built_in_order() -> None:
    content = MultiModalContent().add_text("t").add_image(b"i", "image/png").add_audio("YQ==").add_image("aQ==")
    content.add_resource("file://a", "text").add_resource("file://b", b"bytes").add_resource("file://c", "{}", "text/x")
    kinds = [block["type"] for block in content.to_list()]
    assert kinds == ["text", "image", "audio", "image", "resource", "resource", "resource"]
    first, second, third = (block["resource"] for block in content.to_list()[4:])
    assert (first["text"], first["mimeType"]) == ("text", "text/plain")
    assert (second["blob"], second["mimeType"]) == ("Ynl0ZXM=", "application/octet-stream")
    assert third["mimeType"] == "text/x"


# Types


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (datetime.time, {"type": "string", "format": "time"}),
        (datetime.timedelta, {"type": "string", "format": "duration"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (tuple[int, str], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "maxItems": 2}),
        (str | int, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (dict[str, Any], {"type": "object"}),
        (Literal[1, 2], {"type": "integer", "enum": [1, 2]}),
        (list[dict[str, int]], {"type": "array"}),
        (Any, {}),
    ],
)
def test_each_annotation_has_its_schema(annotation: Any, schema: dict[str, Any]) -> None:
    def f(a: Any) -> None: ...

    f.__annotations__["a"] = annotation
    server = make()
    server.add_tool(f)
    shown = tool_of(server, "f").input_schema["properties"]["a"]
    assert {key: shown.get(key) for key in schema} == schema or shown.get("type") == ["integer", "null"]


# How it is served

NUMBERS = [
    field.name
    for field in msgspec.structs.fields(HTTPOptions)
    if isinstance(field.default, int | float) and not isinstance(field.default, bool)
]


@pytest.mark.parametrize("name", NUMBERS)
def test_options_of_http_are_above_zero(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above zero"):
        make(http_options={name: 0})


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, RunOptions()),
        ({"MCP_TRANSPORT": "http"}, RunOptions(transport="http")),
        ({"MCP_HOST": "0.0.0.0", "MCP_PORT": "0"}, RunOptions(host="0.0.0.0", port=0)),
        ({"MCP_LOG_LEVEL": "debug"}, RunOptions(log_level="DEBUG")),
        ({"MCP_WORKERS": "4"}, RunOptions(workers=4)),
        ({"MCP_PORT": "", "MCP_OTHER": "x"}, RunOptions()),
    ],
)
def test_run_reads_the_environment(variables: dict[str, str], options: RunOptions) -> None:
    assert read_environment(variables) == options


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MCP_TRANSPORT", "pigeon"),
        ("MCP_LOG_LEVEL", "loud"),
        ("MCP_PORT", "65536"),
        ("MCP_PORT", "-1"),
        ("MCP_PORT", "http"),
        ("MCP_WORKERS", "0"),
        ("MCP_WORKERS", "257"),
    ],
)
def test_a_malformed_variable_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        read_environment({name: text})


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], RunOptions()),
        (["--transport", "sse", "--port", "1"], RunOptions(transport="sse", port=1)),
        (["--log-level", "debug"], RunOptions(log_level="DEBUG")),
        (["--host", "::1", "--workers", "2"], RunOptions(host="::1", workers=2)),
    ],
)
def test_run_reads_the_command_line(argv: list[str], options: RunOptions) -> None:
    assert read_arguments("doc", argv) == options


@pytest.mark.parametrize("argv", [["--port", "x"], ["--workers", "0"], ["--transport", "pigeon"], ["--colour"]])
def test_a_wrong_command_line_ends_the_program(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_arguments("doc", argv)
    assert ended.value.code == 2 and "usage" in capsys.readouterr().err


def test_stronger_options_hide_weaker_ones() -> None:
    assert RunOptions(port=1) | RunOptions(port=2, host="h") == RunOptions(port=1, host="h")


def test_arguments_are_decoded_early_only_where_that_runs_nobodys_code() -> None:
    server = make()

    @dataclasses.dataclass
    class Point:
        x: int

    def plain(
        ctx: Context,
        numbers: list[int | None],
        kind: Literal["a", "b"] = "a",
        some: dict[str, Any] = {},  # noqa: B006 - as users write it
    ) -> None: ...

    def of_a_class(point: Point) -> None: ...

    def made(numbers: list[int] = pydantic.Field(default_factory=lambda: [7])) -> None: ...  # noqa: B008

    def collects(a: int, **more: Any) -> None: ...

    def checked(a: int) -> None: ...

    for fn in (plain, of_a_class, made, collects):
        server.add_tool(fn)
    server.add_tool(checked, input_schema={"type": "object"})
    assert set(server.registry.decoders) == {"plain"}
    server.remove_tool("plain")
    assert not server.registry.decoders
