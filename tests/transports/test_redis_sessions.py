"""Sessions that several processes serve: three of them on one Redis, behind a proxy that takes turns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPServer
from kailash.stores.redis import RedisStore
from protocol.revisions import HANDSHAKE_REVISIONS
from tests.redis import RedisServer, redis_server, redis_url
from tests.transports.cluster import Client, Cluster, Lost, Worker, open_cluster, text_of

__all__ = ["redis_server", "redis_url"]

pytestmark = pytest.mark.anyio

REVISIONS = [revision.name for revision in HANDSHAKE_REVISIONS]
RESUMABLE = [revision.name for revision in HANDSHAKE_REVISIONS if revision.resumable]
LATEST = REVISIONS[-1]


@pytest.fixture
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
async def cluster(redis_url: str) -> AsyncIterator[Cluster]:
    with anyio.fail_after(60):
        async with open_cluster(redis_url) as cluster:
            yield cluster


async def begin(cluster: Cluster, revision: str = LATEST, **options: Any) -> Client:
    """Begin a session at the first server."""
    client = Client(cluster.proxy.port, revision)
    await client.start(port=cluster.ports[0], **options)
    return client


@pytest.mark.parametrize("revision", REVISIONS)
async def test_whoever_is_next_serves_the_session(cluster: Cluster, revision: str) -> None:
    client = Client(cluster.proxy.port, revision)
    await client.start()
    served = Counter([text_of((await client.call("whoami"))[-1]) for _ in range(9)])
    assert served == {str(worker.pid): 3 for worker in cluster.workers}
    for _ in range(3):
        *told, _ = await client.call("count", {"to": 2})
        assert [message["method"].rpartition("/")[2] for message in told] == ["progress", "message"] * 2


async def test_a_log_level_that_one_is_told_holds_for_all(cluster: Cluster) -> None:
    client = await begin(cluster)
    for port in cluster.ports:
        assert len(await client.call("count", {"to": 1}, port=port)) == 3
    await client.ask("logging/setLevel", {"level": "error"}, port=cluster.ports[1])
    for port in cluster.ports:
        with anyio.fail_after(5):
            while len(await client.call("count", {"to": 1}, port=port)) == 3:
                pass
        assert len(await client.call("count", {"to": 1}, port=port)) == 2


async def test_a_question_is_answered_by_way_of_another(cluster: Cluster) -> None:
    client = await begin(cluster, elicitation={})
    body = {"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": {"name": "greet", "arguments": {}}}
    for asked, answered in ((0, 1), (1, 2), (2, 0), (1, 1)):
        async with client.request("POST", body, port=cluster.ports[asked]) as answer:
            messages = answer.messages()
            question = await anext(messages)
            assert question["method"] == "elicitation/create"
            result = {"action": "accept", "content": {"name": "Ada"}}
            status, _ = await client.post(
                {"jsonrpc": "2.0", "id": question["id"], "result": result}, port=cluster.ports[answered]
            )
            assert status == 202
            assert text_of(await anext(messages)) == "hello Ada"


async def test_a_batch_is_taken_apart_for_those_whom_it_concerns(cluster: Cluster) -> None:
    batching = [revision.name for revision in HANDSHAKE_REVISIONS if revision.batching]
    client = await begin(cluster, batching[0])
    hang = {"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": {"name": "hang", "arguments": {}}}
    async with client.request("POST", hang, port=cluster.ports[0]) as answer:
        messages = answer.messages()
        await anext(messages)
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}}
        ping = {"jsonrpc": "2.0", "id": 78, "method": "ping"}
        status, (replies,) = await client.post([cancel, ping], port=cluster.ports[1])
        assert status == 200 and [reply["id"] for reply in replies] == [78]
        assert [message async for message in messages] == []


async def test_a_request_is_withdrawn_by_way_of_another(cluster: Cluster) -> None:
    client = await begin(cluster)
    body = {"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": {"name": "hang", "arguments": {}}}
    async with client.request("POST", body, port=cluster.ports[0]) as answer:
        messages = answer.messages()
        await anext(messages)
        await client.notify("notifications/cancelled", {"requestId": 77}, port=cluster.ports[2])
        assert [message async for message in messages] == [], "the stream ends without a response"


async def test_a_change_that_one_publishes_is_heard_by_the_clients_of_all(cluster: Cluster) -> None:
    clients = [await begin(cluster) for _ in cluster.ports]
    for client, port in zip(clients, cluster.ports, strict=True):
        await client.ask("resources/subscribe", {"uri": "test://watched"}, port=cluster.ports[0])
        async with client.request("GET", port=port) as stream:
            assert stream.status == 200
            for other in cluster.ports:
                messages = stream.messages()
                await client.call("change", {"uri": "test://watched"}, port=other)
                assert (await anext(messages))["params"]["uri"] == "test://watched"


async def test_what_happened_while_nobody_listened_is_told_by_another(cluster: Cluster) -> None:
    client = await begin(cluster)
    await client.ask("resources/subscribe", {"uri": "test://watched"})
    last = ""
    for turn, port in enumerate([*cluster.ports, *cluster.ports]):
        headers = {"Last-Event-ID": last} if last else {}
        async with client.request("GET", port=port, **headers) as stream:
            assert stream.status == 200
            messages = stream.messages()
            if turn:
                assert (await anext(messages))["method"] == "notifications/resources/updated"
            await client.call("change", {"uri": "test://watched"}, port=port)
            assert (await anext(messages))["method"] == "notifications/resources/updated"
            last = stream.last_event_id
        # The change is published where the stream was; the connection is lost for its process by then or not.
        await client.call("change", {"uri": "test://watched"}, port=port)


@pytest.mark.parametrize("revision", RESUMABLE)
async def test_an_answer_goes_on_by_way_of_another(cluster: Cluster, revision: str) -> None:
    client = await begin(cluster, revision)
    body = {
        "jsonrpc": "2.0",
        "id": 77,
        "method": "tools/call",
        "params": {"name": "steps", "arguments": {"to": 12, "pause": 0.03}},
    }
    heard: list[Any] = []
    last = ""
    async with client.request("POST", body, port=cluster.ports[0]) as answer:
        async for message in answer.messages():
            heard.append(message)
            last = answer.last_event_id
            if len(heard) == 3:
                break
    for port in (cluster.ports[1], cluster.ports[2], cluster.ports[0]):
        async with client.request("GET", port=port, Last_Event_ID=last) as stream:
            assert stream.status == 200
            async for message in stream.messages():
                heard.append(message)
                last = stream.last_event_id
                if len(heard) in (6, 9):
                    break
    assert [message["params"]["data"] for message in heard[:-1]] == list(range(1, 13))
    assert heard[-1]["id"] == 77 and text_of(heard[-1]) == "12"
    for port in cluster.ports:  # and once more, from what is kept
        async with client.request("GET", port=port, Last_Event_ID=last) as stream:
            assert stream.status == 200 and [message async for message in stream.messages()] == []


async def _until_logged(redis_url: str, event_id: str) -> None:
    """Return once the store has an event: a process that is killed sooner takes it along."""
    stream, _, number = event_id.partition("-")
    store = RedisStore(redis_url)
    while not (logs := await store.link.execute(b"KEYS", f"kailash:*:e:*:{stream}")):
        pass
    while not await store.link.execute(b"XRANGE", logs[0], f"{number}-0", f"{number}-0"):
        pass
    await store.aclose()


async def test_a_killed_process_loses_what_it_ran_and_nothing_else(redis_url: str, cluster: Cluster) -> None:
    client, other = await begin(cluster), await begin(cluster)
    await client.ask("logging/setLevel", {"level": "error"})
    body = {"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": {"name": "hang", "arguments": {}}}
    async with client.request("POST", body) as answer:
        messages = answer.messages()
        victim = cluster.worker((await anext(messages))["params"]["data"])
        last = answer.last_event_id
        await _until_logged(redis_url, last)
        victim.kill()
        with pytest.raises(Lost):
            await anext(messages)
    rest = [worker.port for worker in cluster.workers if worker is not victim]
    for each in (client, other):
        for port in [*rest, *rest]:
            assert len(await each.call("count", {"to": 1}, port=port)) == (2 if each is client else 3)
    with anyio.fail_after(30):
        async with client.request("GET", port=rest[0], Last_Event_ID=last) as stream:
            assert stream.status == 200
            (lost,) = [message async for message in stream.messages()]
    assert lost["id"] == 77 and lost["error"]["data"]["retryable"] is True
    assert "gone" in lost["error"]["message"]


async def test_a_process_that_is_told_to_end_takes_no_session_along(cluster: Cluster) -> None:
    client = await begin(cluster)
    await client.ask("resources/subscribe", {"uri": "test://watched"})
    first, second, third = cluster.workers
    async with client.request("GET", port=first.port) as stream:
        messages = stream.messages()
        await client.call("change", {"uri": "test://watched"}, port=first.port)
        await anext(messages)
        last = stream.last_event_id
        assert await first.stop() == 0
        assert [message async for message in messages] == []
    async with client.request("GET", port=second.port, Last_Event_ID=last) as stream:
        await client.call("change", {"uri": "test://watched"}, port=third.port)
        assert (await anext(stream.messages()))["method"] == "notifications/resources/updated"
        await client.call("whoami")


async def test_a_session_for_which_a_process_has_no_room_is_not_lost(redis_url: str) -> None:
    with anyio.fail_after(60):
        async with open_cluster(redis_url, 2, http_options={"max_sessions": 1}) as cluster:
            first, second = Client(cluster.proxy.port, LATEST), Client(cluster.proxy.port, LATEST)
            await first.start(port=cluster.ports[0])
            await second.start(port=cluster.ports[1])
            ping = {"jsonrpc": "2.0", "id": 99, "method": "ping"}
            status, (message,) = await first.post(ping, port=cluster.ports[1])
            assert status == 503 and message["error"]["message"] == "Too many sessions"
            assert (await first.post(ping, port=cluster.ports[0]))[0] == 200


async def test_workers_of_one_port_need_not_hand_over_what_they_share(redis_url: str) -> None:
    worker = await anyio.to_thread.run_sync(partial(Worker, {"store": redis_url}, WORKERS="3"))
    try:
        with anyio.fail_after(30):
            client = Client(worker.port, LATEST)
            await client.start()
            served = set()
            while len(served) < 3:
                served.add(text_of((await client.call("whoami"))[-1]))
            assert await worker.stop() == 0
    finally:
        worker.close()


async def test_a_session_that_one_ends_is_over_for_all(cluster: Cluster) -> None:
    client = await begin(cluster)
    for port in cluster.ports:
        await client.call("whoami", port=port)
    async with client.request("GET", port=cluster.ports[2]) as stream:
        async with client.request("DELETE", port=cluster.ports[0]) as answer:
            assert answer.status == 204
        assert [message async for message in stream.messages()] == [], "who listens elsewhere is disconnected"
    ping = {"jsonrpc": "2.0", "id": 99, "method": "ping"}
    for port in cluster.ports:
        with anyio.fail_after(5):
            while (await client.post(ping, port=port))[0] != 404:
                pass


async def test_a_session_is_its_principals_in_every_process(redis_url: str) -> None:
    with anyio.fail_after(60):
        async with open_cluster(redis_url, tokens={"ta": "ada", "tb": "bob"}) as cluster:
            ada, bob = Client(cluster.proxy.port, LATEST, "ta"), Client(cluster.proxy.port, LATEST, "tb")
            await ada.start(port=cluster.ports[0])
            bob.session = ada.session
            ping = {"jsonrpc": "2.0", "id": 99, "method": "ping"}
            for port in cluster.ports:
                assert (await bob.post(ping, port=port))[0] == 404
                assert (await ada.post(ping, port=port))[0] == 200
                assert (await bob.post(ping, port=port))[0] == 404
                async with bob.request("GET", port=port, Last_Event_ID="0-1") as stream:
                    assert stream.status == 404
                async with bob.request("DELETE", port=port) as answer:
                    assert answer.status == 404
            for port in cluster.ports:
                assert (await ada.post(ping, port=port))[0] == 200


async def test_the_store_holds_no_session_id_and_no_token(redis_server: RedisServer) -> None:
    with anyio.fail_after(60):
        async with open_cluster(redis_server.url, 2, tokens={"hunter22": "ada"}) as cluster:
            client = Client(cluster.proxy.port, LATEST, "hunter22")
            await client.start()
            await client.call("count", {"to": 1})
            store = RedisStore(redis_server.url)
            kept = b""
            for key in await store.link.execute(b"KEYS", b"*"):
                kind = await store.link.execute(b"TYPE", key)
                read = {b"hash": (b"HGETALL", key), b"stream": (b"XRANGE", key, b"-", b"+")}.get(
                    kind if isinstance(kind, bytes) else kind.encode(), (b"GET", key)
                )
                kept += key + repr(await store.link.execute(*read)).encode()
            await store.aclose()
    assert client.session is not None and b"ada" in kept
    assert client.session.encode() not in kept and b"hunter22" not in kept


async def test_while_the_store_is_gone_sessions_that_are_known_go_on(
    redis_server: RedisServer, cluster: Cluster
) -> None:
    client = await begin(cluster)
    known, unknown = cluster.ports[:2]
    redis_server.stop()
    ping = {"jsonrpc": "2.0", "id": 99, "method": "ping"}
    assert len(await client.call("count", {"to": 1}, port=known)) == 3
    status, messages = await client.post(ping, port=unknown)
    assert status == 503 and "store" in messages[0]["error"]["message"]
    fresh = Client(cluster.proxy.port, LATEST)
    params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    status, _ = await fresh.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert status == 503
    redis_server.start()
    with anyio.fail_after(20):
        while True:
            status, _ = await fresh.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
            if status == 200:
                break
    await fresh.start()
    for port in cluster.ports:
        with anyio.fail_after(10):
            while (await fresh.post(ping, port=port))[0] == 503:
                pass


async def test_ten_thousand_calls_and_a_kill_lose_what_was_in_flight_and_nothing_else(redis_url: str) -> None:
    calls, at_once = 10_000, 16
    done = lost = 0
    is_killed = False
    async with open_cluster(redis_url) as cluster:
        clients = [Client(cluster.proxy.port, revision) for revision in REVISIONS]
        for client in clients:
            await client.start()

        async def work(client: Client) -> None:
            nonlocal done, lost, is_killed
            while done + lost < calls:
                if not is_killed and done >= calls // 2:
                    is_killed = True
                    cluster.workers[1].kill()
                began_before = not is_killed
                number = client.next_id()
                params = {"name": "count", "arguments": {"to": 2}, "_meta": {"progressToken": number}}
                body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
                try:
                    status, messages = await client.post(body)
                except Lost:
                    assert began_before and is_killed, "only what was in flight is lost"
                    lost += 1
                    continue
                done += 1
                assert status == 200
                *told, answer = messages
                assert answer["id"] == number and text_of(answer) == "2"
                assert [each["params"].get("progress", each["params"].get("data")) for each in told] == [1, "1", 2, "2"]
                assert told[0]["params"]["progressToken"] == number

        with anyio.fail_after(120):
            async with anyio.create_task_group() as tasks:
                for turn in range(at_once):
                    tasks.start_soon(work, clients[turn % len(clients)])
    assert is_killed and done + lost >= calls and lost <= at_once


async def test_a_message_for_a_stream_of_http_sse_finds_it(redis_url: str) -> None:
    options: dict[str, Any] = {"enable_http_transport": True, "enable_sse_transport": True}
    with anyio.fail_after(60):
        async with open_cluster(redis_url, tokens={"ta": "ada", "tb": "bob"}, **options) as cluster:
            ada, bob = Client(cluster.proxy.port, LATEST, "ta"), Client(cluster.proxy.port, LATEST, "tb")
            params = {"protocolVersion": REVISIONS[0], "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
            async with ada.request("GET", port=cluster.ports[0], path="/sse") as stream:
                events = stream.events()
                path = (await anext(events)).data.decode()
                for number, port in enumerate([*cluster.ports, *cluster.ports]):
                    method = "ping" if number else "initialize"
                    body = {"jsonrpc": "2.0", "id": number, "method": method, "params": {} if number else params}
                    assert (await bob.post(body, port=port, path=path))[0] == 404
                    assert (await ada.post(body, port=port, path=path))[0] == 202
                    assert json.loads((await anext(events)).data)["id"] == number
                assert (await ada.post("no message", port=cluster.ports[1], path=path))[0] == 400
            ping = {"jsonrpc": "2.0", "id": 99, "method": "ping"}
            for port in cluster.ports:
                while (await ada.post(ping, port=port, path=path))[0] != 404:
                    pass


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_servers_in_loops_of_their_own_share_sessions_too(redis_url: str, anyio_backend: str) -> None:
    ports: list[int] = []

    def make() -> MCPServer:
        server = MCPServer("embedded", store=redis_url)

        @server.tool
        async def who() -> str:
            return "me"

        return server

    async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        def started(port: int) -> None:
            ports.append(port)
            task_status.started()

        await make().serve_http(port=0, started=started)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(serve)
            await tasks.start(serve)
            client = Client(ports[0], LATEST)
            await client.start()
            for port in ports:
                assert text_of((await client.call("who", port=port))[-1]) == "me"
            tasks.cancel_scope.cancel()
