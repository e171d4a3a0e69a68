"""Two engines and anything that can happen between them: whatever the order, the promises of the engine hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from protocol import (
    REVISIONS,
    Call,
    CallToolParams,
    Cancelled,
    Change,
    ChangeKind,
    ChangeNotice,
    Closed,
    EmptyParams,
    Era,
    ErrorObject,
    Event,
    Failure,
    InputRequest,
    InputRequired,
    ListRootsResult,
    LocalProtocolError,
    Progress,
    Request,
    RequestState,
    Result,
    Subscribed,
    Subscription,
    SubscriptionFilter,
    TimedOut,
    Unsubscribed,
)
from tests.pair import SOME_TEXT, EnginePair, at_random, byte_by_byte, small_limits, whole

IO = "io.modelcontextprotocol/"
LIMITS = {"requests": 6, "calls": 8, "subscriptions": 3, "subscription_uris": 4, "stray_responses": 40}
ENDINGS = (Result, Failure, TimedOut, InputRequired)
JUNK = [b"junk", b"[]", b"{}", b'{"jsonrpc":"2.0"}', b"\xff", b'{"jsonrpc":"2.0","id":"stray","result":{}}', b" " * 9]
URIS = ["a:1", "a:2", "a:3"]


class Engines(RuleBasedStateMachine):
    """A client and a server of one revision, joined; bytes move only when a rule says so."""

    calls = Bundle("calls")
    requests = Bundle("requests")
    questions = Bundle("questions")
    subscriptions = Bundle("subscriptions")

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Call] = []
        self.cancelled_calls: set[int] = set()
        self.endings: Counter[int] = Counter()
        self.acknowledged: set[int] = set()
        self.given_up: set[int] = set()
        self.seen_wire = 0
        self.cancelled_ids: dict[Any, int] = {}
        self.last_now = 0.0

    @initialize(revision=st.sampled_from(REVISIONS), cut=st.sampled_from([whole, byte_by_byte, at_random(1)]))
    def meet(self, revision: Any, cut: Any) -> None:
        limits = small_limits(**LIMITS)
        self.revision = revision
        self.modern = revision.era is Era.ENVELOPE
        self.pair = EnginePair.ready(revision, chunker=cut, server={"limits": limits}, client={"limits": limits})

    # What the two sides do

    @rule(target=calls, progress=st.booleans(), timeout=st.none() | st.integers(1, 5))
    def call(self, progress: bool, timeout: int | None) -> Any:
        deadline = None if timeout is None else self.pair.now + timeout
        try:
            call = self.pair.client_engine.send_request(
                "tools/call", CallToolParams(name="t"), progress=progress, deadline=deadline, log_level="info"
            )
        except LocalProtocolError:
            assert (
                self.pair.is_cut
                or self.pair.client_engine.closed
                or len(self.pair.client_engine.open_calls) >= LIMITS["calls"]
            )
            return multiple()
        assert call.id not in [each.id for each in self.started]
        self.started.append(call)
        return call

    @rule(call=calls)
    def withdraw(self, call: Call) -> None:
        if call.is_open:
            self.cancelled_calls.add(call.id)
        self.pair.client_engine.cancel(call)
        assert not call.is_open

    @rule(target=requests)
    def carry_to_server(self) -> Any:
        self.pair.carry_to_server()
        return multiple(*self.take_requests())

    def take_requests(self) -> list[Request]:
        found = []
        for event in self.pair.server_events:
            match event:
                case Request():
                    found.append(event)
                case Cancelled(request):
                    assert request.state is RequestState.CANCELLED
                    self.cancelled_ids[request.id] = len(self.pair.to_client)
        self.pair.server_events.clear()
        return found

    @rule()
    def carry_to_client(self) -> None:
        self.pair.carry_to_client()
        self.note(self.pair.client_events)

    @rule(request=requests)
    def answer(self, request: Request) -> None:
        self.reply(request, lambda: self.pair.server_engine.send_result(request, SOME_TEXT))

    @rule(request=requests)
    def refuse(self, request: Request) -> None:
        self.reply(request, lambda: self.pair.server_engine.send_error(request, ErrorObject(-32603, "no")))

    def reply(self, request: Request, send: Any) -> None:
        state = request.state
        try:
            send()
            assert state is not RequestState.ANSWERED
        except LocalProtocolError:
            assert state is RequestState.ANSWERED

    @rule(request=requests, value=st.integers(0, 5))
    def report(self, request: Request, value: int) -> None:
        before = request.progress
        sent = self.pair.server_engine.send_progress(request, value)
        assert not sent or (request.is_open and (before is None or value > before))

    @rule(request=requests)
    def log(self, request: Request) -> None:
        assert not self.pair.server_engine.send_log(request, "info", "x") or request.is_open

    @rule(target=questions, request=requests, count=st.integers(1, 2), state=st.sampled_from([b"", b"s"]))
    def ask(self, request: Request, count: int, state: bytes) -> Any:
        inputs = {str(number): InputRequest("roots/list", EmptyParams()) for number in range(count)}
        before = len(self.pair.server_engine.open_calls)
        was_open = request.is_open
        try:
            calls = self.pair.server_engine.ask(request, inputs, state, now=self.pair.now, deadline=self.pair.now + 3)
        except LocalProtocolError:
            assert not was_open or before + count > LIMITS["calls"]
            assert len(self.pair.server_engine.open_calls) == before
            return multiple()
        assert (calls == []) is self.modern
        assert request.is_open is not self.modern
        return multiple(*calls)

    @rule()
    def answer_the_server(self) -> None:
        """The client answers what the server asked it, or what it was told to bring along."""
        events, self.pair.client_events = self.pair.client_events, []
        engine = self.pair.client_engine
        for event in events:
            match event:
                case Request():
                    engine.send_result(event, ListRootsResult(roots=[]))
                case InputRequired() if not engine.closed and len(engine.open_calls) < LIMITS["calls"]:
                    call = engine.answer(event, {key: ListRootsResult(roots=[]) for key in event.requests})
                    assert call.id not in [each.id for each in self.started] and call.rounds == event.call.rounds + 1
                    self.started.append(call)

    @rule(target=subscriptions, uris=st.lists(st.sampled_from(URIS), max_size=3), tools=st.booleans())
    def subscribe(self, uris: list[str], tools: bool) -> Any:
        wanted = SubscriptionFilter(tools_list_changed=tools, resource_subscriptions=uris)
        engine = self.pair.client_engine
        try:
            subscription = engine.listen(wanted)
        except LocalProtocolError:
            assert engine.closed or len(engine.open_calls) + len(set(uris)) >= LIMITS["calls"]
            return multiple()
        self.pair.gather()
        self.note(self.pair.client_events)
        return subscription

    @rule(subscription=consumes(subscriptions))
    def unsubscribe(self, subscription: Subscription) -> None:
        self.given_up.add(subscription.id)
        self.pair.client_engine.unlisten(subscription)
        assert not subscription.is_open

    @rule(kind=st.sampled_from([ChangeKind.TOOLS, ChangeKind.PROMPTS, ChangeKind.RESOURCE]), uri=st.sampled_from(URIS))
    def publish(self, kind: ChangeKind, uri: str) -> None:
        self.pair.server_engine.publish(ChangeNotice(kind, uri if kind is ChangeKind.RESOURCE else None))

    @rule()
    def end_subscriptions(self) -> None:
        self.pair.server_engine.end_subscriptions()
        assert self.pair.server_engine.listeners == []

    @rule(seconds=st.integers(0, 4))
    def advance(self, seconds: int) -> None:
        self.pair.advance(seconds)
        self.note(self.pair.client_events)
        for pipe in (self.pair.server, self.pair.client):
            deadline = pipe.next_deadline()
            assert deadline is None or deadline > self.pair.now

    @rule(data=st.sampled_from(JUNK), to_server=st.booleans())
    def disturb(self, data: bytes, to_server: bool) -> None:
        target = self.pair.server if to_server else self.pair.client
        target.receive_data(data + b"\n")
        self.pair.gather()
        self.note(self.pair.client_events)

    @precondition(lambda self: not self.pair.is_cut)
    @rule(now=st.sampled_from([False] * 9 + [True]))
    def cut(self, now: bool) -> None:
        if now:
            self.pair.cut()
            self.note(self.pair.client_events)
            self.take_requests()

    # What must hold

    def note(self, events: list[Event]) -> None:
        """Count what happened; leave what the client still has to act on."""
        left: list[Event] = []
        for event in events:
            match event:
                case Result(call) | Failure(call) | TimedOut(call):
                    self.end(call)
                case InputRequired(call):
                    if call.id not in self.endings:
                        self.end(call)
                    left.append(event)
                case Progress(call):
                    assert call.id not in self.endings
                case Subscribed(subscription):
                    assert subscription.id not in self.acknowledged | self.given_up
                    self.acknowledged.add(subscription.id)
                case Change(_, subscription) if subscription is not None:
                    assert subscription.id in self.acknowledged or not self.modern
                    assert not (self.modern and subscription.id in self.given_up)
                case Unsubscribed(subscription):
                    assert not subscription.is_open
                case Closed():
                    assert event is events[-1]
                case Request():
                    left.append(event)
        events[:] = left

    def end(self, call: Call) -> None:
        assert call in self.started, "an ending of a call that nobody made"
        assert call.id not in self.cancelled_calls
        self.endings[call.id] += 1
        assert self.endings[call.id] == 1 and not call.is_open

    @invariant()
    def every_call_is_open_or_ended_once(self) -> None:
        waiting = {
            event.call.id
            for event in self.pair.client_events
            if isinstance(event, (*ENDINGS, Subscribed)) and hasattr(event, "call")
        }
        for call in self.started:
            ended = call.id in self.endings or call.id in self.cancelled_calls or call.id in waiting
            assert call.is_open is not ended

    @invariant()
    def the_wire_is_clean(self) -> None:
        """No reply after a cancellation, no change before its acknowledgement, one reply to an id."""
        lines = self.pair.to_client
        for index in range(self.seen_wire, len(lines)):
            message = msgspec.json.decode(lines[index])
            assert message["jsonrpc"] == "2.0"
            if "method" not in message and "id" in message:
                assert message["id"] not in self.cancelled_ids or index < self.cancelled_ids[message["id"]]
            if self.modern:
                assert not ("method" in message and "id" in message), "a request from a server"
                tag = message.get("params", {}).get("_meta", {}).get(f"{IO}subscriptionId")
                if tag is not None and not message["method"].endswith("acknowledged"):
                    earlier = [msgspec.json.decode(each) for each in lines[:index]]
                    assert any(
                        each.get("method") == "notifications/subscriptions/acknowledged"
                        and each["params"]["_meta"][f"{IO}subscriptionId"] == tag
                        for each in earlier
                    )
        self.seen_wire = len(lines)

    @invariant()
    def memory_is_bounded(self) -> None:
        server, client = self.pair.server_engine, self.pair.client_engine
        assert len(server.open_requests) - len(server.listeners) <= LIMITS["requests"]
        assert len(server.listeners) <= LIMITS["subscriptions"]
        assert len(server.open_calls) <= LIMITS["calls"]
        assert len(client.open_requests) <= LIMITS["requests"]
        for engine in (server, client):
            ids = [each.id for each in engine.open_calls]
            assert len(ids) == len(set(ids))
            assert len(engine._deadlines._heap) <= 64 + 4 * (LIMITS["calls"] + LIMITS["requests"] + 1)

    @invariant()
    def after_the_end_the_engine_rests(self) -> None:
        for engine in (self.pair.server_engine, self.pair.client_engine):
            if engine.closed:
                assert engine.open_calls == [] and engine.open_requests == []
                assert engine.next_deadline() is None

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        self.pair.exchange()
        self.pair.cut()
        self.note(self.pair.client_events)
        self.every_call_is_open_or_ended_once()
        assert not [call for call in self.started if call.is_open]
        self.after_the_end_the_engine_rests()
        for pipe in (self.pair.server, self.pair.client):
            pipe.data_to_send()
            assert pipe.data_to_send() == []


TestEngines = Engines.TestCase
