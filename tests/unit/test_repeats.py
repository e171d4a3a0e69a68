"""Calls that repeat: whatever comes after them, the answer is that of an engine that reads every message whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Limits, Notification, Request, ServerEngine, ServerProfile
from protocol.jsonrpc import Envelope, decode
from protocol.repeats import CallReader, Repeat
from tests.pair import R2025_11, envelope_meta, initialize, line, request, server_profile

LONG = "x" * 5000
LIMITS = Limits()
META = envelope_meta()
WARM = 4
"""Calls after which those like them are recognised."""


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """What the tool `t` takes."""

    text: str = ""
    numbers: Any = None


class Thorough(ServerEngine):
    """An engine that reads every message whole."""

    def receive_message(self, data: bytes) -> None:
        """Take one whole JSON text."""
        self.receive_decoded(decode(data, self.limits), data)


def early_profile(**options: Any) -> ServerProfile:
    """Return a server whose tool `t` has its arguments decoded with the request."""
    return server_profile(arguments={"t": msgspec.json.Decoder(Arguments).decode}, **options)


Spelling = Callable[[Any, str, Any], bytes]


def compact(id_: Any, name: str, arguments: Any) -> bytes:
    return line(request(id_, "tools/call", {"name": name, "arguments": arguments, "_meta": META}))


def spaced(id_: Any, name: str, arguments: Any) -> bytes:
    return json.dumps(request(id_, "tools/call", {"name": name, "arguments": arguments, "_meta": META})).encode()


def id_last(id_: Any, name: str, arguments: Any) -> bytes:
    params = {"name": name, "arguments": arguments, "_meta": META}
    return line({"method": "tools/call", "params": params, "jsonrpc": "2.0", "id": id_})


def meta_first(id_: Any, name: str, arguments: Any) -> bytes:
    params = {"_meta": {**META, "com.example/x": {"id": 3}}, "name": name, "arguments": arguments}
    return line({"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params})


def bare(id_: Any, name: str, arguments: Any) -> bytes:
    return line(request(id_, "tools/call", {"name": name, "arguments": arguments}))


def bare_id_last(id_: Any, name: str, arguments: Any) -> bytes:
    params = {"arguments": arguments, "name": name}
    return line({"method": "tools/call", "params": params, "jsonrpc": "2.0", "id": id_})


SPELLINGS: list[Spelling] = [compact, spaced, id_last, meta_first, bare, bare_id_last]
FRAGMENTS = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\xff", b"\n", b" ", b"0", b"-", b"1.5", b"x"]
FRAGMENTS += [b'"id":2,', b',"a":1', b"}}", b"\\ud800", b',"_meta":{}', b'"arguments":{},', b'"numbers":"', b"\xc3\xa9"]


def told(engine: ServerEngine, data: bytes) -> tuple[list[Any], list[Any]]:
    """Feed a message; return what is sent and what happened."""
    engine.receive_message(data)
    events = [
        (type(event), getattr(event, "id", None), event.method, msgspec.json.encode(event.params))
        if isinstance(event, Request | Notification)
        else str(event)
        for event in engine.events_received()
    ]
    return [(m.data, m.related_to, m.final, m.code) for m in engine.messages_to_send()], events


def agree(texts: Iterable[bytes], **options: Any) -> None:
    """Check that engines that remember forms answer as one does that remembers none."""
    engines = (
        ServerEngine(server_profile(**options)),
        ServerEngine(early_profile(**options)),
        Thorough(server_profile(**options)),
    )
    for text in texts:
        usual, early, thorough = (told(engine, text) for engine in engines)
        assert usual == early == thorough, text[:300]


def warmed(spelling: Spelling, *, limits: Limits = LIMITS) -> CallReader:
    reader = CallReader()
    for id_ in range(WARM):
        reader.read(spelling(id_, "t", {"text": "warm"}), limits)
    return reader


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("arguments", [{}, {"text": "a"}, {"text": LONG, "_meta": {"a": 1}}, {"id": 7, "x": '"id":8,'}])
def test_a_call_like_earlier_ones_is_recognised(spelling: Spelling, arguments: Any) -> None:
    text = spelling(1234, "t", arguments)
    found, whole = warmed(spelling).read(text, LIMITS), decode(text, LIMITS)
    assert type(found) is Repeat and isinstance(whole, Envelope)
    assert (found.id, found.method, found.form.params.name) == (whole.id, whole.method, "t")
    assert json.loads(bytes(found.arguments)) == arguments


@pytest.mark.parametrize(
    "text",
    [
        line(request(1, "tools/call", {"name": 5, "arguments": {}})),
        line(request(1, "tools/call")),
        line(request(1, "tools/call", {"name": "t"})),
        line(request(1, "tools/call", {"name": "t", "arguments": {}, "requestState": "x"})),
        line(request(-1, "tools/call", {"name": "t", "arguments": {}})),
        line(request("a", "tools/call", {"name": "t", "arguments": {}})),
        line(request(1, "tools/call", {"name": "t", "arguments": {}})).replace(b'"arguments":', b'"arguments" :'),
        line(request(1, "tools/call", {"name": "t", "arguments": {}})).replace(b'"arguments":', b'"arguments":\t'),
        line(request(1, "tools/call", {"_meta": {"x": {"arguments": {}}}, "name": "t", "arguments": {}})),
        id_last(1, "t", {}).replace(b'"id":1', b'"id":\t1'),
    ],
)
def test_what_has_no_form_is_read_as_ever(text: bytes) -> None:
    reader = CallReader()
    for _ in range(WARM):
        assert reader.read(text, LIMITS) == decode(text, LIMITS)
    agree([line(initialize(R2025_11)), *[text] * WARM])


def test_an_id_inside_the_params_is_not_taken_for_that_of_the_message() -> None:
    def text(id_: int) -> bytes:
        params = {"_meta": {"id": 5, "x": 1}, "name": "t", "arguments": {}}
        return line({"method": "tools/call", "params": params, "jsonrpc": "2.0", "id": id_})

    reader = CallReader()
    for n in range(WARM):
        reader.read(text(n), LIMITS)
    found = reader.read(text(77), LIMITS)
    assert type(found) is Repeat and found.id == 77


def test_forms_of_many_tools_are_told_apart() -> None:
    reader = CallReader()
    for round_ in range(WARM * 16):
        for name in "abcd":
            reader.read(compact(round_, name, {}), LIMITS)
    found = [reader.read(compact(1, name, {}), LIMITS) for name in "abcd"]
    assert [call.form.params.name for call in found if isinstance(call, Repeat)] == list("abcd")


@pytest.mark.parametrize(
    "text",
    [
        compact(5, "t", {}).replace(b'"id":5', b'"id":05'),
        compact(5, "t", {}).replace(b'"id":5', b'"id":-5'),
        compact(5, "t", {}).replace(b'"id":5', b'"id":5.0'),
        compact(5, "t", {}).replace(b'"id":5', b'"id":1234567890123456'),
        compact("5", "t", {}),
        compact(5, "u", {}),
        compact(5, "t", {})[:-1],
        compact(5, "t", {}) + b" ",
        compact(5, "t", {"text": "\xff"}).replace(b"\xc3\xbf", b"\xff"),
        compact(5, "t", json.loads("[" * 200 + "]" * 200)),
        b"[" + compact(5, "t", {}) + b"]",
    ],
)
def test_what_is_not_like_them_is_read_whole(text: bytes) -> None:
    assert type(warmed(compact).read(text, LIMITS)) is not Repeat
    agree([*(compact(100 + n, "t", {}) for n in range(WARM)), text])


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("arguments", [None, 1, [], "x", {"text": 1}, {"unknown": LONG}, {"numbers": [1, {"a": None}]}])
def test_any_arguments_are_taken_alike(spelling: Spelling, arguments: Any) -> None:
    first = [] if b"protocolVersion" in spelling(0, "t", {}) else [line(initialize(R2025_11))]
    warm = [spelling(100 + n, "t", {}) for n in range(WARM)]
    agree([*first, *warm, spelling(1, "t", arguments), spelling(2, "t", {})])


@pytest.mark.parametrize(
    "arguments",
    [
        b"",
        b"{",
        b"{}}",
        b'{"text":"x"',
        b'{"text":x}',
        b'{},"arguments":{}',
        b'{},"name":"u"',
        b"{} {}",
        b'"\\ud800"',
    ],
)
def test_what_stands_for_arguments_may_not_be_any(arguments: bytes) -> None:
    for spelling in SPELLINGS:
        first = [] if b"protocolVersion" in spelling(0, "t", {}) else [line(initialize(R2025_11))]
        warm = [spelling(100 + n, "t", {}) for n in range(WARM)]
        text = re.sub(rb'\{"text": ?"here"\}', lambda _: arguments, spelling(1, "t", {"text": "here"}))
        agree([*first, *warm, text, spelling(2, "t", {})])


def test_ids_in_use_and_too_many_requests_are_refused_as_ever() -> None:
    agree((compact(n % 6, "t", {}) for n in range(40)), limits=Limits(requests=5))


def test_a_form_is_let_in_by_the_handshake_that_it_came_to() -> None:
    one, other = ServerEngine(early_profile()), ServerEngine(early_profile())
    shared = CallReader()
    for engine in (one, other):
        told(engine, line(initialize(R2025_11)))
    for n in range(2 * WARM):
        for engine in (one, other):
            text = bare(10 + n, "t", {"text": "a"})
            engine.receive_decoded(shared.read(text, LIMITS), text)
            (event,) = engine.events_received()
            assert isinstance(event, Request) and event.context is engine._handshake.context
    late = ServerEngine(early_profile())
    text = bare(1, "t", {"text": "a"})
    late.receive_decoded(shared.read(text, LIMITS), text)
    assert not late.events_received() and b"Not initialized" in late.messages_to_send()[0].data


def test_a_form_is_let_in_by_calls_of_its_own_only() -> None:
    # Both end in `}}`: what has `_meta` looks like a call without it, with much in the place of the arguments.
    for first, second in ((bare, compact), (compact, bare)):
        texts = [line(initialize(R2025_11)), line(request(1, "tools/call", {"name": "t", "arguments": {}}))]
        texts += [first(10, "t", {}), first(11, "t", {})]
        for n in range(20, 50, 3):
            texts += [second(n, "t", {"text": "a"}), first(n + 1, "t", {"text": "a"}), first(n + 2, "t", {})]
        agree(texts)
    agree([bare(1, "t", {}), bare(2, "t", {}), *(compact(n, "t", {}) for n in range(3, 9)), bare(9, "t", {})])


def test_arguments_are_decoded_with_the_request_once_its_form_is_known() -> None:
    engine = ServerEngine(early_profile())
    found = []
    for n in range(WARM + 1):
        engine.receive_message(compact(n, "t", {"text": LONG, "numbers": [n]}))
        (event,) = engine.events_received()
        assert isinstance(event, Request)
        assert json.loads(bytes(event.params.arguments))["numbers"] == [n]
        found.append(event.arguments)
    assert found[0] is None and found[-1] == Arguments(LONG, [WARM])


def test_what_changes_with_every_call_is_learned_less_and_less() -> None:
    learned = []

    class Counting(CallReader):
        def _learn(self, data: bytes, message: Envelope, limits: Limits) -> None:
            learned.append(data)
            super()._learn(data, message, limits)

    reader = Counting()
    texts = [compact(n, "t", {}).replace(b'"_meta":{', b'"_meta":{"progressToken":%d,' % n) for n in range(1000)]
    for text in texts:
        assert type(reader.read(text, LIMITS)) is Envelope
    assert len(learned) < 25


def test_what_is_remembered_is_bounded() -> None:
    reader = CallReader()
    for n in range(5000):
        reader.read(compact(n, f"tool-{n // WARM}", {}), LIMITS)
        reader._pause = reader._rest = 0
    assert reader._forms is not None and len(reader._forms) <= 16
    much = b'"_meta":{"com.example/x":"%s",' % LONG[:1800].encode()
    for n in range(1000):
        reader.read(compact(n, f"tool-{n // WARM}", {}).replace(b'"_meta":{', much), LIMITS)
        reader._pause = reader._rest = 0
    assert len(reader._forms) > 1
    assert sum(len(key) + 2 * len(form.end) for key, form in reader._forms.items()) <= 16 * 1024
    reader = CallReader()
    for n in range(WARM):
        text = compact(n, "t", {}).replace(b'"_meta":{', b'"_meta":{"com.example/x":"%s",' % LONG.encode())
        assert type(reader.read(text, LIMITS)) is Envelope
    assert reader._forms is None


@given(st.data())
def test_any_damage_is_answered_alike(data: st.DataObject) -> None:
    one, other = data.draw(st.sampled_from(SPELLINGS)), data.draw(st.sampled_from(SPELLINGS))
    texts = [] if data.draw(st.booleans()) else [line(initialize(R2025_11))]
    for n in range(data.draw(st.integers(1, WARM))):
        texts += [one(100 + n, "t", {"text": "warm"}), other(150 + n, "t", {"text": "warm"})]
    for n in range(data.draw(st.integers(1, 4))):
        spelling = data.draw(st.sampled_from([one, other]))
        arguments = data.draw(st.sampled_from([{}, {"text": "a"}, {"text": LONG}, {"numbers": {"_meta": {"id": 1}}}]))
        text = spelling(data.draw(st.integers(-1, 12) | st.just(10**15)), "t", arguments)
        for _ in range(data.draw(st.integers(0, 3))):
            near = st.integers(0, 200) | st.integers(len(text) - 200, len(text)) | st.integers(0, len(text))
            at = max(0, min(len(text), data.draw(near)))
            cut = data.draw(st.integers(0, 3))
            text = text[:at] + data.draw(st.sampled_from(FRAGMENTS)) + text[at + cut :]
        texts += [text, spelling(200 + n, "t", {})]
    agree(texts, limits=Limits(requests=12))
