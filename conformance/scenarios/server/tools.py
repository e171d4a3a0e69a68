"""Tools: lists, calls, kinds of content, structured output."""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from ...scenario import Skip, Trial, scenario, short


async def all_tools(trial: Trial, talk: Any) -> list[dict[str, Any]]:
    """Return the tools of every page."""
    trial.needs(talk, "tools")
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    for _ in range(100):
        reply = await talk.request("tools/list", params)
        result = reply.result
        if result is None:
            break
        found += [each for each in result.get("tools") or () if isinstance(each, dict)]
        if "nextCursor" not in result:
            break
        params = {"cursor": result["nextCursor"]}
    return found


@scenario(covers=[120, 119, 174, 175])
async def tools_list(trial: Trial) -> None:
    """Every tool has a name of its own and a schema of an object; every page of the list says so in the same scope."""
    talk = await trial.open()
    tools = await all_tools(trial, talk)
    names = [tool.get("name") for tool in tools]
    trial.check(120, len(set(map(str, names))) == len(names), f"names of tools: {short(names)}")
    for tool in tools:
        schema = tool.get("inputSchema")
        trial.check(
            120, isinstance(schema, dict) and schema.get("type") == "object", f"{tool.get('name')}: {short(schema)}"
        )
    scopes = {r.message["result"].get("cacheScope") for r in talk.inbox if _lists_tools(r.message)}
    if len([r for r in talk.inbox if _lists_tools(r.message)]) > 1:
        trial.check(175, len(scopes) == 1, f"pages of one list have the scopes {scopes}")


def _lists_tools(message: Any) -> bool:
    return isinstance(message, dict) and isinstance(message.get("result"), dict) and "tools" in message["result"]


KINDS = {"text": ["text"], "image": ["image"], "audio": ["audio"], "embedded": ["resource"],
         "mixed": ["text", "image", "resource"]}  # fmt: skip


@scenario(covers=[121, 132])
async def content_kinds(trial: Trial) -> None:
    """Results hold blocks of the kinds that the tools are there for, each whole."""
    talk = await trial.open()
    tried = 0
    for name, kinds in KINDS.items():
        if trial.fixtures.find("tools", name) is None or (name == "audio" and trial.revision.letter == "A"):
            continue
        tried += 1
        reply = await talk.request("tools/call", trial.tool(name))
        content = (reply.result or {}).get("content")
        found = [each.get("type") for each in content] if isinstance(content, list) else None
        trial.check(
            121, found is not None and set(kinds) <= set(found), f"{name}: expected {kinds}, got {reply.show()}"
        )
        for block in content or ():
            if isinstance(block, dict) and block.get("type") == "resource":
                inner = block.get("resource")
                is_whole = isinstance(inner, dict) and "uri" in inner and ("text" in inner or "blob" in inner)
                trial.check(132, is_whole, f"{name}: an embedded resource {short(inner)}")
    if not tried:
        raise Skip("the target has none of the fixtures tools.text, image, audio, embedded, mixed")


@scenario(covers=[121])
async def tool_error(trial: Trial) -> None:
    """A tool that fails is a result with `isError`, not an error of the protocol."""
    talk = await trial.open()
    reply = await talk.request("tools/call", trial.tool("error"))
    is_error = (reply.result or {}).get("isError") is True
    trial.check(121, is_error, f"a tool that fails answered {reply.show()}")


@scenario(covers=[129], revisions="DE")
async def wrong_arguments(trial: Trial) -> None:
    """Arguments that do not fit are told in a result with `isError`, so that a model can mend them."""
    talk = await trial.open()
    row = trial.fixture("tools", "validated")
    wrong: list[dict[str, Any]] = [row["wrong"], {}]
    for arguments in wrong:
        reply = await talk.request("tools/call", {"name": row["name"], "arguments": arguments})
        is_told = (reply.result or {}).get("isError") is True
        trial.check(129, is_told, f"arguments {short(arguments)}: {reply.show()}")


