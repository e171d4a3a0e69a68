"""A real process on real pipes: bad input gets its documented answer, and nothing else is on the wire."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_client import load_servers
from kailash.mcp_server import MCPClient, MCPError, MCPErrorCode, SyncMCPClient
from kailash.mcp_server.errors import ConnectionError, TransportError
from tests.api.conftest import LAST_HANDSHAKE, NEWEST
from tests.api.raw import modern

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
rule = pytest.mark.rule

COMMAND = {"command": sys.executable, "args": ["-m", "tests.api.program"], "cwd": str(Path(__file__).parents[3])}
MEGABYTE = 1024 * 1024


class Wire:
    """The server's own pipes, line by line."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [COMMAND["command"], *COMMAND["args"]],
            cwd=COMMAND["cwd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def write(self, data: bytes | dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server ended"
        message: dict[str, Any] = json.loads(line)
        return message

    def ask(self, id: Any, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.write({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})
        return self.read()

    def initialize(self, revision: str = LAST_HANDSHAKE) -> None:
        info = {"name": "wire", "version": "1"}
        asked = {"protocolVersion": revision, "capabilities": {}, "clientInfo": info}
        assert self.ask("i", "initialize", asked)["result"]["protocolVersion"] == revision
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def is_alive(self) -> bool:
        """Tell whether the next good request is answered, in both eras."""
        call = {"name": "echo", "arguments": {"message": "still here"}}
        answers = [self.ask("ok-l", "tools/call", call), self.ask("ok-m", "tools/call", modern(call))]
        return all(answer["result"]["content"][0]["text"] == "still here" for answer in answers)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(10)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.process.kill()
    for stream in (wire.process.stdin, wire.process.stdout, wire.process.stderr):
        if stream is not None and not stream.closed:
            try:
                stream.close()
            except BrokenPipeError:
                continue
    wire.process.wait()


NEST = b"[" * 10_000 + b"]" * 10_000
LIMIT = 4 * MEGABYTE


def padded(size: int) -> bytes:
    """Return a good call of exactly `size` bytes."""
    head, tail = (
        b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"message":"',
        b'"}}}',
    )
    return head + b"x" * (size - len(head) - len(tail)) + tail


@rule(1, 6, 16)
@pytest.mark.parametrize(
    ("line", "code", "id"),
    [
        (b"not json", -32700, None),
        (b'"text"', -32600, None),
        (b"17", -32600, None),
        (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', -32600, 5),
        (b'{"id":5,"method":"ping"}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":5}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":7}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"no/such"}', -32601, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{}}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":[1]}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"none"}}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"initialize","params":{}}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":"\xff"}}', -32700, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":"\\ud800"}}', -32700, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":NaN}}', -32700, None),
        (b'{"jsonrpc":"2.0","id":5,"id":6,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":' + NEST + b"}}", -32700, None),
        (b"[]", -32600, None),
        (b'[{"jsonrpc":"2.0","id":5,"method":"ping"}]', -32600, None),
        (padded(LIMIT + 1), -32600, None),
        (padded(20 * MEGABYTE), -32600, None),
    ],
    ids=lambda value: value[:40].decode("ascii", "replace") if isinstance(value, bytes) else None,
)
def test_bad_input_gets_its_error_and_the_next_request_is_answered(wire: Wire, line: bytes, code: int, id: Any) -> None:
    wire.initialize()
    wire.write(line + b"\n")
    answer = wire.read()
    assert (
        answer["jsonrpc"] == "2.0" and answer["error"]["code"] == code and isinstance(answer["error"]["message"], str)
    )
    assert answer.get("id") == id and ("id" in answer) == (id is not None)
    assert wire.is_alive()


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_a_line_up_to_the_limit_is_served(wire: Wire, size: int) -> None:
    wire.initialize()
    wire.write(padded(size) + b"\n")
    assert len(wire.read()["result"]["content"][0]["text"]) > size - 200
    assert wire.is_alive()


@rule(7, 146)
def test_what_needs_no_answer_gets_none(wire: Wire) -> None:
    wire.initialize()
    for line in (
        b'{"jsonrpc":"2.0","id":99,"result":{}}',
        b'{"jsonrpc":"2.0","id":99,"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","method":"no/such"}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1234}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}',
        b"",
        b"   ",
    ):
        wire.write(line + b"\n")
    assert wire.is_alive()


def test_a_request_before_initialize_is_refused_and_ping_is_not(wire: Wire) -> None:
    assert wire.ask(1, "tools/list")["error"]["code"] == -32602
    assert wire.ask(2, "ping")["result"] == {}
    wire.initialize()
    assert wire.is_alive()


@rule(46)
def test_nothing_but_messages_is_on_the_wire(wire: Wire) -> None:
    wire.initialize()
    answer = wire.ask(1, "tools/call", {"name": "chatter", "arguments": {"message": "two\nlines"}})
    assert answer["result"]["content"][0]["text"] == "two\nlines"
    assert wire.is_alive()
    assert wire.end() == 0
    assert wire.process.stdout is not None and wire.process.stdout.read() == b""
    assert wire.process.stderr is not None
    said = wire.process.stderr.read()
    for stray in (b"a stray print", b"a stray write", b"a stray child"):
        assert stray in said


@rule(56)
def test_end_of_input_ends_the_server_after_everything_read_is_answered(wire: Wire) -> None:
    wire.initialize()
    for id in range(20):
        wire.write(
            {
                "jsonrpc": "2.0",
                "id": id,
                "method": "tools/call",
                "params": {"name": "slow_thread", "arguments": {"seconds": 0.05}},
            }
        )
    # The last one has no newline.
    wire.write(b'{"jsonrpc":"2.0","id":20,"method":"ping"}')
    assert wire.end() == 0
    assert wire.process.stdout is not None
    answers = [json.loads(line) for line in wire.process.stdout.read().splitlines()]
    assert sorted(answer["id"] for answer in answers) == list(range(21))
    assert all("result" in answer for answer in answers)


def test_a_reader_that_goes_away_ends_the_server(wire: Wire) -> None:
    wire.initialize()
    assert wire.process.stdout is not None
    wire.process.stdout.close()
    wire.write({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert wire.process.wait(10) == 1


@rule(51)
def test_nothing_is_written_for_a_cancelled_request(wire: Wire) -> None:
    wire.initialize()
    for id, params in ((1, {"name": "wait"}), (2, modern({"name": "wait"}))):
        wire.write({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
        if id == 1:
            assert wire.read()["method"] == "notifications/message"
        wire.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
    assert wire.is_alive()
    assert wire.end() == 0
    assert wire.process.stdout is not None and wire.process.stdout.read() == b""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_server_leaves_no_answer_half_written(wire: Wire, signal_number: int) -> None:
    wire.initialize()
    assert wire.is_alive()
    wire.process.send_signal(signal_number)
    assert wire.process.wait(10) == -signal_number


# Our client and our server, two processes


@pytest.fixture(params=[NEWEST, LAST_HANDSHAKE])
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_dead_child_says_how_it_died(revision: str) -> None:
    async with MCPClient(COMMAND, revisions=[revision]) as client:
        with pytest.raises(ConnectionError, match=r"exited with status 7") as lost:
            await client.call_tool("die", {"status": 7})
        assert "last words" in str(lost.value) and lost.value.retryable
        # The next call starts a new one.
        assert (await client.call_tool("echo", {"message": "again"})).data == "again"


async def test_calls_in_flight_fail_at_once_when_the_child_dies(revision: str) -> None:
    failures: list[BaseException] = []

    async def call(client: MCPClient) -> None:
        try:
            await client.call_tool("wait")
        except MCPError as error:
            failures.append(error)

    async with MCPClient(
        COMMAND, revisions=[revision], log_level="info", log_handler=lambda log: started.set()
    ) as client:
        started = anyio.Event()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(call, client)
                await started.wait()
                with pytest.raises(ConnectionError):
                    await client.call_tool("die", {"status": 3})
    assert len(failures) == 3 and all(isinstance(error, ConnectionError) for error in failures)


async def test_opening_and_closing_from_any_task_in_any_order(revision: str) -> None:
    one, two = MCPClient(COMMAND, revisions=[revision]), MCPClient(COMMAND, revisions=[revision])
    async with anyio.create_task_group() as group:
        group.start_soon(one.open)
        group.start_soon(two.open)
        group.start_soon(one.open)
    assert one.is_connected and two.is_connected
    async with anyio.create_task_group() as group:
        group.start_soon(one.aclose)
    assert (await two.call_tool("echo", {"message": "x"})).data == "x"
    await two.aclose()
    await two.aclose()
    assert not one.is_connected and not two.is_connected


async def test_children_inherit_an_allow_list_and_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    async with MCPClient({**COMMAND, "env": {"GIVEN": "1"}}) as client:
        names = (await client.call_tool("environment")).data
    assert "GIVEN" in names and "PATH" in names and "SECRET_TOKEN" not in names


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"command": "no-such-command-anywhere"}, "no-such-command-anywhere.*not found"),
        (
            {"command": sys.executable, "args": ["-c", "import sys; sys.exit('bad config')"]},
            "exited with status 1.*bad config",
        ),
        ({"transport": "stdio"}, '"command"'),
        ({"transport": "smoke", "command": "x"}, "smoke.*available: stdio"),
        ({"command": "x", "cwd": "/no/such/folder"}, "not a directory"),
    ],
)
async def test_an_unreachable_server_says_connection_and_why(config: dict[str, Any], match: str) -> None:
    client = MCPClient(config)
    with pytest.raises(TransportError, match="(?s)" + match) as unreachable:
        await client.open()
    assert "connection" in str(unreachable.value).lower()
    if "cwd" in config or "transport" in config:
        report = client.validate()
        assert report["valid"] is False and report["problems"]


@rule(52, 53)
@pytest.mark.parametrize(
    "reaction",
    [
        "answer({'error': {'code': -32601, 'message': 'x'}})",
        "answer({'error': {'code': -32602, 'message': 'x'}})",
        "answer({'error': {'code': 0, 'message': 'x'}})",
        "answer({'result': {}})",
        "pass",
        "sys.exit(1)",
    ],
    ids=["method not found", "invalid params", "odd code", "odd result", "silence", "exit"],
)
async def test_old_servers_react_in_many_ways_to_the_probe(reaction: str, tmp_path: Path) -> None:
    script = tmp_path / "old.py"
    script.write_text(
        f"""
import json, sys
def answer(body):
    print(json.dumps({{'jsonrpc': '2.0', 'id': message['id'], **body}}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if message['method'] == 'server/discover':
        {reaction}
    elif message['method'] == 'initialize':
        answer({{'result': {{'protocolVersion': message['params']['protocolVersion'], 'capabilities': {{'tools': {{}}}},
                            'serverInfo': {{'name': 'old', 'version': '1'}}}}}})
    elif message['method'] == 'tools/list':
        answer({{'result': {{'tools': []}}}})
"""
    )
    async with MCPClient({"command": sys.executable, "args": [str(script)], "probe_timeout": 0.5}) as client:
        assert client.protocol_version == LAST_HANDSHAKE
        assert await client.list_tools() == []


async def test_noise_on_a_servers_output_is_skipped(tmp_path: Path) -> None:
    script = tmp_path / "noisy.py"
    script.write_text(
        """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    sys.stdout.buffer.write(b"Welcome!\\n\\xff\\xfe\\n{}\\n[]\\n")
    body = {'resultType': 'complete', 'ttlMs': 0, 'cacheScope': 'private'}
    if message['method'] == 'tools/list':
        body |= {'tools': []}
    else:
        body |= {'supportedVersions': ['NEWEST'], 'capabilities': {'tools': {}}}
    sys.stdout.buffer.write(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': body}).encode() + b"\\n")
    sys.stdout.flush()
""".replace("NEWEST", NEWEST)
    )
    async with MCPClient({"command": sys.executable, "args": [str(script)]}) as client:
        assert client.protocol_version == NEWEST and await client.list_tools() == []


def test_the_synchronous_twin() -> None:
    with SyncMCPClient(COMMAND) as one, SyncMCPClient(COMMAND) as two:
        assert one.call_tool("echo", {"message": "1"}).data == "1"
        assert two.list_tools()[0].name == "echo"
        with pytest.raises(MCPError, match="unknown tool"):
            one.call_tool("nope")
        one.ping()
    with pytest.raises(TransportError):
        SyncMCPClient({"command": "no-such-command-anywhere"}).open()


def test_mcp_servers_files_are_read_in_their_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t")
    file = tmp_path / "mcp.json"
    file.write_text(
        json.dumps(
            {
                "mcpServers": {
                    "local": {
                        **COMMAND,
                        "env": {"K": "${TOKEN}", "L": "${NONE:-d}"},
                        "timeout": 30000,
                        "autoApprove": [],
                    },
                    "off": {"command": "x", "disabled": True},
                }
            }
        )
    )
    configs = load_servers(file)
    assert set(configs) == {"local"}
    assert configs["local"].env == {"K": "t", "L": "d"} and configs["local"].timeout == 30
    with SyncMCPClient(configs["local"]) as client:
        assert client.call_tool("echo", {"message": "m"}).data == "m"
    assert set(load_servers({"servers": {"a": {"type": "stdio", "command": "x"}}})) == {"a"}
    for broken, match in (
        ({}, "mcpServers"),
        ({"mcpServers": {"a": 1}}, "'a' is not an object"),
        ({"mcpServers": {"a": {"command": "${NOT_SET}"}}}, "NOT_SET"),
        ({"mcpServers": {"a": {"colour": 1}}}, "unknown config key"),
    ):
        with pytest.raises(ValueError, match=match):
            load_servers(broken)


async def test_a_client_that_was_never_closed_says_so() -> None:
    client = await MCPClient(COMMAND).open()
    connection = client._connection
    assert connection is not None
    with pytest.warns(ResourceWarning, match="never closed"):
        client.__del__()
    await client.aclose()


async def test_time_outs_are_named() -> None:
    async with MCPClient({**COMMAND, "timeout": 0.1}) as client:
        started = time.monotonic()
        with pytest.raises(MCPError, match=r"tools/call 'wait' .*within 0\.1 s \(timeout=\)") as late:
            await client.call_tool("wait")
        assert late.value.error_code == MCPErrorCode.TIMEOUT and time.monotonic() - started < 5
        with pytest.raises(MCPError, match=r"within 0\.05 s \(total_timeout=\)"):
            await client.call_tool("wait", timeout=30, total_timeout=0.05)
        assert (await client.call_tool("echo", {"message": "x"}, timeout=30)).data == "x"
