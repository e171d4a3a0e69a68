"""Bad input where a message is a line: pipes of a child, TCP, Unix sockets and this process, in both eras.

One server takes all the cases of a test one after the other, and a correct request after each.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from kailash.adapters.memory import MemoryChannel
from kailash.mcp_server import Context, MCPServer
from protocol import SERVER_LIMITS, Limits
from tests.security.site import until
from tests.transports.linepeer import HANDSHAKES, META, REVISION_NAMES, LinePeer, call, serving

pytestmark = pytest.mark.anyio

HOME = Path(__file__).parents[2]
INVALID, PARSE, PARAMS, METHOD = -32600, -32700, -32602, -32601


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=REVISION_NAMES[-2:])
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Stream:
    """A pair of streams as one."""

    def __init__(self, send: Callable[[bytes], Any], receive: Callable[[], Any]) -> None:
        self.send, self.receive = send, receive

    async def aclose(self) -> None:
        """The end is that of whoever made them."""


class MemoryPipe:
    """Stands for a client's engine in this process: keeps what it is sent, and sends what it is told."""

    is_holding = False

    def __init__(self) -> None:
        self.engine = self
        self.out: list[bytes] = []
        self.lines: list[bytes] = []
        self.arrived = anyio.Event()

    def receive_data(self, data: bytes) -> None:
        self.lines.append(data)
        self.arrived.set()

    def receive_eof(self) -> None:
        self.arrived.set()

    def events_received(self) -> list[Any]:
        return []

    def data_to_send(self) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def close_expected(self) -> bool:
        return False

    def next_deadline(self) -> float | None:
        return None

    def handle_deadline(self, now: float) -> None:
        """Nothing is ever due."""


def make_server(**limits: int) -> MCPServer:
    server = MCPServer("lines", limits=Limits(**{**{"depth": SERVER_LIMITS.depth}, **limits}))

    @server.tool(blocking=False)
    def echo(message: str) -> str:
        return message

    @server.tool(blocking=False)
    def take(value: Any = None) -> str:
        return "taken"

    @server.tool
    async def wait(ctx: Context) -> str:
        await anyio.sleep_forever()
        return "never"

    return server


@asynccontextmanager
async def joined(wire: str, folder: Path, revision: str, **limits: int) -> AsyncIterator[LinePeer]:
    """Open a raw connection to a server."""
    async with AsyncExitStack() as stack:
        if wire == "stdio":
            code = f"from tests.security.test_lines import make_server; make_server(**{limits}).run()"
            command = [sys.executable, "-c", code]
            process = await stack.enter_async_context(await anyio.open_process(command, cwd=HOME, stderr=None))
            assert process.stdin is not None and process.stdout is not None
            stack.push_async_callback(process.stdin.aclose)
            peer = LinePeer(Stream(process.stdin.send, process.stdout.receive))  # type: ignore[arg-type]
        elif wire == "memory":
            server = make_server(**limits)
            await stack.enter_async_context(server.running())
            pipe = MemoryPipe()
            channel = MemoryChannel(pipe, on_events=lambda events: None, keep_reading=True)
            theirs = server.open_memory(channel)
            stack.push_async_callback(theirs.wait_closed)
            stack.callback(channel.close)

            async def send(data: bytes) -> None:
                pipe.out.append(data)
                channel.flush()

            async def receive() -> bytes:
                while not pipe.lines:
                    pipe.arrived = anyio.Event()
                    await pipe.arrived.wait()
                return pipe.lines.pop(0)

            peer = LinePeer(Stream(send, receive))  # type: ignore[arg-type]
        else:
            place = await stack.enter_async_context(serving(wire, make_server(**limits), folder))
            peer = await stack.enter_async_context(await place.peer())
        await peer.begin(revision)
        await peer.echo(revision, "first")
        yield peer


each_wire = pytest.mark.parametrize("wire", ["stdio", "tcp", "unix", "memory"])


def message_of(revision: str, method: str = "tools/call", id: str = "7", params: str = "") -> bytes:
    """Return a request with params that are spelled as given, and what the era wants."""
    meta = f'"_meta":{json.dumps(META)}' if revision not in HANDSHAKES else ""
    inner = ",".join(part for part in (params, meta) if part)
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":{%b}}\n' % (id.encode(), method.encode(), inner.encode())


def take(revision: str, value: str, id: str = "7") -> bytes:
    return message_of(revision, id=id, params=f'"name":"take","arguments":{{"value":{value}}}')


async def refused(peer: LinePeer, text: bytes, revision: str, *codes: int) -> Any:
    """See one error for what is sent, and a correct request answered after it."""
    await peer.send(text if text.endswith(b"\n") else text + b"\n")
    answer = await peer.hear()
    assert "error" in answer and answer["error"]["code"] in codes, (text[:200], answer)
    await peer.echo(revision)
    return answer


async def taken(peer: LinePeer, text: bytes, revision: str) -> Any:
    """See what is sent answered with a result, and a correct request after it."""
    await peer.send(text)
    answer = await peer.hear()
    assert "result" in answer, (text[:200], answer)
    await peer.echo(revision)
    return answer


