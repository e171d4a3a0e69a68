"""Streamable HTTP of the newest revision: headers that repeat the body, no sessions, and streams that end."""

import base64
import json
from typing import Any

from ...dialect import ABSENT
from ...requirements import revisions
from ...scenario import ENVELOPE, Skip, Trial, scenario

HTTP = ("http",)


@scenario(covers=[94, 95], revisions=ENVELOPE, transports=HTTP)
async def version_header_and_body(trial: Trial) -> None:
    """The version header must be there and say what the body says."""
    talk = await trial.open()
    older = next(iter(revisions()))
    for value in (older, "2099-12-31", "", "nonsense"):
        reply = await talk.request("tools/list", headers={"MCP-Protocol-Version": value})
        trial.refused(94, reply, -32020, 400, f"MCP-Protocol-Version {value!r}")
    # "A server that supports clients implementing protocol versions earlier than 2025-06-18 … MAY treat a request that
    # omits the header as protocol version 2025-03-26": then what it says is no matter of this revision.
    talk.monitor.expects_odd = True
    reply = await talk.request("tools/list", headers={"MCP-Protocol-Version": ABSENT})
    talk.monitor.expects_odd = False
    is_refused = reply.result is None and reply.code != -32020
    if is_refused and await trial.target.speaks_without_header(trial.transport, trial.timeout):
        trial.skip(95, "the server takes it for a request of a client that is too old to send the header")
    elif reply.result is not None:
        trial.check(95, False, f"without MCP-Protocol-Version: {reply.show()}")
    else:
        trial.refused(95, reply, -32020, 400, "without MCP-Protocol-Version")


@scenario(covers=[100, 101], revisions=ENVELOPE, transports=HTTP)
async def method_header(trial: Trial) -> None:
    """`Mcp-Method` must be there and be the method; its name may be in any case, its value not."""
    talk = await trial.open()
    for value in (ABSENT, "tools/call", "", ["tools/list", "tools/call"]):
        reply = await talk.request("tools/list", headers={"Mcp-Method": value})
        shown = "absent" if value is ABSENT else repr(value)
        trial.refused(100, reply, -32020, 400, f"Mcp-Method {shown}")
    reply = await talk.request("tools/list", headers={"Mcp-Method": "TOOLS/LIST"})
    trial.refused(101, reply, -32020, 400, "Mcp-Method TOOLS/LIST")
    for name in ("MCP-METHOD", "mcp-method", "mCp-mEtHoD"):
        reply = await talk.request("tools/list", headers={"Mcp-Method": ABSENT, name: "tools/list"})
        trial.check(101, reply.result is not None, f"the header {name}: {reply.show()}")
    reply = await talk.request("tools/list", headers={"Mcp-Method": "  tools/list \t"})
    trial.check(101, reply.result is not None, f"spaces around the value: {reply.show()}")


@scenario(covers=[100, 114, 115], revisions=ENVELOPE, transports=HTTP)
async def name_header(trial: Trial) -> None:
    """`Mcp-Name` must be there for calls of tools, prompts and resources, and name them."""
    talk = await trial.open()
    calls: list[tuple[str, dict[str, Any], str]] = []
    for kind, method, key in (
        ("tools", "tools/call", "name"),
        ("prompts", "prompts/get", "name"),
        ("resources", "resources/read", "uri"),
    ):
        row = trial.fixtures.find(kind, "simple" if kind == "prompts" else "text")
        if row is not None:
            calls.append((method, {key: row[key]}, row[key]))
    if not calls:
        raise Skip("the target has none of the fixtures tools.text, prompts.simple, resources.text")
    for method, params, name in calls:
        for value in (ABSENT, "judge-no-such-name", name.upper()):
            reply = await talk.request(method, params, headers={"Mcp-Name": value})
            shown = "absent" if value is ABSENT else repr(value)
            trial.refused(100, reply, -32020, 400, f"{method}, Mcp-Name {shown}")
        wrapped = "=?base64?" + base64.b64encode(name.encode()).decode() + "?="
        reply = await talk.request(method, params, headers={"Mcp-Name": wrapped})
        trial.check(114, reply.result is not None, f"{method}, Mcp-Name in Base64: {reply.show()}")
        reply = await talk.request(method, params, headers={"Mcp-Name": "=?base64?!!!?="})
        trial.refused(115, reply, -32020, 400, f"{method}, Mcp-Name in broken Base64")


