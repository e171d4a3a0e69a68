"""Child processes as connections: start, standard error, and an end that leaves nothing behind.

The ladder of `Process.aclose`: end of input, `grace` seconds, SIGTERM to the process group, again
`grace` seconds, SIGKILL to the group. Should this process die without climbing it, a watchdog does:
a `/bin/sh` that reads from a pipe only we hold. It starts beside the child instead of before it,
needs no code between fork and exec (unsafe with threads), works beyond Linux, and ends
grandchildren too, which Linux's parent-death signal does not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio

from .channel import Channel, ChannelLimits, PipeLike
from .environment import child_environment
from .owner import Owner, spawn_owner
from .stderr import ErrorTail
from .threads import WorkerPool
from .wires import open_wire

__all__ = ["Process", "SpawnError", "spawn_process"]

_WATCHDOG = """read line
for signal in TERM KILL; do
    sleep "$2"
    kill -0 -"$1" 2>/dev/null || exit 0
    kill -$signal -"$1"
done
"""

_GRACE = 2.0
_POLL = 0.01
_CLIENT_LIMITS = ChannelLimits()


class SpawnError(ConnectionError):
    """A command could not be started; the message names it, the cause and a way out."""


class Process:
    """A child process whose standard input and output are a channel; made by `spawn_process`."""

    def __init__(self, popen: subprocess.Popen[bytes], tail: ErrorTail) -> None:
        self.channel: Channel
        """The connection to the process."""
        self._popen = popen
        self._tail = tail
        self._exited = anyio.Event()
        self._status: int | None = None
        self._is_gone = False  # the whole group
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._watcher: Owner | None = None
        self._closer: Owner | None = None

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group and session."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal that killed it, or None while it runs."""
        return self._status if self._status is not None else self._popen.returncode

    def stderr_tail(self, *, lines: int = 20) -> str:
        """Return the last lines the process wrote to standard error."""
        return self._tail.text(lines)

    async def wait(self) -> int:
        """Wait for the process to exit and return its status."""
        await self._exited.wait()
        status = self.returncode
        return 0 if status is None else status

    async def aclose(self, *, grace: float = _GRACE) -> None:
        """End the process and everything in its group, politely first; idempotent.

        A cancelled caller stops waiting; the ladder is climbed to its end all the same.
        """
        await self._end(grace).wait()

    # --- start ------------------------------------------------------------------------------------

    def start(self, *, watchdog: float | None) -> None:
        """Begin to watch for the exit; called once, by `spawn_process`."""
        if watchdog is not None and sys.platform != "win32":
            self._watchdog = _start_watchdog(self.pid, watchdog)
        self._watcher = spawn_owner(self._watch, name="kailash process watch")

    async def _watch(self) -> None:
        try:
            self._status = await _exit_status(self._popen)
            self._exited.set()
            await self.channel.wait_closed()
        except BaseException:
            # The loop is being shut down and nobody has closed us: nothing may stay behind.
            self.destroy()
            self._exited.set()
            raise
        # Exited by itself and nothing left to read: no zombie waits for somebody to call `aclose`.
        self._end(_GRACE)

    # --- end --------------------------------------------------------------------------------------

    def _end(self, grace: float) -> Owner:
        if self._closer is None:
            self._closer = spawn_owner(self._descend, grace, name="kailash process end")
        return self._closer

    async def _descend(self, grace: float) -> None:
        try:
            self.channel.end_sending()
            await self._wait_exit(grace)
            # Even when the leader has gone: what it left in its group goes too.
            if self._signal(_SIGTERM):
                await self._wait_group(grace)
        finally:
            # Synchronous: a loop that is being shut down must leave nothing behind either.
            self.destroy()
        with anyio.CancelScope(shield=True):
            await self.channel.wait_closed()
            await self._tail.wait_closed()
            if self._watcher is not None:
                await self._watcher.wait()

    def destroy(self) -> None:
        """Kill the group and reap, without waiting for anything polite; `aclose` does it last."""
        self._signal(_SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=1.0)
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.kill()
            watchdog.wait()
            if watchdog.stdin is not None:
                watchdog.stdin.close()
        self.channel.abort()
        self._tail.close()

    async def _wait_exit(self, grace: float) -> None:
        with anyio.move_on_after(grace):
            await self._exited.wait()

    async def _wait_group(self, grace: float) -> None:
        with anyio.move_on_after(grace):
            await self._exited.wait()
            # Until here the unreaped leader kept its id, and so the group's, from being used again;
            # from here on the members that are left do.
            self._popen.wait()
            while self._signal(0):  # noqa: ASYNC110 - a group has no event for its end
                await anyio.sleep(_POLL)

    def _signal(self, number: int) -> bool:
        # Returns whether anything was there to get the signal.
        if self._is_gone:
            return False
        if sys.platform == "win32":
            if self._popen.poll() is None and number:
                self._popen.terminate()
            return self._popen.returncode is None
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            self._is_gone = True
            return False
        except PermissionError:
            # macOS says so of a group of zombies, Linux of members that changed their user.
            return self._popen.poll() is None
        return True


