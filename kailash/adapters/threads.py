"""Threads for plain functions, with one wake-up of the loop per batch of results.

`anyio.to_thread` costs several turns of the loop per call; this costs a queue hop there and,
however many results are ready, one wake-up back.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import anyio

from .loops import current_loop

__all__ = ["WorkerPool", "WorkersBusy"]

logger = logging.getLogger("kailash.adapters.threads")

T = TypeVar("T")

OnDone = Callable[[Any, BaseException | None], None]


class WorkersBusy(RuntimeError):
    """Every worker runs and the queue is full: refuse the work now, it may be retried later."""


class WorkerPool:
    """Daemon threads that run plain functions for one event loop.

    Made and used in the loop's thread. A thread that is running cannot be stopped: cancelling means
    that nobody waits for it any more, while it keeps its place until it returns.

    Args:
        limit: Functions that run at once.
        queue: Functions that may wait for a thread.
        idle: Seconds without work until a thread ends.
    """

    def __init__(self, *, limit: int = 32, queue: int = 64, idle: float = 10.0) -> None:
        self._loop = current_loop()
        self._limit = limit
        self._capacity = limit + queue
        self._idle_timeout = idle
        self._taken = 0  # submitted and not yet reported; only the loop's thread counts it
        self._jobs: deque[tuple[contextvars.Context, Callable[[], Any], OnDone]] = deque()
        self._results: deque[tuple[OnDone, Any, BaseException | None]] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # one True wakes one thread, False ends it
        self._lock = threading.Lock()  # guards the four below
        self._threads = 0
        self._sleeping = 0
        self._waking = False  # a thread was woken and has not looked for work yet
        self._closed = False
        self._notified = False

    def __len__(self) -> int:
        """Return how many functions run or wait."""
        return self._taken

    @property
    def threads(self) -> int:
        """How many threads live."""
        return self._threads

    def submit(self, fn: Callable[[], T], on_done: Callable[[Any, BaseException | None], None]) -> None:
        """Run `fn` in a thread, then call `on_done(result, error)` in the loop's thread.

        The function sees a copy of the caller's context variables.

        Raises:
            WorkersBusy: Every thread is taken and the queue is full.
        """
        if self._taken >= self._capacity or self._closed:
            raise WorkersBusy(f"{self._taken} functions run or wait already")
        self._taken += 1
        self._jobs.append((contextvars.copy_context(), fn, on_done))
        if not self._waking:
            self._wake()

    async def run(self, fn: Callable[[], T]) -> T:
        """Run `fn` in a thread and return its result; a cancelled caller stops waiting at once.

        Raises:
            WorkersBusy: Every thread is taken and the queue is full.
        """
        done = anyio.Event()
        outcome: list[Any] = []

        def on_done(result: Any, error: BaseException | None) -> None:
            outcome.append(result)
            outcome.append(error)
            done.set()

        self.submit(fn, on_done)
        await done.wait()
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def close(self) -> None:
        """Take no more work and let every thread end after what is queued; idempotent."""
        with self._lock:
            self._closed = True
            sleeping, self._sleeping = self._sleeping, 0
        for _ in range(sleeping):
            self._tokens.put(False)

    # --- threads ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        # One thread at a time: a woken thread that finds more work wakes the next. Short functions
        # are then run by one or two threads in long batches, while functions that block get a
        # thread each within microseconds.
        with self._lock:
            if self._waking or not self._jobs:
                return
            if self._sleeping:
                self._sleeping -= 1
                self._waking = True
                self._tokens.put(True)
            elif self._threads < self._limit:
                self._threads += 1
                self._waking = True
                name = f"kailash-worker-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        jobs = self._jobs
        while True:
            self._waking = False
            while True:
                try:
                    context, fn, on_done = jobs.popleft()
                except IndexError:
                    break
                if jobs and not self._waking:
                    self._wake()
                self._run(context, fn, on_done)
            with self._lock:
                if jobs:
                    continue
                if self._closed:
                    self._threads -= 1
                    return
                self._sleeping += 1
            # Nothing of the last job may be kept alive by a sleeping thread.
            context = fn = on_done = None  # type: ignore[assignment]
            if not self._sleep():
                return

    def _sleep(self) -> bool:
        try:
            woken = self._tokens.get(timeout=self._idle_timeout)
        except Empty:
            with self._lock:
                try:
                    # The token may have come between the time-out and the lock.
                    woken = self._tokens.get_nowait()
                except Empty:
                    self._sleeping -= 1
                    woken = False
        if not woken:
            with self._lock:
                self._threads -= 1
        return woken

    def _run(self, context: contextvars.Context, fn: Callable[[], Any], on_done: OnDone) -> None:
        try:
            result, error = context.run(fn), None
        except BaseException as raised:
            # SystemExit and KeyboardInterrupt raised by a function are its failure, not ours: they
            # would end a thread silently and leave the caller waiting.
            result, error = None, raised
        self._results.append((on_done, result, error))
        if not self._notified:
            self._notified = True
            self._loop.call_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._notified = False
        results = self._results
        while results:
            on_done, result, error = results.popleft()
            self._taken -= 1
            try:
                on_done(result, error)
            except Exception:
                logger.exception("! the callback for a finished function failed")
