"""A protocol written for asyncio, driven over byte streams on every event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import pytest

from kailash.adapters.httptransport import StreamTransport, connect

pytestmark = pytest.mark.anyio


class Recorder(asyncio.Protocol):
    """Notes what it is told, in order, and lets a test wait for it."""

    def __init__(self, *, keeps_open: bool = False) -> None:
        self.transport: Any = None
        self.data = b""
        self.told: list[str] = []
        self.error: BaseException | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self._keeps_open = keeps_open
        self._changed = anyio.Event()

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, is_so: Callable[[], object]) -> None:
        with anyio.fail_after(5):
            while not is_so():
                await self._changed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._tell("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.on_data is not None:
            self.on_data(data)
        self._tell("data")

    def eof_received(self) -> bool:
        self._tell("eof")
        return self._keeps_open

    def pause_writing(self) -> None:
        self._tell("pause")

    def resume_writing(self) -> None:
        self._tell("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.error = exc
        self._tell("lost")


@asynccontextmanager
async def listening(handle: Callable[[anyio.abc.SocketStream], Any]) -> AsyncIterator[int]:
    """Listen with a coroutine per connection; yields the port."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        group.cancel_scope.cancel()


@asynccontextmanager
async def driven(recorder: Recorder, **options: Any) -> AsyncIterator[tuple[anyio.abc.SocketStream, StreamTransport]]:
    """Drive a recorder on the server's side of a connection; yields the client's side."""
    made: list[StreamTransport] = []
    begun = anyio.Event()

    async def handle(stream: anyio.abc.SocketStream) -> None:
        made.append(StreamTransport(stream, recorder, **options))
        begun.set()
        await made[0].run()

    async with listening(handle) as port, await anyio.connect_tcp("127.0.0.1", port) as peer:
        with anyio.fail_after(5):
            await begun.wait()
            yield peer, made[0]


async def test_data_goes_both_ways_and_close_delivers_what_is_written() -> None:
    recorder = Recorder()
    recorder.on_data = lambda data: recorder.transport.write(data.upper())
    async with driven(recorder) as (peer, transport):
        await peer.send(b"hello")
        assert await peer.receive() == b"HELLO"
        transport.write(b"x" * 500_000)
        transport.close()
        assert transport.is_closing() and not transport.is_reading()
        transport.write(b"dropped")
        received = 0
        with pytest.raises(anyio.EndOfStream):
            while True:
                received += len(await peer.receive())
        assert received == 500_000
        await recorder.until(lambda: recorder.told[-1] == "lost")
    assert recorder.error is None and recorder.told.count("lost") == 1 and recorder.told[0] == "made"


async def test_the_peers_end_ends_both_sides_unless_the_protocol_wants_to_answer() -> None:
    for keeps_open in (False, True):
        recorder = Recorder(keeps_open=keeps_open)
        async with driven(recorder) as (peer, transport):
            await peer.send(b"last")
            await peer.send_eof()
            await recorder.until(lambda: "eof" in recorder.told)  # noqa: B023
            assert recorder.data == b"last" and transport.is_closing() is not keeps_open
            if keeps_open:
                transport.write(b"answer")
                transport.close()
                assert await peer.receive() == b"answer"
            await recorder.until(lambda: recorder.told[-1] == "lost")  # noqa: B023
        assert recorder.error is None


async def test_a_slow_reader_pauses_writing_and_a_quick_one_resumes_it() -> None:
    recorder = Recorder()
    async with driven(recorder, high_water=10_000) as (peer, transport):
        total = 20_000_000
        transport.write(b"x" * total)
        assert recorder.told == ["made", "pause"] and transport.get_write_buffer_size() > 0
        received = 0
        while received < total:
            received += len(await peer.receive())
        await recorder.until(lambda: recorder.told[-1] == "resume")
        assert transport.get_write_buffer_size() == 0
        transport.set_write_buffer_limits(high=5)
        transport.write(b"123456")
        assert recorder.told[-1] == "pause"


async def test_paused_reading_delivers_nothing_until_resumed() -> None:
    recorder = Recorder()
    async with driven(recorder) as (peer, transport):
        await peer.send(b"1")
        await recorder.until(lambda: recorder.data == b"1")
        transport.pause_reading()
        assert not transport.is_reading()
        await peer.send(b"2")
        await anyio.wait_all_tasks_blocked()
        assert recorder.data == b"1"
        transport.resume_reading()
        await recorder.until(lambda: recorder.data == b"12")
        transport.pause_reading()
        await peer.send(b"3")
        transport.close()
        await recorder.until(lambda: recorder.told[-1] == "lost")
        assert recorder.data == b"12"


