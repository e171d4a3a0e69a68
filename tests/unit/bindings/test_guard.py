"""What a head alone decides: whom we answer, what may be sent, and what browsers are told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing.headers import Headers
from protocol.framing.httphead import RequestHead
from protocol.http import Answer, Arrival, Guard, GuardOptions
from protocol.http.guard import Origin, is_loopback, parse_host, parse_origin
from tests.requirements import rule
from tests.unit.bindings.wire import BOTH, LOCAL, Reply, head, render

METHODS = {"GET": (b"text/event-stream",), "POST": (b"application/json", b"text/event-stream"), "DELETE": ()}
ABROAD = Arrival("203.0.113.7")


def guard(**options: Any) -> Guard:
    return Guard(GuardOptions(**options), METHODS)


def check(guard: Guard, method: str = "POST", *, arrival: Arrival = LOCAL, **headers: Any) -> Reply | None:
    usual = {"host": "localhost:8000"}
    if method == "POST":
        usual |= {"accept": BOTH, "content-type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = guard.refuse(head(render(method, usual | named)), arrival)
    return None if answer is None else Reply(answer)


def status(guard: Guard, method: str = "POST", **headers: Any) -> int | None:
    refusal = check(guard, method, **headers)
    return None if refusal is None else refusal.status


@rule(67)
@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "LOCALHOST:8000", "127.0.0.1:65535", "127.8.9.1", "[::1]:80"]
)
@pytest.mark.parametrize("local", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
def test_a_request_to_this_machine_may_name_it_in_any_way(host: str, local: str) -> None:
    assert status(guard(), host=host, arrival=Arrival(local)) is None
    assert status(guard(), host=host, arrival=Arrival(local), origin=f"http://{host}") is None


@rule(67)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:8000",
        "localhost.evil.example",
        "127.evil.example",
        "user@localhost",
        "localhost/path",
        "localhost,localhost",
        "localhost:99999",
        "localhost:",
        "",
        "[::1",
        "::1",
        ["localhost", "localhost"],
        ["localhost", "evil.example.com"],
        None,
    ],
)
def test_a_request_to_this_machine_for_another_host_is_refused(host: Any) -> None:
    refusal = check(guard(), host=host)
    assert refusal is not None and refusal.status == 421
    assert refusal.code == -32600 and "allowed_hosts" in refusal.json["error"]["message"]
    assert "id" not in refusal.json


def test_a_request_from_the_network_may_name_any_host_that_is_one() -> None:
    assert status(guard(), host="mcp.example", arrival=ABROAD) is None
    assert status(guard(), host="mcp.example", arrival=Arrival()) is None
    assert status(guard(), host="mcp.example/x", arrival=ABROAD) == 421
    assert status(guard(), host="localhost", arrival=ABROAD) is None


def test_named_hosts_are_served_and_from_the_network_only_they() -> None:
    named = guard(allowed_hosts=("mcp.example", "other.example:8443", "tls.example:443"))
    for local in (LOCAL, ABROAD):
        assert status(named, host="MCP.example:1234", arrival=local) is None
        assert status(named, host="other.example:8443", arrival=local) is None
        assert status(named, host="other.example", arrival=local) == 421
        assert status(named, host="tls.example", arrival=local) is None
        assert status(named, host="evil.example", arrival=local) == 421
    assert status(named, host="localhost", arrival=LOCAL) is None
    assert status(named, host="localhost", arrival=ABROAD) == 421
    assert status(guard(allowed_hosts=("*",)), host="evil.example") is None
    assert status(guard(allowed_hosts=("*",)), host="evil.example/") == 421


@rule(65, 66)
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example.com",
        "https://localhost.evil.example",
        "null",
        "",
        "localhost",
        "http://user@localhost",
        "http://localhost/",
        "http://localhost:99999",
        "http://localhost http://localhost",
        ["http://localhost", "http://localhost"],
        ["http://localhost", "http://evil.example.com"],
    ],
)
def test_a_foreign_or_broken_origin_is_forbidden(origin: Any) -> None:
    for method in METHODS:
        refusal = check(guard(), method, origin=origin)
        assert refusal is not None and refusal.status == 403
        assert "allowed_origins" in refusal.json["error"]["message"]


@rule(65)
def test_who_is_no_web_page_sends_no_origin_and_may_pass() -> None:
    assert status(guard()) is None
    assert status(guard(allowed_origins=("https://app.example",)), arrival=ABROAD) is None


@rule(65, 66)
def test_named_origins_may_pass_and_no_others() -> None:
    named = guard(allowed_origins=("https://App.example", "http://dev.example:*", "vscode-webview://abc"))
    for good in ("https://app.example", "https://app.example:443", "http://dev.example", "http://dev.example:3000"):
        assert status(named, origin=good, arrival=ABROAD) is None
    assert status(named, origin="vscode-webview://abc", arrival=ABROAD) is None
    for bad in (
        "http://app.example",
        "https://app.example:8443",
        "https://dev.example",
        "vscode-webview://abd",
        "null",
    ):
        assert status(named, origin=bad, arrival=ABROAD) == 403
    assert status(guard(allowed_origins=("*",)), origin="https://any.example", arrival=ABROAD) is None
    assert status(guard(allowed_origins=("*",)), origin="null", arrival=ABROAD) == 403


@rule(66)
def test_a_page_of_our_own_host_may_pass_only_if_that_host_is_known_to_be_ours() -> None:
    # With DNS rebinding a page of evil.example asks evil.example, which resolves to us.
    assert status(guard(), host="evil.example", origin="http://evil.example", arrival=ABROAD) == 403
    ours = guard(allowed_hosts=("mcp.example",))
    assert status(ours, host="mcp.example", origin="https://mcp.example", arrival=ABROAD) is None
    assert status(ours, host="mcp.example:8443", origin="https://mcp.example:8443", arrival=ABROAD) is None
    assert status(ours, host="mcp.example", origin="https://mcp.example:8443", arrival=ABROAD) == 403
    assert status(ours, host="mcp.example", origin="https://evil.example", arrival=ABROAD) == 403


def test_a_page_of_this_machine_may_not_pass_from_the_network() -> None:
    assert status(guard(), host="mcp.example", origin="http://localhost:3000", arrival=ABROAD) == 403


def test_what_passed_is_remembered_within_bounds_and_what_did_not_is_not() -> None:
    some = guard()
    for port in range(600):
        assert status(some, host=f"localhost:{port}") is None
        assert status(some, host=f"evil.example:{port}") == 421
    assert len(some._passed) <= 256
    assert status(some, host="localhost:599") is None
    assert status(some, host=["localhost:599", "localhost:599"]) == 421


@rule(58, 69)
def test_other_methods_are_told_which_there_are() -> None:
    for method in ("PUT", "HEAD", "PATCH", "TRACE", "OPTIONS"):
        refusal = check(guard(), method)
        assert refusal is not None and refusal.status == 405
        assert refusal.header("allow") == "GET, POST, DELETE"


@pytest.mark.parametrize(
    "accept",
    [
        BOTH,
        "text/event-stream;q=0.5, Application/JSON ; q=1.0",
        "*/*",
        "application/*, text/*",
        "text/html, application/json, text/event-stream",
        ["application/json", "text/event-stream"],
        None,
    ],
)
def test_who_takes_both_kinds_of_answers_is_served(accept: Any) -> None:
    assert status(guard(), accept=accept) is None


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "text/event-stream",
        "text/html",
        "",
        "application/json, text/event-stream;q=0",
        "*/*;q=0.000",
    ],
)
def test_who_does_not_take_both_kinds_of_answers_is_refused(accept: str) -> None:
    refusal = check(guard(), accept=accept)
    assert refusal is not None and refusal.status == 406
    assert "application/json and text/event-stream" in refusal.json["error"]["message"]


@rule(69)
def test_listening_needs_an_accept_for_event_streams_and_ending_needs_none() -> None:
    assert status(guard(), "GET", accept="text/event-stream") is None
    assert status(guard(), "GET", accept="application/json") == 406
    assert status(guard(), "DELETE", accept="application/json") is None


@pytest.mark.parametrize(
    "type_", ["application/json", "Application/Json; Charset=UTF-8", 'application/json;charset="utf8"']
)
def test_json_may_be_sent(type_: str) -> None:
    assert status(guard(), content_type=type_, content_encoding="identity") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "application/jsonp"},
        {"content_type": None},
        {"content_type": ["application/json", "text/plain"]},
        {"content_encoding": "gzip"},
        {"content_encoding": ["identity", "br"]},
    ],
)
def test_nothing_else_may_be_sent(headers: dict[str, Any]) -> None:
    assert status(guard(), **headers) == 415


def test_a_body_is_refused_by_its_declared_size() -> None:
    some = guard(max_body=1000)
    assert status(some, content_length="999") is None
    assert status(some, content_length="1000") is None
    refusal = check(some, content_length="1001")
    assert refusal is not None and refusal.status == 413 and "max_body" in refusal.json["error"]["message"]
    assert status(some, content_length="9" * 40) == 413
    assert status(guard(max_body=None), content_length="9" * 18) is None


def test_settings_that_mean_nothing_are_refused_when_they_are_made() -> None:
    with pytest.raises(ValueError, match=r"allowed_origins: 'app.example' is no origin"):
        guard(allowed_origins=("app.example",))
    with pytest.raises(ValueError, match=r"allowed_hosts: 'https://app.example' is no host"):
        guard(allowed_hosts=("https://app.example",))


# CORS


def headers_of(answer: Answer) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in answer.headers}


def test_nothing_is_said_of_origins_unless_some_are_named() -> None:
    asked = head(render("GET", {"Host": "localhost", "Origin": "http://localhost"}))
    assert guard().cors(asked) == []
    assert status(guard(), "OPTIONS", origin="http://localhost", access_control_request_method="POST") == 405


def test_named_origins_may_read_answers() -> None:
    named = guard(allowed_origins=("https://app.example",))
    told = dict(named.cors(head(render("POST", {"Origin": "https://app.example"}))))
    assert told[b"access-control-allow-origin"] == b"https://app.example"
    assert b"mcp-session-id" in told[b"access-control-expose-headers"] and told[b"vary"] == b"origin"
    assert b"access-control-allow-credentials" not in told
    for other in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert named.cors(head(render("POST", other))) == [(b"vary", b"origin")]
    told = dict(guard(allowed_origins=("*",)).cors(head(render("POST", {"Origin": "https://x.example"}))))
    assert told[b"access-control-allow-origin"] == b"*"
    refusal = check(named, origin="https://app.example", accept="text/html")
    assert refusal is not None and refusal.header("access-control-allow-origin") == "https://app.example"


def test_a_preflight_names_what_may_be_sent() -> None:
    named = guard(allowed_origins=("https://app.example",))
    answer = check(
        named,
        "OPTIONS",
        origin="https://app.example",
        access_control_request_method="POST",
        access_control_request_headers="content-type, Mcp-Param-Region, x-evil, mcp-param-\u00e9, mcp-param-",
    )
    assert answer is not None and answer.status == 204 and answer.is_ended
    assert answer.header("access-control-allow-origin") == "https://app.example"
    assert answer.header("access-control-allow-methods") == "GET, POST, DELETE"
    allowed = str(answer.header("access-control-allow-headers")).split(", ")
    assert {"authorization", "mcp-session-id", "mcp-protocol-version", "last-event-id", "mcp-name"} <= set(allowed)
    assert allowed[-1] == "mcp-param-region" and not {"x-evil", "mcp-param-", "*"} & set(allowed)
    assert answer.header("access-control-max-age") == "600"
    assert status(named, "OPTIONS", origin="https://evil.example", access_control_request_method="POST") == 403
    assert status(named, "OPTIONS", origin="https://app.example") == 405
    assert status(named, "OPTIONS", access_control_request_method="POST") == 405
    plain = check(named, "OPTIONS", origin="https://app.example", access_control_request_method="POST")
    assert plain is not None and plain.status == 204


# The grammar


def test_origins_are_the_same_if_scheme_host_and_port_are() -> None:
    assert parse_origin("HTTPS://Example.com") == Origin("https", "example.com", 443)
    assert parse_origin("http://[::1]:8080") == Origin("http", "[::1]", 8080)
    assert parse_origin("app://x") == Origin("app", "x", None)
    assert parse_host("Example.com:80") == ("example.com", 80)


def test_addresses_of_this_machine() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.255.0.3", "::1", "[::1]", "::ffff:127.0.0.1", "localhost"]))
    assert not any(map(is_loopback, ["128.0.0.1", "127.evil", "::2", "0.0.0.0", "example.com", ""]))


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_whatever_is_sent_is_answered_or_let_pass(host: bytes, origin: bytes) -> None:
    asked = RequestHead("GET", "/", Headers([(b"host", host), (b"origin", origin)]), "1.1", True)
    answer = guard().refuse(asked, LOCAL)
    if answer is not None:
        assert answer.status in (403, 421)
        assert msgspec.json.decode(answer.body)["error"]["code"] == -32600
        assert len(answer.body) < 1000
