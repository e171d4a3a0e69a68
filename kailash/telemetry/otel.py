"""Traces and metrics for OpenTelemetry, by its semantic conventions for MCP. Needs the extra `otel`.

A span per request on either side; the server's is a child of the client's, whose context travels in `_meta` as
`traceparent`, `tracestate` and `baggage`. What was sent and what was answered is in none of them.
The names are those of https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/ (status: development).
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from protocol.errors import ErrorObject
from protocol.events import Request
from protocol.meta import TRACE_CONTEXT
from protocol.methods import METHODS

from ..errors import MCPError, RequestError, TransportError
from .metrics import Outcome

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as error:  # pragma: no cover  # the tests have it
    raise ImportError('tracing needs the package opentelemetry-api: pip install "kailash-mcp-engine[otel]"') from error

__all__ = ["OpenTelemetry"]

BOUNDARIES: Final = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0]
"""Of every histogram here, in seconds, as the conventions ask."""

_LONGEST_VALUE = 8192
"""Characters of a peer's context: what W3C allows a baggage."""
_LONGEST_NAME = 200
_TARGETS: Final = {"tool": "gen_ai.tool.name", "prompt": "gen_ai.prompt.name"}
"""What a span is named after, by kind of entry: names are few, URIs are not."""
_PIPES: Final = frozenset({"stdio"})
_APPLICATION_ERROR = -32603
"""What goes on the wire for errors that have no code of the protocol's."""


class _Carried(Struct):
    traceparent: Raw | UnsetType = UNSET
    tracestate: Raw | UnsetType = UNSET
    baggage: Raw | UnsetType = UNSET


_read_carried = msgspec.json.Decoder(_Carried).decode
_read_text = msgspec.json.Decoder(str).decode


class _Verdict(Struct):
    is_error: bool | None = msgspec.field(name="isError", default=None)


_read_verdict = msgspec.json.Decoder(_Verdict).decode


class _MetaGetter(Getter[Mapping[str, str]]):
    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key)
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


_GETTER = _MetaGetter()


