"""What a client over HTTP knows of a server's tools: which arguments headers repeat, and which calls may be repeated.

Learnt from the results of `tools/list` that pass by; the newest schema of a tool counts.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ..framing.headers import ANNOTATION, InvalidMirror, MirroredHeader, encode_value, mirror_paths
from ..jsonrpc import DECODE_ERRORS
from .answer import Header

__all__ = ["ToolCatalogue", "next_cursor"]


class _Hints(Struct):
    read_only: Any = msgspec.field(name="readOnlyHint", default=None)
    idempotent: Any = msgspec.field(name="idempotentHint", default=None)


class _Tool(Struct):
    name: str
    schema: Raw = msgspec.field(name="inputSchema", default=Raw(b"{}"))
    annotations: _Hints | UnsetType = UNSET


class _Page(Struct):
    tools: list[Raw]
    cursor: str | None = msgspec.field(name="nextCursor", default=None)


class _Arguments(Struct):
    arguments: dict[str, Any] | UnsetType = UNSET


class _Known(Struct, frozen=True):
    mirrors: dict[tuple[str, ...], MirroredHeader]
    is_repeatable: bool


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_decode_arguments = msgspec.json.Decoder(_Arguments).decode
_decode_schema = msgspec.json.Decoder(dict[str, Any]).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_NO_MIRRORS: dict[tuple[str, ...], MirroredHeader] = {}


class ToolCatalogue:
    """The tools of one server.

    Args:
        limit: most tools that are remembered.
    """

    def __init__(self, limit: int) -> None:
        self.rejected: dict[str, str] = {}
        """The tools that cannot be used over HTTP, and why."""
        self._limit = limit
        self._known: dict[str, _Known] = {}

    def learn(self, result: Raw, *, has_mirrors: bool) -> tuple[Raw, dict[str, str]]:
        """Take a result of `tools/list`.

        Args:
            result: the result.
            has_mirrors: the revision mirrors arguments into headers.

        Returns:
            The result without the tools that cannot be used, and which of them were not known as such before.
        """
        try:
            tools = _decode_page(result).tools
        except DECODE_ERRORS:
            return result, {}  # whoever wants the tools will say what is wrong
        kept: list[Raw] = []
        fresh: dict[str, str] = {}
        for raw in tools:
            try:
                tool = _decode_tool(raw)
                self._learn(tool, has_mirrors=has_mirrors)
            except InvalidMirror as fault:
                # "the client MUST exclude the invalid tool from the result of tools/list"
                # — 2026-07-28 server/tools
                if tool.name not in self.rejected and len(self.rejected) < self._limit:
                    fresh[tool.name] = self.rejected[tool.name] = str(fault)
                continue
            except DECODE_ERRORS:
                pass
            kept.append(raw)
        if len(kept) == len(tools):
            return result, {}
        members = _decode_members(result)
        members["tools"] = Raw(msgspec.json.encode(kept))
        return Raw(msgspec.json.encode(members)), fresh

    def _learn(self, tool: _Tool, *, has_mirrors: bool) -> None:
        self._known.pop(tool.name, None)
        mirrors = mirror_paths(_decode_schema(tool.schema)) if has_mirrors and _may_mirror(tool.schema) else _NO_MIRRORS
        hints = tool.annotations
        is_repeatable = hints is not UNSET and (hints.read_only is True or hints.idempotent is True)
        self.rejected.pop(tool.name, None)
        if mirrors or is_repeatable:
            if len(self._known) >= self._limit:
                del self._known[next(iter(self._known))]
            self._known[tool.name] = _Known(mirrors, is_repeatable)

    def is_repeatable(self, name: str | None) -> bool:
        """Tell whether a tool says that calling it twice does no more than once."""
        known = None if name is None else self._known.get(name)
        return known is not None and known.is_repeatable

    def headers(self, name: str | None, params: bytes) -> list[Header]:
        """Return the headers that repeat arguments of a call.

        Args:
            name: the tool's.
            params: of the call, encoded.

        Raises:
            ValueError: an argument has no form in a header.
        """
        known = None if name is None else self._known.get(name)
        if known is None or not known.mirrors:
            return []
        try:
            found = _decode_arguments(params).arguments
        except DECODE_ERRORS:
            return []  # arguments that are no object are refused by the server as what they are
        headers: list[Header] = []
        for path, header in known.mirrors.items():
            value: Any = {} if found is UNSET else found
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            # "Parameter value is null: Client MUST omit the header"
            # — 2026-07-28 basic/transports/streamable-http#server-behavior-for-custom-headers
            if isinstance(value, str | int | float):
                try:
                    headers.append((header.name.lower().encode(), encode_value(value)))
                except ValueError as fault:
                    raise ValueError(f"argument {'.'.join(path)!r} of tool {name!r}: {fault}") from None
        return headers


def _may_mirror(schema: Raw) -> bool:
    """Tell whether a schema can hold annotations; most hold none, and need not be decoded."""
    text = bytes(schema)
    return ANNOTATION.encode() in text or b"\\u" in text


def next_cursor(result: Raw) -> str | None:
    """Return where the next page of `tools/list` begins, `None` after the last."""
    try:
        return _decode_page(result).cursor
    except DECODE_ERRORS:
        return None
