"""Headers that mirror the body: everything by which the two could differ. R48, rules 94 to 101 and 114 to 118."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.requirements import rule

from .site import LAST_HANDSHAKE, META, NEWEST, Reply, Site, Tools, open_site, rpc

pytestmark = pytest.mark.anyio

MISMATCH = (400, -32020)
SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
        "plain": {"type": "string"},
    },
}
VERSION = f"MCP-Protocol-Version: {NEWEST}"
METHOD = "Mcp-Method: tools/call"
NAME = "Mcp-Name: mirrored"


def mirroring() -> Tools:
    """Return a server with a tool that wants arguments mirrored."""
    tools = Tools()

    @tools.server.tool(blocking=False, input_schema=SCHEMA)
    def mirrored(region: Any = None, count: Any = None, deep: Any = None, plain: Any = None) -> str:
        tools.calls.append((region, count, deep, plain))
        return "mirrored"

    @tools.server.tool(blocking=False, name="ünï code")
    def unicode() -> str:
        tools.calls.append("unicode")
        return "unicode"

    @tools.server.resource("test://a b")
    def spaced() -> str:
        return "spaced"

    return tools


def base(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def told(reply: Reply) -> tuple[int, int | None]:
    """Return the status and the error code of a reply, which has the request's id."""
    found = json.loads(reply[2])
    assert found["id"] == 1
    return reply[0], found.get("error", {}).get("code")


async def call(site: Site, arguments: dict[str, Any], *lines: str) -> tuple[int, int | None]:
    message = rpc("tools/call", name="mirrored", arguments=arguments, _meta=META)
    return told(await site.post(message, VERSION, METHOD, NAME, *lines))


@rule(94, 95, 98, 100, 101)
async def test_standard_headers_say_what_the_body_says(front: str) -> None:
    message = rpc("tools/call", name="mirrored", arguments={}, _meta=META)
    async with open_site(front, tools=mirroring()) as site:
        for lines in (
            (METHOD, NAME),
            (VERSION, NAME),
            (VERSION, METHOD),
            (f"MCP-Protocol-Version: {LAST_HANDSHAKE}", METHOD, NAME),
            ("MCP-Protocol-Version: 2999-01-01", METHOD, NAME),
            ("MCP-Protocol-Version:", METHOD, NAME),
            (VERSION, "Mcp-Method: tools/list", NAME),
            (VERSION, "Mcp-Method: TOOLS/CALL", NAME),
            (VERSION, "Mcp-Method: tools/call, tools/call", NAME),
            (VERSION, f"Mcp-Method: {base('tools/call')}", NAME),
            (VERSION, METHOD, "Mcp-Name: echo"),
            (VERSION, METHOD, "Mcp-Name: Mirrored"),
            (VERSION, METHOD, "Mcp-Name:"),
            (VERSION, METHOD, "Mcp-Name: mirrored\x00"[:-1] + "\t."),
            (VERSION, METHOD, "Mcp-Name: mirr\xf6red"),
            (VERSION, METHOD, "Mcp-Name: =?base64?bWlycm9yZWQ?="),
            (VERSION, METHOD, "Mcp-Name: =?base64?bWly cm9yZWQ=?="),
            (VERSION, METHOD, "Mcp-Name: =?BASE64?bWlycm9yZWQ=?="),
            (VERSION, METHOD, "Mcp-Name: =?base64?bWlycm9yZWQ="),
            (VERSION, METHOD, "Mcp-Name: =?base64?/w==?="),
            (VERSION, METHOD, "Mcp-Name: =?base64??="),
            (VERSION, VERSION, METHOD, NAME),
            (VERSION, METHOD, METHOD, NAME),
            (VERSION, METHOD, NAME, NAME),
            (VERSION, METHOD, NAME, "Mcp-Name: echo"),
            (VERSION, METHOD, "Mcp-Name: echo", NAME),
        ):
            assert told(await site.post(message, *lines)) == MISMATCH, lines
        assert site.tools.calls == []
        for lines in (
            (VERSION.lower(), METHOD.replace("Mcp-Method", "MCP-METHOD"), NAME.replace("Mcp-Name", "mcp-name")),
            (VERSION + " \t ", METHOD.replace(": ", ":"), NAME.replace(": ", ":   ") + "  "),
            (VERSION, METHOD, f"Mcp-Name: {base('mirrored')}"),
        ):
            assert told(await site.post(message, *lines)) == (200, None), lines
        await site.is_well()


