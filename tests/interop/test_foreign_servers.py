"""Our client uses servers nobody here wrote: `mcp` 2.3.0 in both eras, and `mcp` 1.30.0."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from .peers import mcp_python

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

    @property
    def is_modern(self) -> bool:
        return self.revision == MODERN


PROBE, HELLO = "server/discover", "initialize"
PEERS = {
    "mcp2": Peer("2.3.0", None, MODERN, (PROBE,)),
    "mcp2-legacy": Peer("2.3.0", HANDSHAKES, "2025-11-25", (HELLO, "notifications/initialized")),
    "mcp2-2025-06-18": Peer("2.3.0", ("2025-06-18",), "2025-06-18", (HELLO, "notifications/initialized")),
    "mcp1": Peer("1.30.0", None, "2025-11-25", (PROBE, HELLO, "notifications/initialized")),
    "mcp1-2024-11-05": Peer("1.30.0", ("2024-11-05",), "2024-11-05", (HELLO, "notifications/initialized")),
}


class User:
    """Whoever sits before our client."""

    def __init__(self) -> None:
        self.forms: list[ElicitParams] = []
        self.samples: list[CreateMessageParams] = []
        self.logs: list[Log] = []
        self.changes: list[Change] = []
        self.answer: Any = {"name": "Ada"}

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


@asynccontextmanager
async def connected(
    peer: Peer, log: Path, user: User, script: str = "server", **options: Any
) -> AsyncIterator[MCPClient]:
    """Connect through the tee; afterwards, check what our client wrote."""
    server = wire.SCRIPTS / f"{script}_mcp{peer.version[0]}.py"
    command, *args = wire.through_tee(log, mcp_python(peer.version), "-W", "ignore", str(server))
    client = MCPClient(
        # No verdict by silence: a slow machine would make it one.
        {"command": command, "args": args, "probe_timeout": 30.0},
        revisions=peer.revisions,
        elicitation_handler=user.fill_in,
        sampling_handler=user.think,
        roots=["/tmp/project"],
        log_handler=user.logs.append,
        change_handler=user.changes.append,
        **options,
    )
    with anyio.fail_after(SECONDS):
        async with client:
            yield client
    wire.check_client(wire.read(log), peer.revision)


@pytest.mark.anyio
@rule(17, 18, 22, 26, 28, 29, 47, 48, 52, 53)
async def test_the_era_is_found_and_everything_listed(peer: Peer, log: Path) -> None:
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
    assert tuple(wire.methods(wire.read(log), "client")[: len(peer.first)]) == peer.first


@pytest.mark.anyio
async def test_tools_give_content_of_each_type(peer: Peer, log: Path) -> None:
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
async def test_failures_become_errors(peer: Peer, log: Path) -> None:
    async with connected(peer, log, User()) as client:
        with pytest.raises(ToolError, match="this tool always fails"):
            await client.call_tool("fail", {"how": "said"})
        with pytest.raises(ToolError, match="Error executing tool fail"):
            await client.call_tool("fail", {"how": "crashed"})
        with pytest.raises(MCPError, match="no-such-tool"):
            await client.call_tool("no-such-tool")
        with pytest.raises(MCPError, match="valid integer"):
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
async def test_progress_arrives_while_the_call_runs(peer: Peer, log: Path) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    async with connected(peer, log, User()) as client:
        result = await client.call_tool("count", {"to": 3}, on_progress=lambda *told: seen.append(told))
    assert result.text == "counted to 3"
    assert [told[:2] for told in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [told[2] for told in seen] == ["counted 1", "counted 2", "counted 3"]


@pytest.mark.anyio
@rule(50)
async def test_a_call_given_up_is_withdrawn(peer: Peer, log: Path) -> None:
    async with connected(peer, log, User()) as client:
        runs = anyio.Event()
        async with anyio.create_task_group() as group:

            async def hang() -> None:
                await client.call_tool("hang", on_progress=lambda *_: runs.set())

            group.start_soon(hang)
            await runs.wait()
            group.cancel_scope.cancel()
        assert (await client.call_tool("withdrawals")).text == "withdrawn"
    [cancelled] = [line for line in wire.read(log) if line.message.get("method") == "notifications/cancelled"]
    hangs = [line.message for line in wire.read(log) if line.message.get("params", {}).get("name") == "hang"]
    assert cancelled.message["params"]["requestId"] == hangs[0]["id"]


@pytest.mark.anyio
@rule(153, 157, 161)
async def test_the_user_and_the_model_answer(peer: Peer, log: Path) -> None:
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
async def test_roots_are_told(peer: Peer, log: Path) -> None:
    async with connected(peer, log, User()) as client:
        assert (await client.call_tool("ask_roots")).text == "file:///tmp/project"


@pytest.mark.anyio
async def test_state_goes_round_and_back(log: Path) -> None:
    user = User()
    async with connected(PEERS["mcp2"], log, user) as client:
        assert (await client.call_tool("ask_by_hand")).text == "after two rounds: ['round-2']"
    assert [form.message for form in user.forms] == ["Round 1", "Round 2"]


@pytest.mark.anyio
@rule(25)
async def test_the_server_may_ping(log: Path) -> None:
    async with connected(PEERS["mcp1"], log, User()) as client:
        assert (await client.call_tool("check_client")).text == "alive"


@pytest.mark.anyio
async def test_resources_prompts_and_completions(peer: Peer, log: Path) -> None:
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
async def test_logs_are_heard(peer: Peer, log: Path) -> None:
    user = User()
    async with connected(peer, log, user, log_level="warning") as client:
        await client.call_tool("speak")
    said = [(entry.level, entry.data, entry.logger) for entry in user.logs]
    # These servers declare no logging to handshake clients, which then cannot choose a level.
    everything = [("debug", "a detail", None), ("info", {"what": "news"}, None)]
    assert said[-2:] == [("warning", "careful", "foreign.speak"), ("error", "trouble", None)]
    assert said[:-2] == ([] if peer.is_modern else everything)
    assert "logging/setLevel" not in wire.methods(wire.read(log), "client")


@pytest.mark.anyio
@rule(134)
async def test_pages_are_followed_whatever_the_cursor(peer: Peer, log: Path) -> None:
    async with connected(peer, log, User(), "lowlevel") as client:
        names = [tool.name for tool in await client.list_tools()]
    assert names == ["touch", "grow", "levels", "watched", "roots_changed", "speak"]
    lists = [line.message.get("params", {}) for line in wire.read(log) if line.message.get("method") == "tools/list"]
    # An empty cursor, as the 2.x server gives, is a cursor.
    second = "" if peer.version.startswith("2.") else "2"
    assert [params.get("cursor") for params in lists] == [None, second, "last"]


@pytest.mark.anyio
async def test_changes_are_heard_until_nobody_listens(peer: Peer, log: Path) -> None:
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
async def test_a_level_is_set_where_logging_is_declared(peer: Peer, log: Path) -> None:
    user = User()
    async with connected(peer, log, user, "lowlevel", log_level="warning") as client:
        await client.set_log_level("error")
        assert (await client.call_tool("levels")).text == ("" if peer.is_modern else "warning error")
        await client.set_log_level("debug")
        await client.call_tool("speak")
    assert [entry.data for entry in user.logs] == ["at debug", "at warning"]


@pytest.mark.anyio
@rule(139)
async def test_changed_roots_are_announced(peer: Peer, log: Path) -> None:
    async with connected(peer, log, User(), "lowlevel") as client:
        client.roots_changed()
        if not peer.is_modern:
            assert (await client.call_tool("roots_changed")).text == "done"
    assert ("notifications/roots/list_changed" in wire.methods(wire.read(log), "client")) != peer.is_modern


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_it_is_the_same_on_trio(peer: Peer, log: Path) -> None:
    user = User()
    async with connected(peer, log, user) as client:
        assert client.protocol_version == peer.revision
        assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"
        assert (await client.call_tool("count", {"to": 2}, on_progress=lambda *_: None)).text == "counted to 2"
        assert (await client.call_tool("ask_model")).text == "deep-thought says 42"
        assert (await client.read_resource("greet://you")).text == "hello you"


@pytest.mark.anyio
async def test_the_era_found_once_is_not_looked_for_again(log: Path) -> None:
    """The second connection to the same server begins with the handshake."""
    peer = PEERS["mcp1"]
    async with connected(peer, log, User()) as client:
        await client.ping()
    assert wire.methods(wire.read(log), "client")[:2] == [PROBE, HELLO]
    await anyio.Path(log).unlink()
    async with connected(peer, log, User()) as client:
        await client.ping()
    assert wire.methods(wire.read(log), "client")[0] == HELLO
