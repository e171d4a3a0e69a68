"""Too much at once: caps in flight, threads, subscriptions; refused at once, with a time to come back. R24."""

from __future__ import annotations

import json
import threading
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from kailash.errors import ToolError
from kailash.mcp_server import Context
from kailash.mcp_server.auth import APIKeyAuth
from protocol.limits import Limits
from tests.transports.peer import Peer

from .site import META, NEWEST, Reply, Site, Tools, open_site, rpc, until

pytestmark = pytest.mark.anyio


def is_busy(reply: Reply, id: Any) -> bool:
    """Tell whether a reply is a refusal that says when to come back, and to which request."""
    assert reply[0] == 503, reply
    error = json.loads(reply[2])
    assert error["id"] == id and int(reply[1]["retry-after"]) > 0
    return bool(error["error"]["code"] == 1503 and error["error"]["data"]["retryable"] is True)


async def hold(site: Site, count: int, *lines: str, session: str | None = None, start: int = 100) -> list[Peer]:
    """Keep that many requests in flight."""
    before, peers = site.tools.running, []
    for number in range(count):
        peer = await site.peer()
        params = {"name": "wait", "arguments": {}}
        if session is None:
            await peer.modern("tools/call", params, "Mcp-Name: wait", *lines, id=start + number)
        else:
            await peer.post(rpc("tools/call", start + number, **params), f"Mcp-Session-Id: {session}", *lines)
        peers.append(peer)
    await until(lambda: site.tools.running == before + count, "requests in flight")
    return peers


async def finish(site: Site, *peers: Peer) -> None:
    """Let those in flight be answered."""
    site.tools.release.set()
    for peer in peers:
        assert (await peer.response())[0] == 200
        await peer.close()
    site.tools.release = anyio.Event()


async def test_requests_in_flight_are_bounded_for_both_eras_together(front: str) -> None:
    most = 3
    async with open_site(front, max_requests=most) as site:
        session = await site.session()
        for kept in (most - 1, most):
            peers = [*await hold(site, 1, session=session), *await hold(site, kept - 1)]
            replies = [
                await site.call("echo", id="m", message="x"),
                await site.post(
                    rpc("tools/call", "s", name="echo", arguments={"message": "x"}), f"Mcp-Session-Id: {session}"
                ),
            ]
            if kept < most:
                assert [reply[0] for reply in replies] == [200, 200]
            else:
                assert is_busy(replies[0], "m") and is_busy(replies[1], "s")
                # What ends requests, and what takes no place, still comes in.
                note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 999}}
                assert (await site.post(note, f"Mcp-Session-Id: {session}"))[0] == 202
                assert (await site.ask(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))[0] == 200
            await finish(site, *peers)
        await site.is_well()


async def test_one_principal_cannot_take_all_places(front: str) -> None:
    keys = {"ann-key": {"user_id": "ann"}, "bob-key": {"user_id": "bob"}}
    ann, bob = "X-API-Key: ann-key", "X-API-Key: bob-key"
    tools = Tools(auth_provider=APIKeyAuth(keys))
    async with open_site(front, tools=tools, max_requests=10, max_requests_per_principal=2) as site:
        session = await site.session(ann)
        peers = [*await hold(site, 1, ann), *await hold(site, 1, ann, session=session)]
        assert is_busy(await site.call("echo", ann, id=5, message="x"), 5)
        assert is_busy(await site.post(rpc("ping", 6), ann, f"Mcp-Session-Id: {session}"), 6)
        assert (await site.call("echo", bob, message="x"))[0] == 200
        await finish(site, *peers)
        await site.is_well(ann)
        await site.is_well(bob)


async def test_requests_of_one_session_are_bounded(front: str) -> None:
    most = 2
    async with open_site(front, server={"limits": Limits(requests=most)}) as site:
        session, other = await site.session(), await site.session()
        peers = await hold(site, most, session=session)
        assert is_busy(await site.post(rpc("tools/call", 7, name="wait"), f"Mcp-Session-Id: {session}"), 7)
        assert (await site.post(rpc("tools/list", 7), f"Mcp-Session-Id: {other}"))[0] == 200
        assert (await site.call("echo", message="x"))[0] == 200
        await finish(site, *peers)
        assert (await site.post(rpc("ping", 8), f"Mcp-Session-Id: {session}"))[0] == 200
        await site.is_well()


async def test_requests_of_the_old_transport_are_bounded_too(front: str) -> None:
    most = 2
    async with open_site(front, sse=True, max_requests=most) as site:
        peer = await site.peer()
        await peer.get("/sse", "Accept: text/event-stream")
        assert (await peer.head())[0] == 200
        path = (await peer.chunk()).decode().partition("data: ")[2].strip()
        info = {"name": "old", "version": "1"}
        params = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info}
        assert (await site.post(rpc("initialize", 0, **params), path=path))[0] == 202
        await peer.chunk()
        for number in range(most):
            assert (await site.post(rpc("tools/call", number + 1, name="wait"), path=path))[0] == 202
        assert is_busy(await site.post(rpc("tools/call", 9, name="wait"), path=path), 9)
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await site.post(note, path=path))[0] == 202
        assert (await site.post(rpc("tools/call", 10, name="echo", arguments={"message": "x"}), path=path))[0] == 202
        assert json.loads((await peer.chunk()).partition(b"data: ")[2])["id"] == 10
        await peer.close()
        await site.is_at_rest()
        assert site.app.sse is not None and not site.app.sse._requests.taken
        await site.is_well()


