"""The values that messages carry: content, tools, resources, prompts, sampling, roots and tasks.

Each type has the shape of the newest revision plus the members that only older ones have; `adapt`
writes older shapes. What is a whole request or result is in `params` and `results`.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

from msgspec import UNSET, Raw, UnsetType, field

from .model import Family, Model

ProgressToken: TypeAlias = int | str
"""What ties progress notifications to the request that asked for them."""

Role: TypeAlias = Literal["user", "assistant"]
"""Who says something in a conversation."""

LoggingLevel: TypeAlias = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
"""How severe a log message is, in syslog's words."""

LOGGING_LEVELS: tuple[LoggingLevel, ...] = (
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
)
"""The logging levels, the least severe first."""

CacheScope: TypeAlias = Literal["public", "private"]
"""Who may share a cached result: everybody, or only the same authorization context."""

Meta: TypeAlias = dict[str, Any]
"""A `_meta` object as a value carries it."""


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None


class Annotations(Model, kw_only=True):
    """Hints for the client about whom a value is for, how important and how fresh it is."""

    audience: list[Role] | UnsetType = UNSET
    priority: float | int | UnsetType = UNSET
    last_modified: str | UnsetType = UNSET


class Icon(Model, kw_only=True):
    """One picture a client may show for a tool, prompt, resource or implementation."""

    src: str
    mime_type: str | UnsetType | None = UNSET
    sizes: list[str] | UnsetType = UNSET
    theme: Literal["light", "dark"] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.mime_type is None:
            self.mime_type = UNSET


class Implementation(Model, kw_only=True):
    """The name and version by which one side introduces itself: for display, not for decisions."""

    name: str
    version: str
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    website_url: str | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET
        if self.description is None:
            self.description = UNSET


class ResourceContents(Family):
    """What a resource holds: `TextResourceContents` or `BlobResourceContents`."""

    __slots__ = ()
    uri: str

    @classmethod
    def variant(cls, members: Mapping[str, Any]) -> type[Model]:
        """Return the type these members describe; a faulty value is judged as text."""
        return BlobResourceContents if "blob" in members else TextResourceContents


class TextResourceContents(Model, ResourceContents, kw_only=True):
    """The contents of a resource that is text."""

    uri: str
    text: str
    mime_type: str | UnsetType | None = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    def __post_init__(self) -> None:
        if self.mime_type is None:
            self.mime_type = UNSET


class BlobResourceContents(Model, ResourceContents, kw_only=True):
    """The contents of a resource that is binary, in base64."""

    uri: str
    blob: str
    mime_type: str | UnsetType | None = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    def __post_init__(self) -> None:
        if self.mime_type is None:
            self.mime_type = UNSET

    @classmethod
    def of(cls, uri: str, data: bytes, *, mime_type: str | UnsetType = UNSET) -> Self:
        """Return the contents that carry these bytes."""
        return cls(uri=uri, blob=base64.b64encode(data).decode("ascii"), mime_type=mime_type)

    def decode(self) -> bytes:
        """Return the bytes.

        Raises:
            ValueError: the member is not base64.
        """
        return _decode_base64(self.blob)


class TextContent(Model, kw_only=True, tag_field="type", tag="text"):
    """A block of text."""

    text: str
    annotations: Annotations | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)


class ImageContent(Model, kw_only=True, tag_field="type", tag="image"):
    """A picture, in base64."""

    data: str
    mime_type: str
    annotations: Annotations | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    @classmethod
    def of(cls, data: bytes, mime_type: str) -> Self:
        """Return the block that carries these bytes."""
        return cls(data=base64.b64encode(data).decode("ascii"), mime_type=mime_type)

    def decode(self) -> bytes:
        """Return the bytes.

        Raises:
            ValueError: the member is not base64.
        """
        return _decode_base64(self.data)


class AudioContent(Model, kw_only=True, tag_field="type", tag="audio"):
    """A sound, in base64."""

    data: str
    mime_type: str
    annotations: Annotations | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    @classmethod
    def of(cls, data: bytes, mime_type: str) -> Self:
        """Return the block that carries these bytes."""
        return cls(data=base64.b64encode(data).decode("ascii"), mime_type=mime_type)

    def decode(self) -> bytes:
        """Return the bytes.

        Raises:
            ValueError: the member is not base64.
        """
        return _decode_base64(self.data)


class ResourceLink(Model, kw_only=True, tag_field="type", tag="resource_link"):
    """A pointer to a resource that the client may read."""

    uri: str
    name: str
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    mime_type: str | UnsetType | None = UNSET
    annotations: Annotations | UnsetType = UNSET
    size: int | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET
        if self.description is None:
            self.description = UNSET
        if self.mime_type is None:
            self.mime_type = UNSET


class EmbeddedResource(Model, kw_only=True, tag_field="type", tag="resource"):
    """The contents of a resource, carried inside a result or message."""

    resource: ResourceContents
    annotations: Annotations | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)


ContentBlock: TypeAlias = TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource
"""One piece of a tool's result or a prompt's message."""


class ToolUseContent(Model, kw_only=True, tag_field="type", tag="tool_use"):
    """A model's wish, inside a sampling conversation, that a tool be called."""

    id: str
    name: str
    input: dict[str, Any]
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)


class ToolResultContent(Model, kw_only=True, tag_field="type", tag="tool_result"):
    """What a tool answered to a `ToolUseContent`."""

    tool_use_id: str
    content: list[ContentBlock]
    structured_content: Any = UNSET
    is_error: bool | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)


SamplingContentBlock: TypeAlias = TextContent | ImageContent | AudioContent | ToolUseContent | ToolResultContent
"""One piece of a message in a sampling conversation."""


