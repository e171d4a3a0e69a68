"""The method table: one row per method and notification of every revision. Which revision has which: `revisions.py`.

Routing, capability gating, header mirroring, cache hints, multi-round-trip permission and the generated tests read
these rows; adding a method is adding a row here and its name to a revision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag

from msgspec import Raw, Struct

from . import params as p
from . import results as r
from .model import decoder

__all__ = ["METHODS", "TASKS_EXTENSION", "MethodSpec", "Role"]

TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
"""Identifier of the tasks extension — ext-tasks specification."""


class Role(Flag):
    """Which side of the protocol."""

    CLIENT = 1
    SERVER = 2
    BOTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """What the engine knows of one method."""

    name: str
    sender: Role
    params: type[Struct]
    result: type[Struct] | None = None
    """`None`: a notification."""
    requires: str | None = None
    """Capability the receiver (for change notifications: the server) must have declared, as a dotted path."""
    mirror: str | None = None
    """Attribute of the params mirrored in the `Mcp-Name` header."""
    cacheable: bool = False
    """Complete results carry `ttlMs` and `cacheScope` in the envelope era."""
    interruptible: bool = False
    """May be answered `input_required` in the envelope era."""
    streaming: bool = False
    """Lives until it is ended; exempt from ordinary deadlines."""
    cancellable: bool = True
    is_embeddable: bool = False
    """May stand inside `inputRequests`."""

    @property
    def is_request(self) -> bool:
        """Tell a request from a notification."""
        return self.result is not None


def _rows(*specs: MethodSpec) -> dict[str, MethodSpec]:
    return {spec.name: spec for spec in specs}


_C, _S, _B = Role.CLIENT, Role.SERVER, Role.BOTH

METHODS: dict[str, MethodSpec] = _rows(
    # Lifecycle
    # "The initialize request MUST NOT be cancelled by clients" — 2025-11-25 basic/utilities/cancellation
    MethodSpec(name="initialize", sender=_C, params=p.InitializeParams, result=r.InitializeResult, cancellable=False),
    MethodSpec(name="notifications/initialized", sender=_C, params=p.EmptyParams),
    MethodSpec(name="ping", sender=_B, params=p.EmptyParams, result=r.EmptyResult),
    MethodSpec(name="server/discover", sender=_C, params=p.EmptyParams, result=r.DiscoverResult, cacheable=True),
    # Tools
    MethodSpec(
        name="tools/list",
        sender=_C,
        params=p.PaginatedParams,
        result=r.ListToolsResult,
        requires="tools",
        cacheable=True,
    ),
    MethodSpec(
        name="tools/call",
        sender=_C,
        params=p.CallToolParams,
        result=r.CallToolResult,
        requires="tools",
        mirror="name",
        interruptible=True,
    ),
    MethodSpec(name="notifications/tools/list_changed", sender=_S, params=p.EmptyParams, requires="tools.listChanged"),
    # Resources
    MethodSpec(
        name="resources/list",
        sender=_C,
        params=p.PaginatedParams,
        result=r.ListResourcesResult,
        requires="resources",
        cacheable=True,
    ),
    MethodSpec(
        name="resources/templates/list",
        sender=_C,
        params=p.PaginatedParams,
        result=r.ListResourceTemplatesResult,
        requires="resources",
        cacheable=True,
    ),
    MethodSpec(
        name="resources/read",
        sender=_C,
        params=p.ReadResourceParams,
        result=r.ReadResourceResult,
        requires="resources",
        mirror="uri",
        cacheable=True,
        interruptible=True,
    ),
    MethodSpec(
        name="resources/subscribe",
        sender=_C,
        params=p.SubscribeParams,
        result=r.EmptyResult,
        requires="resources.subscribe",
    ),
    MethodSpec(
        name="resources/unsubscribe",
        sender=_C,
        params=p.SubscribeParams,
        result=r.EmptyResult,
        requires="resources.subscribe",
    ),
    MethodSpec(
        name="notifications/resources/list_changed",
        sender=_S,
        params=p.EmptyParams,
        requires="resources.listChanged",
    ),
    MethodSpec(
        name="notifications/resources/updated",
        sender=_S,
        params=p.ResourceUpdatedParams,
        requires="resources.subscribe",
    ),
    # Prompts and completion
    MethodSpec(
        name="prompts/list",
        sender=_C,
        params=p.PaginatedParams,
        result=r.ListPromptsResult,
        requires="prompts",
        cacheable=True,
    ),
    MethodSpec(
        name="prompts/get",
        sender=_C,
        params=p.GetPromptParams,
        result=r.GetPromptResult,
        requires="prompts",
        mirror="name",
        interruptible=True,
    ),
    MethodSpec(
        name="notifications/prompts/list_changed", sender=_S, params=p.EmptyParams, requires="prompts.listChanged"
    ),
    MethodSpec(
        name="completion/complete",
        sender=_C,
        params=p.CompleteParams,
        result=r.CompleteResult,
        requires="completions",
    ),
    # Logging, progress, cancellation
    MethodSpec(name="logging/setLevel", sender=_C, params=p.SetLevelParams, result=r.EmptyResult, requires="logging"),
    MethodSpec(name="notifications/message", sender=_S, params=p.LogParams, requires="logging"),
    MethodSpec(name="notifications/progress", sender=_B, params=p.ProgressParams),
    MethodSpec(name="notifications/cancelled", sender=_B, params=p.CancelledParams),
    # Server to client
    MethodSpec(
        name="roots/list",
        sender=_S,
        params=p.EmptyParams,
        result=r.ListRootsResult,
        requires="roots",
        is_embeddable=True,
    ),
    MethodSpec(name="notifications/roots/list_changed", sender=_C, params=p.EmptyParams, requires="roots.listChanged"),
    MethodSpec(
        name="sampling/createMessage",
        sender=_S,
        params=p.CreateMessageParams,
        result=r.CreateMessageResult,
        requires="sampling",
        is_embeddable=True,
    ),
    MethodSpec(
        name="elicitation/create",
        sender=_S,
        params=p.ElicitParams,
        result=r.ElicitResult,
        requires="elicitation",
        is_embeddable=True,
    ),
    MethodSpec(
        name="notifications/elicitation/complete",
        sender=_S,
        params=p.ElicitCompleteParams,
        requires="elicitation.url",
    ),
    # Subscriptions
    MethodSpec(name="subscriptions/listen", sender=_C, params=p.ListenParams, result=r.ListenResult, streaming=True),
    MethodSpec(name="notifications/subscriptions/acknowledged", sender=_S, params=p.AcknowledgedParams),
    # Tasks: core methods of one revision, an extension in the envelope era (`Revision.requires`)
    MethodSpec(
        name="tasks/get",
        sender=_B,
        params=p.TaskIdParams,
        result=r.TaskResult,
        requires="tasks",
        mirror="task_id",
    ),
    MethodSpec(
        name="tasks/result", sender=_B, params=p.TaskIdParams, result=r.EmptyResult, requires="tasks", streaming=True
    ),
    MethodSpec(name="tasks/list", sender=_B, params=p.PaginatedParams, result=r.ListTasksResult, requires="tasks.list"),
    MethodSpec(
        name="tasks/cancel",
        sender=_B,
        params=p.TaskIdParams,
        result=r.TaskResult,
        requires="tasks.cancel",
        mirror="task_id",
    ),
    MethodSpec(
        name="tasks/update",
        sender=_C,
        params=p.UpdateTaskParams,
        result=r.EmptyResult,
        requires="tasks",
        mirror="task_id",
    ),
    MethodSpec(name="notifications/tasks/status", sender=_B, params=p.TaskStatusParams, requires="tasks"),
    MethodSpec(name="notifications/tasks", sender=_S, params=p.DetailedTaskParams, requires="tasks"),
)


DECODERS: dict[str, Callable[[bytes | Raw], Struct]] = {
    name: decoder(spec.params).decode for name, spec in METHODS.items()
}
"""Params decoders by method, built once."""
