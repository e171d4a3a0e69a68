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

from ..errors import ERROR_META, MCPError, MCPErrorCode, RequestError, to_wire
from ..schema import ArgumentError, compile_schema, derive_output
from .content import CONTENT_TYPES, result_of
from .entries import Entry, Mode, positive

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
        task: str | None = None,
        task_ttl: float | None = 3600.0,
        task_poll_interval: float | None = 1.0,
        task_asks_first: bool = False,
        required_permissions: frozenset[str] = frozenset(),
        cache_name: str | None = None,
        cache_ttl: float | None = None,
    ) -> None:
        super().__init__(fn, blocking=blocking, timeout=timeout)
        called = name or getattr(fn, "__name__", None)
        if not called or called == "<lambda>":
            raise TypeError("a lambda or a callable object needs name=")
        if not _NAME.fullmatch(called):
            logger.warning(
                "tool name %r is not 1 to 128 of A-Z a-z 0-9 _ . -: some clients will refuse it", called[:200]
            )
        self.required_permissions = required_permissions
        self.cache_name = cache_name
        self.cache_ttl = cache_ttl
        if task not in (None, "optional", "required", "forbidden"):
            raise ValueError(f"task is optional, required or forbidden, not {task!r}")
        if task_asks_first and (task not in ("optional", "required") or self.mode is Mode.INLINE):
            raise ValueError('task_asks_first is for tools that run as tasks: task="optional" or "required"')
        self.task = task
        self.task_asks_first = task_asks_first
        self.task_ttl = positive("task_ttl", task_ttl)
        self.task_poll_interval = positive("task_poll_interval", task_poll_interval)
        self._fits = None if input_schema is None else _checker(input_schema)
        self._output = None
        if output_schema is not False:
            self._output = derive_output(_return_annotation(fn), content_types=CONTENT_TYPES)
        schema: Any = UNSET
        if isinstance(output_schema, Mapping):
            schema = dict(output_schema)
        elif self._output is not None:
            schema = self._output.schema
        self.is_structured = schema is not UNSET
        self.tool = Tool(
            name=called,
            title=UNSET if title is None else title,
            description=description or self.arguments.doc.description or UNSET,
            input_schema=self.arguments.schema if input_schema is None else dict(input_schema),
            output_schema=schema,
            annotations=_annotations(annotations),
            icons=UNSET if icons is None else list(icons),
            execution=UNSET if task is None else ToolExecution(task_support=task),  # type: ignore[arg-type]
            meta=UNSET if meta is None else dict(meta),
        )

    @property
    def name(self) -> str:
        """The name it is called by."""
        return self.tool.name

    def bind(self, request: Request) -> dict[str, Any]:
        """Decode the raw arguments into those of the function."""
        params: CallToolParams = request.params
        raw = None if params.arguments is UNSET or params.arguments == _NULL else params.arguments
        if self._fits is not None:
            wrong = self._fits(_decoded(raw))
            if wrong is not None:
                raise ArgumentError(f"arguments do not fit the input schema: {wrong}")
        return self.arguments.bind(raw)

    def finish(self, value: Any, request: Request) -> CallToolResult:
        """Turn the returned value into a tool result."""
        return result_of(value, structured=self.is_structured)


_NULL = Raw(b"null")


def _decoded(raw: Raw | None) -> Any:
    try:
        return {} if raw is None else msgspec.json.decode(raw)
    except DECODE_ERRORS as error:
        raise ArgumentError(f"arguments are not valid JSON: {error}") from None


def _checker(schema: Mapping[str, Any]) -> Callable[[Any], str | None]:
    # `inputSchema: { type: "object" … }` — schema.ts, Tool
    if schema.get("type") != "object":
        raise ValueError(f"an input schema is of type object, not {schema.get('type')!r}")
    return compile_schema(schema).check


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
