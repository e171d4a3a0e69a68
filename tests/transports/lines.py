"""A sans-IO pipe of the smallest kind, to drive channels with: lines, answered in capitals."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio


class LinePipe:
    """Reports each line as an event; `say` writes one, `answer` echoes one in capitals."""

    is_holding = False

    def __init__(self) -> None:
        self.engine = self
        self.finished = False
        self.deadline: float | None = None
        self.deadlines_handled: list[float] = []
        self._rest = b""
        self._events: list[Any] = []
        self._out: list[bytes] = []
        self._eof = False

    def receive_data(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._events.extend(lines)

    def receive_eof(self) -> None:
        if not self._eof:
            self._eof = True
            self._events.append("closed")

    def events_received(self) -> list[Any]:
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def close_expected(self) -> bool:
        return self.finished

    def next_deadline(self) -> float | None:
        return self.deadline

    def handle_deadline(self, now: float) -> None:
        self.deadlines_handled.append(now)
        self.deadline = None
        self._events.append("expired")

    def say(self, line: bytes) -> None:
        self._out.append(line + b"\n")

    def end(self) -> None:
        self._out.append(b"")


class Client:
    """A runtime in miniature: keeps what arrived and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.pipe = LinePipe()
        self.events: list[Any] = []
        self.batches: list[int] = []
        self.closed: list[BaseException | None] = []

    def on_events(self, events: list[Any]) -> None:
        self.events.extend(events)
        self.batches.append(len(events))

    def on_closed(self, error: BaseException | None) -> None:
        self.closed.append(error)

    @property
    def lines(self) -> list[bytes]:
        return [event for event in self.events if isinstance(event, bytes)]


class Echo(Client):
    """Answers each line in capitals, inside the callback."""

    def __init__(self) -> None:
        super().__init__()
        self.flush: Callable[[], None] = lambda: None

    def on_events(self, events: list[Any]) -> None:
        super().on_events(events)
        for event in events:
            if isinstance(event, bytes):
                self.pipe.say(event.upper())
                self.flush()


async def until(condition: Callable[[], object], seconds: float = 4.0) -> None:
    """Wait until the condition holds; for what has no event, such as another process."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await anyio.sleep(0.002)


async def within(seconds: float, wait: Callable[[], Awaitable[Any]]) -> float:
    """Await and return the seconds it took; fail when they are more than allowed."""
    started = time.monotonic()
    with anyio.fail_after(seconds):
        await wait()
    return time.monotonic() - started
