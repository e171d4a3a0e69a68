"""How each thing grows: twice, four and eight times the tools, sessions, payload and connections."""

from collections.abc import Callable

from .harness import Figure, Plan, contest, figures_of
from .subjects import web_servers
from .webload import Requests, Wire, in_session, open_session, serving, web_turn

STEPS = (1, 2, 4, 8)
TOOLS, SESSIONS, PAYLOAD, CONNECTIONS = 125, 125, 12_500, 8
_TEXT = b"The quick brown fox jumps over the lazy dog. "

Maker = Callable[[int], Requests]


def run(plan: Plan) -> list[Figure]:
    """Measure ours and the floor."""
    figures: list[Figure] = []
    steps = STEPS[: plan.sized(len(STEPS), 2)]
    for step in steps:
        tools = plan.sized(TOOLS, 2) * step
        with serving(web_servers([], f"--tools={tools - 1}")) as servers:
            for what, tool, mark in (
                ("lists a second, by tools listed", None, b'"tool_%d"' % (tools - 2)),
                ("calls a second, by tools there are", b"echo", b'"hello"'),
            ):
                turns = {
                    name: web_turn(server, Requests(server.port, tool=tool), mark, 4)
                    for name, server in servers.items()
                }
                found = contest(turns, plan, first=4)
                figures += figures_of(f"growth, {what}", found, "a second", at=tools, axis="tools")
    with serving(web_servers([])) as servers:
        for step in steps:
            size = PAYLOAD * step
            text = _TEXT * (size // len(_TEXT))
            arguments = b'{"message":"%b"}' % text
            turns = {
                name: web_turn(server, Requests(server.port, arguments=arguments), text, 16)
                for name, server in servers.items()
            }
            found = contest(turns, plan, first=16)
            figures += figures_of("growth, calls a second, by payload", found, "a second", at=size, axis="bytes")
        for step in steps:
            count = CONNECTIONS * step
            turns = {
                name: web_turn(server, in_session(server.port), b'"hello"', count) for name, server in servers.items()
            }
            found = contest(turns, plan, first=count)
            figures += figures_of(
                "growth, calls a second in sessions, by connections", found, "a second", at=count, axis="connections"
            )
        for step in steps:
            sessions = plan.sized(SESSIONS, 5) * step
            turns = {}
            for name, server in servers.items():
                with Wire(server.port) as wire:
                    opened = [open_session(wire) for _ in range(sessions if step == 1 else sessions // 2)]
                turns[name] = web_turn(server, Requests(server.port, opened[-1]), b'"hello"', 16)
            found = contest(turns, plan, first=16)
            figures += figures_of(
                "growth, calls a second in sessions, by sessions open", found, "a second", at=sessions, axis="sessions"
            )
    return figures
