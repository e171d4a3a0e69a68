"""Logging, progress, cancellation."""

from typing import Any

from ...dialect import META
from ...scenario import ENVELOPE, HANDSHAKE, Skip, Trial, scenario

LEVELS = ("debug", "info", "warning", "error")


def _logs(received: list[Any]) -> list[str]:
    return [str(r.params.get("level")) for r in received if r.method == "notifications/message"]


@scenario(covers=[140, 142], revisions=HANDSHAKE, alone=True)
async def logging_levels(trial: Trial) -> None:
    """Below the level that was set nothing is logged; a level that does not exist is refused."""
    talk = await trial.open(own=True)
    trial.needs(talk, "logging")
    name = "levels" if trial.fixtures.find("tools", "levels") else "logging"
    for level, wanted in (("debug", LEVELS), ("warning", LEVELS[2:]), ("emergency", ())):
        reply = await talk.request("logging/setLevel", {"level": level})
        trial.check(140, reply.result is not None, f"logging/setLevel {level}: {reply.show()}")
        seen = len(talk.inbox)
        await talk.request("tools/call", trial.tool(name))
        await talk.request("ping")
        got = _logs(talk.inbox[seen:])
        low = [each for each in got if each not in wanted]
        trial.check(140, not low, f"the level is {level}; logged: {got}")
        if name == "levels":
            trial.check(142, set(wanted) <= set(got), f"the level is {level}; logged: {got}")
    reply = await talk.request("logging/setLevel", {"level": "judge-made-this-up"})
    trial.advise(140, reply.code == -32602, f"an unknown level was answered with {reply.show()}")


@scenario(covers=[141, 142, 103], revisions=ENVELOPE)
async def log_level_of_a_request(trial: Trial) -> None:
    """Only a request that asks for log messages gets them, and none below its level."""
    talk = await trial.open()
    name = "levels" if trial.fixtures.find("tools", "levels") else "logging"
    key = f"{META}logLevel"
    reply = await talk.request("tools/call", trial.tool(name))
    trial.check(141, not _logs(reply.before), f"no logLevel; logged: {_logs(reply.before)}")
    for level, wanted in (("debug", LEVELS), ("warning", LEVELS[2:])):
        reply = await talk.request("tools/call", trial.tool(name), meta={key: level})
        got = _logs(reply.before)
        low = [each for each in got if each not in wanted]
        trial.check(141, not low, f"logLevel {level}; logged: {got}")
        if name == "levels":
            trial.check(142, set(wanted) <= set(got), f"logLevel {level}; logged: {got}")
    reply = await talk.request("tools/call", trial.tool(name), meta={key: "judge-made-this-up"})
    trial.advise(141, reply.code == -32602, f"an unknown logLevel: {reply.show()}")


@scenario(covers=[143, 103, 49, 102])
async def progress(trial: Trial) -> None:
    """Progress is told under the token of the request, rises, and ends with the answer."""
    talk = await trial.open()
    for token in ("judge-token", 4711):
        reply = await talk.request("tools/call", trial.tool("progress"), meta={"progressToken": token})
        told = [r for r in reply.before if r.method == "notifications/progress"]
        trial.check(143, bool(told), f"no progress was told for the token {token!r}")
        tokens = [r.params.get("progressToken") for r in told]
        is_same = all(type(each) is type(token) and each == token for each in tokens)
        trial.check(143, is_same, f"the token {token!r} came back as {tokens}")
    seen = len(talk.inbox)
    await talk.request("tools/call", trial.tool("progress"))
    stray = [r for r in talk.inbox[seen:] if r.method == "notifications/progress"]
    trial.check(143, not stray, "progress was told to a request without a token")


@scenario(covers=[145, 146, 51, 87, 104], seconds=15)
async def cancellation(trial: Trial) -> None:
    """A cancelled request is not answered; a cancel that comes too late does no harm."""
    talk = await trial.open()
    pending = talk.start("tools/call", trial.tool("wait", seconds=0.4))
    await talk.fence()
    seen = len(talk.inbox)
    await talk.cancel(pending)
    await talk.watch(lambda r: False, 0.8)
    late = [r.message for r in talk.inbox[seen:] if isinstance(r.message, dict) and r.message.get("id") == pending.id]
    if trial.is_envelope:
        trial.check(51, not late, f"a cancelled request was answered: {late[:1]}")
        trial.check(104, not late, f"an abandoned request was answered: {late[:1]}")
    elif "result" in (late[0] if late else {}):
        trial.advise(145, False, "a cancelled request was answered all the same")
    done = await talk.request("tools/call", trial.tool("text"))
    seen = len(talk.inbox)
    if not (trial.is_http and trial.is_envelope):
        params: dict[str, Any] = {"requestId": done.id}
        await talk.notify("notifications/cancelled", params)
    reply = await talk.fence()
    trial.check(146, reply.result is not None, f"after a late cancel: {reply.show()}")
    errors = [r.message for r in talk.inbox[seen:] if isinstance(r.message, dict) and "error" in r.message]
    trial.check(146, not errors, f"a late cancel was answered: {errors[:1]}")


@scenario(covers=[87], revisions="BCD", transports=("http",))
async def hanging_up_is_no_cancel(trial: Trial) -> None:
    """A connection that breaks does not cancel its request."""
    talk = await trial.open()
    params = trial.tool("wait", seconds=0.3)
    pending = talk.start("tools/call", params)
    await talk.fence()
    pending.hang_up()
    reply = await talk.request("tools/call", trial.tool("wait", seconds=0.0))
    trial.check(87, reply.result is not None, f"after a broken connection: {reply.show()}")


@scenario(covers=[4, 77], seconds=15)
async def requests_at_the_same_time(trial: Trial) -> None:
    """Requests are served side by side: a slow one does not hold up a fast one."""
    talk = await trial.open()
    slow = talk.start("tools/call", trial.tool("wait", seconds=1.0))
    fast = [talk.start("tools/call", trial.tool("text")) for _ in range(8)]
    replies = [await each.wait() for each in fast]
    trial.check(4, all(r.result is not None for r in replies), "requests at the same time were not all served")
    trial.check(77, not slow.reply.done(), "a slow request held up the others")
    reply = await slow.wait()
    trial.check(77, reply.result is not None, f"the slow request: {reply.show()}")


@scenario(covers=[147, 46], revisions=ENVELOPE)
async def no_cancel_from_the_server(trial: Trial) -> None:
    """A server cancels nothing of a client's but listen requests."""
    talk = await trial.open()
    pending = talk.start("tools/call", trial.tool("wait", seconds=0.1))
    reply = await pending.wait()
    sent = [r.params for r in talk.inbox if r.method == "notifications/cancelled"]
    trial.check(147, not sent, f"the server cancelled {sent}")
    if reply.result is None:
        raise Skip(f"the fixture tools.wait failed: {reply.show()}")
