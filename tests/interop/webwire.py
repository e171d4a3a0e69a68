"""The rules that every conversation over HTTP obeys, beside those of `wire`."""

import json
import re
from typing import Any

from .webtee import Exchange
from .wire import META, MODERN

__all__ = ["check_client", "check_server", "check_sse_client", "check_sse_server"]

_BOTH = ("application/json", "text/event-stream")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

# Revisions whose requests say after the handshake which one they are of.
_UNSPOKEN = {"2024-11-05", "2025-03-26"}


def _is_request(message: Any) -> bool:
    return "method" in message and "id" in message


def _answer(exchange: Exchange) -> Any:
    """Return the answer to what was posted, if it came on this response."""

    for _, text in exchange.messages:
        message = json.loads(text)
        if "method" not in message and message.get("id") == exchange.message["id"]:
            return message
    return None


def check_server(exchanges: list[Exchange], revision: str) -> None:
    """Check what a server of ours answered over Streamable HTTP."""
    for exchange in exchanges:
        headers = exchange.response_headers
        if exchange.status is None:
            assert exchange.ended_by == "client", exchange
            continue
        if exchange.method == "POST" and not _is_request(exchange.message):
            assert exchange.status == 202 and not exchange.messages, exchange
        elif exchange.method == "POST":
            _check_answer(exchange, revision)
        elif exchange.method == "GET":
            assert (exchange.status == 405) == (revision == MODERN), exchange
        else:
            assert exchange.method == "DELETE" and exchange.status in (200, 204), exchange
        if exchange.is_stream:
            assert exchange.status == 200 and headers["x-accel-buffering"] == "no", exchange
            assert "no-cache" in headers["cache-control"] or "no-store" in headers["cache-control"], exchange
            assert len(set(exchange.ids)) == len(exchange.ids), "an event's id came twice"
        if revision == MODERN:
            assert "mcp-session-id" not in headers and not exchange.ids, exchange
    if revision != MODERN:
        [first] = [each for each in exchanges if _method(each) == "initialize"]
        session = first.response_headers["mcp-session-id"]
        assert _VISIBLE.fullmatch(session)
        assert all(each.headers["mcp-session-id"] == session for each in exchanges if each is not first)
        every = [event for each in exchanges for event in each.ids]
        assert len(set(every)) == len(every), "event ids are unique within a session"


def _check_answer(exchange: Exchange, revision: str) -> None:
    kind = exchange.response_headers["content-type"]
    if not exchange.is_stream:
        assert kind.startswith("application/json") and len(exchange.messages) == 1, exchange
        assert _answer(exchange) is not None, exchange
    elif exchange.is_complete and _answer(exchange) is None:
        # Only what was withdrawn is not answered, and then the stream ends all the same.
        assert revision != MODERN and exchange.message["params"]["name"] == "hang", exchange
    elif exchange.is_complete:
        assert json.loads(exchange.messages[-1][1]) == _answer(exchange), "nothing follows the answer"


def check_sse_server(exchanges: list[Exchange]) -> None:
    """Check what a server of ours answered over HTTP+SSE."""
    streams = [each for each in exchanges if each.method == "GET"]
    assert len(streams) == 1 and streams[0].is_stream and streams[0].status == 200
    assert streams[0].response_headers["x-accel-buffering"] == "no"
    for exchange in exchanges:
        if exchange.method == "POST":
            assert exchange.status == 202 and not any(text.startswith("{") for _, text in exchange.messages), exchange


def _method(exchange: Exchange) -> str | None:
    message = exchange.message
    method: str | None = None if message is None else message.get("method")
    return method


def _check_post(exchange: Exchange) -> None:
    assert isinstance(exchange.message, dict), "one message a request"
    assert exchange.headers["content-type"].startswith("application/json")


def check_client(exchanges: list[Exchange], revision: str) -> None:
    """Check what a client of ours asked over Streamable HTTP."""
    session: str | None = None
    is_probe = revision != MODERN
    deleted = [each for each in exchanges if each.method == "DELETE"]
    for exchange in exchanges:
        headers = exchange.headers
        if exchange.method == "POST":
            _check_post(exchange)
            assert all(kind in headers["accept"] for kind in _BOTH), headers
        elif exchange.method == "GET":
            assert "text/event-stream" in headers["accept"]
        if _method(exchange) == "initialize":
            is_probe = False
            session = exchange.response_headers.get("mcp-session-id")
            assert "mcp-session-id" not in headers
        elif is_probe or revision == MODERN:
            _check_mirrors(exchange)
        else:
            assert headers.get("mcp-session-id") == session, exchange
            spoken = None if revision in _UNSPOKEN else revision
            assert headers.get("mcp-protocol-version") in (spoken, revision), exchange
    assert len(deleted) == (0 if session is None else 1)
    assert not deleted or exchanges[-1] is deleted[0], "nothing follows the end of the session"


def _check_mirrors(exchange: Exchange) -> None:
    """Check that the headers say what the body says."""
    message, headers = exchange.message, exchange.headers
    assert exchange.method == "POST" and "mcp-session-id" not in headers, exchange
    assert headers["mcp-protocol-version"] == message["params"]["_meta"][META + "protocolVersion"]
    assert headers["mcp-method"] == message["method"]
    name = _NAMED.get(message["method"])
    assert headers.get("mcp-name") == (None if name is None else message["params"][name]), exchange


def check_sse_client(exchanges: list[Exchange]) -> None:
    """Check what a client of ours asked over HTTP+SSE; what came before is the search for it."""
    stream = next(each for each in exchanges if each.method == "GET")
    posted = [each for each in exchanges if each.asked_at > stream.asked_at]
    assert stream.is_stream and "text/event-stream" in stream.headers["accept"]
    for exchange in posted:
        assert exchange.method == "POST", exchange
        _check_post(exchange)
        assert exchange.status in (200, 202) and "mcp-session-id" not in exchange.headers