class OpenTelemetry:
    """Makes the spans and measures the durations of one server or one client.

    Args:
        tracer_provider, meter_provider: where they go; default what the program has set up for OpenTelemetry.
    """

    def __init__(self, *, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        from .. import __version__

        self._tracer = trace.get_tracer("kailash.mcp", __version__, tracer_provider)
        meter = metrics.get_meter("kailash.mcp", __version__, meter_provider)
        self._durations = {
            (side, what): meter.create_histogram(
                f"mcp.{side}.{what}.duration",
                unit="s",
                description=f"The duration of an MCP {what} as observed on the {side}.",
                explicit_bucket_boundaries_advisory=BOUNDARIES,
            )
            for side in ("client", "server")
            for what in ("operation", "session")
        }

    def begin(
        self,
        method: str,
        kind: str | None = None,
        name: str | None = None,
        meta: Raw | Mapping[str, Any] | UnsetType | None = None,
        *,
        request_id: Any = None,
        revision: str | None = None,
        session_id: str | None = None,
        transport: str | None = None,
        start_time: int | None = None,
    ) -> "_Span":
        """Begin the span of a request that arrived, as a child of its sender's."""
        ambient = contexts.get_current()
        carried = _context_of(meta)
        parent = propagate.extract(carried, context=ambient, getter=_GETTER) if carried else ambient
        links = []
        if "traceparent" in carried:
            # "SHOULD link current ambient context, if it's present": that of HTTP, say, which is none of MCP's.
            around = trace.get_current_span(ambient).get_span_context()
            if around.is_valid:
                links.append(trace.Link(around))
        shared = _shared_attributes(method, kind, name, revision, transport)
        more = _own_attributes(kind, name, request_id, session_id)
        span = self._tracer.start_span(
            _span_name(method, kind, name),
            parent,
            SpanKind.SERVER,
            attributes={**shared, **more},
            links=links,
            start_time=start_time,
        )
        return _Span(span, kind, parent, shared, self._durations["server", "operation"])

    def begin_request(self, request: Request, kind: str, name: str, transport: str | None) -> "_Span":
        """Begin the span of a request for an entry."""
        params: Any = request.params
        uri = getattr(params, "uri", None)
        return self.begin(
            request.method,
            kind,
            uri if kind == "resource" and isinstance(uri, str) else name,
            getattr(params, "meta", None),
            request_id=request.id,
            revision=request.context.revision.name,
            transport=transport,
        )

    def note(self, request: Request, transport: str, began: int, outcome: Outcome, error: Any = None) -> None:
        """Make the span of a request that is over."""
        method = request.method if request.method in METHODS else "_OTHER"  # whatever a peer writes there
        span = self.begin(
            method,
            meta=getattr(request.params, "meta", None),
            request_id=request.id,
            revision=request.context.revision.name,
            transport=transport,
            start_time=began,
        )
        span.end(outcome, error, seconds=(time.time_ns() - began) / 1e9)

    def begin_call(
        self,
        method: str,
        kind: str | None = None,
        name: str | None = None,
        *,
        revision: str | None = None,
        session_id: str | None = None,
        transport: str | None = None,
        address: str | None = None,
        port: int | None = None,
    ) -> "_ClientSpan":
        """Begin the span of a request that is about to be sent."""
        shared = _shared_attributes(method, kind, name, revision, transport)
        if address is not None:
            shared["server.address"] = address
            if port is not None:
                shared["server.port"] = port
        context = contexts.get_current()
        span = self._tracer.start_span(
            _span_name(method, kind, name),
            context,
            SpanKind.CLIENT,
            attributes={**shared, **_own_attributes(kind, name, None, session_id)},
        )
        return _ClientSpan(span, kind, context, shared, self._durations["client", "operation"])

    def session_ended(
        self, seconds: float, *, is_client: bool = False, revision: str | None = None, transport: str | None = None
    ) -> None:
        """Measure a session that has ended."""
        side = "client" if is_client else "server"
        self._durations[side, "session"].record(seconds, _network_attributes(revision, transport))


class _Span:
    """A request that is being handled. `end` it once, whatever comes of it; what follows the first end is nothing."""

    __slots__ = ("_attributes", "_began", "_context", "_duration", "_kind", "_span", "is_ended")

    def __init__(
        self, span: trace.Span, kind: str | None, parent: Context, attributes: dict[str, Any], duration: Any
    ) -> None:
        self._span = span
        self._kind = kind
        self._context = trace.set_span_in_context(span, parent)
        self._attributes = attributes
        self._duration = duration
        self._began = time.perf_counter()
        self.is_ended = False

    def activate(self) -> Token[Context]:
        """Make this the current span of the task or thread; returns what `deactivate` takes."""
        return contexts.attach(self._context)

    def deactivate(self, token: Token[Context]) -> None:
        """Make current again what was before; not needed where the task ends with the request."""
        contexts.detach(token)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the current span within the context."""
        token = contexts.attach(self._context)
        try:
            yield
        finally:
            contexts.detach(token)

    def end(self, outcome: Outcome, error: Any = None, *, seconds: float | None = None) -> None:
        """End the span and measure the request."""
        if self.is_ended:
            return
        self.is_ended = True
        attributes = self._attributes
        if outcome is not Outcome.OK:
            attributes["error.type"], code, message = self._classify(outcome, error)
            if code is not None:
                attributes["rpc.response.status_code"] = str(code)
            if self._span.is_recording():
                self._span.set_attributes({key: attributes[key] for key in _ERROR_KEYS if key in attributes})
                self._span.set_status(Status(StatusCode.ERROR, message))
        seconds = time.perf_counter() - self._began if seconds is None else seconds
        self._duration.record(max(0.0, seconds), attributes, context=self._context)
        self._span.end()

    def _classify(self, outcome: Outcome, error: Any) -> tuple[str, int | None, str | None]:
        return _classify_answer(self._kind, outcome, error)


class _ClientSpan(_Span):
    """A request that was sent."""

    __slots__ = ()

    def _classify(self, outcome: Outcome, error: Any) -> tuple[str, int | None, str | None]:
        return _classify_failure(outcome, error)

    @property
    def meta(self) -> dict[str, str]:
        """What goes along in the request's `_meta`, so that the server's span is a child of this one."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier, self._context)
        # Only these have no prefix; what other propagators write has no place in `_meta`.
        return {key: carrier[key] for key in TRACE_CONTEXT if key in carrier}

    def sent(self, request_id: Any) -> None:
        """Note the request's id."""
        if request_id is not None and self._span.is_recording():
            self._span.set_attribute("jsonrpc.request.id", str(request_id)[:_LONGEST_NAME])

    def answered(self, raw: bytes | Raw) -> None:
        """End the span of a request that was answered with a result, which may say that it is an error."""
        try:
            is_error = _read_verdict(raw).is_error is True
        except msgspec.DecodeError:
            is_error = False  # whoever reads the result tells of it
        self.end(Outcome.ERROR if is_error else Outcome.OK)


_ERROR_KEYS = ("error.type", "rpc.response.status_code")


def _context_of(meta: Raw | Mapping[str, Any] | UnsetType | None) -> dict[str, str]:
    """Return the trace context of a request's `_meta`; what is malformed is not there."""
    if meta is None or meta is UNSET:
        return {}
    if isinstance(meta, Mapping):
        found = {key: meta.get(key) for key in TRACE_CONTEXT}
    else:
        try:
            carried = _read_carried(meta)
            found = {key: _text(getattr(carried, key)) for key in TRACE_CONTEXT}
        except msgspec.DecodeError:
            return {}
    return {key: value for key, value in found.items() if isinstance(value, str) and len(value) <= _LONGEST_VALUE}


def _text(value: Raw | UnsetType) -> str | None:
    if value is UNSET:
        return None
    try:
        return _read_text(value)
    except msgspec.DecodeError:
        return None


def _span_name(method: str, kind: str | None, name: str | None) -> str:
    return f"{method} {name[:_LONGEST_NAME]}" if name is not None and kind in _TARGETS else method


def _shared_attributes(
    method: str, kind: str | None, name: str | None, revision: str | None, transport: str | None
) -> dict[str, Any]:
    """Return what spans and measurements have in common: nothing that is different for every request."""
    attributes: dict[str, Any] = {"mcp.method.name": method, **_network_attributes(revision, transport)}
    if name is not None and kind in _TARGETS:
        attributes[_TARGETS[kind]] = name[:_LONGEST_NAME]
        if kind == "tool":
            attributes["gen_ai.operation.name"] = "execute_tool"
    return attributes


def _network_attributes(revision: str | None, transport: str | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if revision is not None:
        attributes["mcp.protocol.version"] = revision
    if transport in _PIPES:
        attributes["network.transport"] = "pipe"
    elif transport in ("http", "sse", "websocket"):
        attributes["network.transport"] = "tcp"
        attributes["network.protocol.name"] = "websocket" if transport == "websocket" else "http"
    return attributes


def _own_attributes(kind: str | None, name: str | None, request_id: Any, session_id: str | None) -> dict[str, Any]:
    """Return what only the span tells."""
    attributes: dict[str, Any] = {}
    if name is not None and kind == "resource":
        attributes["mcp.resource.uri"] = name[:2048]
    if request_id is not None:
        attributes["jsonrpc.request.id"] = str(request_id)[:_LONGEST_NAME]
    if session_id is not None:
        attributes["mcp.session.id"] = session_id
    return attributes


def _text_of(error: Any) -> str | None:
    return error if isinstance(error, str) else error.message if isinstance(error, MCPError | ErrorObject) else None


def _classify_answer(kind: str | None, outcome: Outcome, error: Any) -> tuple[str, int | None, str | None]:
    """Return what kind of error it was, its JSON-RPC code, and what the peer was told of it."""
    text = _text_of(error)
    if outcome in (Outcome.TIMEOUT, Outcome.CANCELLED):
        return outcome.value, None, text
    is_answered = isinstance(error, RequestError | ErrorObject) or (error is not None and outcome is Outcome.REFUSED)
    if outcome is Outcome.ERROR and not is_answered and (kind == "tool" or not isinstance(error, Exception)):
        # "When CallToolResult is returned with isError set to true … SHOULD be set to tool_error"
        return "tool_error", None, text
    code = error.code if isinstance(error, ErrorObject) else _APPLICATION_ERROR
    if isinstance(error, MCPError) and (isinstance(error, RequestError) or error.error_code < 0):
        code = error.error_code
    return str(int(code)), int(code), text


def _classify_failure(outcome: Outcome, error: Any) -> tuple[str, int | None, str | None]:
    """Return what kind of error a call met, the JSON-RPC code if one was answered, and what it says."""
    text = _text_of(error)
    if outcome in (Outcome.TIMEOUT, Outcome.CANCELLED):
        return outcome.value, None, text
    if isinstance(error, TransportError):
        return type(error).__name__, None, text  # nobody answered
    if isinstance(error, MCPError):
        code = int(error.error_code)
        return str(code), code if code < 0 else None, text
    return "tool_error", None, text
