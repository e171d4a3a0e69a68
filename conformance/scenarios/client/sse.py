"""What a client does over HTTP+SSE, and how it finds out that a server knows nothing newer."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from ...client import ClientTrial
from ...requirements import revisions
from ...scenario import Skip, scenario
from ...scripted import Call, ScriptedServer

SSE = ("sse",)


def _posts(server: ScriptedServer) -> list[str]:
    """Return where the client POSTed once it was told where to; what it tried before was to find out."""
    targets = [(head.method, head.target) for head in server.heads]
    opened = next((at for at, (method, target) in enumerate(targets) if (method, target) == ("GET", server.path)), None)
    return [] if opened is None else [target for method, target in targets[opened:] if method == "POST"]


@scenario(covers=[90], transports=SSE, revisions="A", role="client")
async def client_posts_to_the_endpoint(trial: ClientTrial) -> None:
    """Every message is POSTed to the address that the first event names, be it a path or a whole URL."""
    for is_whole in (False, True):
        server = await trial.serve()
        if is_whole:
            server.endpoint = "/other/place?x=1&y=%2F"
            server.announced = server.address.replace("/sse", server.endpoint)
        status = await trial.run_client(server)
        posts = _posts(server)
        if not posts:
            raise Skip("the client opens no stream, or sends nothing")
        shown = server.announced or server.endpoint
        trial.check(90, set(posts) == {server.endpoint}, f"named {shown}, POSTed to {sorted(set(posts))}")
        trial.check(90, status == 0, f"named {shown}: the client ended with {status}: {trial.stderr[-200:]}")


@scenario(covers=[90], transports=SSE, revisions="A", role="client")
async def client_meets_foreign_endpoints(trial: ClientTrial) -> None:
    """An address at another origin is not sent to; without one the client gives up instead of waiting for ever."""
    server, foreign = await trial.serve(), await trial.serve()
    server.announced = foreign.address.replace("/sse", "/messages?session=judge")
    await trial.run_client(server, until=6.0)
    sent = [head.target for head in foreign.heads]
    if not any(head.method == "GET" for head in server.heads):
        raise Skip("the client opens no stream")
    # That a stream must not send a client elsewhere is said of no revision; every client that is safe knows it.
    trial.advise(90, not sent, f"an address at another origin was followed: {sent[:1]}")


@scenario(covers=[90], transports=SSE, revisions="A", role="client")
async def client_reads_odd_event_streams(trial: ClientTrial) -> None:
    """Comments, unknown fields, every kind of line end, data in several lines, and text in crumbs are read."""
    server = await trial.serve()
    server.tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("first", "second")]
    server.scripts["tools/call"] = lambda call: odd_answer(server, call)
    status = await trial.run_client(server)
    count = len(server.requests("tools/call"))
    is_fine = status == 0 and count == 2
    trial.check(90, is_fine, f"{count} calls, the client ended with {status}: {trial.stderr[-200:]}")


async def odd_answer(server: ScriptedServer, call: Call, **sealed: Any) -> None:
    """Answer a call by an event as odd as the format allows, piece by piece."""
    result = {"content": [{"type": "text", "text": "zażółć 🎉 done"}], **sealed}
    text = json.dumps({"jsonrpc": "2.0", "id": call.message["id"], "result": result}, ensure_ascii=False)
    cut = text.index(",") + 1
    write = server.write_raw if call.http is None else call.raw
    for piece in (b": a long comment " + b"x" * (1 << 18) + b"\n", b"\n\n: nothing\r\r\n\n"):
        write(piece)
        await asyncio.sleep(0)
    body = f"unknown: field\revent: message\r\ndata: {text[:cut]}\ndata:{text[cut:]}\r\r\n".encode()
    for at in range(0, len(body), 3):
        write(body[at : at + 3])
        if at % 30 == 0:
            await asyncio.sleep(0.001)
    call.is_done = True


@scenario(covers=[92], transports=("http",), revisions="BCDE", role="client")
async def client_finds_an_older_server(trial: ClientTrial) -> None:
    """A client whose POST is refused with 400, 404 or 405 opens a stream instead, and waits for the address."""
    oldest = next(iter(revisions().values()))
    for status in (405, 404, 400) if trial.is_envelope else (405,):
        server = await trial.serve()
        server.reset(urlsplit(server.address).path)
        server.revision = oldest
        server.has_sessions = False
        server.refuses_with = status
        ended = await trial.run_client(server, MCP_CONFORMANCE_PROTOCOL_VERSION="")
        first = [head.method for head in server.heads][:1]
        trial.check(92, first == ["POST"], f"the client began with {first}")
        opened = [head for head in server.heads if head.method == "GET" and head.target == server.path]
        trial.check(92, bool(opened), f"after {status} the client opened no stream")
        if opened:
            trial.check(92, bool(_posts(server)), f"after {status} the client found no address")
            trial.check(92, ended == 0, f"after {status} the client ended with {ended}: {trial.stderr[-200:]}")
