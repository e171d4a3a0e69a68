"""Progress reporters, structured tools and multi-modal content, as the seed document spells them."""

from collections.abc import Generator
from types import TracebackType
from typing import Any

import msgspec

from protocol.types import (
    AudioContent,
    BlobResourceContents,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)

from .context import Context, current_context
from .structure import structured_tool

__all__ = ["MultiModalContent", "ProgressReporter", "create_progress_reporter", "structured_tool"]


class ProgressReporter:
    """Tells the client how far a request has come; without a token of the client's it sends nothing.

    An async context manager, and awaitable to itself. Leaving the context without an error reports the total.
    """

    def __init__(self, name: str, total: float | None = None) -> None:
        self.name = name
        self.total = total
        self._last: float | None = None
        self._context: Context | None = current_context()

    async def update(
        self, progress: float | None = None, status: str | None = None, *, increment: float | None = None
    ) -> bool:
        """Report; returns whether a notification was sent.

        Args:
            progress: how far, in units of `total`; must increase to be sent.
            status: one line for people; the reporter's name by default.
            increment: how much further, instead of `progress`.
        """
        if progress is None:
            progress = (self._last or 0) + (1 if increment is None else increment)
        self._last = progress if self._last is None else max(self._last, progress)
        if self._context is None:
            return False
        return await self._context.progress(progress, self.total, status or self.name)

    def __await__(self) -> Generator[Any, Any, "ProgressReporter"]:
        return self._self().__await__()

    async def _self(self) -> "ProgressReporter":
        return self

    async def __aenter__(self) -> "ProgressReporter":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.total is not None:
            await self.update(self.total, f"{self.name} completed")


def create_progress_reporter(name: str, total: float | None = None) -> ProgressReporter:
    """Return a reporter for the request being handled: `async with create_progress_reporter("load", 100) as p`."""
    return ProgressReporter(name, total)


class MultiModalContent:
    """Builds a list of content blocks: text, images, audio, resources, in the order they were added."""

    def __init__(self) -> None:
        self.blocks: list[ContentBlock] = []

    def add_text(self, text: str) -> "MultiModalContent":
        """Add text."""
        self.blocks.append(TextContent(text=text))
        return self

    def add_image(self, data: bytes | str, mime_type: str = "image/png") -> "MultiModalContent":
        """Add an image, from bytes or from text that is Base64 already."""
        block = (
            ImageContent.of(data, mime_type)
            if isinstance(data, bytes)
            else ImageContent(data=data, mime_type=mime_type)
        )
        self.blocks.append(block)
        return self

    def add_audio(self, data: bytes | str, mime_type: str = "audio/wav") -> "MultiModalContent":
        """Add a sound, from bytes or from text that is Base64 already."""
        block = (
            AudioContent.of(data, mime_type)
            if isinstance(data, bytes)
            else AudioContent(data=data, mime_type=mime_type)
        )
        self.blocks.append(block)
        return self

    def add_resource(self, uri: str, text: str | bytes = "", mime_type: str | None = None) -> "MultiModalContent":
        """Add an embedded resource: its URI and its text, or its bytes."""
        if isinstance(text, bytes):
            contents: Any = BlobResourceContents.of(uri, text, mime_type=mime_type or "application/octet-stream")
        else:
            contents = TextResourceContents(uri=uri, text=text, mime_type=mime_type or "text/plain")
        self.blocks.append(EmbeddedResource(resource=contents))
        return self

    def to_list(self) -> list[dict[str, Any]]:
        """Return the blocks as MCP content mappings."""
        return [msgspec.to_builtins(block) for block in self.blocks]
