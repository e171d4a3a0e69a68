"""`MCPClient` over HTTP, against our own server and scripted ones: finding it, calling it, losing it."""

import json
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from kailash.errors import (
    AuthenticationError,
    AuthorizationError,
    MCPError,
    RateLimitError,
    RequestTimeoutError,
    ToolError,
    TransportError,
)
from kailash.errors import ConnectionError as MCPConnectionError
from kailash.mcp_client import MCPClient, SyncMCPClient, web
from protocol.revisions import REVISIONS

from ..transports.rawhttp import Asked, Visitor, raw_server
from .conftest import LAST_HANDSHAKE, NEWEST
from .webserver import serving, speaking

pytestmark = pytest.mark.anyio

OLDEST = REVISIONS[0].name


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    web._verdicts.clear()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# Against our own server


@pytest.mark.parametrize(
    ("path", "transport", "revision", "binding"),
    [
        ("", None, NEWEST, "StreamableHTTPClient"),
        ("", None, LAST_HANDSHAKE, "StreamableHTTPClient"),
        ("/mcp", "http", NEWEST, "StreamableHTTPClient"),
        ("/mcp", "streamable-http", OLDEST, "StreamableHTTPClient"),
        ("/sse", None, LAST_HANDSHAKE, "SSEClient"),
        ("/sse", "sse", OLDEST, "SSEClient"),
        ("", "sse", LAST_HANDSHAKE, "SSEClient"),
    ],
)
@pytest.mark.parametrize("codec", ["h11", "httptools"])
async def test_everything_works_whatever_the_url_leads_to(
    path: str, transport: str | None, revision: str, binding: str, codec: str
) -> None:
    async with serving() as web:
        config = {"url": web.url + path, "http_codec": codec}
        if transport is not None:
            config["transport"] = transport
        heard: list[float] = []
        async with MCPClient(
            config, elicitation_handler=lambda params: {"value": "yes"}, **speaking(revision)
        ) as client:
            assert client.protocol_version == revision
            assert client._connection is not None
            assert type(client._connection.channel.binding).__name__ == binding  # type: ignore[union-attr]
            assert (await client.call_tool("echo", {"message": "é" * 1000})).text == "é" * 1000
            result = await client.call_tool("count", on_progress=lambda done, total, text: heard.append(done))
            assert result.text == "counted" and heard == [1, 2, 3]
            if revision != OLDEST:
                assert (await client.call_tool("ask")).text == "accept"
            with pytest.raises(ToolError, match="no luck"):
                await client.call_tool("fail")
            assert {tool.name for tool in await client.list_tools()} == {"echo", "count", "ask", "fail", "wait"}
            assert (await client.read_resource("memo://x")).text == "about x"
            await client.ping()


async def test_without_a_wish_the_newest_revision_is_spoken() -> None:
    async with serving() as web, MCPClient(web.url) as client:
        assert client.protocol_version == NEWEST
        assert repr(client) == f"MCPClient({web.url}/)"


async def test_calls_at_once_do_not_wait_for_each_other(revision: str) -> None:
    async with serving() as web, MCPClient(web.url, **speaking(revision)) as client:
        texts: list[str] = []

        async def call(number: int) -> None:
            texts.append((await client.call_tool("echo", {"message": str(number)})).text)

        async def waiting() -> None:
            texts.append((await client.call_tool("wait")).text)

        async with anyio.create_task_group() as group:
            group.start_soon(waiting)
            await web.started.wait()
            for number in range(20):
                group.start_soon(call, number)
            with anyio.fail_after(5):
                while len(texts) < 20:
                    await anyio.lowlevel.checkpoint()
            web.release.set()
        assert sorted(texts) == sorted([*map(str, range(20)), "released"])


async def test_a_cancelled_call_is_cancelled_at_the_server(revision: str) -> None:
    async with serving() as web, MCPClient(web.url, **speaking(revision)) as client:
        async with anyio.create_task_group() as group:

            async def call() -> None:
                await client.call_tool("wait")

            group.start_soon(call)
            await web.started.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await web.cancelled.wait()
        assert (await client.call_tool("echo", {"message": "after"})).text == "after"


async def test_a_call_that_takes_too_long_says_which_timeout_it_was(revision: str) -> None:
    async with serving() as web, MCPClient(web.url, **speaking(revision)) as client:
        with pytest.raises(RequestTimeoutError, match=r"timeout="):
            await client.call_tool("wait", timeout=0.05)
        with anyio.fail_after(5):
            await web.cancelled.wait()


