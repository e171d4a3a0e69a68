"""Our client uses servers nobody here wrote, over stdio, Streamable HTTP, HTTP+SSE and WebSocket.

`mcp` 2.3.0 in both eras, `mcp` 1.30.0, and servers made with the npm SDK.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError
from kailash.mcp_server.errors import ToolError
from protocol.events import Change, ChangeKind, Log
from protocol.params import CreateMessageParams, ElicitParams
from protocol.results import CreateMessageResult
from protocol.types import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from tests.requirements import rule

from . import wire
from .conversation import Conversation
from .peers import mcp_python, node_command
from .processes import Program, program

MODERN = "2026-07-28"
HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
PIXEL = b"\x89PNG\r\n\x1a\n-not-really"
SECONDS = 40


class Peer(NamedTuple):
    """A server, and the revisions we offer it."""

    version: str
    revisions: tuple[str, ...] | None
    revision: str
    """What must come out."""
    first: tuple[str, ...]
    """How the conversation begins."""
    transport: str = "stdio"

    @property
    def is_modern(self) -> bool:
        return self.revision == MODERN

    @property
    def is_typescript(self) -> bool:
        return self.version == "npm-sdk"

    def command(self, script: str) -> list[str]:
        """Return the command line of the server, but for its arguments."""
        if self.version == "npm-server":
            return node_command(f"{script}_sdk2.mjs")
        if self.is_typescript:
            return node_command(f"{script}_sdk.mjs")
        extra = "ws" if self.transport == "websocket" else ""
        path = wire.SCRIPTS / f"{script}_mcp{self.version[0]}.py"
        return [mcp_python(self.version, extra), "-W", "ignore", str(path)]


PROBE, HELLO, READY = "server/discover", "initialize", "notifications/initialized"
PEERS = {
    "mcp2": Peer("2.3.0", None, MODERN, (PROBE,)),
    "mcp2-legacy": Peer("2.3.0", HANDSHAKES, "2025-11-25", (HELLO, READY)),
    "mcp2-2025-06-18": Peer("2.3.0", ("2025-06-18",), "2025-06-18", (HELLO, READY)),
    "mcp1": Peer("1.30.0", None, "2025-11-25", (PROBE, HELLO, READY)),
    "mcp1-2024-11-05": Peer("1.30.0", ("2024-11-05",), "2024-11-05", (HELLO, READY)),
    "mcp2-http": Peer("2.3.0", None, MODERN, (PROBE,), "http"),
    "mcp2-legacy-http": Peer("2.3.0", HANDSHAKES, "2025-11-25", (HELLO, READY), "http"),
    "mcp1-http": Peer("1.30.0", None, "2025-11-25", (PROBE, HELLO, READY), "http"),
    "mcp1-2025-03-26-http": Peer("1.30.0", ("2025-03-26",), "2025-03-26", (HELLO, READY), "http"),
    "npm-sdk-http": Peer("npm-sdk", None, "2025-11-25", (PROBE, HELLO, READY), "http"),
    "mcp2-sse": Peer("2.3.0", None, "2025-11-25", (HELLO, READY), "sse"),
    "mcp1-sse": Peer("1.30.0", None, "2025-11-25", (HELLO, READY), "sse"),
    "mcp1-2024-11-05-sse": Peer("1.30.0", ("2024-11-05",), "2024-11-05", (HELLO, READY), "sse"),
    "mcp1-ws": Peer("1.30.0", None, "2025-11-25", (PROBE, HELLO, READY), "websocket"),
    "mcp1-2025-06-18-ws": Peer("1.30.0", ("2025-06-18",), "2025-06-18", (HELLO, READY), "websocket"),
    "npm-sdk-sse": Peer("npm-sdk", None, "2025-11-25", (HELLO, READY), "sse"),
}


class User:
    """Whoever sits before our client."""

    def __init__(self) -> None:
        self.forms: list[ElicitParams] = []
        self.samples: list[CreateMessageParams] = []
        self.logs: list[Log] = []
        self.changes: list[Change] = []
        self.answer: Any = {"name": "Ada"}
        self._awaited = 0
        self._has_heard = anyio.Event()

    def hear(self, entry: Log) -> None:
        self.logs.append(entry)
        if len(self.logs) == self._awaited:
            self._has_heard.set()

    async def hears(self, count: int) -> None:
        """Wait until so many messages were logged."""
        self._awaited = count
        if len(self.logs) < count:
            await self._has_heard.wait()

    def fill_in(self, form: ElicitParams) -> Any:
        self.forms.append(form)
        return self.answer

    def think(self, params: CreateMessageParams) -> CreateMessageResult:
        self.samples.append(params)
        return CreateMessageResult(
            role="assistant", content=TextContent(text="42"), model="deep-thought", stop_reason="endTurn"
        )


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = PEERS[request.param]
    return found


class Servers:
    """Web servers, each started when first needed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[tuple[str, str, str], Program] = {}

    def port(self, peer: Peer, script: str) -> int:
        kind = "ws" if peer.transport == "websocket" else "web"
        key = (peer.version, script, kind)
        if key not in self._running:
            self._running[key] = self._stack.enter_context(program([*peer.command(script), kind], r"listening (\d+)"))
        return self._running[key].port()


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


