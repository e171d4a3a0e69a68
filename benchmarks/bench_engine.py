"""Question: how many `tools/call` echoes does the engine alone turn from bytes into bytes, in each era?"""

import msgspec

from protocol.capabilities import ServerCapabilities, ToolsCapability
from protocol.results import CallToolResult
from protocol.server import ServerEngine, ServerProfile
from protocol.types import Implementation, TextContent

from .harness import Figure, best_rate
from .loads import ENVELOPE, INITIALIZE, call

TARGET = 150_000


class _Echo(msgspec.Struct):
    message: str


_decode = msgspec.json.Decoder(_Echo).decode


def _engine() -> ServerEngine:
    profile = ServerProfile(Implementation(name="bench", version="1"), ServerCapabilities(tools=ToolsCapability()))
    return ServerEngine(profile)


def run(rounds: int) -> list[Figure]:
    """Measure; handlers do nothing but decode their argument and give it back."""
    figures = []
    for era, meta in (("handshake", b""), ("envelope", ENVELOPE)):
        engine = _engine()
        engine.receive_message(INITIALIZE)
        engine.messages_to_send()
        messages = [call(number, meta)[:-1] for number in range(1, 65)]

        def once(engine: ServerEngine = engine, messages: list[bytes] = messages) -> None:
            for message in messages:
                engine.receive_message(message)
            for request in engine.events_received():
                text = _decode(request.params.arguments).message
                engine.send_result(request, CallToolResult(content=[TextContent(text=text)]))
            assert len(engine.messages_to_send()) == 64

        rate = best_rate(once, calls=64, rounds=rounds, count=300)
        figures.append(Figure("engine", era, rate, "calls/s", {"target": TARGET, "ratio": rate / TARGET}))
    return figures
