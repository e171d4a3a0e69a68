"""Resources, prompts, completion, pages."""

from typing import Any

from ...scenario import Skip, Trial, scenario

LISTS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}


@scenario(covers=[119, 174])
async def resources_list(trial: Trial) -> None:
    """Resources and templates have a name and an address each."""
    talk = await trial.open()
    trial.needs(talk, "resources")
    for method, key, address in (
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ):
        reply = await talk.request(method)
        entries = (reply.result or {}).get(key)
        is_whole = isinstance(entries, list) and all(
            isinstance(e, dict) and isinstance(e.get(address), str) and isinstance(e.get("name"), str) for e in entries
        )
        trial.check(119, is_whole, f"{method}: {reply.show()}")


@scenario(covers=[132, 174])
async def resources_read(trial: Trial) -> None:
    """Contents are text or Base64, and say their address."""
    talk = await trial.open()
    tried = 0
    for name, member in (("text", "text"), ("binary", "blob"), ("template", "text")):
        row = trial.fixtures.find("resources", name)
        if row is None:
            continue
        tried += 1
        reply = await talk.request("resources/read", {"uri": row["uri"]})
        contents = (reply.result or {}).get("contents")
        is_there = isinstance(contents, list) and any(isinstance(c, dict) and member in c for c in contents)
        trial.check(132, is_there, f"{row['uri']}: expected {member}, got {reply.show()}")
    if not tried:
        raise Skip("the target has no fixture resources.text, binary or template")


@scenario(covers=[130])
async def missing_resource(trial: Trial) -> None:
    """A resource that does not exist is an error: -32602, in older revisions -32002."""
    talk = await trial.open()
    trial.needs(talk, "resources")
    uri = trial.fixture("resources", "missing")["uri"]
    reply = await talk.request("resources/read", {"uri": uri})
    trial.refused(130, reply, -32602 if trial.is_envelope else -32002, None, uri)


@scenario(covers=[119])
async def prompts_list(trial: Trial) -> None:
    """Prompts have a name, and arguments that have names."""
    talk = await trial.open()
    trial.needs(talk, "prompts")
    reply = await talk.request("prompts/list")
    prompts = (reply.result or {}).get("prompts")
    is_whole = isinstance(prompts, list) and all(
        isinstance(p, dict)
        and isinstance(p.get("name"), str)
        and all(isinstance(a, dict) and isinstance(a.get("name"), str) for a in p.get("arguments") or ())
        for p in prompts
    )
    trial.check(119, is_whole, f"prompts/list: {reply.show()}")


@scenario(covers=[119, 121])
async def prompts_get(trial: Trial) -> None:
    """A prompt is a list of messages with a role and one block of content each."""
    talk = await trial.open()
    tried = 0
    for name in ("simple", "arguments", "embedded", "image"):
        row = trial.fixtures.find("prompts", name)
        if row is None:
            continue
        tried += 1
        reply = await talk.request("prompts/get", {"name": row["name"], "arguments": row.get("arguments", {})})
        messages = (reply.result or {}).get("messages")
        is_whole = isinstance(messages, list) and all(
            isinstance(m, dict) and m.get("role") in ("user", "assistant") and isinstance(m.get("content"), dict)
            for m in messages
        )
        trial.check(121, is_whole and bool(messages), f"{row['name']}: {reply.show()}")
        trial.check(119, reply.result is not None, f"{row['name']}: {reply.show()}")
        for value in row.get("arguments", {}).values():
            trial.check(121, value in short_all(messages), f"{row['name']}: the argument {value!r} does not appear")
    if not tried:
        raise Skip("the target has no fixture of prompts")


def short_all(messages: Any) -> str:
    """Return everything that messages say."""
    return str(messages)


@scenario(covers=[133])
async def wrong_prompts(trial: Trial) -> None:
    """An unknown prompt, and one without an argument that it needs, are refused with -32602."""
    talk = await trial.open()
    trial.needs(talk, "prompts")
    reply = await talk.request("prompts/get", {"name": "judge-no-such-prompt"})
    trial.refused(133, reply, -32602, None, "an unknown prompt")
    row = trial.fixtures.find("prompts", "arguments")
    if row is not None:
        reply = await talk.request("prompts/get", {"name": row["name"], "arguments": {}})
        trial.refused(133, reply, -32602, None, "a required argument is missing")


