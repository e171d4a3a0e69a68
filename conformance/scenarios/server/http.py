"""Streamable HTTP: what all its revisions share, and what the older ones add."""

import asyncio
import json
from typing import Any

from ...dialect import ABSENT
from ...scenario import Skip, Trial, scenario
from ...wire import Broken

HTTP = ("http",)


def _list(talk: Any) -> bytes:
    return json.dumps(talk.message("tools/list", None, {})).encode()


@scenario(covers=[58, 64], transports=HTTP, revisions="BCDE")
async def one_endpoint(trial: Trial) -> None:
    """The endpoint takes POST and answers with JSON or a stream of events."""
    talk = await trial.open()
    reply = await talk.request("tools/list")
    trial.check(58, reply.status == 200, f"POST was answered with {reply.status}")
    kind = reply.answer.media_type if reply.answer else ""
    trial.check(64, kind in ("application/json", "text/event-stream"), f"a request was answered as {kind!r}")


@scenario(covers=[62], transports=HTTP, revisions="BCDE")
async def accepted_notification(trial: Trial) -> None:
    """An accepted notification is answered with 202 and no body."""
    talk = await trial.open()
    note = {"jsonrpc": "2.0", "method": "notifications/judge-made-this-up"}
    if trial.is_envelope:
        note["params"] = talk.stamp({}, None)
    answer = await talk.exchange(json.dumps(note).encode(), note)
    trial.check(62, answer.status == 202 and not answer.body, f"{answer.status} with {answer.body[:100]!r}")


@scenario(covers=[63], transports=HTTP, revisions="BCDE")
async def unacceptable_bodies(trial: Trial) -> None:
    """What is no message is refused with an HTTP error."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    for body in (b"", b"{not json", b"5", b'{"jsonrpc":"2.0","method":5}', b'{"method":"notifications/x"}'):
        answer = await talk.exchange(body, None)
        trial.check(63, 400 <= answer.status < 500, f"the body {body!r} was answered with {answer.status}")
    answer = await talk.exchange(_list(talk), None, headers={"Content-Type": "text/plain"})
    trial.check(63, 400 <= answer.status < 500, f"Content-Type text/plain was answered with {answer.status}")


@scenario(covers=[65, 66, 67], transports=HTTP, revisions="BCDE")
async def foreign_origin(trial: Trial) -> None:
    """A page of another site is refused; one of this machine is not."""
    talk = await trial.open()
    is_local = talk.wire.host in ("127.0.0.1", "localhost", "::1")
    for origin in ("http://evil.example.com", "https://localhost.evil.example.com", "null"):
        answer = await talk.exchange(_list(talk), {"method": "tools/list", "id": 1}, headers={"Origin": origin})
        trial.check(65, 400 <= answer.status < 500, f"Origin {origin} was answered with {answer.status}")
        trial.check(66, answer.status == 403, f"Origin {origin} was answered with {answer.status}")
    if not is_local:
        trial.skip(67, "the target is not on this machine")
        return
    for host in ("evil.example.com", "evil.example.com:80"):
        answer = await talk.exchange(_list(talk), {"method": "tools/list", "id": 1}, headers={"Host": host})
        trial.check(67, 400 <= answer.status < 500, f"Host {host} was answered with {answer.status}")
    for name in ("localhost", "127.0.0.1", "[::1]"):
        headers = {"Host": f"{name}:{talk.wire.port}", "Origin": f"http://{name}:{talk.wire.port}"}
        answer = await talk.exchange(_list(talk), {"method": "tools/list", "id": 1}, headers=headers)
        trial.check(67, answer.status == 200, f"Host and Origin {name} were answered with {answer.status}")


@scenario(covers=[64, 4], transports=HTTP, revisions="BCDE", seconds=30)
async def hostile_http(trial: Trial) -> None:
    """A request that comes byte by byte or in chunks is served; half a request harms nobody else."""
    talk = await trial.open()
    message = talk.message("tools/list", None, {})
    body = json.dumps(message).encode()

    def crumbs(data: bytes) -> list[bytes]:
        return [data[at : at + 7] for at in range(0, len(data), 7)]

    answer = await talk.exchange(body, message, cut=crumbs)
    trial.check(64, answer.status == 200, f"in crumbs: {answer.status}")
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:20], body[20:])) + b"0\r\n\r\n"
    answer = await talk.exchange(chunked, message, headers={"Transfer-Encoding": "chunked"})
    trial.check(64, answer.status in (200, 411), f"in chunks: {answer.status}")
    half = asyncio.ensure_future(talk.post(body[:20], None, headers={"Content-Length": str(len(body))}))
    reply = await talk.request("tools/list")
    trial.check(4, reply.result is not None, f"beside half a request: {reply.show()}")
    half.cancel()
    await asyncio.gather(half, return_exceptions=True)


@scenario(covers=[64], transports=HTTP, revisions="BCDE", seconds=30)
async def oversized_body(trial: Trial) -> None:
    """A body of many megabytes is served or refused, and the next request is served."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    message = talk.message("tools/call", {"name": "none", "arguments": {"text": "x" * (8 << 20)}}, {})
    try:
        answer = await talk.post(json.dumps(message).encode(), None)
        answer.close()
    except (Broken, OSError) as error:  # hanging up on what is too large is an answer too
        trial.transcript.add("-", "judge", f"the oversized body: {error!r}")
    talk.monitor.expects_odd = False
    reply = await talk.request("tools/list")
    trial.check(64, reply.result is not None, f"after 8 MiB: {reply.show()}")


