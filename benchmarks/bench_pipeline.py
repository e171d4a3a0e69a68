"""Question: what does each stage of the pipeline cost a call, all of them together, and a cache hit?

Everything runs in one process from bytes to bytes, without a transport, so that nothing but the pipeline differs.
"""

from typing import Any

import anyio

from kailash.mcp_server import MCPServer
from kailash.mcp_server.auth import APIKeyAuth
from kailash.mcp_server.identity import make_admit
from kailash.mcp_server.session import ServerSession
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead

from .harness import Figure, best_rate
from .loads import ENVELOPE, call

TARGET = 15.0
"""Microseconds that the whole may cost over the bare tool."""
_KEY = "k" * 32
_CALLS = 64
_AMPLE = {"requests": 10**9, "window": 1}
_CACHED: dict[str, Any] = {"cache_ttl": 3600}

STAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bare tool": ({}, {}),
    "+ permission": ({}, {"required_permission": "tools"}),
    "+ rate limit": ({"rate_limit_config": _AMPLE}, {}),
    "+ rate limit, per user and per tool": (
        {"rate_limit_config": {**_AMPLE, "per_user": True}},
        {"rate_limit": _AMPLE},
    ),
    "+ circuit breaker": ({"circuit_breaker_config": {}}, {}),
    "+ cache, miss": ({}, _CACHED),
    "+ admission": ({"max_concurrent_requests": 64}, {"max_concurrency": 64}),
    "+ metrics": ({"enable_metrics": True}, {}),
    "+ audit log": ({"audit": lambda record: None}, {}),
    "all of it": (
        {"rate_limit_config": {**_AMPLE, "per_user": True}, "circuit_breaker_config": {}, "enable_metrics": True},
        {**_CACHED, "required_permission": "tools"},
    ),
}
"""What a server and its tool are told; `all of it` is what the target is about, and authenticates besides."""


class _Channel:
    """Stands for a connection: whoever measures takes what there is to send."""

    def flush(self) -> None:
        """Leave it to the reader."""

    flush_soon = flush_told = flush


class _Bench:
    """A server with one tool, and calls of it in bytes."""

    def __init__(
        self, server: dict[str, Any], tool: dict[str, Any], *, authenticates: bool, same: bool = False
    ) -> None:
        self.provider = APIKeyAuth({_KEY: {"permissions": ["tools"], "user_id": "bench"}})
        self.server = MCPServer("bench", **server)
        self.server.add_tool(_echo, name="echo", blocking=False, **tool)
        self._admit = make_admit(self.provider, anyio.current_time, self.server.policies) if authenticates else None
        self._head = RequestHead("POST", "/mcp", Headers([(b"x-api-key", _KEY.encode())]), "1.1", True)
        self._same = same
        self._number = 0
        self._session: ServerSession | None = None
        self.pending: list[list[bytes]] = []

    def messages(self) -> list[bytes]:
        """Return calls that no cache has seen, unless they are the same."""
        first = self._number
        self._number += _CALLS
        texts = (b'"%d"' % (0 if self._same else first + place) for place in range(_CALLS))
        return [call(place + 1, ENVELOPE)[:-1].replace(b'"hello"', text) for place, text in enumerate(texts)]

    def once(self) -> None:
        """Answer them."""
        session = self._session
        if session is None:
            session = self._session = self.server.new_session()
            session.channel = _Channel()
        engine = session.engine
        for message in self.pending.pop():
            if self._admit is not None:
                session.identity = self._admit(None, self._head)
                engine.principal = session.identity.principal
            engine.receive_message(message)
            session.on_events(engine.events_received())
        assert len(engine.messages_to_send()) == _CALLS


def _echo(message: str) -> str:
    return message


def _cost(bench: _Bench, rounds: int, count: int = 60) -> float:
    # Messages are made beforehand: their making is not the server's work.
    bench.pending = [bench.messages() for _ in range((rounds + 1) * count + 1)]
    bench.once()
    return 1e6 / best_rate(bench.once, calls=_CALLS, rounds=rounds, count=count)


async def measure(rounds: int) -> list[Figure]:
    """Measure every stage alone, all together, and what a cache hit takes."""
    figures = []
    bare = 0.0
    for name, (server, tool) in STAGES.items():
        cost = _cost(_Bench(server, tool, authenticates=name == "all of it"), rounds)
        bare = bare or cost
        detail = {"over the bare tool": cost - bare}
        if name == "all of it":
            detail["target"] = TARGET
        figures.append(Figure("pipeline", name, cost, "µs a call", detail))
        if name == "bare tool":
            only = _cost(_Bench({}, {"required_permission": "tools"}, authenticates=True), rounds)
            detail = {"over the bare tool": only - bare}
            figures.append(Figure("pipeline", "+ API key and permission", only, "µs a call", detail))
    hit = _cost(_Bench({}, _CACHED, authenticates=False, same=True), rounds)
    figures.append(Figure("pipeline", "cache hit", hit, "µs a call", {"over the bare tool": hit - bare}))
    return figures


def run(rounds: int) -> list[Figure]:
    """Measure in a loop: sessions need one."""
    return anyio.run(measure, rounds)