@scenario(covers=[114, 115, 116, 117, 118], revisions=ENVELOPE, transports=HTTP)
async def argument_headers(trial: Trial) -> None:
    """An argument that a header repeats must be repeated, decoded, and be the same."""
    talk = await trial.open()
    name = trial.fixture("tools", "header")["name"]
    header = "Mcp-Param-Region"

    async def call(region: Any, value: Any) -> Any:
        arguments = {} if region is ABSENT else {"region": region}
        return await talk.request("tools/call", {"name": name, "arguments": arguments}, headers={header: value})

    def wrapped(text: str) -> str:
        return "=?base64?" + base64.b64encode(text.encode()).decode() + "?="

    for region, value in (
        ("us-west1", "us-west1"),
        ("us west 1", " us west 1  "),
        ("Zürich", wrapped("Zürich")),
        ("", ""),
    ):
        reply = await call(region, value)
        trial.check(114, reply.result is not None, f"{region!r} as {value!r}: {reply.show()}")
    for region, value in (("abc", "=?BASE64?YWJj?="), ("abc", "=?base64?YWJj"), ("abc", "YWJj")):
        reply = await call(region, value)
        trial.refused(114, reply, -32020, 400, f"{region!r} as the literal {value!r}")
    reply = await call("=?BASE64?YWJj?=", "=?BASE64?YWJj?=")
    trial.check(114, reply.result is not None, f"a literal that only looks like Base64: {reply.show()}")
    for value in ("=?base64?YWJ?=", "=?base64?Y*Jj?=", "=?base64?/w?="):
        trial.refused(115, await call("abc", value), -32020, 400, f"broken Base64 {value!r}")
    for value in ("other", ABSENT, "ABC"):
        shown = "absent" if value is ABSENT else repr(value)
        trial.refused(116, await call("abc", value), -32020, 400, f"'abc' with the header {shown}")
    for region in (ABSENT,):
        reply = await call(region, ABSENT)
        trial.check(117, reply.result is not None, f"no argument and no header: {reply.show()}")
    reply = await call("abc", b"a\x01bc")
    trial.check(118, reply.status is not None and 400 <= reply.status < 500, f"a control character: {reply.show()}")


@scenario(covers=[105], revisions=ENVELOPE, transports=HTTP)
async def no_sessions(trial: Trial) -> None:
    """There are no sessions: their header is ignored, none is handed out, GET and DELETE are refused with 405."""
    talk = await trial.open()
    headers = {"Mcp-Session-Id": "judge-made-this-up", "Last-Event-ID": "7"}
    reply = await talk.request("tools/list", headers=headers)
    trial.check(105, reply.result is not None, f"with a session id: {reply.show()}")
    minted = reply.answer.header("mcp-session-id") if reply.answer else None
    trial.check(105, minted is None, f"a session id was handed out: {minted!r}")
    for method in ("GET", "DELETE"):
        answer = await talk.get(method)
        answer.close()
        # A server of both eras knows them from the older one, and asks for a session.
        is_refused = answer.status == 405 or (
            len(talk.welcome.get("supportedVersions") or ()) > 1 and answer.status in (400, 404, 406)
        )
        trial.check(105, is_refused, f"{method} was answered with {answer.status}")


@scenario(covers=[45, 102, 103, 104], revisions=ENVELOPE, transports=HTTP)
async def streams_of_requests(trial: Trial) -> None:
    """The stream of a request holds its notifications and its answer, which is last."""
    talk = await trial.open()
    reply = await talk.request("tools/call", trial.tool("progress"), meta={"progressToken": "t"})
    answer = reply.answer
    if answer is None or not answer.is_stream:
        raise Skip("the target answers without a stream")
    kinds = [("method" in json.loads(data), "id" in json.loads(data)) for _, data in answer.events]
    trial.check(102, (True, True) not in kinds, "a request on the stream")
    trial.check(45, (True, True) not in kinds, "a request on the stream")
    trial.check(103, bool(kinds) and kinds[-1] == (False, True) and kinds.count((False, True)) == 1,
                f"the stream holds {[kind for kind, _ in answer.events]}, and its answer is not last")  # fmt: skip
    if trial.fixtures.find("tools", "wait"):
        pending = talk.start("tools/call", trial.tool("wait", seconds=5.0))
        await talk.fence()
        pending.hang_up()
        after = await talk.request("tools/list")
        trial.check(104, after.result is not None, f"after an abandoned request: {after.show()}")


@scenario(covers=[63, 45], revisions=ENVELOPE, transports=HTTP)
async def responses_are_not_taken(trial: Trial) -> None:
    """A client sends no responses, so a POST of one is refused."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    body = b'{"jsonrpc":"2.0","id":1,"result":{}}'
    answer = await talk.exchange(body, None)
    trial.advise(63, 400 <= answer.status < 500, f"a response was answered with {answer.status}")
