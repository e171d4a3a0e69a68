"""What each stage of the pipeline costs a call, all of them together, and a cache hit.

Everything runs in one process from bytes to bytes, without a transport, so that nothing but the pipeline differs.
"""

import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel

from kailash.mcp_server import MCPServer
from kailash.mcp_server.auth import APIKeyAuth
from kailash.mcp_server.identity import Admission
from kailash.mcp_server.session import ServerSession
from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead

from .harness import Figure, Plan, Sample, figures_of, take_turns
from .loads import ENVELOPE, call

TABLE = "pipeline, by stage"
BARE = "bare tool"
_KEY = "k" * 32
_CALLS = 64
_AMPLE = {"requests": 10**9, "window": 1}
_CACHED: dict[str, Any] = {"cache_ttl": 3600}

WHOLE = "all of it"
COROUTINE = "a bare coroutine that does nothing"
STAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    BARE: ({}, {}),
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
    WHOLE: (
        {"rate_limit_config": {**_AMPLE, "per_user": True}, "circuit_breaker_config": {}, "enable_metrics": True},
        {**_CACHED, "required_permission": "tools"},
    ),
}
"""What a server and its tool are told; `all of it` authenticates besides."""


class _Channel:
    """Stands for a connection: whoever measures takes what there is to send."""

    def now(self) -> float:
        """Return the time of deadlines."""
        return anyio.current_time()

    def flush(self) -> None:
        """Leave it to the reader."""

    flush_soon = flush_told = flush


class _Bench:
    """A server with one tool, and calls of it in bytes."""

    def __init__(
        self,
        server: dict[str, Any],
        options: dict[str, Any],
        *,
        authenticates: bool,
        same: bool = False,
        tool: Callable[..., Any] | None = None,
    ) -> None:
        self.provider = APIKeyAuth({_KEY: {"permissions": ["tools"], "user_id": "bench"}})
        self.server = MCPServer("bench", **server)
        if tool is None:
            self.server.add_tool(_echo, name="echo", blocking=False, **options)
        else:
            self.server.add_tool(tool, name="echo", **options)
        self._admit = Admission(self.provider, anyio.current_time, self.server.policies) if authenticates else None
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
        self.feed()
        self.check()

    @property
    def is_busy(self) -> bool:
        """Tell whether some are not answered yet."""
        return self._session is not None and self._session.is_busy

    def check(self) -> None:
        """Take the answers."""
        assert self._session is not None
        assert len(self._session.engine.messages_to_send()) == _CALLS

    def feed(self) -> None:
        """Hand them to the server."""
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


async def _nothing(message: str) -> None:
    pass


def _echo(message: str) -> str:
    return message


def _turn(bench: _Bench, count: int) -> Callable[[], Sample]:
    def turn() -> Sample:
        # Messages are made beforehand: their making is not the server's work.
        bench.pending = [bench.messages() for _ in range(count)]
        started = time.perf_counter()
        for _ in range(count):
            bench.once()
        return Sample((time.perf_counter() - started) / count / _CALLS * 1e6)

    return turn


async def measure(plan: Plan) -> list[Figure]:
    """Measure every stage alone, all together, and what a cache hit takes."""
    benches = {name: _Bench(*told, authenticates=name == WHOLE) for name, told in STAGES.items()}
    benches["+ API key and permission"] = _Bench({}, {"required_permission": "tools"}, authenticates=True)
    benches["cache hit"] = _Bench({}, _CACHED, authenticates=False, same=True)
    count = max(1, int(plan.seconds * 100))
    turns = {name: _turn(bench, count) for name, bench in benches.items()}
    for turn in turns.values():
        turn()  # warms up
    found = take_turns(turns, plan)
    found[COROUTINE] = [await _coroutine_turn(count) for _ in range(plan.rounds)]
    return figures_of(TABLE, found, "µs a call", floors=dict.fromkeys([*turns, COROUTINE], BARE), is_less_better=True)


async def _coroutine_turn(count: int) -> Sample:
    """Return microseconds a call of the least that an ordinary tool can be: a coroutine that does nothing."""
    bench = _Bench({}, {}, authenticates=False, tool=_nothing)
    bench.pending = [bench.messages() for _ in range(count)]
    started = time.perf_counter()
    for _ in range(count):
        bench.feed()
        while bench.is_busy:
            await anyio.lowlevel.checkpoint()
        bench.check()
    return Sample((time.perf_counter() - started) / count / _CALLS * 1e6)


def run(plan: Plan) -> list[Figure]:
    """Measure in a loop: sessions need one."""
    return anyio.run(measure, plan)
