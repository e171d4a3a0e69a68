"""A client whose server answers anything, or nothing: it ends ready or closed, and never loops."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol import REVISIONS, ClientEngine, Closed, Era, Negotiation, Ready
from tests.pair import HANDSHAKES, R2026, Talk, client_profile, failure, result

NAMES = [*(revision.name for revision in REVISIONS), "1999-01-01", "2099-01-01"]
versions = st.lists(st.sampled_from(NAMES), max_size=3)


class Negotiations(RuleBasedStateMachine):
    """One client; what it asked is answered in any order, also late, also twice."""

    @initialize(spoken=st.sets(st.sampled_from(REVISIONS), min_size=1), known=st.booleans(), probe=st.integers(1, 4))
    def begin(self, spoken: Any, known: bool, probe: int) -> None:
        self.spoken = spoken
        self.talk = Talk(ClientEngine(client_profile(revisions=spoken)))
        self.asked: list[Any] = []
        self.verdicts: list[Any] = []
        self.now = 0.0
        eras = {revision.era for revision in spoken}
        era = next(iter(eras)) if known and len(eras) == 1 else None
        self.talk.engine.start(10.0, era=era, probe_deadline=float(probe))
        self.look()

    def look(self) -> None:
        for message in self.talk.hear():
            if "id" in message:
                assert message["id"] not in [each["id"] for each in self.asked]
                assert message["method"] in ("initialize", "server/discover")
                self.asked.append(message)
            else:
                # "initialize MUST NOT be cancelled": nothing but the end of the handshake is ever notified.
                assert message["method"] == "notifications/initialized"
        self.verdicts += [event for event in self.talk.events if isinstance(event, (Ready, Closed))]
        assert not [event for event in self.talk.events if type(event).__name__ in ("Result", "Failure", "TimedOut")]
        self.talk.events.clear()

    def one(self, data: Any, method: str | None = None) -> Any:
        waiting = [message for message in self.asked if method in (None, message["method"])]
        return data.draw(st.sampled_from(waiting)) if waiting else None

    @rule(data=st.data(), offered=versions)
    def discover(self, data: Any, offered: list[str]) -> None:
        self.answer(
            data, {"supportedVersions": offered, "capabilities": {}, "resultType": "complete"}, "server/discover"
        )

    @rule(data=st.data(), chosen=st.sampled_from(NAMES))
    def initialize_(self, data: Any, chosen: str) -> None:
        info = {"name": "s", "version": "1"}
        self.answer(data, {"protocolVersion": chosen, "capabilities": {}, "serverInfo": info}, "initialize")

    @rule(data=st.data(), value=st.sampled_from([{}, 5, None, {"tools": []}]))
    def answer_nonsense(self, data: Any, value: Any) -> None:
        self.answer(data, value, None)

    def answer(self, data: Any, value: Any, method: str | None) -> None:
        message = self.one(data, method)
        if message is not None:
            self.talk.say_quietly(result(message["id"], value))
            self.look()

    @rule(data=st.data(), code=st.sampled_from([-32601, -32602, -32600, -32000, -32022, 1]), offered=versions)
    def refuse(self, data: Any, code: int, offered: list[str]) -> None:
        message = self.one(data)
        if message is not None:
            details = {"data": {"supported": offered, "requested": "x"}} if code == -32022 else {}
            self.talk.say_quietly(failure(message["id"], code, **details))
            self.look()

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.talk.pipe.handle_deadline(self.now)
        deadline = self.talk.pipe.next_deadline()
        assert deadline is None or deadline > self.now
        self.look()

    @precondition(lambda self: self.now >= 3)
    @rule()
    def end(self) -> None:
        self.talk.pipe.receive_eof()
        self.look()

    @invariant()
    def it_ends_once(self) -> None:
        if not hasattr(self, "talk"):
            return
        engine = self.talk.engine
        assert len([event for event in self.verdicts if isinstance(event, Ready)]) <= 1
        assert len([event for event in self.verdicts if isinstance(event, Closed)]) <= 1
        assert len(self.asked) <= 2 * len(REVISIONS) + 2, "it loops"
        match engine.state:
            case Negotiation.READY:
                assert isinstance(self.verdicts[0], Ready) and engine.context.revision in self.spoken
                assert (engine._revision is None) is (engine.context.revision.era is Era.ENVELOPE)
                assert engine.open_calls == []
            case Negotiation.FAILED:
                assert isinstance(self.verdicts[0], Closed) and engine.closed
            case waiting:
                method = "server/discover" if waiting is Negotiation.PROBING else "initialize"
                assert self.asked[-1]["method"] == method and self.verdicts == []
                assert self.now < 10.0
        spoken = {revision.name for revision in self.spoken}
        for message in self.asked:
            if message["method"] == "initialize":
                assert message["params"]["protocolVersion"] in spoken & {revision.name for revision in HANDSHAKES}
            else:
                assert R2026 in self.spoken


TestNegotiations = Negotiations.TestCase