async def test_changes_are_heard(revision: str) -> None:
    async with serving() as web, MCPClient(web.url, **speaking(revision)) as client:
        await client.list_tools()
        async with client.listen(tools=True) as changes:
            # In the handshake era changes come on a stream that is opened beside everything else.
            with anyio.fail_after(5):
                while revision == LAST_HANDSHAKE and not _listens(client):
                    await anyio.lowlevel.checkpoint()

            @web.server.tool
            def late() -> str:
                return "late"

            with anyio.fail_after(5):
                async for change in changes:
                    assert "tools" in change.kind.value
                    break
        assert "late" in {tool.name for tool in await client.list_tools()}


def _listens(client: MCPClient) -> bool:
    assert client._connection is not None
    transfers = client._connection.channel._transfers.values()  # type: ignore[union-attr]
    return any(transfer.exchange.method == "GET" and transfer.exchange.status == 200 for transfer in transfers)


async def test_servers_can_be_named_in_the_call_by_their_url() -> None:
    async with serving() as web, MCPClient() as client:
        for _ in range(2):
            assert (await client.call_tool(web.url, "echo", {"message": "hi"})).text == "hi"
        assert len(client._pool.clients) == 1
        config = {"url": web.url, "headers": {"X-Token": "1"}}
        assert (await client.call_tool(server_config=config, tool_name="echo", arguments={"message": "x"})).text == "x"
        assert len(client._pool.clients) == 2


async def test_the_synchronous_client_takes_urls() -> None:
    def use(url: str) -> str:
        with SyncMCPClient(url) as client:
            return client.call_tool("echo", {"message": "sync"}).text

    async with serving() as web:
        assert await anyio.to_thread.run_sync(use, web.url) == "sync"


# Against scripted servers


def answer_to(asked: Asked) -> Any:
    """Return what a minimal modern server answers."""
    message = json.loads(asked.body)
    results: dict[str, Any] = {
        "server/discover": {
            "supportedVersions": [NEWEST],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        },
        "tools/call": {"content": [{"type": "text", "text": "hi"}]},
    }
    result = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **results[message["method"]]}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


async def reply(visitor: Visitor, message: Any, status: str = "200 OK", *headers: str) -> None:
    await visitor.answer(json.dumps(message).encode(), status, "Content-Type: application/json", *headers)


async def modern(visitor: Visitor, asked: Asked) -> None:
    await reply(visitor, answer_to(asked))


async def test_a_base_url_leads_to_the_path_below_it() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if asked.target == "/mcp":
            await modern(visitor, asked)
        else:
            await visitor.answer(b"not here", "404 Not Found")

    async with raw_server(script) as server:
        for _ in range(2):
            async with MCPClient(server.url) as client:
                assert (await client.call_tool("echo")).text == "hi"
        targets = [asked.target for asked in server.asked]
        # The second time it is known where to go, and what is spoken there.
        assert targets == ["/", "/", "/mcp", "/mcp", "/mcp", "/mcp"]


async def test_what_was_found_is_looked_for_again_when_it_has_moved() -> None:
    home = "/mcp"

    async def script(visitor: Visitor, asked: Asked) -> None:
        if asked.target == home:
            await modern(visitor, asked)
        else:
            await visitor.answer(b"", "405 Method Not Allowed")

    async with raw_server(script) as server:
        async with MCPClient(server.url):
            pass
        home = "/"
        async with MCPClient(server.url) as client:
            assert (await client.call_tool("echo")).text == "hi"


@pytest.mark.parametrize(("url", "stream"), [("", "/sse"), ("/events", "/events")])
async def test_an_old_server_is_found_by_its_event_stream(url: str, stream: str) -> None:
    streams: list[Visitor] = []

    async def script(visitor: Visitor, asked: Asked) -> None:
        if asked.method == "GET" and asked.target == stream:
            streams.append(visitor)
            await visitor.begin()
            await visitor.chunk(b"event: endpoint\ndata: /post?session=1\n\n")
            await visitor.until_closed()
            raise anyio.EndOfStream
        if asked.target != "/post?session=1":
            await visitor.answer(b"", "405 Method Not Allowed")
            return
        await visitor.answer(b"", "202 Accepted")
        message = json.loads(asked.body)
        result: dict[str, Any] = {"content": [{"type": "text", "text": "old"}]}
        if message["method"] == "initialize":
            info = {"name": "old", "version": "1"}
            result = {"protocolVersion": OLDEST, "capabilities": {"tools": {}}, "serverInfo": info}
        if "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await streams[-1].chunk(b"data: %b\n\n" % json.dumps(answer).encode())

    async with raw_server(script) as server, MCPClient(server.url + url) as client:
        assert client.protocol_version == OLDEST
        assert (await client.call_tool("echo")).text == "old"
        await streams[-1].stream.aclose()
        with anyio.fail_after(5):
            while client.is_connected:
                await anyio.lowlevel.checkpoint()
        # The stream is the connection: the next call makes another.
        assert (await client.call_tool("echo")).text == "old" and len(streams) == 2


