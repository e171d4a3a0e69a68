"""A server on its own stdio, started by the tests: `python -m tests.transports.program`.

Arguments: the event loop (asyncio, uvloop, trio) and what to do with each line.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import Any

import anyio

from kailash.adapters.channel import Channel, ChannelLimits
from kailash.adapters.dispatch import Dispatcher
from kailash.adapters.stdio import serve_stdio

from .lines import LinePipe, until


class Program:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.pipe = LinePipe()
        self.channel: Channel
        self.work = Dispatcher()
        self.asked = 0

    def open(self, channel: Channel) -> None:
        self.channel = channel

    def on_events(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, bytes):
                self.asked += 1
                self.take(event)
            else:
                print("told:", event, file=sys.stderr)

    def take(self, line: bytes) -> None:
        if self.mode in ("slow", "stuck"):
            self.work.spawn(self.answer_late, line)
            return
        if self.mode == "noisy":
            make_noise()
        if self.mode == "die":
            os._exit(3)
        self.pipe.say(line.upper())
        self.channel.flush()

    async def answer_late(self, line: bytes) -> None:
        await anyio.sleep(3600 if self.mode == "stuck" else 0.1)
        self.pipe.say(line.upper())
        self.channel.flush_soon()

    def on_eof(self) -> None:
        self.work.spawn(self.finish)

    async def finish(self) -> None:
        await until(lambda: len(self.work) == 1 or self.mode == "stuck")
        if self.mode != "stuck":
            self.channel.close()

    async def main(self) -> BaseException | None:
        error = await serve_stdio(
            self.pipe,
            on_open=self.open,
            on_events=self.on_events,
            on_eof=self.on_eof,
            limits=ChannelLimits(linger=0.3 if self.mode == "stuck" else 5.0),
        )
        await self.work.aclose()
        return error


def make_noise() -> None:
    print("noise: print")
    print("noise: kept", end="", file=sys.__stdout__)
    os.write(1, b"noise: descriptor\n")
    ctypes.CDLL(None).puts(b"noise: C library")
    subprocess.run(["/bin/sh", "-c", "echo noise: child; cat"], check=True)
    with contextlib.suppress(EOFError):
        input()


async def run(mode: str) -> BaseException | None:
    return await Program(mode).main()


if __name__ == "__main__":
    # A shell starts what runs in its background with this signal ignored, and so are the tests' own children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    backend, mode = sys.argv[1:]
    print("noise: before", end="")
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    failure = anyio.run(run, mode, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
    print("blocking:", os.get_blocking(0), os.get_blocking(1), file=sys.stderr)
    if mode == "noisy":
        print("after")
    sys.exit(1 if failure else 0)
