"""What each request of the newest revision says about itself."""

from typing import Any

from ...dialect import ABSENT, META
from ...requirements import revisions
from ...scenario import ENVELOPE, Trial, scenario

VERSION, CAPABILITIES, INFO = (f"{META}{name}" for name in ("protocolVersion", "clientCapabilities", "clientInfo"))


@scenario(covers=[35, 37, 174, 9, 34], revisions=ENVELOPE)
async def discover(trial: Trial) -> None:
    """`server/discover` says which revisions the server speaks and what it can do."""
    talk = await trial.open()
    reply = await talk.request("server/discover")
    result = reply.result or {}
    versions = result.get("supportedVersions")
    trial.check(37, isinstance(versions, list) and trial.revision.name in versions, f"supportedVersions: {versions!r}")
    trial.check(37, isinstance(result.get("capabilities"), dict), f"discover answered {reply.show()}")
    trial.check(37, "ttlMs" in result and "cacheScope" in result, "discover without ttlMs or cacheScope")


@scenario(covers=[30], revisions=ENVELOPE, alone=True)
async def missing_meta(trial: Trial) -> None:
    """A request without `_meta` is refused with -32602, over HTTP with 400."""
    talk = await trial.open(own=True, handshake=False)
    bare: list[dict[str, Any]] = [{}, {"_meta": {}}]
    for params in bare:
        reply = await talk.request("tools/list", params, stamp=False)
        if trial.is_http:
            trial.refused(30, reply, -32602, 400, f"params {params}")
        else:
            # Over a pipe it may be a request of an older revision; it must not be served as one of the newest.
            trial.check(30, reply.error is not None, f"params {params}: {reply.show()}")


@scenario(covers=[31], revisions=ENVELOPE, alone=True)
async def missing_protocol_version(trial: Trial) -> None:
    """A request without the protocol version is refused with -32602, over HTTP with 400."""
    talk = await trial.open(own=True, handshake=False)
    reply = await talk.request("tools/list", meta={VERSION: ABSENT})
    if trial.is_http:
        trial.refused(31, reply, -32602, 400, "no protocolVersion")
    else:
        trial.check(31, reply.error is not None, f"no protocolVersion: {reply.show()}")


@scenario(covers=[32], revisions=ENVELOPE)
async def missing_client_capabilities(trial: Trial) -> None:
    """A request without the client's capabilities is refused with -32602, over HTTP with 400."""
    talk = await trial.open()
    for value in (ABSENT, "text", None):
        reply = await talk.request("tools/list", meta={CAPABILITIES: value})
        shown = "absent" if value is ABSENT else repr(value)
        trial.refused(32, reply, -32602, 400, f"clientCapabilities {shown}")


@scenario(covers=[33], revisions=ENVELOPE)
async def missing_client_info(trial: Trial) -> None:
    """A request that does not say who the client is is served."""
    talk = await trial.open()
    reply = await talk.request("tools/list", meta={INFO: ABSENT})
    trial.check(33, reply.result is not None, f"no clientInfo: {reply.show()}")


@scenario(covers=[35, 96], revisions=ENVELOPE)
async def unknown_version(trial: Trial) -> None:
    """A revision nobody knows is refused with -32022, which says what is spoken and what was asked for."""
    talk = await trial.open()
    wanted = "2099-12-31"
    reply = await talk.request("tools/list", meta={VERSION: wanted}, headers={"MCP-Protocol-Version": wanted})
    trial.refused(35, reply, -32022, None, f"version {wanted}")
    trial.refused(96, reply, -32022, 400, f"version {wanted}")
    data = (reply.error or {}).get("data")
    supported = data.get("supported") if isinstance(data, dict) else None
    requested = data.get("requested") if isinstance(data, dict) else None
    trial.check(35, isinstance(supported, list) and trial.revision.name in supported, f"data.supported: {supported!r}")
    trial.check(35, requested == wanted, f"data.requested: {requested!r}, asked for {wanted!r}")
    told = talk.welcome.get("supportedVersions")
    is_same = isinstance(supported, list) and isinstance(told, list) and set(supported) == set(told)
    trial.advise(35, is_same, f"data.supported is {supported}; discover says {told}")