@each_wire
async def test_what_is_no_json_is_a_parse_error(wire: str, revision: str, tmp_path: Path) -> None:
    bad = [
        b"hello", b"{", b'{"jsonrpc":"2.0"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"'single'", b'{"a":01}', b"\0", b"]",
        '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16-le"),
        take(revision, "NaN"), take(revision, "Infinity"), take(revision, "-Infinity"),
        take(revision, r'"\ud800"'),
    ]  # fmt: skip
    async with joined(wire, tmp_path, revision) as peer:
        for text in bad:
            await refused(peer, text, revision, PARSE, PARAMS, INVALID)
        answer = await taken(peer, take(revision, "1e999"), revision)  # looked at only with the arguments
        assert answer["result"]["isError"] and "not valid JSON" in answer["result"]["content"][0]["text"]
        raw = take(revision, '"X"').replace(b'"X"', b'"\xed\xa0\x80"')
        await refused(peer, raw, revision, PARSE, PARAMS)


@each_wire
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_depth_has_a_limit(wire: str, more: int, revision: str, tmp_path: Path) -> None:
    async with joined(wire, tmp_path, revision, depth=300) as peer:
        # Around the value: message, params, arguments.
        depth = 300 + more - 3
        text = take(revision, "[" * depth + "]" * depth)
        if more > 0:
            await refused(peer, text, revision, PARSE)
        else:
            await taken(peer, text, revision)
        await refused(peer, take(revision, "[" * 100_000 + "]" * 100_000), revision, PARSE)
        await refused(peer, take(revision, '{"a":' * 50_000 + "1" + "}" * 50_000), revision, PARSE)
        await taken(peer, take(revision, "[" + ",".join(["[]"] * (1000 + more)) + "]"), revision)


@each_wire
async def test_ids_come_back_as_they_were_or_are_refused(wire: str, revision: str, tmp_path: Path) -> None:
    async with joined(wire, tmp_path, revision) as peer:
        for good in (
            "0", "-1", "9223372036854775807", "-9223372036854775808", '""', '"x"', '"' + "i" * 1023 + '"',
            '"' + "i" * 1024 + '"', r'"\u00e4\n\u001b"', '"1"',
        ):  # fmt: skip
            answer = await taken(peer, take(revision, "1", good), revision)
            assert answer["id"] == json.loads(good) and type(answer["id"]) is type(json.loads(good))
        for bad in (
            "null", "true", "1.5", "1.0", "1e3", "[]", "{}", "9223372036854775808", "-9223372036854775809",
            "1" + "0" * 5000, '"' + "i" * 1025 + '"',
        ):  # fmt: skip
            answer = await refused(peer, take(revision, "1", bad), revision, INVALID, PARSE)
            assert answer.get("id") is None


@each_wire
async def test_numbers_pass_or_are_refused_and_never_take_long(wire: str, revision: str, tmp_path: Path) -> None:
    async with joined(wire, tmp_path, revision) as peer:
        for value in ("1" + "0" * 100_000, "-" + "9" * 1_000_000, "0." + "1" * 1_000_000, "1e-999999999"):
            with anyio.fail_after(5):
                await peer.send(take(revision, value))
                assert (await peer.hear()).keys() & {"result", "error"}
                await peer.echo(revision)


@each_wire
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_texts_of_a_request_have_limits(wire: str, more: int, revision: str, tmp_path: Path) -> None:
    async with joined(wire, tmp_path, revision) as peer:

        async def sends(text: bytes, too_long: int, else_: int | None) -> None:
            await peer.send(text)
            answer = await peer.hear()
            code = answer.get("error", {}).get("code")
            assert code == (too_long if more > 0 else else_), answer
            await peer.echo(revision)

        await sends(message_of(revision, "m" * (256 + more)), INVALID, METHOD)
        name = "t" * (256 + more)
        await sends(message_of(revision, params=f'"name":"{name}","arguments":{{}}'), PARAMS, PARAMS)
        cursor = "c" * (4096 + more)
        await sends(message_of(revision, "tools/list", params=f'"cursor":"{cursor}"'), PARAMS, PARAMS)
        token = {**(META if revision not in HANDSHAKES else {}), "progressToken": "p" * (256 + more)}
        request = {**call("take", 3, modern=False)}
        request["params"]["_meta"] = token
        await sends(json.dumps(request).encode() + b"\n", PARAMS, None)


@each_wire
async def test_members_that_stand_twice_are_refused(wire: str, revision: str, tmp_path: Path) -> None:
    meta = json.dumps(META)
    async with joined(wire, tmp_path, revision) as peer:
        for text in (
            b'{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}',
            b'{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/list"}',
            message_of(revision, params='"name":"take","name":"echo","arguments":{}'),
            message_of(revision, params='"name":"take","arguments":{},"arguments":{"value":1}'),
            f'{{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{{"_meta":{meta},"_meta":{meta}}}}}'.encode(),
        ):
            await refused(peer, text, revision, INVALID, PARAMS)


