"""Lists and reads of one client: page by page, kept for as long as the server allows."""

from collections.abc import AsyncIterator, Hashable, Mapping
from typing import Any, TypeVar

from msgspec import UNSET, Raw, Struct

from protocol.events import Change
from protocol.params import CompleteParams, GetPromptParams, PaginatedParams
from protocol.results import (
    CompleteResult,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
)
from protocol.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from ..schema import dumps
from .caching import ResponseCache
from .calls import Calls
from .paging import items_of
from .results import plain_arguments, read_as

__all__ = ["Reader"]

R = TypeVar("R", bound=Struct)

_LISTS: Mapping[str, tuple[type[Struct], str]] = {
    "tools/list": (ListToolsResult, "tools"),
    "resources/list": (ListResourcesResult, "resources"),
    "resources/templates/list": (ListResourceTemplatesResult, "resource_templates"),
    "prompts/list": (ListPromptsResult, "prompts"),
}
"""What a page of each list is, and which member holds its items."""


class Reader:
    """Reads what a server offers.

    Args:
        calls: makes the calls.
        keeps: keep results for as long as the server allows.
    """

    def __init__(self, calls: Calls, *, keeps: bool) -> None:
        self._calls = calls
        self._cache = ResponseCache() if keeps else None

    def change(self, change: Change) -> None:
        """Forget what a change makes stale."""
        if self._cache is not None:
            self._cache.change(change)

    def clear(self) -> None:
        """Forget everything."""
        if self._cache is not None:
            self._cache.clear()

    def items(self, method: str) -> AsyncIterator[Any]:
        """Iterate over what a method lists, page by page."""
        type_, member = _LISTS[method]
        return items_of(method, lambda cursor: self._page(method, type_, cursor), member)

    async def _page(self, method: str, type_: type[Struct], cursor: Any) -> Struct:
        key = None if cursor is UNSET else cursor
        return await self.get(method, PaginatedParams(cursor=cursor), type_, key)

    async def get(
        self, method: str, params: Struct, type_: type[R], key: Hashable, *, timeout: float | None = None
    ) -> R:
        """Return a result, kept or new.

        Args:
            key: tells results of the method apart.
        """
        cached: R | None = self._cached(method, key)
        if cached is not None:
            return cached
        raw, is_cacheable = await self._calls.read(method, params, timeout=timeout)
        result = read_as(raw, type_)
        if is_cacheable:
            self._keep(method, key, raw, result)
        return result

    async def prompt(self, name: str, arguments: Mapping[str, Any] | None, *, timeout: float | None) -> GetPromptResult:
        """Return a filled-in prompt; argument values that are not text are sent as JSON."""
        texts: Any = UNSET
        if arguments is not None:
            texts = {k: v if isinstance(v, str) else dumps(plain_arguments(v)).decode() for k, v in arguments.items()}
        params = GetPromptParams(name=name, arguments=texts)
        raw, _ = await self._calls.read("prompts/get", params, timeout=timeout)
        return read_as(raw, GetPromptResult)

    async def completion(
        self, argument: str, value: str, prompt: str | None, template: str | None, context: Mapping[str, str] | None
    ) -> Completion:
        """Return suggestions for an argument of a prompt, or for a variable of a template."""
        ref: Any = PromptReference(name=prompt) if prompt is not None else ResourceTemplateReference(uri=template or "")
        params = CompleteParams(
            ref=ref,
            argument=CompletionArgument(name=argument, value=value),
            context=UNSET if context is None else CompletionContext(arguments=dict(context)),
        )
        raw, _ = await self._calls.read("completion/complete", params)
        return read_as(raw, CompleteResult).completion

    def _cached(self, method: str, key: Hashable) -> Any:
        session = self._calls.session
        if self._cache is None or session is None:
            return None
        return self._cache.get(method, key, session.channel.now())

    def _keep(self, method: str, key: Hashable, raw: Raw, value: Any) -> None:
        session = self._calls.session
        if self._cache is not None and session is not None:
            self._cache.put(method, key, raw, value, session.channel.now())
