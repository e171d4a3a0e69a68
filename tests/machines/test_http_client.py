"""A client and a server over HTTP, joined by a network that loses, cuts and delays, and a server that is started anew.

Oracle: what the handlers of the server saw. Every call ends exactly once, with the answer that is its own or with an
error; what must not run twice reaches a handler at most once; nothing of a call goes on after its end.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol import (
    CallToolParams,
    CallToolResult,
    ClientEngine,
    Closed,
    Failure,
    GetPromptParams,
    GetPromptResult,
    Ready,
    Request,
    Result,
    TextContent,
    TimedOut,
    Violation,
)
from protocol.framing.headers import Headers
from protocol.http import Exchange, StreamableHTTPEndpoint
from protocol.http.client import ClientExchange, StreamableHTTPClient
from tests.pair import R2025_03, R2025_06, R2025_11, R2026, client_profile, server_profile
from tests.unit.bindings.wire import Reply, Server

PICK = st.integers(0, 1000)
SAFE = "prompts/get"
UNSAFE = "tools/call"


class Link:
    """One request on the network, and what of its response has come across."""

    def __init__(self, exchange: ClientExchange) -> None:
        self.exchange = exchange
        self.reply: Reply | None = None
        """What the server writes, once the request has reached it."""
        self.is_headed = False
        self.passed = 0


class Asked:
    """One request in the hands of a handler."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self.request = request
        self.reply = reply
        self.progress = 0

    @property
    def name(self) -> str:
        """What was asked for, different for each call."""
        return str(self.request.params.name)


