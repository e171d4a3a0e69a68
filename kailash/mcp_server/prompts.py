"""Prompts: named arguments in, messages out. Completion of their arguments, and of template variables, is here too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from protocol.events import Request
from protocol.params import CompleteParams
from protocol.results import CompleteResult, GetPromptResult
from protocol.types import Completion, Icon, Prompt, PromptArgument, PromptMessage, TextContent

from ..errors import MCPErrorCode, RequestError
from ..schema import dumps, to_jsonable
from .content import CONTENT_TYPES, result_of
from .entries import UNGUARDED, Entry
from .options import EntryPolicy
from .resources import from_text, hints_of

__all__ = ["CompletionEntry", "PromptEntry"]

_MOST_VALUES = 100


class PromptEntry(Entry):
    """A registered prompt."""

    kind = "prompt"

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        blocking: bool | None = None,
        policy: EntryPolicy = UNGUARDED,
    ) -> None:
        super().__init__(fn, blocking=blocking, timeout=timeout, policy=policy)
        called = name or getattr(fn, "__name__", None)
        if not called or called == "<lambda>":
            raise TypeError("a lambda or a callable object needs name=")
        self._hints = hints_of(fn)
        properties: Mapping[str, Any] = self.arguments.schema.get("properties", {})
        arguments = [
            PromptArgument(
                name=argument,
                description=schema.get("description", UNSET) if isinstance(schema, dict) else UNSET,
                required=argument in self.arguments.required,
            )
            for argument, schema in properties.items()
        ]
        self.prompt = Prompt(
            name=called,
            title=UNSET if title is None else title,
            description=description or self.arguments.doc.description or UNSET,
            arguments=arguments or UNSET,
            icons=UNSET if icons is None else list(icons),
            meta=UNSET if meta is None else dict(meta),
        )

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return self.prompt.name

    def named_arguments(self, request: Request) -> Mapping[str, Any]:
        """Return the argument texts."""
        given = request.params.arguments
        return {} if given is UNSET or given is None else given

    def bind(self, request: Request) -> dict[str, Any]:
        """Return the argument texts as what the function's parameters are annotated with."""
        given = request.params.arguments
        values: Mapping[str, str] = {} if given is UNSET or given is None else given
        missing = [name for name in self.arguments.required if name not in values]
        if missing:
            raise RequestError(
                f"Invalid params: prompt {self.name!r} needs {', '.join(missing)}",
                error_code=MCPErrorCode.INVALID_PARAMS,
            )
        unknown = values.keys() - self.arguments.names
        if unknown and self.arguments.extra is None:
            raise RequestError(
                f"Invalid params: prompt {self.name!r} has no argument {', '.join(sorted(unknown))}",
                error_code=MCPErrorCode.INVALID_PARAMS,
            )
        return {name: from_text(value, self._hints.get(name), name) for name, value in values.items()}

    def finish(self, value: Any, request: Request) -> GetPromptResult:
        """Turn text, messages or content into the prompt."""
        if isinstance(value, GetPromptResult):
            return value
        items = value if isinstance(value, list | tuple) else [value]
        return GetPromptResult(
            messages=[message for item in items for message in _messages(item)],
            description=self.prompt.description,
        )


def _messages(value: Any) -> list[PromptMessage]:
    if isinstance(value, PromptMessage):
        return [value]
    if isinstance(value, str):
        return [PromptMessage(role="user", content=TextContent(text=value))]
    if isinstance(value, CONTENT_TYPES):
        return [PromptMessage(role="user", content=block) for block in result_of(value, structured=False).content]
    if isinstance(value, Mapping) and "role" in value:
        content = value.get("content")
        spelled = {"type": "text", "text": content} if isinstance(content, str) else to_jsonable(content)
        return [msgspec.convert({"role": value["role"], "content": spelled}, PromptMessage)]
    return [PromptMessage(role="user", content=TextContent(text=dumps(value).decode()))]


class CompletionEntry(Entry):
    """Suggests values for one argument of a prompt or one variable of a template.

    The function takes the text so far and, if it wants them, `arguments` (those already settled) and a `Context`.
    """

    kind = "completion"

    def __init__(self, fn: Callable[..., Any], ref: str, argument: str, *, blocking: bool | None = None) -> None:
        super().__init__(fn, blocking=blocking, timeout=None)
        names = list(self.arguments.schema.get("properties", {}))
        if not names:
            raise TypeError("a completion function takes the text typed so far")
        self.ref = ref
        self.argument = argument
        self._value_name = names[0]
        self._takes_arguments = "arguments" in names[1:]

    @property
    def name(self) -> str:
        """What it completes."""
        return f"{self.ref}#{self.argument}"

    def bind(self, request: Request) -> dict[str, Any]:
        """Return the text so far, and the other arguments where the function takes them."""
        params: CompleteParams = request.params
        kwargs: dict[str, Any] = {self._value_name: params.argument.value}
        if self._takes_arguments:
            given = UNSET if params.context is UNSET else params.context.arguments
            kwargs["arguments"] = {} if given is UNSET else given
        return kwargs

    def finish(self, value: Any, request: Request) -> CompleteResult:
        """Turn suggestions into a completion of at most 100 values."""
        if isinstance(value, CompleteResult):
            return value
        if not isinstance(value, Completion):
            values = [str(item) for item in value or ()]
            value = Completion(values=values, total=len(values), has_more=len(values) > _MOST_VALUES)
        if len(value.values) > _MOST_VALUES:
            # "Maximum 100 items per response" — server/utilities/completion
            value = Completion(values=value.values[:_MOST_VALUES], total=value.total, has_more=True)
        return CompleteResult(completion=value)
