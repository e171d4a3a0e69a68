"""The wire: raw recorded traffic with a target, over a child's pipes and over HTTP/1.1.

Bytes and whole frames only; what they ought to be is judged elsewhere. Nothing here corrects, retries or hides, and
everything may be sent as brokenly as a scenario likes.
"""

import asyncio
import contextlib
import os
import shlex
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from protocol.framing.lines import LineCodec
from protocol.framing.sse import SSEDecoder

from .redaction import Redactor

__all__ = ["Answer", "Broken", "HttpRequest", "HttpWire", "PipeWire", "Tap", "Transcript"]

LARGEST = 64 * 1024 * 1024
_SHOWN = 2000


class Broken(Exception):
    """The target hung up, or sent what is no HTTP."""


class Transcript:
    """What went over the wire, line by line, with the time since the start and the direction; never a secret."""

    __slots__ = ("_began", "lines", "redact")

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._began = time.monotonic()
        self.redact = Redactor()

    def add(self, sign: str, where: str, text: bytes | str) -> None:
        """Record: `>` to the target, `<` from it, `-` a remark."""
        shown = text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")
        length = len(shown)
        shown = self.redact(shown)
        if max(length, len(shown)) > _SHOWN:
            shown = f"{shown[:_SHOWN]}… ({length} characters)"
        self.lines.append(f"{time.monotonic() - self._began:7.3f} {sign} {where}: {shown}")

    @property
    def last(self) -> int:
        """The number of the last line."""
        return len(self.lines) - 1


class Tap:
    """Stands between judge and target and may change what passes; this one changes nothing.

    The judge is judged with taps that make a sound target look like one with a fault.
    """

    def outgoing_line(self, line: bytes) -> list[bytes]:
        """Return what is written in place of a line to a pipe."""
        return [line]

    def incoming_line(self, line: bytes) -> list[bytes]:
        """Return what is read in place of a line from a pipe."""
        return [line]

    def incoming_bytes(self, data: bytes) -> bytes:
        """Return what is read in place of bytes from a WebSocket."""
        return data

    def incoming_event(self, kind: str, data: bytes) -> list[tuple[str, bytes]]:
        """Return what is read in place of one event of a stream: kinds and data."""
        return [(kind, data)]

    def outgoing_http(self, request: "HttpRequest") -> "HttpRequest":
        """Return the request that is sent in place of one."""
        return request

    def incoming_head(self, request: "HttpRequest", answer: "Answer") -> None:
        """Change an answer's status or headers."""

    def incoming_request(self, headers: list[tuple[str, str]]) -> None:
        """Change the headers of what a client under test sent."""

    def incoming_message(self, request: "HttpRequest", message: bytes) -> list[bytes]:
        """Return what is read in place of one message of an answer."""
        return [message]


