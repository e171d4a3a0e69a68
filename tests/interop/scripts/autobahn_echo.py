"""Our WebSocket in both roles for the Autobahn test suite, echoing each text: `server`, or `client URL AGENT`.

Everything is what servers and clients of ours use, but for the engine, in whose place there is an echo.
"""

import sys
from typing import Any

import anyio

from kailash.adapters.carriers import Carriers
from kailash.adapters.http_server import HTTPServer
from kailash.adapters.http_url import parse_url
from kailash.adapters.loops import current_loop
from kailash.adapters.websocket import WebSocketChannel, connect_websocket, mint_mask
from protocol.events import Outgoing
from protocol.framing.handshake import Opened
from protocol.framing.websocket import WebSocket, WebSocketLimits
from protocol.http.guard import GuardOptions
from protocol.http.seats import Seats
from protocol.http.upgrade import Upgrade, WebSocketEndpoint
from protocol.methods import Role
from protocol.websocket import WebSocketPipe

LIMITS = WebSocketLimits(message_bytes=64 * 1024 * 1024, ping_interval=None)


class Echo:
    """As much of an engine as a pipe needs."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.closed = False
        self.texts: list[bytes] = []
        self._out: list[Outgoing] = []

    def receive_message(self, data: bytes) -> None:
        self.texts.append(data)
        self._out.append(Outgoing(data))

    def receive_eof(self, error: Any = None) -> None:
        self.closed = True

    def events_received(self) -> list[Any]:
        return []

    def messages_to_send(self) -> list[Outgoing]:
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> None:
        return None

    def handle_deadline(self, now: float) -> None:
        return None


def make_channel(echo: Any, socket: WebSocket, **options: Any) -> WebSocketChannel:
    return WebSocketChannel(WebSocketPipe(echo, socket), on_events=lambda events: None, **options)


async def serve() -> None:
    def open_socket(upgrade: Upgrade, caller: Any) -> WebSocketChannel:
        socket = WebSocket(is_client=False, limits=LIMITS, is_deflated=upgrade.is_deflated)
        return make_channel(Echo(Role.SERVER), socket, is_busy=lambda: False)

    endpoint: Any = WebSocketEndpoint(GuardOptions(), seats=Seats(None, None), is_deflate_agreed=True)
    http = HTTPServer(
        {},
        take=lambda exchange, caller: None,
        carriers=Carriers(current_loop()),
        sockets={"*": endpoint},
        open_socket=open_socket,
    )
    port = await http.start()
    print(f"listening {port}", file=sys.stderr, flush=True)
    await anyio.sleep_forever()


async def visit(url: str) -> list[bytes]:
    """Echo until the server closes; return what it said."""
    echo = Echo(Role.CLIENT)

    def make(opened: Opened) -> WebSocketChannel:
        socket = WebSocket(is_client=True, limits=LIMITS, mint_mask=mint_mask, is_deflated=opened.is_deflated)
        return make_channel(echo, socket, keep_reading=True)

    channel = await connect_websocket(parse_url(url, ("ws", "wss")), make, is_deflate_offered=True)
    await channel.wait_closed()
    return echo.texts


async def use(url: str, agent: str) -> None:
    [count] = await visit(f"{url}/getCaseCount")
    for number in range(1, int(count) + 1):
        await visit(f"{url}/runCase?case={number}&agent={agent}")
    await visit(f"{url}/updateReports?agent={agent}")


if sys.argv[1] == "server":
    anyio.run(serve)
else:
    anyio.run(use, *sys.argv[2:])
