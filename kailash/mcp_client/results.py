"""What calls give: typed results, convenient to read and to pass on."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from protocol import model
from protocol.jsonrpc import DECODE_ERRORS
from protocol.results import CallToolResult, ReadResourceResult
from protocol.types import BlobResourceContents, ContentBlock, ResourceContents, TextContent, TextResourceContents, Tool

from ..errors import ERROR_META, MCPError, MCPErrorCode, ValidationError, from_wire

__all__ = ["OutputSchemas", "ResourceResult", "ToolResult", "plain_arguments", "read_as"]

R = TypeVar("R", bound=Struct)


class ToolResult(Mapping[str, Any]):
    """What a tool answered; also a read-only mapping over its structured content, or over a JSON object in its text."""

    __slots__ = ("_data", "_mapping", "raw")

    def __init__(self, raw: CallToolResult) -> None:
        self.raw = raw
        """The result as it came, unknown members included."""
        self._data: Any = UNSET
        self._mapping: Mapping[str, Any] | None = None

    @property
    def content(self) -> list[ContentBlock]:
        """The content blocks."""
        return self.raw.content

    @property
    def structured_content(self) -> Any:
        """The structured content; `None` also when there is none (`has_structured_content` tells)."""
        return None if self.raw.structured_content is UNSET else self.raw.structured_content

    @property
    def has_structured_content(self) -> bool:
        """Tell whether the tool sent structured content, be it null."""
        return self.raw.structured_content is not UNSET

    @property
    def is_error(self) -> bool:
        """Tell whether the tool failed."""
        return self.raw.is_error is True

    @property
    def meta(self) -> dict[str, Any]:
        """The result's `_meta`."""
        return self.raw.meta if isinstance(self.raw.meta, dict) else {}

    @property
    def text(self) -> str:
        """All text blocks, joined by newlines."""
        return "\n".join(block.text for block in self.content if isinstance(block, TextContent))

    @property
    def data(self) -> Any:
        """The structured content; else the one text block as JSON if it is JSON, else as text; else the blocks."""
        if self._data is UNSET:
            self._data = self._read_data()
        return self._data

    def _read_data(self) -> Any:
        if self.has_structured_content:
            return self.structured_content
        if len(self.content) == 1 and isinstance(self.content[0], TextContent):
            text = self.content[0].text
            if text[:1] in ("{", "["):
                try:
                    return msgspec.json.decode(text)
                except msgspec.DecodeError:
                    return text
            return text
        return self.content or None

    def error(self) -> MCPError:
        """Return the error the tool raised, or what its text says."""
        return from_wire(self.text or "the tool failed", MCPErrorCode.TOOL_ERROR, self.meta.get(ERROR_META))

    def _as_mapping(self) -> Mapping[str, Any]:
        if self._mapping is None:
            self._mapping = self.data if isinstance(self.data, Mapping) else {}
        return self._mapping

    def __getitem__(self, key: str) -> Any:
        return self._as_mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._as_mapping())

    def __len__(self) -> int:
        return len(self._as_mapping())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        failed = ", is_error=True" if self.is_error else ""
        return f"ToolResult({self.data!r}{failed})"


class ResourceResult(Mapping[str, Any]):
    """What a resource holds; also a read-only mapping over its one JSON object."""

    __slots__ = ("raw",)

    def __init__(self, raw: ReadResourceResult) -> None:
        self.raw = raw

    @property
    def contents(self) -> list[ResourceContents]:
        """The contents, text and blobs."""
        return self.raw.contents

    @property
    def text(self) -> str:
        """All texts, joined by newlines."""
        return "\n".join(part.text for part in self.contents if isinstance(part, TextResourceContents))

    @property
    def blob(self) -> bytes:
        """The bytes of all blobs."""
        return b"".join(part.decode() for part in self.contents if isinstance(part, BlobResourceContents))

    @property
    def data(self) -> Any:
        """The one text as JSON when its type is JSON; else the text, or the bytes."""
        if any(isinstance(part, BlobResourceContents) for part in self.contents):
            return self.blob
        first = self.contents[0] if len(self.contents) == 1 else None
        if isinstance(first, TextResourceContents) and isinstance(first.mime_type, str) and "json" in first.mime_type:
            try:
                return msgspec.json.decode(first.text)
            except msgspec.DecodeError:
                return first.text
        return self.text

    def _as_mapping(self) -> Mapping[str, Any]:
        data = self.data
        return data if isinstance(data, Mapping) else {}

    def __getitem__(self, key: str) -> Any:
        return self._as_mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._as_mapping())

    def __len__(self) -> int:
        return len(self._as_mapping())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"ResourceResult({self.data!r})"


class OutputSchemas:
    """The output schemas of the tools that were listed; structured content is checked against them."""

    def __init__(self) -> None:
        self._schemas: dict[str, dict[str, Any]] = {}

    def learn(self, tools: list[Tool]) -> None:
        """Take the newest list."""
        self._schemas = {tool.name: tool.output_schema for tool in tools if isinstance(tool.output_schema, dict)}

    def check(self, tool: str, result: ToolResult) -> None:
        """Check a result, if its tool was listed with a schema.

        Raises:
            ValidationError: it breaks the schema.
            SchemaError: the schema cannot be used: a dialect nobody knows, or references that would have to be fetched.
        """
        schema = self._schemas.get(tool)
        if schema is None or not result.has_structured_content:
            return
        from ..schema.compile import compile_schema  # slow to import, and most clients never need it

        wrong = compile_schema(schema).check(result.structured_content)
        if wrong is not None:
            raise ValidationError(f"tool {tool!r} broke its output schema: {wrong}")


_PLAIN = frozenset({str, int, float, bool, type(None)})


def plain_arguments(value: Any) -> Any:
    """Turn results inside arguments into the data they hold, so that one call's result is the next one's argument."""
    if type(value) in _PLAIN:
        return value  # nearly everything; a look at an abstract class takes longer than all that follows
    if type(value) is dict and _PLAIN.issuperset(map(type, value.values())):
        return value
    if isinstance(value, ToolResult | ResourceResult):
        return plain_arguments(value.data)
    if isinstance(value, Mapping):
        return {key: plain_arguments(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain_arguments(item) for item in value]
    if isinstance(value, TextContent):
        return msgspec.json.decode(model.encode(value))
    return value


def read_as(raw: Raw, type_: type[R]) -> R:
    """Read a result as its type.

    Raises:
        MCPError: it does not have the type's shape.
    """
    try:
        return model.decode(raw, type_)
    except DECODE_ERRORS as error:
        raise MCPError(f"invalid {type_.__name__} from the server: {error}") from None
