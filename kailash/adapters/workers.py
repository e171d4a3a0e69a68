"""Several processes on one port: forked, watched, replaced when they die, stopped together."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from .switchboard import Switchboard, make_lines

__all__ = ["Serve", "run_workers"]

logger = logging.getLogger("kailash.adapters.workers")

Serve = Callable[[Switchboard, list[socket.socket]], int]
"""Runs in each worker, with its lines to the others and sockets of its own; returns the exit status."""

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_SHORT_LIFE = 1.0
"""A worker that lived no longer than this is not replaced at once: what killed it would kill the next."""
_LONGEST_PAUSE = 30.0


class _Worker:
    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.born = 0.0
        self.pause = 0.0
        """Seconds to wait before it is replaced once more."""
        self.due: float | None = 0.0
        """When to start it; `None` while it runs."""


def run_workers(serve: Serve, sockets: list[socket.socket], count: int) -> int:
    """Serve in `count` processes until told to stop, and return the exit status.

    SIGTERM and SIGINT are passed on to every worker, each time they come; a worker that dies is replaced.

    Args:
        serve: runs in each worker.
        sockets: bound with `SO_REUSEPORT`, so that each worker can bind the same; closed.
        count: how many.

    Raises:
        ValueError: this platform cannot fork, or has no `SO_REUSEPORT`.
    """
    if not hasattr(os, "fork") or not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("workers need fork and SO_REUSEPORT, which this platform lacks; run one process")
    return _Supervisor(serve, sockets, count).run()


class _Supervisor:
    def __init__(self, serve: Serve, sockets: list[socket.socket], count: int) -> None:
        self._serve = serve
        # Bound and not listening: they hold the port while a worker is replaced, and take no connection.
        self._sockets = sockets
        self._workers = [_Worker(number) for number in range(count)]
        self._lines = make_lines(count)
        self._lifeline, self._life = os.pipe()
        self._is_stopping = False
        self._status = 0

    def run(self) -> int:
        woken, waker = socket.socketpair()
        woken.setblocking(False)
        waker.setblocking(False)
        previous: dict[int, Any] = {number: signal.signal(number, lambda *_: None) for number in _WATCHED}
        former = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            while not (self._is_stopping and not any(worker.pid for worker in self._workers)):
                self._start_due(former, previous, (woken, waker))
                select.select([woken], [], [], self._patience())
                numbers = b""
                with contextlib.suppress(BlockingIOError):
                    numbers = woken.recv(4096)
                self._reap()
                for number in numbers:
                    if number in (signal.SIGTERM, signal.SIGINT):
                        self._stop(number)
        finally:
            signal.set_wakeup_fd(former)
            for number, handler in previous.items():
                signal.signal(number, handler)
            for each in (woken, waker, *self._sockets, *(end for line in self._lines for end in line)):
                each.close()
            os.close(self._life)
            os.close(self._lifeline)
        return self._status

    def _patience(self) -> float | None:
        due = [worker.due for worker in self._workers if worker.due is not None]
        if not due or self._is_stopping:
            return None
        return max(0.0, min(due) - time.monotonic())

    def _start_due(self, former: int, previous: dict[int, Any], pair: tuple[socket.socket, socket.socket]) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.due is None or worker.due > now or self._is_stopping:
                continue
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(former)
                for number, handler in previous.items():
                    signal.signal(number, handler)
                for each in pair:
                    each.close()
                os.close(self._life)
                self._become(worker.number)
            worker.pid, worker.born, worker.due = pid, now, None

    def _become(self, number: int) -> None:
        """Be a worker; never returns."""
        status = 1
        try:
            status = self._serve(
                Switchboard(number, self._lines, self._lifeline), [_bind_again(each) for each in self._sockets]
            )
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            # Nobody is above a forked worker who could tell of it.
            logger.exception("! worker %d failed", number)
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid:
                continue
            pid, code = os.waitpid(worker.pid, os.WNOHANG)
            if not pid:
                continue
            worker.pid = 0
            status = os.waitstatus_to_exitcode(code)
            if self._is_stopping:
                if status not in (-signal.SIGTERM, -signal.SIGINT):  # those had not begun to serve
                    self._status = self._status or (status if status >= 0 else 128 - status)
                continue
            if now - worker.born < _SHORT_LIFE:
                worker.pause = min(_LONGEST_PAUSE, worker.pause * 2 or 0.1)
            else:
                worker.pause = 0.0
            worker.due = now + worker.pause
            how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
            logger.warning("! worker %d %s; it is replaced", worker.number, how)

    def _stop(self, number: int) -> None:
        self._is_stopping = True
        for worker in self._workers:
            if worker.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)


def _bind_again(held: socket.socket) -> socket.socket:
    """Return another socket bound to the same address, with a queue of its own."""
    mine = socket.socket(held.family, held.type, held.proto)
    for level, option in (
        (socket.SOL_SOCKET, socket.SO_REUSEADDR),
        (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    ):
        mine.setsockopt(level, option, 1)
    if held.family == socket.AF_INET6:
        mine.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    mine.setblocking(False)
    mine.bind(held.getsockname())
    held.close()
    return mine
