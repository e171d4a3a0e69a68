"""The handshake seen from the server: whatever a client sends, the table of the lifecycle is followed."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol import ChangeKind, ChangeNotice, Closed, ErrorCode, Request
from protocol.eras import LIFECYCLE, Handshake
from tests.pair import HANDSHAKES, R2026, SOME_TEXT, enveloped, initialize, notification, request, result, server


class Lifecycle(RuleBasedStateMachine):
    """One server, one client that does as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = server()
        self.expected = Handshake.NEW
        self.revision: Any = None
        self.next_id = 0
        self.is_over = False
        self.is_held = False
        """A change waits for the end of the handshake."""

    def fresh_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def step(self, method: str) -> None:
        self.expected = LIFECYCLE.get((self.expected, method), self.expected)

    @rule(revision=st.sampled_from(HANDSHAKES))
    def initialize(self, revision: Any) -> None:
        was_new = self.expected is Handshake.NEW
        answers = self.talk.say(initialize(revision, self.fresh_id()))
        if self.is_over:
            assert answers == []
        elif was_new:
            assert answers[0]["result"]["protocolVersion"] == revision.name
            self.revision = revision
            self.step("initialize")
        else:
            assert answers[0]["error"]["code"] == ErrorCode.INVALID_REQUEST

    @rule()
    def initialize_badly(self) -> None:
        answers = self.talk.say(request(self.fresh_id(), "initialize", {"protocolVersion": 5}))
        assert self.is_over or "error" in answers[0]

    @rule()
    def initialized(self) -> None:
        heard = self.talk.say(notification("notifications/initialized"))
        expected = [notification("notifications/tools/list_changed")] if self.is_held and not self.is_over else []
        assert heard == (expected if self.expected is Handshake.INITIALIZING else [])
        if not self.is_over:
            self.step("notifications/initialized")
            self.is_held = False

    @rule()
    def ping(self) -> None:
        id_ = self.fresh_id()
        assert self.talk.say(request(id_, "ping")) == ([] if self.is_over else [result(id_, {})])

    @rule()
    def call(self) -> None:
        id_ = self.fresh_id()
        answers = self.talk.say(request(id_, "tools/call", {"name": "t"}))
        if self.is_over:
            assert answers == []
        elif self.expected is Handshake.NEW:
            assert answers[0]["error"]["code"] == ErrorCode.INVALID_PARAMS
        else:
            self.serve(id_, self.revision)

    @rule()
    def call_in_the_other_era(self) -> None:
        id_ = self.fresh_id()
        assert self.talk.say(enveloped(id_, "tools/call", {"name": "t"})) == []
        if not self.is_over:
            self.serve(id_, R2026)

    def serve(self, id_: int, revision: Any) -> None:
        asked = self.talk.take(Request)
        assert asked.id == id_ and asked.context.revision is revision
        self.talk.engine.send_result(asked, SOME_TEXT)
        (answer,) = self.talk.hear()
        assert answer["id"] == id_ and ("resultType" in answer["result"]) is (revision is R2026)

    @rule()
    def batch(self) -> None:
        answers = self.talk.say([request(self.fresh_id(), "ping")])
        if not self.is_over:
            assert isinstance(answers[0], list) is (self.revision is not None and self.revision.batching)

    @rule()
    def publish(self) -> None:
        self.talk.engine.publish(ChangeNotice(ChangeKind.TOOLS))
        heard = self.talk.hear()
        assert bool(heard) is (self.expected is Handshake.OPERATING and not self.is_over)
        self.is_held |= self.expected is Handshake.INITIALIZING

    @rule(now=st.sampled_from([False] * 9 + [True]))
    def end(self, now: bool) -> None:
        if now and not self.is_over:
            self.is_over = True
            self.talk.pipe.receive_eof()
            assert isinstance(self.talk.take(Closed), Closed)
            self.talk.hear()

    @invariant()
    def the_state_is_that_of_the_table(self) -> None:
        era = self.talk.engine._handshake
        assert era.state is self.expected
        assert (era.context is None) is (self.expected is Handshake.NEW)
        if era.context is not None:
            assert era.context.revision is self.revision
        assert self.talk.engine.open_requests == []


TestLifecycle = Lifecycle.TestCase
