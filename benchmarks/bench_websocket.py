"""Questions: how many `tools/call` echoes a second over one WebSocket, 64 in flight? What does an idle one cost?"""

import resource
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from .harness import FLOOR, Figure, wanted
from .loads import INITIALIZE, INITIALIZED, call
from .subjects import WebServer, load_core, peer, websocket_python

QUESTION = "websocket, 2025-11-25, 64 in flight on one connection"
MEMORY = "memory of an idle websocket"
IN_FLIGHT = 64
_SILENCE = 30
_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-protocol: mcp\r\n\r\n"
)
_MASK = b"\x37\xfa\x21\x3d"


def frame(text: bytes) -> bytes:
    """Return a text as a client frames it."""
    size = len(text)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + struct.pack("!H", size)
    key = int.from_bytes((_MASK * (size // 4 + 1))[:size], "little")
    return head + _MASK + (int.from_bytes(text, "little") ^ key).to_bytes(size, "little")


class Line:
    """One WebSocket, on a raw socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(_SILENCE)
        self.socket.sendall(_HANDSHAKE % port)
        self._part = b""
        while b"\r\n\r\n" not in self._part:
            self._part += self._read()
        head, _, self._part = self._part.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"the server refused: {head!r}")
        self.socket.sendall(frame(INITIALIZE.rstrip()))
        while not self.receive():
            pass
        self.socket.sendall(frame(INITIALIZED.rstrip()))

    def _read(self) -> bytes:
        data = self.socket.recv(1 << 16)
        if not data:
            raise RuntimeError("the server hung up")
        return data

    def receive(self) -> list[bytes]:
        """Return the messages of one read."""
        data = self._part + self._read()
        at, end, found = 0, len(data), []
        while at + 2 <= end:
            size, start = data[at + 1], at + 2
            if size == 126:
                if at + 4 > end:
                    break
                size, start = data[at + 2] << 8 | data[at + 3], at + 4
            if start + size > end:
                break
            if data[at] == 0x81:  # pings are left alone
                found.append(data[start : start + size])
            at = start + size
        self._part = data[at:]
        return found

    def run(self, count: int) -> float:
        """Return answers per second; each has to be a success, and the one that was asked for."""
        asks = [frame(call(number).rstrip()) for number in range(count)]
        left = {b'"id":%d,' % number for number in range(count)}
        sent = min(IN_FLIGHT, count)
        started = time.perf_counter()
        self.socket.sendall(b"".join(asks[:sent]))
        while left:
            texts = self.receive()
            more = asks[sent : sent + len(texts)]
            sent += len(more)
            if more:
                self.socket.sendall(b"".join(more))
            for text in texts:
                at = text.find(b'"id":')
                if b'"hello"' not in text or b'"error"' in text:
                    raise RuntimeError(f"answered with {text[:1000]!r}")
                left.remove(text[at : text.index(b",", at)] + b",")
        return count / (time.perf_counter() - started)


def _commands(against: Sequence[str]) -> dict[str, list[str]]:
    commands = {"ours": peer("kailash_ws.py", "--port={port}"), FLOOR: peer("bare_ws.py", "--port={port}")}
    if "mcp1" in against:
        python = websocket_python("1.30.0")
        commands["mcp 1.30.0"] = peer("mcp_ws.py", "--port={port}", python=python)
        commands["mcp 1.30.0, without its log"] = peer("mcp_ws.py", "--port={port}", "--quiet=yes", python=python)
    return commands


def run(against: Sequence[str], *, rounds: int, calls: int = 60_000, idle: int = 1000) -> list[Figure]:
    """Measure."""
    commands = _commands(against)
    return [*_rates(commands, rounds, calls), *(_memory(name, command, idle) for name, command in commands.items())]


def _rates(commands: Mapping[str, Sequence[str]], rounds: int, calls: int) -> list[Figure]:
    best = dict.fromkeys(commands, 0.0)
    busy: dict[str, float] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(WebServer(command)) for name, command in commands.items()}
        stack.enter_context(load_core())
        for number in range(rounds + 1):
            for name, server in servers.items():
                count = calls // 20 if name.startswith("mcp") else calls
                line = Line(server.port)
                computed, began = server.computed, time.perf_counter()
                rate = line.run(count if number else max(1, count // 4))
                used = (server.computed - computed) / (time.perf_counter() - began)
                line.socket.close()
                if number and rate > best[name]:  # the first one warms up
                    best[name], busy[name] = rate, used
    goals = {"ours": wanted(18, 0.35)}
    return [
        Figure(QUESTION, name, rate, "calls/s", {**goals.get(name, {}), "server busy": busy[name]})
        for name, rate in best.items()
    ]


def _memory(name: str, command: Sequence[str], count: int) -> Figure:
    """Measure what connections cost that were opened and greeted, and say nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count * 2 + 100), hard), hard))
    with WebServer(command) as server:
        first = [Line(server.port) for _ in range(max(1, count // 10))]
        before = server.resident
        lines = [Line(server.port) for _ in range(count)]
        full = server.resident
        for line in [*first, *lines]:
            line.socket.close()
    goal = {"at most": 15.0} if name == "ours" else {}
    return Figure(MEMORY, name, (full - before) / count, "kB", goal)
