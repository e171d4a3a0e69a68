"""Calls that repeat on one connection: each is answered as on a connection that remembers none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Request
from protocol.framing.headers import mirror_paths
from protocol.http import Arrival, StreamableHTTPOptions
from protocol.repeats import CallReader, Repeat
from tests.pair import R2025_06, R2025_11, enveloped, line, request, server_profile

from .wire import Reply, Server, Session, mirrored

MIRRORS = {
    "m": mirror_paths({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}})
}
DECODERS = {"t": msgspec.json.Decoder(dict[str, str]).decode}
WARM = 5
FRAGMENTS = [
    *(b"{", b"}", b"[", b'"', b",", b":", b"\\", b"\xff", b"0", b"x", b"{}}", b"\\u0070", b'"protocolVersion"'),
    *(b'"id":2,', b',"_meta":{}', b'},"id":3,"x":{', b',"method":"ping"', b'"method":"subscriptions/listen",'),
]


def call(id_: int, name: str = "t", **arguments: Any) -> dict[str, Any]:
    return enveloped(id_, "tools/call", {"name": name, "arguments": arguments})


class Pair:
    """A connection that remembers calls and one that does not, to servers alike."""

    def __init__(self, **options: Any) -> None:
        self.reader = CallReader()
        self.arrivals = (Arrival("127.0.0.1", calls=self.reader), Arrival("127.0.0.1"))
        self.servers = tuple(
            Server(profile=server_profile(arguments=DECODERS), mirrors=MIRRORS, **options) for _ in range(2)
        )

    def tell(self, body: Any, headers: Mapping[str, Any] | None = None, **options: Any) -> Reply:
        """Post a message on both; what comes of it must be the same."""
        replies = []
        for server, arrival in zip(self.servers, self.arrivals, strict=True):
            replies.append(server.post(body, headers, arrival=arrival, **options))
        first, second = replies
        assert (first.status, first.body) == (second.status, second.body)
        heard = [[told(event) for event in server.events] for server in self.servers]
        assert heard[0] == heard[1]
        for server, reply in zip(self.servers, replies, strict=True):
            for event in server.events:
                if isinstance(event, Request) and event.is_open and reply.status is None:
                    server.answer(reply, {"content": []}, event)
            server.events.clear()
        assert (first.status, first.body) == (second.status, second.body)
        return first

    def modern(self, body: Any, headers: Mapping[str, Any] | None = None, **options: Any) -> Reply:
        """Post a request of the envelope era with the headers that belong to it."""
        return self.tell(body, {**mirrored(body), **(headers or {})}, **options)

    def warm(self, name: str = "t", **headers: Any) -> None:
        """Make the connection know the calls of a tool."""
        for n in range(WARM):
            assert self.modern(call(1000 + n, name, region="x"), headers).status == 200
        assert type(self.reader.read(line(call(1, name, region="x")), server_profile().limits)) is Repeat


def told(event: Any) -> Any:
    if not isinstance(event, Request):
        return str(event)
    return (event.id, event.method, event.principal, event.context.revision.name, msgspec.json.encode(event.params))


@pytest.mark.parametrize(
    "headers",
    [
        {"Mcp-Name": "u"},
        {"Mcp-Name": None},
        {"Mcp-Name": ["t", "t"]},
        {"Mcp-Name": "=?base64?dA==?="},
        {"Mcp-Method": "tools/list"},
        {"MCP-Protocol-Version": "2025-11-25"},
        {"MCP-Protocol-Version": "1999-01-01"},
        {"MCP-Protocol-Version": None},
        {"Mcp-Session-Id": "x"},
        {"X-Other": "y"},
    ],
    ids=str,
)
def test_headers_are_compared_every_time(headers: dict[str, Any]) -> None:
    pair = Pair()
    pair.warm()
    for _ in range(2):
        pair.modern(call(1, region="x"), headers)
        assert pair.modern(call(1, region="x")).status == 200


def test_mirrored_arguments_are_compared_every_time() -> None:
    pair = Pair()
    pair.warm("m", **{"Mcp-Param-Region": "x"})
    for region in ("x", "y", "x", None):
        arguments = {} if region is None else {"region": region}
        good = pair.modern(call(2, "m", **arguments), {"Mcp-Param-Region": region})
        assert good.status == 200
        assert pair.modern(call(3, "m", **arguments), {"Mcp-Param-Region": "z"}).status == 400
    assert pair.modern(call(4, "t", region="x")).status == 200


@pytest.mark.parametrize("arguments", [b"", b"{", b'{"region":1}', b"[]", b"null", b'{},"x":{}', b'{"region":"y"}'])
def test_arguments_are_read_every_time(arguments: bytes) -> None:
    pair = Pair()
    pair.warm()
    headers = mirrored(call(1))
    pair.tell(line(call(1, region="here")).replace(b'{"region":"here"}', arguments), headers)
    assert pair.modern(call(2, region="x")).status == 200


def test_whoever_asks_is_asked_for_every_time() -> None:
    pair = Pair(options=StreamableHTTPOptions(requests_each=1))
    pair.warm()
    for principal in (None, "ann", "bob"):
        pair.modern(call(1, region="x"), principal=principal)
    both = list(zip(pair.servers, pair.arrivals, strict=True))
    held = [server.modern(call(2, region="x"), principal="ann", arrival=arrival) for server, arrival in both]
    assert all(reply.status is None for reply in held)
    for server in pair.servers:
        server.events.clear()
    assert pair.modern(call(3, region="x"), principal="ann").status == 503
    assert pair.modern(call(3, region="x"), principal="bob").status == 200
    for server in pair.servers:
        server.endpoint.drain(server.now)
    assert pair.modern(call(4, region="x")).status == 503


def test_sessions_on_one_connection_are_told_apart() -> None:
    pair = Pair()
    sessions = [[Session(server, revision) for server in pair.servers] for revision in (R2025_11, R2025_06)]
    assert [each.id for each in sessions[0]] == ["session-1", "session-1"]
    bare = [line(request(n, "tools/call", {"name": "t", "arguments": {"region": "x"}})) for n in range(30)]
    for n, text in enumerate(bare):
        one = sessions[n % 2][0]
        reply = pair.tell(text, one.headers)
        assert reply.status == 200
    assert type(pair.reader.read(bare[0], server_profile().limits)) is Repeat
    # The same text without its session, in one that is gone, and under the header of a revision without sessions.
    assert pair.tell(bare[1]).status == 400
    assert pair.tell(bare[1], {"Mcp-Session-Id": "gone"}).status == 404
    assert pair.tell(bare[1], {**mirrored(call(1)), "Mcp-Name": "t"}).status == 400
    # One of the other era within a session is of that era all the same.
    pair.warm()
    for headers in (sessions[0][0].headers, {"Mcp-Session-Id": "session-1"}, {"MCP-Protocol-Version": "2025-11-25"}):
        assert (
            pair.modern(call(5, region="x"), {**mirrored(call(5)), "MCP-Protocol-Version": None, **headers}).status
            == 400
        )
        pair.tell(call(5, region="x"), headers)
    pair.tell(bare[2][:-1])


@given(st.data())
def test_any_damage_under_any_headers_is_answered_alike(data: st.DataObject) -> None:
    pair = Pair()
    session, _ = [Session(server) for server in pair.servers]
    bare = line(request(7, "tools/call", {"name": "t", "arguments": {"region": "x"}}))
    modern = line(call(7, region="x"))
    for text, headers in [(bare, session.headers), (modern, mirrored(call(7)))] * data.draw(st.integers(2, 4)):
        for _ in range(2):
            pair.tell(text, headers)
    for _ in range(3):
        text = data.draw(st.sampled_from([bare, modern]))
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(text)))
            cut = data.draw(st.integers(0, 3))
            text = text[:at] + data.draw(st.sampled_from(FRAGMENTS)) + text[at + cut :]
        named = data.draw(st.sampled_from([session.headers, mirrored(call(7)), {}, {"Mcp-Session-Id": session.id}]))
        pair.tell(
            text, {**named, **data.draw(st.sampled_from([{}, {"MCP-Protocol-Version": None}, {"Mcp-Name": "t"}]))}
        )
