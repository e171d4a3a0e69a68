"""Sessions: fixation, hijacking, ends, caps, replay; and HTTP+SSE. R20, R25, X66 to X68."""

from __future__ import annotations

import gc
import json
import re
from typing import Any

import anyio
import pytest

from kailash.mcp_server.auth import APIKeyAuth
from protocol.server import ServerEngine
from tests.requirements import rule
from tests.transports.peer import Peer

from .site import LAST_HANDSHAKE, META, Reply, Site, Tools, open_site, rpc, until

pytestmark = pytest.mark.anyio

ANN, BOB = "X-API-Key: ann-key", "Authorization: Bearer bob-key"


def people() -> Tools:
    """Return a server with two callers."""
    keys = {"ann-key": {"user_id": "ann"}, "bob-key": {"user_id": "bob"}}
    return Tools(auth_provider=APIKeyAuth(keys))


def named(session: str) -> str:
    return f"Mcp-Session-Id: {session}"


async def use(site: Site, method: str, *lines: str, path: str = "/mcp") -> Reply:
    """Send a GET or a DELETE on a fresh connection; of a stream only the head is read."""
    peer = await site.peer()
    await peer.get(path, "Accept: text/event-stream", *lines, method=method)
    status, headers = await peer.head()
    body = b""
    if "content-length" in headers:
        body = (
            await peer._reader.receive_exactly(int(headers["content-length"]))
            if int(headers["content-length"])
            else b""
        )
    await peer.close()
    return status, headers, body


def initialize(revision: str = LAST_HANDSHAKE) -> dict[str, Any]:
    info = {"name": "raw", "version": "1"}
    return rpc("initialize", 0, protocolVersion=revision, capabilities={}, clientInfo=info)


# Ids


@rule(78)
async def test_ids_are_ours_alone_and_cannot_be_guessed(front: str) -> None:
    async with open_site(front) as site:
        ids = {await site.session() for _ in range(20)}
        assert len(ids) == 20
        for found in ids:
            # 192 bits, in characters that are safe anywhere.
            assert re.fullmatch(r"[A-Za-z0-9_-]{32,}", found)
        # An id that a client brings along is never taken up: not that of somebody else, not one it made.
        for brought in ("chosen-by-the-client", "x" * 32, next(iter(ids))):
            reply = await site.post(initialize(), named(brought))
            assert reply[1].get("mcp-session-id") is None and reply[0] in (404, 400), brought
        assert site.app.http is not None and set(site.app.http.sessions) == ids
        await site.is_well()


