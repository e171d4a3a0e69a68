"""The Inspector, without a browser, uses our server over HTTP."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import wire
from .peers import inspector_command
from .processes import our_server
from .webtee import WebTee, webtee


class Inspector:
    """Runs it, once for each question."""

    def __init__(self, tee: WebTee, home: Path) -> None:
        self.tee = tee
        self._home = home

    def ask(self, method: str, *more: str) -> Any:
        """Return what it prints."""
        done = subprocess.run(
            [*inspector_command(), self.tee.url(), "--transport", "http", "--method", method, *more],
            # It keeps files, and would keep secrets, in the home folder.
            env={"HOME": str(self._home), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    with our_server() as server, webtee(server.port()) as tee:
        yield Inspector(tee, tmp_path_factory.mktemp("inspector"))


def test_tools_are_listed(inspector: Inspector) -> None:
    tools = {tool["name"]: tool for tool in inspector.ask("tools/list")["tools"]}
    assert tools.keys() >= {"add", "forecast", "count"}
    assert tools["add"]["inputSchema"]["required"] == ["a", "b"]
    wire.check_server(inspector.tee.lines(), "2025-11-25")


def test_a_tool_is_called(inspector: Inspector) -> None:
    result = inspector.ask("tools/call", "--tool-name", "add", "--tool-arg", "a=1", "b=2")
    assert result["content"] == [{"type": "text", "text": "3"}]


def test_a_resource_is_read(inspector: Inspector) -> None:
    found = inspector.ask("resources/list")["resources"]
    assert [resource["uri"] for resource in found] == ["text://hello", "blob://pixel", "watched://counter"]
    [content] = inspector.ask("resources/read", "--uri", "text://hello")["contents"]
    assert content == {"uri": "text://hello", "mimeType": "text/plain", "text": "hello"}


def test_a_prompt_is_filled_in(inspector: Inspector) -> None:
    assert [prompt["name"] for prompt in inspector.ask("prompts/list")["prompts"]] == ["summarize", "review"]
    said = inspector.ask("prompts/get", "--prompt-name", "summarize", "--prompt-args", "text=all")
    assert said["messages"] == [{"role": "user", "content": {"type": "text", "text": "Summarize: all"}}]
