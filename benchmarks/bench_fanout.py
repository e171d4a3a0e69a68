"""How many changes a second reach 1,000 listeners, each on a stream of its own; the load reads them all."""

import select
import time
from collections.abc import Callable
from contextlib import ExitStack

from .bench_websocket import allow_files
from .harness import LOAD_BUSY, SERVER_BUSY, Figure, Plan, Sample, contest, figures_of
from .loads import ENVELOPE
from .processes import WebServer
from .subjects import web_servers
from .webload import Requests, Wire, encode, serving

LISTENERS = 1000
_SILENCE = 30
_UPDATED = b"notifications/resources/updated"


def run(plan: Plan) -> list[Figure]:
    """Measure; a tool tells of a change, the next call waits until all have heard of it."""
    count = plan.sized(LISTENERS, 10)
    allow_files(2 * count)
    commands = web_servers(plan.against)
    with serving(commands) as servers, ExitStack() as stack:
        turns = {name: _turn(server, count, stack, plan) for name, server in servers.items()}
        found = contest(turns, plan)
    return figures_of(f"fan-out, changes of a resource to {count:,} listeners, 2026-07-28", found, "changes/s")


def _turn(server: WebServer, count: int, stack: ExitStack, plan: Plan) -> Callable[[int], Sample]:
    plan.tell(f"{count:,} listeners")
    poll = select.epoll()
    stack.callback(poll.close)
    listeners = {}
    for number in range(count):
        wire = stack.enter_context(Wire(server.port))
        wire.send(_listen(server.port, number))
        said = b""
        while b"subscriptions/acknowledged" not in said:
            said += wire.receive(1 << 16)
        listeners[wire.socket.fileno()] = wire
        poll.register(wire.socket, select.EPOLLIN)
    requests = Requests(server.port, tool=b"touch")

    def turn(changes: int) -> Sample:
        # The caller is new each time, as some servers close connections that wait for their turn.
        with Wire(server.port) as caller:
            computed, load, started = server.computed, time.process_time(), time.perf_counter()
            for request, number in requests.make(changes):
                _, body = caller.ask(request)
                if number not in body:
                    raise RuntimeError(f"answered {body[:500]!r}")
                left = count
                while left:
                    ready = poll.poll(_SILENCE)
                    if not ready:
                        raise RuntimeError(f"{left} of {count} listeners have heard nothing for {_SILENCE} s")
                    for found, _ in ready:
                        left -= listeners[found].receive(1 << 16).count(_UPDATED)
            taken = time.perf_counter() - started
        busy = {SERVER_BUSY: (server.computed - computed) / taken, LOAD_BUSY: (time.process_time() - load) / taken}
        return Sample(changes / taken, {**busy, "notifications/s": changes * count / taken})

    return turn


def _listen(port: int, number: int) -> bytes:
    body = (
        b'{"jsonrpc":"2.0","id":%d,"method":"subscriptions/listen","params":{"notifications":'
        b'{"resourceSubscriptions":["bench://watched"]}%b}}' % (number, ENVELOPE)
    )
    headers = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"subscriptions/listen")]
    return encode(port, body, headers)