@rule(105)
async def test_nothing_but_a_handshake_makes_a_session(front: str) -> None:
    async with open_site(front) as site:
        replies = [
            await site.post(rpc("ping")),
            await site.post(rpc("tools/list")),
            await site.post({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            await site.post(rpc("initialize", 0)),
            await site.post(rpc("initialize", 0, protocolVersion=5, capabilities={}, clientInfo={})),
            await site.post({"jsonrpc": "2.0", "method": "initialize", "params": initialize()["params"]}),
            await site.call("echo", message="x"),
            await site.call("echo", named("stray"), "Last-Event-ID: 1-1", message="x"),
            await site.modern(rpc("initialize", _meta=META), "Mcp-Method: initialize"),
        ]
        assert [reply[0] for reply in replies] == [400, 400, 400, 200, 200, 400, 200, 200, 404]
        assert not any("mcp-session-id" in reply[1] for reply in replies)
        assert site.app.http is not None and not site.app.http.sessions
        await site.is_well()


@rule(80, 81)
async def test_ids_count_in_their_header_only_and_once(front: str) -> None:
    async with open_site(front) as site:
        session = await site.session()
        for path in (f"/mcp?Mcp-Session-Id={session}", f"/mcp?sessionId={session}", f"/mcp/?session={session}"):
            assert (await site.post(rpc("ping"), path=path))[0] == 400
            assert (await use(site, "GET", path=path))[0] == 400
        assert (await site.post(rpc("ping"), f"Cookie: Mcp-Session-Id={session}"))[0] == 400
        for name in (
            f"{session}, {session}",
            session.lower() + "!",
            session[:-1],
            f'"{session}"',
            "",
            "\xe9",
            "x" * 8000,
        ):
            assert (await site.post(rpc("ping"), named(name)))[0] in (400, 404), name
        for method in ("GET", "DELETE"):
            assert (await use(site, method, named("none")))[0] == 404
            assert (await use(site, method))[0] == 400
            assert (await use(site, method, named(session), named(session)))[0] == 400
        assert (await site.post(rpc("ping"), named(session)))[0] == 200
        await site.is_well()


@rule(85)
async def test_a_version_that_is_none_is_refused_in_a_session(front: str) -> None:
    async with open_site(front) as site:
        session = named(await site.session())
        for version in ("1999-01-01", "latest", "", "2024-11-05, 2025-06-18", "\xff"):
            reply = await site.post(rpc("ping"), session, f"MCP-Protocol-Version: {version}")
            assert reply[0] == 400, version
            for method in ("GET", "DELETE"):
                assert (await use(site, method, session, f"MCP-Protocol-Version: {version}"))[0] == 400, version
        assert (await site.post(rpc("ping"), session))[0] == 200
        await site.is_well()


# Other people's


async def test_another_principals_session_is_as_good_as_none(front: str) -> None:
    async with open_site(front, tools=people()) as site:
        session = named(await site.session(ANN))
        peer = await site.peer()
        await peer.post(rpc("tools/call", 7, name="wait"), session, ANN)
        await site.tools.started.wait()
        theirs = await site.post(rpc("ping"), session, BOB)
        none = await site.post(rpc("ping"), named("none"), BOB)
        assert theirs[0] == none[0] == 404 and theirs[2] == none[2]  # not even that it exists is told
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        assert (await site.post(note, session, BOB))[0] == 404
        assert (await site.post({"jsonrpc": "2.0", "id": 1, "result": {}}, session, BOB))[0] == 404
        for method in ("GET", "DELETE"):
            assert (await use(site, method, session, BOB))[0] == 404
        for stolen in ("Last-Event-ID: 2-1", "Last-Event-ID: 0-1"):
            assert (await use(site, "GET", session, BOB, stolen))[0] == 404
        assert (await site.post(rpc("ping"), session))[0] == 401
        assert not site.tools.cancelled.is_set()
        site.tools.release.set()
        assert (await peer.response())[0] == 200
        await peer.close()
        await site.is_well(ANN)


async def run_stream(site: Site, session: str, *lines: str) -> list[str]:
    """Call a tool that tells its progress, and return the ids of the events."""
    peer = await site.peer()
    params = {"name": "pour", "arguments": {"size": 10, "count": 3}, "_meta": {"progressToken": 1}}
    await peer.post(rpc("tools/call", 5, **params), session, *lines)
    body = (await peer.response())[2].decode()
    await peer.close()
    return re.findall(r"^id: (.*)$", body, re.MULTILINE)


@rule(73)
async def test_events_are_replayed_to_whoever_has_them_and_to_nobody_else(front: str) -> None:
    async with open_site(front, tools=people()) as site:
        mine, other = named(await site.session(ANN)), named(await site.session(ANN))
        ids = await run_stream(site, mine, ANN)
        assert len(ids) == len(set(ids)) == 5
        assert (await use(site, "GET", mine, ANN, f"Last-Event-ID: {ids[1]}"))[0] == 200
        # Another session's events are not known in this one, whoever asks.
        assert (await use(site, "GET", other, ANN, f"Last-Event-ID: {ids[1]}"))[0] == 400
        assert (await use(site, "GET", mine, BOB, f"Last-Event-ID: {ids[1]}"))[0] == 404
        peer = await site.peer()
        await peer.get("/mcp", "Accept: text/event-stream", mine, ANN, f"Last-Event-ID: {ids[2]}")
        replayed = (await peer.response())[2].decode()
        assert re.findall(r"^id: (.*)$", replayed, re.MULTILINE) == ids[3:]
        for junk in (
            "",
            "x",
            "1",
            "-1",
            "1-",
            "999-1",
            "1-1\x7f",
            "0-99999999999999999",
            "9" * 5000,
            "1-1,1-2",
            "\xe9-1",
        ):
            found = (await use(site, "GET", mine, ANN, f"Last-Event-ID: {junk}"))[0]
            assert found in (200, 400) and (found == 400 or junk.startswith(("1-1", "0-"))), junk
        await peer.close()
        await site.is_well(ANN)


# Ends


async def test_a_session_that_nobody_uses_ends_and_a_listener_keeps_it(front: str) -> None:
    async with open_site(front, session_idle=0.1) as site:
        assert site.app.http is not None
        gone, kept = await site.session(), await site.session()
        listener = await site.peer()
        await listener.get("/mcp", "Accept: text/event-stream", named(kept))
        assert (await listener.head())[0] == 200
        with anyio.fail_after(3):
            await until(lambda: gone not in site.app.http.sessions, "idle session")  # type: ignore[union-attr]
        assert (await site.post(rpc("ping"), named(gone)))[0] == 404
        assert (await site.post(rpc("ping"), named(kept)))[0] == 200
        await listener.close()
        with anyio.fail_after(3):
            await until(lambda: not site.app.http.sessions, "idle session")  # type: ignore[union-attr]
        await site.is_well()


async def test_no_session_outlives_its_time_whatever_goes_on_in_it(front: str) -> None:
    async with open_site(front, session_life=0.15) as site:
        session = named(await site.session())
        peer, listener = await site.peer(), await site.peer()
        await listener.get("/mcp", "Accept: text/event-stream", session)
        assert (await listener.head())[0] == 200
        await peer.post(rpc("tools/call", 7, name="wait"), session)
        await site.tools.started.wait()
        with anyio.fail_after(3):
            assert (await peer.response())[0] == 404
            await site.tools.cancelled.wait()
            while await listener.chunk():
                pass
        for reply in (await site.post(rpc("ping"), session), await use(site, "GET", session)):
            assert reply[0] == 404
        await peer.close()
        await listener.close()
        await site.is_well()


@rule(81, 83)
async def test_what_its_owner_ends_is_over_for_everybody(front: str) -> None:
    async with open_site(front) as site:
        session = named(await site.session())
        peer, listener = await site.peer(), await site.peer()
        await listener.get("/mcp", "Accept: text/event-stream", session)
        assert (await listener.head())[0] == 200
        await peer.post(rpc("tools/call", 7, name="wait"), session)
        await site.tools.started.wait()
        assert (await use(site, "DELETE", session))[0] == 204
        assert (await peer.response())[0] == 404
        await site.tools.cancelled.wait()
        while await listener.chunk():
            pass
        assert (await use(site, "DELETE", session))[0] == 404
        assert (await use(site, "GET", session, "Last-Event-ID: 0-1"))[0] == 404
        assert (await site.post(rpc("ping"), session))[0] == 404
        await peer.close()
        await listener.close()
        await site.is_well()


async def test_sessions_are_bounded_in_total_and_their_places_are_given_back(front: str) -> None:
    most = 3
    async with open_site(front, max_sessions=most) as site:
        sessions = [await site.session() for _ in range(most)]
        reply = await site.post(initialize())
        assert reply[0] == 503 and int(reply[1]["retry-after"]) > 0 and "mcp-session-id" not in reply[1]
        found = json.loads(reply[2])
        assert found["id"] == 0 and found["error"]["code"] == 1503
        # Those that are there are served, and so is who needs none.
        assert (await site.post(rpc("ping"), named(sessions[0])))[0] == 200
        assert (await site.call("echo", message="x"))[0] == 200
        assert (await use(site, "DELETE", named(sessions.pop())))[0] == 204
        sessions.append(await site.session())
        assert (await site.post(initialize()))[0] == 503
        for session in sessions:
            assert (await use(site, "DELETE", named(session)))[0] == 204
        await site.is_well()


async def test_one_principal_cannot_take_all_sessions(front: str) -> None:
    async with open_site(front, tools=people(), max_sessions=10, max_sessions_per_principal=2) as site:
        for _ in range(2):
            await site.session(ANN)
        assert (await site.post(initialize(), ANN))[0] == 503
        await site.session(BOB)
        await site.is_well(BOB)


async def test_nothing_is_left_of_sessions_that_ended(own: str) -> None:
    async with open_site(own) as site:

        def engines() -> int:
            gc.collect()
            return sum(isinstance(each, ServerEngine) for each in gc.get_objects())

        await site.is_well()
        before = engines()
        peer = await site.peer()
        for _ in range(30):
            session = await peer.initialize()
            params = {"name": "pour", "arguments": {"size": 10, "count": 2}, "_meta": {"progressToken": 1}}
            await peer.post(rpc("tools/call", 5, **params), named(session))
            assert (await peer.response())[0] == 200
            await peer.get("/mcp", named(session), method="DELETE")
            assert (await peer.response())[0] == 204
            await peer.call("pour", {"size": 10, "count": 2}, progressToken=1)
            assert (await peer.response())[0] == 200
        await peer.close()
        await site.is_at_rest()
        assert engines() <= before + 6  # of sixty; the last may still be held by a task that has just ended
        assert site.tools.server.sessions == set()


@rule(71)
async def test_who_listens_again_takes_over_and_no_message_is_heard_twice(front: str) -> None:
    async with open_site(front) as site:
        session = named(await site.session())
        first, second = await site.peer(), await site.peer()
        await first.get("/mcp", "Accept: text/event-stream", session)
        assert (await first.head())[0] == 200
        await second.get("/mcp", "Accept: text/event-stream", session)
        assert (await second.head())[0] == 200
        said = b""
        while piece := await first.chunk():
            said += piece
        site.tools.server.tool(lambda: None, name="another")
        heard = b""
        while b"list_changed" not in heard:
            heard += await second.chunk()
        assert b"list_changed" not in said
        await first.close()
        await second.close()
        await site.is_well()


# HTTP+SSE


async def open_stream(site: Site, *lines: str) -> tuple[Peer, str]:
    """Open an event stream; returns it and the path that messages go to."""
    peer = await site.peer()
    await peer.get("/sse", "Accept: text/event-stream", *lines)
    assert (await peer.head())[0] == 200
    event = (await peer.chunk()).decode()
    assert event.startswith("event: endpoint")
    return peer, event.partition("data: ")[2].strip()


async def hear(peer: Peer) -> Any:
    event = await peer.chunk()
    assert event.startswith((b"event: message", b"data: "))
    return json.loads(event.partition(b"data: ")[2])


@rule(88, 89, 91)
async def test_messages_to_a_stream_of_somebody_else_are_not_found(front: str) -> None:
    async with open_site(front, tools=people(), sse=True) as site:
        peer, path = await open_stream(site, ANN)
        found = re.fullmatch(r"/messages\?sessionId=([A-Za-z0-9_-]{32,})", path)
        assert found is not None
        for stranger in (
            await site.post(initialize("2024-11-05"), BOB, path=path),
            await site.post(initialize("2024-11-05"), ANN, path="/messages"),
            await site.post(initialize("2024-11-05"), ANN, path="/messages?sessionId=" + "x" * 32),
            await site.post(initialize("2024-11-05"), ANN, path=f"{path}&sessionId={found[1]}"),
            await site.post(initialize("2024-11-05"), ANN, named(found[1]), path="/messages"),
        ):
            assert stranger[0] == 404 and "mcp-session-id" not in stranger[1]
        assert (await site.post(initialize("2024-11-05"), path=path))[0] == 401
        assert (await site.post(rpc("ping"), ANN, named(found[1])))[0] == 404  # no session of the other transport
        assert (await site.post(initialize("2024-11-05"), ANN, path=path))[0] == 202
        assert (await hear(peer))["result"]["protocolVersion"] == "2024-11-05"
        await peer.close()
        await site.is_well(ANN)


async def test_a_stream_that_is_lost_takes_its_requests_along(front: str) -> None:
    async with open_site(front, sse=True) as site:
        peer, path = await open_stream(site)
        assert (await site.post(initialize("2024-11-05"), path=path))[0] == 202
        await hear(peer)
        assert (await site.post(rpc("tools/call", 3, name="wait"), path=path))[0] == 202
        await site.tools.started.wait()
        await peer.close()
        with anyio.fail_after(5):
            await site.tools.cancelled.wait()
        await site.is_at_rest()
        assert (await site.post(rpc("ping"), path=path))[0] == 404
        await site.is_well()


async def test_event_streams_are_bounded_and_their_places_are_given_back(front: str) -> None:
    async with open_site(front, sse=True, max_sessions=2) as site:
        streams = [await open_stream(site) for _ in range(2)]
        status, headers, _ = await use(site, "GET", path="/sse")
        assert status == 503 and int(headers["retry-after"]) > 0
        await streams.pop()[0].close()
        assert site.app.sse is not None
        await until(lambda: len(site.app.sse._streams) == 1, "closed stream")  # type: ignore[union-attr]
        streams.append(await open_stream(site))
        for peer, _ in streams:
            await peer.close()
        await until(lambda: not site.app.sse._streams, "closed streams")  # type: ignore[union-attr]
        await site.is_well()


async def test_bodies_on_the_old_transport_are_checked_as_on_the_new_one(front: str) -> None:
    async with open_site(front, sse=True) as site:
        peer, path = await open_stream(site)
        assert (await site.post(initialize("2024-11-05"), path=path))[0] == 202
        await hear(peer)
        for body, status in (
            (b"{", 400), (b"[" * 100_000, 400), (b"\xff", 400), (b"1", 400), (b"{}", 400), (b"", 400),
            (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 400),
        ):  # fmt: skip
            assert (await site.post(body, path=path))[0] == status, body[:20]
        assert (await site.post(b"{}", "Content-Type: text/plain", path=path))[0] == 415
        assert (await site.post(b"{}", "Content-Encoding: gzip", path=path))[0] == 415
        assert (await site.post(rpc("ping", 9), path=path))[0] == 202
        heard = await hear(peer)
        while "id" not in heard:  # what begins like a batch is answered on the stream as well
            assert heard["error"]["code"] == -32700
            heard = await hear(peer)
        assert heard["id"] == 9
        await peer.close()
        await site.is_well()


async def test_what_is_said_cannot_break_out_of_its_event(front: str) -> None:
    async with open_site(front, sse=True) as site:
        peer, path = await open_stream(site)
        assert (await site.post(initialize("2024-11-05"), path=path))[0] == 202
        await hear(peer)
        evil = "a\n\ndata: {}\r\revent: endpoint\u2028\u2029\x85\x0bdata: /evil\r\nid: 1\r\nretry: 0\r\n\r\n"
        assert (await site.post(rpc("tools/call", 4, name="echo", arguments={"message": evil}), path=path))[0] == 202
        raw = await peer.chunk()
        assert raw.count(b"data: ") == 1 + raw.count(b"\\ndata: ") + raw.count(b"\\u000bdata: ")
        assert len(re.split(rb"\r\n|\n|\r", raw.rstrip())) == 2
        assert json.loads(raw.partition(b"data: ")[2])["result"]["content"][0]["text"] == evil
        await peer.close()
        await site.is_well()