async def test_a_search_in_vain_says_what_was_tried() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(b"<html>", "404 Not Found", "Content-Type: text/html")

    async with raw_server(script) as server:
        with pytest.raises(TransportError) as caught:
            await MCPClient(f"{server.url}/?key=secret").open()
    text = str(caught.value)
    assert text.startswith(f"connection to {server.url}/?… failed") and "HTTP 404" in text
    for door in ("POST to {0}/?…", "POST to {0}/mcp?…", "an event stream at {0}/?…", "an event stream at {0}/sse?…"):
        assert door.format(server.url) in text
    assert "secret" not in text


async def test_a_server_that_is_not_there_is_named_with_the_reason() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()
    with pytest.raises(TransportError) as caught:
        await MCPClient(f"http://127.0.0.1:{port}/mcp").open()
    text = str(caught.value)
    assert "connection" in text and f"http://127.0.0.1:{port}/mcp" in text and "connection refused" in text
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        ("401 Unauthorized", ["WWW-Authenticate: Bearer"], AuthenticationError),
        ("403 Forbidden", [], AuthorizationError),
        ("429 Too Many Requests", ["Retry-After: 7"], RateLimitError),
        ("503 Service Unavailable", ["Retry-After: 7"], TransportError),
        ("500 Internal Server Error", [], TransportError),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_refusals_have_errors_of_their_own(
    status: str, headers: list[str], kind: type[MCPError], is_late: bool
) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if is_late and b"server/discover" in asked.body:
            await modern(visitor, asked)
        else:
            await visitor.answer(b"no", status, *headers)

    async with raw_server(script) as server:
        client = MCPClient(server.url)
        with pytest.raises(kind) as caught:
            await client.open()
            await client.call_tool("echo")
        assert f"HTTP {status}" in str(caught.value) and caught.value.data["status"] == int(status[:3])
        if any("Retry-After" in header for header in headers) and (is_late or status[:3] == "429"):
            assert caught.value.retry_after == 7.0 and caught.value.retryable
        await client.aclose()


async def test_a_limit_told_in_json_is_a_limit_too() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if b"server/discover" in asked.body:
            await modern(visitor, asked)
            return
        message = {"jsonrpc": "2.0", "id": json.loads(asked.body)["id"], "error": {"code": -1, "message": "slow down"}}
        await reply(visitor, message, "429 Too Many Requests", "Retry-After: 3")

    async with raw_server(script) as server, MCPClient(server.url) as client:
        with pytest.raises(RateLimitError, match="slow down") as caught:
            await client.call_tool("echo")
        assert caught.value.retry_after == 3.0


async def test_a_call_whose_connection_is_lost_is_an_error_and_the_next_one_works() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if b"tools/call" in asked.body and b"lose" in asked.body:
            await visitor.reset()
            raise anyio.EndOfStream
        await modern(visitor, asked)

    async with raw_server(script) as server, MCPClient(server.url) as client:
        with pytest.raises(MCPConnectionError, match="connection was lost") as caught:
            await client.call_tool("lose")
        assert isinstance(caught.value, ConnectionError) and server.url in str(caught.value)
        assert (await client.call_tool("echo")).text == "hi"


async def test_silence_is_no_verdict_over_http() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.until_closed()
        raise anyio.EndOfStream

    async with raw_server(script) as server:
        with pytest.raises(TransportError, match="server/discover was not answered in time"):
            await MCPClient({"url": server.url, "connect_timeout": 0.2, "probe_timeout": 0.05}).open()
        assert len(server.asked) == 1


async def test_a_first_byte_timeout_that_is_given_holds_for_calls_too() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if b"server/discover" in asked.body:
            await modern(visitor, asked)
            return
        await visitor.until_closed()
        raise anyio.EndOfStream

    async with raw_server(script) as server, MCPClient({"url": server.url, "first_byte_timeout": 0.05}) as client:
        with pytest.raises(MCPConnectionError, match="first_byte_timeout"):
            await client.call_tool("echo")


