"""What is measured: the commands of the servers and clients, ours and others'."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .harness import FLOOR
from .peering import PEERS, node_script, python_of

__all__ = ["OURS", "SCRIPTS", "peer", "reference_of", "servers", "streaming", "web_servers"]

SCRIPTS = Path(__file__).with_name("peers")
OURS = "ours"
_PLAIN = "--answers=json"
_REFERENCES = (PEERS["mcp"].name, PEERS["mcp1"].name)


def reference_of(subjects: Sequence[str]) -> str:
    """Return the version of the official SDK that ratios are taken of; the 2.x line has no WebSocket."""
    return next((name for name in _REFERENCES if name in subjects), _REFERENCES[0])


def peer(name: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """Return the command of a script of `peers/`."""
    return [python, str(SCRIPTS / name), *arguments]


def servers(against: Sequence[str]) -> dict[str, list[str]]:
    """Return the command of each server over stdio."""
    commands = {OURS: peer("kailash_server.py"), FLOOR: peer("bare.py")}
    for name in against:
        if name == "typescript":
            commands[PEERS[name].name] = node_script("typescript.mjs")
        else:
            script = "fastmcp_server.py" if name == "fastmcp" else "mcp_sdk.py"
            commands[PEERS[name].name] = peer(script, python=python_of(name))
    return commands


def web_servers(against: Sequence[str], *arguments: str, streams: bool = False) -> dict[str, list[str]]:
    """Return the command of each server over HTTP.

    Args:
        against: the peers.
        arguments: of ours, of the floor and of the Python peers.
        streams: let the peers answer with event streams, as they do by default; plain answers are faster.
    """
    commands = {
        OURS: peer("kailash_http.py", "--codec=httptools", *arguments),
        FLOOR: peer("bare_http.py", "--codec=httptools", *arguments),
    }
    more = [] if streams else [_PLAIN]
    for name in against:
        if name == "typescript":
            commands[PEERS[name].name] = node_script("typescript_http.mjs", "{port}", "stream" if streams else "json")
        else:
            script = "fastmcp_server.py" if name == "fastmcp" else "mcp_http.py"
            command = peer(script, "--port={port}", *more, *arguments, python=python_of(name))
            commands[PEERS[name].name] = command
    return commands


def streaming(commands: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the Python peers among these as they are by default: they answer with event streams, slower."""
    return {
        f"{name}, default answers": [part for part in command if part != _PLAIN]
        for name, command in commands.items()
        if _PLAIN in command
    }
