"""Clients nobody here wrote use our server, over stdio, Streamable HTTP, HTTP+SSE and WebSocket.

`mcp` 2.3.0 in both eras, `mcp` 1.30.0 in each revision it can parse, and both lines of the npm SDK's client.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.requirements import rule

from . import webwire, wire
from .conftest import our_command, run_foreign_client
from .peers import mcp_python, node_command
from .processes import our_server
from .webtee import Exchange, webtee

TOOLS = [
    "add", "forecast", "numbers", "media", "fail", "count", "hang", "withdrawals", "ask_user", "ask_model", "ask_roots",
    "ask_all", "speak", "whoami", "touch", "grow",
]  # fmt: skip
LIST = "tools/list"
CHANGES = [
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/tools/list_changed",
]


NPM = {"npm-sdk": "client_sdk.mjs", "npm-client": "client_sdk2.mjs"}


class Peer(NamedTuple):
    """One way to connect."""

    client: str
    argument: str
    """The client's mode (2.x), or the revision to ask for (1.x)."""
    revision: str
    """What must come out."""
    transport: str = "stdio"

    def command(self) -> list[str]:
        """Return the command line of the client, but for its arguments."""
        if self.client in NPM:
            return node_command(NPM[self.client])
        extra = "ws" if self.transport == "websocket" else ""
        return [mcp_python(self.client, extra), "-W", "ignore", str(wire.SCRIPTS / f"client_mcp{self.client[0]}.py")]


PEERS = {
    "mcp2-auto": Peer("2.3.0", "auto", "2026-07-28"),
    "mcp2-pinned": Peer("2.3.0", "2026-07-28", "2026-07-28"),
    "mcp2-legacy": Peer("2.3.0", "legacy", "2025-11-25"),
    "mcp1": Peer("1.30.0", "own", "2025-11-25"),
    "mcp1-2025-06-18": Peer("1.30.0", "2025-06-18", "2025-06-18"),
    "mcp1-2025-03-26": Peer("1.30.0", "2025-03-26", "2025-03-26"),
    "mcp1-2024-11-05": Peer("1.30.0", "2024-11-05", "2024-11-05"),
    "mcp1-unknown": Peer("1.30.0", "1999-01-01", "2025-11-25"),
    "mcp2-auto-http": Peer("2.3.0", "auto", "2026-07-28", "http"),
    "mcp2-pinned-http": Peer("2.3.0", "2026-07-28", "2026-07-28", "http"),
    "mcp2-legacy-http": Peer("2.3.0", "legacy", "2025-11-25", "http"),
    "mcp1-http": Peer("1.30.0", "own", "2025-11-25", "http"),
    "mcp1-2025-06-18-http": Peer("1.30.0", "2025-06-18", "2025-06-18", "http"),
    "mcp1-2025-03-26-http": Peer("1.30.0", "2025-03-26", "2025-03-26", "http"),
    "mcp1-unknown-http": Peer("1.30.0", "1999-01-01", "2025-11-25", "http"),
    "npm-sdk-http": Peer("npm-sdk", "own", "2025-11-25", "http"),
    "npm-client-auto-http": Peer("npm-client", "auto", "2026-07-28", "http"),
    "npm-client-pinned-http": Peer("npm-client", "2026-07-28", "2026-07-28", "http"),
    "npm-client-legacy-http": Peer("npm-client", "legacy", "2025-11-25", "http"),
    "mcp2-legacy-sse": Peer("2.3.0", "legacy", "2025-11-25", "sse"),
    "mcp1-sse": Peer("1.30.0", "own", "2025-11-25", "sse"),
    "mcp1-2024-11-05-sse": Peer("1.30.0", "2024-11-05", "2024-11-05", "sse"),
    "mcp1-ws": Peer("1.30.0", "own", "2025-11-25", "websocket"),
    "mcp1-2025-06-18-ws": Peer("1.30.0", "2025-06-18", "2025-06-18", "websocket"),
    "mcp1-2024-11-05-ws": Peer("1.30.0", "2024-11-05", "2024-11-05", "websocket"),
    "npm-sdk-sse": Peer("npm-sdk", "own", "2025-11-25", "sse"),
}


