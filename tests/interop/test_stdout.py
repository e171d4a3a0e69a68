"""What our server writes to standard output, read byte by byte: one JSON message a line and nothing else."""

import json
import os
import subprocess
import sys
from typing import Any

from tests.requirements import rule

from . import wire
from .conftest import ROOT

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def talk(*lines: bytes) -> list[dict[str, Any]]:
    """Write lines to a server of ours, close its input, and return what it wrote."""
    done = subprocess.run(
        [sys.executable, str(wire.SCRIPTS / "our_server.py")],
        input=b"".join(line + b"\n" for line in lines),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"a stray print" in done.stderr
    assert done.stdout.endswith(b"\n") and b"\r" not in done.stdout
    written = done.stdout.split(b"\n")[:-1]
    return [json.loads(line.decode("utf-8", "strict")) for line in written]


def request(number: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


@rule(16, 46)
def test_a_handshake_session_is_one_message_a_line() -> None:
    info = {"name": "by hand", "version": "1"}
    said = talk(
        request(1, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info),
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b"this is no message",
        b"",
        request(2, "tools/call", name="add", arguments={"a": 1, "b": 2}),
        request(3, "tools/call", name="fail", arguments={"how": "crashed"}),
        request(4, "tools/call", name="forecast", arguments={"city": "two\nlines\r\n and \u2028 one, 😀"}),
        request(5, "tools/call", name="speak"),
        request(6, "no/such/method"),
    )
    assert all(isinstance(message, dict) and message["jsonrpc"] == "2.0" for message in said)
    answers = {message["id"]: message for message in said if "id" in message}
    assert answers.keys() == {1, 2, 3, 4, 5, 6}
    assert "two\nlines\r\n and \u2028 one, 😀" in answers[4]["result"]["structuredContent"]["city"]
    assert answers[6]["error"]["code"] == -32601
    [unread] = [message for message in said if "error" in message and "id" not in message]
    assert unread["error"]["code"] == -32700


@rule(16, 46, 49)
def test_an_envelope_session_is_one_message_a_line() -> None:
    said = talk(
        request(1, "server/discover", _meta=META),
        request(2, "tools/call", name="add", arguments={"a": 1, "b": 2}, _meta=META),
        request(3, "tools/call", name="ask_user", _meta=META),
        request(4, "tools/call", name="speak", _meta=META),
        b'{"jsonrpc":"2.0","id":5,"method":',
    )
    assert sorted(message.get("id", 0) for message in said) == [0, 1, 2, 3, 4]
    assert not any("method" in message for message in said)