async def test_headers_go_with_every_request_and_may_change() -> None:
    tokens = iter("abc")

    async def make() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    async with raw_server(modern) as server:
        async with MCPClient({"url": server.url, "headers": make}) as client:
            await client.call_tool("echo")
            await client.call_tool("echo")
        assert [asked.headers["authorization"][-1] for asked in server.asked] == ["a", "b", "c"]
        assert server.asked[0].headers["user-agent"].startswith("kailash-mcp/")


async def test_tools_that_no_header_can_carry_are_not_offered() -> None:
    good = {"name": "good", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    bad = {
        "name": "bad",
        "inputSchema": {"type": "object", "properties": {"a": {"type": "object", "x-mcp-header": "A"}}},
    }

    async def script(visitor: Visitor, asked: Asked) -> None:
        if b"tools/list" not in asked.body:
            await modern(visitor, asked)
            return
        result = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": [good, bad]}
        await reply(visitor, {"jsonrpc": "2.0", "id": json.loads(asked.body)["id"], "result": result})

    async with raw_server(script) as server, MCPClient(server.url) as client:
        assert [tool.name for tool in await client.list_tools()] == ["good"]
        with pytest.raises(MCPError, match="cannot be used over HTTP"):
            await client.call_tool("bad", {"a": {}})


async def test_a_server_that_speaks_no_common_revision_is_told_apart(revision: str) -> None:
    offered = LAST_HANDSHAKE if revision == NEWEST else "1999-01-01"

    async def script(visitor: Visitor, asked: Asked) -> None:
        error = {"code": -32022, "message": "no", "data": {"supported": [offered], "requested": NEWEST}}
        await reply(visitor, {"jsonrpc": "2.0", "id": json.loads(asked.body)["id"], "error": error}, "400 Bad Request")

    async with raw_server(script) as server:
        with pytest.raises(MCPError, match="spoken here"):
            await MCPClient({"url": f"{server.url}/mcp"}, revisions=[revision]).open()


# Configs


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"transport": "http"}, 'needs a "url"'),
        ({"url": "ftp://host"}, "starts with http://"),
        ({"url": "http://me:pw@host"}, "user or password"),
        ({"url": "http://host", "headers": {"X": "a\nb"}}, "line end"),
        ({"url": "http://host", "headers": ["X"]}, "must be a mapping or a callable"),
        ({"url": "http://host", "ca_file": "/missing"}, "ca_file '/missing' is not a file"),
        ({"url": "http://host", "client_key": "/missing"}, 'needs its "client_cert"'),
        ({"url": "http://host", "idle_timeout": 0}, "idle_timeout must be above zero"),
        ({"url": "http://host", "transport": "carrier-pigeon"}, "not available"),
        ({}, 'give "url"'),
    ],
)
async def test_problems_say_what_to_change(config: dict[str, Any], problem: str) -> None:
    client = MCPClient(config)
    problems = client.validate()["problems"]
    assert any(problem in each for each in problems) and "pw" not in str(problems) + repr(client)
    with pytest.raises(TransportError, match="no connection possible"):
        await client.open()


@pytest.mark.parametrize("config", [{"proxy": "socks5://host"}, {"ca_file": __file__}])
async def test_what_only_shows_when_connecting_is_a_transport_error(config: dict[str, Any]) -> None:
    with pytest.raises(TransportError, match=r"no connection to https://127\.0\.0\.1/ possible"):
        await MCPClient({"url": "https://127.0.0.1", **config}).open()


async def test_closing_ends_the_session_at_the_server() -> None:
    async with serving() as web:
        client = MCPClient(web.url, **speaking(LAST_HANDSHAKE))
        await client.open()
        (application,) = web.server.applications
        assert len(application.http.sessions) == 1  # type: ignore[union-attr]
        await client.aclose()
        assert not application.http.sessions  # type: ignore[union-attr]
        await client.open()
        assert (await client.call_tool("echo", {"message": "again"})).text == "again"
        await client.aclose()


async def test_a_client_may_be_closed_while_its_calls_wait(revision: str) -> None:
    failures: list[Exception] = []
    async with serving() as web:
        client = await MCPClient(web.url, **speaking(revision)).open()

        async def call() -> None:
            try:
                await client.call_tool("wait")
            except MCPConnectionError as error:
                failures.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await web.started.wait()
            await client.aclose()
        assert len(failures) == 1