@scenario(covers=[69], transports=HTTP, revisions="BCD")
async def standalone_stream(trial: Trial) -> None:
    """GET opens a stream of events, or is answered with 405; one that does not accept events is refused."""
    talk = await trial.open()
    answer = await talk.get()
    is_known = answer.status == 405 or (answer.status == 200 and answer.is_stream)
    trial.check(69, is_known, f"GET was answered with {answer.status} {answer.media_type}")
    answer.close()
    answer = await talk.get(headers={"Accept": "application/json"})
    trial.check(69, 400 <= answer.status < 500, f"GET without text/event-stream was answered with {answer.status}")
    answer.close()


@scenario(covers=[70, 71, 77], transports=HTTP, revisions="BCD")
async def answers_stay_on_their_stream(trial: Trial) -> None:
    """The standalone stream carries no answers, and no message comes twice."""
    talk = await trial.open()
    opened = await talk.open_get()
    if opened.status != 200:
        raise Skip("the target has no standalone stream")
    pending = [talk.start("tools/call", trial.tool("progress"), meta={"progressToken": f"t{i}"}) for i in range(3)]
    replies = [await each.wait() for each in pending]
    trial.check(77, all(r.result is not None for r in replies), "streams at the same time")
    on_get = [r.raw for r in talk.inbox if r.where == "get" and r.method is None]
    trial.check(70, not on_get, f"the standalone stream carries {on_get[:1]}")
    told = [r.raw for r in talk.inbox if r.method == "notifications/progress"]
    trial.check(71, len(told) == len(set(told)), "a notification came twice")
    streams = [{r.where for r in talk.inbox if r.params.get("progressToken") == f"t{i}"} for i in range(3)]
    trial.check(71, all(len(each) <= 1 for each in streams), f"the progress of one request came on {streams}")


