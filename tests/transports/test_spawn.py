"""Child processes as connections: start, standard error, and every way to end them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kailash.adapters.environment import child_environment
from kailash.adapters.spawn import Process, SpawnError, spawn_process

from .conftest import LOOPS
from .lines import Client, until, within

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.anyio

ECHO = """
import sys
for line in sys.stdin:
    sys.stdout.write(line.upper())
    sys.stdout.flush()
"""
DEAF = """
import sys, time
print("up", flush=True)
time.sleep(60)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + DEAF
PARENT = """
import subprocess, sys
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def spawned(program: str, **options: Any) -> AsyncIterator[tuple[Process, Client]]:
    client = Client()
    process = await spawn_process(
        sys.executable,
        ["-c", program],
        pipe=client.pipe,
        on_events=client.on_events,
        on_closed=client.on_closed,
        **options,
    )
    try:
        yield process, client
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose(grace=0.2)
    assert process.returncode is not None
    assert len(client.closed) == 1
    assert not is_alive(process.pid)


def is_alive(pid: int) -> bool:
    """Tell whether the process runs; a zombie somebody else has to reap does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def open_descriptors() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return {entry for entry in found if "/proc/" not in entry}


def has_children() -> bool:
    """Tell whether there is a child process, be it a zombie."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


async def test_a_process_answers_and_ends_at_the_end_of_its_input() -> None:
    async with spawned(ECHO) as (process, client):
        client.pipe.say(b"hello")
        process.channel.flush()
        await until(lambda: client.lines)
        assert client.lines == [b"HELLO"]
        assert process.returncode is None
        await within(2, process.aclose)
        assert process.returncode == 0
        assert await process.wait() == 0
        assert client.events[-1] == "closed"
        assert client.closed == [None]


async def test_what_a_process_says_while_it_ends_is_still_read() -> None:
    program = "import sys; sys.stdin.read(); print('x' * 200_000, flush=True); print('bye')"
    async with spawned(program) as (process, client):
        await process.aclose()
        assert client.lines[-1] == b"bye"
        assert process.returncode == 0


async def test_a_deaf_process_is_terminated() -> None:
    async with spawned(DEAF) as (process, client):
        await until(lambda: client.lines)
        await within(2, lambda: process.aclose(grace=0.2))
        assert process.returncode == -signal.SIGTERM


async def test_a_stubborn_process_is_killed() -> None:
    async with spawned(STUBBORN) as (process, client):
        await until(lambda: client.lines)
        took = await within(3, lambda: process.aclose(grace=0.2))
        assert process.returncode == -signal.SIGKILL
        assert took >= 0.4


async def test_what_the_leader_leaves_in_its_group_is_ended() -> None:
    async with spawned(PARENT) as (process, client):
        await until(lambda: client.lines)
        grandchild = int(client.lines[0])
        assert is_alive(grandchild)
        await within(3, lambda: process.aclose(grace=1))
        assert process.returncode == 0
        await until(lambda: not is_alive(grandchild))


async def test_a_process_that_dies_ends_the_connection() -> None:
    program = "import os, sys; print('last words', file=sys.stderr, flush=True); os._exit(3)"
    async with spawned(program) as (process, client):
        await within(3, process.channel.wait_closed)
        assert await process.wait() == 3
        assert client.events == ["closed"]
        await until(lambda: process.stderr_tail())
        assert process.stderr_tail() == "last words"
        await until(lambda: not has_children())  # nobody has called aclose


async def test_a_loop_that_ends_leaves_no_process() -> None:
    pids: list[int] = []

    async def main() -> None:
        client = Client()
        process = await spawn_process(sys.executable, ["-c", STUBBORN], pipe=client.pipe, on_events=client.on_events)
        pids.append(process.pid)
        await until(lambda: client.lines)

    for backend in ("asyncio", "trio"):
        await anyio.to_thread.run_sync(lambda name=backend: anyio.run(main, backend=name))
    assert not any(map(is_alive, pids))
    assert not has_children()


async def test_writing_to_a_process_that_died_is_an_orderly_failure() -> None:
    async with spawned("import os, time; os.read(0, 1); os.close(0); time.sleep(60)") as (process, client):
        # More than a pipe holds: some of it waits when the other end goes away. If nothing did, that were no failure.
        client.pipe.say(b"x" * (1 << 20))
        process.channel.flush()
        await within(3, process.channel.wait_closed)
        assert isinstance(process.channel.error, BrokenPipeError)


async def test_a_cancelled_end_goes_on_by_itself() -> None:
    async with spawned(DEAF) as (process, client):
        await until(lambda: client.lines)
        with anyio.move_on_after(0.05):
            await process.aclose(grace=0.3)
        assert process.returncode is None
        await until(lambda: process.returncode is not None)


async def test_two_tasks_may_end_a_process_at_once() -> None:
    async with spawned(DEAF) as (process, client):
        await until(lambda: client.lines)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(lambda: process.aclose(grace=0.1))
        assert process.returncode == -signal.SIGTERM


async def test_nothing_is_left_open() -> None:
    async with spawned(ECHO):
        pass
    before = open_descriptors()
    for program in (ECHO, DEAF):
        async with spawned(program):
            pass
    assert open_descriptors() == before
    assert not has_children()


async def test_standard_error_is_drained_and_its_end_kept() -> None:
    program = (
        "import sys\n"
        "for n in range(20_000): print('line', n, 'x' * 40, file=sys.stderr)\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    seen: list[bytes] = []
    async with spawned(program, stderr_limit=1000, on_stderr=seen.append) as (process, client):
        await until(lambda: client.lines == [b"done"])
        await until(lambda: "line 19999" in process.stderr_tail())
        assert len(process.stderr_tail(lines=3).splitlines()) == 3
        assert len(process.stderr_tail(lines=1000)) <= 1000
        assert sum(map(len, seen)) > 1_000_000


async def test_a_failing_callback_for_standard_error_is_not_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(data: bytes) -> None:
        raise ValueError("cannot log")

    program = "import sys; sys.stderr.write('a\\n'); sys.stdin.read()"
    async with spawned(program, on_stderr=fail) as (process, _):
        await until(lambda: process.stderr_tail())
        assert "cannot log" in caplog.text


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("no-such-command-anywhere", {}, ["no-such-command-anywhere", "not found on PATH"]),
        ("/no/such/file", {}, ["/no/such/file", "does not exist"]),
        ("/etc/passwd", {}, ["permission denied", "not executable"]),
        (sys.executable, {"cwd": "/no/such/folder"}, ["working directory", "/no/such/folder"]),
        ("nul\0byte", {}, ["null byte"]),
    ],
)
async def test_a_command_that_cannot_start_is_explained(
    command: str, options: dict[str, Any], words: list[str]
) -> None:
    client = Client()
    before = open_descriptors()
    with pytest.raises(SpawnError) as caught:
        await spawn_process(command, pipe=client.pipe, on_events=client.on_events, **options)
    assert isinstance(caught.value, ConnectionError)
    for word in words:
        assert word in str(caught.value)
    assert open_descriptors() == before


async def test_a_file_that_is_no_program_is_explained(tmp_path: Path) -> None:
    client = Client()
    script, bad = tmp_path / "script", tmp_path / "bad"
    script.write_text("no first line")
    bad.write_text("#!/no/such/interpreter\n")
    for path, word in ((script, "not a program"), (bad, "interpreter")):
        path.chmod(0o755)
        with pytest.raises(SpawnError, match=word):
            await spawn_process(str(path), pipe=client.pipe, on_events=client.on_events)


async def test_the_environment_is_an_allow_list_and_what_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("LC_ALL", "C")
    program = "import os, sys; print(sorted(os.environ), flush=True); sys.stdin.read()"
    async with spawned(program, env={"NAMED": "yes"}) as (_, client):
        await until(lambda: client.lines)
        names = client.lines[0].decode()
        assert "SECRET_TOKEN" not in names
        for name in ("PATH", "NAMED", "LC_ALL"):
            assert f"'{name}'" in names


async def test_a_process_runs_in_a_session_of_its_own(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd(), os.getsid(0), flush=True); sys.stdin.read()"
    async with spawned(program, cwd=tmp_path) as (process, client):
        await until(lambda: client.lines)
        assert client.lines[0].decode() == f"{tmp_path} {process.pid}"


def test_names_not_passed_on_are_logged_without_their_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("LC_FUNCTION", "() { :; }")
    caplog.set_level("DEBUG", logger="kailash.adapters.spawn")
    environment = child_environment({"EXTRA": "1"})
    assert "SECRET_TOKEN" not in environment
    assert "LC_FUNCTION" not in environment
    assert environment["EXTRA"] == "1"
    assert "SECRET_TOKEN" in caplog.text
    assert "hush" not in caplog.text


ORPHANER = """
import signal, sys
import anyio
from kailash.adapters.spawn import spawn_process
from tests.transports.lines import Client

async def main():
    client = Client()
    process = await spawn_process(
        sys.executable, ["-c", sys.argv[2]], pipe=client.pipe, on_events=client.on_events,
        watchdog=0.2,
    )
    while not client.lines:
        await anyio.sleep(0.01)
    print(process.pid, client.lines[0].decode(), flush=True)
    await anyio.sleep(60)

backend = sys.argv[1]
anyio.run(
    main,
    backend="trio" if backend == "trio" else "asyncio",
    backend_options={"use_uvloop": True} if backend == "uvloop" else {},
)
"""


def start_parent(loop: str, child: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", ORPHANER, loop, child],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("child", [DEAF, STUBBORN, PARENT], ids=["deaf", "stubborn", "parent"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_killed_parent_leaves_no_orphan(loop: str, child: str) -> None:
    with start_parent(loop, child) as parent:
        assert parent.stdout is not None
        first, second = parent.stdout.readline().split()
        pids = [int(word) for word in (first, second) if word.isdigit()]
        assert all(map(is_alive, pids))
        parent.kill()
    await until(lambda: not any(map(is_alive, pids)))
