"""What passed between a client and a server, as `scripts/tee.py` wrote it down; the rules every conversation obeys."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Line", "check_client", "check_server", "methods", "read", "through_tee"]

SCRIPTS = Path(__file__).with_name("scripts")
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"

# What a server may say before the client's `notifications/initialized`, beside answers.
_EARLY = {"ping", "notifications/message"}
_NEVER_SENT = {-32002, -32042}


class Line(NamedTuple):
    """One line of the conversation."""

    sender: str
    text: str
    message: Any


def through_tee(log: Path, *command: str) -> list[str]:
    """Return the command line that runs a server and writes down what passes."""
    # Isolated and without `site`, so that it starts at once.
    return [sys.executable, "-I", "-S", str(SCRIPTS / "tee.py"), str(log), *command]


def read(log: Path) -> list[Line]:
    """Return a conversation; every line of it is one JSON object that ends in a newline."""
    lines = []
    for written in log.read_text().splitlines():
        sender, text = json.loads(written)
        assert text.endswith("\n") and text.strip(), f"{sender} wrote {text!r}"
        message = json.loads(text)
        assert isinstance(message, dict), f"{sender} wrote {text!r}"
        assert message["jsonrpc"] == "2.0", text
        lines.append(Line(sender, text, message))
    return lines


def methods(lines: list[Line], sender: str) -> list[str]:
    """Return the methods one side used, in order."""
    return [line.message["method"] for line in lines if line.sender == sender and "method" in line.message]


def _id(message: dict[str, Any]) -> tuple[type, Any]:
    # 1 and "1" are different ids, and so are 1 and true.
    return type(message["id"]), message["id"]


def _requests(lines: list[Line], sender: str) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.sender == sender and "method" in line.message and "id" in line.message:
            yield line.message


def _check_ids(lines: list[Line], sender: str) -> None:
    seen = set()
    for message in _requests(lines, sender):
        assert isinstance(message["id"], str | int) and not isinstance(message["id"], bool)
        assert _id(message) not in seen, f"{sender} used id {message['id']!r} twice"
        seen.add(_id(message))


def _check_answers(lines: list[Line], answerer: str) -> None:
    """Check that every answer is to an open request of the other side, and none to one that was withdrawn."""
    asker = "client" if answerer == "server" else "server"
    open_: set[Any] = set()
    withdrawn: set[Any] = set()
    for line in lines:
        message = line.message
        if line.sender == asker:
            if message.get("method") == "notifications/cancelled":
                cancelled = message["params"]["requestId"]
                withdrawn.add((type(cancelled), cancelled))
            elif "method" in message and "id" in message:
                open_.add(_id(message))
        elif "method" not in message:
            assert ("result" in message) != ("error" in message), line.text
            assert _id(message) in open_, f"nobody asked: {line.text}"
            assert _id(message) not in withdrawn, f"withdrawn: {line.text}"
            open_.discard(_id(message))
            if "error" in message:
                assert type(message["error"]["code"]) is int and isinstance(message["error"]["message"], str)


def check_server(lines: list[Line], revision: str) -> None:
    """Check what a server of ours wrote."""
    _check_ids(lines, "server")
    _check_answers(lines, "server")
    if revision == MODERN:
        assert not list(_requests(lines, "server")), "a request to a client of 2026-07-28"
        for line in lines:
            if line.sender == "server" and "result" in line.message:
                assert line.message["result"]["resultType"] in ("complete", "input_required"), line.text
            if line.sender == "server" and "error" in line.message:
                assert line.message["error"]["code"] not in _NEVER_SENT, line.text
        return
    for line in lines:
        if line.message.get("method") == "notifications/initialized":
            break
        if line.sender == "server":
            assert line.message.get("method") in _EARLY or "id" in line.message, line.text


def check_client(lines: list[Line], revision: str) -> None:
    """Check what a client of ours wrote."""
    _check_ids(lines, "client")
    _check_answers(lines, "client")
    if revision == MODERN:
        for message in _requests(lines, "client"):
            meta = message["params"]["_meta"]
            assert meta[META + "protocolVersion"] == MODERN
            assert isinstance(meta[META + "clientCapabilities"], dict)
            assert meta[META + "clientInfo"]["name"]
        assert all("method" in line.message for line in lines if line.sender == "client"), (
            "an answer to nobody's question"
        )
        return
    used = [method for method in methods(lines, "client") if method != "server/discover"]
    assert used[0] == "initialize"
    assert used[1] == "notifications/initialized"
    assert used.count("initialize") == used.count("notifications/initialized") == 1
    [initialize] = [message for message in _requests(lines, "client") if message["method"] == "initialize"]
    assert initialize["params"].keys() >= {"protocolVersion", "capabilities", "clientInfo"}
    assert initialize["params"]["clientInfo"].keys() >= {"name", "version"}
    for line in lines:
        if line.message.get("method") == "notifications/cancelled":
            assert line.message["params"]["requestId"] != initialize["id"], "initialize cannot be cancelled"
