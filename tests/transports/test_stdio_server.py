"""A server on its own standard input and output, as a real process."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import LOOPS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.parametrize("loop", LOOPS)

# What a program prints stays in its buffer, unless this variable says otherwise.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(loop: str) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str = "echo", **options: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.transports.program", loop, mode],
            cwd=ROOT,
            env=BUFFERED,
            **{**pipes, **options},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def test_lines_are_answered_and_the_end_of_input_ends_it(start: Start) -> None:
    process = start()
    out, err = process.communicate(b"one\ntwo\n", timeout=5)
    assert out == b"ONE\nTWO\n"
    assert process.returncode == 0
    assert b"told: closed" in err
    assert b"Traceback" not in err


def test_one_line_at_a_time_is_answered_at_once(start: Start) -> None:
    process = start()
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(50):
        process.stdin.write(b"line %d\n" % number)
        process.stdin.flush()
        assert process.stdout.readline() == b"LINE %d\n" % number
    process.communicate(timeout=5)
    assert process.returncode == 0


def test_everything_read_before_the_end_of_input_is_answered(start: Start) -> None:
    process = start("slow")
    lines = [b"line %d" % number for number in range(300)]
    out, _ = process.communicate(b"\n".join(lines) + b"\n", timeout=5)
    assert sorted(out.split()) == sorted(b"\n".join(lines).upper().split())
    assert process.returncode == 0


def test_what_never_finishes_does_not_keep_the_process(start: Start) -> None:
    process = start("stuck")
    out, err = process.communicate(b"line\n", timeout=5)
    assert out == b""
    assert b"told: closed" in err
    assert process.returncode == 0


def test_nothing_but_the_wire_reaches_the_wire(start: Start) -> None:
    process = start("noisy")
    out, err = process.communicate(b"one\ntwo\n", timeout=5)
    assert out == b"ONE\nTWO\nafter\n"
    for noise in (b"before", b"print", b"kept", b"descriptor", b"C library", b"child"):
        assert b"noise: " + noise in err
    assert process.returncode == 0


def test_pipes_are_given_back_blocking(start: Start) -> None:
    _, err = start().communicate(b"one\n", timeout=5)
    assert b"blocking: True True" in err


def test_regular_files_serve_as_input_and_output(start: Start, tmp_path: Path) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(lines)
    with source.open("rb") as stdin, target.open("wb") as stdout:
        process = start(stdin=stdin, stdout=stdout)
        _, err = process.communicate(timeout=5)
    assert target.read_bytes() == lines.upper()
    assert process.returncode == 0
    assert b"Traceback" not in err


@pytest.mark.parametrize("mixed", ["stdin", "stdout"])
def test_a_regular_file_may_be_one_side_only(start: Start, tmp_path: Path, mixed: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\n" if mixed == "stdin" else b"")
    with path.open("rb" if mixed == "stdin" else "wb") as file:
        process = start(**{mixed: file})
        out, _ = process.communicate(None if mixed == "stdin" else b"one\n", timeout=5)
    assert (out if mixed == "stdin" else path.read_bytes()) == b"ONE\n"
    assert process.returncode == 0


def test_no_input_at_all_is_an_end(start: Start) -> None:
    process = start(stdin=subprocess.DEVNULL)
    out, _ = process.communicate(timeout=5)
    assert out == b""
    assert process.returncode == 0


def test_one_socket_serves_as_both(start: Start) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = start("slow", stdin=theirs, stdout=theirs)
        theirs.close()
        ours.settimeout(5)
        ours.sendall(b"one\ntwo\n")
        ours.shutdown(socket.SHUT_WR)
        got = b""
        while piece := ours.recv(4096):
            got += piece
        assert sorted(got.split()) == [b"ONE", b"TWO"]
        process.communicate(timeout=5)
        assert process.returncode == 0


def test_two_sockets_serve_as_the_pipes_of_other_runtimes(start: Start) -> None:
    our_in, their_in = socket.socketpair()
    our_out, their_out = socket.socketpair()
    with our_in, their_in, our_out, their_out:
        process = start(stdin=their_in, stdout=their_out)
        their_in.close()
        their_out.close()
        our_out.settimeout(5)
        our_in.sendall(b"one\n")
        assert our_out.recv(4096) == b"ONE\n"
        our_in.shutdown(socket.SHUT_WR)
        process.communicate(timeout=5)
        assert process.returncode == 0


def test_a_terminal_serves_as_both(start: Start) -> None:
    ours, theirs = pty.openpty()
    try:
        process = start(stdin=theirs, stdout=theirs)
        os.close(theirs)
        os.write(ours, b"one\n")
        got = b""
        while b"ONE\r\n" not in got:
            got += os.read(ours, 4096)
        os.write(ours, b"\x04")
        process.communicate(timeout=5)
        assert process.returncode == 0
    finally:
        os.close(ours)


def test_a_reader_that_left_ends_the_process_with_an_error(start: Start) -> None:
    process = start()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(b"two\n")
    process.stdin.flush()
    assert process.wait(5) == 1


def test_a_reader_that_left_early_costs_no_processor_time(start: Start) -> None:
    process = start()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    before = processor_time(process.pid)
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    if process.poll() is None:
        assert processor_time(process.pid) - before < 0.1
    process.stdin.close()
    assert process.wait(5) in (0, 1)


def test_a_client_that_ends_both_sides_is_an_orderly_end(start: Start) -> None:
    process = start()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.close()
    assert process.wait(5) == 0


def test_an_interrupt_ends_it_without_leaving_the_descriptors_behind(start: Start) -> None:
    process = start()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert b"KeyboardInterrupt" in err
    assert b"ResourceWarning" not in err


def processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
