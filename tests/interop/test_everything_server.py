"""Our client uses server-everything, the reference server written in TypeScript: all of it, over all it speaks."""

import base64
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError, MCPErrorCode
from kailash.mcp_server.errors import ToolError
from protocol.events import ChangeKind, Log
from protocol.params import CreateMessageParams, ElicitParams
from protocol.types import BlobResourceContents, EmbeddedResource, ImageContent, ResourceLink, Tool
from tests.requirements import rule

from . import wire
from .conversation import Conversation
from .peers import everything_command
from .processes import free_port, program

SECONDS = 45
LINK = "https://example.com/login"

# What a tool shall be called with, where its schema alone would lead outside this machine or take its time.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "gzip-file-as-resource": {"data": "data:text/plain;base64,aGVsbG8=", "name": "hello.gz"},
    "trigger-long-running-operation": {"duration": 0.4, "steps": 4},
    "trigger-url-elicitation": {"url": LINK},
}


class User:
    """Whoever sits before our client."""

    def __init__(self) -> None:
        self.forms: list[ElicitParams] = []
        self.samples: list[CreateMessageParams] = []
        self.logs: list[Log] = []
        self.logged = anyio.Event()

    def fill_in(self, form: ElicitParams) -> Any:
        self.forms.append(form)
        return True if form.mode == "url" else {"name": "Ada"}

    def think(self, params: CreateMessageParams) -> str:
        self.samples.append(params)
        return "42"

    def hear(self, entry: Log) -> None:
        self.logs.append(entry)
        self.logged.set()


class Talk(Conversation):
    """A conversation with this server."""

    config: dict[str, Any]
    transport: str


MODES = {"http": ("streamableHttp", "/mcp"), "sse": ("sse", "/sse")}


