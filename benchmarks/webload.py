"""The load over HTTP: a closed loop of pre-encoded requests on raw sockets, every answer checked.

Nothing is parsed that need not be, so that the load is not what limits; `Load.busy` says how much of its core it used.
"""

import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType

from .harness import LOAD_BUSY, SERVER_BUSY, Plan, Sample, contest
from .loads import ENVELOPE, INITIALIZE, INITIALIZED
from .processes import WebServer, load_core

__all__ = [
    "CONNECTIONS",
    "Ask",
    "Load",
    "Requests",
    "Wire",
    "encode",
    "end_session",
    "in_session",
    "is_complete",
    "open_session",
    "serving",
    "size_of",
    "web_contest",
    "web_turn",
]

CONNECTIONS = 16

_SILENCE = 30
"""Seconds after which a server that says nothing fails the benchmark."""
_MOST = 1 << 16
"""Bytes per read; more would make the allocator ask the kernel for memory each time, and give it back."""
_FIRST = 1_000_000
"""Ids count from here: they are all of one length, so that a head is encoded once."""

Ask = tuple[bytes, bytes]
"""A request, and the id that its answer has to have."""


def encode(port: int, body: bytes, headers: list[tuple[bytes, bytes]], method: bytes = b"POST") -> bytes:
    """Return one request."""
    more = b"".join(b"%b: %b\r\n" % header for header in headers)
    return (
        b"%b /mcp HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: bench\r\n"
        b"accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n"
        b"%bcontent-length: %d\r\n\r\n%b"
    ) % (method, port, more, len(body), body)