@scenario(covers=[78, 80, 81, 83], transports=HTTP, revisions="BCD")
async def sessions(trial: Trial) -> None:
    """A session is named by visible ASCII, demanded, ended by DELETE, and then unknown."""
    talk = await trial.open()
    if talk.session_id is None:
        raise Skip("the target has no sessions")
    name = talk.session_id
    trial.check(78, all("!" <= c <= "~" for c in name), f"the session id is {name!r}")
    reply = await talk.request("tools/list", headers={"Mcp-Session-Id": ABSENT})
    trial.check(80, reply.status == 400, f"without a session id: {reply.show()}")
    talk.monitor.expects_odd = True
    reply = await talk.request("tools/list", headers={"Mcp-Session-Id": "judge-made-this-up"})
    trial.check(81, reply.status == 404, f"with an unknown session id: {reply.show()}")
    answer = await talk.get("DELETE", headers={"Accept": ABSENT})
    answer.close()
    trial.check(83, answer.status in (200, 202, 204, 405), f"DELETE was answered with {answer.status}")
    if answer.status != 405:
        reply = await talk.request("tools/list")
        trial.check(81, reply.status == 404, f"after DELETE: {reply.show()}")
    talk.is_closed = True


@scenario(covers=[85, 86], transports=HTTP, revisions="CD")
async def version_header(trial: Trial) -> None:
    """A version header that is nonsense is refused with 400; a missing one is forgiven."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    for version in ("nonsense", "1999-01-01"):
        reply = await talk.request("tools/list", headers={"MCP-Protocol-Version": version})
        trial.check(85, reply.status == 400, f"MCP-Protocol-Version {version}: {reply.show()}")
    reply = await talk.request("tools/list", headers={"MCP-Protocol-Version": ABSENT})
    trial.check(86, reply.status == 200, f"without MCP-Protocol-Version: {reply.show()}")


@scenario(covers=[72, 73, 74, 87], transports=HTTP, revisions="BCD", seconds=15)
async def interrupted_stream(trial: Trial) -> None:
    """After a broken stream the rest of that stream is fetched with `Last-Event-ID`, and nothing of any other."""
    talk = await trial.open()
    params = trial.tool("progress")
    pending = talk.start("tools/call", params, meta={"progressToken": "broken"})
    first = await talk.watch(lambda r: r.method == "notifications/progress", 3.0)
    if first is None or pending.answer is None or not pending.answer.event_ids:
        is_stream = pending.answer is not None and pending.answer.is_stream
        pending.hang_up()
        if trial.revision.letter == "D" and first is not None and is_stream:
            trial.check(74, False, "a stream of events without ids")
        raise Skip("the target gives its events no ids")
    last = pending.answer.event_ids[-1]
    had = [r.raw for r in pending.received]
    pending.hang_up()
    other = await talk.request("tools/call", params, meta={"progressToken": "whole"})
    other_ids = other.answer.event_ids if other.answer else []
    trial.check(72, last not in other_ids, f"two streams have an event with the id {last!r}")
    answer = await talk.get(headers={"Last-Event-ID": last})
    if answer.status != 200:
        trial.check(73, answer.status in (400, 404, 405), f"Last-Event-ID was answered with {answer.status}")
        return
    replayed: list[Any] = []

    async def read() -> None:
        async for raw in answer.messages():
            replayed.append(json.loads(raw))
            if replayed[-1].get("id") == pending.id:
                return

    try:
        await asyncio.wait_for(read(), 3.0)
    except TimeoutError:
        trial.transcript.add("-", "judge", "the replay did not end in 3 s")
    answer.close()
    tokens = {(each.get("params") or {}).get("progressToken") for each in replayed if "method" in each}
    trial.check(73, tokens <= {"broken"}, f"the replay holds progress for {tokens}")
    again = [each for each in replayed if json.dumps(each) in [json.dumps(json.loads(r)) for r in had]]
    trial.check(73, not again, f"the replay repeats {again[:1]}")
    is_whole = any(each.get("id") == pending.id and "result" in each for each in replayed)
    trial.check(87, is_whole, "the answer of the broken stream was not replayed")
    if trial.revision.letter == "D" and other.answer is not None and other.answer.is_stream:
        trial.check(74, bool(other.answer.event_ids), "a stream of events without ids")