class Talk(Conversation):
    """A conversation with one of the peers."""

    servers: Servers

    def config(self, peer: Peer, script: str) -> dict[str, Any]:
        """Return how the server is reached."""
        if peer.transport == "stdio":
            return self.over_stdio(peer.command(script))
        path = {"http": "/mcp", "sse": "/sse", "websocket": "/ws"}[peer.transport]
        return self.over_web(peer.transport, self.servers.port(peer, script), path)


@pytest.fixture
def log(tmp_path: Path, servers: Servers) -> Iterator[Talk]:
    with ExitStack() as stack:
        conversation = Talk(tmp_path / "wire.jsonl", stack)
        conversation.servers = servers
        yield conversation


@asynccontextmanager
async def connected(
    peer: Peer, log: Talk, user: User, script: str = "server", **options: Any
) -> AsyncIterator[MCPClient]:
    """Connect through somebody who writes down what passes; afterwards, check what our client wrote."""
    client = MCPClient(
        # No verdict by silence: a slow machine would make it one.
        {**log.config(peer, script), "probe_timeout": 30.0},
        revisions=peer.revisions,
        elicitation_handler=user.fill_in,
        sampling_handler=user.think,
        roots=["/tmp/project"],
        log_handler=user.hear,
        change_handler=user.changes.append,
        **options,
    )
    with anyio.fail_after(SECONDS):
        async with client:
            yield client
    log.check_client(peer.revision)


@pytest.mark.anyio
@rule(17, 18, 22, 26, 28, 29, 47, 48, 52, 53)
async def test_the_era_is_found_and_everything_listed(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User()) as client:
        assert client.protocol_version == peer.revision
        assert client.server_info is not None and client.server_info.name == "foreign"
        assert client.instructions == "Written by somebody else."
        tools = {tool.name: tool for tool in await client.list_tools()}
        assert tools["add"].input_schema["required"] == ["a", "b"]
        assert tools.keys() >= {"add", "forecast", "media", "ask_user", "ask_model", "ask_roots", "speak"}
        resources = [resource.uri for resource in await client.list_resources()]
        assert resources == ["text://hello", "blob://pixel", "watched://counter"]
        assert [one.uri_template for one in await client.list_resource_templates()] == ["greet://{name}"]
        assert [prompt.name for prompt in await client.list_prompts()] == ["summarize", "review"]
        await client.ping()
    assert tuple(wire.methods(log.lines(), "client")[: len(peer.first)]) == peer.first


@pytest.mark.anyio
async def test_tools_give_content_of_each_type(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User()) as client:
        await client.list_tools()  # so that output is checked against its schema
        assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
        weather = await client.call_tool("forecast", {"city": "Kailash"})
        assert weather == {"city": "Kailash", "degrees": 21.5, "sunny": True}
        text, image, audio, inside, link = (await client.call_tool("media")).content
        assert isinstance(text, TextContent) and text.annotations.priority == 0.5
        assert isinstance(image, ImageContent) and image.decode() == PIXEL and image.mime_type == "image/png"
        assert isinstance(audio, AudioContent) and audio.decode() == b"RIFF-not-really"
        assert isinstance(inside, EmbeddedResource) and isinstance(inside.resource, TextResourceContents)
        assert inside.resource.text == "inside"
        assert isinstance(link, ResourceLink) and link.uri == "text://hello"


