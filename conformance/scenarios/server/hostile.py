"""Hostile clients, on any transport: they do not read, speak twice or out of turn, and leave in the middle."""

import asyncio
from typing import Any

from ...scenario import ENVELOPE, HANDSHAKE, Trial, scenario

FEW, MANY = 20, 200


def _load(trial: Trial) -> tuple[str, dict[str, Any] | None]:
    """Return a request whose answer is long."""
    if trial.fixtures.find("tools", "echo") is not None:
        return "tools/call", trial.tool("echo", text="x" * 20000)
    return "tools/list", None


@scenario(covers=[4], seconds=30)
async def a_client_that_never_reads(trial: Trial) -> None:
    """Answers that nobody reads hold up no other client; on a pipe all of them are there once it is read again."""
    talk = await trial.open()
    method, params = _load(trial)
    talk.wire.deafen()
    pending = [talk.start(method, params) for _ in range(FEW if trial.is_http else MANY)]
    await asyncio.sleep(0.1)
    if trial.transport == "stdio":
        talk.wire.hear()
        replies = [await each.wait(15) for each in pending]
        # To refuse some of so many is an answer too.
        served = [reply for reply in replies if reply.result is not None]
        trial.check(4, bool(served), f"of {len(replies)} requests whose answers were read late none was served")
        reply = await talk.request("tools/list")
        trial.check(4, reply.result is not None, f"after answers that were read late: {reply.show()}")
        return
    other = await trial.open(own=True)
    reply = await other.request("tools/list")
    trial.check(4, reply.result is not None, f"beside a client that reads nothing: {reply.show()}")


@scenario(covers=[4])
async def requests_that_come_twice(trial: Trial) -> None:
    """The same request twice at once is answered or refused, and the next one is served."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    method, params = "tools/list", None
    seen = len(talk.inbox)
    for _ in range(2):
        talk.start(method, params, id="twice")
    answered = await talk.watch(lambda r: isinstance(r.message, dict) and r.message.get("id") == "twice", 2.0, seen)
    trial.check(4, answered is not None, "of a request that came twice neither was answered")
    reply = await talk.fence()
    trial.check(4, reply.result is not None, f"after a request that came twice: {reply.show()}")


@scenario(covers=[19], revisions=HANDSHAKE, alone=True)
async def a_handshake_in_the_wrong_order(trial: Trial) -> None:
    """Messages before `initialize` do no harm: the handshake that follows succeeds."""
    talk = await trial.open(own=True, handshake=False)
    talk.monitor.expects_odd = True
    early = talk.start("tools/list")
    await asyncio.wait([early.reply], timeout=0.3)
    talk.pending.clear()
    if not trial.is_http:  # there it would belong to no session
        await talk.notify("notifications/initialized")
    reply = await talk.initialize()
    trial.check(19, reply.result is not None, f"initialize after other messages: {reply.show()}")
    await talk.notify("notifications/initialized")
    reply = await talk.request("tools/list")
    trial.check(19, reply.result is not None, f"after a handshake in the wrong order: {reply.show()}")


@scenario(covers=[4, 42], revisions=ENVELOPE)
async def requests_in_any_order(trial: Trial) -> None:
    """Requests and the notifications about them are independent: a cancel before its request does no harm."""
    talk = await trial.open()
    if not trial.is_http:  # there closing the stream is the cancel
        await talk.notify("notifications/cancelled", {"requestId": "judge-later", "reason": "too early"})
    reply = await talk.request("tools/list", id="judge-later")
    trial.check(4, reply.result is not None, f"a request that was cancelled before it came: {reply.show()}")
    trial.check(42, reply.result is not None, f"a request that was cancelled before it came: {reply.show()}")


@scenario(covers=[4], transports=("http", "sse", "websocket"), alone=True, seconds=30)
async def clients_that_leave(trial: Trial) -> None:
    """Clients that hang up in the middle of a call harm no others."""
    talk = await trial.open(own=True)
    method, params = ("tools/call", trial.tool("wait", seconds=0.3)) if trial.fixtures.find("tools", "wait") else (
        "tools/list", None)  # fmt: skip
    for _ in range(3):
        left = await trial.open(own=True)
        pending = left.start(method, params)
        await asyncio.sleep(0.02)
        left.abandon(pending)
    reply = await talk.request("tools/list")
    trial.check(4, reply.result is not None, f"after clients that hung up: {reply.show()}")