@scenario(covers=[122], revisions="CDE")
async def structured_output(trial: Trial) -> None:
    """A tool with an output schema returns structured content that fits it."""
    talk = await trial.open()
    name = trial.fixture("tools", "structured")["name"]
    tool = next((t for t in await all_tools(trial, talk) if t.get("name") == name), {})
    schema = tool.get("outputSchema")
    if not trial.check(122, isinstance(schema, dict), f"the outputSchema of {name} is {short(schema)}"):
        return
    reply = await talk.request("tools/call", trial.tool("structured"))
    result = reply.result or {}
    is_there = trial.check(122, "structuredContent" in result, f"no structuredContent: {reply.show()}")
    if is_there:
        fits = _fits(schema, result["structuredContent"])
        trial.check(122, fits, f"{short(result['structuredContent'])} does not fit {short(schema)}")
        trial.advise(122, bool(result.get("content")), "structured content without a text that says the same")


def _fits(schema: Any, value: Any) -> bool:
    return bool(jsonschema_rs.validator_for(schema).is_valid(value))


@scenario(covers=[124, 122], revisions="CDE")
async def structured_output_of_any_kind(trial: Trial) -> None:
    """Structured content may be an array or null in the newest revision; older clients get an object or none."""
    talk = await trial.open()
    expected: Mapping[str, type | None] = {"structured_array": list, "structured_null": type(None)}
    tried = 0
    for name, kind in expected.items():
        if trial.fixtures.find("tools", name) is None:
            continue
        tried += 1
        result = (await talk.request("tools/call", trial.tool(name))).result or {}
        value = result.get("structuredContent", ...)
        if trial.is_envelope:
            is_kept = value is not ... and type(value) is kind
            trial.check(124, is_kept, f"{name}: {'absent' if value is ... else short(value)}")
        else:
            trial.check(122, value is ... or isinstance(value, dict), f"{name}: structuredContent {short(value)}")
    if not tried:
        raise Skip("the target has no fixture tools.structured_array or tools.structured_null")


@scenario(covers=[125, 127, 120], revisions="DE")
async def schema_is_kept(trial: Trial) -> None:
    """A schema reaches the client with all its keywords."""
    talk = await trial.open()
    name = trial.fixture("tools", "schema")["name"]
    tool = next((t for t in await all_tools(trial, talk) if t.get("name") == name), {})
    schema = tool.get("inputSchema") or {}
    lost = [key for key in ("$schema", "$defs", "properties", "allOf", "if", "then", "else") if key not in schema]
    trial.check(120, not lost, f"the schema of {name} lacks {lost}")
    good = {"name": "Ann", "contactMethod": "phone", "phone": "1"}
    reply = await talk.request("tools/call", {"name": name, "arguments": good})
    trial.check(125, bool(reply.result) and not (reply.result or {}).get("isError"), f"{good}: {reply.show()}")
    bad = {"name": "Ann", "contactMethod": "phone", "email": "a@example.com"}
    reply = await talk.request("tools/call", {"name": name, "arguments": bad})
    is_told = reply.error is not None or bool((reply.result or {}).get("isError"))
    trial.check(125, is_told, f"2020-12: if/then was not applied to {bad}: {reply.show()}")


@scenario(covers=[121, 8])
async def text_survives(trial: Trial) -> None:
    """Text of every script, quotes, newlines and zero-width characters come back unchanged."""
    talk = await trial.open()
    row = trial.fixture("tools", "echo")
    for text in (
        "héllo wörld",
        "日本語 🎉",
        'quote " and \\ and \n newline \t tab',
        "a\u2028b\u2029c\u200b",
        "",
        "x" * 20000,
    ):
        reply = await talk.request("tools/call", {"name": row["name"], "arguments": {"text": text}})
        trial.check(121, reply.text == text, f"sent {short(text)}, got {reply.show()}")
