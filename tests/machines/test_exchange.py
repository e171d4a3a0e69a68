"""Both eras over HTTP at once: whatever clients, handlers and the network do, each message goes where it belongs.

Oracle: a list of what the server said about each request, in order. Whatever is written on a connection is a piece of
one such list; with resumption the pieces fit together; each request that was not withdrawn is answered exactly once.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol import Cancelled, ChangeKind, ChangeNotice, Closed, Request
from protocol.http import EventLogLimits, StreamableHTTPOptions
from protocol.http.exchange import EXCHANGE, State
from tests.pair import HANDSHAKES, SOME_TEXT, envelope_meta, enveloped, notification, request
from tests.unit.bindings.wire import Reply, Server, Session

PICK = st.integers(0, 1000)


class Asked:
    """One request, and everything that became of it."""

    def __init__(self, id_: Any, found: Request, reply: Reply, session: Session | None) -> None:
        self.id = id_
        self.request = found
        self.replies = [reply]
        self.session = session
        self.progress = 0
        self.outcome: str | None = None
        self.is_lost = False
        """Its connection was lost before anything was written that it could be resumed with."""

    @property
    def reply(self) -> Reply:
        """The current connection."""
        return self.replies[-1]

    def heard(self) -> list[Any]:
        """Return what was heard about it, on all connections, without repetitions."""
        seen: dict[str, Any] = {}
        plain: list[Any] = []
        for reply in self.replies:
            if reply.head is None or not reply.body:
                continue
            if not reply.is_stream:
                plain.append(reply.json)
                continue
            for event in reply.events:
                if event.get("data"):
                    message = msgspec.json.decode(event["data"])
                    if "id" in event:
                        seen.setdefault(event["id"], message)
                    else:
                        plain.append(message)
        return list(seen.values()) + plain


class Exchanges(RuleBasedStateMachine):
    """A server, clients of both eras, handlers, and a network that loses connections."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server(StreamableHTTPOptions(log=EventLogLimits(events=10_000, size=10**9, age=1e9)))
        self.sessions: list[Session] = []
        self.asked: list[Asked] = []
        self.all: list[Asked] = []
        self.listening: list[tuple[Session, Reply]] = []
        self.last_id = 0
        self.published = 0

    @initialize(revision=st.sampled_from(HANDSHAKES))
    def begin(self, revision: Any) -> None:
        self.sessions.append(Session(self.server, revision))

    @precondition(lambda self: len(self.sessions) < 3)
    @rule(revision=st.sampled_from(HANDSHAKES))
    def begin_another(self, revision: Any) -> None:
        self.sessions.append(Session(self.server, revision))

    def keep(self, id_: Any, reply: Reply, session: Session | None) -> None:
        entry = Asked(id_, self.server.take(Request), reply, session)
        assert entry.request.id == id_ and reply.status is None
        self.asked.append(entry)
        self.all.append(entry)

    @precondition(lambda self: len(self.asked) < 4)
    @rule()
    def call_in_the_envelope_era(self) -> None:
        # The same id for all of them: nothing relates them.
        body = enveloped(1, "tools/call", {"name": "t"}, meta=envelope_meta(progressToken="p"))
        self.keep(1, self.server.modern(body), None)

    @precondition(lambda self: len(self.asked) < 4)
    @rule(pick=PICK)
    def call_in_a_session(self, pick: int) -> None:
        session = self.sessions[pick % len(self.sessions)]
        self.last_id += 1
        body = request(self.last_id, "tools/call", {"name": "t", "_meta": {"progressToken": self.last_id}})
        self.keep(self.last_id, session.post(body), session)

    def pick(self, pick: int) -> Asked:
        return self.asked[pick % len(self.asked)]

    def flush(self, entry: Asked) -> None:
        if entry.session is not None:
            entry.session.flush()
        else:
            self.server.flush(entry.reply.exchange)

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def progress(self, pick: int) -> None:
        self.report(self.pick(pick))

    def report(self, entry: Asked) -> None:
        entry.progress += 1
        assert entry.request.is_open is (entry.outcome is None)
        engine = entry.reply.exchange.engine
        assert engine.send_progress(entry.request, entry.progress) is entry.request.is_open
        self.flush(entry)

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def answer(self, pick: int) -> None:
        entry = self.pick(pick)
        self.finish(entry)
        if entry.reply.exchange.state is not State.DETACHED:
            assert entry.reply.is_ended and entry.heard()[-1]["id"] == entry.id

    def finish(self, entry: Asked) -> None:
        entry.reply.exchange.engine.send_result(entry.request, SOME_TEXT)
        entry.outcome = "answered"
        self.flush(entry)
        self.asked.remove(entry)

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def lose_the_connection(self, pick: int) -> None:
        entry = self.pick(pick)
        was_live = entry.reply.exchange.is_live
        self.server.disconnect(entry.reply)
        if entry.session is None:
            assert self.server.take(Cancelled).request is entry.request and self.server.take(Closed)
            entry.outcome = "cancelled"
            self.asked.remove(entry)
        else:
            assert entry.request.is_open
            entry.is_lost |= was_live and (entry.reply.head is None or not entry.reply.ids)

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def withdraw(self, pick: int) -> None:
        entry = self.pick(pick)
        if entry.session is None:
            return
        params = {"requestId": entry.id}
        assert entry.session.post(notification("notifications/cancelled", params)).status == 202
        assert self.server.take(Cancelled).request is entry.request
        entry.outcome = "withdrawn"
        self.flush(entry)
        assert entry.reply.is_ended or entry.reply.exchange.state is State.DETACHED
        self.asked.remove(entry)

    @precondition(lambda self: self.all)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        among = self.asked if self.asked and pick % 4 else self.all
        entry = among[pick % len(among)]
        ids = [each for reply in entry.replies if reply.is_stream for each in reply.ids]
        if entry.session is None or not ids or entry.session not in self.sessions:
            return
        again = entry.session.resume(ids[-1])
        assert again.is_stream and not set(again.ids) & set(ids), "only what came after"
        entry.replies.append(again)
        assert again.is_ended is (entry.outcome is not None)

    @precondition(lambda self: any(each.session for each in self.asked))
    @rule(pick=PICK, missed=st.integers(0, 3), is_answered=st.booleans())
    def come_back(self, pick: int, missed: int, is_answered: bool) -> None:
        waiting = [each for each in self.asked if each.session is not None]
        entry = waiting[pick % len(waiting)]
        self.report(entry)
        self.server.disconnect(entry.reply)
        ids = [each for reply in entry.replies if reply.is_stream for each in reply.ids]
        entry.is_lost |= not ids
        for _ in range(missed):
            self.report(entry)
        if is_answered:
            self.finish(entry)
        if ids:
            assert entry.session is not None
            entry.replies.append(entry.session.resume(ids[-1]))
            assert entry.is_lost or len(entry.heard()) == entry.progress + is_answered
            assert entry.reply.is_ended is is_answered

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def send_away(self, pick: int) -> None:
        entry = self.pick(pick)
        if entry.session is not None and entry.session.state.close_stream(entry.request):
            entry.session.flush()
            assert entry.reply.is_ended and any(each.ids for each in entry.replies)

    @rule(pick=PICK)
    def listen(self, pick: int) -> None:
        session = self.sessions[pick % len(self.sessions)]
        reply = session.get()
        session.flush()
        for other, earlier in self.listening:
            assert other is not session or earlier.is_ended
        self.listening = [each for each in self.listening if each[0] is not session] + [(session, reply)]

    @precondition(lambda self: self.listening)
    @rule(pick=PICK)
    def publish(self, pick: int) -> None:
        session, reply = self.listening[pick % len(self.listening)]
        before = len(reply.messages)
        session.state.engine.publish(ChangeNotice(ChangeKind.TOOLS))
        session.flush()
        assert len(reply.messages) == before + 1

    @rule(seconds=st.sampled_from([1.0, 15.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.server.pass_time(seconds)
        for entry in self.asked:
            if seconds >= 15.0 and entry.reply.exchange.is_live:
                assert entry.reply.is_stream

    @precondition(lambda self: len(self.sessions) > 1)
    @rule(pick=PICK)
    def end_a_session(self, pick: int) -> None:
        session = self.sessions.pop(pick % len(self.sessions))
        assert session.delete().status == 204
        for entry in [each for each in self.asked if each.session is session]:
            assert self.server.take(Cancelled).request is entry.request
            assert entry.reply.is_ended or entry.reply.exchange.state is State.DETACHED
            entry.outcome = "ended"
            self.asked.remove(entry)
        assert self.server.take(Closed)
        self.listening = [each for each in self.listening if each[0] is not session]
        assert session.post(request(0, "ping")).status == 404

    @invariant()
    def each_connection_carries_its_own(self) -> None:
        for entry in self.all:
            heard = entry.heard()
            answers = [each for each in heard if "method" not in each and "result" in each]
            assert len(answers) == (entry.outcome == "answered") or (not answers and entry.session is not None)
            assert all(each["id"] == entry.id for each in answers)
            steps = [each["params"]["progress"] for each in heard if "method" in each]
            assert steps == sorted(set(steps)), "in order, and nothing twice"
            if not entry.is_lost and entry.reply.exchange.is_live:
                assert steps == [float(each) for each in range(1, entry.progress + 1)]

    @invariant()
    def ids_are_unique_in_each_session(self) -> None:
        for session in self.sessions:
            streams = [[r for r in e.replies if r.is_stream] for e in self.all if e.session is session]
            ids = [{each for reply in replies for each in reply.ids} for replies in streams]
            assert sum(map(len, ids)) == len(set().union(*ids))

    @invariant()
    def what_is_open_is_known_and_nothing_else(self) -> None:
        for session in self.sessions:
            mine = {each.id for each in self.asked if each.session is session}
            assert {each.id for each in session.state.engine.open_requests} == mine
            assert set(session.state._routes) == mine
        assert self.server.endpoint._requests.taken == len(self.asked)
        assert set(self.server.endpoint.sessions) == {session.id for session in self.sessions}
        for exchange in self.server.replies:
            assert exchange.is_live is (exchange.state in {state for state, _ in EXCHANGE})


TestExchanges = Exchanges.TestCase
# A step here is a dozen of another machine's.
TestExchanges.settings = settings(max_examples=min(500, settings().max_examples))
