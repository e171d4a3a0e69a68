"""Tools: a function becomes a tool, a call becomes arguments, a value becomes a result."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from protocol.errors import ErrorCode, ErrorObject
from protocol.events import Request
from protocol.jsonrpc import DECODE_ERRORS
from protocol.params import CallToolParams
from protocol.results import CallToolResult
from protocol.types import Icon, TextContent, Tool, ToolAnnotations, ToolExecution

from ..errors import ERROR_META, MCPError, MCPErrorCode, RequestError, ValidationError, to_wire
from ..schema import ArgumentError, SchemaError, compile_schema, derive_output
from .content import CONTENT_TYPES, result_of
from .entries import UNGUARDED, Entry, Mode, name_of, positive
from .options import EntryPolicy
from .structure import Structure, checker_of_input, follow_structure, structure_of

__all__ = ["ToolEntry", "failed_call", "wire_error"]

logger = logging.getLogger("kailash.mcp_server.tools")

# "Tool names SHOULD be between 1 and 128 characters … A-Z, a-z, 0-9, underscore, hyphen, dot" — server/tools#tool-names
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class ToolEntry(Entry):
    """A registered tool."""

    kind = "tool"

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        blocking: bool | None = None,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | bool | None = None,
        format_response: str | Callable[[Any], Any] | None = None,
        task: str | None = None,
        task_ttl: float | None = 3600.0,
        task_poll_interval: float | None = 1.0,
        task_asks_first: bool = False,
        policy: EntryPolicy = UNGUARDED,
    ) -> None:
        super().__init__(fn, blocking=blocking, timeout=timeout, policy=policy)
        called = name or getattr(fn, "__name__", None)
        if not called or called == "<lambda>":
            raise TypeError("a lambda or a callable object needs name=")
        if not _NAME.fullmatch(called):
            logger.warning(
                "tool name %r is not 1 to 128 of A-Z a-z 0-9 _ . -: some clients will refuse it", called[:200]
            )
        if task not in (None, "optional", "required", "forbidden"):
            raise ValueError(f"task is optional, required or forbidden, not {task!r}")
        if task_asks_first and (task not in ("optional", "required") or self.mode is Mode.INLINE):
            raise ValueError('task_asks_first is for tools that run as tasks: task="optional" or "required"')
        self.task = task
        self.task_asks_first = task_asks_first
        self.task_ttl = positive("task_ttl", task_ttl)
        self.task_poll_interval = positive("task_poll_interval", task_poll_interval)
        self._given = (input_schema, output_schema)
        self._format = None if format_response is None else _formatter(format_response)
        self.reshaped: Callable[[], None] | None = None
        """Called when the schemas have changed; set by the registry that has the tool."""
        shape = self._shape(structure_of(fn) or _NOTHING)
        self.tool = Tool(
            name=called,
            title=UNSET if title is None else title,
            description=description or self.arguments.doc.description or UNSET,
            input_schema=shape[0],
            output_schema=shape[1],
            annotations=_annotations(annotations),
            icons=UNSET if icons is None else list(icons),
            execution=UNSET if task is None else ToolExecution(task_support=task),  # type: ignore[arg-type]
            meta=UNSET if meta is None else dict(meta),
        )
        follow_structure(fn, self.reshape)  # type: ignore[arg-type]  # a bound method is one

    def _shape(self, beside: Structure) -> tuple[dict[str, Any], Any]:
        """Return the schemas that are shown, and prepare what checks them: options rank above what is beside."""
        takes, gives = self._given
        takes = beside.input_schema if takes is None else takes
        gives = beside.output_schema if gives is None else gives
        self._fits = None if takes is None else checker_of_input(takes)
        # What was promised in so many words is checked; what an annotation says, a type checker has checked.
        self._keeps = self._promise(gives) if isinstance(gives, Mapping) else None
        shown: Any = UNSET
        if isinstance(gives, Mapping):
            shown = dict(gives)
        elif gives is not False:
            output = derive_output(_return_annotation(self.fn), content_types=CONTENT_TYPES)
            shown = UNSET if output is None else output.schema
        self.is_structured = shown is not UNSET
        return self.arguments.schema if takes is None else dict(takes), shown

    def _promise(self, schema: Mapping[str, Any]) -> Callable[[Any], str | None] | None:
        try:
            return compile_schema(schema).check
        except SchemaError as error:
            # Those who pass on the tools of others pass on what they cannot read.
            logger.warning("the results of tool %r are not checked: %s", name_of(self.fn), error)
            return None

    def reshape(self, beside: Structure) -> None:
        """Take schemas that were put beside the function after it was registered.

        Raises:
            ValueError: they cannot be used; the tool is what it was.
        """
        before = (self.tool, self._fits, self._keeps, self.is_structured)
        try:
            takes, gives = self._shape(beside)
            self.tool = msgspec.structs.replace(self.tool, input_schema=takes, output_schema=gives)
            if self.reshaped is not None:
                self.reshaped()
        except ValueError:
            self.tool, self._fits, self._keeps, self.is_structured = before
            raise

    @property
    def name(self) -> str:
        """The name it is called by."""
        return self.tool.name

    @property
    def decodes_early(self) -> bool:
        """Tell whether the arguments may be decoded before anything is known of the call."""
        return self._fits is None and self.arguments.is_plain

    def spelled_arguments(self, request: Request) -> bytes | None:
        """Return the text in which the arguments came."""
        raw = request.params.arguments
        return None if raw is UNSET else bytes(raw)

    def named_arguments(self, request: Request) -> Mapping[str, Any]:
        """Return the arguments, decoded."""
        raw = request.params.arguments
        found = {} if raw is UNSET or raw == _NULL else _decoded(raw)
        if not isinstance(found, dict):
            raise ArgumentError("arguments are not an object")
        return found

    def bind(self, request: Request) -> dict[str, Any]:
        """Decode the raw arguments into those of the function."""
        params: CallToolParams = request.params
        raw = None if params.arguments is UNSET or params.arguments == _NULL else params.arguments
        if self._fits is not None:
            wrong = self._fits(_decoded(raw))
            if wrong is not None:
                raise ArgumentError(f"arguments do not fit the input schema: {wrong}")
        read, request.arguments = request.arguments, None  # once: what it holds is the function's to change
        return self.arguments.bind(raw, read)

    def finish(self, value: Any, request: Request) -> CallToolResult:
        """Turn the returned value into a tool result."""
        result = result_of(value, structured=self.is_structured)
        if self._format is not None:
            result = self._format(value, result)
        if self._keeps is not None and result.is_error is not True:
            self._check(self._keeps, result)
        return result

    def _check(self, keeps: Callable[[Any], str | None], result: CallToolResult) -> None:
        # "Servers MUST provide structured results that conform to this schema" — server/tools#output-schema
        found = result.structured_content
        wrong = "it gave no structured content" if found is UNSET else keeps(found)
        if wrong is not None:
            logger.error("! tool %r broke its output schema: %s", self.name, wrong)
            raise ValidationError(f"tool {self.name!r} broke its output schema: {wrong}")


_NULL = Raw(b"null")
_NOTHING = Structure()


def _decoded(raw: Raw | None) -> Any:
    try:
        return {} if raw is None else msgspec.json.decode(raw)
    except DECODE_ERRORS as error:
        raise ArgumentError(f"arguments are not valid JSON: {error}") from None


def _formatter(given: str | Callable[[Any], Any]) -> Callable[[Any, CallToolResult], CallToolResult]:
    from .formatters import formatted, make  # few tools have one

    formatter = make(given)
    assert formatter is not None
    return lambda value, result: formatted(formatter, value, result)


def _return_annotation(fn: Any) -> Any:
    import inspect
    import typing

    target = fn if inspect.isroutine(fn) else type(fn).__call__
    try:
        return typing.get_type_hints(target, include_extras=True).get("return", inspect.Parameter.empty)
    except NameError:
        return inspect.Parameter.empty


def _annotations(value: ToolAnnotations | Mapping[str, Any] | None) -> Any:
    if value is None:
        return UNSET
    if isinstance(value, ToolAnnotations):
        return value
    wire = {_CAMEL.get(key, key): member for key, member in value.items()}
    known = set(ToolAnnotations.__struct_encode_fields__)
    if not wire.keys() <= known:
        raise TypeError(f"unknown annotation {sorted(wire.keys() - known)}; known: {sorted(known)}")
    return msgspec.convert(wire, ToolAnnotations)


_CAMEL = dict(zip(ToolAnnotations.__struct_fields__, ToolAnnotations.__struct_encode_fields__, strict=True))


def failed_call(error: BaseException, request: Request, name: str, *, debug: bool) -> CallToolResult | MCPError:
    """Return what a failed tool call is answered with: a tool result, or an error to send.

    Errors meant for callers (`MCPError`, `ArgumentError`) keep their text; any other is masked unless `debug`.
    """
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ArgumentError):
        if not request.context.revision.tool_error_results:
            return RequestError(f"Invalid params: {error}", error_code=MCPErrorCode.INVALID_PARAMS)
        # "Input validation errors … SHOULD be reported as tool execution errors" — server/tools#error-handling
        public = MCPError(
            str(error),
            error_code=MCPErrorCode.INVALID_PARAMS,
            data=None if error.argument is None else {"argument": error.argument},
        )
    elif isinstance(error, MCPError):
        public = error
    else:
        logger.error("! tool %r failed, request %r", name, request.id, exc_info=error)
        text = f"Tool {name!r} failed"
        if debug:
            text += f": {type(error).__name__}: {error}"
        public = MCPError(text, error_code=MCPErrorCode.TOOL_ERROR)
    return CallToolResult(content=[TextContent(text=public.message)], is_error=True, meta={ERROR_META: to_wire(public)})


def wire_error(error: MCPError) -> ErrorObject:
    """Return the JSON-RPC error that says this; the application's code travels in its data."""
    code = int(error.error_code)
    if isinstance(error, RequestError) or code < 0:
        data = error.data
    else:
        code, data = ErrorCode.INTERNAL_ERROR, to_wire(error)
    return ErrorObject(code, error.message) if data is None else ErrorObject(code, error.message, data)
