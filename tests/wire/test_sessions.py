"""Whole sessions of each revision and both roles on the wire, replayed whole, byte by byte and at random cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import (
    REVISIONS,
    CallToolParams,
    CallToolResult,
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    EmptyParams,
    Era,
    ErrorObject,
    InputRequest,
    InputRequired,
    ListRootsResult,
    ListToolsResult,
    Ready,
    Request,
    Revision,
    Root,
    SamplingMessage,
    SubscriptionFilter,
    TextContent,
    Tool,
)
from protocol.events import Change, ChangeKind, Event, Result, Subscribed
from protocol.pipe import Pipe
from protocol.subscriptions import ChangeNotice
from tests.pair import EnginePair, at_random, byte_by_byte, client_profile, server_profile, whole
from tests.requirements import rule

HERE = Path(__file__).parent
TOOL = Tool(name="greet", title="Greet", input_schema={"type": "object", "properties": {"who": {"type": "string"}}})
QUESTIONS = {
    "sample": InputRequest(
        "sampling/createMessage",
        CreateMessageParams(messages=[SamplingMessage(role="user", content=TextContent(text="hi"))], max_tokens=9),
    ),
    "where": InputRequest("roots/list", EmptyParams()),
}
FORM = {"type": "object", "properties": {"name": {"type": "string"}}}
ASK = InputRequest("elicitation/create", ElicitParams(message="Who?", requested_schema=FORM))
ANSWERS: dict[str, Any] = {
    "sampling/createMessage": CreateMessageResult(role="assistant", content=TextContent(text="yo"), model="m"),
    "roots/list": ListRootsResult(roots=[Root(uri="file:///home")]),
    "elicitation/create": ElicitResult(action="accept", content={"name": "Ω"}),
}


def serve(engine: Any, event: Event) -> None:
    """Act as the server of the recorded sessions does; what it does depends on what it hears alone."""
    if not isinstance(event, Request):
        return
    match event.method:
        case "tools/list":
            engine.send_result(event, ListToolsResult(tools=[TOOL]))
        case "tools/call" if event.params.name == "greet":
            engine.send_progress(event, 0.5, 1, "half way")
            engine.send_log(event, "info", "greeting", "server")
            engine.send_result(
                event, CallToolResult(content=[TextContent(text="hello\nΩ")], structured_content={"a": 1})
            )
        case "tools/call" if event.params.name == "ask" and event.params.input_responses is msgspec.UNSET:
            questions = dict(QUESTIONS)
            if engine.missing_for(event, {"q": ASK}) == {}:
                questions["q"] = ASK
            if not engine.ask(event, questions, b"round 1", now=0.0):
                return
            engine.send_result(event, CallToolResult(content=[TextContent(text="asked")]))
        case "tools/call" if event.params.name == "ask":
            engine.read_state(event, now=1.0)
            engine.send_result(
                event, CallToolResult(content=[TextContent(text=" ".join(event.params.input_responses))])
            )
        case "tools/call" if event.params.name == "slow":
            pass
        case _:
            engine.send_error(event, ErrorObject(-32602, f"Unknown: {event.method}", {"uri": "a:b"}))


def record(revision: Revision) -> EnginePair:
    """Play a session of a revision through."""
    pair = EnginePair(server_profile(revisions=[revision]), client_profile(revisions=[revision]))
    engine = pair.client_engine

    def play() -> None:
        while True:
            pair.carry_to_server()
            for event in pair.server_events:
                serve(pair.server_engine, event)
            pair.server_events.clear()
            if not pair.carry_to_client():
                return
            for event in list(pair.client_events):
                react(engine, event)
            pair.client_events.clear()

    engine.start()
    play()
    engine.send_request("tools/list")
    engine.send_request("tools/call", CallToolParams(name="greet"), progress=True, log_level="debug")
    engine.send_request("tools/call", CallToolParams(name="ask"))
    play()
    subscription = engine.listen(SubscriptionFilter(tools_list_changed=True, resource_subscriptions=["a:b"]))
    slow = engine.send_request("tools/call", CallToolParams(name="slow"), deadline=5.0)
    engine.send_request("resources/templates/list")
    play()
    if revision.era is Era.HANDSHAKE:
        pair.server_engine.ping()
        engine.send_request("ping")
    pair.server_engine.publish(ChangeNotice(ChangeKind.TOOLS))
    pair.server_engine.publish(ChangeNotice(ChangeKind.RESOURCE, "a:b"))
    engine.cancel(slow, "too slow")
    play()
    engine.unlisten(subscription)
    play()
    return pair


def react(engine: Any, event: Event) -> None:
    """Act as the client of the recorded sessions does."""
    match event:
        case Request(method=method):
            engine.send_result(event, ANSWERS[method])
        case InputRequired(requests=requests):
            engine.answer(event, {key: ANSWERS[question.method] for key, question in requests.items()})


def transcript(revision: Revision) -> list[tuple[str, bytes]]:
    """Return a recorded session: who wrote each line."""
    lines = (HERE / f"{revision.name}.txt").read_bytes().splitlines()
    return [(each[:1].decode(), each[2:]) for each in lines if each and not each.startswith(b"#")]


ALL = pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)


@rule(17, 19, 20, 22, 28, 46, 47, 49, 52, 102, 166)
@ALL
def test_a_session_is_what_was_recorded(revision: Revision) -> None:
    """The bytes of a session do not change unnoticed."""
    pair = record(revision)
    written = transcript(revision)
    assert pair.to_server == [data for side, data in written if side == ">"]
    assert pair.to_client == [data for side, data in written if side == "<"]


def said(revision: Revision, side: str) -> bytes:
    return b"".join(line + b"\n" for who, line in transcript(revision) if who == side)


def within_lines(cut: Any) -> Any:
    """Return a chunker none of whose pieces holds two lines, so that both sides act between any two messages."""
    return lambda data: [piece for line in data.splitlines(keepends=True) for piece in cut(line)]


def as_server(revision: Revision, cut: Any, *, acting: bool) -> tuple[list[str], bytes]:
    """Replay what the client said."""
    pair = EnginePair(server_profile(revisions=[revision]))
    return feed(pair.server, said(revision, ">"), cut, serve if acting else None)


def as_client(revision: Revision, cut: Any, *, acting: bool) -> tuple[list[str], bytes]:
    """Replay what the server said; ids count up, so that its answers fit the calls made as soon as it is ready."""
    pair = EnginePair(client=client_profile(revisions=[revision]))
    pair.client_engine.start()

    def act(engine: Any, event: Event) -> None:
        react(engine, event)
        if isinstance(event, Ready):
            engine.send_request("tools/list")
            engine.send_request("tools/call", CallToolParams(name="greet"), progress=True, log_level="debug")
            engine.send_request("tools/call", CallToolParams(name="ask"))

    return feed(pair.client, said(revision, "<"), cut, act if acting else None)


def feed(pipe: Pipe, data: bytes, cut: Any, act: Any) -> tuple[list[str], bytes]:
    """Return what happened and what was sent."""
    sent = b""
    events: list[str] = []
    for chunk in cut(data):
        pipe.receive_data(chunk)
        for event in pipe.events_received():
            events.append(described(event))
            if act is not None:
                act(pipe.engine, event)
        sent += b"".join(pipe.data_to_send())
    pipe.receive_eof()
    events += [described(event) for event in pipe.events_received()]
    return events, sent + b"".join(pipe.data_to_send())


def described(event: Event) -> str:
    match event:
        case Request():
            return f"request {event.id!r} {event.method} {event.context.revision.name}"
        case Result(call, raw):
            return f"result {call.id!r} {call.method} {bytes(raw)!r}"
        case Change(kind, subscription, uri):
            return f"change {kind} {subscription and subscription.id} {uri}"
        case Subscribed(subscription):
            return f"subscribed {subscription.id}"
        case Ready(context):
            return f"ready {context.revision.name} {context.capabilities}"
    return type(event).__name__


BOTH = pytest.mark.parametrize("replay", [as_server, as_client])


@BOTH
@ALL
def test_a_session_is_the_same_byte_by_byte(revision: Revision, replay: Any) -> None:
    by_line = replay(revision, within_lines(whole), acting=True)
    assert len(by_line[0]) > 4 and by_line[1]
    assert replay(revision, byte_by_byte, acting=True) == by_line
    assert replay(revision, byte_by_byte, acting=False) == replay(revision, whole, acting=False)


@BOTH
@ALL
@given(seed=st.integers(0, 10**6))
def test_a_session_is_the_same_at_random_cuts(revision: Revision, replay: Any, seed: int) -> None:
    cut = at_random(seed)
    assert replay(revision, within_lines(cut), acting=True) == replay(revision, within_lines(whole), acting=True)
    assert replay(revision, cut, acting=False) == replay(revision, whole, acting=False)


def write() -> None:
    """Record anew: `python -m tests.wire.test_sessions`, after a change that was meant."""
    for revision in REVISIONS:
        pair = record(revision)
        text = f"# A session of {revision.name}: > the client's lines, < the server's, each in order.\n".encode()
        text += b"".join(b"> " + each + b"\n" for each in pair.to_server)
        text += b"".join(b"< " + each + b"\n" for each in pair.to_client)
        (HERE / f"{revision.name}.txt").write_bytes(text)


if __name__ == "__main__":
    write()
