"""Question: how many progress notifications of one call a second does one event stream carry?"""

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack

from .harness import FLOOR, Figure, wanted
from .subjects import WebServer, load_core, web_servers
from .webload import Requests, Wire, end_session, open_session

QUESTION = "sse, progress of one call, 2025-11-25"
ENVELOPE_QUESTION = "sse, progress of one call, 2026-07-28"


def run(against: Sequence[str], *, rounds: int, messages: int = 20_000) -> list[Figure]:
    """Measure; ours remembers the events of a session, for clients that come back, and the others do not."""
    commands = web_servers(against, streams=True)
    slow = [name for name in commands if name.startswith("mcp")]
    counts = {name: messages // (4 if name in slow else 1) for name in commands}
    best: dict[tuple[str, str], float] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(WebServer(command)) for name, command in commands.items()}
        stack.enter_context(load_core())
        for number in range(rounds + 1):
            for question, is_session in ((QUESTION, True), (ENVELOPE_QUESTION, False)):
                for name, server in servers.items():
                    if is_session or name in ("ours", "mcp 2.3.0", FLOOR):
                        rate = _once(server.port, is_session, max(10, counts[name]))
                        if number:  # the first one warms up
                            best[question, name] = max(best.get((question, name), 0.0), rate)
    goals = {"ours": wanted(5)}
    return [
        Figure(question, name, best[question, name], "messages/s", goals.get(name, {}))
        for question in (QUESTION, ENVELOPE_QUESTION)
        for name in commands
        if (question, name) in best
    ]


def _once(port: int, is_session: bool, count: int) -> float:
    with Wire(port) as wire:
        session = open_session(wire) if is_session else None
        requests = Requests(port, session, tool=b"count", arguments=b'{"to":%d}' % count, token=True)
        ((request, number),) = requests.make(1)
        started = time.perf_counter()
        data = wire.stream(request)
        taken = time.perf_counter() - started
        _check(data, count, number)
        if session is not None:
            end_session(wire, session)
    return (count + 1) / taken


def _check(data: bytes, count: int, number: bytes) -> None:
    """Verify that every notification came, in order, and then the answer."""
    head, _, rest = data.partition(b"\r\n\r\n")
    body = bytearray()
    at = 0
    while at < len(rest):
        end = rest.index(b"\r\n", at)
        size = int(rest[at:end], 16)
        body += rest[end + 2 : end + 2 + size]
        at = end + 4 + size
    found = re.findall(rb'"progress":(\d+)', body)
    if found != [b"%d" % each for each in range(count)] or number not in body or b'"done"' not in body:
        raise RuntimeError(f"{len(found)} of {count} notifications came: {head!r} {bytes(body[-1000:])!r}")
