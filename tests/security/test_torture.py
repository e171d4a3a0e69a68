"""The n-th step of a connection fails, for every n: no answer goes astray, nothing is left, and others are served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.abc
import pytest

from kailash.adapters.asyncionative import DuplexProtocol
from kailash.adapters.httptransport import StreamTransport
from kailash.adapters.sockets import LineChannel, Peer
from kailash.mcp_server.line_sockets import LineSockets, SocketOptions
from tests.security.site import Tools, count_tasks, until
from tests.transports.linepeer import HANDSHAKES, META, REVISION_NAMES, LinePeer, call

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class End(anyio.abc.ByteStream):
    """One end of a connection in this process, whose n-th step fails."""

    def __init__(self, out: Any, into: Any, fail_at: int | None = None) -> None:
        self._out, self._into = out, into
        self._fail_at = fail_at
        self.steps = 0

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self._fail_at:
            raise anyio.BrokenResourceError from ConnectionResetError("torture")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        self._step()
        return await self._into.receive()  # type: ignore[no-any-return]

    async def send(self, item: bytes) -> None:
        self._step()
        await self._out.send(item)

    async def send_eof(self) -> None:
        self._out.close()

    async def aclose(self) -> None:
        self._out.close()
        self._into.close()


def connect(fail_at: int | None) -> tuple[End, End]:
    """Return both ends; the first is the one whose n-th step fails."""
    to_client, of_server = anyio.create_memory_object_stream[bytes](4)
    to_server, of_client = anyio.create_memory_object_stream[bytes](4)
    return End(to_client, of_client, fail_at), End(to_server, of_server)


def cancel(id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}


def request(id: Any, method: str, modern: bool, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, **({"_meta": META} if modern else {})}}


SCENARIOS: dict[str, Any] = {
    # What is sent, by a function of the era; which of it is never answered.
    "one call": lambda m: ([call("echo", 1, modern=m, message="1")], ()),
    "many calls": lambda m: ([call("echo", n, modern=m, message=str(n)) for n in range(1, 20)], ()),
    "a thread": lambda m: ([call("think", n, modern=m, message=str(n)) for n in range(1, 4)], ()),
    "progress": lambda m: ([call("pour", 1, modern=m, token=1, size=10, count=10)], ()),
    "much progress": lambda m: ([call("pour", 1, modern=m, token=1, size=50_000, count=10)], ()),
    "a withdrawn call": lambda m: (
        [call("wait", 1, modern=m), cancel(1), call("echo", 2, modern=m, message="2")],
        (1,),
    ),
    "a call that is left": lambda m: ([call("wait", 1, modern=m), call("echo", 2, modern=m, message="2")], (1,)),
    "a question": lambda m: ([call("ask", 1, modern=m)], ()),
    "a subscription": lambda m: (
        [request(1, "subscriptions/listen", m, notifications={"toolsListChanged": True}), call("change", 2, modern=m)],
        (1,) if m else (),
    ),
    "bad lines": lambda m: ([[], 7, {"x": 1}, call("echo", 1, modern=m, message="1"), {"jsonrpc": "2.0"}], ()),
    "a large answer": lambda m: ([call("echo", 1, modern=m, message="x" * 300_000)], ()),
    "a failure": lambda m: ([call("fail", 1, modern=m), request(2, "no/such", m), request(3, "tools/list", m)], ()),
}


def make_tools() -> Tools:
    tools = Tools()

    @tools.server.tool
    def think(message: str) -> str:
        return message

    @tools.server.tool(blocking=False)
    def fail() -> str:
        raise RuntimeError("no")

    @tools.server.tool(blocking=False)
    def change() -> str:
        tools.server.tool(lambda: "x", name=f"new{len(tools.server.registry.tools)}")
        return "changed"

    return tools


async def drive(peer: LinePeer, revision: str, sent: list[Any], unanswered: Any) -> None:
    """Say it all, answer what is asked, and check what is heard."""
    owed = {each["id"] for each in sent if isinstance(each, dict) and "method" in each and "id" in each}
    texts = {each["id"]: each["params"]["arguments"].get("message") for each in sent if _is_call(each)}
    answered: set[Any] = set()
    await peer.begin(revision, elicitation={})
    await peer.say(*sent)
    while not owed - set(unanswered) <= answered:
        message = await peer.hear()
        if message is None:
            return
        if "method" in message:
            if "id" in message:
                await peer.say({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "decline"}})
            continue
        if "id" not in message:
            continue
        assert message["id"] in owed and message["id"] not in answered, message
        answered.add(message["id"])
        expected = texts.get(message["id"])
        if expected is not None:
            assert message["result"]["content"][0]["text"] == expected


def _is_call(each: Any) -> bool:
    return isinstance(each, dict) and each.get("method") == "tools/call"


def _leaves(group: BaseException) -> Iterator[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        for each in group.exceptions:
            yield from _leaves(each)
    else:
        yield group


@pytest.mark.parametrize("revision", REVISION_NAMES[-2:])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_whatever_step_fails_every_call_ends_and_others_are_served(name: str, revision: str) -> None:
    tools = make_tools()
    modern = revision not in HANDSHAKES
    async with tools.server.running():
        lines = LineSockets(tools.server, SocketOptions(), "tcp")
        before = count_tasks()
        fail_at, steps = 0, 1
        while steps >= fail_at:  # until it is over before its n-th step
            fail_at += 1
            steps = await one_round(tools, lines, revision, SCENARIOS[name](modern), fail_at)
            assert not tools.server.sessions, "the session is over"
            await until(lambda: not tools.running, "handlers")
            await until(lambda: count_tasks() <= before, "tasks")
            assert fail_at < 200
        assert fail_at > 2
        await one_round(tools, lines, revision, ([call("echo", 1, modern=modern, message="well")], ()), None)
        await lines.aclose(1.0)


async def one_round(tools: Tools, lines: LineSockets, revision: str, script: Any, fail_at: int | None) -> int:
    """Run a scenario on a connection of its own, beside one that is well; returns how many steps it took."""
    theirs, ours = connect(fail_at)
    peer = LinePeer(ours)  # type: ignore[arg-type]
    good_end, good = connect(None)
    bystander = LinePeer(good)  # type: ignore[arg-type]
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for end in (theirs, good_end):
                channel = lines._open(Peer())
                assert isinstance(channel, LineChannel)
                tasks.start_soon(StreamTransport(end, DuplexProtocol(channel)).run)
            await bystander.begin(revision)
            try:
                await drive(peer, revision, *script)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                assert fail_at is not None
            except AssertionError as error:
                assert fail_at is not None and "ended before" in str(error), error
            await bystander.echo(revision, json.dumps(fail_at))
            await ours.aclose()
            await good.aclose()
            for session in list(tools.server.sessions):  # what is answered to who has ended his side is not waited for
                session.channel.abort()
    return theirs.steps