class PipeWire:
    """A child process: lines to its standard input, lines from its standard output."""

    has_process = True
    """There is one that can be told to stop."""

    def __init__(self, command: str | Sequence[str], transcript: Transcript, tap: Tap) -> None:
        self.transcript = transcript
        self.tap = tap
        self._command = shlex.split(command) if isinstance(command, str) else list(command)
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self.stderr = bytearray()
        self.is_at_end = False
        self._process: asyncio.subprocess.Process | None = None

    async def open(self, env: Mapping[str, str] | None = None) -> None:
        """Start the child."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **(env or {})}
        )
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]

    async def _read(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        codec = LineCodec(LARGEST)
        while data := await process.stdout.read(65536):
            self._take(codec.receive_data(data))
        self._take(codec.receive_eof())
        self.is_at_end = True
        self._lines.put_nowait(None)

    def _take(self, lines: Sequence[bytes | None]) -> None:
        for line in lines:
            for passed in self.tap.incoming_line(line or b""):
                self.transcript.add("<", "stdout", passed)
                self._lines.put_nowait(passed)

    async def _read_errors(self) -> None:
        process = self._process
        assert process is not None and process.stderr is not None
        while data := await process.stderr.read(65536):
            if len(self.stderr) < 100_000:
                self.stderr += data

    async def receive(self) -> bytes | None:
        """Return the next line; `None` at the end."""
        return await self._lines.get()

    def send(self, message: bytes) -> None:
        """Write one message as a line."""
        for line in self.tap.outgoing_line(message):
            self.write(line + b"\n")

    def put(self, message: bytes) -> None:
        """Write bytes as one line, whatever they are."""
        self.write(message + b"\n")

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.transcript.add(">", "stdin", data.removesuffix(b"\n"))
        process = self._process
        assert process is not None and process.stdin is not None
        if not process.stdin.is_closing():
            process.stdin.write(data)

    async def drain(self) -> None:
        """Wait until what was written has left."""
        process = self._process
        assert process is not None and process.stdin is not None
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()

    def _output(self) -> Any:
        transport = getattr(self._process, "_transport", None)
        return transport.get_pipe_transport(1) if transport is not None else None

    def deafen(self) -> None:
        """Read nothing from now on."""
        self.transcript.add("-", "judge", "reads nothing")
        if (output := self._output()) is not None:
            output.pause_reading()

    def hear(self) -> None:
        """Read again."""
        self.transcript.add("-", "judge", "reads again")
        if (output := self._output()) is not None:
            output.resume_reading()

    def close_input(self) -> None:
        """Close the child's standard input."""
        process = self._process
        assert process is not None and process.stdin is not None
        self.transcript.add(">", "stdin", "(closed)")
        process.stdin.close()

    def terminate(self) -> None:
        """Tell the child to stop, by a signal."""
        assert self._process is not None
        self.transcript.add("-", "judge", "SIGTERM")
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def wait(self, timeout: float) -> int | None:
        """Return the exit status; `None` if the child still runs after that time."""
        assert self._process is not None
        try:
            return await asyncio.wait_for(self._process.wait(), timeout)
        except TimeoutError:
            return None

    async def close(self, patience: float = 0.5) -> None:
        """End the child: close its input, wait, and kill it."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None and not process.stdin.is_closing():
            process.stdin.close()
        if process.returncode is None and await self.wait(patience) is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        transport = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()
        await asyncio.sleep(0)  # the pipes close in the next turn of the loop


@dataclass(slots=True)
class HttpRequest:
    """One HTTP request, as it is sent."""

    method: str
    target: str
    headers: list[tuple[str, str | bytes]]
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """One HTTP answer: its head at once, its messages as they come."""

    status: int
    headers: list[tuple[str, str]]
    name: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: HttpRequest
    transcript: Transcript
    tap: Tap
    event_ids: list[str] = field(default_factory=list)
    retry_ms: int | None = None
    events: list[tuple[str, str]] = field(default_factory=list)
    """The kind and the data of each event."""
    has_ended: bool = False
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return a header's value; `None` if it is absent."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def is_stream(self) -> bool:
        """Tell whether the body is an event stream."""
        return self.media_type == "text/event-stream"

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self.status in (204, 304) or self.request.method == "HEAD":
            return
        if "chunked" in (self.header("transfer-encoding") or "").lower():
            while True:
                size = int((await self.reader.readline()).split(b";")[0].strip() or b"0", 16)
                if size == 0:
                    await self.reader.readline()
                    return
                left = size
                while left:
                    data = await self.reader.read(min(left, 65536))
                    if not data:
                        raise Broken("the body ended within a chunk")
                    left -= len(data)
                    yield data
                await self.reader.readline()
            return
        length = self.header("content-length")
        remaining = None if length is None else int(length)
        while remaining is None or remaining > 0:
            data = await self.reader.read(65536 if remaining is None else min(65536, remaining))
            if not data:
                if remaining:
                    raise Broken(f"the body is {remaining} bytes short")
                return
            remaining = None if remaining is None else remaining - len(data)
            yield data

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield the messages of the body as they come: the one of a JSON body, or each event's data."""
        try:
            if self.is_stream:
                async for message in self._stream():
                    yield message
            else:
                self.body = b"".join([piece async for piece in self._chunks()])
                passed = self.tap.incoming_message(self.request, self.body) if self.body else []
                for message in passed:
                    self.body = message
                    self.transcript.add("<", self.name, message)
                    yield message
                if not passed:
                    self.body = b""
            self.has_ended = True
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise Broken(str(error) or type(error).__name__) from error
        finally:
            self.writer.close()

    async def _stream(self) -> AsyncIterator[bytes]:
        decoder = SSEDecoder(LARGEST)
        async for piece in self._chunks():
            for event in decoder.receive_data(piece):
                for kind, data in self.tap.incoming_event(event.event, event.data):
                    for message in self.tap.incoming_message(self.request, data):
                        self.events.append((kind, message.decode("utf-8", "replace")))
                        self._note_id(decoder.last_event_id)
                        shown = f"{self.name} event" if kind == "message" else f"{self.name} event {kind}"
                        self.transcript.add("<", shown, message)
                        yield message
            self._note_id(decoder.last_event_id)
            self.retry_ms = decoder.retry_ms

    def _note_id(self, event_id: str) -> None:
        if event_id and (not self.event_ids or self.event_ids[-1] != event_id):
            self.event_ids.append(event_id)

    def close(self) -> None:
        """Hang up."""
        if not self.has_ended:
            self.transcript.add("-", self.name, "the judge hangs up")
        self.writer.close()


