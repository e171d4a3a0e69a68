"""Bursts: of what is read at once, no more requests are taken than may be in flight, on lines and on WebSockets."""

from __future__ import annotations

import msgspec
import pytest

from protocol import CallToolResult, Limits, Request, ServerEngine, TextContent
from protocol.bursts import Burst
from protocol.framing.websocket import WebSocket, WebSocketLimits
from protocol.pipe import Pipe
from protocol.websocket import WebSocketPipe
from tests.pair import enveloped, line, server_profile

DONE = CallToolResult(content=[TextContent(text="ok")])


def _call(id: int) -> bytes:
    return line(enveloped(id, "tools/call", {"name": "t"})).rstrip(b"\n")


class _Lines:
    def __init__(self, *, is_paced: bool = True) -> None:
        self.pipe: Pipe | WebSocketPipe = Pipe(
            ServerEngine(server_profile(limits=Limits(requests=4))), is_paced=is_paced
        )

    def say(self, *messages: bytes) -> None:
        self.pipe.receive_data(b"".join(message + b"\n" for message in messages))

    def taken(self) -> list[int | str]:
        requests = [event for event in self.pipe.events_received() if isinstance(event, Request)]
        for each in requests:
            self.pipe.engine.send_result(each, DONE)
        return [each.id for each in requests]

    def refused(self) -> int:
        return b"".join(self.pipe.data_to_send()).count(b"Too many requests")


class _Sockets(_Lines):
    def __init__(self, *, is_paced: bool = True) -> None:
        engine = ServerEngine(server_profile(limits=Limits(requests=4)))
        self.peer = WebSocket(is_client=True, limits=WebSocketLimits(), mint_mask=lambda: b"abcd")
        socket = WebSocket(is_client=False, limits=WebSocketLimits())
        self.pipe = WebSocketPipe(engine, socket, is_paced=is_paced)

    def say(self, *messages: bytes) -> None:
        self.pipe.receive_data(self.peer.frame(list(messages)))


KINDS = pytest.mark.parametrize("kind", [_Lines, _Sockets])


@KINDS
def test_a_burst_is_taken_as_room_is_made(kind: type[_Lines]) -> None:
    ours = kind()
    ours.say(*map(_call, range(10)))
    assert ours.taken() == [0, 1, 2, 3] and ours.pipe.is_holding
    assert ours.pipe.go_on()
    assert ours.taken() == [4, 5, 6, 7]
    ours.say(_call(10))  # what comes meanwhile waits behind it
    assert ours.taken() == [8, 9, 10] and not ours.pipe.is_holding and not ours.refused()


@KINDS
def test_without_room_nothing_is_taken_until_it_is_said_to_be_the_last(kind: type[_Lines]) -> None:
    ours = kind()
    ours.say(*map(_call, range(6)))
    assert not ours.pipe.go_on() and ours.pipe.is_holding
    assert ours.pipe.go_on(is_last=True)
    assert not ours.pipe.is_holding and ours.refused() == 2
    assert not ours.pipe.go_on()
    assert ours.taken() == [0, 1, 2, 3]


@KINDS
def test_what_is_not_paced_is_taken_at_once(kind: type[_Lines]) -> None:
    ours = kind(is_paced=False)
    ours.say(*map(_call, range(6)))
    assert not ours.pipe.is_holding and ours.refused() == 2


def test_the_end_takes_what_waits() -> None:
    ours = _Lines()
    ours.say(*map(_call, range(6)))
    ours.pipe.receive_eof()
    assert ours.refused() == 2 and ours.taken() == [0, 1, 2, 3]
    socket = _Sockets()
    data = socket.peer.frame(list(map(_call, range(6))))
    socket.peer.close(1000)
    socket.pipe.receive_data(data + b"".join(socket.peer.data_to_send()))
    assert not socket.pipe.is_holding


def test_a_burst_of_many_bytes_is_not_kept() -> None:
    burst: Burst[bytes] = Burst(ServerEngine(server_profile(limits=Limits(requests=1))))
    large = [b"x" * 600_000] * 2
    assert burst.admit(large, 1_200_000) == large and not burst


def test_what_the_engine_answers_itself_is_never_too_many() -> None:
    ours = _Lines()
    ours.say(*map(_call, range(4)), msgspec.json.encode(enveloped(9, "server/discover")))
    ours.pipe.go_on(is_last=True)
    assert b'"id":9,"result"' in b"".join(ours.pipe.data_to_send())
