"""TCP and Unix sockets, real ones: who is let in, what is said, what ends a connection, and that the next is served."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kailash.errors import AuthenticationError, MCPError, TransportError
from kailash.mcp_client import MCPClient
from kailash.mcp_server import MCPServer
from kailash.mcp_server.auth import APIKeyAuth
from protocol import Limits
from tests.requirements import rule
from tests.security.site import Tools, until

from .linepeer import HANDSHAKES, KINDS, META, REVISION_NAMES, call, serving

pytestmark = pytest.mark.anyio
each_kind = pytest.mark.parametrize("kind", KINDS)
each_revision = pytest.mark.parametrize("revision", REVISION_NAMES)
each_era = pytest.mark.parametrize("revision", REVISION_NAMES[-2:])


# What is said


@each_kind
@each_revision
@rule(46, 47)
async def test_every_revision_is_spoken(kind: str, revision: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place:
        async with await place.peer() as peer:
            await peer.begin(revision)
            for number in range(3):
                await peer.echo(revision, number)
            await peer.say(call("nothing", 9, modern=revision not in HANDSHAKES))
            assert (await peer.answer(9))["error"]["code"] == -32602
        await place.is_well()


@each_kind
async def test_a_client_is_told_where_by_keys_or_by_a_url(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place:
        async with place.client() as client:
            assert (await client.call_tool("echo", {"message": "keys"})).text == "keys"
            assert repr(client) == f"MCPClient({place.url})"
        async with MCPClient(place.url) as client:
            assert (await client.call_tool("echo", {"message": "url"})).text == "url"
        async with MCPClient() as client:
            assert (await client.call_tool(place.url, "echo", {"message": "per call"})).text == "per call"


@each_kind
async def test_many_calls_are_answered_on_one_connection(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.say(*(call("echo", number, message=str(number)) for number in range(60)))
        answers = [await peer.hear() for _ in range(60)]
        assert {each["id"]: each["result"]["content"][0]["text"] for each in answers} == {
            number: str(number) for number in range(60)
        }


@each_kind
@each_era
async def test_bytes_may_come_one_by_one(kind: str, revision: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.begin(revision)
        for byte in json.dumps(call("echo", modern=revision not in HANDSHAKES, message="slow")).encode() + b"\n":
            await peer.send(bytes([byte]))
            await anyio.lowlevel.checkpoint()
        assert (await peer.answer(1))["result"]["content"][0]["text"] == "slow"


@each_kind
async def test_a_server_asks_and_tells_its_client(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.begin(HANDSHAKES[-1], elicitation={})
        await peer.say(call("ask", modern=False))
        question = await peer.hear()
        assert question["method"] == "elicitation/create"
        await peer.say({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})
        assert (await peer.answer(1))["result"]["content"][0]["text"] == "decline"
        tools.server.tool(lambda: "new", name="new")
        assert (await peer.hear())["method"] == "notifications/tools/list_changed"


@each_kind
async def test_a_subscription_is_told_and_ended_with_its_result(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    listen = {"notifications": {"toolsListChanged": True}, "_meta": META}
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.say({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": listen})
        assert (await peer.hear())["method"] == "notifications/subscriptions/acknowledged"
        tools.server.tool(lambda: "new", name="new")
        assert (await peer.hear())["method"] == "notifications/tools/list_changed"
        await peer.stream.send_eof()
        assert "result" in await peer.answer(7)


@each_kind
async def test_what_was_asked_is_answered_to_a_client_that_ends_its_side(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.say(call("wait"))
        await peer.stream.send_eof()
        await tools.started.wait()
        tools.release.set()
        assert (await peer.hear())["result"]["content"][0]["text"] == "released"
        assert await peer.is_ended()


@each_kind
@each_era
async def test_a_client_that_vanishes_leaves_nothing_behind(kind: str, revision: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place:
        peer = await place.peer()
        await peer.begin(revision)
        await peer.say(call("pour", modern=revision not in HANDSHAKES, token=1, count=100_000))
        await tools.started.wait()
        await peer.vanish()
        with anyio.fail_after(8):
            await tools.cancelled.wait()
        await place.is_well()


# What is no message


@each_kind
@pytest.mark.parametrize(
    "text",
    [
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n%b\n"
        % json.dumps(call("echo")).encode(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xef\xbb\xbf{}\n",
        b"hello\n",
        b"\0",
    ],
    ids=["HTTP", "TLS", "BOM", "words", "NUL"],
)
async def test_who_does_not_begin_with_json_is_refused_at_once(kind: str, text: bytes, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place:
        async with await place.peer() as peer:
            await peer.send(text)
            assert "newline-delimited JSON-RPC" in (await peer.hear())["error"]["message"]
            assert await peer.is_ended()
        assert not tools.calls
        await place.is_well()


@each_kind
async def test_blank_lines_before_the_first_message_are_nothing(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.send(b"\r\n  \n\t")
        await peer.echo()


@each_kind
@each_era
@pytest.mark.parametrize("text", [b"{", b"[1,", b"nothing", b'{"jsonrpc":"2.0","id":1}', b"\xff", b"[" * 200, b'""'])
async def test_bad_lines_are_answered_and_the_next_is_taken(
    kind: str, revision: str, text: bytes, tmp_path: Path
) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path) as place:
        async with await place.peer() as peer:
            await peer.begin(revision)
            if revision not in HANDSHAKES:
                await peer.echo()
            await peer.send(text + b"\n")
            assert (await peer.hear())["error"]["code"] in (-32700, -32600)
            await peer.echo(revision)
        await place.is_well()


@each_kind
@each_era
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_a_line_may_be_as_long_as_the_limit(kind: str, revision: str, more: int, tmp_path: Path) -> None:
    limit = 4000
    tools = Tools(limits=Limits(message_bytes=limit))
    async with serving(kind, tools.server, tmp_path) as place:
        async with await place.peer() as peer:
            await peer.begin(revision)
            message = call("echo", 2, modern=revision not in HANDSHAKES, message="")
            message["params"]["arguments"]["message"] = "x" * (limit + more - len(json.dumps(message)))
            await peer.say(message)
            answer = await peer.hear()
            if more > 0:
                assert answer["error"] == {"code": -32600, "message": "Invalid request: message longer than 4000 bytes"}
                assert "id" not in answer
            else:
                assert answer["id"] == 2 and "result" in answer
            await peer.echo(revision)
        await place.is_well()


@each_kind
async def test_an_endless_line_costs_no_memory(kind: str, tmp_path: Path) -> None:
    tools = Tools(limits=Limits(message_bytes=1000))
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.send(b"[" + b"x" * 5_000_000)
        [session] = tools.server.sessions
        assert len(session.channel.pipe._lines._kept) <= 1000
        await peer.send(b"\n")
        assert "longer" in (await peer.hear())["error"]["message"]
        await peer.echo()


# How many, and how long


@each_kind
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_so_many_connections_and_no_more(
    kind: str, more: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 4
    tools = Tools()
    caplog.set_level(logging.WARNING)
    async with serving(kind, tools.server, tmp_path, max_connections=limit) as place:
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(await place.peer()) for _ in range(limit + more)]
            for peer in peers[:limit]:
                await peer.echo()
            if more > 0:
                refused = await peers[-1].hear()
                assert refused["error"]["code"] == 1503 and "too many connections" in refused["error"]["message"]
                assert await peers[-1].is_ended()
                assert [record.message for record in caplog.records] == ["x a connection was turned away: 4 are open"]
                with pytest.raises(MCPError, match="too many connections"):
                    async with place.client() as client:
                        await client.list_tools()
            await peers[0].echo()
        await until(lambda: not tools.server.sessions, "sessions")
        await place.is_well()


@each_kind
async def test_who_says_nothing_is_dropped(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path, first_message_timeout=0.3) as place:
        async with await place.peer() as silent, await place.peer() as blank, await place.peer() as slow:
            began = time.monotonic()
            await blank.send(b"\n")
            await slow.send(b'{"jsonrpc"')
            for peer in (silent, blank, slow):
                refused = await peer.hear()
                assert "first line had no end within 0.3 s" in refused["error"]["message"]
                assert await peer.is_ended()
            assert 0.29 < time.monotonic() - began < 2
        await place.is_well()


@each_kind
@each_era
async def test_a_message_is_to_be_finished(kind: str, revision: str, tmp_path: Path) -> None:
    tools = Tools()
    options = {"message_timeout": 0.5, "first_message_timeout": 5.0}
    async with serving(kind, tools.server, tmp_path, **options) as place:
        async with await place.peer() as peer:
            await peer.begin(revision)
            await peer.echo(revision)
            message = json.dumps(call("echo", modern=revision not in HANDSHAKES, message="late")).encode()
            await peer.send(message[:20])
            with anyio.move_on_after(0.2):  # within the time
                await anyio.sleep_forever()
            await peer.send(message[20:] + b"\n")
            assert "result" in await peer.answer(1)
            began = time.monotonic()
            await peer.send(b"{")
            async with anyio.create_task_group() as tasks:

                async def drip() -> None:
                    while True:  # a byte now and then gains nothing
                        await peer.send(b" ")
                        await anyio.sleep(0.05)

                tasks.start_soon(drip)
                assert "line had no end within 0.5 s" in (await peer.hear())["error"]["message"]
                tasks.cancel_scope.cancel()
            assert 0.49 < time.monotonic() - began < 2
        await place.is_well()


@each_kind
async def test_who_is_silent_for_long_is_closed_unless_an_answer_is_owed(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path, idle_timeout=0.4) as place:
        async with await place.peer() as idle, await place.peer() as waiting, await place.peer() as busy:
            began = time.monotonic()
            await waiting.say(call("wait"))
            await idle.echo()
            async with anyio.create_task_group() as tasks:

                async def talk() -> None:
                    for _ in range(8):
                        await busy.echo()
                        await anyio.sleep(0.1)

                tasks.start_soon(talk)
                assert await idle.is_ended()
                assert 0.39 < time.monotonic() - began < 2
            tools.release.set()
            assert "result" in await waiting.answer(1)
            assert await waiting.is_ended()
            assert await busy.is_ended()
        await until(lambda: not tools.server.sessions, "sessions")


@each_kind
async def test_a_client_comes_back_after_its_connection_was_closed(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path, idle_timeout=0.2) as place, place.client() as client:
        assert (await client.call_tool("echo", {"message": "one"})).text == "one"
        await until(lambda: not client.is_connected, "the end of the idle connection")
        assert (await client.call_tool("echo", {"message": "two"})).text == "two"


@each_kind
async def test_who_does_not_read_is_dropped_and_the_others_are_served(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path, write_timeout=0.5) as place:
        async with await place.peer() as peer, await place.peer() as other:
            await peer.say(call("pour", token=1, count=100_000))
            await tools.started.wait()
            await other.echo()
            with anyio.fail_after(10):
                await tools.cancelled.wait()
            assert len(tools.calls) < 1000
            await other.echo()
        await place.is_well()


@each_kind
async def test_what_is_told_without_waiting_has_a_bound(kind: str, tmp_path: Path) -> None:
    tools = Tools()
    async with serving(kind, tools.server, tmp_path, write_cap=1 << 20) as place:
        async with await place.peer() as peer:
            await peer.say(call("spill", token=1, count=100_000))
            await until(lambda: not tools.server.sessions, "the end of the connection")
            assert sum(1 for each in tools.calls) < 1000
        await place.is_well()


@each_kind
async def test_only_so_many_requests_are_in_flight(kind: str, tmp_path: Path) -> None:
    tools = Tools(limits=Limits(requests=4))
    async with serving(kind, tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.say(*(call("wait", number) for number in range(4)))
        await until(lambda: tools.running == 4, "the calls")
        await peer.say(call("wait", 4))
        assert (await peer.answer(4))["error"]["code"] == 1503
        tools.release.set()
        for number in range(4):
            assert "result" in await peer.hear(), number


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idle": 3}, "unknown socket option idle; known: max_connections, first_message_timeout, "),
        ({"idle_timeout": 0}, "idle_timeout must be above zero, not 0"),
        ({"idle_timeout": "x"}, "socket options: Expected `float | null`, got `str`"),
    ],
)
async def test_options_are_checked_when_the_server_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message.replace("|", r"\|")):
        MCPServer("x", socket_options=options)
    with pytest.raises((TypeError, ValueError), match=message.replace("|", r"\|")):
        await MCPServer("x").serve_tcp(port=0, **options)


# Who


async def test_who_is_at_a_unix_socket_is_known(tmp_path: Path) -> None:
    tools = Tools()
    async with serving("unix", tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.echo()
        [session] = tools.server.sessions
        assert session.engine.principal == f"uid:{os.getuid()}"
        assert session.identity.metadata == {"gid": os.getgid(), "pid": os.getpid()}


async def test_who_is_at_a_port_is_nobody_in_particular(tmp_path: Path) -> None:
    tools = Tools()
    async with serving("tcp", tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.echo()
        [session] = tools.server.sessions
        assert session.engine.principal is None and session.identity.peer == "127.0.0.1"


async def test_a_server_that_wants_credentials_is_not_served_where_none_can_be_sent(tmp_path: Path) -> None:
    server = MCPServer("x", auth_provider=APIKeyAuth({"secret": {"user_id": "u"}}))
    with pytest.raises(ValueError, match="no credentials over tcp; give transport='http'"):
        await server.serve_tcp(port=0)
    with pytest.raises(ValueError, match=r"APIKeyAuth has no authenticate_peer"):
        await server.serve_unix(tmp_path / "s")
    assert not (tmp_path / "s").exists()


class ByProcess:
    """Knows users by their number."""

    def __init__(self, known: int, error: Exception | None = None) -> None:
        self.known = known
        self.error = error

    def authenticate(self, credentials: Any) -> Any:
        raise AuthenticationError("no")

    def authenticate_peer(self, *, uid: int, gid: int, pid: int) -> Any:
        if self.error is not None:
            raise self.error
        if uid != self.known:
            raise AuthenticationError(f"who is {uid}?")
        return {"user_id": "me", "permissions": ["tools"], "auth_type": "peer"}


async def test_a_provider_may_know_processes(tmp_path: Path) -> None:
    tools = Tools(auth_provider=ByProcess(os.getuid()))
    tools.server.tool(lambda: "yes", name="allowed", required_permission="tools", blocking=False)
    tools.server.tool(lambda: "no", name="forbidden", required_permission="more", blocking=False)
    async with serving("unix", tools.server, tmp_path) as place, await place.peer() as peer:
        await peer.say(call("allowed"), call("forbidden", 2))
        assert (await peer.answer(1))["result"]["content"][0]["text"] == "yes"
        assert (await peer.answer(2))["error"]["code"] == 1010
        [session] = tools.server.sessions
        assert session.engine.principal == "me"


@pytest.mark.parametrize("error", [None, RuntimeError("password=secret")])
async def test_a_process_that_is_not_known_is_turned_away(
    error: Exception | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tools = Tools(auth_provider=ByProcess(os.getuid() + 1, error))
    async with serving("unix", tools.server, tmp_path) as place, await place.peer() as peer:
        refused = (await peer.hear())["error"]
        assert refused["code"] == (1009 if error is None else 1503)
        assert await peer.is_ended()
    assert "secret" not in caplog.text and "who is" not in json.dumps(refused)


async def test_a_client_cannot_send_credentials_there() -> None:
    auth = {"type": "api_key", "key": "secret"}
    for config in ({"host": "h", "port": 1, "transport": "tcp"}, {"path": "/s"}):
        with pytest.raises(MCPError, match="carries no credentials"):
            async with MCPClient({**config, "auth": auth}):
                pass


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"transport": "tcp", "port": 1}, 'a tcp server needs a "host"'),
        ({"transport": "tcp", "host": "h"}, 'a tcp server needs a "port" of 1 to 65535, not None'),
        ({"transport": "tcp", "host": "h", "port": 0}, "not 0"),
        ({"transport": "tcp", "host": "h", "port": 65536}, "not 65536"),
        ({"transport": "tcp", "host": "h", "port": 1, "headers": {"A": "b"}}, "tcp carries none"),
        ({"transport": "unix"}, 'a unix server needs a "path"'),
        ("tcp://h", 'needs a "port"'),
        ("unix://", 'needs a "path"'),
    ],
)
async def test_a_config_that_lacks_something_says_what(config: Any, message: str) -> None:
    with pytest.raises(MCPError, match=message):
        async with MCPClient(config):
            pass


@pytest.mark.parametrize("url", ["tcp://user@h:1", "tcp://h:1/path", "tcp://h:x", "tcp://h:99999999"])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises((ValueError, MCPError), match="url: "):
        async with MCPClient(url):
            pass


async def test_nobody_there_is_said_with_the_place(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TransportError, match=f"connection to tcp://127.0.0.1:{port} failed: Connection refused"):
        async with MCPClient(f"tcp://127.0.0.1:{port}"):
            pass
    with pytest.raises(TransportError, match=r"connection to unix://.*/none failed: No such file"):
        async with MCPClient(f"unix://{tmp_path}/none"):
            pass


# Where


async def test_the_file_of_a_socket_is_this_users_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with serving("unix", Tools().server, tmp_path) as place:
            assert stat.S_IMODE(os.stat(place.path).st_mode) == 0o600
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == []


async def test_what_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "server.sock"))
        dead.listen()
    async with serving("unix", Tools().server, tmp_path) as place:
        await place.is_well()


async def test_a_live_server_is_left_alone(tmp_path: Path) -> None:
    async with serving("unix", Tools().server, tmp_path) as place:
        with pytest.raises(OSError, match=r"cannot listen on .*: another server listens there"):
            await Tools().server.serve_unix(place.path)
        await place.is_well()


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="something that is no socket is there"):
        await Tools().server.serve_unix(path)
    assert path.read_text() == "precious"
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(OSError, match="no socket is there"):
        await Tools().server.serve_unix(link)


async def test_a_path_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await Tools().server.serve_unix(tmp_path / "none" / "s")
    with pytest.raises(OSError, match="path too long"):
        await Tools().server.serve_unix(tmp_path / ("x" * 200))


async def test_the_file_of_another_server_is_not_removed(tmp_path: Path) -> None:
    async with serving("unix", Tools().server, tmp_path) as place:
        file = tmp_path / "server.sock"
        file.unlink()
        file.write_text("another's")
        assert place.path == str(file)
    assert file.read_text() == "another's"


async def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await Tools().server.serve_tcp(port=port)


async def test_a_server_for_everybody_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with anyio.create_task_group() as tasks:
        await tasks.start(_serve_everywhere)
        tasks.cancel_scope.cancel()
    assert "whoever reaches 0.0.0.0 may use this server" in caplog.text


async def _serve_everywhere(*, task_status: Any) -> None:
    await Tools().server.serve_tcp("0.0.0.0", 0, started=task_status.started)


# Again


@each_kind
async def test_a_client_survives_the_restart_of_its_server(kind: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with serving(kind, Tools().server, tmp_path) as place:
            client = await stack.enter_async_context(place.client())
            assert (await client.call_tool("echo", {"message": "one"})).text == "one"
        await until(lambda: not client.is_connected, "the end of the connection")
        if kind == "tcp":
            async with anyio.create_task_group() as tasks:
                await tasks.start(_serve_at, place.port)
                assert (await client.call_tool("echo", {"message": "two"})).text == "two"
                tasks.cancel_scope.cancel()
        else:
            async with serving(kind, Tools().server, tmp_path):
                assert (await client.call_tool("echo", {"message": "two"})).text == "two"


async def _serve_at(port: int, *, task_status: Any) -> None:
    await Tools().server.serve_tcp(port=port, started=task_status.started)
