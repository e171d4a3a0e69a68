"""What no line of the packages does: whatever grows without bound, guesses secrets, or trusts the wall clock."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(path for package in ("kailash", "protocol") for path in (ROOT / package).rglob("*.py"))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def names(name: str) -> set[str]:
    """Return the files in which something is called whose name ends so."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        for called, _ in calls(ast.parse(path.read_text()))
        if called == name or called.endswith("." + name)
    }


def test_no_queue_is_without_a_bound() -> None:
    for name in ("Queue", "create_memory_object_stream", "LifoQueue", "PriorityQueue"):
        assert not names(name), "give it a bound, and this test the reason"
    # One token for each worker thread or task that is asked for; both are bounded by the pool.
    assert names("SimpleQueue") <= {"kailash/adapters/threads.py", "kailash/adapters/otel.py"}


def test_tasks_begin_only_where_they_are_counted() -> None:
    """Handlers run under the dispatcher; all else is one task for each connection, stream or process."""
    assert names("create_task") <= {"kailash/adapters/loops.py", "kailash/adapters/wires.py"}
    for path in names("start_soon"):
        tree = ast.parse((ROOT / path).read_text())
        # What is started within a group ends with it.
        assert any(called.endswith("create_task_group") for called, _ in calls(tree)) or path.startswith(
            ("kailash/adapters/", "kailash/stores/")
        ), path
    assert not names("ensure_future") and not names("run_coroutine_threadsafe")


def test_secrets_are_drawn_from_the_system() -> None:
    drawing = {path for path in FILES if "import random" in path.read_text() or "from random" in path.read_text()}
    # Pauses before another attempt: to be spread, not to be secret.
    assert {path.relative_to(ROOT).as_posix() for path in drawing} <= {
        "kailash/mcp_client/retrying.py",
        "kailash/mcp_client/sockets.py",
        "kailash/mcp_client/websocket.py",
    }


def test_timers_trust_no_wall_clock() -> None:
    """The date is for tokens, tasks, records and spans; `datetime.now` and `utcnow` are nowhere."""
    assert not names("utcnow")
    for path in FILES:
        if path.relative_to(ROOT).parts[:2] in (("kailash", "adapters"), ("kailash", "resilience")):
            assert "time.time(" not in path.read_text(), path
    assert not any("time." in ast.unparse(node) for node in _waits())


def _waits() -> Iterator[ast.AST]:
    for path in FILES:
        for called, node in calls(ast.parse(path.read_text())):
            if called.endswith(("call_at", "sleep_until")):
                yield node


def test_hashes_of_text_are_not_to_be_foreseen() -> None:
    assert not any("PYTHONHASHSEED" in path.read_text() for path in FILES)
    script = "import kailash.mcp_server, sys; print(sys.flags.hash_randomization, hash('x'))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
    said = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, env=environment, text=True).stdout
        for _ in range(2)
    }
    assert len(said) == 2 and all(line.startswith("1 ") for line in said)


def test_nothing_of_a_peer_is_fetched_but_where_urls_are_judged() -> None:
    """Icons, `$ref` and links are data: the one fetch there is takes URLs of the configuration and judges them."""
    for path in FILES:
        text = path.read_text()
        assert "urlopen(" not in text and "webbrowser" not in text and "import requests" not in text, path
    using = {path.relative_to(ROOT).as_posix() for path in FILES if "adapters.fetch import" in path.read_text()}
    assert using == {"kailash/mcp_server/jwt_auth.py"}