@pytest.mark.anyio
async def test_failures_become_errors(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User()) as client:
        with pytest.raises(ToolError, match="this tool always fails"):
            await client.call_tool("fail", {"how": "said"})
        with pytest.raises(ToolError, match="a crash" if peer.is_typescript else "Error executing tool fail"):
            await client.call_tool("fail", {"how": "crashed"})
        with pytest.raises(MCPError, match="no-such-tool"):
            await client.call_tool("no-such-tool")
        with pytest.raises(MCPError, match="expected number" if peer.is_typescript else "valid integer"):
            await client.call_tool("add", {"a": "one", "b": 2})
        refused = await client.call_tool("fail", {"how": "said"}, raise_on_error=False)
        assert refused.is_error
        with pytest.raises(MCPError, match="text://missing") as missing:
            await client.read_resource("text://missing")
        # 1.30.0 answers with the code 0, whatever the specification says.
        assert missing.value.error_code == (0 if peer.version.startswith("1.") else -32602)
        with pytest.raises(MCPError):
            await client.get_prompt("no-such-prompt")


@pytest.mark.anyio
async def test_progress_arrives_while_the_call_runs(peer: Peer, log: Talk) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    async with connected(peer, log, User()) as client:
        result = await client.call_tool("count", {"to": 3}, on_progress=lambda *told: seen.append(told))
    assert result.text == "counted to 3"
    assert [told[:2] for told in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [told[2] for told in seen] == ["counted 1", "counted 2", "counted 3"]


@pytest.mark.anyio
@rule(50)
async def test_a_call_given_up_is_withdrawn(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User()) as client:
        runs = anyio.Event()
        async with anyio.create_task_group() as group:

            async def hang() -> None:
                await client.call_tool("hang", on_progress=lambda *_: runs.set())

            group.start_soon(hang)
            await runs.wait()
            group.cancel_scope.cancel()
        assert (await client.call_tool("withdrawals")).text == "withdrawn"
    hangs = [line.message for line in log.lines() if line.message.get("params", {}).get("name") == "hang"]
    cancelled = [line for line in log.lines() if line.message.get("method") == "notifications/cancelled"]
    if peer.is_modern and peer.transport == "http":
        # There a call is withdrawn by closing its stream.
        [hang] = [each for each in log.exchanges() if each.headers.get("mcp-name") == "hang"]
        assert hang.ended_by == "client" and not cancelled
    else:
        assert [line.message["params"]["requestId"] for line in cancelled] == [hangs[0]["id"]]


@pytest.mark.anyio
@rule(153, 157, 161)
async def test_the_user_and_the_model_answer(peer: Peer, log: Talk) -> None:
    user = User()
    async with connected(peer, log, user) as client:
        if peer.revision >= "2025-06-18":
            assert (await client.call_tool("ask_user")).text == "Ada 30"  # the age is the schema's default
            assert user.forms[0].message == "Who are you?"
            user.answer = None
            assert (await client.call_tool("ask_user")).text == "decline"
            user.answer = "cancel"
            assert (await client.call_tool("ask_user")).text == "cancel"
            assert (await client.call_tool("ask_all")).text == "cancel deep-thought 1"
        assert (await client.call_tool("ask_model")).text == "deep-thought says 42"
        asked = user.samples[-1]
        assert asked.max_tokens == 17 and asked.system_prompt == "Be brief."
        assert asked.messages[0].content.text == "What is the answer?"


@pytest.mark.anyio
@rule(139)
async def test_roots_are_told(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User()) as client:
        assert (await client.call_tool("ask_roots")).text == "file:///tmp/project"


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["mcp2", "mcp2-http"])
async def test_state_goes_round_and_back(name: str, log: Talk) -> None:
    user = User()
    async with connected(PEERS[name], log, user) as client:
        assert (await client.call_tool("ask_by_hand")).text == "after two rounds: ['round-2']"
    assert [form.message for form in user.forms] == ["Round 1", "Round 2"]


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["mcp1", "mcp1-http", "mcp1-sse", "npm-sdk-http", "npm-sdk-sse"])
@rule(25)
async def test_the_server_may_ping(name: str, log: Talk) -> None:
    async with connected(PEERS[name], log, User()) as client:
        assert (await client.call_tool("check_client")).text == "alive"