@scenario(covers=[39, 97, 164], revisions=ENVELOPE)
async def missing_capability(trial: Trial) -> None:
    """A tool that needs what the client cannot do is refused with -32021, which names it as an object."""
    talk = await trial.open()
    params = trial.tool("input_sampling")
    reply = await talk.request("tools/call", params, meta={CAPABILITIES: {}})
    trial.refused(39, reply, -32021, None, "a client without sampling")
    trial.refused(97, reply, -32021, 400, "a client without sampling")
    trial.check(164, reply.error is not None, f"a client without sampling: {reply.show()}")
    data = (reply.error or {}).get("data")
    needed = data.get("requiredCapabilities") if isinstance(data, dict) else None
    trial.check(39, isinstance(needed, dict) and "sampling" in needed, f"data.requiredCapabilities: {needed!r}")


@scenario(covers=[40], revisions=ENVELOPE)
async def capabilities_are_not_remembered(trial: Trial) -> None:
    """What an earlier request declared counts for nothing in the next."""
    talk = await trial.open()
    params = trial.tool("input_sampling")
    first = await talk.request("tools/call", params, meta={CAPABILITIES: {"sampling": {}}})
    is_asked = (first.result or {}).get("resultType") == "input_required"
    trial.check(40, is_asked, f"a client with sampling was answered {first.show()}")
    second = await talk.request("tools/call", params, meta={CAPABILITIES: {}})
    trial.refused(40, second, -32021, None, "the same client, now without sampling")


@scenario(covers=[41], revisions=ENVELOPE)
async def lists_are_the_same_for_all(trial: Trial) -> None:
    """Lists do not differ between connections, nor after other requests."""
    talk = await trial.open()
    other = await trial.open(own=True)
    for method in ("tools/list", "prompts/list", "resources/list"):
        before = await talk.request(method)
        if trial.fixtures.find("tools", "text"):
            await talk.request("tools/call", trial.tool("text"))
        after = await talk.request(method)
        elsewhere = await other.request(method)
        key = method.partition("/")[0]
        lists = [(each.result or {}).get(key) for each in (before, after, elsewhere)]
        if lists[0] is not None:
            trial.check(41, lists[0] == lists[1], f"{method} differs after a request")
            trial.check(41, lists[0] == lists[2], f"{method} differs between connections")


@scenario(covers=[42], revisions=ENVELOPE)
async def requests_stand_alone(trial: Trial) -> None:
    """A cursor that one connection was given works on another."""
    talk = await trial.open()
    first = await talk.request("tools/list")
    cursor = (first.result or {}).get("nextCursor")
    if cursor is None:
        trial.skip(42, "the list of tools has one page")
        return
    other = await trial.open(own=True)
    here = await talk.request("tools/list", {"cursor": cursor})
    there = await other.request("tools/list", {"cursor": cursor})
    same = (here.result or {}).get("tools") == (there.result or {}).get("tools")
    trial.check(42, here.result is not None and same, f"the cursor {cursor!r} elsewhere: {there.show()}")


REMOVED = ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "roots/list")


@scenario(covers=[98], revisions=ENVELOPE, alone=True)
async def removed_methods(trial: Trial) -> None:
    """Methods that older revisions had are unknown in a request of the newest."""
    talk = await trial.open(own=True)
    for method in REMOVED:
        params = {"protocolVersion": next(iter(revisions())), "capabilities": {}, "level": "info", "uri": "test://x"}
        reply = await talk.request(method, params)
        trial.refused(98, reply, -32601, 404, method)


@scenario(covers=[35, 30, 94], revisions=ENVELOPE)
async def order_of_refusals(trial: Trial) -> None:
    """With several things wrong, what is told first is what a client must know first."""
    talk = await trial.open()
    reply = await talk.request(
        "judge/none", meta={VERSION: "2099-12-31"}, headers={"MCP-Protocol-Version": "2099-12-31"}
    )
    trial.refused(35, reply, -32022, 400, "an unknown version and an unknown method")
    if trial.is_http:
        headers = {"MCP-Protocol-Version": "2099-12-31"}
        reply = await talk.request("tools/list", headers=headers)
        trial.refused(94, reply, -32020, 400, "a header that is not the version of the body, and unknown")
        reply = await talk.request("judge/none", {}, stamp=False)
        trial.refused(30, reply, -32602, 400, "no _meta and an unknown method")
