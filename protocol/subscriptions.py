"""Who hears which change: filters, their narrowing to what a server can tell, and matching. No state of its own."""

from msgspec import UNSET, Struct

from .capabilities import ServerCapabilities, has
from .events import ChangeKind
from .types import SubscriptionFilter

__all__ = ["LIST_CHANGES", "NOTIFICATION_OF", "ChangeNotice", "matches", "narrow"]

NOTIFICATION_OF = {
    ChangeKind.TOOLS: "notifications/tools/list_changed",
    ChangeKind.PROMPTS: "notifications/prompts/list_changed",
    ChangeKind.RESOURCES: "notifications/resources/list_changed",
    ChangeKind.RESOURCE: "notifications/resources/updated",
    ChangeKind.TASK: "notifications/tasks",
}
"""The notification that tells of each kind of change, in every revision that has it."""

LIST_CHANGES = {
    ChangeKind.TOOLS: ("tools_list_changed", "tools.listChanged"),
    ChangeKind.PROMPTS: ("prompts_list_changed", "prompts.listChanged"),
    ChangeKind.RESOURCES: ("resources_list_changed", "resources.listChanged"),
}
"""Filter attribute and server capability of the list changes."""


class ChangeNotice(Struct, frozen=True):
    """A change at the server, to be published to whoever may hear it."""

    kind: ChangeKind
    key: str | None = None
    """The URI of a resource, the id of a task; `None` for lists."""
    body: bytes = b""
    """The encoded params, where the notification says more than that something changed."""


def narrow(asked: SubscriptionFilter, capabilities: ServerCapabilities, *, tasks: bool) -> SubscriptionFilter:
    """Return the part of a filter that a server with these capabilities honours; `false` counts as absent."""
    honoured = SubscriptionFilter()
    for attribute, capability in LIST_CHANGES.values():
        if getattr(asked, attribute) is True and has(capabilities, capability):
            setattr(honoured, attribute, True)
    if asked.resource_subscriptions is not UNSET and has(capabilities, "resources.subscribe"):
        honoured.resource_subscriptions = list(dict.fromkeys(asked.resource_subscriptions))
    if asked.task_ids is not UNSET and tasks:
        honoured.task_ids = list(dict.fromkeys(asked.task_ids))
    return honoured


def matches(honoured: SubscriptionFilter, notice: ChangeNotice) -> bool:
    """Tell whether a change is of a type, and about a thing, that was asked for."""
    row = LIST_CHANGES.get(notice.kind)
    if row is not None:
        return getattr(honoured, row[0]) is True
    keys = honoured.resource_subscriptions if notice.kind is ChangeKind.RESOURCE else honoured.task_ids
    return keys is not UNSET and notice.key in keys