@pytest.mark.anyio
async def test_resources_prompts_and_completions(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User()) as client:
        assert (await client.read_resource("text://hello")).text == "hello"
        assert (await client.read_resource("blob://pixel")).blob == PIXEL
        assert await client.read_resource("watched://counter") == {"counter": 0}
        assert (await client.read_resource("greet://you")).text == "hello you"
        assert (await client.get_prompt("summarize", {"text": "all"})).messages[0].content.text == "Summarize: all"
        review = (await client.get_prompt("review", {"code": "pass"})).messages
        assert [message.role for message in review] == ["user", "user", "assistant"]
        assert isinstance(review[1].content, ImageContent) and review[1].content.decode() == PIXEL
        assert (await client.complete("language", "p", prompt="review")).values == ["perl", "python"]
        if peer.revision >= "2025-06-18":
            known = await client.complete("language", "p", prompt="review", context={"code": "pass"})
            assert known.values == ["python-of-the-code"]
        assert (await client.complete("name", "x", template="greet://{name}")).values == ["x0", "x1", "x2"]


@pytest.mark.anyio
@rule(24)
async def test_logs_are_heard(peer: Peer, log: Talk) -> None:
    user = User()
    # The Python ones declare no logging to handshake clients, which then cannot choose a level.
    declares = peer.is_typescript
    expected: list[Any] = [("warning", "careful", "foreign.speak"), ("error", "trouble", None)]
    if not (peer.is_modern or declares):
        expected = [("debug", "a detail", None), ("info", {"what": "news"}, None), *expected]
    async with connected(peer, log, user, log_level="warning") as client:
        await client.call_tool("speak")
        with anyio.fail_after(5):
            await user.hears(len(expected))
    said = [(entry.level, entry.data, entry.logger) for entry in user.logs]
    # The news are not said on the stream of the call: over HTTP they may come before, between and after the others.
    assert sorted(said, key=repr) == sorted(expected, key=repr)
    assert [each for each in said if each[0] != "info"] == [each for each in expected if each[0] != "info"]
    assert ("logging/setLevel" in wire.methods(log.lines(), "client")) == declares


@pytest.mark.anyio
@rule(134)
async def test_pages_are_followed_whatever_the_cursor(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User(), "lowlevel") as client:
        names = [tool.name for tool in await client.list_tools()]
    assert names == ["touch", "grow", "levels", "watched", "roots_changed", "speak"]
    lists = [line.message.get("params", {}) for line in log.lines() if line.message.get("method") == "tools/list"]
    # An empty cursor, as the 2.x server gives, is a cursor.
    second = "" if peer.version.startswith("2.") else "2"
    assert [params.get("cursor") for params in lists] == [None, second, "last"]


@pytest.mark.anyio
async def test_changes_are_heard_until_nobody_listens(peer: Peer, log: Talk) -> None:
    user = User()
    async with connected(peer, log, user, "lowlevel") as client:
        async with client.listen(tools=True, prompts=True, resources=True, uris=["watched://a"]) as changes:
            if not peer.is_modern:
                assert (await client.call_tool("watched")).text == "watched://a"
            await client.call_tool("touch")
            await client.call_tool("grow")
            seen = [await anext(changes) for _ in range(4)]
        assert {change.kind for change in seen} == {
            ChangeKind.RESOURCE, ChangeKind.TOOLS, ChangeKind.PROMPTS, ChangeKind.RESOURCES
        }  # fmt: skip
        assert [change.uri for change in seen if change.kind is ChangeKind.RESOURCE] == ["watched://a"]
        assert (await client.call_tool("watched")).text == ""
    assert [change.kind for change in user.changes] == [change.kind for change in seen]


