"""Heads: smuggling, versions, duplicates, sizes, foreign hosts and origins, CORS. R01 to R04."""

from __future__ import annotations

import json

import pytest

from protocol.framing.httphead import HTTPLimits
from tests.requirements import rule

from .site import META, NEWEST, Site, open_site, rpc

pytestmark = pytest.mark.anyio

_START = b"POST /mcp HTTP/1.1\r\n"
_HOST = b"Host: 127.0.0.1\r\n"
_TYPES = b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
_MODERN = b"MCP-Protocol-Version: %b\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n" % NEWEST.encode()
_CALL = json.dumps(rpc("tools/call", name="echo", arguments={"message": "smuggled"}, _meta=META)).encode()
_SECOND = b"%b%b%b%bContent-Length: %d\r\n\r\n%b" % (_START, _HOST, _TYPES, _MODERN, len(_CALL), _CALL)
"""A good request; behind a bad one it must not be served."""


def post(*lines: bytes, body: bytes = b"", line: bytes = _START) -> bytes:
    return b"%b%b%b%b\r\n%b" % (line, _HOST, _TYPES, b"".join(each + b"\r\n" for each in lines), body)


def chunked(*sizes: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=b"".join(sizes))


SMUGGLING: dict[str, tuple[bytes, int]] = {
    "length and coding": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "coding and length": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    "two codings": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
    "identity": (post(b"Transfer-Encoding: identity", body=b""), 501),
    "a coding twice": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 501),
    "an unknown coding": (post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 501),
    "another case": (post(b"Transfer-Encoding: Chunked", body=b"0\r\n\r\n"), 501),
    "a tab behind the coding": (post(b"Transfer-Encoding: chunked\t", body=b"0\r\n\r\n"), 501),
    "a vertical tab": (post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    "a space before the colon": (post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), 400),
    "a folded line": (post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), 400),
    "a coding in 1.0": (post(b"Transfer-Encoding: chunked", line=b"POST /mcp HTTP/1.0\r\n", body=b"0\r\n\r\n"), 400),
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), 400),
    "two equal lengths": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), 400),
    "a list of lengths": (post(b"Content-Length: 5, 5", body=b"hello"), 400),
    "a signed length": (post(b"Content-Length: +5", body=b"hello"), 400),
    "a negative length": (post(b"Content-Length: -5", body=b"hello"), 400),
    "a hexadecimal length": (post(b"Content-Length: 0x5", body=b"hello"), 400),
    "an underscore": (post(b"Content-Length: 1_0", body=b"hello"), 400),
    "an empty length": (post(b"Content-Length:", body=b"hello"), 400),
    "19 digits": (post(b"Content-Length: 9999999999999999999", body=b"hello"), 413),
    "20 digits": (post(b"Content-Length: 00000000000000000005", body=b"hello"), 400),
    "a length of other digits": (post("Content-Length: ٥".encode(), body=b"hello"), 400),
    "a bare LF": (post(b"X: y\nContent-Length: 5", body=b"hello"), 400),
    "a bare CR": (post(b"X: y\rContent-Length: 5", body=b"hello"), 400),
    "a NUL": (post(b"X: \0", body=b""), 400),
    "no name": (post(b": x", body=b""), 400),
    "no colon": (post(b"Content-Length", body=b""), 400),
    "a chunk without CR": (chunked(b"5\nhello\r\n0\r\n\r\n"), 400),
    "a signed chunk": (chunked(b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk with 0x": (chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk of 17 digits": (chunked(b"00000000000000005\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk longer than it says": (chunked(b"5\r\nhelloXX0\r\n\r\n"), 400),
    "a space behind the size": (chunked(b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    "a LF in an extension": (chunked(b"5;a=\nb\r\nhello\r\n0\r\n\r\n"), 400),
    "a length in a trailer": (chunked(b"0\r\nContent-Length: 5\r\n\r\n"), 400),
    "a folded trailer": (chunked(b"0\r\nX: y\r\n z\r\n\r\n"), 400),
}


async def test_what_two_parsers_may_read_differently_is_refused_and_nothing_behind_it_is_served(own: str) -> None:
    async with open_site(own) as site:
        for name, (sent, status) in SMUGGLING.items():
            peer = await site.peer()
            await peer.send(sent + _SECOND)
            said = await peer.rest()
            await peer.close()
            assert said.startswith(b"HTTP/1.1 %d " % status), (name, said)
            assert said.count(b"HTTP/1.1 ") == 1 and b"connection: close" in said.lower(), (name, said)
        assert site.tools.calls == []
        await site.is_well()


async def test_a_second_request_in_a_body_is_a_body(own: str) -> None:
    async with open_site(own) as site:
        for sent in (
            post(b"Content-Length: %d" % len(_SECOND), body=_SECOND),
            chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(_SECOND), _SECOND)),
        ):
            assert (await site.ask(sent))[0] == 400  # no JSON
        assert site.tools.calls == []
        await site.is_well()


LINES: dict[str, tuple[bytes, int]] = {
    "0.9": (b"POST /mcp\r\n", 400),
    "0.9 with its name": (b"POST /mcp HTTP/0.9\r\n", 505),
    "1.2": (b"POST /mcp HTTP/1.2\r\n", 505),
    "2.0": (b"POST /mcp HTTP/2.0\r\n", 505),
    "9.9": (b"POST /mcp HTTP/9.9\r\n", 505),
    "two digits": (b"POST /mcp HTTP/1.11\r\n", 400),
    "lower case": (b"POST /mcp http/1.1\r\n", 400),
    "another protocol": (b"POST /mcp RTSP/1.1\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n", 505),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
    "two spaces": (b"POST  /mcp HTTP/1.1\r\n", 400),
    "a tab": (b"POST\t/mcp HTTP/1.1\r\n", 400),
    "a space in the target": (b"POST /m cp HTTP/1.1\r\n", 400),
    "a fragment": (b"POST /mcp#x HTTP/1.1\r\n", 400),
    "no slash": (b"POST mcp HTTP/1.1\r\n", 400),
    "an authority that is not Host": (b"POST http://evil.example/mcp HTTP/1.1\r\n", 400),
    "CONNECT": (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n", 501),
    "an unknown method": (b"BREW /mcp HTTP/1.1\r\n", 501),
    "a method in lower case": (b"post /mcp HTTP/1.1\r\n", 501),
    "another path": (b"POST /mcp/../secret HTTP/1.1\r\n", 404),
    "an encoded path": (b"POST /%6dcp HTTP/1.1\r\n", 404),
    "a double slash": (b"POST //mcp HTTP/1.1\r\n", 404),
    "TRACE": (b"TRACE /mcp HTTP/1.1\r\n", 405),
    "PUT": (b"PUT /mcp HTTP/1.1\r\n", 405),
    "every target": (b"OPTIONS * HTTP/1.1\r\n", 404),
}


async def test_first_lines_are_those_of_http_1_or_refused(own: str) -> None:
    async with open_site(own) as site:
        for name, (line, status) in LINES.items():
            found, _, _ = await site.ask(post(b"Content-Length: 0", line=line))
            assert found == status, (name, found)
        await site.is_well()


async def test_http_1_0_is_served_and_an_offer_to_upgrade_is_not_taken(own: str) -> None:
    async with open_site(own) as site:
        peer = await site.peer()
        await peer.send(_SECOND.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert b'"text":"smuggled"' in await peer.rest()
        for offer in (b"websocket", b"h2c", b"TLS/1.2"):
            sent = _SECOND.replace(_HOST, b"%bConnection: Upgrade\r\nUpgrade: %b\r\n" % (_HOST, offer))
            status, headers, _ = await site.ask(sent)
            assert status == 200 and "upgrade" not in headers
        await site.is_well()


LIMITS = HTTPLimits()


async def test_heads_have_limits(own: str) -> None:
    async with open_site(own) as site:

        async def status_of(sent: bytes) -> int:
            return (await site.ask(sent))[0]

        base = b"GET /health%b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n"
        for extra, status in ((-1, 200), (0, 200), (1, 414)):
            query = b"?" + b"q" * (LIMITS.target_bytes - len("/health?") + extra)
            assert await status_of(base % (query, b"")) == status, extra
        for extra, status in ((-1, 200), (0, 200), (1, 431)):
            fields = b"".join(b"X-%d: y\r\n" % number for number in range(LIMITS.header_count - 1 + extra))
            assert await status_of(base % (b"", fields)) == status, extra
        for extra, status in ((-1, 200), (0, 200), (1, 431)):
            room = LIMITS.head_bytes - len(base % (b"", b"X: \r\n")) + extra
            assert await status_of(base % (b"", b"X: %b\r\n" % (b"x" * room))) == status, extra
        await site.is_well()


async def test_a_head_without_an_end_is_cut_at_its_limit_not_at_its_deadline(own: str) -> None:
    async with open_site(own) as site:
        for start in (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500):
            peer = await site.peer()
            await peer.send(start + b"x" * (LIMITS.head_bytes + 17))
            assert (await peer.head())[0] in (414, 431)
            await peer.close()
        await site.is_well()


# Who asks


async def ask_as(site: Site, *lines: str, host: str = "127.0.0.1") -> int:
    return (await site.call("echo", f"Host: {host}" if host else "", *lines, message="x"))[0]


@rule(65, 66, 67)
async def test_foreign_hosts_and_origins_are_refused(front: str) -> None:
    async with open_site(front) as site:
        port = site.port
        for host in ("localhost", "127.0.0.1", f"127.0.0.1:{port}", "[::1]", "LOCALHOST:1", "127.5.5.5"):
            assert await ask_as(site, host=host) == 200, host
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "1.1.1.1:80"):
            assert await ask_as(site, host=host) == 421, host
        for origin in ("http://localhost", "http://127.0.0.1:3000", "https://[::1]:8443", f"http://localhost:{port}"):
            assert await ask_as(site, f"Origin: {origin}") == 200, origin
        refused = ["https://evil.example", "http://localhost.evil.example", "null", "http://localhost@evil.example"]
        refused += ["http://localhost/", "http://localhost:99999", "localhost", "*", "http://", "x" * 4000, "\xff"]
        for origin in refused:
            assert await ask_as(site, f"Origin: {origin}") == 403, origin
        assert await ask_as(site, "Origin: http://localhost", "Origin: http://localhost") == 403
        assert await ask_as(site, "Origin:") == 403
        await site.is_well()


async def test_hosts_that_are_none_are_refused_however_they_come(front: str) -> None:
    # Of two, of none and of broken ones an ASGI server may think otherwise, but none of them reaches a tool.
    async with open_site(front) as site:
        for host in (
            "a@127.0.0.1",
            "127.0.0.1/x",
            "127.0.0.1?x",
            "127.0.0.1 x",
            "127.0.0.1,evil.example",
            "\xff",
            ":80",
        ):
            assert await ask_as(site, host=host) in (400, 421), host
        assert await ask_as(site, "Host: 127.0.0.1", host="evil.example") in (400, 421)
        assert await ask_as(site, "Host: 127.0.0.1") in (400, 421)
        assert (await site.ask(_SECOND.replace(_HOST, b"")))[0] in (400, 421)
        assert site.tools.calls == []
        await site.is_well()


@rule(67)
async def test_every_path_and_method_of_mcp_checks_who_asks(front: str) -> None:
    async with open_site(front, sse=True) as site:
        for method, path in (("GET", "/sse"), ("POST", "/messages?sessionId=x"), ("GET", "/mcp"), ("DELETE", "/mcp")):
            for line, status in (("Host: evil.example", 421), ("Host: 127.0.0.1\r\nOrigin: https://evil.example", 403)):
                sent = f"{method} {path} HTTP/1.1\r\n{line}\r\nContent-Length: 0\r\nAccept: text/event-stream\r\n\r\n"
                assert (await site.ask(sent.encode()))[0] == status, (method, path)
        await site.is_well()


async def test_nothing_is_said_of_origins_unless_some_are_configured(front: str) -> None:
    async with open_site(front) as site:
        for line in ("Origin: http://localhost", ""):
            _, headers, _ = await site.call("echo", line, message="x")
            assert not [name for name in headers if name.startswith("access-control")]
        preflight = "OPTIONS /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://localhost\r\n"
        preflight += "Access-Control-Request-Method: POST\r\n\r\n"
        status, headers, _ = await site.ask(preflight.encode())
        assert status == 405 and not [name for name in headers if name.startswith("access-control")]
        await site.is_well()


async def test_named_origins_are_named_back_and_no_other_is(front: str) -> None:
    async with open_site(front, allowed_origins=("https://app.example", "http://dev.example:*")) as site:
        for origin in ("https://app.example", "http://dev.example:3000", "https://app.example:443"):
            status, headers, _ = await site.call("echo", f"Origin: {origin}", message="x")
            assert status == 200 and headers["access-control-allow-origin"] == origin
            assert "origin" in headers["vary"] and "access-control-allow-credentials" not in headers
        for origin in ("https://app.example.evil.example", "http://app.example", "https://app.example:444"):
            status, headers, _ = await site.call("echo", f"Origin: {origin}", message="x")
            assert status == 403 and "access-control-allow-origin" not in headers
        await site.is_well()


async def test_refusals_can_be_read_by_the_pages_they_are_meant_for(front: str) -> None:
    async with open_site(front, allowed_origins=("https://app.example",)) as site:
        origin = "Origin: https://app.example"
        for reply in (
            await site.post(b"{}", origin, "Content-Type: text/plain"),
            await site.post(b"{}", origin),
            await site.post(rpc("ping"), origin, "Mcp-Session-Id: none"),
        ):
            assert reply[0] >= 400 and reply[1]["access-control-allow-origin"] == "https://app.example"
        await site.is_well()


async def test_a_star_is_never_joined_by_credentials(front: str) -> None:
    async with open_site(front, allowed_origins=("*",)) as site:
        status, headers, _ = await site.call("echo", "Origin: https://any.example", message="x")
        assert (status, headers["access-control-allow-origin"]) == (200, "*")
        assert "access-control-allow-credentials" not in headers
        await site.is_well()


async def test_preflights_allow_what_mcp_needs_and_their_size_is_bounded(front: str) -> None:
    async with open_site(front, allowed_origins=("https://app.example",)) as site:
        wanted = ", ".join(["mcp-param-region", "x-evil", *(f"mcp-param-{number}" for number in range(300))])
        sent = "OPTIONS /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://app.example\r\n"
        sent += f"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: {wanted}\r\n\r\n"
        status, headers, _ = await site.ask(sent.encode())
        allowed = headers["access-control-allow-headers"].split(", ")
        assert status == 204 and {"mcp-session-id", "authorization", "mcp-param-region"} <= set(allowed)
        assert "x-evil" not in allowed and len(allowed) < 80
        await site.is_well()


@rule(100)
async def test_duplicates_of_what_routes_a_request_are_refused(front: str) -> None:
    async with open_site(front) as site:
        session = await site.session()
        calls = site.tools.calls
        twice = {
            "MCP-Protocol-Version": NEWEST,
            "Mcp-Method": "tools/call",
            "Mcp-Name": "echo",
            "Content-Type": "application/json",
        }
        for name, value in twice.items():
            lines = ["Mcp-Method: tools/call", "Mcp-Name: echo"]
            if name == "Content-Type":
                lines.append("Content-Type: application/json")
            status, _, body = await site.modern(
                rpc("tools/call", name="echo", arguments={"message": "x"}, _meta=META), *lines, f"{name}: {value}"
            )
            assert status == (415 if name == "Content-Type" else 400), name
            assert name == "Content-Type" or json.loads(body)["error"]["code"] == -32020
        named = f"Mcp-Session-Id: {session}"
        assert (await site.post(rpc("ping"), named, named))[0] == 400
        assert (await site.post(rpc("ping"), named, "MCP-Protocol-Version: 1", "MCP-Protocol-Version: 2"))[0] == 400
        assert calls == []
        await site.is_well()
