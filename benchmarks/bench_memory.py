"""What a server process weighs after its first answered call, over stdio and over HTTP: ours and its peers."""

from collections.abc import Callable, Sequence

from .harness import Figure, Plan, Sample, figures_of, take_turns
from .lineload import greet, read_line
from .loads import call
from .peering import speaking
from .processes import Lines, WebServer, load_core
from .subjects import servers, web_servers
from .webload import Wire, in_session

TABLES = {"stdio": "memory after the first call, stdio", "http": "memory after the first call, http"}


def run(plan: Plan) -> list[Figure]:
    """Measure, in a fresh process each."""
    over_stdio = {name: _lines(command) for name, command in servers(plan.against).items()}
    over_http = {name: _web(command) for name, command in web_servers(speaking(plan.against, "http")).items()}
    return [
        *figures_of(TABLES["stdio"], take_turns(over_stdio, plan), "MB", is_less_better=True),
        *figures_of(TABLES["http"], take_turns(over_http, plan), "MB", is_less_better=True),
    ]


def _lines(command: Sequence[str]) -> Callable[[], Sample]:
    def turn() -> Sample:
        with load_core(), Lines(command) as lines:
            greet(lines)
            lines.write(call(1))
            if b'"hello"' not in read_line(lines):
                raise RuntimeError(f"{command!r} did not echo")
            return Sample(lines.resident / 1024)

    return turn


def _web(command: Sequence[str]) -> Callable[[], Sample]:
    def turn() -> Sample:
        with WebServer(command) as server, load_core():
            ((request, number),) = in_session(server.port).make(1)
            with Wire(server.port) as wire:
                _, body = wire.ask(request)
            if number not in body or b'"hello"' not in body:
                raise RuntimeError(f"{command!r} answered {body[:500]!r}")
            return Sample(server.resident / 1024)

    return turn
