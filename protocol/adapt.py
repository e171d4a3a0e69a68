"""Steps that lead a value of the newest shape down to an older revision, one revision at a time.

A step maps a type to the function that rewrites its values; a type that a step leaves alone is
absent. What such a value holds is rewritten too, so a step names only what really differs. No
function changes the value it is given, and one that has nothing to change returns that very
value.

Two things older revisions do not define stay: `_meta` on nested values and `extensions` among
capabilities. Both are open maps that older peers ignore and newer ones, behind an older
handshake, still read. A URL elicitation and a multiple choice have no older form at all; they
stay as they are, because offering them without the capability is refused before it comes to
this.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from msgspec import UNSET

from .capabilities import (
    ClientCapabilities,
    ElicitationCapability,
    RootsCapability,
    SamplingCapability,
    ServerCapabilities,
)
from .model import Model, encode, evolve, held
from .params import (
    CallToolParams,
    CompleteParams,
    CreateMessageParams,
    ElicitParams,
    GetPromptParams,
    InitializeParams,
    LogParams,
    ProgressParams,
    ReadResourceParams,
)
from .results import (
    CallToolResult,
    CompleteResult,
    CreateMessageResult,
    CreateTaskResult,
    DiscoverResult,
    ElicitResult,
    EmptyResult,
    GetPromptResult,
    InitializeResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListRootsResult,
    ListTasksResult,
    ListToolsResult,
    ReadResourceResult,
    TaskResult,
)
from .types import (
    Annotations,
    AudioContent,
    Implementation,
    Prompt,
    PromptArgument,
    PromptReference,
    Resource,
    ResourceLink,
    ResourceTemplate,
    SamplingContentBlock,
    SamplingMessage,
    TextContent,
    Tool,
    ToolAnnotations,
    ToolResultContent,
    ToolUseContent,
)

Change: TypeAlias = Callable[[Any], Any]
Step: TypeAlias = Mapping[type, Change]

M = TypeVar("M", bound=Model)

_SENT: tuple[type[Model], ...] = (
    CallToolParams,
    CompleteParams,
    CreateMessageParams,
    ElicitParams,
    GetPromptParams,
    InitializeParams,
    LogParams,
    ProgressParams,
    ReadResourceParams,
    CallToolResult,
    CompleteResult,
    CreateMessageResult,
    CreateTaskResult,
    DiscoverResult,
    ElicitResult,
    EmptyResult,
    GetPromptResult,
    InitializeResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListRootsResult,
    ListTasksResult,
    ListToolsResult,
    ReadResourceResult,
    TaskResult,
)
"""The params and results that a revision may write differently."""


class _Lazy(Mapping[type, Change]):
    """Changes by type, each worked out when its type is first asked for: importing costs nothing."""

    def __init__(self, find: Callable[[type], Change | None], types: Callable[[], Iterable[type]]) -> None:
        self._find = find
        self._types = types
        self._found: dict[Any, Change | None] = {}

    def get(self, type_: type, default: Any = None) -> Any:
        """Return the change of a type, `default` when it has none."""
        try:
            change = self._found[type_]
        except KeyError:
            change = self._found[type_] = self._find(type_)
        return default if change is None else change

    def __getitem__(self, type_: type) -> Change:
        change: Change | None = self.get(type_)
        if change is None:
            raise KeyError(type_)
        return change

    def __iter__(self) -> Iterator[type]:
        return (type_ for type_ in self._types() if self.get(type_) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def compose(steps: Sequence[Step]) -> Step:
    """Return one function per type that takes all the steps, the newest first."""
    steps = tuple(steps)  # what is asked later must not see what the caller appends meanwhile

    def find(type_: type) -> Change | None:
        chain = [change for step in steps if (change := step.get(type_)) is not None]
        return _in_turn(chain) if chain else None

    return _Lazy(find, lambda: dict.fromkeys(type_ for step in steps for type_ in step))


def _in_turn(chain: Sequence[Change]) -> Change:
    if len(chain) == 1:
        return chain[0]

    def change(value: Any) -> Any:
        for link in chain:
            value = link(value)
        return value

    return change


def _complete(own: Mapping[type, Change]) -> Step:
    """Add to a step the types that change only because of what they hold."""

    def find(type_: type) -> Change | None:
        names: list[str] = []
        if issubclass(type_, Model):
            names = [name for name, below in held(type_).items() if not below.isdisjoint(own)]
        return _holder(type_, own.get(type_), names, step) if names else own.get(type_)

    step = _Lazy(find, _sent_types)
    return step


def _sent_types() -> set[type]:
    """Return every type that is sent, and every type below one."""
    types: set[type] = set(_SENT)
    for sent in _SENT:
        types.update(*held(sent).values())
    return types


def _holder(type_: type, own: Change | None, names: Sequence[str], step: Step) -> Change:
    def change(value: Any) -> Any:
        if own is not None:
            value = own(value)
            if type(value) is not type_:
                return _one(value, step)
        changed: dict[str, Any] = {}
        for name in names:
            member = getattr(value, name)
            if member is UNSET:
                continue
            new = _each(member, step) if isinstance(member, list) else _one(member, step)
            if new is not member:
                changed[name] = new
        return evolve(value, **changed) if changed else value

    return change


def _one(value: Any, step: Step) -> Any:
    change = step.get(type(value))
    return value if change is None else change(value)


def _each(values: list[Any], step: Step) -> list[Any]:
    changed = values
    for index, value in enumerate(values):
        change = step.get(type(value))
        if change is not None and (new := change(value)) is not value:
            if changed is values:
                changed = list(values)
            changed[index] = new
    return changed


def _without(*names: str) -> Change:
    """Return the change that leaves these members out."""

    def change(value: Any) -> Any:
        for name in names:
            if getattr(value, name) is not UNSET:
                return evolve(value, **dict.fromkeys(names, UNSET))
        return value

    return change


# From 2026-07-28 to 2025-11-25: results lose their discriminator and cache hints, retries their
# two members, and structured output may only be an object again.

_without_result_type = _without("result_type")
_without_hints = _without("result_type", "ttl_ms", "cache_scope")
_without_retry = _without("input_responses", "request_state")


def _object_output(tool: Tool) -> Tool:
    schema = tool.output_schema
    if isinstance(schema, dict) and schema.get("type") != "object":
        return evolve(tool, output_schema=UNSET)
    return tool


def _unstructured(result: Any) -> Any:
    """Drop the structured output; a text block stands in for it if nothing else would be left."""
    content = result.content
    if not content:
        content = [TextContent(text=encode(result.structured_content).decode())]
    return evolve(result, structured_content=UNSET, content=content)


def _object_structure(result: Any) -> Any:
    structured = result.structured_content
    if structured is UNSET or isinstance(structured, (dict, Model)):
        return result
    return _unstructured(result)


TO_2025_11_25: Step = _complete(
    {
        **dict.fromkeys(
            (
                CompleteResult,
                CreateMessageResult,
                CreateTaskResult,
                ElicitResult,
                EmptyResult,
                GetPromptResult,
                InitializeResult,
                ListRootsResult,
                ListTasksResult,
                TaskResult,
            ),
            _without_result_type,
        ),
        **dict.fromkeys(
            (
                ListPromptsResult,
                ListResourcesResult,
                ListResourceTemplatesResult,
                ListToolsResult,
                ReadResourceResult,
            ),
            _without_hints,
        ),
        **dict.fromkeys((CallToolParams, GetPromptParams, ReadResourceParams), _without_retry),
        CallToolResult: _in_turn((_without_result_type, _object_structure)),
        ToolResultContent: _object_structure,
        Tool: _object_output,
    }
)


# From 2025-11-25 to 2025-06-18: no icons, no tasks, no modes of elicitation, no tools in sampling
# and one block per sampling message.


def _plain_client(declared: ClientCapabilities) -> ClientCapabilities:
    changed: dict[str, Any] = {}
    if declared.tasks is not UNSET:
        changed["tasks"] = UNSET
    sampling = declared.sampling
    if sampling is not UNSET and (sampling.context is not UNSET or sampling.tools is not UNSET):
        changed["sampling"] = SamplingCapability()
    asking = declared.elicitation
    if asking is not UNSET and (asking.form is not UNSET or asking.url is not UNSET):
        # A client that can only open URLs would be asked to show forms.
        only_url = asking.form is UNSET
        changed["elicitation"] = UNSET if only_url else ElicitationCapability()
    return evolve(declared, **changed) if changed else declared


def _tool_use_text(block: ToolUseContent) -> TextContent:
    return TextContent(text=f"[tool use] {block.name} {encode(block.input).decode()}")


def _tool_result_text(block: ToolResultContent) -> TextContent:
    texts = [part.text for part in block.content if isinstance(part, TextContent)]
    return TextContent(text="\n".join(["[tool result]", *texts]))


def _one_block_each(messages: list[SamplingMessage]) -> list[SamplingMessage]:
    if not any(isinstance(message.content, list) for message in messages):
        return messages
    return [
        evolve(message, content=block)
        for message in messages
        for block in (message.content if isinstance(message.content, list) else [message.content])
    ]


_without_tools = _without("tools", "tool_choice", "task")


def _plain_sampling(params: CreateMessageParams) -> CreateMessageParams:
    params = _without_tools(params)
    messages = _one_block_each(params.messages)
    return params if messages is params.messages else evolve(params, messages=messages)


def _one_block(content: list[SamplingContentBlock]) -> SamplingContentBlock:
    if len(content) == 1:
        return content[0]
    texts = [block.text for block in content if isinstance(block, TextContent)]
    return TextContent(text="\n".join(texts)) if texts or not content else content[0]


def _plain_sampled(result: CreateMessageResult) -> CreateMessageResult:
    if isinstance(result.content, list):
        return evolve(result, content=_one_block(result.content))
    return result


def _plain_property(schema: Any) -> Any:
    """Write one property of a form as the older revision does, if it has a form for it."""
    if not isinstance(schema, dict) or schema.get("type") == "array":
        return schema
    plain = dict(schema)
    if schema.get("type") != "boolean":
        plain.pop("default", None)
    choices = plain.pop("oneOf", None)
    if choices is not None:
        plain["enum"] = [choice["const"] for choice in choices]
        plain["enumNames"] = [choice["title"] for choice in choices]
    return schema if plain == schema else plain


def _plain_form(params: ElicitParams) -> ElicitParams:
    if params.mode == "url":
        return params
    params = _without_mode(params)
    schema = params.requested_schema
    if schema is UNSET:
        return params
    plain = {name: value for name, value in schema.items() if name != "$schema"}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        plain["properties"] = {name: _plain_property(of) for name, of in properties.items()}
    return params if plain == schema else evolve(params, requested_schema=plain)


_without_mode = _without("mode", "elicitation_id", "task")
_without_icons = _without("icons")

TO_2025_06_18: Step = _complete(
    {
        **dict.fromkeys((Prompt, Resource, ResourceLink, ResourceTemplate), _without_icons),
        Tool: _without("icons", "execution"),
        Implementation: _without("icons", "website_url", "description"),
        ServerCapabilities: _without("tasks"),
        ClientCapabilities: _plain_client,
        CallToolParams: _without("task"),
        CreateMessageParams: _plain_sampling,
        CreateMessageResult: _plain_sampled,
        ElicitParams: _plain_form,
        ToolResultContent: _tool_result_text,
        ToolUseContent: _tool_use_text,
    }
)


# From 2025-06-18 to 2025-03-26: no titles, no structured output, no links to resources, no
# elicitation.


def _titled_by_annotation(tool: Tool) -> Tool:
    """Move the title to where the older revision looks for it."""
    if tool.title is not UNSET:
        annotations = tool.annotations
        if annotations is UNSET:
            annotations = ToolAnnotations(title=tool.title)
        elif annotations.title is UNSET:
            annotations = evolve(annotations, title=tool.title)
        tool = evolve(tool, title=UNSET, annotations=annotations)
    return tool


def _link_text(link: ResourceLink) -> TextContent:
    return TextContent(text=f"{link.title or link.name}: {link.uri}", annotations=link.annotations, meta=link.meta)


def _no_structure(result: CallToolResult) -> CallToolResult:
    if result.structured_content is UNSET:
        return result
    unstructured: CallToolResult = _unstructured(result)
    return unstructured


_without_title = _without("title")

TO_2025_03_26: Step = _complete(
    {
        **dict.fromkeys(
            (Implementation, Prompt, PromptArgument, PromptReference, Resource, ResourceTemplate),
            _without_title,
        ),
        Tool: _in_turn((_without("output_schema"), _titled_by_annotation)),
        Annotations: _without("last_modified"),
        ResourceLink: _link_text,
        CallToolResult: _no_structure,
        ClientCapabilities: _without("elicitation"),
        CompleteParams: _without("context"),
    }
)


# From 2025-03-26 to 2024-11-05: no audio, no hints about tools, no words with progress, no
# completions capability.


def _audio_text(block: AudioContent) -> TextContent:
    return TextContent(text=f"[audio {block.mime_type}]", annotations=block.annotations, meta=block.meta)


TO_2024_11_05: Step = _complete(
    {
        AudioContent: _audio_text,
        Tool: _without("annotations"),
        ProgressParams: _without("message"),
        ServerCapabilities: _without("completions"),
    }
)


# Within 2026-07-28: members that only older revisions have, and a handler may have set, are left
# out, and what answers an embedded request has no discriminator. Not a part of the way down.


TO_2026_07_28: Step = _complete(
    {
        **dict.fromkeys((CallToolParams, CreateMessageParams), _without("task")),
        **dict.fromkeys((ClientCapabilities, ServerCapabilities), _without("tasks")),
        **dict.fromkeys((CreateMessageResult, ElicitResult, ListRootsResult), _without_result_type),
        ElicitParams: _without("task", "elicitation_id"),
        RootsCapability: _without("list_changed"),
        Tool: _without("execution"),
    }
)