async def test_every_way_to_end_gives_the_place_back(front: str) -> None:
    tools = Tools(request_timeout=30)

    @tools.server.tool
    async def fail() -> str:
        raise ToolError("no")

    @tools.server.tool
    async def crash() -> str:
        raise ZeroDivisionError

    @tools.server.tool(timeout=0.02)
    async def late() -> str:
        await anyio.sleep_forever()
        return ""

    @tools.server.tool
    async def streams(ctx: Context) -> str:
        await ctx.progress(1)
        return "streamed"

    async with open_site(front, tools=tools, max_requests=1) as site:
        session = f"Mcp-Session-Id: {await site.session()}"
        for name in ("echo", "fail", "crash", "late", "streams", "ask", "unknown"):
            for _ in range(2):
                arguments = {"message": "x"} if name == "echo" else {}
                meta = {"_meta": {**META, "progressToken": 1}}
                message = rpc("tools/call", name=name, arguments=arguments, **meta)
                reply = await site.modern(message, "Mcp-Method: tools/call", f"Mcp-Name: {name}")
                assert reply[0] in (200, 400) and b"1503" not in reply[2], (name, reply)
                if name != "ask":
                    message = rpc("tools/call", name=name, arguments=arguments, _meta={"progressToken": 1})
                    reply = await site.post(message, session)
                    assert reply[0] == 200 and b"1503" not in reply[2], (name, reply)
        for message in (rpc("nothing"), rpc("tools/call"), rpc("resources/read", uri="x"), rpc("ping")):
            assert (await site.post(message, session))[0] == 200
            await site.modern(message, f"Mcp-Method: {message['method']}")
        # Lost on the way: withdrawn in one era; in the other it goes on until it is done, and keeps its place so long.
        (peer,) = await hold(site, 1)
        await peer.close()
        await until(lambda: not site.tools.running, "withdrawn")
        assert (await site.call("echo", message="x"))[0] == 200
        (peer,) = await hold(site, 1, session=session.partition(": ")[2])
        await peer.close()
        assert is_busy(await site.call("echo", message="x"), 1)
        site.tools.release.set()
        await until(lambda: not site.tools.running, "done")
        await site.is_well()


async def test_subscriptions_are_bounded_apart_from_requests(front: str) -> None:
    most = 2
    async with open_site(front, max_subscriptions=most, max_requests=1) as site:

        async def listen(id: int) -> Peer:
            peer = await site.peer()
            await peer.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id=id)
            return peer

        async with AsyncExitStack() as stack:
            peers = []
            for number in range(most):
                peer = await listen(number)
                stack.push_async_callback(peer.close)
                assert (await peer.head())[0] == 200
                assert b"acknowledged" in await peer.chunk()
                peers.append(peer)
            refused = await listen(9)
            assert is_busy(await refused.response(), 9)
            await refused.close()
            assert (await site.call("echo", message="x"))[0] == 200
            await peers.pop().close()
            assert site.app.http is not None
            await until(lambda: site.app.http._listens.taken < most, "a place")  # type: ignore[union-attr]
            peer = await listen(10)
            stack.push_async_callback(peer.close)
            assert (await peer.head())[0] == 200
        await site.is_well()


async def test_threads_are_bounded_and_so_is_the_queue_for_them(front: str) -> None:
    tools = Tools(max_threads=1, max_queued=1)
    release, started = threading.Event(), []

    @tools.server.tool
    def block() -> str:
        started.append(1)
        assert release.wait(20)
        return "blocked"

    async with open_site(front, tools=tools) as site:
        session = f"Mcp-Session-Id: {await site.session()}"
        peers = []
        try:
            for number in range(2):
                peer = await site.peer()
                await peer.call("block", id=number)
                peers.append(peer)
                await until(lambda: started, "a thread at work")
            assert site.app.http is not None
            await until(lambda: site.app.http._requests.taken == 2, "a call that waits")  # type: ignore[union-attr]
            assert is_busy(await site.call("block", id=7), 7)
            assert is_busy(await site.post(rpc("tools/call", 8, name="block"), session), 8)
            assert (await site.call("echo", message="x"))[0] == 200  # who needs no thread is served
        finally:
            release.set()
        for peer in peers:
            assert (await peer.response())[0] == 200
            await peer.close()
        assert len(started) == 2
        await site.is_well()


async def test_a_flood_leaves_nothing_behind(own: str) -> None:
    async with open_site(own, max_requests=4, max_connections=500) as site:
        await hold(site, 4)
        body = json.dumps(rpc("tools/call", name="wait", arguments={}, _meta=META)).encode()
        head = (
            f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"MCP-Protocol-Version: {NEWEST}\r\nAccept: application/json, text/event-stream\r\n"
            f"Mcp-Method: tools/call\r\nMcp-Name: wait\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        peer = await site.peer()
        count = 500
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, (head.encode() + body) * count)
            for _ in range(count):
                assert is_busy(await peer.response(), 1)
        assert site.tools.running == 4
        await peer.close()
        for each in site._peers:
            await each.close()
        await site.is_well()