@scenario(covers=[136, 119])
async def completion(trial: Trial) -> None:
    """Completion returns at most 100 values that are text."""
    talk = await trial.open()
    row = trial.fixture("prompts", "arguments")
    if "complete" not in row:
        raise Skip("the fixture prompts.arguments has no `complete`")
    argument = {"name": row["complete"]["argument"], "value": row["complete"]["value"]}
    params = {"ref": {"type": "ref/prompt", "name": row["name"]}, "argument": argument}
    reply = await talk.request("completion/complete", params)
    completion = (reply.result or {}).get("completion")
    values = completion.get("values") if isinstance(completion, dict) else None
    is_short = isinstance(values, list) and len(values) <= 100 and all(isinstance(v, str) for v in values)
    trial.check(136, is_short, f"completion: {reply.show()}")


@scenario(covers=[134, 135])
async def pages(trial: Trial) -> None:
    """A list read page by page is whole and repeats nothing; a cursor that nobody gave out is refused."""
    talk = await trial.open()
    paged = 0
    for method, key in LISTS.items():
        if key.partition("T")[0].rstrip("s")[:6] not in str(sorted(talk.server_capabilities)):
            continue
        params: dict[str, Any] = {}
        entries: list[Any] = []
        for _ in range(50):
            reply = await talk.request(method, params)
            result = reply.result
            if result is None:
                break
            entries += result.get(key) or []
            if "nextCursor" not in result:
                break
            paged += 1
            cursor = result["nextCursor"]
            trial.check(135, isinstance(cursor, str), f"{method}: nextCursor is {cursor!r}")
            params = {"cursor": cursor}
        names = [str(entry.get("uri") or entry.get("uriTemplate") or entry.get("name")) for entry in entries]
        trial.check(135, len(set(names)) == len(names), f"{method}: an entry is on two pages")
    reply = await talk.request("tools/list", {"cursor": "the judge made this up"})
    trial.refused(135, reply, -32602, None, "a cursor that nobody gave out")


@scenario(covers=[137], revisions="ABCD")
async def resource_subscriptions(trial: Trial) -> None:
    """Changes of a resource reach those that subscribed to it, and only while they do."""
    talk = await trial.open()
    trial.needs(talk, "resources", "subscribe")
    trigger = trial.tool("update")
    uri = trial.fixture("resources", "watched")["uri"]
    if trial.is_http:
        answer = await talk.open_get()
        if answer.status != 200:
            raise Skip("the target has no standalone stream")
    reply = await talk.request("resources/subscribe", {"uri": uri})
    trial.check(137, reply.result is not None, f"resources/subscribe: {reply.show()}")
    seen = len(talk.inbox)
    await talk.request("tools/call", trigger)
    heard = await talk.watch(lambda r: r.method == "notifications/resources/updated", 2.0, seen)
    trial.check(137, heard is not None, "a subscribed resource changed and nothing was said")
    await talk.request("ping")
    others = [r.params.get("uri") for r in talk.inbox[seen:] if r.method == "notifications/resources/updated"]
    trial.check(137, set(others) <= {uri}, f"subscribed to {uri}, heard of {others}")
    await talk.request("resources/unsubscribe", {"uri": uri})
    seen = len(talk.inbox)
    await talk.request("tools/call", trigger)
    await talk.request("ping")
    still = await talk.watch(lambda r: r.method == "notifications/resources/updated", 0.2, seen)
    trial.check(137, still is None, "a resource that is no longer subscribed to was told of")


@scenario(covers=[138], revisions="ABCD")
async def list_changes(trial: Trial) -> None:
    """A server that declares `listChanged` says so when a list changes."""
    talk = await trial.open()
    if trial.is_http:
        answer = await talk.open_get()
        if answer.status != 200:
            raise Skip("the target has no standalone stream")
    tried = 0
    for capability, name in (("tools", "change_tools"), ("prompts", "change_prompts")):
        declared = (talk.server_capabilities.get(capability) or {}).get("listChanged")
        if trial.fixtures.find("tools", name) is None:
            continue
        tried += 1
        seen = len(talk.inbox)
        await talk.request("tools/call", trial.tool(name))
        method = f"notifications/{capability}/list_changed"
        heard = await talk.watch(lambda r, m=method: r.method == m, 2.0 if declared else 0.1, seen)
        if declared:
            trial.check(138, heard is not None, f"the list of {capability} changed and nothing was said")
        else:
            trial.check(138, heard is None, f"{method} though listChanged was not declared")
    if not tried:
        raise Skip("the target has no fixture tools.change_tools or change_prompts")
