"""Serves what a peer's package made of a server, over HTTP; runs under the peer's interpreter."""

import sys
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

__all__ = ["MemoryEventStore", "serve", "serve_low_level", "serve_socket"]


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        """Say where it is once it is there."""
        await super().startup(sockets=sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"listening {port}", file=sys.stderr, flush=True)


def serve(*apps: Starlette) -> None:
    """Serve the routes of all; the first one's lifespan is run."""
    app = apps[0]
    for other in apps[1:]:
        app.router.routes.extend(other.router.routes)
    _Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical")).run()


def serve_low_level(server: Any, options: Any) -> Starlette:
    """Return an application for a low-level server, over both transports."""
    manager = StreamableHTTPSessionManager(server)
    streams = SseServerTransport("/messages/")

    class Streamable:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await manager.handle_request(scope, receive, send)

    async def sse(request: Any) -> Response:
        async with streams.connect_sse(request.scope, request.receive, request._send) as (read, write):
            await server.run(read, write, options)
        return Response()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        async with manager.run():
            yield

    routes = [
        Route("/mcp", Streamable()),
        Route("/sse", sse),
        Mount("/messages/", app=streams.handle_post_message),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def serve_socket(server: Any, options: Any) -> Starlette:
    """Return an application for a low-level server, over WebSockets."""
    from mcp.server.websocket import websocket_server  # of the 1.x line alone, and with its extra

    async def talk(socket: WebSocket) -> None:
        async with websocket_server(socket.scope, socket.receive, socket.send) as (read, write):
            await server.run(read, write, options)

    return Starlette(routes=[WebSocketRoute("/ws", talk)])


class MemoryEventStore(EventStore):
    """Remembers every event."""

    def __init__(self) -> None:
        self._events: list[tuple[Any, Any]] = []

    async def store_event(self, stream_id: Any, message: Any) -> str:
        """Remember one."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> Any:
        """Send what came on that stream after an event."""
        number = int(last_event_id)
        stream, _ = self._events[number - 1]
        for at, (other, message) in enumerate(self._events[number:], number + 1):
            if other == stream and message is not None:
                await send_callback(EventMessage(message, str(at)))
        return stream
