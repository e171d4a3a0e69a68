"""Endpoints as an ASGI application: requests come from any ASGI server, exchanges answer them.

An answer that is there at once costs no task. One that takes longer has two: the server's own, which writes, and one
that waits for the loss of the client.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

import anyio

from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http.answer import Answer, Arrival, End, Part, ResponseHead
from protocol.http.exchange import Exchange

from .asgi_websocket import ASGIChannel, deny
from .carriers import Carriers, EndpointLike
from .loops import Timer

__all__ = ["ASGIEndpoints", "Receive", "Scope", "Send"]

logger = logging.getLogger("kailash.adapters.asgi")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SUBPROTOCOL = b"sec-websocket-protocol"
_TOO_SLOW = Answer(408, [(b"content-type", b"text/plain")], b"the request took too long\n")
_NOT_FOUND = Answer(404, [(b"content-type", b"text/plain")], b"not found: this path serves nothing\n")


class ASGIEndpoints:
    """Answers the HTTP scopes of an ASGI server.

    Args:
        routes: endpoints by path below the mount, without a slash at the end.
        take: called with each exchange that something happened to, and its caller; takes its events and flushes.
        carriers: of the exchanges.
        admit: finds out who sends a request; without it nobody in particular does.
        max_body: bytes of a body.
        body_timeout: seconds in which it must have come.
        write_timeout: seconds in which the ASGI server must take what is sent.
        cap_bytes: unsent bytes with which a response is broken off.
        sockets: endpoints of WebSockets, by path.
        open_socket: called with each handshake that was agreed to, its caller, and what ASGI gave; returns a channel.
    """

    def __init__(
        self,
        routes: Mapping[str, EndpointLike],
        *,
        take: Callable[[Exchange, Any], None],
        carriers: Carriers,
        admit: Any = None,
        max_body: int,
        body_timeout: float = 30.0,
        write_timeout: float = 20.0,
        cap_bytes: int | None = 16 << 20,
        sockets: Mapping[str, Any] | None = None,
        open_socket: Callable[..., ASGIChannel] | None = None,
    ) -> None:
        self._routes = routes
        self.take = take
        self.carriers = carriers
        self._admit = admit
        self._max_body = max_body
        self._body_timeout = body_timeout
        self.write_timeout = write_timeout
        self.cap_bytes = cap_bytes
        self._sockets = sockets or {}
        self._open_socket = open_socket

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        offered = ", ".join(scope.get("subprotocols") or ()).encode("latin-1")
        # Some servers keep the header to themselves, and a page's token is in it.
        fields = [field for field in scope["headers"] if field[0] != _SUBPROTOCOL]
        headers = [*fields, (_SUBPROTOCOL, offered)] if offered else fields
        head, path, arrival = _read_scope({**scope, "method": "GET", "headers": headers})
        endpoint = self._sockets.get(path) or self._sockets.get(path.rstrip("/") or "/")
        answer = _NOT_FOUND if endpoint is None else endpoint.refuse_sender(head, arrival)
        caller = None
        if answer is None and self._admit is not None:
            found = self._admit(endpoint, head, arrival)
            if hasattr(found, "__await__"):
                found = await found
            answer, caller = (found, None) if isinstance(found, Answer) else (None, found)
        if answer is None and endpoint is not None:
            agreed = endpoint.agree(scope.get("subprotocols") or (), None if caller is None else caller.principal)
            if not isinstance(agreed, Answer):
                assert self._open_socket is not None
                await receive()  # websocket.connect
                await send({"type": "websocket.accept", "subprotocol": agreed.subprotocol})
                await self._open_socket(agreed, caller, receive, send).run()
                return
            answer = agreed
        assert answer is not None
        await deny(scope, receive, send, answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        head, path, arrival = _read_scope(scope)
        endpoint = self._routes.get(path) or self._routes.get(path.rstrip("/") or "/")
        refusal = _NOT_FOUND if endpoint is None else endpoint.refuse(head, arrival)
        caller = None
        if refusal is None and self._admit is not None:
            found = self._admit(endpoint, head, arrival)
            if hasattr(found, "__await__"):
                found = await found
            if isinstance(found, Answer):
                refusal = found
            else:
                caller = found
        if refusal is not None or endpoint is None:
            assert refusal is not None
            await _send(send, refusal.data_to_send())
            return
        with anyio.move_on_after(self._body_timeout) as deadline:
            body = await self._read_body(receive)
        if deadline.cancelled_caught:
            # No ASGI server has such a deadline.
            await _send(send, _TOO_SLOW.data_to_send())
            return
        if body is None:
            return
        if len(body) > self._max_body:
            await _send(send, endpoint.too_large().data_to_send())
            return
        answer = endpoint.receive_request(
            head,
            body,
            now=self.carriers.loop.now(),
            arrival=arrival,
            principal=None if caller is None else caller.principal,
            is_checked=True,
        )
        if isinstance(answer, Answer):
            await _send(send, answer.data_to_send())
            return
        self.take(answer, caller)
        parts = answer.data_to_send()
        if answer.is_live:
            writer = _Writer(self, answer, caller, send, parts)
            await writer.run(receive)
        else:
            await _send(send, parts)

    async def _read_body(self, receive: Receive) -> bytes | None:
        """Return the body, as far as is needed to know that it is too long; `None`: the client is gone."""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            piece = message.get("body", b"")
            if piece:
                pieces.append(piece)
                size += len(piece)
            if size > self._max_body or not message.get("more_body", False):
                # `bytes`, whatever the server hands out: raw members keep what they were found in.
                return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


class _Writer:
    """Carries one exchange that is not answered at once."""

    def __init__(self, app: ASGIEndpoints, exchange: Exchange, caller: Any, send: Send, parts: list[Part]) -> None:
        self._app = app
        self._exchange = exchange
        self._caller = caller
        self._send = send
        self._parts = parts
        self._size = 0
        self._is_gone = False
        self._news = anyio.Event()
        self._written: anyio.Event | None = None
        self._timer: Timer | None = None

    async def run(self, receive: Receive) -> None:
        app, exchange = self._app, self._exchange
        app.carriers.attach(exchange, self)
        self._arm()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, receive)
                await self._write_all()
                tasks.cancel_scope.cancel()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            app.carriers.detach(exchange)
            self._is_gone = True
            self._settle()
            exchange.receive_disconnect()
            app.take(exchange, self._caller)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._news.set()

    async def _write_all(self) -> None:
        while not self._is_gone:
            parts, self._parts = self._parts, []
            self._size = 0
            if parts:
                with anyio.move_on_after(self._app.write_timeout) as scope:
                    await _send(self._send, parts)
                if scope.cancelled_caught:
                    logger.debug("x a peer takes nothing of what is sent")
                    return
                if type(parts[-1]) in (Answer, End):
                    return
            if not self._parts:
                self._settle()
                await self._news.wait()
            self._news = anyio.Event()

    def write(self, parts: list[Part]) -> None:
        """Have parts of the answer written."""
        self._parts += parts
        self._size += sum(len(part) for part in parts if isinstance(part, bytes))
        if self._app.cap_bytes is not None and self._size > self._app.cap_bytes:
            logger.debug("x %d bytes wait for a peer that takes none", self._size)
            self._is_gone = True
        self._news.set()

    async def drain(self) -> None:
        """Wait while the peer takes less than is sent."""
        while self._size and not self._is_gone:
            self._written = self._written or anyio.Event()
            await self._written.wait()

    def _settle(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.set()

    def _arm(self) -> None:
        deadline = self._exchange.next_deadline()
        if deadline is not None:
            self._timer = self._app.carriers.loop.call_at(deadline, self._on_time)

    def _on_time(self) -> None:
        exchange, app = self._exchange, self._app
        exchange.handle_deadline(app.carriers.loop.now())
        app.take(exchange, self._caller)
        if exchange.has_data:
            self.write(exchange.data_to_send())
        self._arm()


def _read_scope(scope: Scope) -> tuple[RequestHead, str, Arrival]:
    """Return the head of a request, its path below the mount, and where it arrived."""
    prefix = scope.get("root_path", "").rstrip("/")
    path = scope["path"]
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        # Whether `path` includes the mount differs between servers and their releases; below it nothing looks like it.
        path = path[len(prefix) :]
    query = scope.get("query_string", b"").decode("latin-1")
    target = quote(path) or "/"
    head = RequestHead(
        scope["method"].upper(),
        f"{target}?{query}" if query else target,
        Headers([(bytes(name), bytes(value)) for name, value in scope["headers"]]),
        "1.1",
        True,
    )
    server = scope.get("server")
    client = scope.get("client")
    arrival = Arrival(local=server[0] if server else None, prefix=prefix, peer=client[0] if client else None)
    return head, path or "/", arrival


async def _send(send: Send, parts: list[Part]) -> None:
    """Hand parts of a response to the ASGI server."""
    pieces: list[bytes] = []
    is_over = False
    for part in parts:
        if isinstance(part, Answer):
            length = [] if part.status in (204, 304) else [(b"content-length", b"%d" % len(part.body))]
            await send({"type": "http.response.start", "status": part.status, "headers": [*part.headers, *length]})
            pieces, is_over = [part.body], True
        elif isinstance(part, ResponseHead):
            await send({"type": "http.response.start", "status": part.status, "headers": part.headers})
        elif isinstance(part, bytes):
            pieces.append(part)
        else:
            is_over = True
    if pieces or is_over:
        await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": not is_over})
