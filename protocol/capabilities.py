"""What each side declares it can do, and the questions asked of a declaration.

A capability is named by its path: `sampling.tools`, `resources.subscribe`,
`extensions:vendor.example/name`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec import UNSET, UnsetType

from .model import Model, extra

Settings = dict[str, Any]
"""The content of a capability that has no members of its own, or only those of an extension."""


class RootsCapability(Model, kw_only=True):
    """The client can say where the user works."""

    list_changed: bool | UnsetType = UNSET


class SamplingCapability(Model, kw_only=True):
    """The client can ask its model on the server's behalf."""

    context: Settings | UnsetType = UNSET
    tools: Settings | UnsetType = UNSET


class ElicitationCapability(Model, kw_only=True):
    """The client can ask its user; when it names no mode it means forms."""

    form: Settings | UnsetType = UNSET
    url: Settings | UnsetType = UNSET


class SamplingTasks(Model, kw_only=True):
    """The sampling requests that may run as tasks (2025-11-25)."""

    create_message: Settings | UnsetType = UNSET


class ElicitationTasks(Model, kw_only=True):
    """The elicitation requests that may run as tasks (2025-11-25)."""

    create: Settings | UnsetType = UNSET


class ToolTasks(Model, kw_only=True):
    """The tool requests that may run as tasks (2025-11-25)."""

    call: Settings | UnsetType = UNSET


class ClientTaskRequests(Model, kw_only=True):
    """The requests a client may run as tasks (2025-11-25)."""

    sampling: SamplingTasks | UnsetType = UNSET
    elicitation: ElicitationTasks | UnsetType = UNSET


class ServerTaskRequests(Model, kw_only=True):
    """The requests a server may run as tasks (2025-11-25)."""

    tools: ToolTasks | UnsetType = UNSET


class ClientTasksCapability(Model, kw_only=True):
    """The client keeps tasks (2025-11-25)."""

    list: Settings | UnsetType = UNSET
    cancel: Settings | UnsetType = UNSET
    requests: ClientTaskRequests | UnsetType = UNSET


class ServerTasksCapability(Model, kw_only=True):
    """The server keeps tasks (2025-11-25)."""

    list: Settings | UnsetType = UNSET
    cancel: Settings | UnsetType = UNSET
    requests: ServerTaskRequests | UnsetType = UNSET


class ClientCapabilities(Model, kw_only=True):
    """What a client can do."""

    experimental: dict[str, Any] | UnsetType = UNSET
    roots: RootsCapability | UnsetType = UNSET
    sampling: SamplingCapability | UnsetType = UNSET
    elicitation: ElicitationCapability | UnsetType = UNSET
    tasks: ClientTasksCapability | UnsetType = UNSET
    extensions: dict[str, Any] | UnsetType = UNSET


class PromptsCapability(Model, kw_only=True):
    """The server offers prompts."""

    list_changed: bool | UnsetType = UNSET


class ResourcesCapability(Model, kw_only=True):
    """The server offers resources."""

    subscribe: bool | UnsetType = UNSET
    list_changed: bool | UnsetType = UNSET


class ToolsCapability(Model, kw_only=True):
    """The server offers tools."""

    list_changed: bool | UnsetType = UNSET


class ServerCapabilities(Model, kw_only=True):
    """What a server can do."""

    experimental: dict[str, Any] | UnsetType = UNSET
    logging: Settings | UnsetType = UNSET
    completions: Settings | UnsetType = UNSET
    prompts: PromptsCapability | UnsetType = UNSET
    resources: ResourcesCapability | UnsetType = UNSET
    tools: ToolsCapability | UnsetType = UNSET
    tasks: ServerTasksCapability | UnsetType = UNSET
    extensions: dict[str, Any] | UnsetType = UNSET


_EXTENSION = "extensions:"
"""What starts the path of an extension, whose name holds dots of its own."""


def _split(path: str) -> list[str]:
    if path.startswith(_EXTENSION):
        return ["extensions", path.removeprefix(_EXTENSION)]
    return path.split(".")


@cache
def _attributes(type_: type[Model]) -> dict[str, str]:
    """Map the wire names of a type to its attributes."""
    return dict(zip(type_.__struct_encode_fields__, type_.__struct_fields__, strict=True))


def _member(value: Any, name: str) -> Any:
    """Return a member by wire name, `UNSET` when there is none."""
    if isinstance(value, Model):
        attribute = _attributes(type(value)).get(name)
        return extra(value).get(name, UNSET) if attribute is None else getattr(value, attribute)
    if isinstance(value, dict):
        return value.get(name, UNSET)
    return UNSET


def has(declared: ClientCapabilities | ServerCapabilities, path: str) -> bool:
    """Tell whether a capability is declared; a false or null member is not."""
    value: Any = declared
    for name in _split(path):
        parent = value
        value = _member(value, name)
        if value is UNSET and name == "form" and isinstance(parent, ElicitationCapability):
            # A declaration that names no mode means forms; one that names only URLs does not.
            return parent.url is UNSET
        if value is UNSET or value is None or value is False:
            return False
    return True


def missing(required: Sequence[str], declared: ClientCapabilities) -> dict[str, Any]:
    """Return the `requiredCapabilities` object of what a client lacks, empty for nothing."""
    lacking: dict[str, Any] = {}
    for path in required:
        if not has(declared, path):
            node = lacking
            for name in _split(path):
                node = node.setdefault(name, {})
    return lacking
