"""`subscriptions/listen`: what changed, on a stream of its own."""

import asyncio
from typing import Any

from ...dialect import META
from ...scenario import ENVELOPE, Skip, Trial, scenario

TAG = f"{META}subscriptionId"


def _tag(received: Any) -> Any:
    meta = received.params.get("_meta")
    return meta.get(TAG) if isinstance(meta, dict) else None


def _tagged(request_id: Any, method: str | None = None) -> Any:
    def matches(received: Any) -> bool:
        tag = _tag(received)
        is_same = type(tag) is type(request_id) and tag == request_id
        return is_same and received.method is not None and method in (None, received.method)

    return matches


ACK = "notifications/subscriptions/acknowledged"


@scenario(covers=[179, 180, 181, 182, 41], revisions=ENVELOPE, alone=True, seconds=15)
async def listen(trial: Trial) -> None:
    """A listen request is acknowledged first; then what was asked for is told, and nothing else."""
    talk = await trial.open(own=True)
    uri = trial.fixture("resources", "watched")["uri"]
    wanted = {"toolsListChanged": True, "resourceSubscriptions": [uri]}
    pending = talk.start("subscriptions/listen", {"notifications": wanted}, id="listen-1")
    first = await talk.watch(lambda r: r.method is not None, 3.0)
    is_ack = first is not None and first.method == ACK and _tag(first) == "listen-1"
    trial.check(179, is_ack, f"the first message of a subscription is {first.message if first else 'none'}")
    if first is not None and first.method == ACK:
        honoured = first.params.get("notifications") or {}
        extra = [name for name in honoured if name not in wanted and honoured[name]]
        trial.check(179, not extra, f"acknowledged without being asked for: {extra}")
    seen = len(talk.inbox)
    if trial.fixtures.find("tools", "change_tools"):
        await talk.request("tools/call", trial.tool("change_tools"))
        heard = await talk.watch(_tagged("listen-1", "notifications/tools/list_changed"), 2.0, seen)
        trial.check(180, heard is not None, "the list of tools changed and nothing was told")
    if trial.fixtures.find("tools", "update"):
        await talk.request("tools/call", trial.tool("update"))
        heard = await talk.watch(_tagged("listen-1", "notifications/resources/updated"), 2.0, seen)
        trial.check(180, heard is not None, "the watched resource changed and nothing was told")
    if trial.fixtures.find("tools", "change_prompts"):
        await talk.request("tools/call", trial.tool("change_prompts"))
    await talk.fence()
    told = [r for r in talk.inbox[seen:] if r.method and _tag(r) == "listen-1"]
    wrong = [r.method for r in told if r.method == "notifications/prompts/list_changed"]
    trial.check(181, not wrong, f"not asked for: {wrong}")
    others = [r.params.get("uri") for r in told if r.method == "notifications/resources/updated"]
    trial.check(181, set(others) <= {uri}, f"asked for {uri}, told of {others}")
    if "progress" in trial.fixtures.rows.get("tools", {}):
        await talk.request(
            "tools/call", trial.tool("progress"), meta={"progressToken": "p", f"{META}logLevel": "debug"}
        )
    noise = [r.method for r in talk.inbox[seen:] if _tag(r) == "listen-1" and r.method in
             ("notifications/progress", "notifications/message")]  # fmt: skip
    trial.check(182, not noise, f"on a listen stream: {noise}")
    await talk.cancel(pending)
    seen = len(talk.inbox)
    if trial.fixtures.find("tools", "change_tools"):
        await talk.request("tools/call", trial.tool("change_tools"))
        late = await talk.watch(_tagged("listen-1"), 0.2, seen)
        trial.check(181, late is None, "told after the subscription was cancelled")


@scenario(covers=[180, 185], revisions=ENVELOPE, alone=True, seconds=15)
async def several_listeners(trial: Trial) -> None:
    """Each subscription is told for itself, under its own id, a number staying a number."""
    talk = await trial.open(own=True)
    trigger = trial.tool("change_tools")
    ids = (901, "901", "other")
    pending = [talk.start("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id=i) for i in ids]
    for request_id in ids:
        ack = await talk.watch(_tagged(request_id, ACK), 3.0)
        trial.check(180, ack is not None, f"the subscription {request_id!r} was not acknowledged under its id")
    seen = len(talk.inbox)
    await talk.request("tools/call", trigger)
    for request_id in ids:
        heard = await talk.watch(_tagged(request_id, "notifications/tools/list_changed"), 2.0, seen)
        trial.check(185, heard is not None, f"the subscription {request_id!r} was not told")
    for each in pending:
        await talk.cancel(each)


@scenario(covers=[179], revisions=ENVELOPE)
async def listen_to_what_is_not_there(trial: Trial) -> None:
    """What the server does not offer is not acknowledged; a filter that is none is refused."""
    talk = await trial.open()
    wanted = {"toolsListChanged": False, "judgeMadeThisUp": True}
    pending = talk.start("subscriptions/listen", {"notifications": wanted}, id="listen-x")
    first = await talk.watch(_tagged("listen-x"), 1.0)
    if first is not None:
        honoured = first.params.get("notifications") or {}
        is_empty = not honoured.get("toolsListChanged") and "judgeMadeThisUp" not in honoured
        trial.check(179, first.method == ACK and is_empty, f"acknowledged: {honoured}")
    else:
        is_refused = pending.reply.done() and not pending.reply.cancelled()
        trial.check(179, is_refused, "a listen request without a known filter was neither acknowledged nor refused")
    await talk.cancel(pending)
    reply = await talk.request("subscriptions/listen", {"notifications": "text"})
    trial.check(179, reply.error is not None, f"a filter that is text: {reply.show()}")


@scenario(covers=[183], revisions=ENVELOPE, alone=True, seconds=20)
async def listening_ends_gracefully(trial: Trial) -> None:
    """A server that is told to stop ends each subscription with a complete result that names it."""
    twin = None if trial.transport == "stdio" else await trial.target.twin()
    try:
        talk = await (trial.open(own=True) if twin is None else twin.open(trial, own=True, options={}))
        pending = talk.start("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="listen-end")
        if await talk.watch(_tagged("listen-end", ACK), 3.0) is None:
            raise Skip("the target does not acknowledge a subscription")
        if twin is None:
            if not talk.wire.has_process:
                raise Skip("the target has no process that could be told to stop")
            talk.wire.terminate()
            status = await talk.wire.wait(5.0)
        else:
            status = await twin.terminate()
        if status is None:
            raise Skip("the target still runs 5 s after SIGTERM")
        await asyncio.wait([pending.reply], timeout=1.0)
        reply = pending.reply.result() if pending.reply.done() and not pending.reply.exception() else None
        if reply is None and status < 0:
            raise Skip("the target has no graceful end: the signal killed it")
        result = (reply.result if reply else None) or {}
        meta = result.get("_meta")
        tag = meta.get(TAG) if isinstance(meta, dict) else None
        is_graceful = result.get("resultType") == "complete" and tag == "listen-end"
        trial.check(183, is_graceful, f"at the end: {reply.show() if reply else 'no result'}")
        await talk.close()
    finally:
        if twin is not None:
            await twin.close()
