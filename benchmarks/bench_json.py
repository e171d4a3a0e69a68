"""What the JSON door costs: a message is decoded and checked, an answer encoded; the floor is the decoder alone."""

import msgspec

from protocol.jsonrpc import Envelope, Malformed, decode, encode_result
from protocol.limits import Limits

from .harness import FLOOR, Figure, Plan, contest, figures_of, timed
from .loads import ENVELOPE, call

MESSAGES = {
    "tools/call, 100 B": call(1)[:-1],
    "tools/call with its envelope, 300 B": call(1, ENVELOPE)[:-1],
    "100 kB of arguments": call(1)[:-1].replace(b"hello", b"The quick brown fox jumps over the lazy dog. " * 2222),
    "100 kB that is no ASCII": call(1)[:-1].replace(b"hello", "Zwölf Boxkämpfer jagen Viktor. ".encode() * 3030),
}
OUT = "json door, answers encoded"
_RESULT = b'{"content":[{"type":"text","text":"hello"}]}'


def run(plan: Plan) -> list[Figure]:
    """Measure each message through the door and through the bare decoder."""
    limits = Limits()
    bare = msgspec.json.Decoder(Envelope).decode
    figures: list[Figure] = []
    for name, message in MESSAGES.items():
        assert not isinstance(decode(message, limits), Malformed)
        turns = {
            "ours": timed(lambda message=message: decode(message, limits)),  # type: ignore[misc]
            FLOOR: timed(lambda message=message: bare(message)),  # type: ignore[misc]
        }
        table = f"json door, decoded and checked: {name}"
        figures += figures_of(table, contest(turns, plan, first=100), "messages/s")
    result = msgspec.Raw(_RESULT)
    encode = msgspec.json.Encoder().encode
    turns = {
        "ours": timed(lambda: encode_result(7, _RESULT)),
        FLOOR: timed(lambda: encode({"jsonrpc": "2.0", "id": 7, "result": result})),
    }
    return figures + figures_of(OUT, contest(turns, plan, first=100), "messages/s")
