"""Functions that yield: each part is told to the client as it comes, and all of them are the result.

MCP has no partial results. A part therefore goes out as a progress notification, for clients that sent a progress
token, and the result holds everything, for those that did not.
"""

import inspect
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import Any

from ..errors import ToolError
from ..schema import dumps, to_jsonable
from .context import Context, current_context

__all__ = ["gathering", "is_streaming"]

MOST_PARTS = 100_000
"""Parts of one result."""
_LONGEST_MESSAGE = 4096
"""Characters of a part that a progress notification shows."""


def is_streaming(fn: Any) -> bool:
    """Tell whether a function yields."""
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def gathering(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, plain or coroutine as the one that yields, that returns all parts together.

    Parts that are all text become one text, parts that are all bytes one run of bytes; others a list.
    """
    if inspect.isasyncgenfunction(fn) or inspect.isasyncgenfunction(getattr(fn, "__call__", None)):  # noqa: B004

        @wraps(fn)
        async def gather_later(*args: Any, **kwargs: Any) -> Any:
            context = current_context()
            parts: list[Any] = []
            stream: AsyncIterator[Any] = fn(*args, **kwargs)
            try:
                async for part in stream:
                    parts.append(part)
                    if context is not None:
                        await _tell(context, parts)
                    _check(parts)
            finally:
                # Cancelled between two parts, it would be closed whenever it is collected, in another task.
                await stream.aclose()  # type: ignore[attr-defined]
            return _joined(parts)

        return gather_later

    @wraps(fn)
    def gather(*args: Any, **kwargs: Any) -> Any:
        context = current_context()
        parts: list[Any] = []
        stream: Iterator[Any] = fn(*args, **kwargs)
        try:
            for part in stream:
                parts.append(part)
                if context is not None:
                    context.cancelled.check()
                    _tell(context, parts)
                _check(parts)
        finally:
            stream.close()  # type: ignore[attr-defined]
        return _joined(parts)

    return gather


def _tell(context: Context, parts: list[Any]) -> Any:
    return context.progress(len(parts), None, _shown(parts[-1]))


def _shown(part: Any) -> str:
    if isinstance(part, str):
        return part[:_LONGEST_MESSAGE]
    if isinstance(part, bytes | bytearray):
        return b64encode(part[: _LONGEST_MESSAGE * 3 // 4]).decode()
    try:
        return dumps(to_jsonable(part)).decode()[:_LONGEST_MESSAGE]
    except (TypeError, ValueError):
        return type(part).__name__  # an image, say: it is in the result


def _check(parts: list[Any]) -> None:
    if len(parts) > MOST_PARTS:
        raise ToolError(f"a result has at most {MOST_PARTS} parts")


def _joined(parts: list[Any]) -> Any:
    if parts and all(isinstance(part, str) for part in parts):
        return "".join(parts)
    if parts and all(isinstance(part, bytes | bytearray) for part in parts):
        return b"".join(parts)
    return parts
