"""HTTP+SSE, the binding of the oldest revision: a stream for what the server says, an address for what it is told."""

import asyncio
import json
from urllib.parse import urlsplit

from ...scenario import Trial, scenario
from ...wire import Broken

SSE = ("sse",)


@scenario(covers=[88, 89, 91], transports=SSE, revisions="A")
async def sse_endpoints(trial: Trial) -> None:
    """GET opens a stream whose first event names where messages are POSTed; their answers are events of that stream."""
    talk = await trial.open(handshake=False)
    kinds = [kind for kind, _ in talk.events]
    trial.check(88, talk.stream is not None, "GET opens no stream of events")
    if not trial.check(89, kinds[:1] == ["endpoint"], f"the first events are {kinds[:2]}"):
        return
    parts = urlsplit(talk.endpoint or "")
    is_here = parts.scheme in ("http", "https") and (parts.hostname, parts.port) == (talk.wire.host, talk.wire.port)
    trial.check(89, is_here, f"the address that messages go to is {talk.events[0][1]!r}, which is elsewhere")
    await talk.open()
    message = talk.message("tools/list", None, {"id": "judge-91"})
    talk.monitor.began(talk, message, "pipe")
    answer = await talk.post(json.dumps(message).encode())
    answer.close()
    trial.check(88, 200 <= answer.status < 300, f"a POST to {parts.path} was answered with {answer.status}")
    heard = await talk.watch(lambda r: isinstance(r.message, dict) and r.message.get("id") == "judge-91")
    trial.check(88, heard is not None, "a request that was POSTed was not answered on the stream")
    wrong = sorted({kind for kind, _ in talk.events[1:]} - {"message"})
    trial.check(91, not wrong, f"events of the kinds {wrong}")


@scenario(covers=[88, 91, 4], transports=SSE, revisions="A", alone=True)
async def sse_streams_are_apart(trial: Trial) -> None:
    """What one client is answered reaches no other, and each is named an address of its own."""
    first, second = await trial.open(own=True), await trial.open(own=True)
    trial.check(88, first.endpoint != second.endpoint, f"two clients are both named {first.endpoint}")
    seen = len(second.inbox)
    reply = await first.request("tools/list", id="only-mine")
    trial.check(4, reply.result is not None, f"beside another client: {reply.show()}")
    await second.fence()
    stray = [
        r.message for r in second.inbox[seen:] if isinstance(r.message, dict) and r.message.get("id") == "only-mine"
    ]
    trial.check(91, not stray, "an answer reached a client that did not ask")


@scenario(covers=[88, 4], transports=SSE, revisions="A", alone=True, seconds=30)
async def hostile_posts(trial: Trial) -> None:
    """Bytes in crumbs are understood; half a message, megabytes, and addresses nobody named harm no one."""
    talk = await trial.open(own=True)
    talk.monitor.expects_odd = True

    def crumbs(data: bytes) -> list[bytes]:
        return [data[at : at + 5] for at in range(0, len(data), 5)]

    body = json.dumps(talk.message("tools/list", None, {"id": "crumbs"})).encode()
    answer = await talk.post(body, cut=crumbs)
    answer.close()
    heard = await talk.watch(lambda r: isinstance(r.message, dict) and r.message.get("id") == "crumbs")
    trial.check(88, heard is not None, f"a POST in crumbs was answered with {answer.status}, and not on the stream")
    half = asyncio.ensure_future(talk.post(body[:9], headers={"Content-Length": str(len(body))}))
    await asyncio.sleep(0)
    for target in ("/messages?sessionId=judge-made-this-up", "/messages"):
        answer = await talk.post(body, target=target)
        answer.close()
        # No revision says so; but an answer that claims the message was taken is no answer to give.
        is_taken = 200 <= answer.status < 300
        trial.advise(88, not is_taken, f"a POST to {target}, which nobody was named, got {answer.status}")
    large = {"name": "judge-no-such-tool", "arguments": {"text": "x" * (8 << 20)}}
    message = talk.message("tools/call", large, {})
    try:
        (await talk.post(json.dumps(message).encode())).close()
    except (Broken, OSError) as error:  # hanging up on what is too large is an answer too
        trial.transcript.add("-", "judge", f"the oversized body: {error!r}")
    reply = await talk.request("tools/list")
    trial.check(4, reply.result is not None, f"after hostile POSTs: {reply.show()}")
    half.cancel()
    await asyncio.gather(half, return_exceptions=True)