_SIGTERM = int(signal.SIGTERM)
_SIGKILL = int(getattr(signal, "SIGKILL", signal.SIGTERM))


async def spawn_process(
    command: str,
    args: Sequence[str] = (),
    *,
    pipe: PipeLike,
    on_events: Callable[[list[Any]], None],
    on_open: Callable[[Channel], None] | None = None,
    on_closed: Callable[[BaseException | None], None] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stderr_limit: int = 1 << 16,
    on_stderr: Callable[[bytes], object] | None = None,
    watchdog: float | None = 2.0,
    limits: ChannelLimits = _CLIENT_LIMITS,
) -> Process:
    """Start a command in a session of its own and drive the pipe over its stdin and stdout.

    Args:
        on_open: Called with the channel before anything is read.
        env: Variables beside the allow-list of `child_environment`.
        stderr_limit: Bytes of standard error kept for `Process.stderr_tail`.
        on_stderr: Called with each piece of standard error.
        watchdog: Seconds between the steps that end the process group should this process die
            without `aclose`; None for nobody who does it.

    Raises:
        SpawnError: The command cannot be started.
    """
    fds = _pipes()
    child_stdin, our_stdin, our_stdout, child_stdout, our_stderr, child_stderr = fds
    theirs = (child_stdin, child_stdout, child_stderr)
    try:
        popen = _start([command, *args], theirs, child_environment(env), cwd)
    except BaseException:
        _close(fds)
        raise
    _close(theirs)
    tail = ErrorTail(stderr_limit, on_stderr)
    process = Process(popen, tail)
    try:
        with anyio.CancelScope(shield=True):  # a few turns of the loop, and nothing half-open
            await tail.open(our_stderr)
            process.channel = await open_wire(
                pipe,
                our_stdout,
                our_stdin,
                on_open=on_open,
                on_events=on_events,
                on_closed=on_closed,
                limits=limits,
                keep_reading=True,
            )
    except BaseException:
        popen.kill()
        popen.wait()
        tail.close()
        raise
    process.start(watchdog=watchdog)
    return process


def _pipes() -> list[int]:
    fds: list[int] = []
    try:
        for _ in range(3):
            fds.extend(os.pipe())
    except OSError as error:
        _close(fds)
        raise SpawnError(f"cannot open pipes to a child process: {error.strerror}") from error
    return fds


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _start(
    argv: list[str],
    fds: tuple[int, int, int],
    env: dict[str, str],
    cwd: str | os.PathLike[str] | None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=fds[0],
            stdout=fds[1],
            stderr=fds[2],
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SpawnError(_explain(argv[0], error, env, cwd)) from error


def _explain(
    command: str,
    error: OSError | ValueError,
    env: Mapping[str, str],
    cwd: str | os.PathLike[str] | None,
) -> str:
    intro = f"cannot start {command!r}: "
    if isinstance(error, ValueError):
        return f"{intro}{error}"
    if cwd is not None and not os.path.isdir(cwd):
        return f"{intro}its working directory {os.fspath(cwd)!r} does not exist"
    if error.errno == errno.ENOENT:
        if os.path.dirname(command):
            hint = "the file does not exist"
            if os.path.exists(command):
                hint = "the interpreter its first line names does not exist"
            return f"{intro}{hint}"
        path = env.get("PATH", "")
        return f"{intro}command not found on PATH ({path}); give its full path or set PATH in env"
    if error.errno == errno.EACCES:
        return f"{intro}permission denied; the file is not executable or may not be entered"
    if error.errno == errno.ENOEXEC:
        return f"{intro}not a program: neither a binary of this machine nor a script with '#!'"
    return f"{intro}{error.strerror or error}"


def _start_watchdog(pgid: int, grace: float) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "kailash-watchdog", str(pgid), str(grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        # No shell here (a minimal container): the end of its input still ends a polite server.
        return None


async def _exit_status(popen: subprocess.Popen[bytes]) -> int:
    # Without reaping wherever that is possible: see `_wait_group`.
    if hasattr(os, "pidfd_open"):
        try:
            pidfd = os.pidfd_open(popen.pid)
        except OSError:  # an old kernel, a sandbox
            pidfd = -1
        if pidfd >= 0:
            try:
                await anyio.wait_readable(pidfd)
            finally:
                os.close(pidfd)
            return _peek(popen)
    pool = WorkerPool(limit=1, queue=0, idle=0.1)
    try:
        return await pool.run(popen.wait)
    finally:
        pool.close()


def _peek(popen: subprocess.Popen[bytes]) -> int:
    found = None
    with contextlib.suppress(ChildProcessError):  # reaped by someone else's handler
        found = os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
    if found is None:
        return popen.wait()
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
