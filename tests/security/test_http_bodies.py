"""Bodies: sizes, encodings, JSON that is none or too much, ids, duplicates, batches. R05, R08 to R18."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.framing.httphead import HTTPLimits
from protocol.limits import SERVER_LIMITS, Limits
from tests.requirements import rule

from .site import META, NEWEST, Reply, Site, open_site, rpc

pytestmark = pytest.mark.anyio

_META = json.dumps(META)
_LINES = ("Mcp-Method: tools/call", "Mcp-Name: take")
_HEAD = (
    f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nMCP-Protocol-Version: {NEWEST}\r\n"
    f"Accept: application/json, text/event-stream\r\nMcp-Method: tools/call\r\nMcp-Name: take\r\n"
).encode()


def call(value: str = "1", *, id: str = "1", **more: str) -> bytes:
    """Return a call as it may be written by hand."""
    extra = "".join(f',"{name}":{text}' for name, text in more.items())
    params = f'{{"name":"take","arguments":{{"value":{value}}},"_meta":{_META}}}'
    return f'{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}{extra}}}'.encode()


def code_of(reply: Reply) -> int | None:
    """Return the error code in a body."""
    code = json.loads(reply[2]).get("error", {}).get("code")
    assert code is None or isinstance(code, int)
    return code


class Both:
    """One site asked in both eras."""

    def __init__(self, site: Site, session: str) -> None:
        self.site = site
        self.session = f"Mcp-Session-Id: {session}"

    async def send(self, body: bytes, *lines: str) -> list[Reply]:
        modern = await self.site.modern(body, *(_LINES if not lines else lines))
        without = body.replace(f',"_meta":{_META}'.encode(), b"")
        return [modern, await self.site.post(without, self.session)]


async def both(site: Site) -> Both:
    return Both(site, await site.session())


# Sizes


async def test_bodies_are_measured_however_their_length_is_told(front: str) -> None:
    limit = 2000
    async with open_site(front, server={"limits": Limits(message_bytes=limit)}) as site:
        room = limit - len(call('""'))
        for extra, status in ((-1, 200), (0, 200), (1, 413)):
            body = call(json.dumps("x" * (room + extra)))
            assert len(body) == limit + extra
            assert (await site.modern(body, *_LINES))[0] == status, extra
            half = len(body) // 2
            pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:]))
            sent = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
            assert (await site.ask(sent))[0] == status, extra
        assert len(site.tools.calls) == 4
        await site.is_well()


async def test_a_declared_length_is_refused_before_a_byte_of_the_body(front: str) -> None:
    async with open_site(front) as site:
        for length in (SERVER_LIMITS.message_bytes + 1, 10**12, 10**18):
            reply = await site.ask(_HEAD + b"Content-Length: %d\r\n\r\n" % length)
            assert reply[0] == 413
            # Who asks first is told so, and is not told to go on.
            reply = await site.ask(_HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
            assert reply[0] == 413
        await site.is_well()


async def test_who_asks_first_is_told_to_go_on(own: str) -> None:
    async with open_site(own) as site:
        body = call()
        peer = await site.peer()
        await peer.send(_HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert (await peer.head())[0] == 100
        await peer.send(body)
        assert (await peer.response())[0] == 200
        await peer.close()
        assert (await site.ask(_HEAD + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n"))[0] == 417
        await site.is_well()


async def test_a_body_without_a_length_is_empty(front: str) -> None:
    async with open_site(front) as site:
        reply = await site.ask(_HEAD + b"\r\n")
        assert (reply[0], code_of(reply)) == (400, -32700)
        for body in (b"", b" ", b"\r\n"):
            reply = await site.modern(body, *_LINES)
            assert (reply[0], code_of(reply)) == (400, -32700)
        await site.is_well()


async def test_chunks_have_limits_of_their_own(own: str) -> None:
    limits = HTTPLimits()
    body = call()
    async with open_site(own) as site:

        async def status_of(chunks: bytes, trailers: bytes = b"") -> int:
            sent = b"%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (_HEAD, chunks, trailers)
            return (await site.ask(sent))[0]

        whole = b"%x\r\n%b\r\n" % (len(body), body)
        assert limits.small_chunks is not None
        for extra, status in ((-1, 200), (0, 200), (1, 400)):
            crumbs = b"1\r\n \r\n" * (limits.small_chunks + extra)
            assert await status_of(crumbs + whole) == status, extra
            size = b"%x;" % len(body)
            spaced = size + b"x" * (limits.extension_bytes - 1 + extra) + b"\r\n%b\r\n" % body
            assert await status_of(spaced) == status, extra
        for extra, status in ((-1, 200), (0, 200), (1, 431)):
            room = limits.trailer_bytes - len(b"X: \r\n\r\n") + extra
            assert await status_of(whole, b"X: %b\r\n" % (b"x" * room)) == status, extra
            trailers = b"".join(b"X-%d: y\r\n" % number for number in range(limits.header_count + extra))
            assert await status_of(whole, trailers) == status, extra
        await site.is_well()


async def test_bodies_that_are_packed_or_no_json_are_refused(front: str) -> None:
    async with open_site(front) as site:
        for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "gzip;q=0", "x"):
            reply = await site.modern(call(), *_LINES, f"Content-Encoding: {coding}")
            assert reply[0] == 415, coding
        assert (await site.modern(call(), *_LINES, "Content-Encoding: identity"))[0] == 200
        for media in (
            "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx",
            "application/json; charset=utf-16", "application/json; charset=latin-1", "*/*", "", "text/json",
        ):  # fmt: skip
            assert (await site.modern(call(), *_LINES, f"Content-Type: {media}"))[0] == 415, media
        assert (await site.post(call(), without="content-type"))[0] == 415
        for media in ("application/json;charset=utf-8", "Application/JSON", 'application/json; charset="UTF-8"'):
            assert (await site.modern(call(), *_LINES, f"Content-Type: {media}"))[0] == 200, media
        assert len(site.tools.calls) == 4
        await site.is_well()


# What is no message


NO_JSON: dict[str, bytes] = {
    "no JSON": b"{",
    "a word": b"hello",
    "more than one": call() + call(),
    "something behind it": call() + b"x",
    "a BOM": b"\xef\xbb\xbf" + call(),
    "UTF-16": call().decode().encode("utf-16"),
    "UTF-32": call().decode().encode("utf-32-le"),
    "bad UTF-8": call('"\xff"').decode().encode("latin-1"),
    "an encoded surrogate": call('"@"').replace(b"@", b"\xed\xa0\x80"),
    "an overlong slash": call('"@"').replace(b"@", b"\xc0\xaf"),
    "half a surrogate pair": call('"\\ud800"'),
    "the other half": call('"\\udc00 x"'),
    "NaN": call("NaN"),
    "Infinity": call("Infinity"),
    "minus infinity": call("-Infinity"),
    "a leading zero": call("01"),
    "a plus": call("+1"),
    "hexadecimal": call("0x10"),
    "a control character": call('"\x01"'),
    "single quotes": call("'x'"),
    "a comment": call("1/*x*/"),
    "a comma": call("[1,]"),
    "10,000 arrays": call("[" * 10_000 + "]" * 10_000),
    "100,000 arrays that do not end": call("[" * 100_000),
    "100,000 objects": call('{"a":' * 100_000 + "1" + "}" * 100_000),
    "NUL": b"\0" * 100,
}

NO_MESSAGE: dict[str, bytes] = {
    "null": b"null",
    "a number": b"1",
    "text": b'"x"',
    "an object": b"{}",
    "no version": call().replace(b'"jsonrpc":"2.0",', b""),
    "another version": call().replace(b'"2.0"', b'"1.0"'),
    "a version that is a number": call().replace(b'"2.0"', b"2.0"),
    "a method that is a number": call().replace(b'"tools/call"', b"1"),
    "no method": call().replace(b'"method":"tools/call",', b""),
    "a result beside it": call(result="{}"),
    "an error beside it": call(error='{"code":1,"message":"x"}'),
    "a true id": call(id="true"),
    "a null id": call(id="null"),
    "a fraction": call(id="1.5"),
    "a float": call(id="1.0"),
    "an array as id": call(id="[]"),
    "an object as id": call(id="{}"),
    "2^63": call(id=str(2**63)),
    "beyond -2^63": call(id=str(-(2**63) - 1)),
    "an id of 5,000 digits": call(id="9" * 5000),
    "an id too long": call(id=json.dumps("x" * (SERVER_LIMITS.id_bytes + 1))),
    "a method too long": call().replace(b"tools/call", b"x" * (SERVER_LIMITS.method_bytes + 1)),
    "two ids": call(more="1").replace(b'"more"', b'"id"'),
    "two methods": call(more='"ping"').replace(b'"more"', b'"method"'),
    "two params": call(more="{}").replace(b'"more"', b'"params"'),
    "two versions": call(more='"2.0"').replace(b'"more"', b'"jsonrpc"'),
    "two methods, one escaped": call(more='"ping"').replace(b'"more"', b'"\\u006dethod"'),
}


@rule(8)
async def test_what_is_no_json_is_a_parse_error_in_both_eras(front: str) -> None:
    async with open_site(front) as site:
        ask = await both(site)
        for name, body in NO_JSON.items():
            for reply in await ask.send(body):
                assert (reply[0], code_of(reply)) == (400, -32700), (name, reply)
                assert b'"id"' not in reply[2] and b"Traceback" not in reply[2]
        assert site.tools.calls == []
        await site.is_well()


@rule(1, 63)
async def test_what_is_no_message_is_an_invalid_request_in_both_eras(front: str) -> None:
    async with open_site(front) as site:
        ask = await both(site)
        for name, body in NO_MESSAGE.items():
            for reply in await ask.send(body):
                assert (reply[0], code_of(reply)) == (400, -32600), (name, reply)
                assert '"id":null' not in reply[2].decode()
        assert site.tools.calls == []
        await site.is_well()


@rule(4)
async def test_ids_are_given_back_as_they_came(front: str) -> None:
    ids = [0, -1, 2**63 - 1, -(2**63), "", "1", "0", "é", "x" * SERVER_LIMITS.id_bytes, "a\u2028b", "\U0001f600", '"\\']
    async with open_site(front) as site:
        ask = await both(site)
        for id in ids:
            for reply in await ask.send(call(id=json.dumps(id))):
                found = json.loads(reply[2])["id"]
                assert reply[0] == 200 and found == id and type(found) is type(id), id
        await site.is_well()


async def test_depth_has_a_limit(front: str) -> None:
    async with open_site(front) as site:
        ask = await both(site)
        for extra, status in ((-1, 200), (0, 200), (1, 400)):
            depth = SERVER_LIMITS.depth - 3 + extra  # message, params, arguments
            for reply in await ask.send(call("[" * depth + "]" * depth)):
                assert reply[0] == status, extra
        # Brackets in text are none, and many beside each other are not deep.
        for value in (json.dumps("[" * 5000), "[" + "[]," * 50_000 + "[]]", json.dumps('\\"[{' * 1000)):
            assert {reply[0] for reply in await ask.send(call(value))} == {200}
        await site.is_well()


async def test_numbers_pass_or_are_refused_and_never_take_long(front: str) -> None:
    async with open_site(front) as site:
        ask = await both(site)
        for value, statuses in {
            str(2**63): {200},
            str(-(2**64)): {200},
            "1" * 4000: {200, 400},
            "1" * 500_000: {200, 400},
            "1e308": {200},
            "1e309": {200, 400},
            "1e" + "9" * 10_000: {200, 400},
            "0." + "1" * 100_000: {200, 400},
            "-0": {200},
        }.items():
            for reply in await ask.send(call(value)):
                assert reply[0] in statuses, (value[:20], reply)
        await site.is_well()


async def test_texts_of_a_request_have_limits(front: str) -> None:
    limits = SERVER_LIMITS
    async with open_site(front) as site:
        session = f"Mcp-Session-Id: {await site.session()}"

        async def codes(method: str, *lines: str, **params: Any) -> set[int | None]:
            lines = (f"Mcp-Method: {method}", *lines)
            modern = await site.modern(rpc(method, **{**params, "_meta": {**META, **params.get("_meta", {})}}), *lines)
            return {code_of(modern), code_of(await site.post(rpc(method, **params), session))}

        for extra in (-1, 0, 1):
            method = "m" * (limits.method_bytes + extra)
            assert await codes(method) == ({-32601} if extra < 1 else {-32600})
            name = "n" * (limits.name_bytes + extra)
            assert await codes("tools/call", f"Mcp-Name: {name}", name=name) == {-32602}  # unknown, or too long
            assert await codes("tools/list", cursor="c" * (limits.cursor_bytes + extra)) == {-32602}
            token = {"progressToken": "t" * (limits.token_bytes + extra)}
            found = await codes("tools/list", _meta=token)
            assert found == ({None} if extra < 1 else {-32602}), extra
        await site.is_well()


async def test_members_that_stand_twice_are_refused_before_they_choose_a_tool(front: str) -> None:
    async with open_site(front) as site:
        ask = await both(site)
        for name, inserted in {
            "name": '"name":"echo",',
            "an escaped name": '"\\u006eame":"echo",',
            "arguments": '"arguments":{},',
            "_meta": '"_meta":{},',
        }.items():
            body = call().replace(b'"params":{', b'"params":{' + inserted.encode())
            modern, session = await ask.send(body)
            assert modern[0] == 400, name
            # There `_meta` stands but once, for it was cut out.
            assert code_of(session) in (-32602, -32600) or name == "_meta", name
        claim = META["io.modelcontextprotocol/protocolVersion"]
        twice = f'"_meta":{{"io.modelcontextprotocol/protocolVersion":"{claim}",'
        assert (await site.modern(call().replace(b'"_meta": {', twice.encode()), *_LINES))[0] in (200, 400)
        assert len([each for each in site.tools.calls if each != 1]) == 0
        await site.is_well()


# Batches


@rule(12, 13, 14)
async def test_arrays_are_refused_but_by_the_one_revision_that_has_them(front: str) -> None:
    async with open_site(front) as site:
        ask = await both(site)
        many = b"[" + b",".join(call(id=str(number)) for number in range(3)) + b"]"
        for body in (many, b"[]", b"[1]", b"[" + call() + b"]"):
            for reply in await ask.send(body):
                assert (reply[0], code_of(reply)) == (400, -32600), body
        assert (await site.post(b"[" + call() + b"]"))[0] == 400  # nobody's session
        assert site.tools.calls == []
        session = f"Mcp-Session-Id: {await begin(site, '2025-03-26')}"
        pings = [rpc("ping", number) for number in range(SERVER_LIMITS.batch_entries + 1)]
        for count in (1, len(pings) - 2, len(pings) - 1):
            reply = await site.post(pings[:count], session)
            assert reply[0] == 200 and [each["id"] for each in json.loads(reply[2])] == list(range(count))
        for refused in (pings, []):
            reply = await site.post(refused, session)
            assert (reply[0], code_of(reply)) == (400, -32600)
        assert (await site.post([{"jsonrpc": "2.0", "method": "notifications/initialized"}], session))[0] == 202
        reply = await site.post([rpc("initialize"), rpc("ping", 2)], session)
        assert [each.get("error", {}).get("code") for each in json.loads(reply[2])] == [-32600, None]
        reply = await site.post([1, rpc("ping", 2), {"jsonrpc": "2.0", "id": 3, "method": 4}], session)
        found = json.loads(reply[2])
        assert sorted(each.get("error", {}).get("code", 0) for each in found) == [-32600, -32600, 0]
        assert (await site.post([rpc("initialize")]))[0] == 400
        await site.is_well()


async def begin(site: Site, revision: str, *lines: str) -> str:
    """Begin a session of a revision."""
    info = {"name": "raw", "version": "1"}
    message = rpc("initialize", 0, protocolVersion=revision, capabilities={}, clientInfo=info)
    status, headers, body = await site.post(message, *lines)
    assert status == 200 and json.loads(body)["result"]["protocolVersion"] == revision
    return headers["mcp-session-id"]


# Ids in flight, answers to nobody, withdrawals


async def test_an_id_in_flight_is_refused_once_more_and_the_first_is_undisturbed(front: str) -> None:
    async with open_site(front) as site:
        session, other = [f"Mcp-Session-Id: {name}" for name in (await site.session(), await site.session())]
        peer = await site.peer()
        await peer.post(rpc("tools/call", 7, name="wait"), session)
        await site.tools.started.wait()
        reply = await site.post(rpc("ping", 7), session)
        assert (reply[0], code_of(reply)) == (400, -32600)
        assert (await site.post(rpc("ping", "7"), session))[0] == 200  # another type, another id
        assert (await site.post(rpc("ping", 7), other))[0] == 200
        assert (await site.call("echo", id=7, message="x"))[0] == 200
        site.tools.release.set()
        assert json.loads((await peer.response())[2])["result"]["content"][0]["text"] == "released"
        await peer.close()
        await site.is_well()


async def test_answers_to_nobody_are_ignored_until_they_are_too_many(front: str) -> None:
    most = 3
    async with open_site(front, server={"limits": Limits(stray_responses=most)}) as site:
        session = f"Mcp-Session-Id: {await site.session()}"
        for number in range(most):
            # It cannot be accepted, which for what is not answered is a 400; the session does not mind.
            assert (await site.post({"jsonrpc": "2.0", "id": number, "result": {}}, session))[0] == 400
        assert (await site.post(rpc("ping"), session))[0] == 200
        await site.post({"jsonrpc": "2.0", "id": most, "result": {}}, session)
        assert (await site.post(rpc("ping"), session))[0] == 404
        # Without a session an answer answers nothing.
        assert (await site.modern({"jsonrpc": "2.0", "id": 1, "result": {}}))[0] == 400
        assert len(site.app.http.sessions) == 0  # type: ignore[union-attr]
        await site.is_well()


@rule(62)
async def test_a_withdrawn_request_ends_without_an_answer_and_unknown_ones_are_silent(front: str) -> None:
    async with open_site(front) as site:
        session = f"Mcp-Session-Id: {await site.session()}"
        peer = await site.peer()
        await peer.post(rpc("tools/call", 7, name="wait"), session)
        await site.tools.started.wait()
        for unknown in (8, "7", None, 7.5, [], "x" * 5000):
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": unknown}}
            assert (await site.post(note, session))[0] in (202, 400), unknown
        assert not site.tools.cancelled.is_set()
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        assert (await site.post(note, session))[0] == 202
        assert b'"result"' not in (await peer.response())[2] and site.tools.cancelled.is_set()
        await peer.close()
        await site.is_well()