async def test_abort_drops_what_is_unsent() -> None:
    recorder = Recorder()
    async with driven(recorder) as (peer, transport):
        transport.write(b"x" * 50_000_000)
        transport.abort()
        await recorder.until(lambda: recorder.told[-1] == "lost")
        received = 0
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                received += len(await peer.receive())
        assert received < 50_000_000
    assert recorder.told.count("lost") == 1


async def test_a_reset_is_told_with_its_error() -> None:
    recorder = Recorder()
    async with driven(recorder) as (peer, _):
        raw = peer.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER of zero: closing resets
        await peer.aclose()
        await recorder.until(lambda: recorder.told[-1] == "lost")
    assert isinstance(recorder.error, ConnectionResetError)


async def test_a_failing_callback_drops_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()

    def fail(_: bytes) -> None:
        raise ValueError("broken protocol")

    recorder.on_data = fail
    async with driven(recorder) as (peer, _):
        await peer.send(b"x")
        await recorder.until(lambda: recorder.told[-1] == "lost")
    assert isinstance(recorder.error, ValueError) and "its callback failed" in caplog.text


async def test_cancelling_run_loses_the_connection_once() -> None:
    recorder = Recorder()

    async def handle(stream: anyio.abc.SocketStream) -> None:
        await StreamTransport(stream, recorder).run()

    async with listening(handle) as port:
        peer = await anyio.connect_tcp("127.0.0.1", port)
        await recorder.until(lambda: recorder.told)
    await peer.aclose()
    assert recorder.told == ["made", "lost"] and recorder.error is None


async def test_the_sockets_names_are_known_and_so_is_what_was_given() -> None:
    recorder = Recorder()
    async with driven(recorder, extra={"colour": "red"}) as (peer, transport):
        assert transport.get_extra_info("sockname")[:2] == peer.extra(anyio.abc.SocketAttribute.remote_address)[:2]
        assert transport.get_extra_info("peername")[:2] == peer.extra(anyio.abc.SocketAttribute.local_address)[:2]
        assert transport.get_extra_info("socket").fileno() > 0
        assert transport.get_extra_info("colour") == "red"
        assert transport.get_extra_info("ssl_object") is None and transport.get_extra_info("unknown", 7) == 7
        assert transport.get_protocol() is recorder and transport.can_write_eof()


async def test_connect_gives_a_running_protocol_on_every_loop() -> None:
    async def echo(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)

    async with listening(echo) as port:
        transport, recorder = await connect(Recorder, "127.0.0.1", port)
        assert recorder.told == ["made"] and recorder.transport is transport
        transport.write(b"there and back")
        await recorder.until(lambda: recorder.data == b"there and back")
        transport.close()
        await recorder.until(lambda: recorder.told[-1] == "lost")


async def test_connect_says_why_it_cannot() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConnectionRefusedError):
            await connect(Recorder, host, port)


async def test_a_tunnel_speaks_before_the_protocol_does() -> None:
    async def proxy(stream: anyio.abc.SocketStream) -> None:
        with suppress(anyio.EndOfStream):
            async with stream:
                assert await stream.receive() == b"open sesame"
                await stream.send(b"!")
                await stream.send(await stream.receive())

    async def tunnel(stream: anyio.abc.ByteStream) -> None:
        await stream.send(b"open sesame")
        assert await stream.receive(1) == b"!"

    async def refused(stream: anyio.abc.ByteStream) -> None:
        raise ConnectionRefusedError("the proxy says no")

    async def hung_up(stream: anyio.abc.ByteStream) -> None:
        raise anyio.EndOfStream

    async with listening(proxy) as port:
        transport, recorder = await connect(Recorder, "127.0.0.1", port, tunnel=tunnel)
        transport.write(b"inside")
        await recorder.until(lambda: recorder.data == b"inside" and recorder.told[-1] == "lost")
        for failing, error in ((refused, ConnectionRefusedError), (hung_up, ConnectionResetError)):
            with pytest.raises(error):
                await connect(Recorder, "127.0.0.1", port, tunnel=failing)
