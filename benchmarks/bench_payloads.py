"""Questions: how many calls with 100 kB of arguments a second, and how many lists of 1,000 tools?"""

from collections.abc import Sequence
from functools import partial

from .harness import Figure, wanted
from .subjects import web_servers
from .webload import Requests, contest

ARGUMENTS = "http, 100 kB of arguments, echoed, 16 connections"
LISTS = "http, a list of 1,000 tools, 4 connections"

SIZE = 100_000


def run(against: Sequence[str], *, rounds: int, calls: int = 3_000, lists: int = 1_000) -> list[Figure]:
    """Measure."""
    text = b"The quick brown fox jumps over the lazy dog. " * (SIZE // 45)
    against = [name for name in against if name == "mcp"]
    figures = []
    for question, arguments, make, mark, count, share, connections, goal in (
        (ARGUMENTS, (), partial(_carrying, text), text, calls, 4, 16, wanted(1.8, 0.75)),
        (LISTS, ("--tools=999",), _listing, b'"tool_998"', lists, 50, 4, wanted(50)),
    ):
        commands = web_servers(against, *arguments)
        counts = {name: count // (share if name.startswith("mcp") else 1) for name in commands}
        found = contest(commands, counts, make, mark, rounds=rounds, connections=connections)
        figures += [
            Figure(question, name, best.rate, "a second", {**(goal if name == "ours" else {}), **best.busy})
            for name, best in found.items()
        ]
    return figures


def _carrying(text: bytes, port: int) -> Requests:
    return Requests(port, arguments=b'{"message":"%b"}' % text)


def _listing(port: int) -> Requests:
    return Requests(port, tool=None)
