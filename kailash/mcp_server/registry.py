"""What a server offers: tools, resources, templates, prompts, completions, in order of registration.

Pages of lists are built once and shared (`Prepared`) until something changes.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from protocol.eras import Prepared
from protocol.events import ChangeKind

from ..errors import MCPErrorCode, RequestError
from .entries import Entry
from .prompts import CompletionEntry, PromptEntry
from .resources import ResourceEntry, TemplateEntry
from .tools import ToolEntry

__all__ = ["Catalogue", "Registry"]

E = TypeVar("E", bound=Entry)


class Catalogue(Generic[E]):
    """The entries of one kind, by name."""

    def __init__(self, kind: str, make: Callable[[list[E], str | None], Struct], changed: Callable[[], None]) -> None:
        self.kind = kind
        self._entries: dict[str, E] = {}
        self._serial = 0
        self._make = make
        self._changed = changed
        self._pages: dict[tuple[str | None, Any], Prepared] = {}

    def add(self, entry: E) -> None:
        """Register an entry.

        Raises:
            ValueError: the name is taken; remove the other first.
        """
        if entry.name in self._entries:
            raise ValueError(f"{self.kind} {entry.name!r} is already registered; remove it first to replace it")
        self._serial += 1
        entry.serial = self._serial
        self._entries[entry.name] = entry
        self._forget()

    def remove(self, name: str) -> E:
        """Take an entry away, and return it.

        Raises:
            KeyError: there is none of that name.
        """
        entry = self._entries.pop(name)
        self._forget()
        return entry

    def enable(self, name: str, is_enabled: bool) -> None:
        """Show or hide an entry; a hidden one is neither listed nor served.

        Raises:
            KeyError: there is none of that name.
        """
        entry = self._entries[name]
        if entry.is_enabled is not is_enabled:
            entry.is_enabled = is_enabled
            self._forget()

    def get(self, name: str) -> E | None:
        """Return the enabled entry of that name."""
        entry = self._entries.get(name)
        return entry if entry is not None and entry.is_enabled else None

    def __iter__(self) -> Iterator[E]:
        return (entry for entry in self._entries.values() if entry.is_enabled)

    def __len__(self) -> int:
        return len(self._entries)

    def page(
        self, cursor: str | None, size: int | None, group: Any = None, shows: Callable[[E], bool] | None = None
    ) -> Prepared:
        """Return one page of the list.

        Args:
            cursor: from the page before; `None` for the first. An empty string is a cursor, and a wrong one.
            size: entries a page; `None` for all.
            group: callers who see the same entries share pages.
            shows: tells whether this group sees an entry.

        Raises:
            RequestError: −32602; the cursor is not one of ours.
        """
        page = self._pages.get((cursor, group))
        if page is None:
            after = 0 if cursor is None else _read_cursor(self.kind, cursor)
            entries = [
                e for e in self._entries.values() if e.serial > after and e.is_enabled and (not shows or shows(e))
            ]
            following = None
            if size is not None and len(entries) > size:
                entries = entries[:size]
                following = _write_cursor(self.kind, entries[-1].serial)
            page = Prepared(self._make(entries, following))
            if len(self._pages) > _MOST_PAGES:
                self._pages.clear()  # cursors come from peers; the pages kept for them are bounded
            self._pages[cursor, group] = page
        return page

    def refresh(self) -> None:
        """Take that an entry shows something else; clients are told."""
        self._forget()

    def _forget(self) -> None:
        self._pages.clear()
        self._changed()


_MOST_PAGES = 1024


def _write_cursor(kind: str, serial: int) -> str:
    return urlsafe_b64encode(f"{kind}:{serial}".encode()).decode()


def _read_cursor(kind: str, cursor: str) -> int:
    try:
        name, _, serial = urlsafe_b64decode(cursor.encode("ascii")).decode("ascii").partition(":")
        if name == kind and serial.isdecimal() and _write_cursor(kind, int(serial)) == cursor:
            return int(serial)
    except ValueError:
        pass
    raise RequestError("Invalid params: cursor", error_code=MCPErrorCode.INVALID_PARAMS)


class Registry:
    """Everything one server offers.

    Args:
        changed: called with the kind of list that changed.
    """

    def __init__(self, changed: Callable[[ChangeKind], None]) -> None:
        from protocol.results import (
            ListPromptsResult,
            ListResourcesResult,
            ListResourceTemplatesResult,
            ListToolsResult,
        )

        self.tools: Catalogue[ToolEntry] = Catalogue(
            "tool",
            lambda entries, cursor: ListToolsResult(tools=[e.tool for e in entries], next_cursor=cursor),
            lambda: changed(ChangeKind.TOOLS),
        )
        self.resources: Catalogue[ResourceEntry] = Catalogue(
            "resource",
            lambda entries, cursor: ListResourcesResult(resources=[e.resource for e in entries], next_cursor=cursor),
            lambda: changed(ChangeKind.RESOURCES),
        )
        self.templates: Catalogue[TemplateEntry] = Catalogue(
            "template",
            lambda entries, cursor: ListResourceTemplatesResult(
                resource_templates=[e.resource_template for e in entries], next_cursor=cursor
            ),
            lambda: changed(ChangeKind.RESOURCES),
        )
        self.prompts: Catalogue[PromptEntry] = Catalogue(
            "prompt",
            lambda entries, cursor: ListPromptsResult(prompts=[e.prompt for e in entries], next_cursor=cursor),
            lambda: changed(ChangeKind.PROMPTS),
        )
        self.completions: dict[tuple[str, str], CompletionEntry] = {}
        self.mirrors: dict[str, Any] = {}
        """Tools' arguments that are mirrored in HTTP headers, by the tool's name."""
        self.decoders: dict[str, Callable[[msgspec.Raw], Any]] = {}
        """What decodes the arguments of tools, by name, where that runs nothing of their authors'."""

    def add_tool(self, entry: ToolEntry) -> None:
        """Register a tool.

        Raises:
            ValueError: its name is taken, or its schema mirrors what cannot be mirrored (`x-mcp-header`).
        """
        mirrored = _mirrors_of(entry)
        self.tools.add(entry)
        self._note(entry, mirrored)
        entry.reshaped = lambda: self._reshaped(entry)

    def _reshaped(self, entry: ToolEntry) -> None:
        mirrored = _mirrors_of(entry)
        self._forget(entry.name)
        self._note(entry, mirrored)
        self.tools.refresh()

    def _note(self, entry: ToolEntry, mirrored: Any) -> None:
        if mirrored:
            self.mirrors[entry.name] = mirrored
        if entry.decodes_early:
            self.decoders[entry.name] = entry.arguments.decode

    def _forget(self, name: str) -> None:
        self.mirrors.pop(name, None)
        self.decoders.pop(name, None)

    def remove_tool(self, name: str) -> ToolEntry:
        """Take a tool away, and return it.

        Raises:
            KeyError: there is none of that name.
        """
        self._forget(name)
        entry = self.tools.remove(name)
        entry.reshaped = None
        return entry

    def find_resource(self, uri: str) -> ResourceEntry | TemplateEntry | None:
        """Return what serves a URI: a resource of exactly this URI, else the first template that matches."""
        exact = self.resources.get(uri)
        if exact is not None:
            return exact
        for template in self.templates:
            if template.matches(uri):
                return template
        return None


def _mirrors_of(entry: ToolEntry) -> Any:
    schema = entry.tool.input_schema
    if b'"x-mcp-header"' not in msgspec.json.encode(schema):
        return None
    # What few tools need is imported when one does.
    from protocol.framing.headers import InvalidMirror, mirror_paths

    try:
        return mirror_paths(schema)
    except InvalidMirror as error:
        raise ValueError(f"tool {entry.name!r}: {error}") from None