async def test_names_that_no_header_can_hold_come_encoded(front: str) -> None:
    async with open_site(front, tools=mirroring()) as site:
        for name in ("ünï code",):
            message = rpc("tools/call", name=name, arguments={}, _meta=META)
            assert told(await site.post(message, VERSION, METHOD, f"Mcp-Name: {base(name)}")) == (200, None)
            for literal in (name, name.encode().decode("latin-1"), base(name.upper())):
                assert told(await site.post(message, VERSION, METHOD, f"Mcp-Name: {literal}")) == MISMATCH
        message = rpc("resources/read", uri="test://a b", _meta=META)
        for value, expected in (("test://a b", (200, None)), (base("test://a b"), (200, None)), ("test://a", MISMATCH)):
            found = told(await site.post(message, VERSION, "Mcp-Method: resources/read", f"Mcp-Name: {value}"))
            assert found == expected, value
        await site.is_well()


GOOD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"region": "eu"}, ("Mcp-Param-Region: eu",)),
    ({"region": "eu"}, ("mcp-param-REGION:eu \t",)),
    ({"region": "eu"}, (f"Mcp-Param-Region: {base('eu')}",)),
    ({"region": "zürich"}, (f"Mcp-Param-Region: {base('zürich')}",)),
    ({"region": " edge "}, (f"Mcp-Param-Region: {base(' edge ')}",)),
    ({"region": "a\r\nX: y"}, ("Mcp-Param-Region: " + base("a\r\nX: y"),)),
    ({"region": ""}, ("Mcp-Param-Region:",)),
    ({"region": base("x")}, (f"Mcp-Param-Region: {base(base('x'))}",)),
    ({"region": "=?BASE64?eA==?="}, ("Mcp-Param-Region: =?BASE64?eA==?=",)),
    ({"count": 42}, ("Mcp-Param-Count: 42",)),
    ({"count": 42}, ("Mcp-Param-Count: 42.0",)),
    ({"count": -1}, ("Mcp-Param-Count: -1",)),
    ({"deep": {"flag": True}}, ("Mcp-Param-Flag: true",)),
    ({"deep": {"flag": False}}, ("Mcp-Param-Flag: false",)),
    ({"region": None, "count": None, "deep": {"flag": None}}, ()),
    ({"deep": {}}, ()),
    ({"plain": "not mirrored"}, ()),
    ({"plain": "x"}, ("Mcp-Param-Plain: y", "Mcp-Param-Unknown: z")),
]

BAD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"region": "eu"}, ()),
    ({"region": "eu"}, ("Mcp-Param-Region: us",)),
    ({"region": "eu"}, ("Mcp-Param-Region: EU",)),
    ({"region": "eu"}, ("Mcp-Param-Region:",)),
    ({"region": ""}, ()),
    ({"region": "eu"}, ("Mcp-Param-Region: eu", "Mcp-Param-Region: eu")),
    ({"region": "eu"}, ("Mcp-Param-Region: eu", "MCP-PARAM-REGION: us")),
    ({"region": "eu"}, ("Mcp-Param-Region: =?base64?!!!!?=",)),
    ({"region": "eu"}, ("Mcp-Param-Region: =?base64?ZXU?=",)),
    ({"region": "eu"}, ("Mcp-Param-Region: =?base64?ZXV=?=",)),
    ({"region": "eu"}, ("Mcp-Param-Region: =?Base64?ZXU=?=",)),
    ({"region": "\ufffd"}, ("Mcp-Param-Region: =?base64?/w==?=",)),
    ({"region": "zürich"}, ("Mcp-Param-Region: z\xfcrich",)),
    ({"region": "\xff"}, ("Mcp-Param-Region: \xff",)),
    ({"count": 42}, ("Mcp-Param-Count: 42.5",)),
    ({"count": 42}, ("Mcp-Param-Count: 0x2a",)),
    ({"count": 42}, ("Mcp-Param-Count: forty-two",)),
    ({"count": 42}, ("Mcp-Param-Count: " + "4" * 6000,)),
    ({"count": 42}, ("Mcp-Param-Count: NaN",)),
    ({"count": 42}, ("Mcp-Param-Count: 4e1",)),
    ({"count": 1}, ("Mcp-Param-Count: true",)),
    ({"deep": {"flag": True}}, ("Mcp-Param-Flag: True",)),
    ({"deep": {"flag": True}}, ("Mcp-Param-Flag: 1",)),
    ({"deep": {"flag": True}}, ()),
    ({"deep": [True]}, ("Mcp-Param-Flag: true",)),
    ({}, ("Mcp-Param-Region: eu",)),
    ({"region": None}, ("Mcp-Param-Region: null",)),
    ({"region": ["eu"]}, ("Mcp-Param-Region: eu",)),
    ({"region": {"a": 1}}, ()),
]