@pytest.fixture(scope="module", params=["stdio", *MODES])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The transport, and the port of the server, if it has one."""
    if request.param == "stdio":
        yield "stdio", 0
        return
    port = free_port()
    mode, _ = MODES[request.param]
    # It says the port that it was told.
    with program(everything_command(mode), rf"[Pp]ort ({port})", {"PORT": str(port)}):
        yield request.param, port


@pytest.fixture
def log(tmp_path: Path, place: tuple[str, int]) -> Iterator[Talk]:
    transport, port = place
    with ExitStack() as stack:
        talk = Talk(tmp_path / "wire.jsonl", stack)
        talk.transport = transport
        if transport == "stdio":
            talk.config = talk.over_stdio(everything_command("stdio"))
        else:
            talk.config = talk.over_web(transport, port, MODES[transport][1])
        yield talk


@asynccontextmanager
async def connected(log: Talk, user: User, **options: Any) -> AsyncIterator[MCPClient]:
    """Connect through somebody who writes down what passes; afterwards, check what our client wrote."""
    client = MCPClient(
        {**log.config, "probe_timeout": 30.0},
        elicitation_handler=user.fill_in,
        elicitation_modes=("form", "url"),
        sampling_handler=user.think,
        log_handler=user.hear,
        **options,
    )
    with anyio.fail_after(SECONDS):
        async with client:
            yield client
    log.check_client("2025-11-25")


def arguments_for(tool: Tool) -> dict[str, Any]:
    """Make up the arguments a tool requires."""
    known = ARGUMENTS.get(tool.name)
    if known is not None:
        return known
    properties = tool.input_schema.get("properties", {})
    return {name: example(properties[name]) for name in tool.input_schema.get("required", [])}


def example(schema: dict[str, Any]) -> Any:
    """Return a value that a schema accepts."""
    if "default" in schema:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    return {"string": "something", "number": 1, "integer": 1, "boolean": True, "array": [], "object": {}}[
        schema["type"]
    ]


@pytest.mark.anyio
@rule(17, 18, 22, 26, 47, 52, 53)
async def test_a_refused_probe_leads_to_the_handshake(log: Talk) -> None:
    async with connected(log, User()) as client:
        assert client.protocol_version == "2025-11-25"
        assert client.server_info is not None and client.server_info.name == "mcp-servers/everything"
        assert client.instructions is not None and "Everything" in client.instructions
        await client.ping()
    lines = log.lines()
    used = wire.methods(lines, "client")
    if log.transport == "sse":
        assert used[:2] == ["initialize", "notifications/initialized"]  # nothing else is spoken over it
        return
    assert used[:3] == ["server/discover", "initialize", "notifications/initialized"]
    assert lines[1].message["error"]["code"] == (-32601 if log.transport == "stdio" else -32000)


@pytest.mark.anyio
async def test_every_tool_is_called(log: Talk) -> None:
    user = User()
    # Only here: this server does not end while a question for roots, asked too late, is open.
    async with connected(log, user, roots=["/tmp/project"]) as client:
        tools = await client.list_tools()
        assert len(tools) >= 17
        texts = {}
        for tool in tools:
            result = await client.call_tool(tool.name, arguments_for(tool))
            assert result.content
            texts[tool.name] = result.text
    assert texts["echo"] == "Echo: something"
    assert texts["get-sum"] == "The sum of 1 and 1 is 2."
    assert "file:///tmp/project" in texts["get-roots-list"]
    assert '"text": "42"' in texts["trigger-sampling-request"]
    assert "Ada" in texts["trigger-elicitation-request"]
    assert texts["simulate-research-query"].startswith("# Research Report")  # which runs as a task
    assert {form.mode for form in user.forms} >= {"url"}


@pytest.mark.anyio
async def test_results_have_the_promised_shape(log: Talk) -> None:
    async with connected(log, User()) as client:
        await client.list_tools()  # so that output is checked against its schema
        weather = await client.call_tool("get-structured-content", {"location": "Chicago"})
        assert weather.keys() == {"temperature", "conditions", "humidity"}
        message = await client.call_tool("get-annotated-message", {"messageType": "error", "includeImage": True})
        text, image = message.content
        assert text.annotations.audience == ["user", "assistant"] and text.annotations.priority == 1
        assert isinstance(image, ImageContent) and image.decode().startswith(b"\x89PNG")
        links = (await client.call_tool("get-resource-links", {"count": 2})).content[1:]
        assert [type(link) for link in links] == [ResourceLink, ResourceLink]
        for link in links:
            assert (await client.read_resource(link.uri)).contents
        reference = await client.call_tool("get-resource-reference", {"resourceType": "Blob", "resourceId": 2})
        inside = next(block for block in reference.content if isinstance(block, EmbeddedResource)).resource
        assert isinstance(inside, BlobResourceContents) and inside.decode().startswith(b"Resource 2")
        data = "data:text/plain;base64," + base64.b64encode(b"hello").decode()
        zipped = await client.call_tool("gzip-file-as-resource", {"data": data, "outputType": "resource"})
        [block] = zipped.content
        assert gzip.decompress(block.resource.decode()) == b"hello"
        with pytest.raises(ToolError, match="location"):
            await client.call_tool("get-structured-content", {"location": "Kailash"})
        with pytest.raises(MCPError, match="no-such-tool"):
            await client.call_tool("no-such-tool")


@pytest.mark.anyio
async def test_progress_comes_with_the_long_operation(log: Talk) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    async with connected(log, User()) as client:
        await client.call_tool(
            "trigger-long-running-operation",
            {"duration": 0.4, "steps": 4},
            on_progress=lambda *told: seen.append(told),
        )
    assert seen == [(number, 4, None) for number in (1, 2, 3, 4)]


@pytest.mark.anyio
@rule(50)
async def test_the_long_operation_is_given_up(log: Talk) -> None:
    async with connected(log, User()) as client:
        runs = anyio.Event()
        async with anyio.create_task_group() as group:

            async def work() -> None:
                await client.call_tool(
                    "trigger-long-running-operation", {"duration": 40, "steps": 400}, on_progress=lambda *_: runs.set()
                )

            group.start_soon(work)
            await runs.wait()
            group.cancel_scope.cancel()
        await client.ping()
    assert wire.methods(log.lines(), "client").count("notifications/cancelled") == 1


@pytest.mark.anyio
@rule(153, 157)
async def test_every_kind_of_form_field_is_filled_in(log: Talk) -> None:
    user = User()
    async with connected(log, user) as client:
        await client.call_tool("trigger-elicitation-request")
    [answer] = [
        line.message["result"] for line in log.lines() if line.sender == "client" and "result" in line.message
        if "action" in line.message["result"]
    ]  # fmt: skip
    assert answer["action"] == "accept"
    # Everything but the name is the schema's default.
    assert answer["content"] == {
        "name": "Ada",
        "firstLine": "It was a dark and stormy night.",
        "integer": 42,
        "number": 3.14,
        "untitledSingleSelectEnum": "Monica",
        "untitledMultipleSelectEnum": ["Guitar"],
        "titledSingleSelectEnum": "hero-1",
        "titledMultipleSelectEnum": ["fish-1"],
        "legacyTitledEnum": "pet-1",
    }


@pytest.mark.anyio
@rule(157)
async def test_a_link_is_opened_by_consent_or_by_error(log: Talk) -> None:
    user = User()
    async with connected(log, user) as client:
        await client.call_tool("trigger-url-elicitation", {"url": LINK})
        assert user.forms[-1].url == LINK
        with pytest.raises(MCPError) as needed:
            await client.call_tool("trigger-url-elicitation", {"url": LINK, "errorPath": True})
        assert needed.value.error_code == MCPErrorCode.URL_ELICITATION_REQUIRED
        assert needed.value.data["elicitations"][0]["mode"] == "url"
    answers = [line.message["result"] for line in log.lines() if "action" in line.message.get("result", {})]
    assert answers == [{"action": "accept"}]


@pytest.mark.anyio
@rule(161)
async def test_the_model_is_asked_with_a_limit(log: Talk) -> None:
    user = User()
    async with connected(log, user) as client:
        await client.call_tool("trigger-sampling-request", {"prompt": "why?", "maxTokens": 7})
    [asked] = user.samples
    assert asked.max_tokens == 7 and "why?" in asked.messages[0].content.text


@pytest.mark.anyio
async def test_resources_prompts_and_completions(log: Talk) -> None:
    async with connected(log, User()) as client:
        resources = await client.list_resources()
        assert len(resources) >= 7
        for resource in resources:
            assert (await client.read_resource(resource.uri)).text
        templates = [template.uri_template for template in await client.list_resource_templates()]
        text, blob = "demo://resource/dynamic/text/{resourceId}", "demo://resource/dynamic/blob/{resourceId}"
        assert templates == [text, blob]
        assert (await client.read_resource(text.replace("{resourceId}", "1"))).text.startswith("Resource 1")
        assert (await client.read_resource(blob.replace("{resourceId}", "2"))).blob.startswith(b"Resource 2")
        with pytest.raises(MCPError):
            await client.read_resource("demo://resource/missing")
        given = {
            "city": "Kailash",
            "department": "Engineering",
            "name": "Alice",
            "resourceType": "Text",
            "resourceId": 1,
        }
        prompts = await client.list_prompts()
        assert len(prompts) == 4
        for prompt in prompts:
            names = [argument.name for argument in prompt.arguments or [] if argument.name in given]
            filled = await client.get_prompt(prompt.name, {name: given[name] for name in names} or None)
            assert filled.messages
        with pytest.raises(MCPError):
            await client.get_prompt("args-prompt")
        assert (await client.complete("department", "E", prompt="completable-prompt")).values == ["Engineering"]
        known = await client.complete("name", "", prompt="completable-prompt", context={"department": "Engineering"})
        assert "Alice" in known.values
        assert (await client.complete("resourceId", "1", template=text)).values == ["1"]


@pytest.mark.anyio
async def test_logs_come_from_the_level_set(log: Talk) -> None:
    user = User()
    async with connected(log, user, log_level="debug") as client:
        await client.call_tool("toggle-simulated-logging")
        await user.logged.wait()
        await client.set_log_level("emergency")
        await client.call_tool("toggle-simulated-logging")
    assert user.logs
    levels = [line.message["params"] for line in log.lines() if line.message.get("method") == "logging/setLevel"]
    assert levels == [{"level": "debug"}, {"level": "emergency"}]


@pytest.mark.anyio
async def test_a_watched_resource_tells_of_its_changes(log: Talk) -> None:
    uri = "demo://resource/dynamic/text/1"
    async with connected(log, User()) as client:
        async with client.listen(uris=[uri]) as changes:
            await client.call_tool("toggle-subscriber-updates")  # which brings one at once, then one every 5 s
            change = await anext(changes)
            assert change.kind is ChangeKind.RESOURCE and change.uri == uri
            await client.call_tool("toggle-subscriber-updates")
        await client.ping()
    used = wire.methods(log.lines(), "client")
    assert used.index("resources/subscribe") < used.index("resources/unsubscribe")


@pytest.mark.anyio
@pytest.mark.parametrize("place", MODES, indirect=True)
async def test_its_address_is_enough(log: Talk) -> None:
    url: str = log.config["url"]
    for known in (url, url.rpartition("/")[0] + "/"):
        with anyio.fail_after(SECONDS):
            async with MCPClient(known) as client:
                assert (await client.call_tool("get-sum", {"a": 1, "b": 2})).text == "The sum of 1 and 2 is 3."
