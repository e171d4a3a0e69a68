"""`python -m tests.soak`: good, bad, slow, cancelled and vanished clients at one server, on every transport.

One process serves stdio, HTTP, HTTP+SSE, WebSockets, TCP and a Unix socket at once. After a third of the time all leave
and its memory is taken down; the rest must end with no more than 5 % above that, no task and no connection left, and an
answer to every good call.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from kailash.mcp_client import MCPClient
from kailash.mcp_server import Context, MCPServer
from protocol.revisions import REVISIONS
from tests.transports.linepeer import call

__all__ = ["Report", "soak"]

HOME = Path(__file__).parents[1]
GROWTH = 1.05
"""What memory may be in the end of what it was when it had settled."""
ERAS = [revision.name for revision in REVISIONS[-2:]]


# The server


def make_server() -> MCPServer:
    server = MCPServer(
        "soak",
        enable_http_transport=True,
        enable_sse_transport=True,
        enable_websocket_transport=True,
        http_options={
            "head_timeout": 1.0, "body_timeout": 1.0, "idle_timeout": 2.0, "write_timeout": 1.0, "session_idle": 2.0,
            "message_timeout": 1.0,
        },
        socket_options={
            "first_message_timeout": 1.0, "message_timeout": 1.0, "write_timeout": 1.0, "idle_timeout": 30.0,
        },
    )  # fmt: skip

    @server.tool(blocking=False)
    def echo(message: str) -> str:
        return message

    @server.tool
    def block(message: str) -> str:
        return message

    @server.tool
    async def wait() -> str:
        await anyio.sleep_forever()
        return "never"

    @server.tool
    async def pour(ctx: Context) -> str:
        for number in range(10_000):
            await ctx.progress(number, message="x" * 65536)
        return "poured"

    @server.tool(blocking=False)
    def figures() -> dict[str, int]:
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        tasks = len(asyncio.all_tasks())
        files = len(os.listdir("/proc/self/fd"))
        return {"memory": pages * os.sysconf("SC_PAGESIZE"), "tasks": tasks, "files": files, "busy": busy()}

    def busy() -> int:
        """Return how many handlers run, this one aside, and how many connections there are, that of who asks aside."""
        apps = list(server.applications)
        return sum(session.in_flight for session in server.sessions) + sum(len(app.carriers._carriers) for app in apps)

    return server


async def serve(path: str) -> None:
    server = make_server()
    said: dict[str, int] = {}

    def started(kind: str) -> Callable[[int], None]:
        def tell(port: int = 0) -> None:
            said[kind] = port
            if len(said) == 3:
                sys.stderr.write(json.dumps(said) + "\n")
                sys.stderr.flush()

        return tell

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.serve_http(port=0, started=started("http")))
        tasks.start_soon(lambda: server.serve_tcp(port=0, started=started("tcp")))
        tasks.start_soon(lambda: server.serve_unix(path, started=started("unix")))
        await server.run_stdio()
        tasks.cancel_scope.cancel()


# The clients


@dataclass
class Report:
    """What became of it."""

    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    began: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def check(self, growth: float = GROWTH) -> list[str]:
        """Return what is not as it must be."""
        wrong = list(self.faults[:10])
        wrong += [
            f"{what}: {self.began[what]} before anybody came, {self.ended[what]} at the end"
            for what in ("tasks", "files", "busy")
            if self.ended[what] > self.began[what]
        ]
        if self.ended["memory"] > self.settled["memory"] * growth:
            wrong.append(f"memory grew from {self.settled['memory']} to {self.ended['memory']} bytes")
        if self.counts["good asked"] != self.counts["good answered"]:
            wrong.append(f"good calls: {self.counts['good asked']} asked, {self.counts['good answered']} answered")
        return wrong

    def __str__(self) -> str:
        lines = [f"{self.seconds:g} s"]
        lines += [f"{name}: {count}" for name, count in sorted(self.counts.items())]
        for what in self.settled:
            lines.append(
                f"{what}: {self.began[what]} at first, {self.settled[what]} settled, {self.ended[what]} at the end"
            )
        growth = self.ended["memory"] / self.settled["memory"] - 1
        return "\n".join([*lines, f"memory grew by {growth:.2%}"])


class Load:
    """Those who call."""

    def __init__(self, report: Report, http: int, tcp: int, path: str) -> None:
        self.report = report
        self.counts = report.counts
        self.http, self.tcp, self.path = http, tcp, path
        base = f"http://127.0.0.1:{http}"
        self.configs: dict[str, dict[str, Any]] = {
            "http": {"url": base + "/mcp"},
            "sse": {"url": base + "/sse", "transport": "sse"},
            "websocket": {"url": f"ws://127.0.0.1:{http}/ws"},
            "tcp": {"transport": "tcp", "host": "127.0.0.1", "port": tcp},
            "unix": {"transport": "unix", "path": path},
        }

    def client(self, kind: str) -> MCPClient:
        era = ERAS[0] if kind == "sse" else random.choice(ERAS)
        return MCPClient(self.configs[kind], revisions=[era])

    async def connect(self, kind: str) -> anyio.abc.SocketStream:
        if kind == "unix":
            return await anyio.connect_unix(self.path)
        return await anyio.connect_tcp("127.0.0.1", self.tcp if kind == "tcp" else self.http)

    def request(self, kind: str, tool: str, **arguments: Any) -> bytes:
        body = json.dumps(call(tool, 1, token=1, **arguments)).encode()
        if kind in ("tcp", "unix"):
            return body + b"\n"
        head = [
            "POST /mcp HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json",
            "Accept: application/json, text/event-stream", f"Content-Length: {len(body)}", "Mcp-Method: tools/call",
            f"MCP-Protocol-Version: {ERAS[1]}", f"Mcp-Name: {tool}", "", "",
        ]  # fmt: skip
        return "\r\n".join(head).encode() + body

    async def good(self, kind: str) -> None:
        """Ask and see it answered rightly."""
        async with self.client(kind) as client:
            for _ in range(random.randrange(1, 40)):
                text = random.choice("abc") * random.choice((1, 100, 20_000))
                self.counts["good asked"] += 1
                answer = await client.call_tool(random.choice(("echo", "block")), {"message": text})
                if answer.text == text:
                    self.counts["good answered"] += 1

    async def cancelled(self, kind: str) -> None:
        """Ask, and want no answer any more."""
        async with self.client(kind) as client:
            for _ in range(5):
                with anyio.move_on_after(random.random() / 50):
                    await client.call_tool("wait")
                self.counts["cancelled"] += 1

    async def bad(self, kind: str) -> None:
        """Say what is wrong, and hear what there is to hear."""
        junk = [
            b"\0" * 100, b"{}\n{}\n[]\n", b"[" * 5000 + b"\n", os.urandom(300) + b"\n", b"GET / HTTP/9.9\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nHost: evil\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            self.request(kind, "echo", message=1), self.request(kind, "nothing"),
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ]  # fmt: skip
        async with await self.connect(kind) as stream:
            await stream.send(random.choice(junk))
            with anyio.move_on_after(0.05):
                await stream.receive()
        self.counts["bad"] += 1

    async def slow(self, kind: str) -> None:
        """Write a byte now and then, or ask for much and read nothing."""
        async with await self.connect(kind) as stream:
            with anyio.move_on_after(2.5):
                if random.random() < 0.5:
                    for byte in self.request(kind, "echo", message="slow"):
                        await stream.send(bytes([byte]))
                        await anyio.sleep(0.05)
                else:
                    await stream.send(self.request(kind, "pour"))
                    await anyio.sleep(2)
        self.counts["slow"] += 1

    async def vanished(self, kind: str) -> None:
        """Ask, and be gone without a word."""
        stream = await self.connect(kind)
        await stream.send(self.request(kind, random.choice(("wait", "pour", "block")), message="x"))
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        if kind != "unix":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await anyio.aclose_forcefully(stream)
        self.counts["vanished"] += 1

    async def run(self, seconds: float) -> None:
        """Have them all at work for so long."""
        ends = time.monotonic() + seconds
        raw = ("http", "tcp", "unix")
        kinds: list[tuple[Callable[[str], Awaitable[None]], str]] = [
            *((self.good, kind) for kind in self.configs),
            *((self.cancelled, kind) for kind in self.configs),
            *((act, kind) for act in (self.bad, self.slow, self.vanished) for kind in raw),
        ]

        async def repeat(act: Callable[[str], Awaitable[None]], kind: str) -> None:
            while time.monotonic() < ends:
                try:
                    await act(kind)
                except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):
                    if act == self.good:
                        self.report.faults.append(f"a good client over {kind} lost its connection")
                except Exception as error:
                    if act in (self.good, self.cancelled):
                        self.report.faults.append(f"{act.__name__} over {kind}: {type(error).__name__}: {error}")
                await anyio.sleep(0.001 if act == self.good else 0.02)

        async with anyio.create_task_group() as tasks:
            for act, kind in kinds:
                tasks.start_soon(repeat, act, kind)


async def at_rest(client: MCPClient, before: dict[str, int] | None) -> dict[str, int]:
    """Wait until nothing is left to end, and return the figures."""
    found: dict[str, int] = (await client.call_tool("figures")).data
    with anyio.move_on_after(15):
        while before is not None and any(found[each] > before[each] for each in ("tasks", "files", "busy")):
            await anyio.sleep(0.25)
            found = (await client.call_tool("figures")).data
    return found


async def soak(seconds: float) -> Report:
    """Run all of it, and return what became of it."""
    report = Report(seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "soak.sock")
        command = [sys.executable, "-m", "tests.soak", "--serve", path]
        async with await anyio.open_process(command, cwd=HOME) as process:
            assert process.stderr is not None and process.stdin is not None and process.stdout is not None
            text = b""
            while b"\n" not in text:
                text += await process.stderr.receive()
            ports = json.loads(text.splitlines()[0])
            load = Load(report, ports["http"], ports["tcp"], path)
            errors: list[bytes] = []  # written once it has ended

            async def drain() -> None:
                assert process.stderr is not None
                errors.extend([data async for data in process.stderr])

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drain)
                tasks.start_soon(_talk, process, report)
                async with MCPClient(load.configs["tcp"]) as control:
                    report.began = await at_rest(control, None)
                    await load.run(seconds / 3)
                    report.settled = await at_rest(control, report.began)
                    await load.run(seconds * 2 / 3)
                    report.ended = await at_rest(control, report.began)
                await process.stdin.aclose()
                with anyio.move_on_after(10) as ending:
                    await process.wait()
                if ending.cancelled_caught:
                    report.faults.append("the server did not end")
                    process.kill()
                tasks.cancel_scope.cancel()
            if b"Traceback" in b"".join(errors):
                report.faults.append("the server wrote a traceback: " + b"".join(errors).decode()[-2000:])
    return report


async def _talk(process: anyio.abc.Process, report: Report) -> None:
    """Be the client over stdio, for the whole time."""
    assert process.stdin is not None and process.stdout is not None
    rest = b""
    number = 0
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream):
        while True:
            number += 1
            await process.stdin.send(json.dumps(call("echo", number, message="stdio")).encode() + b"\n")
            report.counts["good asked"] += 1
            while b"\n" not in rest:
                rest += await process.stdout.receive()
            line, _, rest = rest.partition(b"\n")
            answer = json.loads(line)
            if answer["id"] == number and answer["result"]["content"][0]["text"] == "stdio":
                report.counts["good answered"] += 1
            await anyio.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--serve", metavar="PATH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        anyio.run(serve, options.serve)
        return 0
    report = anyio.run(soak, options.seconds)
    print(report)
    wrong = report.check()
    for line in wrong:
        print(f"wrong: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