class HttpWire:
    """An HTTP endpoint; each request has a connection of its own."""

    def __init__(self, url: str, tap: Tap, token: str | None = None) -> None:
        parts = urlsplit(url)
        self.token = token
        """Comes with each message of a conversation, unless it says another."""
        self.url = url
        self.tap = tap
        self.host = parts.hostname or "127.0.0.1"
        self.is_tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.is_tls else 80)
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._count = 0
        self._is_deaf = False
        self._writers: list[asyncio.StreamWriter] = []

    def deafen(self) -> None:
        """Read nothing from now on, neither of the connections there are nor of later ones."""
        self._is_deaf = True
        for writer in self._writers:
            if not writer.is_closing():
                writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Hang up every connection that is still there."""
        for writer in self._writers:
            if self._is_deaf:
                writer.transport.abort()
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)
        self._writers.clear()

    @property
    def authority(self) -> str:
        """Host and port as a `Host` header says them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def send(
        self,
        request: HttpRequest,
        transcript: Transcript,
        *,
        cut: Callable[[bytes], Sequence[bytes]] | None = None,
    ) -> Answer:
        """Send a request and return the answer's head.

        Args:
            request: what to send; `Host`, `Content-Length` and `Connection` are added unless given.
            transcript: where it is recorded.
            cut: cuts the bytes into pieces that are sent one after the other.

        Raises:
            Broken: no connection, or no HTTP.
        """
        self._count += 1
        name = f"{request.method} #{self._count}"
        request = self.tap.outgoing_http(request)
        data = self._encode(request)
        shown = ", ".join(f"{k}: {_text(v)}" for k, v in request.headers)
        transcript.add(">", name, f"{request.target} [{shown}] {request.body.decode('utf-8', 'backslashreplace')}")
        tls = ssl.create_default_context() if self.is_tls else None
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port, ssl=tls, limit=1 << 20)
        except OSError as error:
            raise Broken(f"no connection to {self.url}: {error}") from error
        self._writers.append(writer)
        if self._is_deaf:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            for piece in cut(data) if cut else [data]:
                writer.write(piece)
                await writer.drain()
                if cut:
                    await asyncio.sleep(0)
            answer = await self._read_head(reader, writer, request, transcript, name)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            writer.close()
            raise Broken(f"{name}: {error or type(error).__name__}") from error
        except BaseException:
            writer.close()
            raise
        self.tap.incoming_head(request, answer)
        told = ", ".join(f"{k}: {v}" for k, v in answer.headers if k.lower() not in ("date", "server", "connection"))
        transcript.add("<", name, f"{answer.status} [{told}]")
        return answer

    def _encode(self, request: HttpRequest) -> bytes:
        given = {name.lower() for name, _ in request.headers}
        headers: list[tuple[str, str | bytes]] = [*request.headers]
        if "host" not in given:
            headers.insert(0, ("Host", self.authority))
        if "connection" not in given:
            headers.append(("Connection", "close"))
        if "content-length" not in given and "transfer-encoding" not in given and request.method != "GET":
            headers.append(("Content-Length", str(len(request.body))))
        lines = [f"{request.method} {request.target} HTTP/1.1".encode()]
        lines += [name.encode() + b": " + (v if isinstance(v, bytes) else v.encode("latin-1")) for name, v in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + request.body

    async def _read_head(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: HttpRequest,
        transcript: Transcript,
        name: str,
    ) -> Answer:
        while True:
            block = await reader.readuntil(b"\r\n\r\n")
            first, *rest = block.decode("latin-1").split("\r\n")
            status = int(first.split(" ", 2)[1])
            if status >= 200:
                break
        headers = []
        for line in rest:
            key, colon, value = line.partition(":")
            if colon:
                headers.append((key, value.strip()))
        return Answer(status, headers, name, reader, writer, request, transcript, self.tap)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
