"""Every test here runs a foreign implementation."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kailash.mcp_client import web

from . import wire

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.interop)
            if item.get_closest_marker("timeout") is None:
                # Whichever comes first installs what all of them run against.
                item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """Forget what was found at ports that have other servers by now."""
    web._verdicts.clear()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def run_foreign_client(command: list[str], argument: str, where: dict[str, Any]) -> dict[str, Any]:
    """Run a foreign client against the server that is there; return its report."""
    done = subprocess.run(
        [*command, argument, json.dumps(where)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report: dict[str, Any] = json.loads(done.stdout)
    report["stderr"] = done.stderr
    return report


def our_command(log: Path) -> dict[str, Any]:
    """Return how a client starts our server, with somebody who writes down what passes."""
    command, *args = wire.through_tee(log, sys.executable, str(wire.SCRIPTS / "our_server.py"))
    return {"command": command, "args": args, "env": {"PYTHONPATH": str(ROOT)}}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the conversation is written down."""
    return tmp_path / "wire.jsonl"