class Requests:
    """Makes requests of one kind, each with an id of its own.

    Args:
        port: of the server.
        session: a session of the last handshake revision; without one the requests are of the envelope revision.
        tool: to call; `None` lists the tools.
        arguments: of the call.
        token: ask for progress.
        varies: give each a header of its own, as tracing does, so that no head is like the one before.
    """

    def __init__(
        self,
        port: int,
        session: bytes | None = None,
        *,
        tool: bytes | None = b"echo",
        arguments: bytes = b'{"message":"hello"}',
        token: bool = False,
        varies: bool = False,
    ) -> None:
        method = b"tools/list" if tool is None else b"tools/call"
        meta = [b'"progressToken":"bench"'] if token else []
        headers = []
        if session is None:
            headers += [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", method)]
            headers += [] if tool is None else [(b"mcp-name", tool)]
            meta.append(ENVELOPE[len(b',"_meta":{') : -1])
        else:
            headers += [(b"mcp-protocol-version", b"2025-11-25"), (b"mcp-session-id", session)]
        params = [] if tool is None else [b'"name":"%b","arguments":%b' % (tool, arguments)]
        params += [b'"_meta":{%b}' % b",".join(meta)] if meta else []
        body = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":{%b}}' % (_FIRST, method, b",".join(params))
        if varies:
            headers.append((b"x-request-id", b"%d" % _FIRST))
        # In the last part stands the id of the message; one of the header before it has the same length.
        *self._head, self._before, self._after = encode(port, body, headers).split(b"%d" % _FIRST)
        self._next = _FIRST

    def make(self, count: int) -> list[Ask]:
        """Return the next requests."""
        first, self._next = self._next, self._next + count
        before, after = self._before, self._after
        asks = [(b"%b%d%b" % (before, number, after), b'"id":%d' % number) for number in range(first, first + count)]
        for head in self._head:
            asks = [(b"%b%b%b" % (head, mark[5:], request), mark) for request, mark in asks]
        return asks


class Mixed:
    """Makes requests of several kinds, in turn.

    Args:
        kinds: of them; requests of two kinds may have the same id, and are never asked on one connection at once.
    """

    def __init__(self, kinds: Sequence[Requests]) -> None:
        self._kinds = kinds

    def make(self, count: int) -> list[Ask]:
        """Return the next requests."""
        each = -(-count // len(self._kinds))
        return [ask for asks in zip(*(kind.make(each) for kind in self._kinds), strict=True) for ask in asks][:count]


class Wire:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.part = bytearray()
        """Of an answer that is not complete."""
        self.size = 0
        """Of that answer, where it is known; −1 for a chunked one."""
        self.id = b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own limits: settimeout() would cost a poll() for each call.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # a whole request fits
        limit = struct.pack("ll", _SILENCE, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self.send, self.receive = self.socket.sendall, self.socket.recv

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Send a request and return head and body of its answer, as they came."""
        self.send(request)
        data = b""
        while not is_complete(data, size_of(data)):
            data += self._more(data)
        head, _, body = data.partition(b"\r\n\r\n")
        return head, body

    def stream(self, request: bytes) -> bytes:
        """Send a request and return its answer, a chunked stream of any size, as it came."""
        self.send(request)
        parts = [self._more(b"")]
        # The end may come in pieces, too.
        while not (parts[-1] if len(parts[-1]) > 6 else b"".join(parts[-7:])).endswith(b"\r\n0\r\n\r\n"):
            parts.append(self._more(parts[-1]))
        return b"".join(parts)

    def _more(self, before: bytes) -> bytes:
        data = self.receive(_MOST)
        if not data:
            raise RuntimeError(f"the server ended the connection after {before[-500:]!r}")
        return data

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


_sizes: dict[bytes, int] = {}
"""The size of the body by the head, −1 for a chunked one: heads recur, as the ids are not in them."""


def size_of(data: bytes) -> int:
    """Return the size of the answer that begins so; 0 if that cannot be told yet, −1 for a chunked one.

    Raises:
        RuntimeError: its status tells of a failure.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = data[:end]
    size = _sizes.get(head)
    if size is None:
        size = _size_of(head, data)
        if len(_sizes) > 1000:
            _sizes.clear()
        _sizes[head] = size
    return size if size < 0 else end + 4 + size


def is_complete(data: bytes | bytearray, size: int) -> bool:
    """Tell whether an answer of this size is whole."""
    return data.endswith(b"0\r\n\r\n") if size < 0 else 0 < size <= len(data)


def _size_of(head: bytes, data: bytes) -> int:
    if head[9:12] not in (b"200", b"202", b"204"):
        raise RuntimeError(f"the server answered {data[:1000]!r}")
    lower = head.lower()
    if b"\r\ntransfer-encoding: chunked" in lower:
        return -1
    found = re.search(rb"\r\ncontent-length: *(\d+)", lower)
    return int(found[1]) if found else 0


class Load:
    """A number of connections, each of which asks again when it is answered."""

    def __init__(self, port: int, connections: int = CONNECTIONS) -> None:
        self._wires = {}
        self._poll = select.epoll()
        self.busy = 0.0
        """The share of the time of the last run in which this process computed."""
        for _ in range(connections):
            wire = Wire(port)
            self._wires[wire.socket.fileno()] = wire
            self._poll.register(wire.socket, select.EPOLLIN)

    def run(self, asks: list[Ask], mark: bytes) -> float:
        """Return answers per second; each has to be a success with the id that was sent, and to contain the mark."""
        left = len(asks)
        wires, poll = self._wires, self._poll.poll
        waiting, start = iter(asks), mark[:32]
        started, computed = time.perf_counter(), time.process_time()
        for wire in wires.values():
            request, wire.id = next(waiting, (b"", b""))
            wire.send(request)
        while left:
            ready = poll(_SILENCE)
            if not ready:
                raise RuntimeError(f"the server has said nothing for {_SILENCE} s; {left} answers are missing")
            for number, _ in ready:
                wire = wires[number]
                data = wire.receive(_MOST)
                if not data:
                    raise RuntimeError(f"the server ended a connection; {left} answers are missing")
                if wire.part:
                    wire.part += data
                    data = wire.part  # type: ignore[assignment]
                    size = wire.size or size_of(bytes(data))
                else:
                    size = size_of(data)
                if not is_complete(data, size):
                    if data is not wire.part:
                        wire.part += data
                    wire.size = size
                    continue
                if data is wire.part:
                    wire.part = bytearray()
                # Searching for something long costs more than it looks.
                if wire.id not in data or not data.startswith(mark, max(0, data.find(start))):
                    raise RuntimeError(f"asked with {wire.id!r} and answered with {data[:1000]!r}")
                left -= 1
                for request, wire.id in waiting:
                    wire.send(request)
                    break
        taken = time.perf_counter() - started
        self.busy = (time.process_time() - computed) / taken
        return len(asks) / taken

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._poll.close()
        for wire in self._wires.values():
            wire.close()


def open_session(wire: Wire) -> bytes:
    """Initialize a session of the last handshake revision and return its id."""
    head, _ = wire.ask(encode(wire.port, INITIALIZE.rstrip(), []))
    found = re.search(rb"\r\nmcp-session-id: *([!-~]+)", head, re.IGNORECASE)
    if found is None:
        raise RuntimeError(f"the server made no session: {head!r}")
    wire.ask(encode(wire.port, INITIALIZED.rstrip(), _named(found[1])))
    return found[1]


def in_session(port: int) -> Requests:
    """Return requests in a new session."""
    with Wire(port) as wire:
        return Requests(port, open_session(wire))


def end_session(wire: Wire, session: bytes) -> None:
    """End a session."""
    wire.ask(encode(wire.port, b"", _named(session), b"DELETE"))


def _named(session: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"mcp-protocol-version", b"2025-11-25"), (b"mcp-session-id", session)]


def web_turn(server: WebServer, requests: Requests | Mixed, mark: bytes, connections: int) -> Callable[[int], Sample]:
    """Return a turn: a closed loop on connections that are new each time, as some servers close those that wait."""

    def turn(count: int) -> Sample:
        asks = requests.make(max(connections, count))
        with Load(server.port, connections) as load:
            computed = server.computed
            rate = load.run(asks, mark)
            used = (server.computed - computed) * rate / len(asks)
        return Sample(rate, {SERVER_BUSY: used, LOAD_BUSY: load.busy})

    return turn


@contextmanager
def serving(commands: Mapping[str, Sequence[str]], *, cores: int = 1) -> Iterator[dict[str, WebServer]]:
    """Run the servers, and this process beside their core."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(WebServer(command, cores=cores)) for name, command in commands.items()}
        stack.enter_context(load_core())
        yield servers


def web_contest(
    commands: Mapping[str, Sequence[str]],
    plan: Plan,
    make: Callable[[int], Requests],
    mark: bytes,
    *,
    connections: int = CONNECTIONS,
) -> dict[str, list[Sample]]:
    """Return how many answers a second each server gives.

    Args:
        commands: of the servers, by name.
        make: returns the requests for the server at a port.
        mark: what each answer contains.
        connections: how many ask at once.
    """
    with serving(commands) as servers:
        turns = {name: web_turn(each, make(each.port), mark, connections) for name, each in servers.items()}
        return contest(turns, plan, first=connections)