@pytest.mark.anyio
async def test_a_level_is_set_where_logging_is_declared(peer: Peer, log: Talk) -> None:
    user = User()
    async with connected(peer, log, user, "lowlevel", log_level="warning") as client:
        await client.set_log_level("error")
        assert (await client.call_tool("levels")).text == ("" if peer.is_modern else "warning error")
        await client.set_log_level("debug")
        await client.call_tool("speak")
        await client.call_tool("levels")  # leaves none behind for the next client
    assert [entry.data for entry in user.logs] == ["at debug", "at warning"]


@pytest.mark.anyio
@rule(139)
async def test_changed_roots_are_announced(peer: Peer, log: Talk) -> None:
    async with connected(peer, log, User(), "lowlevel") as client:
        client.roots_changed()
        if not peer.is_modern:
            assert (await client.call_tool("roots_changed")).text == "done"
    assert ("notifications/roots/list_changed" in wire.methods(log.lines(), "client")) != peer.is_modern


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_it_is_the_same_on_trio(peer: Peer, log: Talk) -> None:
    user = User()
    async with connected(peer, log, user) as client:
        assert client.protocol_version == peer.revision
        assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
        assert (await client.call_tool("count", {"to": 2}, on_progress=lambda *_: None)).text == "counted to 2"
        assert (await client.call_tool("ask_model")).text == "deep-thought says 42"
        assert (await client.read_resource("greet://you")).text == "hello you"


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["mcp1", "mcp1-http", "npm-sdk-http"])
async def test_the_era_found_once_is_not_looked_for_again(name: str, log: Talk) -> None:
    """The second connection to the same server begins with the handshake."""
    peer = PEERS[name]
    async with connected(peer, log, User()) as client:
        await client.ping()
    assert wire.methods(log.lines(), "client")[:2] == [PROBE, HELLO]
    log.forget()
    async with connected(peer, log, User()) as client:
        await client.ping()
    assert wire.methods(log.lines(), "client")[0] == HELLO


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", ["mcp2-http", "mcp1-http", "npm-sdk-http", "mcp2-sse", "mcp1-sse", "npm-sdk-sse"])
async def test_a_url_is_enough(name: str, log: Talk) -> None:
    """What is spoken there is found by asking."""
    peer = PEERS[name]
    url = log.config(peer, "server")["url"]
    with anyio.fail_after(SECONDS):
        async with MCPClient(url) as client:
            assert client.protocol_version == peer.revision
            assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
    refused = [each.status for each in log.exchanges() if each.method == "POST" and each.status not in (200, 202)]
    if peer.transport == "sse":
        assert refused in ([405, 405], [404, 404])  # to neither era does anybody take what is posted there
    else:
        assert refused in ([], [400])  # the probe, where only the handshake is spoken


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["mcp2-http", "mcp1-http", "npm-sdk-http"])
async def test_a_base_url_will_do(name: str, log: Talk) -> None:
    base = log.config(PEERS[name], "server")["url"].removesuffix("mcp")
    with anyio.fail_after(SECONDS):
        async with MCPClient(base) as client:
            assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
    asked = log.exchanges()
    assert asked[0].target == "/" and asked[0].status == 404 and asked[-1].target == "/mcp"


@pytest.mark.anyio
@pytest.mark.parametrize("revision", [MODERN, "2025-11-25"])
async def test_the_second_npm_sdk_serves_both_eras_without_sessions(revision: str, log: Talk) -> None:
    peer = Peer("npm-server", None if revision == MODERN else HANDSHAKES, revision, (), "http")
    user = User()
    async with connected(peer, log, user) as client:
        assert client.protocol_version == revision
        assert client.server_info.name == "foreign" and client.instructions == "Written by somebody else."
        assert [tool.name for tool in await client.list_tools()] == ["add", "forecast", "fail"]
        assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
        weather = await client.call_tool("forecast", {"city": "Kailash"})
        assert weather == {"city": "Kailash", "degrees": 21.5, "sunny": True}
        with pytest.raises(ToolError, match="this tool always fails"):
            await client.call_tool("fail")
        assert (await client.read_resource("text://hello")).text == "hello"
        filled = await client.get_prompt("summarize", {"text": "all"})
        assert filled.messages[0].content.text == "Summarize: all"
    assert not any("mcp-session-id" in each.response_headers for each in log.exchanges())
