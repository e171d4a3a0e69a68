"""An engine on a WebSocket, without I/O: both eras, the end from either side, and the deadlines of both."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol import (
    CallToolResult,
    Cancelled,
    ClientEngine,
    ClientProfile,
    Closed,
    Limits,
    Request,
    ServerEngine,
    ServerProfile,
    TextContent,
)
from protocol.framing.websocket import SocketState, WebSocket, WebSocketLimits
from protocol.websocket import WebSocketPipe
from tests.pair import CLIENT_CAN, CLIENT_INFO, SERVER_CAN, SERVER_INFO

META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Served:
    """A server's pipe, and what a client would send to it."""

    def __init__(self, **limits: Any) -> None:
        self.client = WebSocket(is_client=True, limits=WebSocketLimits(), mint_mask=lambda: b"abcd")
        profile = ServerProfile(SERVER_INFO, SERVER_CAN, limits=Limits(**limits))
        self.pipe = WebSocketPipe(ServerEngine(profile), WebSocket(is_client=False, limits=WebSocketLimits()))

    def say(self, *messages: Any) -> list[Any]:
        self.pipe.receive_data(self.client.frame([msgspec.json.encode(message) for message in messages]))
        return self.pipe.events_received()

    def call(self, id: int = 1) -> Request:
        params = {"name": "echo", "arguments": {}, "_meta": META}
        [event] = self.say({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
        assert isinstance(event, Request)
        return event

    def hear(self) -> list[dict[str, Any]]:
        data = self.pipe.data_to_send()
        found = [text for part in data for text in self.client.receive_data(part)]
        return [msgspec.json.decode(text) for text in found]


RESULT = CallToolResult(content=[TextContent(text="ok")])


def test_both_eras_share_a_connection() -> None:
    served = Served()
    first = served.call(1)
    start = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    served.say({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": start})
    served.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    served.say({"jsonrpc": "2.0", "id": 3, "method": "ping"})
    served.pipe.engine.send_result(first, RESULT)  # type: ignore[attr-defined]
    assert {answer["id"] for answer in served.hear()} == {1, 2, 3}
    assert served.pipe.data_to_send() == [] and not served.pipe.close_expected()


def test_what_is_no_request_is_answered_without_an_id() -> None:
    served = Served()
    served.say({"method": "ping"})
    [answer] = served.hear()
    assert answer["error"]["code"] == -32600 and "id" not in answer


@pytest.mark.parametrize("code", [1000, 1001])
def test_the_peers_close_cancels_what_runs_and_is_answered(code: int) -> None:
    served = Served()
    request = served.call()
    served.client.close(code, "bye\n")
    served.pipe.receive_data(b"".join(served.client.data_to_send()))
    cancelled, closed = served.pipe.events_received()
    assert isinstance(cancelled, Cancelled) and cancelled.request is request
    assert isinstance(closed, Closed) and (closed.error is None) is (code == 1000)
    if closed.error is not None:
        assert closed.error.message == "the WebSocket was closed by the other side, code 1001: 'bye\\n'"
    served.pipe.engine.send_result(request, RESULT)  # type: ignore[attr-defined]
    assert served.hear() == [] and served.client.is_over and served.pipe.is_over
    served.pipe.receive_eof()
    assert served.pipe.events_received() == []


def test_our_close_leaves_behind_the_last_answer() -> None:
    served = Served()
    request = served.call()
    served.pipe.engine.send_result(request, RESULT)  # type: ignore[attr-defined]
    served.pipe.close(1001, "shutting down")
    assert not served.pipe.engine.closed and served.pipe.close_expected() and not served.pipe.is_over
    assert [answer["id"] for answer in served.hear()] == [1]
    assert served.client.ending is not None and served.client.ending.code == 1001
    served.pipe.receive_data(b"".join(served.client.data_to_send()))
    assert served.pipe.is_over and served.pipe.engine.closed


def test_a_fault_ends_our_side_at_once() -> None:
    served = Served()
    served.call()
    served.pipe.receive_data(b"\x82\x80abcd")
    *_, closed = served.pipe.events_received()
    assert closed.error.message == "the WebSocket was closed, code 1003: messages are text here"
    close, end = served.pipe.data_to_send()
    assert (close[0], close[2:4], end) == (0x88, b"\x03\xeb", b"")
    assert served.pipe.data_to_send() == [] and served.pipe.close_expected()


def test_a_lost_connection_is_told_as_one() -> None:
    served = Served()
    served.pipe.receive_eof()
    [closed] = served.pipe.events_received()
    assert "1006" in closed.error.message


def test_what_waits_leaves_before_a_failure_of_our_own_choice() -> None:
    served = Served()
    request = served.call()
    served.pipe.engine.send_result(request, RESULT)  # type: ignore[attr-defined]
    served.pipe.fail(1013, "too slow")
    assert [answer["id"] for answer in served.hear()] == [1]
    assert served.client.ending is not None and served.client.ending.code == 1013
    assert served.pipe.engine.closed


def test_a_server_that_has_enough_of_a_client_says_so() -> None:
    served = Served(stray_responses=1)
    served.say(*[{"jsonrpc": "2.0", "id": number, "result": {}} for number in range(3)])
    served.hear()
    assert served.client.ending is not None and served.client.ending.code == 1008


def test_a_client_that_is_done_closes_normally() -> None:
    engine = ClientEngine(ClientProfile(CLIENT_INFO, CLIENT_CAN))
    pipe = WebSocketPipe(engine, WebSocket(is_client=True, limits=WebSocketLimits(), mint_mask=lambda: b"abcd"))
    engine.receive_eof()
    server = WebSocket(is_client=False, limits=WebSocketLimits())
    for part in pipe.data_to_send():
        server.receive_data(part)
    assert server.ending is not None and server.ending.code == 1000


def test_deadlines_are_those_of_the_engine_the_socket_and_the_credentials() -> None:
    served = Served()
    pipe = served.pipe
    assert pipe.next_deadline() is None
    pipe.socket.start(0)
    assert pipe.next_deadline() == 20
    pipe.expires_at = 50
    pipe.engine.limit_request(served.call(), 10)
    assert pipe.next_deadline() == 10
    pipe.handle_deadline(20)
    assert [type(event).__name__ for event in pipe.events_received()] == ["Expired"]
    assert pipe.data_to_send() == [b"\x89\x07kailash"]
    assert pipe.next_deadline() == 40
    pipe.receive_data(b"\x8a\x80abcd")
    pipe.handle_deadline(49)
    assert pipe.next_deadline() == 50
    pipe.handle_deadline(50)
    served.hear()
    assert served.client.ending is not None and served.client.ending.code == 1008
    assert pipe.next_deadline() is None and pipe.engine.closed


def test_a_peer_that_does_not_answer_pings_is_let_go() -> None:
    served = Served()
    served.pipe.socket.start(0)
    served.pipe.handle_deadline(20)
    served.pipe.handle_deadline(40)
    [closed] = served.pipe.events_received()
    assert "1011" in closed.error.message and served.pipe.socket.state is SocketState.FAILED


def test_an_answer_that_comes_after_our_close_is_not_sent() -> None:
    served = Served()
    request = served.call()
    served.pipe.close()
    served.hear()
    served.pipe.engine.send_result(request, RESULT)  # type: ignore[attr-defined]
    assert served.pipe.data_to_send() == []
