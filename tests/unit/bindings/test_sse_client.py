"""The client side of HTTP+SSE: the stream first, then messages to the path it names, answers on the stream."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import (
    Change,
    ClientEngine,
    Closed,
    Era,
    ErrorObject,
    Failure,
    Ready,
    Request,
    Result,
    TimedOut,
    Violation,
)
from protocol.framing.sse import encode_event
from protocol.http.client import StreamableHTTPClientOptions
from protocol.http.sse_client import SSEClient
from tests.pair import HANDSHAKES, R2024, R2025_11, client_profile, line, notification, request, result
from tests.requirements import rule
from tests.unit.bindings.clientwire import Sent, Web, greeting

URL = "https://example.com/mcp/sse?key=1"


def begin(url: str = URL, **options: Any) -> tuple[Web, Sent]:
    """Return a client and the request for its stream."""
    web = Web(*HANDSHAKES, binding=lambda engine: SSEClient(engine, **options, url=url))
    web.engine.start(110.0, era=Era.HANDSHAKE)
    return web, web.next()


def endpoint(stream: Sent, reference: str = "/messages?s=1") -> None:
    stream.stream()
    stream.feed(encode_event(reference.encode(), event="endpoint"))
    stream.web.pump()


def ready(revision: Any = R2024, **options: Any) -> tuple[Web, Sent]:
    """Return a client through its handshake, and its stream."""
    web, stream = begin(**options)
    endpoint(stream)
    first = web.next("initialize")
    first.reply(202)
    stream.stream(result(first.id, greeting(revision)))
    web.take(Ready)
    web.next("notifications/initialized").reply(202)
    return web, stream


@rule(90)
def test_the_stream_comes_first_and_all_messages_go_to_the_path_it_names() -> None:
    web, stream = begin()
    assert stream.method == "GET" and stream.header("accept") == "text/event-stream" and web.sent == []
    assert stream.exchange.target is None and stream.exchange.call is None
    endpoint(stream)
    first = web.next("initialize")
    assert first.method == "POST" and first.exchange.target == "/messages?s=1"
    assert first.header("content-type") == "application/json" and not first.exchange.is_repeatable
    first.reply(202)
    stream.stream(result(first.id, greeting(R2024)))
    assert web.take(Ready).context.revision is R2024
    note = web.next("notifications/initialized")
    assert note.exchange.target == "/messages?s=1" and note.header("mcp-protocol-version") is None
    note.reply(200, b"Accepted", "text/plain")
    call, sent = web.call("tools/list")
    assert sent.exchange.call is call
    stream.stream(result(call.id, {"tools": []}), request(4, "ping"), notification("notifications/tools/list_changed"))
    assert web.take(Result).call is call and web.take(Change)
    sent.reply(202)
    answer = web.next("POST")
    assert answer.message == result(4, {}) and answer.exchange.target == "/messages?s=1"
    stream.stream(request(5, "roots/list"))
    web.engine.send_error(web.take(Request), ErrorObject(1, "no"))
    assert web.next("POST").message["id"] == 5


def test_later_revisions_have_their_version_header() -> None:
    web, _ = ready(R2025_11)
    assert web.call("tools/list")[1].header("mcp-protocol-version") == R2025_11.name


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("/messages?s=1", "/messages?s=1"),
        ("messages", "/mcp/messages"),
        ("?s=2", "/mcp/sse?s=2"),
        ("https://example.com:443/x#part", "/x"),
        ("https://EXAMPLE.com", "/"),
        ("//example.com/y", "/y"),
    ],
)
def test_the_path_is_resolved_against_the_streams(reference: str, target: str) -> None:
    web, stream = begin()
    endpoint(stream, reference)
    assert web.next("initialize").exchange.target == target


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("https://evil.example/messages", "another origin"),
        ("//evil.example/messages", "another origin"),
        ("http://example.com/messages", "another origin"),
        ("https://example.com:8443/messages", "another origin"),
        ("https://example.com@evil.example/", "another origin"),
        ("file:///etc/passwd", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://example.com:x/", "no URL"),
        ("/mess ages", "no path"),
        ("/mess\u00e4ges", "no path"),
    ],
)
def test_a_foreign_or_broken_endpoint_is_refused(reference: str, why: str) -> None:
    web, stream = begin()
    endpoint(stream, reference)
    error = web.take(Closed).error
    assert error is not None and why in error.message and web.sent == [] and stream.is_dropped


def test_a_stream_begins_with_its_endpoint() -> None:
    web, stream = begin()
    stream.stream(result(1, {}))
    error = web.take(Closed).error
    assert error is not None and "'message' instead of `endpoint`" in error.message and stream.is_dropped
    # Events after it that are none of ours, and a second one, change nothing.
    web, stream = ready()
    endpoint(stream, "https://evil.example/")
    assert web.call("tools/list")[1].exchange.target == "/messages?s=1"


@pytest.mark.parametrize("url", ["/sse", "ftp://example.com/sse", "http://", "example.com"])
def test_the_stream_needs_a_whole_url(url: str) -> None:
    with pytest.raises(ValueError, match="absolute http or https URL"):
        SSEClient(ClientEngine(client_profile()), url=url)


@pytest.mark.parametrize(
    ("answer", "expected", "data"),
    [
        (
            lambda stream: stream.reply(401, www_authenticate="Bearer"),
            "HTTP 401",
            {"status": 401, "www_authenticate": ["Bearer"]},
        ),
        (lambda stream: stream.reply(405), "HTTP 405", {"status": 405}),
        (lambda stream: stream.reply(200, b"{}"), "HTTP 200", {"status": 200}),
        (lambda stream: stream.fail("refused", was_sent=False), "could not be sent: refused", {"retryable": True}),
    ],
)
def test_without_its_stream_there_is_no_connection(answer: Any, expected: str, data: Any) -> None:
    web, stream = begin()
    answer(stream)
    error = web.take(Closed).error
    assert error is not None and expected in error.message and error.data == data and web.sent == []


def test_the_end_of_the_stream_is_the_end_of_the_connection() -> None:
    for end in (lambda stream: stream.end(), lambda stream: stream.fail("reset")):
        web, stream = ready()
        call, sent = web.call("tools/list")
        end(stream)
        failed = web.take(Failure)
        assert failed.call is call and failed.is_local and sent.is_dropped
        error = web.take(Closed).error
        assert error is not None and "event stream is over" in error.message
        web.pump()
        assert web.sent == []


def test_an_event_too_large_ends_the_connection() -> None:
    web, stream = ready(options=StreamableHTTPClientOptions(event_bytes=500))
    stream.feed(b"data: " + b"x" * 600 + b"\n\n")
    error = web.take(Closed).error
    assert error is not None and "larger than 500 bytes" in error.message and stream.is_dropped


def test_a_message_that_is_not_taken_fails_its_call() -> None:
    web, _ = ready()
    for answer, expected in [
        (lambda sent: sent.reply(404, b"no session", "text/plain"), "HTTP 404 Not Found: 'no session'"),
        (lambda sent: sent.fail("refused", was_sent=False), "tools/list could not be sent: refused"),
    ]:
        call, sent = web.call("tools/list")
        answer(sent)
        failed = web.take(Failure)
        assert failed.call is call and failed.is_local and failed.error.message == expected
        web.engine.announce_roots()
        answer(web.next("POST"))
        assert expected.removeprefix("tools/list") in web.take(Violation).error.message


def test_an_answer_to_a_post_that_never_ends_is_not_waited_for() -> None:
    web, stream = ready()
    call, sent = web.call("tools/list")
    sent.stream()
    assert sent.is_dropped and call.is_open
    stream.stream(result(call.id, {"tools": []}))
    assert web.take(Result).call is call


def test_withdrawing_a_call_is_told() -> None:
    web, _ = ready()
    call, sent = web.call("tools/list", deadline=101.0)
    web.pass_time(1)
    assert web.take(TimedOut).call is call and sent.is_dropped
    told = web.next("POST")
    assert told.message["params"]["requestId"] == call.id
    call, sent = web.call("tools/list")
    sent.reply(202)
    web.engine.cancel(call)
    assert web.next("POST").message["params"]["requestId"] == call.id


def test_a_server_that_never_names_its_endpoint_is_waited_for_only_so_long() -> None:
    web, stream = begin()
    stream.stream()
    stream.comment()
    web.pass_time(10)
    assert web.has(Closed) and stream.is_dropped and web.binding.next_deadline() is None


def test_closing_lets_go_of_everything() -> None:
    web, stream = ready()
    web.call("tools/list")
    web.binding.close(web.now)
    web.binding.close(web.now)
    web.pump()
    assert stream.is_dropped and web.has(Closed) and web.sent == []
    stream.feed(line({}))
    engine = ClientEngine(client_profile())
    never = SSEClient(engine, url=URL)
    never.close(0.0)
    assert never.requests_to_send(0.0) == [] and never.dropped() == []
