"""The HTTP client's connections on real sockets: keep-alive, limits, losses, time-outs, redirects, proxies, TLS."""

from __future__ import annotations

import logging
import ssl
import subprocess
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kailash.adapters.http_headers import encode_headers
from kailash.adapters.http_pool import HTTPPool, PoolLimits, make_tls
from kailash.adapters.http_proxy import ProxyError, find_proxy, is_loopback, parse_proxy
from kailash.adapters.http_transfer import ClientTimeouts
from kailash.adapters.http_url import parse_url

from .rawhttp import Asked, Visitor, noting, raw_server

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["h11", "httptools"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def echo(visitor: Visitor, asked: Asked) -> None:
    await visitor.answer(asked.body)


# Keep-alive and the pool


async def test_one_connection_serves_requests_one_after_the_other(codec: str) -> None:
    async with raw_server(echo) as server, noting(f"{server.url}/mcp", pool={"codec": codec}) as client:
        for number in range(5):
            exchange = await client.ask(body=b"%d" % number)
            assert (exchange.status, exchange.data, exchange.is_complete) == (200, b"%d" % number, True)
        assert server.connections == 1
        asked = server.asked[0]
        assert (asked.method, asked.target) == ("POST", "/mcp")
        assert asked.headers["host"] == f"127.0.0.1:{server.port}"


async def test_requests_at_once_have_connections_of_their_own_up_to_the_limit(codec: str) -> None:
    release = anyio.Event()

    async def script(visitor: Visitor, asked: Asked) -> None:
        await release.wait()
        await visitor.answer(asked.body)

    limits = PoolLimits(connections=2)
    async with raw_server(script) as server, noting(server.url, pool={"codec": codec, "limits": limits}) as client:
        sent = [client.send(body=b"%d" % number) for number in range(6)]
        await server.until(lambda: len(server.asked) == 2)
        release.set()
        await client.until(lambda: all(exchange.is_complete for exchange in sent))
        assert server.connections == 2
        assert [exchange.data for exchange in sent] == [b"%d" % number for number in range(6)]
        assert sorted(asked.body for asked in server.asked[2:4]) == [b"2", b"3"]


async def test_large_bodies_go_both_ways(codec: str) -> None:
    body = b"x" * 3_000_000
    async with raw_server(echo) as server, noting(server.url, pool={"codec": codec}) as client:
        assert (await client.ask(body=body)).data == body
        assert (await client.ask(body=b"after")).data == b"after"
        assert server.connections == 1


async def test_idle_connections_are_swept() -> None:
    limits = PoolLimits(idle=0.05)
    async with raw_server(echo) as server, noting(server.url, pool={"limits": limits}) as client:
        await client.ask()
        await server.until(lambda: server.ended == 1)
        assert client.pool.connection_count == 0
        await client.ask()
        assert server.connections == 2


async def test_a_connection_is_kept_no_longer_than_the_server_keeps_it() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(b"ok", "200 OK", "Keep-Alive: timeout=1, max=5")

    async with raw_server(script) as server, noting(server.url) as client:
        await client.ask()
        await server.until(lambda: server.ended == 1)


async def test_a_connection_the_server_closes_is_replaced(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(asked.body, "200 OK", "Connection: close")

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        for number in range(3):
            assert (await client.ask(body=b"%d" % number)).data == b"%d" % number
        assert server.connections == 3


async def test_a_body_that_ends_with_the_connection_is_complete(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.stream.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await visitor.stream.aclose()

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = await client.ask()
        assert exchange.is_complete and exchange.data == b"all of it"


# Losses


async def dies_on_reuse(visitor: Visitor, asked: Asked) -> None:
    if visitor.asked > 1 and visitor.number == 1:
        await visitor.stream.aclose()
        raise anyio.EndOfStream
    await visitor.answer(asked.body)


async def test_a_repeatable_request_on_a_dead_connection_is_sent_once_more(codec: str) -> None:
    async with raw_server(dies_on_reuse) as server, noting(server.url, pool={"codec": codec}) as client:
        await client.ask(body=b"1")
        assert (await client.ask(body=b"2", is_repeatable=True)).data == b"2"
        assert server.connections == 2 and [asked.body for asked in server.asked] == [b"1", b"2", b"2"]


async def test_any_other_request_on_a_dead_connection_fails_once(codec: str) -> None:
    async with raw_server(dies_on_reuse) as server, noting(server.url, pool={"codec": codec}) as client:
        await client.ask(body=b"1")
        exchange = await client.ask(body=b"2")
        assert exchange.was_sent and exchange.failure is not None and "was lost" in exchange.failure
        assert server.url in exchange.failure
        assert (await client.ask(body=b"3")).data == b"3"


async def test_a_repeated_request_is_not_repeated_again(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if len(visitor.server.asked) > 1:
            raise anyio.EndOfStream
        await visitor.answer()

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        await client.ask()
        assert (await client.ask(is_repeatable=True)).failure is not None
        assert len(server.asked) == 3


async def test_a_fresh_connection_that_is_lost_is_a_failure_even_when_repeatable(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.reset()
        raise anyio.EndOfStream

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = await client.ask(is_repeatable=True)
        assert exchange.failure is not None and len(server.asked) == 1


async def test_an_idle_connection_that_was_closed_is_not_used(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer()
        if visitor.number == 1:
            raise anyio.EndOfStream

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        await client.ask()
        await server.until(lambda: server.ended == 1)
        with anyio.fail_after(5):
            while client.pool.connection_count:
                await anyio.lowlevel.checkpoint()
        assert (await client.ask()).is_complete and server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n1",
        b"",
    ],
    ids=lambda value: str(value[:40]),
)
async def test_bad_answers_fail_the_request_and_not_the_next(codec: str, answer: bytes) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if visitor.number > 1:
            await visitor.answer()
            return
        if answer:
            await visitor.stream.send(answer)
        raise anyio.EndOfStream

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = await client.ask()
        assert exchange.failure is not None and exchange.was_sent
        assert (await client.ask(is_repeatable=True)).data == b"ok" and server.connections == 2


async def test_bytes_nobody_asked_for_cost_the_connection(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer()
        if visitor.number == 1:
            await visitor.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await visitor.until_closed()
            raise anyio.EndOfStream

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        assert (await client.ask()).data == b"ok"
        await server.until(lambda: server.ended == 1)
        assert (await client.ask()).data == b"ok" and server.connections == 2


async def test_an_unreachable_server_is_named_with_the_reason() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()
    async with noting(f"http://127.0.0.1:{port}/mcp?key=secret") as client:
        exchange = await client.ask()
        assert exchange.failure == f"no connection to http://127.0.0.1:{port}: connection refused"
        assert exchange.was_sent is False
    async with noting("http://does-not-exist.invalid/") as client:
        exchange = await client.ask()
        assert exchange.failure is not None and "cannot be resolved" in exchange.failure


# What is not read to its end


async def test_the_rest_of_an_answer_nobody_wants_is_read_if_it_is_little(codec: str) -> None:
    release = anyio.Event()

    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.begin()
        await visitor.chunk(b"enough")
        await release.wait()
        await visitor.chunk(b"more")
        await visitor.chunk(b"")

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = await client.ask(enough=6)
        assert exchange.data == b"enough" and not exchange.is_complete
        release.set()
        await client.ask(enough=6)
        assert server.connections in (1, 2)  # the second may have come before the first was read to its end


@pytest.mark.parametrize("rest", [b"", b"x" * 200_000], ids=["endless", "long"])
async def test_the_rest_of_an_answer_nobody_wants_costs_the_connection_if_it_is_long(codec: str, rest: bytes) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.begin()
        await visitor.chunk(b"enough")
        if rest:
            await visitor.chunk(rest)
        await visitor.until_closed()
        raise anyio.EndOfStream

    limits = PoolLimits(drain_time=0.1 if not rest else 60.0)
    async with raw_server(script) as server, noting(server.url, pool={"codec": codec, "limits": limits}) as client:
        assert (await client.ask(enough=6)).data.startswith(b"enough")
        await server.until(lambda: server.ended == 1)


async def test_a_dropped_exchange_closes_its_connection(codec: str) -> None:
    closed = anyio.Event()

    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.begin()
        await visitor.until_closed()
        closed.set()
        raise anyio.EndOfStream

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = client.send()
        await client.until(lambda: exchange.status == 200)
        client.binding.to_drop.append(exchange)
        client.channel.flush()
        with anyio.fail_after(5):
            await closed.wait()
        assert exchange.failure is None and server.connections == 1


async def test_a_dropped_exchange_that_waits_is_never_sent() -> None:
    release = anyio.Event()

    async def script(visitor: Visitor, asked: Asked) -> None:
        await release.wait()
        await visitor.answer()

    limits = PoolLimits(connections=1)
    async with raw_server(script) as server, noting(server.url, pool={"limits": limits}) as client:
        first, second, third = (client.send(body=b"%d" % number) for number in range(3))
        await server.until(lambda: server.asked)
        client.binding.to_drop.append(second)
        client.channel.flush()
        release.set()
        await client.until(lambda: first.is_complete and third.is_complete)
        assert [asked.body for asked in server.asked] == [b"0", b"2"]


async def test_the_body_of_an_error_is_bounded(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(b"x" * 5_000_000, "500 Internal Server Error")

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = await client.ask()
        assert exchange.status == 500 and exchange.is_complete and len(exchange.data) <= 1 << 20


# Event streams and time


async def test_an_event_stream_arrives_piece_by_piece(codec: str) -> None:
    go_on = anyio.Event()

    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.begin()
        await visitor.chunk(b"data: 1\n\n")
        await go_on.wait()
        await visitor.chunk(b"data: 2\n\n")
        await visitor.chunk(b"")

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = client.send("GET")
        await client.until(lambda: exchange.data == b"data: 1\n\n")
        go_on.set()
        await client.until(lambda: exchange.is_complete)
        assert server.asked[0].method == "GET" and "content-length" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("timeouts", "begins", "named"),
    [
        (ClientTimeouts(head=0.05), False, "first_byte_timeout"),
        (ClientTimeouts(idle=0.05), True, "idle_timeout"),
        (ClientTimeouts(total=0.05), True, "response_timeout"),
        (ClientTimeouts(total=0.05), False, "response_timeout"),
    ],
)
async def test_each_timeout_is_named_in_its_error(timeouts: ClientTimeouts, begins: bool, named: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if begins:
            await visitor.begin()
        await visitor.until_closed()
        raise anyio.EndOfStream

    async with raw_server(script) as server, noting(server.url, timeouts=timeouts) as client:
        exchange = await client.ask()
        assert exchange.failure is not None and named in exchange.failure and server.url in exchange.failure
        assert "0.05 s" in exchange.failure and exchange.was_sent
        await server.until(lambda: server.ended == 1)


async def test_the_head_timeout_leaves_calls_to_their_own_deadline() -> None:
    release = anyio.Event()

    async def script(visitor: Visitor, asked: Asked) -> None:
        await release.wait()
        await visitor.answer()

    async with raw_server(script) as server, noting(server.url, timeouts=ClientTimeouts(head=0.05)) as client:
        call, notice = client.send(call="call"), client.send()
        await client.until(lambda: notice.failure)
        assert not call.is_over
        release.set()
        await client.until(lambda: call.is_complete)


async def test_connecting_has_a_timeout_of_its_own() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1) as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        limits = PoolLimits(connect=0.1)
        # Nobody accepts and nobody shakes hands: TLS waits for ever.
        async with noting(f"https://127.0.0.1:{port}", pool={"limits": limits}) as client:
            exchange = await client.ask()
            assert exchange.failure is not None and "within 0.1 s (http_connect_timeout=)" in exchange.failure
            assert exchange.was_sent is False


async def test_the_bindings_deadlines_are_kept() -> None:
    async with raw_server(echo) as server, noting(server.url) as client:
        client.binding.deadline = client.channel.now() + 0.02
        client.channel.flush()
        await client.until(lambda: "deadline" in client.events)


# Redirects


async def test_redirects_within_the_origin_are_followed_and_lasting_ones_remembered(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if asked.target == "/old":
            await visitor.answer(b"moved", "308 Permanent Redirect", "Location: /new?x=1#part")
        else:
            await visitor.answer(asked.body)

    async with raw_server(script) as server, noting(f"{server.url}/old", pool={"codec": codec}) as client:
        assert (await client.ask(body=b"a")).data == b"a"
        assert (await client.ask(body=b"b")).data == b"b"
        assert [asked.target for asked in server.asked] == ["/old", "/new?x=1", "/new?x=1"]
        assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "location", "text"),
    [
        ("307 Temporary Redirect", "http://127.0.0.1:1/mcp", "redirects to http://127.0.0.1:1, and"),
        ("308 Permanent Redirect", "https://127.0.0.1/mcp", "redirects to https://127.0.0.1, and"),
        ("302 Found", "/login", "answered POST with 302"),
        ("303 See Other", "/login", "answered POST with 303"),
        ("307 Temporary Redirect", "ftp://127.0.0.1/", "a Location that cannot be used"),
        ("307 Temporary Redirect", "http://user:pw@127.0.0.1/", "a Location that cannot be used"),
        ("307 Temporary Redirect", "/again", "redirects more than 3 times"),
    ],
)
async def test_other_redirects_are_refused(codec: str, status: str, location: str, text: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(b"", status, f"Location: {location}")

    async with raw_server(script) as server, noting(server.url, pool={"codec": codec}) as client:
        exchange = await client.ask()
        assert exchange.failure is not None and text in exchange.failure and server.url in exchange.failure
        assert "pw" not in exchange.failure


async def test_a_get_follows_a_redirect_of_any_kind_within_the_origin() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if asked.target == "/":
            await visitor.answer(b"", "302 Found", "Location: /there")
        else:
            await visitor.answer(b"here")

    async with raw_server(script) as server, noting(server.url) as client:
        assert (await client.ask("GET")).data == b"here"


# Headers


async def test_headers_are_sent_with_every_request() -> None:
    async with raw_server(echo) as server:
        headers = {"Authorization": "Bearer s3cret", "X-Team": "blue"}
        async with noting(server.url, headers=headers, user_agent="kailash-mcp/1") as client:
            await client.ask(headers=[(b"mcp-method", b"tools/call")])
            sent = server.asked[0].headers
            assert (sent["authorization"], sent["x-team"]) == ("Bearer s3cret", "blue")
            assert (sent["mcp-method"], sent["user-agent"]) == ("tools/call", "kailash-mcp/1")
            assert "s3cret" not in repr(client.channel)


@pytest.mark.parametrize("is_async", [False, True])
async def test_headers_can_be_made_for_each_request(is_async: bool) -> None:
    count = 0

    def make() -> dict[str, str]:
        nonlocal count
        count += 1
        return {"X-Count": str(count), "User-Agent": "mine"}

    async def make_later() -> dict[str, str]:
        return make()

    async with raw_server(echo) as server:
        async with noting(server.url, headers=make_later if is_async else make, user_agent="ours") as client:
            for _ in range(3):
                await client.ask()
        assert [asked.headers["x-count"] for asked in server.asked] == ["1", "2", "3"]
        assert all(asked.headers["user-agent"] == "mine" for asked in server.asked)


@pytest.mark.parametrize("is_async", [False, True])
async def test_headers_that_cannot_be_made_fail_the_request_without_a_secret(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> dict[str, str]:
        raise RuntimeError("token s3cret expired")

    async def make_later() -> dict[str, str]:
        return make()

    caplog.set_level(logging.DEBUG)
    async with raw_server(echo) as server:
        async with noting(server.url, headers=make_later if is_async else make) as client:
            exchange = await client.ask()
        assert exchange.failure == "the headers could not be made: the callable raised RuntimeError"
        async with noting(server.url, headers=lambda: {"X-Token": "s3cret\r\nHost: evil"}) as client:
            exchange = await client.ask()
        assert exchange.failure is not None and "'X-Token'" in exchange.failure
        assert not server.asked and "s3cret" not in caplog.text + exchange.failure


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"X-A": "a\r\nX-B: b"}, "line end"),
        ({"X-A": "a\0"}, "control character"),
        ({"X A": "a"}, "no name of a header"),
        ({"X-A": "\N{SNOWMAN}"}, "no header can carry"),
        ({"Höst": "a"}, "no header can carry"),
        ({"Host": "a"}, "set by the client itself"),
        ({"content-length": "1"}, "set by the client itself"),
        ({"Mcp-Session-Id": "1"}, "set by the client itself"),
        ({"Mcp-Param-X": "1"}, "set by the client itself"),
        ({"X-A": 1}, "must be strings"),
    ],
)
def test_bad_headers_are_named_without_their_value(headers: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        encode_headers(headers)


# The end


async def test_closing_says_farewell_and_drops_what_nobody_waits_for(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if asked.method == "DELETE":
            await visitor.answer()
            return
        await visitor.begin()
        await visitor.until_closed()
        raise anyio.EndOfStream

    async with raw_server(script) as server:
        async with noting(server.url, pool={"codec": codec}) as client:
            stream = client.send("GET")
            await client.until(lambda: stream.status)
            client.binding.farewell.append(type(stream)(client.binding, "DELETE"))
        assert [asked.method for asked in server.asked] == ["GET", "DELETE"]
        assert client.ended == [None] and client.channel.closed
        await server.until(lambda: server.ended == server.connections)


async def test_a_server_that_takes_no_leave_holds_nobody_up() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.until_closed()
        raise anyio.EndOfStream

    async with raw_server(script) as server:
        async with noting(server.url, timeouts=ClientTimeouts(close=0.05)) as client:
            client.binding.farewell.append((await_later := client.send("GET")).__class__(client.binding, "DELETE"))
            await server.until(lambda: server.asked)
            assert not await_later.is_over
        assert isinstance(client.ended[0], TimeoutError)


async def test_a_failing_callback_ends_the_channel(caplog: pytest.LogCaptureFixture) -> None:
    async with raw_server(echo) as server, noting(server.url) as client:

        def fail(events: list[Any]) -> None:
            raise ValueError("broken runtime")

        client.channel._on_events = fail
        client.send()
        with anyio.fail_after(5):
            await client.channel.wait_closed()
        assert isinstance(client.ended[0], ValueError) and "its callback failed" in caplog.text


async def test_flush_soon_sends_in_the_next_turn() -> None:
    async with raw_server(echo) as server, noting(server.url) as client:
        from .rawhttp import NotedExchange

        exchange = NotedExchange(client.binding)
        client.binding.to_send.append(exchange)
        client.channel.flush_soon()
        client.channel.flush_soon()
        assert client.binding.to_send
        await client.until(lambda: exchange.is_complete)
        await client.channel.drain()
        assert len(server.asked) == 1


# URLs


@pytest.mark.parametrize(
    ("text", "shown", "target"),
    [
        ("http://host", "http://host/", "/"),
        ("HTTP://Host:80/a b?q=1#frag", "http://host/a%20b?…", "/a%20b?q=1"),
        ("https://host:443/x", "https://host/x", "/x"),
        ("https://host:8443/%7Eme", "https://host:8443/%7Eme", "/%7Eme"),
        ("http://[::1]:8000/mcp", "http://[::1]:8000/mcp", "/mcp"),
        ("http://[fe80::1%eth0]/", "http://[fe80::1]/", "/"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC", "/%C3%BC"),
    ],
)
def test_urls_are_read(text: str, shown: str, target: str) -> None:
    url = parse_url(text)
    assert str(url) == repr(url) == shown and url.target == target


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://host/", "starts with http:// or https://, not ftp:"),
        ("host/mcp", "without a scheme"),
        ("http://", "without a host"),
        ("http://user:pw@host/", "send them as a header"),
        ("http://@host/", "send them as a header"),
        ("http://host:99999/", "not a URL"),
        ("http://host:0/", "port 0"),
        ("http://ho st/", "bad host name"),
        ("http://host/\r\nX: y", "control character"),
        ("http://[::1/", "not a URL"),
        ("http://[::1]evil.example/", "a bad IPv6 address"),
        ("http://a..b\N{SNOWMAN}/", "bad host name"),
    ],
)
def test_bad_urls_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")) as caught:
        parse_url(text)
    assert "pw" not in str(caught.value)


def test_urls_lead_to_others() -> None:
    url = parse_url("http://host/base/?k=1")
    assert url.join("/x").target == "/x" and url.join("y").target == "/base/y"
    assert url.below("mcp").target == "/base/mcp?k=1"


# Proxies


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("http://host/", {"http_proxy": "http://proxy:3128"}, "proxy http://proxy:3128"),
        ("http://host/", {"HTTP_PROXY": "proxy:3128"}, "proxy http://proxy:3128"),
        ("http://host/", {"HTTP_PROXY": "proxy:3128", "REQUEST_METHOD": "GET"}, None),
        ("https://host/", {"HTTP_PROXY": "proxy:3128"}, None),
        ("https://host/", {"HTTPS_PROXY": "http://[::2]"}, "proxy http://[::2]:80"),
        ("https://host/", {"ALL_PROXY": "http://all:1"}, "proxy http://all:1"),
        ("http://localhost:8000/", {"ALL_PROXY": "http://all:1"}, None),
        ("http://127.0.0.5/", {"ALL_PROXY": "http://all:1"}, None),
        ("http://[::1]/", {"ALL_PROXY": "http://all:1"}, None),
        ("http://a.host.com/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "x, host.com"}, None),
        ("http://a.host.com/", {"ALL_PROXY": "http://all:1", "NO_PROXY": ".host.com"}, None),
        ("http://a.host.com/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "*.host.com"}, None),
        ("http://ahost.com/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "host.com"}, "proxy http://all:1"),
        ("http://host.com:81/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "host.com:80"}, "proxy http://all:1"),
        ("http://host.com:80/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "host.com:80"}, None),
        ("http://host/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "*"}, None),
        ("http://10.1.2.3/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://11.1.2.3/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "10.0.0.0/8"}, "proxy http://all:1"),
        ("http://name/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "10.0.0.0/8"}, "proxy http://all:1"),
        ("http://[2001:db8::1]/", {"ALL_PROXY": "http://all:1", "NO_PROXY": "[2001:db8::1]"}, None),
    ],
)
def test_proxies_are_those_of_the_environment(url: str, environment: dict[str, str], expected: str | None) -> None:
    proxy = find_proxy(parse_url(url), environment)
    assert (None if proxy is None else str(proxy)) == expected


def test_a_proxy_that_cannot_be_used_is_refused_and_its_password_never_shown() -> None:
    for text in ("socks5://me:pw@host", "http://", "http://host:port"):
        with pytest.raises(ProxyError, match="ALL_PROXY") as caught:
            find_proxy(parse_url("http://host/"), {"ALL_PROXY": text})
        assert "pw" not in str(caught.value)
    proxy = parse_proxy("http://me:p%40w@host:1", named_by="proxy")
    assert proxy.authorization == b"Basic bWU6cEB3" and "bWU6" not in repr(proxy) + str(proxy)
    assert is_loopback("LOCALHOST") and not is_loopback("host")


async def test_http_goes_through_a_proxy_in_absolute_form(codec: str) -> None:
    async with raw_server(echo) as proxy:
        named = f"http://me:pw@127.0.0.1:{proxy.port}"
        async with noting("http://mcp.example/mcp?q=1", pool={"codec": codec, "proxy": named}) as client:
            assert (await client.ask(body=b"x")).data == b"x"
        asked = proxy.asked[0]
        assert asked.target == "http://mcp.example/mcp?q=1" and asked.headers["host"] == "mcp.example"
        assert asked.headers["proxy-authorization"] == "Basic bWU6cHc="


async def test_a_proxy_of_the_environment_is_used_and_none_when_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(echo) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with noting("http://mcp.example/") as client:
            await client.ask()
        async with noting("http://does-not-exist.invalid/", pool={"proxy": ""}) as client:
            assert (await client.ask()).failure is not None
        monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
        async with noting("http://mcp.example/") as client:
            failure = (await client.ask()).failure
        assert len(proxy.asked) == 1 and failure is not None and "only http:// proxies" in failure


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    key, pem = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(pem), "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:mcp.example"]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_https_trusts_whom_it_is_told_to(codec: str, certificate: Path) -> None:
    async with raw_server(echo, tls=server_tls(certificate)) as server:
        options = {"codec": codec, "ssl": make_tls(ca_file=str(certificate))}
        async with noting(f"{server.url}/mcp", pool=options) as client:
            for body in (b"1", b"x" * 500_000):
                assert (await client.ask(body=body)).data == body
        assert server.connections == 1


async def test_https_refuses_a_certificate_nobody_vouches_for(certificate: Path) -> None:
    async with raw_server(echo, tls=server_tls(certificate)) as server, noting(server.url) as client:
        failure = (await client.ask()).failure
        assert failure is not None and "certificate is not trusted" in failure and "ca_file=" in failure


async def test_system_roots_can_be_named_by_the_environment(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with raw_server(echo, tls=server_tls(certificate)) as server, noting(server.url) as client:
        assert (await client.ask()).data == b"{}"


async def test_a_client_certificate_is_shown_to_a_server_that_asks(certificate: Path) -> None:
    context = server_tls(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    own = make_tls(ca_file=str(certificate), client_cert=str(certificate))
    async with raw_server(echo, tls=context) as server, noting(server.url, pool={"ssl": own}) as client:
        assert (await client.ask()).data == b"{}"


def test_files_that_cannot_be_used_are_named(tmp_path: Path, certificate: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for options, name in (
        ({"ca_file": str(tmp_path / "missing")}, "ca_file"),
        ({"ca_file": str(empty)}, "ca_file"),
        ({"client_cert": str(empty)}, "client_cert"),
    ):
        with pytest.raises(OSError, match=name):
            make_tls(**options)


async def test_plain_http_at_an_https_port_is_a_tls_failure(codec: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        raise AssertionError("no HTTP comes here")

    async with raw_server(script) as server:
        async with noting(server.url.replace("http", "https"), pool={"limits": PoolLimits(connect=0.3)}) as client:
            assert (await client.ask()).failure is not None


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 Connection established\r\n\r\n", b"HTTP/1.1 407 Who?\r\n\r\n", b"hi\r\n\r\n"]
)
async def test_https_goes_through_a_tunnel(codec: str, certificate: Path, answer: bytes) -> None:
    async with raw_server(echo, tls=server_tls(certificate)) as server:

        async def script(visitor: Visitor, asked: Asked) -> None:
            assert (asked.method, asked.target) == ("CONNECT", f"127.0.0.1:{server.port}")
            assert asked.headers["proxy-authorization"] == "Basic bWU6cHc="
            await visitor.stream.send(answer)
            if b"200" not in answer:
                await visitor.until_closed()
                raise anyio.EndOfStream
            async with await anyio.connect_tcp("127.0.0.1", server.port) as inner, anyio.create_task_group() as group:

                async def back() -> None:
                    async for data in inner:
                        await visitor.stream.send(data)
                    await visitor.stream.aclose()

                group.start_soon(back)
                while True:
                    await inner.send(await visitor.stream.receive())

        async with raw_server(script) as proxy:
            named = f"http://me:pw@127.0.0.1:{proxy.port}"
            options = {"codec": codec, "ssl": make_tls(ca_file=str(certificate)), "proxy": named}
            async with noting(server.url, pool=options) as client:
                exchange = await client.ask(body=b"inside")
                if b"200" in answer:
                    assert exchange.data == b"inside"
                else:
                    assert exchange.failure is not None and "pw" not in exchange.failure
                    assert f"proxy http://127.0.0.1:{proxy.port}" in exchange.failure


async def test_closing_the_pool_ends_what_is_being_opened() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with noting(f"https://127.0.0.1:{port}") as client:
            exchange = client.send(call="call")
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(5):
                await client.pool.aclose()
            assert not exchange.is_complete


async def test_a_pool_needs_a_usable_proxy() -> None:
    with pytest.raises(ProxyError):
        HTTPPool(proxy="socks5://host")
