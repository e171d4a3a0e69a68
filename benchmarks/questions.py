"""The questions, one row each: what it asks, which peers can answer, and whether it belongs to the short set.

To add one: a row here, and a module `bench_<name>.py` beside it with `run(plan) -> list[Figure]`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

from .harness import Figure, Plan

__all__ = ["QUESTIONS", "Question"]


@dataclass(frozen=True)
class Question:
    """One question: a module that measures, and what to know before it is asked."""

    name: str
    summary: str
    seconds: float
    """That it takes, roughly, against all peers with the usual rounds; the progress bar and `list` tell of them."""
    peers: tuple[str, ...] = ()
    """Those that can answer it."""
    is_short: bool = False
    """Whether `--short` and `make bench` ask it."""

    def run(self, plan: Plan) -> list[Figure]:
        """Measure."""
        measure: Callable[[Plan], list[Figure]] = import_module(f"{__package__}.bench_{self.name}").run
        return [replace(figure, question=self.name) for figure in measure(plan.only(*self.peers))]


PYTHON = ("mcp", "mcp1", "fastmcp")
EVERYONE = (*PYTHON, "typescript")

QUESTIONS = {
    row.name: row
    for row in (
        Question("json", "the JSON door: messages decoded and checked, answers encoded", 15),
        Question("engine", "the engine alone, bytes to bytes, in each revision", 10, is_short=True),
        Question("codecs", "h11, httptools, wsproto, lines and SSE against the parsers under them", 15),
        Question("schema", "arguments bound, values validated, signatures read", 10),
        Question("pipeline", "what each stage costs a call, all together, a cache hit", 5),
        Question("pool", "what a named server costs a call over a held connection", 5),
        Question("sharing", "sessions in Redis against sessions in memory, and a forward", 15),
        Question("stdio", "calls over stdio: 64 in flight, and one at a time", 40, EVERYONE, is_short=True),
        Question(
            "asking", "a call in which the server asks back: elicitation, sampling", 40, ("mcp", "mcp1", "typescript")
        ),
        Question("sockets", "calls over TCP and Unix sockets: 64 in flight, and one at a time", 20),
        Question("startup", "from process start to the first answer; imports", 30, EVERYONE, is_short=True),
        Question("memory", "what a server weighs after its first call", 40, EVERYONE, is_short=True),
        Question("http", "calls over HTTP on 16 connections, 2026-07-28, both parsers", 15, ("mcp",), is_short=True),
        Question("connections", "HTTP by connections, 1 to 256, both eras and parsers", 60, ("mcp", "typescript")),
        Question("loops", "HTTP on asyncio, uvloop and trio", 10),
        Question("answers", "HTTP answers as event streams and as JSON, both eras", 20, EVERYONE),
        Question("latency", "p50 and p99 over HTTP and stdio at 200, 1,000 and 4,000 calls a second", 80, EVERYONE),
        Question(
            "sessions", "calls in a session over HTTP; what 1,000 idle sessions weigh", 105, EVERYONE, is_short=True
        ),
        Question("idle", "1,000 and 10,000 idle sessions: bytes each, and calls among them", 95, EVERYONE),
        Question("sse", "progress notifications on one event stream, both eras", 20, EVERYONE, is_short=True),
        Question("fanout", "changes told to 1,000 listeners", 15, ("mcp",)),
        Question("payloads", "arguments of 1 kB to 10 MB, echoed", 30, ("mcp",), is_short=True),
        Question("lists", "lists of 1,000 tools, both eras", 25, PYTHON, is_short=True),
        Question(
            "websocket", "calls over WebSocket, 64 in flight; what an idle one weighs", 25, ("mcp1",), is_short=True
        ),
        Question("clients", "calls of a client, one at a time, over stdio and HTTP", 30, ("mcp",), is_short=True),
        Question("workers", "HTTP with one and two worker processes", 10),
        Question("growth", "x2, x4, x8 of tools, sessions, payload and connections", 55),
    )
}
