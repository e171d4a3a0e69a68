"""The params of every request and notification, each with its `_meta` still raw.

Members whose inside belongs to a handler stay raw too, so that bytes become objects once, for
whoever wants them.
"""

from typing import Any, Literal

from msgspec import UNSET, Raw, UnsetType, field

from .capabilities import ClientCapabilities
from .jsonrpc import RequestId
from .model import Model
from .types import (
    CompletionArgument,
    CompletionContext,
    DetailedTask,
    Implementation,
    LoggingLevel,
    ModelPreferences,
    ProgressToken,
    PromptReference,
    ResourceTemplateReference,
    SamplingMessage,
    SubscriptionFilter,
    Task,
    TaskMetadata,
    Tool,
    ToolChoice,
)


class Params(Model, kw_only=True):
    """The base of all params: nothing but `_meta`."""

    meta: Raw | UnsetType = field(name="_meta", default=UNSET)


class EmptyParams(Params, kw_only=True):
    """The params of `ping`, `server/discover`, `roots/list` and the bare notifications."""


ListRootsParams = EmptyParams


class PaginatedParams(Params, kw_only=True):
    """The params of the list methods; an empty cursor is a cursor."""

    cursor: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.cursor is None:
            self.cursor = UNSET


class InitializeParams(Params, kw_only=True):
    """The params of `initialize`."""

    protocol_version: str
    capabilities: ClientCapabilities
    client_info: Implementation


class CallToolParams(Params, kw_only=True):
    """The params of `tools/call`."""

    name: str
    arguments: Raw | UnsetType = UNSET
    input_responses: dict[str, Raw] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET


class ReadResourceParams(Params, kw_only=True):
    """The params of `resources/read`."""

    uri: str
    input_responses: dict[str, Raw] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET


class SubscribeParams(Params, kw_only=True):
    """The params of `resources/subscribe` and `resources/unsubscribe`."""

    uri: str


class GetPromptParams(Params, kw_only=True):
    """The params of `prompts/get`; the value of an argument is always text."""

    name: str
    arguments: dict[str, str] | UnsetType | None = UNSET
    input_responses: dict[str, Raw] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.arguments is None:
            self.arguments = UNSET


class CompleteParams(Params, kw_only=True):
    """The params of `completion/complete`."""

    ref: PromptReference | ResourceTemplateReference
    argument: CompletionArgument
    context: CompletionContext | UnsetType = UNSET


class SetLevelParams(Params, kw_only=True):
    """The params of `logging/setLevel`."""

    level: LoggingLevel


class ListenParams(Params, kw_only=True):
    """The params of `subscriptions/listen`."""

    notifications: SubscriptionFilter


class AcknowledgedParams(Params, kw_only=True):
    """The params of `notifications/subscriptions/acknowledged`: what of the filter is honoured."""

    notifications: SubscriptionFilter


class CancelledParams(Params, kw_only=True):
    """The params of `notifications/cancelled`; 2025-11-25 lets the id be absent."""

    request_id: RequestId | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class ProgressParams(Params, kw_only=True):
    """The params of `notifications/progress`."""

    progress_token: ProgressToken
    progress: float | int
    total: float | int | UnsetType | None = UNSET
    message: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.total is None:
            self.total = UNSET
        if self.message is None:
            self.message = UNSET


class LogParams(Params, kw_only=True):
    """The params of `notifications/message`."""

    level: LoggingLevel
    data: Any
    logger: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.logger is None:
            self.logger = UNSET


class ResourceUpdatedParams(Params, kw_only=True):
    """The params of `notifications/resources/updated`."""

    uri: str


class CreateMessageParams(Params, kw_only=True):
    """The params of `sampling/createMessage`."""

    messages: list[SamplingMessage]
    max_tokens: int
    model_preferences: ModelPreferences | UnsetType = UNSET
    system_prompt: str | UnsetType = UNSET
    include_context: Literal["none", "thisServer", "allServers"] | UnsetType = UNSET
    temperature: float | int | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET


class ElicitParams(Params, kw_only=True):
    """The params of `elicitation/create`, in form mode (the default) or URL mode."""

    message: str
    mode: Literal["form", "url"] | UnsetType = UNSET
    requested_schema: dict[str, Any] | UnsetType = UNSET
    url: str | UnsetType = UNSET
    elicitation_id: str | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET


class ElicitCompleteParams(Params, kw_only=True):
    """The params of `notifications/elicitation/complete`."""

    elicitation_id: str


class TaskIdParams(Params, kw_only=True):
    """The params of `tasks/get`, `tasks/result` and `tasks/cancel`."""

    task_id: str


class UpdateTaskParams(Params, kw_only=True):
    """The params of `tasks/update`."""

    task_id: str
    input_responses: dict[str, Raw]


class TaskStatusParams(Task, kw_only=True):
    """The params of `notifications/tasks/status`: the whole task of 2025-11-25."""

    meta: Raw | UnsetType = field(name="_meta", default=UNSET)


class DetailedTaskParams(DetailedTask, kw_only=True):
    """The params of `notifications/tasks`: the whole task of the extension."""

    meta: Raw | UnsetType = field(name="_meta", default=UNSET)