@rule(114, 115, 116, 117, 118)
async def test_mirrored_arguments_agree_or_the_call_is_refused(front: str) -> None:
    async with open_site(front, tools=mirroring()) as site:
        for arguments, lines in BAD:
            assert await call(site, arguments, *lines) == MISMATCH, (arguments, lines)
        assert site.tools.calls == []
        for arguments, lines in GOOD:
            assert await call(site, arguments, *lines) == (200, None), (arguments, lines)
        await site.is_well()


async def test_what_breaks_the_head_is_refused_as_http(own: str) -> None:
    async with open_site(own, tools=mirroring()) as site:
        for value in ("e\x00u", "e\ru", "e\nu", "e\x7fu", "e\x1bu", "e\r\n u"):
            body = json.dumps(rpc("tools/call", name="mirrored", arguments={"region": value}, _meta=META)).encode()
            head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nMcp-Param-Region: {value}\r\nContent-Length: {len(body)}"
            assert (await site.ask(head.encode() + b"\r\n\r\n" + body))[0] == 400, value
        assert site.tools.calls == []
        await site.is_well()


@rule(94, 96, 98)
async def test_checks_come_in_the_order_that_clients_probe_by(front: str) -> None:
    unknown = {**META, "io.modelcontextprotocol/protocolVersion": "2999-01-01"}
    async with open_site(front, tools=mirroring()) as site:

        async def ask(method: str, params: dict[str, Any], *lines: str) -> tuple[int, int | None]:
            return told(await site.post(rpc(method, **params), *lines))

        # Missing metadata, then headers, then the version, then the method, then mirrored arguments.
        assert await ask("tools/call", {"name": "x", "_meta": {}}, VERSION) == (400, -32602)
        assert await ask("nothing", {"_meta": unknown}, VERSION, "Mcp-Method: nothing") == MISMATCH
        future = "MCP-Protocol-Version: 2999-01-01"
        assert await ask("nothing", {"_meta": unknown}, future, "Mcp-Method: nothing") == (400, -32022)
        assert await ask("nothing", {"_meta": META}, VERSION, "Mcp-Method: nothing") == (404, -32601)
        assert await ask("nothing", {"_meta": META}, VERSION, "Mcp-Method: ping") == MISMATCH
        for removed in ("initialize", "ping", "logging/setLevel", "resources/subscribe", "tasks/list", "tasks/result"):
            assert await ask(removed, {"_meta": META}, VERSION, f"Mcp-Method: {removed}") == (404, -32601), removed
        await site.is_well()


async def test_no_other_era_and_no_other_tool_asks_for_mirrors(front: str) -> None:
    async with open_site(front, tools=mirroring()) as site:
        session = f"Mcp-Session-Id: {await site.session()}"
        for lines in ((), ("Mcp-Param-Region: us", "Mcp-Name: other", "Mcp-Method: other")):
            reply = await site.post(rpc("tools/call", name="mirrored", arguments={"region": "eu"}), session, *lines)
            assert told(reply) == (200, None)
        assert (await site.call("echo", "Mcp-Param-Region: us", message="x"))[0] == 200
        await site.is_well()


async def test_a_thousand_mirrored_headers_are_too_many_for_http_and_cost_nothing_else(own: str) -> None:
    async with open_site(own, tools=mirroring()) as site:
        lines = [f"Mcp-Param-{number}: x" for number in range(1000)]
        assert (await site.call("mirrored", *lines))[0] == 431
        assert site.tools.calls == []
        await site.is_well()
