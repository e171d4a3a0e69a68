"""Shapes of results: what members a result has in each revision, and the rule that each belongs to."""

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

from .requirements import Revision

__all__ = ["block_fault", "faults_of"]

Faults = Iterator[tuple[int, str | None]]


def faults_of(method: str, result: dict[str, Any], revision: Revision) -> Faults:
    """Yield what is wrong with a result: rule and fault, `None` for a rule that was looked at and kept."""
    look = _LOOKS.get(method)
    if look is not None:
        yield from look(result, revision)


def _initialize(result: dict[str, Any], revision: Revision) -> Faults:
    info = result.get("serverInfo")
    if not isinstance(result.get("protocolVersion"), str):
        yield 19, f"protocolVersion is {result.get('protocolVersion')!r}"
    elif not isinstance(result.get("capabilities"), dict):
        yield 19, f"capabilities are {result.get('capabilities')!r}"
    elif not isinstance(info, dict) or not all(isinstance(info.get(name), str) for name in ("name", "version")):
        yield 19, f"serverInfo is {info!r}"
    else:
        yield 19, None


def _discover(result: dict[str, Any], revision: Revision) -> Faults:
    versions = result.get("supportedVersions")
    if not isinstance(versions, list) or not versions or not all(isinstance(v, str) for v in versions):
        yield 37, f"supportedVersions is {versions!r}"
    elif not isinstance(result.get("capabilities"), dict):
        yield 37, f"capabilities are {result.get('capabilities')!r}"
    else:
        yield 37, None


def _tools(result: dict[str, Any], revision: Revision) -> Faults:
    tools = result.get("tools")
    if not isinstance(tools, list):
        yield 120, f"tools is {tools!r}"
        return
    for tool in tools:
        schema = tool.get("inputSchema") if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            yield 120, f"a tool without a name: {tool!r}"
        elif not isinstance(schema, dict) or schema.get("type") != "object":
            yield 120, f"the inputSchema of {tool['name']!r} is {schema!r}"
        else:
            yield 120, None


def block_fault(block: Any, revision: Revision) -> str | None:
    """Say what is wrong with a content block; `None` if nothing is."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        return None if isinstance(block.get("text"), str) else f"a text block without text: {block!r}"
    if kind in ("image", "audio"):
        if kind == "audio" and revision.letter == "A":
            return "an audio block, which the revision has not"
        return _media_fault(block)
    if kind == "resource":
        return _contents_fault(block.get("resource"))
    if kind == "resource_link":
        if revision.letter in "AB":
            return "a resource_link, which the revision has not"
        is_whole = isinstance(block.get("uri"), str) and isinstance(block.get("name"), str)
        return None if is_whole else f"a resource_link without uri or name: {block!r}"
    return f"a content block of the type {kind!r}"


def _media_fault(block: dict[str, Any]) -> str | None:
    if not isinstance(block.get("mimeType"), str):
        return f"{block.get('type')} without mimeType"
    return None if _is_base64(block.get("data")) else f"the data of an {block.get('type')} block is no Base64"


def _is_base64(data: Any) -> bool:
    if not isinstance(data, str):
        return False
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _contents_fault(contents: Any) -> str | None:
    if not isinstance(contents, dict) or not isinstance(contents.get("uri"), str):
        return f"resource contents without uri: {str(contents)[:200]}"
    if isinstance(contents.get("text"), str):
        return None
    return None if _is_base64(contents.get("blob")) else "resource contents with neither text nor a Base64 blob"


def _call(result: dict[str, Any], revision: Revision) -> Faults:
    if "task" in result or result.get("resultType") == "task":
        return
    content = result.get("content")
    if not isinstance(content, list):
        yield 121, f"content is {content!r}"
        return
    faults = [fault for block in content if (fault := block_fault(block, revision))]
    yield 121, faults[0] if faults else None
    if revision.letter in "CD" and "structuredContent" in result:
        is_object = isinstance(result["structuredContent"], dict)
        yield 122, None if is_object else f"structuredContent is {result['structuredContent']!r}, no object"


def _read(result: dict[str, Any], revision: Revision) -> Faults:
    contents = result.get("contents")
    if not isinstance(contents, list):
        yield 132, f"contents is {contents!r}"
        return
    if not contents and revision.is_envelope:
        yield 130, "contents is empty"
    faults = [fault for each in contents if (fault := _contents_fault(each))]
    yield 132, faults[0] if faults else None


def _complete(result: dict[str, Any], revision: Revision) -> Faults:
    completion = result.get("completion")
    values = completion.get("values") if isinstance(completion, dict) else None
    is_whole = isinstance(values, list) and len(values) <= 100 and all(isinstance(value, str) for value in values)
    count = len(values) if isinstance(values, list) else "no"
    yield 136, None if is_whole else f"completion has {count} values"


_LOOKS: dict[str, Callable[[dict[str, Any], Revision], Faults]] = {
    "initialize": _initialize,
    "server/discover": _discover,
    "tools/list": _tools,
    "tools/call": _call,
    "resources/read": _read,
    "completion/complete": _complete,
}
