"""What servers ask that not every client can answer: visits to a URL, and models that use tools."""

from typing import Any

from ...scenario import Skip, Trial, scenario

URLS: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}
LOOPS: dict[str, Any] = {"sampling": {"tools": {}}}


@scenario(covers=[155, 151], revisions="DE", alone=True)
async def url_that_must_be_visited(trial: Trial) -> None:
    """-32042 says which URLs have to be visited first, and says nothing else; the newest revision has no such code."""
    talk = await trial.open(own=True, capabilities=URLS)
    params = trial.tool("url_required")
    reply = await talk.request("tools/call", params)
    if trial.is_envelope:
        trial.check(155, reply.code != -32042, f"a code that the revision no longer has: {reply.show()}")
        return
    if reply.code != -32042:
        raise Skip(f"the fixture tools.url_required does not answer -32042: {reply.show()}")
    data = (reply.error or {}).get("data")
    wanted = data.get("elicitations") if isinstance(data, dict) else None
    is_told = isinstance(wanted, list) and bool(wanted)
    trial.check(155, is_told, f"-32042 without data.elicitations: {reply.show()}")
    for each in wanted or ():
        is_url = isinstance(each, dict) and each.get("mode") == "url"
        trial.check(155, is_url, f"-32042 for what is no visit to a URL: {each}")
        is_whole = is_url and all(isinstance(each.get(name), str) for name in ("url", "message", "elicitationId"))
        trial.check(151, is_whole, f"a visit that is not whole: {each}")


@scenario(covers=[156, 151], revisions="D", alone=True)
async def visits_that_are_over(trial: Trial) -> None:
    """That a visit is over is told to the client that was asked for it, under the id that it was asked with."""
    talk = await trial.open(own=True, capabilities=URLS)
    other = await trial.open(own=True, capabilities=URLS)
    if trial.is_http:
        for each in (talk, other):
            await each.open_get()
    talk.answers["elicitation/create"] = lambda params: {"action": "accept"}
    reply = await talk.call("tools/call", trial.tool("url_complete"))
    asked = [params for _, method, params in reply.asked if method == "elicitation/create"]
    ids = {params.get("elicitationId") for params in asked if params.get("mode") == "url"}
    if not ids:
        raise Skip(f"the fixture tools.url_complete asks for no visit: {reply.show()}")
    over = "notifications/elicitation/complete"
    heard = await talk.watch(lambda r: r.method == over, 2.0)
    if heard is None:
        raise Skip("the target does not tell that a visit is over")
    told = {r.params.get("elicitationId") for r in talk.inbox if r.method == over}
    trial.check(156, told <= ids, f"over: {told}; asked for: {ids}")
    await other.fence()
    stray = [r.params for r in other.inbox if r.method == over]
    trial.check(156, not stray, f"told to a client that was not asked: {stray[:1]}")


def _blocks(message: Any) -> list[dict[str, Any]]:
    content = message.get("content") if isinstance(message, dict) else None
    return [each for each in (content if isinstance(content, list) else [content]) if isinstance(each, dict)]


def unbalanced(messages: list[Any]) -> str | None:
    """Say what is wrong with the tool uses and results of a conversation; `None` if nothing is."""
    waiting: set[str] = set()
    for index, message in enumerate(messages):
        blocks = _blocks(message)
        results = [str(each.get("toolUseId")) for each in blocks if each.get("type") == "tool_result"]
        if results and (message.get("role") != "user" or len(results) != len(blocks)):
            return f"message {index}: results of tools do not stand alone in a message of the user's"
        if set(results) != waiting or len(results) != len(waiting):
            return f"message {index}: answers {sorted(results)}, where {sorted(waiting)} wait"
        waiting = {str(each.get("id")) for each in blocks if each.get("type") == "tool_use"}
    return f"no answer to {sorted(waiting)}" if waiting else None


@scenario(covers=[160, 159], revisions="DE", alone=True)
async def model_that_uses_tools(trial: Trial) -> None:
    """When the client's model uses tools, the next question answers every use, in a message of its own."""
    talk = await trial.open(own=True, capabilities=LOOPS)
    questions: list[list[Any]] = []

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        questions.append(params.get("messages") or [])
        if len(questions) > 1:
            content: Any = {"type": "text", "text": "the judge's model"}
            return {"role": "assistant", "content": content, "model": "judge", "stopReason": "endTurn"}
        name = next((str(each.get("name")) for each in params.get("tools") or ()), "none")
        content = [{"type": "tool_use", "id": f"use-{n}", "name": name, "input": {"city": n}} for n in ("a", "b")]
        return {"role": "assistant", "content": content, "model": "judge", "stopReason": "toolUse"}

    talk.answers["sampling/createMessage"] = answer
    reply = await talk.call("tools/call", trial.tool("sampling_loop"))
    if len(questions) < 2:
        raise Skip(f"the fixture tools.sampling_loop does not go on after a use of tools: {reply.show()}")
    for messages in questions[1:]:
        fault = unbalanced(messages)
        trial.check(160, fault is None, fault or "balanced")
        uses = [each.get("id") for message in messages for each in _blocks(message) if each.get("type") == "tool_use"]
        trial.check(160, set(uses) == {"use-a", "use-b"}, f"the uses of tools in the conversation: {uses}")
    trial.check(159, reply.result is not None, f"a model that uses tools: {reply.show()}")
