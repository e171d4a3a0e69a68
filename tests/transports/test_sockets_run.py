"""`run()` over TCP and Unix sockets as people use it: processes, flags, signals; and what is answered at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kailash.mcp_server import MCPServer

from .linepeer import KINDS, call

each_kind = pytest.mark.parametrize("kind", KINDS)
HOME = Path(__file__).resolve().parents[2]


class Served:
    """A server process, and connections to it."""

    def __init__(self, *flags: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.transports.web_program", *flags]
        self.process = subprocess.Popen(
            command, cwd=HOME, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline().decode()
        found = re.search(r"tcp://(.+):(\d+)|unix://(.+)$", self.said.strip())
        assert found is not None, self.said
        self.path = found[3]
        self.address = (found[1], int(found[2] or 0))

    def connect(self) -> socket.socket:
        if self.path is None:
            return socket.create_connection(self.address, timeout=20)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(20)
        try:
            made.connect(self.path)
        except OSError:
            made.close()
            raise
        return made

    def status(self) -> int:
        return self.process.wait(timeout=20)

    def end(self) -> str:
        self.process.kill()
        return self.process.communicate(timeout=10)[1].decode()


Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Served] = []

    def make(kind: str, **options: Any) -> Served:
        where = {"port": 0} if kind == "tcp" else {"path": str(tmp_path / "s")}
        environment = {"RUN_OPTIONS": json.dumps({"transport": kind, **where, **options})}
        running.append(Served(environment=environment))
        return running[-1]

    yield make
    for server in running:
        assert "Traceback" not in server.end()


def say(connection: socket.socket, *messages: Any) -> None:
    connection.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))


def hear_all(connection: socket.socket) -> list[Any]:
    """Return every message until the end."""
    with connection, connection.makefile("rb") as lines:
        return [json.loads(line) for line in lines]


def wait_until_deaf(server: Served) -> None:
    """Wait until a server listens no longer."""
    while True:
        try:
            with server.connect() as late:
                say(late, call("echo", 9, message="late"))
                if not late.recv(1 << 16):
                    return
        except OSError:
            return


@pytest.mark.integration
@each_kind
def test_every_call_in_flight_is_answered_when_the_server_is_told_to_stop(kind: str, start: Start) -> None:
    server = start(kind)
    connections = [server.connect() for _ in range(2)]
    for connection in connections:
        say(connection, *(call("sleep", number, seconds=1) for number in range(25)), call("echo", "seen", message="x"))
        assert b'"seen"' in connection.recv(1 << 16)
    server.process.send_signal(signal.SIGTERM)
    for connection in connections:
        assert sorted(each["id"] for each in hear_all(connection) if "result" in each) == list(range(25))
    assert server.status() == 0
    assert server.path is None or not os.path.exists(server.path)


@pytest.mark.integration
@each_kind
def test_what_is_asked_after_the_signal_is_refused_in_words(kind: str, start: Start) -> None:
    server = start(kind)
    connection = server.connect()
    say(connection, call("sleep", 1, seconds=0.8), call("echo", "seen", message="x"))
    assert b'"seen"' in connection.recv(1 << 16)
    server.process.send_signal(signal.SIGTERM)
    wait_until_deaf(server)
    say(connection, call("echo", 2, message="late"))
    answers = {each["id"]: each for each in hear_all(connection)}
    assert answers[2]["error"]["code"] == 1503 and "shutting down" in answers[2]["error"]["message"]
    assert "result" in answers[1]
    assert server.status() == 0


@pytest.mark.integration
@each_kind
def test_what_does_not_end_in_time_is_answered_with_an_error(kind: str, start: Start) -> None:
    server = start(kind, drain_timeout=0.5)
    connection = server.connect()
    say(connection, call("sleep", 1, seconds=3600), call("echo", "seen", message="x"))
    assert b'"seen"' in connection.recv(1 << 16)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    [answer] = hear_all(connection)
    assert answer["id"] == 1 and answer["error"]["message"] == "the server is shutting down"
    assert server.status() == 0
    assert 0.5 < time.monotonic() - began < 4


@pytest.mark.integration
@each_kind
def test_a_second_signal_stops_at_once(kind: str, start: Start) -> None:
    server = start(kind)
    connection = server.connect()
    say(connection, call("sleep", 1, seconds=3600), call("echo", "seen", message="x"))
    assert b'"seen"' in connection.recv(1 << 16)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    wait_until_deaf(server)  # it has heard the first: two at once may be one
    server.process.send_signal(signal.SIGTERM)
    assert server.status() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 2
    assert [each["id"] for each in hear_all(connection)] == [1]


@pytest.mark.integration
def test_the_command_line_and_the_environment_say_where(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    for flags, environment in (
        (("--transport", "unix", "--path", path), {}),
        ((), {"MCP_TRANSPORT": "unix", "MCP_PATH": path}),
        (("--transport", "tcp", "--port", "0"), {}),
    ):
        server = Served(*flags, environment=environment)
        try:
            with server.connect() as connection:
                say(connection, call("echo", message="x"))
                assert b'"x"' in connection.recv(1 << 16)
        finally:
            server.process.terminate()
            assert server.status() == 0
            server.end()


@pytest.mark.integration
def test_a_live_server_at_the_path_ends_the_second_one_with_a_line(start: Start) -> None:
    server = start("unix")
    again = subprocess.run(
        [sys.executable, "-m", "tests.transports.web_program"],
        cwd=HOME,
        env={**os.environ, "RUN_OPTIONS": json.dumps({"transport": "unix", "path": server.path})},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert again.returncode == 1
    assert again.stderr.strip() == f"web: cannot listen on {server.path}: another server listens there"
    with server.connect() as connection:
        say(connection, call("echo", message="x"))
        assert b'"x"' in connection.recv(1 << 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transport": "unix"}, "needs a path: path=, --path or MCP_PATH"),
        ({"transport": "unix", "path": "/s", "port": 1}, "port is of a network transport; a Unix socket has a path"),
        ({"transport": "unix", "path": "/s", "workers": 2}, "workers is of HTTP"),
        ({"transport": "tcp", "path": "/s"}, "path is of a Unix socket; give transport='unix'"),
        ({"transport": "tcp", "ssl_certfile": "x"}, "ssl_certfile is of HTTP; transport='tcp' has none"),
        ({"transport": "http", "path": "/s"}, "path is of a Unix socket"),
        ({"path": "/s"}, "path is of a Unix socket"),
    ],
)
def test_an_option_of_another_transport_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        MCPServer("x").run(**options)
