"""What handlers return, turned into MCP content: text, images, audio, embedded resources, links, JSON."""

import mimetypes
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from protocol import model
from protocol.results import CallToolResult, ReadResourceResult
from protocol.types import (
    AudioContent,
    BlobResourceContents,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from ..schema import dumps, to_jsonable

__all__ = ["CONTENT_TYPES", "Audio", "File", "Image", "ToolResult", "contents_of", "result_of"]

BLOCKS = (TextContent, ImageContent, AudioContent, ResourceLink, EmbeddedResource)


class _Media:
    """Binary content from memory or from a file."""

    default_type = "application/octet-stream"

    def __init__(self, data: bytes | None = None, mime_type: str | None = None, *, path: str | Path | None = None):
        if (data is None) == (path is None):
            raise TypeError(f"{type(self).__name__} needs either data or path")
        if path is not None:
            data = Path(path).read_bytes()
            mime_type = mime_type or mimetypes.guess_type(str(path))[0]
        assert data is not None
        self.data = data
        self.mime_type = mime_type or self.default_type
        self.path = None if path is None else Path(path)

    def block(self) -> ContentBlock:
        """Return the content block."""
        uri = "file:///" + ("data" if self.path is None else self.path.name)
        return EmbeddedResource(resource=BlobResourceContents.of(uri, self.data, mime_type=self.mime_type))


class Image(_Media):
    """An image: `Image(data, "image/png")` or `Image(path="chart.png")`."""

    default_type = "image/png"

    def block(self) -> ContentBlock:
        """Return the content block."""
        return ImageContent.of(self.data, self.mime_type)


class Audio(_Media):
    """A sound: `Audio(data, "audio/wav")` or `Audio(path="alarm.wav")`."""

    default_type = "audio/wav"

    def block(self) -> ContentBlock:
        """Return the content block."""
        return AudioContent.of(self.data, self.mime_type)


class File(_Media):
    """A file of any type, sent as an embedded resource."""


CONTENT_TYPES: tuple[type, ...] = (*BLOCKS, _Media, Image, Audio, File, CallToolResult)
"""Classes that are content already; a tool that returns them promises no structure."""

ToolResult = CallToolResult
"""What a tool returns to say everything itself: content, structured content, error flag, `_meta`."""

_TEXTS = str
_blocks = msgspec.json.Decoder(list[ContentBlock])


def result_of(value: Any, *, structured: bool) -> CallToolResult:
    """Turn what a tool returned into its result.

    Args:
        value: text, bytes, content, JSON-able data, or a `ToolResult`.
        structured: the tool promised structure, so that every value is structured content; otherwise only mappings and
            objects are.

    Raises:
        TypeError: the value holds something JSON has no form for.
    """
    if type(value) is str and not structured:
        return CallToolResult(content=[TextContent(text=value)])
    if isinstance(value, CallToolResult):
        return value
    if value is None and not structured:
        return CallToolResult(content=[])
    if isinstance(value, (*BLOCKS, _Media)):
        return CallToolResult(content=[_block(value)])
    if isinstance(value, list | tuple) and any(isinstance(item, (*BLOCKS, _Media)) for item in value):
        return CallToolResult(content=[_block(item) for item in value])
    if isinstance(value, bytes | bytearray) and not structured:
        return CallToolResult(content=[TextContent(text=b64encode(value).decode())])
    if isinstance(value, Mapping) and _is_content(value.get("content")):
        return _spelled_out(value)
    plain = to_jsonable(value)
    text = plain if isinstance(plain, str) else dumps(plain).decode()
    result = CallToolResult(content=[TextContent(text=text)])
    if structured or isinstance(plain, dict):
        result.structured_content = plain
    return result


def _block(value: Any) -> ContentBlock:
    if isinstance(value, _Media):
        return value.block()
    if isinstance(value, BLOCKS):
        return value
    plain = to_jsonable(value)
    return TextContent(text=plain if isinstance(plain, str) else dumps(plain).decode())


def _is_content(value: Any) -> bool:
    """Tell whether this is a list of content blocks spelled as mappings, which a `content` member of data rarely is."""
    kinds = ("text", "image", "audio", "resource", "resource_link")
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, (*BLOCKS, _Media)) or (isinstance(item, Mapping) and item.get("type") in kinds)
            for item in value
        )
    )


def _spelled_out(value: Mapping[str, Any]) -> CallToolResult:
    """Read a result written as a mapping with real content blocks."""
    known = {"content", "structuredContent", "isError", "_meta"}
    if not value.keys() <= known:
        raise TypeError(f"a result with content knows {sorted(known)}, not {sorted(value.keys() - known)}")
    blocks = [item.block() if isinstance(item, _Media) else item for item in value["content"]]
    return model.decode(dumps({**value, "content": [to_jsonable(item) for item in blocks]}), CallToolResult)


def contents_of(value: Any, uri: str, mime_type: str | None) -> ReadResourceResult:
    """Turn what a resource function returned into contents.

    Text becomes `text/plain`, bytes a blob, everything else JSON, unless the resource declares another type.
    """
    if isinstance(value, ReadResourceResult):
        return value
    items = value if isinstance(value, list) and value and all(map(_is_contents, value)) else [value]
    return ReadResourceResult(contents=[_contents(item, uri, mime_type) for item in items])


def _is_contents(value: Any) -> bool:
    return isinstance(value, TextResourceContents | BlobResourceContents)


def _contents(value: Any, uri: str, mime_type: str | None) -> TextResourceContents | BlobResourceContents:
    if isinstance(value, TextResourceContents | BlobResourceContents):
        return value
    if isinstance(value, bytes | bytearray):
        return BlobResourceContents.of(uri, bytes(value), mime_type=mime_type or "application/octet-stream")
    if isinstance(value, _Media):
        return BlobResourceContents.of(uri, value.data, mime_type=mime_type or value.mime_type)
    if isinstance(value, str):
        return TextResourceContents(uri=uri, text=value, mime_type=mime_type or "text/plain")
    return TextResourceContents(uri=uri, text=dumps(value).decode(), mime_type=mime_type or "application/json")
