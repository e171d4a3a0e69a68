"""How many progress notifications of one call a second one event stream carries, in both eras."""

import re
import time
from collections.abc import Callable

from .harness import FLOOR, LOAD_BUSY, SERVER_BUSY, Figure, Plan, Sample, contest, figures_of
from .peering import PEERS
from .processes import WebServer
from .subjects import web_servers
from .webload import Requests, Wire, end_session, open_session, serving

TABLE = "sse, progress of one call, 2025-11-25"
ENVELOPE_TABLE = "sse, progress of one call, 2026-07-28"


def run(plan: Plan) -> list[Figure]:
    """Measure; ours remembers the events of a session, for clients that come back, and the others do not."""
    commands = web_servers(plan.against, streams=True)
    figures: list[Figure] = []
    with serving(commands) as servers:
        for table, is_session in ((TABLE, True), (ENVELOPE_TABLE, False)):
            known = list(servers) if is_session else [n for n in servers if n in ("ours", FLOOR, PEERS["mcp"].name)]
            turns = {name: _turn(servers[name], is_session) for name in known}
            figures += figures_of(table, contest(turns, plan, first=100), "messages/s")
    return figures


def _turn(server: WebServer, is_session: bool) -> Callable[[int], Sample]:
    def turn(count: int) -> Sample:
        count = max(10, count)
        with Wire(server.port) as wire:
            session = open_session(wire) if is_session else None
            requests = Requests(server.port, session, tool=b"count", arguments=b'{"to":%d}' % count, token=True)
            ((request, number),) = requests.make(1)
            computed, load, started = server.computed, time.process_time(), time.perf_counter()
            data = wire.stream(request)
            taken = time.perf_counter() - started
            busy = {
                SERVER_BUSY: (server.computed - computed) / taken,
                LOAD_BUSY: (time.process_time() - load) / taken,
            }
            _check(data, count, number)
            if session is not None:
                end_session(wire, session)
        return Sample((count + 1) / taken, busy)

    return turn


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