class ToolAnnotations(Model, kw_only=True):
    """Hints about how a tool behaves; a server may lie about them."""

    title: str | UnsetType | None = UNSET
    read_only_hint: bool | UnsetType = UNSET
    destructive_hint: bool | UnsetType = UNSET
    idempotent_hint: bool | UnsetType = UNSET
    open_world_hint: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET


class ToolExecution(Model, kw_only=True):
    """Whether a tool may, must or cannot run as a task of the 2025-11-25 core."""

    task_support: Literal["forbidden", "optional", "required"] | UnsetType = UNSET


class Tool(Model, kw_only=True):
    """Something a server can do; its schemas are carried exactly as they were written."""

    name: str
    input_schema: dict[str, Any]
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    output_schema: dict[str, Any] | UnsetType | None = UNSET
    annotations: ToolAnnotations | UnsetType = UNSET
    execution: ToolExecution | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET
        if self.description is None:
            self.description = UNSET
        if self.output_schema is None:
            self.output_schema = UNSET


class Resource(Model, kw_only=True):
    """Something a server lets clients read."""

    uri: str
    name: str
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    mime_type: str | UnsetType | None = UNSET
    annotations: Annotations | UnsetType = UNSET
    size: int | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET
        if self.description is None:
            self.description = UNSET
        if self.mime_type is None:
            self.mime_type = UNSET


class ResourceTemplate(Model, kw_only=True):
    """A family of resources, named by an RFC 6570 URI template."""

    uri_template: str
    name: str
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    mime_type: str | UnsetType | None = UNSET
    annotations: Annotations | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET
        if self.description is None:
            self.description = UNSET
        if self.mime_type is None:
            self.mime_type = UNSET


class PromptArgument(Model, kw_only=True):
    """One argument a prompt takes; its value is always text."""

    name: str
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    required: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET
        if self.description is None:
            self.description = UNSET


class Prompt(Model, kw_only=True):
    """A template of messages that a user may pick."""

    name: str
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    arguments: list[PromptArgument] | UnsetType | None = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET
        if self.description is None:
            self.description = UNSET
        if self.arguments is None:
            self.arguments = UNSET


class PromptMessage(Model, kw_only=True):
    """One message of a filled-in prompt."""

    role: Role
    content: ContentBlock


class PromptReference(Model, kw_only=True, tag_field="type", tag="ref/prompt"):
    """Points a completion at an argument of a prompt."""

    name: str
    title: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.title is None:
            self.title = UNSET


class ResourceTemplateReference(Model, kw_only=True, tag_field="type", tag="ref/resource"):
    """Points a completion at a variable of a URI template."""

    uri: str


class CompletionArgument(Model, kw_only=True):
    """The argument being completed and what the user has typed so far."""

    name: str
    value: str


class CompletionContext(Model, kw_only=True):
    """The arguments that are already settled."""

    arguments: dict[str, str] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.arguments is None:
            self.arguments = UNSET


class Completion(Model, kw_only=True):
    """At most a hundred suggestions, and how many there are in all."""

    values: list[str]
    total: int | UnsetType = UNSET
    has_more: bool | UnsetType = UNSET


class SamplingMessage(Model, kw_only=True):
    """One message of a sampling conversation."""

    role: Role
    content: SamplingContentBlock | list[SamplingContentBlock]
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)


class ModelHint(Model, kw_only=True):
    """A model name, or a part of one, that the server would like."""

    name: str | UnsetType = UNSET


class ModelPreferences(Model, kw_only=True):
    """What matters to the server in the choice of a model, each from 0 to 1."""

    hints: list[ModelHint] | UnsetType = UNSET
    cost_priority: float | int | UnsetType = UNSET
    speed_priority: float | int | UnsetType = UNSET
    intelligence_priority: float | int | UnsetType = UNSET


class ToolChoice(Model, kw_only=True):
    """Whether the model may, must or must not use the tools it is given."""

    mode: Literal["auto", "required", "none"] | UnsetType = UNSET


class Root(Model, kw_only=True):
    """A place in the file system that the client lets the server know of."""

    uri: str
    name: str | UnsetType = UNSET
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)


class InputRequest(Model, kw_only=True):
    """One thing a server needs from the client before it can answer; its params stay raw."""

    method: str
    params: Raw | UnsetType = UNSET


class SubscriptionFilter(Model, kw_only=True):
    """What a subscription is about; absent and false mean the same."""

    tools_list_changed: bool | UnsetType = UNSET
    prompts_list_changed: bool | UnsetType = UNSET
    resources_list_changed: bool | UnsetType = UNSET
    resource_subscriptions: list[str] | UnsetType = UNSET
    task_ids: list[str] | UnsetType = UNSET


TaskStatus: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]
"""Where a task stands, in both dialects."""


class TaskMetadata(Model, kw_only=True):
    """The wish that a request run as a task (2025-11-25), kept for `ttl` milliseconds."""

    ttl: int | UnsetType = UNSET


class RelatedTask(Model, kw_only=True):
    """The task that a message belongs to (2025-11-25)."""

    task_id: str


class Task(Model, kw_only=True):
    """A task of the 2025-11-25 core."""

    task_id: str
    status: TaskStatus
    created_at: str
    last_updated_at: str
    ttl: int | None
    status_message: str | UnsetType = UNSET
    poll_interval: int | UnsetType = UNSET


class DetailedTask(Model, kw_only=True):
    """A task of the `io.modelcontextprotocol/tasks` extension, with what its status adds."""

    task_id: str
    status: TaskStatus
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    status_message: str | UnsetType = UNSET
    poll_interval_ms: int | UnsetType = UNSET
    input_requests: dict[str, InputRequest] | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
