"""How long a call takes in which the server asks the client back: elicitation and sampling, over stdio."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from .harness import FLOOR, Figure, Plan, Sample, contest, figures_of, percentile
from .lineload import greet, read_line
from .loads import ENVELOPE, call
from .peering import PEERS, node_script, python_of
from .processes import Lines, load_core
from .subjects import peer

ANSWERS = {
    "elicit": b'{"action":"accept","content":{"answer":"hello"}}',
    "sample": b'{"role":"assistant","content":{"type":"text","text":"hello"},"model":"bench"}',
}
_ASKS = b'{"elicitation":{},"sampling":{}}'
_META = ENVELOPE.replace(b'clientCapabilities":{}', b'clientCapabilities":%b' % _ASKS)


class _Result(msgspec.Struct):
    input_requests: dict[str, msgspec.Raw] = msgspec.field(name="inputRequests", default_factory=dict)
    request_state: str = msgspec.field(name="requestState", default="")


class _Said(msgspec.Struct):
    id: int | str | None = None
    method: str = ""
    result: _Result | None = None


_decode = msgspec.json.Decoder(_Said).decode


def run(plan: Plan) -> list[Figure]:
    """Measure one call at a time: in sessions the server asks, in 2026-07-28 the call is made again with the answer."""
    commands = {"ours": peer("kailash_asking.py"), FLOOR: peer("bare_asking.py")}
    peers = {PEERS[name].name: _asking(name) for name in plan.against}
    figures: list[Figure] = []
    for tool in ANSWERS:
        for revision, known in (("2025-11-25", {**commands, **peers}), ("2026-07-28", commands)):
            is_enveloped = revision == "2026-07-28"
            with ExitStack() as stack:
                turns = {}
                for name, command in known.items():
                    lines = stack.enter_context(Lines(command))
                    if not is_enveloped:
                        greet(lines, _ASKS)
                    turns[name] = _turn(lines, tool, is_enveloped)
                stack.enter_context(load_core())
                found = contest(turns, plan, first=10, rate_of=lambda sample: 1e6 / sample.value)
            table = f"stdio, a call in which the server asks to {tool}, {revision}"
            figures += figures_of(table, found, "µs p50", is_less_better=True)
    return figures


def _asking(name: str) -> list[str]:
    if name == "typescript":
        return node_script("typescript_asking.mjs")
    return peer("mcp_asking.py", python=python_of(name))


def _turn(lines: Lines, tool: str, is_enveloped: bool) -> Callable[[int], Sample]:
    once = _retried if is_enveloped else _asked

    def turn(count: int) -> Sample:
        taken = []
        for number in range(1, count + 1):
            started = time.perf_counter()
            said = once(lines, number, tool)
            taken.append((time.perf_counter() - started) * 1e6)
            if b'"hello"' not in said or b'"error"' in said or b"%d" % number not in said:
                raise RuntimeError(f"asked with {number} and answered with {said[:500]!r}")
        return Sample(percentile(taken, 0.5), {"p99": percentile(taken, 0.99)})

    return turn


def _asked(lines: Lines, number: int, tool: str) -> bytes:
    lines.write(call(number).replace(b'"echo"', b'"%b"' % tool.encode()))
    question = _decode(read_line(lines))
    if not question.method:
        raise RuntimeError(f"the server did not ask: {question!r}")
    lines.write(b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (msgspec.json.encode(question.id), ANSWERS[tool]))
    return read_line(lines)


def _retried(lines: Lines, number: int, tool: str) -> bytes:
    request = call(number, _META).replace(b'"echo"', b'"%b"' % tool.encode())
    lines.write(request)
    needed = _decode(read_line(lines)).result
    if needed is None or not needed.input_requests:
        raise RuntimeError(f"the server did not ask: {needed!r}")
    (key,) = needed.input_requests
    more = b',"inputResponses":{%b:%b},"requestState":%b' % (
        msgspec.json.encode(key),
        ANSWERS[tool],
        msgspec.json.encode(needed.request_state),
    )
    lines.write(request.replace(b',"_meta"', more + b',"_meta"'))
    return read_line(lines)