class Run(NamedTuple):
    """What one client said it saw, and what was on the wire."""

    peer: Peer
    report: dict[str, Any]
    lines: list[wire.Line]
    exchanges: list[Exchange]

    @property
    def is_modern(self) -> bool:
        return self.peer.revision == "2026-07-28"

    @property
    def is_pinned(self) -> bool:
        """Whether the client starts to use the server without having asked it anything."""
        return self.peer.argument == "2026-07-28" and not self.is_second_npm

    @property
    def is_second_npm(self) -> bool:
        """Whether it is the second line of the npm SDK, which does some things by itself."""
        return self.peer.client == "npm-client"

    @property
    def has_elicitation(self) -> bool:
        return self.peer.revision >= "2025-06-18"

    def text(self, step: str) -> str:
        """Return the text of a tool's result."""
        return "".join(block.get("text", "") for block in self.report[step]["content"])


@pytest.fixture(scope="module", params=PEERS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    peer = PEERS[request.param]
    if peer.transport == "stdio":
        log: Path = tmp_path_factory.mktemp(request.param) / "wire.jsonl"
        report = run_foreign_client(peer.command(), peer.argument, our_command(log))
        return Run(peer, report, wire.read(log), [])
    path = {"http": "/mcp", "sse": "/sse", "websocket": "/ws"}[peer.transport]
    with our_server(peer.transport) as server, webtee(server.port()) as tee:
        url = tee.url(path)
        if peer.transport == "websocket":
            url = url.replace("http", "ws", 1)
        report = run_foreign_client(peer.command(), peer.argument, {peer.transport: url})
        return Run(peer, report, tee.lines(), tee.exchanges())


@rule(19, 20, 21)
def test_the_revision_asked_for_is_the_revision_spoken(run: Run) -> None:
    report = run.report
    assert report["revision"] == run.peer.revision
    if not run.is_pinned:
        assert report["server_info"]["name"] == "interop"
        assert report["server_info"]["version"] == "1.2.3"
        assert report["instructions"] == "One of everything."
        assert report["capabilities"].keys() >= {"logging", "prompts", "resources", "tools"}
        assert ("completions" in report["capabilities"]) == (run.peer.revision > "2024-11-05")
    first = wire.methods(run.lines, "client")[0]
    assert first == ("tools/list" if run.is_pinned else "server/discover" if run.is_modern else "initialize")


@rule(4, 5, 6, 7, 9, 15, 16, 27, 46, 49, 51)
def test_what_the_server_writes_is_messages_one_a_line(run: Run) -> None:
    wire.check_server(run.lines, run.peer.revision)
    if run.peer.transport == "stdio":
        assert "a stray print, which must not reach the pipe" in run.report["stderr"]
    elif run.peer.transport == "http":
        webwire.check_server(run.exchanges, run.peer.revision)
    elif run.peer.transport == "sse":
        webwire.check_sse_server(run.exchanges)


@rule(134)
def test_lists_come_in_pages(run: Run) -> None:
    tools = run.report["tools"]
    assert [tool["name"] for tool in tools["items"]] == TOOLS
    # Some follow the cursors themselves.
    asked = [line.message.get("params", {}).get("cursor") for line in run.lines if line.message.get("method") == LIST]
    assert tools["pages"] == (1 if run.is_second_npm else 4)
    assert asked[0] is None and len(set(asked)) == 4
    assert [item["uri"] for item in run.report["resources"]["items"]] == [
        "text://hello", "blob://pixel", "watched://counter"
    ]  # fmt: skip
    templates = run.report["templates"]["items"]
    assert [item["uriTemplate"] for item in templates] == ["greet://{name}", "sum://{a}/{b}"]
    assert [item["name"] for item in run.report["prompts"]["items"]] == ["summarize", "review"]
    assert run.report["prompts"]["items"][1]["arguments"] == [
        {"name": "code", "required": True},
        {"name": "language", "required": False},
    ]
    add = tools["items"][0]
    assert add["inputSchema"]["properties"]["a"] == {"type": "integer", "description": "the first"}
    assert ("title" in add) == (run.peer.revision >= "2025-06-18")
    assert ("annotations" in add) == (run.peer.revision >= "2025-03-26")


def test_structured_content_goes_to_whoever_can_read_it(run: Run) -> None:
    assert run.text("add") == "3"
    assert json.loads(run.text("forecast")) == {"city": "Kailash", "degrees": 21.5, "sunny": True}
    assert json.loads(run.text("numbers")) == [0, 1, 2]
    whole = run.report["forecast"].get("structuredContent")
    assert whole == (json.loads(run.text("forecast")) if run.peer.revision >= "2025-06-18" else None)
    # Before 2026-07-28 only an object can be structured content.
    assert run.report["add"].get("structuredContent") == (3 if run.is_modern else None)
    assert run.report["numbers"].get("structuredContent") == ([0, 1, 2] if run.is_modern else None)
    said = json.loads(run.text("whoami"))
    assert said["revision"] == run.peer.revision and said["name"].startswith("mcp-")


def test_content_of_each_type_arrives(run: Run) -> None:
    kinds = [block["type"] for block in run.report["media"]["content"]]
    if run.peer.revision >= "2025-06-18":
        assert kinds == ["text", "image", "audio", "resource", "resource_link"]
    else:
        # What the revision has no block for becomes one it has.
        assert kinds[:2] == ["text", "image"] and "resource_link" not in kinds
        assert ("audio" in kinds) == (run.peer.revision >= "2025-03-26")
    blocks = {block["type"]: block for block in run.report["media"]["content"]}
    assert blocks["image"]["data"] == "iVBORw0KGgotbm90LXJlYWxseQ=="
    assert run.report["media"]["content"][0]["annotations"] == {"audience": ["user"], "priority": 0.5}


def test_failures_carry_their_code(run: Run) -> None:
    assert run.report["said"]["isError"] is True and run.text("said") == "this tool always fails"
    assert run.report["crashed"]["isError"] is True and "secret" not in run.text("crashed")
    assert run.report["unknown_tool"]["code"] == -32602
    if run.peer.revision >= "2025-11-25":
        assert run.report["bad_arguments"]["isError"] is True and "'a'" in run.text("bad_arguments")
    else:
        assert run.report["bad_arguments"]["code"] == -32602
    # Whatever came, the second line of the npm SDK shows the code of its newest revision.
    assert run.report["missing_resource"]["code"] == (-32602 if run.is_modern or run.is_second_npm else -32002)
    assert run.report["missing_resource"]["data"] == {"uri": "text://missing"}
    assert run.report["unknown_prompt"]["code"] == -32602
    assert run.report["prompt_without_argument"]["code"] == -32602


def test_progress_arrives_in_order(run: Run) -> None:
    has_messages = run.peer.revision >= "2025-03-26"
    told = [[number, 3, f"counted {number}" if has_messages else None] for number in (1, 2, 3)]
    if run.peer.client == "npm-sdk" and run.peer.transport == "sse":
        # This client forgets the call on its answer before it looks at progress that arrived together with it.
        sent = [line.message["params"] for line in run.lines if line.message.get("method") == "notifications/progress"]
        assert [[one["progress"], one.get("total"), one.get("message")] for one in sent[:3]] == told
    else:
        assert run.report["count"]["progress"] == told
    assert run.report["count"]["result"]["content"][0]["text"] == "counted to 3"


@rule(24, 153, 157)
def test_the_user_is_asked_where_the_revision_can_ask(run: Run) -> None:
    asked = [params for kind, params in run.report["questions"] if kind == "elicitation"]
    if not run.has_elicitation:
        # The client declared it, but the revision has no such request: the tool fails, the protocol does not.
        assert not asked and run.report["ask_user"]["isError"] is True
        assert "did not declare elicitation" in run.text("ask_user")
        return
    assert run.text("ask_user") == "Ada 36 free"  # the plan is the schema's default
    assert run.text("ask_all") == "accept deep-thought decline"
    assert [params["message"] for params in asked] == ["Who are you?", "Who are you?", "Really, Ada?"]
    assert asked[0]["requestedSchema"]["required"] == ["name"]


@rule(139, 161)
def test_the_model_and_the_roots_are_asked_for(run: Run) -> None:
    assert run.text("ask_model") == "deep-thought says 42"
    assert json.loads(run.text("ask_roots")) == ["file:///tmp/project"]
    asked = [params for kind, params in run.report["questions"] if kind == "sampling"]
    assert asked[0] == {
        "messages": [{"role": "user", "content": {"type": "text", "text": "What is the answer?"}}],
        "systemPrompt": "Be brief.",
        "temperature": 0.5,
        "maxTokens": 17,
    }


@rule(49)
def test_questions_are_rounds_or_requests(run: Run) -> None:
    if not run.is_modern:
        model, form, roots = "sampling/createMessage", "elicitation/create", "roots/list"
        # The last tool asks the user and the model at once, in either order, then the user again.
        asked = [form, model, roots, form, model, form] if run.has_elicitation else [model, roots, model]
        used = [method for method in wire.methods(run.lines, "server") if not method.startswith("notifications/")]
        assert used[:3] + sorted(used[3:5]) + used[5:] == asked
        return
    rounds = [
        sorted(line.message["result"]["inputRequests"])
        for line in run.lines
        if line.sender == "server" and line.message.get("result", {}).get("resultType") == "input_required"
    ]
    both = ["elicitation-1", "sampling-1"]
    assert rounds == [["elicitation-1"], ["sampling-1"], ["roots-1"], both, ["elicitation-2"]]


def test_resources_are_read(run: Run) -> None:
    [text] = run.report["read_text"]["contents"]
    assert text == {"uri": "text://hello", "mimeType": "text/plain", "text": "hello"}
    [blob] = run.report["read_blob"]["contents"]
    assert blob == {"uri": "blob://pixel", "mimeType": "image/png", "blob": "iVBORw0KGgotbm90LXJlYWxseQ=="}
    [made] = run.report["read_template"]["contents"]
    assert made["uri"] == "sum://40/2" and json.loads(made["text"]) == {"sum": 42}


def test_prompts_are_filled_in(run: Run) -> None:
    assert run.report["summarize"]["messages"] == [
        {"role": "user", "content": {"type": "text", "text": "Summarize: all"}}
    ]
    review = run.report["review"]["messages"]
    assert [message["role"] for message in review] == ["user", "user", "assistant"]
    assert review[0]["content"]["text"] == "Review this python: pass"
    assert review[1]["content"]["mimeType"] == "image/png"


def test_arguments_are_completed(run: Run) -> None:
    assert run.report["complete_prompt"]["completion"]["values"] == ["perl", "python"]
    # `context` came with 2025-06-18; an older peer that sends it all the same does no harm.
    assert run.report["complete_in_context"]["completion"]["values"] in (["python-of-the-code"], ["perl", "python"])
    names = run.report["complete_template"]["completion"]
    assert len(names["values"]) == 100 and names["total"] == 150 and names["hasMore"] is True


def test_logs_come_from_the_level_asked_for(run: Run) -> None:
    assert run.report["logs"] == [
        {"level": "warning", "logger": "interop.speak", "data": "careful"},
        {"level": "error", "data": "trouble"},
    ]
    heard = [item for item in run.report["heard"] if item["method"] == "notifications/message"]
    assert len(heard) == 2


@rule(25)
def test_a_ping_is_answered_where_there_is_one(run: Run) -> None:
    if run.is_modern and run.is_second_npm:
        assert run.report["ping"]["raised"] == "SdkError"  # it does not even ask
        return
    missing = {"code": -32601, "message": "Method not found", "data": None}
    assert run.report["ping"] == (missing if run.is_modern else {})


@rule(51)
def test_a_withdrawn_call_ends_and_is_not_answered(run: Run) -> None:
    step = run.report["cancel"]
    result = step["withdrawals"] if "withdrawals" in step else step
    assert step.get("ended", []) == []
    [why] = json.loads(result["content"][0]["text"])
    cancelled = [
        line.message["params"]["requestId"]
        for line in run.lines
        if line.message.get("method") == "notifications/cancelled" and line.sender == "client"
    ]
    if run.is_modern and run.peer.transport == "http":
        # There a call is withdrawn by closing its stream.
        [hang] = [each for each in run.exchanges if each.headers.get("mcp-name") == "hang"]
        assert why == "connection closed" and hang.ended_by == "client"
        assert hang.message["id"] not in cancelled
        return
    assert why == "caller cancelled"
    answered = [line.message["id"] for line in run.lines if line.sender == "server" and "method" not in line.message]
    assert cancelled and not set(cancelled) & set(answered)


def test_a_session_ends_when_the_client_leaves(run: Run) -> None:
    if run.peer.transport != "http" or run.is_modern:
        assert not [each for each in run.exchanges if each.method == "DELETE"]
        return
    [end] = [each for each in run.exchanges if each.method == "DELETE"]
    assert end.status in (200, 204) and run.exchanges[-1] is end


def test_changes_are_heard_of(run: Run) -> None:
    changes = run.report["changes"]
    assert sorted({item["method"] for item in run.report["heard"] if item["method"] in CHANGES}) == CHANGES
    if run.is_modern:
        assert changes["honored"] == {
            "toolsListChanged": True,
            "promptsListChanged": True,
            "resourcesListChanged": True,
            "resourceSubscriptions": ["watched://counter"],
        }
        if run.is_second_npm:
            return  # its handlers are those of notifications, looked at above
        assert changes["events"] == [
            "PromptsListChanged()",
            "ResourceUpdated(uri='watched://counter')",
            "ResourcesListChanged()",
            "ToolsListChanged()",
        ]
    else:
        assert [item["params"]["uri"] for item in changes["updates"]] == ["watched://counter"]
        assert changes["after_unsubscribing"] == 0
    assert [tool["name"] for tool in run.report["tools_after"]["items"]] == [*TOOLS, "extra"]