@each_wire
async def test_an_id_in_flight_is_refused_once_more_and_the_first_is_undisturbed(
    wire: str, revision: str, tmp_path: Path
) -> None:
    modern = revision not in HANDSHAKES
    async with joined(wire, tmp_path, revision) as peer:
        await peer.say(call("wait", 1, modern=modern), call("take", 1, modern=modern))
        answer = await peer.hear()
        assert answer["id"] == 1 and answer["error"]["code"] == INVALID
        await peer.say(call("take", "1", modern=modern))  # another id
        assert "result" in await peer.answer("1")
        await peer.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        await peer.echo(revision)
        await peer.say(call("take", 1, modern=modern))  # free again
        assert "result" in await peer.answer(1)


@each_wire
async def test_a_withdrawn_request_is_not_answered_and_unknown_ones_are_silent(
    wire: str, revision: str, tmp_path: Path
) -> None:
    modern = revision not in HANDSHAKES
    async with joined(wire, tmp_path, revision) as peer:
        for id in (1, "x"):
            await peer.say(call("wait", id, modern=modern))
            for which in (id, id, 99, "nobody", None, [], 1.5):
                params = {"requestId": which, "reason": "\x1b[31m" + "r" * 10_000}
                await peer.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            await peer.say(call("echo", "next", modern=modern, message="well"))
            assert (await peer.hear())["id"] == "next"  # and nothing before it


@each_wire
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_answers_to_nobody_are_ignored_until_they_are_too_many(
    wire: str, more: int, revision: str, tmp_path: Path
) -> None:
    async with joined(wire, tmp_path, revision, stray_responses=20) as peer:
        stray = b'{"jsonrpc":"2.0","id":"nobody","result":{}}\n'
        await peer.send(stray * (20 + more))
        if more <= 0:
            await peer.echo(revision)
        elif wire != "memory":
            assert await peer.is_ended()


@each_wire
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_batches_are_for_the_one_revision_that_has_them(wire: str, more: int, tmp_path: Path) -> None:
    limit = SERVER_LIMITS.batch_entries
    for revision in REVISION_NAMES:
        members = [call("take", number, modern=revision not in HANDSHAKES) for number in range(limit + more)]
        async with joined(wire, tmp_path, revision) as peer:
            await peer.say(members)
            answer = await peer.hear()
            if revision == REVISION_NAMES[1] and more <= 0:
                assert sorted(each["id"] for each in answer) == list(range(limit + more))
            else:
                assert answer["error"]["code"] == INVALID
            await peer.echo(revision)
            await refused(peer, b"[]", revision, INVALID)


@each_wire
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_requests_in_flight_are_bounded(wire: str, more: int, revision: str, tmp_path: Path) -> None:
    modern = revision not in HANDSHAKES
    async with joined(wire, tmp_path, revision, requests=8) as peer:
        await peer.say(*(call("wait", number, modern=modern) for number in range(8 + more)))
        if more > 0:
            answer = await peer.hear()
            assert answer["id"] == 8 and answer["error"]["code"] == 1503
            assert answer["error"]["data"]["retryable"] is True
        for number in range(8 + more):
            await peer.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}})
        await peer.echo(revision)


@pytest.mark.parametrize("wire", ["tcp", "unix", "memory"])
async def test_what_a_peer_says_cannot_forge_a_line_of_the_log(
    wire: str, revision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    evil = "x\r\nCRITICAL forged \x1b[2J\u202e\u2028" + "y" * 5000
    spelled = json.dumps(evil)[1:-1]
    async with joined(wire, tmp_path, revision) as peer:
        for text in (
            message_of(revision, spelled[:200]),
            message_of(revision, id=f'"{spelled[:300]}"', params='"name":"take","arguments":{"nothing":1}'),
            message_of(revision, params=f'"name":"{spelled[:200]}","arguments":{{}}'),
            message_of(revision, params=f'"name":"{spelled}","arguments":{{}}'),
            message_of(revision, "resources/read", params=f'"uri":"test://{spelled}"'),
            message_of(revision, "prompts/get", params=f'"name":"{spelled[:200]}"'),
            json.dumps({"jsonrpc": "2.0", "method": evil[:200], "params": {}}).encode() + b"\n",
            json.dumps({"jsonrpc": "2.0", "id": evil[:500], "error": {"code": 1, "message": evil}}).encode() + b"\n",
            spelled.encode() + b"\n",
        ):
            await peer.send(text)
            await peer.echo(revision)
        note = {"requestId": evil, "reason": evil}
        await peer.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": note})
        await peer.echo(revision)
    ours = [record for record in caplog.records if record.name.startswith("kailash")]
    for record in ours:
        text = record.getMessage()
        assert text.isprintable() and len(text) < 1000, (record.name, text[:200])


async def test_a_flood_of_connections_leaves_nothing_behind(tmp_path: Path) -> None:
    for wire in ("tcp", "unix"):
        async with serving(wire, make_server(), tmp_path) as place:
            for number in range(100):
                peer = await place.peer()
                await peer.send(
                    [b"", b"{", b"junk\n", b"[" * 300, json.dumps(call("wait")).encode() + b"\n"][number % 5]
                )
                await (peer.vanish() if number % 2 else peer.stream.aclose())
            await place.is_well()
            await until(lambda: not place.server.sessions, "sessions")
