"""The result of every request, each with its `_meta` and the newest revision's `resultType`."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType, field

from .capabilities import ServerCapabilities
from .model import Model
from .types import (
    CacheScope,
    Completion,
    ContentBlock,
    DetailedTask,
    Implementation,
    InputRequest,
    Meta,
    Prompt,
    PromptMessage,
    Resource,
    ResourceContents,
    ResourceTemplate,
    Role,
    Root,
    SamplingContentBlock,
    Task,
    Tool,
)


class Result(Model, kw_only=True):
    """The base of all results: `_meta`, and `resultType`, which older revisions lack."""

    meta: Meta | UnsetType = field(name="_meta", default=UNSET)
    result_type: str | UnsetType = UNSET


class EmptyResult(Result, kw_only=True):
    """A result that says only that the request was carried out."""


class ListenResult(Result, kw_only=True):
    """The result that closes a subscription; its `_meta` names it."""


class DiscoverResult(Result, kw_only=True):
    """The result of `server/discover`."""

    supported_versions: list[str]
    capabilities: ServerCapabilities
    instructions: str | UnsetType | None = UNSET
    ttl_ms: int | UnsetType = UNSET
    cache_scope: CacheScope | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.instructions is None:
            self.instructions = UNSET


class InitializeResult(Result, kw_only=True):
    """The result of `initialize`."""

    protocol_version: str
    capabilities: ServerCapabilities
    server_info: Implementation
    instructions: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.instructions is None:
            self.instructions = UNSET


class InputRequiredResult(Result, kw_only=True):
    """The answer of a server that needs something from the client before it can finish."""

    input_requests: dict[str, InputRequest] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET


class ListToolsResult(Result, kw_only=True):
    """One page of tools."""

    tools: list[Tool]
    next_cursor: str | UnsetType | None = UNSET
    ttl_ms: int | UnsetType = UNSET
    cache_scope: CacheScope | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.next_cursor is None:
            self.next_cursor = UNSET


class CallToolResult(Result, kw_only=True):
    """What a tool answered; null `structured_content` is a value, absent is none."""

    content: list[ContentBlock]
    structured_content: Any = UNSET
    is_error: bool | UnsetType = UNSET


class ListResourcesResult(Result, kw_only=True):
    """One page of resources."""

    resources: list[Resource]
    next_cursor: str | UnsetType | None = UNSET
    ttl_ms: int | UnsetType = UNSET
    cache_scope: CacheScope | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.next_cursor is None:
            self.next_cursor = UNSET


class ListResourceTemplatesResult(Result, kw_only=True):
    """One page of resource templates."""

    resource_templates: list[ResourceTemplate]
    next_cursor: str | UnsetType | None = UNSET
    ttl_ms: int | UnsetType = UNSET
    cache_scope: CacheScope | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.next_cursor is None:
            self.next_cursor = UNSET


class ReadResourceResult(Result, kw_only=True):
    """What a resource holds."""

    contents: list[ResourceContents]
    ttl_ms: int | UnsetType = UNSET
    cache_scope: CacheScope | UnsetType = UNSET


class ListPromptsResult(Result, kw_only=True):
    """One page of prompts."""

    prompts: list[Prompt]
    next_cursor: str | UnsetType | None = UNSET
    ttl_ms: int | UnsetType = UNSET
    cache_scope: CacheScope | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.next_cursor is None:
            self.next_cursor = UNSET


class GetPromptResult(Result, kw_only=True):
    """A filled-in prompt."""

    messages: list[PromptMessage]
    description: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.description is None:
            self.description = UNSET


class CompleteResult(Result, kw_only=True):
    """Suggestions for an argument."""

    completion: Completion


class CreateMessageResult(Result, kw_only=True):
    """What the client's model said."""

    role: Role
    content: SamplingContentBlock | list[SamplingContentBlock]
    model: str
    stop_reason: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.stop_reason is None:
            self.stop_reason = UNSET


class ElicitResult(Result, kw_only=True):
    """What the user decided, and the filled-in form of an accepted one."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.content is None:
            self.content = UNSET


class ListRootsResult(Result, kw_only=True):
    """The places the client lets the server know of."""

    roots: list[Root]


class CreateTaskResult(Result, kw_only=True):
    """The answer of 2025-11-25 to a request that now runs as a task."""

    task: Task


class TaskResult(Task, kw_only=True):
    """The result of `tasks/get` and `tasks/cancel` in 2025-11-25."""

    meta: Meta | UnsetType = field(name="_meta", default=UNSET)
    result_type: str | UnsetType = UNSET


class ListTasksResult(Result, kw_only=True):
    """One page of the tasks of 2025-11-25."""

    tasks: list[Task]
    next_cursor: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.next_cursor is None:
            self.next_cursor = UNSET


class DetailedTaskResult(DetailedTask, kw_only=True):
    """The flat task of the extension: an answer to `tools/call` and the result of `tasks/get`."""

    meta: Meta | UnsetType = field(name="_meta", default=UNSET)
    result_type: str | UnsetType = UNSET