class Joined(RuleBasedStateMachine):
    """A client, a server, and what is between them."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = itertools.count(1)
        self.server = self.make_server()
        self.now = 0.0
        self.links: list[Link] = []
        self.asked: list[Asked] = []
        self.calls: dict[Any, str] = {}
        """By call, the name it asks for."""
        self.cancelled: set[Any] = set()
        self.ended: dict[Any, Any] = {}
        self.runs: dict[str, int] = {}
        self.is_closed = False

    def make_server(self) -> Server:
        endpoint: Any = StreamableHTTPEndpoint(server_profile(), mint=lambda: f"session-{next(self.ids)}")
        return Server(endpoint=endpoint)

    @initialize(revision=st.sampled_from([R2025_03, R2025_06, R2025_11, R2026]))
    def begin(self, revision: Any) -> None:
        self.engine = ClientEngine(client_profile(revisions=[revision]))
        self.binding = StreamableHTTPClient(self.engine)
        self.engine.start()
        while self.engine.context is None:
            self.pump()
            for link in list(self.links):
                self.reach(link)
                self.bring(link, 10**6)
        self.pump()

    # What happens at the client

    @rule(is_safe=st.booleans(), progress=st.sampled_from([True, True, False]))
    def call(self, is_safe: bool, progress: bool) -> None:
        if self.engine.closed or len(self.calls) - len(self.ended) > 5:
            return
        name = f"n{len(self.calls)}"
        params = GetPromptParams(name=name) if is_safe else CallToolParams(name=name)
        call = self.engine.send_request(SAFE if is_safe else UNSAFE, params, progress=progress)
        self.calls[call] = name
        self.pump()

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        if self.engine.open_calls:
            call = self.engine.open_calls[pick % len(self.engine.open_calls)]
            self.engine.cancel(call)
            self.cancelled.add(call)
            self.pump()

    @rule(seconds=st.sampled_from([0.1, 1.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (at := self.binding.next_deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.binding.handle_deadline(self.now)
            self.pump()
        self.now = self.server.now = until

    def pump(self) -> None:
        """Do what an adapter does after everything."""
        while True:
            dropped = self.binding.dropped()
            started = self.binding.requests_to_send(self.now)
            events = self.binding.events_received()
            for exchange in dropped:
                (link,) = [each for each in self.links if each.exchange is exchange]
                self.let_go(link)
            self.links += [Link(exchange) for exchange in started]
            for event in events:
                self.take(event)
            if not (dropped or started or events):
                return

    def take(self, event: Any) -> None:
        if isinstance(event, Result | Failure | TimedOut):
            assert event.call not in self.ended and event.call not in self.cancelled, "each call ends once"
            self.ended[event.call] = event
            if isinstance(event, Result):
                assert self.calls[event.call] in bytes(event.raw).decode(), "with its own answer"
            else:
                assert isinstance(event, Failure) and event.is_local
        elif isinstance(event, Closed):
            assert not self.is_closed
            self.is_closed = True
        else:
            assert not isinstance(event, Ready) or not self.calls, "a renewed session is not told"

    # What happens between

    def pick(self, pick: int, *, is_sent: bool) -> Link | None:
        found = [each for each in self.links if (each.reply is not None) is is_sent]
        return found[pick % len(found)] if found else None

    @rule(pick=PICK)
    def deliver(self, pick: int) -> None:
        link = self.pick(pick, is_sent=False)
        if link is not None:
            self.reach(link)

    @rule()
    def flow(self) -> None:
        """Have the network carry everything once."""
        for link in list(self.links):
            if link in self.links and link.reply is None:
                self.reach(link)
        for link in list(self.links):
            if link in self.links and link.reply is not None:
                self.bring(link, 10**6)

    @rule(pick=PICK, size=st.sampled_from([1, 30, 10**6]))
    def bring_some(self, pick: int, size: int) -> None:
        link = self.pick(pick, is_sent=True)
        if link is not None:
            self.bring(link, size)

    @rule(pick=PICK, was_sent=st.booleans())
    def lose_request(self, pick: int, was_sent: bool) -> None:
        link = self.pick(pick, is_sent=False)
        if link is not None:
            self.links.remove(link)
            link.exchange.receive_failure("lost", self.now, was_sent=was_sent)
            self.pump()

    @rule(pick=PICK)
    def cut(self, pick: int) -> None:
        link = self.pick(pick, is_sent=True)
        if link is not None:
            self.let_go(link)
            link.exchange.receive_failure("cut", self.now, was_sent=True)
            self.pump()

    def reach(self, link: Link) -> None:
        """Let a request reach the server."""
        exchange = link.exchange
        headers = {name.decode(): value.decode("latin-1") for name, value in exchange.headers}
        link.reply = self.server.send(exchange.method, headers, exchange.body or b"")
        assert link.reply.status not in (400, 405, 406, 415), "the client keeps to the rules"
        for event in list(self.server.events):
            assert not isinstance(event, Violation)
            if isinstance(event, Request):
                self.asked.append(Asked(event, link.reply))
                name = event.params.name
                self.runs[name] = self.runs.get(name, 0) + 1
                assert event.method == SAFE or self.runs[name] == 1, "what must not run twice does not"
        self.server.events.clear()

    def bring(self, link: Link, size: int) -> None:
        """Bring some of the response to the client."""
        reply, exchange = link.reply, link.exchange
        assert reply is not None
        if reply.head is not None and not link.is_headed:
            link.is_headed = True
            exchange.receive_head(reply.head.status, Headers(reply.head.headers), self.now)
        data = reply.body[link.passed : link.passed + size]
        if data:
            link.passed += len(data)
            exchange.receive_data(data, self.now)
        if reply.is_ended and link.passed == len(reply.body) and not exchange.is_over:
            self.links.remove(link)
            exchange.receive_end(self.now)
        self.pump()

    def let_go(self, link: Link) -> None:
        """Lose the connection of a request, for the server."""
        self.links.remove(link)
        if link.reply is not None and isinstance(link.reply.found, Exchange) and link.reply.found.is_live:
            self.server.disconnect(link.reply)
            self.server.events.clear()

    # What happens at the server

    def open_asked(self, pick: int) -> Asked | None:
        self.asked = [each for each in self.asked if each.request.is_open]
        return self.asked[pick % len(self.asked)] if self.asked else None

    @rule(pick=PICK, is_brought=st.booleans())
    def progress(self, pick: int, is_brought: bool) -> None:
        asked = self.open_asked(pick)
        if asked is not None:
            asked.progress += 1
            asked.reply.exchange.engine.send_progress(asked.request, asked.progress)
            self.server.flush(asked.reply.exchange)
            if is_brought:
                self.flow()

    @rule(pick=PICK)
    def answer(self, pick: int) -> None:
        asked = self.open_asked(pick)
        if asked is not None:
            text = TextContent(text=asked.name)
            is_safe = asked.request.method == SAFE
            value: Any = (
                GetPromptResult(messages=[], description=asked.name) if is_safe else CallToolResult(content=[text])
            )
            self.server.answer(asked.reply, value, asked.request)

    @rule(pick=PICK)
    def send_away(self, pick: int) -> None:
        """End a connection, for its client to come back for the rest."""
        asked = self.open_asked(pick)
        session = None if asked is None else getattr(asked.reply.exchange, "session", None)
        if asked is not None and session is not None:
            session.close_stream(asked.request, retry=50)
            self.server.flush(asked.reply.exchange)
            self.flow()

    @rule()
    def restart(self) -> None:
        """Start the server anew: it knows no session, and its connections are gone."""
        self.server = self.make_server()
        self.server.now = self.now
        self.asked.clear()
        for link in [each for each in self.links if each.reply is not None]:
            if link in self.links:  # the loss of another may have made this one pointless
                self.links.remove(link)
                link.exchange.receive_failure("reset", self.now, was_sent=True)
                self.pump()

    # What always holds

    @invariant()
    def what_is_open_is_known(self) -> None:
        if not hasattr(self, "engine"):
            return
        still = {call for call in self.calls if call not in self.ended and call not in self.cancelled}
        assert {call for call in self.engine.open_calls if call in self.calls} == still
        assert all(not link.exchange.is_over for link in self.links)
        assert len(self.binding._calls._flights) <= len(self.engine.open_calls) + len(self.cancelled)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for _ in range(200):
            if not any(call.is_open for call in self.calls):
                break
            self.flow()
            while self.open_asked(0) is not None:
                self.answer(0)
            self.flow()
            at = self.binding.next_deadline()
            if at is not None:
                self.pass_time(max(0.0, at - self.now))
        assert not any(call.is_open for call in self.calls), "each call ends"
        self.binding.close(self.now)
        self.pump()
        assert self.is_closed and [link.exchange.method for link in self.links] in ([], ["DELETE"])
        assert self.binding.next_deadline() is None and not self.binding._calls._flights
        assert self.binding._wire.answers == {}


TestJoined = Joined.TestCase
