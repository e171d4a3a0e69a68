"""How many `tools/call` echoes the engine alone turns from bytes into bytes, in each revision."""

from collections.abc import Callable

import msgspec

from protocol.capabilities import ServerCapabilities, ToolsCapability
from protocol.events import Request
from protocol.results import CallToolResult
from protocol.revisions import REVISIONS
from protocol.server import ServerEngine, ServerProfile
from protocol.types import Implementation, TextContent

from .harness import FLOOR, Figure, Plan, contest, figures_of, timed
from .loads import ENVELOPE, INITIALIZE, call
from .peers.answers import Answers

TABLE = "engine, one tools/call echo, bytes to bytes"
CALLS = 64
_NAMES = [revision.name for revision in REVISIONS]


class _Echo(msgspec.Struct):
    message: str


_decode = msgspec.json.Decoder(_Echo).decode


def run(plan: Plan) -> list[Figure]:
    """Measure; handlers do nothing but decode their argument and give it back."""
    turns = {f"ours, {name}": timed(_once(name), CALLS) for name in _NAMES}
    answers = Answers()
    messages = [call(number, ENVELOPE)[:-1] for number in range(1, CALLS + 1)]

    def bare() -> None:
        for message in messages:
            answers.of(answers.decode(message))

    turns[FLOOR] = timed(bare, CALLS)
    return figures_of(TABLE, contest(turns, plan, first=CALLS), "calls/s")


def _once(revision: str) -> Callable[[], None]:
    profile = ServerProfile(Implementation(name="bench", version="1"), ServerCapabilities(tools=ToolsCapability()))
    engine = ServerEngine(profile)
    is_enveloped = revision == "2026-07-28"
    if not is_enveloped:
        engine.receive_message(INITIALIZE.rstrip().replace(b"2025-11-25", revision.encode()))
        engine.messages_to_send()
    messages = [call(number, ENVELOPE if is_enveloped else b"")[:-1] for number in range(1, CALLS + 1)]

    def once() -> None:
        for message in messages:
            engine.receive_message(message)
        for request in engine.events_received():
            assert isinstance(request, Request)
            text = _decode(request.params.arguments).message
            engine.send_result(request, CallToolResult(content=[TextContent(text=text)]))
        assert len(engine.messages_to_send()) == CALLS

    return once
