"""The figures to reach, as data; a run fills in what it reached."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .bench_clients import TABLES as CLIENTS
from .bench_http import TABLE as HTTP
from .bench_lists import TABLE as LISTS
from .bench_memory import TABLES as MEMORY
from .bench_payloads import TABLE as PAYLOADS
from .bench_sessions import CALLS as SESSIONS
from .bench_sessions import MEMORY as SESSION_MEMORY
from .bench_sse import TABLE as SSE
from .bench_startup import TABLE as STARTUP
from .bench_stdio import MANY, ONE
from .bench_websocket import TABLE as WEBSOCKET
from .harness import Figure
from .peering import PEERS
from .tables import Table, number, tables_of

__all__ = ["GOALS", "HEAD", "Goal", "reached"]

_MCP, _MCP1, _TYPESCRIPT = (PEERS[name].name for name in ("mcp", "mcp1", "typescript"))


@dataclass(frozen=True)
class Goal:
    """What one figure shall be, against peers and the floor."""

    what: str
    table: str
    times: dict[str, float]
    """How many times better than each peer, at least."""
    share: float | None = None
    """How near to the floor, at least."""
    subject: str = "ours"
    at: float | None = None
    is_time: bool = field(default=False)
    """Said as times of the floor, at most, instead of as a share of it."""


GOALS = (
    Goal("HTTP echo, 16 connections, 2026-07-28, httptools", HTTP, {_MCP: 16}, 0.40),
    Goal("HTTP echo, h11", HTTP, {_MCP: 3.7}, 0.80, subject="ours, h11"),
    Goal("HTTP echo, session revisions", SESSIONS, {_MCP: 14, _TYPESCRIPT: 6}, 0.30),
    Goal("stdio, 64 in flight", MANY, {_MCP: 40, _TYPESCRIPT: 2}, 0.20),
    Goal("stdio one at a time, p50", ONE, {_MCP: 6, _TYPESCRIPT: 1}, 1 / 1.4, is_time=True),
    Goal("WebSocket echo, 64 in flight", WEBSOCKET, {_MCP1: 25}, 0.50),
    Goal("SSE progress notifications on one stream", SSE, {_MCP: 7, _TYPESCRIPT: 1}, 0.70),
    Goal("100 kB arguments over HTTP", PAYLOADS, {_MCP: 2}, 0.70, at=100_000),
    Goal("list of 1,000 tools", LISTS, {_MCP: 100}, 0.50),
    Goal("client calls one at a time, stdio", CLIENTS["stdio"], {_MCP: 3.4}, 0.85),
    Goal("client calls one at a time, HTTP", CLIENTS["http"], {_MCP: 8}, 0.65),
    Goal("start to first answer", STARTUP, {_MCP: 5, _TYPESCRIPT: 1}, 1 / 3, is_time=True),
    Goal("memory after the first call", MEMORY["stdio"], {_MCP: 2}),
    Goal("memory per idle session", SESSION_MEMORY, {_MCP: 5}),
)

HEAD = ["question", "goal", "reached", "of the floor: goal", "of the floor: reached", ""]


def reached(figures: Sequence[Figure]) -> list[list[str]]:
    """Return a row a goal: what was to be reached, what was, and whether that is it; unmeasured ones say so."""
    tables = {table.title: table for table in tables_of(figures)}
    return [_row(goal, tables.get(goal.table)) for goal in GOALS]


def _row(goal: Goal, table: Table | None) -> list[str]:
    rows = [] if table is None else table.figures
    figure = next((each for each in rows if each.subject == goal.subject and each.at == goal.at), None)
    wanted, found, verdicts = [], [], []
    for peer, factor in goal.times.items():
        wanted.append(f"{factor:g}x {peer}")
        times = None if table is None or figure is None else table.times(figure, peer)
        found.append("not measured" if times is None else f"{times:.3g}x {peer}")
        verdicts.append(None if times is None else times >= factor)
    share = None if table is None or figure is None else table.share(figure)
    floor_goal = floor_found = ""
    if goal.share is not None:
        floor_goal = f"at most {number(1 / goal.share)} times" if goal.is_time else f"{goal.share:.0%}"
        floor_found = "not measured" if share is None else f"{1 / share:.2f} times" if goal.is_time else f"{share:.0%}"
        verdicts.append(None if share is None else share >= goal.share)
    verdict = "not met" if False in verdicts else "not measured" if None in verdicts else "met"
    return [goal.what, ", ".join(wanted), ", ".join(found), floor_goal, floor_found, verdict]
