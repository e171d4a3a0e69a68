"""Lists that come in pages: followed to their end, within bounds."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from msgspec import UNSET

from ..errors import MCPError, MCPErrorCode

__all__ = ["MOST_ITEMS", "MOST_PAGES", "items_of"]

MOST_PAGES = 250
"""Most pages of one list that are fetched."""
MOST_ITEMS = 100_000
"""Most items of one list that are fetched."""


async def items_of(what: str, fetch: Callable[[Any], Awaitable[Any]], member: str) -> AsyncIterator[Any]:
    """Iterate over the items of all pages.

    Args:
        what: the list, for the message of an error.
        fetch: returns the page at a cursor, `UNSET` for the first.
        member: the attribute of a page that holds its items.

    Raises:
        MCPError: the list does not end; never cut short in silence.
    """
    cursor: Any = UNSET
    seen: set[str] = set()
    count = 0
    for _ in range(MOST_PAGES):
        page = await fetch(cursor)
        for item in getattr(page, member):
            count += 1
            yield item
        following = page.next_cursor
        if following is UNSET or following is None:
            return
        if following in seen or count > MOST_ITEMS:
            break
        seen.add(following)
        cursor = following  # an empty string is a cursor too
    raise MCPError(
        f"{what} does not end: {len(seen)} pages, {count} items, or a cursor that came twice",
        error_code=MCPErrorCode.INVALID_REQUEST,
    )
